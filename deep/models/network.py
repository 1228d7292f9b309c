"""What every network here offers to loops, ensembles and projections."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn


class Network(nn.Module):
    """A classifier whose never-changing part can be computed once.

    ``forward(x)`` is ``trained(frozen(x))``. Where inputs are not augmented, a loop calls `frozen`
    once for all samples and steps through `trained` only.
    """

    taps: ClassVar[tuple[str, ...]] = ("logits",)
    """Names of the representations that `features` returns, in the order of computation."""

    def frozen(self, inputs: Tensor) -> Tensor:
        """The part without trained weights, applied to inputs of shape (n, d)."""
        return inputs

    @abstractmethod
    def features(self, frozen: Tensor) -> tuple[Tensor, ...]:
        """All taps from the output of `frozen`; the last is the logits."""

    def trained(self, frozen: Tensor) -> Tensor:
        """Logits, shape (n, classes), from the output of `frozen`."""
        return self.features(frozen)[-1]

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, shape (n, classes), of inputs of shape (n, d)."""
        return self.trained(self.frozen(inputs))

    def dense_chain(self) -> tuple[str, ...] | None:
        """Names of the dense layers if `trained` is these with ReLU between, else None.

        Ensembles step such networks together.
        """
        return None


def dense(
    inputs: int, outputs: int, rng: np.random.Generator, *, init: str, bias: bool
) -> nn.Linear:
    """A dense layer with weights of ``init`` drawn from ``rng``, and biases at zero.

    ``"uniform"``: U(-a, a) with a = inputs^-1/2, as torch draws them; ``"he"``: N(0, 2 / inputs);
    ``"lecun"``: N(0, 1 / inputs); ``"zero"``.
    """
    layer = nn.Linear(inputs, outputs, bias=bias, device="meta").to_empty(device="cpu")
    shape, unit = (outputs, inputs), inputs**-0.5
    if init == "uniform":
        weights = rng.uniform(-unit, unit, shape)
    elif init == "zero":
        weights = np.zeros(shape)
    else:
        weights = rng.standard_normal(shape) * (unit * np.sqrt(2.0 if init == "he" else 1.0))
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights))
        if bias:
            layer.bias.zero_()
    return layer
