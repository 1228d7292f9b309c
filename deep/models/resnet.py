"""ResNet-18 and ResNet-34 for small images: four groups of blocks after a 3 by 3 stem.

The groups are those of He et al. 2016, Table 1; the stem is one 3 by 3 convolution with stride 1
and no pooling, as is usual for images of 32 by 32.
"""

from dataclasses import dataclass

import numpy as np

from deep.models.cifar_resnet import ResNet, Stem, groups
from deep.models.convolutional import initialize, linear
from deep.models.network import Inputs, image
from theory import checks

NAMED = {"resnet18": {"depth": 18}, "resnet34": {"depth": 34}}
"""Networks that have a name of their own, by their options."""

BLOCKS = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3]}
CHANNELS = [64, 64, 128, 256, 512]


@dataclass(frozen=True, slots=True)
class Options:
    """Defaults: ResNet-18."""

    depth: int = 18
    """Layers: 18 or 34."""

    def __post_init__(self) -> None:
        if checks.integer("depth", self.depth) not in BLOCKS:
            msg = f"depth must be 18 or 34, got {self.depth}"
            raise ValueError(msg)


def build(options: Options, inputs: Inputs, classes: int, rng: np.random.Generator) -> ResNet:
    """The network at its initialization: `initialize`, biases of the head as torch draws them.

    That is torchvision's, whose convolutions are drawn by their fan-out too. ``inputs`` is the
    shape of the images, of any sides, or the size of flattened square ones of one channel or
    three.

    >>> network = build(Options(), 64, 10, np.random.default_rng(0))
    >>> network.taps
    ('stem', 'group1', 'group2', 'group3', 'group4', 'pooled', 'logits')

    Raises:
        ValueError: If ``inputs`` is a number, and not of square images of one channel or three.
    """
    shape = image(inputs)
    network = ResNet(
        shape,
        stem=Stem(shape[2], CHANNELS[0]),
        groups=groups(CHANNELS, BLOCKS[options.depth], strides=[1, 2, 2, 2], shortcut="projection"),
        head=linear(CHANNELS[-1], classes),
        widest=CHANNELS[0],
    )
    initialize(network, rng, head_bias="uniform")
    return network
