r"""Masked distillation: nothing is transferred to the label's own logit.

.. math:: \ell = w \, CE(e_y, \sigma(z)) + v \, L^*, \qquad
          L = -\tau^2 \sum_k t_\tau(k) \ln s_\tau(k), \quad \partial L^* / \partial z_y = 0

Zhou 2021, section 3.3 and Table 2. As printed there, the loss lacks its sign and its factor, and
leaving out the label's term does not make the gradient 0; three readings are offered.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from deep.losses import cross_entropy, logits_of
from deep.method import Batch, Needs, Outputs, State
from theory import checks

VARIANTS = ("detach", "printed", "renormalized")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: Zhou 2021, section 3.3, on CIFAR-100."""

    variant: str = "detach"
    r"""``"detach"``: L with the label's logit held fixed, which is what the paper asks for: the
    gradient is 0 there and tau (s - t) elsewhere, so that its sum, tau (t_y - s_y), moves all
    logits together; nothing restores them, and networks without normalization run away (see
    `PAPER`). ``"printed"``: the sum over k != y; on the
    label's logit it leaves tau (1 - t_y) s_y. ``"renormalized"``: both softmaxes over the other
    classes, which transfers resemblances alone and does not change with z_y."""
    temperature: float = 4.0
    """tau of both networks."""
    label_weight: float = 1.0
    """w (RepDistiller's baseline: .1)."""
    soft_weight: float = 1.0
    """v (RepDistiller's baseline: .9)."""

    def __post_init__(self) -> None:
        checks.choice("variant", self.variant, VARIANTS)
        checks.temperature("temperature", self.temperature)
        checks.nonnegative("label_weight", checks.scalar("label_weight", self.label_weight))
        checks.nonnegative("soft_weight", checks.scalar("soft_weight", self.soft_weight))


PAPER = {name: Hyper(variant="renormalized") for name in ("digits", "mnist")}
"""Not the paper's, which has CIFAR-100: dense networks on small images, where ``"detach"`` runs
away (the logits of a student on digits pass -1e8 in 30 epochs, at learning rates .005 to .05)."""


def masked_distillation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    variant: str = "detach",
    temperature: float = 4.0,
    label_weight: float = 1.0,
    soft_weight: float = 1.0,
) -> Tensor:
    """The loss above, one value a sample.

    Args:
        student_logits: z, shape (..., batch, classes).
        teacher_logits: Of the same shape.
        labels: y, int64 of shape (..., batch).
        variant: Reading of the mask, one of ``"detach"``, ``"printed"``, ``"renormalized"``.
        temperature: tau.
        label_weight: w.
        soft_weight: v.

    Raises:
        ValueError: For another variant.

    >>> z, v = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[3.0, 0.0, 0.0]])
    >>> masked_distillation(z, v, torch.tensor([0]), temperature=1.0, variant="renormalized")
    tensor([1.2209])
    """
    checks.choice("variant", variant, VARIANTS)
    classes = torch.arange(student_logits.shape[-1], device=labels.device)
    own = classes == labels.unsqueeze(-1)
    z, v = student_logits, teacher_logits
    if variant == "detach":
        z = torch.where(own, z.detach(), z)
    if variant == "renormalized":
        z, v = z.masked_fill(own, -torch.inf), v.masked_fill(own, -torch.inf)
    log_s = torch.log_softmax(z / temperature, dim=-1)
    t = torch.softmax(v / temperature, dim=-1)
    if variant != "detach":
        # filled, since 0 times -inf is no number
        log_s, t = log_s.masked_fill(own, 0.0), t.masked_fill(own, 0.0)
    soft = -(temperature**2) * (t * log_s).sum(-1)
    return label_weight * cross_entropy(student_logits, labels) + soft_weight * soft


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
    """One term, `masked_distillation`."""
    value = masked_distillation(student.logits, logits_of(teacher), batch.labels, **asdict(hyper))
    return {"loss": value}
