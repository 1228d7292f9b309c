"""The bootstrap of any statistic of independent observations: percentile and BCa."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.statistics.interval import (
    Interval,
    between,
    blocks,
    mostly_undefined,
    nominal,
    observations,
    percentile_interval,
    power_of_two,
)
from theory.statistics.jackknife import leave_one_out as without_each

_ROUND_OFF = 64 * np.finfo(np.float64).eps
_NAMES = {"percentile": "bootstrap", "bca": "BCa bootstrap"}


def mean_over(sample: Array) -> Array:
    """Mean over the observations of each resample, without overflow; of equal ones exactly."""
    scale = power_of_two(sample)
    scaled = sample / scale
    with np.errstate(over="ignore"):  # the mean of a few of the largest numbers may round up
        return np.asarray((scaled[:, 0] + (scaled - scaled[:, :1]).mean(axis=1)) * scale)


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[[Array], ArrayLike] = mean_over,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    resamples: int = 2000,
    method: str = "percentile",
    leave_one_out: ArrayLike | None = None,
) -> Interval:
    r"""Bootstrap of any statistic of independent observations.

    ``"percentile"`` is the central share of the statistic's values on resamples. ``"bca"`` corrects
    the two ends for bias and for an error that grows with the quantity itself: the quantiles are

    .. math:: \Phi\left(z_0 + \frac{z_0 + z}{1 - a (z_0 + z)}\right), \qquad
        z_0 = \Phi^{-1}(\text{share of draws below the estimate}), \qquad
        a = \frac{\sum_i u_i^3}{6 (\sum_i u_i^2)^{3/2}}

    with z the normal quantiles of the level and :math:`u_i` the mean of the leave-one-out values
    less the i-th. Draws equal to the estimate count half. Both follow any increasing function of
    the statistic, BCa as far as the jackknife sees it as linear.

    Both cover less than they say in small samples: at level 0.95 the mean of 20 exponential numbers
    0.90 by either, the standard deviation of 25 normal numbers 0.84 by percentiles, 0.90 by BCa.

    Where BCa is degenerate: a statistic that is constant gives the point itself; one that leaving
    out observations does not move has a = 0; beyond the pole of the formula the end is the
    outermost draw; where all draws lie on one side of the estimate, or leaving one out makes the
    statistic undefined more often than not, there is no correction to be had: the ends are nan.

    Args:
        values: Observations along the first axis, shape ``(n,)`` or ``(n, ...)`` (rows are drawn
            whole, so that pairs stay together), n >= 2.
        statistic: Takes many samples at once, shape ``(resamples, n, ...)``, returns one number
            for each. The mean over the observations if absent.
        rng: Source of the resamples.
        level: Nominal coverage.
        resamples: Number of resamples.
        method: ``"percentile"`` or ``"bca"``.
        leave_one_out: The statistic without each observation, shape ``(n,)``, for BCa; computed in
            n passes over the sample if absent, which takes long for many observations.

    Returns:
        The statistic of the sample itself, with an interval. Where the statistic is nan on some
        resamples they are left out; where it is on most, the ends are nan.

    Raises:
        ValueError: For fewer than two observations, nan or inf in them, a level outside (0, 1), or
            a statistic that does not return one number a resample.

    References:
        Efron 1987, J. Amer. Statist. Assoc. 82.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> spread = lambda sample: sample.max(axis=1) - sample.min(axis=1)
        >>> bootstrap_interval([1.0, 2.0, 4.0], spread, rng=rng).high
        3.0
        >>> skewed = np.random.default_rng(1).exponential(size=40)
        >>> bca = bootstrap_interval(skewed, rng=rng, method="bca")
        >>> bca.high - bca.estimate > bca.estimate - bca.low
        True
    """
    sample, level = observations("values", values, 2), nominal(level)
    checks.choice("method", method, tuple(_NAMES))
    count = len(sample)
    parts = []
    for rows in blocks(checks.count("resamples", resamples, minimum=1), sample.size):
        parts.append(
            one_number_each(statistic(sample[rng.integers(0, count, (rows, count))]), rows)
        )
    draws = np.concatenate(parts)
    estimate = float(one_number_each(statistic(sample[None]), 1)[0])
    if method == "percentile":
        return percentile_interval(estimate, draws, level, count, _NAMES[method])
    without = _without(sample, statistic, leave_one_out)
    shares = _corrected(estimate, draws, without, level)
    return between(estimate, draws, shares, level, count, _NAMES[method])


def _without(
    sample: Array, statistic: Callable[[Array], ArrayLike], given: ArrayLike | None
) -> Array:
    """The statistic without each observation."""
    if given is not None:
        without = np.asarray(given, dtype=np.float64)
        if without.shape != (len(sample),):
            msg = (
                "leave_one_out must hold one number for each observation, shape "
                f"({len(sample)},), got {without.shape}"
            )
            raise ValueError(msg)
        return without
    if statistic is mean_over and sample.ndim == 1:
        # the mean without x is (n mean - x) / (n - 1), and an increasing affine map changes nothing
        return -sample
    return without_each(sample, statistic)


def _corrected(estimate: float, draws: Array, without: Array, level: float) -> tuple[float, float]:
    """Shares of the draws at which the BCa interval ends; nan where it is not defined."""
    from scipy.special import ndtr, ndtri

    if mostly_undefined(estimate, draws) or mostly_undefined(estimate, without):
        return np.nan, np.nan
    known = draws[~np.isnan(draws)]
    bias = float(ndtri(_share_below(known, estimate)))
    if np.isinf(bias):
        return np.nan, np.nan
    a = acceleration(without)
    ends = []
    for z in (float(ndtri(0.5 - level / 2)), float(ndtri(0.5 + level / 2))):
        moved = bias + z
        room = 1 - a * moved
        # the formula's pole: what lies beyond it is further out than every draw
        ends.append(float(ndtr(bias + moved / room)) if room > 0 else float(moved > 0))
    return ends[0], ends[1]


def _share_below(draws: Array, estimate: float) -> float:
    """Share of the draws below the estimate; those equal to it count half.

    Sums of the same numbers in another order are the same to round-off, and count as equal.
    """
    scale = power_of_two(draws[np.isfinite(draws)])
    with np.errstate(invalid="ignore"):
        apart = np.abs(draws / scale - estimate / scale)
    equal = (draws == estimate) | (apart <= _ROUND_OFF)
    return float(np.where(equal, 0.5, draws < estimate).mean())


def acceleration(without: Array) -> float:
    """A sixth of the skewness of the leave-one-out values, over root n; 0 where they are equal."""
    known = without[np.isfinite(without)]
    known = known / power_of_two(known)
    pull = known.mean() - known if len(known) else known
    pull = pull / power_of_two(pull)
    total = float(np.square(pull).sum())
    # equal values whose mean rounds differ from it by round-off, which has no skewness to tell
    if total == 0 or np.ptp(known) == 0:
        return 0.0
    return float((pull**3).sum() / (6 * total**1.5))


def one_number_each(value: Any, rows: int) -> Array:  # noqa: ANN401 - whatever the caller's function returns
    """What a statistic returned, if it is one number a resample."""
    array = np.asarray(value, dtype=np.float64)
    if array.shape != (rows,):
        msg = (
            "statistic must return one number for each resample (axis 0 of what it is given), "
            f"got shape {array.shape} for {rows} resamples"
        )
        raise ValueError(msg)
    return array
