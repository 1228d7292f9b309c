"""Closed forms against networks trained step by step and against joint differential equations."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from torch import nn

from tests import strategies
from tests.theory.ntk.networks import assert_near, normal, randomized, share
from theory.flow.filters import (
    DistillThenLabels,
    FilterKD,
    Generations,
    GradientDescent,
    GradientFlow,
    LabelsThenDistill,
    MeanTeacher,
    MemoryReplay,
    Mixed,
    Ridge,
    TrajectoryAverage,
)
from theory.flow.logits import cross_entropy_flow, kernel_predictions
from theory.ntk import empirical_ntk, kernel_matrix, linearize
from theory.ntk.linearized.training import KernelFlow, trained_outputs

N, M, K = 6, 4, 3
SCHEMES = [
    GradientFlow(0.7),
    Ridge(0.3),
    Generations((1.0, 2.0)),
    Mixed(1.0, 2.0, 0.3),
    TrajectoryAverage(0.5, 2.0),
    FilterKD(2.0, 0.5, 1.0),
    DistillThenLabels(0.5, 2.0, 1.0),
    LabelsThenDistill(0.5, 2.0, 1.0),
    MemoryReplay(0.5, 2.0, 0.7),
    MeanTeacher(0.5, 1.0, 0.4),
    GradientDescent(0.05, 7),
]


@pytest.fixture(scope="module")
def network():
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, K))
    return randomized(model), normal(N, 4), normal(M, 4, seed=2)


@pytest.fixture(scope="module")
def kernels(network):
    model, x, x_test = network
    return empirical_ntk(model, x), empirical_ntk(model, x_test, x)


@pytest.fixture(scope="module")
def flow(kernels):
    return KernelFlow.of(*kernels)


@pytest.fixture(scope="module")
def start(network):
    model, x, x_test = network
    with torch.no_grad():
        return model(x), model(x_test)


def targets():
    return normal(N, K, seed=5)


def descended(network, step, steps, loss, **options):
    """Training and test outputs of the linearized network after plain descent by an optimizer."""
    model, x, x_test = network
    linearized = linearize(model)
    move = linearized.displacement()
    optimizer = torch.optim.SGD(move.values(), lr=step, **options)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(linearized(x, move)).backward()
        optimizer.step()
    return linearized(x, move).detach(), linearized(x_test, move).detach()


@pytest.mark.parametrize(
    "options", [{}, {"momentum": 0.8}, {"momentum": 0.8, "nesterov": True}], ids=str
)
@pytest.mark.parametrize("steps", [0, 1, 40])
def test_equals_the_linearized_network_trained_by_descent(network, flow, start, options, steps):
    y, step = targets(), 0.4 / flow.eigenvalues[0]
    want = descended(network, step, steps, lambda f: 0.5 * (f - y).square().sum(), **options)
    filter = GradientDescent(step, steps, **options)
    got = flow.trained(filter, y, initial=start[0], test_initial=start[1])
    assert_near(got.train, want[0], 1e-11)
    assert_near(got.test, want[1], 1e-11)


@pytest.mark.parametrize(
    ("loss", "scale"),
    [
        (lambda f, y: 0.5 * (f - y).square().sum(1).mean(), 1 / N),
        (nn.functional.mse_loss, 2 / (N * K)),
    ],
)
def test_scale_is_the_factor_of_the_loss(network, kernels, start, loss, scale):
    y = targets()
    flow = KernelFlow.of(*kernels, scale=scale)
    step = 0.5 / flow.eigenvalues[0]
    want = descended(network, step, 25, lambda f: loss(f, y))
    got = flow.trained(GradientDescent(step, 25), y, initial=start[0], test_initial=start[1])
    assert_near(got.train, want[0], 1e-11)
    assert_near(got.test, want[1], 1e-11)


def joint(velocity, start, time):
    """Training and test outputs by one differential equation of both."""
    split = start[0].numel()

    def right(_, state):
        moved = velocity(state[:split].reshape(start[0].shape))
        return np.concatenate([part.reshape(-1) for part in moved])

    first = np.concatenate([part.numpy().reshape(-1) for part in start])
    end = solve_ivp(right, (0, time), first, method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]
    return end[:split].reshape(start[0].shape), end[split:].reshape(start[1].shape)


def acting(kernels):
    """Products with the training and the test kernel."""
    arrays = [kernel.numpy() for kernel in kernels]
    return lambda v: [np.einsum("nmij,mj->ni", kernel, v) for kernel in arrays]


def test_equals_the_joint_flow(kernels, flow, start):
    y, times = targets(), (0.0, 0.05, 0.5, 3.0)
    later = [GradientFlow(time) for time in times]
    got = flow.trained(later, y, initial=start[0], test_initial=start[1])
    act = acting(kernels)
    for place, time in enumerate(times):
        want = joint(lambda f: act(y.numpy() - f), start, time) if time else start
        np.testing.assert_allclose(got.train[place], want[0], rtol=0, atol=1e-9)
        np.testing.assert_allclose(got.test[place], want[1], rtol=0, atol=1e-9)


def test_students_follow_their_teachers_own_outputs(flow, kernels, start):
    y = targets()
    teacher = flow.trained(GradientFlow(0.8), y, initial=start[0], test_initial=start[1])
    student = flow.trained(
        GradientFlow(0.3), teacher.train, initial=start[0], test_initial=start[1]
    )
    both = flow.trained(
        GradientFlow(0.3) * GradientFlow(0.8), y, initial=start[0], test_initial=start[1]
    )
    assert_near(student.train, both.train)
    assert_near(student.test, both.test)
    act = acting(kernels)
    want = joint(lambda f: act(teacher.train.numpy() - f), start, 0.3)
    np.testing.assert_allclose(student.test, want[1], rtol=0, atol=1e-9)


def test_distilling_then_labels_is_two_flows(flow, start, kernels):
    y = targets()
    scheme = DistillThenLabels(0.4, 1.0, 0.8)
    got = flow.trained(scheme, y, initial=start[0], test_initial=start[1])
    teacher = flow.trained(GradientFlow(0.8), y, initial=start[0], test_initial=start[1])
    act = acting(kernels)
    first = joint(lambda f: act(teacher.train.numpy() - f), start, 0.4)
    middle = tuple(torch.from_numpy(part) for part in first)
    want = joint(lambda f: act(y.numpy() - f), middle, 0.6)
    np.testing.assert_allclose(got.train, want[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(got.test, want[1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("form", ["full", "matrix", "each output"])
def test_all_schemes_as_in_the_theory_of_one_kernel(network, kernels, start, form):
    y = targets()
    if form == "each output":
        model, x, x_test = network
        train, test = (
            empirical_ntk(model, *pair, outputs="trace") / K for pair in ((x,), (x_test, x))
        )
        flow = KernelFlow.of(train, test)
        arrays, fold = (y, *start), lambda v: v
    else:
        train, test = (kernel_matrix(kernel) for kernel in kernels)
        flow = (
            KernelFlow.of(train, test, outputs=K) if form == "matrix" else KernelFlow.of(*kernels)
        )
        arrays = [part.T.reshape(-1) for part in (y, *start)]

        def fold(v):
            return v.reshape(K, -1).T

    got = flow.trained(SCHEMES, y, initial=start[0], test_initial=start[1])
    assert got.train.shape == (len(SCHEMES), N, K)
    assert got.test.shape == (len(SCHEMES), M, K)
    for place, scheme in enumerate(SCHEMES):
        want = kernel_predictions(
            train.numpy(),
            scheme,
            arrays[0].numpy(),
            initial=arrays[1].numpy(),
            test_kernel=test.numpy(),
            test_initial=arrays[2].numpy(),
        )
        np.testing.assert_allclose(got.train[place], fold(want[0]), rtol=0, atol=1e-11)
        np.testing.assert_allclose(got.test[place], fold(want[1]), rtol=0, atol=1e-11)
        alone = flow.trained(scheme, y, initial=start[0], test_initial=start[1])
        assert_near(alone.train, got.train[place], 1e-14)


def test_a_kernel_of_equal_blocks_is_its_mean_over_outputs():
    """Outputs of a linear layer have kernels alike and none between them."""
    model, x, x_test = randomized(nn.Linear(4, K)), normal(N, 4), normal(M, 4, seed=2)
    full = KernelFlow.of(empirical_ntk(model, x), empirical_ntk(model, x_test, x))
    mean = KernelFlow.of(
        empirical_ntk(model, x, outputs="trace") / K,
        empirical_ntk(model, x_test, x, outputs="trace") / K,
    )
    y = targets()
    one, two = (each.trained(SCHEMES, y) for each in (full, mean))
    assert_near(one.train, two.train)
    assert_near(one.test, two.test)


def test_one_output_in_every_shape():
    kernel = normal(N, N) @ normal(N, N).T
    y = normal(N)
    flat = trained_outputs(kernel, GradientFlow(0.2), y, test_kernel=kernel[:2])
    column = trained_outputs(kernel, GradientFlow(0.2), y[:, None], test_kernel=kernel[:2])
    full = trained_outputs(
        kernel[:, :, None, None], GradientFlow(0.2), y, test_kernel=kernel[:2, :, None, None]
    )
    assert flat.train.shape == (N,)
    assert flat.test.shape == (2,)
    assert_near(flat.train, column.train[:, 0])
    assert_near(flat.train, full.train)
    assert_near(flat.test, full.test)
    assert trained_outputs(kernel, [GradientFlow(0.2)], y).train.shape == (1, N)
    assert trained_outputs(kernel, GradientFlow(0.2), y).test is None


@share(2)
@given(kernel=strategies.kernels(), time=strategies.times(infinite=True), seed=st.integers(0, 99))
def test_any_kernel_at_any_time(kernel, time, seed):
    n = len(kernel)
    y = np.random.default_rng(seed).standard_normal((n, 2))
    flow = KernelFlow.of(kernel, kernel)
    got = flow.trained(GradientFlow(time), y)
    want, _ = kernel_predictions(kernel, GradientFlow(time), y)
    scale = np.abs(y).max()
    if time < np.inf:
        np.testing.assert_allclose(got.train, want, rtol=0, atol=1e-11 * (1 + time) * scale)
    assert float(got.train.norm()) <= (1 + 1e-12) * np.linalg.norm(y)
    # training inputs as test inputs have the training outputs
    assert_near(got.test, got.train, 1e-8 * (1 + min(time, 1.0) * flow.eigenvalues[0]), scale)


def test_null_directions_are_not_learned_and_do_not_reach_the_test_set():
    x, x_test = normal(8, 2), normal(3, 2, seed=4)
    y = normal(8, 1)
    flow = KernelFlow.of(x @ x.T, x_test @ x.T)
    assert np.count_nonzero(flow.eigenvalues) == 2
    got = flow.trained([GradientFlow(1e12), GradientFlow(np.inf)], y)
    fit = torch.linalg.lstsq(x, y).solution
    for place in range(2):
        assert_near(got.train[place], x @ fit, 1e-10)
        assert_near(got.test[place], x_test @ fit, 1e-10)


def test_zero_kernel_learns_nothing():
    zero = torch.zeros(3, 3, dtype=torch.float64)
    got = trained_outputs(
        zero, [GradientFlow(1.0), GradientFlow(np.inf)], torch.ones(3), test_kernel=zero
    )
    assert float(got.train.abs().max()) == float(got.test.abs().max()) == 0


def test_single_precision_kernels_keep_small_eigenvalues():
    """At a time that learns what lies five powers of ten below the top."""
    basis = torch.linalg.qr(normal(40, 40))[0]
    kernel = (basis * torch.logspace(0, -5, 40, dtype=torch.float64)) @ basis.T
    y = normal(40, 2, seed=3)
    later = GradientFlow(1e4)
    exact = trained_outputs(kernel, later, y)
    single = trained_outputs(kernel.float(), later, y.float())
    assert single.train.dtype == torch.float64
    assert_near(single.train, exact.train, 2e-3)
    assert float((exact.train - basis[:, :20] @ basis[:, :20].T @ y).abs().max()) > 0.1


def test_round_off_below_zero_is_cut_and_clip_is_a_choice():
    kernel = torch.diag(torch.tensor([1.0, 1e-3, -1e-17], dtype=torch.float64))
    assert KernelFlow.of(kernel).eigenvalues.tolist() == [1.0, 1e-3, 0.0]
    assert KernelFlow.of(kernel, clip=0.01).eigenvalues.tolist() == [1.0, 0.0, 0.0]


def test_components_are_those_along_the_modes(flow, network):
    y = targets()
    modes = torch.from_numpy(np.ascontiguousarray(flow.modes))
    assert_near(flow.components(y), modes.T @ y.T.reshape(-1))
    got = flow.trained(GradientFlow(0.4), y)
    gain = torch.from_numpy(GradientFlow(0.4).gain(flow.eigenvalues))
    assert_near(flow.components(got.train), gain * flow.components(y), 1e-11)


def soft(seed=0):
    return torch.softmax(normal(N, K, seed=seed), 1)


def probabilities(logits, tau):
    shifted = np.exp((logits - logits.max(1, keepdims=True)) / tau)
    return shifted / shifted.sum(1, keepdims=True)


@pytest.mark.parametrize(("tau", "factor"), [(1.0, "1"), (2.0, "1"), (2.0, "tau2")])
@pytest.mark.parametrize("method", [None, "DOP853"])
def test_cross_entropy_in_a_full_kernel_is_the_joint_flow(
    kernels, flow, start, tau, factor, method
):
    q, times = soft(), [2.0, 0.0, 0.3]
    got = flow.cross_entropy(
        q,
        times,
        initial=start[0],
        test_initial=start[1],
        temperature=tau,
        factor=factor,
        method=method,
    )
    act = acting(kernels)
    weight = (tau * tau if factor == "tau2" else 1.0) / tau

    def velocity(z):
        return act(weight * (q.numpy() - probabilities(z, tau)))

    assert got.converged
    for place, time in enumerate(times):
        want = joint(velocity, start, time) if time else start
        np.testing.assert_allclose(got.outputs[place], want[0], rtol=0, atol=1e-7)
        np.testing.assert_allclose(got.test_outputs[place], want[1], rtol=0, atol=1e-7)
        p = probabilities(got.outputs[place], tau)
        assert got.loss[place] == pytest.approx(-(q.numpy() * np.log(p)).sum(1).mean(), rel=1e-9)
        dual = got.dual[place]
        moved = np.einsum("nmij,mj->ni", kernels[0].numpy(), dual) + start[0].numpy()
        np.testing.assert_allclose(moved, got.outputs[place], rtol=0, atol=1e-10)


def test_cross_entropy_is_the_limit_of_descent_on_the_linearized_network(network, kernels, start):
    """The error of small steps is of first order in the step: halves with it."""
    q = soft()
    flow = KernelFlow.of(*kernels, scale=1 / N)
    time = 6.0 / flow.eigenvalues[0]
    want = flow.cross_entropy(q, [time], initial=start[0], test_initial=start[1])
    errors = []
    for steps in (100, 200):
        got = descended(network, time / steps, steps, lambda f: nn.functional.cross_entropy(f, q))
        errors.append(float((got[1] - torch.from_numpy(want.test_outputs[0])).abs().max()))
    assert errors[1] < 5e-3
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.05)


def test_cross_entropy_of_equal_blocks_is_that_of_each_output():
    x, x_test, q = normal(N, 4), normal(M, 4, seed=2), soft()
    model = randomized(nn.Linear(4, K))
    full = KernelFlow.of(empirical_ntk(model, x), empirical_ntk(model, x_test, x))
    single = KernelFlow.of(full_block(model, x), full_block(model, x_test, x))
    times = [0.1, 1.0, 100.0]
    one, two = (flow.cross_entropy(q, times) for flow in (full, single))
    theory = cross_entropy_flow(
        full_block(model, x).numpy(),
        q.numpy(),
        times,
        test_kernel=full_block(model, x_test, x).numpy(),
    )
    for flow in (one, two):
        np.testing.assert_allclose(flow.outputs, theory.outputs, rtol=0, atol=1e-6)
        np.testing.assert_allclose(flow.test_outputs, theory.test_outputs, rtol=0, atol=1e-6)
        np.testing.assert_allclose(flow.loss, theory.loss, rtol=1e-7)


def full_block(model, x1, x2=None):
    return empirical_ntk(model, x1, x2, outputs="trace") / K


def test_cross_entropy_jacobian_is_the_derivative_of_its_velocity(flow):
    from theory.ntk.linearized.dual import FullDual

    modes = np.ascontiguousarray(flow.modes[:, :7])
    problem = FullDual.of(modes, flow.eigenvalues[:7], soft(1).numpy(), soft().numpy())
    problem.calls_left = 100
    at, h = np.linspace(-1, 1, 7), 1e-6
    numeric = [
        (problem.velocity(0, at + h * e) - problem.velocity(0, at - h * e)) / (2 * h)
        for e in np.eye(7)
    ]
    np.testing.assert_allclose(problem.jacobian(0, at), np.transpose(numeric), atol=1e-9)


def test_cross_entropy_goes_far_and_says_where_it_gives_up(flow):
    q = torch.eye(K, dtype=torch.float64)[torch.arange(N) % K]
    long = flow.cross_entropy(q, [1.0, 1e4])
    assert long.converged
    assert long.loss[1] < 1e-3 < long.loss[0]
    short = flow.cross_entropy(q, [1.0, 1e4], max_calls=10)
    assert not short.converged
    assert "gave up" in short.message
    assert np.isnan(short.outputs[1]).all()


def test_cross_entropy_of_a_zero_kernel_stays():
    zero = torch.zeros(2, 2, 2, 2)
    got = KernelFlow.of(zero, zero).cross_entropy(torch.eye(2), [0.0, 5.0])
    assert got.converged
    assert np.all(got.outputs == 0)
    assert np.all(got.test_outputs == 0)


EYE = torch.eye(2)
BAD_KERNELS = {
    "asymmetric": ((torch.tensor([[1.0, 0.5], [0.0, 1.0]]),), {}, "kernel must be symmetric"),
    "negative": ((torch.diag(torch.tensor([1.0, -0.1])),), {}, "positive semi-definite"),
    "rectangular": ((torch.ones(2, 3),), {}, "kernel must be that of the training inputs"),
    "axes": ((torch.ones(2, 2, 2),), {}, "kernel must have shape"),
    "empty": ((torch.ones(0, 0),), {}, "kernel must have shape"),
    "nan": ((EYE * torch.nan,), {}, "kernel must be finite"),
    "test rows": ((EYE, torch.ones(2, 3)), {}, "test_kernel must have test inputs in rows"),
    "test form": ((EYE, torch.ones(2, 2, 1, 1)), {}, "test_kernel must have test inputs in rows"),
    "test null": ((torch.ones(2, 2), torch.tensor([[1.0, -1.0]])), {}, "null directions"),
    "outputs": ((EYE,), {"outputs": 3}, "rows and columns for 3 outputs"),
    "other outputs": ((torch.ones(1, 1, 2, 2),), {"outputs": 3}, "outputs must be the 2 of"),
    "scale": ((EYE,), {"scale": 0.0}, "scale must be > 0"),
    "clip": ((EYE,), {"clip": 2.0}, "clip must be in"),
}


@pytest.mark.parametrize("case", BAD_KERNELS.values(), ids=BAD_KERNELS)
def test_bad_kernels_are_refused(case):
    args, options, message = case
    with pytest.raises(ValueError, match=message):
        KernelFlow.of(*args, **options)


def test_bad_training_is_refused(flow):
    y, filter = targets(), GradientFlow(1.0)
    for bad, message in (
        (lambda: flow.trained([], y), "an empty list"),
        (lambda: flow.trained([filter, 1.0], y), "got float"),
        (lambda: flow.trained(filter, y[:3]), "targets must have shape"),
        (lambda: flow.trained(filter, y[:, :2]), "one column for each output of the kernel"),
        (lambda: flow.trained(filter, y[:, 0]), "one column for each output of the kernel"),
        (lambda: flow.trained(filter, y, initial=y[:2]), "initial must have shape"),
        (lambda: flow.trained(filter, y, initial=y), "test_initial must be given"),
        (lambda: flow.trained(filter, y, initial=y, test_initial=y), "test_initial must have"),
        (lambda: flow.trained(GradientDescent(1e3, 2), y), "diverges"),
        (lambda: KernelFlow.of(EYE).trained(filter, EYE, test_initial=EYE), "with a test kernel"),
        (lambda: flow.cross_entropy(y, [1.0]), "targets must be"),
        (lambda: flow.cross_entropy(soft()[:, :2] / soft()[:, :2].sum(1, True), [1.0]), "column"),
        (lambda: flow.cross_entropy(soft(), []), "times must be"),
        (lambda: flow.cross_entropy(soft(), [1.0], method="Euler"), "method must be"),
        (lambda: flow.cross_entropy(soft(), [1.0], initial=y), "test_initial must be given"),
    ):
        with pytest.raises(ValueError, match=message):
            bad()
