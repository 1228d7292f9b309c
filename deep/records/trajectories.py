"""The course of training, sample by sample: what each epoch predicted.

Zig-zag scores, low-pass filters and points in the simplex are computed from the paths by
`theory.labels.paths`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Correction", "Trajectories", "correction", "first_learned", "forgetting_events"]

Array = NDArray[Any]
_PREFIX = "trajectory/"
_LARGEST = int(np.iinfo(np.int16).max)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Trajectories:
    """Predictions of one run in each of its epochs, for n samples; m of them in full.

    An epoch need not see every sample (the last, smaller batch may be dropped). What was not seen
    is nan, and -1 in ``prediction``, whatever was given there. float16 keeps a probability to a
    relative error of 4.9e-4.

    Raises:
        ValueError: If shapes do not agree, or a class or a row is out of range.

    Example:
        >>> course = Trajectories(
        ...     confidence=[[0.6, 0.5], [0.9, 0.7]],
        ...     prediction=[[0, 1], [0, 0]],
        ...     label_probability=[[0.6, 0.5], [0.9, 0.3]],
        ...     visited=[[True, True], [True, True]],
        ...     rows=[1],
        ...     probabilities=[[[0.5, 0.5]], [[0.7, 0.3]]],
        ... )
        >>> course.paths().shape
        (2, 1, 2)
        >>> forgetting_events(course.prediction, [0, 1])
        array([0, 1])
    """

    confidence: Array
    """Top probability, float16 of shape (epochs, n)."""
    prediction: Array
    """The class that has it, int16 of shape (epochs, n)."""
    label_probability: Array
    """Probability of the given label, float16 of shape (epochs, n)."""
    visited: Array
    """Whether the epoch saw the sample, booleans of shape (epochs, n)."""
    rows: Array
    """The samples with full probabilities, int64 of shape (m,)."""
    probabilities: Array
    """Theirs, float32 of shape (epochs, m, classes)."""

    def __post_init__(self) -> None:
        visited = np.asarray(self.visited, dtype=bool)
        rows = _integers("rows", self.rows)
        shape = visited.shape
        if visited.ndim != 2:
            msg = f"visited must have shape (epochs, samples), got {shape}"
            raise ValueError(msg)
        if rows.ndim != 1 or (rows.size and not (rows.min() >= 0 and rows.max() < shape[1])):
            msg = f"rows must be samples from 0 to {shape[1] - 1} in one axis, got {rows}"
            raise ValueError(msg)
        full = np.asarray(self.probabilities, dtype=np.float32)
        if full.ndim != 3 or full.shape[:2] != (shape[0], rows.size):
            msg = f"probabilities must have shape {(shape[0], rows.size)} and classes, "
            raise ValueError(msg + f"got {full.shape}")
        prediction = _integers("prediction", self.prediction)
        seen = prediction[visited] if prediction.shape == shape else prediction
        if seen.size and not (seen.min() >= 0 and seen.max() <= _LARGEST):
            msg = f"prediction must be classes from 0 to {_LARGEST}, got {seen.min()}, {seen.max()}"
            raise ValueError(msg)
        kept = {
            "confidence": _seen("confidence", np.float16, self.confidence, visited),
            "prediction": _seen("prediction", np.int16, prediction, visited),
            "label_probability": _seen(
                "label_probability", np.float16, self.label_probability, visited
            ),
            "visited": visited,
            "rows": rows,
            "probabilities": np.where(visited[:, rows, None], full, np.float32(np.nan)),
        }
        for name, array in kept.items():
            object.__setattr__(self, name, array)

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        return len(self.visited)

    @property
    def samples(self) -> int:
        """Number of samples, n."""
        return int(self.visited.shape[1])

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """Those that `to_arrays` gave, among any others; ``visited`` may also be booleans.

        Without samples in ``rows``, ``probabilities`` may be missing.

        Raises:
            ValueError: If another is missing; the message names it.
        """
        held = {
            field.name: np.asarray(arrays[_PREFIX + field.name])
            for field in fields(cls)
            if _PREFIX + field.name in arrays
        }
        if "rows" in held and "visited" in held and held["rows"].size == 0:
            held.setdefault("probabilities", np.empty((len(held["visited"]), 0, 0)))
        missing = [_PREFIX + field.name for field in fields(cls) if field.name not in held]
        if missing:
            msg = f"arrays must hold the course of training, got none named {', '.join(missing)}"
            raise ValueError(msg)
        if held["visited"].dtype == np.uint8:
            samples = held["prediction"].shape[-1]
            held["visited"] = np.unpackbits(held["visited"], axis=1, count=samples).astype(bool)
        return cls(**held)

    def to_arrays(self) -> dict[str, Array]:
        """Arrays for the store, named ``trajectory/...``; ``visited`` as packed bits."""
        held = {field.name: getattr(self, field.name) for field in fields(self)}
        held["visited"] = np.packbits(self.visited, axis=1)
        return {_PREFIX + name: array for name, array in held.items()}

    def paths(self, label: int | None = None, *, labels: ArrayLike | None = None) -> Array:
        """Paths in the simplex of the samples in ``rows``, as `theory.labels.paths` takes them.

        An epoch that did not see a sample repeats the one before; before a sample was first seen it
        has its first prediction. One that was never seen is nan.

        Args:
            label: Only samples with this label.
            labels: The labels of all n samples; required with ``label``.

        Returns:
            Shape (epochs, m, classes).

        Raises:
            ValueError: If ``label`` comes without ``labels``, or these are not n classes.
        """
        columns = np.arange(len(self.rows))
        if label is not None:
            if labels is None:
                msg = f"labels must be given to choose those samples that have label {label}"
                raise ValueError(msg)
            given = _integers("labels", labels)
            _require_samples(given, self.samples, "labels")
            columns = columns[given[self.rows] == label]
        seen = self.visited[:, self.rows[columns]]
        held: Array = self.probabilities[_latest(seen), columns]
        return held


class Correction(NamedTuple):
    """What became of samples whose label is wrong, per epoch; nan where none of them was seen."""

    to_truth: Array
    """Share of them that is predicted as its true class."""
    to_label: Array
    """Share that is predicted as the wrong label it was given: memorized."""


def forgetting_events(prediction: ArrayLike, labels: ArrayLike) -> Array:
    """How often each sample was right in an epoch and wrong in the next that saw it.

    Args:
        prediction: Classes, shape (epochs, n); -1 where an epoch did not see the sample.
        labels: Given labels, shape (n,).

    Returns:
        Counts, shape (n,). A sample that was never right has 0, as one that was never forgotten
        has; `first_learned` tells them apart.

    Raises:
        ValueError: If the arrays are not such.

    References:
        Toneva et al. 2019, section 3: An empirical study of example forgetting.

    Example:
        >>> forgetting_events([[0, 1], [1, -1], [0, 1], [1, 1]], [0, 1])
        array([2, 0])
    """
    right, seen = _right(prediction, labels)
    right = right[_latest(seen), np.arange(right.shape[1])]
    return np.asarray(np.sum(right[:-1] & ~right[1:], axis=0))


def first_learned(prediction: ArrayLike, labels: ArrayLike) -> Array:
    """The first epoch, counted from 0, that predicts each sample's label; -1 if none does.

    Takes what `forgetting_events` takes.

    Raises:
        ValueError: If the arrays are not such.

    Example:
        >>> first_learned([[0, 0, 0], [1, 1, 0]], [0, 1, 2])
        array([ 0,  1, -1])
    """
    right, _ = _right(prediction, labels)
    if len(right) == 0:
        return np.full(right.shape[1], -1)
    return np.where(right.any(axis=0), right.argmax(axis=0), -1)


def correction(prediction: ArrayLike, labels: ArrayLike, truth: ArrayLike) -> Correction:
    """Whether wrong labels are overcome or memorized, epoch by epoch.

    Args:
        prediction: Classes, shape (epochs, n); -1 where an epoch did not see the sample.
        labels: Given labels, shape (n,).
        truth: True classes, shape (n,). Samples where both agree do not count.

    Raises:
        ValueError: If the arrays are not such.

    Example:
        >>> correction([[1, 0], [0, 0]], labels=[1, 0], truth=[0, 0]).to_truth
        array([0., 1.])
    """
    memorized, seen = _right(prediction, labels)
    corrected, _ = _right(prediction, truth)
    flipped = np.asarray(labels) != np.asarray(truth)
    count = np.sum(seen & flipped, axis=1)
    shares = [
        np.where(count == 0, np.nan, np.sum(hit & flipped, axis=1) / np.maximum(count, 1))
        for hit in (corrected, memorized)
    ]
    return Correction(*shares)


def _right(prediction: ArrayLike, labels: ArrayLike) -> tuple[Array, Array]:
    """Where a prediction was right, and where there was one."""
    predicted, given = _integers("prediction", prediction), _integers("labels", labels)
    if predicted.ndim != 2:
        msg = f"prediction must have shape (epochs, samples), got {predicted.shape}"
        raise ValueError(msg)
    _require_samples(given, predicted.shape[1], "labels")
    seen = predicted >= 0
    return seen & (predicted == given), seen


def _latest(seen: Array) -> Array:
    """For each epoch the last that saw the sample, or the first that did where none had yet."""
    epochs = np.arange(len(seen))[:, None]
    if len(seen) == 0:
        return np.zeros(seen.shape, dtype=np.int64)
    last = np.maximum.accumulate(np.where(seen, epochs, -1), axis=0)
    return np.where(last < 0, seen.argmax(axis=0), last)


def _seen(name: str, dtype: type[np.generic], values: ArrayLike, visited: Array) -> Array:
    """``values`` in ``dtype``, with what was not seen blotted out."""
    array = np.asarray(values)
    if array.shape != visited.shape:
        msg = f"{name} must have the shape of visited, {visited.shape}, got {array.shape}"
        raise ValueError(msg)
    nothing = -1 if np.issubdtype(dtype, np.integer) else np.nan
    kept: Array = np.where(visited, array, nothing).astype(dtype)
    return kept


def _integers(name: str, values: ArrayLike) -> Array:
    array = np.asarray(values)
    if array.dtype.kind not in "iu" and array.size:
        msg = f"{name} must be integers, got dtype {array.dtype}"
        raise ValueError(msg)
    return array.astype(np.int64)


def _require_samples(labels: Array, samples: int, name: str) -> None:
    if labels.shape != (samples,):
        msg = f"{name} must be one class for each of {samples} samples, got shape {labels.shape}"
        raise ValueError(msg)
