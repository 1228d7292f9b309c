r"""Pruned distillation: a tempered teacher of which only the largest classes are left.

.. math:: \ell = a \, CE(e_y, \sigma(z)) + (1 - a) \, CE(q, \sigma(z)), \qquad
          q_k \propto e^{f_k / T} \text{ for the } \lfloor (1 - \rho) K + \tfrac12 \rfloor
          \text{ largest } f_k, \text{ else } 0

What becomes of a prior with gamma below 1 [Zhang 2020, section 9.7]. The label may be pruned; its
own part still sees it.
"""

from dataclasses import dataclass, replace

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from deep.losses import cross_entropy, logits_of, tempered_cross_entropy
from deep.matching import check_label_mass, matched_temperature, solved
from deep.method import Batch, Needs, Outputs, State
from theory import checks
from theory.labels.smoothing import kept_classes


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: Zhang 2020, sections 7 and 9.7."""

    share: float = 0.5
    """rho, the share of the classes that are pruned for each sample."""
    label_weight: float = 0.6
    """a of the labels."""
    temperature: float | None = None
    """T of the teacher; None: that of self-distillation with the unpruned teacher, solved for so
    that the mean label mass of its targets is ``label_mass`` (section 7)."""
    label_mass: float = 0.85
    """The mass that a temperature of None is solved for."""
    taught_by: str = "final"
    """Of the teacher's run: the network after the last step, or of the ``"best"`` validation
    epoch."""

    def __post_init__(self) -> None:
        if not 0 <= checks.scalar("share", self.share) < 1:
            msg = f"share must be in [0, 1), got {self.share}"
            raise ValueError(msg)
        checks.fraction("label_weight", self.label_weight)
        if self.temperature is None:
            check_label_mass(self.label_mass, self.label_weight)
        else:
            checks.temperature("temperature", self.temperature)
            checks.fraction("label_mass", self.label_mass)
        checks.choice("taught_by", self.taught_by, ("final", "best"))


def pruned_distillation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float,
    label_weight: float = 0.6,
    share: float = 0.5,
) -> Tensor:
    """The loss above, one value a sample.

    Args:
        student_logits: z, shape (..., batch, classes).
        teacher_logits: f, of the same shape.
        labels: y, int64 of shape (..., batch).
        temperature: T.
        label_weight: a.
        share: rho.

    Raises:
        ValueError: If no class is left.

    >>> z, f = torch.tensor([[1.0, 0.0]]), torch.tensor([[4.0, 0.0]])
    >>> pruned_distillation(z, f, torch.tensor([0]), temperature=2.0, share=0.5)
    tensor([0.3133])
    """
    targets = pruned_probabilities(teacher_logits, temperature=temperature, share=share)
    soft = tempered_cross_entropy(student_logits, targets)
    return label_weight * cross_entropy(student_logits, labels) + (1 - label_weight) * soft


def pruned_probabilities(logits: Tensor, *, temperature: float, share: float) -> Tensor:
    """The targets q, of the shape of ``logits``. Among equal logits the lower class stays.

    >>> pruned_probabilities(torch.tensor([1.0, 0.0, 1.0, 1.0]), temperature=1.0, share=0.5)
    tensor([0.5000, 0.0000, 0.5000, 0.0000])

    Raises:
        ValueError: If no class is left.
    """
    kept = kept_classes(share, logits.shape[-1])
    order = torch.sort(logits, dim=-1, descending=True, stable=True).indices
    left = logits.scatter(-1, order[..., kept:], -torch.inf)
    return torch.softmax(left / temperature, dim=-1)


def fit(hyper: Hyper, teacher_logits: ArrayLike, labels: ArrayLike) -> Hyper:
    """``hyper`` with the temperature solved for, if it is None.

    Args:
        hyper: Options.
        teacher_logits: f of the training samples, (samples, classes).
        labels: y, (samples,).

    Raises:
        ValueError: As `deep.matching.matched_temperature`, which also tells what becomes of a
            teacher that has not the mass.

    >>> fit(Hyper(label_mass=0.9), [[2.1972246, 0.0]], [0]).temperature
    2.000
    """
    if hyper.temperature is not None:
        return hyper
    temperature = matched_temperature(
        teacher_logits, labels, label_mass=hyper.label_mass, label_weight=hyper.label_weight
    )
    return replace(hyper, temperature=temperature)


def check(hyper: Hyper, classes: int) -> None:
    """Raise ValueError if of so many classes none is left, or the label never has its mass.

    >>> check(Hyper(), 10)
    """
    if hyper.temperature is None:
        check_label_mass(hyper.label_mass, hyper.label_weight, classes)
    kept_classes(hyper.share, classes)


def needs(hyper: Hyper) -> Needs:
    """The teacher."""
    return Needs(teacher=hyper.taught_by)


def loss(
    hyper: Hyper,
    student: Outputs,
    teacher: Outputs | None,
    batch: Batch,
    state: State,  # noqa: ARG001
) -> dict[str, Tensor]:
    """One term, `pruned_distillation`.

    Raises:
        ValueError: If the temperature has not been solved for, or no class is left.
    """
    value = pruned_distillation(
        student.logits,
        logits_of(teacher),
        batch.labels,
        temperature=solved("temperature", hyper.temperature),
        label_weight=hyper.label_weight,
        share=hyper.share,
    )
    return {"loss": value}
