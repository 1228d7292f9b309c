"""What is measured, and the goals. Standard library and NumPy only: every engine reads it."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

MLP_WIDTHS = (784, 1000, 1000, 10)
TINY_WIDTHS = (4, 8, 8, 2)
CHANNELS, CONVOLUTIONS, SIDE, CLASSES = 100, 3, 32, 10

STRUCTURED, CONTRACTION = "structured derivatives", "Jacobian contraction"


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table."""

    name: str
    network: str
    """``mlp``, ``tiny``, or three convolutions: ``cnn3`` and ``cnn6`` by the kernel's side."""
    samples: int
    quantity: str
    """``full``, ``trace``, or ``product`` (the full kernel times one vector)."""
    dtype: str = "float32"
    goal: float | None = None
    """At least so many times as fast as neural-tangents."""
    stretch: float | None = None
    """What would be better still."""
    tutorial_goal: float | None = None
    """At least so many times as fast as the tutorial's way."""
    modes: tuple[str, ...] = (STRUCTURED,)
    """The implementations of neural-tangents that are tried; the faster counts."""
    block: int = 0
    """Samples in the block on which the tutorial's way is timed; 0: it is timed on all."""
    memory: int | None = None
    """Bytes that our temporaries may take; None: the default."""

    @property
    def convolutional(self):
        return self.network.startswith("cnn")


BOTH = (STRUCTURED, CONTRACTION)
CASES = (
    Case("mlp full 128", "mlp", 128, "full", goal=2.1, stretch=2.2, tutorial_goal=1000, block=8),
    Case("mlp full 512", "mlp", 512, "full", goal=4.0, stretch=4.5, tutorial_goal=1000, block=8),
    Case("mlp trace 128", "mlp", 128, "trace", goal=1.1, stretch=1.3, tutorial_goal=1000, block=8),
    Case("mlp trace 512", "mlp", 512, "trace", goal=1.6, stretch=2.0, tutorial_goal=1000, block=8),
    Case(
        "cnn3 full 32",
        "cnn3",
        32,
        "full",
        goal=2.9,
        stretch=4.0,
        tutorial_goal=6,
        modes=BOTH,
        block=8,
    ),
    Case(
        "cnn6 full 32",
        "cnn6",
        32,
        "full",
        goal=2.3,
        stretch=3.0,
        tutorial_goal=6,
        modes=BOTH,
        block=8,
    ),
    Case(
        "cnn3 trace 32",
        "cnn3",
        32,
        "trace",
        goal=2.5,
        stretch=3.5,
        tutorial_goal=6,
        modes=BOTH,
        block=8,
    ),
    Case("mlp product 2048", "mlp", 2048, "product", goal=1.8, stretch=2.0),
    Case("cnn3 product 256", "cnn3", 256, "product", goal=2.6, stretch=3.0),
    Case("mlp full 512 float64", "mlp", 512, "full", "float64", stretch=4.0),
    Case("cnn3 full 32 float64", "cnn3", 32, "full", "float64", stretch=10.0),
)
TINY = Case("tiny network, one call", "tiny", 4, "full")
TINY_SECONDS = 0.4e-3
GROWTH = tuple(
    Case(f"mlp trace {count}", "mlp", count, "trace", memory=2**28) for count in (1024, 2048, 4096)
)
"""The largest is the goal of minutes; the smaller ones show how time and memory grow."""


def named(name):
    """The case of this name."""
    return {case.name: case for case in (*CASES, TINY, *GROWTH)}[name]


def parameters(case):
    """Weights (out, in) or (out, in, k, k) and biases, of variance 2 / fan-in and 0.01."""
    rng = np.random.default_rng(0)

    def layer(*shape):
        weight = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        return weight.astype(case.dtype), (0.1 * rng.standard_normal(shape[0])).astype(case.dtype)

    if not case.convolutional:
        widths = TINY_WIDTHS if case.network == "tiny" else MLP_WIDTHS
        return [layer(b, a) for a, b in pairwise(widths)]
    k = int(case.network[3:])
    inward = (3, *[CHANNELS] * (CONVOLUTIONS - 1))
    features = CHANNELS * (SIDE >> CONVOLUTIONS) ** 2
    return [*(layer(CHANNELS, c, k, k) for c in inward), layer(CLASSES, features)]


def inputs(case, samples=None):
    """Standard normal inputs, (N, features) or (N, 3, 32, 32)."""
    count = case.samples if samples is None else samples
    one = (TINY_WIDTHS[0],) if case.network == "tiny" else (MLP_WIDTHS[0],)
    shape = (count, 3, SIDE, SIDE) if case.convolutional else (count, *one)
    return np.random.default_rng(1).standard_normal(shape).astype(case.dtype)


def vector(case):
    """What the kernel is multiplied with, (N, K)."""
    shape = (case.samples, CLASSES)
    return np.random.default_rng(2).standard_normal(shape).astype(case.dtype)


def probe(shape):
    """Indices of up to 256 entries on which engines are compared."""
    count = int(np.prod(shape))
    return np.unravel_index(np.random.default_rng(3).integers(0, count, min(count, 256)), shape)
