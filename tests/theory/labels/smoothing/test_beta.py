"""Beta smoothing: order statistics, shapes, and who gets which draw."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.reference import relative_error
from tests.strategies import fractions, powers_of_ten
from theory.labels import smoothing as s
from theory.labels.softmax import softmax


def mp_order_mean(i, m, a):
    s_ = 1 / mp.mpf(a)
    return mp.gammaprod([m + 1, i + s_], [i, m + 1 + s_])


@pytest.mark.theorem("labels:beta-order-mean")
@given(st.integers(1, 512), powers_of_ten(-1, 1.7))
@example(1, 5 / 3)
@example(512, 50.0)
def test_p58_order_means_increase_and_average_to_the_mean(m, a):
    means = s.beta_order_mean(np.arange(1, m + 1), m, a)
    assert (np.diff(means) > 0).all()
    assert means.mean() == pytest.approx(s.beta_mean(a), rel=1e-13, abs=0)
    assert means.mean() == pytest.approx(a / (a + 1), rel=1e-13, abs=0)


@given(st.integers(1, 10**15), st.floats(0, 1), powers_of_ten(-6, 6))
@example(10**15, 1.0, 1e-6)
@example(10**15, 0.0, 5 / 3)
@example(15, 1.0, 1e-6)
@example(16, 0.99, 3.0)
@example(10**12, 0.9999999999, 1e-3)
def test_order_means_keep_their_digits_at_any_size(m, share, a):
    i = 1 + round(share * (m - 1))
    got = s.beta_order_mean(i, m, a)
    with mp.workdps(60):
        want = mp_order_mean(i, m, a)
        size = float(abs(mp.log(want)))
    if want > mp.mpf(1e-300):
        # the exponent is rounded once or twice
        assert relative_error(got, want) < 2e-15 * (2 + size)
    else:
        assert got < 1e-299


def test_order_means_by_hand_and_by_simulation():
    np.testing.assert_allclose(s.beta_order_mean([1, 2, 3], 3, 1.0), [0.25, 0.5, 0.75])
    assert s.beta_order_mean(1, 1, 3.0) == 0.75
    assert s.beta_order_mean([[1], [2]], 2, [1.0, 2.0]).shape == (2, 2)
    assert s.beta_order_mean(3, 3, 1e-320) == 0.0
    assert s.beta_order_mean(1, 5, 1e300) == 1.0
    rng = np.random.default_rng(0)
    draws = np.sort([s.beta_draws(rng, 8, 5 / 3) for _ in range(20_000)], axis=1)
    error = draws.std(axis=0) / np.sqrt(len(draws))
    # eight comparisons at five standard errors: a false alarm in 2e5
    assert (np.abs(draws.mean(axis=0) - s.beta_order_mean(range(1, 9), 8, 5 / 3)) < 5 * error).all()


@given(fractions())
def test_p59_shape_and_mean_go_round(mu):
    a = s.beta_shape_from_mean(mu)
    assert a == pytest.approx(mu / (1 - mu), rel=1e-15, abs=0)
    assert s.beta_mean(a) == pytest.approx(mu, rel=1e-15, abs=0)


@given(st.floats(0, 0.99), st.floats(0.001, 0.999))
def test_the_shape_makes_the_mean_of_the_whole_target(weight, share):
    target = weight + (1 - weight) * share * 0.999
    if not weight < target < 1:
        return
    a = s.beta_shape_for_mean(target, weight)
    mu = s.soft_mass(target, weight)
    assert s.beta_mean(a) == pytest.approx(mu, rel=1e-12, abs=0)
    assert weight + (1 - weight) * s.beta_mean(a) == pytest.approx(target, rel=1e-12, abs=0)


def test_shapes_of_the_paper_and_of_its_code():
    np.testing.assert_allclose(s.beta_shape_for_mean(0.85, [0.6, 0.4]), [5 / 3, 3.0], rtol=1e-14)
    np.testing.assert_allclose(s.soft_mass(0.85, [0.6, 0.4]), [0.625, 0.75], rtol=1e-14)


@given(powers_of_ten(-8, 8))
@example(1.0)
@example(1 + 1e-9)
def test_entropy_keeps_its_digits(a):
    with mp.workdps(60):
        x = mp.mpf(a)
        want = 1 - 1 / x - mp.log(x)
    assert relative_error(s.beta_entropy(a), want) < 4e-15
    assert s.beta_entropy(a) <= 0


def test_entropy_is_that_of_the_density():
    from scipy.stats import beta

    for a in (0.1, 0.9, 5 / 3, 3.0, 40.0):
        assert s.beta_entropy(a) == pytest.approx(beta(a, 1).entropy(), rel=1e-9, abs=0)


scores = st.sampled_from((0.0, 1.0, 2.0, np.inf, -np.inf)) | st.floats(-1e6, 1e6)
masses = st.sampled_from((0.0, 5e-324, 0.5, 1.0)) | st.floats(0, 1)


@given(
    st.integers(1, 12).flatmap(
        lambda m: st.tuples(arrays(float, m, elements=masses), arrays(float, m, elements=scores))
    ),
    st.integers(2, 200),
    st.integers(0, 2**32 - 1),
)
def test_p60_targets_are_distributions_and_keep_the_ranking(batch, k, seed):
    draws, score = batch
    y = np.random.default_rng(seed).integers(k, size=len(draws))
    q = s.beta_targets(draws, score, y, k)
    assert (q >= 0).all()
    np.testing.assert_allclose(q.sum(axis=1), 1.0, atol=1e-13)
    own = q[np.arange(len(y)), y]
    np.testing.assert_array_equal(np.sort(own), np.sort(draws))
    by_score = own[np.argsort(score, kind="stable")]
    assert (np.diff(by_score) >= 0).all()
    for row, label in zip(q, y, strict=True):
        assert len(np.unique(np.delete(row, label))) == 1


def test_ties_give_the_lower_index_the_smaller_draw():
    q = s.beta_targets([0.9, 0.1, 0.5], [1.0, 1.0, 1.0], [0, 0, 0], 2)
    np.testing.assert_array_equal(q[:, 0], [0.1, 0.5, 0.9])
    many = s.beta_targets(np.array([[0.9, 0.1], [0.2, 0.4]]), [[0, 1], [1, 0]], [[0, 0], [0, 0]], 2)
    np.testing.assert_array_equal(many[..., 0], [[0.1, 0.9], [0.4, 0.2]])


def test_random_targets_have_the_same_draws_in_another_order():
    rng = np.random.default_rng(0)
    draws = s.beta_draws(rng, 2000, 3.0)
    score = rng.standard_normal(2000)
    y = rng.integers(5, size=2000)
    q = s.random_beta_targets(draws, y, 5, rng=rng)
    own = q[np.arange(2000), y]
    np.testing.assert_array_equal(np.sort(own), np.sort(draws))
    assert abs(np.corrcoef(own, score)[0, 1]) < 5 / np.sqrt(2000)
    ranked = s.beta_targets(draws, score, y, 5)[np.arange(2000), y]
    assert np.corrcoef(ranked, score)[0, 1] > 0.9


def test_scores_of_the_paper_and_of_its_code_rank_differently():
    z = np.array([[0.0, 5.0, 0.0], [2.0, 0.0, 0.0], [60.0, 0.0, 0.0], [50.0, 0.0, 0.0]])
    y = np.array([0, 0, 0, 0])
    most, true = s.ranking_scores(z), s.ranking_scores(z, y, "true")
    # the wrong but sure sample is high on the one list and last on the other
    assert np.argsort(most).tolist() == [1, 0, 3, 2]
    assert np.argsort(true).tolist() == [0, 1, 3, 2]
    # and the saturated ones are told apart, which their probabilities are not
    assert len(np.unique(softmax(z)[2:, 0])) == 1
    np.testing.assert_allclose(1 / (1 + np.exp(-most)), softmax(z).max(axis=1), rtol=1e-14)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: s.beta_shape_for_mean(0.85, 0.9), "label_weight must be less than target_mass"),
        (lambda: s.beta_shape_for_mean(0.85, 0.85), "label_weight must be less than target_mass"),
        (lambda: s.beta_shape_for_mean(1.0, 0.5), "target_mass less than 1"),
        (lambda: s.soft_mass(0.5, [0.1, 0.6]), "got label_weight 0.6 and target_mass 0.5"),
        (lambda: s.beta_shape_from_mean(1.0), "mean must be less than 1"),
        (lambda: s.beta_mean(0.0), "shape must be > 0"),
        (lambda: s.beta_entropy(-1.0), "shape must be > 0"),
        (lambda: s.beta_order_mean(0, 3, 1.0), "rank must be > 0"),
        (lambda: s.beta_order_mean(4, 3, 1.0), "rank must be integers from 1 to samples"),
        (lambda: s.beta_order_mean(1.5, 3, 1.0), "rank must be integers from 1 to samples"),
        (lambda: s.beta_order_mean([1, 2], [3, 3, 3], 1.0), "must broadcast"),
        (lambda: s.beta_targets([0.5], [1.0, 2.0], [0], 2), "shapes must agree"),
        (lambda: s.beta_targets([0.5, 0.1], [1.0, 2.0], [0], 2), "shapes must agree"),
        (lambda: s.beta_targets([1.5], [1.0], [0], 2), r"draws must be in \[0, 1\]"),
        (lambda: s.beta_targets([0.5], [np.nan], [0], 2), "scores must be numbers, not nan"),
        (lambda: s.beta_targets([], [], [], 2), "at least one sample"),
        (lambda: s.beta_targets(0.5, 0.5, 0, 2), "draws must hold one number a sample"),
        (lambda: s.beta_targets([0.5], [1.0], [2], 2), "labels must be integers from 0 to 1"),
        (lambda: s.ranking_scores([[0, 1]], None, "true"), "labels must be given"),
        (lambda: s.ranking_scores([[0, 1]], [0], "min"), "rank_by must be one of"),
        (lambda: s.beta_draws(np.random.default_rng(0), 0, 1.0), "samples must be an integer"),
        (lambda: s.beta_draws(np.random.default_rng(0), 3, 0.0), "shape must be > 0"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
