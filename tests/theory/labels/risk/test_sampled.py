"""Sampled error and bounds: right on average, with standard errors that are right too."""

from dataclasses import asdict

import numpy as np
import pytest

from tests.theory.labels.risk.cases import simplex
from theory.labels.risk import (
    random_target_risk_error,
    risk_bounds,
    sampled_risk_bounds,
    sampled_risk_error,
    target_risk_error,
)

# a finite space, so that the exact answer is known
RNG = np.random.default_rng(11)
P = simplex(RNG, (6,), 2.0)
TARGET, TRUTH = simplex(RNG, (6, 4), 1.0), simplex(RNG, (6, 4), 1.0)
LOSSES = RNG.random((6, 4))


def source(rng, count):
    x = rng.choice(6, p=P, size=count)
    return TARGET[x], TRUTH[x], LOSSES[x]


def test_error_and_its_standard_errors():
    exact = target_risk_error(P, TARGET, TRUTH, LOSSES, 25)
    rng = np.random.default_rng(0)
    found = [sampled_risk_error(source, 25, draws=400, rng=rng) for _ in range(600)]
    for name in ("mse", "variance", "bias", "risk"):
        values = np.array([getattr(one, name) for one in found])
        error = values.std(ddof=1) / np.sqrt(len(values))
        # five standard errors: a false alarm once in two million
        assert abs(values.mean() - getattr(exact, name)) < 5 * error, name
        stated = np.mean([getattr(one, f"{name}_error") for one in found])
        # 600 values tell a standard deviation to 3 %
        assert stated == pytest.approx(values.std(ddof=1), rel=0.15), name
    assert found[0].draws == 400


def test_standard_error_of_an_unbiased_target_counts_the_second_order():
    """Where the bias is 0 its square varies to second order only."""
    rng = np.random.default_rng(1)

    def one_hot(rng, count):
        x = rng.choice(6, p=P, size=count)
        label = (rng.random(count)[:, None] > np.cumsum(TRUTH[x], axis=1)).sum(axis=1)
        return np.eye(4)[np.minimum(label, 3)], TRUTH[x], LOSSES[x]

    found = [sampled_risk_error(one_hot, 100_000, draws=50, rng=rng) for _ in range(800)]
    values = np.array([one.mse for one in found])
    stated = np.sqrt(np.mean([one.mse_error**2 for one in found]))
    assert 1.0 < stated / values.std(ddof=1) < 1.5
    labels = np.stack([np.eye(4)] * 6)
    exact = random_target_risk_error(P, labels, TRUTH, TRUTH, LOSSES, 100_000)
    assert abs(values.mean() - exact.mse) < 5 * values.std() / np.sqrt(len(values))
    variance = np.array([one.variance for one in found])
    assert abs(variance.mean() - exact.variance) < 5 * variance.std() / np.sqrt(len(values))


@pytest.mark.parametrize("constants", ["published", "sharp"])
def test_bounds_and_their_standard_errors(constants):
    exact = asdict(risk_bounds(P, TARGET, TRUTH, 1.5, constants))
    rng = np.random.default_rng(2)
    found = [sampled_risk_bounds(source, 1.5, constants, draws=2000, rng=rng) for _ in range(150)]
    for name, want in exact.items():
        values = np.array([getattr(one.bounds, name) for one in found])
        stated = np.mean([getattr(one.errors, name) for one in found])
        if name == "trivial":
            np.testing.assert_allclose(values, want)
            assert stated == 0
            continue
        # squares of means are off by the variance of the mean, well below one part in a hundred
        assert values.mean() == pytest.approx(want, rel=0.01), name
        assert stated == pytest.approx(values.std(ddof=1), rel=0.3), name


def test_arrays_already_drawn_are_the_space_they_are_drawn_from():
    got = sampled_risk_bounds((TARGET, TRUTH, LOSSES), 1.0)
    want = risk_bounds(np.full(6, 1 / 6), TARGET, TRUTH, 1.0)
    assert got.bounds.l2 == pytest.approx(want.l2)
    exact = target_risk_error(np.full(6, 1 / 6), TARGET, TRUTH, LOSSES, 9)
    error = sampled_risk_error((TARGET, TRUTH, LOSSES), 9)
    assert error.bias == pytest.approx(exact.bias)
    assert error.variance == pytest.approx(exact.variance * 6 / 5)


def test_infinite_divergences_stay_infinite_and_are_not_nan():
    corner = np.eye(4)[[0] * 6]
    found = sampled_risk_bounds((corner, TRUTH, LOSSES), 1.0)
    assert found.bounds.kl_rev == np.inf
    assert found.errors.kl_rev == np.inf
    assert np.isfinite([found.bounds.l2, found.errors.l2, found.errors.kl_fwd]).all()


def test_blocks_make_no_difference():
    def counting(rng, count):
        sizes.append(count)
        return source(rng, count)

    sizes = []
    found = sampled_risk_error(counting, 5, draws=25_000, rng=np.random.default_rng(3))
    assert sizes == [10_000, 10_000, 5000]
    assert found.draws == 25_000


def short(rng, count):
    return TARGET[:1], TRUTH[:1], LOSSES[:1]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: sampled_risk_error(source, 5), "rng must be a numpy random generator"),
        (lambda: sampled_risk_error(source, 0, rng=RNG), "samples must be an integer >= 1"),
        (lambda: sampled_risk_error(source, 5, draws=1, rng=RNG), "draws must be an integer >= 2"),
        (lambda: sampled_risk_error(short, 5, rng=RNG), "as many rows as it is asked for"),
        (lambda: sampled_risk_error((TARGET, TRUTH), 5), "targets, truths and losses, got 2"),
        (lambda: sampled_risk_error(short(RNG, 1), 5), "at least 2 inputs, got 1"),
        (lambda: sampled_risk_error((TARGET, TRUTH[:3], LOSSES), 5), "must (agree|broadcast)"),
        (lambda: sampled_risk_error((TARGET[0], TRUTH[0], LOSSES[0]), 5), "a row for each sampled"),
        (lambda: sampled_risk_error((TARGET, TRUTH, 1.0), 5), "shapes must agree.*losses \\(\\)"),
        (lambda: sampled_risk_error((LOSSES, TRUTH, LOSSES), 5), "targets must be distributions"),
        (lambda: sampled_risk_bounds((TARGET, TRUTH, LOSSES), -1.0), "loss_bound must be >= 0"),
        (lambda: sampled_risk_bounds((TARGET, TRUTH, LOSSES), [1.0]), "loss_bound must be one"),
        (lambda: sampled_risk_bounds((TARGET, TRUTH, LOSSES), 1.0, "x"), "constants must be one"),
    ],
)
def test_bad_input_is_refused_by_name(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_losses_whose_squares_overflow_give_inf_and_no_warning():
    small = sampled_risk_error((TARGET, TRUTH, LOSSES), 9)
    found = sampled_risk_error((TARGET, TRUTH, 2.0**1000 * LOSSES), 9)
    assert found.mse == np.copysign(np.inf, small.mse)  # below 0 by chance
    assert found.variance == found.mse_error == np.inf
    assert found.bias == 2.0**1000 * small.bias
    assert found.risk_error == 2.0**1000 * small.risk_error
