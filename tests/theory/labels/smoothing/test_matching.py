"""Pruned teachers, entropy over temperatures, and the temperature of a given label mass."""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from theory.labels import smoothing as s
from theory.labels.confidence import entropy
from theory.labels.softmax import softmax

entries = st.sampled_from((0.0, 1.0, -1.0, 1e6, 5e-324)) | st.floats(-30, 30)
logits = st.integers(2, 9).flatmap(lambda k: arrays(float, k, elements=entries))


@given(logits, st.data(), st.floats(0.3, 20))
def test_p63_pruned_teachers_are_restricted_and_renormalized(z, data, tau):
    keep = data.draw(st.integers(1, len(z)))
    q = s.prune(z, keep, tau)
    order = np.argsort(-z, kind="stable")[:keep]  # among equal ones the lower class
    want = np.zeros(len(z))
    want[order] = softmax(np.append(z[order], -1e15), tau)[:-1]
    np.testing.assert_allclose(q, want, rtol=1e-13, atol=1e-300)
    assert q.sum() == pytest.approx(1, abs=1e-14)
    full = softmax(z, tau)[order]
    np.testing.assert_allclose(q[order], full / full.sum(), rtol=1e-12, atol=1e-300)
    assert (np.delete(q, order) == 0).all()
    if np.ptp(z) < 100:
        assert np.count_nonzero(q) == keep
    np.testing.assert_array_equal(s.prune(np.stack([z, z[::-1]]), keep, tau)[0], q)


def test_ties_keep_the_lower_classes():
    np.testing.assert_array_equal(s.prune([0.0, 0.0, 0.0, 0.0], 2), [0.5, 0.5, 0, 0])
    q = s.prune([[1.0, 0.0, 1.0, 1.0], [0.0, 2.0, 0.0, 0.0]], 2)
    np.testing.assert_array_equal(q > 0, [[1, 0, 1, 0], [1, 1, 0, 0]])


@pytest.mark.parametrize(
    ("share", "classes", "kept"),
    [
        (0.5, 100, 50),
        (0.5, 5, 3),
        (0.9, 5, 1),
        (0.0, 7, 7),
        (0.25, 10, 8),
        (0.3, 5, 4),
        (0.1, 5, 5),
    ],
)
def test_kept_classes_round_half_up_what_the_decimal_says(share, classes, kept):
    assert s.kept_classes(share, classes) == kept


@given(logits, st.floats(0.05, 20), st.floats(1, 20))
def test_p64_entropy_grows_with_the_temperature(z, tau, factor):
    cold, hot = entropy(z / tau), entropy(z / (tau * factor))
    assert hot >= cold - 1e-12
    assert softmax(z, tau * factor).max() <= softmax(z, tau).max() + 1e-12


@given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.floats(0.05, 0.95), st.floats(-3, 3))
@example(0, 2, 0.5, 0.0)
def test_the_temperature_has_the_mass_and_is_the_last_to(seed, k, share, scale):
    rng = np.random.default_rng(seed)
    z = 10.0**scale * rng.standard_normal((40, k))
    y = np.where(rng.random(40) < 0.9, z.argmax(axis=1), rng.integers(k, size=40))
    top = max(s.mean_label_mass(z, y, t) for t in 10.0**scale * np.geomspace(1e-3, 1e2, 60))
    assume(top > 1 / k + 0.02)
    mass = 1 / k + share * (top - 1 / k)
    temperature = s.temperature_for_mass(z, y, mass)
    assert s.mean_label_mass(z, y, temperature) == pytest.approx(mass, rel=1e-9, abs=0)
    for t in temperature * np.geomspace(1.01, 1e6, 50):
        assert s.mean_label_mass(z, y, float(t)) < mass
    # what is matched is independent of the units of the logits
    assert s.temperature_for_mass(7 * z, y, mass) == pytest.approx(7 * temperature, rel=1e-9, abs=0)


def test_a_mass_next_to_the_largest_is_found_and_one_beyond_refused_by_name():
    z = np.array([[4.0, 0.0, 0.0], [3.0, 0.0, 0.0], [5.0, 0.5, 0.0], [0.0, 0.1, -9.0]])
    y = np.array([0, 0, 0, 0])  # the last is wrong: a hotter teacher does better on it
    grid = np.geomspace(0.05, 5, 2_001)
    masses = [s.mean_label_mass(z, y, float(t)) for t in grid]
    most, where = max(masses), grid[int(np.argmax(masses))]
    assert 0.8 < most < 0.9
    assert 0.1 < where < 1
    found = s.temperature_for_mass(z, y, most - 1e-9)
    assert found == pytest.approx(where, rel=1e-2, abs=0)
    assert found > where
    with pytest.raises(ValueError, match=r"at most 0\.86118\d* \(at temperature 0\.5"):
        s.temperature_for_mass(z, y, most + 1e-6)


def test_masses_near_the_ends():
    z, y = [[np.log(9.0), 0.0]], [0]
    assert s.temperature_for_mass(z, y, 0.75) == pytest.approx(2.0, rel=1e-12, abs=0)
    assert s.temperature_for_mass(z, y, 0.5 + 1e-9) == pytest.approx(
        np.log(9) / 4e-9, rel=1e-6, abs=0
    )
    assert s.temperature_for_mass(z, y, 1 - 1e-9) == pytest.approx(
        np.log(9) / np.log(1e9 - 1), rel=1e-7, abs=0
    )
    # saturated at every ordinary temperature
    assert s.temperature_for_mass([[1e6, 0.0]], [0], 0.75) == pytest.approx(1e6 / np.log(3))
    assert s.temperature_for_mass([[1e-6, 0.0]], [0], 0.75) == pytest.approx(1e-6 / np.log(3))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: s.temperature_for_mass([[1, 0]], [1], 0.6), "mass must be one that .* at most"),
        (lambda: s.temperature_for_mass([[0, 0]], [1], 0.6), "at most 0.5"),
        (lambda: s.temperature_for_mass([[1, 0]], [0], 0.5), "mass must be above 1/classes = 0.5"),
        (lambda: s.temperature_for_mass([[1, 0]], [0], 1.0), "and below 1, got 1"),
        (lambda: s.temperature_for_mass([[1, 0]], [2], 0.6), "labels must be integers"),
        (lambda: s.temperature_for_mass(np.zeros((0, 2)), [], 0.6), "at least one sample"),
        (lambda: s.mean_label_mass([[1, 0]], [0], -1.0), "temperature must be > 0"),
        (lambda: s.prune([1.0, 0.0], 0), "keep must be an integer >= 1"),
        (lambda: s.prune([1.0, 0.0], 3), "keep must be at most the number of classes, 2"),
        (lambda: s.prune([1.0, 0.0], 1, 0.0), "temperature must be > 0"),
        (lambda: s.prune([1.0], 1), "at least two classes"),
        (lambda: s.kept_classes(0.99, 10), "share must leave at least one of 10 classes"),
        (lambda: s.kept_classes(1.5, 10), r"share must be in \[0, 1\]"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
