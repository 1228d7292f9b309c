"""Gradient flow: the integral of A K r against Runge-Kutta on the weights; the two rules."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import generators
from tests.theory.labels.dynamics.cases import MLP, slope
from theory.labels import dynamics as d


def runge_kutta(gradient, w, times):
    """Weights along dw/dt = -gradient(w)."""
    path = [w]
    for h in np.diff(times):
        one = -gradient(w)
        two = -gradient(w + h / 2 * one)
        three = -gradient(w + h / 2 * two)
        four = -gradient(w + h * three)
        w = w + h / 6 * (one + 2 * two + 2 * three + four)
        path.append(w)
    return path


@pytest.mark.theorem("labels:flow-identity")
def test_the_displacement_is_the_integral_of_jacobian_kernel_residual():
    rng = np.random.default_rng(0)
    x = torch.as_tensor(rng.standard_normal((5, MLP.inputs)))
    labels = torch.eye(MLP.classes, dtype=torch.float64)[torch.as_tensor(rng.integers(0, 3, 5))]
    o = torch.as_tensor(rng.standard_normal(MLP.inputs))

    def loss(w):
        logits = torch.vmap(lambda one: MLP(w, one))(x)
        return -(labels * torch.log_softmax(logits, dim=-1)).sum(dim=-1).mean()

    times = np.linspace(0.0, 4.0, 161)
    path = runge_kutta(torch.func.grad(loss), MLP.weights(rng), times)
    weights = torch.stack(path)
    every = torch.vmap(torch.vmap(torch.func.jacrev(MLP), (None, 0)), (0, None))
    theirs, mine = every(weights, x), every(weights, o[None])
    logits = torch.vmap(torch.vmap(MLP, (None, 0)), (0, None))(weights, x)
    r = d.residual("cross_entropy", logits.numpy(), labels.numpy())
    q = torch.vmap(lambda w: MLP.prediction(w, o))(weights).numpy()
    velocity = d.flow_velocity(q, (mine @ theirs.mT).numpy(), r)
    measured = q - q[0]
    assert np.linalg.norm(measured[-1]) > 0.3
    got = d.flow_displacement(times, velocity)
    np.testing.assert_allclose(got, measured, rtol=0, atol=2e-6)
    np.testing.assert_allclose(got[-1], measured[-1], rtol=0, atol=2e-8)
    rough = d.flow_displacement(times, velocity, rule="trapezoid")
    assert 1e-5 < np.abs(rough - measured).max() < 1e-3


@given(st.integers(3, 12), generators())
def test_simpson_is_exact_for_parabolas_at_any_moments(count, rng):
    times = np.cumsum(rng.uniform(0.1, 1.0, count))
    a, b, c = rng.standard_normal((3, 2))
    t = times[:, None]
    whole = a * t + b * t**2 / 2 + c * t**3 / 3
    got = d.flow_displacement(times, a + b * t + c * t**2)
    np.testing.assert_allclose(got, whole - whole[0], rtol=0, atol=1e-11 * (1 + times[-1] ** 3))


@pytest.mark.parametrize(("rule", "order"), [("simpson", 4), ("trapezoid", 2)])
def test_orders_of_the_rules(rule, order):
    steps = np.array([16, 32, 64, 128])
    errors = []
    for count in steps:
        times = np.linspace(0.0, 2.0, count + 1)
        errors.append(abs(d.flow_displacement(times, np.cos(times), rule=rule)[-1] - np.sin(2)))
    assert -slope(steps, errors) == pytest.approx(order, abs=0.05)


def test_it_agrees_with_scipy():
    from scipy.integrate import cumulative_trapezoid, simpson

    rng = np.random.default_rng(1)
    times, values = np.sort(rng.uniform(0, 3, 9)), rng.standard_normal((9, 2, 3))
    got = d.flow_displacement(times, values)
    np.testing.assert_allclose(got[-1], simpson(values, x=times, axis=0), rtol=1e-10)
    rough = d.flow_displacement(times, values, rule="trapezoid")
    np.testing.assert_allclose(
        rough, cumulative_trapezoid(values, times, axis=0, initial=0), rtol=1e-12
    )


def test_many_moments_at_once():
    """Moments on a leading axis, a batch before the classes."""
    rng = np.random.default_rng(2)
    q = rng.dirichlet(np.ones(3), 7)
    kernel, r = rng.standard_normal((7, 4, 3, 3)), rng.standard_normal((7, 4, 3))
    whole = d.flow_velocity(q, kernel, r)
    for t in range(7):
        one = d.flow_velocity(q[t], kernel[t], r[t])
        np.testing.assert_allclose(whole[t], one, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("times", "velocity", "rule", "says"),
    [
        ([0.0, 1.0, 1.0], np.zeros(3), "simpson", "times must be at least 3 rising"),
        ([0.0, 1.0], np.zeros(2), "simpson", "times must be at least 3 rising"),
        ([0.0], np.zeros(1), "trapezoid", "times must be at least 2 rising"),
        ([[0.0, 1.0]], np.zeros(2), "trapezoid", r"got shape \(1, 2\)"),
        ([0.0, 1.0, 2.0], np.zeros(4), "simpson", "one entry along its first axis for each of 3"),
        ([0.0, 1.0, 2.0], np.full(3, np.nan), "simpson", "velocity must be finite"),
        ([0.0, 1e200, 2e200], np.full(3, 1e200), "trapezoid", "displacement .* too large"),
        ([-1e308, 0.0, 1e308], [0.0, 1.0, 2.0], "simpson", "displacement .* too large"),
        ([0.0, 5e-324, 1.0], [0.0, 1.0, 2.0], "simpson", "displacement .* too large"),
        ([0.0, 1.0, 2.0], np.zeros(3), "euler", "rule must be one of 'simpson', 'trapezoid'"),
    ],
)
def test_bad_input_is_refused(times, velocity, rule, says):
    with pytest.raises(ValueError, match=says):
        d.flow_displacement(times, velocity, rule=rule)
