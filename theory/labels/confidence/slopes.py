"""The slope of the student's confidence on its teacher's where the teacher is least sure."""

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import checks
from theory.checks import Array
from theory.statements import states


@dataclass(frozen=True, slots=True)
class Slope:
    """Least-squares line through the selected points; nan where it is not defined."""

    slope: float
    """Change of the student's log-odds with one of the teacher's."""
    intercept: float
    """The line at teacher's log-odds 0."""
    count: int
    """Number of points selected."""


@states(
    "labels:slope-equivariance",
    "The slope takes the scale of Y and nothing of its origin or that of X, is 1 for a student "
    "that equals its teacher, and changes ends where both confidences change sign.",
    source="Nagarajan 2023, appendix C.4",
)
def exaggeration_slope(
    teacher: ArrayLike, student: ArrayLike, fraction: float = 0.25, side: str = "bottom"
) -> Slope:
    r"""Slope of the student's confidence Y on the teacher's X where the teacher is least sure.

    The :math:`m = \lceil f n \rceil` points of smallest X (of largest, for ``side="top"``), equal
    values in their order; then ordinary least squares with intercept. Above 1 the student
    exaggerates the teacher's unsureness. It is nan if X is constant or m < 2. Selecting by X
    leaves the slope unbiased; selecting by Y would not.

    A slope above 1 does not say that the student is less sure than its teacher there: look at the
    gap too, as `exaggeration` gives it. Nor does a slope below 1 say that it copies badly: two
    noisy copies of one network have one below 1 (`reliability`), so set it beside a control's.

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
    x, y = paired_confidences(teacher, student)
    count = selected(x.size, fraction, side)
    chosen = in_order(x, side)[:count]
    x, y = x[chosen], y[chosen]
    if count < 2 or x.min() == x.max():
        return Slope(np.nan, np.nan, count)
    across, up = Standard.of(x), Standard.of(y)
    with np.errstate(under="ignore", over="ignore"):
        unit = (across.values * up.values).sum() / (across.values * across.values).sum()
        intercept = up.mean - unit * (up.spread / across.spread) * across.mean
        slope = up.per(across, unit)
        return Slope(float(slope), float(np.ldexp(intercept, up.power)), count)


@states(
    "labels:attenuation",
    "Of two copies of one Gaussian signal with independent Gaussian noise, the slope of one on the "
    "other is the reliability, the signal's share of the variance, whatever points the first "
    "selects.",
    source="Spearman 1904, Amer. J. Psychology 15; Nagarajan 2023, appendix C.4",
)
def reliability(signal_variance: ArrayLike, noise_variance: ArrayLike) -> Array:
    r"""Slope to expect of two networks that differ by chance alone, :math:`v_s / (v_s + v_n)`.

    A student trained without its teacher sees the same signal with its own noise, and its slope
    lies below 1: the mark to read an exaggeration slope against is that of such a control.

    Args:
        signal_variance: Variance of what both networks share.
        noise_variance: Variance of what is the teacher's own.

    Raises:
        ValueError: For negative numbers, or where both are 0.

    Example:
        >>> reliability(4.0, [0.0, 1.0, 4.0])
        array([1. , 0.8, 0.5])
    """
    signal = checks.nonnegative("signal_variance", signal_variance)
    noise = checks.nonnegative("noise_variance", noise_variance)
    checks.broadcastable(signal_variance=signal, noise_variance=noise)
    larger = np.maximum(signal, noise)
    if (larger == 0).any():
        msg = "signal_variance and noise_variance must not both be 0"
        raise ValueError(msg)
    with np.errstate(under="ignore"):
        share = signal / larger
        return np.asarray(share / (share + noise / larger))[()]


def paired_confidences(teacher: ArrayLike, student: ArrayLike) -> tuple[Array, Array]:
    """One confidence a sample of each network."""
    x, y = checks.real_array("teacher", teacher), checks.real_array("student", student)
    checks.same_shape(teacher=x, student=y)
    if x.ndim != 1 or x.size == 0:
        msg = f"teacher and student must be one confidence a sample, got shape {x.shape}"
        raise ValueError(msg)
    return x, y


def selected(size: int, fraction: float, side: str) -> int:
    """How many of ``size`` points are selected."""
    checks.choice("side", side, ("bottom", "top"))
    share = checks.scalar("fraction", fraction)
    if not 0 < share <= 1:
        msg = f"fraction must be in (0, 1], got {share:g}"
        raise ValueError(msg)
    # 0.07 * 100 is above 7 in floating point: what is whole up to round-off is whole
    return ceil(round(share * size, 9)) or 1


def in_order(x: Array, side: str) -> NDArray[np.intp]:
    """Places of the points from the end of ``side`` on; equal ones as they came."""
    return np.argsort(x if side == "bottom" else -x, kind="stable")


@dataclass(frozen=True, slots=True, eq=False)
class Standard:
    """Centered and scaled, so that sums of squares keep their digits and stay in range."""

    values: Array
    """Numbers up to about 1."""
    mean: float
    """What was taken off, in units of 2^power."""
    spread: float
    """The unit, in units of 2^power."""
    power: int
    """Keeps mean and spread in range."""

    @classmethod
    def of(cls, raw: Array, first: int | None = None) -> "Standard":
        """Centered on the mean of the ``first`` values, or of all."""
        power = int(np.frexp(np.abs(raw).max())[1])
        with np.errstate(under="ignore"):
            scaled = np.ldexp(raw, -power)
            mean = float(scaled[:first].mean())
            centered = scaled - mean
            spread = float(np.abs(centered).max()) or 1.0
            return cls(centered / spread, mean, spread, power)

    def per(self, other: "Standard", unit: ArrayLike) -> Array:
        """A slope of standard values as one of the raw values."""
        with np.errstate(under="ignore", over="ignore"):
            slope = np.asarray(unit) * (self.spread / other.spread)
            return np.asarray(np.ldexp(slope, self.power - other.power))
