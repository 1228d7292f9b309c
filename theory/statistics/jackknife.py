"""The jackknife: an error, and a correction of the bias, from leaving out one unit at a time."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.statistics.interval import (
    Interval,
    around,
    blocks,
    nominal,
    observations,
    power_of_two,
)


def leave_one_out(values: ArrayLike, statistic: Callable[[Array], ArrayLike]) -> Array:
    """A statistic without each observation in turn.

    Args:
        values: Observations along the first axis, shape ``(n,)`` or ``(n, ...)``, n >= 2.
        statistic: Takes many samples at once, shape ``(rows, n - 1, ...)``, returns one number
            for each.

    Returns:
        Shape ``(n,)``.

    Raises:
        ValueError: For fewer than two observations, or a statistic that does not return one number
            a sample.

    Example:
        >>> leave_one_out([1.0, 2.0, 6.0], lambda sample: sample.mean(axis=1))
        array([4. , 3.5, 1.5])
    """
    sample = observations("values", values, 2)
    count = len(sample)
    rest = np.arange(count - 1)
    out, start = [], 0
    for rows in blocks(count, sample.size):
        left = np.arange(start, start + rows)[:, None]
        part = np.asarray(statistic(sample[rest + (rest >= left)]), dtype=np.float64)
        if part.shape != (rows,):
            msg = (
                "statistic must return one number for each sample (axis 0 of what it is given), "
                f"got shape {part.shape} for {rows} samples"
            )
            raise ValueError(msg)
        out.append(part)
        start += rows
    return np.concatenate(out)


def jackknife_interval(
    leave_one_out: ArrayLike,
    estimate: float,
    *,
    level: float = 0.95,
    correct_bias: bool = False,
) -> Interval:
    r"""Student's t interval with the jackknife's standard error.

    .. math:: \hat\theta \pm t_{n-1} s, \qquad
        s^2 = \frac{n-1}{n} \sum_i (\theta_{-i} - \bar\theta)^2, \qquad
        \hat\theta_{\text{corrected}} = n \hat\theta - (n - 1) \bar\theta

    with :math:`\theta_{-i}` the statistic without unit i and :math:`\bar\theta` their mean. For the
    mean it is `t_interval`; it suits statistics that are smooth in the data and fails for those
    that are not, such as the median.

    Args:
        leave_one_out: The statistic without each unit, shape ``(n,)``, n >= 2, as the function
            `leave_one_out` computes it.
        estimate: The statistic on all units.
        level: Nominal coverage.
        correct_bias: Take off the jackknife's estimate of the bias, which for a smooth function of
            averages leaves a bias of order 1/n^2 in place of 1/n.

    Raises:
        ValueError: For fewer than two units, nan or inf, or a level outside (0, 1).

    References:
        Quenouille 1956, Tukey 1958; Efron and Tibshirani 1993, chapter 11.

    Example:
        >>> sample = np.array([1.0, 2.0, 6.0])
        >>> without = leave_one_out(sample, lambda sample: sample.var(axis=1))
        >>> found = jackknife_interval(without, sample.var(), correct_bias=True)
        >>> round(found.estimate, 6), round(float(sample.var(ddof=1)), 6)
        (7.0, 7.0)
    """
    without, level = observations("leave_one_out", leave_one_out, 2, flat=True), nominal(level)
    center = checks.scalar("estimate", estimate)
    checks.flag("correct_bias", correct_bias)
    count = len(without)
    scale = power_of_two(np.append(without, center))
    # deviations from the estimate, not from 0: these differ by little, and keep their digits
    moved = without / scale - center / scale
    error = float(np.sqrt(count - 1) * moved.std())
    middle = center / scale - (count - 1) * float(moved.mean()) * correct_bias
    return around(middle, error, level, count, "jackknife").times(scale)
