"""BCa: against scipy, by its coverage, in its degenerate cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.theory.statistics.coverage import band, coverage
from theory.statistics import bootstrap_interval, leave_one_out
from theory.statistics.bootstrap import acceleration

SEEDS = st.integers(0, 2**32 - 1)
BOTH = pytest.mark.parametrize("method", ["percentile", "bca"])


def spread(sample):
    return sample.std(axis=1)


def ratio(sample):
    return sample[..., 0].mean(axis=1) / sample[..., 1].mean(axis=1)


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize(("name", "scipy_name"), [("percentile", "percentile"), ("bca", "BCa")])
def test_agrees_with_scipy_on_the_same_resamples(name, scipy_name, level):
    values = np.random.default_rng(0).exponential(size=25)
    want = stats.bootstrap(
        (values,), np.std, method=scipy_name, n_resamples=999, confidence_level=level,
        rng=np.random.default_rng(3), axis=-1,
    )  # fmt: skip
    got = bootstrap_interval(
        values, spread, method=name, resamples=999, level=level, rng=np.random.default_rng(3)
    )
    assert (got.low, got.high) == pytest.approx(tuple(want.confidence_interval), rel=1e-12)
    assert got.estimate == pytest.approx(np.std(values))


def test_coverage_of_a_skewed_mean():
    """Of 20 exponential numbers both cover 0.903 (4000 data sets): BCa shifts, hardly widens."""
    rng = np.random.default_rng(1)
    data = rng.exponential(size=(1000, 20))
    both = [
        [
            bootstrap_interval(x, rng=np.random.default_rng(k), resamples=500, method=method)
            for method in ("percentile", "bca")
        ]
        for k, x in enumerate(data)
    ]
    for found in zip(*both, strict=True):
        covered = np.mean([not one.excludes(1.0) for one in found])
        assert abs(covered - 0.903) < band(1000, 0.903)
    # the long tail is at the right, and so is what the percentiles leave out
    shifted = np.mean([bca.high > plain.high and bca.low > plain.low for plain, bca in both])
    assert shifted > 0.95


def test_bca_covers_the_spread_where_the_percentiles_do_not():
    """The sample's spread is biased down, which only BCa corrects."""
    rng = np.random.default_rng(2)
    data = rng.standard_normal((600, 25))
    covered = {
        method: coverage(
            lambda x, m=method: bootstrap_interval(x, spread, rng=rng, resamples=500, method=m),
            data,
            1.0,
        )
        for method in ("percentile", "bca")
    }
    assert abs(covered["bca"] - 0.91) < 0.05
    assert covered["bca"] > covered["percentile"] + 0.03


def test_bca_covers_a_ratio_of_pairs():
    rng = np.random.default_rng(3)
    data = np.exp(0.5 * rng.standard_normal((500, 30, 2))) * [2.0, 1.0]
    got = coverage(
        lambda x: bootstrap_interval(x, ratio, rng=rng, resamples=500, method="bca"), data, 2.0
    )
    assert abs(got - 0.94) < 0.05


@BOTH
@given(seed=SEEDS, factor=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3))
def test_moves_with_affine_maps(method, seed, factor, shift):
    """A mean of a x + b has the interval a [low, high] + b, turned around for a < 0."""
    values = np.random.default_rng(seed).exponential(size=8)
    one = bootstrap_interval(values, rng=np.random.default_rng(0), resamples=60, method=method)
    other = bootstrap_interval(
        factor * values + shift, rng=np.random.default_rng(0), resamples=60, method=method
    )
    want = (factor * one.low + shift, factor * one.high + shift)
    assert (other.low, other.high) == pytest.approx(want, rel=1e-6, abs=1e-9 * (1 + abs(shift)))
    turned = bootstrap_interval(-values, rng=np.random.default_rng(0), resamples=60, method=method)
    assert (-turned.high, -turned.low) == pytest.approx((one.low, one.high), rel=1e-9)


def test_bca_follows_a_monotone_transformation_better_than_a_symmetric_interval_would():
    """The percentiles follow it exactly; BCa up to the jackknife's linearization."""
    values = np.random.default_rng(4).exponential(size=200)

    def squared(sample):
        return sample.mean(axis=1) ** 2

    kinds = {}
    for method in ("percentile", "bca"):
        plain = bootstrap_interval(values, rng=np.random.default_rng(0), method=method)
        square = bootstrap_interval(values, squared, rng=np.random.default_rng(0), method=method)
        kinds[method] = np.array([square.low - plain.low**2, square.high - plain.high**2])
    assert np.abs(kinds["percentile"]).max() < 1e-3
    assert np.abs(kinds["bca"]).max() < 5e-3


@given(SEEDS)
def test_the_order_of_the_observations_does_not_matter_to_the_jackknife(seed):
    rng = np.random.default_rng(seed)
    values = rng.exponential(size=9)
    turned = acceleration(leave_one_out(rng.permutation(values), spread))
    assert acceleration(leave_one_out(values, spread)) == pytest.approx(turned, rel=1e-9)


@given(SEEDS, st.sampled_from((1e-300, 1e-200, 1.0, 1e200, 1e307)))
def test_acceleration_is_a_sixth_of_the_skewness_over_root_n(seed, scale):
    values = np.random.default_rng(seed).exponential(size=12)
    # leaving out a large value lowers the mean, so that the skewness keeps its sign
    want = stats.skew(values) / 6 / np.sqrt(len(values))
    assert acceleration(-values * scale) == pytest.approx(want, rel=1e-9)


def test_given_leave_one_out_values_are_used():
    values = np.random.default_rng(5).exponential(size=15)
    how = {"resamples": 200, "method": "bca"}
    own = bootstrap_interval(values, spread, rng=np.random.default_rng(0), **how)
    how["leave_one_out"] = leave_one_out(values, spread)
    given_ = bootstrap_interval(values, spread, rng=np.random.default_rng(0), **how)
    assert own == given_
    how["leave_one_out"] = np.zeros(15)
    none = bootstrap_interval(values, spread, rng=np.random.default_rng(0), **how)
    assert none != own


@BOTH
def test_a_constant_statistic_is_a_point(method):
    for values in ([0.1, 0.1, 0.1], [0.0, 0.0], [1e300, 1e300], [5e-324, 5e-324]):
        got = bootstrap_interval(values, rng=np.random.default_rng(0), method=method)
        assert got.low == got.high == got.estimate == values[0]
    constant = bootstrap_interval(
        [1.0, 2.0], lambda s: np.full(len(s), 7.0), rng=np.random.default_rng(0), method=method
    )
    assert (constant.low, constant.high) == (7.0, 7.0)


def test_draws_on_one_side_leave_nothing_to_correct():
    """The sample's number of different values is above that of nearly every resample."""
    values = np.arange(40.0)

    def different(sample):
        ordered = np.sort(sample, axis=1)
        return 1.0 + (np.diff(ordered, axis=1) > 0).sum(axis=1)

    got = bootstrap_interval(values, different, rng=np.random.default_rng(0), method="bca")
    assert got.estimate == 40
    assert np.isnan([got.low, got.high]).all()
    assert not got.excludes(0.0)


def test_beyond_the_pole_the_end_is_the_outermost_draw():
    """An acceleration of 0.5 puts the pole within reach of the level."""
    values = np.append(np.zeros(30), 1.0)
    got = bootstrap_interval(
        values, rng=np.random.default_rng(0), method="bca", level=0.9999,
        leave_one_out=-np.append(np.zeros(30), 1.0),
    )  # fmt: skip
    assert np.isfinite([got.low, got.high]).all()
    assert acceleration(-np.append(np.zeros(8), 1.0)) > 0.1
    steep = bootstrap_interval(
        np.arange(9.0), rng=np.random.default_rng(0), method="bca", level=0.999999,
        leave_one_out=-np.append(np.zeros(8), 1.0),
    )  # fmt: skip
    draws = np.random.default_rng(0).integers(0, 9, (2000, 9)).mean(axis=1)
    assert steep.high == pytest.approx(draws.max())
    assert draws.min() <= steep.low < steep.high


@BOTH
def test_undefined_and_infinite_statistics(method):
    def undefined(sample):
        return np.where(sample.std(axis=1) > 0, sample.mean(axis=1), np.nan)

    some = bootstrap_interval(
        [1.0, 2.0, 4.0, 9.0], undefined, rng=np.random.default_rng(0), method=method
    )
    assert some.low < some.estimate < some.high
    # leaving one of two out makes it undefined: no acceleration to be had, no error either
    two = bootstrap_interval([1.0, 2.0], undefined, rng=np.random.default_rng(0), method=method)
    assert np.isnan(two.low) == (method == "bca")

    def inverse(sample):
        with np.errstate(divide="ignore"):
            return 1 / (sample == 1).sum(axis=1)

    wide = bootstrap_interval(
        [1.0, 2.0, 3.0, 4.0], inverse, rng=np.random.default_rng(0), method="percentile"
    )
    assert (wide.estimate, wide.low, wide.high) == (1.0, 1 / 3, np.inf)


@BOTH
@pytest.mark.parametrize("scale", [1e-310, 1e-200, 1e200, 1.7e308])
def test_huge_and_tiny_values(method, scale):
    values = np.array([0.2, 0.5, 0.9, 1.0, 0.1])
    want = bootstrap_interval(values, rng=np.random.default_rng(0), method=method)
    got = bootstrap_interval(values * scale, rng=np.random.default_rng(0), method=method)
    assert got.high == pytest.approx(want.high * scale, rel=1e-6)
    signs = bootstrap_interval(
        np.array([-1.0, 1.0, 0.5]) * scale, rng=np.random.default_rng(0), method=method
    )
    assert signs.low < 0 < signs.high


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"method": "BCA"}, "method must be one of 'percentile', 'bca', got 'BCA'"),
        ({"method": "bca", "leave_one_out": [1.0]}, "leave_one_out must hold one number for each"),
        ({"level": 0.0}, "level must be in"),
    ],
)
def test_bad_input_is_refused_by_name(more, says):
    with pytest.raises(ValueError, match=says):
        bootstrap_interval([1.0, 2.0, 3.0], rng=np.random.default_rng(0), **more)
