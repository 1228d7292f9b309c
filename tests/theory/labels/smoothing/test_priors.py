"""The Dirichlet mode, its bound, and distillation as maximum a posteriori."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.strategies import powers_of_ten
from theory.labels import smoothing as s
from theory.labels.losses import dirichlet_map_loss, map_distillation_loss
from theory.labels.losses.base import one_hot, tempered_cross_entropy
from theory.labels.softmax import log_softmax, softmax, surprisal

seeds = st.integers(0, 2**32 - 1)
excess = st.sampled_from((0.0, 1e-300, 5e-16, 0.1, 1.0, 1e8, 1e300)) | st.floats(0, 10)


@given(st.integers(2, 9).flatmap(lambda k: arrays(float, (3, k), elements=excess)), seeds)
@example(np.zeros((3, 2)), 0)
def test_p53_the_mode_lies_in_the_simplex(alpha_less_one, seed):
    k = alpha_less_one.shape[1]
    label = np.eye(k)[np.random.default_rng(seed).integers(k, size=3)]
    mode = s.dirichlet_map(label, 1.0 + alpha_less_one)
    assert (mode >= 0).all()
    np.testing.assert_allclose(mode.sum(axis=1), 1.0, atol=1e-14)
    np.testing.assert_array_equal(s.dirichlet_map(label, 1.0), label)
    # gamma = 1 and beta = 0: the prior of nothing
    flat = s.distillation_concentration(np.zeros((3, k)), 0.0)
    np.testing.assert_array_equal(s.dirichlet_map(label, flat), label)


@given(seeds, st.integers(2, 6))
def test_the_mode_minimizes_the_loss(seed, k):
    rng = np.random.default_rng(seed)
    alpha, counts = 1 + rng.gamma(0.5, size=k), rng.integers(0, 3, k)
    counts[0] += 1
    with np.errstate(divide="ignore"):
        best = np.log(s.dirichlet_map(counts, alpha))
    loss = dirichlet_map_loss(best, counts, alpha)
    np.testing.assert_allclose(loss.gradient, 0.0, atol=1e-13 * (alpha + counts).sum())
    for _ in range(5):
        assert dirichlet_map_loss(best + 0.3 * rng.standard_normal(k), counts, alpha).value > (
            loss.value * (1 - 1e-14)
        )


def test_a_class_below_one_makes_the_objective_unbounded():
    """One observation more lifts a concentration below 1, no observation does not."""
    np.testing.assert_allclose(s.dirichlet_map([1, 0], [0.5, 1.5]), [0.5, 0.5])
    with pytest.raises(ValueError, match=r"unbounded below .* class 1 has 0\.5"):
        s.dirichlet_map([1, 0], [1.5, 0.5])
    with pytest.raises(ValueError, match=r"unbounded below .* class \(1, 0\) has 0\.25"):
        dirichlet_map_loss(np.zeros((2, 2)), [[1, 0], [0, 1]], 0.25 + np.eye(2)[[1, 1]])
    # it is: a logit that falls for ever
    powers = np.array([1.5, -0.5])
    values = [-(powers * log_softmax([0.0, -z])).sum() for z in (1e1, 1e3, 1e5)]
    assert values[0] > values[1] > values[2]
    assert values[2] == pytest.approx(-0.5 * 1e5)
    # a small gamma does that to the classes the teacher holds unlikely
    alpha = s.distillation_concentration([3.0, -3.0], 0.1, gamma=0.5)
    with pytest.raises(ValueError, match="unbounded below"):
        s.dirichlet_map([1, 0], alpha)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: s.dirichlet_map([0, 0], [1.0, 1.0]), "every distribution is a mode"),
        (lambda: s.dirichlet_map([1, -1], 2.0), "counts must be >= 0"),
        (lambda: s.dirichlet_map([1, 0], 0.0), "concentration must be > 0"),
        (lambda: s.dirichlet_map([1], 2.0), "two classes"),
        (lambda: s.dirichlet_map(np.zeros((0, 3)), 2.0), "at least one sample"),
        (lambda: s.dirichlet_map([1, 0], [1.0, 2.0, 3.0]), "must broadcast"),
        (lambda: s.smoothing_concentration(-1, 3), "beta must be >= 0"),
        (lambda: s.distillation_concentration([1e4, 0], 1.0), "center='mean' or 'max'"),
        (lambda: s.distillation_concentration([1, 0], 1.0, center="min"), "center must be one of"),
        (lambda: s.distillation_concentration([1, 0], 1.0, 5e-324), "center='mean' or 'max'"),
        (lambda: s.distillation_concentration(np.eye(2), [1.0, 2.0, 3.0]), "must broadcast"),
        (lambda: s.map_distillation([1, 0], 1.0, 5e-324), "temperature must be a float"),
        (lambda: s.distillation_concentration([1, 0], 1.0, gamma=-1), "gamma must be >= 0"),
        (lambda: s.map_distillation([1, 0], 1.0, gamma=0.5), "gamma must be at least 1"),
        (lambda: s.map_distillation([1, 0], 1.0, 0.0), "temperature must be > 0"),
        (lambda: s.map_distillation([1, np.inf], 1.0), "logits must be finite"),
        (lambda: s.map_distillation([[1, 0]], [1.0, 2.0, 3.0][:0]), "at least one sample"),
    ],
)
def test_bad_priors_are_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


@pytest.mark.theorem("labels:map-distillation")
@given(
    seeds,
    st.integers(2, 9),
    powers_of_ten(-6, 3),
    st.floats(0.5, 20),
    st.sampled_from(("none", "mean", "max")),
    st.sampled_from((1.0, 1.5, 3.0)),
)
def test_p54_map_distillation_is_weighted_distillation(seed, k, beta, tau, center, gamma):
    rng = np.random.default_rng(seed)
    f, z, y = 10 * rng.standard_normal(k), 5 * rng.standard_normal(k), int(rng.integers(k))
    label = np.eye(k)[y]
    alpha = s.distillation_concentration(f, beta, tau, gamma=gamma, center=center)
    whole = dirichlet_map_loss(z, label, alpha)
    apart = map_distillation_loss(z, y, f, beta, tau, gamma=gamma, center=center)
    # a concentration next to 1 is rounded, and a surprisal multiplies what it has lost
    rounded = 2e-16 * surprisal(z).sum()
    assert apart.value == pytest.approx(whole.value, rel=1e-12, abs=rounded)
    np.testing.assert_allclose(apart.gradient, whole.gradient, rtol=1e-9, atol=1e-12 * alpha.sum())
    if gamma == 1.0:
        prior = s.map_distillation(f, beta, tau, center=center)
        total = (alpha - 1).sum()  # beta S, less what alpha rounds away
        assert prior.weight == pytest.approx(1 + total, rel=1e-12, abs=0)
        assert prior.label_share == pytest.approx(1 / prior.weight, rel=1e-13, abs=0)
        assert prior.label_share + prior.teacher_share == pytest.approx(1, abs=1e-14)
        soft = tempered_cross_entropy(z, softmax(f, tau)).value
        mixed = prior.label_share * one_hot(z, y).value + prior.teacher_share * soft
        assert prior.weight * mixed == pytest.approx(whole.value, rel=1e-12, abs=rounded)


@given(seeds, st.integers(2, 9), powers_of_ten(-3, 3))
def test_a_hot_teacher_is_label_smoothing(seed, k, beta):
    f = np.random.default_rng(seed).standard_normal(k)
    prior = s.map_distillation(f, beta, 1e12)
    assert prior.label_share == pytest.approx(
        1 - s.smoothing_from_beta(k * beta, k), rel=1e-10, abs=0
    )
    np.testing.assert_allclose(prior.teacher, 1 / k, rtol=1e-10)
    # and gamma above 1 is smoothing outright
    alone = s.map_distillation(f, 0.0, gamma=1 + beta / k)
    assert alone.uniform_share == pytest.approx(s.smoothing_from_beta(beta, k), rel=1e-12, abs=0)
    assert alone.teacher_share == 0.0


def test_logits_of_any_size_can_be_centered():
    for center in ("mean", "max"):
        found = s.map_distillation([1e308, 1e308], 2.0, center=center)
        assert found.weight == pytest.approx(5.0, rel=1e-15)
        np.testing.assert_array_equal(found.teacher, 0.5)
    np.testing.assert_array_equal(
        s.map_distillation([1e308, -1e308], 2.0, center="max").teacher, [1.0, 0.0]
    )


def test_weights_beyond_the_largest_float_have_a_logarithm():
    prior = s.map_distillation([[1e6, 0.0], [-1e6, 0.0], [-1e6, -1e6]], 2.0)
    np.testing.assert_allclose(prior.log_weight[:2], [1e6 + np.log(2), np.log(3)])
    assert prior.weight[0] == np.inf
    assert prior.log_weight[2] == 0.0
    np.testing.assert_allclose(prior.label_share, [0.0, 1 / 3, 1.0], rtol=1e-15)
    np.testing.assert_allclose(prior.teacher_share, [1.0, 2 / 3, 0.0], rtol=1e-15)
    assert s.map_distillation([1.0, 2.0], 0.0).weight == 1.0
    assert s.map_distillation(np.ones((4, 3)), [0.1, 0.2, 0.3, 0.4]).weight.shape == (4,)
    with pytest.raises(ValueError, match="center='mean' or 'max'"):
        map_distillation_loss([[0.0, 0.0]], [0], [[1e6, 0.0]], 1.0)
