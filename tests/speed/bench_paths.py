"""Paths of 50,000 samples of 100 classes, and the accuracy of the best classifier."""

import numpy as np

from tests.speed.register import bench
from theory.labels.mixture import bayes_accuracy, draw_means, posterior, sample
from theory.labels.paths import base_difficulty, filter_table, low_pass, zigzag_score

SAMPLES, CLASSES, EPOCHS = 50_000, 100, 4


def path():
    """A few epochs only: 160 MB, and the time is proportional to them."""
    rng = np.random.default_rng(0)
    q = rng.random((EPOCHS, SAMPLES, CLASSES))
    q /= q.sum(axis=-1, keepdims=True)
    return q, rng.integers(0, CLASSES, SAMPLES)


@bench("zig-zag of 4 epochs of 50,000 x 100", seconds=1, repeats=3)
def zigzag():
    q, y = path()
    return {"stillroom": lambda: zigzag_score(q, y)}


@bench("low-pass filter over 4 epochs of 50,000 x 100", seconds=1, repeats=3)
def filtered():
    q, _ = path()
    return {"stillroom": lambda: low_pass(q, 0.05)}


@bench("table of Filter-KD from 4 epochs of 50,000 x 100", seconds=1, repeats=3)
def table():
    q, _ = path()
    return {"stillroom": lambda: filter_table(q, 0.05, init="first")}


@bench("base difficulty of 50,000 x 100", seconds=1, repeats=3)
def difficulty():
    q, y = path()
    return {"stillroom": lambda: base_difficulty(y, q[0])}


@bench("posterior of 100,000 points of the toy", seconds=1, repeats=3)
def toy():
    x, _, means = sample(np.random.default_rng(0))
    return {"stillroom": lambda: posterior(x, means)}


@bench("best accuracy among ten Gaussian classes", seconds=2, repeats=3)
def accuracy():
    means = draw_means(np.random.default_rng(0), 10)
    return {"stillroom": lambda: bayes_accuracy(means)}
