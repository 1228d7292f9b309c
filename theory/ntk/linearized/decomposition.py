"""Kernels as float64 matrices, checked and decomposed."""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from theory import checks
from theory.checks import Array
from theory.ntk.arrays import plain

CLIP = 10.0
"""Eigenvalues below so many units in the last place of the largest one are round-off."""


def as_matrix(
    name: str, kernel: ArrayLike | Tensor, outputs: int | None
) -> tuple[Array, int | None, float]:
    """A kernel as a float64 matrix, its K if it is a full one, and the eps of its type.

    Raises:
        ValueError: If its shape or numbers are none of a kernel.
    """
    eps = _eps(kernel)
    array = checks.real_array(name, plain(kernel))
    if array.ndim == 4 and array.shape[2] == array.shape[3] and array.size:
        classes = array.shape[2]
        if outputs not in {None, classes}:
            msg = f"outputs must be the {classes} of {name}, shape {array.shape}, got {outputs}"
            raise ValueError(msg)
        flat = array.transpose(2, 0, 3, 1).reshape(classes * len(array), -1)
        return flat, classes, eps
    if array.ndim != 2 or array.size == 0:
        msg = f"{name} must have shape (N, M, K, K) or (N, M), got {array.shape}"
        raise ValueError(msg)
    if outputs is None:
        return array, None, eps
    classes = checks.integer("outputs", outputs, minimum=1)
    if any(size % classes for size in array.shape):
        msg = (
            f"{name} must have rows and columns for {classes} outputs of each sample, got shape "
            f"{array.shape}"
        )
        raise ValueError(msg)
    return array, classes, eps


def _eps(kernel: object) -> float:
    """Of the type that a kernel was computed in."""
    dtype = getattr(kernel, "dtype", None)
    if isinstance(dtype, torch.dtype) and dtype.is_floating_point:
        return float(torch.finfo(dtype).eps)
    if isinstance(dtype, np.dtype) and np.issubdtype(dtype, np.floating):
        return float(np.finfo(dtype).eps)
    return float(np.finfo(np.float64).eps)


def decomposed(matrix: Array, eps: float) -> tuple[Array, Array]:
    """Eigenvalues, descending and >= 0, and eigenvectors of a kernel known to relative ``eps``.

    Raises:
        ValueError: If it is not square, symmetric and positive semi-definite but for round-off.
    """
    if matrix.shape[0] != matrix.shape[1]:
        msg = f"kernel must be that of the training inputs with themselves, got {matrix.shape}"
        raise ValueError(msg)
    slack = 10 * max(len(matrix), 10) * eps
    asymmetry = float(np.abs(matrix - matrix.T).max())
    if asymmetry > slack * float(np.abs(matrix).max()):
        msg = (
            "kernel must be symmetric, got entries that differ from their mirror image by up to "
            f"{asymmetry:.3g}, more than round-off explains"
        )
        raise ValueError(msg)
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    values, vectors = values[::-1], vectors[:, ::-1]
    if values[-1] < -slack * max(float(values[0]), -float(values[-1])):
        msg = (
            f"kernel must be positive semi-definite, got lowest eigenvalue {values[-1]:.3g} beside "
            f"the highest {values[0]:.3g}, more than round-off explains"
        )
        raise ValueError(msg)
    return np.maximum(values, 0.0), vectors


def projected(test: Array, modes: Array, values: Array, share: float, eps: float) -> Array:
    """The test kernel on the modes, which must vanish on null directions but for round-off.

    What it has there beyond round-off of its own entries is kept: eigenvalues that count as zero
    may be small ones, which matter within a finite time.

    Raises:
        ValueError: If it does not.
    """
    moved = test @ modes
    null = values == 0
    # |K_* u|^2 <= lambda k_**, and eigenvalues up to this share of the top one count as zero
    slack = 10 * np.sqrt(max(len(modes), 10) * share) * float(np.abs(moved).max())
    sizes = np.where(null, np.abs(moved).max(axis=0), 0.0)
    worst = float(sizes.max())
    if worst > slack:
        msg = (
            "test_kernel must vanish on the null directions of the training kernel, as it does for "
            f"any positive semi-definite kernel on both sets; got {worst:.3g} where round-off "
            f"explains {slack:.1g}"
        )
        raise ValueError(msg)
    noise = null & (sizes <= 10 * max(len(modes), 10) * eps * float(np.abs(moved).max()))
    return np.where(noise, 0.0, moved)
