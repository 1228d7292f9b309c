"""A(q): against finite differences and mpmath, its spectrum and what bounds it."""

import mpmath
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.strategies import generators
from tests.theory.labels.dynamics.cases import CORNERS, rows
from theory.labels import dynamics as d
from theory.labels.softmax import softmax

TOLERANCE = 1e-12


def mp_laplacian(q):
    """A(q) of the row as it stands, with the row sum in place of 1."""
    q = [mpmath.mpf(float(value)) for value in q]
    a = mpmath.matrix(len(q), len(q))
    for i, one in enumerate(q):
        for j, other in enumerate(q):
            a[i, j] = -one * other if i != j else one * mpmath.fsum(q[:i] + q[i + 1 :])
    return a


def mp_eigenvalues(q):
    smallest = q[q > 0].min()
    digits = 60 + 2 * int(max(-np.log10(smallest), 0))
    with mpmath.workdps(digits):
        found = mpmath.eigsy(mp_laplacian(q), eigvals_only=True)
        tiny = mpmath.mpf(10) ** (20 - digits)
        return np.array(sorted((float(v) if v > tiny else 0.0 for v in found), reverse=True))


@pytest.mark.theorem("labels:softmax-jacobian")
@given(rows())
def test_p18_rows_sum_to_zero_and_it_is_symmetric_and_semi_definite(q):
    a = d.softmax_jacobian(q)
    np.testing.assert_array_equal(a, a.T)
    assert np.abs(a.sum(axis=1)).max() <= TOLERANCE
    assert np.linalg.eigvalsh(a).min() >= -TOLERANCE
    np.testing.assert_allclose(a, np.diag(q) - np.outer(q, q), rtol=0, atol=1e-15)


@given(rows())
@example(np.array(CORNERS[3]))
def test_p19_trace_is_one_less_the_squares_and_the_sum_of_the_eigenvalues(q):
    trace = d.jacobian_trace(q)
    assert trace == pytest.approx(1 - (q**2).sum(), abs=TOLERANCE)
    np.testing.assert_allclose(trace, np.trace(d.softmax_jacobian(q)), rtol=1e-14, atol=1e-322)
    np.testing.assert_allclose(trace, d.jacobian_eigenvalues(q).sum(), rtol=1e-13, atol=1e-322)
    assert 0 <= trace <= 1 - 1 / len(q) + TOLERANCE


@pytest.mark.theorem("labels:jacobian-spectrum")
@given(rows())
@example(np.full(7, 1 / 7))
def test_p20_eigenvalues_interlace_with_the_probabilities(q):
    found, ordered = d.jacobian_eigenvalues(q)[::-1], np.sort(q)
    assert found[0] == 0
    assert (found <= ordered + TOLERANCE).all()
    assert (found[1:] >= ordered[:-1] - TOLERANCE).all()
    np.testing.assert_allclose(
        found, np.linalg.eigvalsh(d.softmax_jacobian(q)), rtol=0, atol=TOLERANCE
    )


@pytest.mark.theorem("labels:jacobian-top")
@given(rows())
@example(np.array([0.5, 0.5, 0.0]))
def test_p21_the_largest_eigenvalue_lies_within_its_bounds(q):
    top = d.jacobian_eigenvalues(q)[0]
    low, high = d.top_eigenvalue_bounds(q)
    assert low <= top * (1 + TOLERANCE)
    assert top <= high * (1 + TOLERANCE)
    assert high <= min(0.5, 2 * (q * (1 - q)).max() + 1e-15, q.max())


@given(st.integers(2, 8), generators())
def test_p22_it_is_the_derivative_of_the_softmax(classes, rng):
    z, h = rng.uniform(-5, 5, classes), 1e-6
    shifts = h * np.eye(classes)
    numeric = (softmax(z + shifts) - softmax(z - shifts)) / (2 * h)
    np.testing.assert_allclose(d.softmax_jacobian(softmax(z)), numeric, rtol=0, atol=1e-7)


@pytest.mark.parametrize("q", CORNERS, ids=str)
def test_entries_trace_and_norm_keep_full_relative_accuracy(q):
    q = np.array(q)
    with mpmath.workdps(700):
        exact = mp_laplacian(q)
        want = np.array(exact.tolist(), dtype=float).reshape(len(q), len(q))
        trace = float(mpmath.fsum(exact[i, i] for i in range(len(q))))
        norm = float(mpmath.sqrt(mpmath.fsum(value**2 for value in exact)))
    np.testing.assert_allclose(d.softmax_jacobian(q), want, rtol=1e-15, atol=5e-324)
    assert d.jacobian_trace(q) == pytest.approx(trace, rel=1e-15, abs=5e-324)
    assert d.jacobian_norm(q) == pytest.approx(norm, rel=1e-15, abs=5e-324)


@given(rows())
def test_norm_has_the_closed_form_and_lies_between_operator_norm_and_trace(q):
    square, cube = (q**2).sum(), (q**3).sum()
    assert d.jacobian_norm(q) ** 2 == pytest.approx(square - 2 * cube + square**2, abs=1e-14)
    top, trace = d.jacobian_eigenvalues(q)[0], d.jacobian_trace(q)
    assert top * (1 - 1e-14) <= d.jacobian_norm(q) <= trace * (1 + 1e-14)


@given(rows(most=7))
@example(np.array(CORNERS[-1]))
@example(np.array([1.0, 3.4e-92, 7.2e-90, 1.2e-102, 8.9e-82]))
@example(np.array([0.5, 0.25 + 2**-53, 0.25 - 2**-54]))
@example(np.array([5e-324, 1e-323, 1.0]))
def test_eigenvalues_keep_full_relative_accuracy(q):
    want = mp_eigenvalues(q)
    np.testing.assert_allclose(d.jacobian_eigenvalues(q), want, rtol=1e-14, atol=5e-324)


def test_ties_give_their_own_value_with_one_less_multiplicity():
    got = d.jacobian_eigenvalues([0.1, 0.2, 0.2, 0.2, 0.3])
    assert (got == 0.2).sum() == 2
    np.testing.assert_array_equal(d.jacobian_eigenvalues(np.full(4, 0.25)), [0.25] * 3 + [0.0])


def test_the_largest_it_can_be_is_one_half():
    assert d.jacobian_eigenvalues([0.5, 0.5, 0.0, 0.0])[0] == 0.5
    draws = np.random.default_rng(0).dirichlet(np.full(6, 0.3), 2000)
    assert d.jacobian_eigenvalues(draws)[:, 0].max() < 0.5


def test_many_rows_at_once_and_any_leading_axes():
    q = np.random.default_rng(1).dirichlet(np.ones(5), (4, 3))
    for function in (d.softmax_jacobian, d.jacobian_trace, d.jacobian_norm, d.jacobian_eigenvalues):
        whole = function(q)
        for place in np.ndindex(4, 3):
            np.testing.assert_array_equal(whole[place], function(q[place]))
    low, high = d.top_eigenvalue_bounds(q)
    assert low.shape == high.shape == (4, 3)


def test_rows_in_single_precision_are_taken_as_they_are():
    q = np.random.default_rng(2).dirichlet(np.ones(6)).astype(np.float32)
    assert np.abs(d.softmax_jacobian(q).sum(axis=1)).max() < 1e-16
    want = np.linalg.eigvalsh(d.softmax_jacobian(q))[::-1]
    np.testing.assert_allclose(d.jacobian_eigenvalues(q), want, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    "function",
    [
        d.softmax_jacobian,
        d.jacobian_trace,
        d.jacobian_norm,
        d.jacobian_eigenvalues,
        d.top_eigenvalue_bounds,
    ],
)
@pytest.mark.parametrize(
    ("q", "says"),
    [
        ([0.5, 0.6], r"q must be distributions .* sums to 1 \+ 0.1"),
        ([[0.5, 0.5], [1.2, -0.2]], "row 1 has the negative entry -0.2"),
        ([1.0], "at least two classes"),
        ([np.nan, 1.0], "q must be finite"),
    ],
)
def test_rows_that_are_no_distributions_are_refused(function, q, says):
    with pytest.raises(ValueError, match=says):
        function(q)
