"""`torch.nn.Linear`, at one position or along a sequence."""

from typing import cast

import torch
from torch import Tensor, nn

from theory.ntk.engine.factors import Factor, Meeting, Outer, Patched, Rows


class Dense:
    """Rule of `nn.Linear`."""

    def applies(self, module: nn.Module) -> bool:
        """Always."""
        del module
        return True

    def factors(
        self,
        module: nn.Module,
        seen: Tensor,
        cotangents: Tensor,
        names: frozenset[str],
        *,
        shared: bool,
    ) -> list[Factor]:
        """An outer product for inputs (N, D); a sum of them for (N, …, D)."""
        del module
        weight, bias = "weight" in names, "bias" in names
        if seen.ndim == 2 and weight and not shared:
            return [Outer(seen, cotangents, bias=bias)]
        pulled = cotangents.expand(-1, len(seen), *cotangents.shape[2:])
        pulled = pulled.reshape(*pulled.shape[:2], -1, pulled.shape[-1])
        found: list[Factor] = []
        if weight:
            found.append(Along(seen.reshape(len(seen), -1, seen.shape[-1]), pulled))
        if bias:
            found.append(Rows(pulled.sum(2)))
        return found


class Along(Patched):
    """A dense layer along S positions, with inputs (N, S, D) and cotangents (K, N, S, C)."""

    def __init__(self, seen: Tensor, cotangents: Tensor) -> None:
        super().__init__(
            cotangents,
            samples=len(seen),
            outputs=len(cotangents),
            channels=cotangents.shape[-1],
            width=seen.shape[-1],
            positions=seen.shape[1],
        )
        self.seen, self.pulled = seen, cotangents.transpose(0, 1)

    def write_jacobian(self, samples: slice, channels: slice, out: Tensor) -> None:
        """Sums over positions of cotangent times input, shape (n, K, c, D)."""
        torch.matmul(self.pulled[samples, ..., channels].mT, self.seen[samples, None], out=out)

    def meeting(self, other: Patched, others: slice) -> Meeting:
        """Inner products of inputs."""
        right = cast("Along", other).seen[others]
        return lambda n, skip: right[skip:] @ self.seen[n].mT

    def cotangents(self, samples: slice) -> Tensor:
        """Shape (n, K, S, C)."""
        return self.pulled[samples]
