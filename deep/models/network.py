"""What every network here offers to loops, ensembles and projections."""

from abc import abstractmethod
from math import isqrt, prod
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from theory import checks

Shape = tuple[int, int, int]
"""Height, width and channels of an image."""
Inputs = int | Shape
"""How many numbers an input has, or the shape of the image that it is, flattened."""


class Network(nn.Module):
    """A classifier whose never-changing part can be computed once.

    ``forward(x)`` is ``trained(frozen(x))``. Where inputs are not augmented, a loop calls `frozen`
    once for all samples and steps through `trained` only.
    """

    taps: ClassVar[tuple[str, ...]] = ("logits",)
    """Names of the representations that `features` returns, in the order of computation."""
    public_names: ClassVar[tuple[tuple[str, str], ...]] = ()
    """What public code calls the modules: patterns of theirs, and ours (`deep.models.foreign`)."""

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


def size(inputs: Inputs) -> int:
    """How many numbers an input has.

    >>> size(64), size((8, 32, 3))
    (64, 768)
    """
    return prod(inputs) if isinstance(inputs, tuple) else inputs


def image(inputs: Inputs) -> Shape:
    """Height, width and channels of images: as they are given, or of squares with so many numbers.

    >>> image((8, 32, 1)), image(64), image(3072)
    ((8, 32, 1), (8, 8, 1), (32, 32, 3))

    Raises:
        ValueError: If a shape is not three numbers >= 1, or only how many numbers there are is
            given and these are not square images with one channel or three.
    """
    if isinstance(inputs, tuple):
        if len(tuple(inputs)) != 3:
            msg = f"inputs must be height, width and channels of images, got {inputs}"
            raise ValueError(msg)
        height, width, channels = (checks.integer("inputs", one, minimum=1) for one in inputs)
        return height, width, channels
    for colors in (1, 3):
        side = isqrt(inputs // colors) if inputs > 0 else 0
        if inputs > 0 and colors * side**2 == inputs:
            return side, side, colors
    msg = (
        "inputs must be square images of one channel or three, d = s^2 or 3 s^2, got "
        f"d = {inputs}; give height, width and channels of others"
    )
    raise ValueError(msg)


def maps(inputs: Tensor, shape: Shape) -> Tensor:
    """Flattened images (n, d) of ``shape``, height, width and channels, as (n, c, h, w).

    A view: pixels whose channels stand side by side already lie as ``torch.channels_last`` has it.

    Raises:
        ValueError: If the images have another size.
    """
    height, width, colors = shape
    if inputs.ndim != 2 or inputs.shape[1] != height * width * colors:
        msg = (
            f"inputs must have shape (n, {height * width * colors}), images of {height} by {width} "
            f"by {colors} flattened with the channels last, got {tuple(inputs.shape)}"
        )
        raise ValueError(msg)
    return inputs.reshape(-1, height, width, colors).permute(0, 3, 1, 2)
