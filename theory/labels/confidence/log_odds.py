"""The log-odds of a class, and what follows from it without loss of digits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import checks
from theory.checks import Array
from theory.statements import states


@states(
    "labels:log-odds",
    "The logit of a class less the log-sum-exp of all others is its log-odds: the probability is "
    "sigmoid(phi), the cross-entropy softplus(-phi), and adding a constant to all logits changes "
    "neither.",
    source="Nagarajan 2023, section 3",
)
def confidence(logits: ArrayLike, label: ArrayLike) -> Array:
    r"""Log-odds of a class, from logits.

    .. math:: \varphi_y(z) = z_y - \ln \sum_{k \ne y} e^{z_k} = \ln \frac{p_y}{1 - p_y}

    The probability is `probability` of phi, 1 - p its `complement`, and the cost of the class
    `cross_entropy`. For two classes phi is the difference of the logits.

    Args:
        logits: z, shape ``(..., classes)``, at least two classes.
        label: Class for each row, integers; broadcasts against the leading axes of ``logits`` and
            has no more of them, but for a single row, which may have many labels.

    Returns:
        phi, of the broadcast leading shape.

    Raises:
        ValueError: For fewer than two classes, a class out of range, labels of another shape, nan
            or inf.

    References:
        Nagarajan et al. 2023, section 3.

    Example:
        >>> confidence([[9.0, 0.0, 0.0], [0.0, 0.0, 0.0]], [0, 2])  # 9 - ln 2, -ln 2
        array([ 8.30685282, -0.69314718])
    """
    z = checks.logits("logits", logits)
    y = checks.row_classes("label", label, "logits", z)
    shape = np.broadcast_shapes(z.shape[:-1], y.shape)
    z, y = np.broadcast_to(z, (*shape, z.shape[-1])), np.broadcast_to(y, shape)[..., None]
    own = np.take_along_axis(z, y, axis=-1)
    others = z.copy()
    np.put_along_axis(others, y, -np.inf, axis=-1)
    first = np.argmax(others, axis=-1)[..., None]
    top = np.take_along_axis(others, first, axis=-1)
    with np.errstate(under="ignore", over="ignore"):
        rest = np.exp(others - top)
        # the largest of them apart: beside it the sum of the rest may be below round-off
        np.put_along_axis(rest, first, 0.0, axis=-1)
        return np.asarray((own - top)[..., 0] - np.log1p(rest.sum(axis=-1)))[()]


def probability(phi: ArrayLike) -> Array:
    r"""Probability of a class from its log-odds, :math:`p = 1 / (1 + e^{-\varphi})`.

    Args:
        phi: Any shape; infinities are legal.

    Raises:
        ValueError: For nan.

    Example:
        >>> probability([0.0, -800.0, 40.0])
        array([0.5, 0. , 1. ])
    """
    x = checks.real_array("phi", phi, infinite=True)
    with np.errstate(under="ignore"):
        small = np.exp(-np.abs(x))
        return np.asarray(np.where(x >= 0, 1.0, small) / (1.0 + small))[()]


def complement(phi: ArrayLike) -> Array:
    r"""One less the probability, :math:`1 - p = 1 / (1 + e^{\varphi})`, also where p rounds to 1.

    Raises:
        ValueError: For nan.

    Example:
        >>> complement([0.0, 40.0])
        array([5.00000000e-01, 4.24835426e-18])
    """
    return probability(-checks.real_array("phi", phi, infinite=True))


def cross_entropy(phi: ArrayLike) -> Array:
    r"""Cost of a class in nats from its log-odds, :math:`-\ln p = \ln(1 + e^{-\varphi})`.

    Raises:
        ValueError: For nan.

    Example:
        >>> cross_entropy([0.0, 40.0, -1000.0])
        array([6.93147181e-01, 4.24835426e-18, 1.00000000e+03])
    """
    x = checks.real_array("phi", phi, infinite=True)
    with np.errstate(under="ignore"):
        return np.asarray(np.maximum(-x, 0.0) + np.log1p(np.exp(-np.abs(x))))[()]


@dataclass(frozen=True, slots=True, eq=False)
class ConfidencePair:
    """Log-odds of teacher and student in one class for each sample."""

    predicted: NDArray[np.intp]
    """The class that the teacher prefers; of equal logits, the lowest."""
    teacher: Array
    """X: the teacher's log-odds of the class it prefers."""
    student: Array
    """Y: the student's log-odds of the same class."""
    teacher_true: Array | None
    """The teacher's log-odds of the true class; None without labels."""
    student_true: Array | None
    """The student's log-odds of the true class; None without labels."""


@states(
    "labels:confidence-floor",
    "In the class that a network of K classes prefers its log-odds are at least -ln(K - 1).",
    source="Nagarajan 2023, section 3",
)
def confidence_pair(
    teacher_logits: ArrayLike, student_logits: ArrayLike, labels: ArrayLike | None = None
) -> ConfidencePair:
    r"""Confidence of teacher and student in the class that the teacher prefers, and in the truth.

    .. math:: X = \varphi_{\hat y}(z^{te}), \quad Y = \varphi_{\hat y}(z^{st}), \qquad
        \hat y = \arg\max_k z^{te}_k

    X is at least :math:`-\ln(K - 1)`; Y may be anything.

    Args:
        teacher_logits: Shape ``(..., classes)``.
        student_logits: The same classes; the leading axes broadcast, such as one teacher ``(n,
            classes)`` against several students ``(seeds, n, classes)``.
        labels: True classes, which broadcast against the leading axes.

    Raises:
        ValueError: For fewer than two classes or different numbers of them, shapes that do not
            broadcast, labels out of range, nan or inf.

    References:
        Nagarajan et al. 2023, section 3.

    Example:
        >>> pair = confidence_pair([[2.0, 0.0], [1.0, 1.0]], [[3.0, 0.0], [0.0, 2.0]], [1, 1])
        >>> pair.predicted, pair.teacher, pair.student, pair.student_true
        (array([0, 0]), array([2., 0.]), array([ 3., -2.]), array([-3.,  2.]))
    """
    teacher, student = pair_of_logits(teacher_logits, student_logits)
    predicted = np.argmax(teacher, axis=-1)
    own, other = confidence(teacher, predicted), confidence(student, predicted)
    if labels is None:
        return ConfidencePair(predicted, own, other, None, None)
    truth = checks.classes("labels", labels, teacher.shape[-1])
    if truth.ndim >= teacher.ndim or _unlike(truth.shape, teacher.shape[:-1]):
        msg = (
            "labels must be one class a sample, which broadcasts against the rows of the logits, "
            f"got shapes {truth.shape} and {teacher.shape}"
        )
        raise ValueError(msg)
    return ConfidencePair(
        predicted, own, other, confidence(teacher, truth), confidence(student, truth)
    )


def _unlike(shape: tuple[int, ...], rows: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, rows) != rows
    except ValueError:
        return True


def pair_of_logits(teacher_logits: ArrayLike, student_logits: ArrayLike) -> tuple[Array, Array]:
    """The logits of two networks over the same classes, broadcast against each other."""
    z = checks.logits("teacher_logits", teacher_logits)
    other = checks.logits("student_logits", student_logits)
    checks.same_classes(teacher_logits=z, student_logits=other)
    shape = np.broadcast_shapes(z.shape, other.shape)
    return np.broadcast_to(z, shape), np.broadcast_to(other, shape)
