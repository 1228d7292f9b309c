r"""Parameter-averaged teacher: a moving average of the teacher's weights teaches.

.. math:: \ell = w \, CE(e_y, \sigma(z)) + (1 - w) \, c \, CE(\sigma(f / \tau), \sigma(z / \tau)),
          \qquad \bar\theta \leftarrow (1 - a) \bar\theta + a \theta

with f the logits of :math:`\bar\theta`: the control of Ren 2022, appendix I, which filters
weights where Filter-KD filters predictions.
"""

from dataclasses import dataclass

from torch import Tensor

from deep.losses import FACTORS, VALUES, cross_entropy, distillation, logits_of
from deep.method import Batch, Needs, Outputs, State, WeightAverage
from theory import checks


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: Ren 2022, appendix I, with its a = .05.

    The average of Zhang 2020's code: ``decay=0.999, warmup=True, start="own",
    statistics="batch"``.
    """

    temperature: float = 1.0
    """tau of both networks (Ren 2022 Table 4 has .5, 1, 2, 10)."""
    label_weight: float = 0.0
    """w; the teacher's part has the rest (Ren 2022: all of it)."""
    factor: str = "1"
    """c: ``"1"`` (eq. 7), ``"tau"``, ``"tau2"`` or ``"2tau2"`` (released code)."""
    value: str = "ce"
    """``"ce"`` (eq. 7) or ``"kl"`` (released code), less by c times the entropy of the targets;
    the gradients are equal."""
    decay: float = 0.95
    """1 - a, after every step."""
    warmup: bool = False
    """Whether the decay is at most 1 - 1/(step + 1), step counted from 1."""
    start: str = "copy"
    """Of the average: a ``"copy"`` of the network's initial weights, or its ``"own"``."""
    statistics: str = "stored"
    """Of batch normalization when the average predicts: ``"stored"`` or the ``"batch"``'s."""

    def __post_init__(self) -> None:
        checks.temperature("temperature", self.temperature)
        checks.fraction("label_weight", self.label_weight)
        checks.choice("factor", self.factor, FACTORS)
        checks.choice("value", self.value, VALUES)
        _average(self)


def averaged_teacher_distillation(
    student_logits: Tensor,
    average_logits: Tensor,
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
        average_logits: f of the averaged teacher, of the same shape.
        labels: y, int64 of shape (..., batch).
        temperature: tau.
        label_weight: w.
        factor: c.
        value: Whether the teacher's part is a cross-entropy or a divergence.

    >>> import torch
    >>> z, f = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0]])
    >>> averaged_teacher_distillation(z, f, torch.tensor([0]))
    tensor([0.3607])
    """
    soft = distillation(
        student_logits, average_logits, temperature=temperature, factor=factor, value=value
    )
    return label_weight * cross_entropy(student_logits, labels) + (1 - label_weight) * soft


def needs(hyper: Hyper) -> Needs:
    """The average, which the teacher keeps while it trains."""
    return Needs(teacher="average", kept_average=_average(hyper))


def loss(
    hyper: Hyper,
    student: Outputs,
    teacher: Outputs | None,
    batch: Batch,
    state: State,  # noqa: ARG001
) -> dict[str, Tensor]:
    """One term, `averaged_teacher_distillation`."""
    value = averaged_teacher_distillation(
        student.logits,
        logits_of(teacher),
        batch.labels,
        temperature=hyper.temperature,
        label_weight=hyper.label_weight,
        factor=hyper.factor,
        value=hyper.value,
    )
    return {"loss": value}


def _average(hyper: Hyper) -> WeightAverage:
    return WeightAverage(
        decay=hyper.decay, warmup=hyper.warmup, start=hyper.start, statistics=hyper.statistics
    )
