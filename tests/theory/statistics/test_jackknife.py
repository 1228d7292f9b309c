"""The jackknife: what it is for the mean, its bias correction, its coverage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.theory.statistics.coverage import band, coverage
from theory.statistics import jackknife_interval, leave_one_out, t_interval

SEEDS = st.integers(0, 2**32 - 1)


def mean(sample):
    return sample.mean(axis=1)


@given(SEEDS, st.sampled_from((1e-300, 1e-10, 1.0, 1e10, 1e300)))
def test_for_the_mean_it_is_students_interval(seed, scale):
    values = scale * np.random.default_rng(seed).normal(3.0, 1.0, 7)
    got = jackknife_interval(leave_one_out(values / scale, mean) * scale, values.mean())
    want = t_interval(values)
    assert (got.low, got.high) == pytest.approx((want.low, want.high), rel=1e-9, abs=1e-12 * scale)
    assert (got.n, got.method, got.level) == (7, "jackknife", 0.95)


@given(SEEDS)
def test_leave_one_out_against_a_loop(seed):
    values = np.random.default_rng(seed).normal(size=(6, 2))
    got = leave_one_out(values, lambda sample: (sample[..., 0] * sample[..., 1]).sum(axis=1))
    want = [np.prod(np.delete(values, k, axis=0), axis=1).sum() for k in range(6)]
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_leave_one_out_in_blocks(monkeypatch):
    values = np.random.default_rng(0).normal(size=50)
    whole = leave_one_out(values, mean)
    monkeypatch.setattr("theory.statistics.interval._BLOCK", 130)
    np.testing.assert_array_equal(leave_one_out(values, mean), whole)


@given(SEEDS)
def test_the_correction_makes_the_plug_in_variance_unbiased(seed):
    values = np.random.default_rng(seed).normal(size=9)
    without = leave_one_out(values, lambda sample: sample.var(axis=1))
    got = jackknife_interval(without, values.var(), correct_bias=True)
    assert got.estimate == pytest.approx(values.var(ddof=1), rel=1e-12)
    plain = jackknife_interval(without, values.var())
    assert plain.estimate == values.var()
    assert got.high - got.low == pytest.approx(plain.high - plain.low)


def test_coverage_of_the_mean_and_of_a_smooth_function():
    rng = np.random.default_rng(0)
    data = rng.normal(1.0, 1.0, (2000, 8))
    got = coverage(lambda x: jackknife_interval(leave_one_out(x, mean), x.mean()), data, 1.0)
    assert abs(got - 0.95) < band(2000)

    def log_mean(sample):
        return np.log(np.exp(sample).mean(axis=1))

    data = rng.normal(0.0, 0.5, (1500, 30))
    got = coverage(
        lambda x: jackknife_interval(
            leave_one_out(x, log_mean), log_mean(x[None])[0], correct_bias=True
        ),
        data,
        0.125,
    )
    assert abs(got - 0.94) < 0.035


def test_bias_correction_takes_off_the_bias_of_order_one_over_n():
    """-log of a mean over models, as the Heskes variance is: biased by half its variance over n."""
    rng = np.random.default_rng(1)
    data = np.exp(rng.normal(0.0, 0.5, (4000, 10)))

    def cost(sample):
        return -np.log(sample.mean(axis=1))

    plain, corrected = [], []
    for x in data:
        without, whole = leave_one_out(x, cost), cost(x[None])[0]
        plain.append(jackknife_interval(without, whole).estimate)
        corrected.append(jackknife_interval(without, whole, correct_bias=True).estimate)
    error = np.std(corrected) / np.sqrt(len(data))
    assert abs(np.mean(corrected) + 0.125) < 5 * error
    assert np.mean(plain) + 0.125 > 3 * error


def test_constant_statistic_is_a_point():
    got = jackknife_interval([2.0, 2.0, 2.0], 2.0, correct_bias=True)
    assert (got.low, got.estimate, got.high) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: jackknife_interval([1.0], 1.0), "leave_one_out must hold at least 2"),
        (lambda: jackknife_interval([1.0, np.nan], 1.0), "leave_one_out must be finite"),
        (lambda: jackknife_interval([[1.0, 2.0]] * 2, 1.0), "one number an observation"),
        (lambda: jackknife_interval([1.0, 2.0], np.nan), "estimate must be finite"),
        (lambda: jackknife_interval([1.0, 2.0], 1.0, level=2), "level must be in"),
        (lambda: jackknife_interval([1.0, 2.0], 1.0, correct_bias=1), "correct_bias must be True"),
        (lambda: leave_one_out([1.0], mean), "values must hold at least 2"),
        (lambda: leave_one_out([1.0, 2.0], np.mean), "statistic must return one number for each"),
    ],
)
def test_bad_input_is_refused_by_name(call, says):
    with pytest.raises(ValueError, match=says):
        call()
