"""How well predictions say what networks do, over seeds: levels, differences, order.

A condition is a method at a step. The unit of statistics is the seed: networks and predictions of
one seed share data, flips and initialization.
"""

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from deep.training.streams import stream
from theory.statistics import holm, jackknife_interval, leave_one_out, paired_p_value, t_interval
from theory.statistics.ranks import spearman

Array = NDArray[np.float64]
Condition = tuple[int, int]
Statistic = Callable[[Array], Array]
STATISTICS = (
    "level",
    "level_of_means",
    "r2",
    "slope",
    "concordance",
    "resolved",
    "spearman",
    "spearman_at_a_step",
    "ceiling",
    "within_seeds",
)
"""What `compared` says of one quantity; see there."""
LEVEL = 0.05
FEWEST = 4
"""Seeds from which pairs are tested: shares of few samples often differ equally in two seeds."""
SPLITS = 20


def interval(values: Array) -> tuple[float, float, float]:
    """Mean and Student's 95 % interval over seeds; nan ends for fewer than three of them.

    >>> interval(np.array([1.0, 2.0, 3.0]))
    (2.0, -0.484138, 4.484138)
    """
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return (float("nan"),) * 3
    if len(known) < 3:
        return float(known.mean()), float("nan"), float("nan")
    found = t_interval(known)
    return found.estimate, found.low, found.high


def compared(measured: Array, predicted: Array, conditions: Sequence[Condition]) -> Array:
    r"""Statistics of one quantity with intervals, shape (statistics, 3): estimate, low, high.

    - ``level``: mean over seeds and conditions of :math:`|p - m|`, prediction p, measurement m
    - ``level_of_means``: the same of means over seeds
    - ``r2``, ``slope``: of the differences from plain labels at the same step, D of means over
      seeds, :math:`1 - \sum (D_m - D_p)^2 / \sum D_m^2` and :math:`\sum D_m D_p / \sum D_p^2`
    - ``concordance``: among pairs of methods at the same step that the networks tell apart (paired
      by seed, Student's t, Holm over all pairs, 5 %), the share that the prediction orders the same
      way; a predicted tie counts one half; from four seeds on
    - ``resolved``: how many pairs these are, of how many
    - ``spearman``, ``spearman_at_a_step``: rank correlation of the conditions' means, all together
      and the mean over steps
    - ``ceiling``: the same as the first between halves of the seeds, both networks
    - ``within_seeds``: correlation of the seeds' deviations from the conditions' means

    Args:
        measured: Of the networks, shape (seeds, methods, reads), plain labels first.
        predicted: Of the same seeds.
        conditions: Numbers of method and read.
    """
    rows, reads = np.array(conditions).T
    m, p = measured[:, rows, reads], predicted[:, rows, reads]
    table = np.full((len(STATISTICS), 3), np.nan)

    def put(name: str, *values: float) -> None:
        table[STATISTICS.index(name), : len(values)] = values

    if not np.isfinite(p).all() or not np.isfinite(m).all():
        return table
    put("level", *interval(np.abs(p - m).mean(axis=1)))
    put("level_of_means", float(np.abs(p.mean(axis=0) - m.mean(axis=0)).mean()))
    gaps = np.stack([m, p], axis=-1) - np.stack(
        [measured[:, 0][:, reads], predicted[:, 0][:, reads]], axis=-1
    )
    put("r2", *_over_seeds(gaps, _r2))
    put("slope", *_over_seeds(gaps, _slope))
    both = np.stack([m, p], axis=-1)
    put("spearman", *_over_seeds(both, lambda sample: spearman(sample.mean(axis=1))))
    at_steps = [_rank(both[:, reads == read].mean(axis=0)) for read in np.unique(reads)]
    put("spearman_at_a_step", _mean_known(at_steps))
    if len(m) >= 4:
        put("ceiling", _ceiling(m))
    if len(m) >= 3:
        put("within_seeds", _within_seeds(m, p))
    if len(m) >= FEWEST:
        share, count, pairs = concordance(measured, predicted, conditions)
        put("concordance", share)
        put("resolved", count, pairs, pairs)
    return table


def concordance(
    measured: Array, predicted: Array, conditions: Sequence[Condition]
) -> tuple[float, int, int]:
    """Share of resolved pairs in the predicted order, how many are resolved, of how many pairs.

    >>> measured = np.array([[[0.1], [0.5]], [[0.2], [0.61]], [[0.3], [0.69]]])
    >>> concordance(measured, measured, [(0, 0), (1, 0)])
    (1.0, 1, 1)
    """
    pairs = [
        (a, b, read)
        for read in sorted({read for _, read in conditions})
        for a, b in combinations([s for s, r in conditions if r == read], 2)
    ]
    chances = [paired_p_value(measured[:, a, r], measured[:, b, r]) for a, b, r in pairs]
    resolved = holm(chances) < LEVEL if chances else np.array([], dtype=bool)
    right = []
    for (a, b, r), told in zip(pairs, resolved, strict=True):
        if told:
            want = float((measured[:, a, r] - measured[:, b, r]).mean())
            said = float((predicted[:, a, r] - predicted[:, b, r]).mean())
            tie = abs(said) < 1e-9  # decisions that only round-off tells apart
            right.append(0.5 if tie else float(want * said > 0))
    return (float(np.mean(right)) if right else float("nan")), len(right), len(pairs)


def _over_seeds(sample: Array, statistic: Statistic) -> tuple[float, float, float]:
    """A statistic of means over seeds with the jackknife's interval."""
    estimate = float(statistic(sample[None])[0])
    if len(sample) < 3 or not np.isfinite(estimate):
        return estimate, float("nan"), float("nan")
    without = leave_one_out(sample, statistic)
    if not np.isfinite(without).all():
        return estimate, float("nan"), float("nan")
    found = jackknife_interval(without, estimate)
    return found.estimate, found.low, found.high


def _r2(samples: Array) -> Array:
    """Of samples (rows, seeds, conditions, 2)."""
    measured, predicted = np.moveaxis(samples.mean(axis=1), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        missed = np.square(measured - predicted).sum(axis=1) / np.square(measured).sum(axis=1)
    return np.where(np.isfinite(missed), 1.0 - missed, np.nan)


def _slope(samples: Array) -> Array:
    measured, predicted = np.moveaxis(samples.mean(axis=1), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (measured * predicted).sum(axis=1) / np.square(predicted).sum(axis=1)
    return np.where(np.isfinite(found), found, np.nan)


def _rank(pairs: Array) -> float:
    return float(spearman(pairs[None])[0]) if len(pairs) > 2 else float("nan")


def _mean_known(values: Sequence[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _ceiling(measured: Array) -> float:
    """Mean rank correlation between the means of random halves of the seeds."""
    rng, count = stream("prediction halves"), len(measured)
    found = []
    for _ in range(SPLITS):
        order = rng.permutation(count)
        halves = [measured[part].mean(axis=0) for part in np.array_split(order, 2)]
        found.append(_rank(np.stack(halves, axis=-1)))
    return _mean_known(found)


def _within_seeds(measured: Array, predicted: Array) -> float:
    a, b = measured - measured.mean(axis=0), predicted - predicted.mean(axis=0)
    size = float(np.sqrt(np.square(a).sum() * np.square(b).sum()))
    return float((a * b).sum()) / size if size > 0 else float("nan")
