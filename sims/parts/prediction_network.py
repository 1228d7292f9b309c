"""A ReLU network of two hidden layers in two parametrizations, and many of it trained at once."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

PARAMETRIZATIONS = ("ntk", "standard")


class ScaledMlp(nn.Module):
    r"""Layers :math:`h_{l + 1} = \mathrm{relu}(c_l W_l h_l)` without biases; the last is linear.

    With Gaussian weights of variance 2 over the number of inputs in effect (1 over it in the last
    layer), which stands in :math:`c_l` in the NTK parametrization (Jacot et al. 2018) and in the
    variance of :math:`W_l`, with :math:`c_l = 1`, in the standard one. Both start as the same
    function, and their kernels differ by the factors :math:`c_l^2` of the layers.

    Args:
        weights: Effective weights :math:`c_l W_l`, one matrix a layer.
        parametrization: ``"ntk"`` or ``"standard"``.
    """

    def __init__(self, weights: Sequence[Tensor], parametrization: str) -> None:
        super().__init__()
        self.scales = layer_scales([w.shape[1] for w in weights], parametrization)
        layers = []
        for weight, scale in zip(weights, self.scales, strict=True):
            layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, dtype=weight.dtype)
            layer.weight = nn.Parameter(weight / scale)
            layers.append(layer)
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (n, K) of inputs (n, d)."""
        last = len(self.layers) - 1
        for number, (layer, scale) in enumerate(zip(self.layers, self.scales, strict=True)):
            x = layer(x * scale)
            if number < last:
                x = torch.relu(x)
        return x


def layer_scales(inputs: Sequence[int], parametrization: str) -> tuple[float, ...]:
    """Factors of the layers with so many inputs each.

    >>> layer_scales((2, 8, 4), "ntk")
    (1.0, 0.5, 0.5)
    """
    if parametrization == "standard":
        return (1.0,) * len(inputs)
    gains = [2.0] * (len(inputs) - 1) + [1.0]
    return tuple(float(np.sqrt(gain / size)) for gain, size in zip(gains, inputs, strict=True))


def draw_weights(
    rng: np.random.Generator, sizes: Sequence[int], dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """Effective weights at initialization for layers of ``sizes``."""
    scales = layer_scales(sizes[:-1], "ntk")
    return [
        torch.from_numpy(scale * rng.standard_normal((after, before))).to(dtype)
        for before, after, scale in zip(sizes[:-1], sizes[1:], scales, strict=True)
    ]


class Networks:
    """Copies of one network side by side, each with its own targets: a `Learner`.

    Their outputs are counted from the initial ones and multiplied by ``scale`` (Chizat et al.
    2019): large scales are lazy, small ones learn features. Descent is on
    :math:`|f - y|^2 / (2 n)`, or on the cross-entropy where residuals are of probabilities, in the
    parameters that the parametrization names.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        inputs: tuple[Tensor, Tensor],
        *,
        members: int,
        step_size: float,
        parametrization: str,
        scale: float = 1.0,
    ) -> None:
        self.inputs, self.scale = inputs, scale
        factors = layer_scales([w.shape[1] for w in weights], parametrization)
        self.steps = [step_size * factor**2 * scale / len(inputs[0]) for factor in factors]
        self.weights = [w.expand(members, *w.shape).clone() for w in weights]
        self._start = [_forward([w[None] for w in weights], x)[-1] for x in inputs]
        self._hidden: list[Tensor] = []
        self.keeps = False
        """Whether the weights of the first member are kept whenever test outputs are read."""
        self.kept: list[list[Tensor]] = []

    def outputs(self) -> Tensor:
        """On the training inputs, counted from the start, shape (members, n, K)."""
        self._hidden = _forward(self.weights, self.inputs[0])
        return (self._hidden[-1] - self._start[0]) * self.scale

    def test_outputs(self) -> Tensor:
        """On the test inputs, likewise."""
        if self.keeps:
            self.kept.append([weight[0].clone() for weight in self.weights])
        return (_forward(self.weights, self.inputs[1])[-1] - self._start[1]) * self.scale

    def push(self, residuals: Tensor) -> None:
        """One step of descent from the outputs that were read last."""
        slope = residuals
        for number in reversed(range(len(self.weights))):
            weight = self.weights[number]
            below = (
                self._hidden[number - 1] if number else self.inputs[0].expand(len(weight), -1, -1)
            )
            gradient = torch.bmm(slope.transpose(1, 2), below)
            if number:
                slope = torch.bmm(slope, weight).mul_(below > 0)
            weight.sub_(gradient, alpha=self.steps[number])


def _forward(weights: Sequence[Tensor], x: Tensor) -> list[Tensor]:
    """Outputs of all layers, ReLU taken of all but the last, shape (members, n, h) each."""
    first = weights[0]
    # one wide product for the layer whose inputs all members share
    wide = x @ first.flatten(0, 1).T
    layers = [wide.view(len(x), *first.shape[:2]).transpose(0, 1)]
    for weight in weights[1:]:
        layers[-1] = torch.relu(layers[-1])
        layers.append(torch.bmm(layers[-1], weight.transpose(1, 2)))
    return layers
