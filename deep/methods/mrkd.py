r"""MrKD: distillation from past copies of the network itself (memory replay).

.. math:: \ell = (1 - a) \, CE(e_y, \sigma(z))
          + a \, c \, \frac1n \sum_i KL(\sigma(v_i / \tau), \sigma(z / \tau))

Wang 2020, eq. 13 and 14. Copy i holds the weights of about i intervals ago. Of the n copies only
the mean prediction has an effect on the student: the rest of the loss is their Jensen-Shannon
divergence, a constant.
"""

from dataclasses import dataclass

from torch import Tensor

from deep.losses import FACTORS, cross_entropy, distillation, required, teaching_copies
from deep.method import STATISTICS, Batch, Needs, Outputs, PastCopies, State
from theory import checks

WARM = ("init", "ce")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: MrKD-1 of Wang 2020, section 4.3, on CIFAR-100.

    MrKD-3: ``copies=3``; MrKD-5: ``copies=5, interval=2.5``.
    """

    copies: int = 1
    """n."""
    interval: float = 25.0
    """kappa in epochs, of 200: 25 with 1 or 3 copies, 2.5 with 5."""
    weight: float = 0.25
    """a of the copies, the label has the rest: .25 on CIFAR-100, .1 on CIFAR-10 and CINIC-10."""
    temperature: float = 3.0
    """tau of student and copies."""
    factor: str = "tau2"
    """c: ``"tau2"`` (eq. 13), ``"1"``, ``"tau"`` or ``"2tau2"``."""
    warm: str = "init"
    """What a copy teaches before it is passed trained weights. ``"init"``: what the initial network
    says, as algorithm 1 can be read; ``"ce"``: nothing, the mean is over the others, and without
    any the label's part stands alone, still times 1 - a."""
    statistics: str = "stored"
    """Batch normalization of the copies: with the ``"stored"`` statistics, copied with the weights,
    or with those of the ``"batch"``. The paper does not say."""

    def __post_init__(self) -> None:
        checks.integer("copies", self.copies, minimum=1)
        checks.positive("interval", checks.scalar("interval", self.interval))
        checks.fraction("weight", self.weight)
        checks.temperature("temperature", self.temperature)
        checks.choice("factor", self.factor, FACTORS)
        checks.choice("warm", self.warm, WARM)
        checks.choice("statistics", self.statistics, STATISTICS)


PAPER = {
    "cifar10": Hyper(weight=0.1),
    "mnist": Hyper(weight=0.1),
    "digits": Hyper(weight=0.1, interval=3.75),
}
"""Ten classes: Wang 2020, section 4.3, on CIFAR-10 and CINIC-10; the others follow it. The 30
epochs of the recipe for digits have the paper's eight intervals."""


def memory_replay(
    student_logits: Tensor,
    past_logits: Tensor,
    labels: Tensor,
    *,
    weight: float = 0.25,
    temperature: float = 3.0,
    factor: str = "tau2",
    trained: int | None = None,
) -> Tensor:
    """The loss above, one value a sample.

    Args:
        student_logits: z, shape (..., batch, classes).
        past_logits: v, shape (copies, ..., batch, classes), the youngest first.
        labels: y, int64 of shape (..., batch).
        weight: a.
        temperature: tau.
        factor: c.
        trained: How many of the copies teach, the first; None for all, with 0 the labels alone do.

    Raises:
        ValueError: If the copies' logits have another shape, or there are not so many.

    >>> import torch
    >>> z, y = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    >>> memory_replay(z, z.unsqueeze(0), y)  # a copy of the step before
    tensor([0.0952])
    """
    past = teaching_copies(past_logits, student_logits, trained)
    hard = (1 - weight) * cross_entropy(student_logits, labels)
    if not len(past):
        return hard
    each = distillation(student_logits, past, temperature=temperature, factor=factor, value="kl")
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
    """One term, `memory_replay`."""
    value = memory_replay(
        student.logits,
        required("past", state.past),
        batch.labels,
        weight=hyper.weight,
        temperature=hyper.temperature,
        factor=hyper.factor,
        trained=state.trained if hyper.warm == "ce" else None,
    )
    return {"loss": value}
