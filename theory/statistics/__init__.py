"""Intervals and tests: whatever is estimated here or above is stated with one of these."""

from theory.statistics.bootstrap import bootstrap_interval
from theory.statistics.interval import (
    Interval,
    blocks,
    percentile_interval,
    proportion_interval,
    t_interval,
)
from theory.statistics.jackknife import jackknife_interval, leave_one_out
from theory.statistics.multiple import holm
from theory.statistics.nodes import node_bootstrap_interval
from theory.statistics.paired import paired_difference, paired_p_value
from theory.statistics.ranks import rank_correlation

__all__ = [
    "Interval",
    "blocks",
    "bootstrap_interval",
    "holm",
    "jackknife_interval",
    "leave_one_out",
    "node_bootstrap_interval",
    "paired_difference",
    "paired_p_value",
    "percentile_interval",
    "proportion_interval",
    "rank_correlation",
    "t_interval",
]
