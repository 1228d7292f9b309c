"""What ``learning_dynamics`` measures, one seed at a time: steps, a training run, a kernel."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sims.parts.learning_dynamics_network import Mlp
from theory.checks import Array
from theory.labels import dynamics, mixture
from theory.labels.paths import base_difficulty, integral_difficulty
from theory.labels.softmax import softmax

CLASSES = 3
_RATES = np.geomspace(1e-4, 1.0, 13)
_SMALL = 1e-2  # learning rates to which the slope is fitted


@contextmanager
def stable() -> Iterator[None]:
    """Refuse learning rates at which weights grow beyond all numbers.

    >>> with stable():
    ...     np.exp(np.array([800.0]))
    Traceback (most recent call last):
    ...
    ValueError: rate must be smaller for this network: its weights overflow
    """
    try:
        with np.errstate(over="raise", invalid="raise"):
            yield
    except FloatingPointError as error:
        msg = "rate must be smaller for this network: its weights overflow"
        raise ValueError(msg) from error


@dataclass(frozen=True, slots=True)
class Toy:
    """The Gaussian toy, and a network at its start."""

    seed: int
    samples: int
    dimensions: int
    sigma: float
    hidden: tuple[int, ...]
    activation: str

    def draw(self) -> tuple[np.random.Generator, Array, Array, Array, Mlp]:
        """Random numbers, inputs, labels as one-hot rows, the true posterior, the network."""
        rng = np.random.default_rng(self.seed)
        x, labels, means = mixture.sample(
            rng, self.samples, CLASSES, self.dimensions, sigma=self.sigma
        )
        truth = mixture.posterior(x, means, self.sigma)
        network = Mlp.draw(rng, (self.dimensions, *self.hidden, CLASSES), self.activation)
        return rng, x, np.eye(CLASSES)[labels], truth, network


def epoch(
    network: Mlp, x: Array, targets: Array, order: NDArray[np.intp], rate: float, batch: int
) -> Mlp:
    """One pass over the data with the cross-entropy, in the order given."""
    for start in range(0, len(order), batch):
        at = order[start : start + batch]
        inputs, logits = network.forward(x[at])
        network = network.moved(inputs, targets[at] - softmax(logits), rate)
    return network


@dataclass(frozen=True, slots=True)
class Steps:
    """Single steps of a network that is trained a little, over learning rates."""

    toy: Toy
    rate: float
    batch: int
    epochs: int
    """Passes before the steps are taken: predictions are neither flat nor sure."""
    trained_on: int
    """Samples that steps are taken on, one at a time."""
    observed: int
    """Other samples whose predictions are watched."""


@stable()
def steps(job: Steps) -> dict[str, Array]:
    """Predicted and measured changes; sizes are root mean squares over pairs of samples."""
    rng, x, targets, _, network = job.toy.draw()
    for _ in range(job.epochs):
        order = rng.permutation(len(x))
        network = epoch(network, x, targets, order, job.rate, job.batch)
    one, other = np.split(x[: job.trained_on + job.observed], [job.trained_on])
    residual = targets[: job.trained_on] - softmax(network.logits(one))
    before = softmax(network.logits(other))[:, None]
    first = dynamics.first_order_change(before, network.kernel(other, one), residual, 1.0)
    second = np.empty_like(first)
    measured = np.empty((len(_RATES), *first.shape))
    for u in range(job.trained_on):
        sample, pull = network.forward(one[u : u + 1])[0], residual[u : u + 1]
        tangent, curvature = network.along(network.moved(sample, pull, 1.0), other)
        second[:, u] = dynamics.second_order_change(before[:, 0], tangent, 1.0, curvature=curvature)
        for k, rate in enumerate(_RATES):
            moved = network.moved(sample, pull, float(rate))
            measured[k, :, u] = softmax(moved.logits(other)) - before[:, 0]
    left = measured - _RATES[:, None, None, None] * first
    remainder = _size(left)
    small = _RATES <= _SMALL
    # a saturated network does not move at all: no slope, which 0 stands for
    logs = np.log(np.maximum(remainder[small], np.finfo(float).tiny))
    slope = np.polyfit(np.log(_RATES[small]), logs, 1)[0]
    return {
        "rates": _RATES,
        "change": _size(measured),
        "remainder": remainder,
        "second_order": _RATES**2 * _size(second),
        "slope": np.asarray(slope),
        "first": first,
        "measured": measured,
    }


def _size(changes: Array) -> Array:
    """Root mean square over all but a leading axis of the norm of a change."""
    return np.asarray(np.sqrt((changes**2).sum(axis=-1).mean(axis=(-2, -1))))


@dataclass(frozen=True, slots=True)
class Training:
    """A run from start to memorization, with the pulls on some samples during every epoch."""

    toy: Toy
    rate: float
    batch: int
    epochs: int
    tracked: float
    """Share of the samples, hardest and easiest, that are followed."""


@stable()
def training(job: Training) -> dict[str, Array]:
    """Paths of the hardest samples (first) and the easiest, and what pulls them.

    Every step of a batch pulls a sample by the labels of the others, and by its own if it is in
    the batch. Pulls are predicted to first order before each step and summed over an epoch.
    Paths have shape (epochs + 1, samples, K), pulls (epochs, samples, K).
    """
    rng, x, targets, truth, network = job.toy.draw()
    difficulty = base_difficulty(targets.argmax(axis=1), truth)
    order = np.argsort(-difficulty, kind="stable")
    count = max(2, round(job.tracked * len(x)))
    at = np.concatenate([order[:count], order[: -count - 1 : -1]])
    paths, pulls = [softmax(network.logits(x[at]))], []
    distance = [_distance(network, x, truth)]
    for _ in range(job.epochs):
        network, pulled = _pulled_epoch(job, network, x, targets, at, rng.permutation(len(x)))
        pulls.append(pulled)
        paths.append(softmax(network.logits(x[at])))
        distance.append(_distance(network, x, truth))
    own, neighbors = np.moveaxis(np.array(pulls), 1, 0)
    return {
        "path": np.array(paths),
        "own": own,
        "neighbors": neighbors,
        "truth": truth[at],
        "label": targets[at],
        "difficulty": difficulty[at],
        "mean_distance": np.array(distance),
    }


def _distance(network: Mlp, x: Array, truth: Array) -> float:
    return float(np.linalg.norm(softmax(network.logits(x)) - truth, axis=1).mean())


def _pulled_epoch(
    job: Training,
    network: Mlp,
    x: Array,
    targets: Array,
    at: NDArray[np.intp],
    order: NDArray[np.intp],
) -> tuple[Mlp, Array]:
    """One pass, and the pulls on the samples ``at``: own and neighbors, (2, samples, K)."""
    total = np.zeros((2, len(at), CLASSES))
    for start in range(0, len(order), job.batch):
        batch = order[start : start + job.batch]
        inputs, logits = network.forward(x[batch])
        residual = targets[batch] - softmax(logits)
        q, kernel = softmax(network.logits(x[at])), network.kernel(x[at], x[batch])
        here = at[:, None] == batch
        place = np.where(here.any(axis=1), here.argmax(axis=1), -1)
        pulls = dynamics.pulls(q, kernel, residual, job.rate, own=place)
        total += pulls.own, pulls.neighbors
        network = network.moved(inputs, residual, job.rate)
    return network, total


@dataclass(frozen=True, slots=True)
class Path:
    """A run by gradient descent on all samples at once, with as many samples held out."""

    toy: Toy
    """Its first half is trained on."""
    rate: float
    time: float
    """Learning rate times steps."""
    watched: int
    """Samples of each group that are followed."""


@stable()
def path(job: Path) -> dict[str, Array]:
    """What the first order, summed over all steps of a run, misses of the whole way.

    Groups are the hardest training samples and held-out ones. Where the steps shrink, the sum
    must come to the way, unless single samples keep crossing kinks of the network: crossings are
    counted, per sample and step.
    """
    _, x, targets, truth, network = job.toy.draw()
    half = len(x) // 2
    difficulty = base_difficulty(targets.argmax(axis=1), truth)[:half]
    hardest = np.argsort(-difficulty, kind="stable")[: job.watched]
    groups = [x[hardest], x[half : half + job.watched]]
    x, targets = x[:half], targets[:half]
    seen = [network.forward(group) for group in groups]
    start = [softmax(logits) for _, logits in seen]
    total, crossed = [np.zeros_like(q) for q in start], np.zeros(2)
    count = max(1, round(job.time / job.rate))
    for _ in range(count):
        inputs, logits = network.forward(x)
        new = network.moved(inputs, targets - softmax(logits), job.rate)
        after = [new.forward(group) for group in groups]
        for k, group in enumerate(groups):
            q = softmax(seen[k][1])
            total[k] += dynamics.prediction_change(q, network.along(new, group)[0])
            crossed[k] += _crossings(seen[k][0], after[k][0])
        network, seen = new, after
    way = [softmax(logits) - q for (_, logits), q in zip(seen, start, strict=True)]
    missed = [part_missed(t, w) for t, w in zip(total, way, strict=True)]
    return {"missed": np.array(missed), "crossings": crossed / count}


def part_missed(total: Array, way: Array) -> float:
    """Distance of a sum of changes from the way that was gone, as a part of it.

    Where nothing moved it is 0 if the sum says so too, and 1 otherwise.

    >>> part_missed(np.array([1.0, 1.0]), np.array([2.0, 2.0]))
    0.5
    """
    missed, gone = float(np.linalg.norm(total - way)), float(np.linalg.norm(way))
    return missed / gone if gone else float(missed > 0)


def _crossings(before: list[Array], after: list[Array]) -> float:
    """Hidden units that change their side, per sample."""
    pairs = zip(before[1:], after[1:], strict=True)
    return float(sum(((one > 0) != (two > 0)).sum() for one, two in pairs) / len(before[0]))


@dataclass(frozen=True, slots=True)
class Similarity:
    """The wide network of appendix G in Ren et al. 2022, on 64 points of the plane."""

    seed: int
    points: int
    width: int
    rate: float
    epochs: int
    variance: float = 0.25
    means: tuple[tuple[float, float], ...] = ((1.0, 1.0), (1.0, -1.0), (-1.0, 1.0))


@stable()
def similarity(job: Similarity) -> dict[str, Array]:
    """Trace of the kernel at the start, two similarities, and trace of A along training."""
    rng = np.random.default_rng(job.seed)
    x, labels, _ = mixture.sample(rng, job.points, variance=job.variance, means=job.means)
    targets = np.eye(CLASSES)[labels]
    first = rng.standard_normal((job.width, 2))
    last = rng.standard_normal((CLASSES, job.width)) / job.width
    network = Mlp((first, last), (), "relu")
    start = _trace(network.kernel(x, x))
    paths = []
    for _ in range(job.epochs + 1):
        paths.append(softmax(network.logits(x)))
        network = epoch(network, x, targets, rng.permutation(len(x)), job.rate, 1)
    path = np.array(paths)
    inner = x @ x.T
    return {
        "kernel_trace": start,
        "kernel_trace_end": _trace(network.kernel(x, x)),
        "inner": inner,
        "cosine": inner / np.sqrt(np.outer(np.diag(inner), np.diag(inner))),
        "labels": labels.astype(np.float64),
        # large for easy samples: it sums how sure the network was of the label
        "integral": np.asarray(integral_difficulty(path, labels)),
        "jacobian_trace": np.asarray(dynamics.jacobian_trace(path)),
    }


def _trace(kernel: Array) -> Array:
    return np.asarray(np.trace(kernel, axis1=-2, axis2=-1))
