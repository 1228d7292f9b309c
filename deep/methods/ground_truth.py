r"""Ground truth: cross-entropy of the law of the label given the image.

.. math:: \ell = -\sum_k p^*(k \mid x) \ln \sigma(z)_k

The best targets there are [Ren 2022, section 3.1]: of the Gaussian toy in closed form, of
CIFAR-10H from human labels.

The law is that of the label that is given. Where labels are flipped or wrong it is not that of the
true label: with noise of a share :math:`\eta` the target is :math:`(1 - \eta) p + \eta (1 - p) / (K
- 1)`, p the law before it, and a network that reaches it is as unsure as the labels are. Such a run
has its distances from both laws (`deep.training.evaluation.measure`).
"""

from dataclasses import dataclass

from torch import Tensor

from deep.losses import required, tempered_cross_entropy
from deep.method import Batch, Needs, Outputs, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Nothing to choose."""


def ground_truth(student_logits: Tensor, posterior: Tensor) -> Tensor:
    """The loss above, one value a sample.

    Args:
        student_logits: z, shape (..., batch, classes).
        posterior: Distributions of the given label, of the same shape.

    >>> import torch
    >>> ground_truth(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.75, 0.25]]))
    tensor([0.5633])
    """
    return tempered_cross_entropy(student_logits, posterior)


def needs(hyper: Hyper) -> Needs:  # noqa: ARG001
    """The law of the given label given the image."""
    return Needs(posterior=True)


def loss(
    hyper: Hyper,  # noqa: ARG001
    student: Outputs,
    teacher: Outputs | None,  # noqa: ARG001
    batch: Batch,  # noqa: ARG001
    state: State,
) -> dict[str, Tensor]:
    """One term, `ground_truth`."""
    return {"loss": ground_truth(student.logits, required("posterior", state.posterior))}
