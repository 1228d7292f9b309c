"""A small teacher of real data, and what its logits say beside what they predict."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theory.labels import smoothing
from theory.labels.losses.base import tempered_cross_entropy
from theory.labels.smoothing import MapDistillation
from theory.labels.softmax import surprisal

Array = NDArray[np.float64]

WRITINGS = ("as trained", "first class at 0", "largest at 0", "log-probabilities")
"""Ways to write down the same predictions as logits: they differ by a constant a sample."""


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """Data to train a logistic regression on, and data held out."""

    X: Array
    y: NDArray[np.int64]
    held_X: Array
    held_y: NDArray[np.int64]
    classes: int
    ridge: float


def train(task: Task) -> dict[str, Array]:
    """Logits of multinomial logistic regression with an L2 penalty, on both parts of the data."""
    from scipy.optimize import minimize

    center, scale = task.X.mean(axis=0), task.X.std() or 1.0
    features = [
        np.column_stack([(part - center) / scale, np.ones(len(part))])
        for part in (task.X, task.held_X)
    ]
    shape = (features[0].shape[1], task.classes)

    def objective(flat: Array) -> tuple[float, Array]:
        weights = flat.reshape(shape)
        loss = tempered_cross_entropy(features[0] @ weights, task.y)
        value = loss.value.mean() + 0.5 * task.ridge * (weights**2).sum()
        slope = features[0].T @ loss.gradient / len(task.y) + task.ridge * weights
        return float(value), slope.ravel()

    start = np.zeros(shape[0] * shape[1])
    best = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    weights = best.x.reshape(shape)
    return {"train": features[0] @ weights, "held": features[1] @ weights}


def written(logits: Array, how: str) -> Array:
    """The same predictions as logits in another writing."""
    if how == "first class at 0":
        return np.asarray(logits - logits[:, :1])
    if how == "largest at 0":
        return np.asarray(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(0.0 - surprisal(logits)) if how == "log-probabilities" else logits


def prior(logits: Array, temperature: float, label_share: float) -> tuple[float, MapDistillation]:
    """The strength at which samples keep a given share of their label on average: log beta.

    beta itself may be beyond all numbers, for tiny temperatures.
    """
    from scipy.optimize import brentq

    def excess(log_beta: float) -> float:
        return float(np.mean(_distilled(logits, log_beta, temperature).label_share)) - label_share

    # the share of the label is 1 for beta = 0 and falls to 0
    middle = -float(np.max(logits)) / temperature
    low, high = middle - 20.0, middle + 20.0
    while excess(low) < 0:
        low -= 20.0
    while excess(high) > 0:
        high += 20.0
    log_beta = float(brentq(excess, low, high, xtol=1e-13))
    return log_beta, _distilled(logits, log_beta, temperature)


def _distilled(logits: Array, log_beta: float, temperature: float) -> MapDistillation:
    # beta exp(f / T) = exp((f + T log beta) / T)
    return smoothing.map_distillation(logits + temperature * log_beta, 1.0, temperature)


def spread(weights: Array) -> float:
    """95th over 5th percentile."""
    low, high = np.quantile(weights, [0.05, 0.95])
    return float(high / low)
