r"""A small dense network in numpy, with its kernel, and its second derivative along a step.

.. math:: h_0 = x, \quad a_l = W_l h_{l-1} + b_l, \quad h_l = \varphi(a_l), \quad z = a_L

Everything is exact and done for many samples at once. The kernel of layered networks needs no
Jacobian in the weights,

.. math:: K(o, u) = \sum_l \left( h_{l-1}(o)^\top h_{l-1}(u) + 1 \right) B_l(o) B_l(u)^\top,
          \qquad B_l = \partial z / \partial a_l,

with the 1 where there are biases.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np

from theory.checks import Array

ACTIVATIONS = ("tanh", "relu")


@dataclass(frozen=True, slots=True, eq=False)
class Mlp:
    """Weights, layer by layer; a step gives a new one."""

    weights: tuple[Array, ...]
    """(outputs, inputs) of each layer."""
    biases: tuple[Array, ...]
    """(outputs,) of each layer; none for a network without biases."""
    activation: str = "relu"
    """``"relu"`` or ``"tanh"``."""

    @classmethod
    def draw(cls, rng: np.random.Generator, sizes: tuple[int, ...], activation: str) -> Self:
        """Weights and biases uniform on +-1/sqrt(inputs), as torch draws them."""
        weights, biases = [], []
        for n, out in pairwise(sizes):
            weights.append(rng.uniform(-1, 1, (out, n)) / np.sqrt(n))
            biases.append(rng.uniform(-1, 1, out) / np.sqrt(n))
        return cls(tuple(weights), tuple(biases), activation)

    def _layers(self) -> list[tuple[Array, Array | float]]:
        biases = self.biases or (0.0,) * len(self.weights)
        return list(zip(self.weights, biases, strict=True))

    def forward(self, x: Array) -> tuple[list[Array], Array]:
        """Inputs of every layer, (samples, n) each and x first, and logits (samples, K)."""
        inputs = [x]
        *hidden, (last, shift) = self._layers()
        for weight, bias in hidden:
            before = inputs[-1] @ weight.T + bias
            inputs.append(np.maximum(before, 0) if self.activation == "relu" else np.tanh(before))
        return inputs, inputs[-1] @ last.T + shift

    def logits(self, x: Array) -> Array:
        """Shape (samples, K)."""
        return self.forward(x)[1]

    def _slope(self, after: Array) -> Array:
        """Derivative of the activation, from its value."""
        return (after > 0).astype(np.float64) if self.activation == "relu" else 1 - after**2

    def sensitivities(self, inputs: list[Array]) -> list[Array]:
        """dz/da of every layer, (samples, K, n) each."""
        outputs = len(self.weights[-1])
        found = [np.broadcast_to(np.eye(outputs), (len(inputs[0]), outputs, outputs))]
        for weight, after in zip(self.weights[:0:-1], inputs[:0:-1], strict=True):
            found.append((found[-1] @ weight) * self._slope(after)[:, None, :])
        return found[::-1]

    def kernel(self, first: Array, second: Array) -> Array:
        """K(o, u) of all pairs, shape (first, second, K, K)."""
        one, two = self.forward(first)[0], self.forward(second)[0]
        bias = 1.0 if self.biases else 0.0
        total: Array | float = 0.0
        for h, g, b, c in zip(
            one, two, self.sensitivities(one), self.sensitivities(two), strict=True
        ):
            block = np.tensordot(b, c, axes=(2, 2))  # (first, K, second, K)
            total = total + (h @ g.T + bias)[:, None, :, None] * block
        return np.ascontiguousarray(np.swapaxes(total, 1, 2))

    def moved(self, inputs: list[Array], residuals: Array, rate: float) -> Self:
        """After a step of gradient descent: ``rate`` times the mean of J^T r over the samples."""
        back = residuals / len(residuals)
        weights, biases = [], []
        for layer in range(len(self.weights) - 1, -1, -1):
            weights.append(self.weights[layer] + rate * back.T @ inputs[layer])
            if self.biases:
                biases.append(self.biases[layer] + rate * back.sum(axis=0))
            if layer:
                back = (back @ self.weights[layer]) * self._slope(inputs[layer])
        return type(self)(tuple(weights[::-1]), tuple(biases[::-1]), self.activation)

    def along(self, other: Self, x: Array) -> tuple[Array, Array]:
        """First and second derivative of the logits on the way to ``other``, (samples, K) each."""
        h, first, second = x, np.zeros_like(x), np.zeros_like(x)
        last = len(self.weights) - 1
        ways = zip(self._layers(), other._layers(), strict=True)
        for layer, ((weight, bias), (weight_to, bias_to)) in enumerate(ways):
            turn, shift = weight_to - weight, bias_to - bias
            second = second @ weight.T + 2 * first @ turn.T
            first = first @ weight.T + h @ turn.T + shift
            if layer < last:
                h = h @ weight.T + bias
                h = np.maximum(h, 0) if self.activation == "relu" else np.tanh(h)
                slope = self._slope(h)
                bend = 0.0 if self.activation == "relu" else -2 * h * slope
                first, second = slope * first, bend * first**2 + slope * second
        return first, second
