r"""What label and teacher ask of the label's logit, and the samples where they disagree.

With :math:`L_{ce} = -\ln s_1(y)` and :math:`L_{kd} = -\tau^2 \sum_k t_\tau \ln s_\tau`,

.. math::

    a = \frac{\partial L_{ce}}{\partial z_y} = s_1(y) - 1, \qquad
    b = \frac{\partial (L_{kd} - L_{ce})}{\partial z_y} = \tau (s_\tau(y) - t_\tau(y)) - a .

A sample is a regularization sample where :math:`|b| > |a|` [Zhou et al. 2021, section 3.2].
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import checks
from theory.checks import Array
from theory.labels.gaps import (
    Signed,
    label_gap,
    log_others,
    network_pair,
    relative_difference,
)
from theory.labels.softmax import log_softmax
from theory.statements import states

CRITERIA = ("abs", "signed", "tau1")
"""What makes a regularization sample: see `regularization_samples`."""

Mask = NDArray[np.bool_]
Labels = NDArray[np.intp]

_BLOCK = 50_000  # numbers of one block of rows


@states(
    "labels:opposite-signs-at-one",
    "At temperature 1 the label gradients are a = s(y) - 1 <= 0 and b = 1 - t(y) >= 0, and "
    "|b| > |a| exactly where the student gives the label more than the teacher does.",
    source="Zhou et al. 2021, eq. 4 and section 3.1, corrected",
)
def label_gradients(
    student_logits: ArrayLike, teacher_logits: ArrayLike, label: ArrayLike, temperature: float
) -> tuple[Array, Array]:
    r"""Gradients a and b of the label's logit: of the label loss, and of what the teacher adds.

    Where the student is sure, :math:`1 - s_1(y)` is the sum over the other classes. b is formed in
    two ways, around the difference of student and teacher or around their doubts, and the one with
    less to cancel is taken; at temperature 1 it is :math:`1 - t_1(y)` exactly.

    Args:
        student_logits: z, shape ``(..., classes)``.
        teacher_logits: Of a shape that broadcasts against it.
        label: y, integers of the leading shape.
        temperature: tau > 0 of the distillation loss.

    Returns:
        a in [-1, 0] and b, each of the leading shape.

    Raises:
        ValueError: For logits, labels or a temperature that are not valid or do not fit.

    References:
        Zhou et al. 2021, eq. 4. There the signs of a and b are said always to differ: that is so at
        temperature 1 only (docs/labels.md).

    Example:
        >>> a, b = label_gradients([[50.0, 0.0]], [[2.0, 0.0]], [0], 1.0)
        >>> a, b  # the student is surer than the teacher: a regularization sample
        (array([-1.92874985e-22]), array([0.11920292]))
    """
    tau = checks.temperature("temperature", temperature)
    z, v, y = network_pair(student_logits, teacher_logits, label)
    a, b, _ = _by_rows(lambda s, t, k: _gradients(s, t, k, tau), z, v, y)
    return a[()], b[()]


@states(
    "labels:regularization-branches",
    "|b| > |a| exactly where the student gives the label more than the teacher at the temperature, "
    "or tau (t(y) - s(y)) > 2 (1 - s_1(y)), where the teacher pulls up at least as hard as the "
    "label does.",
    source="Zhou et al. 2021, section 3.2, completed",
)
def regularization_samples(
    student_logits: ArrayLike,
    teacher_logits: ArrayLike,
    labels: ArrayLike,
    temperature: float,
    criterion: str = "abs",
) -> Mask:
    r"""Which samples are regularization samples; ties are not.

    Args:
        student_logits: z, shape ``(..., classes)``.
        teacher_logits: Of a shape that broadcasts against it.
        labels: y, integers of the leading shape.
        temperature: tau > 0 of the distillation loss.
        criterion: ``"abs"``, the paper's :math:`|b| > |a|`. It holds where
            :math:`s_\tau(y) > t_\tau(y)`, the teacher holds the student back, and also where
            :math:`\tau (t_\tau(y) - s_\tau(y)) > 2 (1 - s_1(y))`, the teacher pushes the student
            on harder than the label. ``"signed"`` is the first of the two alone; ``"tau1"`` is the
            first at temperature 1, where the second never holds.

    Raises:
        ValueError: For logits, labels, a temperature or a criterion that are not valid or do not
            fit.

    References:
        Zhou et al. 2021, section 3.2.

    Example:
        >>> student, teacher = (
        ...     [[3.0, 0.0], [1.0, 0.0], [1.0, 0.0]],
        ...     [[1.0, 0.0], [9.0, 0.0], [1.0, 0.0]],
        ... )
        >>> regularization_samples(student, teacher, [0, 0, 0], 4.0)
        array([ True,  True, False])
        >>> regularization_samples(student, teacher, [0, 0, 0], 4.0, criterion="signed")
        array([ True, False, False])
    """
    tau = checks.temperature("temperature", temperature)
    checks.choice("criterion", criterion, CRITERIA)
    z, v, y = network_pair(student_logits, teacher_logits, labels)
    (found,) = _by_rows(lambda s, t, k: (_counted(s, t, k, tau, criterion),), z, v, y)
    return found.astype(np.bool_)[()]


def same_sign_samples(
    student_logits: ArrayLike, teacher_logits: ArrayLike, labels: ArrayLike, temperature: float
) -> Mask:
    r"""Where a and b are both negative: teacher and label both push the label's logit up.

    None at temperature 1.

    Raises:
        ValueError: As `label_gradients`.

    Example:
        >>> same_sign_samples([[1.0, 0.0]], [[9.0, 0.0]], [0], 4.0)
        array([ True])
    """
    tau = checks.temperature("temperature", temperature)
    z, v, y = network_pair(student_logits, teacher_logits, labels)
    _, b, doubt = _by_rows(lambda s, t, k: _gradients(s, t, k, tau), z, v, y)
    same: Mask = (b < 0) & (doubt > -np.inf)
    return same[()]


def same_sign_share(
    student_logits: ArrayLike, teacher_logits: ArrayLike, labels: ArrayLike, temperature: float
) -> float:
    """Share of the samples where a and b have the same sign.

    Raises:
        ValueError: As `label_gradients`, or for no samples.

    Example:
        >>> teacher = [[9.0, 0.0], [1.0, 0.0]]
        >>> same_sign_share([[1.0, 0.0], [9.0, 0.0]], teacher, [0, 0], 4.0)
        0.5
    """
    same = np.atleast_1d(same_sign_samples(student_logits, teacher_logits, labels, temperature))
    return float(checks.samples("labels", same.astype(np.float64)).mean())


def _by_rows(
    f: Callable[[Array, Array, Labels], tuple[Array | Mask, ...]], z: Array, v: Array, y: Labels
) -> tuple[Array, ...]:
    """``f`` of logits (n, classes) and labels (n,), on blocks that stay in the cache."""
    classes, shape = z.shape[-1], y.shape
    z, v, y = z.reshape(-1, classes), v.reshape(-1, classes), y.reshape(-1)
    step = max(1, _BLOCK // classes)
    parts = [
        f(z[start : start + step], v[start : start + step], y[start : start + step])
        for start in range(0, max(len(y), 1), step)
    ]
    return tuple(np.concatenate(part).reshape(shape) for part in zip(*parts, strict=True))


def _counted(z: Array, v: Array, y: Labels, tau: float, criterion: str) -> Mask:
    """Which rows are regularization samples."""
    gap = _gap(z, v, y, 1.0 if criterion == "tau1" else tau)
    ahead: Mask = gap.sign > 0
    if criterion == "abs":
        # in logarithms: both sides may be smaller than any float
        doubt = log_others(log_softmax(z), y)
        ahead = ahead | ((gap.sign < 0) & (np.log(tau) + gap.log > np.log(2.0) + doubt))
    return ahead


def _gradients(z: Array, v: Array, y: Labels, tau: float) -> tuple[Array, Array, Array]:
    """The gradients a and b, and ln |a|."""
    log_one, log_s, log_t = log_softmax(z), log_softmax(z, tau), log_softmax(v, tau)
    log_doubt = log_others(log_one, y)
    with np.errstate(under="ignore", over="ignore"):
        doubt, student, teacher = (
            np.exp(log) for log in (log_doubt, log_others(log_s, y), log_others(log_t, y))
        )
        gap = label_gap(log_s, log_t, relative_difference(z, v, y) / tau, y).value()
        own = np.take_along_axis(z, y[..., None], axis=-1)
        slope = (tau - 1.0) / tau
        # of a subnormal temperature the quotient leaves the range, and tau - 1 is -1
        x = (z - own) * slope if np.isfinite(slope) else (own - z) / tau
        sharpened = label_gap(log_one, log_s, x, y).value()
        around_gap = tau * gap + doubt
        rest = (tau - 1.0) * student + sharpened
        around_doubts = tau * teacher - rest
        better = tau * np.abs(gap) + doubt <= tau * teacher + np.abs(rest)
    return -doubt, np.where(better, around_gap, around_doubts), log_doubt


def _gap(z: Array, v: Array, y: Labels, tau: float) -> Signed:
    """Student less teacher at the label."""
    with np.errstate(over="ignore", under="ignore"):
        x = relative_difference(z, v, y) / tau
    return label_gap(log_softmax(z, tau), log_softmax(v, tau), x, y)
