"""What can not beat early stopping (D1 to D4), and where that advice fails (D5)."""

from importlib import import_module
from pkgutil import iter_modules

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from theory.flow import logits, risk
from theory.flow.exaggeration import classify, effective_time_trend
from theory.flow.filters import (
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
    Ridge,
    RidgeRounds,
    Shrinkage,
    TrajectoryAverage,
)
from theory.flow.risk.verdict import BRAKING, EXAGGERATING
from theory.flow.spectrum import Spectrum

positive = st.floats(-2, 2).map(lambda e: 10.0**e)


@st.composite
def ordered_problems(draw, *, rising):
    """A problem whose best stopping times rise (or fall) with the eigenvalue, ties included."""
    modes = draw(st.integers(1, 8))
    rates = st.one_of(st.just(1.0), st.floats(-3, 1).map(lambda e: 10.0**e))
    rate = np.sort(draw(st.lists(rates, min_size=modes, max_size=modes)))
    rate = np.concatenate([np.unique(rate)[::-1], [0.0] * draw(st.integers(0, 1))])
    stop = np.sort(draw(st.lists(st.floats(0.01, 30), min_size=len(rate), max_size=len(rate))))
    stop = stop[::-1] if rising else stop
    noise = draw(positive)
    with np.errstate(over="ignore"):
        energy = noise * np.expm1(np.minimum(rate * stop, 300))
    assume(np.isfinite(energy).all())
    return rate, energy, noise


exaggerating = st.one_of(
    st.lists(positive, min_size=1, max_size=4).map(lambda t: Generations(tuple(t))),
    st.tuples(positive, st.floats(0, 1), st.floats(0.05, 0.95)).map(
        lambda a: Mixed(student_time=a[0], teacher_time=a[0] * (1 + a[1]), label_weight=a[2])
    ),
    st.tuples(positive, st.floats(0.05, 0.95)).map(lambda a: MixedFixedPoint(*a)),
    st.integers(0, 60).map(lambda steps: GradientDescent(0.09, steps)),
)
braking = st.one_of(
    positive.map(Ridge),
    st.tuples(positive, positive).map(lambda a: TrajectoryAverage(*a)),
    st.tuples(positive, positive, st.floats(0, 0.95)).map(
        lambda a: MemoryReplay(interval=a[1] / 5 + a[0], time=a[1], copy_weight=a[2])
    ),
)


def early_stopped(time, rate, energy, noise):
    return risk.denoising_risk(GradientFlow(float(time)).gain(rate), energy, noise)


def assert_not_better_than_early_stopping(scheme, problem):
    rate, energy, noise = problem
    got = risk.denoising_risk(scheme.gain(rate), energy, noise)
    candidates = np.concatenate(
        [risk.mode_stopping_time(rate, energy, noise), scheme.effective_time(rate)]
    )
    best = min(early_stopped(t, rate, energy, noise) for t in candidates if not np.isnan(t))
    assert best <= got * (1 + 1e-12)
    assert early_stopped(risk.optimal_stopping_time(*problem), *problem) <= got * (1 + 1e-12)


@pytest.mark.theorem("flow:dominance-exaggerating")
@given(ordered_problems(rising=False), exaggerating)
def test_p56_d1_nothing_that_exaggerates_beats_early_stopping(problem, scheme):
    verdict = risk.dominance(*problem)
    assert verdict.pattern in {"nonincreasing", "constant"}
    assert any(name.startswith(type(scheme).__name__) for name in verdict.cannot_win)
    assert_not_better_than_early_stopping(scheme, problem)


@pytest.mark.theorem("flow:dominance-braking")
@given(ordered_problems(rising=True), braking)
def test_d2_nothing_that_brakes_beats_early_stopping(problem, scheme):
    verdict = risk.dominance(*problem)
    assert verdict.pattern in {"nondecreasing", "constant"}
    assert any(name.startswith(type(scheme).__name__) for name in verdict.cannot_win)
    assert_not_better_than_early_stopping(scheme, problem)


@pytest.mark.theorem("flow:dominance-constant")
@given(st.lists(positive, min_size=1, max_size=6), st.floats(0.01, 3), positive)
def test_d3_equal_best_times_make_early_stopping_the_wiener_filter(rates, time, noise):
    rate = np.array(rates)
    energy = noise * np.expm1(rate * time)
    verdict = risk.dominance(rate, energy, noise)
    assert verdict.pattern == "constant"
    best = risk.optimal_stopping_time(rate, energy, noise)
    np.testing.assert_allclose(
        GradientFlow(float(best)).gain(rate), risk.wiener_gain(energy, noise), rtol=1e-11
    )


TIMES = st.floats(-1, 1).map(lambda e: 10.0**e)
WEIGHTS = st.floats(0.02, 0.98)
WINDOWS = st.just(0.0) | TIMES
SHORT = st.floats(-2.5, 0).map(lambda e: 10.0**e)
EVERY_FILTER = {
    "Generations": st.builds(
        Generations,
        st.lists(TIMES, min_size=2, max_size=2),
        st.none() | st.tuples(WEIGHTS, WEIGHTS),
    ),
    "Mixed": st.builds(
        lambda s, share, a: Mixed(s, s * share, a), TIMES, SHORT | st.floats(1, 9), WEIGHTS
    ),
    "MixedFixedPoint": st.builds(MixedFixedPoint, TIMES, WEIGHTS),
    "DistillThenLabels": st.builds(DistillThenLabels, TIMES, TIMES, TIMES, WINDOWS),
    "LabelsThenDistill": st.builds(LabelsThenDistill, TIMES, TIMES, TIMES, WINDOWS),
    "GradientDescent": st.builds(
        GradientDescent, st.just(0.99e-4) | st.just(1.01e-4), st.integers(2, 60)
    ),
    "GradientDescent with momentum": st.builds(
        GradientDescent, st.just(0.99e-4), st.integers(2, 60), st.floats(0.1, 0.9)
    ),
    "Ridge": st.builds(Ridge, TIMES),
    "RidgeRounds": st.builds(RidgeRounds, st.lists(TIMES, min_size=2, max_size=3)),
    "TrajectoryAverage": st.builds(TrajectoryAverage, TIMES, TIMES),
    "FilterKD": st.builds(FilterKD, TIMES, TIMES, TIMES),
    "MemoryReplay": st.builds(MemoryReplay, TIMES, TIMES, WEIGHTS, st.integers(1, 3)),
    "MeanTeacher": st.builds(MeanTeacher, TIMES, TIMES, WEIGHTS),
    "Shrinkage": st.builds(Shrinkage, TIMES, TIMES, TIMES),
}
SPECTRUM = np.geomspace(1e-4, 1e4, 81)


def listed(families):
    """The conditions under which each class is listed."""
    named = [family.partition(" (") for family in families]
    return {name: condition.removesuffix(")") or "True" for name, _, condition in named}


def holds(condition, scheme):
    """The condition as it is printed, of the fields of a filter."""
    fields = vars(scheme) | {"eigenvalue": SPECTRUM.max(), "min": min}
    return eval(condition, {"__builtins__": {}}, fields)


@pytest.mark.parametrize("name", EVERY_FILTER)
@settings(max_examples=60)
@given(data=st.data())
def test_a_listed_family_is_classified_as_its_list_says(name, data):
    scheme = data.draw(EVERY_FILTER[name])
    name = type(scheme).__name__
    trend = effective_time_trend(scheme, SPECTRUM, tolerance=1e-11)
    if name in listed(EXAGGERATING) and holds(listed(EXAGGERATING)[name], scheme):
        assert trend.defined
        assert trend.fall <= 1e-11
        assert classify(scheme, SPECTRUM, tolerance=1e-11) != "anti-exaggerates"
    if name in listed(BRAKING) and holds(listed(BRAKING)[name], scheme):
        assert trend.defined
        assert trend.rise <= 1e-11
        assert classify(scheme, SPECTRUM, tolerance=1e-11) != "exaggerates"


@pytest.mark.parametrize(
    ("name", "families", "verdict"),
    [
        *[(name, EXAGGERATING, "exaggerates") for name in EVERY_FILTER],
        *[(name, BRAKING, "anti-exaggerates") for name in EVERY_FILTER],
    ],
)
def test_a_family_is_listed_where_it_never_does_anything_else(name, families, verdict):
    """Unlisted, or listed on a condition: some filter of the family does something else."""
    seen = set()

    @settings(max_examples=60, database=None)
    @given(EVERY_FILTER[name])
    def look(scheme):
        seen.add(classify(scheme, SPECTRUM, tolerance=1e-11))

    look()
    always = seen == {verdict}
    assert always == (listed(families).get(name) == "True")


@pytest.mark.parametrize(
    ("scheme", "families"),
    [
        (Mixed(1.0, 1.0, 0.5), EXAGGERATING),
        (Mixed(1.0, 0.2, 0.5), BRAKING),
        (Generations((1.0, 2.0)), EXAGGERATING),
        (DistillThenLabels(1.0, 2.0, 0.3), EXAGGERATING),
        (DistillThenLabels(1.0, 2.0, 3.0, 0.5), EXAGGERATING),
        (LabelsThenDistill(1.0, 2.0, 3.0), EXAGGERATING),
        (LabelsThenDistill(1.0, 2.0, 0.5), BRAKING),
        (GradientDescent(0.9e-4, 5), EXAGGERATING),
    ],
    ids=str,
)
def test_a_family_is_listed_on_no_more_conditions_than_it_needs(scheme, families):
    assert classify(scheme, SPECTRUM) in {"exaggerates", "anti-exaggerates"}
    assert holds(listed(families)[type(scheme).__name__], scheme)


@given(ordered_problems(rising=False), exaggerating)
def test_the_dominating_time_is_as_good_in_every_direction(problem, scheme):
    rate, energy, noise = problem
    theta, stop = scheme.effective_time(rate), risk.mode_stopping_time(*problem)
    time = risk.dominating_time(theta, stop, eigenvalues=rate)
    moving = rate > 0
    if np.isnan(theta[moving]).any():
        assert np.isnan(time)
        return
    assert not np.isnan(time)
    got = [(1 - g) ** 2 * c + noise * g**2 for g, c in zip(scheme.gain(rate), energy, strict=True)]
    flow = GradientFlow(float(time)).gain(rate)
    new = [(1 - g) ** 2 * c + noise * g**2 for g, c in zip(flow, energy, strict=True)]
    assert (np.array(new) <= np.array(got) * (1 + 1e-11)).all()


@given(
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=6),
    st.floats(0, 10),
)
@example([(np.inf, 1.0), (2.0, np.inf)], 2.0)
def test_a_dominating_time_is_found_exactly_where_one_exists(pairs, probe):
    theta, stop = np.array(pairs).T
    time = risk.dominating_time(theta, stop)
    low, high = np.minimum(theta, stop), np.maximum(theta, stop)
    if np.isnan(time):
        assert not ((low <= probe) & (probe <= high)).all()
    else:
        assert ((low <= time * (1 + 1e-11)) & (time <= high * (1 + 1e-11))).all()
    if (theta >= stop).all():
        assert np.isnan(time) or time == stop.max()
    elif (theta <= stop).all():
        assert np.isnan(time) or time == stop.min()


def test_a_direction_that_never_moves_does_not_stand_in_the_way():
    theta, stop = [2.0, 5.0], [3.0, np.inf]
    assert np.isnan(risk.dominating_time(theta, stop))
    assert risk.dominating_time(theta, stop, eigenvalues=[1.0, 0.0]) == 3.0
    theta, stop = [4.0, 1.0], [3.0, 0.0]
    assert risk.dominating_time(theta, stop, eigenvalues=[1.0, 0.0]) == 3.0


def test_directions_of_one_eigenvalue_count_as_one():
    # apart, the equal directions have stopping times 0 and ln 9: together ln 5, above the top's
    rate, energy = [2.0, 1.0, 1.0], [1.0, 0.0, 8.0]
    assert risk.dominance(rate, energy, 1.0).pattern == "nonincreasing"
    np.testing.assert_allclose(
        risk.dominance(rate, energy, 1.0).mode_times, [np.log(2) / 2, np.log(5)]
    )
    assert risk.dominance([1.0, 1.0], [0.0, 8.0], 1.0).pattern == "constant"


def test_patterns_and_edges():
    rate = np.array([1.0, 0.5, 0.1, 0.0])
    assert risk.dominance(rate, rate, 1.0).pattern == "nonincreasing"
    assert risk.dominance(rate, rate**4, 1.0).pattern == "nondecreasing"
    assert risk.dominance(rate, [1.0, 0.0, 1.0, 1.0], 1.0).pattern == "mixed"
    assert risk.dominance(rate, [1.0, 0.0, 1.0, 1.0], 1.0).cannot_win == ()
    assert risk.dominance(rate, rate, 0.0).pattern == "constant"
    assert risk.dominance([0.0], [1.0], 1.0).pattern == "constant"
    # a direction that counts for nothing decides nothing
    assert risk.dominance(rate, [1.0, 0.0, 1.0, 1.0], 1.0, weights=[1, 0, 1, 1]).pattern != "mixed"
    verdict = risk.dominance([1.0, 0.1], [4.0, 1.0], 1.0)
    assert verdict.forbids([3.0, 2.0])
    assert not verdict.forbids([2.0, 5.0])
    assert not verdict.forbids([2.0, np.nan])


def test_weights_of_the_modes_change_no_pattern_but_join_ties():
    rng = np.random.default_rng(0)
    rate, energy = np.array([2.0, 1.0, 1.0]), np.array([1.0, 0.0, 8.0])
    weighted = risk.dominance(rate, energy, 1.0, weights=[1.0, 3.0, 1.0])
    np.testing.assert_allclose(weighted.mode_times, [np.log(2) / 2, np.log(1 + 8 / 4)])
    basis = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    same = risk.dominance(rate, energy, 1.0, covariance=np.diag([2.0, 3.0, 1.0]))
    turned = risk.dominance(
        rate, energy, 1.0, covariance=basis * [2.0, 3.0, 1.0] @ basis.T, basis=basis
    )
    np.testing.assert_allclose(same.mode_times, weighted.mode_times)
    np.testing.assert_allclose(turned.mode_times, weighted.mode_times)


@given(ordered_problems(rising=False))
@pytest.mark.theorem("flow:student-limit")
def test_d4_the_student_gain_is_real_and_certain_when_said(problem):
    student_time, teacher_time, gain = risk.winning_student(*problem)
    rate, energy, noise = problem
    assert gain >= 0
    # D1: the slowest direction is never over-fitted at the best time
    assert not risk.student_certainly_gains(*problem)
    assert gain <= 1e-12 * energy.sum()
    student = risk.denoising_risk(
        GradientFlow(student_time).gain(rate) * GradientFlow(teacher_time).gain(rate), energy, noise
    )
    plain = early_stopped(teacher_time, *problem)
    assert plain - student == pytest.approx(gain / len(rate), abs=1e-13 * plain)


@given(st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_p62_d4_a_slowest_direction_of_pure_noise_makes_distillation_pay(modes, seed):
    rng = np.random.default_rng(seed)
    rate = np.sort(10.0 ** rng.uniform(-2, 0.5, modes))[::-1]
    energy, noise = 10.0 ** rng.uniform(-1, 1.5, modes), 10.0 ** rng.uniform(-1, 1)
    energy[-1] = 0.0
    best = risk.optimal_stopping_time(rate, energy, noise)
    plain = early_stopped(best, rate, energy, noise)
    assert risk.student_certainly_gains(rate, energy, noise)
    student_time, teacher_time, gain = risk.winning_student(rate, energy, noise)
    scheme = Generations((student_time, teacher_time))
    distilled = risk.denoising_risk(scheme.gain(rate), energy, noise)
    assert gain > 0
    assert distilled <= plain * (1 + 1e-12)
    if rate[-1] * best > 0.05:
        assert distilled < plain


def test_two_modes_where_distillation_pays_and_where_it_can_not():
    rate = np.array([1.0, 0.1])

    def risks(scheme, energy):
        return 2 * risk.denoising_risk(scheme.gain(rate), energy, 1.0) / 2

    top = [4.0, 0.0]
    assert early_stopped(
        risk.optimal_stopping_time(rate, top, 1.0), rate, top, 1.0
    ) == pytest.approx(0.410682, abs=5e-7)
    assert risks(Generations((2.2412, 2.2412)), top) == pytest.approx(0.400817, abs=5e-7)
    fifth = minimize_scalar(
        lambda t: risks(Generations((np.exp(t),) * 5), top), bounds=(0, 2.5), method="bounded"
    )
    assert fifth.fun == pytest.approx(0.400001, abs=1e-6)
    assert risk.denoising_risk(risk.wiener_gain(top, 1.0), top, 1.0) == pytest.approx(0.4)
    assert risk.dominance(rate, top, 1.0).pattern == "nondecreasing"

    both = [4.0, 1.0]
    best = risk.optimal_stopping_time(rate, both, 1.0)
    assert best == pytest.approx(6.694, abs=5e-4)
    assert early_stopped(best, rate, both, 1.0) == pytest.approx(0.748910, abs=5e-7)
    ridge = minimize_scalar(
        lambda u: risks(Ridge(np.exp(u)), both), bounds=(-9, 3), method="bounded"
    )
    assert ridge.fun == pytest.approx(0.671837, abs=1e-6)
    assert risk.denoising_risk(risk.wiener_gain(both, 1.0), both, 1.0) == pytest.approx(0.65)
    assert risk.dominance(rate, both, 1.0).pattern == "nonincreasing"
    assert not risk.student_certainly_gains(rate, both, 1.0)


SHIFT = {
    "spectrum": Spectrum.from_data(np.diag(np.sqrt([1.0, 0.13]))),
    "coefficients": [2.31, -1.46],
    "noise_variance": 0.796,
    "covariance": np.array([[1.0, -0.92], [-0.92, 1.0]]),
}


@pytest.mark.theorem("flow:covariate-shift")
def test_d5_under_covariate_shift_a_student_beats_every_early_stopping():
    rate = np.array([1.0, 0.13])
    energy = rate * np.array(SHIFT["coefficients"]) ** 2
    np.testing.assert_allclose(
        risk.mode_stopping_time(rate, energy, 0.796), [2.042, 2.298], atol=5e-4
    )
    # in the separable risk the student is ruled out
    assert risk.dominance(rate, energy, 0.796).cannot_win[0].startswith("Generations")
    times = np.geomspace(1e-1, 1e2, 1001)
    plain = min(risk.excess_risk(filter=GradientFlow(t), **SHIFT) for t in times)
    student = risk.excess_risk(filter=Generations((5.75, 5.75)), **SHIFT)
    assert plain == pytest.approx(2.54359, abs=1e-5)
    assert student == pytest.approx(2.39875, abs=5e-6)


def test_d5_agrees_with_monte_carlo():
    rng = np.random.default_rng(5)
    scale, truth = np.sqrt([1.0, 0.13]), np.array(SHIFT["coefficients"])
    draws = 200_000
    labels = scale * truth + np.sqrt(0.796) * rng.standard_normal((draws, 2))
    gain = Generations((5.75, 5.75)).gain(scale**2)
    error = labels * gain / scale - truth
    losses = np.einsum("di,ij,dj->d", error, SHIFT["covariance"], error)
    # 5 standard errors: a false alarm once in two million
    assert abs(losses.mean() - 2.39875) < 5 * losses.std() / np.sqrt(draws)


def test_the_advice_is_refused_where_the_risk_couples_directions():
    with pytest.raises(ValueError, match="couples"):
        risk.dominance([1.0, 0.13], [5.0, 0.3], 0.8, covariance=SHIFT["covariance"])
    # diagonal within the row space, but coupled to what lies outside it
    basis = np.array([[1.0], [0.0]])
    assert not risk.is_separable([[1.0, 0.5], [0.5, 1.0]], basis)
    assert risk.is_separable([[2.0, 0.0], [0.0, 1.0]], basis)


@given(st.integers(0, 2**32 - 1), positive, positive)
def test_an_eigenspace_that_the_covariance_couples_counts_as_one_once_turned(seed, rate, noise):
    """The recipe in the refusal: a basis in which the covariance is diagonal, energies along it."""
    rng = np.random.default_rng(seed)
    root, beta = rng.standard_normal((2, 2)), rng.standard_normal(2)
    covariance = root @ root.T
    with pytest.raises(ValueError, match=r"same eigenvalue.* Turn the basis"):
        risk.dominance([rate, rate], rate * beta**2, noise, covariance=covariance)
    basis = np.linalg.eigh(covariance)[1]
    verdict = risk.dominance(
        [rate, rate], rate * (basis.T @ beta) ** 2, noise, covariance=covariance, basis=basis
    )
    # (1 - g)^2 b' S b + noise g^2 tr S / rate is least at g = 1 - exp(-rate t)
    gain = (
        beta @ covariance @ beta / (beta @ covariance @ beta + noise * np.trace(covariance) / rate)
    )
    np.testing.assert_allclose(verdict.mode_times, [-np.log1p(-gain) / rate], rtol=1e-8)
    # and this is what the test risk itself says
    spectrum = Spectrum.from_data(np.sqrt(rate) * np.eye(2))

    def score(share):
        flow = GradientFlow(share * float(verdict.mode_times[0]))
        return risk.excess_risk(spectrum, flow, beta, noise, covariance=covariance)

    assert score(1.0) <= min(score(0.99), score(1.01))


def test_coupling_within_an_eigenspace_and_beyond_it_are_told_apart():
    covariance = np.eye(3) + 0.0
    covariance[0, 1] = covariance[1, 0] = 0.5
    arguments = [4.0, 1.0, 1.0], 1.0
    with pytest.raises(ValueError, match="Turn the basis"):
        risk.dominance([1.0, 1.0, 0.5], *arguments, covariance=covariance)
    with pytest.raises(ValueError, match="Compare excess_risk"):
        risk.dominance([1.0, 0.5, 0.5], *arguments, covariance=covariance)
    # the direction coupled to is not among the modes
    with pytest.raises(ValueError, match="Compare excess_risk"):
        risk.dominance([1.0], [4.0], 1.0, covariance=covariance, basis=np.eye(3)[:, :1])


@pytest.mark.parametrize("coupling", [1e-8, 1e-3, 0.05])
def test_even_a_weak_coupling_is_no_round_off(coupling):
    covariance = [[1.0, coupling], [coupling, 1.0]]
    assert not risk.is_separable(covariance)
    assert risk.is_separable(covariance, tolerance=2 * coupling)
    with pytest.raises(ValueError, match="couples"):
        risk.dominance([1.0, 0.5], [1.0, 1.0], 1.0, covariance=covariance)
    assert risk.is_separable([[1.0, 1e-14], [1e-14, 1.0]])


@pytest.mark.parametrize(
    ("arguments", "keywords", "says"),
    [
        (([1.0, -1.0], [1.0, 1.0], 1.0), {}, "eigenvalues must be >= 0"),
        (([1.0, 2.0], [1.0, 1.0, 1.0], 1.0), {}, "one value a mode"),
        (([1.0, 2.0], [1.0, 1.0], 1.0), {"weights": [-1.0, 1.0]}, "weights must be >= 0"),
        (([1.0, 2.0], [1.0, 1.0], 1.0), {"covariance": np.eye(3)}, "must speak of the 2 modes"),
        (
            ([1.0, 2.0], [1.0, 1.0], 1.0),
            {"covariance": np.ones((2, 3))},
            "covariance must be square",
        ),
        (
            ([1.0, 2.0], [1.0, 1.0], 1.0),
            {"covariance": np.eye(2), "weights": [1.0, 2.0, 3.0]},
            r"weights must have one value a mode, got shapes \(2,\), \(3,\)",
        ),
        (
            ([1.0, 2.0], [1.0, 1.0], 1.0),
            {"weights": [1.0, 2.0, 3.0]},
            "weights must have one value",
        ),
        (
            ([1.0, 2.0], [1.0, 1.0], 1.0),
            {"covariance": np.eye(2), "basis": np.eye(3)},
            r"covariance must have shape \(3, 3\)",
        ),
        (([1.0, 2.0], [1.0, np.nan], 1.0), {}, "signal_energy must be finite"),
    ],
)
def test_bad_problems_are_refused(arguments, keywords, says):
    with pytest.raises(ValueError, match=says):
        risk.dominance(*arguments, **keywords)


def test_negative_effective_times_are_refused():
    with pytest.raises(ValueError, match="effective_times must be >= 0"):
        risk.dominating_time([-1.0], [1.0])


@pytest.mark.parametrize("package", [logits, risk], ids=lambda package: package.__name__)
def test_no_function_hides_the_module_it_comes_from(package):
    for module in iter_modules(package.__path__):
        here = import_module(f"{package.__name__}.{module.name}")
        assert getattr(package, module.name) is here
