"""Distributions at the corners of the simplex, and networks as functions of flat weights."""

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st

from tests.strategies import generators
from theory.labels.dynamics import tangent_kernel
from theory.labels.softmax import softmax

CORNERS = (
    (0.5, 0.5),
    (0.5, 0.5, 0.0, 0.0),
    (1.0, 0.0, 0.0),
    (1.0, 1e-20, 1e-20, 0.0),
    (1.0, 5e-324, 0.0),
    (0.25, 0.25, 0.25, 0.25),
    (0.1, 0.2, 0.2, 0.2, 0.3),
    (0.5, 0.25 + 2**-53, 0.25),
    (1.0, 1e-300, 1e-155, 1e-154, 1e-16),
)


@st.composite
def rows(draw, *, most=11):
    """Distributions over 2 to ``most`` classes: spread, peaked, tied, with zeros, subnormal."""
    corners = [c for c in CORNERS if len(c) <= most]
    if draw(st.integers(0, 3)) == 0:
        return np.array(draw(st.sampled_from(corners)))
    rng = draw(generators())
    classes = draw(st.integers(2, most))
    z = draw(st.sampled_from((0.0, 1e-9, 1.0, 10.0, 300.0))) * rng.standard_normal(classes)
    if draw(st.booleans()):
        z[rng.integers(classes)] = z[rng.integers(classes)]
    q = softmax(z)
    if draw(st.booleans()):
        q[rng.integers(classes)] = 0.0
    return q / q.sum() if q.sum() > 0 else np.full(classes, 1.0 / classes)


def psd(rng, size):
    """A random positive semi-definite matrix."""
    root = rng.standard_normal((size, size))
    return root @ root.T


@dataclass(frozen=True, eq=False)
class Network:
    """Logits as a function of flat weights, in float64, differentiable by torch.func."""

    name: str
    inputs: int
    classes: int
    hidden: int = 0

    @property
    def size(self):
        if not self.hidden:
            return self.classes * self.inputs
        return self.hidden * (self.inputs + 1) + self.classes * (self.hidden + 1)

    def weights(self, rng):
        return torch.as_tensor(rng.standard_normal(self.size) * 0.7)

    def __call__(self, w, x):
        """Logits (K,) of one input (inputs,)."""
        if not self.hidden:
            return w.reshape(self.classes, self.inputs) @ x
        sizes = (self.hidden * self.inputs, self.hidden, self.classes * self.hidden, self.classes)
        first, shift, second, last = torch.split(w, sizes)
        inside = torch.tanh(first.reshape(self.hidden, -1) @ x + shift)
        return second.reshape(self.classes, -1) @ inside + last

    def jacobian(self, w, x):
        """Derivative of the logits in the weights, (K, d)."""
        return torch.func.jacrev(self)(w, x)

    def loss(self, w, x, p):
        """Cross-entropy with the target p."""
        return -(p * torch.log_softmax(self(w, x), dim=-1)).sum()

    def prediction(self, w, x, temperature=1.0):
        return torch.softmax(self(w, x) / temperature, dim=-1)


LINEAR = Network("linear", 5, 3)
MLP = Network("two layers", 4, 3, hidden=6)
NETWORKS = (LINEAR, MLP)


@dataclass(frozen=True, eq=False)
class Pair:
    """Weights, an observed input o, an input u to train on, and its target."""

    network: Network
    w: torch.Tensor
    o: torch.Tensor
    u: torch.Tensor
    p: torch.Tensor

    @classmethod
    def draw(cls, network, seed):
        rng = np.random.default_rng(seed)
        inputs = [torch.as_tensor(rng.standard_normal(network.inputs)) for _ in range(2)]
        target = torch.as_tensor(rng.dirichlet(np.ones(network.classes)))
        return cls(network, network.weights(rng), *inputs, target)

    def gradient(self):
        return torch.func.grad(self.network.loss)(self.w, self.u, self.p)

    def kernel(self, first, second):
        return tangent_kernel(*(self.network.jacobian(self.w, x) for x in (first, second)))

    def residual(self):
        return (self.p - self.network.prediction(self.w, self.u)).numpy()

    def observed(self, shift=None, temperature=1.0):
        """The prediction on o after the weights moved by ``shift``."""
        w = self.w if shift is None else self.w + shift
        return self.network.prediction(w, self.o, temperature).numpy()


def slope(rates, errors):
    """Of the logarithms."""
    return float(np.polyfit(np.log(rates), np.log(errors), 1)[0])
