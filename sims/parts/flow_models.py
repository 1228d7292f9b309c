"""A teacher and its student, linear in features: by formula, by integration, by descent.

Three ways to train the same two models, of which only the first knows the theory. Progress is the
eigenvalue of the top direction times the time of the flow.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.flow.exaggeration import matched_teacher_time
from theory.flow.spectrum import Spectrum
from theory.flow.weights import eigen_components, student_weights, teacher_weights

Array = NDArray[np.float64]

GRID = 121  # moments at which curves of the closed form are drawn
MOST = 20_000  # evaluations of a flow, some ten times as many as the longest one takes
MARKS = 13  # moments at which measured curves are shown


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """Features, targets and initial weights, and the directions that are measured."""

    X: Array
    y: Array
    initial: Array
    spectrum: Spectrum
    measured: NDArray[np.intp]
    """Directions that are fast enough and along which there is something to learn."""

    @property
    def eigenvalues(self) -> Array:
        """Those of the measured directions, the top one first."""
        return self.spectrum.eigenvalues[self.measured]

    @property
    def unit(self) -> float:
        """Time of the flow in which the top direction makes progress 1."""
        return 1.0 / float(self.spectrum.eigenvalues[0])

    def moved(self, weights: Array) -> Array:
        """Distance moved along each direction, over all outputs: (..., p, K) to (..., kept)."""
        components = eigen_components(self.spectrum, weights - self.initial, axis=-2)
        distance: Array = np.linalg.norm(components[..., self.measured, :], axis=-1)
        return distance

    def downhill(self, weights: Array, targets: Array) -> Array:
        """Minus the gradient of half the mean squared loss, per unit of progress."""
        step: Array = self.X.T @ (targets - self.X @ weights) * (self.unit / len(self.X))
        return step


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """How far a model had moved at some moments of its training."""

    progress: Array
    """Shape (T,)."""
    moved: Array
    """Shape (T, directions)."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A teacher and its student, and the teacher when the student's top component was its own."""

    teacher: Course
    student: Course
    matched: Array
    """Shape (directions,)."""

    @property
    def ratio(self) -> Array:
        """Student over teacher at matched progress along the top direction."""
        ratio: Array = self.student.moved[-1] / self.matched
        return ratio


def closed(task: Task, teacher: ArrayLike, student: ArrayLike | None = None) -> Array:
    """Weights at some progress: of a teacher, or of the student of a teacher stopped there."""
    stop = np.asarray(teacher) * task.unit
    if student is None:
        return teacher_weights(task.spectrum, task.y, stop, task.initial)
    time = np.asarray(student) * task.unit
    return student_weights(task.spectrum, task.y, stop, time, task.initial)


def by_formula(task: Task, stop: float, end: float) -> Pair:
    """Teacher until ``stop`` and student until ``end`` by the closed form, on a fine grid."""
    grid = np.linspace(0.0, 1.0, GRID)
    return Pair(
        Course(stop * grid, task.moved(closed(task, stop * grid))),
        Course(end * grid, task.moved(closed(task, stop, end * grid))),
        task.moved(closed(task, matched_teacher_time(1.0, end, stop))),
    )


def by_integration(task: Task, stop: float, end: float) -> Pair:
    """Teacher and student by integrating the flow of their losses; nothing of the theory."""
    from scipy.optimize import brentq

    shape = task.initial.shape
    learn = _integrate(task, task.y, stop)
    follow = _integrate(task, task.X @ learn(stop).reshape(shape), end)

    def course(solution: Callable[[float], Array], last: float) -> Course:
        marks = np.linspace(0.0, last, MARKS)
        return Course(marks, np.array([task.moved(solution(t).reshape(shape)) for t in marks]))

    teacher, student = course(learn, stop), course(follow, end)
    goal = student.moved[-1, 0]

    def lead(moment: float) -> float:
        return float(task.moved(learn(moment).reshape(shape))[0] / goal - 1.0)

    # the student is always behind, but two saturated directions may agree to rounding
    moment = brentq(lead, 0.0, stop, xtol=1e-13) if lead(stop) > 0 else stop
    return Pair(teacher, student, task.moved(learn(moment).reshape(shape)))


def _integrate(task: Task, targets: Array, end: float) -> Callable[[float], Array]:
    """Weights as a function of progress."""
    from scipy.integrate import solve_ivp

    shape = task.initial.shape
    scale = float(np.abs(task.downhill(task.initial, targets)).max())
    left = MOST

    def flow(_: float, weights: Array) -> Array:
        nonlocal left
        left -= 1
        if left < 0:
            msg = (
                f"the flow could not be integrated to eleven digits in {MOST} evaluations: X or y "
                "may be known to fewer digits than what is to be learned"
            )
            raise ValueError(msg)
        return task.downhill(weights.reshape(shape), targets).ravel()

    solution = solve_ivp(
        flow,
        (0.0, end),
        task.initial.ravel(),
        method="DOP853",
        rtol=1e-11,
        atol=1e-14 * scale,
        dense_output=True,
    )
    if not solution.success:
        msg = f"the flow could not be integrated: {solution.message}"
        raise RuntimeError(msg)
    found: Callable[[float], Array] = solution.sol
    return found


def by_descent(task: Task, size: float, steps: tuple[int, int]) -> Pair:
    """Teacher and student by so many steps of gradient descent, each of progress ``size``."""
    from scipy.interpolate import CubicSpline

    teacher, weights = descend(task, task.y, size, steps[0])
    student, _ = descend(task, task.X @ weights, size, steps[1])
    # a whole number of steps matches only nearly: between steps a curve through all of them
    clock, goal = teacher.moved[:, 0], student.moved[-1, 0]
    matched: Array = CubicSpline(clock, teacher.moved, axis=0)(goal)
    return Pair(_thinned(teacher), _thinned(student), matched)


def descend(
    task: Task, targets: Array, size: float, steps: int, *, looks: int = 200
) -> tuple[Course, Array]:
    """Where gradient descent is at about ``looks`` of its steps, and its last weights."""
    weights = task.initial
    stride = max(1, steps // looks)
    told, moved = [0], [task.moved(weights)]
    for step in range(1, steps + 1):
        weights = weights + size * task.downhill(weights, targets)
        if step % stride == 0 or step == steps:
            told.append(step)
            moved.append(task.moved(weights))
    return Course(size * np.array(told), np.array(moved)), weights


def _thinned(path: Course) -> Course:
    chosen = np.unique(np.linspace(0, len(path.progress) - 1, MARKS).round().astype(int))
    return Course(path.progress[chosen], path.moved[chosen])
