"""What is known of every sample of a comparison: confidences, predictions, divergences, scores."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sims.parts.comparison_inputs import Networks
from theory.labels.confidence import (
    binary_kl,
    complement,
    confidence,
    entropy,
    jensen_shannon,
    kl_divergence,
    total_variation,
)
from theory.labels.softmax import softmax

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """One network on every sample; all arrays have shape (seeds, n)."""

    confidence: Floats
    """Log-odds of the class that the teacher prefers."""
    prediction: Whole
    """The class it prefers; of equal logits, the lowest."""
    top: Floats
    """Probability of that class."""
    entropy: Floats
    """In nats."""
    confidence_true: Floats
    """Log-odds of the true class; nan without labels."""
    brier: Floats
    """Squared distance of the probabilities from the one-hot label; nan without labels."""


@dataclass(frozen=True, slots=True, eq=False)
class Divergences:
    """The student from its teacher on every sample; all arrays have shape (seeds, n)."""

    kl: Floats
    """Of the student from the teacher, in nats."""
    reverse_kl: Floats
    """Of the teacher from the student, in nats."""
    jensen_shannon: Floats
    """At most ln 2."""
    total_variation: Floats
    """In [0, 1]."""
    binary_kl: Floats
    """Of the class that the teacher prefers against all others."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """All that is kept of the logits."""

    networks: dict[str, Network]
    """By role."""
    divergences: Divergences
    """Of the student from the teacher."""
    labels: Whole | None
    """Shape (seeds, n)."""

    def right(self, role: str) -> NDArray[np.bool_]:
        """Where a network prefers the true class."""
        assert self.labels is not None  # noqa: S101  # asked for only where there are labels
        return np.asarray(self.networks[role].prediction == self.labels)


def samples(given: Networks, temperature: float) -> Samples:
    """Every sample looked at, some rows at a time: what is kept does not grow with the classes."""
    shape = given.shape[:2]
    found = {
        role: Network(*(_unknown(shape, field.name) for field in fields(Network)))
        for role in given.logits
    }
    apart = Divergences(*(np.empty(shape) for _ in fields(Divergences)))
    for seed, rows in given.blocks():
        z = {
            role: np.asarray(logits[seed, rows], dtype=np.float64) / temperature
            for role, logits in given.logits.items()
        }
        preferred = np.argmax(z["teacher"], axis=-1)
        truth = None if given.labels is None else given.labels[seed, rows]
        for role, logits in z.items():
            _look(found[role], (seed, rows), logits, preferred, truth)
        pair = z["teacher"], z["student"]
        apart.kl[seed, rows] = kl_divergence(*pair)
        apart.reverse_kl[seed, rows] = kl_divergence(*pair[::-1])
        apart.jensen_shannon[seed, rows] = jensen_shannon(*pair)
        apart.total_variation[seed, rows] = total_variation(*pair)
        apart.binary_kl[seed, rows] = binary_kl(*pair)
    return Samples(found, apart, given.labels)


def _unknown(shape: tuple[int, int], name: str) -> NDArray[Any]:
    return np.full(shape, -1, np.int64) if name == "prediction" else np.full(shape, np.nan)


def _look(
    into: Network,
    at: tuple[int, slice],
    logits: Floats,
    preferred: Whole,
    truth: Whole | None,
) -> None:
    """Fill in what one network does on some rows."""
    shares = softmax(logits)
    into.confidence[at] = confidence(logits, preferred)
    into.prediction[at] = np.argmax(logits, axis=-1)
    into.top[at] = shares.max(axis=-1)
    into.entropy[at] = entropy(logits)
    if truth is None:
        return
    phi = confidence(logits, truth)
    into.confidence_true[at] = phi
    np.put_along_axis(shares, truth[:, None], complement(phi)[:, None], axis=-1)
    into.brier[at] = np.square(shares).sum(axis=-1)
