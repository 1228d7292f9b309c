r"""How much a weighted soft label counts [Zhou et al. 2021, section 4].

.. math:: w = 1 - e^{-r}, \qquad r = \frac{L_s}{L_t}, \qquad L = -\ln s_1(y)
"""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.confidence import confidence
from theory.labels.gaps import network_pair
from theory.numerics import phi

FORMS = ("exponential", "sigmoid")
"""Forms of the weight as a function of the ratio of the losses."""


def soft_label_weights(
    student_logits: ArrayLike,
    teacher_logits: ArrayLike,
    labels: ArrayLike,
    form: str = "exponential",
    eps: float | None = None,
) -> Array:
    r"""Weight in [0, 1] of each sample's soft label: small where the student is ahead.

    ``"exponential"`` is :math:`w = 1 - e^{-r}`, ``"sigmoid"`` is
    :math:`2 \sigma(r) - 1 = \tanh(r / 2) = w / (2 - w)`, with :math:`r = L_s / L_t` the ratio of
    the cross-entropies at temperature 1.

    Args:
        student_logits: Shape ``(..., classes)``.
        teacher_logits: Of a shape that broadcasts against it.
        labels: Integers of the leading shape.
        form: ``"exponential"`` or ``"sigmoid"``.
        eps: None: the ratio itself, from the logarithms of the losses, so that it is right also
            where both are too small for a float; two networks that agree have r = 1. A number
            > 0: :math:`r = L_s / (L_t + \epsilon)` as in the authors' code (1e-7), which ignores
            samples that both networks know.

    Returns:
        Weights of the leading shape. They reach 1 where r exceeds 37.

    Raises:
        ValueError: For logits, labels, a form or an eps that are not valid or do not fit.

    References:
        Zhou et al. 2021, eq. 5; the sigmoid form is its appendix A.4.

    Example:
        >>> student, teacher = [[0.0, 0.0], [900.0, 0.0]], [[900.0, 0.0], [900.0, 0.0]]
        >>> soft_label_weights(student, teacher, [0, 0])
        array([1.        , 0.63212056])
        >>> soft_label_weights(student, teacher, [0, 0], eps=1e-7)
        array([1., 0.])
    """
    checks.choice("form", form, FORMS)
    z, v, y = network_pair(student_logits, teacher_logits, labels)
    ratio = loss_ratio(confidence(z, y), confidence(v, y), eps)
    return weight_of_ratio(ratio, form)


def loss_ratio(student: Array, teacher: Array, eps: float | None = None) -> Array:
    r""":math:`L_s / (L_t + \epsilon)` from confidences phi: the cross-entropy is softplus(-phi)."""
    log_s, log_t = log_loss(student), log_loss(teacher)
    if eps is not None:
        checks.positive("eps", checks.scalar("eps", eps))
        log_t = np.logaddexp(log_t, np.log(eps))
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.exp(log_s - log_t))


def log_loss(confidences: Array) -> Array:
    r""":math:`\ln \mathrm{softplus}(-\varphi)`: a number also where the loss underflows."""
    usual = np.minimum(confidences, 37.0)
    with np.errstate(under="ignore", over="ignore"):
        plain = np.log(np.maximum(-usual, 0.0) + np.log1p(np.exp(-np.abs(usual))))
    # beyond 37 the loss is e^-phi to the last digit
    return np.where(confidences > 37.0, -confidences, plain)


def weight_of_ratio(ratio: ArrayLike, form: str = "exponential") -> Array:
    r"""The weight of a ratio of losses, :math:`1 - e^{-r}` or :math:`\tanh(r / 2)`.

    With w the first, the second is :math:`w / (2 - w)`: at least w / 2 and at most w.

    Args:
        ratio: r >= 0, any shape; inf is legal.
        form: ``"exponential"`` or ``"sigmoid"``.

    Returns:
        Weights in [0, 1] of the shape of ``ratio``.

    Raises:
        ValueError: For a negative ratio, nan, or an unknown form.

    References:
        Zhou et al. 2021, eq. 5 and appendix A.4.

    Example:
        >>> weight_of_ratio([0.0, 1.0, np.inf])
        array([0.        , 0.63212056, 1.        ])
        >>> weight_of_ratio([0.0, 1.0, np.inf], "sigmoid")
        array([0.        , 0.46211716, 1.        ])
    """
    checks.choice("form", form, FORMS)
    r = checks.nonnegative("ratio", ratio, infinite=True)
    return np.asarray(phi(r) if form == "exponential" else np.tanh(r / 2))[()]
