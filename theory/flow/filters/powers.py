"""Many steps of small linear iterations at once, one for each mode."""

import numpy as np

from theory.checks import Array


def _matmul(left: Array, right: Array) -> Array:
    """Products of small matrices, one for each entry of the last axis; contiguous in it."""
    product = left[:, 0, None] * right[None, 0]
    for index in range(1, left.shape[1]):
        product += left[:, index, None] * right[None, index]
    return product


def affine_power(matrix: Array, push: Array, exponent: int) -> Array:
    r"""Where the iteration :math:`v \mapsto M v + p` is after some steps from zero.

    Args:
        matrix: M, shape (k, k, n): one matrix for each of n modes.
        push: p, shape (k, n).
        exponent: Number of steps >= 0, taken by repeated squaring.

    Returns:
        The state, shape (k, n).
    """
    state = np.zeros_like(push)
    vector = push[:, None]
    while exponent:
        if exponent & 1:  # powers of one matrix commute, so the order of steps does not matter
            state = _matmul(matrix, state[:, None])[:, 0] + vector[:, 0]
        exponent >>= 1
        if exponent:
            vector = _matmul(matrix, vector) + vector
            matrix = _matmul(matrix, matrix)
    return state


def matrix_power(matrix: Array, exponent: int) -> tuple[Array, Array]:
    """Powers of matrices by repeated squaring, without underflow.

    Args:
        matrix: Shape (k, k, n): one matrix for each of n modes.
        exponent: >= 0.

    Returns:
        Mantissas, shape (k, k, n), and whole binary logarithms of their scales, shape (n,): see
        :func:`scaled`.
    """
    size, modes = matrix.shape[0], matrix.shape[2]
    result = np.repeat(np.eye(size)[:, :, None], modes, axis=2)
    scale, square_scale = np.zeros(modes), np.zeros(modes)
    while exponent:
        if exponent & 1:
            result, shift = _rescaled(_matmul(result, matrix))
            scale = scale + square_scale + shift
        exponent >>= 1
        if exponent:
            matrix, shift = _rescaled(_matmul(matrix, matrix))
            square_scale = 2.0 * square_scale + shift
    return result, scale


def _rescaled(matrix: Array) -> tuple[Array, Array]:
    """The matrices over powers of two, which costs no digit, and the exponents."""
    shift = np.frexp(np.abs(matrix).max(axis=(0, 1)))[1]
    return np.ldexp(matrix, -shift), shift.astype(np.float64)


def scaled(mantissa: Array, scale: Array) -> Array:
    """``mantissa * 2**scale`` for whole scales of any size."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.ldexp(mantissa, np.clip(scale, -5000, 5000).astype(np.int64)))
