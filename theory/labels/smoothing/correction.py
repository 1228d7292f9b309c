"""Teachers that are told the right answer: teacher correction, the virtual teacher of Tf-KD."""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.smoothing.rows import (
    beside_labels,
    class_count,
    is_label,
    labels_of,
    per_row,
    two_levels,
)
from theory.statements import states


@states(
    "labels:teacher-correction",
    "Teacher correction sets the mass of the label, keeps the ratios of all other classes, changes "
    "nothing where the mass is the teacher's own, and done twice is the second one alone.",
    source="Wang 2020, eq. 16",
)
def teacher_correction(
    logits: ArrayLike, labels: ArrayLike, mass: ArrayLike, temperature: float = 1.0
) -> Array:
    r"""A teacher's distribution with the mass of the label set, the rest shared as before.

    .. math:: q'_c = \gamma, \qquad
              q'_m = (1 - \gamma) \frac{q_m}{1 - q_c}
                   = (1 - \gamma) \frac{e^{z_m/\tau}}{\sum_{j \ne c} e^{z_j/\tau}}

    The last form holds the ratios also where the teacher is so sure that :math:`q_c` rounds to 1.

    Args:
        logits: The teacher's z, shape ``(..., classes)``.
        labels: c, integers that broadcast against the leading axes of ``logits``.
        mass: gamma in [0, 1], one number or one a row.
        temperature: tau > 0, applied before the correction (Wang 2020, eq. 16).

    Returns:
        Distributions, shape ``(..., classes)``.

    Raises:
        ValueError: For a label or a mass out of range, nan or inf, a temperature that is not > 0.

    References:
        Wang et al. 2020, eq. 11 (uniform teacher) and eq. 16.

    Example:
        >>> teacher_correction([[1000.0, np.log(3.0), 0.0]], [0], 0.6)
        array([[0.6, 0.3, 0.1]])
    """
    z, y = beside_labels("logits", checks.logits("logits", logits), labels)
    gamma = per_row("mass", checks.unit_interval("mass", mass), y.shape)
    tau = checks.temperature("temperature", temperature)
    own = is_label(y, z.shape[-1])
    others = np.where(own, -np.inf, z)
    with np.errstate(under="ignore", over="ignore"):
        power = np.exp((others - others.max(axis=-1, keepdims=True)) / tau)
        share = power / power.sum(axis=-1, keepdims=True)
        return np.where(own, gamma, (1.0 - gamma) * share)


def correct_probabilities(
    probabilities: ArrayLike, labels: ArrayLike, mass: ArrayLike, *, saturated: str = "uniform"
) -> Array:
    r"""`teacher_correction` from probabilities, for teachers that are given no other way.

    Where a teacher has all its mass on the label nothing is left to share in its ratios. Then the
    rest is shared equally, as the correction of the uniform teacher does, or refused.

    Args:
        probabilities: q, distributions, shape ``(..., classes)``.
        labels: c, integers that broadcast against the leading axes.
        mass: gamma in [0, 1], one number or one a row.
        saturated: Where :math:`q_c` is 1: ``"uniform"`` or ``"error"``.

    Raises:
        ValueError: If a row is no distribution, for a label or mass out of range, and with
            ``"error"`` for a row that has mass on its label alone.

    Example:
        >>> correct_probabilities([[0.2, 0.6, 0.2], [1.0, 0.0, 0.0]], [0, 0], 0.6)
        array([[0.6, 0.3, 0.1],
               [0.6, 0.2, 0.2]])
    """
    q, y = beside_labels(
        "probabilities", checks.distributions("probabilities", probabilities), labels
    )
    gamma = per_row("mass", checks.unit_interval("mass", mass), y.shape)
    checks.choice("saturated", saturated, ("uniform", "error"))
    own = is_label(y, q.shape[-1])
    others = np.where(own, 0.0, q)
    # a power of two before the sum: others may all be subnormal
    top = others.max(axis=-1, keepdims=True)
    empty = top == 0
    if saturated == "error" and empty.any():
        msg = (
            "probabilities must leave some mass off the label, "
            f"{int(empty.sum())} rows have all of it there; give logits instead"
        )
        raise ValueError(msg)
    with np.errstate(invalid="ignore", under="ignore"):
        ratio = np.where(empty, np.where(own, 0.0, 1.0), others / np.where(empty, 1.0, top))
        share = ratio / ratio.sum(axis=-1, keepdims=True)
        return np.where(own, gamma, (1.0 - gamma) * share)


def virtual_teacher(
    labels: ArrayLike,
    classes: int,
    mass: ArrayLike,
    temperature: float = 1.0,
    *,
    temper: str = "power",
) -> Array:
    r"""The hand-made teacher of Tf-KD: mass a on the label, the rest equal, then tempered.

    .. math:: p^d_c = a, \quad p^d_m = \frac{1 - a}{K - 1}; \qquad
              \text{power: } \propto (p^d)^{1/\tau}, \qquad
              \text{prob\_as\_logit: } \mathrm{softmax}(p^d / \tau)

    The second, which the released code computes, takes the probabilities for logits: with a = 0.99,
    tau = 20 and 100 classes it leaves 0.0105 on the label, next to the uniform 0.01.

    Args:
        labels: Classes, integers, any shape.
        classes: K, at least 2.
        mass: a in [0, 1] (the paper: at least 0.99).
        temperature: tau > 0 (the paper: at least 20).
        temper: ``"power"`` or ``"prob_as_logit"``.

    Returns:
        Distributions, shape ``(..., classes)``.

    Raises:
        ValueError: For a label or mass out of range, or a temperature that is not > 0.

    References:
        Yuan et al. 2020, section 5; Wang et al. 2020, eq. 11.

    Example:
        >>> virtual_teacher(0, 100, 0.99, 20.0)[:2].round(4)
        array([0.0157, 0.0099])
        >>> virtual_teacher(0, 100, 0.99, 20.0, temper="prob_as_logit")[:2].round(4)
        array([0.0105, 0.01  ])
    """
    count = class_count(classes)
    y = labels_of(labels, count)
    own = checks.unit_interval("mass", mass)
    checks.broadcastable(labels=y.astype(np.float64), mass=own)
    tau = checks.temperature("temperature", temperature)
    checks.choice("temper", temper, ("power", "prob_as_logit"))
    rest = (1.0 - own) / (count - 1)
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        log_odds = (np.log(own) - np.log(rest) if temper == "power" else own - rest) / tau
        # from whichever of the two is the larger, so that no exponential overflows
        small = np.exp(-np.abs(log_odds))
        label = np.where(log_odds > 0, 1.0 / (1.0 + (count - 1) * small), small)
        other = np.where(log_odds > 0, small / (1.0 + (count - 1) * small), 1.0)
        total = np.where(log_odds > 0, 1.0, small + (count - 1))
    return two_levels(y, count, label / total, other / total)
