"""Smoothed, noisy and corrupted targets: against grids, enumeration and draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from deep.data.noise import flip_labels
from tests.strategies import generators
from tests.theory.labels.test_paths import simplex
from theory.labels import mixture, paths, targets
from theory.labels.smoothing import smooth


def labels_for(data, p):
    return data.draw(arrays(int, p.shape[:-1], elements=st.integers(0, p.shape[-1] - 1)))


@given(simplex(rows=(3,)), st.floats(0, 10), generators())
def test_p33_noisy_targets_are_distributions(p, variance, rng):
    got = targets.noisy_targets(p, variance, rng=rng)
    assert got.min() > 0
    np.testing.assert_allclose(got.sum(axis=-1), 1.0, atol=1e-12)


@given(simplex(rows=(3,)), st.floats(0, 1), st.data())
def test_p34_combined_targets_are_the_share_of_the_way(p, share, data):
    y = labels_for(data, p)
    got = targets.noisy_targets(p, share, mode="combine", labels=y)
    moved = np.linalg.norm(got - p, axis=-1)
    np.testing.assert_allclose(moved, share * paths.base_difficulty(y, p), atol=1e-12)
    np.testing.assert_allclose(got.sum(axis=-1), 1.0, atol=1e-12)
    np.testing.assert_array_equal(
        targets.noisy_targets(p, 1.0, mode="combine", labels=y), np.eye(p.shape[-1])[y]
    )
    np.testing.assert_array_equal(targets.noisy_targets(p, 0.0, mode="combine", labels=y), p)


def test_noise_is_a_fixed_draw_and_large_noise_flips():
    p = np.full((1000, 3), [0.8, 0.1, 0.1])
    draw = [targets.noisy_targets(p, 4.0, rng=np.random.default_rng(1)) for _ in range(2)]
    np.testing.assert_array_equal(*draw)
    assert (draw[0].argmax(axis=1) != 0).mean() > 0.4
    assert (targets.noisy_targets(p, 1e-4, rng=np.random.default_rng(1)).argmax(axis=1) == 0).all()
    levels = np.repeat([0.0, 4.0], 500)
    mixed = targets.noisy_targets(p, levels, rng=np.random.default_rng(1))
    np.testing.assert_allclose(mixed[:500], p[:500], rtol=1e-15)


def test_the_level_is_a_variance():
    draw = targets.noisy_targets(np.full((20_000, 2), 0.5), 1e-6, rng=np.random.default_rng(0))
    # the difference of two independent entries has twice the variance; their sum stays near 1
    assert (draw[:, 0] - draw[:, 1]).var() == pytest.approx(2e-6, rel=0.05, abs=0)


def test_all_entries_at_the_floor_are_uniform():
    rng = np.random.default_rng(0)
    got = targets.noisy_targets(np.full((300, 2), 0.5), 1e300, rng=rng)
    assert (np.isclose(got[:, 0], 0.5).any()) & np.isfinite(got).all()


@pytest.mark.theorem("labels:smoothing-parabola")
@given(simplex(rows=(4,)), st.data())
def test_smoothing_distance_is_the_mean_squared_distance(p, data):
    y = labels_for(data, p)
    classes = p.shape[-1]
    parabola = targets.smoothing_distance(p, y)
    for epsilon in (0.0, 0.1, 0.5, 1.0):
        exact = ((smooth(y, classes, epsilon) - p) ** 2).sum(axis=-1).mean()
        assert parabola.distance(epsilon) == pytest.approx(exact, abs=1e-12)
    best = classes / (classes - 1) * (1 - p[np.arange(4), y].mean())
    assert parabola.optimum == pytest.approx(best, abs=1e-12)
    grid = parabola.optimum + np.linspace(-1, 1, 21)
    assert parabola.distance(grid).argmin() == 10
    assert parabola.least >= 0
    assert parabola.distance(parabola.optimum) == parabola.least


def test_drawn_labels_are_best_smoothed_by_their_expected_distance():
    """E p*_y = E |p*|^2 where labels are drawn, so the gain is the squared difficulty."""
    x, y, means = mixture.sample(np.random.default_rng(0), 50_000)
    p = mixture.posterior(x, means)
    parabola = targets.smoothing_distance(p, y)
    want = paths.expected_squared_difficulty(p).mean()
    assert parabola.gain == pytest.approx(want, rel=0.02)
    assert parabola.constant == pytest.approx(want, rel=0.03)


def test_a_tiny_best_smoothing_keeps_its_digits():
    parabola = targets.smoothing_distance([[1.0, 1e-20, 1e-20]], [0])
    assert parabola.optimum == pytest.approx(3e-20, rel=1e-14, abs=0)


@pytest.mark.parametrize("exclude", [True, False])
def test_noise_is_what_the_draw_does(exclude):
    clean = np.arange(60_000) % 5
    noisy = flip_labels(clean, 0.4, 5, np.random.default_rng(0), include_same=not exclude)
    changed = targets.corruption(0.4, 5, exclude_true=exclude)
    assert (noisy != clean).mean() == pytest.approx(changed, abs=0.01)
    counts = np.zeros((5, 5))
    np.add.at(counts, (clean, noisy), 5 / 60_000)
    np.testing.assert_allclose(
        counts, targets.noise_matrix(0.4, 5, exclude_true=exclude), atol=0.02
    )


@given(simplex(rows=(2,)), st.floats(0, 1), st.booleans())
def test_a_corrupted_posterior_goes_through_the_matrix(p, noise, exclude):
    got = targets.corrupted(p, noise, exclude_true=exclude)
    matrix = targets.noise_matrix(noise, p.shape[-1], exclude_true=exclude)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-14)
    np.testing.assert_allclose(got, p @ matrix, atol=1e-14)
    np.testing.assert_allclose(got.sum(axis=-1), 1.0, atol=1e-14)


@given(simplex(classes=4, rows=(6,)), simplex(classes=4, rows=(6,)))
def test_distances_of_tables(a, b):
    rows = np.linalg.norm(a - b, axis=1)
    assert targets.mean_distance(a, b) == pytest.approx(rows.mean(), abs=1e-14)
    whole = targets.frobenius_distance(a, b)
    assert whole == pytest.approx(np.sqrt((rows**2).sum()), abs=1e-14)
    assert whole / np.sqrt(6) >= targets.mean_distance(a, b) - 1e-14


P = [[0.5, 0.5]]
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: targets.noisy_targets(P, 0.1), "rng is required"),
        (lambda: targets.noisy_targets(P, 0.1, mode="combine"), "labels are required"),
        (lambda: targets.noisy_targets(P, 0.1, mode="mix"), "mode must be one of"),
        (lambda: targets.noisy_targets(P, -0.1, rng=RNG), "level must be >= 0"),
        (
            lambda: targets.noisy_targets(P, 1.1, mode="combine", labels=[0]),
            r"level must be in \[0",
        ),
        (lambda: targets.noisy_targets(P, [0.1, 0.2], rng=RNG), "level must be one number or one"),
        (lambda: targets.noisy_targets(P, 0.1, rng=RNG, floor=0.0), "floor must be > 0"),
        (lambda: targets.noisy_targets([[0.5, 0.4]], 0.1, rng=RNG), "truth must be distributions"),
        (lambda: targets.smoothing_distance(P, [2]), "labels must be integers from 0 to 1"),
        (lambda: targets.smoothing_distance(np.empty((0, 2)), []), "labels must hold at least one"),
        (lambda: targets.corruption(1.5, 3), "noise must be in"),
        (lambda: targets.corruption(0.5, 1), "classes must be an integer >= 2"),
        (lambda: targets.noise_matrix(0.5, 1), "classes must be an integer >= 2"),
        (lambda: targets.corrupted(P, -0.5), "noise must be in"),
        (lambda: targets.mean_distance(P, [[0.2, 0.3, 0.5]]), "same classes"),
        (lambda: targets.mean_distance([P[0]] * 2, [P[0]] * 3), "shapes must broadcast"),
        (lambda: targets.frobenius_distance(np.empty((0, 2)), P), "at least one sample"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()
