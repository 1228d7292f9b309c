"""Self-distillation in constrained ridge rounds (Mobahi et al.), and its collapse."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import generators, orthonormal, powers_of_ten
from theory.flow.filters import constrained_rounds
from theory.flow.spectrum import Spectrum


def kernel(rng, values):
    basis = orthonormal(rng, len(values), len(values))
    return (basis * values) @ basis.T


@st.composite
def cases(draw):
    """A kernel of full rank, labels with one or several columns, and a feasible tolerance."""
    n = draw(st.integers(1, 7))
    values = np.array(sorted(draw(st.lists(powers_of_ten(-2, 2), min_size=n, max_size=n))))[::-1]
    rng = draw(generators())
    columns = draw(st.sampled_from(((), (1,), (3,))))
    y = rng.standard_normal((n, *columns))
    share = draw(st.floats(0.02, 0.9))
    return kernel(rng, values), y, share * np.sum(y**2) / n


def played(K, y, found):
    """The targets of every round, by solving the ridge problems one after another."""
    targets = [y]
    for penalty in found.penalties:
        y = K @ np.linalg.solve(K + penalty * np.eye(len(K)), y)
        targets.append(y)
    return targets


@pytest.mark.theorem("flow:constrained-rounds")
@given(case=cases())
def test_every_round_moves_the_targets_by_exactly_the_tolerance(case):
    K, y, tolerance = case
    found = constrained_rounds(Spectrum.from_kernel(K), y, tolerance)
    targets = played(K, y, found)
    for before, after in itertools.pairwise(targets):
        moved = np.sum((after - before) ** 2) / (len(K) * tolerance)
        assert abs(moved - 1) < 1e-8
    norms = [np.linalg.norm(each) for each in targets]
    np.testing.assert_allclose(found.norms, norms, rtol=1e-9, atol=1e-12)
    assert found.collapsed
    assert found.norms[-1] ** 2 <= len(K) * tolerance * (1 + 1e-12)
    assert found.norms[-2] ** 2 > len(K) * tolerance
    # the bound follows: a round shortens the targets by no more than it moves them
    assert len(found.penalties) >= found.least_rounds
    step = np.sqrt(len(K) * tolerance)
    assert found.least_rounds == max(int(np.ceil(np.linalg.norm(y) / step)) - 1, 0)


@given(case=cases())
def test_the_filter_of_the_rounds_makes_the_last_targets(case):
    K, y, tolerance = case
    spectrum = Spectrum.from_kernel(K)
    found = constrained_rounds(spectrum, y, tolerance)
    gain = found.filter.gain(spectrum.eigenvalues)
    flat = y.reshape(len(y), -1)
    last = spectrum.left @ (gain[:, None] * (spectrum.left.T @ flat))
    want = played(K, y, found)[-1].reshape(len(y), -1)
    np.testing.assert_allclose(last, want, rtol=0, atol=1e-9)
    assert found.filter.penalties == found.penalties


@given(case=cases(), scale=powers_of_ten(-3, 3))
def test_units_of_kernel_and_labels(case, scale):
    K, y, tolerance = case
    found = constrained_rounds(Spectrum.from_kernel(K), y, tolerance)
    scaled = constrained_rounds(Spectrum.from_kernel(K * scale), y, tolerance)
    np.testing.assert_allclose(scaled.penalties, np.array(found.penalties) * scale, rtol=1e-7)
    louder = constrained_rounds(Spectrum.from_kernel(K), y * scale, tolerance * scale**2)
    np.testing.assert_allclose(louder.penalties, found.penalties, rtol=1e-7)


def test_five_rounds_where_four_are_certain():
    rng = np.random.default_rng(7)
    K = kernel(rng, np.array([3.0, 1.0, 0.3, 0.1]))
    y = rng.standard_normal(4)
    y *= 4.2 / np.linalg.norm(y)
    found = constrained_rounds(Spectrum.from_kernel(K), y, 0.25)  # sqrt(n eps) = 1
    assert found.least_rounds == 4
    assert len(found.penalties) == 5
    assert (np.diff(found.penalties) > 0).all()  # each round is smoother than the one before


def test_rounds_stop_where_told():
    K = np.diag([2.0, 1.0])
    found = constrained_rounds(Spectrum.from_kernel(K), [2.0, 1.0], 0.01, rounds=3)
    assert len(found.penalties) == 3
    assert not found.collapsed


def test_labels_within_the_tolerance_collapse_at_once():
    found = constrained_rounds(Spectrum.from_kernel(np.eye(3)), [0.1, 0.1, 0.1], 1.0)
    assert found.penalties == ()
    assert found.collapsed
    assert found.filter is None
    assert found.least_rounds == 0
    # the bound of the collapse is the norm of the labels: n eps = |y|^2
    at = constrained_rounds(Spectrum.from_kernel(np.eye(4)), [1.0, 1.0, 1.0, 1.0], 1.0)
    assert at.collapsed
    assert at.penalties == ()


def test_what_lies_outside_the_modes_counts_in_the_first_round():
    """Modes of eigenvalue zero, and data of fewer features than samples, alike."""
    X = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    y = np.array([2.0, 1.0, 0.5])
    for spectrum in (Spectrum.from_data(X), Spectrum.from_kernel(X @ X.T)):
        found = constrained_rounds(spectrum, y, 0.4)
        targets = played(X @ X.T, y, found)
        moved = [np.sum((b - a) ** 2) / 3 for a, b in itertools.pairwise(targets)]
        np.testing.assert_allclose(moved, 0.4, rtol=1e-9)
        with pytest.raises(ValueError, match=r"^tolerance must exceed what no round can fit"):
            constrained_rounds(spectrum, y, 0.25 / 3 * 0.999)


def test_labels_beyond_the_tolerance_by_what_cannot_be_fitted_get_a_round():
    spectrum = Spectrum.from_kernel(np.diag([2.0, 1.0, 0.0]))
    y = np.sqrt([0.2, 0.2, 0.2])
    found = constrained_rounds(spectrum, y, 0.5 / 3)
    assert len(found.penalties) == 1
    missed = spectrum.left @ ((1 - found.filter.gain(spectrum.eigenvalues)) * (spectrum.left.T @ y))
    np.testing.assert_allclose(np.sum(missed**2), 0.5, rtol=1e-9)
    assert found.collapsed


def test_a_tolerance_far_below_the_labels_needs_a_penalty_far_below_the_kernel():
    found = constrained_rounds(Spectrum.from_kernel(np.eye(2)), [1.0, 1.0], 1e-24, rounds=1)
    np.testing.assert_allclose(found.penalties[0], 1e-12, rtol=1e-9)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tolerance": 0.0}, "^tolerance must be > 0"),
        ({"tolerance": -1.0}, "^tolerance must be > 0"),
        ({"tolerance": np.nan}, "^tolerance must be finite"),
        ({"tolerance": [0.1, 0.2]}, "^tolerance must be one number"),
        ({"y": [1.0, 2.0, 3.0]}, r"^y must have shape \(2,\) or \(2, K\)"),
        ({"y": [1.0, np.nan]}, "^y must be finite"),
        ({"rounds": 0}, "^rounds must be an integer >= 1"),
        ({"rounds": 1.5}, "^rounds must be an integer >= 1"),
    ],
)
def test_bad_input_is_refused(change, says):
    arguments = {"y": [1.0, 2.0], "tolerance": 0.1, **change}
    with pytest.raises(ValueError, match=says):
        constrained_rounds(Spectrum.from_kernel(np.eye(2)), **arguments)
