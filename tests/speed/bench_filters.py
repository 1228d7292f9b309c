"""Gains of every scheme for a million eigenvalues: in half a second, in little memory."""

import numpy as np

from tests.speed.register import bench
from theory.flow.filters import (
    DiscreteTrajectoryAverage,
    DistillThenLabels,
    FilterKD,
    Generations,
    GradientDescent,
    GradientFlow,
    LabelsThenDistill,
    MeanTeacher,
    MemoryReplay,
    Mixed,
    MixedFixedPoint,
    Ridge,
    RidgeRounds,
    Shrinkage,
    TrajectoryAverage,
)

COUNT = 10**6

SCHEMES = {
    "gradient flow": GradientFlow(3.0),
    "ridge": Ridge(1.0),
    "ridge rounds": RidgeRounds((1.0, 2.0, 3.0)),
    "a thousand generations": Generations((3.0,) * 1000),
    "five different generations": Generations((1.0, 2.0, 3.0, 4.0, 5.0)),
    "fifty mixed generations": Generations((2.0,) * 50, 0.3),
    "mixed": Mixed(1.0, 2.0, 0.5),
    "fixed point of mixed generations": MixedFixedPoint(2.0, 0.5),
    "trajectory average": TrajectoryAverage(1.0, 2.0),
    "filter-kd": FilterKD(1.0, 1.0, 2.0),
    "distill, then labels": DistillThenLabels(1.0, 2.0, 3.0),
    "distill, then labels, over a window": DistillThenLabels(1.0, 2.0, 3.0, 0.5),
    "labels, then distill": LabelsThenDistill(1.0, 2.0, 3.0),
    "labels, then distill, over a window": LabelsThenDistill(1.0, 2.0, 3.0, 0.5),
    "memory replay of 50 intervals": MemoryReplay(1.0, 50.0, 0.5),
    "memory replay of 50 intervals, 3 copies": MemoryReplay(1.0, 50.0, 0.5, 3),
    "memory replay of 50 000 intervals, 3 copies": MemoryReplay(1e-3, 50.0, 0.5, 3),
    "mean teacher": MeanTeacher(1.0, 2.0, 0.5),
    "shrinkage": Shrinkage(1.0, 0.2, 3.0),
    "gradient descent": GradientDescent(0.1, 1000),
    "gradient descent with momentum": GradientDescent(0.1, 1000, 0.9),
    "gradient descent with Nesterov's momentum": GradientDescent(0.1, 1000, 0.9, nesterov=True),
    "discrete trajectory average": DiscreteTrajectoryAverage(0.1, 0.2, 50),
}


def spectrum():
    return np.logspace(-6, 1, COUNT)


def timed(filter):
    def prepare():
        lam = spectrum()
        return {"stillroom": lambda: filter.gain(lam)}

    return prepare


def weighed(view):
    def prepare():
        lam = spectrum()

        def work():
            for filter in SCHEMES.values():
                getattr(filter, view)(lam)

        return {"stillroom": work}

    return prepare


def registered(prepare, *, title, **goal):
    """The row, in this module's name: the command line selects rows by their file."""
    prepare.__module__ = __name__
    return bench(title, **goal)(prepare)


for name, scheme in SCHEMES.items():
    registered(timed(scheme), title=f"a million gains of {name}", seconds=0.5, repeats=3)
for view in ("gain", "shortfall", "effective_time"):
    title = f"memory of a million values of {view}, every scheme"
    registered(weighed(view), title=title, peak_bytes=12 * 8 * COUNT)
