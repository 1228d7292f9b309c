r"""Weighted soft labels: the teacher counts less where the student is ahead of it.

.. math:: \ell = CE(e_y, \sigma(z)) + \alpha \, w \, L_{kd}, \qquad
          w = 1 - e^{-r}, \quad r = \frac{L_s}{L_t}, \quad
          L_{kd} = -\tau^2 \sum_k t_\tau(k) \ln s_\tau(k)

with L the cross-entropies of student and teacher at temperature 1 [Zhou 2021, eq. 5 and 6]. They
are compared by their logarithms, so that w is right where a softmax rounds to 1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from deep.losses import (
    CRITERIA,
    VALUES,
    cross_entropy,
    distillation,
    log_loss,
    log_odds,
    logits_of,
    regularization_mask,
    required,
)
from deep.method import Batch, Needs, Outputs, State
from theory import checks

FORMS = ("exponential", "sigmoid")
SELECTIONS = ("all", "exclude", "only", "mixed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: Zhou 2021, section 5.2, on CIFAR-100. `PAPER` has ImageNet's values.

    Its released code: ``eps=1e-7``, and a teacher in training mode, which is an option of the run.
    """

    temperature: float = 4.0
    """tau of both networks."""
    alpha: float = 2.25
    """Weight of the soft part (Table 10 has 1 to 4)."""
    form: str = "exponential"
    r"""w: ``"exponential"`` (eq. 5), or ``"sigmoid"``: 2 sigma(r) - 1 = tanh(r / 2) (appendix A.4,
    Table 9)."""
    eps: float | None = None
    """None: r is the ratio itself. A number (released code: 1e-7): r = L_s / (L_t + eps), which
    ignores samples that both networks know."""
    detached: bool = True
    """Whether w is held fixed when the gradient is taken, as in the released code."""
    value: str = "ce"
    """L_kd as a ``"ce"`` (the paper), or a ``"kl"``, less by tau^2 times the teacher's entropy;
    with w detached the gradients are equal."""
    select: str = "all"
    """Where the teacher is heard: ``"all"``; ``"exclude"``, on all but the regularization samples,
    or ``"only"`` on these (Table 5); ``"mixed"``, at random (Table 7b)."""
    criterion: str = "abs"
    """Of a regularization sample: ``"abs"`` (the paper), ``"signed"`` or ``"tau1"``; see the method
    ``exclude_regularization``."""
    excluded: float = 0.5
    """``"mixed"``: probability that a regularization sample is dropped."""
    added: float = 1.0
    """``"mixed"``: probability that another sample is kept."""

    def __post_init__(self) -> None:
        checks.temperature("temperature", self.temperature)
        checks.nonnegative("alpha", checks.scalar("alpha", self.alpha))
        checks.choice("form", self.form, FORMS)
        if self.eps is not None:
            checks.positive("eps", checks.scalar("eps", self.eps))
        checks.flag("detached", self.detached)
        checks.choice("value", self.value, VALUES)
        checks.choice("select", self.select, SELECTIONS)
        checks.choice("criterion", self.criterion, CRITERIA)
        checks.fraction("excluded", self.excluded)
        checks.fraction("added", self.added)


PAPER = {"imagenet": Hyper(temperature=2.0, alpha=2.5)}
"""Zhou 2021, section 5.2 and its code."""


def weighted_soft_labels(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    alpha: float = 2.25,
    form: str = "exponential",
    eps: float | None = None,
    detached: bool = True,
    value: str = "ce",
    heard: Tensor | None = None,
) -> Tensor:
    """The loss above, one value a sample.

    Args:
        student_logits: z, shape (..., batch, classes).
        teacher_logits: Of the same shape.
        labels: y, int64 of shape (..., batch).
        temperature: tau.
        alpha: Weight of the soft part.
        form: Of w, ``"exponential"`` or ``"sigmoid"``.
        eps: Added to the teacher's loss in r, or None.
        detached: Whether w is held fixed when the gradient is taken.
        value: Whether L_kd is a cross-entropy or a divergence.
        heard: On which samples there is a soft part, of the shape of the labels; None: on all.

    Raises:
        ValueError: For another form or value.

    >>> z, v = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]])
    >>> weighted_soft_labels(z, v, torch.tensor([0]), temperature=1.0, alpha=1.0)
    tensor([1.3833])
    """
    given = student_logits.detach() if detached else student_logits
    weight = soft_label_weights(given, teacher_logits.detach(), labels, form=form, eps=eps)
    soft = distillation(student_logits, teacher_logits, temperature=temperature, value=value)
    part = alpha * weight * soft
    if heard is not None:
        part = torch.where(heard, part, 0.0)
    return cross_entropy(student_logits, labels) + part


def soft_label_weights(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    form: str = "exponential",
    eps: float | None = None,
) -> Tensor:
    """The weights w in [0, 1] above, one a sample; 1 - 1/e where both networks lose the same.

    >>> z = torch.tensor([[0.0, 0.0], [900.0, 0.0]])
    >>> soft_label_weights(z, torch.tensor([[900.0, 0.0], [900.0, 0.0]]), torch.tensor([0, 0]))
    tensor([1.0000, 0.6321])

    Raises:
        ValueError: For another form.
    """
    checks.choice("form", form, FORMS)
    log_s = log_loss(log_odds(student_logits, labels))
    log_t = log_loss(log_odds(teacher_logits, labels))
    if eps is not None:
        log_t = torch.logaddexp(log_t, torch.full_like(log_t, eps).log())
    # beyond e^7 the weight is 1 and its slope 0 in any float; an infinite r would make the latter
    # no number
    ratio = (log_s - log_t).clamp(max=7.0).exp()
    return -torch.expm1(-ratio) if form == "exponential" else torch.tanh(ratio / 2)


def needs(hyper: Hyper) -> Needs:
    """The teacher after its last step, and a draw for each sample if samples are mixed."""
    return Needs(teacher="final", draws=1 if hyper.select == "mixed" else 0)


def loss(
    hyper: Hyper,
    student: Outputs,
    teacher: Outputs | None,
    batch: Batch,
    state: State,  # noqa: ARG001
) -> dict[str, Tensor]:
    """One term, `weighted_soft_labels`."""
    z, v = student.logits, logits_of(teacher)
    value = weighted_soft_labels(
        z,
        v,
        batch.labels,
        temperature=hyper.temperature,
        alpha=hyper.alpha,
        form=hyper.form,
        eps=hyper.eps,
        detached=hyper.detached,
        value=hyper.value,
        heard=_heard(hyper, z, v, batch),
    )
    return {"loss": value}


def _heard(hyper: Hyper, z: Tensor, v: Tensor, batch: Batch) -> Tensor | None:
    """On which samples the teacher is heard."""
    if hyper.select == "all":
        return None
    chosen = regularization_mask(
        z, v, batch.labels, temperature=hyper.temperature, criterion=hyper.criterion
    )
    if hyper.select == "mixed":
        draws = required("draws", batch.draws)[..., 0]
        return torch.where(chosen, draws < 1 - hyper.excluded, draws < hyper.added)
    return chosen if hyper.select == "only" else ~chosen
