r"""Early KD: the teacher first, the labels from the middle of training on.

.. math:: \ell = (1 - \lambda(t)) \, CE(e_y, \sigma(z)) + \lambda(t) \, L_{KD}, \qquad
          \lambda(t) = 1 - \mathrm{clip}\left(\frac{t - t_0}{w_0}, 0, 1\right)

with t the share of the training that is done and
:math:`L_{KD} = w \, CE(e_y, \sigma(z)) + (1 - w) \, c \, KL(\sigma(v / \tau), \sigma(z / \tau))`
[Nagarajan 2023, section 5.2 and appendix E]. There it helps
students of teachers that do not fit all labels, and hurts students of teachers that do.
"""

from dataclasses import dataclass

from torch import Tensor

from deep.losses import (
    FACTORS,
    RAMPS,
    VALUES,
    cross_entropy,
    distillation,
    logits_of,
    switched_share,
)
from deep.method import Batch, Needs, Outputs, State
from theory import checks


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: CIFAR-100 of Nagarajan 2023, appendix E.

    A switch at step 15,000 of 30,000, over 1,000 steps.
    Tiny ImageNet: step 100,000 of 150,000 over 10,000. ImageNet: half-way,
    ``label_weight=.9``.
    """

    switch: float = 0.5
    """t_0 in [0, 1], share of the training at which the switch begins."""
    window: float = 1000 / 30000
    """Share of the training that it takes (Table 1: 1,000 steps, 10,000 on Tiny ImageNet); 0 is
    abrupt."""
    ramp: str = "start"
    """``"start"`` or ``"center"``: which part of the window t_0 is. The paper says neither that nor
    the shape of the change, which is linear here."""
    temperature: float = 4.0
    """tau of both networks (Table 1)."""
    label_weight: float = 0.0
    """w, what the labels have beside the teacher: 0, on ImageNet .9 (Table 1)."""
    factor: str = "tau2"
    """c: ``"1"``, ``"tau"``, ``"tau2"`` or ``"2tau2"``. The paper does not say."""
    value: str = "kl"
    """``"kl"`` or ``"ce"``, larger by c times the teacher's entropy; the gradients are equal."""

    def __post_init__(self) -> None:
        checks.fraction("switch", self.switch)
        checks.nonnegative("window", checks.scalar("window", self.window))
        checks.choice("ramp", self.ramp, RAMPS)
        checks.temperature("temperature", self.temperature)
        checks.fraction("label_weight", self.label_weight)
        checks.choice("factor", self.factor, FACTORS)
        checks.choice("value", self.value, VALUES)


def early_distillation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    teacher_share: float,
    temperature: float = 4.0,
    label_weight: float = 0.0,
    factor: str = "tau2",
    value: str = "kl",
) -> Tensor:
    """The loss above, one value a sample.

    Args:
        student_logits: z, shape (..., batch, classes).
        teacher_logits: v, of the same shape.
        labels: y, int64 of shape (..., batch).
        teacher_share: lambda, as `teacher_share` has it.
        temperature: tau.
        label_weight: w.
        factor: c.
        value: Whether the teacher's part is a divergence or a cross-entropy.

    >>> import torch
    >>> z, v, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[4.0, 0.0]]), torch.tensor([0])
    >>> [round(float(early_distillation(z, v, y, teacher_share=share)), 4) for share in (0, 1)]
    [0.3133, 0.9756]
    """
    share = teacher_share * (1 - label_weight)
    soft = distillation(
        student_logits, teacher_logits, temperature=temperature, factor=factor, value=value
    )
    return (1 - share) * cross_entropy(student_logits, labels) + share * soft


def teacher_share(hyper: Hyper, progress: float) -> float:
    """lambda(t), from 1 down to 0.

    Args:
        hyper: Where t_0 and the window are.
        progress: t, share of the training that is done.

    >>> [round(teacher_share(Hyper(window=0.2), t), 6) for t in (0.4, 0.6, 0.8)]
    [1.0, 0.5, 0.0]
    """
    return 1 - switched_share(progress, switch=hyper.switch, window=hyper.window, ramp=hyper.ramp)


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
    """One term, `early_distillation`."""
    value = early_distillation(
        student.logits,
        logits_of(teacher),
        batch.labels,
        teacher_share=teacher_share(hyper, batch.progress),
        temperature=hyper.temperature,
        label_weight=hyper.label_weight,
        factor=hyper.factor,
        value=hyper.value,
    )
    return {"loss": value}
