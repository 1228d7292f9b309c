"""Risk of filters, best stopping times, test risk: against mpmath, brute force and Monte Carlo."""

import mpmath
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar

from theory.flow import risk
from theory.flow.filters import Generations, GradientFlow, MemoryReplay, Ridge, TrajectoryAverage
from theory.flow.spectrum import Spectrum

EPS = np.finfo(float).eps
LOG_RATES = st.floats(-6, 2)
exponents = st.floats(-3, 3)


@st.composite
def problems(draw, *, min_modes=1, max_modes=7):
    """Eigenvalues (zero and repeated ones among them), energies (zeros too), noise."""
    modes = draw(st.integers(min_modes, max_modes))
    rates = st.one_of(st.just(0.0), st.just(1.0), LOG_RATES.map(lambda e: 10.0**e))
    energies = st.one_of(st.just(0.0), exponents.map(lambda e: 10.0**e))
    rate = np.array(draw(st.lists(rates, min_size=modes, max_size=modes)))
    energy = np.array(draw(st.lists(energies, min_size=modes, max_size=modes)))
    return rate, energy, 10.0 ** draw(st.floats(-2, 2))


def stopped(time, rate, energy, noise):
    """Plain formula of the early-stopped risk, for many times."""
    x = np.multiply.outer(np.atleast_1d(time), rate)
    return (energy * np.exp(-2 * x) + noise * np.expm1(-x) ** 2).mean(axis=-1)


@given(problems(), st.integers(0, 2**32 - 1))
def test_p55_risk_is_the_wiener_risk_plus_a_weighted_square(problem, seed):
    rate, energy, noise = problem
    gain = np.random.default_rng(seed).uniform(-0.5, 1.5, (3, len(rate)))
    least = risk.denoising_risk(risk.wiener_gain(energy, noise), energy, noise)
    got = risk.denoising_risk(gain, energy, noise)
    np.testing.assert_allclose(
        got, least + risk.wiener_excess(gain, energy, noise), rtol=1e-13, atol=1e-13 * least
    )


@given(problems(), st.integers(0, 2**32 - 1))
def test_denoising_risk_equals_its_definition(problem, seed):
    rate, energy, noise = problem
    gain = np.random.default_rng(seed).uniform(-0.5, 1.5, len(rate))
    want = sum((1 - g) ** 2 * c + noise * g**2 for g, c in zip(gain, energy, strict=True))
    n = len(rate) + 3
    got = risk.denoising_risk(gain, energy, noise, samples=n, off_span=2.5)
    assert got == pytest.approx((want + 2.5) / n, rel=1e-14)
    fit = sum((1 - g) ** 2 * (c + noise) for g, c in zip(gain, energy, strict=True))
    got = risk.training_error(gain, energy, noise, samples=n, off_span=2.5)
    assert got == pytest.approx((fit + 2.5 + 3 * noise) / n, rel=1e-14)


def test_denoising_and_training_error_agree_with_monte_carlo():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((6, 3)))[0]
    clean, noise = rng.standard_normal(6), 0.7
    gain, energy = np.array([0.9, 0.5, 0.2]), (basis.T @ clean) ** 2
    outside = clean @ clean - energy.sum()
    labels = clean + np.sqrt(noise) * rng.standard_normal((200_000, 6))
    fitted = labels @ basis * gain @ basis.T
    # 5 standard errors: a false alarm once in two million
    for error, want in (
        (fitted - clean, risk.denoising_risk(gain, energy, noise, samples=6, off_span=outside)),
        (fitted - labels, risk.training_error(gain, energy, noise, samples=6, off_span=outside)),
    ):
        draws = (error**2).mean(axis=1)
        assert abs(draws.mean() - want) < 5 * draws.std() / np.sqrt(len(draws))


def test_shortfall_keeps_the_bias_of_directions_that_are_all_but_learned():
    short = np.exp(-40.0)
    got = risk.denoising_risk(1 - short, 1.0, 0.0, shortfall=short)
    assert got == pytest.approx(short**2, rel=1e-15)


def test_leading_axes_are_filters_and_problems():
    gain = np.linspace(0, 1, 5)[:, None, None] * np.ones((1, 1, 3))
    energy = np.arange(6.0).reshape(2, 3)
    got = risk.denoising_risk(gain, energy, np.array([[1.0], [2.0]]))
    assert got.shape == (5, 2)
    assert got[2, 1] == risk.denoising_risk(gain[2, 0], energy[1], 2.0)


@pytest.mark.parametrize("call", [risk.denoising_risk, risk.training_error])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"signal_energy": [-1.0, 1.0]}, "signal_energy must be >= 0"),
        ({"noise_variance": -1.0}, "noise_variance must be >= 0"),
        ({"noise_variance": np.nan}, "noise_variance must be finite"),
        ({"gain": [np.inf, 1.0]}, "gain must be finite"),
        ({"gain": [1.0, 1.0, 1.0]}, "broadcast"),
        ({"gain": [], "signal_energy": []}, "at least one mode"),
        ({"samples": 0}, "samples must be"),
        ({"samples": 2.5}, "samples must be"),
        ({"off_span": -1.0}, "off_span must be >= 0"),
    ],
)
def test_bad_input_is_refused_by_name(call, change, says):
    good = {"gain": [0.5, 0.5], "signal_energy": [1.0, 1.0], "noise_variance": 1.0}
    with pytest.raises(ValueError, match=says):
        call(**(good | change))


def test_training_error_needs_as_many_samples_as_modes():
    with pytest.raises(ValueError, match="samples must be at least"):
        risk.training_error([0.5, 0.5], [1.0, 1.0], 1.0, samples=1)


@given(st.floats(-300, 300), st.floats(-300, 300), st.floats(-300, 300))
@example(-300, 300, -300)
@example(300, -300, 300)
def test_mode_stopping_time_and_wiener_gain_keep_full_accuracy(log_energy, log_noise, log_rate):
    energy, noise, rate = 10.0**log_energy, 10.0**log_noise, 10.0**log_rate
    with mpmath.workdps(700):
        ratio = mpmath.mpf(energy) / mpmath.mpf(noise)
        time = float(mpmath.log1p(ratio) / mpmath.mpf(rate))
        gain = float(ratio / (1 + ratio))
    assert risk.mode_stopping_time(rate, energy, noise) == pytest.approx(
        time, rel=1e-15 * 4, abs=1e-320
    )
    assert risk.wiener_gain(energy, noise) == pytest.approx(gain, rel=1e-15, abs=1e-320)


def test_edges_of_the_stopping_time_of_a_mode():
    got = risk.mode_stopping_time(
        [1.0, 1.0, 1.0, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, 1.0, 0.0, 1.0],
        [1.0, 0.0, 0.0, 1.0, 1.0, 0.0],
    )
    np.testing.assert_array_equal(got, [0, np.inf, 0, np.inf, 0, np.inf])
    np.testing.assert_array_equal(risk.wiener_gain([0.0, 0.0, 1.0], [0.0, 1.0, 0.0]), [0, 0, 1])
    assert isinstance(risk.mode_stopping_time(1.0, 1.0, 1.0), float)


@given(problems())
def test_the_best_time_is_the_global_minimum(problem):
    rate, energy, noise = problem
    time = risk.optimal_stopping_time(rate, energy, noise)
    grid = np.concatenate([[0.0], np.geomspace(1e-8, 1e10, 4001)])
    lowest = stopped(grid, rate, energy, noise).min()
    assert stopped(time, rate, energy, noise)[0] <= lowest * (1 + 1e-13)
    moving = rate > 0
    if (energy[moving] > 0).any():
        times = risk.mode_stopping_time(rate[moving], energy[moving], noise)
        assert times.min() <= time <= times.max()
        assert time > 0
    else:
        assert time == 0


@given(problems())
def test_the_best_time_solves_the_stop_time_equation_to_rounding(problem):
    rate, energy, noise = problem
    time = float(risk.optimal_stopping_time(rate, energy, noise))
    with mpmath.workdps(60):
        terms, curvature = [], mpmath.mpf(0)
        for lam, c in zip(map(mpmath.mpf, rate), map(mpmath.mpf, energy), strict=True):
            p = mpmath.exp(-lam * mpmath.mpf(time))
            terms.append(lam * p * (noise * (1 - p) - c * p))
            curvature += lam**2 * p * ((2 * (c + noise)) * p - noise)
        if time > 0:
            # Newton's correction from here; where two stationary points merge the curvature is
            # small, and what counts is that the slope itself is round-off
            slope, size = sum(terms), sum(abs(term) for term in terms)
            assert abs(slope) <= 1e-13 * size or abs(slope / curvature) <= 1e-13 * time


@pytest.mark.parametrize(
    ("rate", "energy", "noise", "want"),
    [
        ([1.0, 0.1], [4.0, 0.0], 1.0, 1.5529),
        ([1.0, 0.1], [4.0, 1.0], 1.0, 6.694),
        ([1.0, 0.0], [4.0, 9.0], 1.0, np.log(5)),
        ([2.0], [0.0], 1.0, 0.0),
        ([0.0, 0.0], [1.0, 1.0], 1.0, 0.0),
        ([1.0, 0.5], [1.0, 0.0], 0.0, np.inf),
        ([1.0, 0.5], [0.0, 0.0], 0.0, 0.0),
        ([1.0, 1e-300], [0.0, 1.0], 1.0, 1e-300),  # the slow mode is not worth the noise
        ([1e-3, 1e-300], [1e-3, 10.0], 0.1, np.log(101) * 1e300),
        ([1e300, 1e-300], [4.0, 4.0], 1.0, np.log(5) * 1e300),
        ([1e300], [1e300], 1e-300, 2 * np.log(1e300) / 1e300),
        # what never moves must not set the scale of what does
        ([0.0, 1e-300], [1e300, 1e-300], 1e-300, np.log(2) * 1e300),
    ],
)
def test_known_and_extreme_best_times(rate, energy, noise, want):
    got = risk.optimal_stopping_time(rate, energy, noise)
    assert got == pytest.approx(want, rel=1e-4 if want in {1.5529, 6.694} else 1e-14)


def test_a_direction_that_never_moves_does_not_set_the_scale():
    plain = risk.optimal_stopping_time([1.0, 2.0], [9.0, 1.0], 1.0)
    tiny = risk.optimal_stopping_time([0.0, 1e-300, 2e-300], [1e300, 9e-300, 1e-300], 1e-300)
    assert tiny == pytest.approx(plain * 1e300, rel=1e-14)


def test_of_two_minima_the_lower_one_is_found():
    rate, energy = np.array([1.0, 0.01]), np.array([5.0, 3.0])
    time = risk.optimal_stopping_time(rate, energy, 1.0)
    # the second minimum is at 100 ln 4 to all digits
    assert time == pytest.approx(100 * np.log(4), rel=1e-14)
    np.testing.assert_allclose(
        stopped([2.039, time], rate, energy, 1.0), [1.8609, 0.8750], atol=5e-5
    )


def test_of_two_equal_minima_the_earlier_is_taken():
    rate = np.array([1.0, 0.01])
    basins = (1.0, 4.0), (20.0, 1000.0)

    def lowest(energy, basin):
        found = minimize_scalar(
            lambda t: stopped(t, rate, np.array([5.0, energy]), 1.0)[0],
            bounds=basin,
            method="bounded",
            options={"xatol": 1e-9},
        )
        return found.fun

    tie = brentq(lambda c: lowest(c, basins[0]) - lowest(c, basins[1]), 0.4, 0.6, xtol=1e-15)
    times = [risk.optimal_stopping_time(rate, [5.0, tie * f], 1.0) for f in (0.999, 1.0, 1.001)]
    assert times[0] < 20
    assert times[1] == pytest.approx(times[0], rel=1e-2)
    assert times[2] > 20


def test_thousands_of_problems_each_have_their_minimum_found_and_polished():
    rng = np.random.default_rng(0)
    grid = np.geomspace(1e-2, 1e5, 1500)
    for modes in (2, 3, 5):
        rate = 10.0 ** rng.uniform(-3, 0, (1000, modes))
        energy = 10.0 ** rng.uniform(-1.5, 1.5, (1000, modes))
        time = risk.optimal_stopping_time(rate, energy, 1.0)[:, None]

        def score(t, rate=rate, energy=energy):
            gain = -np.expm1(-rate * t)
            return risk.denoising_risk(gain, energy, 1.0)

        lowest = np.min([score(t) for t in grid], axis=0)
        assert (score(time) <= lowest * (1 + 1e-13)).all()

        def slope(t, rate=rate, energy=energy):
            kept = np.exp(-rate * t)
            return (rate * kept * (1 - (1 + energy) * kept)).sum(axis=1)

        assert (slope(time * (1 - 1e-8)) < 0).all()
        assert (slope(time * (1 + 1e-8)) > 0).all()


def test_many_problems_at_once_equal_one_by_one():
    rng = np.random.default_rng(1)
    rate = 10.0 ** rng.uniform(-4, 2, (4, 5, 6))
    energy = 10.0 ** rng.uniform(-2, 2, (5, 6)) * (rng.random((5, 6)) < 0.6)
    noise = 10.0 ** rng.uniform(-1, 1, (4, 1, 1))
    together = risk.optimal_stopping_time(rate, energy, noise)
    assert together.shape == (4, 5)
    for i, j in np.ndindex(4, 5):
        alone = risk.optimal_stopping_time(rate[i, j], energy[j], noise[i, 0, 0])
        assert together[i, j] == pytest.approx(alone, rel=1e-13)


@given(problems(), st.floats(-100, 100), st.floats(-100, 100))
def test_the_best_time_scales_with_the_units(problem, log_rate, log_energy):
    rate, energy, noise = problem
    a, b = 10.0**log_rate, 10.0**log_energy
    time = risk.optimal_stopping_time(rate, energy, noise)
    scaled = risk.optimal_stopping_time(a * rate, b * energy, b * noise)
    # near-equal minima may swap places: compare the risks
    assert stopped(scaled * a, rate, energy, noise) == pytest.approx(
        stopped(time, rate, energy, noise), rel=1e-12
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (([1.0, -1.0], [1.0, 1.0], 1.0), "eigenvalues must be >= 0"),
        (([1.0, 2.0], [1.0, 1.0, 1.0], 1.0), "broadcast"),
        (([1.0, 2.0], [1.0, 1.0], [0.0, 1.0]), "mixture"),
        (([], [], 1.0), "at least one mode"),
        (([1.0], [np.inf], 1.0), "signal_energy must be finite"),
    ],
)
def test_bad_stopping_problems_are_refused(arguments, says):
    with pytest.raises(ValueError, match=says):
        risk.optimal_stopping_time(*arguments)


@given(st.integers(1, 30), st.floats(-2, 2), st.floats(-2, 2))
def test_p57_p58_isotropic_signal_makes_ridge_the_wiener_filter(modes, log_prior, log_noise):
    rate = np.geomspace(3.0, 1e-3, modes)
    prior, noise = 10.0**log_prior, 10.0**log_noise
    energy = rate * prior
    gain = Ridge(noise / prior).gain(rate)
    np.testing.assert_allclose(gain, risk.wiener_gain(energy, noise), rtol=1e-14)
    assert (np.diff(risk.mode_stopping_time(rate, energy, noise)) > 0).all()  # descending rates


FILTERS = {
    "flow": GradientFlow(1.3),
    "student": Generations((2.0, 3.0)),
    "labels of filter-kd": TrajectoryAverage(0.8, 2.0),
    "memory replay": MemoryReplay(0.7, 2.0, 0.4),
}
SHAPES = {"long": (7, 3), "wide": (3, 6), "square": (4, 4)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("scheme", FILTERS.values(), ids=FILTERS)
@pytest.mark.parametrize("outputs", [1, 2])
def test_excess_risk_agrees_with_monte_carlo(shape, scheme, outputs):
    rng = np.random.default_rng(sum(shape) + outputs)
    n, p = shape
    data, root = rng.standard_normal(shape), rng.standard_normal((p, p))
    truth, noise = rng.standard_normal((p, outputs)), 0.6
    spectrum = Spectrum.from_data(data, normalize=outputs == 2)
    covariance = root @ root.T
    want = risk.excess_risk(spectrum, scheme, truth, noise, covariance=covariance)

    draws = 40_000
    labels = data @ truth + np.sqrt(noise) * rng.standard_normal((draws, n, outputs))
    with_ = scheme.gain(spectrum.eigenvalues) / spectrum.singular_values
    learned = np.einsum(
        "pr,r,nr,dnk->dpk", spectrum.right, with_, spectrum.left, labels, optimize=True
    )
    errors = np.einsum("dpk,pq->dqk", learned - truth, root, optimize=True)
    losses = (errors**2).sum(axis=(1, 2))
    # 5 standard errors: a false alarm once in two million
    assert abs(losses.mean() - want) < 5 * losses.std() / np.sqrt(draws)


def test_excess_risk_where_eigenvalues_are_zero_or_underflow():
    spectrum = Spectrum.from_data(np.diag([1.0, 0.0]))
    assert risk.excess_risk(spectrum, GradientFlow(np.inf), [1.0, 2.0], 0.5) == pytest.approx(4.5)
    tiny = Spectrum.from_data([[1e-170]])
    got = risk.excess_risk(tiny, GradientFlow(1e170), [1.0], 1.0)
    assert got == pytest.approx(2.0, rel=1e-12)  # nothing learned, and weight t s = 1 of the noise


def test_excess_risk_in_the_data_own_distribution_is_the_denoising_risk():
    rng = np.random.default_rng(3)
    data, truth = rng.standard_normal((9, 4)), rng.standard_normal(4)
    spectrum = Spectrum.from_data(data)
    scheme = GradientFlow(0.2)
    got = risk.excess_risk(spectrum, scheme, truth, 0.3, covariance=data.T @ data / 9)
    energy = (spectrum.left.T @ data @ truth) ** 2
    want = risk.denoising_risk(scheme.gain(spectrum.eigenvalues), energy, 0.3, samples=9)
    assert got == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"spectrum": Spectrum.from_kernel(np.eye(2))}, "kernel"),
        ({"coefficients": [1.0]}, "coefficients"),
        ({"noise_variance": -1.0}, "noise_variance"),
        ({"covariance": np.eye(3)}, "covariance must have shape"),
        ({"covariance": [[1.0, 0.5], [0.0, 1.0]]}, "symmetric"),
        ({"covariance": [[1.0, 2.0], [2.0, 1.0]]}, "positive semi-definite"),
        ({"covariance": [[1.0, np.nan], [2.0, 1.0]]}, "covariance must be finite"),
        ({"spectrum": np.eye(2)}, "spectrum must be Spectrum.from_data"),
        ({"filter": "flow"}, "filter must be a filter of theory.flow.filters, got str"),
    ],
)
def test_bad_test_risk_problems_are_refused(change, says):
    good = {
        "spectrum": Spectrum.from_data(np.eye(2)),
        "filter": GradientFlow(1.0),
        "coefficients": [1.0, 1.0],
        "noise_variance": 1.0,
    }
    with pytest.raises(ValueError, match=says):
        risk.excess_risk(**(good | change))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: risk.wiener_gain([1, 2, 3], [1, 2]),
            r"signal_energy \(3,\), noise_variance \(2,\)",
        ),
        (lambda: risk.wiener_excess([1, 2, 3], [1, 2], 1.0), r"gain \(3,\), signal_energy \(2,\)"),
        (lambda: risk.wiener_excess([], [], 1.0), "at least one mode, got gain, signal_energy"),
        (lambda: risk.mode_stopping_time([1, 2, 3], [1, 2], 1.0), r"eigenvalues \(3,\), signal"),
        (lambda: risk.training_error([1, 2], [1, 1], [1, 2, 3]), r"noise_variance \(3,\)"),
        (lambda: risk.denoising_risk([[1, 2]] * 3, [1, 1], 1.0, off_span=[1, 2]), "off_span"),
        (lambda: risk.training_error([[1, 2]] * 3, [1, 1], 1.0, off_span=[1, 2]), "off_span"),
        (lambda: risk.dominating_time([1, 2, 3], [1, 2]), r"effective_times \(3,\), mode_times"),
        (lambda: risk.dominating_time([], []), "at least one mode, got effective_times"),
        (lambda: risk.dominating_time("x", [1.0]), "effective_times must be an array of real"),
        (lambda: risk.dominating_time([1], [1, 2], eigenvalues=[1, 2, 3]), r"eigenvalues \(3,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_by_name(call, says):
    with pytest.raises(ValueError, match=says):
        call()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"coupling": [1, 2, 3]}, "coupling must have shape"),
        ({"coupling": np.ones((2, 2))}, "shapes must agree, got coupling"),
        ({"weight_gain": [[1, 1]] * 3, "shortfall": [[1, 1]] * 2}, r"weight_gain \(3, 2\)"),
        ({"weight_gain": [1, 1, 1]}, "last axis of 2 modes"),
        ({"weight_gain": [[1, 1]] * 2, "noise_variance": [1, 2, 3]}, r"noise_variance \(3,\)"),
        ({"weight_gain": [[1, 1]] * 2, "off_span": [1, 2, 3]}, r"off_span \(3,\)"),
    ],
)
def test_bad_risks_in_a_basis_are_refused_by_name(change, says):
    good = {
        "shortfall": [0.5, 1.0],
        "weight_gain": [0.5, 0.0],
        "components": [2.0, 1.0],
        "noise_variance": 1.0,
        "metric": np.eye(2),
    }
    with pytest.raises(ValueError, match=says):
        risk.excess_risk_in_basis(**(good | change))
