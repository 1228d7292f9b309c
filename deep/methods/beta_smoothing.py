r"""Beta smoothing: the surer the averaged network is of a sample, the less its label is smoothed.

.. math:: \ell_i = w \, CE(e_{y_i}, \sigma(z_i)) + (1 - w) \, CE(q_i, \sigma(z_i)), \qquad
          q_i(y_i) = b_{(r_i)}, \quad q_i(k) = \frac{1 - b_{(r_i)}}{K - 1}

with :math:`b_{(1)} \le \dots \le b_{(m)}` draws from Beta(a, 1), anew for every batch, and r_i the
rank of sample i by how sure a moving average of the network is of it [Zhang 2020, section 6].
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from deep.losses import (
    beta_shape,
    cross_entropy,
    log_odds,
    required,
    tempered_cross_entropy,
    two_level_targets,
)
from deep.method import AVERAGE_STARTS, STATISTICS, Batch, Needs, Outputs, State, WeightAverage
from theory import checks

RANKINGS = ("max", "true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: Zhang 2020, sections 6 and 7.

    Its released code: ``label_weight=0.4, rank_by="true"``; the label mass then asks for the
    shape 3.
    """

    label_weight: float = 0.6
    """w: .6 in the text (section 7), .4 in the code."""
    shape: float | None = None
    """a of Beta(a, 1), mean a / (a + 1). None: (m - w) / (1 - m), which leaves the label mass m on
    average: 5/3 with the defaults."""
    label_mass: float = 0.85
    """m, mean mass of the label in the whole target; used where ``shape`` is None. Section 7 prints
    the smoothing .15 in its place."""
    rank_by: str = "max"
    """``"max"``: the averaged network's largest probability (section 6); ``"true"``: its
    probability of the given label (code). They rank a batch differently."""
    decay: float = 0.999
    """Of the average, after a warm-up: the smaller of it and 1 - 1/(step + 1) (code)."""
    start: str = "own"
    """The average starts from its ``"own"`` random weights, which after s steps of warm-up keep the
    share 1/(s + 1) (code), or from a ``"copy"`` of the network's. The paper does not say."""
    statistics: str = "batch"
    """Batch normalization of the average: of the ``"batch"`` (training mode, as in the code), or
    the ``"stored"`` statistics. The paper does not say."""

    def __post_init__(self) -> None:
        checks.fraction("label_weight", self.label_weight)
        checks.fraction("label_mass", self.label_mass)
        checks.choice("rank_by", self.rank_by, RANKINGS)
        checks.fraction("decay", self.decay)
        checks.choice("start", self.start, AVERAGE_STARTS)
        checks.choice("statistics", self.statistics, STATISTICS)
        _shape(self)


def ranked_label_masses(draws: Tensor, scores: Tensor, *, shape: float) -> Tensor:
    """Draws from Beta(shape, 1), the i-th smallest for the sample of the i-th smallest score.

    Among equal scores the lower index takes the smaller draw.

    Args:
        draws: Uniform numbers in (0, 1), shape (..., batch).
        scores: Of the same shape.
        shape: a.

    >>> ranked_label_masses(torch.tensor([0.9, 0.5, 0.7]), torch.tensor([3.0, 1.0, 1.0]), shape=1.0)
    tensor([0.9000, 0.5000, 0.7000])
    """
    order = scores.argsort(dim=-1, stable=True)
    ordered = draws.sort(dim=-1).values ** (1 / shape)
    return torch.empty_like(ordered).scatter(-1, order, ordered)


def ranking_scores(logits: Tensor, labels: Tensor, *, rank_by: str = "max") -> Tensor:
    """Log-odds of the top class or of the label: ordered as the probabilities, never rounded to 1.

    Args:
        logits: Of the averaged network, shape (..., batch, classes).
        labels: int64, shape (..., batch).
        rank_by: ``"max"`` or ``"true"``.

    Raises:
        ValueError: For another ranking.

    >>> ranking_scores(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([0, 0]))
    tensor([2., 3.])
    """
    of_label = checks.choice("rank_by", rank_by, RANKINGS) == "true"
    return log_odds(logits, labels if of_label else logits.argmax(-1))


def beta_smoothing(
    student_logits: Tensor,
    average_logits: Tensor,
    labels: Tensor,
    draws: Tensor,
    *,
    label_weight: float = 0.6,
    shape: float = 5 / 3,
    rank_by: str = "max",
) -> Tensor:
    """The loss above, one value a sample; the samples of a batch are ranked among themselves.

    Args:
        student_logits: z, shape (..., batch, classes); axes before the batch are ranked apart.
        average_logits: Of the averaged network, same shape.
        labels: y, int64 of shape (..., batch).
        draws: Uniform numbers in (0, 1), shape (..., batch).
        label_weight: w.
        shape: a.
        rank_by: ``"max"`` or ``"true"``.

    >>> z, v, u = (
    ...     torch.zeros(2, 2),
    ...     torch.tensor([[2.0, 0.0], [0.0, 3.0]]),
    ...     torch.tensor([0.9, 0.4]),
    ... )
    >>> beta_smoothing(z, v, torch.tensor([0, 1]), u)
    tensor([0.6931, 0.6931])
    """
    scores = ranking_scores(average_logits.detach(), labels, rank_by=rank_by)
    mass = ranked_label_masses(draws.to(student_logits.dtype), scores, shape=shape)
    soft = tempered_cross_entropy(
        student_logits, two_level_targets(labels, mass, student_logits.shape[-1])
    )
    return label_weight * cross_entropy(student_logits, labels) + (1 - label_weight) * soft


def needs(hyper: Hyper) -> Needs:
    """The average of the student's weights, and one draw a sample; it couples a batch."""
    average = WeightAverage(
        decay=hyper.decay, warmup=True, start=hyper.start, statistics=hyper.statistics
    )
    return Needs(average=average, draws=1, batch=True)


def loss(
    hyper: Hyper,
    student: Outputs,
    teacher: Outputs | None,  # noqa: ARG001
    batch: Batch,
    state: State,
) -> dict[str, Tensor]:
    """One term, `beta_smoothing`."""
    value = beta_smoothing(
        student.logits,
        required("average", state.average),
        batch.labels,
        required("draws", batch.draws)[..., 0],
        label_weight=hyper.label_weight,
        shape=_shape(hyper),
        rank_by=hyper.rank_by,
    )
    return {"loss": value}


def _shape(hyper: Hyper) -> float:
    return beta_shape(hyper.shape, label_mass=hyper.label_mass, label_weight=hyper.label_weight)
