"""Kernel predictions and cross-entropy flow: against joint flows, other solvers, small steps."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from theory.flow.filters import Generations, GradientFlow, Ridge
from theory.flow.logits import (
    cross_entropy,
    cross_entropy_flow,
    descent_step,
    kernel_predictions,
    minimize_cross_entropy,
)
from theory.flow.logits.equation import Dual
from theory.flow.logits.kernels import residual
from theory.flow.spectrum import Spectrum

CLASSES = 3


def joint_kernel(seed, train=6, test=3, rank=4):
    """A positive semi-definite kernel on both sets, singular if rank < train."""
    features = np.random.default_rng(seed).standard_normal((train + test, rank))
    kernel = features @ features.T / rank
    return kernel[:train, :train], kernel[train:, :train]


def problem(seed, *, hard=False, train=6):
    rng = np.random.default_rng(seed)
    if hard:
        targets = np.eye(CLASSES)[rng.integers(0, CLASSES, train)]
    else:
        targets = rng.dirichlet(np.ones(CLASSES), train)
    return targets, rng.standard_normal((train, CLASSES)), rng.standard_normal((3, CLASSES))


@pytest.mark.parametrize("rank", [2, 4, 9])
@pytest.mark.parametrize("outputs", [None, 2])
def test_kernel_predictions_of_the_flow_are_the_joint_flow(rank, outputs):
    kernel, test_kernel = joint_kernel(0, rank=rank)
    shape = (6,) if outputs is None else (6, outputs)
    rng = np.random.default_rng(1)
    labels, initial, test_initial = (
        rng.standard_normal(shape),
        rng.standard_normal(shape),
        rng.standard_normal((3, *shape[1:])),
    )
    time = 1.7
    got, test = kernel_predictions(
        kernel,
        GradientFlow(time),
        labels,
        initial=initial,
        test_kernel=test_kernel,
        test_initial=test_initial,
    )
    # d/dt (f, f_*) = (-K (f - y), -K_* (f - y)) is linear in (f - y, f_* - f_0*)
    system = np.zeros((9, 9))
    system[:6, :6], system[6:, :6] = -kernel, -test_kernel
    state = expm(system * time)
    gap = labels - initial
    np.testing.assert_allclose(got, labels - state[:6, :6] @ gap, atol=1e-12)
    np.testing.assert_allclose(test, test_initial - state[6:, :6] @ gap, atol=1e-12)


def test_a_student_in_a_kernel_is_the_flow_on_its_teacher_outputs():
    kernel, test_kernel = joint_kernel(3)
    labels, initial, test_initial = problem(4)
    inits = {"initial": initial, "test_kernel": test_kernel, "test_initial": test_initial}
    teacher, _ = kernel_predictions(kernel, GradientFlow(2.0), labels, **inits)
    want = kernel_predictions(kernel, GradientFlow(0.7), teacher, **inits)
    got = kernel_predictions(kernel, Generations((2.0, 0.7)), labels, **inits)
    np.testing.assert_allclose(got[0], want[0], atol=1e-13)
    np.testing.assert_allclose(got[1], want[1], atol=1e-13)


@pytest.mark.parametrize("normalize", [False, True])
def test_a_linear_model_is_its_kernel(normalize):
    rng = np.random.default_rng(5)
    data, new, labels = (
        rng.standard_normal((7, 3)),
        rng.standard_normal((4, 3)),
        rng.standard_normal(7),
    )
    scale = 7 if normalize else 1
    spectrum = Spectrum.from_data(data, normalize=normalize)
    got, test = kernel_predictions(spectrum, Ridge(0.4), labels, test_kernel=new @ data.T / scale)
    weights = np.linalg.solve(data.T @ data / scale + 0.4 * np.eye(3), data.T @ labels / scale)
    np.testing.assert_allclose(got, data @ weights, atol=1e-12)
    np.testing.assert_allclose(test, new @ weights, atol=1e-12)
    # interpolation: infinite time on a singular kernel
    _, test = kernel_predictions(
        spectrum, GradientFlow(np.inf), labels, test_kernel=new @ data.T / scale
    )
    np.testing.assert_allclose(test, new @ np.linalg.lstsq(data, labels, rcond=None)[0], atol=1e-12)


FACTORS = [("1", 1.0), ("tau2", 1.0), ("1", 4.0), ("tau2", 4.0)]


@pytest.mark.parametrize(("factor", "temperature"), FACTORS)
def test_cross_entropy_flow_is_the_joint_flow_of_the_logits(factor, temperature):
    kernel, test_kernel = joint_kernel(7)
    targets, initial, test_initial = problem(8)
    times = [0.0, 0.3, 5.0, 40.0]
    flow = cross_entropy_flow(
        kernel,
        targets,
        times,
        initial=initial,
        temperature=temperature,
        factor=factor,
        test_kernel=test_kernel,
        test_initial=test_initial,
    )
    speed = (temperature**2 if factor == "tau2" else 1.0) / temperature

    def velocity(_, flat):
        logits = flat.reshape(9, CLASSES)[:6] / temperature
        p = np.exp(logits - logits.max(1, keepdims=True))
        error = p / p.sum(1, keepdims=True) - targets
        return -speed * np.concatenate([kernel @ error, test_kernel @ error]).ravel()

    begin = np.concatenate([initial, test_initial]).ravel()
    want = solve_ivp(
        velocity, (0, 40.0), begin, method="DOP853", t_eval=times, rtol=1e-11, atol=1e-12
    )
    want = want.y.T.reshape(4, 9, CLASSES)
    assert flow.converged
    np.testing.assert_allclose(flow.outputs, want[:, :6], atol=2e-7)
    np.testing.assert_allclose(flow.test_outputs, want[:, 6:], atol=2e-7)
    assert flow.loss == pytest.approx(
        [cross_entropy(logits, targets, temperature=temperature) for logits in flow.outputs]
    )


def test_cross_entropy_flow_is_the_limit_of_gradient_descent():
    kernel, _ = joint_kernel(9)
    targets, initial, _ = problem(10)
    want = cross_entropy_flow(kernel, targets, [2.0], initial=initial).outputs[0]
    errors = []
    for steps in (200, 400, 800):
        logits = initial.copy()
        for _ in range(steps):
            p = np.exp(logits - logits.max(1, keepdims=True))
            logits -= 2.0 / steps * kernel @ (p / p.sum(1, keepdims=True) - targets)
        errors.append(np.abs(logits - want).max())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, 1.0, atol=0.02)


def test_the_first_order_step_is_the_flow_to_first_order():
    kernel, _ = joint_kernel(9)
    targets, initial, _ = problem(10)
    for factor, temperature in FACTORS:
        keywords = {"temperature": temperature, "factor": factor}
        want = cross_entropy_flow(kernel, targets, [1e-4], initial=initial, **keywords).outputs[0]
        got = descent_step(kernel, initial, targets, 1e-4, **keywords)
        moved = np.abs(want - initial).max()
        assert np.abs(got - want).max() < 2e-3 * moved


@given(st.integers(0, 10**6), st.sampled_from(FACTORS), st.booleans(), st.integers(1, 8))
def test_p61_invariants_of_the_dual(seed, convention, hard, rank):
    factor, temperature = convention
    kernel, _ = joint_kernel(seed, rank=rank)
    targets, initial, _ = problem(seed, hard=hard)
    times = np.concatenate([[0.0], np.geomspace(1e-3, 1e4, 8)])
    flow = cross_entropy_flow(
        kernel, targets, times, initial=initial, temperature=temperature, factor=factor
    )
    assert flow.converged, flow.message
    size = max(1.0, np.abs(flow.dual).max())
    assert np.abs(flow.dual.sum(axis=2)).max() <= 1e-9 * size
    drift = flow.outputs.mean(axis=2) - initial.mean(axis=1)
    assert np.abs(drift).max() <= 1e-9 * size
    assert (np.diff(flow.loss) <= 1e-9).all()


@given(
    st.integers(0, 10**6),
    st.floats(-2, 8).map(lambda e: 10.0**e) | st.just(np.inf),
    st.sampled_from([0.5, 1.0, 4.0]),
    st.booleans(),
)
def test_p61_the_descent_step_never_raises_the_loss(seed, step, temperature, hard):
    kernel, _ = joint_kernel(seed)
    targets, logits, _ = problem(seed, hard=hard)
    spectrum = Spectrum.from_kernel(kernel)
    losses = [cross_entropy(logits, targets, temperature=temperature)]
    for _ in range(20):
        logits = descent_step(spectrum, logits, targets, step, temperature=temperature)
        losses.append(cross_entropy(logits, targets, temperature=temperature))
    assert (np.diff(losses) <= 1e-12).all()


def test_the_jacobian_given_to_the_solver_is_that_of_the_dual():
    kernel, _ = joint_kernel(2)
    targets, initial, _ = problem(3)
    spectrum = Spectrum.from_kernel(kernel)
    dual = Dual.of(spectrum.left[:, :4], spectrum.eigenvalues[:4], initial, targets)
    dual.calls_left = 10**6
    at, step = np.random.default_rng(0).standard_normal(4 * (CLASSES - 1)), 1e-6
    quotients = [
        (dual.velocity(0.0, at + step * e) - dual.velocity(0.0, at - step * e)) / (2 * step)
        for e in np.eye(at.size)
    ]
    np.testing.assert_allclose(dual.jacobian(0.0, at), np.transpose(quotients), atol=1e-8)


def test_round_off_on_null_directions_does_not_grow_with_time():
    kernel, test_kernel = joint_kernel(11, rank=2)
    targets, _, _ = problem(12)
    null = Spectrum.from_kernel(kernel).left[:, -1]
    rough = test_kernel + 1e-9 * null
    got = [cross_entropy_flow(kernel, targets, [1e7], test_kernel=k) for k in (test_kernel, rough)]
    # null directions, along which the residual of the flow never vanishes, are left out of the dual
    assert np.abs(null @ got[0].dual).max() < 1e-14
    np.testing.assert_allclose(got[0].test_outputs, got[1].test_outputs, atol=1e-6)


def test_times_may_come_in_any_order_and_repeat():
    kernel, test_kernel = joint_kernel(11)
    targets, _, _ = problem(12)
    flow = cross_entropy_flow(kernel, targets, [3.0, 0.0, 3.0, 1.0], test_kernel=test_kernel)
    np.testing.assert_array_equal(flow.outputs[0], flow.outputs[2])
    np.testing.assert_array_equal(flow.outputs[1], 0.0)
    ordered = cross_entropy_flow(kernel, targets, [0.0, 1.0, 3.0])
    np.testing.assert_allclose(flow.outputs[[1, 3, 0]], ordered.outputs, atol=1e-9)
    assert flow.test_outputs.shape == (4, 3, CLASSES)
    assert cross_entropy_flow(kernel, targets, [0.0]).converged


def test_solvers_agree_at_long_times():
    kernel, _ = joint_kernel(13, rank=9)
    targets, _, _ = problem(14, hard=True)
    times = [1e2, 1e6]
    one = cross_entropy_flow(kernel, targets, times)
    other = cross_entropy_flow(kernel, targets, times, method="Radau")
    assert one.converged
    assert other.converged
    np.testing.assert_allclose(one.outputs[0], other.outputs[0], atol=1e-6)
    np.testing.assert_allclose(one.outputs[1], other.outputs[1], atol=1e-5)


def test_a_numerical_failure_is_reported_and_does_not_raise():
    kernel, _ = joint_kernel(15)
    targets, _, _ = problem(16, hard=True)
    flow = cross_entropy_flow(1e12 * kernel, targets, [1e300, 1e-14], rtol=1e-13)
    assert not flow.converged
    assert "eigenvalue x time" in flow.message
    assert flow.outputs.shape == (2, 6, CLASSES)
    assert np.isnan(flow.outputs[0]).all()
    assert np.isnan(flow.loss[0])
    assert np.isfinite(flow.outputs[1]).all()


@pytest.mark.parametrize("method", ["RK45", "DOP853", "LSODA", "Radau"])
def test_a_solver_that_needs_too_long_gives_up_and_keeps_what_it_has(method):
    kernel, _ = joint_kernel(15)
    targets, _, _ = problem(16, hard=True)
    flow = cross_entropy_flow(kernel, targets, [0.1, 1e12], method=method, max_calls=200)
    assert not flow.converged
    assert "gave up" in flow.message
    assert np.isfinite(flow.outputs[0]).all()
    assert np.isnan(flow.outputs[1]).all()
    assert np.isnan(flow.dual[1]).all()


def test_a_solver_so_loose_that_the_loss_rises_says_so():
    kernel, _ = joint_kernel(15, rank=9)
    targets, initial, _ = problem(16)
    flow = cross_entropy_flow(
        kernel, targets, np.linspace(0, 200, 40), initial=initial, method="RK23", rtol=1.0, atol=9.0
    )
    assert not flow.converged
    assert "loss rose" in flow.message


@settings(max_examples=40)
@given(
    st.integers(0, 10**6),
    st.floats(-250, 250),
    st.floats(-9, 9),
    st.sampled_from(FACTORS),
    st.booleans(),
)
def test_a_kernel_times_c_is_c_times_as_fast(seed, log_scale, log_time, convention, hard):
    kernel, _ = joint_kernel(seed)
    targets, initial, _ = problem(seed, hard=hard)
    scale, time = 10.0**log_scale, 10.0**log_time
    options = {"initial": initial, "temperature": convention[1], "factor": convention[0]}
    want = cross_entropy_flow(kernel, targets, [time], **options)
    got = cross_entropy_flow(scale * kernel, targets, [time / scale], **options)
    assert got.converged, got.message
    moved = np.abs(want.outputs - initial).max()
    np.testing.assert_allclose(got.outputs, want.outputs, rtol=0, atol=3e-7 * moved + 1e-14)
    size = np.abs(want.dual).max()
    np.testing.assert_allclose(got.dual * scale, want.dual, rtol=0, atol=3e-6 * size)


@pytest.mark.parametrize("exponent", [-300, -100, -12, -5, -4, 0, 6, 12, 16, 20, 100, 300])
@pytest.mark.parametrize("of_kernel", [False, True])
def test_the_flow_of_separate_samples_solves_its_equation_at_any_scale(exponent, of_kernel):
    """Three classes, logits (2/3, -1/3, -1/3) d: exp(d) - 1 + 2 d = 3 t."""
    time = 10.0**exponent
    scale, clock = (time, 1.0) if of_kernel else (1.0, time)
    flow = cross_entropy_flow(scale * np.eye(3), np.eye(3), [clock])
    gap = flow.outputs[0, 0, 0] - flow.outputs[0, 0, 1]
    with mpmath.workdps(40):
        aim = 3 * mpmath.mpf(time)
        root = mpmath.log1p(aim)
        for _ in range(60):  # convex, and from above: Newton's method can not miss
            root -= (mpmath.expm1(root) + 2 * root - aim) / (mpmath.exp(root) + 2)
    assert flow.converged
    assert gap == pytest.approx(float(root), rel=1e-9 if exponent <= -5 else 1e-7)
    np.testing.assert_allclose(flow.outputs[0], scale * flow.dual[0], rtol=1e-12)


@pytest.mark.parametrize("time", [1e10, 1e20, 1e100])
def test_soft_targets_are_reached_and_stay_for_ever(time):
    kernel, _ = joint_kernel(9, rank=3)
    targets, _, _ = problem(10)
    got = cross_entropy_flow(kernel, targets, [1e6, time])
    assert got.converged
    np.testing.assert_allclose(got.outputs[1], got.outputs[0], atol=1e-8)


def test_a_kernel_of_zeros_learns_nothing():
    flow = cross_entropy_flow(
        np.zeros((2, 2)), ROWS, [0.0, 1e300], initial=[[1.0, 2.0], [0.0, 3.0]]
    )
    assert flow.converged
    np.testing.assert_array_equal(flow.outputs, [[[1.0, 2.0], [0.0, 3.0]]] * 2)


def test_the_residual_keeps_the_digits_of_a_fit_that_is_all_but_perfect():
    got = residual(np.array([[80.0, 0.0, 1.0]]), np.array([[1.0, 0.0, 0.0]]))
    small = np.exp([-80.0, -79.0])
    np.testing.assert_allclose(got, [[-small.sum(), *small]], rtol=1e-14)


@given(st.integers(0, 10**6))
def test_the_minimizer_reaches_soft_targets_that_can_be_fitted(seed):
    kernel, test_kernel = joint_kernel(seed, rank=9)
    targets, initial, test_initial = problem(seed)
    targets = 0.7 * targets + 0.3 / CLASSES
    fit = minimize_cross_entropy(
        kernel,
        targets,
        initial=initial,
        test_kernel=test_kernel,
        test_initial=test_initial,
        tolerance=1e-10,
    )
    assert fit.converged, fit.message
    p = np.exp(fit.outputs) / np.exp(fit.outputs).sum(1, keepdims=True)
    np.testing.assert_allclose(p, targets, atol=1e-9)
    np.testing.assert_allclose(fit.outputs, initial + kernel @ fit.dual, atol=1e-8)
    np.testing.assert_allclose(fit.test_outputs, test_initial + test_kernel @ fit.dual, atol=1e-8)
    assert (np.diff(fit.loss) <= 1e-12).all()


def test_the_minimizer_says_when_there_is_no_minimum():
    targets, _, _ = problem(1, hard=True)
    fit = minimize_cross_entropy(np.eye(6), targets, max_steps=50)
    assert not fit.converged
    assert "50 steps" in fit.message
    assert len(fit.loss) == 51
    assert minimize_cross_entropy(np.eye(6), targets, max_steps=0).outputs.shape == (6, CLASSES)


def test_cross_entropy_of_a_perfect_fit_keeps_its_digits():
    with mpmath.workdps(50):
        want = float(mpmath.log1p(2 * mpmath.exp(-80)))
    assert cross_entropy([[80.0, 0.0, 0.0]], [[1.0, 0.0, 0.0]]) == pytest.approx(want, rel=1e-14)
    assert cross_entropy([[1e4, 0.0]], [[0.0, 1.0]]) == 1e4
    got = cross_entropy([[8.0, 0.0]], [[0.5, 0.5]], temperature=4.0)
    assert got == pytest.approx(0.5 * (np.log1p(np.exp(-2)) + np.log1p(np.exp(2))))


EYE = np.eye(2)
ROWS = np.array([[1.0, 0.0], [0.0, 1.0]])


@pytest.mark.parametrize("function", [cross_entropy_flow, minimize_cross_entropy])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kernel": [[1.0, 0.5], [0.0, 1.0]]}, "symmetric"),
        ({"kernel": [[1.0, 2.0], [2.0, 1.0]]}, "positive semi-definite"),
        ({"kernel": np.ones((2, 3))}, "square"),
        ({"targets": [1.0, 0.0]}, "targets must have shape"),
        ({"targets": [[1.0], [1.0]]}, "K >= 2"),
        ({"targets": [[0.7, 0.7], [0.0, 1.0]]}, "sum to 1"),
        ({"targets": [[1.5, -0.5], [0.0, 1.0]]}, "targets must be >= 0"),
        ({"targets": [[np.nan, 0.5], [0.0, 1.0]]}, "targets must be finite"),
        ({"initial": np.zeros(2)}, "initial must have shape"),
        ({"temperature": 0.0}, "temperature must be > 0"),
        ({"temperature": np.inf}, "temperature must be finite"),
        ({"temperature": [1.0, 2.0]}, "temperature must be one number"),
        ({"temperature": 1e-200}, "temperature must be between"),
        ({"kernel": Spectrum.from_data(1e160 * EYE)}, "eigenvalues of the kernel must be finite"),
        ({"test_kernel": np.ones((1, 3))}, "test_kernel must have one column"),
        ({"test_kernel": EYE, "initial": EYE}, "test_initial must be given"),
        ({"test_kernel": EYE, "test_initial": np.zeros((3, 2))}, "test_initial must have shape"),
    ],
)
def test_bad_cross_entropy_problems_are_refused(function, change, says):
    good = {"kernel": EYE, "targets": ROWS}
    if function is cross_entropy_flow:
        good["times"] = [1.0]
    with pytest.raises(ValueError, match=says):
        function(**(good | change))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"times": []}, "times must be a non-empty list"),
        ({"times": 1.0}, "times must be a non-empty list"),
        ({"times": [-1.0]}, "times must be >= 0"),
        ({"times": [np.inf]}, "times must be finite"),
        ({"factor": "tau"}, "factor must be one of"),
        ({"rtol": 0.0}, "rtol must be > 0"),
        ({"method": "Euler"}, "method must be one of"),
        ({"max_calls": 0}, "max_calls must be an integer >= 1"),
    ],
)
def test_bad_flows_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        cross_entropy_flow(**({"kernel": EYE, "targets": ROWS, "times": [1.0]} | change))


@pytest.mark.parametrize(
    "call",
    [
        lambda kernel, test: kernel_predictions(
            kernel, GradientFlow(1.0), [1.0, 2.0], test_kernel=test
        ),
        lambda kernel, test: cross_entropy_flow(kernel, ROWS, [1.0], test_kernel=test),
        lambda kernel, test: minimize_cross_entropy(kernel, ROWS, test_kernel=test),
    ],
)
def test_a_test_kernel_that_sees_null_directions_is_refused(call):
    kernel = np.ones((2, 2))  # null direction (1, -1)
    call(kernel, [[0.5, 0.5]])
    with pytest.raises(ValueError, match="null directions"):
        call(kernel, [[0.5, 0.4]])
    thin = Spectrum.from_data([[1.0], [1.0]])  # the null direction is not even listed
    call(thin, [[0.5, 0.5]])
    with pytest.raises(ValueError, match="null directions"):
        call(thin, [[0.5, 0.4]])


@pytest.mark.parametrize(
    ("arguments", "temperature", "says"),
    [
        (([[1, 2, 3]], [[0.5, 0.5]]), 1.0, r"same rows and classes .* \(1, 3\) and \(1, 2\)"),
        (([1, 2], [0.5, 0.5]), 1.0, r"outputs must have shape \(\.\.\., n, K\)"),
        ((np.zeros((0, 2)), np.zeros((0, 2))), 1.0, "outputs must have shape"),
        (([[1, 2]], [[0.5, 0.5]]), [1, 2], "temperature must be one number"),
        (([[1, 2]], [[0.5, 0.5]]), 0.0, "temperature must be > 0"),
    ],
)
def test_bad_cross_entropies_are_refused(arguments, temperature, says):
    with pytest.raises(ValueError, match=says):
        cross_entropy(*arguments, temperature=temperature)


def test_cross_entropy_at_the_ends_of_the_range():
    assert cross_entropy([[1e308, -1e308]], [[1.0, 0.0]]) == 0.0
    assert cross_entropy([[1e308, 1e308]], [[1.0, 0.0]], temperature=1e-5) == pytest.approx(
        np.log(2)
    )
    assert cross_entropy([[1e300, 0.0]], [[0.0, 1.0]], temperature=1e5) == pytest.approx(1e295)


def test_bad_tolerances_and_filters_are_refused():
    with pytest.raises(ValueError, match="tolerance must be one number"):
        minimize_cross_entropy(EYE, ROWS, tolerance=[1.0, 2.0])
    with pytest.raises(ValueError, match="filter must be a filter"):
        kernel_predictions(EYE, "flow", ROWS)
