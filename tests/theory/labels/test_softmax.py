"""The softmax with a temperature: against mpmath, and at the ends of the range."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from theory.labels.softmax import log_softmax, softmax, surprisal, temper

logits = st.integers(2, 8).flatmap(lambda k: arrays(float, k, elements=st.floats(-300, 300)))
temperatures = st.floats(0.1, 20)


@given(logits, temperatures)
def test_surprisal_keeps_full_relative_accuracy_at_any_temperature(z, tau):
    with mpmath.workdps(3000):
        powers = [mpmath.exp((mpmath.mpf(v) - mpmath.mpf(z.max())) / mpmath.mpf(tau)) for v in z]
        total = mpmath.fsum(powers)
        want = [float(-mpmath.log(power / total)) for power in powers]
    np.testing.assert_allclose(surprisal(z, tau), want, rtol=1e-13, atol=1e-300)
    np.testing.assert_array_equal(log_softmax(z, tau), 0.0 - surprisal(z, tau))
    assert softmax(z, tau).sum() == pytest.approx(1.0, rel=1e-14)


@given(logits, temperatures)
def test_tempering_probabilities_is_tempering_logits(z, tau):
    z = z / 10
    np.testing.assert_allclose(temper(softmax(z), tau), softmax(z, tau), rtol=1e-11, atol=1e-300)


def test_tempering_keeps_zeros_and_shares_ties():
    np.testing.assert_allclose(temper([0.0, 0.5, 0.5], 1e-3), [0.0, 0.5, 0.5])
    np.testing.assert_array_equal(temper([0.0, 0.4, 0.6], 1e-4), [0.0, 0.0, 1.0])


def test_a_sure_prediction_has_no_negative_zero():
    assert not np.signbit(log_softmax([1000.0, 0.0])[0])


@pytest.mark.parametrize("tau", [0.0, -1.0, np.inf, np.nan, [1.0, 2.0]])
@pytest.mark.parametrize("function", [surprisal, softmax, lambda z, tau: temper([0.5, 0.5], tau)])
def test_temperatures_are_positive_and_finite(function, tau):
    with pytest.raises(ValueError, match="temperature must be"):
        function([0.0, 1.0], tau)
