"""`torch.nn.Embedding`: two positions meet where they look up the same row."""

from typing import Any, cast

import torch
from torch import Tensor

from theory.ntk.engine.factors import Factor, Meeting, Outer, Patched


class Embedding:
    """Rule of `nn.Embedding`."""

    def applies(self, module: Any) -> bool:  # noqa: ANN401
        """Unless the layer rescales its rows, or its gradients by their frequency in the batch."""
        return module.max_norm is None and not module.scale_grad_by_freq

    def factors(
        self,
        module: Any,  # noqa: ANN401
        seen: Tensor,
        cotangents: Tensor,
        names: frozenset[str],
        *,
        shared: bool,
    ) -> list[Factor]:
        """Of indices (N,) an outer product with one-hot vectors, of (N, …) a sum of them."""
        if "weight" not in names:
            return []
        if module.padding_idx is not None:
            seen = torch.where(seen == module.padding_idx, -1, seen)
        if seen.ndim == 1 and not shared:
            return [Outer(seen, cotangents)]
        seen = seen.reshape(len(seen), -1)
        pulled = cotangents.expand(-1, len(seen), *cotangents.shape[2:])
        pulled = pulled.reshape(*pulled.shape[:2], seen.shape[1], -1)
        return [LookedUp(seen, pulled, rows=module.num_embeddings)]


class LookedUp(Patched):
    """Indices (N, S), -1 for none, and cotangents (K, N, S, C) of an embedding."""

    def __init__(self, seen: Tensor, cotangents: Tensor, *, rows: int) -> None:
        super().__init__(
            cotangents,
            samples=len(seen),
            outputs=len(cotangents),
            channels=cotangents.shape[-1],
            width=rows,
            positions=seen.shape[1],
        )
        self.meets = 1
        self.seen, self.pulled = seen, cotangents.transpose(0, 1)

    def write_jacobian(self, samples: slice, channels: slice, out: Tensor) -> None:
        """Cotangents summed row by row of the embedding, shape (n, K, c, rows)."""
        pulled = self.pulled[samples, ..., channels].mT
        seen = self.seen[samples, None, None]
        kept = pulled * (seen >= 0)
        out.zero_().scatter_add_(3, seen.clamp(min=0).expand_as(kept), kept)

    def meeting(self, other: Patched, others: slice) -> Meeting:
        """1 where two positions look up the same row."""
        right = cast("LookedUp", other).seen[others, :, None]

        def met(n: int, skip: int) -> Tensor:
            return ((right[skip:] == self.seen[n]) & (right[skip:] >= 0)).to(self.like.dtype)

        return met

    def cotangents(self, samples: slice) -> Tensor:
        """Shape (n, K, S, C)."""
        return self.pulled[samples]
