r"""Eigendirections of a data matrix or of a kernel: found once, used at every time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import checks
from theory.checks import Array

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    r"""The modes in which gradient flow of the squared loss moves, top eigenvalue first.

    .. math::

        X = U \,\mathrm{diag}(s)\, V^\top, \quad \lambda_i = s_i^2 / N
        \qquad\text{or}\qquad K = U \,\mathrm{diag}(\lambda)\, U^\top

    for the loss :math:`\|X b - y\|_F^2 / (2 N)`, or for a kernel K. Nothing is assumed of the
    shape or the rank; modes that are not learned have eigenvalue zero and stay in the list.

    Eigenvalues are squares: they overflow to ``inf`` where :math:`s > 10^{154}` and lose digits
    where :math:`s < 10^{-146}`. Weights and predictions use the singular values and stay accurate
    there; whatever asks for eigenvalues refuses ``inf``.
    """

    eigenvalues: Array
    r""":math:`\lambda_i \ge 0`, descending, shape (r,)."""
    left: Array
    r""":math:`U`, orthonormal columns in sample space, shape (n, r)."""
    right: Array | None
    r""":math:`V`, orthonormal columns in feature space, shape (p, r); None for a kernel."""
    singular_values: Array
    r""":math:`s_i \ge 0`, descending, shape (r,); :math:`\sqrt{\lambda_i}` for a kernel, as of
    any features whose inner products it holds."""
    samples: int = 1
    """The N of the loss: the number of samples where ``normalize`` was asked for, else 1."""

    @classmethod
    def from_data(cls, X: ArrayLike, normalize: bool = False) -> "Spectrum":  # noqa: FBT001, FBT002
        r"""Thin singular value decomposition of a data matrix of any shape and rank.

        Singular values up to ``max(n, p) * eps * s_1`` are round-off and become zero: an infinite
        time would otherwise amplify them.

        Args:
            X: Samples in rows, shape (n, p).
            normalize: Divide the loss by the number of samples, so that N = n; else N = 1.

        Raises:
            ValueError: If X is not a finite real matrix with a row and a column.

        Example:
            >>> spectrum = Spectrum.from_data([[3.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
            >>> spectrum.eigenvalues, spectrum.rank
            (array([9., 4.]), 2)
        """
        data = checks.matrix("X", X)
        left, values, right = _svd(data)
        values = np.where(values <= max(data.shape) * EPS * values[0], 0.0, values)
        samples = data.shape[0] if normalize else 1
        with np.errstate(over="ignore", under="ignore"):
            eigenvalues = values * (values / samples)
        return cls(eigenvalues, left, right, values, samples)

    @classmethod
    def from_kernel(cls, K: ArrayLike) -> "Spectrum":
        r"""Eigendecomposition of a symmetric positive semi-definite kernel matrix.

        Eigenvalues below ``n * eps * lambda_1`` become zero, with the eps of the type of K: a
        kernel computed in float32 knows its small eigenvalues only so well.

        Args:
            K: Kernel of the training samples with each other, shape (n, n).

        Raises:
            ValueError: If K is not square, or is not symmetric or has a negative eigenvalue
                beyond round-off.

        Example:
            >>> Spectrum.from_kernel([[2.0, 1.0], [1.0, 2.0]]).eigenvalues
            array([3., 1.])
        """
        kernel = checks.square_matrix("K", K)
        eps, n = _precision(K), len(kernel)
        symmetric = _symmetric_part(kernel, eps)
        ascending, vectors = np.linalg.eigh(symmetric)
        eigenvalues, vectors = ascending[::-1], vectors[:, ::-1]
        largest = max(abs(eigenvalues[0]), abs(eigenvalues[-1]))
        # a sum over many features leaves more round-off in K than n * eps when n is small
        tolerance = 10 * max(n, 10) * eps * largest
        if eigenvalues[-1] < -tolerance:
            msg = (
                f"K must be positive semi-definite, got lowest eigenvalue {eigenvalues[-1]:.3g}; "
                f"round-off explains no more than {tolerance:.1g}. Add a ridge to its diagonal, "
                "or remove its negative eigenvalues."
            )
            raise ValueError(msg)
        eigenvalues = np.where(eigenvalues < n * eps * largest, 0.0, eigenvalues)
        return cls(eigenvalues, vectors, None, np.sqrt(eigenvalues))

    @property
    def rank(self) -> int:
        """Number of modes that are learned at all."""
        return int(np.count_nonzero(self.singular_values))

    def weight_modes(self) -> tuple[Array, Array]:
        """The right singular vectors, shape (p, r), and the singular values.

        Raises:
            ValueError: If this is the spectrum of a kernel, which has no weights.
        """
        if self.right is None:
            msg = (
                "spectrum must come from data (Spectrum.from_data) to speak of weights, got the "
                "spectrum of a kernel; ask for its predictions"
            )
            raise ValueError(msg)
        return self.right, self.singular_values


def _svd(data: Array) -> tuple[Array, Array, Array]:
    """U, s, V of the thin decomposition, by a QR step first where one side is much longer."""
    if data.shape[0] < data.shape[1]:
        # LAPACK takes the tall matrix a little faster than the wide one
        right, values, left = _svd(data.T)
        return left, values, right
    try:
        left, values, right = np.linalg.svd(data, full_matrices=False)
    except np.linalg.LinAlgError:
        # divide and conquer fails on rare matrices on which the slower QR iteration converges
        from scipy.linalg import svd

        left, values, right = svd(data, full_matrices=False, lapack_driver="gesvd")
    return left, values, right.T


def _precision(value: ArrayLike) -> float:
    dtype = np.asarray(value).dtype
    return max(EPS, float(np.finfo(dtype).eps)) if np.issubdtype(dtype, np.floating) else EPS


def _symmetric_part(kernel: NDArray[np.float64], eps: float) -> Array:
    scale = float(np.abs(kernel).max())
    tolerance = 10 * max(len(kernel), 10) * eps * scale
    half = 0.5 * kernel  # halved first: the sum of two entries may overflow
    asymmetry = 2 * float(np.abs(half - half.T).max())
    if asymmetry > tolerance:
        msg = (
            f"K must be symmetric, got entries that differ from their mirror image by up to "
            f"{asymmetry:.3g}; round-off explains no more than {tolerance:.1g}. Use (K + K.T) / 2 "
            "if the difference has no meaning."
        )
        raise ValueError(msg)
    return half + half.T
