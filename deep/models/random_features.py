r"""ReLU random features with a trained linear head: :math:`z = H \max(0, s W x)`.

The entries of W are N(0, 1/d) and never trained. There is no factor :math:`p^{-1/2}`: with Adam the
scale of the features changes the effective rate, so it is an option.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from deep.models.network import Inputs, Network, dense, size
from theory import checks


@dataclass(frozen=True, slots=True)
class Options:
    """Defaults: Nagarajan 2023, Table 7."""

    features: int = 5000
    """Number p of random features."""
    scale: float = 1.0
    """Factor s on the features."""
    head: str = "zero"
    """Initial head: ``"zero"``, or ``"uniform"``, ``"he"``, ``"lecun"`` as in `dense`."""

    def __post_init__(self) -> None:
        checks.count("features", self.features, minimum=1)
        checks.positive("scale", self.scale)
        checks.choice("head", self.head, ("zero", "uniform", "he", "lecun"))


class RandomFeatures(Network):
    """Buffer ``projection`` (p, d), layer ``head`` without bias; taps ``features``, ``logits``."""

    taps: ClassVar[tuple[str, ...]] = ("features", "logits")
    projection: Tensor

    def __init__(self, projection: Tensor, head: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("projection", projection)
        self.head = head

    def frozen(self, inputs: Tensor) -> Tensor:
        """The random features, shape (n, p)."""
        return (inputs @ self.projection.T).relu()

    def features(self, frozen: Tensor) -> tuple[Tensor, ...]:
        """The random features, then the logits."""
        return frozen, self.head(frozen)

    def dense_chain(self) -> tuple[str, ...]:
        """The head."""
        return ("head",)


def build(
    options: Options, inputs: Inputs, classes: int, rng: np.random.Generator
) -> RandomFeatures:
    """The network at its initialization; the features are drawn first.

    >>> network = build(Options(features=8), 4, 3, np.random.default_rng(0))
    >>> tuple(network.projection.shape), tuple(network.head.weight.shape)
    ((8, 4), (3, 8))
    """
    seen = size(inputs)
    drawn = rng.standard_normal((options.features, seen)) * (options.scale * seen**-0.5)
    head = dense(options.features, classes, rng, init=options.head, bias=False)
    return RandomFeatures(torch.from_numpy(drawn).float(), head)
