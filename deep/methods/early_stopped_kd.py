r"""Early-stopped distillation: the teacher of the best validation epoch.

.. math:: \ell = w \, CE(e_y, \sigma(z)) + (1 - w) \, c \, CE(\sigma(f / \tau), \sigma(z / \tau))

ESKD of Ren 2022, sections 3.1 and 5: its eq. 7 with the network at the epoch of highest
validation accuracy, ties to the earlier one, in place of the last.
"""

from dataclasses import asdict, dataclass

from torch import Tensor

from deep.losses import FACTORS, VALUES, cross_entropy, distillation, logits_of
from deep.method import Batch, Needs, Outputs, State
from theory import checks


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: Ren 2022, eq. 7 and section 5. Its released code: ``factor="2tau2"``."""

    temperature: float = 1.0
    """tau of both networks (Ren 2022 Table 4 has .5, 1, 2, 10)."""
    label_weight: float = 0.0
    """w; the teacher's part has the rest (Ren 2022: all of it)."""
    factor: str = "1"
    """c: ``"1"`` (eq. 7), ``"tau"``, ``"tau2"`` or ``"2tau2"`` (released code)."""
    value: str = "ce"
    """``"ce"`` (eq. 7) or ``"kl"`` (released code), less by c times the entropy of the targets;
    the gradients are equal."""

    def __post_init__(self) -> None:
        checks.temperature("temperature", self.temperature)
        checks.fraction("label_weight", self.label_weight)
        checks.choice("factor", self.factor, FACTORS)
        checks.choice("value", self.value, VALUES)


def early_stopped_distillation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 1.0,
    label_weight: float = 0.0,
    factor: str = "1",
    value: str = "ce",
) -> Tensor:
    """The loss above, one value a sample.

    Args:
        student_logits: z, shape (..., batch, classes).
        teacher_logits: f of the early-stopped teacher, of the same shape.
        labels: y, int64 of shape (..., batch).
        temperature: tau.
        label_weight: w.
        factor: c.
        value: Whether the teacher's part is a cross-entropy or a divergence.

    >>> import torch
    >>> z, f = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0]])
    >>> early_stopped_distillation(z, f, torch.tensor([0]))
    tensor([0.3607])
    """
    soft = distillation(
        student_logits, teacher_logits, temperature=temperature, factor=factor, value=value
    )
    return label_weight * cross_entropy(student_logits, labels) + (1 - label_weight) * soft


def needs(hyper: Hyper) -> Needs:  # noqa: ARG001
    """The teacher of its best validation epoch."""
    return Needs(teacher="best")


def loss(
    hyper: Hyper,
    student: Outputs,
    teacher: Outputs | None,
    batch: Batch,
    state: State,  # noqa: ARG001
) -> dict[str, Tensor]:
    """One term, `early_stopped_distillation`."""
    value = early_stopped_distillation(
        student.logits, logits_of(teacher), batch.labels, **asdict(hyper)
    )
    return {"loss": value}
