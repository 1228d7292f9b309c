r"""Label smoothing: cross-entropy of labels mixed with the uniform distribution.

.. math:: \ell = -\sum_k q_k \ln \sigma(z)_k, \qquad
          q = (1 - \epsilon) e_y + \epsilon u \ \text{(mix)}, \quad
          q_y = 1 - \epsilon,\ q_k = \tfrac{\epsilon}{K - 1} \ \text{(true)}

Ren 2022, sections 2 and 3.1; Zhang 2020, section 5.1. In the form of a divergence, as Wang 2020
prints it, it is the method ``lsr``.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from deep.losses import tempered_cross_entropy
from deep.method import Batch, Needs, Outputs, State
from theory import checks

CONVENTIONS = ("mix", "true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: Ren 2022, section 3.1.

    Zhang 2020, section 7, leaves the label a mass of .85: ``epsilon=0.15, convention="true"``.
    """

    epsilon: float = 0.1
    """Strength, in [0, 1]."""
    convention: str = "mix"
    """What epsilon is: ``"mix"``, the weight of the uniform distribution, which the label has a
    share of (Ren 2022, Wang 2020); ``"true"``, the mass of the other classes (Zhang 2020, code)."""

    def __post_init__(self) -> None:
        checks.fraction("epsilon", self.epsilon)
        checks.choice("convention", self.convention, CONVENTIONS)


def label_smoothing(
    student_logits: Tensor, labels: Tensor, *, epsilon: float = 0.1, convention: str = "mix"
) -> Tensor:
    """The loss above, one value a sample.

    Args:
        student_logits: z, shape (..., batch, classes).
        labels: y, int64 of shape (..., batch).
        epsilon: Strength.
        convention: ``"mix"`` or ``"true"``.

    Raises:
        ValueError: For another convention.

    >>> label_smoothing(torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0]), epsilon=0.3)
    tensor([0.6395])
    """
    targets = smoothed_labels(labels, student_logits, epsilon=epsilon, convention=convention)
    return tempered_cross_entropy(student_logits, targets)


def smoothed_labels(labels: Tensor, like: Tensor, *, epsilon: float, convention: str) -> Tensor:
    """The targets q of shape (..., batch, classes), with classes, dtype and device of ``like``.

    >>> smoothed_labels(torch.tensor([0]), torch.zeros(1, 2), epsilon=0.2, convention="mix")
    tensor([[0.9000, 0.1000]])

    Raises:
        ValueError: For a convention that is neither ``"mix"`` nor ``"true"``.
    """
    checks.choice("convention", convention, CONVENTIONS)
    classes = like.shape[-1]
    other = epsilon / (classes if convention == "mix" else classes - 1)
    own = 1 - epsilon + (other if convention == "mix" else 0.0)
    targets = torch.full_like(like, other, requires_grad=False)
    return targets.scatter(-1, labels.unsqueeze(-1), own)


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
    """One term, `label_smoothing`."""
    return {"loss": label_smoothing(student.logits, batch.labels, **asdict(hyper))}
