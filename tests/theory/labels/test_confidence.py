"""Confidences and slopes: against mpmath, numpy's fits, and by coverage."""

import time

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from theory.labels.confidence import (
    Dissection,
    confidence,
    dissect,
    entropy,
    exaggeration_slope,
    exaggeration_slope_interval,
    kl_divergence,
)
from theory.labels.softmax import surprisal

logits = st.integers(2, 8).flatmap(lambda k: arrays(float, k, elements=st.floats(-300, 300)))


def softmax(z):
    return [
        mpmath.exp(v) / mpmath.fsum(mpmath.exp(u) for u in map(mpmath.mpf, z))
        for v in map(mpmath.mpf, z)
    ]


@given(logits, st.data())
def test_71_72_confidence_is_the_log_odds(z, data):
    y = data.draw(st.integers(0, len(z) - 1))
    shift = data.draw(st.floats(-100, 100))
    got = confidence(z, y)
    with mpmath.workdps(400):
        p = softmax(z)[y]
        rest = mpmath.fsum(q for k, q in enumerate(softmax(z)) if k != y)
        want = float(mpmath.log(p / rest))
    # both z_y - max and the logarithm of the rest are rounded once
    assert abs(got - want) <= 4e-16 * (np.abs(z).max() * 2 + abs(want) + 3)
    assert confidence(z + shift, y) == pytest.approx(got, abs=1e-11)
    assert np.logaddexp(0, -got) == pytest.approx(surprisal(z)[y], rel=1e-11, abs=1e-11)


@given(logits)
def test_73_confidence_in_the_predicted_class_has_a_floor(z):
    got = confidence(z, int(np.argmax(z)))
    assert np.isfinite(got)
    assert got >= -np.log(len(z) - 1) - 1e-12


@given(logits, st.data())
def test_74_confidence_grows_one_for_one_with_its_own_logit(z, data):
    y = data.draw(st.integers(0, len(z) - 1))
    other = data.draw(st.integers(0, len(z) - 1).filter(lambda k: k != y))
    step = np.zeros(len(z))
    step[y] = 0.5
    assert confidence(z + step, y) - confidence(z, y) == pytest.approx(0.5, abs=1e-12)
    step = np.zeros(len(z))
    step[other] = 0.5
    assert confidence(z + step, y) <= confidence(z, y)


def test_confidence_at_the_edges():
    assert confidence([1000.0, 0.0, 0.0], 0) == 1000.0 - np.log(2)
    assert confidence([3.0, 1.0], 0) == 2.0
    assert confidence([3.0, 1.0], 1) == -2.0
    assert confidence(np.zeros((5, 1, 3)), np.zeros((1, 4), dtype=int)).shape == (5, 4)
    np.testing.assert_array_equal(confidence([[1, 2], [5, 2]], [0, 0]), [-1.0, 3.0])


@pytest.mark.parametrize(
    ("z", "y", "says"),
    [
        ([[1.0], [2.0]], [0, 0], "at least two classes"),
        (1.0, 0, "at least two classes"),
        ([1.0, 2.0], 2, "label must be integers from 0 to 1"),
        ([1.0, 2.0], -1, "label must be integers"),
        ([1.0, 2.0], 0.5, "label must be integers"),
        ([1.0, np.nan], 0, "logits must be finite"),
        ([1.0, np.inf], 0, "logits must be finite"),
        (np.zeros((3, 2)), [0, 1], "label must broadcast"),
    ],
)
def test_bad_logits_and_labels_are_refused(z, y, says):
    with pytest.raises(ValueError, match=says):
        confidence(z, y)


@given(logits)
def test_surprisal_and_entropy_keep_full_relative_accuracy(z):
    with mpmath.workdps(400):
        p = softmax(z)
        want = [float(-mpmath.log(q)) for q in p]
        disorder = float(-mpmath.fsum(q * mpmath.log(q) for q in p))
    np.testing.assert_allclose(surprisal(z), want, rtol=1e-13, atol=1e-300)
    assert entropy(z) == pytest.approx(disorder, rel=1e-12, abs=1e-290)


@given(logits, st.integers(0, 2**32 - 1), st.floats(-12, 2))
def test_kl_divergence_keeps_full_relative_accuracy(z, seed, log_gap):
    other = z + 10.0**log_gap * np.random.default_rng(seed).standard_normal(len(z))
    with mpmath.workdps(700):
        p, q = softmax(z), softmax(other)
        want = float(mpmath.fsum(a * mpmath.log(a / b) for a, b in zip(p, q, strict=True)))
    got = kl_divergence(z, other)
    assert got >= 0
    # rounding of the given logits themselves moves the difference by eps |z|
    assert (
        got == pytest.approx(want, rel=1e-9, abs=1e-300 if want == 0 else 0)
        or abs(got - want) < 1e-12 * want + 1e-250
    )


@given(logits, st.integers(0, 2**32 - 1))
def test_78_the_binary_divergence_of_a_class_is_no_larger(z, seed):
    other = z + np.random.default_rng(seed).standard_normal(len(z)) * 3
    y = int(np.argmax(z))
    pair = [np.array([confidence(v, y), 0.0]) for v in (z, other)]
    assert kl_divergence(*pair) <= kl_divergence(z, other) + 1e-12


@given(st.integers(8, 300), st.integers(0, 2**32 - 1), st.floats(0.05, 1.0))
def test_75_76_slope_is_equivariant(n, seed, fraction):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal(n), rng.standard_normal(n)
    line = exaggeration_slope(x, y, fraction)
    assume(line.count >= 2)
    moved = exaggeration_slope(x + 3.0, 2.5 * y - 1.0, fraction)
    assert moved.slope == pytest.approx(2.5 * line.slope, rel=1e-9, abs=1e-9)
    assert exaggeration_slope(x, x, fraction).slope == 1.0
    assert exaggeration_slope(x, x, fraction, side="top").slope == 1.0
    flipped = exaggeration_slope(-x, -y, fraction, side="top")
    assert flipped.slope == pytest.approx(line.slope, rel=1e-12)
    chosen = np.argsort(x, kind="stable")[: line.count]
    if line.count > 2:
        slope, intercept = np.polyfit(x[chosen], y[chosen], 1)
        assert (line.slope, line.intercept) == pytest.approx((slope, intercept), rel=1e-6, abs=1e-8)


def test_selection_counts_and_undefined_slopes():
    x = np.arange(10.0)
    assert exaggeration_slope(x, x, 0.25).count == 3
    assert exaggeration_slope(np.arange(100.0), np.arange(100.0), 0.07).count == 7
    assert exaggeration_slope(x, x, 1.0).count == 10
    for line in (exaggeration_slope(x, x, 0.1), exaggeration_slope(np.full(8, 0.1), x[:8])):
        assert np.isnan([line.slope, line.intercept]).all()
    # equal X: the first in the data are taken
    tied = exaggeration_slope([1.0, 0.0, 1.0, 1.0], [5.0, 0.0, 9.0, 9.0], 0.5)
    assert tied.slope == 5.0
    tied = exaggeration_slope([1.0, 2.0, 1.0, 1.0], [5.0, 0.0, 9.0, 9.0], 0.5, side="top")
    assert tied.slope == -5.0


@pytest.mark.parametrize("across", [1e-320, 1e-200, 1e-160, 1.0, 1e160, 1e200, 5e307])
@pytest.mark.parametrize("up", [1e-300, 1e-200, 1.0, 1e200, 5e307])
def test_the_slope_is_right_at_any_scale(across, up):
    x, y = np.array([1.0, 2.0, 3.0]) * across, np.array([1.0, 3.0, 2.0]) * up
    got = exaggeration_slope(x, y, 1.0)
    with mpmath.workdps(40):
        X, Y = [list(map(mpmath.mpf, values)) for values in (x, y)]
        mean = mpmath.fsum(X) / 3
        slope = mpmath.fsum((a - mean) * b for a, b in zip(X, Y, strict=True))
        slope /= mpmath.fsum((a - mean) ** 2 for a in X)
        intercept = float(mpmath.fsum(Y) / 3 - slope * mean)
    assert got.slope == pytest.approx(float(slope), rel=1e-13, abs=1e-320)
    assert got.intercept == pytest.approx(intercept, rel=1e-13)
    interval = exaggeration_slope_interval(
        x, y, fraction=1.0, rng=np.random.default_rng(0), resamples=20
    )
    assert interval.estimate == got.slope
    assert interval.low <= interval.high


def test_logits_at_the_ends_of_the_range():
    big = 1e308
    assert entropy([big, -big]) == 0.0
    assert entropy([big, big, -big]) == pytest.approx(np.log(2))
    np.testing.assert_array_equal(surprisal([big, -big]), [0.0, np.inf])
    assert confidence([big, -big], 0) == np.inf
    assert kl_divergence([big, -big], [big, -big]) == 0.0
    assert kl_divergence([big, -big], [0.0, 0.0]) == pytest.approx(np.log(2))
    assert kl_divergence([0.0, 0.0], [big, -big]) == np.inf


def test_the_fast_interval_selects_as_a_plain_bootstrap_does():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(60)
    y = 1.3 * x + 0.3 * rng.standard_normal(60)
    for side in ("bottom", "top"):
        order = np.argsort(x if side == "bottom" else -x)
        draws, state = [], np.random.default_rng(5)
        for index in state.integers(0, 60, (300, 60)):
            # without ties the order within a resample is that of X
            pick = order[np.sort(index)]
            draws.append(exaggeration_slope(x[pick], y[pick], 0.25, side).slope)
        want = np.quantile(draws, [0.025, 0.975])
        got = exaggeration_slope_interval(
            x, y, rng=np.random.default_rng(5), side=side, resamples=300
        )
        assert (got.low, got.high) == pytest.approx(tuple(want), rel=1e-9)
        assert got.n == 60


def test_interval_of_the_slope_covers():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(1000):
        x = rng.standard_normal(400)
        y = 1.2 * x + (0.3 + 0.2 * np.abs(x)) * rng.standard_t(5, 400)
        covered.append(not exaggeration_slope_interval(x, y, rng=rng, resamples=200).excludes(1.2))
    # nominal .95, known to be .93 here; five standard errors
    assert abs(np.mean(covered) - 0.93) < 0.04


def test_a_thousand_slopes_of_ten_thousand_points_are_fast():
    rng = np.random.default_rng(2)
    x = rng.standard_normal(10_000)
    start = time.perf_counter()
    got = exaggeration_slope_interval(x, 2 * x + rng.standard_normal(10_000), rng=rng)
    assert time.perf_counter() - start < 2
    assert got.low < 2 < got.high


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"teacher": [1.0]}, "shapes must agree"),
        ({"teacher": [], "student": []}, "one confidence a sample"),
        ({"teacher": [[1.0, 2.0]], "student": [[1.0, 2.0]]}, "one confidence a sample"),
        ({"fraction": 0.0}, "fraction must be in"),
        ({"fraction": 1.5}, "fraction must be in"),
        ({"side": "left"}, "side must be one of"),
        ({"student": [1.0, np.nan]}, "student must be finite"),
    ],
)
def test_bad_slopes_are_refused(change, says):
    good = {"teacher": [1.0, 2.0], "student": [1.0, 2.0]}
    with pytest.raises(ValueError, match=says):
        exaggeration_slope(**(good | change))
    with pytest.raises(ValueError, match=says):
        exaggeration_slope_interval(**(good | change), rng=np.random.default_rng(0))


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=300))
def test_77_dissection_is_a_partition(rows):
    teacher, student, truth = np.array(rows).T
    got = dissect(teacher, student, truth)
    assert isinstance(got, Dissection)
    total = got.both + got.only_student + got.only_teacher + got.neither
    assert total == pytest.approx(1)
    assert got.both + got.only_teacher == pytest.approx((teacher == truth).mean())
    assert got.both + got.only_student == pytest.approx((student == truth).mean())


def test_dissecting_nothing_or_unequal_shapes_is_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        dissect([], [], [])
    with pytest.raises(ValueError, match="shapes must agree"):
        dissect([0], [0, 1], [0, 1])
