"""Hypothesis strategies, built from prescribed spectra so that hard cases are reached, not met.

``tests/test_strategies.py`` shows that they reach singular, repeated, ill-conditioned and
rank-deficient cases of every shape.
"""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

EXTREMES = (0.0, 1e-300, 1e-160, 1e-10, 1.0, 30.0, 1e3, 1e160, 1e300)


def orthonormal(rng, rows, columns):
    """A random matrix with orthonormal columns."""
    return np.linalg.qr(rng.standard_normal((rows, columns)))[0]


def generators():
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


def powers_of_ten(low, high):
    """Positive numbers, log-uniform."""
    return st.floats(low, high).map(lambda exponent: 10.0**exponent)


def times(*, infinite=False):
    """Times from 1e-2 to 1e2, and with ``infinite`` also 0 and inf."""
    usual = powers_of_ten(-2, 2)
    return usual | st.sampled_from((0.0, np.inf)) if infinite else usual


def extremes(*, infinite=False):
    """Numbers at which naive formulas overflow, underflow or divide by zero."""
    return st.sampled_from((*EXTREMES, np.inf) if infinite else EXTREMES)


def singular_values(count, *, low=-1.0, high=0.5, zeros=True):
    """Singular values, descending: log-uniform, with repetitions and, with ``zeros``, zeros."""
    usual = powers_of_ten(low, high) | st.just(1.0)
    value = usual | st.just(0.0) if zeros else usual
    listed = st.lists(value, min_size=count, max_size=count)
    return listed.map(lambda values: np.array(sorted(values, reverse=True)))


def from_spectrum(rng, values, n, p):
    """A matrix of shape (n, p) with the given min(n, p) singular values."""
    count = min(n, p)
    return (orthonormal(rng, n, count) * values) @ orthonormal(rng, p, count).T


@st.composite
def data_matrices(draw, *, min_dim=1, max_dim=8, **spectrum):
    """Matrices of any shape (wide, tall, square) and rank; ``spectrum`` as singular_values."""
    n, p = draw(st.integers(min_dim, max_dim)), draw(st.integers(min_dim, max_dim))
    values = draw(singular_values(min(n, p), **spectrum))
    return from_spectrum(draw(generators()), values, n, p)


def ill_conditioned():
    """Matrices with singular values from 1e-8 to 1e2."""
    return data_matrices(low=-8.0, high=2.0)


@st.composite
def kernels(draw, *, max_dim=8, low=-8.0, high=2.0):
    """Symmetric positive semi-definite matrices: singular, repeated and ill-conditioned ones."""
    n = draw(st.integers(1, max_dim))
    values = draw(singular_values(n, low=low, high=high))
    basis = orthonormal(draw(generators()), n, n)
    kernel = (basis * values) @ basis.T
    return (kernel + kernel.T) / 2


@dataclass(frozen=True, eq=False)
class Problem:
    """Data, labels and weights to start from."""

    X: np.ndarray
    y: np.ndarray
    initial: np.ndarray

    def __repr__(self):
        return f"Problem(X={self.X!r}, y={self.y!r}, initial={self.initial!r})"


@st.composite
def problems(draw, *, from_zero=None, **matrix):
    """Data of any shape and rank, labels of one output (1-D) or several, and initial weights."""
    X = draw(data_matrices(**matrix))
    rng = draw(generators())
    outputs = draw(st.sampled_from(((), (1,), (3,))))
    y = rng.standard_normal((X.shape[0], *outputs))
    zero = draw(st.booleans()) if from_zero is None else from_zero
    initial = rng.standard_normal((X.shape[1], *outputs)) * (not zero)
    return Problem(X, y, initial)


def progresses():
    """Eigenvalue times time, from 1e-12 to 300."""
    return powers_of_ten(-12, 2.477)


def fractions():
    """Numbers in (0, 1): spread evenly, next to 0 and next to 1."""
    return (
        st.floats(1e-3, 0.999)
        | powers_of_ten(-16, -3)
        | powers_of_ten(-15, -3).map(lambda gap: 1.0 - gap)
    )
