"""Who is right where the student departs from its teacher."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import checks
from theory.checks import Array
from theory.labels.confidence.slopes import in_order, paired_confidences, selected
from theory.statements import states
from theory.statistics import Interval, proportion_interval


@dataclass(frozen=True, slots=True)
class Dissection:
    """Share of the samples by who predicts the label: a partition."""

    both: float
    """Both are right."""
    only_student: float
    """The student alone is right."""
    only_teacher: float
    """The teacher alone is right."""
    neither: float
    """Neither is right."""


@states(
    "labels:dissection",
    "Samples where both, only the student, only the teacher or neither is right are a partition; "
    "the accuracies of the two are sums of its parts.",
    source="Nagarajan 2023, figure 14",
)
def dissect(
    teacher_prediction: ArrayLike, student_prediction: ArrayLike, labels: ArrayLike
) -> Dissection:
    """Who is right: both, only the student, only the teacher, neither (shares of all samples).

    The accuracy of the teacher is both + only_teacher, that of the student both + only_student.

    Args:
        teacher_prediction: Class that the teacher prefers, integers of any shape.
        student_prediction: Class that the student prefers, of the same shape.
        labels: True classes, of the same shape.

    Raises:
        ValueError: If the shapes disagree, there are no samples, or what is given are no classes
            (probabilities, say).

    References:
        Nagarajan et al. 2023, figure 14.

    Example:
        >>> dissect([0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0])
        Dissection(both=0.25, only_student=0.25, only_teacher=0.25, neither=0.25)
    """
    a, b = _right(teacher_prediction, student_prediction, labels)
    return _shares(a, b)


@dataclass(frozen=True, slots=True)
class UnderfitDissection:
    """Who is right on the points that the student underfits, beside where they come from."""

    everyone: Dissection
    """Of all samples."""
    unsure: Dissection
    """Of those where the teacher is least sure."""
    underfit: Dissection | None
    """Of those among them where the student is less sure than its teacher; None if none."""
    count: int
    """Number of underfit points."""
    outside: Interval | None
    """Share of the underfit points where at least one of both is wrong; None if none."""
    outside_rest: Interval | None
    """The same of the other points where the teacher is least sure; None if none."""


def dissect_underfit(
    teacher: ArrayLike,
    student: ArrayLike,
    teacher_prediction: ArrayLike,
    student_prediction: ArrayLike,
    labels: ArrayLike,
    *,
    fraction: float = 0.25,
    level: float = 0.95,
) -> UnderfitDissection:
    """Are the points that the student underfits mostly points that one of both gets wrong?

    Underfit are the points with Y < X among the ``fraction`` where the teacher is least sure. Where
    a teacher is unsure it errs more, so that their share is to be read beside that of the other
    points there, ``outside_rest``.

    Args:
        teacher: X, shape ``(n,)``: confidence of the teacher in its predicted class.
        student: Y, shape ``(n,)``: confidence of the student in the same class.
        teacher_prediction: Class that the teacher prefers, shape ``(n,)``.
        student_prediction: Class that the student prefers, shape ``(n,)``.
        labels: True classes, shape ``(n,)``.
        fraction: Share of the points that count as unsure.
        level: Nominal coverage of the (Wilson) intervals.

    Raises:
        ValueError: On unequal shapes, no samples, nan or inf, predictions that are no classes, or
            a fraction outside (0, 1].

    References:
        Nagarajan et al. 2023, appendix C.3 and figure 14.

    Example:
        >>> found = dissect_underfit(
        ...     [0.0, 1.0, 2.0, 3.0],
        ...     [-1.0, 2.0, 1.0, 4.0],
        ...     [0, 0, 0, 0],
        ...     [1, 0, 0, 0],
        ...     [0] * 4,
        ...     fraction=0.5,
        ... )
        >>> found.count, found.outside.estimate, found.outside_rest.estimate
        (1, 1.0, 0.0)
    """
    x, y = paired_confidences(teacher, student)
    a, b = _right(teacher_prediction, student_prediction, labels)
    checks.same_shape(teacher=x, labels=a.astype(np.float64))
    chosen = in_order(x, "bottom")[: selected(x.size, fraction, "bottom")]
    below = chosen[y[chosen] < x[chosen]]
    rest = chosen[y[chosen] >= x[chosen]]
    wrong = ~(a & b)
    return UnderfitDissection(
        _shares(a, b),
        _shares(a[chosen], b[chosen]),
        _shares(a[below], b[below]) if below.size else None,
        int(below.size),
        _share(wrong[below], level),
        _share(wrong[rest], level),
    )


def _right(
    teacher: ArrayLike, student: ArrayLike, labels: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    first = _classes("teacher_prediction", teacher)
    second = _classes("student_prediction", student)
    truth = _classes("labels", labels)
    checks.same_shape(teacher_prediction=first, student_prediction=second, labels=truth)
    if truth.size == 0:
        msg = "labels must hold at least one sample, got none"
        raise ValueError(msg)
    return first == truth, second == truth


def _classes(name: str, value: ArrayLike) -> Array:
    array = checks.nonnegative(name, value)
    bad = array != np.floor(array)
    if bad.any():
        msg = f"{name} must be classes, integers >= 0, got {array[bad][0]:g}"
        raise ValueError(msg)
    return array


def _shares(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> Dissection:
    return Dissection(*(float(part.mean()) for part in (a & b, ~a & b, a & ~b, ~a & ~b)))


def _share(hits: NDArray[np.bool_], level: float) -> Interval | None:
    return proportion_interval(int(hits.sum()), hits.size, level) if hits.size else None
