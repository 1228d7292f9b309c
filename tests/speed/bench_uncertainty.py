"""Calibration and diversity of 50,000 samples of 100 classes."""

import numpy as np

from tests.speed.register import bench
from theory.labels.uncertainty import (
    adaptive_calibration_error,
    confidence_diversity,
    expected_calibration_error,
    knn_entropy,
    predictions,
)

SAMPLES, CLASSES = 50_000, 100


def network():
    rng = np.random.default_rng(0)
    return 5 * rng.standard_normal((SAMPLES, CLASSES)), rng.integers(0, CLASSES, SAMPLES)


def by_sample(confidence, correct, bins=10):
    """Equation 5 of Ren et al. 2022 in plain Python, sample after sample into its bin."""
    count, hits, total = [0] * bins, [0.0] * bins, [0.0] * bins
    for sure, right in zip(confidence, correct, strict=True):
        place = min(int(max(sure - 1e-6, 0.0) * bins), bins - 1)
        count[place] += 1
        hits[place] += right
        total[place] += sure
    gaps = (abs(h - t) for n, h, t in zip(count, hits, total, strict=True) if n)
    return sum(gaps) / len(confidence)


@bench("calibration error of 50,000 x 100 logits", seconds=1)
def calibration_of_logits():
    z, y = network()
    return {"stillroom": lambda: expected_calibration_error(*predictions(z, y))}


@bench("calibration error against a Python loop into bins", at_least=20)
def calibration_against_loop():
    rng = np.random.default_rng(0)
    confidence = rng.random(SAMPLES)
    correct = rng.random(SAMPLES) < confidence
    return {
        "a Python loop": lambda: by_sample(confidence, correct),
        "stillroom": lambda: expected_calibration_error(confidence, correct),
    }


@bench("adaptive calibration error of 50,000 confidences", seconds=1)
def adaptive():
    rng = np.random.default_rng(0)
    confidence = rng.random(SAMPLES)
    correct = rng.random(SAMPLES) < confidence
    return {"stillroom": lambda: adaptive_calibration_error(confidence, correct)}


@bench("kNN entropy of 50,000 values", seconds=1)
def neighbors():
    values = np.random.default_rng(0).random(SAMPLES)
    return {"stillroom": lambda: knn_entropy(values)}


@bench("confidence diversity of 50,000 x 100 logits", seconds=1)
def diversity():
    z, y = network()
    return {"stillroom": lambda: confidence_diversity(z, y)}
