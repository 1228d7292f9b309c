r"""How far one network is from another, from the logits of both.

Each takes logits of shape ``(..., classes)`` that broadcast against each other and returns one
number >= 0 a row, in nats where it is a divergence. All are made of the logarithm of the ratio
:math:`d_k = \ln (p_k / q_k)`, which comes from the difference of the logits: nearly equal networks
keep their digits, and so do networks that are all but certain. Targets that are given as
probabilities are compared in `theory.labels.divergences`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.confidence.log_odds import confidence, pair_of_logits
from theory.labels.softmax import surprisal
from theory.numerics import exp_beyond_linear, progress
from theory.statements import states

_FAR = 500.0  # e^d is a float to 709; there nothing cancels in the plain sums
_BLOCK = 40_000  # numbers that stay in the cache
_LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True, slots=True, eq=False)
class _Ratios:
    """Two networks, row by row."""

    log_ratio: Array
    """d, 0 where neither has a share that is a float."""
    larger: Array
    """max(p, q) of every class."""


def _ratios(z: Array, other: Array) -> _Ratios:
    cost, other_cost = surprisal(z), surprisal(other)
    delta, near = _about_the_mean(np.exp(-cost), z, other)
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):
        larger = np.maximum(np.exp(-cost), np.exp(-other_cost))
        apart = other_cost - cost
        close = np.abs(delta).max(axis=-1, keepdims=True) < _FAR
        d = np.where(close, delta + near[..., None], apart)
        # where both shares are 0 the ratio may be of infinite costs, and counts for nothing
        return _Ratios(np.where(larger > 0, d, 0.0), larger)


def _kl(z: Array, other: Array) -> Array:
    cost = surprisal(z)
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):
        share = np.exp(-cost)
        delta, found = _about_the_mean(share, z, other)
        far = ~(np.abs(delta).max(axis=-1) < _FAR)
        if far.any():
            share, cost = share[far], cost[far]
            apart = np.where(share > 0, share * (surprisal(other[far]) - cost), 0.0)
            found[far] = np.maximum(apart.sum(axis=-1), 0.0)
    return found


def _about_the_mean(share: Array, z: Array, other: Array) -> tuple[Array, Array]:
    """The difference of the logits less its mean, and ln E exp(-that): the divergence."""
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):
        delta = z - other
        delta -= (share * delta).sum(axis=-1, keepdims=True)
        return delta, np.log1p((share * exp_beyond_linear(-delta)).sum(axis=-1))


def _each_row(
    what: Callable[[Array, Array], Array], teacher_logits: ArrayLike, student_logits: ArrayLike
) -> Array:
    """A number for each row, some rows at a time: in little memory, and faster."""
    z, other = pair_of_logits(teacher_logits, student_logits)
    shape, classes = z.shape[:-1], z.shape[-1]
    z, other = z.reshape(-1, classes), other.reshape(-1, classes)
    step = max(1, _BLOCK // classes)
    found = np.empty(len(z))
    for start in range(0, len(z), step):
        rows = slice(start, start + step)
        with np.errstate(over="ignore"):  # a sum of two may be out of range where neither is
            found[rows] = what(z[rows], other[rows])
    return np.asarray(found.reshape(shape))[()]


def entropy(logits: ArrayLike) -> Array:
    r"""Entropy of the softmax in nats, :math:`-\sum_k p_k \ln p_k`, as a sum of positive terms.

    Raises:
        ValueError: For fewer than two classes, nan or inf.

    Example:
        >>> entropy([[0.0, 0.0], [800.0, 0.0]])
        array([0.69314718, 0.        ])
    """
    cost = surprisal(logits)
    with np.errstate(under="ignore"):
        return np.asarray(progress(np.exp(-cost), cost).sum(axis=-1))[()]


def kl_divergence(teacher_logits: ArrayLike, student_logits: ArrayLike) -> Array:
    r"""Divergence of the student q from the teacher p in nats, :math:`\sum_k p_k \ln (p_k / q_k)`.

    With :math:`\delta` the difference of the logits less its mean under p, it equals
    :math:`\ln(1 + E_p[e^{-\delta} - 1 + \delta])`, whose terms are all nonnegative: the divergence
    of nearly equal networks keeps its digits.

    Raises:
        ValueError: For fewer than two classes or different numbers of them, shapes that do not
            broadcast, nan or inf.

    References:
        Nagarajan et al. 2023, appendix C.5.

    Example:
        >>> kl_divergence([[1.0, 0.0]], [[1.0, 1e-9]])
        array([9.83e-20])
    """
    return _each_row(_kl, teacher_logits, student_logits)


def jeffreys(teacher_logits: ArrayLike, student_logits: ArrayLike) -> Array:
    r"""Jeffreys divergence, :math:`\mathrm{KL}(p, q) + \mathrm{KL}(q, p)`.

    Raises:
        ValueError: As `kl_divergence`.

    Example:
        >>> jeffreys([[0.0, 0.0]], [[2.0, 0.0]])
        array([0.76159416])
    """
    return _each_row(lambda z, other: _kl(z, other) + _kl(other, z), teacher_logits, student_logits)


def jensen_shannon(teacher_logits: ArrayLike, student_logits: ArrayLike) -> Array:
    r"""Jensen-Shannon divergence: the mean of both divergences from :math:`m = (p + q) / 2`.

    It is at most ln 2. A class adds :math:`m (d \tanh(d/2) / 2 - \ln \cosh (d/2))`.

    Raises:
        ValueError: As `kl_divergence`.

    Example:
        >>> jensen_shannon([[0.0, 0.0], [900.0, 0.0]], [[2.0, 0.0], [0.0, 900.0]])
        array([0.0895409 , 0.69314718])
    """
    return _each_row(_jensen_shannon, teacher_logits, student_logits)


def _jensen_shannon(z: Array, other: Array) -> Array:
    found = _ratios(z, other)
    size = np.abs(found.log_ratio)
    with np.errstate(under="ignore"):
        small = np.exp(-size)
        near = np.minimum(size, 1.0)
        # beyond 1 both terms are large and e^-|d| carries their difference
        bent = near * np.tanh(near / 2) / 2 - np.log1p(2 * np.sinh(near / 4) ** 2)
        far = np.log(2.0) - np.log1p(small) - progress(small, size) / (1 + small)
        middle = found.larger * (1 + small) / 2
        terms = middle * np.where(size <= 1, bent, far)
        return np.asarray(np.minimum(terms.sum(axis=-1), np.log(2.0)))


def total_variation(teacher_logits: ArrayLike, student_logits: ArrayLike) -> Array:
    r"""Total variation distance, :math:`\frac12 \sum_k |p_k - q_k|`, in [0, 1].

    Raises:
        ValueError: As `kl_divergence`.

    Example:
        >>> total_variation([[0.0, 0.0], [900.0, 0.0]], [[2.0, 0.0], [0.0, 900.0]])
        array([0.38079708, 1.        ])
    """
    return _each_row(_total_variation, teacher_logits, student_logits)


def _total_variation(z: Array, other: Array) -> Array:
    found = _ratios(z, other)
    with np.errstate(under="ignore"):
        gaps = found.larger * np.expm1(-np.abs(found.log_ratio))
        gaps = np.copysign(gaps, found.log_ratio)
        # the gap of a class that takes all is below its round-off: it is that of the others
        first = np.argmax(z, axis=-1)[:, None]
        np.put_along_axis(gaps, first, 0.0, axis=-1)
        whole = np.abs(gaps).sum(axis=-1) + np.abs(gaps.sum(axis=-1))
        return np.asarray(np.minimum(whole / 2, 1.0))


@states(
    "labels:binary-divergence",
    "Telling one class from all others loses information: the divergence of two probabilities of a "
    "class is at most the divergence of the networks over all classes.",
    source="data-processing inequality; Nagarajan 2023, appendix C.5",
)
def binary_kl(
    teacher_logits: ArrayLike, student_logits: ArrayLike, label: ArrayLike | None = None
) -> Array:
    r"""Divergence of the student from the teacher on one class against the rest.

    .. math:: p_y \ln \frac{p_y}{q_y} + (1 - p_y) \ln \frac{1 - p_y}{1 - q_y}
        \le \mathrm{KL}(p, q)

    Args:
        teacher_logits: Shape ``(..., classes)``.
        student_logits: The same classes; leading axes broadcast.
        label: The class y of each row; the one that the teacher prefers if absent.

    Raises:
        ValueError: As `kl_divergence`, or for a class out of range.

    Example:
        >>> binary_kl([[2.0, 0.0, 0.0]], [[2.0, 9.0, -9.0]])
        array([4.99189112])
    """
    z, other = pair_of_logits(teacher_logits, student_logits)
    y = np.argmax(z, axis=-1) if label is None else label
    both = (confidence(z, y), confidence(other, y))
    # a log-odds may be out of range where the logits are at its ends
    first, second = (np.clip(phi, -_LARGEST, _LARGEST) for phi in both)
    return kl_divergence(
        np.stack([first, np.zeros_like(first)], axis=-1),
        np.stack([second, np.zeros_like(second)], axis=-1),
    )


def agreement(teacher_logits: ArrayLike, student_logits: ArrayLike) -> float:
    """Share of the rows where teacher and student prefer the same class.

    Of equal logits the lowest class counts as preferred.

    Raises:
        ValueError: As `kl_divergence`, or for no rows at all.

    Example:
        >>> agreement([[2.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]])
        0.5
    """
    z, other = pair_of_logits(teacher_logits, student_logits)
    checks.samples("teacher_logits", z)
    return float((z.argmax(axis=-1) == other.argmax(axis=-1)).mean())
