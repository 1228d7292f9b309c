r"""Which closed form predicts which method, for networks that stay near their linearization.

A method is predicted by a spectral filter of the empirical neural tangent kernel at initialization:
with the kernel :math:`\Theta = U \Lambda U^\top` on the training inputs over their number n, labels
Y and outputs counted from their initial values,

.. math:: f = U g(\Lambda) U^\top Y, \qquad f_* = \Theta_* U \frac{g(\Lambda)}{\Lambda} U^\top Y.

Time is counted in steps of full-batch gradient descent, and the prediction is exact in that count:
every scheme that changes at whole steps learns from :math:`\lambda` in steps of size :math:`\eta`
what gradient flow learns from :math:`-\ln(1 - \eta \lambda)` in time
(`theory.flow.filters.InSteps`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from theory.checks import Array
from theory.flow import filters as f


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long the phases of the methods last, in steps, and their weights.

    Example:
        >>> Lengths.of(800).teacher, Lengths.of(800).interval
        (100, 50)
    """

    steps: int
    """Of the whole training; the teachers of Filter-KD's labels train as long."""
    teacher: int
    """When the teacher of most students stops, and each generation before the last."""
    late: int
    """When the late teacher stops."""
    switch: int
    """When a method that switches its targets does."""
    interval: int
    """Between the copies of memory replay."""
    smoothing: float
    """Weight of the newest output in Filter-KD's average."""
    copy_weight: float = 0.7
    """Of the copies in memory replay."""
    label_weight: float = 0.3
    """Of the labels in the mixed loss."""
    epsilon: float = 0.2
    """Mass that label smoothing spreads over all classes."""

    @classmethod
    def of(cls, steps: int) -> "Lengths":
        """Phases in proportion to the whole, which must be a multiple of 16 steps.

        Raises:
            ValueError: If it is not.
        """
        if steps < 16 or steps % 16:
            msg = f"steps must be a positive multiple of 16, got {steps}"
            raise ValueError(msg)
        return cls(steps, steps // 8, steps // 2, steps // 4, steps // 16, 8.0 / steps)


@dataclass(frozen=True, slots=True)
class Method:
    """A method and the closed form that predicts it."""

    name: str
    """As code names it."""
    label: str
    """As a reader of a figure or table names it."""
    formula: str
    """Its gain; the symbols are those of `METHODS`."""
    source: str
    """Where the method comes from: a paper of this project where one of them has it."""
    flow: Callable[[Lengths, int], f.Filter]
    """The filter of gradient flow after a number of steps, times in steps."""
    averaged: bool = False
    """Whether its teacher is an average over training, whose steps lag behind the flow by one."""
    smoothed: bool = False
    """Whether its labels are smoothed: the same filter acts on other targets."""

    def descent(self, lengths: Lengths, steps: int, step_size: float) -> f.Filter:
        """The filter of gradient descent after a number of steps.

        Args:
            lengths: Of the phases.
            steps: Trained so far, at least 0.
            step_size: In units of one over the eigenvalues.

        Example:
            >>> method("labels").descent(Lengths.of(16), 3, 0.5).gain([0.5])
            array([0.578125])
        """
        if not self.averaged:
            return f.InSteps(self.flow(lengths, steps), step_size)
        teacher = f.DiscreteTrajectoryAverage(step_size, lengths.smoothing, lengths.steps)
        return f.InSteps(f.GradientFlow(steps), step_size) * teacher

    def targets(self, labels: Array, lengths: Lengths) -> Array:
        """What the filter acts on: the labels, or the smoothed labels, shape (n, K)."""
        if not self.smoothed:
            return labels
        return f.AffineTargets.smoothing(lengths.epsilon, labels.shape[1])(labels)


METHODS: tuple[Method, ...] = (
    Method(
        "labels",
        "labels",
        "phi_t",
        "Nagarajan 2023, eq. 3 and 4",
        lambda _, t: f.GradientFlow(t),
    ),
    Method(
        "student",
        "student",
        "phi_t phi_T",
        "Nagarajan 2023, eq. 5 and 6",
        lambda long, t: f.Generations((long.teacher, t)),
    ),
    Method(
        "late_student",
        "student of a late teacher",
        "phi_t phi_T, T later",
        "Nagarajan 2023, eq. 5 and 6",
        lambda long, t: f.Generations((long.late, t)),
    ),
    Method(
        "generations",
        "3 generations",
        "phi_t phi_T^2",
        "Zhang 2020, section 3",
        lambda long, t: f.Generations((long.teacher, long.teacher, t)),
    ),
    Method(
        "filter_kd",
        "Filter-KD",
        "phi_t E",
        "Ren 2022, Algorithm 1",
        lambda long, t: f.FilterKD(t, -np.log1p(-long.smoothing), long.steps),
        averaged=True,
    ),
    Method(
        "distill_then_labels",
        "teacher, then labels",
        "1 - (1 - phi_s phi_T)(1 - phi_(t - s))",
        "Nagarajan 2023, section 5.2",
        lambda long, t: f.DistillThenLabels(min(long.switch, t), t, long.teacher),
    ),
    Method(
        "labels_then_distill",
        "labels, then teacher",
        "phi_t - phi_(t - s) (1 - phi_T)",
        "Nagarajan 2023, section 5.2",
        lambda long, t: f.LabelsThenDistill(min(long.switch, t), t, long.teacher),
    ),
    Method(
        "memory_replay",
        "memory replay",
        "1 - e, e -> (1 - phi_k) e + w phi_k e_copy",
        "Wang 2020, eq. 14 and Algorithm 1",
        lambda long, t: f.MemoryReplay(long.interval, t, long.copy_weight),
    ),
    Method(
        "smoothing",
        "label smoothing",
        "phi_t, of smoothed labels",
        "Szegedy et al. 2016; Zhang 2020, eq. 7",
        lambda _, t: f.GradientFlow(t),
        smoothed=True,
    ),
    Method(
        "mixed",
        "labels and teacher",
        "phi_t (w + (1 - w) phi_T)",
        "Hinton et al. 2015; Nagarajan 2023, eq. 2",
        lambda long, t: f.Mixed(t, long.teacher, long.label_weight),
    ),
)
r"""The methods that have a closed form and are trained beside it, plain labels first.

The symbols of their formulas, along one eigendirection with eigenvalue :math:`\lambda`:

- ``phi_t`` :math:`= 1 - (1 - x)^t`: what t steps on the labels learn, x the step size times
  :math:`\lambda`; :math:`1 - e^{-\lambda t}` for the flow
- ``t``: the steps trained so far; before it switches a method is what it begins with
- ``T``: the steps of the teacher, `Lengths.teacher`; of the late one `Lengths.late`
- ``s``: the steps before the switch, `Lengths.switch`
- ``k``: the steps between copies, `Lengths.interval`; over each of them the error ``e``, 1 less
  the gain, changes as the arrow says, with ``e_copy`` the error at the start of the interval
- ``w``: the weight of the copies, `Lengths.copy_weight`, in memory replay, and that of the labels,
  `Lengths.label_weight`, in labels and teacher
- ``E`` :math:`= 1 - (1 - a)^M - a ((1 - x)^M - (1 - a)^M) / (a - x)`: the gain of the moving
  average of the outputs over M = `Lengths.steps` steps on the labels, the newest with weight a =
  `Lengths.smoothing`
"""


def names() -> tuple[str, ...]:
    """Names of all methods that have a closed form, plain labels first."""
    return tuple(one.name for one in METHODS)


def method(name: str) -> Method:
    """The method of that name.

    Raises:
        ValueError: If none of that name has a closed form.

    Example:
        >>> method("student").formula
        'phi_t phi_T'
    """
    for one in METHODS:
        if one.name == name:
            return one
    msg = f"no closed form is known for method {name!r}; there is one for {', '.join(names())}"
    raise ValueError(msg)
