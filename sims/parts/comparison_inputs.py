"""What the user hands in to be compared: checked, and named by its content."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_FEWEST = 4
_LARGEST = 1e100  # whose squares are still numbers
_ROUNDED = 0.01  # of a sum of bfloat16 probabilities
_BLOCK = 2_000_000  # numbers in float64 at one time
_ROLES = ("teacher", "student", "control")

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Networks:
    """Logits of two or three networks on the same samples, and the true classes."""

    logits: dict[str, NDArray[Any]]
    """By role, broadcast to shape (seeds, n, classes), in the precision they came in."""
    labels: NDArray[np.int64] | None
    """Shape (seeds, n)."""
    digests: dict[str, str]
    """Of what was handed in, by role; empty where nothing was."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Seeds, samples, classes."""
        seeds, samples, classes = self.logits["teacher"].shape
        return seeds, samples, classes

    def blocks(self) -> Iterator[tuple[int, slice]]:
        """Seeds and slices of samples that fit into memory together."""
        seeds, samples, classes = self.shape
        step = max(1, _BLOCK // (classes * len(self.logits)))
        for seed in range(seeds):
            for start in range(0, samples, step):
                yield seed, slice(start, start + step)


def networks(
    teacher: ArrayLike,
    student: ArrayLike,
    labels: ArrayLike | None = None,
    control: ArrayLike | None = None,
) -> Networks:
    """What was handed in, if it can be compared.

    Raises:
        ValueError: If it cannot; the message names the argument, what was required, what came and
            what to do.
    """
    given = {"teacher": teacher, "student": student}
    if control is not None:
        given["control"] = control
    arrays = {role: _logits(role, value) for role, value in given.items()}
    seeds = _shared_shape(arrays)
    digests = {role: _scanned(role, array) for role, array in arrays.items()}
    digests |= {role: "" for role in _ROLES if role not in arrays}
    samples, classes = arrays["teacher"].shape[-2:]
    truth = None if labels is None else _labels(labels, seeds, samples, classes)
    digests["labels"] = "" if truth is None else _digest(truth)
    wide = {
        role: np.broadcast_to(array, (seeds, samples, classes)) for role, array in arrays.items()
    }
    if truth is not None:
        truth = np.broadcast_to(truth, (seeds, samples))
    found = Networks(wide, truth, digests)
    if truth is not None:
        _refuse_shifted(found)
    return found


def as_array(name: str, value: Any) -> NDArray[Any]:  # noqa: ANN401  # whatever is handed in
    """``value`` as an array; a PyTorch tensor is taken off its graph and its device.

    Raises:
        ValueError: If it is no array, or some of its entries are masked.
    """
    if value is None or isinstance(value, (str, PathLike)):
        hint = "; hand in np.load of it" if value is not None else ""
        msg = f"{name} must be an array of numbers, got {value!r}{hint}"
        raise ValueError(msg)
    if np.ma.is_masked(value):
        msg = f"{name} must not be masked: leave those samples out of every array"
        raise ValueError(msg)
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if "bfloat16" in str(value.dtype):
            value = value.float()
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        msg = f"{name} must be an array of numbers, got {type(value).__name__} ({error})"
        raise ValueError(msg) from None


def _logits(role: str, value: object) -> NDArray[Any]:
    array = as_array(role, value)
    # 2 bytes that are no float16: what is left of bfloat16 where numpy does not know it
    bits = array.dtype.kind in "iuV" and array.dtype.itemsize == 2
    if array.dtype.kind not in "iuf" or bits:
        hint = "; if these are bfloat16, save logits.float()" if bits else ""
        msg = f"{role} must be an array of logits, numbers, got dtype {array.dtype}{hint}"
        raise ValueError(msg)
    if array.ndim not in (2, 3) or array.size == 0:
        hint = (
            "; for one logit a sample, z, hand in np.stack([0 * z, z], axis=1)"
            if array.ndim == 1
            else ""
        )
        msg = (
            f"{role} must have shape (samples, classes) or (seeds, samples, classes), got "
            f"{array.shape}{hint}"
        )
        raise ValueError(msg)
    if array.shape[-1] < 2:
        msg = (
            f"{role} must have at least two classes along its last axis, got shape {array.shape}; "
            "for one logit a sample, z, hand in np.concatenate([0 * z, z], axis=-1)"
        )
        raise ValueError(msg)
    if array.shape[-2] < _FEWEST:
        msg = f"{role} must hold at least {_FEWEST} samples, got shape {array.shape}"
        raise ValueError(msg)
    return array


def _shared_shape(arrays: dict[str, NDArray[Any]]) -> int:
    """The number of seeds, where samples and classes agree."""
    listed = ", ".join(f"{role} {array.shape}" for role, array in arrays.items())
    if len({array.shape[-2:] for array in arrays.values()}) > 1:
        flipped = len({tuple(sorted(array.shape)) for array in arrays.values()}) == 1
        hint = "; transpose one of them" if flipped else ": the same samples and classes"
        msg = f"teacher and student must have the same shape, got {listed}{hint}"
        raise ValueError(msg)
    seeds = {array.shape[0] for array in arrays.values() if array.ndim == 3} - {1}
    if len(seeds) > 1:
        msg = f"teacher and student must have the same number of seeds, got {listed}"
        raise ValueError(msg)
    return seeds.pop() if seeds else 1


def _scanned(role: str, array: NDArray[Any]) -> str:
    """The digest of logits, read once, some rows at a time.

    Raises:
        ValueError: If rows are not finite, or all of them are probabilities.
    """
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    flat = array.reshape(-1, array.shape[-1])
    bad: list[int] = []
    count, alike, ruled_out = 0, True, True
    for start in range(0, len(flat), step := max(1, _BLOCK // flat.shape[1])):
        block = np.ascontiguousarray(flat[start : start + step])
        digest.update(block.data if block.size else b"")
        rows = block.astype(np.float64)
        wrong = np.flatnonzero(~(np.abs(rows).max(axis=1) <= _LARGEST))
        count += len(wrong)
        bad += [int(row) + start for row in wrong[: 5 - len(bad)]]
        ruled_out = ruled_out and bool((rows[wrong] <= _LARGEST).all())  # neither nan nor inf
        alike = alike and not len(wrong) and _shares(rows)
    if bad:
        shown = [np.unravel_index(row, array.shape[:-1]) for row in bad]
        names = [str(int(at[0])) if len(at) == 1 else f"{tuple(map(int, at))}" for at in shown]
        more = ", …" if count > len(bad) else ""
        what = "row is" if count == 1 else "rows are"
        msg = (
            f"{role} must hold finite logits (up to {_LARGEST:g}); {count} {what} not: "
            f"{', '.join(names)}{more}"
            f"{'; where a class is ruled out, hand in -1e4' if ruled_out else ''}"
        )
        raise ValueError(msg)
    if alike:
        msg = (
            f"{role} must hold logits, and every row sums to 1 (or 100): these are probabilities; "
            "hand in what the softmax was taken of, or np.log of them if nothing else is left"
        )
        raise ValueError(msg)
    return digest.hexdigest()


def _shares(rows: Floats) -> bool:
    """Whether all rows are probabilities, or percentages, of any precision."""
    total = rows.sum(axis=1)
    return bool((rows >= 0).all()) and any(
        (np.abs(total / whole - 1) <= _ROUNDED).all() for whole in (1, 100)
    )


def _labels(value: object, seeds: int, samples: int, classes: int) -> NDArray[np.int64]:
    raw = as_array("labels", value)
    if raw.shape == (samples, 1):
        raw = raw[:, 0]
    allowed = ((samples,), (seeds, samples))
    if raw.shape not in allowed:
        hint = "; of one-hot rows hand in labels.argmax(axis=1)" if raw.ndim == 2 else ""
        msg = f"labels must be one class a sample, shape ({samples},), got {raw.shape}{hint}"
        raise ValueError(msg)
    whole = raw.dtype.kind != "f" or (np.isfinite(raw) & (raw == np.floor(raw))).all()
    if raw.dtype.kind not in "biuf" or not whole:
        what = f"dtype {raw.dtype}" if raw.dtype.kind not in "biuf" else "fractions, nan or inf"
        msg = f"labels must be whole numbers from 0 to {classes - 1}, got {what}"
        raise ValueError(msg)
    low, high = int(raw.min()), int(raw.max())
    if low < 0 or high >= classes:
        hint = "; hand in labels - 1" if low == 1 and high == classes else ""
        msg = f"labels must be from 0 to {classes - 1}, got {low} to {high}{hint}"
        raise ValueError(msg)
    return raw.astype(np.int64)


def _refuse_shifted(found: Networks) -> None:
    """Refuse labels that are all off by one.

    Raises:
        ValueError: If the teacher is right of few, and of many times as many one class further.
    """
    assert found.labels is not None  # noqa: S101  # the caller has looked
    right = np.zeros(3)
    for seed, rows in found.blocks():
        predicted = np.argmax(found.logits["teacher"][seed, rows], axis=-1)
        gap = predicted - found.labels[seed, rows]
        right += [(gap == shift).sum() for shift in (0, -1, 1)]
    share = right / found.labels.size
    low, high = found.labels.min(), found.labels.max()
    room = 0 < low < high, low < high < found.shape[2] - 1
    for column, change, fits in ((1, "- 1", room[0]), (2, "+ 1", room[1])):
        if fits and share[column] > 0.2 and share[0] < 0.2 * share[column]:
            msg = (
                f"labels must count classes from 0: the teacher is right on {share[0]:.1%}, and on "
                f"{share[column]:.1%} of labels {change}; hand in those"
            )
            raise ValueError(msg)


def _digest(array: NDArray[Any]) -> str:
    whole = np.ascontiguousarray(array)
    return hashlib.sha256(f"{whole.dtype.str}{whole.shape}".encode() + whole.tobytes()).hexdigest()
