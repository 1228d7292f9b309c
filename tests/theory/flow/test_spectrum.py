"""Spectra of data and kernels: any shape and rank, round-off cut, bad input refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import strategies
from theory.flow.spectrum import Spectrum

EPS = np.finfo(float).eps


@given(X=strategies.data_matrices() | strategies.ill_conditioned(), normalize=st.booleans())
def test_data_are_rebuilt_from_their_spectrum(X, normalize):
    spectrum = Spectrum.from_data(X, normalize=normalize)
    count = min(X.shape)
    rebuilt = (spectrum.left * spectrum.singular_values) @ spectrum.right.T
    np.testing.assert_allclose(rebuilt, X, rtol=0, atol=1e-14 * max(np.abs(X).max(), 1e-30) * 10)
    np.testing.assert_allclose(spectrum.left.T @ spectrum.left, np.eye(count), atol=1e-14)
    np.testing.assert_allclose(spectrum.right.T @ spectrum.right, np.eye(count), atol=1e-14)
    samples = len(X) if normalize else 1
    assert spectrum.samples == samples
    np.testing.assert_allclose(
        spectrum.eigenvalues, spectrum.singular_values**2 / samples, rtol=4 * EPS
    )
    assert (np.diff(spectrum.eigenvalues) <= 0).all()


@given(data=st.data())
def test_rank_is_that_of_the_prescribed_spectrum(data):
    n, p = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 8))
    values = data.draw(strategies.singular_values(min(n, p)))
    X = strategies.from_spectrum(data.draw(strategies.generators()), values, n, p)
    spectrum = Spectrum.from_data(X)
    assert spectrum.rank == np.count_nonzero(values)
    np.testing.assert_allclose(spectrum.singular_values, values, rtol=0, atol=1e-14)


@given(kernel=strategies.kernels())
def test_kernels_are_rebuilt_from_their_spectrum(kernel):
    spectrum = Spectrum.from_kernel(kernel)
    rebuilt = (spectrum.left * spectrum.eigenvalues) @ spectrum.left.T
    scale = max(np.abs(kernel).max(), 1e-30)
    np.testing.assert_allclose(rebuilt, kernel, rtol=0, atol=1e-13 * scale)
    assert (spectrum.eigenvalues >= 0).all()
    assert (np.diff(spectrum.eigenvalues) <= 0).all()
    assert spectrum.right is None
    np.testing.assert_array_equal(spectrum.singular_values, np.sqrt(spectrum.eigenvalues))


@given(X=strategies.data_matrices())
def test_gram_matrix_has_the_eigenvalues_of_the_data(X):
    """A Gram matrix of n samples is accepted although round-off makes it slightly indefinite."""
    from_kernel, from_data = Spectrum.from_kernel(X @ X.T), Spectrum.from_data(X)
    count = min(X.shape)
    scale = max(from_data.eigenvalues[0], 1e-30)
    np.testing.assert_allclose(
        from_kernel.eigenvalues[:count], from_data.eigenvalues, rtol=0, atol=1e-13 * scale
    )
    np.testing.assert_allclose(from_kernel.eigenvalues[count:], 0, atol=1e-14 * scale)


def test_round_off_is_not_a_direction():
    X = np.outer([1.0, 2.0, 3.0], [1.0, 1.0, 1e-3])
    assert Spectrum.from_data(X).rank == 1
    assert Spectrum.from_kernel(X @ X.T).rank == 1


@pytest.mark.parametrize("scale", [1e-160, 1e160])
def test_singular_values_survive_where_their_squares_do_not(scale):
    values = np.array([3.0, 2.0, 1.0])
    X = strategies.from_spectrum(np.random.default_rng(0), values, 5, 3) * scale
    spectrum = Spectrum.from_data(X)
    np.testing.assert_allclose(spectrum.singular_values / scale, values, rtol=1e-14)
    assert spectrum.rank == 3


@pytest.mark.parametrize("X", [[[1, 2], [3, 4]], np.float32([[1, 2], [3, 4]])])
def test_integers_and_single_precision_are_converted(X):
    got = Spectrum.from_data(X)
    want = Spectrum.from_data(np.array(X, dtype=np.float64))
    np.testing.assert_array_equal(got.singular_values, want.singular_values)
    assert got.left.dtype == np.float64


def test_views_of_any_layout_are_read():
    X = np.random.default_rng(0).standard_normal((6, 8))
    for view in (X[::2, ::-1], np.asfortranarray(X), X.T):
        spectrum = Spectrum.from_data(view)
        rebuilt = (spectrum.left * spectrum.singular_values) @ spectrum.right.T
        np.testing.assert_allclose(rebuilt, view, atol=1e-13)


def test_input_is_not_changed():
    X = np.random.default_rng(0).standard_normal((4, 4))
    kernel = X @ X.T
    copies = X.copy(), kernel.copy()
    Spectrum.from_data(X)
    Spectrum.from_kernel(kernel)
    np.testing.assert_array_equal(X, copies[0])
    np.testing.assert_array_equal(kernel, copies[1])


def test_single_precision_kernel_is_judged_by_its_own_round_off():
    X = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    kernel = X @ X.T  # its zero eigenvalues are off by 1e-7, some of them below zero
    assert Spectrum.from_kernel(kernel).rank == 4
    with pytest.raises(ValueError, match="positive semi-definite"):
        Spectrum.from_kernel(kernel.astype(np.float64))


def test_indefinite_kernel_is_refused_with_its_lowest_eigenvalue_and_the_tolerance():
    with pytest.raises(ValueError, match=r"K must be positive semi-definite, got .* -0\.5; .*e-14"):
        Spectrum.from_kernel(np.diag([2.0, -0.5]))


def test_asymmetric_kernel_is_refused():
    with pytest.raises(ValueError, match=r"K must be symmetric, got .* 0\.5"):
        Spectrum.from_kernel([[2.0, 0.5], [0.0, 2.0]])


def test_zero_kernel_and_zero_data_have_no_learned_mode():
    assert Spectrum.from_kernel(np.zeros((3, 3))).rank == 0
    assert Spectrum.from_data(np.zeros((3, 2))).rank == 0


@pytest.mark.parametrize(
    "X",
    [[], [1.0, 2.0], np.zeros((2, 0)), [[np.nan]], [[np.inf]], [[1j]], "X", [[1.0], [1.0, 2.0]]],
)
def test_bad_data_are_refused_by_name(X):
    with pytest.raises(ValueError, match=r"^X must"):
        Spectrum.from_data(X)


@pytest.mark.parametrize("K", [np.zeros((2, 3)), [[np.nan]], [], 1.0])
def test_bad_kernels_are_refused_by_name(K):
    with pytest.raises(ValueError, match=r"^K must"):
        Spectrum.from_kernel(K)


def test_a_decomposition_that_does_not_converge_is_tried_by_the_slower_routine(monkeypatch):
    def fails(*args, **kwargs):
        msg = "SVD did not converge"
        raise np.linalg.LinAlgError(msg)

    X = np.random.default_rng(0).standard_normal((5, 3))
    want = Spectrum.from_data(X).singular_values
    monkeypatch.setattr(np.linalg, "svd", fails)
    np.testing.assert_allclose(Spectrum.from_data(X).singular_values, want, rtol=1e-13)
