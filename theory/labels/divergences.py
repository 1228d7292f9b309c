r"""How far one distribution is from another, from probabilities.

Networks give logits; their entropy and divergence are in `theory.labels.confidence` and lose no
digits where a probability rounds to 1. The functions here are for targets that are given as
probabilities, such as posteriors and soft labels. Each takes arrays of shape ``(..., classes)``
that broadcast against each other and returns one number >= 0 a row, in nats, inf where it is
infinite, never nan.
"""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.numerics import exp_beyond_linear, progress


def entropy(p: ArrayLike) -> Array:
    r"""Entropy, :math:`-\sum_k p_k \ln p_k`, with 0 ln 0 = 0.

    Raises:
        ValueError: If a row is no distribution.

    Example:
        >>> entropy([[0.5, 0.5], [1.0, 0.0]])
        array([0.69314718, 0.        ])
    """
    p = checks.distributions("p", p)
    with np.errstate(divide="ignore", under="ignore"):
        # 1 - p of a probability near 1 is exact, and log1p keeps its digits
        cost = np.where(p > 0.5, -np.log1p(p - 1.0), -np.log(p))
        return np.asarray(np.maximum(progress(p, cost), 0.0).sum(axis=-1))[()]


def cross_entropy(p: ArrayLike, q: ArrayLike) -> Array:
    r"""Cross-entropy, :math:`-\sum_k p_k \ln q_k`; inf where q = 0 and p > 0.

    Raises:
        ValueError: If a row is no distribution, or the shapes do not broadcast.

    Example:
        >>> cross_entropy([1.0, 0.0], [[0.5, 0.5], [0.0, 1.0], [1.0, 0.0]])
        array([0.69314718,        inf, 0.        ])
    """
    p, q = _pair(p, q)
    with np.errstate(divide="ignore", under="ignore"):
        return np.asarray(np.maximum(progress(p, -np.log(q)), 0.0).sum(axis=-1))[()]


def kl(p: ArrayLike, q: ArrayLike) -> Array:
    r"""Kullback-Leibler divergence, :math:`\mathrm{KL}(p, q) = \sum_k p_k \ln (p_k / q_k)`.

    Summed as :math:`\sum_k p_k (e^{L_k} - 1 - L_k)` with :math:`L = \ln (q / p)`, whose terms are
    all nonnegative: no rounding makes it negative, and nearly equal rows keep their digits.

    Raises:
        ValueError: If a row is no distribution, or the shapes do not broadcast.

    Example:
        >>> kl([0.5, 0.5], [[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]])
        array([0.        , 0.14384104,        inf])
    """
    p, q = _pair(p, q)
    with np.errstate(divide="ignore", invalid="ignore", under="ignore", over="ignore"):
        gap = q - p
        ratio = np.log1p(gap / p)
        near = p * exp_beyond_linear(ratio)
        far = np.maximum(p * (np.log(p) - np.log(q)) + gap, 0.0)
        terms = np.where(p == 0, q, np.where(np.abs(ratio) <= 0.5, near, far))
        return np.asarray(terms.sum(axis=-1))[()]


def kl_of_cost(p: Array, cost: Array) -> Array:
    r""":math:`\mathrm{KL}(p, q)` for the q whose surprisals :math:`-\ln q` are ``cost``.

    As `kl`, but right also where q is too small to be a number; nothing is checked.
    """
    with np.errstate(divide="ignore", invalid="ignore", under="ignore", over="ignore"):
        q = np.exp(-cost)
        gap = q - p
        ratio = np.log1p(gap / p)
        near = p * exp_beyond_linear(ratio)
        far = np.maximum(p * (np.log(p) + cost) + gap, 0.0)
        terms = np.where(p == 0, q, np.where(np.abs(ratio) <= 0.5, near, far))
        return np.asarray(terms.sum(axis=-1))


def jeffreys(p: ArrayLike, q: ArrayLike) -> Array:
    r"""Jeffreys divergence, :math:`\mathrm{KL}(p, q) + \mathrm{KL}(q, p)`.

    Example:
        >>> jeffreys([0.5, 0.5], [[0.25, 0.75], [0.5, 0.5]])
        array([0.27465307, 0.        ])
    """
    p, q = _pair(p, q)
    return np.asarray(kl(p, q) + kl(q, p))[()]


def jensen_shannon(p: ArrayLike, q: ArrayLike) -> Array:
    r"""Jensen-Shannon divergence, the mean of both divergences from :math:`m = (p + q) / 2`.

    It is at most ln 2.

    Example:
        >>> jensen_shannon([1.0, 0.0], [[0.0, 1.0], [1.0, 0.0]])
        array([0.69314718, 0.        ])
    """
    p, q = _pair(p, q)
    middle = p + (q - p) / 2
    return np.asarray((kl(p, middle) + kl(q, middle)) / 2)[()]


def total_variation(p: ArrayLike, q: ArrayLike) -> Array:
    r"""Total variation distance, :math:`\frac12 \sum_k |p_k - q_k|`, in [0, 1].

    Example:
        >>> total_variation([1.0, 0.0], [[0.0, 1.0], [0.5, 0.5]])
        array([1. , 0.5])
    """
    p, q = _pair(p, q)
    return np.asarray(np.abs(p - q).sum(axis=-1) / 2)[()]


def _pair(p: ArrayLike, q: ArrayLike) -> tuple[Array, Array]:
    first, second = checks.distributions("p", p), checks.distributions("q", q)
    checks.same_classes(p=first, q=second)
    shape = np.broadcast_shapes(first.shape, second.shape)
    return np.broadcast_to(first, shape), np.broadcast_to(second, shape)
