"""Teacher and student in closed form against integrated flows, and their symmetries."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests import reference, strategies
from theory.flow.spectrum import Spectrum
from theory.flow.weights import (
    eigen_components,
    student_predictions,
    student_weights,
    teacher_predictions,
    teacher_weights,
    weight_gain,
)
from theory.numerics import phi

EPS = np.finfo(float).eps


def _size(*arrays):
    """Scale of the round-off in sums of these arrays."""
    return 1.0 + sum(float(np.abs(array).max(initial=0.0)) for array in arrays)


def _close(got, want, atol):
    np.testing.assert_allclose(got, want, rtol=0, atol=atol)


@given(
    s=strategies.powers_of_ten(-160, 160),
    t=strategies.powers_of_ten(-300, 300),
    samples=st.integers(1, 10**6),
)
@example(s=1e-160, t=1e300, samples=1)
@example(s=1e-160, t=1e160, samples=7)
@example(s=1e160, t=1e-300, samples=7)
def test_weight_gain_has_full_relative_accuracy(s, t, samples):
    got = weight_gain(s, t, samples)
    with mp.workdps(1000):
        want = reference.mp_weight_gain(s, t, samples)
        if want > 1e-290:
            assert reference.relative_error(got, want) <= 5 * EPS


@given(s=strategies.extremes(), t=strategies.extremes(infinite=True))
def test_p63_weight_gain_of_extreme_inputs(s, t):
    """Finite but for 1 / s that overflows, and between 0 and 1 / s."""
    gain = weight_gain(s, t)
    assert gain >= 0
    if s == 0 or t == 0:
        assert gain == 0
    else:
        assert gain <= (1 / s) * (1 + 2 * EPS)
        assert np.isfinite(gain)
    if s > 0 and t == np.inf:
        assert gain == 1 / s


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((-1.0, 1.0), "singular_values"), ((1.0, -1.0), "time"), ((1.0, 1.0, 0), "samples")],
)
def test_weight_gain_refuses_bad_input_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        weight_gain(*arguments)


@pytest.mark.theorem("flow:teacher")
@given(problem=strategies.problems(), time=st.floats(0.01, 20.0), normalize=st.booleans())
def test_teacher_follows_the_flow(problem, time, normalize):
    spectrum = Spectrum.from_data(problem.X, normalize=normalize)
    got = teacher_weights(spectrum, problem.y, time, problem.initial)
    samples = len(problem.X) if normalize else 1
    want = reference.flow_by_expm(problem.X, problem.y, time, problem.initial, samples)
    _close(got, want, atol=1e-11 * _size(want, problem.initial))


@pytest.mark.theorem("flow:student")
@given(problem=strategies.problems(), times=st.tuples(*[st.floats(0.01, 20.0)] * 2))
def test_student_follows_the_flow_on_the_predictions_of_the_teacher(problem, times):
    X, y, initial = problem.X, problem.y, problem.initial
    spectrum = Spectrum.from_data(X)
    got = student_weights(spectrum, y, *times, initial)
    teacher = reference.flow_by_expm(X, y, times[0], initial)
    want = reference.flow_by_expm(X, X @ teacher, times[1], initial)
    _close(got, want, atol=1e-11 * _size(want, initial))


@given(problem=strategies.problems(), times=st.tuples(*[st.floats(0.01, 20.0)] * 2))
def test_student_of_a_teacher_that_started_elsewhere(problem, times):
    X, y, initial = problem.X, problem.y, problem.initial
    elsewhere = 1.0 - 2.0 * initial
    spectrum = Spectrum.from_data(X)
    teacher = reference.flow_by_expm(X, y, times[0], elsewhere)
    want = reference.flow_by_expm(X, X @ teacher, times[1], initial)
    start = initial if initial.any() else None
    got = student_weights(spectrum, y, *times, start, teacher_initial=elsewhere)
    _close(got, want, atol=1e-11 * _size(want, initial, elsewhere))
    outputs = student_predictions(spectrum, y, *times, start, teacher_initial=elsewhere)
    _close(outputs, X @ want, atol=1e-11 * _size(want, initial, elsewhere))


SHAPES = {"wide": (3, 7), "tall": (7, 3), "square": (4, 4), "one sample": (1, 5)}


@pytest.mark.parametrize("samples", [1, 5])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_teacher_and_student_against_an_integrator(shape, samples):
    rng = np.random.default_rng(3)
    values = np.linspace(2.0, 0.0, min(shape)) if min(shape) > 1 else np.ones(1)
    X = strategies.from_spectrum(rng, values, *shape)
    y, initial = rng.standard_normal((shape[0], 2)), rng.standard_normal((shape[1], 2))
    spectrum = Spectrum.from_data(X)
    teacher = reference.flow_by_ode(X, y, 1.5 * samples, initial, samples)
    student = reference.flow_by_ode(X, X @ teacher, 0.7 * samples, initial, samples)
    _close(teacher_weights(spectrum, y, 1.5, initial), teacher, atol=1e-9)
    _close(student_weights(spectrum, y, 1.5, 0.7, initial), student, atol=1e-9)


def test_gradient_descent_converges_to_the_flow_at_first_order():
    rng = np.random.default_rng(0)
    X = strategies.from_spectrum(rng, np.array([1.0, 0.7, 0.2, 0.0]), 4, 6)
    y, initial = rng.standard_normal(4), rng.standard_normal(6)
    spectrum = Spectrum.from_data(X)
    steps = np.array([100, 200, 400, 800])
    want = student_weights(spectrum, y, 2.0, 1.0, initial)
    errors = []
    for count in steps:
        size = 1.0 / count
        teacher = reference.gradient_descent(X, y, size, 2 * count, initial)
        student = reference.gradient_descent(X, X @ teacher, size, count, initial)
        errors.append(np.abs(student - want).max())
    assert abs(reference.slope(np.log(1.0 / steps), np.log(errors)) - 1) < 0.05


@given(problem=strategies.problems(), time=strategies.times(infinite=True))
def test_p04_predictions_are_the_data_times_the_weights(problem, time):
    spectrum = Spectrum.from_data(problem.X)
    weights = teacher_weights(spectrum, problem.y, time, problem.initial)
    got = teacher_predictions(spectrum, problem.y, time, problem.initial)
    _close(got, problem.X @ weights, atol=1e-13 * _size(problem.y, problem.initial))
    if not problem.initial.any():
        gain = phi(np.where(spectrum.eigenvalues > 0, spectrum.eigenvalues * min(time, 1e300), 0))
        filtered = spectrum.left @ (gain * (spectrum.left.T @ problem.y).T).T
        _close(got, filtered, atol=1e-13)


@given(problem=strategies.problems(low=-8.0, high=2.0), time=strategies.times(infinite=True))
def test_predictions_of_ill_conditioned_data(problem, time):
    """Weights along tiny singular values are huge; predictions do not suffer from them."""
    spectrum = Spectrum.from_data(problem.X)
    weights = teacher_weights(spectrum, problem.y, time)
    got = teacher_predictions(spectrum, problem.y, time)
    scale = _size(problem.X) * _size(weights)
    _close(got, problem.X @ weights, atol=1e-14 * scale)
    assert np.linalg.norm(got) <= np.linalg.norm(problem.y) * (1 + 1e-14)


@given(
    problem=strategies.problems(from_zero=True),
    times=st.tuples(*[strategies.times(infinite=True)] * 2),
)
def test_p05_teacher_and_student_time_are_interchangeable(problem, times):
    spectrum = Spectrum.from_data(problem.X)
    got = student_predictions(spectrum, problem.y, *times)
    _close(got, student_predictions(spectrum, problem.y, *times[::-1]), atol=1e-13)
    weights = student_weights(spectrum, problem.y, *times)
    _close(problem.X @ weights, got, atol=1e-13 * _size(weights))


@given(problem=strategies.problems(), time=strategies.times(infinite=True))
def test_predictions_in_a_kernel_are_those_of_the_data(problem, time):
    X, y, initial = problem.X, problem.y, problem.initial
    data, kernel = Spectrum.from_data(X), Spectrum.from_kernel(X @ X.T)
    outputs = X @ initial
    _close(
        teacher_predictions(kernel, y, time, outputs),
        teacher_predictions(data, y, time, initial),
        atol=1e-10 * _size(y, outputs),
    )
    _close(
        student_predictions(kernel, y, 1.0, time, outputs),
        student_predictions(data, y, 1.0, time, initial),
        atol=1e-10 * _size(y, outputs),
    )


def test_initial_predictions_outside_the_range_of_a_kernel_stay():
    spectrum = Spectrum.from_kernel(np.diag([1.0, 0.0]))
    got = teacher_predictions(spectrum, [1.0, 1.0], np.inf, [5.0, 5.0])
    _close(got, [1.0, 5.0], atol=0)
    got = student_predictions(spectrum, [1.0, 1.0], np.inf, np.inf, [5.0, 5.0])
    _close(got, [1.0, 5.0], atol=0)


def test_large_initial_predictions_leave_no_trace_at_infinity():
    spectrum = Spectrum.from_kernel(np.eye(1))
    assert teacher_predictions(spectrum, [1.0], np.inf, [1e20])[0] == 1.0
    assert student_predictions(spectrum, [1.0], np.inf, np.inf, [1e20])[0] == 1.0


@given(problem=strategies.problems(), time=strategies.times(), rng=strategies.generators())
def test_p06_rotations(problem, time, rng):
    X, y = problem.X, problem.y
    rotated = strategies.orthonormal(rng, len(X), len(X))
    turned = strategies.orthonormal(rng, X.shape[1], X.shape[1])
    want = teacher_weights(Spectrum.from_data(X), y, time)
    got = teacher_weights(Spectrum.from_data(rotated @ X), rotated @ y, time)
    _close(got, want, atol=1e-12 * _size(want))
    got = teacher_weights(Spectrum.from_data(X @ turned), y, time)
    _close(got, turned.T @ want, atol=1e-12 * _size(want))


@given(
    problem=strategies.problems(), time=strategies.times(), scale=strategies.powers_of_ten(-2, 2)
)
def test_p07_scale(problem, time, scale):
    got = teacher_weights(Spectrum.from_data(scale * problem.X), problem.y, time)
    want = teacher_weights(Spectrum.from_data(problem.X), problem.y, scale**2 * time) / scale
    _close(got, want, atol=1e-12 * _size(want))


@given(problem=strategies.problems(from_zero=True), times=st.tuples(*[strategies.times()] * 2))
def test_p08_linear_in_the_labels(problem, times):
    spectrum = Spectrum.from_data(problem.X)
    other = np.cos(np.arange(problem.y.size)).reshape(problem.y.shape)
    for train in (
        lambda y: teacher_weights(spectrum, y, times[0]),
        lambda y: student_weights(spectrum, y, *times),
    ):
        parts = 2.0 * train(problem.y) - 3.0 * train(other)
        whole = train(2.0 * problem.y - 3.0 * other)
        _close(whole, parts, atol=1e-12 * _size(parts))


@given(problem=strategies.problems(from_zero=False), time=strategies.times(infinite=True))
def test_p09_nothing_moves_outside_the_row_space(problem, time):
    X, initial = problem.X, problem.initial
    spectrum = Spectrum.from_data(X)
    rows = spectrum.right[:, spectrum.singular_values > 0]
    for weights in (
        teacher_weights(spectrum, problem.y, time, initial),
        student_weights(spectrum, problem.y, 1.0, time, initial),
    ):
        moved = weights - initial
        outside = moved - rows @ (rows.T @ moved)
        assert np.linalg.norm(outside) <= 1e-13 * (
            np.linalg.norm(initial) + np.linalg.norm(weights)
        )


@given(problem=strategies.problems(), time=strategies.times(infinite=True))
def test_p10_a_mean_loss_is_slower_by_the_number_of_samples(problem, time):
    n = len(problem.X)
    total, mean = Spectrum.from_data(problem.X), Spectrum.from_data(problem.X, normalize=True)
    want = teacher_weights(total, problem.y, time / n, problem.initial)
    got = teacher_weights(mean, problem.y, time, problem.initial)
    _close(got, want, atol=1e-15 * _size(want))


@given(problem=strategies.problems())
def test_p11_infinite_time_is_the_pseudo_inverse(problem):
    X, y, initial = problem.X, problem.y, problem.initial
    spectrum = Spectrum.from_data(X)
    inverse = np.linalg.pinv(X, rcond=1e-12)
    want = inverse @ y
    _close(teacher_weights(spectrum, y, np.inf), want, atol=1e-12 * _size(want))
    _close(student_weights(spectrum, y, np.inf, np.inf), want, atol=1e-12 * _size(want))
    want = initial + inverse @ (y - X @ initial)
    got = teacher_weights(spectrum, y, np.inf, initial)
    _close(got, want, atol=1e-12 * _size(want, initial))


@pytest.mark.theorem("flow:student")
@given(
    problem=strategies.problems(from_zero=False),
    times=st.tuples(*[strategies.times(infinite=True)] * 2),
)
def test_p12_displacement_of_the_student_is_filtered_twice(problem, times):
    X, y, initial = problem.X, problem.y, problem.initial
    spectrum = Spectrum.from_data(X)
    teacher_time, student_time = times
    moved = student_weights(spectrum, y, teacher_time, student_time, initial) - initial
    gain = weight_gain(spectrum.singular_values, student_time)
    learned = spectrum.singular_values * weight_gain(spectrum.singular_values, teacher_time)
    residual = spectrum.left.T @ (y - X @ initial)
    want = ((gain * learned) * residual.T).T
    _close(eigen_components(spectrum, moved), want, atol=1e-12 * _size(initial, want))


def test_time_zero_returns_the_initial_weights_exactly():
    rng = np.random.default_rng(0)
    spectrum = Spectrum.from_data(rng.standard_normal((4, 6)))
    y, initial = rng.standard_normal((4, 2)), rng.standard_normal((6, 2))
    np.testing.assert_array_equal(teacher_weights(spectrum, y, 0.0, initial), initial)
    np.testing.assert_array_equal(student_weights(spectrum, y, 0.0, np.inf, initial), initial)
    np.testing.assert_array_equal(student_weights(spectrum, y, 3.0, 0.0, initial), initial)


@pytest.mark.parametrize("scale", [1e-160, 1e160])
def test_weights_of_data_whose_squares_leave_the_range(scale):
    """P07 where the eigenvalues underflow or overflow: the singular values carry the answer."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((4, 3)), rng.standard_normal(4)
    near, far = Spectrum.from_data(X), Spectrum.from_data(scale * X)
    want = teacher_weights(near, y, np.inf)
    np.testing.assert_allclose(teacher_weights(far, y, np.inf) * scale, want, rtol=1e-12)
    time = 1e300 if scale < 1 else 1e-300  # scale^2 time is 1e-20 or 1e20
    want = teacher_weights(near, y, 1e-20 if scale < 1 else 1e20)
    np.testing.assert_allclose(teacher_weights(far, y, time) * scale, want, rtol=1e-12)


@pytest.mark.parametrize("outputs", [(), (1,), (3,)])
@pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
def test_many_times_are_the_single_times_stacked(shape, outputs):
    rng = np.random.default_rng(1)
    spectrum = Spectrum.from_data(rng.standard_normal(shape))
    y, initial = (
        rng.standard_normal((shape[0], *outputs)),
        rng.standard_normal((shape[1], *outputs)),
    )
    grid = np.array([0.0, 0.1, 1.0, np.inf])
    for many, one in (
        (
            teacher_weights(spectrum, y, grid, initial),
            lambda t: teacher_weights(spectrum, y, t, initial),
        ),
        (teacher_predictions(spectrum, y, grid), lambda t: teacher_predictions(spectrum, y, t)),
        (
            student_weights(spectrum, y, 2.0, grid, initial),
            lambda t: student_weights(spectrum, y, 2.0, t, initial),
        ),
        (
            student_predictions(spectrum, y, grid, 2.0, initial),
            lambda t: student_predictions(spectrum, y, t, 2.0, initial),
        ),
    ):
        want = np.stack([one(time) for time in grid])
        assert many.shape == want.shape
        _close(many, want, atol=1e-14)


def test_teacher_and_student_times_broadcast():
    rng = np.random.default_rng(1)
    spectrum = Spectrum.from_data(rng.standard_normal((3, 5)))
    y = rng.standard_normal((3, 2))
    grid = np.array([0.5, 1.0, 2.0])
    got = student_weights(spectrum, y, grid[:, None], grid)
    assert got.shape == (3, 3, 5, 2)
    _close(got[2, 0], student_weights(spectrum, y, 2.0, 0.5), atol=1e-15)
    with pytest.raises(ValueError, match=r"teacher_time and student_time.*broadcast"):
        student_weights(spectrum, y, [1.0, 2.0], [1.0, 2.0, 3.0])


def test_components_along_any_axis():
    rng = np.random.default_rng(1)
    spectrum = Spectrum.from_data(rng.standard_normal((3, 5)))
    weights = rng.standard_normal((4, 5, 2))
    got = eigen_components(spectrum, weights)
    want = np.stack([spectrum.right.T @ one for one in weights])
    _close(got, want, atol=1e-15)
    _close(eigen_components(spectrum, weights[..., 0], axis=-1), want[..., 0], atol=1e-15)
    _close(eigen_components(spectrum, weights[0, :, 0]), want[0, :, 0], atol=1e-15)
    with pytest.raises(ValueError, match=r"length 5 .* along axis 0, got shape \(4, 5\)"):
        eigen_components(spectrum, weights[..., 0])
    with pytest.raises(ValueError, match="along axis 3"):
        eigen_components(spectrum, weights, axis=3)


def test_labels_of_any_type_and_layout():
    spectrum = Spectrum.from_data(np.random.default_rng(0).standard_normal((4, 3)))
    y = np.array([[1, 2], [3, 4], [5, 6], [7, 9]])
    want = teacher_weights(spectrum, y.astype(float), 1.0)
    for given_as in (
        y,
        y.tolist(),
        y.astype(np.float32),
        np.asfortranarray(y),
        np.repeat(y, 2, 0)[::2],
    ):
        np.testing.assert_array_equal(teacher_weights(spectrum, given_as, 1.0), want)


def _bad_calls():
    spectrum = Spectrum.from_data(np.eye(3, 4))
    kernel = Spectrum.from_kernel(np.eye(3))
    y, two = np.ones(3), np.ones((3, 2))
    return {
        "short y": (r"^y must have shape \(3,\)", lambda: teacher_weights(spectrum, y[:2], 1.0)),
        "nan in y": ("^y must be finite", lambda: teacher_weights(spectrum, y * np.nan, 1.0)),
        "negative time": ("^time must be >= 0", lambda: teacher_weights(spectrum, y, -1.0)),
        "nan time": ("^time must .*nan", lambda: teacher_predictions(spectrum, y, np.nan)),
        "student time": ("^student_time", lambda: student_weights(spectrum, y, 1.0, -1.0)),
        "teacher time": ("^teacher_time", lambda: student_predictions(spectrum, y, -1.0, 1.0)),
        "initial rows": ("^initial must", lambda: teacher_weights(spectrum, y, 1.0, np.ones(3))),
        "initial columns": (
            r"^initial must have shape \(4, 2\)",
            lambda: teacher_weights(spectrum, two, 1.0, np.ones(4)),
        ),
        "teacher_initial": (
            "^teacher_initial must",
            lambda: student_weights(spectrum, y, 1.0, 1.0, teacher_initial=np.ones(3)),
        ),
        "kernel weights": (
            "^spectrum must come from data",
            lambda: teacher_weights(kernel, y, 1.0),
        ),
        "kernel student": ("^spectrum must", lambda: student_weights(kernel, y, 1.0, 1.0)),
        "kernel components": ("^spectrum must", lambda: eigen_components(kernel, y)),
        "kernel initial": (
            r"^initial must have shape \(3,\)",
            lambda: teacher_predictions(kernel, y, 1.0, np.ones(4)),
        ),
    }


@pytest.mark.parametrize(("message", "call"), _bad_calls().values(), ids=_bad_calls())
def test_bad_input_is_refused_by_name(message, call):
    with pytest.raises(ValueError, match=message):
        call()
