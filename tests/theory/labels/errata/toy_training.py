"""Small networks on the Gaussian toy, trained side by side in plain numpy."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from theory.labels import mixture
from theory.labels.softmax import softmax


@dataclass(frozen=True)
class Toy:
    """Samples of three parts with their posteriors."""

    x: dict
    labels: dict
    truth: dict
    bayes: float

    @classmethod
    def draw(cls, seed, train, test=20_000):
        rng = np.random.default_rng(seed)
        sizes = {"train": train, "valid": train, "test": test}
        drawn = mixture.sample(rng, sum(sizes.values()))
        truth = mixture.posterior(drawn.x, drawn.means)
        cuts = np.cumsum([train, train])
        parts = [dict(zip(sizes, np.split(a, cuts), strict=True)) for a in (*drawn[:2], truth)]
        return cls(*parts, mixture.bayes_accuracy(drawn.means))

    def accuracy(self, part, predictions):
        return (predictions.argmax(axis=-1) == self.labels[part]).mean(axis=-1)


def forward(weights, x):
    """Activations of every layer, the last without its bend."""
    hidden = [np.broadcast_to(x, (len(weights[0][0]), *x.shape[-2:]))]
    for number, (matrix, bias) in enumerate(weights):
        hidden.append(hidden[-1] @ matrix + bias)
        if number < len(weights) - 1:
            np.maximum(hidden[-1], 0, out=hidden[-1])
    return hidden


def paths(toy, targets, *, epochs, rate, width=64, seed=0, momentum=0.9, batch=32):
    """Predictions on all parts after every epoch, of one network for each table of targets.

    All start alike and see the same batches: arrays (epochs, tables, samples, classes) by part.
    """
    rng = np.random.default_rng(seed)
    sizes = (toy.x["train"].shape[1], width, width, 3)
    weights = []
    for rows, columns in pairwise(sizes):
        start = rng.uniform(-1, 1, (rows + 1, columns)) / np.sqrt(rows)
        copies = np.repeat(start[None].astype(np.float32), len(targets), axis=0)
        weights.append((copies[:, :-1].copy(), copies[:, -1:].copy()))
    velocity = [tuple(np.zeros_like(part) for part in layer) for layer in weights]
    tables = np.asarray(targets, np.float32)
    x = {part: values.astype(np.float32) for part, values in toy.x.items()}
    seen = {part: [] for part in x}
    for _ in range(epochs):
        for rows in rng.permutation(len(x["train"])).reshape(-1, batch):
            hidden = forward(weights, x["train"][rows])
            likely = np.exp(hidden[-1] - hidden[-1].max(axis=-1, keepdims=True))
            slope = (likely / likely.sum(axis=-1, keepdims=True) - tables[:, rows]) / batch
            for number in reversed(range(len(weights))):
                gradient = hidden[number].transpose(0, 2, 1) @ slope, slope.sum(1, keepdims=True)
                if number:
                    slope = (slope @ weights[number][0].transpose(0, 2, 1)) * (hidden[number] > 0)
                for layer, moving, step in zip(
                    weights[number], velocity[number], gradient, strict=True
                ):
                    np.multiply(moving, momentum, out=moving)
                    np.add(moving, step, out=moving)
                    np.subtract(layer, rate * moving, out=layer)
        for part in x:
            seen[part].append(softmax(forward(weights, x[part])[-1]))
    return {part: np.array(values) for part, values in seen.items()}
