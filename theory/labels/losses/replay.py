r"""Distillation from past copies of the network itself [Wang et al. 2020, section 3.4].

Which past network each copy holds is in `theory.labels.smoothing.ring_updates`.
"""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.divergences import kl_of_cost
from theory.labels.losses.base import Loss, one_hot, temperature_factor, tempered_cross_entropy
from theory.labels.smoothing.correction import teacher_correction
from theory.labels.smoothing.replay import mean_teacher
from theory.labels.softmax import log_softmax, softmax, surprisal
from theory.numerics import progress


def mrkd(
    student_logits: ArrayLike,
    labels: ArrayLike,
    copies: ArrayLike,
    weight: float = 0.25,
    temperature: float = 3.0,
    *,
    factor: str = "tau2",
    value: str = "each",
    real: ArrayLike | None = None,
) -> Loss:
    r"""Distillation from n past copies of the network (MrKD-n).

    .. math:: (1 - a)\, CE(e_y, s_1) + a \tau^2 \frac1n \sum_i KL(\hat q_i \| s_\tau), \qquad
              \nabla = (1 - a)(s_1 - e_y) + a \tau (s_\tau - \bar q)

    Only the mean :math:`\bar q` of the copies' predictions has an effect on the student.

    Args:
        student_logits: z, shape ``(..., classes)``.
        labels: y, integers of the leading shape.
        copies: Logits of the copies, shape ``(n, ..., classes)``, youngest first.
        weight: a in [0, 1] (the paper: 0.25 for CIFAR-100, 0.1 else).
        temperature: tau > 0.
        factor: ``"tau2"`` (eq. 13), ``"tau"`` or ``"1"``.
        value: ``"each"``: mean of the divergences (eq. 14), or ``"mean"``: divergence from the
            mean copy, smaller by a constant.
        real: Which copies hold trained weights, n booleans. All, if absent: the copies start as
            the initial network. With it the copies that are not yet real are left out, and without
            any the label's part stands alone, still times 1 - a.

    Raises:
        ValueError: For logits, labels, numbers or options that are not as described.

    References:
        Wang et al. 2020, eq. 13 to 15.

    Example:
        >>> loss = mrkd([[2.0, 0.0]], [0], [[[2.0, 0.0]]])  # a copy of the step before
        >>> loss.value.round(6), loss.gradient.round(6)
        (array([0.095196]), array([[-0.089402,  0.089402]]))
    """
    z = checks.logits("student_logits", student_logits)
    held = _copies(copies, z)
    held = held[_real(real, len(held))]
    teachers = softmax(held, temperature) if len(held) else held
    return _from_copies(z, labels, weight, teachers, temperature, factor, value)


def mrkd_tc(
    student_logits: ArrayLike,
    labels: ArrayLike,
    copies: ArrayLike,
    mass: float,
    weight: float = 0.25,
    temperature: float = 3.0,
    *,
    factor: str = "tau",
    value: str = "each",
    correct: str = "each",
    real: ArrayLike | None = None,
) -> Loss:
    r"""MrKD from copies that are told the label (MrKD-n-TC).

    .. math:: (1 - a)\, CE(e_y, s_1) + a \tau \frac1n \sum_i KL(\hat q'_i \| s_\tau)

    Args:
        student_logits: z, shape ``(..., classes)``.
        labels: y, integers of the leading shape.
        copies: Logits of the copies, shape ``(n, ..., classes)``.
        mass: gamma in [0, 1].
        weight: a in [0, 1].
        temperature: tau > 0, applied before the correction (eq. 16).
        factor: ``"tau"`` (eq. 17) or ``"tau2"`` (as eq. 13 has it).
        value: As in `mrkd`.
        correct: ``"each"``: every copy, then average; ``"average"``: the mean copy. They differ.
        real: As in `mrkd`.

    Raises:
        ValueError: For logits, labels, numbers or options that are not as described.

    References:
        Wang et al. 2020, eq. 16 and 17.

    Example:
        >>> loss = mrkd_tc([[2.0, 0.0, 0.0]], [0], [[[3.0, 1.0, 0.0]]], mass=0.5)
        >>> loss.gradient.round(4)
        array([[-0.1614,  0.0704,  0.091 ]])
    """
    z = checks.logits("student_logits", student_logits)
    held = _copies(copies, z)
    held = held[_real(real, len(held))]
    each = checks.choice("correct", correct, ("each", "average")) == "each"
    if len(held) == 0:
        teachers = held
    elif each:
        teachers = teacher_correction(held, labels, mass, temperature)
    else:
        center = np.logaddexp.reduce(log_softmax(held, temperature), axis=0)
        teachers = teacher_correction(center, labels, mass)[None]
    return _from_copies(z, labels, weight, teachers, temperature, factor, value)


def _copies(copies: ArrayLike, z: Array) -> Array:
    held = checks.samples("copies", checks.logits("copies", copies))
    if held.ndim < 2 or held.shape[-1] != z.shape[-1]:
        msg = (
            "copies must have shape (n, ..., classes) with the student's classes, "
            f"got shape {held.shape} beside {z.shape}"
        )
        raise ValueError(msg)
    checks.broadcastable(copies=held[0], student_logits=z)
    rows = np.broadcast_shapes(held.shape[1:], z.shape)
    missing = (1,) * (len(rows) + 1 - held.ndim)
    return np.broadcast_to(held.reshape(len(held), *missing, *held.shape[1:]), (len(held), *rows))


def _real(real: ArrayLike | None, count: int) -> Array:
    if real is None:
        return np.ones(count, dtype=bool)
    mask = np.asarray(real)
    if mask.dtype != bool or mask.shape != (count,):
        msg = f"real must be {count} booleans, one a copy, got dtype {mask.dtype}, {mask.shape}"
        raise ValueError(msg)
    return mask


def _from_copies(
    z: Array,
    labels: ArrayLike,
    weight: float,
    teachers: Array,
    temperature: float,
    factor: str,
    value: str,
) -> Loss:
    """Labels beside the mean divergence from teachers, distributions (n, ..., classes)."""
    share = checks.fraction("weight", weight)
    checks.choice("value", value, ("each", "mean"))
    hard = (1.0 - share) * one_hot(z, labels)
    if len(teachers) == 0:
        return hard
    kind = "kl" if value == "mean" else "ce"  # of which only the gradient is used
    soft = tempered_cross_entropy(z, mean_teacher(teachers), temperature, factor, value=kind)
    if value == "each":
        cost, scale = surprisal(z, temperature), temperature_factor(factor, temperature)
        apart = np.mean([kl_of_cost(q, np.broadcast_to(cost, q.shape)) for q in teachers], axis=0)
        soft = Loss(progress(apart, scale)[()], soft.gradient)
    return hard + share * soft
