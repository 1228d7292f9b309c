"""What the convolutional families share: groups of blocks between a stem and a linear head.

Maps lie in memory with their channels side by side (``torch.channels_last``): the images come so,
and the weights are stored so. On a CPU a step then takes about two thirds of the time, with the
same numbers up to rounding.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from deep.models.network import Network, maps

LARGEST = 2**24
"""Numbers in the largest map when many images are evaluated without gradients (64 MiB)."""


class Residual(Network):
    """``stem``, ``group1`` and on, then ``head`` on the mean over each map.

    Taps: ``stem``, the groups, ``pooled`` and ``logits``. Maps have shape (n, channels, height,
    width). A tap is never changed afterwards, so that it may be kept.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        stem: nn.Module,
        groups: Sequence[nn.Module],
        head: nn.Linear,
        widest: int,
    ) -> None:
        super().__init__()
        self.shape = shape
        """Height, width and channels of the images."""
        self.part = max(1, LARGEST // (widest * shape[0] * shape[1]))
        """Images evaluated at a time without gradients."""
        self.stem = stem
        self.groups = tuple(f"group{number}" for number in range(1, len(groups) + 1))
        for name, group in zip(self.groups, groups, strict=True):
            self.add_module(name, group)
        self.head = head
        self.taps = ("stem", *self.groups, "pooled", "logits")  # type: ignore[misc]  # by depth

    def frozen(self, inputs: Tensor) -> Tensor:
        """Flattened images (n, d), channels last, as maps (n, channels, height, width): a view."""
        return maps(inputs, self.shape)

    def pooled(self, last: Tensor) -> Tensor:
        """Means over the maps of the last group, shape (n, channels)."""
        return last.mean((2, 3))

    def features(self, frozen: Tensor) -> tuple[Tensor, ...]:
        """All taps."""
        taps = [self.stem(frozen)]
        for name in self.groups:
            taps.append(getattr(self, name)(taps[-1]))
        taps.append(self.pooled(taps[-1]))
        return (*taps, self.head(taps[-1]))

    def trained(self, frozen: Tensor) -> Tensor:
        """Logits, shape (n, classes); without gradients, some images at a time.

        With statistics of the batch at hand, all images go together.
        """
        if torch.is_grad_enabled() or len(frozen) <= self.part or self._uses_batch():
            return self._logits(frozen)
        return torch.cat([self._logits(part) for part in torch.split(frozen, self.part)])

    def _logits(self, frozen: Tensor) -> Tensor:
        # not by `features`, which would hold all maps at once
        frozen = self.stem(frozen)
        for name in self.groups:
            frozen = getattr(self, name)(frozen)
        logits: Tensor = self.head(self.pooled(frozen))
        return logits

    def _uses_batch(self) -> bool:
        return any(each.training for each in self.modules() if isinstance(each, nn.BatchNorm2d))


def convolution(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias, zeros around, to be filled by `initialize`."""
    return nn.Conv2d(
        inputs,
        outputs,
        kernel,
        stride=stride,
        padding=kernel // 2,
        bias=False,
        device="meta",
    )


def norm(channels: int) -> nn.BatchNorm2d:
    """Batch normalization (epsilon 1e-5, momentum 0.1), to be filled by `initialize`."""
    return nn.BatchNorm2d(channels, device="meta")


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A dense layer with bias, to be filled by `initialize`."""
    return nn.Linear(inputs, outputs, device="meta")


def initialize(
    network: nn.Module, rng: np.random.Generator, *, head_bias: Literal["uniform", "zero"]
) -> None:
    r"""Fill ``network``, float32 on the CPU, module by module in their order.

    Convolutions: :math:`N(0, 2 / n)` with n = kernel height x width x output channels, the fan-out
    of He et al. 2015; batch normalization: factor 1, shift 0, mean 0, variance 1; dense layers:
    weights :math:`U(-a, a)` with :math:`a = inputs^{-1/2}`, as torch draws them, and biases alike
    or zero. All draws are ``rng``'s, so they do not depend on the device or on torch.
    """
    network.to_empty(device="cpu")
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # of a module
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.weight[0, 0].numel() * module.out_channels
            drawn = rng.standard_normal(tuple(module.weight.shape), dtype=np.float32)
            _fill(module.weight, drawn * np.float32((2 / fan_out) ** 0.5))
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif isinstance(module, nn.Linear):
            unit = module.in_features**-0.5
            _fill(module.weight, _uniform(rng, tuple(module.weight.shape), unit))
            spread = unit if head_bias == "uniform" else 0.0
            _fill(module.bias, _uniform(rng, (module.out_features,), spread))


def _uniform(rng: np.random.Generator, shape: tuple[int, ...], bound: float) -> np.ndarray:
    drawn = rng.random(shape, dtype=np.float32)
    return (2 * drawn - 1) * np.float32(bound)


def _fill(parameter: Tensor, values: np.ndarray) -> None:
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(values))
