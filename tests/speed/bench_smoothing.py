"""Soft labels of a whole data set: 50,000 samples of 100 classes, a million strengths."""

import numpy as np

from tests.speed.register import bench
from theory.labels import smoothing
from theory.labels.losses import lsrkd, mrkd

SAMPLES, CLASSES = 50_000, 100


def networks(count=1):
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=SAMPLES)
    logits = 3 * rng.standard_normal((count, SAMPLES, CLASSES))
    logits[:, np.arange(SAMPLES), labels] += 15.0
    return logits, labels


def over_samples(title, work, seconds=1.0):
    """A row for work on the logits and labels of all samples."""

    def prepare():
        (logits,), labels = networks()
        return {"stillroom": lambda: work(logits, labels)}

    prepare.__module__ = __name__
    bench(f"{title}, 50,000 x 100", seconds=seconds, repeats=3)(prepare)


over_samples("teacher correction", lambda z, y: smoothing.teacher_correction(z, y, 0.6, 3.0))
over_samples("pruning to half of the classes", lambda z, _: smoothing.prune(z, 50, 2.0))
over_samples("weights of the posterior", lambda z, _: smoothing.map_distillation(z, 0.1, 4.0))
over_samples("label smoothing", lambda _, y: smoothing.smooth(y, CLASSES, 0.1))
over_samples(
    "targets of Beta smoothing",
    lambda z, y: smoothing.beta_targets(
        np.linspace(0, 1, SAMPLES), smoothing.ranking_scores(z), y, CLASSES
    ),
)
over_samples("LsrKD with its gradient", lsrkd, seconds=1.5)


@bench("MrKD of three copies with its gradient, 50,000 x 100", seconds=4.0, repeats=3)
def replay():
    logits, labels = networks(4)
    return {"stillroom": lambda: mrkd(logits[0], labels, logits[1:])}


@bench("temperature of a mean label mass, 50,000 x 100", seconds=5.0, repeats=1)
def matching():
    (logits,), labels = networks()
    return {"stillroom": lambda: smoothing.temperature_for_mass(logits, labels, 0.625)}


@bench("optimum of the entropy penalty, a million strengths", seconds=3.0, repeats=3)
def lambert():
    beta = np.geomspace(1e-3, 1e3, 10**6)
    return {"stillroom": lambda: smoothing.entropy_penalty_optimum(beta, CLASSES)}


@bench("optimum of the entropy penalty against a bracketed root, 2,000 strengths", at_least=25)
def lambert_against_brentq():
    from scipy.optimize import brentq

    beta = np.geomspace(0.1, 100, 2000)

    def roots():
        return [
            brentq(lambda p, b=b: b * np.log(p * 99 / (1 - p)) - 1 / p, 0.010001, 1 - 1e-12)
            for b in beta
        ]

    np.testing.assert_allclose(roots(), smoothing.entropy_penalty_optimum(beta, 100), rtol=1e-6)
    return {"brentq": roots, "stillroom": lambda: smoothing.entropy_penalty_optimum(beta, 100)}


@bench("order statistics of a million draws", seconds=2.0, repeats=3)
def order_statistics():
    ranks = np.arange(1, 10**6 + 1)
    return {"stillroom": lambda: smoothing.beta_order_mean(ranks, 10**6, 5 / 3)}
