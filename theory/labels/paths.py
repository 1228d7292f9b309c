r"""How predictions for one sample move during training, and how hard the sample is.

Paths are distributions with time first, :math:`q_1, \ldots, q_T`: shape (T, K) for one sample,
(T, N, K) for N. The filters along time are in `theory.labels.filtering`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.filtering import (
    FilterTable,
    cut_off_frequency,
    early_for_filter,
    fallback_rows,
    filter_table,
    half_life,
    low_pass,
    low_pass_weights,
    white_noise_factor,
)
from theory.labels.smoothing.rows import Labels, beside_labels, is_label
from theory.statements import states

__all__ = [
    "FilterTable",
    "barycentric",
    "base_difficulty",
    "cut_off_frequency",
    "early_for_filter",
    "expected_squared_difficulty",
    "fallback_rows",
    "filter_table",
    "from_barycentric",
    "half_life",
    "integral_difficulty",
    "low_pass",
    "low_pass_weights",
    "white_noise_factor",
    "zigzag_score",
]

HEIGHT = float(np.sqrt(3.0) / 2)
"""Height of the triangle whose sides are 1."""


def base_difficulty(labels: ArrayLike, truth: ArrayLike) -> Array:
    r"""How far a label is from the true posterior, :math:`\|e_y - p^*\|_2`.

    It lies in :math:`[0, \sqrt 2]` and is 0 only where the posterior is the label. The figures of
    the paper divide it by :math:`\sqrt 2`.

    Args:
        labels: Classes, integers that broadcast against the leading axes of ``truth``; or rows of
            as many axes and classes as ``truth`` (one-hot or any other target; K numbers beside
            one posterior are a row).
        truth: Posterior :math:`p^*`, shape ``(..., classes)``.

    Raises:
        ValueError: For rows that are no distributions, or labels out of range.

    References:
        Ren et al. 2022, section 3.

    Example:
        >>> base_difficulty([0, 1], [[1.0, 0.0], [1.0, 0.0]])
        array([0.        , 1.41421356])
    """
    p = checks.distributions("truth", truth)
    given = checks.real_array("labels", labels)
    if given.ndim == p.ndim and given.shape[-1] == p.shape[-1]:
        rows = checks.distributions("labels", given)
        checks.broadcastable(labels=rows, truth=p)
        return _length(rows - p)
    p, y = beside_labels("truth", p, given)
    return _length(is_label(y, p.shape[-1]) - p)


@states(
    "labels:label-variance",
    "The expected squared distance of a drawn one-hot label from its posterior is 1 minus the "
    "squared length of the posterior.",
    source="elementary; the toy of Ren 2022, appendix C",
)
def expected_squared_difficulty(truth: ArrayLike) -> Array:
    r"""Mean of the squared `base_difficulty` when the label is drawn from the posterior.

    .. math:: E_{y \sim p^*} \|e_y - p^*\|^2 = 1 - \|p^*\|^2 = \sum_k p^*_k (1 - p^*_k)

    Args:
        truth: Posterior, shape ``(..., classes)``.

    Raises:
        ValueError: For rows that are no distributions.

    Example:
        >>> expected_squared_difficulty([[0.5, 0.5], [1.0, 0.0]])
        array([0.5, 0. ])
    """
    p = checks.distributions("truth", truth)
    top = np.argmax(p, axis=-1)[..., None]
    others = np.where(np.arange(p.shape[-1]) == top, 0.0, p)
    rest = others.sum(axis=-1)
    # 1 - p of the largest is the sum of the others, which keeps its digits
    with np.errstate(under="ignore"):
        total = rest * p.max(axis=-1) + (others * (1.0 - others)).sum(axis=-1)
    return np.asarray(total)[()]


def integral_difficulty(path: ArrayLike, label: ArrayLike) -> Array:
    r"""Probability of the label, summed over training, :math:`\sum_t q_t(y)`: small where hard.

    Args:
        path: Predictions, time first, shape ``(T, ..., K)``.
        label: The label of each sample; broadcasts against the axes between.

    Raises:
        ValueError: For rows that are no distributions, no time, or labels out of range.

    References:
        Ren et al. 2022, figure 18.

    Example:
        >>> print(integral_difficulty([[0.5, 0.5], [0.75, 0.25]], 0))
        1.25
    """
    total, y = _integrals(path, label)
    return np.asarray(np.take_along_axis(total, y[..., None], axis=-1)[..., 0])[()]


@states(
    "labels:zigzag-bounds",
    "Over T predictions of which Q go to the label, the zig-zag score lies between (T-Q)/(K-1) "
    "and T-Q.",
    source="Ren 2022, appendix E, eq. 9 (the score)",
)
def zigzag_score(path: ArrayLike, label: ArrayLike, normalize: bool = False) -> Array:  # noqa: FBT001, FBT002  # the signature is public
    r"""How far a path strays to another class than its label.

    .. math:: \max_{i \ne y} \sum_{t=1}^T q_t(i)

    Args:
        path: Predictions, time first: after the first epoch, the second and so on (not before
            training), shape ``(T, ..., K)``.
        label: The label of each sample; broadcasts against the axes between.
        normalize: Divide by T.

    Returns:
        One score a sample.

    Raises:
        ValueError: For rows that are no distributions, no time, or labels out of range.

    References:
        Ren et al. 2022, appendix E, eq. 9.

    Example:
        >>> path = [[0.1, 0.7, 0.2], [0.9, 0.0, 0.1]]
        >>> print(zigzag_score(path, 0), zigzag_score(path, 0, normalize=True))
        0.7 0.35
    """
    normalize = checks.flag("normalize", normalize)
    total, y = _integrals(path, label)
    score = np.where(is_label(y, total.shape[-1]), -np.inf, total).max(axis=-1)
    return np.asarray(score / len(np.asarray(path)) if normalize else score)[()]


@states(
    "labels:barycentric-isometry",
    "Distances between distributions over three classes are the square root of 2 times those of "
    "their points in the triangle of sides 1.",
    source="Ren 2022, appendix A",
)
def barycentric(q: ArrayLike, classes: Sequence[int] | None = None) -> Array:
    r"""Points of a triangle for distributions over three classes.

    The corners are (0, 0), (1, 0) and :math:`(1/2, \sqrt 3 / 2)`; the point of q is
    :math:`(q_2 + q_3 / 2,\; \sqrt 3 q_3 / 2)`. Distances in the plane are :math:`\sqrt 2` times
    smaller than between the distributions.

    Args:
        q: Distributions, shape ``(..., K)``.
        classes: Which three of K > 3 classes are the corners. The third corner then stands for
            all classes but the first two: it gets :math:`1 - q_1 - q_2`. With three classes, their
            order.

    Returns:
        Points, shape ``(..., 2)``.

    Raises:
        ValueError: For rows that are no distributions, fewer than three classes, or more without
            a choice of three different ones.

    References:
        Ren et al. 2022, appendix A, figure 8.

    Example:
        >>> barycentric([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        array([[0.       , 0.       ],
               [1.       , 0.       ],
               [0.5      , 0.8660254]])
        >>> barycentric([0.1, 0.2, 0.3, 0.4], classes=(3, 0, 1))
        array([0.35      , 0.4330127])
    """
    p = checks.distributions("q", q)
    first, second = _corners(classes, p.shape[-1])[:2]
    rest = np.delete(p, [first, second], axis=-1).sum(axis=-1)
    return np.stack([p[..., second] + rest / 2, HEIGHT * rest], axis=-1)


def from_barycentric(points: ArrayLike) -> Array:
    r"""Distributions over three classes from the points of `barycentric`: its inverse.

    Outside the triangle an entry is negative.

    Args:
        points: Shape ``(..., 2)``.

    Returns:
        Rows that sum to 1, shape ``(..., 3)``.

    Raises:
        ValueError: If the last axis has not two entries, or one is beyond 1e300 in size.

    Example:
        >>> from_barycentric([0.5, 0.0])
        array([0.5, 0.5, 0. ])
    """
    xy = checks.real_array("points", points)
    if xy.ndim == 0 or xy.shape[-1] != 2:
        msg = f"points must have two coordinates along the last axis, got shape {xy.shape}"
        raise ValueError(msg)
    if xy.size and np.abs(xy).max() > 1e300:
        msg = f"points must not be larger than 1e300, got {np.abs(xy).max():g}"
        raise ValueError(msg)
    third = xy[..., 1] / HEIGHT
    second = xy[..., 0] - third / 2
    return np.stack([1.0 - second - third, second, third], axis=-1)


def _length(difference: Array) -> Array:
    """Euclidean length of each row; no square underflows to 0."""
    top = np.abs(difference).max(axis=-1, keepdims=True)
    with np.errstate(under="ignore"):
        scaled = difference / np.where(top == 0, 1.0, top)
        return np.asarray(top[..., 0] * np.sqrt((scaled**2).sum(axis=-1)))[()]


def _integrals(path: ArrayLike, label: ArrayLike) -> tuple[Array, Labels]:
    """The path summed over time, and the label of each sample."""
    q = checks.distributions("path", path)
    if q.ndim < 2 or q.size == 0:
        msg = f"path must have time first, shape (T, ..., classes) with T >= 1, got shape {q.shape}"
        raise ValueError(msg)
    return beside_labels("path", q.sum(axis=0), label)


def _corners(classes: Sequence[int] | None, count: int) -> Labels:
    if classes is None:
        if count != 3:
            msg = f"q must have three classes, or classes name three of them, got {count} classes"
            raise ValueError(msg)
        return np.arange(3)
    corners = checks.classes("classes", np.asarray(classes), count)
    if corners.shape != (3,) or len(set(corners.tolist())) < 3:
        msg = f"classes must be three different classes, got {classes!r}"
        raise ValueError(msg)
    return corners
