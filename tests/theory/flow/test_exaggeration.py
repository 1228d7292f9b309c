"""Theorem 4.1, corrected: matched times, the ratio, its complement and bounds, and the errata."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests import reference, strategies
from theory.flow.exaggeration import (
    classify,
    component_gap,
    component_ratio,
    discrete_delta,
    discrete_kappa,
    discrete_progress,
    effective_time_trend,
    gap_bounds,
    matched_student_time,
    matched_teacher_time,
    ratio_bounds,
)
from theory.flow.spectrum import Spectrum
from theory.flow.weights import eigen_components, student_weights, teacher_weights
from theory.numerics import phi

EPS = np.finfo(float).eps
progresses = strategies.progresses
kappas = strategies.fractions


def _tau(a, b):
    return matched_teacher_time(1.0, a, b)


def _time_scales():
    """A rate, and times at which it gets anywhere: progress from 1e-12 to 300."""
    return st.tuples(strategies.powers_of_ten(-200, 200), progresses(), progresses())


@pytest.mark.theorem("flow:matched-time")
@given(a=progresses(), b=progresses())
@example(a=1e-3, b=300.0)
@example(a=1.0, b=1.0)
def test_p13_p14_matched_progress(a, b):
    """tau <= min, symmetric, phi(tau) = phi(A) phi(B)."""
    tau = _tau(a, b)
    assert 0 < tau <= min(a, b)
    assert tau == _tau(b, a)
    assert abs(phi(tau) - phi(a) * phi(b)) <= 1e-15
    with mp.workdps(320):
        assert reference.relative_error(tau, reference.mp_matched_progress(a, b)) <= 4 * EPS


@pytest.mark.theorem("flow:matched-time")
@given(scales=_time_scales())
def test_matched_teacher_time_has_full_relative_accuracy(scales):
    rate, a, b = scales
    student, teacher = a / rate, b / rate
    got = matched_teacher_time(rate, student, teacher)
    with mp.workdps(320):
        exact = mp.mpf(rate)
        want = reference.mp_matched_progress(exact * student, exact * teacher) / exact
        assert reference.relative_error(got, want) <= 5 * EPS


@given(exponents=st.tuples(*[st.floats(-140, 3)] * 2))
def test_matched_progress_of_products_that_nearly_underflow(exponents):
    a, b = (10.0**exponent for exponent in exponents)
    with mp.workdps(60):
        assert reference.relative_error(_tau(a, b), reference.mp_matched_progress(a, b)) <= 4 * EPS


@given(share=kappas(), stop=progresses())
def test_p15_p16_student_time_inverts_teacher_time(share, stop):
    moment = share * stop
    assume(moment < stop)
    student = matched_student_time(1.0, moment, stop)
    np.testing.assert_allclose(_tau(student, stop), moment, rtol=1e-14)


@pytest.mark.theorem("flow:matched-time-inverse")
@given(rate=strategies.powers_of_ten(-200, 200), share=kappas(), stop=progresses())
def test_matched_student_time_has_full_relative_accuracy(rate, share, stop):
    teacher = stop / rate
    moment = share * teacher
    assume(moment < teacher)
    got = matched_student_time(rate, moment, teacher)
    with mp.workdps(320):
        exact = mp.mpf(rate)
        want = reference.mp_student_progress(exact * moment, exact * teacher) / exact
        assert reference.relative_error(got, want) <= 5 * EPS


@pytest.mark.parametrize(
    ("rate", "moment", "teacher"),
    [
        (1e-300, 1e-300, 1e160),  # phi(x) / expm1(rate rest) underflows
        (1e-300, 1e-10, 1.1e-10),  # so does rate (T - t)
        (1e-300, 1e-300, 1e-8),  # and both
        (1e300, 1e-300, 1e300),
        (1e300, 1e-310, 1e-308),
    ],
)
def test_matched_student_time_where_products_underflow(rate, moment, teacher):
    got = matched_student_time(rate, moment, teacher)
    with mp.workdps(1000):
        exact, left = mp.mpf(rate), mp.mpf(teacher) - mp.mpf(moment)
        z = reference.mp_phi(exact * moment) / mp.expm1(min(exact * left, mp.mpf(10) ** 4))
        want = mp.mpf(moment) + mp.log1p(z) / exact
        assert reference.relative_error(got, want) <= 5 * EPS


@pytest.mark.theorem("flow:matched-time-inverse")
def test_no_student_matches_what_its_teacher_had_not_learned():
    """E10: beyond T there is no match, at T only in infinite time."""
    got = matched_student_time(2.0, [0.0, 1.0, 3.0, 4.0, np.inf], 3.0)
    assert got[0] == 0
    assert 1 < got[1] < np.inf
    assert got[2] == np.inf
    assert np.isnan(got[3:]).all()
    with pytest.raises(ValueError, match=r"time must not lie beyond teacher_time.* got time inf"):
        matched_student_time(2.0, [1.0, 4.0, np.inf], 3.0, strict=True)
    assert matched_student_time(2.0, 1.0, 3.0, strict=True) == got[1]
    assert matched_student_time(2.0, 7.0, np.inf) == 7.0
    assert matched_student_time(2.0, np.inf, np.inf) == np.inf


def test_a_direction_without_eigenvalue_matches_by_its_limit():
    assert matched_teacher_time(0.0, 2.0, 3.0) == 0.0
    assert matched_teacher_time(0.0, np.inf, 3.0) == 3.0
    assert matched_student_time(0.0, 1.0, 3.0) == np.inf
    assert matched_student_time(0.0, 0.0, 3.0) == 0.0


@given(kappa=kappas(), a=progresses(), b=progresses())
def test_p17_bounds(kappa, a, b):
    lower, upper = ratio_bounds(kappa, a, b)
    ratio = component_ratio(kappa, a, b)
    assert kappa * (1 - 4 * EPS) <= lower <= ratio * (1 + 4 * EPS)
    assert ratio <= upper == 1
    with mp.workdps(60):
        q = reference.mp_phi(mp.mpf(kappa) * max(a, b)) / reference.mp_phi(mp.mpf(max(a, b)))
        assert reference.relative_error(lower, q) <= 4 * EPS


@pytest.mark.theorem("flow:component-ratio")
@given(kappa=kappas(), a=progresses(), b=progresses())
def test_component_ratio_has_full_relative_accuracy(kappa, a, b):
    with mp.workdps(320):
        want = reference.mp_component_ratio(kappa, a, b)
        assert reference.relative_error(component_ratio(kappa, a, b), want) <= 8 * EPS


@given(kappa=strategies.powers_of_ten(-100, 3), a=st.floats(-90, 2.5), b=st.floats(-90, 2.5))
def test_component_ratio_of_small_progress(kappa, a, b):
    with mp.workdps(60):
        want = reference.mp_component_ratio(kappa, 10.0**a, 10.0**b)
        got = component_ratio(kappa, 10.0**a, 10.0**b)
        assert reference.relative_error(got, want) <= 10 * EPS


@given(kappa=kappas(), a=progresses(), b=progresses(), factor=st.floats(1.0, 5.0))
def test_p18_p19_ratio_increases_in_every_argument(kappa, a, b, factor):
    ratio = component_ratio(kappa, a, b)
    assert component_ratio(min(factor * kappa, 1.0), a, b) >= ratio * (1 - 1e-15)
    assert component_ratio(kappa, factor * a, b) >= ratio * (1 - 1e-15)
    assert component_ratio(kappa, a, factor * b) >= ratio * (1 - 1e-15)


@pytest.mark.theorem("flow:component-gap")
@given(kappa=st.floats(1.0, 1e6), a=progresses(), b=progresses())
def test_p20_above_the_matched_direction_the_student_has_more(kappa, a, b):
    ratio = component_ratio(kappa, a, b)
    lower, upper = ratio_bounds(kappa, a, b)
    assert lower == 1 <= ratio <= upper * (1 + 4 * EPS) <= kappa * (1 + 8 * EPS)
    assert component_gap(1 - kappa, a, b) <= 0


def test_above_the_matched_direction_the_ratio_rises_and_returns_to_one():
    ratios = component_ratio(np.geomspace(1, 1e4, 50), 0.5, 0.5)
    peak = int(ratios.argmax())
    assert 0 < peak < 49
    assert (np.diff(ratios[: peak + 1]) > 0).all()
    assert ratios[-1] == pytest.approx(1.0)


@given(kappa=st.integers(1, 2**20).map(lambda n: n / 2**20), a=progresses(), b=progresses())
def test_p21_gap_is_one_minus_ratio(kappa, a, b):
    """With kappa of which 1 - kappa is exact: the ratio may be 100 times as steep."""
    assert abs((1 - component_ratio(kappa, a, b)) - component_gap(1 - kappa, a, b)) <= 1e-15


DELTAS = (
    strategies.powers_of_ten(-300, 0)
    | st.floats(1e-3, 0.999)
    | strategies.powers_of_ten(-15, -3).map(lambda kappa: 1.0 - kappa)
)


@pytest.mark.theorem("flow:component-gap")
@given(delta=DELTAS, a=strategies.powers_of_ten(-6, 2.84), b=strategies.powers_of_ten(-6, 2.84))
@example(delta=0.5, a=600.0, b=650.0)
@example(delta=1e-300, a=3.0, b=3.0)
@example(delta=0.999999, a=1e-6, b=690.0)
def test_gap_has_full_relative_accuracy_in_its_tails(delta, a, b):
    with mp.workdps(700):
        want = 1 - reference.mp_component_ratio(1 - mp.mpf(delta), a, b)
        if want > 1e-290:
            assert reference.relative_error(component_gap(delta, a, b), want) <= 8 * EPS


@given(delta=DELTAS, a=strategies.powers_of_ten(-280, 2), b=strategies.powers_of_ten(-280, 2))
@example(delta=1e-155, a=1e-154, b=1e-154)
@example(delta=1e-85, a=1e-224, b=1e-224)
@example(delta=1e-200, a=1e-224, b=1e-150)
def test_gap_of_small_progress(delta, a, b):
    with mp.workdps(1200):
        want = 1 - reference.mp_component_ratio(1 - mp.mpf(delta), a, b)
        if want > 1e-290:
            assert reference.relative_error(component_gap(delta, a, b), want) <= 8 * EPS


@given(
    delta=strategies.powers_of_ten(-30, 30),
    a=strategies.powers_of_ten(-30, 2.5),
    b=strategies.powers_of_ten(-30, 2.5),
)
def test_gap_above_the_matched_direction(delta, a, b):
    with mp.workdps(1000):
        want = 1 - reference.mp_component_ratio(1 + mp.mpf(delta), a, b)
        if -want > 1e-290:
            # the exponent -delta tau inherits the rounding of tau
            tolerance = 8 * EPS * (1 + min(delta * float(_tau(a, b)), 750.0))
            assert reference.relative_error(component_gap(-delta, a, b), want) <= tolerance


@pytest.mark.theorem("flow:gap-bounds")
@given(delta=DELTAS, a=strategies.powers_of_ten(-200, 2.3), b=strategies.powers_of_ten(-12, 2.3))
def test_p22_two_sided_bound_of_the_gap(delta, a, b):
    lower, upper = gap_bounds(delta, a, b)
    gap = component_gap(delta, a, b)
    assert lower <= gap * (1 + 1e-11)
    assert gap <= upper * (1 + 1e-11)


def test_bounds_of_the_gap_at_the_limits():
    for a, b, want in ((0.0, 0.0, 0.25), (np.inf, 1.0, 0.0), (np.inf, np.inf, 0.0)):
        assert gap_bounds(0.25, a, b) == (want, want)
        assert component_gap(0.25, a, b) == want
    lower, upper = gap_bounds(0.25, 0.0, 2.0)  # with a first-order student both bounds are tight
    assert lower == pytest.approx(float(component_gap(0.25, 0.0, 2.0)), rel=1e-14)
    assert upper == pytest.approx(float(lower), rel=1e-14)


@pytest.mark.theorem("flow:component-gap")
@given(a=progresses() | st.sampled_from((0.0, np.inf)), b=progresses())
def test_p23_equal_eigenvalues_have_ratio_one(a, b):
    assert component_ratio(1.0, a, b) == 1
    assert component_gap(0.0, a, b) == 0


@pytest.mark.parametrize(
    ("kappa", "a", "b", "want"),
    [
        (0.5, 1, 1, 0.687683),
        (0.5, 3, 3, 0.876711),
        (0.1, 1, 1, 0.182092),
        (0.9, 3, 0.01, 0.981693),
    ],
)
def test_sample_values_of_the_ratio(kappa, a, b, want):
    assert component_ratio(kappa, a, b) == pytest.approx(want, abs=5e-7)


def test_limits_of_the_ratio():
    kappa, a = 0.3, 2.0
    q = phi(kappa * a) / phi(a)
    assert component_ratio(kappa, a, 0.0) == pytest.approx(q, rel=1e-15)
    assert component_ratio(kappa, a, 1e-300) == pytest.approx(q, rel=1e-15)
    assert component_ratio(kappa, 0.0, 0.0) == kappa
    assert component_ratio(kappa, 1e-160, 1e-160) == pytest.approx(kappa, rel=1e-15)
    assert component_ratio(0.0, 1.0, 2.0) == 0
    assert component_gap(1.0, 1.0, 2.0) == 1
    tiny = 1e-200
    assert component_ratio(tiny, 2.0, 3.0) == pytest.approx(tiny * 6 / _tau(2.0, 3.0), rel=1e-14)


@pytest.mark.theorem("flow:component-gap")
@given(kappa=kappas() | st.floats(1.0, 100.0), other=progresses() | st.just(np.inf))
def test_e6_the_ratio_is_exactly_one_if_student_or_teacher_trains_forever(kappa, other):
    for pair in ((np.inf, other), (other, np.inf)):
        assert component_ratio(kappa, *pair) == 1
        assert component_gap(1 - kappa, *pair) == 0


@pytest.mark.theorem("flow:component-ratio")
@given(
    problem=strategies.problems(min_dim=2, low=-0.5),
    times=st.tuples(*[strategies.powers_of_ten(-2, 1)] * 2),
)
def test_p24_p25_theorem_on_data(problem, times):
    """Match the displacement along the top direction; R times the teacher's is left elsewhere."""
    X, y, initial = problem.X, problem.y, problem.initial
    spectrum = Spectrum.from_data(X)
    assume(spectrum.rank > 0)
    top = spectrum.eigenvalues[0]
    teacher_time, student_time = times
    moment = matched_teacher_time(top, student_time, teacher_time)
    teacher = teacher_weights(spectrum, y, moment, initial) - initial
    student = student_weights(spectrum, y, teacher_time, student_time, initial) - initial
    ratio = component_ratio(spectrum.eigenvalues / top, top * student_time, top * teacher_time)
    assert (ratio <= 1).all()
    got = eigen_components(spectrum, student)
    want = (ratio * eigen_components(spectrum, teacher).T).T
    scale = 1 + np.abs(initial).max() + np.abs(teacher).max()
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 * scale)


@given(
    kappa=strategies.extremes(),
    a=strategies.extremes(infinite=True),
    b=strategies.extremes(infinite=True),
    rate=strategies.extremes(),
)
def test_p63_extreme_inputs_stay_in_range(kappa, a, b, rate):
    tau = matched_teacher_time(rate, a, b)
    assert 0 <= tau <= min(a, b)
    student = matched_student_time(rate, a, b)
    assert np.isnan(student) if a > b else student >= a
    ratio = component_ratio(kappa, a, b)
    lower, upper = ratio_bounds(kappa, a, b)
    assert lower * (1 - 4 * EPS) <= ratio <= upper * (1 + 4 * EPS)
    gap = component_gap(1 - kappa, a, b)
    assert not np.isnan(gap)
    assert (0 <= gap <= 1 + 4 * EPS) if kappa <= 1 else gap <= 0
    if kappa <= 1:
        lower, upper = gap_bounds(1 - kappa, a, b)
        assert lower <= gap * (1 + 1e-11)
        assert gap <= upper * (1 + 1e-11)


def test_arguments_broadcast():
    assert matched_teacher_time([1.0, 2.0], [[1.0], [2.0], [3.0]], 1.0).shape == (3, 2)
    assert matched_student_time([1.0, 2.0], [[1.0], [2.0], [3.0]], 1.0).shape == (3, 2)
    kappa = np.array([0.0, 0.5, 2.0])
    assert component_ratio(kappa, [[1.0], [np.inf]], 2.0).shape == (2, 3)
    assert component_gap(1 - kappa, [[1.0], [np.inf]], 2.0).shape == (2, 3)
    assert ratio_bounds(kappa, [[1.0], [np.inf]], 2.0).lower.shape == (2, 3)
    assert gap_bounds(kappa[:2], [[1.0], [np.inf]], 2.0).upper.shape == (2, 2)


BAD = {
    "top_eigenvalue": lambda: matched_teacher_time(-1.0, 1.0, 1.0),
    "student_time": lambda: matched_teacher_time(1.0, -1.0, 1.0),
    "teacher_time": lambda: matched_student_time(1.0, 1.0, np.nan),
    "time": lambda: matched_student_time(1.0, -1.0, 1.0),
    "kappa": lambda: component_ratio(np.inf, 1.0, 1.0),
    "student_progress": lambda: component_ratio(0.5, -1.0, 1.0),
    "teacher_progress": lambda: component_gap(0.5, 1.0, -1.0),
    "delta": lambda: component_gap(1.5, 1.0, 1.0),
    "delta must be in": lambda: gap_bounds(-0.5, 1.0, 1.0),
    "step_size": lambda: discrete_kappa(1.0, 0.5, 1.0),
    "eigenvalue": lambda: discrete_progress(0.5, -1.0, 3),
    "top_eigenvalue must be > 0": lambda: discrete_delta(0.5, 0.0, 0.0),
    "steps": lambda: discrete_progress(0.5, 1.0, -3),
    "eigenvalues": lambda: classify(Filter(lambda x: x), [-1.0]),
    "tolerance": lambda: classify(Filter(lambda x: x), [1.0], tolerance=2.0),
}


@pytest.mark.parametrize(("name", "call"), BAD.items(), ids=BAD)
def test_bad_input_is_refused_by_name(name, call):
    with pytest.raises(ValueError, match=f"^{name}"):
        call()


# Finite steps


@pytest.mark.theorem("flow:discrete-ratio")
@given(
    x=strategies.powers_of_ten(-12, -0.001),
    kappa=kappas(),
    steps=st.tuples(*[st.integers(1, 50)] * 2),
)
def test_p59_p60_finite_steps_exaggerate_more_than_the_flow(x, kappa, steps):
    """kappa_eta < kappa, and gradient descent itself has the ratio that kappa_eta predicts."""
    smaller = discrete_kappa(1.0, kappa * x, x)
    assert smaller <= kappa * (1 + 2 * EPS)
    a, b = (discrete_progress(1.0, x, count) for count in steps)
    ratio = component_ratio(smaller, a, b)
    assert ratio <= component_ratio(kappa, a, b) * (1 + 1e-15)
    with mp.workdps(400):
        left = [mp.mpf(1) - mp.mpf(rate) for rate in (x, mp.mpf(kappa) * mp.mpf(x))]
        learned = [[1 - one**count for count in steps] for one in left]
        moment = mp.log(1 - learned[0][0] * learned[0][1]) / mp.log(left[0])
        want = learned[1][0] * learned[1][1] / (1 - left[1] ** moment)
        # 1 - x loses the digits of x; kappa_eta near x = 1 is as ill-conditioned as ln(1 - x)
        assert reference.relative_error(ratio, want) <= 50 * EPS / (1 - x)


@given(x=strategies.powers_of_ten(-300, -0.001), kappa=kappas())
def test_discrete_kappa_and_its_complement_have_full_relative_accuracy(x, kappa):
    other = kappa * x
    assume(other < x)
    with mp.workdps(700):
        exact = mp.log(1 - mp.mpf(other)) / mp.log(1 - mp.mpf(x))
        assert reference.relative_error(discrete_kappa(1.0, other, x), exact) <= 5 * EPS
        gap = discrete_delta(1.0, other, x)
        # 1 - x is rounded once
        assert reference.relative_error(gap, 1 - exact) <= 10 * EPS / (1 - x)


def test_zero_step_size_is_the_flow():
    assert discrete_kappa(0.0, 0.25, 1.0) == 0.25
    assert discrete_delta(0.0, 0.25, 1.0) == 0.75
    assert discrete_progress(0.5, 0.0, np.inf) == 0
    assert discrete_progress(0.5, 1.0, np.inf) == np.inf
    assert discrete_kappa(1e-300, 1e-10, 1e10) == pytest.approx(1e-20)


# What the paper says and is not so


def _modes(eigenvalues, labels, time, initial):
    """Predictions of label training along each direction."""
    return initial + phi(np.asarray(eigenvalues) * time) * (np.asarray(labels) - initial)


def test_e4_equal_top_components_do_not_match_where_the_label_has_none():
    """u_1 y = 0: every pair of times matches, and one of them has ratio 20.5."""
    spectrum = Spectrum.from_data(np.diag(np.sqrt([1.0, 0.5])))
    y = np.array([0.0, 1.0])
    teacher = teacher_weights(spectrum, y, 0.1)
    student = student_weights(spectrum, y, 50.0, 50.0)
    assert teacher[0] == student[0] == 0
    assert abs(student[1] / teacher[1]) == pytest.approx(20.504, abs=5e-4)


def test_e8_raw_components_from_nonzero_weights_need_not_shrink():
    spectrum = Spectrum.from_data(np.diag(np.sqrt([1.0, 0.2])))
    y, initial = np.array([1.0, 0.5]), np.array([0.0, 2.0 / np.sqrt(0.2)])
    moment = matched_teacher_time(1.0, 1.5, 3.0)
    teacher = teacher_weights(spectrum, y, moment, initial)
    student = student_weights(spectrum, y, 3.0, 1.5, initial)
    assert student[0] == pytest.approx(teacher[0], rel=1e-14)
    assert student[1] / teacher[1] == pytest.approx(1.1076, abs=5e-5)
    moved = (student - initial)[1] / (teacher - initial)[1]
    assert moved == pytest.approx(0.4974, abs=5e-5)
    assert moved == pytest.approx(float(component_ratio(0.2, 1.5, 3.0)), rel=1e-13)


def test_e8_different_initial_weights_break_the_theorem():
    spectrum = Spectrum.from_data(np.diag(np.sqrt([1.0, 0.2])))
    y = np.ones(2)
    moment = matched_teacher_time(1.0, 1.5, 3.0)
    own = np.array([0.0, 0.9 / np.sqrt(0.2)])
    teacher = teacher_weights(spectrum, y, moment)
    student = student_weights(spectrum, y, 3.0, 1.5, own, teacher_initial=np.zeros(2))
    assert student[0] == pytest.approx(teacher[0], rel=1e-14)
    assert student[1] / teacher[1] == pytest.approx(3.33, abs=5e-3)


def test_e11_curves_normalized_by_their_own_limit_are_identical():
    """The effect is visible only with a common normalizer."""
    rng = np.random.default_rng(0)
    spectrum = Spectrum.from_data(rng.standard_normal((5, 8)))
    y, grid = rng.standard_normal(5), np.geomspace(0.01, 10, 20)
    teacher = eigen_components(spectrum, teacher_weights(spectrum, y, grid), axis=-1)
    student = eigen_components(spectrum, student_weights(spectrum, y, 0.3, grid), axis=-1)
    limits = [
        eigen_components(spectrum, teacher_weights(spectrum, y, np.inf)),
        eigen_components(spectrum, student_weights(spectrum, y, 0.3, np.inf)),
    ]
    np.testing.assert_allclose(student / limits[1], teacher / limits[0], rtol=1e-11)
    assert (np.abs(student) < np.abs(teacher)).all()  # in time it is behind everywhere
    shares = (student / limits[0])[:, [0, -1]]
    assert (np.diff(shares, axis=1) < np.diff((teacher / limits[0])[:, [0, -1]], axis=1)).any()


def test_e12_different_step_sizes_break_the_theorem():
    """Teacher 0.9 x 20 steps, student 0.01 x 10 steps: ratio 1.898, not below 1."""
    eigenvalues = np.array([1.0, 0.5])
    learned = phi(discrete_progress(0.9, eigenvalues, 20)) * phi(
        discrete_progress(0.01, eigenvalues, 10)
    )
    moment = np.log1p(-learned[0]) / np.log(0.1)  # real-valued number of the teacher's steps
    teacher = phi(discrete_progress(0.9, eigenvalues, moment))
    assert teacher[0] == pytest.approx(learned[0], rel=1e-13)
    assert learned[1] / teacher[1] == pytest.approx(1.898, abs=5e-4)


def test_e12_steps_that_oscillate_break_the_theorem():
    """eta lambda_1 = 1.95: some whole number of steps matches the top direction, with ratio > 1."""
    left = 1 - 1.95 * np.array([1.0, 0.1])
    steps = np.arange(1, 40)
    learned = 1 - left ** steps[:, None]
    student = learned[:, None] * learned
    matches = np.isclose(student[:, :, None, 0], learned[:, 0], rtol=1e-3)
    ratios = np.abs(student[:, :, None, 1] / learned[:, 1])
    assert ratios[matches].max() > 1.5


def test_e12_momentum_breaks_the_theorem():
    """Heavy ball: a student that matches one of the teacher's steps, and has more elsewhere."""
    eigenvalues, target = np.array([1.0, 0.3]), np.ones(2)
    learned = reference.heavy_ball(eigenvalues, target, 0.1, 0.9, steps=150)[1:]
    student = learned[:, None] * learned  # linear in the target: the gains multiply
    matches = np.isclose(student[:, :, None, 0], learned[:, 0], rtol=1e-3, atol=0)
    ratios = np.abs(student[:, :, None, 1] / learned[:, 1])
    assert matches.sum() > 100
    assert ratios[matches].max() > 1.05


# Trends


class Filter:
    """A filter given by its effective time."""

    def __init__(self, effective_time):
        self.effective_time = effective_time


SPECTRUM = np.geomspace(100, 0.01, 40)


def _product(x):
    return matched_teacher_time(x, 1.0, 2.0)


@pytest.mark.theorem("flow:effective-time")
@pytest.mark.parametrize(
    ("effective_time", "verdict", "constant"),
    [
        (_product, "exaggerates", False),
        (lambda x: np.log1p(x) / x, "anti-exaggerates", False),
        (lambda x: np.full_like(x, 3.0), "neither", True),
        (lambda x: 3.0 * (1 + 1e-14 * np.sin(1e6 * x)), "neither", True),
        (lambda x: np.where(x < 1, x, 1 / x), "neither", False),
        (lambda x: np.where(x < 1, 1.0, np.nan), "neither", False),
        (lambda x: np.where(x < 1, 1.0, np.inf), "exaggerates", False),
        (lambda x: np.full_like(x, np.inf), "neither", True),
        (np.zeros_like, "neither", True),
    ],
    ids=["product", "ridge", "flow", "round-off", "peak", "nan", "inf above", "inf", "zero"],
)
def test_verdicts(effective_time, verdict, constant):
    trend = effective_time_trend(Filter(effective_time), SPECTRUM)
    assert classify(Filter(effective_time), SPECTRUM) == trend.verdict == verdict
    assert trend.constant == constant
    assert trend.defined == (not np.isnan(trend.effective_times).any())


@pytest.mark.theorem("flow:effective-time")
@given(times=st.tuples(*[strategies.powers_of_ten(-1, 1)] * 2))
def test_rising_effective_time_is_a_ratio_below_one(times):
    """Matched at any direction, a filter that exaggerates has less along every lower one."""
    for filter_, sign in (
        (lambda x: matched_teacher_time(x, *times), -1),
        (lambda x: np.log1p(times[0] * x) / x, 1),
    ):
        gains = phi(SPECTRUM * filter_(SPECTRUM))
        matched = phi(np.outer(filter_(SPECTRUM), SPECTRUM))
        excess = np.triu(gains - matched, k=1)  # lower directions stand to the right
        assert (sign * excess >= -1e-14).all()
        assert classify(Filter(filter_), SPECTRUM) == (
            "exaggerates" if sign < 0 else "anti-exaggerates"
        )


def test_ties_zeros_and_order_do_not_count():
    shuffled = np.random.default_rng(0).permutation(np.r_[SPECTRUM, SPECTRUM, 0.0, 0.0])
    trend = effective_time_trend(Filter(_product), shuffled)
    np.testing.assert_array_equal(trend.eigenvalues, np.sort(SPECTRUM)[::-1])
    assert trend.verdict == "exaggerates"


@pytest.mark.parametrize("eigenvalues", [[], [0.0], [2.0, 2.0]])
def test_a_spectrum_without_two_directions_shows_no_trend(eigenvalues):
    trend = effective_time_trend(Filter(_product), eigenvalues)
    assert (trend.verdict, trend.constant) == ("neither", True)
