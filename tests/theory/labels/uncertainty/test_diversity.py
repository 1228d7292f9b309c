"""Entropy by neighbors: against a direct search and known densities, and where values tie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import digamma

from tests import strategies
from theory.labels.confidence import confidence, entropy
from theory.labels.softmax import softmax
from theory.labels.uncertainty import (
    confidence_diversity,
    knn_entropy,
    logit_uncertainty,
    predictive_uncertainty,
    tie_share,
)


def by_search(values, k, *, clip=False):
    """The definition, one value after another."""
    logs = []
    for i, v in enumerate(values):
        r = np.sort(np.abs(np.delete(values, i) - v))[k - 1]
        length = min(v + r, 1.0) - max(v - r, 0.0) if clip else 2 * r
        logs.append(np.log(length))
    return digamma(len(values)) - digamma(k) + np.mean(logs)


samples = st.tuples(strategies.generators(), st.integers(20, 300)).map(lambda t: t[0].random(t[1]))


@given(samples, st.integers(1, 10))
def test_it_is_the_definition(values, k):
    assert knn_entropy(values, k) == pytest.approx(by_search(values, k), abs=1e-11)
    clipped = knn_entropy(values, k, boundary="clip")
    assert clipped == pytest.approx(by_search(values, k, clip=True), abs=1e-11)
    assert clipped <= knn_entropy(values, k)


@given(samples, st.floats(-100, 100), st.floats(-3, 3), st.booleans())
def test_p61_it_is_affine(values, shift, log_scale, flip):
    scale = (-1 if flip else 1) * 10.0**log_scale
    moved = knn_entropy(scale * values + shift)
    # the shift costs digits of the distances, the least of which is about 1/n^2
    digits = 1e-9 + 1e-10 * (1 + abs(shift / scale))
    assert moved == pytest.approx(knn_entropy(values) + np.log(abs(scale)), abs=digits)
    assert knn_entropy(scale * values) == pytest.approx(
        knn_entropy(values) + np.log(abs(scale)), abs=1e-9
    )


@given(samples, strategies.generators())
def test_p62_neither_order_nor_reflection_matters(values, rng):
    assert knn_entropy(rng.permutation(values)) == knn_entropy(values)
    assert knn_entropy(-values) == pytest.approx(knn_entropy(values), abs=1e-12)


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (5 / 3, 1.0), (8.0, 0.5)])
@pytest.mark.parametrize("boundary", ["none", "clip"])
def test_known_densities(a, b, boundary):
    from scipy.stats import beta

    rng = np.random.default_rng(0)
    got = [knn_entropy(rng.beta(a, b, 500), boundary=boundary) for _ in range(20)]
    assert np.mean(got) == pytest.approx(beta(a, b).entropy(), abs=0.08)


def test_clipping_has_no_bias_for_uniform_values():
    rng = np.random.default_rng(1)
    got = [knn_entropy(rng.random(50), boundary="clip") for _ in range(2000)]
    assert abs(np.mean(got)) < 3 * np.std(got) / np.sqrt(len(got))
    assert np.mean([knn_entropy(rng.random(50)) for _ in range(2000)]) > 0.02


def test_the_logit_route_survives_saturation():
    """Beta(5, 0.1): many confidences are exactly 1 in single precision, some in double."""
    from scipy.stats import beta

    rng = np.random.default_rng(0)
    # log-odds from two gamma draws, whose logarithms do not saturate
    own = np.log(rng.gamma(5.0, size=4000))
    rest = np.log(rng.gamma(1.1, size=4000)) + np.log(rng.random(4000)) / 0.1
    z = np.stack([own, rest], axis=1)
    labels = np.zeros(4000, dtype=int)
    truth = float(beta(5, 0.1).entropy())
    assert truth == pytest.approx(-8.568, abs=1e-3)
    assert confidence_diversity(z, labels) == pytest.approx(truth, abs=0.35)
    in_single = softmax(z)[:, 0].astype(np.float32)
    assert knn_entropy(in_single) == -np.inf
    assert tie_share(in_single) > 0.15


def test_the_logit_route_agrees_where_nothing_saturates():
    z = np.random.default_rng(3).standard_normal((5000, 4))
    labels = np.zeros(5000, dtype=int)
    direct = knn_entropy(softmax(z)[:, 0])
    assert confidence_diversity(z, labels) == pytest.approx(direct, abs=0.02)
    assert knn_entropy(softmax(z)[:, 0], ties="logit") == pytest.approx(
        confidence_diversity(z, labels), abs=1e-10
    )
    hot = confidence_diversity(z, labels, temperature=2.0)
    assert hot == pytest.approx(confidence_diversity(z / 2.0, labels), abs=1e-12)


def test_ties_give_minus_infinity_or_what_was_asked_for():
    values = np.array([0.2] * 5 + [0.1, 0.4, 0.9])
    assert knn_entropy(values) == -np.inf
    assert knn_entropy(np.zeros(9), boundary="clip") == -np.inf
    rng = np.random.default_rng(0)
    assert np.isfinite(knn_entropy(values, ties="jitter", rng=rng))
    assert np.isfinite(knn_entropy(np.ones(9), boundary="clip", ties="jitter", rng=rng))
    assert np.isfinite(knn_entropy(np.full(9, 0.5), ties="jitter", rng=rng))
    assert knn_entropy([0.2] * 3 + [0.1, 0.4, 0.9]) > -np.inf  # only 2 others are equal
    assert confidence_diversity(np.zeros((5, 2)), np.zeros(5)) == -np.inf


@given(strategies.generators(), st.floats(0.05, 20), st.floats(1, 10))
def test_uncertainty_grows_with_temperature(rng, temperature, factor):
    z = rng.standard_normal((20, 6)) * 10
    low, high = logit_uncertainty(z, temperature), logit_uncertainty(z, temperature * factor)
    assert low <= high + 1e-12
    assert high <= np.log(6) + 1e-12
    assert low == pytest.approx(predictive_uncertainty(softmax(z, temperature)), abs=1e-12)
    assert low == pytest.approx(entropy(z / temperature).mean(), abs=1e-12)


def test_entropy_at_the_ends_of_the_range():
    assert knn_entropy([-1e308] * 5 + [1e308] * 2) == -np.inf
    values = np.random.default_rng(0).random(50)
    for power in (-1000, 1000):
        assert knn_entropy(np.ldexp(values, power)) == pytest.approx(
            knn_entropy(values) + power * np.log(2), abs=1e-9
        )
    rng = np.random.default_rng(0)
    for tied in ([-1.7e308] * 5 + [1.7e308], [1.0] * 6 + [1 + 1e-12], [0.0] * 5, [5e-324] * 5):
        assert np.isfinite(knn_entropy(tied, ties="jitter", rng=rng))
    assert confidence_diversity([[1.0, 0.0]] * 5, [0] * 5, temperature=1e-308) == -np.inf


def test_uncertainty_at_the_ends_of_the_range():
    assert logit_uncertainty([[1e308, -1e308]], 1e-300) == 0.0
    assert logit_uncertainty([[1e308, -1e308]], 1e300) == pytest.approx(0.0, abs=1e-6)
    assert predictive_uncertainty([0.5, 0.5]) == pytest.approx(np.log(2))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: knn_entropy([0.1, 0.2, 0.3]), "more than k = 3"),
        (lambda: knn_entropy([0.1, 0.2], k=0), "k must be an integer >= 1"),
        (lambda: knn_entropy([[0.1, 0.2]], k=1), "values must be one number a sample"),
        (lambda: knn_entropy([0.1, np.nan], k=1), "values must be finite"),
        (lambda: knn_entropy([0.1, 2.0], k=1, boundary="clip"), r"values must be in \[0, 1\]"),
        (lambda: knn_entropy([0.1, 0.2], k=1, boundary="both"), "boundary must be one of"),
        (lambda: knn_entropy([0.1, 0.2], k=1, ties="jitter"), "rng must be given"),
        (lambda: knn_entropy([0.1, 1.0], k=1, ties="logit"), "1 values of 0 or 1"),
        (lambda: confidence_diversity(np.zeros((5, 2)), [0, 1]), "labels must be one class"),
        (lambda: confidence_diversity(np.zeros((5, 2)), [2] * 5), "integers from 0 to 1"),
        (lambda: confidence_diversity(np.zeros((5, 1)), [0] * 5), "at least two classes"),
        (lambda: predictive_uncertainty([[0.5, 0.6]]), "row 0 sums to 1"),
        (lambda: predictive_uncertainty(np.zeros((0, 3))), "at least one sample"),
        (lambda: logit_uncertainty([[0.0, 1.0]], 0.0), "temperature must be > 0"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_log_odds_are_those_of_the_label():
    z = np.random.default_rng(0).standard_normal((50, 3)) * 5
    y = np.arange(50) % 3
    phi = confidence(z, y)
    c = 1 / (1 + np.exp(-phi))
    assert confidence_diversity(z, y) == pytest.approx(
        knn_entropy(phi) + np.mean(np.log(c) + np.log1p(-c)), abs=1e-10
    )
