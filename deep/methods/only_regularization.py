r"""Only regularization samples: the teacher is heard on these alone.

.. math:: \ell = w \, CE(e_y, \sigma(z)) + v \, m \, L_{kd}, \qquad
          L_{kd} = -\tau^2 \sum_k t_\tau(k) \ln s_\tau(k)

with m = 1 on the regularization samples, else 0
[Zhou 2021, section 3.3 and Table 2]. Which samples are regularization samples is told anew at
every step, from the current student; the mean is over all samples of the batch.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from deep.losses import (
    CRITERIA,
    VALUES,
    cross_entropy,
    distillation,
    logits_of,
    regularization_mask,
)
from deep.method import Batch, Needs, Outputs, State
from theory import checks


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: Zhou 2021, section 3.3, on CIFAR-100."""

    temperature: float = 4.0
    """tau of both networks, at which samples are also told apart."""
    criterion: str = "abs"
    """Of a regularization sample, with a and b of Zhou 2021, eq. 4: ``"abs"``, the paper's
    |b| > |a|; ``"signed"``, its branch where the student gives the label more than the teacher
    at tau; ``"tau1"``, that at temperature 1. Ties are none."""
    label_weight: float = 1.0
    """w (RepDistiller's baseline: .1)."""
    soft_weight: float = 1.0
    """v (RepDistiller's baseline: .9)."""
    value: str = "ce"
    """L_kd as a ``"ce"`` (the paper), or a ``"kl"``, less by tau^2 times the teacher's entropy; the
    gradients are equal."""

    def __post_init__(self) -> None:
        checks.temperature("temperature", self.temperature)
        checks.choice("criterion", self.criterion, CRITERIA)
        checks.nonnegative("label_weight", checks.scalar("label_weight", self.label_weight))
        checks.nonnegative("soft_weight", checks.scalar("soft_weight", self.soft_weight))
        checks.choice("value", self.value, VALUES)


def only_regularization(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    criterion: str = "abs",
    label_weight: float = 1.0,
    soft_weight: float = 1.0,
    value: str = "ce",
) -> Tensor:
    """The loss above, one value a sample.

    Args:
        student_logits: z, shape (..., batch, classes).
        teacher_logits: Of the same shape.
        labels: y, int64 of shape (..., batch).
        temperature: tau.
        criterion: ``"abs"``, ``"signed"`` or ``"tau1"``.
        label_weight: w.
        soft_weight: v.
        value: Whether L_kd is a cross-entropy or a divergence.

    >>> z, v = torch.tensor([[3.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    >>> only_regularization(z, v, torch.tensor([0, 0]), temperature=1.0)
    tensor([0.9040, 0.3133])
    """
    chosen = regularization_mask(
        student_logits, teacher_logits, labels, temperature=temperature, criterion=criterion
    )
    soft = distillation(student_logits, teacher_logits, temperature=temperature, value=value)
    kept = torch.where(chosen, soft, 0.0)
    return label_weight * cross_entropy(student_logits, labels) + soft_weight * kept


def needs(hyper: Hyper) -> Needs:  # noqa: ARG001
    """The teacher after its last step."""
    return Needs(teacher="final")


def loss(
    hyper: Hyper,
    student: Outputs,
    teacher: Outputs | None,
    batch: Batch,
    state: State,  # noqa: ARG001
) -> dict[str, Tensor]:
    """One term, `only_regularization`."""
    value = only_regularization(student.logits, logits_of(teacher), batch.labels, **asdict(hyper))
    return {"loss": value}
