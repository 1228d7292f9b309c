"""A symmetric kernel as something to multiply by: a matrix, an operator, or a network's own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from theory import checks

_PRECISIONS = (np.float16, np.float32)
Multiply = Callable[[Tensor], Tensor]


@dataclass(slots=True, eq=False)
class Products:
    """Products with a symmetric matrix in float64, counted by column."""

    size: int
    """Rows, and columns."""
    outputs: int
    """Numbers of one sample among the rows, which go sample by sample; 1 where that is unknown."""
    dtype: torch.dtype
    """In which the matrix is given and multiplies."""
    device: torch.device
    multiply: Multiply
    """A block of columns (size, b) to its product, both in that type."""
    matrix: Tensor | None
    """The matrix itself where there is one."""
    used: int = 0
    """Columns multiplied so far."""

    def __call__(self, columns: Tensor) -> Tensor:
        """The product with float64 columns.

        Raises:
            ValueError: If it is not finite.
        """
        self.used += columns.shape[1]
        found = self.multiply(columns.to(self.dtype)).to(torch.float64)
        if not bool(torch.isfinite(found).all()):
            msg = "products with the kernel must be finite, got nan or inf"
            raise ValueError(msg)
        return found

    def formed(self) -> Tensor:
        """The matrix in float64, column block by column block if there is only an operator."""
        if self.matrix is not None:
            return self.matrix.to(torch.float64)
        whole = torch.empty(self.size, self.size, dtype=torch.float64, device=self.device)
        step = max(1, min(self.size, 256))
        for start in range(0, self.size, step):
            columns = whole.new_zeros(self.size, min(step, self.size - start))
            columns[start : start + columns.shape[1]].fill_diagonal_(1.0)
            whole[:, start : start + columns.shape[1]] = self(columns)
        # round-off of the products is not symmetric
        return 0.5 * (whole + whole.T)


def as_tensor(name: str, values: object) -> Tensor:
    """A tensor as it is, and an array of real numbers as a tensor, floating ones of their type.

    Raises:
        ValueError: At anything else.

    >>> as_tensor("values", np.ones(2, np.float32)).dtype
    torch.float32
    """
    if isinstance(values, Tensor):
        return values
    array = checks.real_array(name, cast("ArrayLike", values))
    given = getattr(values, "dtype", None)
    return torch.tensor(array.astype(given) if given in _PRECISIONS else array)


def of_kernel(kernel: Tensor) -> Products:
    """Products with a kernel of shape (N, N, K, K), sample by sample, or any symmetric matrix.

    Raises:
        ValueError: If the kernel has another shape, is not finite or not symmetric.
    """
    matrix, outputs = sample_major(kernel)
    return Products(len(matrix), outputs, matrix.dtype, matrix.device, matrix.__matmul__, matrix)


def sample_major(kernel: Tensor) -> tuple[Tensor, int]:
    """A kernel of samples with themselves as a checked matrix with rows n K + i, and its K.

    Raises:
        ValueError: If the kernel has another shape, is not finite or not symmetric.
    """
    full = kernel.ndim == 4 and kernel.shape[2] == kernel.shape[3]
    square = kernel.ndim in {2, 4} and kernel.shape[0] == kernel.shape[1]
    if not square or not (full or kernel.ndim == 2) or kernel.numel() == 0:
        msg = (
            "kernel must be that of samples with themselves, shape (N, N, K, K) or (N, N), got "
            f"{tuple(kernel.shape)}"
        )
        raise ValueError(msg)
    if not kernel.is_floating_point() or not bool(torch.isfinite(kernel).all()):
        msg = f"kernel must hold finite real floating numbers, got {kernel.dtype} or values not so"
        raise ValueError(msg)
    outputs = kernel.shape[2] if full else 1
    matrix = kernel.detach()
    if full:
        size = len(kernel) * outputs
        matrix = matrix.permute(0, 2, 1, 3).reshape(size, size)
    require_symmetric("kernel", matrix)
    return matrix, outputs


def require_symmetric(name: str, matrix: Tensor) -> None:
    """Raise ValueError if a matrix differs from its mirror image by more than round-off."""
    scale = float(matrix.abs().max())
    slack = 10 * max(len(matrix), 10) * float(torch.finfo(matrix.dtype).eps) * scale
    asymmetry = float((matrix - matrix.T).abs().max())
    if asymmetry > slack:
        msg = (
            f"{name} must be symmetric, got entries that differ from their mirror image by up to "
            f"{asymmetry:.3g}; round-off explains no more than {slack:.1g}"
        )
        raise ValueError(msg)


def is_operator(source: object) -> bool:
    """Whether it multiplies vectors and says its shape."""
    multiplies = hasattr(source, "matmat") or hasattr(source, "matvec")
    return multiplies and hasattr(source, "shape")


def of_operator(operator: Any) -> Products:  # noqa: ANN401 - anything that multiplies
    """Products with a symmetric operator on tensors, or on arrays as SciPy's.

    Raises:
        ValueError: If it is not square.
    """
    shape = tuple(operator.shape)
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        msg = f"the operator must be square, that of samples with themselves, got shape {shape}"
        raise ValueError(msg)
    named = getattr(operator, "dtype", None)
    arrays = not isinstance(named, torch.dtype)
    if isinstance(named, torch.dtype):
        dtype = named
    else:  # round-off is that of the type in which an array is multiplied
        single = named is not None and np.dtype(named) == np.float32
        dtype = torch.float32 if single else torch.float64
    device = torch.device(getattr(operator, "device", None) or "cpu")
    outputs = int(getattr(operator, "outputs", 1) or 1)
    multiply = _on_arrays(operator) if arrays else _on_tensors(operator)
    return Products(shape[0], outputs, dtype, device, multiply, None)


def _on_tensors(operator: Any) -> Multiply:  # noqa: ANN401
    if hasattr(operator, "matmat"):
        return cast("Multiply", operator.matmat)
    return lambda columns: torch.stack([operator.matvec(column) for column in columns.T], dim=1)


def _on_arrays(operator: Any) -> Multiply:  # noqa: ANN401
    def multiply(columns: Tensor) -> Tensor:
        block = columns.cpu().numpy()
        if hasattr(operator, "matmat"):
            found = operator.matmat(block)
        else:
            found = np.stack([operator.matvec(column) for column in block.T], axis=1)
        return torch.as_tensor(np.asarray(found), device=columns.device)

    return multiply
