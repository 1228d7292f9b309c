"""One seed of one setting of the eigenspace experiment: networks trained, paths measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deep.training.streams import stream
from sims.parts.threads import one_thread
from theory.checks import Array
from theory.flow.weights import weight_gain
from theory.labels.confidence import confidence, exaggeration_slope
from theory.ntk.trajectories import (
    STATISTICS,
    bias_statistics,
    log_slope,
    matched_progress,
    pair_mask,
    share_below,
)
from theory.numerics import phi
from theory.statistics import node_bootstrap_interval

if TYPE_CHECKING:
    from torch import Tensor

    from deep.training.config import RunConfig
    from deep.training.loop import Trained
    from deep.training.task import Task
    from theory.ntk.projections import Eigendirections, Projections

STUDENTS = ("student", "same_order", "tau1", "labels_tau", "soft", "null")
"""The paper's student; with the teacher's batches; at temperature 1; one-hot labels through the
student's loss; uniformly smoothed labels as confident as the teacher; a second one-hot network."""
SPLITS = ("clean", "mislabeled, as given", "mislabeled, as in truth", "test")
BATCHED_WIDTH = 256
"""Hidden layers up to this width step together; wider ones in turn, which is then faster."""
KEPT_POINTS = 24
FLOW_TIMES = 600
TIE = 1e-4
"""Differences in the logarithm of a ratio that the rounding of float32 networks explains."""


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
    """Random features, or width of the hidden layers."""
    depth: int
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

    Members are the teacher, then ``case.students``. Returned are ``steps`` (T,), ``eigenvalues``
    and ``kept`` (r,), ``displacements`` and ``norms`` (members, T, r), ``null_share`` (members,) at
    the end, ``accuracy`` (members, splits), ``statistics`` (students, statistics), ``raw_share``
    (students,): S1's share of the raw norms, as the paper plots them; ``node_share`` (3,): S1's
    share for the first student with its interval over eigendirections; and what `_confidences`,
    `_kept_accuracy` and `_flow` return.
    """
    with one_thread():
        return _measured(case)


def _measured(case: Case) -> dict[str, NDArray[Any]]:
    from deep.training.task import make_task
    from theory.ntk.projections import eigendirections

    teacher_run, student_runs = _runs(case)
    task = make_task(teacher_run.data, root=case.root)
    inputs, layer = _layer_inputs(teacher_run, task)
    eigen = eigendirections(inputs.double().numpy())
    if eigen.kept.sum() < 2:
        msg = (
            "samples and features must be enough for two eigendirections of the inputs, got "
            f"{case.samples} samples with {int(eigen.kept.sum())}"
        )
        raise ValueError(msg)
    teachers, first = _recorded(case, [teacher_run], None, eigen, layer)
    given = [teachers[0] if run.teacher else None for run in student_runs]
    students, others = _recorded(case, student_runs, given, eigen, layer)
    members = [*teachers, *students]
    paths = _members_first(first.displacements, others.displacements)
    arrays: dict[str, NDArray[Any]] = {
        "steps": first.steps,
        "eigenvalues": first.eigenvalues,
        "kept": first.kept,
        "displacements": paths,
        "norms": _members_first(first.norms, others.norms),
        "null_share": np.append(first.null_share[-1], others.null_share[-1]),
        "accuracy": np.stack(
            [_accuracy(each.train_logits, each.test_logits, task) for each in members]
        ),
    }
    found = [
        bias_statistics(paths[0], path, eigen.eigenvalues, eigen.kept, tie=TIE)
        for path in paths[1:]
    ]
    arrays["statistics"] = np.array([[each[name] for name in STATISTICS] for each in found])
    norms = arrays["norms"]
    judged = pair_mask(eigen.eigenvalues, eigen.kept)
    raw = [matched_progress(norms[0], norm).log_ratio[judged] for norm in norms[1:]]
    arrays["raw_share"] = np.array([share_below(ratios, tie=TIE) for ratios in raw])
    arrays["node_share"] = _node_share(paths[0], paths[1], eigen, case.seed)
    arrays |= _confidences(members[0], members[1], task)
    if case.model == "random_features":
        arrays |= _kept_accuracy(members[:2], teacher_run, inputs, eigen, task)
    return arrays | _flow(inputs.double().numpy(), eigen, task)


def _runs(case: Case) -> "tuple[RunConfig, list[RunConfig]]":
    from deep.models import spec
    from deep.training.config import DataSpec, Optimizer, RunConfig, Supervision

    if case.model == "mlp":
        model = spec("mlp", width=case.size, depth=case.depth)
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


def _layer_inputs(run: "RunConfig", task: "Task") -> "tuple[Tensor, str]":
    """What the first trained layer sees, and its name."""
    import torch

    from deep.training.loop import initial_network

    network = initial_network(run, task)
    layer = (network.dense_chain() or ("",))[0]
    with torch.no_grad():
        return network.frozen(torch.from_numpy(task.train_inputs).float()), layer


def _recorded(
    case: Case,
    runs: "Sequence[RunConfig]",
    teachers: "Sequence[Trained | None] | None",
    eigen: "Eigendirections",
    layer: str,
) -> "tuple[list[Trained], Projections]":
    """Train ``runs`` side by side with the first layer's weights recorded."""
    from deep.training.ensembles import train_together
    from theory.ntk.projections import Projector

    projector = Projector(eigen, layer=layer, stacked=1)
    updates = case.epochs * runs[0].optimizer.steps_per_epoch(case.samples)
    wanted = set(record_steps(updates, case.records).tolist())

    def record(step: int, weights: "Mapping[str, Tensor]") -> None:
        if step in wanted:
            projector.record(weights, step)

    # not by a probe: timings must not decide how sums are rounded
    batched = case.model == "random_features" or case.size <= BATCHED_WIDTH
    trained = train_together(
        runs,
        teachers=teachers,
        recorders=[record],
        strategy="batched" if batched else "loop",
        root=case.root,
    )
    return trained, projector.result()


def record_steps(total: int, records: int) -> NDArray[np.int64]:
    """0, then all updates, or about ``records`` of them spaced evenly in their logarithm.

    >>> record_steps(5, 10), record_steps(1000, 5)
    (array([0, 1, 2, 3, 4, 5]), array([   0,    1,    6,   32,  178, 1000]))
    """
    if total <= records:
        return np.arange(total + 1)
    spaced = np.unique(np.round(np.geomspace(1, total, records)).astype(np.int64))
    return np.append(0, spaced)


def _members_first(teacher: Array, students: Array) -> Array:
    """Records (T, members, r) of teacher and students as (members, T, r)."""
    return np.moveaxis(np.concatenate([teacher, students], axis=1), 1, 0)


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
    run: "RunConfig",
    inputs: "Tensor",
    eigen: "Eigendirections",
    task: "Task",
) -> dict[str, NDArray[Any]]:
    """Accuracy of linear heads cut to their parts along the top eigendirections (fig. 17).

    ``kept_counts`` (G,), the last of which is 0 and stands for the whole head with its part in the
    null space; ``kept_accuracy`` (members, splits, G). The counts depend on shapes alone, so that
    all seeds have the same; one above the rank keeps all directions that there are.
    """
    import torch

    from deep.training.loop import initial_network

    network = initial_network(run, task)
    with torch.no_grad():
        tests = network.frozen(torch.from_numpy(task.test_inputs).float()).numpy()
    train = inputs.numpy()
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


def _flow(inputs: Array, eigen: "Eigendirections", task: "Task") -> dict[str, NDArray[Any]]:
    r"""Exact flow of the squared loss on the same inputs and labels: the positive control.

    Teacher and student both stop where the middle direction is learned to 1 - 1/e.
    ``flow_displacements`` (2, T, r); ``flow_statistics``; ``flow_exponent`` (2,): S5, the slope of
    the logarithm of the effective time on that of the eigenvalue.
    """
    labels = np.eye(task.classes)[task.train_labels]
    singular = np.where(eigen.kept, np.sqrt(eigen.eigenvalues * len(inputs)), 0.0)
    outputs = inputs @ eigen.directions  # columns s_k u_k
    left = np.divide(outputs, singular, out=np.zeros_like(outputs), where=singular > 0)
    components = np.linalg.norm(left.T @ labels, axis=1)
    rates = singular**2
    horizon = 1.0 / rates[np.count_nonzero(rates) // 2]
    times = np.append(0.0, np.geomspace(1e-7, 1.0, FLOW_TIMES)) * horizon
    teacher = weight_gain(singular, times[:, None]) * components
    learned = phi(rates * horizon)
    # 1 - phi^2 = e^-x (1 + phi), without the cancellation
    with np.errstate(divide="ignore", invalid="ignore"):
        student_time = 1 - np.log1p(learned) / (rates * horizon)
    paths = np.stack([teacher, teacher * learned])
    found = bias_statistics(paths[0], paths[1], eigen.eigenvalues, eigen.kept, tie=1e-12)
    exponents = [log_slope(np.log(time), rates) for time in (np.ones_like(rates), student_time)]
    return {
        "flow_displacements": paths,
        "flow_statistics": np.array([found[name] for name in STATISTICS]),
        "flow_exponent": np.array(exponents),
    }
