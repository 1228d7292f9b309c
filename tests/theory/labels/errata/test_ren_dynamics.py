"""Ren et al. 2022, Proposition 1 and appendix G: what is printed, and what holds."""

import numpy as np
import pytest
import torch

from tests.theory.labels.dynamics.cases import LINEAR, MLP, Pair
from theory.labels import dynamics as d


@pytest.mark.parametrize("network", [LINEAR, MLP], ids=lambda network: network.name)
def test_r5_the_step_of_the_weights_has_the_other_sign(network):
    """Printed: w' - w = -eta J^T (p - q). That step raises the loss and reverses Prop. 1."""
    pair, rate = Pair.draw(network, 4), 1e-5
    step = torch.as_tensor(pair.residual()) @ network.jacobian(pair.w, pair.u)
    predicted = d.first_order_change(
        pair.observed(), pair.kernel(pair.o, pair.u), pair.residual(), rate
    )
    printed, correct = pair.observed(-rate * step), pair.observed(rate * step)
    np.testing.assert_allclose(printed - pair.observed(), -predicted, rtol=1e-3)
    np.testing.assert_allclose(correct - pair.observed(), predicted, rtol=1e-3)
    np.testing.assert_allclose(rate * step, -rate * pair.gradient(), rtol=1e-12)
    before = network.loss(pair.w, pair.u, pair.p)
    assert network.loss(pair.w - rate * step, pair.u, pair.p) > before
    assert network.loss(pair.w + rate * step, pair.u, pair.p) < before


def test_r5_the_printed_remainder_hides_the_second_derivative():
    """eta^2 |J(u)|^2 is the same for every o; the remainder over it has no bound."""
    pair, rate = Pair.draw(LINEAR, 6), 1e-6
    size = rate**2 * np.linalg.norm(LINEAR.jacobian(pair.w, pair.u).numpy(), 2) ** 2
    ratios = []
    for scale in (1.0, 100.0):
        far = Pair(LINEAR, pair.w / scale, scale * pair.o, pair.u, pair.p)
        first = d.first_order_change(far.observed(), far.kernel(far.o, far.u), far.residual(), rate)
        change = far.observed(-rate * far.gradient()) - far.observed()
        ratios.append(np.linalg.norm(change - first) / size)
        tangent = -far.kernel(far.o, far.u) @ far.residual()
        second = d.second_order_change(far.observed(), tangent, rate)
        np.testing.assert_allclose(change - first, second, rtol=2e-2, atol=1e-15)
    assert ratios[1] > 1000 * ratios[0]


def test_r6_the_flattest_prediction_does_not_change_most():
    """By the trace it should; a split between two classes changes five times as much."""
    flat, split = np.full(10, 0.1), np.array([0.5, 0.5] + [0.0] * 8)
    assert d.jacobian_trace(flat) == pytest.approx(0.9)
    assert d.jacobian_trace(split) == pytest.approx(0.5)
    assert d.jacobian_eigenvalues(flat)[0] == pytest.approx(0.1)
    assert d.jacobian_eigenvalues(split)[0] == pytest.approx(0.5)
    step = np.zeros(10)
    step[:2] = np.sqrt(0.5), -np.sqrt(0.5)
    sizes = [np.linalg.norm(d.prediction_change(q, step)) for q in (flat, split)]
    assert sizes == pytest.approx([0.1, 0.5])
    # no unit step of the logits changes the flat prediction more
    draws = np.random.default_rng(0).standard_normal((1000, 10))
    draws /= np.linalg.norm(draws, axis=1, keepdims=True)
    assert np.linalg.norm(d.prediction_change(flat, draws), axis=1).max() <= 0.1 + 1e-15


def kernel_traces(x, width, rng):
    """tr K_0 between all inputs: one hidden ReLU layer, weights N(0, 1), output N(0, 1/width^2)."""
    first = rng.standard_normal((width, x.shape[1]))
    second = rng.standard_normal((3, width)) / width
    inside = x @ first.T
    hidden, active = np.maximum(inside, 0), inside > 0
    through = (active * (second**2).sum(axis=0)) @ active.T
    return 3 * hidden @ hidden.T + through * (x @ x.T)


def test_r7_the_trace_of_the_kernel_rises_with_the_similarity():
    """The text reads a decreasing trend as "smaller similarity, larger trace": it is smaller."""
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    means = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]])
    x = means[rng.integers(0, 3, 64)] + 0.5 * rng.standard_normal((64, 2))
    trace = kernel_traces(x, 500, rng)
    inner = x @ x.T
    cosine = inner / np.sqrt(np.outer(np.diag(inner), np.diag(inner)))
    for similarity in (inner, cosine):
        correlation = [spearmanr(similarity[o], trace[o]).statistic for o in range(64)]
        assert min(correlation) > 0.3
        assert np.mean(correlation) > 0.7
    # the notebook ranks by the inner product, the text speaks of the cosine: not the same order
    orders = [np.argsort(-similarity[0]) for similarity in (inner, cosine)]
    assert (orders[0] != orders[1]).any()


def test_r7_singular_values_say_nothing_about_definiteness():
    """A test that no singular value is negative passes for every matrix."""
    indefinite = np.diag([1.0, -2.0, 0.5])
    assert (np.linalg.svd(indefinite)[1] >= 0).all()
    assert np.linalg.eigvalsh(indefinite).min() == -2.0
    pair = Pair.draw(MLP, 1)
    cross, own = pair.kernel(pair.o, pair.u), pair.kernel(pair.u, pair.u)
    assert (np.linalg.svd(cross)[1] >= 0).all()
    assert np.linalg.eigvalsh(own).min() >= -1e-12
