r"""What a loss of one sample is, and the cross-entropy that nearly all of them are made of.

.. math:: \ell(z, q) = -c \sum_k q_k \ln s_\tau(z)_k, \qquad
          \frac{\partial \ell}{\partial z} = \frac{c}{\tau} \left( s_\tau(z) - q \right)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.divergences import kl_of_cost
from theory.labels.softmax import surprisal
from theory.numerics import progress

FACTORS = ("1", "tau", "tau2", "2tau2")
"""Names of the factors c of a tempered loss."""


@dataclass(frozen=True, slots=True, eq=False)
class Loss:
    """A loss and its exact gradient, sample by sample.

    Losses of the same samples add, and multiply by numbers or by one weight a sample.

    Example:
        >>> hard = Loss(np.array([2.0]), np.array([[1.0, -1.0]]))
        >>> (0.5 * hard + hard).gradient
        array([[ 1.5, -1.5]])
    """

    value: Array
    """One number a sample, shape ``(...)``."""
    gradient: Array
    """With respect to the student's logits, shape ``(..., classes)``."""

    __array_priority__ = 1000.0  # numpy's numbers leave the product to this class

    def __add__(self, other: "Loss") -> "Loss":
        return Loss(self.value + other.value, self.gradient + other.gradient)

    def __mul__(self, weight: ArrayLike) -> "Loss":
        factor = checks.real_array("weight", weight)
        # a sample of weight 0 counts nothing, also where its loss is infinite
        return Loss(progress(self.value, factor)[()], progress(self.gradient, factor[..., None]))

    __rmul__ = __mul__


def temperature_factor(name: str, temperature: float) -> float:
    r"""The factor c of a loss at temperature :math:`\tau`: 1, tau, tau^2 or 2 tau^2.

    Raises:
        ValueError: If ``name`` is none of `FACTORS`, or the temperature is not > 0.

    Example:
        >>> temperature_factor("tau2", 4.0)
        16.0
    """
    checks.choice("factor", name, FACTORS)
    tau = checks.temperature("temperature", temperature)
    scale = {"1": 1.0, "tau": tau, "tau2": tau * tau, "2tau2": 2 * tau * tau}[name]
    if not np.isfinite(scale):
        msg = f"temperature must have a square that is a float, got {tau:g}"
        raise ValueError(msg)
    return scale


def slope_factor(name: str, temperature: float) -> float:
    r"""The factor of the gradient, :math:`c / \tau`, also where tau^2 is too small for a float.

    Raises:
        ValueError: As `temperature_factor`, or where it is too large for a float.
    """
    tau, scale = float(temperature), temperature_factor(name, temperature)
    if name != "1":
        return {"tau": 1.0, "tau2": tau, "2tau2": 2 * tau}[name]
    if not np.isfinite(scale / tau):
        msg = f"temperature must have an inverse that is a float, got {tau:g}"
        raise ValueError(msg)
    return scale / tau


def targets(name: str, value: ArrayLike, logits: Array, *, batch: int = 0) -> Array:
    """Targets as distributions that broadcast against the rows of ``logits``.

    A last axis as long as the classes makes them distributions if they are real numbers or have an
    entry for every entry of the logits; else they are classes, one a row.

    Args:
        name: What to call them in an error message.
        value: Classes of shape ``(...)`` or distributions of shape ``(..., classes)``.
        logits: Checked logits.
        batch: Leading axes of the logits that targets have not (such as one over models).

    Raises:
        ValueError: If they are neither, or have another shape.
    """
    array = checks.real_array(name, value)
    classes = logits.shape[-1]
    rows = logits.shape[batch:-1]
    whole = np.asarray(value).dtype.kind in ("b", "i", "u")
    if array.ndim and array.shape[-1] == classes and (array.ndim > len(rows) or not whole):
        rows_given, dense = array.shape[:-1], checks.distributions(name, array)
    else:
        rows_given = array.shape
        dense = np.eye(classes)[checks.classes(name, array, classes)]
    column = array.shape == rows_given and array.ndim > len(rows) > 0  # of classes, not one a row
    try:
        np.broadcast_shapes(rows_given, rows)
    except ValueError:
        column = True
    if column:
        msg = (
            f"{name} must be one class or one distribution for each row of logits of shape "
            f"{logits.shape}, got shape {array.shape}"
        )
        raise ValueError(msg)
    return np.broadcast_to(dense, (*np.broadcast_shapes(rows_given, rows), classes))


def tempered_cross_entropy(
    student_logits: ArrayLike,
    target: ArrayLike,
    temperature: float = 1.0,
    factor: str = "tau2",
    value: str = "ce",
) -> Loss:
    r"""Cross-entropy of any target and the student's tempered prediction.

    .. math:: -c \sum_k q_k \ln s_\tau(z)_k, \qquad
              \text{gradient} \quad \frac{c}{\tau} (s_\tau(z) - q)

    Args:
        student_logits: z, shape ``(..., classes)``.
        target: q: classes of shape ``(...)``, or distributions of shape ``(..., classes)``.
        temperature: tau > 0 of the student's prediction; the target is taken as it is.
        factor: c: ``"1"``, ``"tau"``, ``"tau2"`` or ``"2tau2"``.
        value: ``"ce"``, or ``"kl"``: less c times the entropy of the target, so that a perfect
            student has loss 0. The gradient is the same.

    Raises:
        ValueError: For logits, targets, a temperature or options that are not as described.

    References:
        Hinton, Vinyals and Dean 2015; Zhou et al. 2021, section 3.

    Example:
        >>> loss = tempered_cross_entropy([[1.0, 0.0]], [0], temperature=2.0)
        >>> loss.value, loss.gradient
        (array([1.89630794]), array([[-0.75508134,  0.75508134]]))
    """
    scale = temperature_factor(factor, temperature)
    checks.choice("value", value, ("ce", "kl"))
    z = checks.logits("student_logits", student_logits)
    q = targets("target", target, z)
    cost = np.broadcast_to(surprisal(z, temperature), q.shape)
    lost = np.maximum(progress(q, cost), 0.0).sum(axis=-1) if value == "ce" else kl_of_cost(q, cost)
    slope = slope_factor(factor, temperature) * _minus(cost, q)
    return Loss(progress(lost, scale)[()], slope)


def one_hot(student_logits: ArrayLike, labels: ArrayLike) -> Loss:
    r"""Cross-entropy with the label, :math:`-\ln s_1(z)_y`; gradient :math:`s_1(z) - e_y`.

    Args:
        student_logits: z, shape ``(..., classes)``.
        labels: y, integers of the leading shape.

    Raises:
        ValueError: For fewer than two classes, or labels out of range or of another shape.

    Example:
        >>> one_hot([[0.0, 0.0], [50.0, 0.0]], [1, 0]).value
        array([6.93147181e-01, 1.92874985e-22])
    """
    return tempered_cross_entropy(student_logits, labels)


def uniform(z: Array) -> Array:
    """The uniform distribution for every row."""
    return np.full(z.shape, 1.0 / z.shape[-1])


def beside_labels(
    z: Array, labels: ArrayLike, weight: float, teacher: Array, temperature: float, factor: str
) -> Loss:
    """The form (1 - a) CE + a c KL(teacher, student at the temperature)."""
    share = checks.fraction("weight", weight)
    soft = tempered_cross_entropy(z, teacher, temperature, factor, value="kl")
    return (1.0 - share) * one_hot(z, labels) + share * soft


def _minus(cost: Array, q: Array) -> Array:
    """Student minus target: where both are nearly 1 it is what the others differ by."""
    with np.errstate(under="ignore"):
        gap = np.exp(-cost) - q
    first = np.argmax(q, axis=-1)[..., None]
    others = np.where(np.arange(q.shape[-1]) == first, 0.0, gap)
    sure = np.take_along_axis(q, first, axis=-1) > 0.5
    others_gap = -others.sum(axis=-1, keepdims=True)
    return np.where((np.arange(q.shape[-1]) == first) & sure, others_gap, gap)
