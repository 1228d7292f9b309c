"""Confidence, divergences and slopes of 50,000 samples of 100 classes, on two cores."""

import numpy as np

from tests.speed.register import bench
from theory.labels.confidence import (
    confidence_pair,
    entropy,
    exaggeration,
    exaggeration_slope,
    exaggeration_slope_interval,
    jensen_shannon,
    kl_divergence,
)

SAMPLES, CLASSES = 50_000, 100


def logits():
    rng = np.random.default_rng(0)
    teacher = 3 * rng.standard_normal((SAMPLES, CLASSES))
    return teacher, 1.3 * teacher + rng.standard_normal(teacher.shape)


def confidences(samples=SAMPLES):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(samples)
    return x, 1.2 * x + 0.5 * rng.standard_normal((2, samples))


@bench("confidence of a pair, 50,000 x 100", seconds=1.0)
def pair():
    teacher, student = logits()
    labels = np.arange(SAMPLES) % CLASSES
    return {"stillroom": lambda: confidence_pair(teacher, student, labels)}


@bench("exaggeration slope of 50,000 points", seconds=1.0)
def slope():
    x, (y, _) = confidences()
    return {"stillroom": lambda: exaggeration_slope(x, y)}


@bench("entropy of 50,000 x 100 logits", seconds=1.0)
def disorder():
    teacher, _ = logits()
    return {"stillroom": lambda: entropy(teacher)}


@bench("divergence of 50,000 x 100 logits", seconds=1.0)
def divergence():
    teacher, student = logits()
    return {"stillroom": lambda: kl_divergence(teacher, student)}


@bench("memory of the Jensen-Shannon divergence of 50,000 x 100 logits", peak_bytes=20_000_000)
def divergence_memory():
    teacher, student = logits()
    return {"stillroom": lambda: jensen_shannon(teacher, student)}


@bench("bootstrap of 1,000 slopes of 10,000 points", seconds=2.0)
def bootstrap():
    x, (y, _) = confidences(10_000)
    rng = np.random.default_rng(0)
    return {"stillroom": lambda: exaggeration_slope_interval(x, y, rng=rng)}


@bench("bootstrap of 50 slopes of 10,000 points against one slope at a time", at_least=5)
def bootstrap_beside_a_loop():
    x, (y, _) = confidences(10_000)
    rng = np.random.default_rng(0)

    def loop():
        for _ in range(50):
            index = rng.integers(0, len(x), len(x))
            exaggeration_slope(x[index], y[index])

    return {
        "loop": loop,
        "stillroom": lambda: exaggeration_slope_interval(x, y, rng=rng, resamples=50),
    }


@bench("memory of 1,000 slopes, gaps and controls of a million points", peak_bytes=600_000_000)
def bootstrap_memory():
    x, (y, control) = confidences(1_000_000)
    rng = np.random.default_rng(0)
    return {"stillroom": lambda: exaggeration(x, y, control=control, rng=rng, resamples=20)}
