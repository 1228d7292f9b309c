r"""Born-again networks: every generation is taught by the one before it.

.. math:: \ell = w \, CE(e_y, \sigma(z)) + (1 - w) \, CE(\sigma(f / T), \sigma(z))

with w = 0 and T = 1 [Zhang 2020, section 4 and fig. 1: ten generations]. Generation 0 learns
labels; generation g is a student of generation g - 1.
"""

from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from deep.losses import cross_entropy, logits_of, tempered_cross_entropy
from deep.method import Batch, MethodSpec, Needs, Outputs, State
from theory import checks


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: Zhang 2020, section 4, and its code."""

    generation: int = 1
    """Which one this run is, from 1; the paper has 10."""
    label_weight: float = 0.0
    """w."""
    temperature: float = 1.0
    """T of the teacher alone: 1; fig. 2 varies it, about 2.5 being enough."""
    taught_by: str = "best"
    """Of the generation before: its ``"best"`` validation epoch (paper), or the ``"final"``."""

    def __post_init__(self) -> None:
        checks.integer("generation", self.generation, minimum=1)
        checks.fraction("label_weight", self.label_weight)
        checks.temperature("temperature", self.temperature)
        checks.choice("taught_by", self.taught_by, ("best", "final"))


def born_again(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    label_weight: float = 0.0,
    temperature: float = 1.0,
) -> Tensor:
    """The loss above, one value a sample.

    Args:
        student_logits: z, shape (..., batch, classes).
        teacher_logits: f of the generation before, of the same shape.
        labels: y, int64 of shape (..., batch).
        label_weight: w.
        temperature: T.

    >>> born_again(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0]]), torch.tensor([0]))
    tensor([0.3607])
    """
    targets = torch.softmax(teacher_logits / temperature, dim=-1)
    soft = tempered_cross_entropy(student_logits, targets)
    return label_weight * cross_entropy(student_logits, labels) + (1 - label_weight) * soft


def needs(hyper: Hyper) -> Needs:
    """The generation before: the method itself, or labels where this is the first."""
    before = None
    if hyper.generation > 1:
        options = asdict(replace(hyper, generation=hyper.generation - 1))
        before = MethodSpec("born_again", tuple(sorted(options.items())))
    return Needs(teacher=hyper.taught_by, taught_by=before)


def loss(
    hyper: Hyper,
    student: Outputs,
    teacher: Outputs | None,
    batch: Batch,
    state: State,  # noqa: ARG001
) -> dict[str, Tensor]:
    """One term, `born_again`."""
    value = born_again(
        student.logits,
        logits_of(teacher),
        batch.labels,
        label_weight=hyper.label_weight,
        temperature=hyper.temperature,
    )
    return {"loss": value}
