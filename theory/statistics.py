"""Intervals: Student's t, the bootstrap, the bootstrap over nodes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

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


def _level(level: float) -> float:
    number = checks.scalar("level", level)
    if not 0 < number < 1:
        msg = f"level must be in (0, 1), got {number:g}"
        raise ValueError(msg)
    return number


def _sample(name: str, value: ArrayLike, minimum: int) -> Array:
    """Observations along the first axis, at least ``minimum``."""
    array = checks.real_array(name, value)
    if array.ndim == 0 or len(array) < minimum:
        got = 0 if array.ndim == 0 else len(array)
        msg = f"{name} must hold at least {minimum} observations along its first axis, got {got}"
        raise ValueError(msg)
    return array


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
    from scipy.special import stdtrit

    sample, level = _sample("values", values, 2), _level(level)
    if sample.ndim != 1:
        msg = f"values must be one number an observation, got shape {sample.shape}"
        raise ValueError(msg)
    count = len(sample)
    # squares of very large or small numbers leave the range; a power of two costs no digits
    scale = float(np.ldexp(1.0, int(np.frexp(np.abs(sample).max())[1]) - 1))
    center = float((sample / scale).mean())
    error = (sample / scale).std(ddof=1) / np.sqrt(count)
    half = float(stdtrit(count - 1, 0.5 + level / 2) * error)
    low, high = (center - half) * scale, (center + half) * scale
    return Interval(center * scale, low, high, level, count, "t")


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
    level = _level(level)
    known = draws[~np.isnan(draws)]
    if 2 * len(known) < len(draws) or np.isnan(estimate):
        return Interval(float(estimate), np.nan, np.nan, level, count, method)
    low, high = np.quantile(known, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(estimate), float(low), float(high), level, count, method)


def _mean(sample: Array) -> Array:
    return np.asarray(sample.mean(axis=1))


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[[Array], ArrayLike] = _mean,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Percentile bootstrap of any statistic of independent observations.

    Args:
        values: Observations along the first axis, shape ``(n,)`` or ``(n, ...)`` (rows are drawn
            whole, so that pairs stay together), n >= 2.
        statistic: Takes many samples at once, shape ``(resamples, n, ...)``, returns one number
            for each. The mean over the observations if absent.
        rng: Source of the resamples.
        level: Nominal coverage.
        resamples: Number of resamples.

    Returns:
        The statistic of the sample itself, with an interval. Where the statistic is nan on some
        resamples they are left out; where it is on most, the ends are nan.

    Raises:
        ValueError: For fewer than two observations, nan or inf in them, a level outside (0, 1), or
            a statistic that does not return one number a resample.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> spread = lambda sample: sample.max(axis=1) - sample.min(axis=1)
        >>> bootstrap_interval([1.0, 2.0, 4.0], spread, rng=rng).high
        3.0
    """
    sample = _sample("values", values, 2)
    count = len(sample)
    parts = []
    for rows in blocks(checks.count("resamples", resamples, minimum=1), sample.size):
        parts.append(_numbers(statistic(sample[rng.integers(0, count, (rows, count))]), rows))
    estimate = _numbers(statistic(sample[None]), 1)[0]
    return percentile_interval(float(estimate), np.concatenate(parts), level, count, "bootstrap")


def _numbers(value: Any, rows: int) -> Array:  # noqa: ANN401 - whatever the caller's function returns
    array = np.asarray(value, dtype=np.float64)
    if array.shape != (rows,):
        msg = (
            "statistic must return one number for each resample (axis 0 of what it is given), "
            f"got shape {array.shape} for {rows} resamples"
        )
        raise ValueError(msg)
    return array


def node_bootstrap_interval(
    pairs: ArrayLike,
    statistic: str | Callable[[Array], float] = "mean",
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Interval for a statistic over pairs of nodes, by resampling the nodes.

    Pairs share nodes (eigendirections), so they are not independent and an interval over pairs
    would be far too short. Here nodes are drawn with replacement, all pairs of different nodes
    among those drawn are formed, and the statistic is taken over their values.

    Args:
        pairs: Value of each pair, shape ``(m, m)``; read above the diagonal only. nan marks a pair
            that has no value and is left out.
        statistic: ``"mean"``, ``"median"``, or a function of a 1-D array of values.
        rng: Source of the resamples.
        level: Nominal coverage.
        resamples: Number of resamples.

    Returns:
        The statistic over all pairs, with n the number of nodes. Resamples without any pair are
        left out.

    Raises:
        ValueError: For fewer than three nodes, a matrix that is not square, inf, or no pairs.

    References:
        Snijders and Borgatti 1999, Connections 22.

    Example:
        >>> gaps = np.subtract.outer(np.arange(6.0), np.arange(6.0))
        >>> interval = node_bootstrap_interval(gaps, rng=np.random.default_rng(0))
        >>> round(interval.estimate, 3), interval.n
        (-2.333, 6)
    """
    values, known = _pair_values(pairs)
    nodes = len(values)
    over = _PAIR_STATISTICS.get(statistic) if isinstance(statistic, str) else _each(statistic)
    if over is None:
        msg = f"statistic must be one of 'mean', 'median' or a function, got {statistic!r}"
        raise ValueError(msg)
    draws = []
    # a block holds a weight for every pair
    for rows in blocks(checks.count("resamples", resamples, minimum=1), nodes * nodes):
        index = rng.integers(0, nodes, (rows, nodes)) + nodes * np.arange(rows)[:, None]
        weight = np.bincount(index.ravel(), minlength=rows * nodes).reshape(rows, nodes)
        draws.append(over(values, known, weight.astype(np.float64)))
    estimate = float(over(values, known, np.ones((1, nodes)))[0])
    return percentile_interval(
        estimate, np.concatenate(draws), level, nodes, f"node bootstrap of {_name(statistic)}"
    )


def _name(statistic: object) -> str:
    if isinstance(statistic, str):
        return statistic
    return str(getattr(statistic, "__name__", "a statistic"))


def _pair_values(pairs: ArrayLike) -> tuple[Array, Array]:
    """Values of the pairs i < j in the upper triangle, and 1 where there is one."""
    raw = np.asarray(pairs, dtype=np.float64)
    if raw.ndim != 2 or raw.shape[0] != raw.shape[1] or len(raw) < 3:
        msg = f"pairs must be a square matrix over at least 3 nodes, got shape {raw.shape}"
        raise ValueError(msg)
    upper = np.triu(np.ones_like(raw, dtype=bool), 1)
    known = upper & ~np.isnan(raw)
    values = checks.real_array("pairs", np.where(known, raw, 0.0))
    if not known.any():
        msg = "pairs must hold a value above the diagonal, got only nan"
        raise ValueError(msg)
    return values, known.astype(np.float64)


def _pair_mean(values: Array, known: Array, weight: Array) -> Array:
    total = ((weight @ known) * weight).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(((weight @ values) * weight).sum(axis=1) / total)


def _pair_median(values: Array, known: Array, weight: Array) -> Array:
    """Median with every pair counted as often as it is formed."""
    first, second = np.nonzero(known)
    flat = values[first, second]
    order = np.argsort(flat, kind="stable")
    flat, first, second = flat[order], first[order], second[order]
    reached = np.cumsum(weight[:, first] * weight[:, second], axis=1)
    total = reached[:, -1:]
    # the two middle values of an even number, the same one twice of an odd number
    low = flat[np.minimum((2 * reached < total).sum(axis=1), len(flat) - 1)]
    high = flat[np.minimum((2 * reached <= total).sum(axis=1), len(flat) - 1)]
    return np.where(total[:, 0] > 0, 0.5 * (low + high), np.nan)


def _each(statistic: Callable[[Array], float]) -> Callable[[Array, Array, Array], Array]:
    """A plain function, resample by resample, on the values of the pairs as often as formed."""

    def over(values: Array, known: Array, weight: Array) -> Array:
        first, second = np.nonzero(known)
        flat = values[first, second]
        times = (weight[:, first] * weight[:, second]).astype(np.intp)
        return np.array([statistic(np.repeat(flat, n)) if n.any() else np.nan for n in times])

    return over


_PAIR_STATISTICS = {"mean": _pair_mean, "median": _pair_median}
