r"""Weights of a layer on the eigendirections of what the layer sees.

.. math:: \tfrac1n X^\top X = \sum_k \lambda_k v_k v_k^\top, \qquad
          C_k(t) = \|W(t)^\top v_k\|, \qquad D_k(t) = \|(W(t) - W(0))^\top v_k\|

X (n x p) holds the inputs of the layer, one a row, W (p x h) its weights. The second moment is not
centered, as in the flow of the squared loss, where only the displacement D_k has a theorem
[Nagarajan 2023, Thm B.1 and App. D.3]. Directions with :math:`s_k \le 10^{-6} s_1` belong to the
null space of the data; Adam moves weights there, gradient descent does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from theory import checks
from theory.checks import Array

RANK_TOLERANCE = 1e-6
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, slots=True)
class Eigendirections:
    """Right singular vectors of inputs, by descending singular value."""

    eigenvalues: Array
    """Of the second moment, :math:`s_k^2 / n`, shape (..., r) with r = min(n, p)."""
    directions: Array
    """Orthonormal columns, shape (..., p, r)."""
    kept: NDArray[np.bool_]
    """Whether a direction is above the rank tolerance, shape (..., r)."""


@dataclass(frozen=True, slots=True)
class Projections:
    """Recorded norms; T records of networks stacked along the axes ``...``, if any."""

    steps: NDArray[np.int64]
    """Number of each record, or what `Projector.record` was told, shape (T,)."""
    eigenvalues: Array
    """Shape (..., r), descending."""
    kept: NDArray[np.bool_]
    """Directions above the rank tolerance, shape (..., r)."""
    norms: Array
    """:math:`C_k`, shape (T, ..., r)."""
    displacements: Array
    """:math:`D_k`, shape (T, ..., r)."""
    moved: Array
    """Frobenius norm of the whole displacement, shape (T, ...)."""
    null_share: Array
    """Share of the squared displacement outside the kept directions, shape (T, ...); nan before
    the first move. A difference of sums: shares below the rounding of the weights are noise."""


def eigendirections(
    inputs: ArrayLike, *, rank_tolerance: float = RANK_TOLERANCE
) -> Eigendirections:
    """Eigendirections of the uncentered second moment of inputs of shape (..., n, p).

    Decomposes the inputs themselves, not their Gram matrix: the smallest kept direction is a
    millionth of the largest, and squaring would cost half of its digits.

    >>> eigendirections([[3.0, 0.0], [0.0, 1.0]]).eigenvalues
    array([4.5, 0.5])

    Raises:
        ValueError: If the inputs are not finite numbers of at least two axes, none empty, or the
            tolerance is not in [0, 1].
    """
    rank_tolerance = checks.fraction("rank_tolerance", rank_tolerance)
    array = checks.real_array("inputs", inputs)
    if array.ndim < 2 or array.size == 0:
        msg = f"inputs must have shape (..., samples, size) with none empty, got {array.shape}"
        raise ValueError(msg)
    _, singular, right = np.linalg.svd(array, full_matrices=False)
    return Eigendirections(
        eigenvalues=singular**2 / array.shape[-2],
        directions=np.ascontiguousarray(np.swapaxes(right, -1, -2)),
        kept=singular > rank_tolerance * singular[..., :1],
    )


class Projector:
    """Records the weights of one layer on the eigendirections of its inputs, in anyone's loop.

    Args:
        inputs: What the layer sees, shape (n, p): pixels for a first layer, features for a head,
            the `representations` of a fixed network for a hidden layer, `patches` (flattened:
            channels, rows, columns) for a convolution. Stacked networks may have inputs each:
            (..., n, p); so may the groups of a grouped convolution: (groups, n, p), and then all
            records have an axis of groups. Or the `Eigendirections` of inputs, to decompose them
            once for several projectors.
        layer: Name of the layer in the model, such as ``"layers.0"``.
        rank_tolerance: Singular values below this share of the largest count as zero.
        stacked: Leading axes of the weights that number networks, where these are more than the
            leading axes of the inputs.

    Raises:
        ValueError: If inputs are not finite or of a wrong shape.

    >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> projector = Projector(torch.eye(3), layer="0")
    >>> projector.record(model)
    >>> with torch.no_grad():
    ...     _ = model[0].weight[0, 2].add_(0.5)
    >>> projector.record(model)
    >>> np.sort(projector.result().displacements[1])
    array([0. , 0. , 0.5])
    """

    def __init__(
        self,
        inputs: "ArrayLike | Tensor | Eigendirections",
        *,
        layer: str,
        rank_tolerance: float = RANK_TOLERANCE,
        stacked: int = 0,
    ) -> None:
        if isinstance(inputs, Tensor):
            inputs = inputs.detach().cpu().double().numpy()
        self.eigen = (
            inputs
            if isinstance(inputs, Eigendirections)
            else eigendirections(inputs, rank_tolerance=rank_tolerance)
        )
        self._stacked = max(checks.count("stacked", stacked), self.eigen.directions.ndim - 2)
        self._parameter = f"{layer}.weight"
        self._directions: Tensor | None = None
        self._start: tuple[Tensor, Tensor] | None = None
        self._steps: list[int] = []
        self._records: list[tuple[Tensor, Tensor, Tensor]] = []

    def record(self, model: nn.Module | Mapping[str, Tensor], step: int | None = None) -> None:
        """Read the layer's weights now; the first record is the zero of the displacements.

        Args:
            model: The network, whose layer must be dense or a convolution; or weights by name, of
                shape (outputs, inputs), or (outputs, channels, ...) of a convolution.
            step: What to call this record; by default records are counted from 0.

        Raises:
            ValueError: If there is no such layer, it is of another kind, its inputs have another
                size, its weights are not finite, or they are of another shape than at the first
                record.
        """
        weights = self._weights(model)
        if self._start is not None:
            weights = self._as_at_start(weights, self._start[0])
        if self._directions is None:
            self._directions = torch.from_numpy(self.eigen.directions).to(weights)
        on_directions = weights @ self._directions  # (..., h, r): rows of W^T V
        if self._start is None:
            self._start = (weights.clone(), on_directions)
        start, start_on = self._start
        self._steps.append(len(self._steps) if step is None else step)
        self._records.append(
            (
                torch.linalg.vector_norm(on_directions, dim=-2),
                torch.linalg.vector_norm(on_directions - start_on, dim=-2),
                torch.linalg.vector_norm(weights - start, dim=(-2, -1)),
            )
        )

    def result(self) -> Projections:
        """All records so far.

        Raises:
            ValueError: If there is none.
        """
        if not self._records:
            msg = "record must be called at least once before result, got no record"
            raise ValueError(msg)
        columns = zip(*self._records, strict=True)
        norms, displacements, moved = (
            torch.stack(column).cpu().double().numpy() for column in columns
        )
        inside = np.where(self.eigen.kept, displacements**2, 0.0).sum(-1)
        with np.errstate(invalid="ignore"):
            null_share = np.clip(1 - inside / moved**2, 0.0, 1.0)
        return Projections(
            steps=np.array(self._steps, dtype=np.int64),
            eigenvalues=self.eigen.eigenvalues,
            kept=self.eigen.kept,
            norms=norms,
            displacements=displacements,
            moved=moved,
            null_share=null_share,
        )

    def _as_at_start(self, weights: Tensor, start: Tensor) -> Tensor:
        """On the device and in the precision of the first record; of its shape, or refused."""
        if weights.shape != start.shape:
            msg = (
                f"{self._parameter} must have the shape of the first record, {tuple(start.shape)}, "
                f"got {tuple(weights.shape)}"
            )
            raise ValueError(msg)
        return weights.to(start)

    @torch.no_grad()
    def _weights(self, model: nn.Module | Mapping[str, Tensor]) -> Tensor:
        """The layer's weights, shape (..., h, p); a convolution's are flattened over its window."""
        named = dict(model.named_parameters()) if isinstance(model, nn.Module) else model
        if self._parameter not in named:
            msg = f"layer must have a weight among {', '.join(named)}, got {self._parameter!r}"
            raise ValueError(msg)
        self._refuse_other_kinds(model)
        weights = named[self._parameter].detach()
        if not weights.isfinite().all():
            bad = int((~weights.isfinite()).sum())
            msg = f"{self._parameter} must be finite; {bad} of {weights.numel()} values are not"
            raise ValueError(msg)
        groups = self._groups(model)
        if groups > 1:
            weights = weights.reshape(groups, len(weights) // groups, *weights.shape[1:])
        else:
            self._refuse_images(model, weights)
        weights = weights.flatten(start_dim=min(self._stacked + 1, weights.ndim - 1))
        size = self.eigen.directions.shape[-2]
        if weights.ndim != self._stacked + 2 or weights.shape[-1] != size:
            msg = (
                f"{self._parameter} must have {self._stacked} axes of stacked networks, then "
                f"outputs, then {size} inputs, got shape {tuple(named[self._parameter].shape)}"
            )
            raise ValueError(msg)
        return weights

    def _refuse_other_kinds(self, model: nn.Module | Mapping[str, Tensor]) -> None:
        """Raise ValueError for a layer whose weights are not (outputs, inputs)."""
        if not isinstance(model, nn.Module):
            return
        layer = model.get_submodule(self._parameter.rpartition(".")[0])
        kinds = (nn.Linear, *CONVOLUTIONS)
        if not isinstance(layer, kinds):
            msg = (
                f"layer must be a {', '.join(kind.__name__ for kind in kinds)}, whose weights are "
                f"(outputs, inputs), got a {type(layer).__name__}; of other layers give the "
                f"weights by name, {{{self._parameter!r}: (outputs, inputs)}}"
            )
            raise ValueError(msg)  # noqa: TRY004  # bad input is a ValueError throughout

    def _groups(self, model: nn.Module | Mapping[str, Tensor]) -> int:
        """Groups of a convolution whose inputs were given group by group, else 1."""
        if not isinstance(model, nn.Module) or self.eigen.directions.ndim != 3:
            return 1
        layer = model.get_submodule(self._parameter.rpartition(".")[0])
        if not isinstance(layer, CONVOLUTIONS):
            return 1
        given, window, _ = self.eigen.directions.shape
        fits = given == layer.groups and layer.weight[0].numel() == window
        return given if fits else 1

    def _refuse_images(self, model: nn.Module | Mapping[str, Tensor], weights: Tensor) -> None:
        """Raise ValueError for a convolution unless the inputs are its flattened patches."""
        window = weights.shape[self._stacked + 1 :]
        convolution = len(window) > 1
        if isinstance(model, nn.Module):
            layer = model.get_submodule(self._parameter.rpartition(".")[0])
            convolution = isinstance(layer, CONVOLUTIONS)
            window = weights.shape[1:] if convolution else window
        size = self.eigen.directions.shape[-2]
        if convolution and (window.numel() != size or self.eigen.directions.ndim > 2):
            msg = (
                f"{self._parameter} is a convolution, and only dense layers are read on whole "
                f"images: its inputs must be flattened patches, shape (patches, {window.numel()}), "
                f"got directions of shape {self.eigen.directions.shape}; "
                "theory.ntk.representations(model, images, layer) cuts them"
            )
            raise ValueError(msg)
