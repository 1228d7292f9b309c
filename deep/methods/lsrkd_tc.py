r"""LsrKD-TC: distillation from a uniform teacher that is told the label.

.. math:: \ell = (1 - a) \, CE(e_y, \sigma(z)) + a \, c \, KL(q', \sigma(z / \tau)), \qquad
          q'_y = \gamma, \quad q'_m = \frac{1 - \gamma}{M - 1}

Wang 2020, eq. 11 and 12. With :math:`\gamma = 1/M` it is LsrKD; at :math:`\tau = 1` it has the
gradient of label smoothing that leaves :math:`1 - a + a \gamma` on the label.
"""

from dataclasses import asdict, dataclass

from torch import Tensor

from deep.losses import FACTORS, cross_entropy, divergence, two_level_targets
from deep.method import Batch, Needs, Outputs, State
from theory import checks


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: Wang 2020, section 4.3, for CIFAR-100."""

    weight: float = 0.1
    """a of the corrected teacher; the label has the rest."""
    temperature: float = 3.0
    """tau of the student's prediction; the correction is not tempered (eq. 12)."""
    label_mass: float = 0.025
    """gamma: .025 of 100 classes, .25 of 10."""
    factor: str = "tau"
    """c: ``"tau"`` (eq. 12), ``"1"``, ``"tau2"`` or ``"2tau2"``."""

    def __post_init__(self) -> None:
        checks.fraction("weight", self.weight)
        checks.temperature("temperature", self.temperature)
        checks.fraction("label_mass", self.label_mass)
        checks.choice("factor", self.factor, FACTORS)


PAPER = {name: Hyper(label_mass=0.25) for name in ("cifar10", "mnist", "digits")}
"""Ten classes: Wang 2020, section 4.3, on CIFAR-10 and CINIC-10; the other two follow them."""


def corrected_uniform_distillation(
    student_logits: Tensor,
    labels: Tensor,
    *,
    weight: float = 0.1,
    temperature: float = 3.0,
    label_mass: float = 0.025,
    factor: str = "tau",
) -> Tensor:
    """The loss above, one value a sample.

    Args:
        student_logits: z, shape (..., batch, classes).
        labels: y, int64 of shape (..., batch).
        weight: a.
        temperature: tau.
        label_mass: gamma.
        factor: c.

    >>> import torch
    >>> z, y = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    >>> corrected_uniform_distillation(z, y, label_mass=0.75)
    tensor([0.1198])
    """
    mass = student_logits.new_full((), label_mass)
    targets = two_level_targets(labels, mass, student_logits.shape[-1])
    soft = divergence(student_logits, targets, temperature=temperature, factor=factor)
    return (1 - weight) * cross_entropy(student_logits, labels) + weight * soft


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
    """One term, `corrected_uniform_distillation`."""
    value = corrected_uniform_distillation(student.logits, batch.labels, **asdict(hyper))
    return {"loss": value}
