r"""Which way a filter leans: the trend of its effective stopping time over a spectrum.

The effective time :math:`t(\lambda) = -\ln(1 - g(\lambda)) / \lambda` of a filter g is when plain
training on labels has the same value along that direction. A filter exaggerates, as the student
does in Theorem 4.1, if and only if it increases with :math:`\lambda`. (docs/flow.md)
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.statements import states

Verdict = Literal["exaggerates", "anti-exaggerates", "neither"]


class HasEffectiveTime(Protocol):
    """Any filter of :mod:`theory.flow.filters`, or one's own."""

    def effective_time(self, eigenvalues: ArrayLike, /) -> Array:
        """Time of label training with the same gain, nan where the gain leaves [0, 1)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Trend:
    """Effective times over the distinct positive eigenvalues, and which way they go."""

    verdict: Verdict
    """``"neither"`` where the effective time rises and falls, is constant, or is not defined."""
    constant: bool
    """The effective time is the same everywhere: plain early stopping on this spectrum."""
    defined: bool
    """False where the gain of some direction leaves [0, 1], so that no stopping time matches it."""
    rise: float
    """Largest relative rise from a lower to a higher eigenvalue, in [0, 1]: 1 - before / after."""
    fall: float
    """Largest relative fall from a lower to a higher eigenvalue, in [0, 1]: 1 - after / before."""
    eigenvalues: Array
    """The distinct positive eigenvalues, descending."""
    effective_times: Array
    """The effective time at each of them."""


def effective_time_trend(
    filter: HasEffectiveTime,
    eigenvalues: ArrayLike,
    *,
    tolerance: float = 1e-12,
) -> Trend:
    r"""How the effective stopping time of a filter changes over a spectrum.

    Repeated eigenvalues count once, and directions of eigenvalue zero not at all: nobody learns
    them. Changes by less than ``tolerance``, relative, are round-off. So a filter exaggerates if
    its effective time nowhere falls and somewhere rises: it may level off, as that of a student
    does among directions that are learned completely.

    Args:
        filter: Anything with ``effective_time(eigenvalues)``.
        eigenvalues: Any order, >= 0.
        tolerance: Relative change that counts as none, in [0, 1].

    Raises:
        ValueError: If an eigenvalue is negative or not finite, or the tolerance leaves [0, 1].
    """
    tolerance = checks.fraction("tolerance", tolerance)
    values = np.unique(checks.nonnegative("eigenvalues", eigenvalues))  # ascending
    values = values[values > 0]
    times = np.asarray(filter.effective_time(values), dtype=np.float64)
    defined = not bool(np.isnan(times).any())
    rise = _largest_rise(times) if defined else 0.0
    fall = _largest_rise(times[::-1]) if defined else 0.0
    rises, falls = rise > tolerance, fall > tolerance
    verdict: Verdict = "neither"
    if rises != falls:
        verdict = "exaggerates" if rises else "anti-exaggerates"
    constant = defined and not rises and not falls
    return Trend(verdict, constant, defined, rise, fall, values[::-1], times[::-1])


@states(
    "flow:effective-time",
    "A filter exaggerates, for every pair of directions matched at the upper one, if and only if "
    "its effective stopping time increases with the eigenvalue.",
    source="docs/flow.md, effective time",
)
def classify(
    filter: HasEffectiveTime,
    eigenvalues: ArrayLike,
    *,
    tolerance: float = 1e-12,
) -> Verdict:
    r"""Whether a filter exaggerates the top directions of a spectrum.

    ``"exaggerates"``: matched with label training along any direction, it has learned less along
    every lower one. ``"anti-exaggerates"``: more. ``"neither"``: it depends on the pair, or the
    filter is plain early stopping (a constant effective time), or the gain leaves [0, 1] so that
    nothing matches; :func:`effective_time_trend` tells these apart.

    Args:
        filter: Anything with ``effective_time(eigenvalues)``.
        eigenvalues: Any order, >= 0. Zeros and repetitions do not count.
        tolerance: Relative change of the effective time that counts as none.

    Raises:
        ValueError: If an eigenvalue is negative or not finite, or the tolerance leaves [0, 1].

    Example:
        >>> class Ridge:
        ...     def effective_time(self, eigenvalues):
        ...         return np.log1p(eigenvalues) / eigenvalues
        >>> classify(Ridge(), [1.0, 0.1, 0.0])
        'anti-exaggerates'
    """
    return effective_time_trend(filter, eigenvalues, tolerance=tolerance).verdict


def _largest_rise(times: Array) -> float:
    """Largest 1 - before / after over all pairs in order, in [0, 1]."""
    if times.size == 0:
        return 0.0
    lowest = np.minimum.accumulate(times)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        rises = np.where(times == lowest, 0.0, 1.0 - lowest / times)
    return float(rises.max())
