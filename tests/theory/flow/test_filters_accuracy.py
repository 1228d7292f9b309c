import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.strategies import EXTREMES, powers_of_ten
from tests.theory.flow import filter_cases as cases
from theory.flow.filters import (
    DiscreteTrajectoryAverage,
    Generations,
    GradientDescent,
    GradientFlow,
    LabelsThenDistill,
    MemoryReplay,
    TrajectoryAverage,
)

TOLERANCE = 1e-14


def check(filter, eigenvalues, *, digits, tolerance=TOLERANCE, views=cases.VIEWS):
    """Every view of a filter against its formula, at every eigenvalue."""
    got = {view: getattr(filter, view)(np.array(eigenvalues)) for view in views}
    for index, lam in enumerate(eigenvalues):
        want = cases.wanted(filter, lam, digits=digits)
        compare({view: got[view][index] for view in views}, want, tolerance)


def compare(got, want, tolerance):
    # the exponential of a rounded number errs by as many ulp as that number has units
    depth = want["log_shortfall"]
    steep = 0.0 if depth is None or not mp.isfinite(depth) else min(float(-depth), 745.0)
    for view, value in got.items():
        allowed = tolerance + (4e-16 * steep if view == "shortfall" else 0.0)
        with mp.workdps(30):
            shown = want[view] if want[view] is None else mp.nstr(+want[view], 18)
        assert cases.misfit(value, want[view]) <= allowed, f"{view}: {value!r}, not {shown}"


def near(filter):
    """Eigenvalues at which formulas divide by a difference."""
    rate = getattr(filter, "rate", 0.0)
    return [rate * (1 + gap) for gap in (0.0, 1e-12, 1e-6, 0.01)] if 0 < rate < 1e300 else []


@pytest.mark.parametrize("name", cases.SCHEMES)
def test_every_scheme_has_full_relative_accuracy(name):
    @given(filter=cases.usual(name), lam=st.lists(powers_of_ten(-6, 4), min_size=3, max_size=3))
    def test(filter, lam):
        check(filter, lam + near(filter), digits=150)

    test()


@pytest.mark.parametrize("name", cases.SCHEMES)
def test_every_scheme_has_full_relative_accuracy_at_the_ends_of_the_range(name):
    @settings(max_examples=settings().max_examples // 2)
    @given(data=st.data(), lam=st.sampled_from(EXTREMES[1:]))
    def test(data, lam):
        check(data.draw(cases.extreme(name, lam)), [lam], digits=1700)

    test()


@given(
    time=powers_of_ten(-3, 3),
    count=st.integers(2, 1000),
    lam=powers_of_ten(-4, 3),
    log_scale=st.floats(-150, 150),
)
def test_generations_to_a_thousand(time, count, lam, log_scale):
    lam, time = lam / 10.0**log_scale, time * 10.0**log_scale
    filter = Generations((time,) * count)
    with mp.workdps(500):
        kept = mp.exp(-mp.mpf(lam) * mp.mpf(time))
        logarithm = count * mp.log1p(-kept)
        want = cases.views_of(mp.exp(logarithm), -mp.expm1(logarithm), mp.mpf(lam))
    # the logarithm of the product errs by its own ulp
    compare({view: getattr(filter, view)(lam) for view in cases.VIEWS}, want, tolerance=3e-13)


@given(
    interval=powers_of_ten(-3, 1),
    intervals=st.floats(1e-3, 40),
    weight=cases.usual_weights(),
    copies=st.integers(2, 5),
    lam=powers_of_ten(-6, 2),
)
def test_replay_of_many_copies(interval, intervals, weight, copies, lam):
    check(MemoryReplay(interval, interval * intervals, weight, copies), [lam], digits=400)


@given(
    intervals=st.sampled_from((300, 500)),
    weight=cases.usual_weights(),
    copies=st.integers(2, 4),
    x=powers_of_ten(-10, 1),
)
def test_replay_over_many_intervals(intervals, weight, copies, x):
    filter = MemoryReplay(1.0, intervals + 0.25, weight, copies)
    check(filter, [x], digits=100, tolerance=1e-13)


def test_replay_at_every_instant_slows_the_flow():
    """Intervals without number: as many as there are floats, and more."""
    for interval in (1e-6, 1e-12, 1e-200, 5e-324):
        gain = MemoryReplay(interval, 2.0, 0.25, 3).gain([1e-10, 0.5, 10.0])
        tolerance = max(10 * interval, 1e-14)
        np.testing.assert_allclose(
            gain, -np.expm1(-0.75 * 2.0 * np.array([1e-10, 0.5, 10.0])), rtol=tolerance
        )


@given(
    x=st.floats(0, 0.999) | powers_of_ten(-200, 0),
    steps=st.integers(0, 10**4),
    scale=powers_of_ten(-100, 100),
)
def test_gradient_descent_has_full_relative_accuracy(x, steps, scale):
    check(GradientDescent(x * scale, steps), [1 / scale], digits=500)


@given(x=st.floats(1.001, 1.999), steps=st.integers(0, 400))
def test_gradient_descent_that_oscillates(x, steps):
    filter = GradientDescent(x, steps)
    check(
        filter,
        [1.0],
        digits=1500,
        views=("gain", "shortfall", "gain_over_eigenvalue"),
        tolerance=1e-13,
    )
    undefined = bool(np.isnan(filter.effective_time(1.0)))
    assert undefined == (steps % 2 == 1)


@given(
    x=st.floats(1e-3, 1) | powers_of_ten(-30, 0),
    mu=st.floats(0.01, 0.99),
    steps=st.integers(0, 300),
    nesterov=st.booleans(),
    start=st.sampled_from(("torch", "textbook")),
    double=st.booleans(),
)
@example(x=0.9921875, mu=0.01, steps=156, nesterov=True, start="torch", double=False)
def test_momentum_is_accurate_relative_to_its_envelope(x, mu, steps, nesterov, start, double):
    if double and not nesterov:
        x = (1 - mu**0.5) ** 2  # both roots of the recursion coincide
    if nesterov:
        x = min(x, 0.9)  # at 1 the error is gone after two steps, and with it the envelope
    filter = GradientDescent(x, steps, mu, nesterov, start)
    with mp.workdps(150):
        path = cases.errors_with_momentum(filter, mp.mpf(1))
        envelope = max(abs(e) for e in path[-4:])
        got = {view: float(getattr(filter, view)(1.0)) for view in cases.VIEWS}
        # below the normal numbers float64 has no relative accuracy to ask for
        assert abs(got["shortfall"] - path[-1]) <= 2e-11 * envelope + mp.mpf("1e-308")
        gain = 1 - path[-1]
        assert abs(got["gain"] - gain) <= 1e-13 * abs(gain)
        assert abs(got["gain_over_eigenvalue"] - gain) <= 1e-13 * abs(gain)
        if envelope < 1e-300:
            return
        if path[-1] > 1e-3 * envelope and gain >= 0:
            assert abs(got["log_shortfall"] - mp.log(path[-1])) <= 2e-8
            assert cases.misfit(got["effective_time"], -mp.log(path[-1])) <= 2e-8
        elif path[-1] < -1e-3 * envelope:
            assert np.isnan(got["log_shortfall"])
            assert np.isnan(got["effective_time"])


def test_nesterov_at_its_best_step_is_done_after_two():
    for steps in (2, 3, 50, 1000):
        filter = GradientDescent(1.0, steps, 0.9, nesterov=True)
        assert abs(filter.gain(1.0) - 1) < 1e-15
        assert abs(filter.shortfall(1.0)) < 1e-15


@given(
    x=st.floats(0, 1) | powers_of_ten(-100, 0),
    a=st.floats(1e-3, 1) | powers_of_ten(-100, 0),
    epochs=st.integers(0, 1000),
    gap=st.none() | powers_of_ten(-15, -3),
)
def test_discrete_average_has_full_relative_accuracy(x, a, epochs, gap):
    if gap is not None:
        x = a * (1 - gap)
    check(DiscreteTrajectoryAverage(x, a, epochs), [1.0], digits=500, tolerance=2e-14)


@given(x=st.floats(1.01, 1.99), a=st.floats(1e-3, 1), epochs=st.integers(0, 60))
def test_discrete_average_of_steps_that_oscillate(x, a, epochs):
    filter = DiscreteTrajectoryAverage(x, a, epochs)
    with mp.workdps(60):
        missing = cases.error(filter, mp.mpf(1))
        assert abs(float(filter.shortfall(1.0)) - missing) <= 1e-13
        assert abs(float(filter.gain(1.0)) - (1 - missing)) <= 1e-13


@pytest.mark.parametrize("name", cases.SCHEMES)
def test_at_eigenvalue_zero_time_is_the_slope_of_the_gain(name):
    endless = cases.usual_times() | st.just(np.inf)
    scheme = cases.schemes(endless, cases.usual_weights(), cases.usual_times())[name]

    @given(filter=scheme)
    def test(filter):
        with np.errstate(all="raise"):
            got = [float(getattr(filter, view)(0.0)) for view in cases.VIEWS]
        assert got[:3] == [0, 1, 0]
        slope = cases.wanted(filter, mp.mpf(10) ** -400, digits=2500)["gain_over_eigenvalue"]
        assert cases.misfit(got[3], slope) <= 1e-14
        assert cases.misfit(got[4], slope if slope < 1e307 else mp.mpf(0)) <= 1e-14

    test()


def test_an_endless_student_of_an_early_teacher_is_that_teacher():
    for kind in (LabelsThenDistill(2.0, np.inf, 0.5), LabelsThenDistill(2.0, np.inf, 0.5, 1.0)):
        for name in cases.VIEWS:
            want = getattr(GradientFlow(0.5), name)([0.0, 1e-3, 1.0])
            np.testing.assert_allclose(getattr(kind, name)([0.0, 1e-3, 1.0]), want, rtol=1e-14)


def test_averages_join_where_the_rate_meets_the_eigenvalue():
    """P35: continuous across a = lambda."""
    at, beside = TrajectoryAverage(0.7, 3.0), TrajectoryAverage(0.7 * (1 + 1e-12), 3.0)
    assert abs(at.gain(0.7) / beside.gain(0.7) - 1) < 1e-11
