"""Zhang and Sabuncu 2020: what is printed, and what holds."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from theory.labels import smoothing as s
from theory.labels.losses import (
    beta_smoothing,
    dirichlet_map_loss,
    map_distillation_loss,
    rescaled_distillation,
)
from theory.labels.softmax import log_softmax, softmax


def test_s1_the_mean_label_mass_can_not_be_epsilon():
    """Printed: E[alpha + (1 - alpha) b] = epsilon, with alpha = 0.6 and epsilon = 0.15."""
    alpha, epsilon = 0.6, 0.15
    masses = alpha + (1 - alpha) * np.linspace(0, 1, 101)
    assert masses.min() == alpha > epsilon
    with pytest.raises(ValueError, match="label_weight must be less than target_mass"):
        s.beta_shape_for_mean(epsilon, alpha)
    a = s.beta_shape_for_mean(1 - epsilon, alpha)
    assert alpha + (1 - alpha) * s.beta_mean(a) == pytest.approx(1 - epsilon)


def test_s2_alpha_is_the_weight_of_the_labels_here_and_of_the_soft_part_there():
    """Section 7 says 0.6, section 9.2 says the 0.4 of section 7: one number, from either side."""
    epsilon = 0.15
    for label_weight, shape in ((0.6, 5 / 3), (0.4, 3.0)):
        assert s.beta_shape_for_mean(1 - epsilon, label_weight) == pytest.approx(shape)
        mean = label_weight + (1 - label_weight) * s.beta_mean(shape)
        assert mean == pytest.approx(1 - epsilon)
    # but the shape of the one with the weight of the other misses the mass
    crossed = 0.6 + 0.4 * s.beta_mean(3.0)
    assert crossed == pytest.approx(0.9)
    # and the losses are different: weights of labels 0.6 and 0.4 beside the same target
    target = [[0.7, 0.2, 0.1]]
    losses = [beta_smoothing(np.zeros((1, 3)), [0], target, w).gradient for w in (0.6, 0.4)]
    assert np.abs(losses[0] - losses[1]).max() == pytest.approx(0.06)


def test_s3_the_largest_entry_and_the_entry_of_the_label_rank_differently():
    rng = np.random.default_rng(0)
    y = rng.integers(10, size=400)
    z = 2 * rng.standard_normal((400, 10))
    z[np.arange(400), y] += 2.5
    printed, code = s.ranking_scores(z, y), s.ranking_scores(z, y, "true")
    ranks = [np.argsort(np.argsort(score)) for score in (printed, code)]
    wrong = z.argmax(axis=1) != y
    assert 0.1 < wrong.mean() < 0.6
    assert np.corrcoef(*ranks)[0, 1] < 0.8
    # where the network is right the two agree, and all the difference is where it is wrong
    np.testing.assert_array_equal(printed[~wrong], code[~wrong])
    assert (printed[wrong] > code[wrong]).all()
    draws = np.sort(s.beta_draws(rng, 400, 5 / 3))
    mass = [
        s.beta_targets(draws, score, y, 10)[np.arange(400), y][wrong].mean()
        for score in (printed, code)
    ]
    assert mass[0] > mass[1] + 0.1  # the paper smooths mistaken samples less


def test_s4_the_same_strength_is_not_the_same_label():
    """Printed: the optimum of the entropy penalty is identical to that of label smoothing."""
    smoothed, penalized = s.mass_from_beta(0.1, 10), s.entropy_penalty_optimum(0.1, 10)
    assert smoothed == pytest.approx(0.918, abs=5e-4)
    assert penalized == pytest.approx(0.99959, abs=5e-6)
    # the same family, with the strength translated
    beta = s.entropy_penalty_for_mass(smoothed, 10)
    assert s.entropy_penalty_optimum(beta, 10) == pytest.approx(smoothed, rel=1e-14)
    assert s.entropy_penalty_for_mass(s.mass_from_beta(0.1, 100), 100) == pytest.approx(
        0.159, abs=5e-4
    )


def test_s4_the_printed_objective_has_another_optimum_than_the_printed_formula():
    """The penalty as printed is divided by n while the cross-entropy is summed."""
    n, beta, k = 20, 8.0, 5

    def printed(p):
        """All n samples share one mass, as they do at the optimum."""
        entropy = -(p * np.log(p) + (1 - p) * np.log((1 - p) / (k - 1)))
        return n * -np.log(p) - beta / n * n * entropy

    best = minimize_scalar(
        printed, bounds=(1 / k, 1 - 1e-12), method="bounded", options={"xatol": 1e-12}
    ).x
    assert best == pytest.approx(s.entropy_penalty_optimum(beta, k, samples=n), abs=1e-6)
    assert best > s.entropy_penalty_optimum(beta, k) + 0.5


def test_s5_the_weight_of_a_sample_is_not_in_the_teachers_prediction():
    rng = np.random.default_rng(0)
    f = 3 * rng.standard_normal((5, 4))
    constant = np.array([0.0, 1.0, -2.0, 4.0, 0.5])
    moved = f + constant[:, None]
    np.testing.assert_allclose(softmax(f), softmax(moved), rtol=1e-13)
    plain, other = (s.map_distillation(v, 0.1) for v in (f, moved))
    np.testing.assert_allclose(
        (other.weight - 1) / (plain.weight - 1), np.exp(constant), rtol=1e-12
    )
    assert np.abs(plain.label_share - other.label_share).max() > 0.2
    for center in ("mean", "max"):
        one, two = (s.map_distillation(v, 0.1, center=center) for v in (f, moved))
        np.testing.assert_allclose(one.weight, two.weight, rtol=1e-12)
    # so the order of the samples by weight is a choice too
    assert (np.argsort(plain.weight) != np.argsort(other.weight)).any()


def test_s5_with_gamma_one_the_mean_of_the_prior_is_not_the_teacher():
    f, beta = np.array([2.0, 0.0, -1.0]), 0.5
    mean = {
        gamma: (alpha := s.distillation_concentration(f, beta, gamma=gamma)) / alpha.sum()
        for gamma in (0.0, 1.0)
    }
    np.testing.assert_allclose(mean[0.0], softmax(f), rtol=1e-14)
    assert np.abs(mean[1.0] - softmax(f)).max() > 0.1


def test_s5_the_weighting_term_is_not_that_of_equation_3():
    """Plugging eq. 9 into eq. 6 gives weight and mix per sample, not eq. 3 times the weight."""
    rng = np.random.default_rng(1)
    z, f = rng.standard_normal((50, 4)), rng.standard_normal((50, 4))
    y = rng.integers(4, size=50)
    posterior = dirichlet_map_loss(z, np.eye(4)[y], s.distillation_concentration(f, 0.2, 2.0))
    ours = map_distillation_loss(z, y, f, 0.2, 2.0)
    np.testing.assert_allclose(ours.value, posterior.value, rtol=1e-12)
    printed = rescaled_distillation(z, y, f, 0.6, 2.0)
    ratio = printed.value / posterior.value
    assert ratio.std() / ratio.mean() > 0.05
    # up to a factor the two are one where 1/beta is the odds of the label
    matched = dirichlet_map_loss(z, np.eye(4)[y], s.distillation_concentration(f, 0.4 / 0.6, 2.0))
    np.testing.assert_allclose(printed.value, 0.6 * matched.value, rtol=1e-12)


def test_s6_negative_pseudo_counts_are_unbounded_and_zeroing_them_is_another_objective():
    f, beta, gamma = np.array([4.0, 1.0, -3.0]), 0.1, 0.5
    alpha = s.distillation_concentration(f, beta, gamma=gamma)
    with pytest.raises(ValueError, match="unbounded below"):
        s.dirichlet_map([1, 0, 0], alpha)
    powers = alpha - 1 + np.array([1, 0, 0])
    assert powers.min() < 0
    zeroed = np.maximum(powers, 0)
    least = []
    for fall in (20.0, 50.0, 1000.0):
        cost = -log_softmax([0.0, -1.0, -fall])
        least.append(((powers * cost).sum(), (zeroed * cost).sum()))
    true, cut = np.array(least).T
    assert true[2] < -400  # falls for ever
    assert np.diff(cut).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)  # does not


def test_s6_it_is_classes_that_are_kept():
    """Printed: "the top 50 most confident samples", of a 100-class problem."""
    q = s.prune(np.random.default_rng(0).standard_normal((7, 100)), s.kept_classes(0.5, 100))
    assert q.shape == (7, 100)
    np.testing.assert_array_equal((q > 0).sum(axis=1), 50)
