"""Slopes of confidence on confidence: equivariance, selection, and intervals by coverage."""

import mpmath
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from theory.labels.confidence import (
    exaggeration,
    exaggeration_slope,
    exaggeration_slope_hc3,
    exaggeration_slope_interval,
    over_seeds_interval,
    reliability,
    slope_intervals,
)
from theory.statistics import t_interval


@given(st.integers(8, 300), st.integers(0, 2**32 - 1), st.floats(0.05, 1.0), st.booleans())
@pytest.mark.theorem("labels:slope-equivariance")
def test_p75_slope_takes_the_scale_of_the_student_and_no_origin(n, seed, fraction, ties):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal(n), rng.standard_normal(n)
    if ties:
        x = np.round(x)
    line = exaggeration_slope(x, y, fraction)
    assume(not np.isnan(line.slope))
    moved = exaggeration_slope(x + 3.0, 2.5 * y - 1.0, fraction)
    assert moved.slope == pytest.approx(2.5 * line.slope, rel=1e-9, abs=1e-9)
    assert moved.count == line.count
    assert exaggeration_slope(x, x, fraction).slope == 1.0
    if not np.isnan(exaggeration_slope(x, x, fraction, side="top").slope):
        assert exaggeration_slope(x, x, fraction, side="top").slope == 1.0
    chosen = np.argsort(x, kind="stable")[: line.count]
    if line.count > 2:
        slope, intercept = np.polyfit(x[chosen], y[chosen], 1)
        assert (line.slope, line.intercept) == pytest.approx((slope, intercept), rel=1e-6, abs=1e-8)


@given(st.integers(8, 300), st.integers(0, 2**32 - 1), st.floats(0.05, 1.0))
@pytest.mark.theorem("labels:slope-equivariance")
def test_p76_the_bottom_is_the_top_of_the_negative(n, seed, fraction):
    x, y = np.random.default_rng(seed).standard_normal((2, n))
    line = exaggeration_slope(x, y, fraction)
    flipped = exaggeration_slope(-x, -y, fraction, side="top")
    np.testing.assert_allclose(flipped.slope, line.slope, rtol=1e-12)
    np.testing.assert_allclose(flipped.intercept, -line.intercept, rtol=1e-12)


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
    rng = np.random.default_rng(0)
    interval = exaggeration_slope_interval(x, y, fraction=1.0, rng=rng, resamples=20)
    assert interval.estimate == got.slope
    assert interval.low <= interval.high
    assert exaggeration_slope_hc3(x, y, fraction=1.0).estimate == got.slope


def test_the_slope_of_a_narrow_quarter_keeps_its_digits():
    """The rest of the points may lie far away from those that count."""
    rng = np.random.default_rng(3)
    low = 1e-7 * rng.standard_normal(60)
    x = np.concatenate([low, 1e3 + rng.standard_normal(40)])
    y = np.concatenate([2 * low, rng.standard_normal(40)])
    got = exaggeration_slope_interval(x, y, rng=rng, resamples=100)
    assert [got.estimate, got.low, got.high] == pytest.approx([2, 2, 2], rel=1e-6)


def test_as_many_draws_fall_within_reach_as_in_a_whole_resample():
    """Of 1000 draws, 100 points get a binomial number; five standard errors of its variance."""
    totals = slope_intervals._drawn(np.random.default_rng(0), 1000, 100, 4000).sum(axis=1)
    assert abs(totals.mean() - 100) < 5 * np.sqrt(90 / 4000)
    assert abs(totals.var() - 90) < 5 * 90 * np.sqrt(2 / 4000)


def test_the_fast_interval_selects_as_a_plain_bootstrap_does():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(60)
    y, control = rng.standard_normal((2, 60)) * 0.3 + np.outer([1.3, 0.8], x)
    for side in ("bottom", "top"):
        order = np.argsort(x if side == "bottom" else -x)
        draws, state = [], np.random.default_rng(5)
        for index in state.integers(0, 60, (300, 60)):
            # without ties the order within a resample is that of X
            pick = order[np.sort(index)]
            line = exaggeration_slope(x[pick], y[pick], 0.25, side)
            other = exaggeration_slope(x[pick], control[pick], 0.25, side)
            first = pick[: line.count]
            gap = y[first] - x[first]
            draws.append(
                [line.slope, gap.mean(), (gap < 0).mean(), other.slope, line.slope - other.slope]
            )
        want = np.quantile(draws, [0.025, 0.975], axis=0).T
        got = exaggeration(
            x, y, control=control, rng=np.random.default_rng(5), side=side, resamples=300
        )
        for found, ends in zip(
            (got.slope, got.gap, got.below, got.control, got.excess), want, strict=True
        ):
            assert (found.low, found.high) == pytest.approx(tuple(ends), rel=1e-9)
            assert found.n == 60
        line = exaggeration_slope(x, y, 0.25, side)
        chosen = order[: line.count]
        assert got.slope.estimate == line.slope
        assert got.count == line.count
        assert got.gap.estimate == pytest.approx((y - x)[chosen].mean())
        assert got.below.estimate == pytest.approx((y < x)[chosen].mean())
        assert got.excess.estimate == pytest.approx(
            line.slope - exaggeration_slope(x, control, 0.25, side).slope
        )


def test_points_out_of_reach_change_nothing(monkeypatch):
    """Of many points only those that a resample can select are drawn: the same law."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal(4000)
    y = 1.2 * x + 0.5 * rng.standard_normal(4000)
    assert slope_intervals._reach(4000, 400) < 700
    ends = []
    for margin in (8.0, 1e9):
        monkeypatch.setattr(slope_intervals, "_MARGIN", margin)
        got = exaggeration_slope_interval(
            x, y, fraction=0.1, rng=np.random.default_rng(2), resamples=4000
        )
        ends.append((got.low, got.high))
    width = ends[0][1] - ends[0][0]
    # quantiles of 4000 draws differ by about 0.02 of the width
    np.testing.assert_allclose(ends[0], ends[1], atol=0.1 * width)


def covers(make, interval, truth, trials, rng):
    return np.mean([not interval(*make(rng)).excludes(truth) for _ in range(trials)])


def heteroscedastic(rng):
    x = rng.standard_normal(400)
    return x, 1.2 * x + (0.3 + 0.2 * np.abs(x)) * rng.standard_t(5, 400)


def test_interval_of_the_slope_covers():
    rng = np.random.default_rng(1)
    share = covers(
        heteroscedastic,
        lambda x, y: exaggeration_slope_interval(x, y, rng=rng, resamples=200),
        1.2, 1000, rng,
    )  # fmt: skip
    # nominal .95, known to be .93 here; five standard errors
    assert abs(share - 0.93) < 0.04


def test_hc3_covers():
    rng = np.random.default_rng(2)
    share = covers(heteroscedastic, exaggeration_slope_hc3, 1.2, 2000, rng)
    # nominal .95; heavy tails keep it a little below; five standard errors
    assert abs(share - 0.945) < 0.025


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_interval_over_seeds_covers(seeds):
    """The slope differs from seed to seed, and the samples are the same."""
    rng = np.random.default_rng(3)

    def make(rng):
        x = rng.standard_normal(200) + 0.2 * rng.standard_normal((seeds, 200))
        slopes = 1.2 + 0.2 * rng.standard_normal((seeds, 1))
        shared = 0.4 * rng.standard_normal(200)
        return x, slopes * x + shared + 0.4 * rng.standard_normal((seeds, 200))

    share = covers(
        make, lambda x, y: exaggeration_slope_interval(x, y, rng=rng, resamples=200),
        1.2, 150, rng,
    )  # fmt: skip
    # nominal .95 or a little more; four standard errors below
    assert share > 0.88
    alone = covers(
        make, lambda x, y: exaggeration_slope_interval(x[0], y[0], rng=rng, resamples=100),
        1.2, 150, rng,
    )  # fmt: skip
    assert alone < 0.9, "one seed does not know of the others"


def test_seeds_that_differ_by_chance_alone_do_not_count_twice():
    rng = np.random.default_rng(8)
    widths, alone = [], []
    for _ in range(20):
        x = rng.standard_normal(200) + 0.2 * rng.standard_normal((3, 200))
        y = 1.2 * x + 0.4 * rng.standard_normal(200) + 0.4 * rng.standard_normal((3, 200))
        several = exaggeration_slope_interval(x, y, rng=rng, resamples=200)
        one = exaggeration_slope_interval(x[0], y[0], rng=rng, resamples=200)
        widths.append(several.high - several.low)
        alone.append(one.high - one.low)
    assert np.mean(widths) < 0.9 * np.mean(alone)


def test_one_teacher_of_several_students():
    rng = np.random.default_rng(4)
    x = rng.standard_normal(100)
    y = x + 0.2 * rng.standard_normal((4, 100))
    got = exaggeration(x, y, rng=rng, control=0.5 * x)
    slopes = [exaggeration_slope(x, row).slope for row in y]
    assert got.slope.estimate == pytest.approx(np.mean(slopes), rel=1e-14)
    assert got.slope.n == 4
    assert got.slope.method == "bootstrap of seeds and pairs"
    assert got.control.estimate == pytest.approx(0.5)
    assert got.excess.estimate == pytest.approx(np.mean(slopes) - 0.5)
    assert 0 <= got.below.low <= got.below.high <= 1
    one = exaggeration(x, y[:1], rng=rng)
    assert one.slope.method == "bootstrap of pairs"


@pytest.mark.parametrize("n", [2, 3, 8])
def test_few_points_give_a_wide_interval_or_none(n):
    x = np.arange(float(n))
    got = exaggeration(x, x**2, rng=np.random.default_rng(0), fraction=1.0)
    assert got.count == n
    assert got.slope.low <= got.slope.estimate <= got.slope.high
    short = exaggeration_slope_hc3(x, x**2, fraction=1.0)
    assert np.isnan(short.low) == (n < 3)


def test_undefined_slopes_exclude_nothing():
    x = np.zeros(40)
    got = exaggeration(x, np.arange(40.0), rng=np.random.default_rng(0))
    assert np.isnan([got.slope.estimate, got.slope.low, got.slope.high]).all()
    assert got.gap.estimate == 4.5
    assert np.isnan(exaggeration_slope_hc3(x, x).low)
    # one point alone decides
    lever = exaggeration_slope_hc3([0.0, 0.0, 0.0, 1.0], [1.0, 2.0, 3.0, 4.0], fraction=1.0)
    assert lever.estimate == 2.0
    assert np.isnan([lever.low, lever.high]).all()


def test_hc3_is_the_sandwich():
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((2, 30))
    design = np.stack([np.ones(30), x], axis=1)
    inverse = np.linalg.pinv(design.T @ design)
    rest = y - design @ inverse @ design.T @ y
    leverage = np.diag(design @ inverse @ design.T)
    middle = design.T @ (design * ((rest / (1 - leverage)) ** 2)[:, None])
    error = np.sqrt((inverse @ middle @ inverse)[1, 1])
    got = exaggeration_slope_hc3(x, y, fraction=1.0, level=0.9)
    assert got.high - got.estimate == pytest.approx(1.70113093 * error, rel=1e-8)


@pytest.mark.theorem("labels:attenuation")
@given(st.floats(0.2, 5), st.floats(0.2, 5), st.sampled_from((0.1, 0.25, 1.0)), st.booleans())
def test_two_noisy_copies_have_the_slope_of_their_reliability(signal, noise, fraction, top):
    rng = np.random.default_rng(6)
    n = 20_000
    shared = np.sqrt(signal) * rng.standard_normal(n)
    x, y = shared + np.sqrt(noise) * rng.standard_normal((2, n))
    want = reliability(signal, noise)
    assert want < 1
    got = exaggeration_slope_hc3(x, y, fraction=fraction, side="top" if top else "bottom")
    error = (got.high - got.low) / (2 * 1.96)
    # five standard errors: one false alarm in two million draws
    assert abs(got.estimate - want) < 5 * error


def test_reliability_at_the_edges():
    np.testing.assert_array_equal(
        reliability([1.0, 0.0, 1e308, 1e-320], [0, 1, 1e308, 1e-320]), [1, 0, 0.5, 0.5]
    )
    with pytest.raises(ValueError, match="must not both be 0"):
        reliability(0.0, 0.0)
    with pytest.raises(ValueError, match="noise_variance must be >= 0"):
        reliability(1.0, -1.0)


@given(st.integers(1, 5), st.integers(2, 30), st.integers(0, 2**32 - 1))
@example(3, 2, 0)
def test_over_seeds_the_mean_square_of_both_counts_once(seeds, n, seed):
    values = np.random.default_rng(seed).standard_normal((seeds, n))
    got = over_seeds_interval(values)
    assert got.estimate == pytest.approx(values.mean(), abs=1e-12)
    assert got.low <= got.estimate <= got.high
    scaled = over_seeds_interval(1e200 * values)
    assert scaled.high == pytest.approx(1e200 * got.high, rel=1e-9)
    if seeds == 1:
        assert got == t_interval(values[0])
    else:
        same = over_seeds_interval(np.tile(values[0], (seeds, 1)))
        alone = t_interval(values[0])
        # seeds that all agree say no more than one of them
        assert (same.low, same.high) == pytest.approx((alone.low, alone.high), rel=1e-9)


@pytest.mark.parametrize("seeds", [2, 3, 8])
@pytest.mark.parametrize("of_seeds", [0.0, 0.3])
def test_over_seeds_covers(seeds, of_seeds):
    rng = np.random.default_rng(7)

    def make(rng):
        parts = of_seeds * rng.standard_normal((seeds, 1)) + rng.standard_normal(60)
        return (parts + rng.standard_normal((seeds, 60)),)

    share = covers(make, over_seeds_interval, 0.0, 1000, rng)
    # nominal .95; not far below, and wide only where two seeds differ
    assert 0.92 < share <= 1.0


def test_over_seeds_refuses_what_has_no_spread():
    for none in ([[1.0], [2.0]], np.zeros((0, 3)), np.zeros((3, 0))):
        with pytest.raises(ValueError, match="a seed and two samples at least"):
            over_seeds_interval(none)
    with pytest.raises(ValueError, match="level must be in"):
        over_seeds_interval([[1.0, 2.0]], level=1.0)
    constant = over_seeds_interval(np.ones((3, 4)))
    assert (constant.low, constant.high) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"teacher": [1.0]}, "shapes must agree"),
        ({"teacher": [], "student": []}, "one confidence a sample"),
        ({"teacher": 1.0, "student": 1.0}, "one confidence a sample"),
        ({"teacher": np.zeros((1, 1, 2)), "student": np.zeros((1, 1, 2))}, "one confidence"),
        ({"teacher": np.zeros((2, 2)), "student": np.zeros((3, 2))}, "shapes must agree"),
        ({"fraction": 0.0}, "fraction must be in"),
        ({"fraction": 1.5}, "fraction must be in"),
        ({"side": "left"}, "side must be one of"),
        ({"student": [1.0, np.nan]}, "student must be finite"),
    ],
)
def test_bad_slopes_are_refused(change, says):
    good = {"teacher": [1.0, 2.0], "student": [1.0, 2.0]}
    with pytest.raises(ValueError, match=says):
        exaggeration_slope_interval(**(good | change), rng=np.random.default_rng(0))
    if np.ndim((good | change)["teacher"]) < 2:
        for function in (exaggeration_slope, exaggeration_slope_hc3):
            with pytest.raises(ValueError, match=says):
                function(**(good | change))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"control": [1.0]}, "shapes must agree"),
        ({"control": [1.0, np.inf]}, "control must be finite"),
        ({"level": 0.0}, "level must be in"),
        ({"resamples": 0}, "resamples must be an integer >= 1"),
    ],
)
def test_bad_options_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        exaggeration([1.0, 2.0], [1.0, 2.0], rng=np.random.default_rng(0), **change)
