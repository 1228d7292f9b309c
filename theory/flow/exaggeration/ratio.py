r"""The ratio of student to teacher along another direction at matched progress."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.flow.exaggeration.gap import one_minus_ratio, part_learned, stretch
from theory.flow.exaggeration.times import matched
from theory.numerics import h, phi, progress
from theory.statements import states


class Bounds(NamedTuple):
    """A lower and an upper bound, in the broadcast shape of the arguments."""

    lower: Array
    upper: Array


def _learned_ratio(kappa: Array, x: Array) -> Array:
    """Learned fraction q = phi(kappa x) / phi(x) of one direction against the matched one."""
    return np.where(x <= 1, kappa * h(kappa * x) / h(x), phi(progress(kappa, x)) / phi(x))


@states(
    "flow:component-ratio",
    "At matched progress along one direction, the student's displacement along a direction of "
    "kappa times its eigenvalue is R times the teacher's, with kappa < R < 1 for 0 < kappa < 1.",
    source="Nagarajan 2023, Thm 4.1 and B.1, corrected",
)
def component_ratio(
    kappa: ArrayLike, student_progress: ArrayLike, teacher_progress: ArrayLike
) -> Array:
    r"""Student over teacher along another direction, when they agree along the matched one.

    .. math:: R = \phi(\kappa A)\, \phi(\kappa B) / \phi(\kappa \tau), \qquad
        \phi(\tau) = \phi(A)\, \phi(B)

    It increases in A, in B and, up to 1, in :math:`\kappa`. Where R is near 1 use
    :func:`component_gap` for 1 - R.

    Args:
        kappa: Eigenvalue of the other direction over that of the matched one, >= 0. Values above
            1 give :math:`R \ge 1`.
        student_progress: :math:`A = \lambda_1 \tilde t`, ``inf`` included.
        teacher_progress: :math:`B = \lambda_1 T`, ``inf`` included.

    Returns:
        R, to a few ulp. At progress zero its limit; 0 where ``kappa`` is 0.

    Raises:
        ValueError: If an argument is negative or nan, or ``kappa`` infinite.

    Example:
        >>> component_ratio(
        ...     0.5, student_progress=[1.0, 3.0, np.inf], teacher_progress=[1.0, 3.0, 3.0]
        ... )
        array([0.688, 0.877, 1.   ])
    """
    ratio = checks.nonnegative("kappa", kappa)
    student, teacher = _progresses(student_progress, teacher_progress, kappa=ratio)
    first, last = np.minimum(student, teacher), np.maximum(student, teacher)
    with np.errstate(all="ignore"):
        tau = matched(np.ones(()), first, last)
        # smallest factor last but one: no intermediate underflows that the answer does not
        value = _learned_ratio(ratio, first) * (
            _learned_ratio(ratio, last) / _learned_ratio(ratio, tau)
        )
    # round-off must not carry R over to the other side of 1
    value = np.where(ratio < 1, np.minimum(value, 1.0), np.maximum(value, 1.0))
    value = np.where((ratio == 1) | (last == np.inf), 1.0, value)
    return np.where(ratio == 0, 0.0, value)


def _progresses(
    student_progress: ArrayLike, teacher_progress: ArrayLike, **other: Array
) -> tuple[Array, Array]:
    """The two progresses, checked also against the shape of the other argument."""
    student = checks.times("student_progress", student_progress)
    teacher = checks.times("teacher_progress", teacher_progress)
    checks.broadcastable(**other, student_progress=student, teacher_progress=teacher)
    return student, teacher


def _delta(delta: ArrayLike) -> Array:
    array = checks.real_array("delta", delta)
    if (array > 1).any():
        msg = (
            "delta must be at most 1, for it is (lambda_1 - lambda_2) / lambda_1 of eigenvalues "
            f">= 0, got {array.max():g}"
        )
        raise ValueError(msg)
    return array


@states(
    "flow:component-gap",
    "The ratio lies below 1 for directions below the matched one and above 1 for directions above "
    "it; it is exactly 1 at equal eigenvalues or if student or teacher trains forever.",
    source="Nagarajan 2023, Thm B.1, corrected; docs/flow.md, E6",
)
def component_gap(
    delta: ArrayLike, student_progress: ArrayLike, teacher_progress: ArrayLike
) -> Array:
    r"""By how much the student falls short along another direction, 1 - R, without cancellation.

    With :math:`A \le B`, :math:`\ell = A - \tau` and
    :math:`\beta(m, M) = M \frac{h(m) - h(M)}{M - m}`, for :math:`\delta \ge 0`

    .. math::

        (1 - R)\, \frac{\phi(\kappa\tau)}{\kappa\, \phi(A)} =
        e^{-(B - \delta B)} \phi(\delta (B - A)) \frac{h(\kappa A)}{h(A)}
        + \delta e^{-(B - \delta A)} \left[ \frac{\beta(\delta\ell, \ell)}{h(\ell)}
        + \frac{\beta(\kappa A, A)}{h(A)} \right]

    in which every term is positive, so that no digit is lost: not for gaps of 1e-200, nor for
    :math:`\delta` near 0. A similar sum of terms of one sign holds for :math:`\delta < 0`.

    Args:
        delta: :math:`(\lambda_1 - \lambda_2) / \lambda_1 = 1 - \kappa \le 1`, computed from the
            difference of the eigenvalues; negative for a direction above the matched one.
        student_progress: :math:`A = \lambda_1 \tilde t`, ``inf`` included.
        teacher_progress: :math:`B = \lambda_1 T`, ``inf`` included.

    Returns:
        1 - R, of the sign of ``delta``; relative error of a few ulp for progress above 1e-280.

    Raises:
        ValueError: If a progress is negative, ``delta`` above 1, or anything nan.

    Example:
        >>> component_gap(
        ...     [0.5, 1e-12, -1.0], student_progress=3.0, teacher_progress=[3.0, 3.0, 400]
        ... )
        array([ 1.23e-001,  6.36e-014, -1.82e-175])
    """
    distance = _delta(delta)
    student, teacher = _progresses(student_progress, teacher_progress, delta=distance)
    with np.errstate(all="ignore"):
        return one_minus_ratio(distance, np.minimum(student, teacher), np.maximum(student, teacher))


def ratio_bounds(
    kappa: ArrayLike, student_progress: ArrayLike, teacher_progress: ArrayLike
) -> Bounds:
    r"""Bounds of the ratio by the learned fractions of the longer of the two trainings.

    .. math:: \kappa < q < R < 1, \qquad
        q = \phi(\kappa \max(A, B)) / \phi(\max(A, B)),

    for :math:`\kappa < 1`, and the reverse, 1 < R < q, for :math:`\kappa > 1`. The bound q is the
    limit of a short other training, the bound 1 that of an infinite one.

    Args:
        kappa: Eigenvalue of the other direction over that of the matched one, >= 0.
        student_progress: :math:`A = \lambda_1 \tilde t`, ``inf`` included.
        teacher_progress: :math:`B = \lambda_1 T`, ``inf`` included.

    Raises:
        ValueError: If an argument is negative or nan, or ``kappa`` infinite.

    Example:
        >>> lower, upper = ratio_bounds(0.5, student_progress=1.0, teacher_progress=3.0)
        >>> print(lower.round(3), upper)
        0.818 1.0
    """
    ratio = checks.nonnegative("kappa", kappa)
    student, teacher = _progresses(student_progress, teacher_progress, kappa=ratio)
    with np.errstate(all="ignore"):
        bound = _learned_ratio(ratio, np.maximum(student, teacher))
    bound = bound + np.zeros(np.broadcast_shapes(ratio.shape, student.shape, teacher.shape))
    return Bounds(np.minimum(bound, 1.0), np.maximum(bound, 1.0))


@states(
    "flow:gap-bounds",
    "For 0 <= delta <= 1 and either order (P, Q) of the two progresses, 1 - R lies between "
    "c phi(delta (Q - tau)) and c phi(delta Q), c = exp(-kappa Q) phi(kappa P) / phi(kappa tau).",
    source="Nagarajan 2023, Thm B.1, sharpened",
)
def gap_bounds(
    delta: ArrayLike, student_progress: ArrayLike, teacher_progress: ArrayLike
) -> Bounds:
    r"""Bounds of 1 - R of the same order of magnitude as 1 - R, for directions below.

    .. math:: c\, \phi(\delta (Q - \tau)) \le 1 - R \le c\, \phi(\delta Q), \qquad
        c = e^{-\kappa Q} \phi(\kappa P) / \phi(\kappa \tau)

    for (P, Q) either (A, B) or (B, A): the tighter of the two on each side.

    Args:
        delta: :math:`1 - \kappa` in [0, 1].
        student_progress: :math:`A = \lambda_1 \tilde t`, ``inf`` included.
        teacher_progress: :math:`B = \lambda_1 T`, ``inf`` included.

    Raises:
        ValueError: If ``delta`` leaves [0, 1], or a progress is negative or nan.

    Example:
        >>> lower, upper = gap_bounds(0.5, student_progress=1.0, teacher_progress=1.0)
        >>> bool(lower < component_gap(0.5, 1.0, 1.0) < upper)
        True
    """
    distance = checks.unit_interval("delta", delta)
    student, teacher = _progresses(student_progress, teacher_progress, delta=distance)
    first, last = np.minimum(student, teacher), np.maximum(student, teacher)
    with np.errstate(all="ignore"):
        kappa = 1.0 - distance
        wait = np.where(first == last, 0.0, last - first)
        lead = np.log1p(np.exp(-wait) * phi(first))
        shared = stretch(kappa, first, last, matched(np.ones(()), first, last))
        # c phi(.) with the small factors of phi(kappa P) / phi(kappa tau) divided out
        by_last = np.exp(-kappa * last) * h(kappa * first) / h(first) / shared
        by_first = np.exp(-kappa * first) * h(kappa * last) / h(last) / shared
        lower = np.fmax(
            by_last * part_learned(distance, wait + lead, last),
            by_first * part_learned(distance, lead, first),
        )
        upper = np.fmin(
            by_last * part_learned(distance, last, last),
            by_first * part_learned(distance, first, first),
        )
    limits = np.where((last == 0) | (distance == 1), distance, 0.0)
    known = (last == 0) | (last == np.inf) | (distance == 1)
    return Bounds(np.where(known, limits, lower), np.where(known, limits, upper))
