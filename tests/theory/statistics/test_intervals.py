"""Intervals: against scipy, and by how often they cover the truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from theory.statistics import (
    Interval,
    bootstrap_interval,
    node_bootstrap_interval,
    proportion_interval,
    t_interval,
)

# Coverage is tested by simulation with 1000 data sets: its standard error is 0.007 at 0.95, and
# the bands below are five of them, a false alarm once in two million.
BAND = 5 * np.sqrt(0.95 * 0.05 / 1000)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30), st.floats(0.5, 0.999))
def test_t_interval_agrees_with_scipy(values, level):
    got = t_interval(values, level)
    assert got.estimate == pytest.approx(np.mean(values), rel=1e-13, abs=1e-12)
    error = stats.sem(values)
    if error > 0:
        want = stats.t.interval(level, len(values) - 1, np.mean(values), error)
        assert (got.low, got.high) == pytest.approx(want, rel=1e-10, abs=1e-10)
    assert (got.n, got.level) == (len(values), level)


def test_t_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = [not t_interval(rng.standard_normal(5)).excludes(0.0) for _ in range(1000)]
    assert abs(np.mean(covered) - 0.95) < BAND


def test_t_interval_far_from_one_and_of_constant_values():
    wide = t_interval([1e200, 3e200])
    assert wide.estimate == 2e200
    assert np.isfinite(wide.high)
    tiny = t_interval([1e-300, 3e-300])
    assert tiny.estimate == pytest.approx(2e-300, rel=1e-14)
    assert tiny.low < 0 < tiny.high
    assert t_interval([0.1, 0.1]) == Interval(0.1, 0.1, 0.1, 0.95, 2, "t")
    assert t_interval([0.0, 0.0]).high == 0


def test_bootstrap_of_the_mean_and_of_a_correlation_cover():
    rng = np.random.default_rng(1)
    mean, correlation = [], []
    chol = np.linalg.cholesky([[1.0, 0.6], [0.6, 1.0]])

    def pearson(sample):
        centered = sample - sample.mean(axis=1, keepdims=True)
        x, y = centered[..., 0], centered[..., 1]
        return (x * y).sum(axis=1) / np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))

    for _ in range(1000):
        mean.append(
            not bootstrap_interval(rng.exponential(size=60), rng=rng, resamples=400).excludes(1)
        )
        pairs = rng.standard_normal((80, 2)) @ chol.T
        correlation.append(
            not bootstrap_interval(pairs, pearson, rng=rng, resamples=400).excludes(0.6)
        )
    # the percentile bootstrap covers a little less than it says at these sizes
    assert abs(np.mean(mean) - 0.93) < 0.035
    assert abs(np.mean(correlation) - 0.93) < 0.035


def test_bootstrap_is_reproducible_and_handles_undefined_resamples():
    first = bootstrap_interval([1.0, 2.0, 5.0], rng=np.random.default_rng(3))
    assert first == bootstrap_interval([1.0, 2.0, 5.0], rng=np.random.default_rng(3))
    assert 1 <= first.low <= first.estimate <= first.high <= 5

    def undefined(sample):
        return np.where(sample.std(axis=1) > 0, sample.mean(axis=1), np.nan)

    some = bootstrap_interval([1.0, 2.0, 3.0], undefined, rng=np.random.default_rng(0))
    assert np.isfinite([some.low, some.high]).all()
    none = bootstrap_interval([1.0, 1.0, 1.0], undefined, rng=np.random.default_rng(0))
    assert np.isnan([none.estimate, none.low, none.high]).all()
    assert not none.excludes(0.0)


def node_pairs(rng, nodes, spread):
    """Pair values with a common part for each node: exchangeable, of mean 0."""
    node = spread * rng.standard_normal(nodes)
    return node[:, None] + node + rng.standard_normal((nodes, nodes))


def test_node_bootstrap_covers_where_an_interval_over_pairs_would_not():
    rng = np.random.default_rng(2)
    nodes, naive = [], []
    for _ in range(1000):
        values = node_pairs(rng, 30, 1.0)
        nodes.append(not node_bootstrap_interval(values, rng=rng, resamples=400).excludes(0.0))
        flat = values[np.triu_indices(30, 1)]
        naive.append(not t_interval(flat).excludes(0.0))
    assert abs(np.mean(nodes) - 0.945) < 0.035
    assert np.mean(naive) < 0.5


@pytest.mark.parametrize(("name", "function"), [("mean", np.mean), ("median", np.median)])
def test_fast_pair_statistics_equal_plain_functions(name, function):
    rng = np.random.default_rng(4)
    values = rng.integers(0, 5, (9, 9)).astype(float)
    values[2, 5] = np.nan
    fast = node_bootstrap_interval(values, name, rng=np.random.default_rng(7), resamples=300)
    slow = node_bootstrap_interval(values, function, rng=np.random.default_rng(7), resamples=300)
    assert (fast.estimate, fast.low, fast.high) == pytest.approx(
        (slow.estimate, slow.low, slow.high)
    )
    upper = values[np.triu_indices(9, 1)]
    assert fast.estimate == pytest.approx(function(upper[~np.isnan(upper)]))
    assert fast.n == 9


def test_median_of_an_even_number_of_pairs_lies_between_the_middle_two():
    values = np.zeros((4, 4))
    values[np.triu_indices(4, 1)] = [1.0, 2.0, 3.0, 7.0, 8.0, 9.0]
    got = node_bootstrap_interval(values, "median", rng=np.random.default_rng(0), resamples=50)
    assert got.estimate == 5.0


def test_pairs_of_a_node_with_itself_are_never_formed():
    values = np.full((4, 4), np.nan)
    values[np.triu_indices(4, 1)] = 1.0
    got = node_bootstrap_interval(values, rng=np.random.default_rng(0), resamples=50)
    assert (got.low, got.estimate, got.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("statistic", ["mean", "median"])
@pytest.mark.parametrize("scale", [1e-310, 1e200, 1.7e308])
def test_node_bootstrap_of_huge_and_tiny_values(statistic, scale):
    values = np.random.default_rng(5).uniform(-1, 1, (6, 6))
    got, want = (
        node_bootstrap_interval(v, statistic, rng=np.random.default_rng(0), resamples=50)
        for v in (values * scale, values)
    )
    assert (got.low, got.high) == pytest.approx((want.low * scale, want.high * scale), rel=1e-6)


def binomial_coverage(method, total, level, share):
    """Exact: the chance of the counts whose interval holds the share."""
    counts = np.arange(total + 1)
    held = [not proportion_interval(k, total, level, method=method).excludes(share) for k in counts]
    return float(stats.binom.pmf(counts, total, share) @ held)


def test_coverage_of_a_share_is_known_exactly():
    shares = np.linspace(0.02, 0.98, 25)
    exact = [binomial_coverage("exact", 20, 0.9, share) for share in shares]
    assert min(exact) >= 0.9
    wilson = [binomial_coverage("wilson", 20, 0.9, share) for share in shares]
    assert np.mean(wilson) == pytest.approx(0.9, abs=0.015)
    assert min(wilson) > 0.8


@given(st.integers(1, 60), st.integers(0, 60), st.floats(0.5, 0.999))
def test_share_agrees_with_scipy(total, count, level):
    count = min(count, total)
    for method, theirs in (("wilson", "wilson"), ("exact", "exact")):
        got = proportion_interval(count, total, level, method=method)
        want = stats.binomtest(count, total).proportion_ci(level, method=theirs)
        assert (got.low, got.high) == pytest.approx((want.low, want.high), abs=1e-9)
        other = proportion_interval(total - count, total, level, method=method)
        assert (1 - other.high, 1 - other.low) == pytest.approx((got.low, got.high), abs=1e-12)
        assert got.low <= got.estimate <= got.high


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: t_interval([1.0]), "values must hold at least 2"),
        (lambda: t_interval(3.0), "values must hold at least 2"),
        (lambda: t_interval([[1.0, 2.0], [3.0, 4.0]]), "one number an observation"),
        (lambda: t_interval([1.0, np.nan]), "values must be finite"),
        (lambda: t_interval([1.0, 2.0], level=1.0), "level must be in"),
        (lambda: proportion_interval(3, 2), "count must be at most total"),
        (lambda: proportion_interval(0, 0), "total must be an integer >= 1"),
        (lambda: proportion_interval(1.5, 2), "count must be an integer"),
        (lambda: proportion_interval(1, 2, method="wald"), "method must be one of"),
        (lambda: bootstrap_interval([1.0], rng=RNG), "values must hold at least 2"),
        (lambda: bootstrap_interval([1.0, 2.0], np.mean, rng=RNG), "one number for each resample"),
        (lambda: bootstrap_interval([1.0, 2.0], rng=RNG, resamples=0), "resamples must be"),
        (lambda: node_bootstrap_interval(np.eye(2), rng=RNG), "at least 3 nodes"),
        (lambda: node_bootstrap_interval(np.ones((3, 4)), rng=RNG), "square"),
        (lambda: node_bootstrap_interval(np.full((3, 3), np.nan), rng=RNG), "only nan"),
        (lambda: node_bootstrap_interval(np.full((3, 3), np.inf), rng=RNG), "pairs must be finite"),
        (lambda: node_bootstrap_interval(np.eye(3), "mode", rng=RNG), "statistic must be one of"),
    ],
)
def test_bad_input_is_refused_by_name(call, says):
    with pytest.raises(ValueError, match=says):
        call()
