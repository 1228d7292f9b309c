"""Many tests at once."""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array


def holm(p_values: ArrayLike, *, family: int | None = None) -> Array:
    r"""Holm's adjusted p-values: those below a level are rejected, all together at that level.

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min(1, (m - j + 1)\, p_{(j)})

    for the p-values in ascending order, m of them. The chance of one false rejection or more is at
    most the level, however the tests depend on each other, and no p-value is adjusted by more than
    Bonferroni's factor. Equal p-values stay equal, and their order is kept.

    Args:
        p_values: In [0, 1], any shape. nan stands for a test that could not be made: it stays nan
            and is not counted.
        family: How many tests there are, if more than those given as numbers: pass the size of the
            whole array to count the nan too, as if they had not rejected.

    Returns:
        Adjusted p-values in the shape of ``p_values``.

    Raises:
        ValueError: For no p-values, one outside [0, 1], or a family smaller than what is given.

    References:
        Holm 1979, Scand. J. Statist. 6.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        array([0.03, 0.06, 0.06])
    """
    try:
        floats = np.asarray(p_values).dtype.kind == "f"
    except ValueError:  # ragged nesting
        floats = False
    raw = (
        np.asarray(p_values, dtype=np.float64)
        if floats
        else checks.real_array("p_values", p_values)
    )
    if raw.size == 0:
        msg = f"p_values must hold at least one p-value, got shape {raw.shape}"
        raise ValueError(msg)
    known = ~np.isnan(raw)
    tested = checks.unit_interval("p_values", raw[known])
    count = len(tested) if family is None else checks.count("family", family)
    if count < len(tested):
        msg = f"family must be at least the number of p-values ({len(tested)}), got {count}"
        raise ValueError(msg)
    order = np.argsort(tested, kind="stable")
    stepped = np.minimum(tested[order] * (count - np.arange(len(tested))), 1.0)
    out, adjusted = np.full(raw.shape, np.nan), np.empty_like(tested)
    adjusted[order] = np.maximum.accumulate(stepped)
    out[known] = adjusted
    return out
