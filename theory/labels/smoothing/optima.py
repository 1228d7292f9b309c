r"""Where LsrKD ends: the label mass at its minimum, and the weight for a mass.

The minimizer is a smoothed label by symmetry: one logit x for the label, 0 for every other class.
With :math:`\sigma_\tau(x)` the label's probability at temperature tau and g the teacher's,

.. math:: (1 - a)(1 - \sigma_1(x)) = a\, \tau^{f-1} (\sigma_\tau(x) - g)

in which the left side falls with x and the right side rises.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import checks
from theory.checks import Array
from theory.labels.smoothing.conventions import masses
from theory.labels.smoothing.rows import class_count
from theory.statements import states

_FACTORS = {"1": 0.0, "tau": 1.0, "tau2": 2.0}
_HALVINGS = 110
_ROUNDING = 4 * float(np.finfo(np.float64).eps)


def lsrkd_weight_for_mass(
    mass: ArrayLike,
    classes: int,
    temperature: ArrayLike = 3.0,
    *,
    factor: str = "tau",
    teacher_mass: ArrayLike | None = None,
    complement: bool = False,
) -> Array:
    r"""Weight a of the teacher in LsrKD whose optimum has a given label mass p.

    .. math:: a = \frac{1 - p}{(1 - p) + \tau^{f-1} (\sigma_\tau(x) - g)}, \qquad
              x = \ln \frac{p (K - 1)}{1 - p}

    Args:
        mass: p in [1/K, 1].
        classes: K, at least 2.
        temperature: tau > 0.
        factor: ``"tau"`` (f = 1, Wang et al. 2020, eq. 10), ``"1"`` or ``"tau2"``.
        teacher_mass: g in [1/K, 1], the label mass of a corrected teacher; 1/K if absent.
        complement: ``mass`` holds 1 - p instead.

    Raises:
        ValueError: For a mass below 1/K, or one the teacher does not let the student fall to: no
            weight in [0, 1] goes below what the teacher alone would end at.

    Example:
        >>> print(lsrkd_weight_for_mass(0.91, 10, temperature=1.0).round(6))  # label smoothing
        0.1
        >>> print(lsrkd_weight_for_mass(0.85, 100, temperature=3.0).round(6))
        0.691559
    """
    given = checks.unit_interval("mass", mass)
    count = class_count(classes)
    own, rest, excess = masses("mass", given, count, complement=complement)
    tau, g = _teacher(temperature, teacher_mass, count)
    with np.errstate(divide="ignore", over="ignore", under="ignore", invalid="ignore"):
        # ln(p (K - 1)/(1 - p)), whose digits next to p = 1/K come from the excess
        near = np.log1p(excess / rest)
        far = np.log(own) + np.log(count - 1.0) - np.log(rest)
        logit = np.where(excess < rest, near, far)
        above = _above(logit / tau, g, count)
        # at the mass where the teacher alone ends, rounding may leave less than nothing
        above = np.where(np.abs(above) <= _ROUNDING * (1.0 - g) * (1.0 + logit / tau), 0.0, above)
        pull = tau ** (_power(factor) - 1.0) * above
        weight = np.where(rest == 0, 0.0, rest / (rest + pull))
    if not ((weight >= 0) & (weight <= 1 + 1e-9)).all():
        msg = (
            "mass must be one that some weight ends at; the teacher alone ends at a higher mass, "
            f"got {float(np.min(own)):g}"
        )
        raise ValueError(msg)
    return np.asarray(np.minimum(weight, 1.0))[()]


@states(
    "labels:lsrkd-optimum",
    "The minimum of LsrKD over all logits is a smoothed label whose mass solves one increasing "
    "equation; at tau = 1 it is label smoothing, and for tau > 1 with factor tau it is more "
    "confident than label smoothing of the same weight.",
    source="Wang 2020, eq. 10 and 12, made explicit",
)
def lsrkd_optimum(
    weight: ArrayLike,
    classes: int,
    temperature: ArrayLike = 3.0,
    *,
    factor: str = "tau",
    teacher_mass: ArrayLike | None = None,
    complement: bool = False,
) -> Array:
    r"""Label mass at the minimum of LsrKD, or of LsrKD-TC.

    Args:
        weight: a in [0, 1].
        classes: K, at least 2.
        temperature: tau > 0.
        factor: ``"tau"`` (f = 1, eq. 10), ``"1"`` or ``"tau2"``.
        teacher_mass: g in [1/K, 1] of a corrected teacher; 1/K (uniform) if absent.
        complement: Give 1 - p instead, to full relative accuracy.

    Raises:
        ValueError: For numbers or options that are not as described.

    References:
        Wang et al. 2020, eq. 10 and 12.

    Example:
        >>> lsrkd_optimum(0.1, 100, [1.0, 2.0, 3.0, 20.0]).round(3)
        array([0.901, 0.963, 0.984, 0.999])
        >>> lsrkd_optimum(0.1, 100, [2.0, 3.0], factor="tau2").round(3)
        array([0.939, 0.963])
    """
    a = checks.unit_interval("weight", weight)
    count = class_count(classes)
    tau, g = _teacher(temperature, teacher_mass, count)
    checks.broadcastable(weight=a, temperature=tau, teacher_mass=g)
    a, tau, g = np.broadcast_arrays(a, tau, g)
    power = _power(factor)
    with np.errstate(divide="ignore", over="ignore", under="ignore", invalid="ignore"):
        start = tau * (np.log(g) + np.log(count - 1.0) - np.log1p(-g))
        log_ratio = np.log1p(-a) - np.log(a) - (power - 1.0) * np.log(tau)

        def ahead(logit: Array) -> NDArray[np.bool_]:
            """Whether the teacher pulls harder than the label, from logarithms of both."""
            label = log_ratio - np.log1p(np.exp(logit) / (count - 1.0))
            far = log_ratio + np.log(count - 1.0) - logit
            label = np.where(logit > 600.0, far, label)
            return np.asarray(np.log(_above(logit / tau, g, count)) >= label)

        # the label's pull is e^-logit (K-1) at most, the teacher's grows from 0 to 1 - g
        low, width = np.array(start), np.ones_like(start)
        searching = np.isfinite(start) & (a > 0) & (a < 1)
        for _ in range(60):
            wide = searching & ~ahead(low + width)
            if not wide.any():
                break
            width = np.where(wide, 2 * width, width)
        for _ in range(_HALVINGS):
            width = width / 2
            low = np.where(searching & ~ahead(low + width), low + width, low)
        logit = np.where(a == 0, np.inf, low)
        tail = (count - 1.0) * np.exp(-logit)
        return np.asarray((tail if complement else 1.0) / (1.0 + tail))[()]


def _power(factor: str) -> float:
    return _FACTORS[checks.choice("factor", factor, tuple(_FACTORS))]


def _teacher(
    temperature: ArrayLike, teacher_mass: ArrayLike | None, classes: int
) -> tuple[Array, Array]:
    tau = checks.positive("temperature", temperature)
    uniform = np.asarray(1.0 / classes)
    if teacher_mass is None:
        return tau, uniform
    g = checks.unit_interval("teacher_mass", teacher_mass)
    masses("teacher_mass", g, classes, complement=False)
    return tau, np.maximum(g, uniform)


def _above(logit: Array, g: Array, classes: int) -> Array:
    r""":math:`\sigma(x) - g` of two-level rows, without cancellation where the two are near."""
    with np.errstate(divide="ignore", over="ignore", under="ignore", invalid="ignore"):
        # as log-odds of the label against all others together
        mine = logit - np.log(classes - 1.0)
        its = np.log(g) - np.log1p(-g)
        own = 1.0 / (1.0 + np.exp(-mine))
        rest = 1.0 / (1.0 + np.exp(mine))
        gap = mine - its
        ahead = -np.expm1(-np.abs(gap)) * own * (1.0 - g)
        behind = np.expm1(-np.abs(gap)) * g * rest
        return np.asarray(np.where(gap > 0, ahead, behind))
