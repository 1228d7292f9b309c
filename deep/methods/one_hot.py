r"""One-hot labels: cross-entropy of the given class.

.. math:: \ell = -\ln \sigma(z)_y

The baseline of all five papers, and how teachers are trained.
"""

from dataclasses import dataclass

from torch import Tensor

from deep.losses import cross_entropy
from deep.method import Batch, Needs, Outputs, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Nothing to choose."""


def one_hot(student_logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of ``labels``, one value a sample.

    Args:
        student_logits: Shape (..., batch, classes).
        labels: int64, shape (..., batch).

    >>> import torch
    >>> one_hot(torch.zeros(1, 2), torch.tensor([0]))
    tensor([0.6931])
    """
    return cross_entropy(student_logits, labels)


def needs(hyper: Hyper) -> Needs:  # noqa: ARG001 - every method has this signature
    """The labels alone."""
    return Needs()


def loss(
    hyper: Hyper,  # noqa: ARG001
    student: Outputs,
    teacher: Outputs | None,  # noqa: ARG001
    batch: Batch,
    state: State,  # noqa: ARG001
) -> dict[str, Tensor]:
    """One term, `one_hot`."""
    return {"loss": one_hot(student.logits, batch.labels)}
