"""Convolutions in one to three dimensions, plain and transposed."""

from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from theory.ntk.arrays import slices
from theory.ntk.engine.factors import Factor, Meeting, Patched, Rows
from theory.ntk.windows import margins, padded

_PATCHES = 1 << 24
"""Bytes of patches made at a time: they should stay in the cache."""


class Convolution:
    """Rule of `nn.Conv1d`, `nn.Conv2d` and `nn.Conv3d` with all their options."""

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
        """The kernel from patches of the input, the bias from sums over positions."""
        del shared
        found: list[Factor] = []
        if "weight" in names:
            found.append(Patches(module, seen, cotangents))
        if "bias" in names:
            found.append(Rows(cotangents.flatten(3).sum(-1)))
        return found


class Transposed:
    """Rule of transposed convolutions: input and cotangent exchange their roles."""

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
        """The kernel from patches of the cotangent, the bias from sums over positions."""
        del shared
        found: list[Factor] = []
        if "weight" in names:
            found.append(Spread(module, seen, cotangents))
        if "bias" in names:
            found.append(Rows(cotangents.flatten(3).sum(-1)))
        return found


class Patches(Patched):
    """Inputs (N, C_in, …) and cotangents (K, N, C, …) of a convolution."""

    def __init__(self, module: Any, seen: Tensor, cotangents: Tensor) -> None:  # noqa: ANN401
        super().__init__(
            cotangents,
            samples=len(seen),
            outputs=len(cotangents),
            channels=cotangents.shape[2],
            width=module.weight[0].numel(),
            positions=cotangents.shape[3:].numel(),
        )
        self.module, self.seen = module, seen
        self.pulled = cotangents.flatten(3).transpose(0, 1)
        self.spatial = module.groups == 1

    def write_jacobian(self, samples: slice, channels: slice, out: Tensor) -> None:
        """Cotangents times patches, group by group, shape (n, K, c, D)."""
        pulled = self.pulled[samples, :, channels]
        count, outputs, width, positions = pulled.shape
        first = range(self.channels)[channels].start
        each = self.module.groups * self.width * positions * pulled.element_size()
        for part in slices(0, count, max(1, _PATCHES // each)):
            seen = patches(self.seen[samples][part], self.module)
            if self.module.groups == 1:
                flat = pulled[part].reshape(-1, outputs * width, positions)
                torch.bmm(flat, seen.mT, out=out[part].view(-1, outputs * width, self.width))
                continue
            seen = seen.view(len(seen), self.module.groups, self.width, positions)
            for group, own in _grouped(first, width, self.channels // self.module.groups):
                out[part, :, own] = pulled[part, :, own] @ seen[:, None, group].mT

    def meeting(self, other: Patched, others: slice) -> Meeting:
        """Inner products of patches."""
        right = patches(cast("Patches", other).seen[others], self.module)
        count, width, positions = right.shape
        right = right.mT.reshape(count * positions, width)

        def met(n: int, skip: int) -> Tensor:
            own = patches(self.seen[n : n + 1], self.module)[0]
            return torch.mm(right[skip * positions :], own).view(-1, positions, own.shape[1])

        return met

    def cotangents(self, samples: slice) -> Tensor:
        """Shape (n, K, S, C)."""
        return self.pulled[samples].mT


class Spread(Patched):
    """Inputs (N, C_in, …) and cotangents (K, N, C, …) of a transposed convolution."""

    spatial = False

    def __init__(self, module: Any, seen: Tensor, cotangents: Tensor) -> None:  # noqa: ANN401
        super().__init__(
            cotangents,
            samples=len(seen),
            outputs=len(cotangents),
            channels=seen.shape[1],
            width=module.weight[0].numel(),
            positions=seen.shape[2:].numel(),
        )
        self.module, self.seen, self.pulled = module, seen, cotangents.transpose(0, 1)

    def write_jacobian(self, samples: slice, channels: slice, out: Tensor) -> None:
        """Inputs times patches of the cotangents, group by group, shape (n, K, c, D)."""
        seen = self.seen[samples, channels]
        count, width = seen.shape[:2]
        seen = seen.reshape(count, 1, width, -1)
        first = range(self.channels)[channels].start
        each = self.outputs * self.module.groups * self.width * self.positions
        for part in slices(0, count, max(1, _PATCHES // (each * seen.element_size()))):
            pulled = self.pulled[samples][part].flatten(0, 1)
            spread = patches(pulled, self.module, positions=self.seen.shape[2:])
            shape = (-1, self.outputs, self.module.groups, self.width, self.positions)
            spread = spread.reshape(shape)
            for group, own in _grouped(first, width, self.channels // self.module.groups):
                out[part, :, own] = seen[part, :, own] @ spread[:, :, group].mT


def patches(
    images: Tensor,
    module: Any,  # noqa: ANN401 - a convolution of any dimension
    positions: tuple[int, ...] | None = None,
) -> Tensor:
    """What each position of a convolution sees, shape (n, channels times window, positions).

    Args:
        images: Shape (n, channels, …).
        module: The convolution, plain or transposed.
        positions: How many positions along each axis, where some at the end are not used.
    """
    window, step, gap = module.kernel_size, module.stride, module.dilation
    before, after = zip(*margins(module), strict=True)
    zeros = module.padding_mode == "zeros"
    if len(window) == 2 and zeros and before == after and positions is None:
        return F.unfold(images, window, dilation=gap, padding=before, stride=step)
    images = padded(images, module)
    for axis, (size, stride, dilation) in enumerate(zip(window, step, gap, strict=True)):
        images = images.unfold(2 + axis, (size - 1) * dilation + 1, stride)[..., ::dilation]
    axes = len(window)
    if positions is not None:
        images = images[(slice(None), slice(None), *(slice(0, count) for count in positions))]
    order = (0, 1, *range(2 + axes, 2 + 2 * axes), *range(2, 2 + axes))
    found = images.permute(order)
    return found.reshape(found.shape[0], found.shape[1 : 2 + axes].numel(), -1)


def _grouped(first: int, width: int, each: int) -> list[tuple[int, slice]]:
    """Which of ``width`` channels from ``first`` on belong to which group of ``each``."""
    last = first + width
    inner = range((first // each + 1) * each, last, each)
    return [
        (start // each, slice(start - first, stop - first))
        for start, stop in pairwise([first, *inner, last])
    ]
