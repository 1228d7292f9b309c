"""Means over samples and training seeds, both of which vary."""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.statistics import Interval, t_interval
from theory.statistics.interval import nominal, power_of_two


def over_seeds_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    r"""Mean of a per-sample quantity over training seeds, for other seeds and other samples.

    The variance of the mean of S seeds over the same n samples has a part of the seeds, one of the
    samples and one of both together. From the mean squares of the two-way layout it is

    .. math:: \frac{\max(M_a - M_e, 0) + \max(M_b, M_e)}{S n}

    and each part is widened by its own Student's t, that of the seeds with S - 1 degrees of
    freedom: a few seeds that differ give a wide interval. One seed gives Student's t over the
    samples, which says nothing of other seeds. At a nominal 0.95 three seeds or more cover at 0.945
    or above in simulation, two at 0.91.

    Args:
        values: Shape ``(seeds, n)``, or ``(n,)`` for one seed; n >= 2.
        level: Nominal coverage.

    Raises:
        ValueError: For no seed, fewer than two samples, nan or inf, or a level outside (0, 1).

    References:
        Searle, Casella and McCulloch 1992, Variance Components, chapter 4.

    Example:
        >>> found = over_seeds_interval([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]])
        >>> found.estimate, round(found.low, 2), found.n
        (2.5, -4.32, 2)
    """
    from scipy.special import stdtrit

    level = nominal(level)
    table = np.atleast_2d(checks.real_array("values", values))
    if table.ndim != 2 or len(table) < 1 or table.shape[1] < 2:
        msg = (
            "values must have shape (seeds, n) with a seed and two samples at least, got shape "
            f"{np.shape(values)}"
        )
        raise ValueError(msg)
    if len(table) == 1:
        return t_interval(table[0], level)
    scale = power_of_two(table)
    table = table / scale
    seeds, samples = table.shape
    mean = float(table.mean())
    rows, columns = table.mean(axis=1) - mean, table.mean(axis=0) - mean
    rest = table - mean - rows[:, None] - columns
    free = np.array([seeds - 1, samples - 1, (seeds - 1) * (samples - 1)], dtype=np.float64)
    squares = np.array([samples * (rows**2).sum(), seeds * (columns**2).sum(), (rest**2).sum()])
    of_seeds, of_samples, of_both = squares / free
    beyond_chance = max(of_seeds - of_both, 0.0)
    of_the_rest = max(of_samples, of_both)
    with np.errstate(under="ignore"):
        half = np.sqrt(
            stdtrit(seeds - 1, 0.5 + level / 2) ** 2 * beyond_chance
            + stdtrit(samples - 1, 0.5 + level / 2) ** 2 * of_the_rest
        ) / np.sqrt(table.size)
    method = "t over seeds and samples"
    return Interval(mean, mean - half, mean + half, level, seeds, method).times(scale)
