"""Wide residual networks: three groups of blocks that normalize before they convolve.

WRN-d-k has (d - 4) / 6 blocks a group, with 16 k, 32 k and 64 k channels (Zagoruyko & Komodakis
2016, Table 1), here without dropout, as RepDistiller and the tables of Zhou 2021 have them.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from deep.models.convolutional import Residual, convolution, initialize, linear, norm
from deep.models.network import Inputs, image
from theory import checks

NAMED = {
    "wrn_16_1": {"depth": 16, "width": 1},
    "wrn_16_2": {"depth": 16, "width": 2},
    "wrn_40_1": {"depth": 40, "width": 1},
    "wrn_40_2": {"depth": 40, "width": 2},
    "wrn_40_4": {"depth": 40, "width": 4},
    "wrn_16_8": {"depth": 16, "width": 8},
    "wrn_28_10": {"depth": 28, "width": 10},
}
"""Networks that have a name of their own, by their options."""


@dataclass(frozen=True, slots=True)
class Options:
    """Defaults: WRN-16-2."""

    depth: int = 16
    """Layers, 6 n + 4: 10, 16, 22 and on."""
    width: int = 2
    """Factor on the channels of the groups."""

    def __post_init__(self) -> None:
        checks.integer("width", self.width, minimum=1)
        checks.integer("depth", self.depth, minimum=10)
        if self.depth % 6 != 4:
            msg = f"depth must be 6 n + 4, such as 10, 16, 28 or 40, got {self.depth}"
            raise ValueError(msg)


class Block(nn.Module):
    """Normalization, ReLU and convolution, twice; then the sum with the shortcut."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.norm1 = norm(inputs)
        self.convolution1 = convolution(inputs, outputs, stride=stride)
        self.norm2 = norm(outputs)
        self.convolution2 = convolution(outputs, outputs)
        self.shortcut: nn.Module | None = None
        if inputs != outputs:
            self.shortcut = convolution(inputs, outputs, kernel=1, stride=stride)

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102
        # in place is safe after normalization and after convolution: their gradients ask for
        # their inputs only
        active: Tensor = self.norm1(inputs).relu_()
        maps: Tensor = self.norm2(self.convolution1(active)).relu_()
        maps = self.convolution2(maps)
        # a shortcut that changes the size begins after ReLU, one that does not, before it
        maps += inputs if self.shortcut is None else self.shortcut(active)
        return maps


class WideResNet(Residual):
    """Taps of the stem and the groups are sums, before normalization and ReLU."""

    public_names: ClassVar[tuple[tuple[str, str], ...]] = (
        # RepDistiller, mdistiller and xternalz
        (r"conv1", "stem"),
        (r"block(\d)\.layer\.(\d+)\.bn([12])", r"group\1.\2.norm\3"),
        (r"block(\d)\.layer\.(\d+)\.conv([12])", r"group\1.\2.convolution\3"),
        (r"block(\d)\.layer\.(\d+)\.convShortcut", r"group\1.\2.shortcut"),
        (r"bn1", "norm"),
        (r"fc|linear", "head"),
    )

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        stem: nn.Module,
        groups: list[nn.Module],
        head: nn.Linear,
    ) -> None:
        super().__init__(shape, stem=stem, groups=groups, head=head, widest=head.in_features // 4)
        self.norm = norm(head.in_features)

    def pooled(self, last: Tensor) -> Tensor:
        """Means over the maps of the last group after normalization and ReLU."""
        active: Tensor = self.norm(last).relu_()
        return active.mean((2, 3))


def build(options: Options, inputs: Inputs, classes: int, rng: np.random.Generator) -> WideResNet:
    """The network at its initialization: `initialize`, biases of the head at zero.

    That is RepDistiller's. ``inputs`` is the shape of the images, of any sides, or the size of
    flattened square ones of one channel or three.

    >>> network = build(Options(width=1), 3072, 10, np.random.default_rng(0))
    >>> network.taps, sum(weights.numel() for weights in network.parameters())
    (('stem', 'group1', 'group2', 'group3', 'pooled', 'logits'), 175066)

    Raises:
        ValueError: If ``inputs`` is a number, and not of square images of one channel or three.
    """
    shape = image(inputs)
    channels = [16, *(n * options.width for n in (16, 32, 64))]
    network = WideResNet(
        shape,
        stem=convolution(shape[2], channels[0]),
        groups=_groups(channels, (options.depth - 4) // 6),
        head=linear(channels[-1], classes),
    )
    initialize(network, rng, head_bias="zero")
    return network


def _groups(channels: list[int], blocks: int) -> list[nn.Module]:
    groups: list[nn.Module] = []
    for number, stride in enumerate((1, 2, 2)):
        before, after = channels[number : number + 2]
        first = Block(before, after, stride=stride)
        rest = [Block(after, after, stride=1) for _ in range(blocks - 1)]
        groups.append(nn.Sequential(first, *rest))
    return groups
