"""What is compared between networks and predictions: outputs, decisions, eigendirections."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sims.parts.prediction_kernel import Decomposition

Array = NDArray[np.float64]
QUANTITIES = ("accuracy", "recovery", "risk")
LEAST_DIRECTIONS = 5
"""Eigendirections that a bin must hold to be counted."""
INSIDE = (0.02, 0.98)
"""Progress between which effective times are read: nearer to 0 and 1 they are noise."""


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The right classes of all samples, and which training labels are flipped."""

    train: Tensor
    test: Tensor
    flipped: Tensor
    """Numbers of the training samples whose label was flipped."""


def quantities(train: Tensor, test: Tensor, truth: Truth, *, cross_entropy: bool) -> Array:
    """Test accuracy, share of flipped samples given their right class, and test risk.

    The risk is the mean squared distance of the outputs from the right one-hot rows, or the mean
    cross-entropy of the right classes.

    Args:
        train: Outputs (..., n, K) on the training inputs.
        test: Outputs (..., m, K) on the test inputs.
        truth: The right classes.
        cross_entropy: Whether outputs are logits.

    Returns:
        Shape (..., 3), in the order of `QUANTITIES`.
    """
    right = test.argmax(-1) == truth.test
    flipped = train[..., truth.flipped, :].argmax(-1) == truth.train[truth.flipped]
    rows = torch.nn.functional.one_hot(truth.test, test.shape[-1]).to(test.dtype)
    if cross_entropy:
        risk = -(torch.log_softmax(test, dim=-1) * rows).sum(-1).mean(-1)
    else:
        risk = (test - rows).square().sum(-1).mean(-1)
    parts = (right.double().mean(-1), flipped.double().mean(-1), risk.double())
    return np.asarray(torch.stack(parts, dim=-1).numpy())


def relative_error(predicted: Tensor, measured: Tensor) -> Array:
    """Norm of the difference over the norm of what was measured, over samples and classes."""
    gap = (predicted - measured).flatten(-2).double().norm(dim=-1)
    return np.asarray((gap / measured.flatten(-2).double().norm(dim=-1)).numpy())


def agreement(a: Tensor, b: Tensor) -> Array:
    """Share of samples with the same decision."""
    return np.asarray((a.argmax(-1) == b.argmax(-1)).double().mean(-1).numpy())


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    r"""Eigendirections in groups of similar eigenvalue, weighted by the energy of the labels.

    Along a direction u progress is :math:`\langle u, f\rangle \langle u, y\rangle /
    \langle u, y\rangle^2`; that of a group is the quotient of the sums.
    """

    kernel: Decomposition
    labels: Tensor
    """Components of the labels along the eigenvectors."""
    member: NDArray[np.int64]
    """Group of each direction; -1 below the lowest edge."""
    groups: int

    @classmethod
    def of(cls, kernel: Decomposition, labels: Tensor, edges: Array) -> "Bins":
        """Groups between descending ``edges``, in units of the largest eigenvalue."""
        relative = kernel.eigenvalues / kernel.eigenvalues[0]
        member = np.searchsorted(-edges, -relative, side="right") - 1
        member = np.where(relative >= edges[-1], np.minimum(member, len(edges) - 2), -1)
        return cls(kernel, kernel.components(labels), member, len(edges) - 1)

    def progress(self, outputs: Tensor) -> Array:
        """Of outputs (..., n, K), shape (..., groups); nan in groups of few directions."""
        along = self.kernel.components(outputs)
        weights = self.labels.view(len(self.labels), *(1,) * (along.ndim - 2), -1)
        learned = (along * weights).sum(-1).double().numpy()
        return self._summed(learned) / self.energy

    @property
    def energy(self) -> Array:
        """Of the labels in each group; nan in groups of few directions."""
        energy = self._summed(self.labels.square().sum(-1).double().numpy())
        counts = np.bincount(self.member[self.member >= 0], minlength=self.groups)
        return np.where((counts >= LEAST_DIRECTIONS) & (energy > 0), energy, np.nan)

    @property
    def eigenvalues(self) -> Array:
        """Geometric mean over the energy of the labels, in units of the largest."""
        weights = self.labels.square().sum(-1).double().numpy()
        logs = np.log(np.maximum(self.kernel.eigenvalues / self.kernel.eigenvalues[0], 1e-300))
        return np.exp(self._summed(weights * logs) / self.energy)

    def _summed(self, values: Array) -> Array:
        total = np.zeros((self.groups, *values.shape[1:]))
        inside = self.member >= 0
        np.add.at(total, self.member[inside], values[inside])
        return np.moveaxis(total, 0, -1)


def effective_slope(progress: Array, eigenvalues: Array, among: NDArray[np.bool_]) -> float:
    r"""Slope of :math:`\ln t_\mathrm{eff} = \ln(-\ln(1 - g) / \lambda)` on :math:`\ln \lambda`.

    Args:
        progress: g of each group, shape (B,).
        eigenvalues: Of each group, shape (B,).
        among: The groups to use; those whose progress is not in (0, 1) are left out.

    Returns:
        The slope, nan for fewer than three groups.

    Example:
        >>> eigenvalues = np.array([1.0, 0.1, 0.01])
        >>> flow = -np.expm1(-2.0 * eigenvalues)
        >>> abs(effective_slope(flow, eigenvalues, np.full(3, True))) < 1e-12
        True
    """
    known = np.isfinite(progress) & np.isfinite(eigenvalues)
    used = among & known & (np.nan_to_num(progress) > 0) & (np.nan_to_num(progress) < 1)
    if used.sum() < 3:
        return float("nan")
    x = np.log(eigenvalues[used])
    y = np.log(-np.log1p(-progress[used])) - x
    x = x - x.mean()
    return float((x * y).sum() / (x * x).sum())


def slopes(measured: Array, predicted: Array, eigenvalues: Array) -> Array:
    """Slopes of network and prediction (2, ...) on the groups where the prediction is inside.

    Args:
        measured: Progress of the network, shape (..., B).
        predicted: Of the prediction, read from its outputs in the same way.
        eigenvalues: Of the groups, shape (B,).
    """
    out = np.full((2, *measured.shape[:-1]), np.nan)
    for place in np.ndindex(measured.shape[:-1]):
        theory = predicted[place]
        among = np.isfinite(theory) & (np.nan_to_num(theory) > INSIDE[0])
        among &= np.nan_to_num(theory) < INSIDE[1]
        for row, values in enumerate((measured[place], theory)):
            out[(row, *place)] = effective_slope(values, eigenvalues, among)
    return out
