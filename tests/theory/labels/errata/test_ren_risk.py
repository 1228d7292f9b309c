"""Ren et al. 2022, equation 4, Hypothesis 1 and Proposition 2: what is printed, and what is so."""

import itertools
from dataclasses import asdict

import numpy as np
import pytest

from tests.theory.labels.risk.cases import enumerated, simplex
from theory.labels.risk import (
    one_hot_risk_error,
    random_target_bounds,
    risk_bounds,
    target_risk_error,
)


def worst_squared_bias(p, target, truth, low, high):
    """Over all losses in [low, high]: the bias is linear in them, so corners are enough."""
    inputs, classes = truth.shape
    worst = 0.0
    for corner in itertools.product((low, high), repeat=classes):
        losses = np.tile(corner, (inputs, 1))
        worst = max(worst, target_risk_error(p, target, truth, losses, 1).bias ** 2)
    return worst


@pytest.mark.parametrize("classes", range(2, 9))
def test_r1_printed_constants_are_four_times_too_large_for_a_loss_from_0_to_l(classes):
    """No loss in [0, l] comes nearer to the printed L1 bound than a quarter of it."""
    rng = np.random.default_rng(classes)
    target, truth = simplex(rng, (1, classes), 1.0), simplex(rng, (1, classes), 1.0)
    worst = worst_squared_bias([1.0], target, truth, 0.0, 1.0)
    printed = risk_bounds([1.0], target, truth, 1.0)
    assert worst == pytest.approx(printed.l1 / 4, rel=1e-12)
    # and to the printed L2 bound, with the targets that are worst for it, than 1 in 4 or (odd) less
    half = np.arange(classes) < classes // 2
    truth = np.full((1, classes), 1 / classes)
    target = truth + (half - half.mean()) / classes
    worst = worst_squared_bias([1.0], target, truth, 0.0, 1.0)
    factor = 4.0 if classes % 2 == 0 else 4 * classes**2 / (classes**2 - 1)
    assert risk_bounds([1.0], target, truth, 1.0).l2 / worst == pytest.approx(factor)
    assert risk_bounds([1.0], target, truth, 1.0, "sharp").l2 == pytest.approx(worst)


def test_r1_for_a_loss_of_either_sign_the_printed_l1_constant_is_sharp():
    rng = np.random.default_rng(0)
    target, truth = simplex(rng, (1, 5), 1.0), simplex(rng, (1, 5), 1.0)
    worst = worst_squared_bias([1.0], target, truth, -1.0, 1.0)
    assert worst == pytest.approx(risk_bounds([1.0], target, truth, 1.0).l1)


def test_r1_a_loss_bounded_from_above_only_is_not_enough():
    """The condition is printed as L <= l; the proof needs |L| <= l."""
    target, truth, losses = [[0.6, 0.4]], [[0.5, 0.5]], [[1.0, -100.0]]
    bias = target_risk_error([1.0], target, truth, losses, 1).bias
    assert all(value < bias**2 for value in asdict(risk_bounds([1.0], target, truth, 1.0)).values())
    assert bias**2 <= risk_bounds([1.0], target, truth, 100.0).l1


def test_r2_one_hot_training_has_no_bias_though_the_printed_term_says_so():
    rng = np.random.default_rng(1)
    p, truth = simplex(rng, (3,), 2.0), simplex(rng, (3, 3), 1.0)
    losses = rng.random((3, 3))
    labels = np.stack([np.eye(3)] * 3)
    error = one_hot_risk_error(p, truth, losses, 3)
    assert error.bias == 0
    assert error.mse == pytest.approx(enumerated(p, labels, truth, truth, losses, 3), rel=1e-12)
    # the distance of one-hot labels from the posterior, as in Hypothesis 1 and figure 1
    printed = random_target_bounds(p, labels, truth, truth, 1.0, of="targets")
    assert printed.l2 > 1
    assert printed.l2 > 50 * error.mse
    assert printed.kl_rev == np.inf
    # the distance that matters is that of their mean
    assert random_target_bounds(p, labels, truth, truth, 1.0).l2 == 0
    # and what sets one-hot labels apart from the posterior as target is variance
    exact = target_risk_error(p, truth, truth, losses, 3)
    assert 3 * (error.mse - exact.mse) == pytest.approx(error.label_variance)


def test_r3_a_teacher_of_the_same_samples_is_not_covered():
    """A teacher that recalls the label of its one training sample and knows p* elsewhere."""
    size = 40
    p, truth = np.full(size, 1 / size), np.full((size, 2), 0.5)
    losses = np.tile([0.0, 1.0], (size, 1))

    def teacher(x, label):
        return np.where(np.arange(size)[:, None] == x, np.eye(2)[label], truth)

    data = list(itertools.product(range(size), range(2)))  # all equally likely
    teachers = {sample: teacher(*sample) for sample in data}
    errors = {s: target_risk_error(p, t, truth, losses, 1) for s, t in teachers.items()}
    printed = np.mean(
        [
            errors[s].variance + risk_bounds(p, teachers[s], truth, 1.0).l2
            for s in data
        ]
    )  # fmt: skip
    same = np.mean([(teachers[x, y][x] @ losses[x] - 0.5) ** 2 for x, y in data])
    assert same == 0.25
    assert same > 25 * printed
    # a teacher of other samples: the formula holds exactly, teacher by teacher
    split = np.mean([(teachers[s][x] @ losses[x] - 0.5) ** 2 for s in data for x in range(size)])
    assert split == pytest.approx(np.mean([error.mse for error in errors.values()]))
    assert split < printed


def test_r4_the_second_pair_of_divergences_is_the_reverse_one():
    """The display gives the forward divergence in both rows, which breaks what it is proved by."""
    target, truth = [[0.999, 0.001]], [[0.5, 0.5]]
    bounds = risk_bounds([1.0], target, truth, 1.0)
    # Jensen's inequality orders each row: the root first; read as printed the second row fails
    assert bounds.sqrt_kl_rev > bounds.kl_fwd
    assert bounds.sqrt_kl_rev <= bounds.kl_rev * (1 + 1e-15)
    # and the last bound is the mean of the two directions, not of one direction with itself
    assert bounds.jeffreys == pytest.approx((bounds.kl_fwd + bounds.kl_rev) / 2)
    assert bounds.jeffreys > 1.5 * bounds.kl_fwd
