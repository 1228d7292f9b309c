"""Residual networks for small images: three groups of equal blocks of two convolutions.

Depth 6 n + 2 has n blocks a group, with 16, 32 and 64 channels, halving the maps between groups
(He et al. 2016, section 4.2). ``width`` 4 is what papers call resnet8x4 and resnet32x4.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from deep.models.convolutional import Residual, convolution, initialize, linear, norm
from deep.models.network import Inputs, image
from theory import checks

NAMED = {
    "resnet8": {"depth": 8},
    "resnet14": {"depth": 14},
    "resnet20": {"depth": 20},
    "resnet32": {"depth": 32},
    "resnet44": {"depth": 44},
    "resnet56": {"depth": 56},
    "resnet110": {"depth": 110},
    "resnet8x4": {"depth": 8, "width": 4},
    "resnet32x4": {"depth": 32, "width": 4},
}
"""Networks that have a name of their own, by their options."""


@dataclass(frozen=True, slots=True)
class Options:
    """Defaults: resnet20 as the CIFAR tables of Zhou 2021 and of the CRD protocol have it."""

    depth: int = 20
    """Layers, 6 n + 2: 8, 14, 20 and on."""
    width: int = 1
    """Factor on the channels of the groups; the stem has 16, or 8 times the factor if more."""
    shortcut: str = "projection"
    """Where a block changes the size: ``"projection"``, a 1 by 1 convolution with normalization
    (He's option B, as RepDistiller), or ``"padding"``, every second pixel and channels of zeros,
    half of them before and half after (option A, as He et al. 2016)."""

    def __post_init__(self) -> None:
        checks.integer("width", self.width, minimum=1)
        checks.integer("depth", self.depth, minimum=8)
        if self.depth % 6 != 2:
            msg = f"depth must be 6 n + 2, such as 8, 14, 20, 32, 44, 56 or 110, got {self.depth}"
            raise ValueError(msg)
        checks.choice("shortcut", self.shortcut, ("projection", "padding"))


class Convolved(nn.Sequential):
    """``convolution`` and ``norm``."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.convolution = convolution(inputs, outputs, kernel=kernel, stride=stride)
        self.norm = norm(outputs)


class Stem(Convolved):
    """Convolution, normalization, ReLU."""

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102
        maps: Tensor = self.norm(self.convolution(inputs))
        return maps.relu_()


class Padding(nn.Module):
    """Every ``stride``-th pixel, with channels of zeros before and after."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.around = (0, 0, 0, 0, before, after)
        self.stride = stride

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102
        return functional.pad(inputs[:, :, :: self.stride, :: self.stride], self.around)


class Block(nn.Module):
    """Two convolutions, each normalized; ReLU between, and after the sum with the shortcut."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, shortcut: str) -> None:
        super().__init__()
        self.convolution1 = convolution(inputs, outputs, stride=stride)
        self.norm1 = norm(outputs)
        self.convolution2 = convolution(outputs, outputs)
        self.norm2 = norm(outputs)
        self.shortcut: nn.Module | None = None
        if (inputs, stride) != (outputs, 1) and shortcut == "projection":
            self.shortcut = Convolved(inputs, outputs, kernel=1, stride=stride)
        elif (inputs, stride) != (outputs, 1):
            more = outputs - inputs
            self.shortcut = Padding(more // 2, more - more // 2, stride)

    def forward(self, inputs: Tensor) -> Tensor:  # noqa: D102
        # in place is safe after normalization: its gradient asks for its input only
        maps: Tensor = self.norm1(self.convolution1(inputs)).relu_()
        maps = self.norm2(self.convolution2(maps))
        maps += inputs if self.shortcut is None else self.shortcut(inputs)
        return maps.relu_()


class ResNet(Residual):
    """`Block` in groups; all taps but ``pooled`` and ``logits`` are maps after ReLU."""

    public_names: ClassVar[tuple[tuple[str, str], ...]] = (
        # RepDistiller, mdistiller, torchvision; akamaster's and kuangliu's linear and shortcut
        (r"conv1", "stem.convolution"),
        (r"bn1", "stem.norm"),
        (r"layer(\d)\.(\d+)\.conv([12])", r"group\1.\2.convolution\3"),
        (r"layer(\d)\.(\d+)\.bn([12])", r"group\1.\2.norm\3"),
        (r"layer(\d)\.(\d+)\.(?:downsample|shortcut)\.0", r"group\1.\2.shortcut.convolution"),
        (r"layer(\d)\.(\d+)\.(?:downsample|shortcut)\.1", r"group\1.\2.shortcut.norm"),
        (r"fc|linear", "head"),
    )


def groups(
    channels: list[int], blocks: list[int], *, strides: list[int], shortcut: str
) -> list[nn.Module]:
    """Groups of `Block`; ``channels`` begins with those of the stem."""
    made: list[nn.Module] = []
    for number, count in enumerate(blocks):
        before, after = channels[number : number + 2]
        first = Block(before, after, stride=strides[number], shortcut=shortcut)
        rest = [Block(after, after, stride=1, shortcut=shortcut) for _ in range(count - 1)]
        made.append(nn.Sequential(first, *rest))
    return made


def build(options: Options, inputs: Inputs, classes: int, rng: np.random.Generator) -> ResNet:
    """The network at its initialization: `initialize`, biases of the head as torch draws them.

    That is RepDistiller's. ``inputs`` is the shape of the images, or the size of flattened square
    ones of one channel or three; any sides will do: 8 gives last maps of 2 by 2, 32 of 8 by 8.

    >>> network = build(Options(depth=8), 3072, 10, np.random.default_rng(0))
    >>> network.taps, sum(weights.numel() for weights in network.parameters())
    (('stem', 'group1', 'group2', 'group3', 'pooled', 'logits'), 78042)

    Raises:
        ValueError: If ``inputs`` is a number, and not of square images of one channel or three.
    """
    shape = image(inputs)
    channels = [max(16, 8 * options.width), *(n * options.width for n in (16, 32, 64))]
    network = ResNet(
        shape,
        stem=Stem(shape[2], channels[0]),
        groups=groups(
            channels,
            [(options.depth - 2) // 6] * 3,
            strides=[1, 2, 2],
            shortcut=options.shortcut,
        ),
        head=linear(channels[-1], classes),
        widest=max(channels[:2]),
    )
    initialize(network, rng, head_bias="uniform")
    return network
