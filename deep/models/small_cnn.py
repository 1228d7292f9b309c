"""Small convolutional network: equal blocks of convolution, ReLU and max-pooling, then one layer.

The sizes are those of Nagarajan 2023, Table 7. What the table leaves open is chosen here: images
keep their size through a convolution (zeros around; an even kernel has the odd row and column at
the bottom and right), pooling drops what does not fill a window.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from deep.models.network import Inputs, Network, Shape, dense, image
from theory import checks

EVALUATED = 1024
"""Images evaluated at a time without gradients: the maps of all at once can be gigabytes."""


@dataclass(frozen=True, slots=True)
class Options:
    """Defaults: the CNN of Nagarajan 2023, Table 7."""

    channels: int = 100
    """Channels of every convolution."""
    depth: int = 3
    """Convolutions."""
    kernel: int = 6
    """Height and width of their kernels."""
    pool: int = 2
    """Height, width and stride of the max-pooling after each; 1 for none."""
    bias: bool = True
    """Biases from the second layer on."""
    first_bias: bool = False
    """A bias in the first convolution: without it, its weights on the eigendirections say all."""
    init: str = "uniform"
    """Weights of all layers: ``"uniform"`` (torch's), ``"he"`` or ``"lecun"``; biases are 0."""

    def __post_init__(self) -> None:
        for name in ("channels", "depth", "kernel", "pool"):
            checks.count(name, getattr(self, name), minimum=1)
        checks.choice("init", self.init, ("uniform", "he", "lecun"))


class SmallCnn(Network):
    """Layers ``convolutions.0`` and on, then ``head``; taps ``block1`` and on, then ``logits``."""

    def __init__(self, shape: Shape, blocks: list[nn.Conv2d], head: nn.Linear, pool: int) -> None:
        super().__init__()
        self.even = blocks[0].kernel_size[0] % 2 == 0
        self.shape = shape
        """Height, width and channels of the images."""
        self.convolutions = nn.ModuleList(blocks)
        self.head = head
        self.pool = nn.MaxPool2d(pool)
        taps = (f"block{number}" for number in range(1, len(blocks) + 1))
        self.taps = (*taps, "logits")  # type: ignore[misc]  # depends on the depth

    def frozen(self, inputs: Tensor) -> Tensor:
        """Flattened images (n, d), channels last, as maps (n, channels, height, width)."""
        return inputs.reshape(len(inputs), *self.shape).permute(0, 3, 1, 2).contiguous()

    def features(self, frozen: Tensor) -> tuple[Tensor, ...]:
        """Maps after each block, shape (n, channels, height, width), then the logits."""
        taps = []
        for convolution in self.convolutions:
            if self.even:
                frozen = nn.functional.pad(frozen, (0, 1, 0, 1))
            frozen = self.pool(convolution(frozen).relu())
            taps.append(frozen)
        return (*taps, self.head(frozen.flatten(1)))

    def trained(self, frozen: Tensor) -> Tensor:
        """Logits, shape (n, classes); without gradients, some images at a time."""
        if torch.is_grad_enabled() or len(frozen) <= EVALUATED:
            return super().trained(frozen)
        parts = torch.split(frozen, EVALUATED)
        return torch.cat([self.features(part)[-1] for part in parts])


def build(options: Options, inputs: Inputs, classes: int, rng: np.random.Generator) -> SmallCnn:
    """The network at its initialization.

    ``inputs`` is the shape of the images, or the size of flattened square ones of one channel or
    three.

    >>> network = build(Options(channels=8, kernel=3), 64, 10, np.random.default_rng(0))
    >>> network.taps, [tuple(layer.weight.shape) for layer in network.convolutions]
    (('block1', 'block2', 'block3', 'logits'), [(8, 1, 3, 3), (8, 8, 3, 3), (8, 8, 3, 3)])

    Raises:
        ValueError: If ``inputs`` is a number, and not of square images of one channel or three, or
            pooling leaves nothing of the images.
    """
    shape = image(inputs)
    height, width, colors = shape
    left = [side // options.pool**options.depth for side in (height, width)]
    if min(left) < 1:
        msg = (
            f"depth must be small enough for {options.pool}-fold pooling to leave something of "
            f"images of {height} by {width}, got {options.depth}"
        )
        raise ValueError(msg)
    blocks = [
        _convolution(colors if number == 0 else options.channels, options, rng, first=number == 0)
        for number in range(options.depth)
    ]
    seen = options.channels * left[0] * left[1]
    head = dense(seen, classes, rng, init=options.init, bias=options.bias)
    return SmallCnn(shape, blocks, head, options.pool)


def _convolution(
    channels: int, options: Options, rng: np.random.Generator, *, first: bool
) -> nn.Conv2d:
    """A convolution with weights drawn as those of a dense layer on its patches."""
    kernel = options.kernel
    drawn = dense(
        channels * kernel**2,
        options.channels,
        rng,
        init=options.init,
        bias=options.first_bias if first else options.bias,
    )
    layer = nn.Conv2d(
        channels,
        options.channels,
        kernel,
        padding=(kernel - 1) // 2,
        bias=drawn.bias is not None,
        device="meta",
    ).to_empty(device="cpu")
    with torch.no_grad():
        layer.weight.copy_(drawn.weight.view_as(layer.weight))
        if layer.bias is not None:
            layer.bias.copy_(drawn.bias)
    return layer
