"""Dense network with ReLU: ``depth`` hidden layers of ``width``."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from torch import Tensor, nn

from deep.models.network import Inputs, Network, dense, size
from theory import checks


@dataclass(frozen=True, slots=True)
class Options:
    """Defaults: the MLP of Nagarajan 2023, Table 7."""

    width: int = 1000
    """Units in each hidden layer."""
    depth: int = 2
    """Hidden layers; 0 gives a linear classifier."""
    bias: bool = True
    """Biases from the second layer on."""
    first_bias: bool = False
    """A bias in the first layer: without it, its weights on the eigendirections say all."""
    init: str = "uniform"
    """Weights of all layers: ``"uniform"`` (torch's), ``"he"`` or ``"lecun"``; biases are 0."""

    def __post_init__(self) -> None:
        checks.count("width", self.width, minimum=1)
        checks.count("depth", self.depth)
        checks.choice("init", self.init, ("uniform", "he", "lecun"))


class Mlp(Network):
    """Layers ``layers.0`` to ``layers.<depth>``; taps ``hidden1`` and on, then ``logits``."""

    def __init__(self, layers: list[nn.Linear]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        hidden = (f"hidden{number}" for number in range(1, len(layers)))
        self.taps = (*hidden, "logits")  # type: ignore[misc]  # depends on the depth

    def features(self, frozen: Tensor) -> tuple[Tensor, ...]:
        """Hidden representations after ReLU, then the logits."""
        taps = []
        for layer in self.layers[:-1]:
            frozen = layer(frozen).relu()
            taps.append(frozen)
        return (*taps, self.layers[-1](frozen))

    def dense_chain(self) -> tuple[str, ...]:
        """All layers."""
        return tuple(f"layers.{number}" for number in range(len(self.layers)))


def build(options: Options, inputs: Inputs, classes: int, rng: np.random.Generator) -> Mlp:
    """The network at its initialization.

    >>> network = build(Options(width=8), 4, 3, np.random.default_rng(0))
    >>> network.taps, [tuple(layer.weight.shape) for layer in network.layers]
    (('hidden1', 'hidden2', 'logits'), [(8, 4), (8, 8), (3, 8)])
    """
    sizes = [size(inputs), *[options.width] * options.depth, classes]
    return Mlp(
        [
            dense(
                before,
                after,
                rng,
                init=options.init,
                bias=options.first_bias if number == 0 else options.bias,
            )
            for number, (before, after) in enumerate(pairwise(sizes))
        ]
    )
