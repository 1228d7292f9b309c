r"""Choosing a teacher's sharpness: pruned classes, and the temperature of a given label mass."""

import math
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import checks
from theory.checks import Array
from theory.labels.confidence import confidence
from theory.labels.gaps import bounded_logits
from theory.labels.smoothing.rows import Labels, beside_labels, class_count

_PER_DECADE = 8
_TINY, _HUGE = 1e-290, 1e290


def kept_classes(share: float, classes: int) -> int:
    r"""Number of classes that are left when a share rho is pruned.

    .. math:: \lfloor (1 - \rho) K + \tfrac12 \rfloor

    Args:
        share: rho in [0, 1).
        classes: K, at least 2.

    Raises:
        ValueError: For a share outside [0, 1], or one that leaves no class.

    References:
        Zhang and Sabuncu 2020, section 9.7, with the rounding spelled out.

    Example:
        >>> kept_classes(0.5, 100), kept_classes(0.5, 5), kept_classes(0.9, 5)
        (50, 3, 1)
    """
    rho = checks.fraction("share", share)
    count = class_count(classes)
    # 0.9 is meant as nine tenths: what the decimal says, not the float next to it
    kept = math.floor((1 - Fraction(repr(rho))) * count + Fraction(1, 2))
    if kept < 1:
        msg = f"share must leave at least one of {count} classes, got {rho:g}"
        raise ValueError(msg)
    return kept


def prune(logits: ArrayLike, keep: int, temperature: float = 1.0) -> Array:
    r"""The teacher's distribution over its largest classes, 0 elsewhere.

    .. math:: q_c \propto e^{z_c/\tau} \text{ for the } \mathit{keep} \text{ largest } z_c

    It is the full softmax restricted and renormalized. Among equal logits the lower class stays.
    The label may be pruned.

    Args:
        logits: z, shape ``(..., classes)``.
        keep: Number of classes kept, from 1 to K (`kept_classes` gives it from a share).
        temperature: tau > 0.

    Returns:
        Distributions, shape ``(..., classes)``.

    Raises:
        ValueError: For a number of classes out of range, nan or inf, or a bad temperature.

    References:
        Zhang and Sabuncu 2020, section 9.7.

    Example:
        >>> prune([[np.log(3.0), 0.0, 0.0, -1.0]], 2)
        array([[0.75, 0.25, 0.  , 0.  ]])
    """
    z = checks.logits("logits", logits)
    tau = checks.temperature("temperature", temperature)
    kept, count = checks.count("keep", keep, minimum=1), z.shape[-1]
    if kept > count:
        msg = f"keep must be at most the number of classes, {count}, got {kept}"
        raise ValueError(msg)
    with np.errstate(under="ignore", over="ignore"):
        power = np.exp((z - z.max(axis=-1, keepdims=True)) / tau)
    power = np.where(_largest(z, kept), power, 0.0)
    return np.asarray(power / power.sum(axis=-1, keepdims=True))


def _largest(z: Array, kept: int) -> NDArray[np.bool_]:
    """Mask of the largest entries of each row; among equal ones the first."""
    count = z.shape[-1]
    if kept == count:
        return np.ones(z.shape, dtype=bool)
    # selecting the threshold is linear in the classes, a stable sort is not
    least = np.partition(z, count - kept, axis=-1)[..., count - kept, None]
    above, tied = z > least, z == least
    room = kept - above.sum(axis=-1, keepdims=True)
    return np.asarray(above | (tied & (np.cumsum(tied, axis=-1) <= room)))


def mean_label_mass(logits: ArrayLike, labels: ArrayLike, temperature: float = 1.0) -> float:
    r"""Mean over the samples of the softmax entry of the label at a temperature.

    Args:
        logits: z, shape ``(samples, classes)`` or any leading shape.
        labels: Classes that broadcast against the leading axes.
        temperature: tau > 0.

    Raises:
        ValueError: For bad logits, labels or temperature.

    Example:
        >>> print(round(mean_label_mass([[np.log(9.0), 0.0], [0.0, 0.0]], [0, 0]), 6))
        0.7
    """
    z, y = beside_labels("logits", checks.logits("logits", logits), labels)
    return _mean_mass(z, y, checks.temperature("temperature", temperature))


def _mean_mass(z: Array, y: Labels, temperature: float) -> float:
    with np.errstate(over="ignore"):
        shifted = np.maximum((z - z.max(axis=-1, keepdims=True)) / temperature, -1e300)
    with np.errstate(over="ignore", under="ignore"):
        return float(np.mean(1.0 / (1.0 + np.exp(-confidence(shifted, y)))))


def temperature_for_mass(logits: ArrayLike, labels: ArrayLike, mass: float) -> float:
    r"""Temperature at which a teacher's mean label mass is a given number.

    .. math:: \frac1n \sum_i s_T(z_i)_{y_i} = \mu

    The mean mass need not fall with T, since samples the teacher gets wrong gain from a higher
    one. It has a largest value, and from some point on falls to 1/K: the root taken is the largest.

    Args:
        logits: z, shape ``(samples, classes)`` or any leading shape.
        labels: Classes that broadcast against the leading axes.
        mass: mu, above 1/K. For a whole target of mass m in which the label has weight w it is
            `soft_mass`; Zhang and Sabuncu have m = 0.85, w = 0.6, mu = 0.625.

    Raises:
        ValueError: If no temperature reaches the mass; the message says what can be reached.

    References:
        Zhang and Sabuncu 2020, section 7.

    Example:
        >>> temperature = temperature_for_mass([[np.log(9.0), 0.0]], [0], 0.75)
        >>> print(round(temperature, 6))  # 9^(1/2) = 3 to 1
        2.0
    """
    z, y = beside_labels("logits", bounded_logits("logits", logits), labels)
    wanted = checks.fraction("mass", mass)
    count = z.shape[-1]
    if not 1.0 / count < wanted < 1.0:
        msg = f"mass must be above 1/classes = {1 / count:g} and below 1, got {wanted:g}"
        raise ValueError(msg)
    grid = _temperatures(z, y, wanted)
    reached = np.full(len(grid), -np.inf)
    for left in reversed(range(len(grid))):  # the last crossing is met first from the right
        reached[left] = _mean_mass(z, y, float(grid[left]))
        if reached[left] >= wanted:
            return _root(z, y, wanted, grid[left], grid[min(left + 1, len(grid) - 1)])
    best = int(np.argmax(reached))
    top, most = _peak(z, y, grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    if most < wanted:
        msg = (
            f"mass must be one that the teacher's mean label mass reaches, at most {most:.6g} "
            f"(at temperature {top:.3g}), got {wanted:g}"
        )
        raise ValueError(msg)
    return _root(z, y, wanted, top, grid[min(best + 1, len(grid) - 1)])


def _temperatures(z: Array, y: Labels, wanted: float) -> Array:
    """A logarithmic grid from where every sample is saturated to where the mean is below."""
    spread = float((z.max(axis=-1) - z.min(axis=-1)).max()) or 1.0
    own = np.take_along_axis(z, y[..., None], axis=-1)
    gaps = np.abs(z - own)
    low = float(gaps[gaps > 0].min(initial=spread)) / 40.0
    low = min(max(low, spread * 1e-12, _TINY), _HUGE)
    high = max(spread, low)
    while high < _HUGE and _mean_mass(z, y, high) >= wanted:
        high *= 100.0
    points = max(2, math.ceil(math.log10(high / low) * _PER_DECADE))
    return np.geomspace(low, high, points)


def _root(z: Array, y: Labels, wanted: float, low: float, high: float) -> float:
    from scipy.optimize import brentq

    if _mean_mass(z, y, low) == wanted or low == high:
        return float(low)
    log_root = brentq(
        lambda t: _mean_mass(z, y, math.exp(t)) - wanted,
        math.log(low),
        math.log(high),
        xtol=1e-15,
        rtol=1e-15,
    )
    return float(math.exp(log_root))


def _peak(z: Array, y: Labels, low: float, high: float) -> tuple[float, float]:
    """Where the mean label mass is largest, and how large, between two temperatures."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda t: -_mean_mass(z, y, math.exp(t)),
        bounds=(math.log(low), math.log(high)),
        method="bounded",
        options={"xatol": 1e-10},
    )
    ends = [(low, _mean_mass(z, y, low)), (math.exp(found.x), -float(found.fun))]
    return max(ends, key=lambda pair: pair[1])
