"""The last column of the table of schemes: how effective time changes with the eigenvalue."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import powers_of_ten
from theory.flow.exaggeration import classify, effective_time_trend
from theory.flow.filters import (
    DiscreteTrajectoryAverage,
    DistillThenLabels,
    FilterKD,
    Generations,
    GradientDescent,
    GradientFlow,
    LabelsThenDistill,
    Learned,
    MeanTeacher,
    MemoryReplay,
    Mixed,
    MixedFixedPoint,
    Mixture,
    Parallel,
    Product,
    Ridge,
    RidgeRounds,
    Shrinkage,
    TrajectoryAverage,
)

ROUND_OFF = 1e-12


def times():
    return powers_of_ten(-1, 1)


def weights():
    return st.floats(0.02, 0.98)


def spectrum(*clocks, low=-3.0, high=3.0):
    """Eigenvalues over all the regimes of a scheme with these times."""
    return np.logspace(low - np.log10(max(clocks)), high - np.log10(min(clocks)), 121)


def trend(filter, lam):
    return effective_time_trend(filter, lam, tolerance=ROUND_OFF)


def assert_rises(filter, lam, *, by=1e-9):
    seen = trend(filter, lam)
    assert seen.defined
    assert seen.fall <= ROUND_OFF
    assert seen.rise > by


def assert_falls(filter, lam, *, by=1e-9):
    seen = trend(filter, lam)
    assert seen.defined
    assert seen.rise <= ROUND_OFF
    assert seen.fall > by


def assert_rises_then_falls(filter, lam):
    """Up to one peak inside, down from it."""
    time = filter.effective_time(lam)
    peak = int(time.argmax())
    assert 0 < peak < len(lam) - 1
    assert_rises(filter, lam[: peak + 1], by=0)
    assert_falls(filter, lam[peak:], by=0)


def rising():
    """Filters whose effective time does not fall."""
    pair = st.tuples(times(), times()).map(sorted)
    return st.one_of(
        st.builds(GradientFlow, times()),
        st.builds(Generations, st.lists(times(), min_size=1, max_size=3)),
        st.builds(lambda s, a: Mixed(s[0], s[1], a), pair, weights()),
        st.builds(MixedFixedPoint, times(), weights()),
        st.builds(lambda s, stop: DistillThenLabels(s[0], s[1], stop), pair, times()),
        st.builds(lambda s, t: LabelsThenDistill(s[0], s[0] + t, s[1]), pair, times()),
        st.builds(lambda m: GradientDescent(1e-4, m), st.integers(1, 100)),
    )


@given(time=times())
def test_row_1_is_constant(time):
    lam = spectrum(time)
    assert trend(GradientFlow(time), lam).constant
    assert classify(GradientFlow(time), lam) == "neither"


@given(penalty=powers_of_ten(-2, 2))
def test_row_2_ridge_falls(penalty):
    assert_falls(Ridge(penalty), spectrum(1 / penalty))


@given(penalties=st.lists(powers_of_ten(-1, 1), min_size=2, max_size=4))
def test_row_3_ridge_rounds_rise_then_fall(penalties):
    lam = spectrum(1 / max(penalties), 1 / min(penalties), low=-4, high=4)
    assert_rises_then_falls(RidgeRounds(penalties), lam)


@given(penalties=st.lists(powers_of_ten(-1, 1), min_size=2, max_size=4))
def test_row_3_ridge_rounds_exaggerate_among_ridges(penalties):
    """The penalty of one ridge with the same gain rises towards lower eigenvalues."""
    lam = spectrum(1 / max(penalties), 1 / min(penalties))
    filter = RidgeRounds(penalties)
    penalty = filter.shortfall(lam) / filter.gain_over_eigenvalue(lam)
    assert (np.diff(penalty) < 0).all()


@given(stops=st.lists(times(), min_size=2, max_size=6))
def test_row_4_generations_rise(stops):
    assert_rises(Generations(stops), spectrum(*stops))


def test_row_4_an_endless_generation_counts_for_nothing():
    lam = spectrum(2.0)
    assert trend(Generations((2.0, np.inf)), lam).constant


@pytest.mark.theorem("flow:mixed-exaggerates")
@given(pair=st.tuples(times(), times()).map(sorted), alpha=weights())
def test_p29_row_5_mixed_rises_where_the_teacher_trained_as_long(pair, alpha):
    s, stop = pair
    filter = Mixed(s, stop, alpha)
    assert_rises(filter, spectrum(s, stop))
    assert_rises(Mixed(s, s, alpha), spectrum(s))
    assert abs(filter.effective_time(0.0) - alpha * s) <= 1e-14 * s
    assert abs(filter.effective_time(1e3 / s * 1e3) - s) <= 2e-2 * s


@given(s=times(), alpha=weights(), share=st.floats(1e-3, 1.0))
def test_row_5_mixed_falls_where_the_teacher_stopped_early(s, alpha, share):
    stop = share * alpha * s / 2
    assert_falls(Mixed(s, stop, alpha), spectrum(s, stop))


@given(s=times(), alpha=st.floats(0.02, 0.9), share=st.floats(0.05, 0.95))
def test_row_5_mixed_rises_then_falls_between(s, alpha, share):
    least = alpha * s / 2
    stop = least + share * (s - least)
    assert_rises_then_falls(Mixed(s, stop, alpha), spectrum(s, stop, low=-5, high=3.5))


def test_row_5_threshold_is_sharp():
    """A teacher barely longer than alpha s / 2 rises first; a shorter one never does."""
    lam = np.logspace(-6, 2, 801)
    assert classify(Mixed(1.0, 0.2, 0.4), lam) == "anti-exaggerates"
    assert trend(Mixed(1.0, 0.202, 0.4), lam).rise > 1e-8
    # a mixed student is not always one that exaggerates
    assert classify(Mixed(1.0, 0.1, 0.4), lam) != "exaggerates"


@given(time=times(), alpha=weights())
def test_row_6_fixed_point_rises(time, alpha):
    assert_rises(MixedFixedPoint(time, alpha), spectrum(time))


@given(time=times(), alpha=weights(), count=st.integers(2, 8))
def test_row_6_mixed_generations_on_the_way_rise(time, alpha, count):
    assert_rises(Generations((time,) * count, alpha), spectrum(time))


@given(rate=powers_of_ten(-2, 2), time=times())
def test_p33_row_7_trajectory_average_falls(rate, time):
    filter = TrajectoryAverage(rate, time)
    lam = spectrum(time, 1 / rate)
    assert_falls(filter, lam[filter.gain(lam) > 1e-3], by=0)


@given(s=times(), rate=powers_of_ten(-1, 1), stop=times())
def test_row_8_filter_kd_rises_then_falls(s, rate, stop):
    lam = spectrum(s, stop, 1 / rate, low=-4, high=5)
    assert_rises_then_falls(FilterKD(s, rate, stop), lam)


@pytest.mark.parametrize(
    ("rate", "peak"), [(0.05, 0.17858), (0.2, 0.24200), (1.0, 0.66927), (5.0, 3.22348)]
)
def test_row_8_peaks(rate, peak):
    """Found by maximizing in 60 digits; the specification quotes 0.68 and 4.06 for the last two."""
    lam = np.linspace(0.99 * peak, 1.01 * peak, 2001)
    times = FilterKD(10.0, rate, 10.0).effective_time(lam)
    assert abs(lam[times.argmax()] / peak - 1) < 2e-4


@given(s=times(), after=times(), stop=times())
def test_row_9_labels_after_the_teacher_rise(s, after, stop):
    assert_rises(DistillThenLabels(s, s + after, stop), spectrum(s, after, stop), by=0)


@given(s=times(), after=times(), later=times())
def test_row_10_a_teacher_from_beyond_the_switch_rises(s, after, later):
    assert_rises(LabelsThenDistill(s, s + after, s + later), spectrum(s, after, later))


@given(s=times(), after=times(), share=st.floats(0.0, 0.98))
def test_row_10_a_teacher_from_before_the_switch_falls(s, after, share):
    assert_falls(LabelsThenDistill(s, s + after, share * s), spectrum(s, after))


def test_row_10_a_weak_teacher_makes_the_gain_fall_with_the_eigenvalue():
    """The gain itself need not increase with the eigenvalue where the teacher knows less."""
    gain = LabelsThenDistill(1.0, 2.0, 0.0).gain([0.1, 0.7, 20.0])
    assert gain[1] > gain[0]
    assert gain[1] > gain[2]


@given(s=times(), window=times(), after=times(), later=st.just(0.0) | times())
def test_row_11_ramp_to_labels_rises_with_a_long_teacher(s, window, after, later):
    filter = DistillThenLabels(s, s + window + after, s + window + later, window)
    assert_rises(filter, spectrum(s, window, after), by=0)


@given(s=times(), window=times(), after=times(), share=st.floats(0.1, 0.9))
def test_row_11_ramp_to_labels_turns_with_a_short_teacher(s, window, after, share):
    stop = share * (s + window)
    filter = DistillThenLabels(s, s + window + after, stop, window)
    lam = spectrum(s, window, after, stop, low=-4, high=4)
    seen = trend(filter, lam)
    assert seen.fall > 0
    assert classify(filter, lam) == "neither"
    assert filter.effective_time(lam).argmax() < len(lam) - 1


@given(interval=times(), t=times(), alpha=weights(), copies=st.integers(1, 4))
def test_row_12_replay_falls(interval, t, alpha, copies):
    filter = MemoryReplay(interval, t, alpha, copies)
    assert_falls(filter, spectrum(interval, t))
    assert abs(filter.effective_time(0.0) - (1 - alpha) * t) <= 1e-13 * t


@given(rate=powers_of_ten(-2, 2), t=times(), alpha=weights())
def test_row_13_mean_teacher_falls(rate, t, alpha):
    # at both ends of the rates it is a flow again, up to round-off
    assert_falls(MeanTeacher(rate, t, alpha), spectrum(t, 1 / rate), by=0)


@given(x=st.floats(1e-3, 0.99), steps=st.integers(1, 1000))
def test_row_14_gradient_descent_rises_from_its_flow_time(x, steps):
    filter = GradientDescent(x, steps)
    assert_rises(filter, np.logspace(-9, 0, 91), by=1e-4 * x)
    assert abs(filter.effective_time(0.0) - x * steps) <= 1e-14 * x * steps


@given(w1=powers_of_ten(-1, 1), w2=powers_of_ten(-1, 1), t=times())
def test_row_17_shrinkage_falls(w1, w2, t):
    assert_falls(Shrinkage(w1, w2, t), spectrum((w1 + w2) * t))


@pytest.mark.theorem("flow:product-exaggerates")
@given(filters=st.lists(rising(), min_size=2, max_size=4))
def test_p28_products_of_filters_that_do_not_fall_rise(filters):
    filter, lam = Product(tuple(filters)), np.logspace(-4, 3, 141)
    assert_rises(filter, lam)


@pytest.mark.theorem("flow:parallel-exaggerates")
@given(first=rising(), second=rising())
def test_phases_in_turn_add_effective_times(first, second):
    lam = np.logspace(-4, 3, 141)
    both = Parallel(first, second)
    want = first.effective_time(lam) + second.effective_time(lam)
    np.testing.assert_allclose(both.effective_time(lam), want, rtol=1e-13)
    assert trend(both, lam).fall <= ROUND_OFF


@pytest.mark.theorem("flow:mixture-weakens")
@given(
    stops=st.lists(times(), min_size=2, max_size=5, unique=True),
    shares=st.lists(st.floats(0.05, 1.0), min_size=5, max_size=5),
    idle=st.sampled_from((0.0, 0.3)),
)
def test_p30_mixtures_of_flows_fall(stops, shares, idle):
    kept = np.array(shares[: len(stops)])
    kept *= (1 - idle) / kept.sum()
    filter = Mixture(tuple(map(GradientFlow, stops)), tuple(np.minimum(kept, 1.0)))
    assert_falls(filter, spectrum(*stops, low=-3), by=0)


def test_a_mixture_with_labels_starts_beyond_every_time():
    """Labels learned at once are a flow of infinite time; in a mixture it weakens too."""
    filter = Mixture((Learned(), GradientFlow(1.0)), (0.5, 0.5))
    assert_falls(filter, np.logspace(-3, 2, 50))
    assert filter.effective_time(0.0) == np.inf
    assert filter.gain(0.0) == 0.5


def test_row_15_steps_that_oscillate_have_no_effective_time():
    """Negative: for 1 < eta lambda < 2 the gain leaves [0, 1] and is not monotone."""
    filter = GradientDescent(1.0, 3)
    assert abs(filter.gain(1.5) - 1.125) < 1e-15
    assert abs(filter.shortfall(1.5) + 0.125) < 1e-15
    assert np.isnan(filter.effective_time(1.5))
    assert np.isnan(filter.log_shortfall(1.5))
    assert not trend(filter, [0.5, 1.5]).defined
    assert (np.diff(GradientDescent(1.0, 2).gain([0.9, 1.0, 1.5])) > 0).tolist() == [True, False]


def test_row_16_momentum_overshoots():
    gain = GradientDescent(0.5, 6, momentum=0.9).gain([0.2, 1.0])
    assert (gain > 1).any()
    assert (GradientDescent(0.5, 6, momentum=0.9, nesterov=True).gain([0.2, 1.0, 0.6]) > 1).any()


def test_discrete_average_falls_like_that_of_the_flow():
    # while its lag of one step, a generation of finite length, does not show
    assert_falls(DiscreteTrajectoryAverage(1e-3, 0.01, 2000), np.logspace(-2, 1.5, 60))
