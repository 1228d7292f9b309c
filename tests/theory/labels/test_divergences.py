"""Divergences of probabilities: against mpmath, by their order, and at the corners."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.labels import divergences as d
from theory.labels.softmax import softmax


@st.composite
def pairs(draw):
    """Two rows near to or far from each other, with tiny entries and with zeros."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes = draw(st.integers(2, 8))
    p = softmax(draw(st.sampled_from((1.0, 30.0, 300.0))) * rng.standard_normal(classes))
    q = p * np.exp(10.0 ** draw(st.floats(-9, 2)) * rng.standard_normal(classes))
    if draw(st.booleans()):
        q[rng.integers(classes)] = 0.0
    if q.sum() == 0 or not np.isfinite(q.sum()):
        q = np.full(classes, 1.0 / classes)
    return p / p.sum(), q / q.sum()


def mp_kl(p, q):
    """With the difference of the sums, which float rows need not have equal to round-off."""
    total = mpmath.mpf(0)
    for a, b in zip(map(mpmath.mpf, p), map(mpmath.mpf, q), strict=True):
        if a > 0 and b == 0:
            return mpmath.inf
        total += (a * mpmath.log(a / b) if a > 0 else 0) + b - a
    return total


@given(pairs())
def test_kl_keeps_full_relative_accuracy_and_is_never_nan(pair):
    p, q = pair
    with mpmath.workdps(60):
        want = float(mp_kl(p, q))
    assert d.kl(p, q) == pytest.approx(want, rel=1e-13, abs=1e-300)
    assert d.jeffreys(p, q) == d.kl(p, q) + d.kl(q, p)


@given(pairs())
def test_divergences_are_ordered(pair):
    p, q = pair
    far, near = d.kl(p, q), d.total_variation(p, q)
    assert 0 <= near <= 1 + 1e-12
    assert far >= 2 * near**2 * (1 - 1e-9) - 1e-24
    assert 0 <= d.jensen_shannon(p, q) <= np.log(2) + 1e-12
    if np.isfinite(far):
        assert d.cross_entropy(p, q) == pytest.approx(d.entropy(p) + far, rel=1e-9, abs=1e-12)


def test_what_rounds_below_zero_by_the_plain_sum_is_clamped():
    p, q = np.array([5.9e-40, 1.0]), np.array([5e-324, 1.0])
    assert d.kl(p, q) > 0
    assert np.isfinite(np.sqrt(d.kl(p, q)))
    assert d.kl([0.3, 0.7], [0.3, 0.7]) == 0.0


def test_nothing_times_infinity_is_nothing():
    assert d.kl([0.0, 1.0], [0.0, 1.0]) == 0.0
    assert d.kl([1.0, 0.0], [0.0, 1.0]) == np.inf
    assert d.jeffreys([1.0, 0.0], [0.5, 0.5]) == np.inf
    assert d.cross_entropy([0.0, 1.0], [0.0, 1.0]) == 0.0
    assert d.entropy([0.0, 1.0]) == 0.0


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([[0.5, 0.5], [0.5, 0.6]], r"p must be distributions .* row 1 sums to 1 \+ 0.1"),
        ([[0.5, 0.4]], r"row 0 sums to 1 - 0.1"),
        ([1.5, -0.5], r"it has the negative entry -0.5"),
        ([[0.2, 0.2], [0.3, 0.3]], r"2 rows are wrong"),
        ([1.0], "at least two classes"),
        ([np.nan, 1.0], "must be finite"),
        ([1e308, 1e308], r"sums to 1 \+ inf"),
    ],
)
def test_rows_that_are_no_distributions_are_named(rows, says):
    with pytest.raises(ValueError, match=says):
        d.entropy(rows)


def test_classes_must_agree():
    with pytest.raises(ValueError, match="same classes"):
        d.kl([0.5, 0.5], [0.2, 0.3, 0.5])
