r"""Weights and predictions of teacher and student at any time, in closed form.

The teacher descends :math:`\|X b - y\|_F^2 / (2N)` by gradient flow from :math:`b_0` for a time
T; the student then descends the same loss with the teacher's predictions in place of y. Along
the right singular vector :math:`v_i` of X, with :math:`d_i = u_i^\top (y - X b_0)`,

.. math::

    v_i^\top (b(T) - b_0) = A(s_i, T)\, d_i, \qquad
    v_i^\top (\tilde b(t) - b_0) = A(s_i, t)\, \phi(\lambda_i T)\, d_i,
    \qquad A(s, t) = \phi(s^2 t / N) / s

when both start from the same weights. What lies outside the row space of X never moves. An
infinite time gives the pseudo-inverse. (Nagarajan 2023, section 4 and appendix B, corrected.)

A time may be an array: its axes then come first in the answer, and all times share one matrix
product. The answer for T times, p features and K outputs has shape (T, p, K); for y of shape (n,)
the last axis is absent.
"""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.flow.spectrum import Spectrum
from theory.numerics import h, phi, progress
from theory.statements import states


def weight_gain(singular_values: ArrayLike, time: ArrayLike, samples: int = 1) -> Array:
    r"""How far the weight along a direction has come, per unit of label along it.

    .. math:: A(s, t) = \phi(s^2 t / N) / s, \qquad A(0, t) = 0, \qquad A(s, \infty) = 1 / s

    Args:
        singular_values: :math:`s \ge 0`, any shape.
        time: :math:`t \ge 0`, ``inf`` included; broadcasts against ``singular_values``.
        samples: The N of the loss.

    Returns:
        The gains, in the broadcast shape, to a few ulp for every s and t.

    Raises:
        ValueError: If a singular value or a time is negative or nan, or ``samples`` below 1.

    Example:
        >>> weight_gain([2.0, 1e-160, 0.0], [[1.0], [np.inf]])
        array([[4.908e-001, 1.000e-160, 0.000e+000],
               [5.000e-001, 1.000e+160, 0.000e+000]])
    """
    values = checks.nonnegative("singular_values", singular_values)
    times = checks.times("time", time)
    checks.broadcastable(singular_values=values, time=times)
    return _gains(values, times, checks.count("samples", samples, minimum=1))[0]


def _gains(values: Array, times: Array, samples: int) -> tuple[Array, Array]:
    """A(s, t) and x = s^2 t / N."""
    reach = progress(values, times / samples)  # s t / N: s^2 alone may overflow or underflow
    x = progress(reach, values)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        # a slow direction is not divided by its tiny s
        return np.where(x < 1, np.where(x < 1, reach, 0.0) * h(x), phi(x) / values), x


@states(
    "flow:teacher",
    "Gradient flow moves the weights along each right singular vector of X by A(s, t) times the "
    "label left to learn, and nowhere else; X may have any shape and rank.",
    source="Nagarajan 2023, section 4",
)
def teacher_weights(
    spectrum: Spectrum, y: ArrayLike, time: ArrayLike, initial: ArrayLike | None = None
) -> Array:
    r"""Weights of a model trained on the labels until ``time``.

    .. math:: b(t) = b_0 + V \,\mathrm{diag}(A(s, t))\, (U^\top y - \mathrm{diag}(s) V^\top b_0)

    Args:
        spectrum: Spectrum of the data matrix.
        y: Labels, shape (n,) or (n, K).
        time: One time or an array of times, >= 0, ``inf`` included.
        initial: Weights at time 0, shape (p,) or (p, K) as y; zero if None.

    Returns:
        Weights, shape (p,) or (p, K), after the axes of ``time``.

    Raises:
        ValueError: If a shape does not fit, a time is negative, or the spectrum is a kernel's.

    Example:
        >>> spectrum = Spectrum.from_data(np.diag([2.0, 1.0]))
        >>> teacher_weights(spectrum, [2.0, 1.0], [0.0, 0.1, np.inf]).round(3)
        array([[0.   , 0.   ],
               [0.33 , 0.095],
               [1.   , 1.   ]])
    """
    model = _Model(spectrum, y)
    start = model.weights("initial", initial)
    gain, _ = model.gains(checks.times("time", time))
    return model.weights_at(start, [(gain, model.labels - model.outputs_of(start))])


@states(
    "flow:student",
    "A student trained on the predictions of a teacher stopped at T, from the same weights, has "
    "along each direction the displacement of label training times phi(lambda T).",
    source="Nagarajan 2023, eq. 6 corrected",
)
def student_weights(
    spectrum: Spectrum,
    y: ArrayLike,
    teacher_time: ArrayLike,
    student_time: ArrayLike,
    initial: ArrayLike | None = None,
    *,
    teacher_initial: ArrayLike | None = None,
) -> Array:
    r"""Weights of a student trained on the predictions of a teacher that stopped early.

    Args:
        spectrum: Spectrum of the data matrix.
        y: Labels of the teacher, shape (n,) or (n, K).
        teacher_time: When the teacher stopped; broadcasts against ``student_time``.
        student_time: How long the student trained.
        initial: Weights of the student at time 0, shape (p,) or (p, K) as y; zero if None.
        teacher_initial: Weights of the teacher at time 0; those of the student if None.

    Returns:
        Weights, shape (p,) or (p, K), after the broadcast axes of the two times.

    Raises:
        ValueError: If a shape does not fit, a time is negative, or the spectrum is a kernel's.

    Example:
        >>> spectrum = Spectrum.from_data(np.diag([2.0, 1.0]))
        >>> student_weights(spectrum, [2.0, 1.0], teacher_time=1.0, student_time=1.0)
        array([0.964, 0.4  ])
    """
    model = _Model(spectrum, y)
    teacher_times, student_times = _pair(teacher_time, student_time)
    start = model.weights("initial", initial)
    learned = model.learned(teacher_times)
    gain, _ = model.gains(student_times)
    outputs = model.outputs_of(start)
    if teacher_initial is None:
        # phi(lambda T) d keeps its digits where the teacher has hardly moved
        return model.weights_at(start, [(gain * learned, model.labels - outputs)])
    given = model.outputs_of(model.weights("teacher_initial", teacher_initial))
    left_over = _left_over(model.progress(teacher_times))
    parts = [(gain * learned, model.labels), (gain * left_over, given), (gain, -outputs)]
    return model.weights_at(start, parts)


def teacher_predictions(
    spectrum: Spectrum, y: ArrayLike, time: ArrayLike, initial: ArrayLike | None = None
) -> Array:
    r"""Predictions on the training samples of a model trained on the labels until ``time``.

    .. math:: f(t) = U \left[ e^{-\lambda t} U^\top f_0 + \phi(\lambda t)\, U^\top y \right]

    Args:
        spectrum: Spectrum of the data matrix, or of a kernel.
        y: Labels, shape (n,) or (n, K).
        time: One time or an array of times, >= 0, ``inf`` included.
        initial: For data the weights at time 0, shape (p,) or (p, K); for a kernel the
            predictions at time 0, in the shape of y. Zero if None.

    Returns:
        Predictions in the shape of y, after the axes of ``time``.

    Raises:
        ValueError: If a shape does not fit or a time is negative.

    Example:
        >>> spectrum = Spectrum.from_kernel(np.diag([4.0, 1.0]))
        >>> teacher_predictions(spectrum, [1.0, 1.0], [0.1, np.inf]).round(3)
        array([[0.33 , 0.095],
               [1.   , 1.   ]])
    """
    model = _Model(spectrum, y)
    x = model.progress(checks.times("time", time))
    parts = [(phi(x), model.labels)]
    if initial is not None:
        parts.append((_left_over(x), model.initial_outputs("initial", initial)))
    return model.predictions_at(parts)


def student_predictions(
    spectrum: Spectrum,
    y: ArrayLike,
    teacher_time: ArrayLike,
    student_time: ArrayLike,
    initial: ArrayLike | None = None,
    *,
    teacher_initial: ArrayLike | None = None,
) -> Array:
    r"""Predictions on the training samples of a student of a teacher.

    From zero this is the filter :math:`\phi(\lambda T)\, \phi(\lambda t)`: teacher and student
    time are interchangeable.

    Args:
        spectrum: Spectrum of the data matrix, or of a kernel.
        y: Labels of the teacher, shape (n,) or (n, K).
        teacher_time: When the teacher stopped; broadcasts against ``student_time``.
        student_time: How long the student trained.
        initial: For data the weights of the student at time 0, shape (p,) or (p, K); for a
            kernel its predictions at time 0, in the shape of y. Zero if None.
        teacher_initial: The same of the teacher; those of the student if None.

    Returns:
        Predictions in the shape of y, after the broadcast axes of the two times.

    Raises:
        ValueError: If a shape does not fit or a time is negative.

    Example:
        >>> spectrum = Spectrum.from_kernel(np.diag([4.0, 1.0]))
        >>> student_predictions(spectrum, [1.0, 1.0], teacher_time=0.1, student_time=np.inf).round(
        ...     3
        ... )
        array([0.33 , 0.095])
    """
    model = _Model(spectrum, y)
    teacher_times, student_times = _pair(teacher_time, student_time)
    x_teacher, x = model.progress(teacher_times), model.progress(student_times)
    parts = [(phi(x) * phi(x_teacher), model.labels)]
    if initial is not None:
        parts.append((_left_over(x), model.initial_outputs("initial", initial)))
    if teacher_initial is None:
        teacher_initial = initial
    if teacher_initial is not None:
        given = model.initial_outputs("teacher_initial", teacher_initial)
        parts.append((phi(x) * _left_over(x_teacher), given))
    return model.predictions_at(parts)


def eigen_components(spectrum: Spectrum, weights: ArrayLike, *, axis: int | None = None) -> Array:
    r"""Components of weights along the right singular vectors of the data, :math:`V^\top b`.

    Args:
        spectrum: Spectrum of the data matrix.
        weights: Weights, with one axis of length p: (p,), (p, K), or (..., p, K) for many times.
        axis: Which axis runs over the p features. None takes the only one, the first of two, and
            the last but one of more: for weights at T times of one output, (T, p), say -1.

    Returns:
        The components; the axis of features now runs over the directions.

    Raises:
        ValueError: If the axis does not have length p, or the spectrum is a kernel's.

    Example:
        >>> spectrum = Spectrum.from_data(np.diag([1.0, 2.0]))
        >>> abs(eigen_components(spectrum, [3.0, 4.0]))  # the larger singular value comes first
        array([4., 3.])
    """
    directions, _ = spectrum.weight_modes()
    array = checks.real_array("weights", weights)
    if axis is None:
        axis = 0 if array.ndim < 3 else -2
    if not -array.ndim <= axis < array.ndim or array.shape[axis] != len(directions):
        msg = (
            f"weights must have length {len(directions)} (features) along axis {axis}, got shape "
            f"{array.shape}; say which axis runs over the features by axis="
        )
        raise ValueError(msg)
    return np.moveaxis(np.moveaxis(array, axis, -1) @ directions, -1, axis)


def _left_over(x: Array) -> Array:
    with np.errstate(under="ignore"):
        return np.asarray(np.exp(-x))


def _pair(teacher_time: ArrayLike, student_time: ArrayLike) -> tuple[Array, Array]:
    teacher = checks.times("teacher_time", teacher_time)
    student = checks.times("student_time", student_time)
    try:
        np.broadcast_shapes(teacher.shape, student.shape)
    except ValueError:
        msg = (
            "teacher_time and student_time must have shapes that broadcast, got "
            f"{teacher.shape} and {student.shape}"
        )
        raise ValueError(msg) from None
    return teacher, student


class _Model:
    """A spectrum with labels, in modes: arrays are (K, r), so that times stack in one product."""

    def __init__(self, spectrum: Spectrum, y: ArrayLike) -> None:
        self.spectrum = spectrum
        targets = checks.columns("y", y, len(spectrum.left), of="sample")
        self.outputs = targets.shape[1:]
        self.labels = _modes(targets, spectrum.left)

    def _like_labels(self, name: str, value: ArrayLike, rows: int, of: str) -> Array:
        array = checks.columns(name, value, rows, of=of)
        if array.shape[1:] != self.outputs:
            msg = (
                f"{name} must have shape {(rows, *self.outputs)}, as many columns as y, "
                f"got shape {array.shape}"
            )
            raise ValueError(msg)
        return array

    def weights(self, name: str, value: ArrayLike | None) -> Array | None:
        """Checked weights, shape (p, ...), or None for zero."""
        right, _ = self.spectrum.weight_modes()  # refuses a kernel also where nothing is given
        return None if value is None else self._like_labels(name, value, len(right), "feature of X")

    def outputs_of(self, weights: Array | None) -> Array:
        """Predictions s v^T b of weights, in modes."""
        if weights is None:
            return np.zeros(())
        right, values = self.spectrum.weight_modes()
        return values * _modes(weights, right)

    def initial_outputs(self, name: str, value: ArrayLike) -> Array:
        """Predictions at time 0 in modes: of weights for data, given themselves for a kernel."""
        if self.spectrum.right is not None:
            return self.outputs_of(self.weights(name, value))
        left = self.spectrum.left
        return _modes(self._like_labels(name, value, len(left), "sample"), left)

    def progress(self, times: Array) -> Array:
        """Eigenvalue times time, shape (..., r)."""
        if self.spectrum.right is None:
            return progress(self.spectrum.eigenvalues, times[..., None])
        values = self.spectrum.singular_values
        return progress(progress(values, times[..., None] / self.spectrum.samples), values)

    def learned(self, times: Array) -> Array:
        """Learned fraction of every mode, shape (..., r)."""
        return phi(self.progress(times))

    def gains(self, times: Array) -> tuple[Array, Array]:
        """A(s, t) and progress, shape (..., r)."""
        _, values = self.spectrum.weight_modes()
        return _gains(values, times[..., None], self.spectrum.samples)

    def weights_at(self, start: Array | None, parts: list[tuple[Array, Array]]) -> Array:
        """Start + V times the sum of gain * modes, the axes of the times first."""
        moved = self._from_modes(parts, self.spectrum.weight_modes()[0])
        return moved if start is None else np.add(moved, start, out=moved)

    def predictions_at(self, parts: list[tuple[Array, Array]]) -> Array:
        """U times the sum of gain * modes, the axes of the times first."""
        return self._from_modes(parts, self.spectrum.left)

    def _from_modes(self, parts: list[tuple[Array, Array]], basis: Array) -> Array:
        """Sum of gains (..., r) times modes (K, r), out of modes in one matrix product."""
        (gain, modes), *others = parts
        total = gain[..., None, :] * modes
        for gain, modes in others:
            total += gain[..., None, :] * modes
        flat = total.reshape(-1, total.shape[-1]) @ basis.T
        stacked = flat.reshape(*total.shape[:-1], len(basis))
        # outputs go last by a view, not a copy
        return np.moveaxis(stacked, -1, -2) if self.outputs else stacked[..., 0, :]


def _modes(columns: Array, basis: Array) -> Array:
    """Components of columns (rows,) or (rows, K) in an orthonormal basis (rows, r): (K, r)."""
    return columns.reshape(len(columns), -1).T @ basis
