"""Paired differences and their p-values."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.theory.statistics.coverage import band, coverage
from theory.statistics import paired_difference, paired_p_value, t_interval

METHODS = pytest.mark.parametrize("method", ["t", "bootstrap", "bca"])
PAIRS = st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)), min_size=2, max_size=20)


def rng():
    return np.random.default_rng(0)


@given(PAIRS)
def test_t_agrees_with_the_interval_of_the_differences(pairs):
    a, b = np.array(pairs).T
    got, want = paired_difference(a, b), t_interval(a - b)
    assert (got.estimate, got.low, got.high) == pytest.approx(
        (want.estimate, want.low, want.high), rel=1e-9, abs=1e-9
    )
    assert got.method == "paired t"


@METHODS
def test_swapping_the_two_turns_the_interval_around(method):
    a, b = np.random.default_rng(1).normal(size=(2, 12))
    one = paired_difference(a, b, method=method, rng=rng())
    other = paired_difference(b, a, method=method, rng=rng())
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), rel=1e-9)


def test_mappings_are_paired_by_seed():
    a, b = {3: 1.0, 1: 2.0, 2: 4.0}, {1: 1.5, 2: 3.0, 3: 0.0}
    got = paired_difference(a, b)
    assert got == paired_difference([1.0, 2.0, 4.0], [0.0, 1.5, 3.0])
    assert paired_p_value(a, b) == paired_p_value([1.0, 2.0, 4.0], [0.0, 1.5, 3.0])


def test_coverage_and_what_pairing_gains():
    source = np.random.default_rng(2)
    seed = source.normal(0.0, 3.0, (1000, 6, 1))
    data = seed + source.normal(0.0, 1.0, (1000, 6, 2)) + [0.5, 0.0]
    got = coverage(lambda x: paired_difference(*x.T), data, 0.5)
    assert abs(got - 0.95) < band(1000)
    apart = np.mean([t_interval(x[:, 0]).high - t_interval(x[:, 0]).low for x in data[:100]])
    paired = [paired_difference(*x.T) for x in data[:100]]
    assert np.mean([one.high - one.low for one in paired]) < 0.6 * apart


@pytest.mark.parametrize(("method", "covers"), [("bootstrap", 0.925), ("bca", 0.925)])
def test_bootstrap_coverage(method, covers):
    source = np.random.default_rng(3)
    data = source.exponential(size=(500, 20, 2))
    got = coverage(
        lambda x: paired_difference(*x.T, method=method, rng=source, resamples=400), data, 0.0
    )
    assert abs(got - covers) < 0.06


@METHODS
@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e200, 1.7e308])
def test_huge_and_tiny_values(method, scale):
    a, b = scale * np.array([1.0, 0.5, 0.9]), scale * np.array([-1.0, 0.25, 0.9])
    got = paired_difference(a, b, method=method, rng=rng())
    want = paired_difference(a / scale, b / scale, method=method, rng=rng())
    assert got.estimate == pytest.approx(want.estimate * scale, rel=1e-6)
    assert not np.isnan([got.low, got.high]).any()
    assert paired_p_value(a, b) == pytest.approx(paired_p_value(a / scale, b / scale), rel=1e-6)


@given(PAIRS)
def test_t_p_value_agrees_with_scipy(pairs):
    a, b = np.array(pairs).T
    got = paired_p_value(a, b)
    if np.ptp(a - b) > 1e-9 * max(1.0, np.abs(a - b).max()):
        assert got == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-6, abs=1e-300)
    assert 0 <= got <= 1


def test_sign_flips_are_counted_one_by_one():
    gap = np.array([0.3, 0.3, -0.1, 0.7, 0.0, 1.1])
    sums = [abs(np.dot(signs, gap)) for signs in itertools.product((1, -1), repeat=len(gap))]
    want = np.mean(np.array(sums) >= abs(gap.sum()) - 1e-12)
    assert paired_p_value(gap, 0 * gap, method="signs") == want
    assert paired_p_value(np.ones(5), np.zeros(5), method="signs") == 2 / 2**5
    assert paired_p_value(np.zeros(5), np.zeros(5), method="signs") == 1


def test_drawn_sign_flips_agree_with_all_of_them():
    gap = np.random.default_rng(4).normal(0.4, 1.0, 16)
    exact = paired_p_value(gap, 0 * gap, method="signs")
    # a seventeenth pair without a difference changes no sum
    longer = np.append(gap, 0.0)
    drawn = paired_p_value(longer, 0 * longer, method="signs", rng=rng(), resamples=40_000)
    assert abs(drawn - exact) < 5 * np.sqrt(exact * (1 - exact) / 40_000) + 1 / 40_000
    assert (
        paired_p_value(np.ones(30), np.zeros(30), method="signs", rng=rng(), resamples=99) == 0.01
    )


def test_p_values_are_uniform_where_there_is_no_difference():
    source = np.random.default_rng(5)
    data = source.normal(size=(2000, 7))
    for method in ("t", "signs"):
        values = np.array([paired_p_value(x, 0 * x, method=method) for x in data])
        assert abs((values <= 0.0625).mean() - 0.0625) < 5 * np.sqrt(0.06 / 2000)


def test_equal_differences_have_no_error():
    assert paired_p_value([1.0, 2.0], [0.0, 1.0]) == 0
    assert paired_p_value([1.0, 2.0], [1.0, 2.0]) == 1
    got = paired_difference([1.0, 2.0], [0.0, 1.0])
    assert (got.low, got.high) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: paired_difference([1, 2, 3], [1, 2]), "must be paired, got 3 and 2 values"),
        (lambda: paired_difference([1], [2]), "a must hold at least 2"),
        (lambda: paired_difference([1, 2], [[1, 2], [1, 2]]), "b must be one number an obs"),
        (lambda: paired_difference({1: 2.0}, [2.0]), "both be arrays or both be mappings"),
        (lambda: paired_difference({1: 2, 2: 3}, {1: 2, 3: 3}), "same seeds, got 2, 3 in one"),
        (lambda: paired_difference([1, 2], [1, 3], method="bca"), "rng must be .* 'bca'"),
        (lambda: paired_difference([1, 2], [1, 3], method="z"), "method must be one of"),
        (lambda: paired_difference([1, np.nan], [1, 3]), "a must be finite"),
        (lambda: paired_p_value([1.0] * 17, [0.0] * 17, method="signs"), "rng must be"),
        (lambda: paired_p_value([1.0] * 3, [0.0] * 3, method="bca"), "method must be one of"),
    ],
)
def test_bad_input_is_refused_by_name(call, says):
    with pytest.raises(ValueError, match=says):
        call()
