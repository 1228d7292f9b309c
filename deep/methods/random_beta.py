r"""Random Beta smoothing: every label smoothed by a draw of its own.

.. math:: \ell = w \, CE(e_y, \sigma(z)) + (1 - w) \, CE(q, \sigma(z)), \qquad
          q(y) = b, \quad q(k) = \frac{1 - b}{K - 1}, \quad b \sim Beta(a, 1)

The control of Beta smoothing, without its ranking [papers/002, section 9.5]. Each sample takes the
draw made for it: the law is that of draws permuted at random, as they are independent.
"""

from dataclasses import dataclass

from torch import Tensor

from deep.losses import cross_entropy, required, tempered_cross_entropy, two_level_targets
from deep.method import Batch, Needs, Outputs, State
from theory import checks
from theory.labels.smoothing import beta_shape_for_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: those of Beta smoothing, papers/002, section 7 ("the identical setup")."""

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
        checks.positive("shape", solved_shape(self))


def solved_shape(hyper: Hyper) -> float:
    """The shape given, or the one of the label mass.

    >>> solved_shape(Hyper()), solved_shape(Hyper(label_weight=0.4)), solved_shape(Hyper(shape=2.0))
    (1.6667, 3.0, 2.0)

    Raises:
        ValueError: If the labels alone have more than that mass.
    """
    if hyper.shape is not None:
        return checks.scalar("shape", hyper.shape)
    if not hyper.label_weight < hyper.label_mass < 1:
        msg = (
            "label_weight must be less than label_mass, and label_mass less than 1, where no shape "
            f"is given, got {hyper.label_weight:g} and {hyper.label_mass:g}"
        )
        raise ValueError(msg)
    return float(beta_shape_for_mean(hyper.label_mass, hyper.label_weight))


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
        shape=solved_shape(hyper),
    )
    return {"loss": value}
