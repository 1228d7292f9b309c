"""The bootstrap over nodes: intervals over pairs that share them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.statistics.interval import Interval, blocks, percentile_interval, power_of_two


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
    scale = power_of_two(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = ((weight @ (values / scale)) * weight).sum(axis=1) / total
        return np.asarray(mean * scale)


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
    # halves first: the sum of two large ones overflows
    return np.where(total[:, 0] > 0, np.where(low == high, low, low / 2 + high / 2), np.nan)


def _each(statistic: Callable[[Array], float]) -> Callable[[Array, Array, Array], Array]:
    """A plain function, resample by resample, on the values of the pairs as often as formed."""

    def over(values: Array, known: Array, weight: Array) -> Array:
        first, second = np.nonzero(known)
        flat = values[first, second]
        times = (weight[:, first] * weight[:, second]).astype(np.intp)
        return np.array([statistic(np.repeat(flat, n)) if n.any() else np.nan for n in times])

    return over


_PAIR_STATISTICS = {"mean": _pair_mean, "median": _pair_median}
