r"""Training schemes with the parameters that a search for their best varies.

Parameters are searched as logarithms (weights as logits), with all times measured in one of them:
then a whole range of times is one call of a filter on scaled eigenvalues.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theory.flow import filters as f

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Coordinate:
    """One searched number: the logarithm of a ratio of times or counts, or a weight's logit."""

    low: float
    high: float
    points: int
    """Of the grid."""

    def grid(self) -> Array:
        """Its values on the grid."""
        return np.linspace(self.low, self.high, self.points)


@dataclass(frozen=True, slots=True)
class Scheme:
    """A training scheme with its searched numbers: the logarithm of a time, then shapes."""

    name: str
    label: str
    """For a reader of a figure."""
    family: str
    """``"exaggerates"``, ``"brakes"``, ``"either"`` (as its parameters are) or ``"plain"``."""
    parameters: tuple[str, ...]
    shapes: tuple[Coordinate, ...]
    natural: Callable[..., tuple[float, ...]]
    """Parameters of the filter from the time and the shapes."""
    build: Callable[..., f.Filter]
    """The filter from its parameters."""
    factors: Callable[[Array], tuple[Array, ...]] | None = None
    """Logarithms of the times of a product of flows, for points (points, coordinates): a product
    is evaluated at all its points at once."""

    def filter(self, point: Array) -> f.Filter:
        """The filter at a point of the search."""
        return self.build(*self.values(point))

    def values(self, point: Array) -> tuple[float, ...]:
        """The filter's parameters at a point of the search."""
        return tuple(float(v) for v in self.natural(np.exp(point[0]), *point[1:]))

    def gains(self, points: Array, eigenvalues: Array) -> Array:
        """Gains at many points, shape (points, modes): one filter for each distinct shape."""
        if self.factors is not None:
            flow = f.GradientFlow(1.0)
            times = self.factors(points)
            flows = [flow.gain(np.multiply.outer(np.exp(t), eigenvalues)) for t in times]
            return np.asarray(np.prod(flows, axis=0))
        out = np.empty((len(points), len(eigenvalues)))
        shapes, member = np.unique(points[:, 1:], axis=0, return_inverse=True)
        for k, shape in enumerate(shapes):
            rows = np.flatnonzero(member.ravel() == k)
            unit = self.filter(np.concatenate([[0.0], shape]))
            out[rows] = unit.gain(np.multiply.outer(np.exp(points[rows, 0]), eigenvalues))
        return out


def _logistic(x: float) -> float:
    return float(1.0 / (1.0 + np.exp(-x)))


_WEIGHT = Coordinate(-14.0, 14.0, 8)
_RATIO = Coordinate(-7.0, 7.0, 9)
_SHARE = Coordinate(-18.0, 18.0, 13)  # of the first phase in the whole, as a logit
_LATER = Coordinate(0.0, 14.0, 10)  # of two times that may be exchanged the second is the longer


def _equal(label: str, count: int) -> Scheme:
    return Scheme(
        f"generations_{count}",
        label,
        "exaggerates",
        ("time",),
        (),
        lambda t: (t,),
        lambda t: f.Generations((t,) * count),
    )


SCHEMES: tuple[Scheme, ...] = (
    Scheme(
        "student",
        "student of a teacher",
        "exaggerates",
        ("student_time", "teacher_time"),
        (_LATER,),
        lambda t, later: (t * np.exp(later), t),
        lambda s, t: f.Generations((s, t)),
        lambda points: (points[:, 0], points[:, 0] + points[:, 1]),
    ),
    _equal("2 generations, equal times", 2),
    _equal("3 generations", 3),
    _equal("5 generations", 5),
    _equal("10 generations", 10),
    Scheme(
        "mixed",
        "labels mixed with a teacher",
        "either",
        ("student_time", "teacher_time", "label_weight"),
        (_RATIO, _WEIGHT),
        lambda t, ratio, logit: (t, t * np.exp(ratio), _logistic(logit)),
        f.Mixed,
    ),
    Scheme(
        "mixed_fixed_point",
        "mixed generations, for ever",
        "exaggerates",
        ("time", "label_weight"),
        (_WEIGHT,),
        lambda t, logit: (t, _logistic(logit)),
        f.MixedFixedPoint,
    ),
    Scheme(
        "distill_then_labels",
        "teacher first, then labels",
        "exaggerates",
        ("switch_time", "time", "teacher_time"),
        (_SHARE, _RATIO),
        lambda t, first, teacher: (t * _logistic(first), t, t * np.exp(teacher)),
        f.DistillThenLabels,
    ),
    Scheme(
        "labels_then_distill",
        "labels first, then a teacher",
        "either",
        ("switch_time", "time", "teacher_time"),
        (_SHARE, _RATIO),
        lambda t, first, teacher: (t * _logistic(first), t, t * np.exp(teacher)),
        f.LabelsThenDistill,
    ),
    Scheme(
        "filter_kd",
        "student of averaged labels (Filter-KD)",
        "either",
        ("student_time", "rate", "teacher_time"),
        (_RATIO, _RATIO),
        lambda t, student, rate: (t * np.exp(student), np.exp(rate) / t, t),
        f.FilterKD,
    ),
    Scheme(
        "trajectory_average",
        "averaged labels",
        "brakes",
        ("rate", "time"),
        (Coordinate(-7.0, 9.0, 11),),
        lambda t, rate: (np.exp(rate) / t, t),
        f.TrajectoryAverage,
    ),
    Scheme(
        "memory_replay",
        "memory replay (MrKD)",
        "brakes",
        ("interval", "time", "copy_weight"),
        (Coordinate(0.0, 4.0, 6), _WEIGHT),
        lambda t, periods, logit: (t * np.exp(-periods), t, _logistic(logit)),
        f.MemoryReplay,
    ),
    Scheme(
        "mean_teacher",
        "mean teacher",
        "brakes",
        ("rate", "time", "label_weight"),
        (_RATIO, _WEIGHT),
        lambda t, rate, logit: (np.exp(rate) / t, t, _logistic(logit)),
        f.MeanTeacher,
    ),
    Scheme(
        "shrinkage",
        "pull of the logits to zero (LsrKD)",
        "brakes",
        ("label_weight", "zero_weight", "time"),
        (_WEIGHT,),
        lambda t, logit: (_logistic(logit), _logistic(-logit), t),
        f.Shrinkage,
    ),
    Scheme(
        "ridge",
        "ridge",
        "brakes",
        ("penalty",),
        (),
        lambda t: (1.0 / t,),
        f.Ridge,
    ),
    Scheme(
        "ridge_rounds_2",
        "ridge on ridge",
        "either",
        ("penalty", "penalty"),
        (),
        lambda t: (1.0 / t, 1.0 / t),
        lambda *penalties: f.RidgeRounds(penalties),
    ),
)
EARLY_STOPPING = Scheme(
    "early_stopping",
    "early stopping",
    "plain",
    ("time",),
    (),
    lambda t: (t,),
    f.GradientFlow,
)


def scheme(name: str) -> Scheme:
    """The scheme of that name.

    Raises:
        ValueError: If there is none.
    """
    for known in (EARLY_STOPPING, *SCHEMES):
        if known.name == name:
            return known
    msg = f"unknown scheme {name!r}; known: {', '.join(s.name for s in SCHEMES)}"
    raise ValueError(msg)


def ruled_out(pattern: str, family: str) -> bool:
    """Whether the dominance theorem rules out a whole family, whatever its parameters."""
    return {
        "nonincreasing": family == "exaggerates",
        "nondecreasing": family == "brakes",
        "constant": True,
        "mixed": False,
    }[pattern]
