"""Filters that leave [0, 1], alone and inside others; large labels; what is no filter at all."""

import mpmath
import numpy as np
import pytest

from theory.flow.filters import (
    DiscreteTrajectoryAverage,
    GradientDescent,
    GradientFlow,
    Mixture,
    Parallel,
    Product,
    constrained_rounds,
)
from theory.flow.spectrum import Spectrum

OVERSHOOTS = GradientDescent(1.5, 3)  # gain 1.125 at eigenvalue 1


@pytest.mark.parametrize(
    "whole",
    [
        OVERSHOOTS * GradientFlow(1.0),
        Parallel(OVERSHOOTS, OVERSHOOTS),
        Mixture((OVERSHOOTS,), (0.5,)),
        Mixture((OVERSHOOTS, GradientFlow(1.0)), (0.5, 0.5)),
    ],
    ids=["product", "parallel", "idle mixture", "mixture"],
)
def test_a_whole_within_bounds_has_an_effective_time_though_a_part_overshoots(whole):
    gain = whole.gain(1.0)
    assert 0 < gain < 1
    np.testing.assert_allclose(whole.effective_time(1.0), -np.log1p(-gain), rtol=1e-14)


@pytest.mark.parametrize(("smoothing", "epochs"), [(1e-10, 5), (1.6e-17, 3), (0.3, 7), (1.0, 4)])
@pytest.mark.parametrize("step", [1.03488, 1.5, 1.99])
def test_averages_of_oscillating_steps_keep_their_digits(step, smoothing, epochs):
    with mpmath.workdps(60):
        x, a = mpmath.mpf(step), mpmath.mpf(smoothing)
        average, outputs = mpmath.mpf(0), mpmath.mpf(0)
        for _ in range(epochs):
            average = (1 - a) * average + a * outputs
            outputs += x * (1 - outputs)
        want = float(average)
    got = DiscreteTrajectoryAverage(step, smoothing, epochs).gain(1.0)
    np.testing.assert_allclose(got, want, rtol=4e-15 * epochs)


@pytest.mark.parametrize("smoothing", [0.062090429305282635, 1.0])
def test_one_epoch_takes_in_only_the_start(smoothing):
    average = DiscreteTrajectoryAverage(1.0, smoothing, 1)
    np.testing.assert_array_equal(average.gain([0.0, 0.5, 1.0, 1.9]), 0.0)
    np.testing.assert_array_equal(average.effective_time([0.0, 0.5, 1.0, 1.9]), 0.0)


@pytest.mark.parametrize(
    ("step", "steps", "momentum"),
    [
        (3.9886784911434163, 3000, 0.9943432567679059),
        (3.7973665961010274, 500, 0.9),
        (2.91, 80, 0.5),
    ],
)
def test_momentum_at_the_upper_double_root_is_as_good_as_the_recursion(step, steps, momentum):
    with mpmath.workdps(50):
        x, mu = mpmath.mpf(step), mpmath.mpf(momentum)
        before, now = mpmath.mpf(1), 1 - x
        for _ in range(steps - 1):
            before, now = now, (1 + mu - x) * now - mu * before
        error = float(now)
    scheme = GradientDescent(step, steps, momentum)
    np.testing.assert_allclose(scheme.shortfall(1.0), error, atol=5e-11 * momentum ** (steps / 2))
    np.testing.assert_allclose(scheme.gain(1.0), 1 - error, rtol=5e-11)


def test_rounds_do_not_depend_on_the_unit_of_the_labels():
    spectrum = Spectrum.from_kernel(np.diag([2.0, 1.0]))
    want = constrained_rounds(spectrum, [2.0, 1.0], 0.5)
    unit = 2.0**500
    got = constrained_rounds(spectrum, np.array([2.0, 1.0]) * unit, 0.5 * unit**2)
    np.testing.assert_allclose(got.penalties, want.penalties, rtol=1e-13)
    np.testing.assert_allclose(np.array(got.norms) / unit, want.norms, rtol=1e-13)
    assert got.collapsed
    assert not constrained_rounds(spectrum, [2e200, 1e200], 5e299, rounds=3).collapsed


@pytest.mark.parametrize("parts", [GradientFlow(1.0), None, (), (1.0,), "flow"])
def test_what_is_no_sequence_of_filters_is_refused(parts):
    with pytest.raises(ValueError, match="filters must"):
        Product(parts)
    with pytest.raises(ValueError, match="filters must"):
        Mixture(parts, (1.0,))


def test_nesterov_is_a_yes_or_no():
    with pytest.raises(ValueError, match="nesterov must be True or False, got 'yes'"):
        GradientDescent(0.1, 1, 0.5, "yes")
