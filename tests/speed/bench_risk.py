"""Bounds and errors of many problems at once, and intervals by resampling."""

import numpy as np

from tests.speed.register import bench
from theory.labels.risk import risk_bounds, target_risk_error
from theory.statistics import bootstrap_interval, rank_correlation

PROBLEMS, INPUTS, CLASSES = 10_000, 5, 10


def problems(count=PROBLEMS):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(INPUTS), count)
    target, truth = rng.dirichlet(np.full(CLASSES, 0.5), (2, count, INPUTS))
    return p, target, truth, rng.random((count, INPUTS, CLASSES))


@bench("published and sharp bounds of 10,000 problems, 5 inputs of 10 classes", seconds=1.0)
def bounds():
    p, target, truth, _ = problems()

    def work():
        for constants in ("published", "sharp"):
            risk_bounds(p, target, truth, 1.0, constants)

    return {"stillroom": work}


@bench("bounds of 1,000 problems at once against one by one", at_least=30.0, repeats=3)
def bounds_at_once():
    p, target, truth, _ = problems(1000)

    def one_by_one():
        for one in zip(p, target, truth, strict=True):
            risk_bounds(*one, 1.0)

    return {
        "stillroom": lambda: risk_bounds(p, target, truth, 1.0),
        "a loop over problems": one_by_one,
    }


@bench("exact error of 10,000 problems, 5 inputs of 10 classes", seconds=0.2)
def errors():
    data = problems()
    return {"stillroom": lambda: target_risk_error(*data, 100)}


@bench("BCa, 2,000 resamples of the mean of 10,000 numbers", seconds=2.0, repeats=3)
def bca():
    values = np.random.default_rng(0).exponential(size=10_000)
    return {
        "stillroom": lambda: bootstrap_interval(
            values, rng=np.random.default_rng(1), method="bca", resamples=2000
        )
    }


@bench("rank correlation of 50,000 pairs with its interval", seconds=0.2)
def ranks():
    x, y = np.random.default_rng(0).normal(size=(2, 50_000))
    return {"stillroom": lambda: rank_correlation(x, y)}
