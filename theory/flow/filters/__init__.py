"""Every training scheme as a spectral filter: what it has learned along each eigendirection."""

from theory.flow.filters.averaging import FilterKD, MeanTeacher, TrajectoryAverage
from theory.flow.filters.base import Filter, Learned, Mixture, Parallel, Product
from theory.flow.filters.discrete import DiscreteTrajectoryAverage, GradientDescent, InSteps
from theory.flow.filters.flow import Generations, GradientFlow, Mixed, MixedFixedPoint, Shrinkage
from theory.flow.filters.replay import MemoryReplay
from theory.flow.filters.ridge import ConstrainedRounds, Ridge, RidgeRounds, constrained_rounds
from theory.flow.filters.switching import DistillThenLabels, LabelsThenDistill
from theory.flow.filters.targets import AffineTargets

__all__ = [
    "AffineTargets",
    "ConstrainedRounds",
    "DiscreteTrajectoryAverage",
    "DistillThenLabels",
    "Filter",
    "FilterKD",
    "Generations",
    "GradientDescent",
    "GradientFlow",
    "InSteps",
    "LabelsThenDistill",
    "Learned",
    "MeanTeacher",
    "MemoryReplay",
    "Mixed",
    "MixedFixedPoint",
    "Mixture",
    "Parallel",
    "Product",
    "Ridge",
    "RidgeRounds",
    "Shrinkage",
    "TrajectoryAverage",
    "constrained_rounds",
]
