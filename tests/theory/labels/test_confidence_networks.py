"""Entropies and divergences of networks from logits: against mpmath in every regime."""

import mpmath
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.theory.labels.test_confidence import logits, shares
from theory.labels import divergences
from theory.labels.confidence import (
    agreement,
    binary_kl,
    confidence,
    entropy,
    jeffreys,
    jensen_shannon,
    kl_divergence,
    total_variation,
)
from theory.labels.softmax import softmax, surprisal

log = mpmath.log


def mp_kl(p, q):
    return mpmath.fsum(a * log(a / b) for a, b in zip(p, q, strict=True))


def mp_jeffreys(p, q):
    return mp_kl(p, q) + mp_kl(q, p)


def mp_jensen_shannon(p, q):
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    return (mp_kl(p, middle) + mp_kl(q, middle)) / 2


def mp_total_variation(p, q):
    return mpmath.fsum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2


REFERENCES = {
    kl_divergence: mp_kl,
    jeffreys: mp_jeffreys,
    jensen_shannon: mp_jensen_shannon,
    total_variation: mp_total_variation,
}
EVERY = pytest.mark.parametrize("divergence", REFERENCES, ids=lambda f: f.__name__)


@given(logits())
@example(np.array([100.0, 0.0]))
@example(np.array([0.0, 0.0, -745.0]))
def test_surprisal_and_entropy_keep_full_relative_accuracy(z):
    with mpmath.workdps(400):
        p = shares(z)
        want = [float(-log(q)) for q in p]
        disorder = float(-mpmath.fsum(q * log(q) for q in p))
    np.testing.assert_allclose(surprisal(z), want, rtol=1e-13, atol=1e-300)
    assert entropy(z) == pytest.approx(disorder, rel=1e-12, abs=1e-290)


@EVERY
@given(z=logits(), seed=st.integers(0, 2**32 - 1), log_gap=st.floats(-12, 2.5))
@example(z=np.array([500.0, 0.0]), seed=0, log_gap=2.5)
def test_divergences_keep_full_relative_accuracy(divergence, z, seed, log_gap):
    other = z + 10.0**log_gap * np.random.default_rng(seed).standard_normal(len(z))
    with mpmath.workdps(700):
        want = float(REFERENCES[divergence](shares(z), shares(other)))
    got = divergence(z, other)
    assert got >= 0
    # a divergence below the square of round-off of the logits is of round-off
    assert got == pytest.approx(want, rel=1e-9, abs=1e-250)


@EVERY
def test_nearly_equal_networks_keep_their_digits(divergence):
    z = np.array([3.0, 1.0, -2.0, 0.5])
    for gap in (1e-3, 1e-6, 1e-9, 1e-12):
        step = gap * np.array([1.0, -2.0, 0.5, 0.25])
        other = z + step
        with mpmath.workdps(60):
            want = float(REFERENCES[divergence](shares(z), shares(other)))
        assert divergence(z, other) == pytest.approx(want, rel=2e-4 * 1e-12 / gap + 1e-12, abs=0)


@EVERY
def test_they_are_those_of_the_probabilities(divergence):
    of_rows = {"kl_divergence": "kl"}.get(divergence.__name__, divergence.__name__)
    rng = np.random.default_rng(0)
    z, other = 3 * rng.standard_normal((2, 7, 50, 6))
    want = getattr(divergences, of_rows)(softmax(z), softmax(other))
    np.testing.assert_allclose(divergence(z, other), want, rtol=1e-11)
    assert divergence(z[0], other).shape == (7, 50)
    np.testing.assert_array_equal(divergence(z[0], other)[0], divergence(z[0], other[0]))
    assert np.ndim(divergence(z[0, 0], other[0, 0])) == 0
    np.testing.assert_allclose(divergence(z, z + 0.5), 0.0, atol=1e-15)


@EVERY
def test_rows_are_the_same_however_many_there_are(divergence):
    rng = np.random.default_rng(1)
    z, other = 5 * rng.standard_normal((2, 9001, 10))
    got = divergence(z, other)
    for row in (0, 3999, 4000, 9000):
        assert got[row] == divergence(z[row], other[row])


@given(logits(1e6), st.integers(0, 2**32 - 1), st.sampled_from((1e-9, 1.0, 3.0, 1e5)))
@pytest.mark.theorem("labels:binary-divergence")
def test_p78_the_binary_divergence_of_a_class_is_no_larger(z, seed, scale):
    other = z + scale * np.random.default_rng(seed).standard_normal(len(z))
    got, full = binary_kl(z, other), kl_divergence(z, other)
    assert 0 <= got <= full * (1 + 1e-9) + 1e-12
    y = int(np.argmax(z))
    pair = [np.array([confidence(v, y), 0.0]) for v in (z, other)]
    assert got == kl_divergence(*pair)
    for label in range(len(z)):
        assert binary_kl(z, other, label) <= full * (1 + 1e-9) + 1e-12


@given(st.integers(0, 2**32 - 1))
def test_of_two_classes_the_binary_divergence_is_all_there_is(seed):
    z, other = np.random.default_rng(seed).standard_normal((2, 4, 2))
    np.testing.assert_allclose(binary_kl(z, other), kl_divergence(z, other), rtol=1e-9)


def test_logits_at_the_ends_of_the_range():
    big = 1e308
    assert entropy([big, -big]) == 0.0
    assert entropy([big, big, -big]) == pytest.approx(np.log(2))
    np.testing.assert_array_equal(surprisal([big, -big]), [0.0, np.inf])
    for divergence in REFERENCES:
        assert divergence([big, -big], [big, -big]) == 0.0
    certain, even = [big, -big], [0.0, 0.0]
    assert kl_divergence(certain, even) == pytest.approx(np.log(2))
    assert kl_divergence(even, certain) == np.inf
    assert jeffreys(even, certain) == np.inf
    assert jeffreys([0.0, big], [0.0, -big]) == np.inf  # a sum of two that are in range
    assert jensen_shannon(certain, certain[::-1]) == np.log(2)
    assert total_variation(certain, certain[::-1]) == 1.0
    assert total_variation(certain, even) == 0.5
    assert binary_kl(certain, even) == pytest.approx(np.log(2))


def test_saturated_networks_that_differ_are_apart_by_their_margin():
    assert kl_divergence([1000.0, 0.0], [0.0, 1000.0]) == 1000.0
    assert kl_divergence([2000.0, 0.0, 0.0], [1000.0, 0.0, 0.0]) == pytest.approx(0, abs=1e-300)
    assert jensen_shannon([1000.0, 0.0], [0.0, 1000.0]) == pytest.approx(np.log(2), rel=1e-15)


def test_agreement_counts_the_lowest_of_equal_classes():
    assert agreement([[1.0, 1.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, 2.0]]) == 1.0
    assert agreement([[1.0, 1.0], [0.0, 1.0]], [[0.0, 2.0], [0.0, 2.0]]) == 0.5
    with pytest.raises(ValueError, match="at least one sample"):
        agreement(np.zeros((0, 3)), np.zeros((0, 3)))


@EVERY
@pytest.mark.parametrize(
    ("z", "other", "says"),
    [
        ([[1.0]], [[1.0]], "at least two classes"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], "same classes"),
        (np.zeros((2, 3)), np.zeros((4, 3)), "must broadcast"),
        ([1.0, np.nan], [0.0, 0.0], "teacher_logits must be finite"),
        ([0.0, 0.0], [1.0, np.inf], "student_logits must be finite"),
    ],
)
def test_bad_logits_are_refused(divergence, z, other, says):
    with pytest.raises(ValueError, match=says):
        divergence(z, other)
