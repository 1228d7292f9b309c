r"""Label smoothing, and the numbers by which papers say how strong it is.

A smoothed label has mass m on its class and (1 - m)/(K - 1) on every other. Four numbers name it:

===============  ==========================================  ====================================
epsilon, mix     (1 - eps) e_y + eps u                       Szegedy 2016, Wang 2020, torch
epsilon, true    1 - eps on the label, eps/(K-1) elsewhere   Zhang and Sabuncu 2020
mass             m itself
beta             Dirichlet prior of concentration beta/K+1   Zhang and Sabuncu 2020, section 5.1
===============  ==========================================  ====================================

with :math:`\epsilon_{mix} = \frac{\beta}{1 + \beta}`,
:math:`\epsilon_{true} = 1 - m = \frac{K - 1}{K} \epsilon_{mix}`. Where a number is near 1 its
distance to 1 is what tells strengths apart: ``complement=True`` takes or gives that instead.
"""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.smoothing.rows import class_count, labels_of, two_levels
from theory.statements import states

CONVENTIONS = ("mix", "true")
_ULPS = 8 * float(np.finfo(np.float64).eps)


def smooth(labels: ArrayLike, classes: int, epsilon: ArrayLike, convention: str = "mix") -> Array:
    r"""Smoothed one-hot labels.

    .. math::

        \text{mix: } (1 - \epsilon) e_y + \epsilon \tfrac1K, \qquad
        \text{true: } 1 - \epsilon \text{ at } y,\ \tfrac{\epsilon}{K - 1} \text{ elsewhere}

    Args:
        labels: Classes, integers from 0 to K - 1, any shape.
        classes: K, at least 2.
        epsilon: Strength in [0, 1], one number or one that broadcasts against ``labels``.
        convention: ``"mix"`` (Szegedy et al. 2016; Wang et al. 2020, eq. 5) or ``"true"``
            (Zhang and Sabuncu 2020).

    Returns:
        Distributions, shape ``(..., classes)``.

    Raises:
        ValueError: For a label out of range, no labels, fewer than two classes, or an epsilon
            outside [0, 1].

    Example:
        >>> smooth([0, 2], 4, 0.2)
        array([[0.85, 0.05, 0.05, 0.05],
               [0.05, 0.05, 0.85, 0.05]])
        >>> smooth(0, 4, 0.15, convention="true")
        array([0.85, 0.05, 0.05, 0.05])
    """
    count = class_count(classes)
    y = labels_of(labels, count)
    eps = checks.unit_interval("epsilon", epsilon)
    checks.choice("convention", convention, CONVENTIONS)
    checks.broadcastable(labels=y.astype(np.float64), epsilon=eps)
    if convention == "mix":
        return two_levels(y, count, (1.0 - eps) + eps / count, eps / count)
    return two_levels(y, count, 1.0 - eps, eps / (count - 1))


@states(
    "labels:map-smoothing",
    "The mode of one label under the Dirichlet prior beta/K + 1 minimizes 1 + beta times the "
    "cross-entropy to the label smoothed by epsilon = beta/(1 + beta), label mass "
    "(K + beta)/(K (1 + beta)).",
    source="Zhang and Sabuncu 2020, eq. 7 and section 9.1",
)
def smoothing_from_beta(
    beta: ArrayLike, classes: int, convention: str = "mix", *, complement: bool = False
) -> Array:
    r"""Smoothing that a Dirichlet prior of concentration :math:`\beta/K + 1` amounts to.

    .. math:: \epsilon_{mix} = \frac{\beta}{1 + \beta}, \qquad
              \epsilon_{true} = \frac{K - 1}{K} \frac{\beta}{1 + \beta}

    Args:
        beta: Strength of the prior, numbers >= 0; ``inf`` forgets the label.
        classes: K, at least 2.
        convention: ``"mix"`` or ``"true"``.
        complement: Give 1 - epsilon instead; of ``"true"`` that is the label mass.

    Raises:
        ValueError: For a negative beta, fewer than two classes, or an unknown convention.

    Example:
        >>> smoothing_from_beta([0.0, 0.25, np.inf], 10)
        array([0. , 0.2, 1. ])
        >>> print(smoothing_from_beta(0.1, 10, "true", complement=True).round(4))  # label mass
        0.9182
    """
    b = checks.nonnegative("beta", beta, infinite=True)
    count = class_count(classes)
    checks.choice("convention", convention, CONVENTIONS)
    share = _over_one_plus(b)
    left = 1.0 / (1.0 + b)
    mixed = convention == "mix"
    if complement:
        return np.asarray(left if mixed else left + share / count)[()]
    return np.asarray(share if mixed else share * ((count - 1) / count))[()]


def _over_one_plus(x: Array) -> Array:
    """The ratio x/(1 + x) for x >= 0, 1 at inf."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.asarray(np.where(x <= 1.0, x / (1.0 + x), 1.0 / (1.0 + 1.0 / x)))


def beta_from_smoothing(
    epsilon: ArrayLike, classes: int, convention: str = "mix", *, complement: bool = False
) -> Array:
    r"""Strength of the Dirichlet prior that amounts to a smoothing.

    .. math:: \beta = \frac{\epsilon_{mix}}{1 - \epsilon_{mix}}
                    = \frac{K \epsilon_{true}}{K - 1 - K \epsilon_{true}}

    Args:
        epsilon: Strength in [0, 1]; in the true convention at most (K - 1)/K, which is uniform
            (beyond it the label would be the least likely class, and no prior does that).
        classes: K, at least 2.
        convention: ``"mix"`` or ``"true"``.
        complement: ``epsilon`` holds 1 - epsilon instead, which keeps the digits of a strong
            smoothing in the mix convention.

    Raises:
        ValueError: For an epsilon out of its range, or fewer than two classes.

    Example:
        >>> beta_from_smoothing([0.1, 1.0], 10).round(6)
        array([0.111111,      inf])
        >>> print(beta_from_smoothing(0.15, 100, "true").round(6))
        0.178571
    """
    eps = checks.unit_interval("epsilon", epsilon)
    count = class_count(classes)
    checks.choice("convention", convention, CONVENTIONS)
    if convention == "true":
        return _prior_of(eps, count, complement=not complement, name="epsilon")
    amount, left = (1.0 - eps, eps) if complement else (eps, 1.0 - eps)
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(amount / left)[()]


def convert_smoothing(
    epsilon: ArrayLike, classes: int, source: str = "mix", target: str = "true"
) -> Array:
    r"""The same smoothing in the other convention.

    .. math:: \epsilon_{true} = \frac{K - 1}{K} \epsilon_{mix}

    Args:
        epsilon: Strength in the convention ``source``, in [0, 1]; of a true one at most
            (K - 1)/K can be written as a mixture.
        classes: K, at least 2.
        source: ``"mix"`` or ``"true"``.
        target: ``"mix"`` or ``"true"``.

    Raises:
        ValueError: For an epsilon that the other convention does not have.

    Example:
        >>> print(convert_smoothing(0.15, 100, "true", "mix").round(6))
        0.151515
    """
    eps = checks.unit_interval("epsilon", epsilon)
    count = class_count(classes)
    checks.choice("source", source, CONVENTIONS)
    checks.choice("target", target, CONVENTIONS)
    if source == target:
        return eps[()]
    if source == "mix":
        return np.asarray(eps * ((count - 1) / count))[()]
    masses("epsilon", eps, count, complement=True)
    return np.asarray(np.minimum(eps * (count / (count - 1)), 1.0))[()]


def mass_from_smoothing(epsilon: ArrayLike, classes: int, convention: str = "mix") -> Array:
    r"""Mass that a smoothed label leaves on its class, :math:`1 - \epsilon_{true}`.

    Raises:
        ValueError: For an epsilon outside [0, 1], fewer than two classes, an unknown convention.

    Example:
        >>> print(mass_from_smoothing(0.1, 10), mass_from_smoothing(0.1, 10, "true"))
        0.91 0.9
    """
    eps = checks.unit_interval("epsilon", epsilon)
    count = class_count(classes)
    checks.choice("convention", convention, CONVENTIONS)
    return np.asarray((1.0 - eps) + (eps / count if convention == "mix" else 0.0))[()]


def smoothing_from_mass(
    mass: ArrayLike, classes: int, convention: str = "mix", *, complement: bool = False
) -> Array:
    r"""Smoothing that leaves a given mass m on the label, :math:`\epsilon_{true} = 1 - m`.

    Args:
        mass: Label mass; in [0, 1], and for the mix convention at least 1/K.
        classes: K, at least 2.
        convention: ``"mix"`` or ``"true"``.
        complement: ``mass`` holds 1 - m instead.

    Raises:
        ValueError: For a mass out of its range, or fewer than two classes.

    Example:
        >>> smoothing_from_mass([1.0, 0.91, 0.1], 10).round(6)
        array([0. , 0.1, 1. ])
    """
    given = checks.unit_interval("mass", mass)
    count = class_count(classes)
    checks.choice("convention", convention, CONVENTIONS)
    if convention == "true":
        return np.asarray(given if complement else 1.0 - given)[()]
    rest = masses("mass", given, count, complement=complement)[1]
    return np.asarray(np.minimum(rest * (count / (count - 1)), 1.0))[()]


def mass_from_beta(beta: ArrayLike, classes: int, *, complement: bool = False) -> Array:
    r"""Label mass under a Dirichlet prior, :math:`m = \frac{K + \beta}{K (1 + \beta)}`.

    Args:
        beta: Strength of the prior, numbers >= 0, ``inf`` included.
        classes: K, at least 2.
        complement: Give 1 - m instead.

    Raises:
        ValueError: For a negative beta or fewer than two classes.

    Example:
        >>> mass_from_beta([0.0, 0.1, np.inf], 10).round(6)
        array([1.      , 0.918182, 0.1     ])
    """
    return smoothing_from_beta(beta, classes, "true", complement=not complement)


def beta_from_mass(mass: ArrayLike, classes: int, *, complement: bool = False) -> Array:
    r"""Strength of the prior that leaves a mass m, :math:`\beta = \frac{K (1 - m)}{K m - 1}`.

    Args:
        mass: Label mass in [1/K, 1]; 1/K needs an infinite strength.
        classes: K, at least 2.
        complement: ``mass`` holds 1 - m instead, which keeps the digits of a mass near 1.

    Raises:
        ValueError: For a mass out of its range, or fewer than two classes.

    Example:
        >>> beta_from_mass([1.0, 0.55, 0.1], 10).round(6)
        array([ 0.,  1., inf])
    """
    given = checks.unit_interval("mass", mass)
    return _prior_of(given, class_count(classes), complement=complement, name="mass")


def _prior_of(given: Array, classes: int, *, complement: bool, name: str) -> Array:
    _, rest, excess = masses(name, given, classes, complement=complement)
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(classes * rest / excess)[()]


def masses(
    name: str, given: Array, classes: int, *, complement: bool
) -> tuple[Array, Array, Array]:
    """A label mass m, the rest 1 - m, and how far it is above the uniform one, K m - 1.

    The excess comes from m or from 1 - m, whichever is the smaller, and is 0 where the number
    given is within rounding of the uniform one.

    Args:
        name: What the number given is called in an error message.
        given: m, or 1 - m with ``complement``, in [0, 1].
        classes: K.
        complement: What is given.

    Raises:
        ValueError: For a mass below 1/K.
    """
    own, rest = (1.0 - given, given) if complement else (given, 1.0 - given)
    excess = np.where(rest < own, (classes - 1) - classes * rest, classes * own - 1.0)
    # an ulp of 1 - m is K ulps of K m
    excess = np.where(np.abs(excess) <= _ULPS * (classes if complement else 1), 0.0, excess)
    if (excess < 0).any():
        worst = float(own[excess < 0].ravel()[0])
        msg = (
            f"{name} must leave at least 1/classes = {1 / classes:g} on the label, "
            f"got a label mass of {worst:g}"
        )
        raise ValueError(msg)
    return own, rest, excess
