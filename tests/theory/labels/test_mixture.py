"""The Gaussian toy: against mpmath, integrals, multivariate normal functions and simulation."""

from itertools import pairwise

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm

from tests.reference import relative_error
from tests.strategies import generators
from theory.labels import cells, mixture


@st.composite
def toys(draw, low=0.1):
    rng = draw(generators())
    classes, dimensions = draw(st.integers(2, 6)), draw(st.integers(1, 30))
    means = rng.uniform(-10, 10, (classes, dimensions))
    if draw(st.booleans()):  # means of the toy itself, which coincide at times
        means = draw(st.sampled_from((0.5, 1.0, 10.0))) * rng.integers(-1, 2, means.shape)
    x = rng.uniform(-10, 10, (5, dimensions))
    x[0] = means[0]
    return x, means * 1.0, draw(st.floats(low, 10.0))


def mp_log_posterior(x, means, sigma):
    with mp.workdps(60):
        scores = [
            -mp.fsum((mp.mpf(float(a)) - mp.mpf(float(b))) ** 2 for a, b in zip(x, mu, strict=True))
            / (2 * mp.mpf(sigma) ** 2)
            for mu in means
        ]
        total = mp.log(mp.fsum(mp.exp(score) for score in scores))
        return [score - total for score in scores]


@given(toys())
def test_p25_posterior_is_a_distribution_in_the_linear_form(toy):
    x, means, sigma = toy
    p = mixture.posterior(x, means, sigma)
    assert p.min() >= 0
    np.testing.assert_allclose(p.sum(axis=-1), 1.0, atol=1e-12)
    score = (x @ means.T - (means**2).sum(axis=1) / 2) / sigma**2
    linear = np.exp(score - score.max(axis=1, keepdims=True))
    linear /= linear.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(p, linear, atol=1e-10)


@given(toys(low=0.5), st.floats(-10, 10))
def test_p26_posterior_is_translation_invariant(toy, shift):
    x, means, sigma = toy
    moved = mixture.posterior(x + shift, means + shift, sigma)
    np.testing.assert_allclose(moved, mixture.posterior(x, means, sigma), atol=1e-12)


@given(toys())
def test_logarithms_keep_their_digits_where_probabilities_underflow(toy):
    x, means, sigma = toy
    for row, got in zip(x, mixture.log_posterior(x, means, sigma), strict=True):
        want = mp_log_posterior(row, means, sigma)
        # what rounding the differences of x and the means costs
        slack = 1e-15 * (np.abs(row).max() + np.abs(means).max()) ** 2 * len(row) / sigma**2
        for value, exact in zip(got, want, strict=True):
            assert relative_error(value, exact) < 1e-13 or abs(value - float(exact)) < slack


def test_the_smaller_probability_is_not_one_minus_the_larger():
    got = mixture.posterior([30.0], [[-1.0], [1.0]], sigma=1.0)
    assert relative_error(got[0], mp.exp(-60) / (1 + mp.exp(-60))) < 1e-14
    assert mixture.log_posterior([1e5], [[-1.0], [1.0]], sigma=1e-3)[0] == -2e11


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
def test_only_ratios_count_also_beyond_the_range_of_squares(scale):
    x, means = np.array([[0.25, 0.0], [3.0, 1.0]]), np.array([[-1.0, 0.0], [0.5, 0.5]])
    want = mixture.posterior(x, means, 1.5)
    got = mixture.posterior(scale * x, scale * means, 1.5 * scale)
    np.testing.assert_allclose(got, want, rtol=1e-14)


@pytest.mark.parametrize("sigma", [1e-300, 1e-20])
def test_without_noise_the_nearest_mean_is_certain_and_ties_share(sigma):
    means = [[0.0], [1.0], [1.0]]
    np.testing.assert_array_equal(
        mixture.posterior([[0.4], [0.5], [0.75]], means, sigma),
        [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0, 0.5, 0.5]],
    )


def test_noise_beyond_everything_leaves_nothing_known():
    np.testing.assert_array_equal(mixture.posterior([3.0], [[0.0], [1.0]], 1e300), [0.5, 0.5])


def test_lower_precision_and_lists_and_batches_are_taken():
    x, means = np.ones((2, 3, 4), np.float32), np.eye(4, dtype=np.int32)[:3]
    p = mixture.posterior(x, means)
    assert p.shape == (2, 3, 3)
    assert p.dtype == np.float64
    assert mixture.posterior(np.empty((0, 4)), means).shape == (0, 3)


def test_sigma_is_two_and_a_variance_is_its_square():
    x, means = [[0.3, -1.0]], [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    np.testing.assert_array_equal(mixture.posterior(x, means), mixture.posterior(x, means, 2.0))
    np.testing.assert_array_equal(
        mixture.posterior(x, means, variance=4.0), mixture.posterior(x, means, 2.0)
    )
    assert mixture.bayes_accuracy(means, variance=4.0) == mixture.bayes_accuracy(means)
    first = mixture.sample(np.random.default_rng(1), 5, variance=4.0)
    np.testing.assert_array_equal(first.x, mixture.sample(np.random.default_rng(1), 5).x)


@pytest.mark.theorem("labels:bayes-accuracy")
@given(st.floats(1e-3, 20.0), st.floats(0.1, 5.0))
def test_two_classes_have_a_closed_accuracy(gap, sigma):
    want = norm.cdf(gap / (2 * sigma))
    got = mixture.bayes_accuracy([[0.0, 0.0], [0.6 * gap, 0.8 * gap]], sigma)
    assert got == pytest.approx(want, rel=1e-14, abs=0)


@pytest.mark.theorem("labels:bayes-accuracy")
@pytest.mark.parametrize(
    ("classes", "delta", "variance"),
    [(3, 1, 4), (3, 1, 6), (3, 0.5, 4), (2, 2, 4), (7, 1, 4), (12, 1, 4)],
)
def test_the_accuracy_is_that_of_the_best_classifier(classes, delta, variance):
    rng = np.random.default_rng(classes)
    x, labels, means = mixture.sample(rng, 40_000, classes, delta_mu=delta, variance=variance)
    p = mixture.posterior(x, means, variance=variance)
    exact = mixture.bayes_accuracy(means, variance=variance)
    right = p.argmax(axis=1) == labels
    # five standard errors each, and the error of the rule
    assert abs(right.mean() - exact) < 5 * right.std() / 200 + 2e-4
    best = p.max(axis=1)
    assert abs(best.mean() - exact) < 5 * best.std() / 200 + 2e-4


def polar_accuracy(places):
    """Accuracy in a plane, cell by cell, as an integral over angles by adaptive quadrature."""
    total = 0.0
    for own in range(len(places)):
        gaps = np.delete(places, own, axis=0) - places[own]
        squares = (gaps**2).sum(axis=1)

        def inside(angle, gaps=gaps, squares=squares):
            ahead = gaps @ [np.cos(angle), np.sin(angle)]
            ends = min(
                (s / (2 * a) for s, a in zip(squares, ahead, strict=True) if a > 0), default=np.inf
            )
            return -np.expm1(-(ends**2) / 2)

        kinks = [k * np.pi / 16 for k in range(33)]
        total += sum(
            quad(inside, low, high, limit=200, epsabs=1e-12)[0] for low, high in pairwise(kinks)
        ) / (2 * np.pi)
    return total / len(places)


def normal_accuracy(means):
    """Accuracy at sigma = 1 by scipy's multivariate normal distribution function."""
    total = 0.0
    for own in range(len(means)):
        gaps = np.delete(means, own, axis=0) - means[own]
        bounds = (gaps**2).sum(axis=1) / 2
        total += multivariate_normal.cdf(bounds, cov=gaps @ gaps.T, abseps=1e-7, releps=1e-7)
    return total / len(means)


@pytest.mark.parametrize("seed", range(4))
def test_three_means_are_exact_by_owens_function(seed):
    rng = np.random.default_rng(seed)
    places = rng.standard_normal((3, 2)) * rng.choice([0.3, 1.0, 3.0])
    turned = np.linalg.qr(rng.standard_normal((9, 9)))[0][:2]
    got = mixture.bayes_accuracy(places @ turned + 5.0, 1.0)
    assert got == pytest.approx(polar_accuracy(places), abs=1e-9)
    assert got == pytest.approx(normal_accuracy(places), abs=1e-13)


@pytest.mark.parametrize("offset", [1e-3, 1e-7, 1e-11, 0.0])
def test_three_means_nearly_on_a_line_tend_to_the_line(offset):
    line = mixture.bayes_accuracy([[0.0], [1.0], [3.0]], 1.0)
    got = mixture.bayes_accuracy([[0.0, 0.0], [1.0, offset], [3.0, 0.0]], 1.0)
    assert got == pytest.approx(line, abs=max(offset, 1e-13))


def test_means_on_a_line_at_any_distances():
    got = cells.cell_masses([[0.0, 0.0], [0.0, 1e6], [0.0, 5e-324]])
    np.testing.assert_array_equal(got, [0.5, 1.0, 0.5])


@pytest.mark.parametrize("gap", [1e-200, 1e-16, 1e-12, 1e-6])
@pytest.mark.parametrize("extra", [[], [[1.0, 3.0]]])
def test_means_that_nearly_coincide_are_told_apart(gap, extra):
    """Far from the third, the pair is two classes at the distance it has in units of the noise."""
    pair = norm.cdf(0.5)
    far = mixture.bayes_accuracy([[0.0, 0.0], [gap, 0.0], [0.0, 1.0], *extra], gap)
    assert far == pytest.approx((2 * pair + 1 + len(extra)) / (3 + len(extra)), rel=1e-12, abs=0)
    # seen with noise that blurs the pair, all is as with one mean there
    blurred = mixture.bayes_accuracy([[0.0, 0.0], [gap, 0.0], [0.0, 1.0]], 1.0)
    assert blurred == pytest.approx(norm.cdf(0.5) * 2 / 3, abs=gap + 1e-15)


@pytest.mark.parametrize("turn", [0.1, 1e-5, 1e-9, 1e-13])
def test_two_sides_that_nearly_agree_cut_once(turn):
    places = np.array([[0.0, 0.0], [1.0, 0.0], [np.cos(turn), np.sin(turn)]])
    got = cells.cell_masses(places)[0]
    assert got == pytest.approx(1 - norm.sf(0.5) * (1 + turn / np.pi), abs=turn / 2 + 1e-15)


def test_four_means_on_a_line_are_exact():
    line = [[0.0, 0.0], [1.0, 2.0], [3.0, 6.0], [-0.5, -1.0]]
    gaps = np.sqrt(5) * np.array([0.5, 1.0, 2.0])
    want = (4 - 2 * norm.sf(gaps / 2).sum()) / 4
    assert mixture.bayes_accuracy(line, 1.0) == pytest.approx(want, rel=1e-13, abs=0)


@pytest.mark.parametrize("count", [4, 8])
def test_many_means_in_a_plane(count):
    places = np.random.default_rng(count).standard_normal((count, 2)) * 2
    assert mixture.bayes_accuracy(places, 1.0) == pytest.approx(polar_accuracy(places), abs=1e-6)


def test_four_means_agree_with_the_multivariate_normal():
    means = np.random.default_rng(4).integers(-1, 2, (4, 30)) / 2
    assert mixture.bayes_accuracy(means, 1.0) == pytest.approx(normal_accuracy(means), abs=2e-6)


@pytest.mark.parametrize(
    ("classes", "sigma", "error"), [(5, 1.0, 2e-7), (10, 1.0, 3e-6), (20, 0.5, 2e-5)]
)
def test_a_regular_simplex_has_a_one_dimensional_integral(classes, sigma, error):
    """For orthonormal means the accuracy is P(all other coordinates lie below the own)."""
    want = quad(
        lambda t: norm.pdf(t - 1 / sigma) * norm.cdf(t) ** (classes - 1), -9, 12, epsabs=1e-13
    )
    assert mixture.bayes_accuracy(np.eye(classes), sigma) == pytest.approx(want[0], abs=error)


def test_a_square_is_two_lines():
    want = norm.cdf(1.0) ** 2
    square = [[1, 1], [1, -1], [-1, 1], [-1, -1]]
    assert mixture.bayes_accuracy(square, 1.0) == pytest.approx(want, abs=1e-8)


def test_a_cube_of_corners_is_three_lines():
    corners = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
    assert mixture.bayes_accuracy(corners, 1.0) == pytest.approx(norm.cdf(1.0) ** 3, abs=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1e-13])
def test_a_grid_is_a_product_of_lines(offset):
    """A cell of the middle is bounded on opposite sides."""
    places = np.array(np.meshgrid(*[[-1, 0, 1]] * 2)).reshape(2, -1).T + 0.0
    places[4] += offset
    line = mixture.bayes_accuracy([[-1.0], [0.0], [1.0]], 1.0)
    assert mixture.bayes_accuracy(places, 1.0) == pytest.approx(line**2, abs=1e-9)


def test_coincident_means_are_guessed():
    assert mixture.bayes_accuracy([[1.0], [1.0]]) == 0.5
    assert mixture.bayes_accuracy([[0.0], [-0.0], [0.0]]) == pytest.approx(1 / 3)
    pair = mixture.bayes_accuracy([[0.0], [4.0]])
    assert mixture.bayes_accuracy([[0.0], [4.0], [4.0]]) == pytest.approx(pair * 2 / 3)


@pytest.mark.parametrize("classes", [2, 3, 5, 12])
@pytest.mark.parametrize("sigma", [1e-300, 1e-5, 1e9, 1e300])
def test_extreme_noise_has_its_limits(classes, sigma):
    means = np.random.default_rng(3).integers(-1, 2, (classes, 30))
    got = mixture.bayes_accuracy(means, sigma)
    assert got == pytest.approx(1.0 if sigma < 1 else 1 / classes, rel=1e-5)


def test_the_accuracy_falls_with_noise_and_rises_with_distance():
    means = mixture.draw_means(np.random.default_rng(0))
    by_noise = [mixture.bayes_accuracy(means, sigma) for sigma in (0.5, 1, 2, 4, 8)]
    assert by_noise == sorted(by_noise, reverse=True)
    assert mixture.bayes_accuracy(4 * means, 8.0) == pytest.approx(mixture.bayes_accuracy(means))


def test_the_same_arguments_give_the_same_accuracy():
    means = np.random.default_rng(0).standard_normal((12, 6))
    assert mixture.bayes_accuracy(means) == mixture.bayes_accuracy(means)


def test_masses_follow_their_means():
    means = np.random.default_rng(0).standard_normal((3, 2))
    masses = cells.cell_masses(means)
    np.testing.assert_allclose(cells.cell_masses(means[[2, 0, 1]]), masses[[2, 0, 1]], rtol=1e-13)
    np.testing.assert_allclose(cells.cell_masses([[6.0], [0.0], [2.0]])[1], norm.cdf(1), rtol=1e-14)


def test_draws_are_what_they_say():
    x, labels, means = mixture.sample(np.random.default_rng(0), 60_000, 3, 4, 0.5, 1.0)
    assert set(np.unique(mixture.draw_means(np.random.default_rng(0), 40, 9, 0.5))) == {
        -0.5,
        0,
        0.5,
    }
    assert np.bincount(labels) / 60_000 == pytest.approx([1 / 3] * 3, abs=0.01)
    noise = x - means[labels]
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=0.02)
    np.testing.assert_allclose(np.cov(noise.T), np.eye(4), atol=0.03)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: mixture.posterior([1.0, 2.0], [[1.0], [2.0]]), "x must have the 1 dimensions"),
        (lambda: mixture.posterior(1.0, [[1.0], [2.0]]), "x must have the 1 dimensions"),
        (lambda: mixture.posterior([1.0], [[1.0]]), "at least two classes"),
        (lambda: mixture.posterior([1.0], [1.0, 2.0]), "means must be a matrix"),
        (lambda: mixture.posterior([np.nan], [[1.0], [2.0]]), "x must be finite"),
        (lambda: mixture.posterior([1.0], [[1.0], [np.inf]]), "means must be finite"),
        (lambda: mixture.bayes_accuracy([[1.0], [1e301]]), "means must not be larger than 1e300"),
        (lambda: mixture.posterior([1.0], [[1.0], [2.0]], 0.0), "sigma must be > 0"),
        (lambda: mixture.bayes_accuracy([[1.0], [2.0]], -1.0), "sigma must be > 0"),
        (lambda: mixture.bayes_accuracy([[1.0], [2.0]], variance=0.0), "variance must be > 0"),
        (lambda: mixture.bayes_accuracy([[1.0], [2.0]], 1.0, variance=1.0), "not both"),
        (lambda: mixture.bayes_accuracy([[1.0], [2.0]], [1.0, 2.0]), "sigma must be one number"),
        (lambda: mixture.sample(np.random.default_rng(0), 0), "samples must be an integer >= 1"),
        (lambda: mixture.sample(np.random.default_rng(0), classes=1), "classes must be an int"),
        (lambda: mixture.sample(np.random.default_rng(0), dimensions=0), "dimensions must be"),
        (lambda: mixture.sample(np.random.default_rng(0), delta_mu=0.0), "delta_mu must be > 0"),
        (lambda: cells.cell_masses([[1.0], [1.0]]), "distinct points"),
        (lambda: cells.cell_masses([[1.0], [2.0]], 0.0), "sigma must be > 0"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()
