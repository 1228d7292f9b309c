"""Scalar functions: full relative accuracy against mpmath, limits, monotony."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests import reference, strategies
from theory.numerics import exp_beyond_linear, h, log_phi, phi, progress, w

EPS = np.finfo(float).eps
NUMBERS = st.floats(-320, 3).map(lambda exponent: 10.0**exponent)
NEGATIVE = st.floats(-150, 2).map(lambda exponent: -(10.0**exponent))


def _close(got, want, ulps=6):
    return reference.relative_error(got, want) <= ulps * EPS


@given(x=NUMBERS)
@example(x=np.log(2.0))
@example(x=1e-320)
def test_each_function_has_full_relative_accuracy(x):
    with mp.workdps(400):
        exact = mp.mpf(x)
        assert _close(phi(x), reference.mp_phi(exact))
        assert _close(w(x), exact / mp.expm1(exact)) or w(x) < 1e-300
        if x > 1e-300:  # below, phi(x) / x is a quotient of subnormal numbers
            assert _close(h(x), reference.mp_phi(exact) / exact)
        assert _close(log_phi(x), mp.log(reference.mp_phi(exact))) or log_phi(x) > -1e-300


@given(x=st.floats(-600, -1e-12))
def test_mean_decay_of_negative_arguments(x):
    with mp.workdps(60):
        assert _close(h(x), reference.mp_phi(mp.mpf(x)) / mp.mpf(x))


@pytest.mark.parametrize(
    ("function", "at_zero", "at_infinity"),
    [(phi, 0, 1), (h, 1, 0), (w, 1, 0), (log_phi, -np.inf, 0)],
)
def test_limits(function, at_zero, at_infinity):
    assert function(0.0) == at_zero
    assert function(np.inf) == at_infinity


@given(rate=strategies.powers_of_ten(-8, 4), time=strategies.times(), factor=st.floats(1.0, 10.0))
def test_p01_p02_learned_fraction_is_in_the_unit_interval_and_increases(rate, time, factor):
    now = phi(progress(rate, time))
    assert 0 <= now <= 1
    assert phi(progress(rate, factor * time)) >= now
    assert phi(progress(factor * rate, time)) >= now


@given(rate=strategies.powers_of_ten(-8, 4), first=strategies.times(), second=strategies.times())
def test_p03_what_is_left_over_multiplies(rate, first, second):
    left = 1 - phi(rate * (first + second))
    assert abs(left - (1 - phi(rate * first)) * (1 - phi(rate * second))) <= 1e-15


@given(
    rate=strategies.extremes(infinite=True),
    time=strategies.extremes(infinite=True),
)
def test_progress_is_zero_if_one_factor_is_zero(rate, time):
    got = progress(rate, time)
    if rate == 0 or time == 0:
        assert got == 0
    else:
        with mp.workdps(30):
            assert got == float(mp.mpf(rate) * mp.mpf(time))


def test_progress_mends_only_what_is_undefined():
    got = progress([[0.0], [1.0], [np.inf]], [0.0, 2.0, np.inf])
    np.testing.assert_array_equal(got, [[0, 0, 0], [0, 2, np.inf], [0, np.inf, np.inf]])
    assert progress(np.zeros((0, 3)), np.inf).shape == (0, 3)


@given(st.floats(-0.6, 0.6) | strategies.powers_of_ten(-150, 2) | NEGATIVE)
@example(0.5)
@example(-0.5)
@example(np.nextafter(0.5, 1))
@example(1e-9)
def test_exponential_beyond_its_linear_part_keeps_its_digits(x):
    with mp.workdps(400):
        want = mp.expm1(mp.mpf(x)) - mp.mpf(x)
        assert _close(exp_beyond_linear(x), want) or want < 1e-300


def test_exponential_beyond_its_linear_part_of_any_shape_and_size():
    x = np.linspace(-40, 40, 30_000).reshape(3, 100, 100)
    got = exp_beyond_linear(x)
    assert got.shape == x.shape
    np.testing.assert_array_equal(got[2, 7], exp_beyond_linear(x[2, 7]))
    np.testing.assert_array_equal(got.T, exp_beyond_linear(x.T))
    assert exp_beyond_linear(0.5).shape == ()
    assert exp_beyond_linear(np.empty((2, 0))).shape == (2, 0)
    np.testing.assert_array_equal(exp_beyond_linear([-np.inf, 0.0, 800.0]), [np.inf, 0.0, np.inf])
