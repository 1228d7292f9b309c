"""An interval, Student's t, a share of a count, and what all estimators share."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array

_BLOCK = 4_000_000  # numbers of one block of resamples


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and what it may be."""

    estimate: float
    low: float
    high: float
    level: float
    """Nominal coverage."""
    n: int
    """Number of units that vary independently."""
    method: str

    def excludes(self, value: float) -> bool:
        """Whether ``value`` lies outside; False where the interval is not defined.

        Example:
            >>> Interval(1.0, 0.5, 1.5, 0.95, 10, "t").excludes(0.0)
            True
        """
        return bool(value < self.low or value > self.high)

    def times(self, factor: float) -> "Interval":
        """The interval of the quantity times ``factor`` >= 0, as for another unit.

        Example:
            >>> Interval(0.5, 0.25, 0.75, 0.95, 10, "t").times(100.0).low
            25.0
        """
        estimate, low, high = (float(end) * factor for end in (self.estimate, self.low, self.high))
        return Interval(estimate, low, high, self.level, self.n, self.method)


def nominal(level: float) -> float:
    """``level`` if it is in (0, 1)."""
    number = checks.scalar("level", level)
    if not 0 < number < 1:
        msg = f"level must be in (0, 1), got {number:g}"
        raise ValueError(msg)
    return number


def observations(name: str, value: ArrayLike, minimum: int, *, flat: bool = False) -> Array:
    """Observations along the first axis, at least ``minimum``; one number each if ``flat``."""
    array = checks.real_array(name, value)
    if array.ndim == 0 or len(array) < minimum:
        got = 0 if array.ndim == 0 else len(array)
        msg = f"{name} must hold at least {minimum} observations along its first axis, got {got}"
        raise ValueError(msg)
    if flat and array.ndim != 1:
        msg = f"{name} must be one number an observation, got shape {array.shape}"
        raise ValueError(msg)
    return array


def power_of_two(values: Array) -> float:
    """A power of two that brings ``values`` to at most 2 in size; 1 where all are 0.

    Sums and squares of very large or small numbers leave the range; a power of two costs no digits.
    """
    top = float(np.abs(values).max(initial=0.0))
    return float(np.ldexp(1.0, int(np.frexp(top)[1]) - 1)) if top > 0 else 1.0


def t_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    r"""Mean with Student's t interval, :math:`\bar x \pm t_{n-1} s / \sqrt n`.

    Args:
        values: Independent observations, shape ``(n,)``, n >= 2.
        level: Nominal coverage.

    Raises:
        ValueError: For fewer than two observations, nan or inf, or a level outside (0, 1).

    Example:
        >>> interval = t_interval([1.0, 2.0, 3.0])
        >>> round(interval.low, 3), round(interval.high, 3)
        (-0.484, 4.484)
    """
    sample, level = observations("values", values, 2, flat=True), nominal(level)
    scale, count = power_of_two(sample), len(sample)
    first = float(sample[0] / scale)
    rest = sample / scale - first  # all 0 for equal values, whose mean could round
    error = float(rest.std(ddof=1) / np.sqrt(count))
    return around(first + float(rest.mean()), error, level, count, "t").times(scale)


def around(center: float, error: float, level: float, count: int, method: str) -> Interval:
    """Student's t interval of an estimate and its standard error from ``count`` units."""
    from scipy.special import stdtrit

    half = float(stdtrit(count - 1, 0.5 + level / 2) * error)
    return Interval(center, center - half, center + half, level, count, method)


def proportion_interval(
    count: int, total: int, level: float = 0.95, *, method: str = "wilson"
) -> Interval:
    r"""A share of a count, with an interval that is right also next to 0 and 1.

    Args:
        count: How many of them.
        total: Out of how many independent ones, at least 1.
        level: Nominal coverage.
        method: ``"wilson"``, by inverting the score test, covers as often as it says on average
            over the share; ``"exact"`` (Clopper-Pearson) covers at least as often for every share.

    Raises:
        ValueError: For a count above the total, or one that is no whole number.

    References:
        Wilson 1927, J. Amer. Statist. Assoc. 22; Clopper and Pearson 1934, Biometrika 26.

    Example:
        >>> interval = proportion_interval(6, 12)
        >>> round(interval.low, 3), round(interval.high, 3)
        (0.254, 0.746)
    """
    from scipy.special import betaincinv, ndtri

    total, level = checks.count("total", total, minimum=1), nominal(level)
    count = checks.count("count", count)
    checks.choice("method", method, ("wilson", "exact"))
    if count > total:
        msg = f"count must be at most total ({total}), got {count}"
        raise ValueError(msg)
    share, rest = count / total, total - count
    if method == "exact":
        tail = 0.5 - level / 2
        low = float(betaincinv(count, rest + 1, tail)) if count else 0.0
        high = float(betaincinv(count + 1, rest, 1 - tail)) if rest else 1.0
        return Interval(share, low, high, level, total, "Clopper-Pearson")
    z = float(ndtri(0.5 + level / 2))
    middle = (count + z * z / 2) / (total + z * z)
    half = z * float(np.sqrt(count * rest / total + z * z / 4)) / (total + z * z)
    low, high = middle - half if count else 0.0, middle + half if rest else 1.0
    return Interval(share, max(low, 0.0), min(high, 1.0), level, total, "Wilson")


def blocks(resamples: int, size: int) -> Iterator[int]:
    """Numbers of resamples of ``size`` numbers each that fit into memory together."""
    rows = max(1, _BLOCK // max(size, 1))
    yield from (min(rows, resamples - start) for start in range(0, resamples, rows))


def percentile_interval(
    estimate: float, draws: Array, level: float, count: int, method: str
) -> Interval:
    """The central share ``level`` of the draws around an estimate.

    Draws that are nan (a statistic undefined on that resample) are left out; where more than half
    are, the ends are nan: such an interval excludes nothing.
    """
    level = nominal(level)
    return between(estimate, draws, (0.5 - level / 2, 0.5 + level / 2), level, count, method)


def mostly_undefined(estimate: float, draws: Array) -> bool:
    """Whether a statistic is nan on the sample or on most resamples."""
    return bool(np.isnan(estimate) or 2 * np.isnan(draws).sum() > len(draws))


def between(
    estimate: float,
    draws: Array,
    shares: tuple[float, float],
    level: float,
    count: int,
    method: str,
) -> Interval:
    """From one quantile of the draws to another; ends nan where the statistic is mostly nan."""
    if mostly_undefined(estimate, draws) or np.isnan(shares).any():
        return Interval(float(estimate), np.nan, np.nan, level, count, method)
    known = draws[~np.isnan(draws)]
    if not np.isfinite(known).all():
        # interpolation between a number and infinity is not defined: take the outer draw
        low = np.quantile(known, shares[0], method="lower")
        high = np.quantile(known, shares[1], method="higher")
        return Interval(float(estimate), float(low), float(high), level, count, method)
    scale = power_of_two(known)
    low, high = np.quantile(known / scale, shares)
    return Interval(float(estimate), float(low) * scale, float(high) * scale, level, count, method)
