r"""Losses of soft labels read as priors [Zhang and Sabuncu 2020].

Each takes the student's logits z, shape ``(..., classes)``, and returns a `Loss`.
"""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.losses.base import Loss, one_hot, tempered_cross_entropy, uniform
from theory.labels.smoothing.priors import dirichlet_map, exponents, map_distillation


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
        parts = parts + prior.uniform_share * tempered_cross_entropy(z, uniform(z))
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
