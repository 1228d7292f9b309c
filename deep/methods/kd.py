r"""Knowledge distillation: labels, and the teacher's probabilities at a temperature.

.. math:: \ell = w \, CE(e_y, \sigma(z)) + v \, c \, KL(\sigma(f / \tau), \sigma(z / \tau)),
          \qquad v = 1 - w

The defaults are the baseline of the CIFAR benchmarks that Zhou 2021 quotes (Tian et al. 2020).
"""

from dataclasses import asdict, dataclass

from torch import Tensor

from deep.losses import FACTORS, VALUES, cross_entropy, distillation, logits_of
from deep.method import Batch, Needs, Outputs, State
from theory import checks


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: RepDistiller's baseline, whose numbers Zhou 2021 quotes, Tables 1 and 3.

    Ren 2022 eq. 7: ``temperature=1, label_weight=0, factor="1", value="ce"`` (its released code:
    ``factor="2tau2"``). Zhou 2021, text of Table 2: ``label_weight=1, soft_weight=1, value="ce"``.
    Nagarajan 2023 Table 1: ``temperature=4, label_weight=0``.
    """

    temperature: float = 4.0
    """tau of both networks: 4 on CIFAR, 2 on ImageNet."""
    label_weight: float = 0.1
    """w."""
    soft_weight: float | None = None
    """v of the teacher's part; None: what the labels leave, 1 - w."""
    factor: str = "tau2"
    """c: ``"1"``, ``"tau"``, ``"tau2"`` or ``"2tau2"``."""
    value: str = "kl"
    """``"kl"`` or ``"ce"``, larger by c times the teacher's entropy; the gradients are equal."""

    def __post_init__(self) -> None:
        checks.temperature("temperature", self.temperature)
        checks.fraction("label_weight", self.label_weight)
        if self.soft_weight is not None:
            checks.nonnegative("soft_weight", checks.scalar("soft_weight", self.soft_weight))
        checks.choice("factor", self.factor, FACTORS)
        checks.choice("value", self.value, VALUES)


PAPER = {"imagenet": Hyper(temperature=2.0)}
"""Zhou 2021, section 4.2 and its code."""


def knowledge_distillation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    label_weight: float = 0.1,
    soft_weight: float | None = None,
    factor: str = "tau2",
    value: str = "kl",
) -> Tensor:
    r"""The loss above, one value a sample.

    Args:
        student_logits: z, shape (..., batch, classes).
        teacher_logits: f, of the same shape.
        labels: y, int64 of shape (..., batch).
        temperature: tau.
        label_weight: w.
        soft_weight: v, or None for 1 - w.
        factor: c.
        value: Whether the teacher's part is a divergence or a cross-entropy.

    >>> import torch
    >>> z, f = torch.tensor([[1.0, 0.0]]), torch.tensor([[4.0, 0.0]])
    >>> knowledge_distillation(z, f, torch.tensor([0]))
    tensor([0.9093])
    """
    soft = distillation(
        student_logits, teacher_logits, temperature=temperature, factor=factor, value=value
    )
    rest = 1 - label_weight if soft_weight is None else soft_weight
    return label_weight * cross_entropy(student_logits, labels) + rest * soft


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
    """One term, `knowledge_distillation`."""
    value = knowledge_distillation(
        student.logits, logits_of(teacher), batch.labels, **asdict(hyper)
    )
    return {"loss": value}
