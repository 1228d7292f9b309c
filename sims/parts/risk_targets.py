"""A finite space of inputs, a fixed predictor on it, and the targets it may be trained with."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theory.labels.mixture import posterior, sample
from theory.labels.risk import brier_loss, clipped_cross_entropy, zero_one_loss
from theory.labels.softmax import softmax, temper

Array = NDArray[np.float64]

LOSSES = ("brier", "zero_one", "cross_entropy")
SPACES = ("toy", "dirichlet")

_CLIP = 0.01  # least probability of the clipped cross-entropy
_VIEWS = 16  # predictions that a stochastic teacher chooses from


@dataclass(frozen=True, slots=True)
class Setting:
    """What the space is made of."""

    space: str
    inputs: int
    classes: int
    loss: str
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """Equally likely inputs, their posterior, and the losses of a predictor."""

    p: Array
    """Shape ``(inputs,)``."""
    truth: Array
    """Shape ``(inputs, classes)``."""
    losses: Array
    bound: float


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """The targets that an input may get, and how likely each is."""

    label: str
    group: str
    """``"labels"``, ``"functions"`` of the input, or a random ``"teacher"``."""
    strength: float
    """Mass of smoothing; nan where it is something else."""
    drawn: Array
    """Shape ``(inputs, M, classes)``."""
    weights: Array
    """Shape ``(inputs, M)``."""


def space(setting: Setting) -> Space:
    """Draw the inputs; the predictor is the posterior, softened and blurred."""
    rng = np.random.default_rng(setting.seed)
    if setting.space == "toy":
        x, _, means = sample(rng, setting.inputs, setting.classes)
        truth = posterior(x, means)
    else:
        truth = rng.dirichlet(np.full(setting.classes, 0.5), setting.inputs)
    logits = np.log(np.maximum(truth, 1e-12)) / 1.5
    predicted = softmax(logits + 0.5 * rng.standard_normal(truth.shape))
    if setting.loss == "brier":
        losses, bound = brier_loss(predicted)
    elif setting.loss == "zero_one":
        losses, bound = zero_one_loss(predicted)
    else:
        losses, bound = clipped_cross_entropy(predicted, _CLIP)
    return Space(np.full(setting.inputs, 1 / setting.inputs), truth, losses, bound)


def family(setting: Setting, smoothing: tuple[float, ...]) -> list[Targets]:
    """Labels, functions of the input and random teachers, the same for the same setting."""
    rng = np.random.default_rng([setting.seed, 1])
    truth = space(setting).truth
    uniform = np.full_like(truth, 1 / setting.classes)
    found = [_labels("one-hot labels", truth, 0.0)]
    found += [_labels(f"smoothed by {mass:g}", truth, mass) for mass in smoothing]
    for rate in (0.1, 0.3):
        flipped = (1 - rate) * truth + rate * uniform
        found.append(_labels(f"labels, {100 * rate:g} % redrawn", flipped, np.nan))
    found.append(_function("the true posterior", truth))
    found += [_function(f"posterior at τ = {tau:g}", temper(truth, tau)) for tau in (0.5, 2.0, 4.0)]
    for noise in (0.1, 0.5):
        blurred = np.maximum(truth + noise * rng.standard_normal(truth.shape), 1e-12)
        blurred /= blurred.sum(axis=1, keepdims=True)
        found.append(_function(f"posterior + noise {noise:g}", blurred))
    logits = np.log(np.maximum(truth, 1e-12))[:, None]
    for noise in (0.5, 2.0):
        blur = noise * rng.standard_normal((setting.inputs, _VIEWS, setting.classes))
        views = np.full((setting.inputs, _VIEWS), 1 / _VIEWS)
        label = f"random teacher, noise {noise:g}"
        found.append(Targets(label, "teacher", np.nan, softmax(logits + blur), views))
    return found


def _labels(label: str, drawn_from: Array, mass: float) -> Targets:
    """One-hot labels, smoothed by ``mass`` where it is one."""
    inputs, classes = drawn_from.shape
    smooth = 0.0 if np.isnan(mass) else mass
    corners = (1 - smooth) * np.eye(classes) + smooth / classes
    drawn = np.broadcast_to(corners, (inputs, classes, classes))
    return Targets(label, "labels", mass, drawn, drawn_from)


def _function(label: str, target: Array) -> Targets:
    return Targets(label, "functions", np.nan, target[:, None], np.ones((len(target), 1)))
