r"""Matched times: when teacher and student have learned the same of one direction."""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.numerics import h, phi, progress
from theory.statements import states


@states(
    "flow:matched-time",
    "Every student matches exactly one moment of its teacher's training along a direction, and "
    "that moment lies before both the student's time and the teacher's stopping time.",
    source="Nagarajan 2023, Thm B.1 (i)",
)
def matched_teacher_time(
    top_eigenvalue: ArrayLike, student_time: ArrayLike, teacher_time: ArrayLike
) -> Array:
    r"""When the teacher had learned of the top direction what the student has learned of it.

    .. math:: \phi(\lambda_1 t) = \phi(\lambda_1 \tilde t)\, \phi(\lambda_1 T)

    Such a time always exists and is unique; :math:`t \le \min(\tilde t, T)`. At eigenvalue zero,
    where every time matches, its limit is returned.

    Args:
        top_eigenvalue: :math:`\lambda_1 \ge 0`.
        student_time: :math:`\tilde t \ge 0`, ``inf`` included.
        teacher_time: T, when the teacher of this student stopped, ``inf`` included.

    Returns:
        The time t, to a few ulp.

    Raises:
        ValueError: If an argument is negative or nan, or the eigenvalue infinite.

    Example:
        >>> matched_teacher_time(1.0, student_time=3.0, teacher_time=[1.0, 3.0, np.inf]).round(3)
        array([0.918, 2.332, 3.   ])
    """
    rate = checks.nonnegative("top_eigenvalue", top_eigenvalue)
    student = checks.times("student_time", student_time)
    teacher = checks.times("teacher_time", teacher_time)
    checks.broadcastable(top_eigenvalue=rate, student_time=student, teacher_time=teacher)
    with np.errstate(all="ignore"):
        return matched(rate, np.minimum(student, teacher), np.maximum(student, teacher))


def matched(rate: Array, first: Array, last: Array) -> Array:
    """Time t with phi(rate t) = phi(rate first) phi(rate last), first <= last."""
    product = phi(progress(rate, first)) * phi(progress(rate, last))
    # phi(x) / rate is taken as time * h(x): neither tiny rates nor tiny products lose digits
    slow = first * h(progress(rate, first)) * phi(progress(rate, last)) * log_ratio(product)
    wait = np.where(first == last, 0.0, last - first)
    behind = np.log1p(np.exp(-progress(rate, wait)) * phi(progress(rate, first)))
    fast = first - behind / rate
    time = np.minimum(np.where(product < 0.5, slow, fast), first)  # round-off may lie above
    # nothing is lost against a partner who trained forever
    return np.where((last == np.inf) | (first == 0), first, time)


def log_ratio(z: Array) -> Array:
    """-ln(1 - z) / z for 0 <= z < 1, with its limit 1 at 0."""
    return np.where(z < 1e-20, 1.0, -np.log1p(-z) / z)


@states(
    "flow:matched-time-inverse",
    "A moment t of the teacher's training is matched by a student of the teacher stopped at T if "
    "and only if t < T, and then by exactly one student time.",
    source="Nagarajan 2023, Thm B.1 (i); docs/flow.md, E10",
)
def matched_student_time(
    top_eigenvalue: ArrayLike,
    time: ArrayLike,
    teacher_time: ArrayLike,
    *,
    strict: bool = False,
) -> Array:
    r"""When the student has learned of the top direction what the teacher had at ``time``.

    .. math:: \phi(\lambda_1 \tilde t) = \phi(\lambda_1 t) / \phi(\lambda_1 T)

    The student of a teacher stopped at T reaches the teacher's state at T only in infinite time,
    and no later state at all. At eigenvalue zero the limit is returned: ``inf`` for 0 < t < T.

    Args:
        top_eigenvalue: :math:`\lambda_1 \ge 0`.
        time: t, the moment of the teacher's training.
        teacher_time: T, when the teacher of this student stopped, ``inf`` included.
        strict: Raise where no student matches (t > T), instead of returning nan there.

    Returns:
        The student time, to a few ulp; ``inf`` at t = T, nan at t > T.

    Raises:
        ValueError: If an argument is negative or nan, the eigenvalue infinite, or, with
            ``strict``, a time lies beyond ``teacher_time``.

    Example:
        >>> matched_student_time(1.0, time=[0.0, 0.5, 1.0, 2.0], teacher_time=1.0)
        array([0.   , 0.974,   inf,   nan])
    """
    rate = checks.nonnegative("top_eigenvalue", top_eigenvalue)
    moment = checks.times("time", time)
    stop = checks.times("teacher_time", teacher_time)
    checks.broadcastable(top_eigenvalue=rate, time=moment, teacher_time=stop)
    unmatched = moment > stop
    if strict and unmatched.any():
        worst = float(np.broadcast_to(moment, unmatched.shape)[unmatched].max())
        msg = (
            "time must not lie beyond teacher_time, for no student reaches what its teacher had "
            f"not learned, got time {worst:g} beyond teacher_time"
        )
        raise ValueError(msg)
    with np.errstate(all="ignore"):
        student = _student_time(rate, moment, stop)
    return np.where(unmatched, np.nan, student)


def _student_time(rate: Array, moment: Array, stop: Array) -> Array:
    """Time t + ln(1 + z) / rate with z = phi(rate t) / expm1(rate (T - t))."""
    x, rest = progress(rate, moment), stop - moment
    ahead = progress(rate, rest)
    near = moment * h(x) / (rest * h(-ahead))
    far = phi(x) / np.expm1(ahead)
    # where z is small z / rate is t h(x) / expm1(rate (T - t)), and z itself may underflow
    lift = np.where(ahead < 1e-200, 2.0**600, 1.0)
    small = lift * moment * h(x) / (lift * rate * rest * h(-ahead))
    wait_near = np.where(near < 1e-20, small, np.log1p(near) / rate)
    wait_far = moment * h(x) / np.expm1(ahead) * np.where(far < 1e-20, 1.0, np.log1p(far) / far)
    time = moment + np.where(ahead < 1, wait_near, wait_far)
    time = np.where((moment == stop) | (rate == 0), np.inf, time)
    return np.where((moment == 0) | (stop == np.inf), moment, time)
