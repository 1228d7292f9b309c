r"""Losses that regularize: smoothing, self-made and remembered teachers, penalties and priors.

Each takes the student's logits z, shape ``(..., classes)``, and one class a sample, and returns a
`Loss`. Teachers are constants: no gradient goes through them.
"""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.divergences import kl_of_cost
from theory.labels.losses.base import (
    Loss,
    one_hot,
    temperature_factor,
    tempered_cross_entropy,
)
from theory.labels.smoothing.conventions import CONVENTIONS, convert_smoothing, smooth
from theory.labels.smoothing.correction import teacher_correction, virtual_teacher
from theory.labels.smoothing.priors import (
    dirichlet_map,
    exponents,
    map_distillation,
)
from theory.labels.smoothing.replay import mean_teacher
from theory.labels.softmax import log_softmax, softmax, surprisal
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
    return _beside_labels(z, labels, mixed, _uniform(z), 1.0, "1")


def _uniform(z: Array) -> Array:
    return np.full(z.shape, 1.0 / z.shape[-1])


def _beside_labels(
    z: Array, labels: ArrayLike, weight: float, teacher: Array, temperature: float, factor: str
) -> Loss:
    """The form (1 - a) CE + a c KL(teacher, student at the temperature)."""
    share = checks.fraction("weight", weight)
    soft = tempered_cross_entropy(z, teacher, temperature, factor, value="kl")
    return (1.0 - share) * one_hot(z, labels) + share * soft


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
    return _beside_labels(z, labels, weight, _uniform(z), temperature, factor)


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
    return _beside_labels(z, labels, weight, teacher, temperature, factor)


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
    held = _copies(copies, z)[_real(real, len(np.asarray(copies)))]
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
    if checks.choice("correct", correct, ("each", "average")) == "each":
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


def dirichlet_map_loss(
    student_logits: ArrayLike, counts: ArrayLike, concentration: ArrayLike
) -> Loss:
    r"""Negative log-posterior of a predicted distribution under a Dirichlet prior.

    .. math:: -\sum_c (n_c + \alpha_c - 1) \ln s_1(z)_c
              = N\, CE\left(\hat z, s_1(z)\right), \qquad N = \sum_c (n_c + \alpha_c - 1)

    up to the prior's constant; least at the mode :math:`\hat z`,
    `theory.labels.smoothing.dirichlet_map`.

    Args:
        student_logits: z, shape ``(..., classes)``.
        counts: n, observed numbers of each class, shape ``(..., classes)``.
        concentration: alpha > 0, one number or ``(..., classes)``.

    Raises:
        ValueError: Where some :math:`\alpha_c + n_c < 1`: the loss has no lower bound.

    References:
        Zhang and Sabuncu 2020, eq. 6.

    Example:
        >>> loss = dirichlet_map_loss([0.0, 0.0], [1, 0], 1.125)
        >>> print(loss.value.round(6), loss.gradient)
        0.866434 [-0.5  0.5]
    """
    powers = exponents(counts, concentration)
    soft = tempered_cross_entropy(student_logits, dirichlet_map(counts, concentration))
    with np.errstate(over="ignore"):
        total: Array = powers.sum(axis=-1)
    if not np.isfinite(total).all():
        msg = (
            "concentration + counts must have a sum that is a float, got numbers up to "
            f"{float(powers.max()):g}"
        )
        raise ValueError(msg)
    return soft * total


def map_distillation_loss(
    student_logits: ArrayLike,
    labels: ArrayLike,
    teacher_logits: ArrayLike,
    beta: float,
    temperature: float = 1.0,
    *,
    gamma: float = 1.0,
    center: str = "none",
) -> Loss:
    r"""Distillation as maximum a posteriori, every sample with its own weight and mix.

    .. math:: (1 + \beta S)\left[ a\, CE(e_y, s_1) + (1 - a)\, CE(s_T(f), s_1) \right],
              \quad S = \sum_j e^{f_j / T},\ a = \frac{1}{1 + \beta S}

    Args:
        student_logits: z, shape ``(..., classes)``.
        labels: y, integers of the leading shape.
        teacher_logits: f, of the shape of z.
        beta: Strength >= 0 of the prior.
        temperature: T > 0 of the teacher alone.
        gamma: >= 1; above it :math:`(\gamma - 1) K` of smoothing is added.
        center: ``"none"``, ``"mean"`` or ``"max"``: what is subtracted from f first.

    Raises:
        ValueError: For logits, labels or numbers that are not as described, or a weight beyond
            the largest float.

    References:
        Zhang and Sabuncu 2020, eq. 6 and 9.

    Example:
        >>> loss = map_distillation_loss([[0.0, 0.0]], [0], [[1.0, 0.0]], beta=0.1)
        >>> loss.gradient.round(6)
        array([[-0.585914,  0.585914]])
    """
    _same_classes(student_logits, teacher_logits)
    prior = map_distillation(teacher_logits, beta, temperature, gamma=gamma, center=center)
    if not np.isfinite(prior.weight).all():
        msg = (
            "teacher_logits must give weights that are floats; exp(logits / temperature) is too "
            "large a number, choose center='mean' or 'max'"
        )
        raise ValueError(msg)
    parts = prior.label_share * one_hot(student_logits, labels)
    parts = parts + prior.teacher_share * tempered_cross_entropy(student_logits, prior.teacher)
    if gamma > 1.0:
        z = checks.logits("student_logits", student_logits)
        parts = parts + prior.uniform_share * tempered_cross_entropy(z, _uniform(z))
    return prior.weight * parts


def _same_classes(student_logits: ArrayLike, teacher_logits: ArrayLike) -> None:
    checks.same_classes(
        student_logits=checks.logits("student_logits", student_logits),
        teacher_logits=checks.logits("teacher_logits", teacher_logits),
    )


def rescaled_distillation(
    student_logits: ArrayLike,
    labels: ArrayLike,
    teacher_logits: ArrayLike,
    label_weight: float,
    temperature: float = 1.0,
    *,
    center: str = "none",
) -> Loss:
    r"""The other reading of distillation as a prior: a fixed mix, the soft part times S.

    .. math:: a\, CE(e_y, s_1) + (1 - a)\, S\, CE(s_T(f), s_1), \quad S = \sum_j e^{f_j / T}

    It is the loss of Zhang and Sabuncu's eq. 3 "with an additional sample weighting term";
    `map_distillation_loss` is what their eq. 6 gives.

    Args:
        student_logits: z, shape ``(..., classes)``.
        labels: y, integers of the leading shape.
        teacher_logits: f, of the shape of z.
        label_weight: a in [0, 1].
        temperature: T > 0 of the teacher alone.
        center: ``"none"``, ``"mean"`` or ``"max"``: what is subtracted from f first.

    Raises:
        ValueError: For logits, labels or numbers that are not as described, or an S beyond the
            largest float.

    References:
        Zhang and Sabuncu 2020, eq. 3 and 9.

    Example:
        >>> loss = rescaled_distillation([[0.0, 0.0]], [0], [[1.0, 0.0]], 0.6)
        >>> loss.gradient.round(6)
        array([[-0.643656,  0.643656]])
    """
    share = checks.fraction("label_weight", label_weight)
    _same_classes(student_logits, teacher_logits)
    prior = map_distillation(teacher_logits, 1.0, temperature, center=center)
    with np.errstate(over="ignore"):
        total = np.expm1(prior.log_weight)
    if not np.isfinite(total).all():
        msg = (
            "teacher_logits must give weights that are floats; exp(logits / temperature) is too "
            "large a number, choose center='mean' or 'max'"
        )
        raise ValueError(msg)
    soft = tempered_cross_entropy(student_logits, prior.teacher)
    return share * one_hot(student_logits, labels) + (1.0 - share) * total * soft


def beta_smoothing(
    student_logits: ArrayLike, labels: ArrayLike, targets: ArrayLike, label_weight: float = 0.6
) -> Loss:
    r"""Beta smoothing: labels beside targets of one batch.

    .. math:: a\, CE(e_y, s_1) + (1 - a)\, CE(b, s_1)

    Args:
        student_logits: z, shape ``(..., classes)``.
        labels: y, integers of the leading shape.
        targets: b, distributions of the shape of z, from `theory.labels.smoothing.beta_targets`.
        label_weight: a in [0, 1]: 0.6 in the text (shape 5/3), 0.4 in the code (shape 3).

    Raises:
        ValueError: For logits, labels or targets that are not as described.

    References:
        Zhang and Sabuncu 2020, section 6 and eq. 3.

    Example:
        >>> beta_smoothing([[0.0, 0.0]], [0], [[0.625, 0.375]]).gradient
        array([[-0.35,  0.35]])
    """
    share = checks.fraction("label_weight", label_weight)
    soft = tempered_cross_entropy(student_logits, checks.distributions("targets", targets))
    return share * one_hot(student_logits, labels) + (1.0 - share) * soft
