"""Means over seeds, and differences to the baseline on the same seeds, with intervals."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from theory.statistics import holm, paired_difference, paired_p_value, t_interval

Array = NDArray[np.float64]
LEVEL = 0.05
"""Chance of one false claim or more over all rows."""


def means(values: Array) -> Array:
    """Mean over seeds with a 95 % interval: from (rows, seeds) to (rows, 3).

    The ends are nan where all seeds agree, which says nothing of how far they vary, or one is nan.

    >>> means(np.array([[0.5, 0.6], [0.5, 0.5]])).round(3)
    array([[ 0.55 , -0.085, 1.185], [ 0.5 , nan, nan]])
    """
    return np.array(
        [_three(row, t_interval(row)) if _varies(row) else _bare(row) for row in values]
    )


def differences(values: Array, baseline: int) -> tuple[Array, Array]:
    """Differences of each row to that of the baseline, and their p-values adjusted by Holm.

    Returns:
        Mean and interval, (rows, 3), and p-values, (rows,). Accuracies count whole images, so
        that a few seeds may all differ by the same: they give no error to judge by, and ends and
        p-value are nan. The test counts as made and lost.
    """
    found, p_values = np.full((len(values), 3), np.nan), np.full(len(values), np.nan)
    for place, row in enumerate(values):
        gap = row - values[baseline]
        found[place] = _bare(gap)
        if place != baseline and _varies(gap):
            found[place] = _three(gap, paired_difference(row, values[baseline]))
            p_values[place] = paired_p_value(row, values[baseline])
    if len(values) > 1:
        p_values = holm(p_values, family=len(values) - 1)
    return found, p_values


def _varies(row: Array) -> bool:
    # sums of the same counts of images differ by round-off
    return len(row) > 1 and bool(np.isfinite(row).all()) and bool(np.ptp(row) > 1e-9)


def _three(row: Array, interval: Any) -> Array:  # noqa: ANN401 - theory.statistics.Interval
    return np.array([row.mean(), interval.low, interval.high])


def _bare(row: Array) -> Array:
    return np.array([row.mean(), np.nan, np.nan])
