r"""MrKD-TC: distillation from past copies of the network that are told the label.

.. math:: \ell = (1 - a) \, CE(e_y, \sigma(z)) + a \, c \, \frac1n \sum_i KL(q'_i, \sigma(z / \tau))

with :math:`q'_i` the tempered prediction of copy i whose mass on the label is set to
:math:`\gamma`, the ratios of the other classes kept [Wang 2020, eq. 16 and 17].
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from deep.losses import FACTORS, cross_entropy, divergence, required, teaching_copies
from deep.method import STATISTICS, Batch, Needs, Outputs, PastCopies, State
from theory import checks

WARM = ("init", "ce")
CORRECT = ("each", "mean")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: MrKD3-TC of Wang 2020, Table 1, on CIFAR-100."""

    copies: int = 3
    """n."""
    interval: float = 25.0
    """kappa in epochs, of 200."""
    weight: float = 0.25
    """a of the copies, the label has the rest: .25 on CIFAR-100, .1 on CIFAR-10 and CINIC-10."""
    temperature: float = 3.0
    """tau of student and copies, applied before the correction (eq. 16)."""
    label_mass: float = 0.025
    """gamma. The paper draws a grid from .01 to .9 (fig. 4) and does not say which its tables have;
    these are the values of LsrKD-TC: .025 of 100 classes, .25 of 10."""
    factor: str = "tau"
    """c: ``"tau"`` (eq. 17), ``"tau2"`` (as eq. 13 has it), ``"1"`` or ``"2tau2"``."""
    correct: str = "each"
    """``"each"``: copies are corrected, then their predictions averaged; ``"mean"``: the other way
    round. They differ; the paper gives eq. 16 for one copy."""
    warm: str = "init"
    """What a copy teaches before it is passed trained weights. ``"init"``: what the initial network
    says; ``"ce"``: nothing, the mean is over the others, and without any the label's part stands
    alone, still times 1 - a."""
    statistics: str = "stored"
    """Batch normalization of the copies: with the ``"stored"`` statistics, copied with the weights,
    or with those of the ``"batch"``. The paper does not say."""

    def __post_init__(self) -> None:
        checks.integer("copies", self.copies, minimum=1)
        checks.positive("interval", checks.scalar("interval", self.interval))
        checks.fraction("weight", self.weight)
        checks.temperature("temperature", self.temperature)
        checks.fraction("label_mass", self.label_mass)
        checks.choice("factor", self.factor, FACTORS)
        checks.choice("correct", self.correct, CORRECT)
        checks.choice("warm", self.warm, WARM)
        checks.choice("statistics", self.statistics, STATISTICS)


PAPER = {
    "cifar10": Hyper(weight=0.1, label_mass=0.25),
    "mnist": Hyper(weight=0.1, label_mass=0.25),
    "digits": Hyper(weight=0.1, label_mass=0.25, interval=3.75),
}
"""Ten classes: Wang 2020, section 4.3, on CIFAR-10 and CINIC-10; the others follow it. The 30
epochs of the recipe for digits have the paper's eight intervals."""


def teacher_correction(
    logits: Tensor, labels: Tensor, *, label_mass: float | Tensor, temperature: float = 1.0
) -> Tensor:
    r"""A tempered prediction with the mass of the label set, the rest shared as before.

    .. math:: q'_y = \gamma, \qquad
              q'_m = (1 - \gamma) \frac{e^{v_m / \tau}}{\sum_{j \ne y} e^{v_j / \tau}}

    It holds the ratios also where the teacher is so sure that the others' mass rounds to 0.

    Args:
        logits: v, shape (..., batch, classes).
        labels: y, int64 of a shape that broadcasts against (..., batch).
        label_mass: gamma in [0, 1], one number or one a sample.
        temperature: tau.

    >>> import torch
    >>> teacher_correction(torch.tensor([[900.0, 1.0, 1.0]]), torch.tensor([0]), label_mass=0.5)
    tensor([[0.5000, 0.2500, 0.2500]])
    """
    own = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    # filled on the device: nothing is sent to it
    given = label_mass if isinstance(label_mass, Tensor) else logits.new_full((), label_mass)
    mass = given.expand(logits.shape[:-1]).unsqueeze(-1)
    others = torch.softmax(logits.scatter(-1, own, -torch.inf) / temperature, dim=-1)
    return ((1 - mass) * others).scatter(-1, own, mass)


def corrected_memory_replay(
    student_logits: Tensor,
    past_logits: Tensor,
    labels: Tensor,
    *,
    weight: float = 0.25,
    temperature: float = 3.0,
    label_mass: float = 0.025,
    factor: str = "tau",
    correct: str = "each",
    trained: int | None = None,
) -> Tensor:
    """The loss above, one value a sample.

    Args:
        student_logits: z, shape (..., batch, classes).
        past_logits: v, shape (copies, ..., batch, classes), the youngest first.
        labels: y, int64 of shape (..., batch).
        weight: a.
        temperature: tau.
        label_mass: gamma.
        factor: c.
        correct: Whether ``"each"`` copy or their ``"mean"`` is told the label.
        trained: How many of the copies teach, the first; None for all, with 0 the labels alone do.

    Raises:
        ValueError: If the copies' logits have another shape, or there are not so many.

    >>> import torch
    >>> z, v = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[[3.0, 1.0, 0.0]]])
    >>> corrected_memory_replay(z, v, torch.tensor([0]), label_mass=0.5)
    tensor([0.1849])
    """
    checks.choice("correct", correct, CORRECT)
    past = teaching_copies(past_logits, student_logits, trained)
    hard = (1 - weight) * cross_entropy(student_logits, labels)
    if not len(past):
        return hard
    if correct == "mean":
        log_mean = torch.log_softmax(past / temperature, dim=-1).logsumexp(0, keepdim=True)
        targets = teacher_correction(log_mean, labels, label_mass=label_mass)
    else:
        targets = teacher_correction(past, labels, label_mass=label_mass, temperature=temperature)
    each = divergence(student_logits, targets, temperature=temperature, factor=factor)
    return hard + weight * each.mean(0)


def needs(hyper: Hyper) -> Needs:
    """Past copies of the student."""
    past = PastCopies(copies=hyper.copies, interval=hyper.interval, statistics=hyper.statistics)
    return Needs(past=past)


def loss(
    hyper: Hyper,
    student: Outputs,
    teacher: Outputs | None,  # noqa: ARG001
    batch: Batch,
    state: State,
) -> dict[str, Tensor]:
    """One term, `corrected_memory_replay`."""
    value = corrected_memory_replay(
        student.logits,
        required("past", state.past),
        batch.labels,
        weight=hyper.weight,
        temperature=hyper.temperature,
        label_mass=hyper.label_mass,
        factor=hyper.factor,
        correct=hyper.correct,
        trained=state.trained if hyper.warm == "ce" else None,
    )
    return {"loss": value}
