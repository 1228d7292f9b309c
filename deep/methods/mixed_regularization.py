r"""Regularization samples at random: some of them are dropped, or only some of the others kept.

.. math:: \ell = w \, CE(e_y, \sigma(z)) + v \, m \, L_{kd}, \qquad
          L_{kd} = -\tau^2 \sum_k t_\tau(k) \ln s_\tau(k)

with m drawn for every sample and step: 1 with probability 1 - ``excluded`` on regularization
samples and ``added`` on the others, else 0 [Zhou 2021, appendix A.2 and Table 7a]. The label's
part is always kept. Table 7b, the same with weighted soft labels, is
``wsl`` with ``select="mixed"``.
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
    required,
)
from deep.method import Batch, Needs, Outputs, State
from theory import checks


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Default: half of the regularization samples are dropped.

    Rows of Zhou 2021, Table 7: ``excluded`` 1, .75, .5, .25 with ``added=1``; ``added`` 0, .25,
    .5, .75 with ``excluded=0``.
    """

    excluded: float = 0.5
    """Probability that a regularization sample is dropped."""
    added: float = 1.0
    """Probability that another sample is kept."""
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
        checks.fraction("excluded", self.excluded)
        checks.fraction("added", self.added)
        checks.temperature("temperature", self.temperature)
        checks.choice("criterion", self.criterion, CRITERIA)
        checks.nonnegative("label_weight", checks.scalar("label_weight", self.label_weight))
        checks.nonnegative("soft_weight", checks.scalar("soft_weight", self.soft_weight))
        checks.choice("value", self.value, VALUES)


def mixed_regularization(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    draws: Tensor,
    *,
    excluded: float = 0.5,
    added: float = 1.0,
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
        draws: Uniform on (0, 1), of the shape of the labels.
        excluded: Probability that a regularization sample is dropped.
        added: Probability that another sample is kept.
        temperature: tau.
        criterion: ``"abs"``, ``"signed"`` or ``"tau1"``.
        label_weight: w.
        soft_weight: v.
        value: Whether L_kd is a cross-entropy or a divergence.

    >>> z, v = torch.tensor([[3.0, 0.0], [3.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    >>> draws = torch.tensor([0.4, 0.6])  # both are regularization samples: one is kept
    >>> mixed_regularization(z, v, torch.tensor([0, 0]), draws, temperature=1.0)
    tensor([0.9040, 0.0486])
    """
    chosen = regularization_mask(
        student_logits, teacher_logits, labels, temperature=temperature, criterion=criterion
    )
    soft = distillation(student_logits, teacher_logits, temperature=temperature, value=value)
    heard = torch.where(chosen, draws < 1 - excluded, draws < added)
    kept = torch.where(heard, soft, 0.0)
    return label_weight * cross_entropy(student_logits, labels) + soft_weight * kept


def needs(hyper: Hyper) -> Needs:  # noqa: ARG001
    """The teacher after its last step, and a draw for each sample."""
    return Needs(teacher="final", draws=1)


def loss(
    hyper: Hyper,
    student: Outputs,
    teacher: Outputs | None,
    batch: Batch,
    state: State,  # noqa: ARG001
) -> dict[str, Tensor]:
    """One term, `mixed_regularization`."""
    value = mixed_regularization(
        student.logits,
        logits_of(teacher),
        batch.labels,
        required("draws", batch.draws)[..., 0],
        **asdict(hyper),
    )
    return {"loss": value}
