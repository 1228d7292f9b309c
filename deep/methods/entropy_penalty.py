r"""Entropy penalty: cross-entropy of the label less beta times the entropy of the prediction.

.. math:: \ell = -\ln \sigma(z)_y - \frac{\beta}{n} H(\sigma(z))

Pereyra et al. 2017; Zhang 2020, section 9.1. Over all predictions it is least for a smoothed label,
but of another strength than label smoothing of the same beta:
`theory.labels.smoothing.entropy_penalty_for_mass` has the map.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from deep.losses import cross_entropy
from deep.method import Batch, Needs, Outputs, State
from theory import checks


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: Zhang 2020 gives no strength.

    This one leaves the label of 100 classes the mass .85 to which it sets its other methods.
    """

    beta: float = 0.1859
    """beta >= 0. The mass .85 asks for .1859 of 100 classes, .2992 of 10."""
    divided_by: int = 1
    """n: 1, the penalty of each sample, or the size of the training set for the objective as it is
    printed, which divides the entropy, but not the label's part, once more than the mean does."""

    def __post_init__(self) -> None:
        checks.nonnegative("beta", checks.scalar("beta", self.beta))
        checks.integer("divided_by", self.divided_by, minimum=1)


PAPER = {name: Hyper(beta=0.2992) for name in ("cifar10", "mnist", "digits")}
"""The same label mass of ten classes."""


def entropy_penalized(
    student_logits: Tensor, labels: Tensor, *, beta: float = 0.1859, divided_by: int = 1
) -> Tensor:
    """The loss above, one value a sample; it may be negative.

    Args:
        student_logits: z, shape (..., batch, classes).
        labels: y, int64 of shape (..., batch).
        beta: Strength.
        divided_by: n, by which the entropy is divided.

    >>> entropy_penalized(torch.tensor([[2.0, 0.0]]), torch.tensor([0]), beta=0.5)
    tensor([-0.0557])
    """
    log_s = torch.log_softmax(student_logits, dim=-1)
    entropy = -(log_s.exp() * log_s).sum(-1)
    return cross_entropy(student_logits, labels) - (beta / divided_by) * entropy


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
    """One term, `entropy_penalized`."""
    return {"loss": entropy_penalized(student.logits, batch.labels, **asdict(hyper))}
