"""One seed of one setting of the eigenspace experiment: networks trained, paths measured."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deep.training.streams import stream
from sims.parts.eigenspace_layers import (
    TIE,
    LayerPaths,
    Snapshots,
    compared,
    flow_control,
    later_layers,
    layer_inputs,
    members_first,
    trained_layers,
)
from sims.parts.threads import one_thread
from theory.checks import Array
from theory.labels.confidence import confidence, exaggeration_slope
from theory.ntk.trajectories import matched_progress, pair_mask
from theory.statistics import node_bootstrap_interval

if TYPE_CHECKING:
    from deep.models.network import Network
    from deep.training.fixed_targets.config import RunConfig
    from deep.training.fixed_targets.loop import Recorder, Trained
    from deep.training.fixed_targets.task import Task
    from theory.ntk.projections import Eigendirections

STUDENTS = ("student", "same_order", "tau1", "labels_tau", "soft", "null")
"""The paper's student; with the teacher's batches; at temperature 1; one-hot labels through the
student's loss; uniformly smoothed labels as confident as the teacher; a second one-hot network."""
SPLITS = ("clean", "mislabeled, as given", "mislabeled, as in truth", "test")
BATCHED_WIDTH = 256
"""Hidden layers up to this width step together; wider ones in turn, which is then faster."""
KEPT_POINTS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that one seed of one setting depends on."""

    data: str
    samples: int
    test_samples: int
    noise: float
    noise_includes_same: bool
    model: str
    size: int
    """Random features, width of the hidden layers, or channels."""
    depth: int
    kernel: int = 3
    """Height and width of a CNN's kernels."""
    patches: int = 4096
    """Patches that stand for what a convolution sees."""
    pairs: int = 8
    """Random pairs of directions whose paths are kept for each later layer."""
    device: str = "cpu"
    optimizer: str
    learning_rate: float
    batch: int
    epochs: int
    temperature: float
    students: tuple[str, ...]
    records: int
    """Records along a path: every update, or as many evenly spaced in the logarithm of time."""
    seed: int
    inputs: str = ""
    """Digest of the files that hold the images."""
    root: Path | None = field(default=None, compare=False)
    """Where they lie, which changes nothing; None for the environment's STILLROOM_DATA."""


def measure(case: Case) -> dict[str, NDArray[Any]]:
    """Train the teacher and its students and measure their paths along the eigendirections.

    Members are the teacher, then ``case.students``. Returned are ``steps`` (T,) and, of the first
    trained layer, ``eigenvalues`` and ``kept`` (r,), ``displacements`` and ``norms`` (members, T,
    r), ``null_share`` (members,) at the end, ``statistics`` (students, statistics), ``raw_share``
    (students,) and ``node_share`` (3,): S1's share for the first student with its interval over
    eigendirections; ``accuracy`` (members, splits); and what `_confidences`, `_kept_accuracy`,
    `flow_control` and `later_layers` return.
    """
    with one_thread():
        return _measured(case)


def _measured(case: Case) -> dict[str, NDArray[Any]]:
    from deep.training.fixed_targets.loop import initial_network
    from deep.training.fixed_targets.task import make_task
    from theory.ntk.projections import eigendirections

    teacher_run, student_runs = runs_of(case)
    task = make_task(teacher_run.data, root=case.root)
    network = initial_network(teacher_run, task).to(case.device)
    first, *later = trained_layers(network)
    seen = {first: _layer_inputs(case, network, first, task)}
    eigen = {first: eigendirections(seen[first][0])}
    if eigen[first].kept.sum() < 2:
        msg = (
            "samples and features must be enough for two eigendirections of the inputs, got "
            f"{case.samples} samples with {int(eigen[first].kept.sum())}"
        )
        raise ValueError(msg)
    updates = case.epochs * teacher_run.optimizer.steps_per_epoch(case.samples)
    wanted = frozenset(record_steps(updates, case.records).tolist())
    start, snapshots = LayerPaths(eigen, wanted), Snapshots(later, wanted)
    teacher = _trained(case, [teacher_run], None, [start, snapshots])[0]
    _load(network, teacher)
    for layer in later:
        seen[layer] = _layer_inputs(case, network, layer, task)
        eigen[layer] = eigendirections(seen[layer][0])
    paths = LayerPaths(eigen, wanted)
    given = [teacher if run.teacher else None for run in student_runs]
    members = [teacher, *_trained(case, student_runs, given, [paths])]
    of_students = paths.results()
    hidden = {layer: eigen[layer] for layer in later}
    one, others = start.results()[first], of_students[first]
    moved = members_first(one.displacements, others.displacements)
    norms = members_first(one.norms, others.norms)
    arrays: dict[str, NDArray[Any]] = {
        "steps": one.steps,
        "eigenvalues": eigen[first].eigenvalues,
        "kept": eigen[first].kept,
        "displacements": moved,
        "norms": norms,
        "null_share": np.append(one.null_share[-1], others.null_share[-1]),
        "accuracy": np.stack(
            [_accuracy(each.train_logits, each.test_logits, task) for each in members]
        ),
        "node_share": _node_share(moved[0], moved[1], eigen[first], case.seed),
    }
    arrays |= compared(moved, norms, eigen[first])
    arrays |= _confidences(members[0], members[1], task)
    if case.model == "random_features":
        arrays |= _kept_accuracy(members[:2], network, seen[first][0], eigen[first], task)
    arrays |= flow_control(*seen[first], eigen[first], task)
    return arrays | later_layers(
        hidden,
        seen,
        snapshots.results(hidden),
        of_students,
        task,
        pairs=case.pairs,
        model=case.model,
    )


def runs_of(case: Case) -> "tuple[RunConfig, list[RunConfig]]":
    """The run of the teacher, and those of its students."""
    from deep.data.spec import DataSpec
    from deep.models import spec
    from deep.training.fixed_targets.config import RunConfig, Supervision
    from deep.training.optimizers import Optimizer

    if case.model == "mlp":
        model = spec("mlp", width=case.size, depth=case.depth)
    elif case.model == "cnn":
        model = spec("small_cnn", channels=case.size, depth=case.depth, kernel=case.kernel)
    else:
        model = spec("random_features", features=case.size)
    teacher = RunConfig(
        model=model,
        data=DataSpec(
            name=case.data,
            samples=case.samples,
            test_samples=case.test_samples,
            noise=case.noise,
            noise_includes_same=case.noise_includes_same,
            seed=case.seed,
        ),
        optimizer=Optimizer(
            name=case.optimizer, learning_rate=case.learning_rate, batch=case.batch
        ),
        epochs=case.epochs,
        seed=case.seed,
        stream="teacher",
    )
    tau = case.temperature
    own = replace(teacher, stream="student", student_init="teacher")
    taught = replace(own, teacher=teacher, supervision=Supervision(kind="teacher", temperature=tau))
    soft = Supervision(kind="teacher_confidence", temperature=tau)
    known = {
        "student": taught,
        "same_order": replace(taught, order="teacher"),
        "tau1": replace(taught, supervision=Supervision(kind="teacher")),
        "labels_tau": replace(own, supervision=Supervision(temperature=tau)),
        "soft": replace(taught, supervision=soft),
        "null": own,
    }
    return teacher, [known[name] for name in case.students]


def _layer_inputs(
    case: Case, network: "Network", layer: str, task: "Task"
) -> tuple[Array, NDArray[np.int64]]:
    return layer_inputs(network, layer, task, patches=case.patches, seed=case.seed)


def _load(network: "Network", trained: "Trained") -> None:
    """Give the network the weights at the end of a training."""
    import torch

    network.load_state_dict({name: torch.from_numpy(w) for name, w in trained.weights.items()})


def _trained(
    case: Case,
    runs: "Sequence[RunConfig]",
    teachers: "Sequence[Trained | None] | None",
    recorders: "Sequence[Recorder]",
) -> "list[Trained]":
    """Train ``runs`` side by side."""
    from deep.training.fixed_targets.ensembles import train_together

    # not by a probe: timings must not decide how sums are rounded
    batched = case.model == "random_features" or case.size <= BATCHED_WIDTH
    return train_together(
        runs,
        teachers=teachers,
        recorders=recorders,
        strategy="batched" if batched else "loop",
        root=case.root,
        device=case.device,
    )


def record_steps(total: int, records: int) -> NDArray[np.int64]:
    """0, then all updates, or about ``records`` of them spaced evenly in their logarithm.

    >>> record_steps(5, 10), record_steps(1000, 5)
    (array([0, 1, 2, 3, 4, 5]), array([   0,    1,    6,   32,  178, 1000]))
    """
    if total <= records:
        return np.arange(total + 1)
    spaced = np.unique(np.round(np.geomspace(1, total, records)).astype(np.int64))
    return np.append(0, spaced)


def _accuracy(train_logits: Array, test_logits: Array, task: "Task") -> Array:
    """Accuracy on `SPLITS` for logits (..., n, classes), shape (splits, ...); nan on no samples."""
    wrong = task.train_labels != task.true_labels
    given, true = (train_logits.argmax(-1) == y for y in (task.train_labels, task.true_labels))
    hits = (given[..., ~wrong], given[..., wrong], true[..., wrong])
    tests = (test_logits.argmax(-1) == task.test_labels).mean(-1)
    nothing = np.full(tests.shape, np.nan)
    return np.stack([*(hit.mean(-1) if hit.shape[-1] else nothing for hit in hits), tests])


def _confidences(teacher: "Trained", student: "Trained", task: "Task") -> dict[str, NDArray[Any]]:
    """Confidence of both in the teacher's top class, and the slope over its lowest quarter.

    ``confidence_train`` and ``confidence_test`` (2, n); ``mislabeled`` (n,); ``slope`` (2,).
    """
    arrays: dict[str, NDArray[Any]] = {"mislabeled": task.train_labels != task.true_labels}
    slopes = []
    for split in ("train", "test"):
        logits = [getattr(each, f"{split}_logits") for each in (teacher, student)]
        top = logits[0].argmax(axis=1)
        both = np.stack([confidence(each, top) for each in logits])
        arrays[f"confidence_{split}"] = both
        slopes.append(exaggeration_slope(both[0], both[1]).slope)
    return arrays | {"slope": np.array(slopes)}


def _kept_accuracy(
    members: "Sequence[Trained]",
    network: "Network",
    inputs: Array,
    eigen: "Eigendirections",
    task: "Task",
) -> dict[str, NDArray[Any]]:
    """Accuracy of linear heads cut to their parts along the top eigendirections (fig. 17).

    ``kept_counts`` (G,), the last of which is 0 and stands for the whole head with its part in the
    null space; ``kept_accuracy`` (members, splits, G). The counts depend on shapes alone, so that
    all seeds have the same; one above the rank keeps all directions that there are.
    """
    import torch

    with torch.no_grad():
        tests = network.frozen(torch.from_numpy(task.test_inputs).float()).numpy()
    train = inputs.astype(tests.dtype)
    rank = int(eigen.kept.sum())
    spaced = np.geomspace(1, len(eigen.eigenvalues), KEPT_POINTS)
    counts = np.unique(np.round(spaced).astype(np.int64))
    cuts = np.minimum(counts, rank)
    directions = eigen.directions.astype(train.dtype)
    accuracies = []
    for member in members:
        head = member.weights["head.weight"]
        parts = directions.T @ head.T  # (r, classes)
        outputs = [
            np.stack([*(side[:, :k] @ parts[:k] for k in cuts), whole])
            for side, whole in (
                (train @ directions, train @ head.T),
                (tests @ directions, tests @ head.T),
            )
        ]
        accuracies.append(_accuracy(outputs[0], outputs[1], task))
    return {"kept_counts": np.append(counts, 0), "kept_accuracy": np.stack(accuracies)}


def _node_share(
    teacher: Array, student: Array, eigen: "Eigendirections", seed: int
) -> NDArray[np.float64]:
    """Share of pairs in which the student is more biased, and its 95 % interval over nodes."""
    ratios = matched_progress(teacher, student).log_ratio
    below = np.where(np.abs(ratios) <= TIE, 0.5, ratios < 0)
    judged = pair_mask(eigen.eigenvalues, eigen.kept) & ~np.isnan(ratios)
    if judged.sum() < 1 or len(ratios) < 3:
        return np.full(3, np.nan)
    rng = stream("node bootstrap", seed)
    interval = node_bootstrap_interval(np.where(judged, below, np.nan), rng=rng)
    return np.array([interval.estimate, interval.low, interval.high])
