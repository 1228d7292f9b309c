"""One setting of the bias-variance experiment: many networks trained, their errors taken apart.

Every draw of the training data has its teachers, a student of the labels, one of smoothed labels,
and a student of each teacher at each temperature. All students of a draw start from the same
weights and see the same batches, so that students of one draw and one temperature differ by
nothing but their teacher.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deep.training.streams import stream
from sims.parts.threads import one_thread
from theory.checks import Array
from theory.labels.bias_variance import (
    heskes,
    label_gradients,
    regularization_samples,
    same_sign_samples,
)
from theory.labels.mixture import draw_means, posterior, sample
from theory.labels.softmax import log_softmax

if TYPE_CHECKING:
    from torch import Tensor

    from deep.training.fixed_targets.config import RunConfig, Supervision
    from deep.training.fixed_targets.loop import Trained
    from deep.training.fixed_targets.task import Task

TOY = "toy"
"""Name of the Gaussian classes, among those of image sets."""
TOY_CLASSES, TOY_DIMENSIONS, TOY_SIGMA = 3, 30, 2.0
QUANTITIES = ("error", "noise", "bias", "variance", "within", "between", "accuracy")
"""Columns of a table of errors; ``within`` is what teachers make of the variance."""
COUNTS = ("abs", "signed", "tau1", "same sign")
"""Shares of regularization samples by criterion, and of samples with gradients of one sign."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that one setting depends on."""

    data: str
    """An image set, or `TOY`."""
    samples: int
    test_samples: int
    noise: float
    """Fraction of flipped training labels."""
    teacher_smoothing: float
    """Weight of the uniform distribution in the teachers' labels."""
    smoothing: float
    """The same for the students of smoothed labels."""
    draws: int
    """Draws of the training data."""
    teachers: int
    """Teachers of each draw."""
    temperatures: tuple[float, ...]
    width: int
    teacher_width: int
    epochs: int
    teacher_epochs: int
    learning_rate: float
    batch: int
    records: int
    """Moments of training at which samples are counted, at most."""
    seed: int
    inputs: str = ""
    """Digest of the files that hold the images."""
    root: Path | None = field(default=None, compare=False)
    """Where they lie, which changes nothing; None for the environment's STILLROOM_DATA."""

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of what is compared: teachers, and students by what they learn from."""
        taught = (f"teacher, T = {temperature:g}" for temperature in self.temperatures)
        return ("teachers", "labels", "smoothed labels", *taught)


def measure(case: Case) -> dict[str, NDArray[Any]]:
    """Train all networks of a setting and take their errors apart.

    ``table`` (conditions, 1 + draws, quantities): means over the test samples, for all draws of
    the data and then without each in turn; ``epochs`` (E,) at which students are looked at;
    ``path`` (conditions but teachers, E, 3): error, bias and variance on the way; ``counts``
    (temperatures, E, draws, counts) on the training samples; ``plane`` (temperatures, moments, 2,
    n): label gradients a and b of the first student at about a quarter of the training and at its
    end, ``plane_epochs``; ``train_accuracy`` (conditions,).
    """
    with one_thread():
        tasks, target = _tasks(case)
        teachers = _teachers(case, tasks)
        watch = _Watch(case, tasks, target, teachers)
        students = _students(case, tasks, teachers, watch)
    logits = _by_condition(case, [each.test_logits for each in (*teachers, *students)])
    trained = _by_condition(case, [each.train_logits for each in (*teachers, *students)])
    labels = np.stack([task.train_labels for task in tasks])[:, None]
    return {
        "table": np.stack([_table(each, target) for each in logits]),
        "train_accuracy": np.array([(each.argmax(-1) == labels).mean() for each in trained]),
        **watch.arrays(),
    }


def _tasks(case: Case) -> tuple[list["Task"], Array]:
    """Arrays of every draw, and the target distribution of every test sample."""
    from deep.data.spec import DataSpec
    from deep.training.fixed_targets.task import make_task

    if case.data == TOY:
        return _toy_tasks(case)
    tasks = [
        make_task(
            DataSpec(
                name=case.data,
                samples=case.samples,
                test_samples=case.test_samples,
                noise=case.noise,
                seed=case.seed + draw,
            ),
            root=case.root,
        )
        for draw in range(case.draws)
    ]
    return tasks, np.eye(tasks[0].classes)[tasks[0].test_labels]


def _toy_tasks(case: Case) -> tuple[list["Task"], Array]:
    """Fresh samples for every draw; the target is the posterior, whose entropy is the noise."""
    from deep.data import flip_labels
    from deep.training.fixed_targets.task import Task

    means = draw_means(stream("toy means", case.seed), TOY_CLASSES, TOY_DIMENSIONS)
    tests = sample(stream("toy tests", case.seed), case.test_samples, means=means, sigma=TOY_SIGMA)
    tasks = []
    for draw in range(case.draws):
        rng = stream("toy", case.seed, draw)
        x, labels, _ = sample(rng, case.samples, means=means, sigma=TOY_SIGMA)
        true = labels.astype(np.int64)
        given = flip_labels(true, case.noise, TOY_CLASSES, rng)
        tasks.append(Task(x, given, true, tests.x, tests.labels.astype(np.int64), TOY_CLASSES))
    return tasks, posterior(tests.x, means, TOY_SIGMA)


def _teachers(case: Case, tasks: list["Task"]) -> list["Trained"]:
    """Draw by draw."""
    from deep.training.fixed_targets.ensembles import train_together

    pairs = [(draw, t) for draw in range(case.draws) for t in range(case.teachers)]
    return train_together(
        [_teacher_run(case, draw, t) for draw, t in pairs],
        tasks=[tasks[draw] for draw, _ in pairs],
        strategy="batched",
    )


def _students(
    case: Case, tasks: list["Task"], teachers: list["Trained"], watch: "_Watch"
) -> list["Trained"]:
    """Students of labels, of smoothed labels, then of teachers: by temperature, draw, teacher."""
    from deep.training.fixed_targets.config import Supervision
    from deep.training.fixed_targets.ensembles import train_together

    draws, pairs = range(case.draws), range(case.draws * case.teachers)
    smooth = Supervision(kind="smooth", smoothing=case.smoothing)
    runs = [_run(case, draw, Supervision()) for draw in draws]
    runs += [_run(case, draw, smooth) for draw in draws]
    given: list[Trained | None] = [None] * len(runs)
    own = [tasks[draw] for draw in (*draws, *draws)]
    for temperature in case.temperatures:
        taught = Supervision(kind="teacher", temperature=temperature)
        runs += [_run(case, pair // case.teachers, taught, pair) for pair in pairs]
        given += teachers
        own += [tasks[pair // case.teachers] for pair in pairs]
    return train_together(runs, teachers=given, tasks=own, recorders=[watch], strategy="batched")


def _run(case: Case, draw: int, supervision: "Supervision", pair: int | None = None) -> "RunConfig":
    """A student: its seed is that of the draw."""
    from deep.models import spec
    from deep.training.fixed_targets.config import RunConfig
    from deep.training.optimizers import Optimizer

    teacher = None if pair is None else _teacher_run(case, draw, pair % case.teachers)
    return RunConfig(
        model=spec("mlp", width=case.width, first_bias=True),
        supervision=supervision,
        optimizer=Optimizer(learning_rate=case.learning_rate, batch=case.batch),
        epochs=case.epochs,
        seed=case.seed + draw,
        teacher=teacher,
    )


def _teacher_run(case: Case, draw: int, number: int) -> "RunConfig":
    """A teacher, with a seed of its own."""
    from deep.models import spec
    from deep.training.fixed_targets.config import RunConfig, Supervision
    from deep.training.optimizers import Optimizer

    smoothed = Supervision(kind="smooth", smoothing=case.teacher_smoothing)
    return RunConfig(
        model=spec("mlp", width=case.teacher_width, first_bias=True),
        supervision=smoothed if case.teacher_smoothing else Supervision(),
        optimizer=Optimizer(learning_rate=case.learning_rate, batch=case.batch),
        epochs=case.teacher_epochs,
        seed=case.seed + draw * case.teachers + number,
        stream="teacher",
    )


def _by_condition(case: Case, logits: list[Array], *, teachers: bool = True) -> list[Array]:
    """Logits of every condition, or of all students, shape (draws, teachers or 1, n, classes)."""
    taught, parts = case.draws * case.teachers, []
    start = 0
    for name in case.conditions if teachers else case.conditions[1:]:
        count = case.draws if name in ("labels", "smoothed labels") else taught
        stacked = np.stack(logits[start : start + count])
        parts.append(stacked.reshape(case.draws, -1, *stacked.shape[1:]))
        start += count
    return parts


def _table(logits: Array, target: Array) -> Array:
    """Mean over the samples of every quantity, for all draws and without each in turn.

    Errors, variances over teachers and hits of a draw are its own; bias and the variance between
    draws are those of the geometric means over the teachers of each.
    """
    draws = np.arange(len(logits))
    own = np.array([_of_draw(each, target) for each in logits])
    means = log_softmax(logits).mean(axis=1)
    rows = []
    for kept in (draws, *(draws[draws != left] for left in draws)):
        error, within, hits = own[kept].mean(axis=0)
        parts = heskes(means[kept], target)
        noise, bias, between = (
            float(np.mean(part)) for part in (parts.noise, parts.bias, parts.variance)
        )
        rows.append([error, noise, bias, within + between, within, between, hits])
    return np.array(rows)


def _of_draw(logits: Array, target: Array) -> list[float]:
    """Error, variance over teachers and accuracy on one draw; logits (teachers, n, classes)."""
    parts = heskes(logits, target)
    # the chance that a label drawn from the target is the one predicted
    hit = np.take_along_axis(target[None], logits.argmax(-1)[..., None], axis=-1)
    return [float(np.mean(each)) for each in (parts.error, parts.variance, hit)]


def over_training(logits: Array, target: Array) -> Array:
    """Error, bias and variance over all models, means over the samples."""
    parts = heskes(logits.reshape(-1, *logits.shape[-2:]), target)
    return np.array([np.mean(each) for each in (parts.error, parts.bias, parts.variance)])


class _Watch:
    """Looks at the students while they train: what they count as, and how their error is made."""

    def __init__(
        self, case: Case, tasks: list["Task"], target: Array, teachers: list["Trained"]
    ) -> None:
        self.case, self.target = case, target
        self.steps = -(-case.samples // case.batch)
        self.epochs = record_epochs(case.epochs, case.records)
        inner = self.epochs[1:-1]
        early = inner[np.argmin(np.abs(inner - case.epochs / 4))]
        self.moments = np.array([early, case.epochs])
        pairs = range(case.draws * case.teachers)
        self.labels = np.stack([tasks[pair // case.teachers].train_labels for pair in pairs])
        self.teachers = np.stack([each.train_logits for each in teachers])
        own = np.stack([tasks[pair // case.teachers].train_inputs for pair in pairs])
        self.inputs = np.concatenate([own] * len(case.temperatures))
        self.tests = tasks[0].test_inputs
        self.counts: list[Array] = []
        self.plane: list[Array] = []
        self.path: list[Array] = []

    def __call__(self, updates: int, weights: Mapping[str, "Tensor"]) -> None:
        epoch, rest = divmod(updates, self.steps)
        if rest or epoch not in self.epochs:
            return
        tests = _by_condition(self.case, list(_forward(weights, self.tests)), teachers=False)
        self.path.append(np.stack([over_training(each, self.target) for each in tests]))
        untaught = 2 * self.case.draws
        logits = _forward({k: w[untaught:] for k, w in weights.items()}, self.inputs)
        logits = logits.reshape(len(self.case.temperatures), len(self.labels), *logits.shape[1:])
        taught = list(zip(logits, self.case.temperatures, strict=True))
        self.counts.append(np.stack([self._count(z, tau) for z, tau in taught]))
        if epoch in self.moments:
            first = self.teachers[0], self.labels[0]
            self.plane.append(np.array([label_gradients(z[0], *first, tau) for z, tau in taught]))

    def _count(self, logits: Array, tau: float) -> Array:
        """Shares of the samples of every draw, shape (draws, counts)."""
        given = (logits, self.teachers, self.labels, tau)
        masks = [regularization_samples(*given, criterion) for criterion in COUNTS[:3]]
        masks.append(same_sign_samples(*given))
        shares = np.stack([mask.mean(axis=1) for mask in masks], axis=-1)
        return np.asarray(shares.reshape(self.case.draws, self.case.teachers, -1).mean(axis=1))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What was seen, moments along the second axis."""
        return {
            "epochs": self.epochs,
            "path": np.stack(self.path, axis=1),
            "counts": np.stack(self.counts, axis=1),
            "plane": np.stack(self.plane, axis=1),
            "plane_epochs": self.moments,
        }


def _forward(weights: Mapping[str, "Tensor"], inputs: Array) -> Array:
    """Logits (members, n, classes) of stacked networks on their inputs, or on the same ones."""
    import torch

    layers = sum(name.endswith("weight") for name in weights)
    with torch.no_grad():
        hidden = torch.from_numpy(inputs).float()
        if hidden.ndim == 2:
            hidden = hidden.expand(len(weights["layers.0.weight"]), *hidden.shape)
        for number in range(layers):
            weight, bias = weights[f"layers.{number}.weight"], weights[f"layers.{number}.bias"]
            hidden = torch.baddbmm(bias[:, None], hidden, weight.transpose(1, 2))
            if number < layers - 1:
                hidden = hidden.relu()
        return np.asarray(hidden.double().numpy())


def record_epochs(epochs: int, records: int) -> NDArray[np.int64]:
    """0, then all epochs, or about ``records`` of them, closer together at first.

    >>> record_epochs(3, 10), record_epochs(100, 5)
    (array([0, 1, 2, 3]), array([  0,   1,   3,  10,  32, 100]))
    """
    if epochs <= records:
        return np.arange(epochs + 1)
    spaced = np.unique(np.round(np.geomspace(1, epochs, records)).astype(np.int64))
    return np.append(0, spaced)
