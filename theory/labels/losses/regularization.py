r"""Losses that smooth: uniform, corrected and hand-made teachers, and the entropy penalty.

Each takes the student's logits z, shape ``(..., classes)``, and one class a sample, and returns a
`Loss`. Teachers are constants: no gradient goes through them.
"""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.losses.base import (
    Loss,
    beside_labels,
    one_hot,
    tempered_cross_entropy,
    uniform,
)
from theory.labels.smoothing.conventions import CONVENTIONS, convert_smoothing, smooth
from theory.labels.smoothing.correction import teacher_correction, virtual_teacher
from theory.labels.softmax import surprisal
from theory.numerics import progress
from theory.statements import states


@states(
    "labels:smoothing-identity",
    "Cross-entropy to (1 - a) e_y + a u is (1 - a) times the cross-entropy to the label plus a "
    "times the divergence from the uniform distribution u, plus a ln K.",
    source="Wang 2020, eq. 6, with the constant a ln K it misses",
)
def label_smoothing(
    student_logits: ArrayLike,
    labels: ArrayLike,
    epsilon: float,
    *,
    convention: str = "mix",
    value: str = "ce",
) -> Loss:
    r"""Cross-entropy to smoothed labels (LSR).

    .. math:: CE((1 - \epsilon) e_y + \epsilon u, s_1)
              = (1 - \epsilon)\, CE(e_y, s_1) + \epsilon\, KL(u \| s_1) + \epsilon \ln K

    Args:
        student_logits: z, shape ``(..., classes)``.
        labels: y, integers of the leading shape.
        epsilon: Strength in [0, 1].
        convention: ``"mix"`` or ``"true"``, see `theory.labels.smoothing.smooth`.
        value: ``"ce"``, or ``"kl"``: without the constant :math:`\epsilon \ln K`, as Wang et al.
            print it (Ren et al. 2022 and torch have the first). The gradient is the same.

    Raises:
        ValueError: For logits, labels, a strength or options that are not as described.

    References:
        Szegedy et al. 2016; Wang et al. 2020, eq. 5 and 6.

    Example:
        >>> loss = label_smoothing([[2.0, 0.0, 0.0]], [0], 0.3)
        >>> loss.value.round(6), loss.gradient.round(6)
        (array([0.639545]), array([[-0.013014,  0.006507,  0.006507]]))
    """
    z = checks.logits("student_logits", student_logits)
    weight = checks.fraction("epsilon", epsilon)
    checks.choice("convention", convention, CONVENTIONS)
    if checks.choice("value", value, ("ce", "kl")) == "ce":
        target = smooth(labels, z.shape[-1], weight, convention)
        return tempered_cross_entropy(z, target, factor="1")
    mixed = float(convert_smoothing(weight, z.shape[-1], convention, "mix"))
    return beside_labels(z, labels, mixed, uniform(z), 1.0, "1")


def lsrkd(
    student_logits: ArrayLike,
    labels: ArrayLike,
    weight: float = 0.1,
    temperature: float = 3.0,
    *,
    factor: str = "tau",
) -> Loss:
    r"""Label smoothing in the form of distillation, from a uniform teacher (LsrKD).

    .. math:: (1 - a)\, CE(e_y, s_1) + a\, \tau^f KL(u \| s_\tau), \qquad
              \nabla = (1 - a)(s_1 - e_y) + a \tau^{f-1} (s_\tau - u)

    At tau = 1 it is `label_smoothing` in its ``"kl"`` form. For a large tau the second part of the
    gradient is :math:`\tau^{f-2} (z - \bar z)/K`: a penalty on centered logits, which vanishes
    like 1/tau for f = 1.

    Args:
        student_logits: z, shape ``(..., classes)``.
        labels: y, integers of the leading shape.
        weight: a in [0, 1] of the uniform teacher.
        temperature: tau > 0.
        factor: ``"tau"`` (f = 1, eq. 10), ``"1"`` (eq. 7) or ``"tau2"``.

    Raises:
        ValueError: For logits, labels, numbers or options that are not as described.

    References:
        Wang et al. 2020, eq. 7 to 10.

    Example:
        >>> loss = lsrkd([[2.0, 0.0]], [0], weight=0.1, temperature=4.0)
        >>> loss.value.round(6), loss.gradient.round(6)
        (array([0.126607]), array([[-0.095037,  0.095037]]))
    """
    z = checks.logits("student_logits", student_logits)
    return beside_labels(z, labels, weight, uniform(z), temperature, factor)


def uniform_gradient_expansion(
    student_logits: ArrayLike, temperature: float = 3.0, order: int = 2
) -> Array:
    r"""Gradient of :math:`KL(u \| s_\tau)` in the logits, expanded in 1/tau.

    .. math:: \frac{s_\tau - u}{\tau} \approx \frac{1}{K \tau} \left[ \frac{c}{\tau}
              + \frac{c^2 - \overline{c^2}}{2 \tau^2} \right], \qquad c = z - \bar z

    The exact gradient is that of `lsrkd` with weight 1 and factor ``"1"``. The paper's first order
    is :math:`z / (K \tau^2)`, right for logits of mean 0 only.

    Args:
        student_logits: z, shape ``(..., classes)``.
        temperature: tau > 0.
        order: 1, the penalty on centered logits alone, or 2.

    Returns:
        Numbers of the shape of the logits; the error falls like :math:`\tau^{-2 - order}`.

    Raises:
        ValueError: For logits, a temperature or an order that are not as described.

    References:
        Wang et al. 2020, eq. 8 and 9.

    Example:
        >>> (
        ...     uniform_gradient_expansion([2.0, 0.0], 10.0),
        ...     lsrkd([2.0, 0.0], 0, 1.0, 10.0, factor="1").gradient.round(8),
        ... )
        (array([ 0.005, -0.005]), array([ 0.0049834, -0.0049834]))
    """
    z = checks.logits("student_logits", student_logits)
    tau = checks.temperature("temperature", temperature)
    if checks.integer("order", order, minimum=1) > 2:
        msg = f"order must be 1 or 2, got {order}"
        raise ValueError(msg)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        x = (z - z.mean(axis=-1, keepdims=True)) / tau
        square = np.square(x)
        bent = (square - square.mean(axis=-1, keepdims=True)) / 2 if order == 2 else 0.0
        found = np.asarray((x + bent) / (z.shape[-1] * tau))
    if not np.isfinite(found).all():
        msg = (
            "student_logits / temperature must have squares that are floats, got logits up to "
            f"{float(np.abs(z).max()):g} at temperature {tau:g}"
        )
        raise ValueError(msg)
    return found


def lsrkd_tc(
    student_logits: ArrayLike,
    labels: ArrayLike,
    mass: float,
    weight: float = 0.1,
    temperature: float = 3.0,
    *,
    factor: str = "tau",
) -> Loss:
    r"""LsrKD from a uniform teacher that is told the label (LsrKD-TC).

    .. math:: (1 - a)\, CE(e_y, s_1) + a\, \tau^f KL(q' \| s_\tau), \qquad
              q'_y = \gamma,\ q'_m = \tfrac{1 - \gamma}{K - 1}

    With gamma = 1/K it is `lsrkd`; at tau = 1 it has the gradient of label smoothing with the
    label mass 1 - a + a gamma.

    Args:
        student_logits: z, shape ``(..., classes)``.
        labels: y, integers of the leading shape.
        mass: gamma in [0, 1] (the paper: 0.025 for 100 classes, 0.25 for 10).
        weight: a in [0, 1].
        temperature: tau > 0.
        factor: ``"tau"`` (eq. 12), ``"1"`` or ``"tau2"``.

    Raises:
        ValueError: For logits, labels, numbers or options that are not as described.

    References:
        Wang et al. 2020, eq. 11 and 12.

    Example:
        >>> loss = lsrkd_tc([[2.0, 0.0]], [0], mass=0.75, temperature=4.0)
        >>> loss.gradient.round(6)
        array([[-0.120037,  0.120037]])
    """
    z = checks.logits("student_logits", student_logits)
    teacher = teacher_correction(np.zeros_like(z), labels, mass)
    return beside_labels(z, labels, weight, teacher, temperature, factor)


def tfkd(
    student_logits: ArrayLike,
    labels: ArrayLike,
    mass: float = 0.99,
    weight: float = 0.95,
    temperature: float = 20.0,
    *,
    temper: str = "power",
    student_temperature: float | None = None,
    multiplier: float = 1.0,
    class_mean: bool = False,
) -> Loss:
    r"""Distillation from a hand-made teacher (Tf-KD_reg).

    .. math:: (1 - \alpha)\, CE(e_y, s_1) + \alpha\, KL(p^d_\tau \| s_{\tau'})

    The released code is ``temper="prob_as_logit", student_temperature=1, class_mean=True``: its
    teacher is next to uniform, the student is not tempered, and the divergence is averaged over
    the classes too, then multiplied.

    Args:
        student_logits: z, shape ``(..., classes)``.
        labels: y, integers of the leading shape.
        mass: Label mass of the teacher, in [0, 1] (the paper: at least 0.99).
        weight: alpha in [0, 1].
        temperature: tau > 0 of the teacher (the paper: at least 20).
        temper: How the teacher is tempered, see `theory.labels.smoothing.virtual_teacher`.
        student_temperature: tau', the teacher's if absent.
        multiplier: Number >= 0 that multiplies the divergence.
        class_mean: Divide the divergence by the number of classes.

    Raises:
        ValueError: For logits, labels, numbers or options that are not as described.

    References:
        Yuan et al. 2020, section 5.

    Example:
        >>> tfkd([[2.0, 0.0]], [0]).gradient.round(4)
        array([[-0.0075,  0.0075]])
    """
    z = checks.logits("student_logits", student_logits)
    count = z.shape[-1]
    share, times = checks.fraction("weight", weight), checks.scalar("multiplier", multiplier)
    checks.nonnegative("multiplier", times)
    per_class = count if checks.flag("class_mean", class_mean) else 1
    teacher = virtual_teacher(labels, count, mass, temperature, temper=temper)
    own = temperature if student_temperature is None else student_temperature
    soft = tempered_cross_entropy(z, teacher, own, "1", value="kl")
    return (1.0 - share) * one_hot(z, labels) + (share * times / per_class) * soft


def entropy_penalty(
    student_logits: ArrayLike, labels: ArrayLike, beta: float, *, samples: int = 1
) -> Loss:
    r"""Cross-entropy less beta times the entropy of the prediction.

    .. math:: -\ln q_y - \beta H(q), \qquad \nabla = (q - e_y) + \beta\, q \odot (\ln q + H(q)),
              \quad q = s_1(z)

    Args:
        student_logits: z, shape ``(..., classes)``.
        labels: y, integers of the leading shape.
        beta: Strength >= 0; `theory.labels.smoothing.entropy_penalty_optimum` is the minimum.
        samples: n, for the objective as printed, which divides the penalty by n.

    Raises:
        ValueError: For logits, labels or a strength that are not as described.

    References:
        Pereyra et al. 2017; Zhang and Sabuncu 2020, section 9.1.

    Example:
        >>> loss = entropy_penalty([[2.0, 0.0]], [0], beta=0.5)
        >>> loss.value.round(6), loss.gradient.round(6)
        (array([-0.055739]), array([[-0.014209,  0.014209]]))
    """
    strength = checks.scalar("beta", beta)
    checks.nonnegative("beta", strength)
    strength = strength / checks.integer("samples", samples, minimum=1)
    cost = surprisal(student_logits)
    with np.errstate(under="ignore"):
        q = np.exp(-cost)
        disorder = progress(q, cost).sum(axis=-1)
        slope = q * (disorder[..., None] - np.where(q > 0, cost, 0.0))
    return one_hot(student_logits, labels) + Loss(-strength * disorder[()], strength * slope)
