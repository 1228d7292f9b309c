r"""Label smoothing regularization: cross-entropy of the label mixed with all classes.

.. math:: \ell = CE((1 - a) e_y + a u, \sigma(z))
          = (1 - a) \, CE(e_y, \sigma(z)) + a \, KL(u, \sigma(z)) + a \ln M

Wang 2020, eq. 5 and 6; the printed equality misses the constant :math:`a \ln M`.
"""

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from deep.losses import VALUES, cross_entropy
from deep.method import Batch, Needs, Outputs, State
from theory import checks


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: Wang 2020, section 4.3, for all its data sets."""

    smoothing: float = 0.1
    """a, the share of the uniform distribution u; the label keeps 1 - a + a / M."""
    value: str = "ce"
    """``"ce"``, as torch's ``label_smoothing``; or ``"kl"``, as the paper prints it, smaller by
    a ln M. The gradients are equal."""

    def __post_init__(self) -> None:
        checks.fraction("smoothing", self.smoothing)
        checks.choice("value", self.value, VALUES)


def label_smoothing_regularization(
    student_logits: Tensor, labels: Tensor, *, smoothing: float = 0.1, value: str = "ce"
) -> Tensor:
    """The loss above, one value a sample.

    Args:
        student_logits: z, shape (..., batch, classes).
        labels: y, int64 of shape (..., batch).
        smoothing: a.
        value: With its constant, ``"ce"``, or without, ``"kl"``.

    Raises:
        ValueError: For another value.

    >>> import torch
    >>> label_smoothing_regularization(torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
    tensor([0.2269])
    """
    checks.choice("value", value, VALUES)
    hard = cross_entropy(student_logits, labels)
    everywhere = -torch.log_softmax(student_logits, dim=-1).mean(-1)
    constant = math.log(student_logits.shape[-1]) if value == "kl" else 0.0
    return (1 - smoothing) * hard + smoothing * (everywhere - constant)


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
    """One term, `label_smoothing_regularization`."""
    value = label_smoothing_regularization(student.logits, batch.labels, **asdict(hyper))
    return {"loss": value}
