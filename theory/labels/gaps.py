r"""Differences of two softmaxes, :math:`s_\tau(z) - s_\tau(v)`, without cancellation.

Subtracting probabilities loses all digits where both are nearly 1, and where student and teacher
nearly agree. Both are kept when the difference is formed class by class from logits,

.. math::

    s_y - t_y = \sum_{j \ne y} (s_y t_j - s_j t_y), \qquad
    \frac{s_j t_y}{s_y t_j} = e^{x_j}, \qquad x_j = \frac{(z_j - v_j) - (z_y - v_y)}{\tau} .
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import checks
from theory.checks import Array
from theory.labels.softmax import log_softmax
from theory.numerics import exp_beyond_linear

_LARGEST = 1e300
_FAR = 300.0


@dataclass(frozen=True, slots=True, eq=False)
class Signed:
    """Numbers as sign and logarithm of their size: those too small for a float keep both."""

    sign: Array
    log: Array
    """-inf where the number is 0."""

    def value(self) -> Array:
        """As plain numbers."""
        with np.errstate(under="ignore"):
            return np.asarray(self.sign * np.exp(self.log))


def bounded_logits(name: str, value: ArrayLike) -> Array:
    """Logits of a size at most 1e300, whose differences do not overflow.

    Raises:
        ValueError: As `checks.logits`, or for larger ones.
    """
    z = checks.logits(name, value)
    largest = float(np.abs(z).max(initial=0.0))
    if largest > _LARGEST:
        msg = f"{name} must not exceed {_LARGEST:g} in size, got {largest:g}"
        raise ValueError(msg)
    return z


def network_pair(
    student_logits: ArrayLike, teacher_logits: ArrayLike, labels: ArrayLike | None = None
) -> tuple[Array, Array, NDArray[np.intp]]:
    """Logits of student and teacher in one shape, and the class of every row.

    Raises:
        ValueError: For logits or labels that are not valid or do not fit each other.
    """
    z = bounded_logits("student_logits", student_logits)
    v = bounded_logits("teacher_logits", teacher_logits)
    checks.same_classes(student_logits=z, teacher_logits=v)
    z, v = np.broadcast_arrays(z, v)
    y = checks.row_classes("labels", 0 if labels is None else labels, "the logits", z)
    rows = np.broadcast_shapes(z.shape[:-1], y.shape)
    shape = (*rows, z.shape[-1])
    return np.broadcast_to(z, shape), np.broadcast_to(v, shape), np.broadcast_to(y, rows)


def softmax_gap(
    student_logits: ArrayLike, teacher_logits: ArrayLike, temperature: float = 1.0
) -> Array:
    r""":math:`s_\tau(z) - s_\tau(v)` of every class.

    Args:
        student_logits: z, shape ``(..., classes)``.
        teacher_logits: v, of a shape that broadcasts against it.
        temperature: tau > 0 of both.

    Raises:
        ValueError: For logits or a temperature that are not valid or do not fit each other.

    Example:
        >>> softmax_gap([50.0, 0.0], [40.0, 0.0])
        array([ 4.24816138e-18, -4.24816138e-18])
    """
    z, v, _ = network_pair(student_logits, teacher_logits)
    first = np.argmax(v, axis=-1)
    log_s, log_t = log_softmax(z, temperature), log_softmax(v, temperature)
    with np.errstate(over="ignore", under="ignore"):
        x = relative_difference(z, v, first) / checks.temperature("temperature", temperature)
    top = label_gap(log_s, log_t, x, first).value()[..., None]
    with np.errstate(divide="ignore", under="ignore", over="ignore", invalid="ignore"):
        s, t = np.exp(log_s), np.exp(log_t)
        own_s, own_t = (
            np.take_along_axis(log, first[..., None], axis=-1) for log in (log_s, log_t)
        )
        # ln (s / t) of the reference class: from the gap where they are near, else apart
        reference = np.where(own_s < own_t - 0.5, own_s - own_t, np.log1p(top / np.exp(own_t)))
        ratio = x + reference
        gap = np.where(np.abs(ratio) <= 0.5, t * np.expm1(ratio), s - t)
    return np.where(np.arange(z.shape[-1]) == first[..., None], top, gap)


def divergence(
    teacher_logits: ArrayLike, student_logits: ArrayLike, temperature: float = 1.0
) -> Array:
    r""":math:`\mathrm{KL}(t_\tau, s_\tau)` of two networks at a temperature, one number a row.

    It is :math:`\ln E_t e^\delta` with :math:`\delta` the student's logits less the teacher's, over
    tau, less their mean under t.

    Raises:
        ValueError: As `softmax_gap`.

    Example:
        >>> divergence([[50.0, 0.0]], [[50.0, 1e-3]])
        array([9.647e-29])
    """
    v, z, _ = network_pair(teacher_logits, student_logits)
    tau = checks.temperature("temperature", temperature)
    with np.errstate(under="ignore", over="ignore"):
        log_t = log_softmax(v, tau)
        t = np.exp(log_t)
        # one tempered logit may leave the range of numbers; it is as far away as can be
        x = np.clip(relative_difference(z, v, np.argmax(v, axis=-1)) / tau, -_LARGEST, _LARGEST)
        return log_mean_exp(t, log_t, x - (t * x).sum(axis=-1, keepdims=True))[()]


def log_mean_exp(p: Array, log_p: Array, delta: Array) -> Array:
    r""":math:`\ln E_p e^\delta` where :math:`E_p \delta = 0`, by a sum of nonnegative terms.

    .. math:: \ln E_p e^\delta = \ln \left( 1 + E_p[e^\delta - 1 - \delta] \right)

    Args:
        p: Distributions along the last axis.
        log_p: Their logarithms, which may be too low for p to be a number.
        delta: Of the same shape.
    """
    with np.errstate(under="ignore", over="ignore", invalid="ignore", divide="ignore"):
        near = np.log1p((p * exp_beyond_linear(np.minimum(delta, _FAR))).sum(axis=-1))
        far = delta.max(axis=-1) > _FAR
        if far.any():
            above = delta[far]
            bent = np.log(exp_beyond_linear(np.minimum(above, _FAR)))
            terms = log_p[far] + np.where(above > _FAR, above, bent)
            near = np.asarray(near)
            near[far] = np.logaddexp(0.0, np.logaddexp.reduce(terms, axis=-1))
    return np.asarray(near)


def relative_difference(z: Array, v: Array, label: NDArray[np.intp]) -> Array:
    """Logits z less v, relative to the class ``label`` of each row, exact to the last digit.

    The rounding error of z - v is carried along: where one network is the other plus a constant
    and a little, it would be as large as the little.
    """
    high, low = exact_difference(z, v)
    index = label[..., None]
    return np.asarray(
        (high - np.take_along_axis(high, index, axis=-1))
        + (low - np.take_along_axis(low, index, axis=-1))
    )


def exact_difference(z: Array, v: Array) -> tuple[Array, Array]:
    """``z - v`` as a rounded part and what rounding took from it (Knuth's two-sum)."""
    high = z - v
    back = high - z
    return high, (z - (high - back)) - (v + back)


def label_gap(log_s: Array, log_t: Array, x: Array, label: NDArray[np.intp]) -> Signed:
    r""":math:`s_y - t_y` of the class y of each row.

    Args:
        log_s: Logarithms of the probabilities s, shape ``(..., classes)``.
        log_t: Logarithms of the probabilities t.
        x: Logits of s less those of t, relative to class y.
        label: y, shape ``(...)``.
    """
    index = label[..., None]
    own_s, own_t = (np.take_along_axis(log, index, axis=-1) for log in (log_s, log_t))
    with np.errstate(divide="ignore", under="ignore", over="ignore", invalid="ignore"):
        larger = np.where(x <= 0, own_s + log_t, log_s + own_t)
        larger = np.where(np.arange(x.shape[-1]) == index, -np.inf, larger)
        scale = larger.max(axis=-1, keepdims=True)
        scale = np.where(np.isfinite(scale), scale, 0.0)
        terms = np.sign(x) * np.exp(larger - scale) * np.expm1(-np.abs(x))
        total = np.where(larger == -np.inf, 0.0, terms).sum(axis=-1)
        return Signed(np.sign(total), scale[..., 0] + np.log(np.abs(total)))


def log_others(log_p: Array, label: NDArray[np.intp]) -> Array:
    r""":math:`\ln (1 - p_y)` as the sum over the other classes, also where p_y rounds to 1."""
    index = label[..., None]
    others = np.where(np.arange(log_p.shape[-1]) == index, -np.inf, log_p)
    top = others.max(axis=-1)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore", under="ignore", invalid="ignore"):
        rest = np.exp(others - top[..., None]).sum(axis=-1)
        return np.asarray(np.minimum(top + np.log(rest), 0.0))
