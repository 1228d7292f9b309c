"""Validators. One per notion; each says what was required, what came and what to do."""

from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def _shown(values: Array) -> str:
    """The first few offending values, for an error message."""
    flat = [f"{value:g}" for value in np.ravel(values)[:3]]
    return ", ".join(flat) + (", …" if np.size(values) > len(flat) else "")


def real_array(name: str, value: ArrayLike, *, infinite: bool = False) -> Array:
    """``value`` as a float64 array of any shape, without nan.

    Integers, booleans and lower precision are converted; complex numbers, text and objects are
    refused, and so are infinities unless ``infinite``.

    Raises:
        ValueError: Naming ``name``, what was required and what came.
    """
    try:
        raw = np.asarray(value)
        refused = raw.dtype.kind not in "biuf"
    except (TypeError, ValueError):  # ragged nesting
        raw, refused = np.empty(0), True
    if refused:
        msg = f"{name} must be an array of real numbers, got {_kind(value)}"
        raise ValueError(msg)
    array = raw.astype(np.float64, copy=False)
    bad = np.isnan(array) if infinite else ~np.isfinite(array)
    if bad.any():
        allowed = "must be numbers, not nan" if infinite else "must be finite"
        found = f"{int(bad.sum())} of {array.size} values are not ({_shown(array[bad])})"
        msg = f"{name} {allowed}; {found}"
        raise ValueError(msg)
    return array


def _kind(value: object) -> str:
    dtype = getattr(value, "dtype", None)
    return f"dtype {dtype}" if dtype is not None else f"{type(value).__name__}"


def matrix(name: str, value: ArrayLike) -> Array:
    """``value`` as a finite float64 matrix with at least one row and one column."""
    array = real_array(name, value)
    if array.ndim != 2 or array.size == 0:
        msg = (
            f"{name} must be a matrix with at least one row and one column, got shape {array.shape}"
        )
        raise ValueError(msg)
    return array


def square_matrix(name: str, value: ArrayLike) -> Array:
    """``value`` as a finite float64 square matrix with at least one row."""
    array = matrix(name, value)
    if array.shape[0] != array.shape[1]:
        msg = f"{name} must be square, got shape {array.shape}"
        raise ValueError(msg)
    return array


def columns(name: str, value: ArrayLike, rows: int, *, of: str) -> Array:
    """``value`` as a finite array of shape (rows,) or (rows, K).

    ``of`` says in the error message what the rows stand for, such as ``"sample of X"``.
    """
    array = real_array(name, value)
    if array.ndim not in (1, 2) or array.shape[0] != rows or array.size == 0:
        msg = (
            f"{name} must have shape ({rows},) or ({rows}, K) with K >= 1, one row for each {of}, "
            f"got shape {array.shape}"
        )
        raise ValueError(msg)
    return array


def _require(name: str, array: Array, ok: NDArray[np.bool_], rule: str) -> Array:
    if not ok.all():
        msg = f"{name} must be {rule}, got {_shown(array[~ok])}"
        raise ValueError(msg)
    return array


def nonnegative(name: str, value: ArrayLike, *, infinite: bool = False) -> Array:
    """``value`` as an array of numbers >= 0; ``inf`` is refused unless ``infinite``."""
    array = real_array(name, value, infinite=infinite)
    return _require(name, array, array >= 0, ">= 0")


def positive(name: str, value: ArrayLike, *, infinite: bool = False) -> Array:
    """``value`` as an array of numbers > 0; ``inf`` is refused unless ``infinite``."""
    array = real_array(name, value, infinite=infinite)
    return _require(name, array, array > 0, "> 0")


def unit_interval(name: str, value: ArrayLike) -> Array:
    """``value`` as an array of numbers in [0, 1]."""
    array = real_array(name, value)
    return _require(name, array, (array >= 0) & (array <= 1), "in [0, 1]")


def times(name: str, value: ArrayLike) -> Array:
    """``value`` as an array of times: numbers >= 0, ``inf`` included."""
    return nonnegative(name, value, infinite=True)


def scalar(name: str, value: ArrayLike, *, infinite: bool = False) -> float:
    """``value`` as one finite float (``inf`` allowed if ``infinite``)."""
    array = real_array(name, value, infinite=infinite)
    if array.ndim != 0:
        msg = f"{name} must be one number, got an array of shape {array.shape}"
        raise ValueError(msg)
    return float(array)


def time(name: str, value: ArrayLike) -> float:
    """``value`` as one time: a number >= 0, ``inf`` included."""
    number = scalar(name, value, infinite=True)
    _require(name, np.asarray(number), np.asarray(number >= 0), ">= 0")
    return number


def fraction(name: str, value: ArrayLike) -> float:
    """``value`` as one number in [0, 1]."""
    number = scalar(name, value)
    unit_interval(name, number)
    return number


def count(name: str, value: object, *, minimum: int = 0) -> int:
    """``value`` as an integer >= ``minimum``; integral floats are accepted, others refused."""
    # not through a float, which does not hold large integers
    number = value if type(value) is int else scalar(name, value)  # type: ignore[arg-type]
    if number != int(number) or number < minimum:
        msg = f"{name} must be an integer >= {minimum}, got {value!r}"
        raise ValueError(msg)
    return int(number)


def integer(name: str, value: object, *, minimum: int = 0) -> int:
    """``value`` as an integer >= ``minimum``; floats and booleans are refused."""
    if not isinstance(value, SupportsIndex) or isinstance(value, bool | np.bool_):
        msg = f"{name} must be an integer >= {minimum}, got {value!r}"
        raise ValueError(msg)  # noqa: TRY004  # bad input is a ValueError throughout
    return count(name, value, minimum=minimum)


def flag(name: str, value: object) -> bool:
    """``value`` if it is True or False."""
    if not isinstance(value, bool):
        msg = f"{name} must be True or False, got {value!r}"
        raise ValueError(msg)  # noqa: TRY004  # bad input is a ValueError throughout
    return value


def choice(name: str, value: str, allowed: Sequence[str]) -> str:
    """``value`` if it is one of ``allowed``."""
    if value not in allowed:
        msg = f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}"
        raise ValueError(msg)
    return value


def logits(name: str, value: ArrayLike) -> Array:
    """``value`` as finite logits, at least two classes along the last axis."""
    array = real_array(name, value)
    _require_classes(name, array)
    return array


def distributions(
    name: str, value: ArrayLike, *, tolerance: float = 1e-6, fewest: int = 2
) -> Array:
    """``value`` as distributions over at least ``fewest`` classes along the last axis.

    Entries must not be negative, and rows sum to 1 within ``tolerance`` (which lets probabilities
    in single precision pass). Rows are returned as they came.

    Raises:
        ValueError: Naming the first row that is none, and by how much it is off.
    """
    array = real_array(name, value)
    _require_classes(name, array, fewest)
    negative = array.min(axis=-1) < 0
    with np.errstate(over="ignore"):
        off = array.sum(axis=-1) - 1.0
    bad = np.argwhere(negative | (np.abs(off) > tolerance))
    if len(bad):
        row = tuple(int(place) for place in bad[0])
        where = f"row {row[0] if len(row) == 1 else row}" if row else "it"
        what = (
            f"has the negative entry {array[row].min():g}"
            if negative[row]
            else f"sums to 1 {'+' if off[row] > 0 else '-'} {abs(off[row]):g}"
        )
        more = f" ({len(bad)} rows are wrong)" if len(bad) > 1 else ""
        msg = (
            f"{name} must be distributions along the last axis (entries >= 0, sum 1), "
            f"but {where} {what}{more}"
        )
        raise ValueError(msg)
    return array


def _require_classes(name: str, array: Array, fewest: int = 2) -> None:
    if array.ndim == 0 or array.shape[-1] < fewest:
        least = "two classes" if fewest == 2 else "one entry"
        msg = f"{name} must have at least {least} along its last axis, got shape {array.shape}"
        raise ValueError(msg)


def classes(name: str, value: ArrayLike, count: int) -> NDArray[np.intp]:
    """``value`` as integer classes in [0, ``count``); whole floats are accepted."""
    raw = real_array(name, value)
    bad = (raw != np.floor(raw)) | (raw < 0) | (raw >= count)
    _require(name, raw, ~bad, f"integers from 0 to {count - 1}")
    return raw.astype(np.intp)


def row_classes(name: str, value: ArrayLike, rows_name: str, rows: Array) -> NDArray[np.intp]:
    """``value`` as one class for each row of ``rows``, shape (..., K), which it broadcasts against.

    A single row may have many labels. A column of labels beside many rows is refused: broadcasting
    would set every label beside every row.
    """
    y = classes(name, value, rows.shape[-1])
    lead = rows.shape[:-1]
    try:
        np.broadcast_shapes(lead, y.shape)
        fits = y.ndim <= len(lead) or not lead
    except ValueError:
        fits = False
    if not fits:
        msg = (
            f"{name} must broadcast against the rows of {rows_name}, one class for each row, got "
            f"shapes {y.shape} and {rows.shape}"
        )
        raise ValueError(msg)
    return y


def samples(name: str, array: Array) -> Array:
    """``array`` if it holds at least one sample along its first axis."""
    if array.ndim == 0 or array.size == 0:
        msg = f"{name} must hold at least one sample along its first axis, got shape {array.shape}"
        raise ValueError(msg)
    return array


def temperature(name: str, value: ArrayLike) -> float:
    """``value`` as one temperature: a finite number > 0."""
    number = scalar(name, value)
    positive(name, number)
    return number


def same_shape(**arrays: Array) -> None:
    """Raise ValueError naming every array unless all shapes agree."""
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        msg = f"shapes must agree, got {listed}"
        raise ValueError(msg)


def broadcastable(**arrays: Array) -> None:
    """Raise ValueError naming every array unless their shapes broadcast against each other."""
    try:
        np.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError:
        listed = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        msg = f"shapes must broadcast against each other, got {listed}"
        raise ValueError(msg) from None


def same_classes(**arrays: Array) -> None:
    """Raise ValueError naming every array unless they broadcast and have the same last axis."""
    if len({array.shape[-1:] for array in arrays.values()}) > 1:
        listed = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        msg = f"the last axis must hold the same classes, got {listed}"
        raise ValueError(msg)
    broadcastable(**arrays)
