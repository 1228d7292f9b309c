r"""How sure a network is of a class, and how a student's sureness follows its teacher's.

All from logits, never from probabilities: :math:`1 - p` has no digits left where p rounds to 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.softmax import surprisal
from theory.numerics import exp_beyond_linear, progress
from theory.statistics import Interval, blocks, percentile_interval


def confidence(logits: ArrayLike, label: ArrayLike) -> Array:
    r"""Log-odds of a class, from logits.

    .. math:: \varphi_y(z) = z_y - \ln \sum_{k \ne y} e^{z_k} = \ln \frac{p_y}{1 - p_y}

    The probability is sigmoid(phi), the cross-entropy softplus(-phi), and 1 - p is sigmoid(-phi).

    Args:
        logits: z, shape ``(..., classes)``, at least two classes.
        label: Class for each row, integers; broadcasts against the leading axes of ``logits``.

    Returns:
        phi, of the broadcast leading shape.

    Raises:
        ValueError: For fewer than two classes, a class out of range, nan or inf.

    References:
        Nagarajan et al. 2023, section 3.

    Example:
        >>> confidence([[9.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [0, 2])  # 9 - ln 2, -ln 2
        array([ 8.30685282, -0.69314718])
    """
    z = checks.logits("logits", logits)
    y = checks.classes("label", label, z.shape[-1])
    try:
        shape = np.broadcast_shapes(z.shape[:-1], y.shape)
    except ValueError:
        msg = f"label must broadcast against the rows of logits, got {y.shape} and {z.shape}"
        raise ValueError(msg) from None
    z, y = np.broadcast_to(z, (*shape, z.shape[-1])), np.broadcast_to(y, shape)[..., None]
    own = np.take_along_axis(z, y, axis=-1)[..., 0]
    others = np.where(np.arange(z.shape[-1]) == y, -np.inf, z)
    top = others.max(axis=-1)
    with np.errstate(under="ignore", over="ignore"):
        rest = np.exp(others - top[..., None]).sum(axis=-1)
        return np.asarray((own - top) - np.log(rest))[()]


def entropy(logits: ArrayLike) -> Array:
    r"""Entropy of the softmax in nats, :math:`-\sum_k p_k \ln p_k`, as a sum of positive terms.

    Example:
        >>> entropy([[0.0, 0.0], [800.0, 0.0]])
        array([0.69314718, 0.        ])
    """
    cost = surprisal(logits)
    with np.errstate(under="ignore"):
        return np.asarray(progress(np.exp(-cost), cost).sum(axis=-1))[()]


def kl_divergence(teacher_logits: ArrayLike, student_logits: ArrayLike) -> Array:
    r"""Divergence of the student q from the teacher p in nats, :math:`\sum_k p_k \ln (p_k / q_k)`.

    With :math:`\delta` the difference of the logits less its mean under p, it equals
    :math:`\ln(1 + E_p[e^{-\delta} - 1 + \delta])`, whose terms are all nonnegative: the divergence
    of nearly equal networks keeps its digits.

    Example:
        >>> kl_divergence([[1.0, 0.0]], [[1.0, 1e-9]])
        array([9.83e-20])
    """
    z = checks.logits("teacher_logits", teacher_logits)
    other = checks.logits("student_logits", student_logits)
    try:
        z, other = np.broadcast_arrays(z, other)
    except ValueError:
        msg = (
            "student_logits must broadcast against teacher_logits, got shapes "
            f"{other.shape} and {z.shape}"
        )
        raise ValueError(msg) from None
    cost = surprisal(z)
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):
        share = np.exp(-cost)
        gap = z - other
        delta = gap - (share * gap).sum(axis=-1, keepdims=True)
        near = np.log1p((share * exp_beyond_linear(-delta)).sum(axis=-1))
        # far apart e^-delta overflows where p is tiny; there nothing cancels in the plain sum
        far = np.where(share > 0, share * (surprisal(other) - cost), 0.0).sum(axis=-1)
    return np.asarray(np.where(np.abs(delta).max(axis=-1) < 500, near, np.maximum(far, 0.0)))[()]


@dataclass(frozen=True, slots=True)
class Dissection:
    """Share of the samples by who predicts the label: a partition."""

    both: float
    only_student: float
    only_teacher: float
    neither: float


def dissect(
    teacher_prediction: ArrayLike, student_prediction: ArrayLike, labels: ArrayLike
) -> Dissection:
    """Who is right: both, only the student, only the teacher, neither (shares of all samples).

    The accuracy of the teacher is both + only_teacher, that of the student both + only_student.

    Raises:
        ValueError: If the shapes disagree, or there are no samples.

    Example:
        >>> dissect([0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0])
        Dissection(both=0.25, only_student=0.25, only_teacher=0.25, neither=0.25)
    """
    teacher = checks.real_array("teacher_prediction", teacher_prediction)
    student = checks.real_array("student_prediction", student_prediction)
    truth = checks.real_array("labels", labels)
    checks.same_shape(teacher_prediction=teacher, student_prediction=student, labels=truth)
    if truth.size == 0:
        msg = "labels must hold at least one sample, got none"
        raise ValueError(msg)
    a, b = teacher == truth, student == truth
    return Dissection(*(float(part.mean()) for part in (a & b, ~a & b, a & ~b, ~a & ~b)))


@dataclass(frozen=True, slots=True)
class Slope:
    """Least-squares line through the selected points; nan where it is not defined."""

    slope: float
    intercept: float
    count: int
    """Number of points selected."""


def exaggeration_slope(
    teacher: ArrayLike, student: ArrayLike, fraction: float = 0.25, side: str = "bottom"
) -> Slope:
    r"""Slope of the student's confidence Y on the teacher's X where the teacher is least sure.

    The :math:`m = \lceil f n \rceil` points of smallest X (of largest, for ``side="top"``), equal
    values in their order; then ordinary least squares with intercept. Above 1 the student
    exaggerates the teacher's unsureness. It is nan if X is constant or m < 2.

    Args:
        teacher: X, shape ``(n,)``: confidence of the teacher in its predicted class.
        student: Y, shape ``(n,)``: confidence of the student in the same class.
        fraction: f in (0, 1].
        side: ``"bottom"`` or ``"top"``.

    Raises:
        ValueError: On unequal shapes, no samples, nan or inf, or a fraction outside (0, 1].

    References:
        Nagarajan et al. 2023, section 3 and appendix C.

    Example:
        >>> exaggeration_slope([1.0, 2.0, 3.0, 4.0], [0.0, 1.5, 3.0, 4.0], fraction=0.75)
        Slope(slope=1.5, intercept=-1.5, count=3)
    """
    x, y, count = _pairs(teacher, student, fraction, side)
    chosen = _order(x, side)[:count]
    x, y = x[chosen], y[chosen]
    if count < 2 or x.min() == x.max():
        return Slope(np.nan, np.nan, count)
    across, up = _Standard.of(x), _Standard.of(y)
    with np.errstate(under="ignore", over="ignore"):
        unit = (across.values * up.values).sum() / (across.values * across.values).sum()
        intercept = up.mean - unit * (up.spread / across.spread) * across.mean
        slope = up.per(across, unit)
        return Slope(float(slope), float(np.ldexp(intercept, up.power)), count)


def _pairs(
    teacher: ArrayLike, student: ArrayLike, fraction: float, side: str
) -> tuple[Array, Array, int]:
    x, y = checks.real_array("teacher", teacher), checks.real_array("student", student)
    checks.same_shape(teacher=x, student=y)
    if x.ndim != 1 or x.size == 0:
        msg = f"teacher and student must be one confidence a sample, got shape {x.shape}"
        raise ValueError(msg)
    checks.choice("side", side, ("bottom", "top"))
    share = checks.scalar("fraction", fraction)
    if not 0 < share <= 1:
        msg = f"fraction must be in (0, 1], got {share:g}"
        raise ValueError(msg)
    # 0.07 * 100 is above 7 in floating point: what is whole up to round-off is whole
    return x, y, ceil(round(share * x.size, 9)) or 1


def _order(x: Array, side: str) -> np.ndarray:
    return np.argsort(x if side == "bottom" else -x, kind="stable")


def exaggeration_slope_interval(
    teacher: ArrayLike,
    student: ArrayLike,
    *,
    rng: np.random.Generator,
    fraction: float = 0.25,
    side: str = "bottom",
    level: float = 0.95,
    resamples: int = 1000,
) -> Interval:
    """``exaggeration_slope`` with a percentile interval from a bootstrap of the pairs.

    Every resample selects its own points again, as the choice by X is part of the statistic. Equal
    X at the border of the selection are taken in their order in the data.

    Args:
        teacher: X, shape ``(n,)``.
        student: Y, shape ``(n,)``.
        rng: Source of the resamples.
        fraction: Share of the points selected.
        side: ``"bottom"`` or ``"top"``.
        level: Nominal coverage.
        resamples: Number of resamples.

    Raises:
        ValueError: As ``exaggeration_slope``, or for a level outside (0, 1).

    Example:
        >>> x = np.linspace(0.0, 1.0, 40)
        >>> exaggeration_slope_interval(x, 2 * x, rng=np.random.default_rng(0)).low
        2.0
    """
    x, y, count = _pairs(teacher, student, fraction, side)
    times = checks.count("resamples", resamples, minimum=1)
    estimate = exaggeration_slope(x, y, fraction, side).slope
    order = _order(x, side)
    across, up = _Standard.of(x[order]), _Standard.of(y[order])
    weights = _selections(rng, x.size, count, times)
    unit = np.concatenate([_weighted_slope(rows, across.values, up.values) for rows in weights])
    method = "pairs bootstrap of the slope"
    found = percentile_interval(estimate, unit, level, x.size, method)
    # quantiles first: slopes of raw values may be out of range
    low, high = up.per(across, [found.low, found.high])
    return replace(found, low=float(low), high=float(high))


@dataclass(frozen=True, slots=True, eq=False)
class _Standard:
    """Centered and scaled, so that sums of squares keep their digits and stay in range."""

    values: Array
    mean: float
    spread: float
    power: int
    """Mean and spread are in units of 2^power."""

    @classmethod
    def of(cls, raw: Array) -> "_Standard":
        power = int(np.frexp(np.abs(raw).max())[1])
        with np.errstate(under="ignore"):
            scaled = np.ldexp(raw, -power)
            mean = float(scaled.mean())
            centered = scaled - mean
            spread = float(np.abs(centered).max()) or 1.0
            return cls(centered / spread, mean, spread, power)

    def per(self, other: "_Standard", unit: ArrayLike) -> Array:
        """A slope of standard values as one of the raw values."""
        with np.errstate(under="ignore", over="ignore"):
            slope = np.asarray(unit) * (self.spread / other.spread)
            return np.asarray(np.ldexp(slope, self.power - other.power))


def _selections(rng: np.random.Generator, size: int, count: int, resamples: int) -> Iterator[Array]:
    """How often each point, in order of X, is among the first ``count`` of each resample."""
    for rows in blocks(resamples, size):
        index = rng.integers(0, size, (rows, size)) + size * np.arange(rows)[:, None]
        drawn = np.bincount(index.ravel(), minlength=rows * size).reshape(rows, size)
        before = np.cumsum(drawn, axis=1) - drawn
        yield np.clip(count - before, 0, drawn).astype(np.float64)


def _weighted_slope(weights: Array, x: Array, y: Array) -> Array:
    """Least-squares slope under each row of weights; nan where X is constant under them."""
    total = weights.sum(axis=1)
    mean_x, mean_y = weights @ x / total, weights @ y / total
    # sums of squares about the overall means, corrected to the means of each resample
    moments = weights @ np.stack([x * x, x * y], axis=1) / total[:, None]
    spread = moments[:, 0] - mean_x**2
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (moments[:, 1] - mean_x * mean_y) / spread
    # x is in order: the selection is constant if its first and last points are equal
    last = x.size - 1 - np.argmax(weights[:, ::-1] > 0, axis=1)
    constant = x[np.argmax(weights > 0, axis=1)] == x[last]
    return np.where(constant, np.nan, slope)
