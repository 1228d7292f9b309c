r"""What the functions of this package share: labels beside rows, and rows of two levels.

A row of two levels has one probability for its label and an equal one for every other class: all
that smoothing, a virtual teacher and a Beta-smoothed label can be.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import checks
from theory.checks import Array

Labels = NDArray[np.intp]


def class_count(classes: object) -> int:
    """Number of classes, at least 2.

    Raises:
        ValueError: If ``classes`` is no integer >= 2.
    """
    return checks.count("classes", classes, minimum=2)


def labels_of(labels: ArrayLike, classes: int) -> Labels:
    """Labels of any shape, at least one of them.

    Raises:
        ValueError: For a label out of range, or no labels.
    """
    y = checks.classes("labels", labels, classes)
    if y.size == 0:
        msg = f"labels must hold at least one sample, got shape {y.shape}"
        raise ValueError(msg)
    return y


def beside_labels(name: str, rows: Array, labels: ArrayLike) -> tuple[Array, Labels]:
    """Rows ``(..., classes)`` and a label for each, broadcast to the same leading shape.

    Raises:
        ValueError: For a label out of range, no labels, or shapes that do not broadcast.
    """
    y = labels_of(checks.row_classes("labels", labels, name, rows), rows.shape[-1])
    shape = np.broadcast_shapes(rows.shape[:-1], y.shape)
    return np.broadcast_to(rows, (*shape, rows.shape[-1])), np.broadcast_to(y, shape)


def per_row(name: str, value: Array, shape: tuple[int, ...]) -> Array:
    """A number for each row, or one for all, ready to multiply rows of leading shape ``shape``.

    Raises:
        ValueError: If it does not broadcast to that shape.
    """
    try:
        return np.broadcast_to(value, shape)[..., None]
    except ValueError:
        msg = f"{name} must be one number or one a row, shape {shape}, got shape {value.shape}"
        raise ValueError(msg) from None


def is_label(labels: Labels, classes: int) -> NDArray[np.bool_]:
    """Mask of shape ``(..., classes)``: which entry of each row is its label's."""
    return np.asarray(np.arange(classes) == labels[..., None])


def two_levels(labels: Labels, classes: int, label: Array, other: Array) -> Array:
    """Rows with ``label`` at the label and ``other`` at every other class."""
    shape = np.broadcast_shapes(labels.shape, label.shape, other.shape)
    mask = is_label(np.broadcast_to(labels, shape), classes)
    own, rest = np.broadcast_to(label, shape), np.broadcast_to(other, shape)
    return np.where(mask, own[..., None], rest[..., None])
