r"""Random Beta smoothing: every label smoothed by a draw of its own.

.. math:: \ell = w \, CE(e_y, \sigma(z)) + (1 - w) \, CE(q, \sigma(z)), \qquad
          q(y) = b, \quad q(k) = \frac{1 - b}{K - 1}, \quad b \sim Beta(a, 1)

The control of Beta smoothing, without its ranking [Zhang 2020, section 9.5]. Each sample takes the
draw made for it: the law is that of draws permuted at random, as they are independent.
"""

from dataclasses import dataclass

from torch import Tensor

from deep.losses import (
    beta_shape,
    cross_entropy,
    required,
    tempered_cross_entropy,
    two_level_targets,
)
from deep.method import Batch, Needs, Outputs, State
from theory import checks


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: those of Beta smoothing, Zhang 2020, section 7 ("the identical setup")."""

    label_weight: float = 0.6
    """w: .6 in the text, .4 in the code."""
    shape: float | None = None
    """a of Beta(a, 1), mean a / (a + 1). None: (m - w) / (1 - m), which leaves the label mass m on
    average: 5/3 with the defaults, 3 with the weight .4."""
    label_mass: float = 0.85
    """m, mean mass of the label in the whole target; used where ``shape`` is None."""

    def __post_init__(self) -> None:
        checks.fraction("label_weight", self.label_weight)
        checks.fraction("label_mass", self.label_mass)
        _shape(self)


def random_beta_smoothing(
    student_logits: Tensor,
    labels: Tensor,
    draws: Tensor,
    *,
    label_weight: float = 0.6,
    shape: float = 5 / 3,
) -> Tensor:
    """The loss above, one value a sample.

    Args:
        student_logits: z, shape (..., batch, classes).
        labels: y, int64 of shape (..., batch).
        draws: Uniform numbers in (0, 1), shape (..., batch); b is their power 1/a.
        label_weight: w.
        shape: a.

    >>> import torch
    >>> z = torch.tensor([[2.0, 0.0]])
    >>> random_beta_smoothing(z, torch.tensor([0]), torch.tensor([0.5]))
    tensor([0.3991])
    """
    mass = draws.to(student_logits.dtype) ** (1 / shape)
    soft = tempered_cross_entropy(
        student_logits, two_level_targets(labels, mass, student_logits.shape[-1])
    )
    return label_weight * cross_entropy(student_logits, labels) + (1 - label_weight) * soft


def needs(hyper: Hyper) -> Needs:  # noqa: ARG001
    """One draw a sample."""
    return Needs(draws=1)


def loss(
    hyper: Hyper,
    student: Outputs,
    teacher: Outputs | None,  # noqa: ARG001
    batch: Batch,
    state: State,  # noqa: ARG001
) -> dict[str, Tensor]:
    """One term, `random_beta_smoothing`."""
    value = random_beta_smoothing(
        student.logits,
        batch.labels,
        required("draws", batch.draws)[..., 0],
        label_weight=hyper.label_weight,
        shape=_shape(hyper),
    )
    return {"loss": value}


def _shape(hyper: Hyper) -> float:
    return beta_shape(hyper.shape, label_mass=hyper.label_mass, label_weight=hyper.label_weight)
