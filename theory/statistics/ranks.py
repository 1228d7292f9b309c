"""Rank correlation with an interval."""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.statistics.bootstrap import bootstrap_interval
from theory.statistics.interval import Interval, nominal, observations

_NAMES = {"bonett-wright": "Spearman, Bonett-Wright", "fisher": "Spearman, Fisher"}


def rank_correlation(
    x: ArrayLike,
    y: ArrayLike,
    *,
    level: float = 0.95,
    method: str = "bonett-wright",
    rng: np.random.Generator | None = None,
    resamples: int = 2000,
) -> Interval:
    r"""Spearman's rank correlation of x and y; ties share their average rank.

    The interval is symmetric on Fisher's scale, :math:`\tanh(\operatorname{artanh} r \pm z s)` with
    :math:`s^2 = (1 + r^2 / 2) / (n - 3)` (``"bonett-wright"``, right for ranks) or
    :math:`1 / (n - 3)` (``"fisher"``, that of Pearson's correlation, too short for strong ones), or
    from resampled pairs (``"bootstrap"``, ``"bca"``).

    Ranks in perfect agreement give r = 1, where the scale ends. There the inner end is that of the
    next smaller value that ranks without ties can reach, :math:`1 - 12 / (n (n^2 - 1))`, and the
    outer end is 1; likewise for -1.

    Args:
        x: Observations, shape ``(n,)``, n >= 4.
        y: The same of the other quantity.
        level: Nominal coverage.
        method: ``"bonett-wright"``, ``"fisher"``, ``"bootstrap"`` or ``"bca"``.
        rng: Source of the resamples of the bootstraps.
        resamples: How many.

    Returns:
        The correlation with its interval, all nan where x or y is constant: it has no order.

    Raises:
        ValueError: For unequal lengths, fewer than four pairs, nan or inf, or a bootstrap without
            ``rng``.

    References:
        Bonett and Wright 2000, Psychometrika 65.

    Example:
        >>> found = rank_correlation([1, 2, 3, 4, 5], [1, 3, 2, 5, 4])
        >>> round(found.estimate, 3), round(found.low, 3), round(found.high, 3)
        (0.8, -0.46, 0.99)
    """
    checks.choice("method", method, (*_NAMES, "bootstrap", "bca"))
    first = observations("x", x, 4, flat=True)
    second = observations("y", y, 4, flat=True)
    checks.same_shape(x=first, y=second)
    level, count = nominal(level), len(first)
    if method in _NAMES:
        r = float(spearman(np.stack([first, second], axis=-1)[None])[0])
        low, high = _on_fishers_scale(r, count, level, 0.5 if method == "bonett-wright" else 0.0)
        return Interval(r, low, high, level, count, _NAMES[method])
    if rng is None:
        msg = f"rng must be a numpy random generator for method {method!r}, got None"
        raise ValueError(msg)
    how = "percentile" if method == "bootstrap" else "bca"
    found = bootstrap_interval(
        np.stack([first, second], axis=-1), spearman, rng=rng, level=level, resamples=resamples,
        method=how,
    )  # fmt: skip
    name = f"Spearman, {found.method}"
    return Interval(found.estimate, found.low, found.high, level, count, name)


def spearman(pairs: Array) -> Array:
    """Spearman's correlation of many samples of pairs, shape ``(rows, n, 2)``; nan if constant."""
    from scipy.stats import rankdata

    # twice the distance of a rank from the middle is a whole number: no sum below rounds
    ranks = 2 * rankdata(pairs, axis=1) - (pairs.shape[1] + 1)
    x, y = ranks[..., 0], ranks[..., 1]
    own = np.square(x).sum(axis=1) * np.square(y).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.clip((x * y).sum(axis=1) / np.sqrt(own), -1.0, 1.0)
        return np.asarray(np.where(own > 0, r, np.nan))


def _on_fishers_scale(r: float, count: int, level: float, share: float) -> tuple[float, float]:
    """Ends of the interval; ``share`` of r^2 widens it."""
    from scipy.special import ndtri

    if np.isnan(r):
        return np.nan, np.nan
    next_to_one = min(1 - 12 / (count * (count * count - 1)), float(np.nextafter(1.0, 0.0)))
    inner = float(np.clip(r, -next_to_one, next_to_one)) if abs(r) == 1 else r
    half = float(ndtri(0.5 + level / 2)) * np.sqrt((1 + share * inner**2) / (count - 3))
    low, high = np.tanh(np.arctanh(inner) - half), np.tanh(np.arctanh(inner) + half)
    return (-1.0 if r == -1 else float(low)), (1.0 if r == 1 else float(high))
