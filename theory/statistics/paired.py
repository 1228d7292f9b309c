"""Paired differences: two methods on the same seeds, compared seed by seed."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.statistics.bootstrap import bootstrap_interval
from theory.statistics.interval import Interval, blocks, observations, power_of_two, t_interval

Paired = ArrayLike | Mapping[Any, float]

_EXACT = 16  # pairs up to which all sign flips are counted: 65,536 of them


def paired_difference(
    a: Paired,
    b: Paired,
    *,
    level: float = 0.95,
    method: str = "t",
    rng: np.random.Generator | None = None,
    resamples: int = 2000,
) -> Interval:
    r"""Mean of a - b over pairs, with an interval.

    What a seed does to both of a pair (its data, its initialization) drops out of the difference,
    so that the interval is shorter than that of two means apart.

    Args:
        a: One number a pair, shape ``(n,)``, or a mapping from seed to number; n >= 2.
        b: The same of the other method. Arrays are paired by place, mappings by key.
        level: Nominal coverage.
        method: ``"t"``, ``"bootstrap"`` (percentile) or ``"bca"``.
        rng: Source of the resamples of the bootstraps.
        resamples: How many.

    Raises:
        ValueError: For unequal lengths, seeds that one of both lacks, one mapping and one array,
            fewer than two pairs, nan or inf, or a bootstrap without ``rng``.

    Example:
        >>> gain = paired_difference({0: 0.92, 1: 0.95, 2: 0.90}, {2: 0.89, 0: 0.90, 1: 0.92})
        >>> round(gain.estimate, 3), gain.n, gain.method
        (0.02, 3, 'paired t')
    """
    checks.choice("method", method, ("t", "bootstrap", "bca"))
    gap, scale = _differences(a, b)
    if method == "t":
        found = t_interval(gap, level)
    else:
        how = "percentile" if method == "bootstrap" else "bca"
        found = bootstrap_interval(
            gap, rng=_source(rng, method), level=level, resamples=resamples, method=how
        )
    name = f"paired {found.method}"
    return Interval(found.estimate, found.low, found.high, level, found.n, name).times(scale)


def paired_p_value(
    a: Paired,
    b: Paired,
    *,
    method: str = "t",
    rng: np.random.Generator | None = None,
    resamples: int = 9999,
) -> float:
    """Two-sided p-value of no difference between the two of a pair.

    ``"t"`` is Student's test, exact for normal differences. ``"signs"`` flips the sign of each
    difference at random, exact whenever differences are symmetric about 0: all 2^n flips are
    counted up to 16 pairs; beyond that ``resamples`` of them are drawn, and the sample itself
    counts as one more, so that it is never 0.

    Differences that are all the same have no error: "t" gives 0, or 1 where they are all 0.

    Args:
        a: One number a pair, as in `paired_difference`.
        b: The same of the other method.
        method: ``"t"`` or ``"signs"``.
        rng: Source of the flips of more than 16 pairs.
        resamples: How many flips.

    Raises:
        ValueError: As `paired_difference`.

    Example:
        >>> paired_p_value([3.0, 4.0, 5.0], [2.0, 2.0, 2.0], method="signs")
        0.25
    """
    checks.choice("method", method, ("t", "signs"))
    gap, _ = _differences(a, b)
    if method == "t":
        return _student(gap)
    count, scale = len(gap), power_of_two(gap)
    gap = gap / scale
    # sums of the same numbers in another order agree only to round-off
    reached = abs(float(gap.sum())) - 1e-12 * float(np.abs(gap).sum())
    if count <= _EXACT:
        flips = 1.0 - 2.0 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        return float((np.abs(flips @ gap) >= reached).mean())
    source, hits = _source(rng, "signs"), 1
    total = checks.count("resamples", resamples, minimum=1)
    for rows in blocks(total, count):
        flips = 1.0 - 2.0 * source.integers(0, 2, (rows, count))
        hits += int((np.abs(flips @ gap) >= reached).sum())
    return hits / (total + 1)


def _student(gap: Array) -> float:
    from scipy.special import stdtr

    gap = gap / power_of_two(gap)
    if np.ptp(gap) == 0:
        return float(gap[0] == 0)
    error = gap.std(ddof=1) / np.sqrt(len(gap))
    return float(2 * stdtr(len(gap) - 1, -abs(gap.mean() / error)))


def _source(rng: np.random.Generator | None, method: str) -> np.random.Generator:
    if rng is None:
        msg = f"rng must be a numpy random generator for method {method!r}, got None"
        raise ValueError(msg)
    return rng


def _differences(a: Paired, b: Paired) -> tuple[Array, float]:
    """Differences over a power of two, and that power: a - b itself may overflow."""
    first, second = _matched(a, b)
    first = observations("a", first, 2, flat=True)
    second = observations("b", second, 2, flat=True)
    if len(first) != len(second):
        msg = f"a and b must be paired, got {len(first)} and {len(second)} values"
        raise ValueError(msg)
    scale = power_of_two(np.append(first, second))
    return first / scale - second / scale, scale


def _matched(a: Paired, b: Paired) -> tuple[ArrayLike, ArrayLike]:
    """Values of both in the same order of seeds."""
    if not isinstance(a, Mapping) and not isinstance(b, Mapping):
        return a, b
    if not isinstance(a, Mapping) or not isinstance(b, Mapping):
        msg = "a and b must both be arrays or both be mappings from seed to value"
        raise ValueError(msg)  # noqa: TRY004  # bad input is a ValueError throughout
    alone = [key for key in (*a, *b) if (key in a) != (key in b)]
    if alone:
        listed = ", ".join(repr(key) for key in alone[:3]) + (", …" if len(alone) > 3 else "")
        msg = f"a and b must have the same seeds, got {listed} in one of them only"
        raise ValueError(msg)
    return [a[key] for key in a], [b[key] for key in a]
