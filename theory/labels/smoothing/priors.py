r"""Soft labels as a prior: the Dirichlet mode, and distillation read as maximum a posteriori.

With one observed label and the prior Dir(alpha) over the predicted distribution z, the negative
log-posterior is :math:`-\sum_c (\alpha_c + n_c - 1) \ln z_c` up to a constant: a cross-entropy to
soft labels, times a weight. It is bounded below if and only if all :math:`\alpha_c + n_c \ge 1`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.smoothing.rows import class_count
from theory.labels.softmax import softmax
from theory.statements import states

CENTERS = ("none", "mean", "max")


def exponents(counts: ArrayLike, concentration: ArrayLike) -> Array:
    r"""Exponents of the posterior, :math:`\alpha_c + n_c - 1`, checked to be >= 0.

    Args:
        counts: Observed numbers n of each class, shape ``(..., classes)``; a one-hot label is one
            observation.
        concentration: alpha > 0, of a shape that broadcasts against ``counts``.

    Raises:
        ValueError: For a negative exponent: then the objective has no minimum. For negative
            counts, a concentration that is not > 0, or shapes that do not broadcast.

    Example:
        >>> exponents([1, 0, 0], [1.0, 1.5, 1.0])
        array([1. , 0.5, 0. ])
    """
    n = checks.nonnegative("counts", counts)
    alpha = checks.positive("concentration", concentration)
    checks.broadcastable(counts=n, concentration=alpha)
    # alpha - 1 is exact where it matters, next to 1
    powers = (alpha - 1.0) + n
    if powers.ndim == 0 or powers.shape[-1] < 2 or powers.size == 0:
        msg = (
            "counts must hold at least one sample and two classes along the last axis, "
            f"got shape {n.shape}"
        )
        raise ValueError(msg)
    bad = np.argwhere(powers < 0)
    if len(bad):
        place = tuple(int(k) for k in bad[0])
        where = f"class {place[0] if len(place) == 1 else place}"
        msg = (
            "concentration + counts must be at least 1 for every class, or the objective is "
            "unbounded below (it falls for ever as that probability goes to 0); "
            f"{where} has {powers[place] + 1.0:g}"
        )
        raise ValueError(msg)
    return powers


def dirichlet_map(counts: ArrayLike, concentration: ArrayLike) -> Array:
    r"""Most probable distribution under a Dirichlet prior, given counts.

    .. math:: \hat z_c = \frac{n_c + \alpha_c - 1}{\sum_j (n_j + \alpha_j - 1)}

    Args:
        counts: n, shape ``(..., classes)``; a one-hot label is one observation.
        concentration: alpha > 0, one number for all classes or ``(..., classes)``.

    Returns:
        Distributions, shape ``(..., classes)``.

    Raises:
        ValueError: Where a class has :math:`\alpha_c + n_c < 1` (the objective is unbounded and
            there is no mode), and where all of them are 1 (every distribution is a mode).

    References:
        Zhang and Sabuncu 2020, section 5.

    Example:
        >>> dirichlet_map([1, 0, 0], 1.0)
        array([1., 0., 0.])
        >>> dirichlet_map([1, 0], 1 + 0.25 / 2)  # label smoothing by .25/1.25 = 0.2
        array([0.9, 0.1])
    """
    powers = exponents(counts, concentration)
    top = powers.max(axis=-1, keepdims=True)
    if (top == 0).any():
        msg = (
            "counts must hold an observation, or concentration exceed 1, for some class: "
            "where all are flat every distribution is a mode"
        )
        raise ValueError(msg)
    with np.errstate(under="ignore"):
        share = powers / top
        return np.asarray(share / share.sum(axis=-1, keepdims=True))


def smoothing_concentration(beta: ArrayLike, classes: int) -> Array:
    r"""The prior that label smoothing is, :math:`\alpha = \beta / K + 1` for every class.

    Args:
        beta: Strength, numbers >= 0, any shape.
        classes: K, at least 2.

    Returns:
        alpha, shape ``(..., classes)``.

    Raises:
        ValueError: For a negative beta or fewer than two classes.

    References:
        Zhang and Sabuncu 2020, section 5.1.

    Example:
        >>> smoothing_concentration(0.5, 2)
        array([1.25, 1.25])
    """
    b = checks.nonnegative("beta", beta)
    count = class_count(classes)
    return np.repeat(1.0 + b[..., None] / count, count, axis=-1)


def _centered(logits: Array, center: str) -> Array:
    checks.choice("center", center, CENTERS)
    with np.errstate(over="ignore"):
        if center == "mean":
            shares = logits / logits.shape[-1]  # their sum can not overflow
            return np.asarray(logits - shares.sum(axis=-1, keepdims=True))
        if center == "max":
            return np.asarray(logits - logits.max(axis=-1, keepdims=True))
    return logits


def _strengths(beta: ArrayLike, logits: Array) -> Array:
    """Strengths >= 0, one or one a row."""
    b = checks.nonnegative("beta", beta)
    checks.broadcastable(logits=logits, **{"beta over classes": b[..., None]})
    if logits.size == 0 or b.size == 0:
        msg = (
            f"logits must hold at least one sample, got shapes {logits.shape} and {b.shape} of beta"
        )
        raise ValueError(msg)
    return b


def distillation_concentration(
    logits: ArrayLike,
    beta: ArrayLike,
    temperature: float = 1.0,
    *,
    gamma: float = 1.0,
    center: str = "none",
) -> Array:
    r"""The prior that a teacher's logits f stand for, :math:`\alpha = \beta e^{f/T} + \gamma`.

    Args:
        logits: f, shape ``(..., classes)``.
        beta: Strength >= 0, one number or one a row.
        temperature: T > 0.
        gamma: >= 0. Below 1 the posterior of one label may have no mode: see `exponents`.
        center: What is subtracted from each row first: nothing (the paper), its mean or its
            largest entry. The paper's prior changes when a constant is added to the logits.

    Raises:
        ValueError: For bad logits, beta, temperature or gamma; for logits so large that
            :math:`e^{f/T}` is no float (center them).

    References:
        Zhang and Sabuncu 2020, eq. 8.

    Example:
        >>> distillation_concentration([np.log(3.0), 0.0], 0.5)
        array([2.5, 1.5])
        >>> distillation_concentration([np.log(3.0), 0.0], 0.5, center="max").round(4)
        array([1.5   , 1.1667])
    """
    f = _centered(checks.logits("logits", logits), center)
    b = _strengths(beta, f)
    tau = checks.temperature("temperature", temperature)
    flat = checks.scalar("gamma", gamma)
    checks.nonnegative("gamma", flat)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        power = f / tau
        alpha = np.where(b[..., None] == 0, 0.0, b[..., None] * np.exp(power)) + flat
    if not np.isfinite(alpha).all():
        msg = (
            "logits / temperature must be at most about 709, for exp of it is a concentration, "
            f"got {float(power.max()):g}; choose center='mean' or 'max'"
        )
        raise ValueError(msg)
    return np.asarray(alpha)


@dataclass(frozen=True, slots=True, eq=False)
class MapDistillation:
    """Distillation as maximum a posteriori: per sample a weight, and what it mixes.

    The loss of a sample is weight x (label_share x cross-entropy to the label + teacher_share x
    cross-entropy to the teacher + uniform_share x cross-entropy to the uniform distribution).
    """

    log_weight: Array
    """Logarithm of the sample's weight, finite where the weight itself is too large a number."""
    label_share: Array
    """Share of the label, 1/weight."""
    teacher_share: Array
    """Share of the teacher's distribution."""
    uniform_share: Array
    """Share of the uniform distribution; 0 for gamma = 1."""
    teacher: Array
    """The teacher's distribution at the temperature, shape (..., classes)."""

    @property
    def weight(self) -> Array:
        """The sample's weight: inf beyond the largest float."""
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(self.log_weight))[()]


@states(
    "labels:map-distillation",
    "Maximum a posteriori with the prior beta exp(f/T) + 1 is distillation with a weight "
    "1 + beta S and a share 1/(1 + beta S) of the label for every sample of its own, "
    "S = sum exp(f/T).",
    source="Zhang and Sabuncu 2020, eq. 6 and 9",
)
def map_distillation(
    logits: ArrayLike,
    beta: ArrayLike,
    temperature: float = 1.0,
    *,
    gamma: float = 1.0,
    center: str = "none",
) -> MapDistillation:
    r"""What maximum a posteriori with a teacher's prior asks of every sample.

    .. math:: \ell = (1 + \beta S) \left[ a\, CE(e_y, z) + (1 - a)\, CE(s_T(f), z) \right],
              \quad S = \sum_j e^{f_j/T}, \quad a = \frac{1}{1 + \beta S}

    Adding a constant to the logits leaves the teacher's distribution as it is and changes weight
    and share: they are not identified by what the teacher predicts (Zhang and Sabuncu call this a
    scale ambiguity). ``center`` is a way to choose. A gamma above 1 adds
    :math:`(\gamma - 1) K` of label smoothing.

    Args:
        logits: The teacher's f, shape ``(..., classes)``.
        beta: Strength >= 0, one number or one a row.
        temperature: T > 0.
        gamma: >= 1; below it the objective can be unbounded (use `exponents` to see where).
        center: ``"none"`` (the paper), ``"mean"`` or ``"max"``.

    Raises:
        ValueError: For bad logits, beta or temperature, or a gamma below 1.

    References:
        Zhang and Sabuncu 2020, eq. 6, 8 and 9.

    Example:
        >>> sample = map_distillation([np.log(3.0), 0.0], beta=0.5)
        >>> print(round(float(sample.weight), 6), round(float(sample.label_share), 6))
        3.0 0.333333
        >>> moved = map_distillation([np.log(3.0) + 2.0, 2.0], beta=0.5)
        >>> print(moved.teacher, round(float(moved.weight), 6))
        [0.75 0.25] 15.778112
    """
    z = checks.logits("logits", logits)
    f, b = _centered(z, center), _strengths(beta, z)
    tau = checks.temperature("temperature", temperature)
    flat = checks.scalar("gamma", gamma)
    if flat < 1.0:
        msg = f"gamma must be at least 1, or the objective can be unbounded below, got {flat:g}"
        raise ValueError(msg)
    top = f.max(axis=-1)
    with np.errstate(divide="ignore", under="ignore", over="ignore", invalid="ignore"):
        total = np.exp((f - top[..., None]) / tau).sum(axis=-1)
        # without strength there is no prior, however large the logits
        from_teacher = np.where(b == 0, -np.inf, np.log(b) + top / tau + np.log(total))
        from_uniform = np.log((flat - 1.0) * f.shape[-1])
        log_prior = np.logaddexp(from_teacher, from_uniform)
        log_weight = np.logaddexp(0.0, log_prior)
        label, teacher, uniform = (
            np.asarray(np.exp(part - log_weight))[()]
            for part in (0.0, from_teacher, np.broadcast_to(from_uniform, log_weight.shape))
        )
    if not np.isfinite(log_weight).all():
        msg = (
            "logits / temperature must be a float, for the weight is an exponential of it, got "
            f"logits up to {float(np.abs(f).max()):g} at temperature {tau:g}"
        )
        raise ValueError(msg)
    log_weight = np.asarray(log_weight)[()]
    return MapDistillation(log_weight, label, teacher, uniform, softmax(z, tau))
