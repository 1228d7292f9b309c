"""The arrays that a run trains and is judged on: images, given and true labels, targets."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deep import data
from deep.data.images import Labels
from deep.data.spec import DataSpec
from deep.training.fixed_targets.config import Supervision
from deep.training.streams import stream

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Task:
    """Pixels in [0, 1] and labels of the samples of a `DataSpec`."""

    train_inputs: Array
    """Shape (n, d)."""
    train_labels: Labels
    """Given labels, noise included, shape (n,)."""
    true_labels: Labels
    """Labels before the flips, shape (n,)."""
    test_inputs: Array
    """Shape (m, d)."""
    test_labels: Labels
    """Never flipped, shape (m,)."""
    classes: int

    def digest(self) -> str:
        """What tells the training images, in their order, from others."""
        return hashlib.sha256(self.train_inputs.tobytes()).hexdigest()


def make_task(spec: DataSpec, *, root: Path | str | None = None) -> Task:
    """Read, choose and flip as ``spec`` says; equal specs give equal arrays.

    >>> task = make_task(DataSpec(samples=40, noise=0.25))
    >>> task.train_inputs.shape, int((task.train_labels != task.true_labels).sum())
    ((40, 64), 10)
    """
    labels = data.load_labels(spec.name, split="train", root=root)
    size = len(labels) if spec.samples is None else spec.samples
    rows = data.choose_rows(labels, size, stream("samples", spec.name, spec.seed), how=spec.choice)
    train = data.load(spec.name, split="train", root=root, rows=rows)
    tests = data.load_labels(spec.name, split="test", root=root)
    kept = len(tests) if spec.test_samples is None else min(spec.test_samples, len(tests))
    test = data.load(spec.name, split="test", root=root, rows=np.arange(kept))
    given = data.flip_labels(
        train.labels,
        spec.noise,
        train.classes,
        stream("flips", spec.name, spec.seed),
        include_same=spec.noise_includes_same,
    )
    return Task(train.pixels(), given, train.labels, test.pixels(), test.labels, train.classes)


def make_targets(
    supervision: Supervision, labels: Labels, classes: int, teacher_logits: Array | None
) -> Array:
    """Target distribution of every training sample, shape (n, classes); rows sum to 1.

    >>> make_targets(Supervision(kind="smooth", smoothing=0.3), np.array([1]), 3, None)
    array([[0.1, 0.8, 0.1]])

    Raises:
        ValueError: If the supervision needs a teacher and there are no logits.
    """
    hard = np.eye(classes)[labels]
    if supervision.kind == "labels":
        return hard
    if supervision.kind == "smooth":
        return _mix(hard, supervision.smoothing)
    if teacher_logits is None:
        msg = f"teacher_logits must be given for supervision {supervision.kind!r}, got None"
        raise ValueError(msg)
    soft = softmax(teacher_logits / supervision.temperature)
    if supervision.kind == "teacher":
        return soft
    confidence = float(soft.max(axis=1).mean())
    return _mix(hard, (1 - confidence) * classes / (classes - 1))


def softmax(logits: Array) -> Array:
    """Probabilities along the last axis, without overflow."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), dtype=np.float64)


def _mix(hard: Array, weight: float) -> Array:
    return np.asarray((1 - weight) * hard + weight / hard.shape[1], dtype=np.float64)
