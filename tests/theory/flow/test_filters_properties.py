"""Properties P26 to P54 and P63 of flow.md section 5: what filters are in each other's terms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import EXTREMES, powers_of_ten
from tests.theory.flow import filter_cases as cases
from theory.flow.filters import (
    AffineTargets,
    DistillThenLabels,
    FilterKD,
    Generations,
    GradientDescent,
    GradientFlow,
    LabelsThenDistill,
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
from theory.flow.spectrum import Spectrum
from theory.flow.weights import teacher_weights

LAM = np.concatenate([[0.0], np.logspace(-8, 4, 61)])
times, weights = cases.usual_times, cases.usual_weights


def close(got, want, tolerance):
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


def below(lower, upper, tolerance=1e-15):
    """lower <= upper up to round-off, entry by entry."""
    assert (np.asarray(lower) <= np.asarray(upper) + tolerance).all()


def flow(time):
    return GradientFlow(time).gain(LAM)


@given(stops=st.lists(times(), min_size=1, max_size=5), rng=st.randoms())
def test_p26_generations_commute(stops, rng):
    shuffled = rng.sample(stops, len(stops))
    close(Generations(stops).gain(LAM), Generations(shuffled).gain(LAM), 1e-14)
    product = Product(tuple(GradientFlow(t) for t in stops))
    for view in cases.VIEWS:
        close(getattr(Generations(stops), view)(LAM), getattr(product, view)(LAM), 1e-13)


@given(time=times(), count=st.integers(1, 60))
def test_p27_later_generations_have_learned_less(time, count):
    now, after = (Generations((time,) * k) for k in (count, count + 1))
    below(after.gain(LAM), now.gain(LAM), 0)
    below(now.shortfall(LAM), after.shortfall(LAM), 0)
    below(after.effective_time(LAM), now.effective_time(LAM) * (1 + 1e-13), 0)


@pytest.mark.theorem("flow:trajectory-average-symmetric")
@given(a=powers_of_ten(-3, 3), b=powers_of_ten(-3, 3), time=times())
def test_p31_average_is_symmetric_in_rate_and_eigenvalue(a, b, time):
    one, other = TrajectoryAverage(a, time), TrajectoryAverage(b, time)
    np.testing.assert_allclose(one.gain(b), other.gain(a), rtol=1e-14)
    np.testing.assert_allclose(one.shortfall(b), other.shortfall(a), rtol=3e-13, atol=1e-300)


@given(a=powers_of_ten(-3, 3), time=times())
def test_p32_average_lags_behind_the_outputs_and_its_own_clock(a, time):
    gain = TrajectoryAverage(a, time).gain(LAM)
    below(gain, flow(time), 1e-14)
    below(gain, -np.expm1(-a * time), 1e-14)


@given(time=times())
def test_p34_average_of_endless_rate_follows_the_outputs(time):
    close(TrajectoryAverage(1e14 / time * 1e4, time).gain(LAM[:40]), flow(time)[:40], 1e-12)
    close(TrajectoryAverage(np.inf, time).gain(LAM), flow(time), 1e-15)


@given(a=powers_of_ten(-3, 3), time=times(), gap=powers_of_ten(-15, -12))
def test_p35_average_is_continuous_where_rate_and_eigenvalue_meet(a, time, gap):
    at, beside = TrajectoryAverage(a, time), TrajectoryAverage(a * (1 + gap), time)
    assert abs(at.gain(a) / beside.gain(a) - 1) <= 1e-11


@given(a=powers_of_ten(-3, 3), time=times())
def test_average_starts_at_its_mean_stopping_time(a, time):
    mean = time * (1 + np.expm1(-a * time) / (a * time)) if a * time > 1e-3 else None
    if mean is not None:
        close(TrajectoryAverage(a, time).effective_time(0.0), mean, 1e-11)


@given(s=times(), stop=times(), alpha=weights())
def test_p36_mixed_is_affine_between_student_and_flow(s, stop, alpha):
    student, labels = Mixed(s, stop, 0.0), Mixed(s, stop, 1.0)
    close(student.gain(LAM), Generations((stop, s)).gain(LAM), 1e-15)
    close(labels.gain(LAM), flow(s), 1e-15)
    between = alpha * labels.gain(LAM) + (1 - alpha) * student.gain(LAM)
    close(Mixed(s, stop, alpha).gain(LAM), between, 1e-15)
    close(Generations((stop, s), alpha).gain(LAM), between, 1e-15)


@given(time=times(), alpha=weights())
def test_p37_p38_fixed_point_of_mixed_generations(time, alpha):
    g = MixedFixedPoint(time, alpha).gain(LAM)
    close(g, flow(time) * (alpha + (1 - alpha) * g), 4e-15)
    below(g, flow(time))
    away = (1 - alpha) ** 2000 * 1.0
    close(Generations((time,) * 2000, alpha).gain(LAM), g, 1e-13 + 2 * away)


@given(time=times(), alpha=st.floats(0.05, 0.95))
def test_fixed_point_spends_the_time_that_a_mixture_does_not(time, alpha):
    """flow.md 3.1: why row 6 exaggerates."""
    spent = Mixture((GradientFlow(time),), (1 - alpha,)).effective_time(LAM[1:])
    got = MixedFixedPoint(time, alpha).effective_time(LAM[1:])
    np.testing.assert_allclose(got, time - spent, rtol=0, atol=1e-14 * time)


@given(s=times(), after=times(), stop=times())
def test_p39_switches_at_the_ends_are_pure_schemes(s, after, stop):
    student = Generations((stop, after)).gain(LAM)
    close(DistillThenLabels(0.0, after, stop).gain(LAM), flow(after), 1e-15)
    close(DistillThenLabels(after, after, stop).gain(LAM), student, 1e-15)
    close(LabelsThenDistill(0.0, after, stop).gain(LAM), student, 1e-15)
    close(LabelsThenDistill(after, after, stop).gain(LAM), flow(after), 1e-15)
    for kind in (DistillThenLabels, LabelsThenDistill):  # the switch lies beyond the end
        late, at = kind(s + after, after, stop), kind(after, after, stop)
        assert (late.gain(LAM) == at.gain(LAM)).all()


@pytest.mark.theorem("flow:switch-to-own-past")
@given(s=times(), after=st.just(0.0) | times())
def test_p40_distilling_from_ones_own_past_stays_there(s, after):
    switched = LabelsThenDistill(s, s + after, s)
    close(switched.gain(LAM), flow(s), 1e-15)
    close(switched.effective_time(LAM), s, 1e-14)


@given(share=st.floats(0, 1), t=times(), stop=times())
def test_p41_a_short_window_is_a_switch(share, t, stop):
    for kind in (DistillThenLabels, LabelsThenDistill):
        s = share * t
        at_once, soon = kind(s, t, stop), kind(s, t, stop, 1e-11 * t)
        np.testing.assert_allclose(
            soon.gain(LAM), at_once.gain(LAM), rtol=0, atol=1e-10 + 1e-11 * t * LAM[-1]
        )


@given(s=times(), after=times(), stop=times())
def test_p42_switch_lies_between_student_and_flow(s, after, stop):
    got = DistillThenLabels(s, s + after, stop).gain(LAM)
    below(Generations((s + after, stop)).gain(LAM), got)
    below(got, flow(s + after))


@given(s=times(), after=times(), stop=times(), late=times())
def test_effective_time_of_a_switch_is_that_of_its_phases(s, after, stop, late):
    lam = LAM[LAM * (s + stop) < 700]
    first = Generations((s, stop)).effective_time(lam)
    close(DistillThenLabels(s, s + after, stop).effective_time(lam), after + first, 1e-13)
    second = Generations((after, late)).effective_time(lam)
    got = LabelsThenDistill(s, s + after, s + late).effective_time(lam)
    close(got, s + second, 1e-12)


@pytest.mark.theorem("flow:memory-replay-brakes")
@given(interval=powers_of_ten(-1.5, 2), t=times(), alpha=weights(), copies=st.integers(2, 5))
def test_p43_p44_replay_brakes_more_with_more_copies(interval, t, alpha, copies):
    one, many = (MemoryReplay(interval, t, alpha, n).gain(LAM) for n in (1, copies))
    slack = 1e-15 * max(t / interval, 1)
    below((1 - alpha) * flow(t), many, slack)
    below(many, one, slack)
    below(one, flow(t), slack)


@given(interval=powers_of_ten(-1, 2), t=times(), alpha=weights(), copies=st.integers(1, 4))
def test_p45_replay_is_its_recursion(interval, t, alpha, copies):
    whole = int(t // interval)
    rest, rho = t - whole * interval, np.exp(-LAM * interval)
    past = [np.ones_like(LAM)] * copies
    for _ in range(whole):
        past = [*past[1:], rho * past[-1] + alpha * (1 - rho) * np.mean(past, axis=0)]
    last = np.exp(-LAM * rest)
    error = last * past[-1] + alpha * (1 - last) * np.mean(past, axis=0)
    tolerance = 1e-14 * max(whole, 1)
    close(MemoryReplay(interval, t, alpha, copies).gain(LAM), 1 - error, tolerance)


@given(
    t=times(), longer=st.just(1.0) | powers_of_ten(0, 3), alpha=weights(), copies=st.integers(1, 4)
)
def test_p46_p47_replay_before_the_first_copy_and_without_copies(t, longer, alpha, copies):
    untouched = MemoryReplay(t * longer, t, alpha, copies).gain(LAM)
    if longer > 1 or copies == 1:
        close(untouched, (1 - alpha) * flow(t), 1e-14)
    close(MemoryReplay(t / 3, t, 0.0, copies).gain(LAM), flow(t), 1e-14)
    assert (MemoryReplay(t / 3, t, 1.0, copies).gain(LAM) == 0).all()
    endless = MemoryReplay(t / 3, np.inf, alpha, copies).gain(LAM[1:])
    assert (endless == (alpha < 1)).all()


@given(a=powers_of_ten(-3, 3), t=times(), alpha=weights())
def test_p48_p49_mean_teacher_and_its_limits(a, t, alpha):
    gain = MeanTeacher(a, t, alpha).gain(LAM)
    below(alpha * flow(t), gain, 1e-14)
    below(gain, flow(t), 1e-14)
    close(MeanTeacher(0.0, t, alpha).gain(LAM), alpha * flow(t), 1e-14)
    close(MeanTeacher(np.inf, t, alpha).gain(LAM), flow(alpha * t), 1e-14)
    close(MeanTeacher(1e-15 / t, t, alpha).gain(LAM), alpha * flow(t), 1e-11)
    fast = MeanTeacher(1e16 / t, t, alpha).gain(LAM[:50])
    close(fast, flow(alpha * t)[:50], 1e-11)
    close(MeanTeacher(a, t, 1.0).gain(LAM), flow(t), 1e-14)


@given(x=st.floats(0, 0.999) | powers_of_ten(-12, -1), steps=st.integers(0, 10**5))
def test_p50_p51_finite_steps_are_ahead_of_the_flow_by_second_order(x, steps):
    ahead = GradientDescent(x, steps).gain(1.0) - GradientFlow(x * steps).gain(1.0)
    assert -1e-15 <= ahead <= steps * x**2 / (2 * (1 - x)) + 1e-15


@given(rounds=st.lists(powers_of_ten(-2, 2), min_size=1, max_size=4), rng=st.randoms())
def test_ridge_rounds_commute_and_learn_less_each_time(rounds, rng):
    gain = RidgeRounds(rounds).gain(LAM)
    close(gain, RidgeRounds(rng.sample(rounds, len(rounds))).gain(LAM), 1e-14)
    below(gain, Ridge(rounds[0]).gain(LAM), 0)


@given(w1=powers_of_ten(-2, 2), w2=powers_of_ten(-2, 2), t=times())
def test_shrinkage_scales_a_faster_flow(w1, w2, t):
    want = w1 / (w1 + w2) * GradientFlow((w1 + w2) * t).gain(LAM)
    close(Shrinkage(w1, w2, t).gain(LAM), want, 1e-14)
    close(Shrinkage(w1, 0.0, t).gain(LAM), flow(w1 * t), 1e-14)


@given(s=times(), a=powers_of_ten(-2, 2), stop=times())
def test_filter_kd_is_a_product(s, a, stop):
    product = GradientFlow(s) * TrajectoryAverage(a, stop)
    for view in cases.VIEWS:
        got = getattr(FilterKD(s, a, stop), view)(LAM)
        assert np.array_equal(got, getattr(product, view)(LAM))


@given(one=times(), other=times())
def test_products_and_phases_add_up(one, other):
    first, second = GradientFlow(one), GradientFlow(other)
    close((first * second).gain(LAM), first.gain(LAM) * second.gain(LAM), 1e-15)
    in_turn = Parallel(first, second)
    for view in cases.VIEWS:  # P03, the semigroup
        close(getattr(in_turn, view)(LAM), getattr(GradientFlow(one + other), view)(LAM), 1e-13)


def labels(rng, rows, classes):
    return np.eye(classes)[rng.integers(classes, size=rows)]


@pytest.mark.theorem("flow:smoothing-keeps-decisions")
@given(seed=st.integers(0, 2**32 - 1), epsilon=st.floats(0, 0.99), time=times())
def test_p53_p54_smoothing_scales_margins_and_keeps_decisions(seed, epsilon, time):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((7, 5)), labels(rng, 7, 4)
    spectrum = Spectrum.from_data(X)
    smooth = AffineTargets.smoothing(epsilon, 4)(y)
    close(smooth, (1 - epsilon) * y + epsilon / 4, 1e-15)
    hard, soft = (X @ teacher_weights(spectrum, each, time) for each in (y, smooth))
    ones = X @ teacher_weights(spectrum, np.ones(7), time)
    close(soft, (1 - epsilon) * hard + (epsilon / 4) * ones[:, None], 1e-13)
    centred_hard, centred_soft = (each - each.mean(axis=1, keepdims=True) for each in (hard, soft))
    close(centred_soft, (1 - epsilon) * centred_hard, 1e-13)
    apart = np.sort(hard, axis=1)
    clear = apart[:, -1] - apart[:, -2] > 1e-9
    assert (hard.argmax(axis=1) == soft.argmax(axis=1))[clear].all()


@given(mass=st.floats(0, 1), weight=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_corrected_teacher_is_affine_in_the_labels(mass, weight, seed):
    y = labels(np.random.default_rng(seed), 6, 5)
    corrected = np.where(y == 1, mass, (1 - mass) / 4)
    got = AffineTargets.corrected(mass, 5, weight)(y)
    close(got, (1 - weight) * y + weight * corrected, 1e-15)


@given(first=times(), second=times(), alpha=weights())
def test_an_endless_generation_without_labels_repeats_its_teacher(first, second, alpha):
    repeated = Generations((first, second, np.inf), (1.0, alpha, 0.0))
    before = Generations((first, second), (1.0, alpha))
    for view in cases.VIEWS:
        close(getattr(repeated, view)(LAM), getattr(before, view)(LAM), 1e-14)


@pytest.mark.parametrize("name", cases.SCHEMES)
def test_p63_extreme_inputs_stay_in_range(name):
    lam = np.array(EXTREMES)
    weight = st.sampled_from((0.0, 1e-300, 1e-16, 0.3, 1 - 1e-12, 1.0))
    extreme = st.sampled_from((*EXTREMES, np.inf))
    positive = st.sampled_from((*EXTREMES[1:], np.inf))
    scheme = cases.schemes(extreme, weight, extreme, positive)[name]
    if name == "memory replay":
        scheme = st.builds(MemoryReplay, positive, extreme, weight, st.integers(1, 4))

    @settings(max_examples=3 * settings().max_examples)
    @given(filter=scheme)
    def test(filter):
        gain, shortfall = filter.gain(lam), filter.shortfall(lam)
        assert ((gain >= 0) & (gain <= 1) & (shortfall >= 0) & (shortfall <= 1)).all()
        assert gain[0] == 0
        close(gain + shortfall, 1, 3e-14)
        assert (filter.log_shortfall(lam) <= 0).all()
        assert (filter.effective_time(lam) >= 0).all()
        rate = filter.gain_over_eigenvalue(lam)
        assert (rate >= 0).all()
        assert np.isfinite(rate[0])
        if not isinstance(filter, LabelsThenDistill):
            assert (np.diff(gain) >= -1e-13).all()

    test()
