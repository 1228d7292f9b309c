r"""Self-distillation: labels, and a teacher that alone is tempered.

.. math:: \ell = a \, CE(e_y, \sigma(z)) + (1 - a) \, CE(\sigma(f / T), \sigma(z))
          \ \text{(teacher)}, \qquad
          a \, CE(e_y, \sigma(z)) + (1 - a) \, c \, CE(\sigma(f / T), \sigma(z / T)) \ \text{(both)}

Instance-specific label smoothing [Zhang 2020, eq. 3 and section 7]: as T grows, the first becomes
label smoothing by 1 - a. With another network as teacher it is cross distillation, section 9.6.
"""

from dataclasses import dataclass, replace

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from deep.losses import (
    FACTORS,
    cross_entropy,
    distillation,
    logits_of,
    tempered_cross_entropy,
)
from deep.matching import check_label_mass, matched_temperature, solved
from deep.method import Batch, Needs, Outputs, State
from theory import checks

TEMPERED = ("teacher", "both")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: Zhang 2020, section 7. The default of its code: ``temperature=4``."""

    label_weight: float = 0.6
    """a of the labels (the code's ``alpha``, .4, is 1 - a)."""
    temperature: float | None = None
    """T; None: solved for before training, so that the mean label mass of the targets,
    a + (1 - a) mean t_T(y), is ``label_mass`` on the training set (section 7)."""
    label_mass: float = 0.85
    """The mass that a temperature of None is solved for."""
    tempered: str = "teacher"
    """Which network has T: the ``"teacher"``, or ``"both"`` (section 9.2)."""
    factor: str = "tau2"
    """c of ``"both"``, which the paper does not state: ``"tau2"``, ``"tau"``, ``"1"`` or
    ``"2tau2"``."""
    taught_by: str = "final"
    """Of the teacher's run: the network after the last step, or of the ``"best"`` validation epoch
    (the paper has "a pre-trained teacher"; its code keeps the latter)."""

    def __post_init__(self) -> None:
        checks.fraction("label_weight", self.label_weight)
        if self.temperature is None:
            check_label_mass(self.label_mass, self.label_weight)
        else:
            checks.temperature("temperature", self.temperature)
            checks.fraction("label_mass", self.label_mass)
        checks.choice("tempered", self.tempered, TEMPERED)
        checks.choice("factor", self.factor, FACTORS)
        checks.choice("taught_by", self.taught_by, ("final", "best"))


def self_distillation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float,
    label_weight: float = 0.6,
    tempered: str = "teacher",
    factor: str = "tau2",
) -> Tensor:
    """The loss above, one value a sample.

    Args:
        student_logits: z, shape (..., batch, classes).
        teacher_logits: f, of the same shape.
        labels: y, int64 of shape (..., batch).
        temperature: T; `deep.matching.matched_temperature` solves for the paper's.
        label_weight: a.
        tempered: ``"teacher"`` or ``"both"``.
        factor: c, where both are tempered.

    Raises:
        ValueError: For other options.

    >>> z, f = torch.tensor([[1.0, 0.0]]), torch.tensor([[4.0, 0.0]])
    >>> self_distillation(z, f, torch.tensor([0]), temperature=2.0)
    tensor([0.3609])
    """
    checks.choice("tempered", tempered, TEMPERED)
    if tempered == "both":
        soft = distillation(student_logits, teacher_logits, temperature=temperature, factor=factor)
    else:
        targets = torch.softmax(teacher_logits / temperature, dim=-1)
        soft = tempered_cross_entropy(student_logits, targets)
    return label_weight * cross_entropy(student_logits, labels) + (1 - label_weight) * soft


def fit(hyper: Hyper, teacher_logits: ArrayLike, labels: ArrayLike) -> Hyper:
    """``hyper`` with the temperature solved for, if it is None.

    Args:
        hyper: Options.
        teacher_logits: f of the training samples, (samples, classes).
        labels: y, (samples,).

    Raises:
        ValueError: As `deep.matching.matched_temperature`, which also tells what becomes of a
            teacher that has not the mass.

    >>> fit(Hyper(label_mass=0.9), [[2.1972246, 0.0]], [0]).temperature
    2.000
    """
    if hyper.temperature is not None:
        return hyper
    temperature = matched_temperature(
        teacher_logits, labels, label_mass=hyper.label_mass, label_weight=hyper.label_weight
    )
    return replace(hyper, temperature=temperature)


def check(hyper: Hyper, classes: int) -> None:
    """Raise ValueError if no temperature leaves the label of so many classes its mass.

    >>> check(Hyper(), 10)
    """
    if hyper.temperature is None:
        check_label_mass(hyper.label_mass, hyper.label_weight, classes)


def needs(hyper: Hyper) -> Needs:
    """The teacher."""
    return Needs(teacher=hyper.taught_by)


def loss(
    hyper: Hyper,
    student: Outputs,
    teacher: Outputs | None,
    batch: Batch,
    state: State,  # noqa: ARG001
) -> dict[str, Tensor]:
    """One term, `self_distillation`.

    Raises:
        ValueError: If the temperature has not been solved for.
    """
    value = self_distillation(
        student.logits,
        logits_of(teacher),
        batch.labels,
        temperature=solved("temperature", hyper.temperature),
        label_weight=hyper.label_weight,
        tempered=hyper.tempered,
        factor=hyper.factor,
    )
    return {"loss": value}
