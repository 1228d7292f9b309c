r"""The entropy penalty: where it ends, and which smoothing that is.

.. math:: -\ln p_y - \beta H(p)

Its minimizer over all distributions is a smoothed label, so that for every strength of label
smoothing there is one of the entropy penalty with the same end. The same number means different
labels, though: with beta = 0.1 and 10 classes the Dirichlet prior leaves 0.918 on the label, the
entropy penalty 0.99959.
"""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.smoothing.conventions import mass_from_smoothing, masses
from theory.labels.smoothing.rows import class_count
from theory.statements import states


@states(
    "labels:entropy-penalty-optimum",
    "The distribution that minimizes -ln p_y - beta H(p) is the smoothed label of mass "
    "1/(1 + beta W((K - 1) exp(-1/beta)/beta)), W the Lambert function; it falls strictly with "
    "beta from 1 to 1/K.",
    source="Zhang and Sabuncu 2020, section 9.1, without the factor 1/n",
)
def entropy_penalty_optimum(
    beta: ArrayLike, classes: int, *, complement: bool = False, samples: int = 1
) -> Array:
    r"""Label mass where cross-entropy with an entropy penalty is least.

    .. math:: p = \frac{1}{1 + t}, \quad 1 - p = \frac{t}{1 + t}, \quad
              t = \beta W(x) = (K - 1) e^{-1/\beta} e^{-W(x)}, \quad
              x = \frac{(K - 1) e^{-1/\beta}}{\beta}

    Every other class has (1 - p)/(K - 1). For a small beta x underflows long before t does; the
    second form of t has no quotient and loses nothing.

    Args:
        beta: Strength, numbers >= 0: 0 gives 1, ``inf`` gives 1/K.
        classes: K, at least 2.
        complement: Give 1 - p instead, to full relative accuracy where p rounds to 1.
        samples: n, for the objective as printed, whose penalty is divided by the number of
            samples: its strength is beta/n.

    Raises:
        ValueError: For a negative beta, or fewer than two classes.

    Example:
        >>> entropy_penalty_optimum([0.0, 0.1, 1.0, np.inf], 10).round(5)
        array([1.     , 0.99959, 0.47596, 0.1    ])
        >>> print(entropy_penalty_optimum(0.01, 10, complement=True))
        3.3e-43
    """
    from scipy.special import lambertw

    b = checks.nonnegative("beta", beta, infinite=True)
    count = class_count(classes)
    b = np.abs(b) / checks.integer("samples", samples, minimum=1)  # -0 has the inverse -inf
    with np.errstate(divide="ignore", over="ignore", under="ignore", invalid="ignore"):
        inverse = 1.0 / b
        # the quotient is rounded, and e^-700 makes of half an ulp of 700 some 500 ulps
        left = np.where(b > 1.0, 0.0, _remainder(b, inverse))
        # in two halves, since e^{-1/beta} alone may be too small where K - 1 is large
        half = np.exp(-inverse / 2)
        amount = (count - 1) * half * half * (1.0 - left)
        argument = np.where(np.isinf(b) | (amount == 0), 0.0, amount / b)
        tail = np.asarray(amount * np.exp(-np.real(lambertw(argument))))
        return np.asarray((tail if complement else 1.0) / (1.0 + tail))[()]


def _remainder(b: Array, inverse: Array) -> Array:
    """1/b less its rounded value: (1 - b r)/b, the product taken exactly (Dekker 1971)."""
    split = 134217729.0  # 2^27 + 1
    high, far = split * b, split * inverse
    b_high, r_high = high - (high - b), far - (far - inverse)
    b_low, r_low = b - b_high, inverse - r_high
    product = b * inverse
    error = ((b_high * r_high - product) + b_high * r_low + b_low * r_high) + b_low * r_low
    left = ((1.0 - product) - error) * inverse
    return np.where(np.isfinite(left), left, 0.0)


def entropy_penalty_for_mass(mass: ArrayLike, classes: int, *, complement: bool = False) -> Array:
    r"""Strength of the entropy penalty whose optimum has a given label mass p.

    .. math:: \beta = \frac{1}{p \ln \frac{p (K - 1)}{1 - p}}

    Args:
        mass: p in [1/K, 1]; 1 needs no penalty, 1/K an infinite one.
        classes: K, at least 2.
        complement: ``mass`` holds 1 - p instead, which tells masses next to 1 apart.

    Raises:
        ValueError: For a mass out of its range, or fewer than two classes.

    Example:
        >>> entropy_penalty_for_mass([1.0, 0.91, 0.01], 100).round(3)  # 0.91: smoothing by 0.1
        array([0.   , 0.159,   inf])
    """
    given = checks.unit_interval("mass", mass)
    count = class_count(classes)
    own, rest, excess = masses("mass", given, count, complement=complement)
    with np.errstate(divide="ignore", over="ignore"):
        # p (K - 1)/(1 - p) = 1 + (K p - 1)/(1 - p): next to 1/K the logarithm keeps its digits
        near = np.log1p(excess / rest)
        far = np.log(own) + np.log(count - 1.0) - np.log(rest)
        log_odds = np.where(excess < rest, near, far)
        return np.asarray(1.0 / (own * log_odds))[()]


def entropy_penalty_for_smoothing(
    epsilon: ArrayLike, classes: int, convention: str = "mix"
) -> Array:
    """Strength of the entropy penalty that ends where label smoothing ends.

    Args:
        epsilon: Strength of the smoothing; the label mass must stay at least 1/K.
        classes: K, at least 2.
        convention: Of ``epsilon``, ``"mix"`` or ``"true"``.

    Raises:
        ValueError: For an epsilon out of range, or fewer than two classes.

    Example:
        >>> print(entropy_penalty_for_smoothing(0.15, 100, "true").round(4))
        0.1859
    """
    mass = mass_from_smoothing(epsilon, classes, convention)
    if convention == "true":
        return entropy_penalty_for_mass(epsilon, classes, complement=True)
    return entropy_penalty_for_mass(mass, classes)
