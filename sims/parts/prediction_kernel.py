"""Closed forms in a kernel: the spectrum of a training kernel, and what every method learns in it.

A kernel is kept over the number of training samples n. It acts on columns: a trace kernel (n, n)
on the K outputs of all samples, a full one (n K, n K) on all outputs at once, numbered output by
output.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sims.predictions import METHODS, Lengths, Method
from theory.flow.filters import Filter
from theory.ntk import empirical_ntk, kernel_matrix

Array = NDArray[np.float64]


def network_kernels(
    network: nn.Module, inputs: tuple[Tensor, Tensor], kind: str
) -> tuple[Tensor, Tensor]:
    """Training kernel and test kernel of a network over n; the trace is the mean over outputs."""
    train, test = inputs
    return network_kernel(network, train, None, kind), network_kernel(network, test, train, kind)


def network_kernel(network: nn.Module, x1: Tensor, x2: Tensor | None, kind: str) -> Tensor:
    """One of them: a matrix of rows ``x1`` and columns ``x2``, or ``x1`` again."""
    found = empirical_ntk(network, x1, x2, outputs="full" if kind == "full" else "trace")
    kernel = cast(Tensor, found)  # a dict only of layers
    over = len(x1 if x2 is None else x2)
    if kind == "full":
        return kernel_matrix(kernel).div_(over)
    return kernel.div_(over * network(x1[:1]).shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Decomposition:
    """A training kernel in its eigenbasis, and the test kernel beside it.

    What `theory.ntk.linearized.training.KernelFlow` is in double precision, for kernels of
    thousands of rows in the precision of the network: the test kernel is not projected but
    multiplied by what all filters have learned together, and the decomposition takes half as long.
    """

    eigenvalues: Array
    """Descending, of the kernel over n; what round-off made negative is zero."""
    vectors: Tensor
    """Columns, shape (N, N)."""
    test: Tensor
    """Test kernel over n, shape (M, N)."""
    classes: int
    """Number K of outputs."""

    @classmethod
    def of(cls, train: Tensor, test: Tensor, classes: int) -> "Decomposition":
        """Decompose; a kernel of (n K, n K) is taken for a full one by its use of columns."""
        values, vectors = torch.linalg.eigh(train)
        eigenvalues = np.maximum(values.flip(0).to(torch.float64).numpy(), 0.0)
        return cls(eigenvalues, vectors.flip(1), test, classes)

    def columns(self, outputs: Tensor) -> Tensor:
        """Outputs (..., n, K) as the columns that the kernel acts on: (N, ..., K or 1)."""
        if outputs.shape[-2] == len(self.eigenvalues):
            return outputs.movedim(-2, 0)
        return outputs.transpose(-1, -2).flatten(-2).movedim(-1, 0)[..., None]

    def outputs(self, columns: Tensor) -> Tensor:
        """The reverse: (..., samples, K) of columns (N or M, ..., K or 1)."""
        if columns.shape[-1] == self.classes:
            return columns.movedim(0, -2)
        flat = columns[..., 0].movedim(0, -1)
        return flat.reshape(*flat.shape[:-1], self.classes, -1).transpose(-1, -2)

    def components(self, outputs: Tensor) -> Tensor:
        """Along the eigenvectors, the shape of `columns`."""
        columns = self.columns(outputs)
        return (self.vectors.T @ columns.flatten(1)).view(columns.shape)

    def learned(
        self, filters: Sequence[Filter], targets: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Training and test outputs (filters, samples, K), each filter with its own targets."""
        gains: list[Tensor] = []
        rates: list[Tensor] = []
        for one, target in zip(filters, targets, strict=True):
            components = self.components(target)
            for out, values in (
                (gains, one.gain(self.eigenvalues)),
                (rates, one.gain_over_eigenvalue(self.eigenvalues)),
            ):
                out.append(components * torch.from_numpy(values).to(components.dtype)[:, None])
        found = []
        for parts, last in ((gains, None), (rates, self.test)):
            columns = torch.stack(parts, dim=1)
            moved = self.vectors @ columns.flatten(1)
            moved = moved if last is None else last @ moved
            found.append(self.outputs(moved.view(len(moved), *columns.shape[1:])))
        return found[0], found[1]


def predict(
    kernel: Decomposition,
    labels: Tensor,
    reads: Sequence[int],
    build: Callable[[Method, int], Filter],
    lengths: Lengths,
) -> tuple[Tensor, Tensor]:
    """Training and test outputs (methods, reads, samples, K) of all methods at the steps ``reads``.

    Args:
        kernel: In its eigenbasis.
        labels: One-hot rows, shape (n, K).
        reads: Steps.
        build: The filter of a method after a number of steps.
        lengths: Of the phases.
    """
    filters, targets = [], []
    for one in METHODS:
        own = torch.from_numpy(one.targets(labels.numpy(), lengths)).to(labels.dtype)
        for step in reads:
            filters.append(build(one, step))
            targets.append(own)
    train, test = kernel.learned(filters, targets)
    shape = (len(METHODS), len(reads))
    return train.reshape(*shape, *train.shape[1:]), test.reshape(*shape, *test.shape[1:])


class KernelLearner:
    r"""Members of the linearized network side by side, descended step by step: a `Learner`.

    It carries the dual A of outputs :math:`\Theta A`, which descent moves by the residuals: the
    dual flow of any loss, in the network's own steps.
    """

    def __init__(
        self, train: Tensor, test: Tensor, *, members: int, step_size: float, shape: tuple[int, int]
    ) -> None:
        self.kernels, self.step_size, self.shape = (train, test), step_size, shape
        self.full = len(train) != shape[0]
        width = 1 if self.full else shape[1]
        self.dual = torch.zeros(len(train), members, width, dtype=train.dtype)

    def outputs(self) -> Tensor:
        """On the training inputs, shape (members, n, K)."""
        return self._moved(self.kernels[0])

    def test_outputs(self) -> Tensor:
        """On the test inputs, likewise."""
        return self._moved(self.kernels[1])

    def push(self, residuals: Tensor) -> None:
        """One step of descent."""
        if self.full:
            columns = residuals.transpose(1, 2).flatten(1).T[..., None]
        else:
            columns = residuals.transpose(0, 1)
        self.dual.sub_(columns, alpha=self.step_size)

    def _moved(self, kernel: Tensor) -> Tensor:
        # a few long rows times the kernel: up to three times as fast as the kernel times columns
        rows = torch.nn.functional.linear(self.dual.flatten(1).T.contiguous(), kernel)
        columns = rows.T.reshape(len(kernel), *self.dual.shape[1:])
        if not self.full:
            return columns.transpose(0, 1)
        flat = columns[..., 0].T
        return flat.reshape(len(flat), self.shape[1], -1).transpose(1, 2)


def rbf(x1: Tensor, x2: Tensor, squared_width: float) -> Tensor:
    r""":math:`\exp(-|x - x'|^2 / (2 \sigma^2))`."""
    return torch.exp(-torch.cdist(x1, x2).square() / (2 * squared_width))
