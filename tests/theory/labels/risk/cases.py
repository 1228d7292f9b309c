"""Problems on finite spaces of inputs: ordinary ones, and those at which formulas break."""

import itertools
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from tests.strategies import generators, powers_of_ten

TINY = (0.0, 0.0, 5e-324, 5.9e-40, 1e-170, 1e-16, 1e-12)


def simplex(rng, shape, concentration):
    """Rows of a Dirichlet distribution; small concentrations give zeros and almost corners."""
    weights = rng.standard_gamma(concentration, shape)
    weights[..., 0] += weights.sum(axis=-1) == 0
    return weights / weights.sum(axis=-1, keepdims=True)


@dataclass(frozen=True, eq=False)
class Case:
    """One problem: S inputs, K classes, losses in [0, bound], or of both signs up to it."""

    p: np.ndarray
    target: np.ndarray
    truth: np.ndarray
    losses: np.ndarray
    bound: float
    samples: int

    def __repr__(self):
        parts = (f"{name}={getattr(self, name)!r}" for name in self.__dataclass_fields__)
        return f"Case({', '.join(parts)})"


@st.composite
def rows(draw, shape):
    """Distributions: even, sparse, one-hot, uniform, with entries that all but vanish."""
    rng = draw(generators())
    kind = draw(st.sampled_from(("even", "sparse", "corner", "uniform", "tiny")))
    if kind == "uniform":
        return np.full(shape, 1 / shape[-1])
    if kind == "corner":
        return np.eye(shape[-1])[rng.integers(0, shape[-1], shape[:-1])]
    found = simplex(rng, shape, 1.0 if kind == "even" else 0.1)
    if kind == "tiny":
        found[..., 1:] = rng.choice(TINY, found[..., 1:].shape)
        found[..., 0] = 1.0 - found[..., 1:].sum(axis=-1)
        found = rng.permuted(found, axis=-1)
    return found


@st.composite
def cases(draw, *, clipped=False, signed=False, most_inputs=6, most_classes=11):
    """Problems with zeros, ties and one-hot targets, or with probabilities from 1e-12."""
    inputs, classes = draw(st.integers(1, most_inputs)), draw(st.integers(2, most_classes))
    rng = draw(generators())
    target, truth = (draw(rows((inputs, classes))) for _ in range(2))
    near = draw(st.sampled_from((1.0, 1.0, 1.0, 0.1, 1e-6, 0.0)))
    target = near * target + (1 - near) * truth
    target /= target.sum(axis=-1, keepdims=True)
    p = draw(rows((inputs,))) if inputs > 1 else np.ones(1)
    if clipped:
        target, truth = (np.maximum(q, 1e-12) for q in (target, truth))
        target, truth = (q / q.sum(axis=-1, keepdims=True) for q in (target, truth))
    bound = draw(powers_of_ten(-2, 2))
    shape = draw(st.sampled_from(("any", "corners", "worst")))
    losses = rng.random((inputs, classes))
    losses = losses.round() if shape == "corners" else losses
    losses = (target > truth).astype(float) if shape == "worst" else losses
    losses = 2 * losses - 1 if signed else losses
    return Case(p, target, truth, bound * losses, bound, draw(st.integers(1, 1000)))


def enumerated(p, targets, weights, truth, losses, samples):
    """Mean squared error by going through every data set of ``samples`` inputs with their targets.

    The targets of input x are ``targets[x]`` with probabilities ``weights[x]``.
    """
    risk = sum(p[x] * (truth[x] @ losses[x]) for x in range(len(p)))
    single = [
        (p[x] * weights[x][j], targets[x][j] @ losses[x])
        for x in range(len(p))
        for j in range(len(weights[x]))
    ]
    error = 0.0
    for chosen in itertools.product(single, repeat=samples):
        chance = np.prod([one for one, _ in chosen])
        error += chance * (np.mean([term for _, term in chosen]) - risk) ** 2
    return error
