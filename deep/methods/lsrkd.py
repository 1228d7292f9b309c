r"""LsrKD: label smoothing as distillation, from a uniform teacher at a temperature.

.. math:: \ell = (1 - a) \, CE(e_y, \sigma(z)) + a \, c \, KL(u, \sigma(z / \tau))

Wang 2020, eq. 7 and 10. At :math:`\tau = 1` it is label smoothing less :math:`a \ln M`. The
temperature weakens it: at the default one the loss is least for a label probability of .984 of 100
classes, where label smoothing has .901.
"""

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from deep.losses import FACTORS, cross_entropy, temperature_factor
from deep.method import Batch, Needs, Outputs, State
from theory import checks


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: Wang 2020, section 4.3, for all its data sets."""

    weight: float = 0.1
    """a of the uniform teacher; the label has the rest."""
    temperature: float = 3.0
    """tau of the student's prediction; a uniform teacher has none."""
    factor: str = "tau"
    """c: ``"tau"`` (eq. 10), ``"1"`` (eq. 7), ``"tau2"`` or ``"2tau2"``. For a high temperature the
    gradient of the second part is :math:`(c / tau^2) (z - mean z) / M`."""

    def __post_init__(self) -> None:
        checks.fraction("weight", self.weight)
        checks.temperature("temperature", self.temperature)
        checks.choice("factor", self.factor, FACTORS)


def uniform_distillation(
    student_logits: Tensor,
    labels: Tensor,
    *,
    weight: float = 0.1,
    temperature: float = 3.0,
    factor: str = "tau",
) -> Tensor:
    """The loss above, one value a sample.

    Args:
        student_logits: z, shape (..., batch, classes).
        labels: y, int64 of shape (..., batch).
        weight: a.
        temperature: tau.
        factor: c.

    >>> import torch
    >>> uniform_distillation(torch.tensor([[2.0, 0.0]]), torch.tensor([0]), temperature=4.0)
    tensor([0.1266])
    """
    log_s = torch.log_softmax(student_logits / temperature, dim=-1)
    soft = -(log_s + math.log(student_logits.shape[-1])).mean(-1)
    scale = temperature_factor(factor, temperature)
    return (1 - weight) * cross_entropy(student_logits, labels) + weight * scale * soft


def needs(hyper: Hyper) -> Needs:  # noqa: ARG001
    """The labels alone."""
    return Needs()


def loss(
    hyper: Hyper,
    student: Outputs,
    teacher: Outputs | None,  # noqa: ARG001
    batch: Batch,
    state: State,  # noqa: ARG001
) -> dict[str, Tensor]:
    """One term, `uniform_distillation`."""
    return {"loss": uniform_distillation(student.logits, batch.labels, **asdict(hyper))}
