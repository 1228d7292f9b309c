r"""Distillation as maximum a posteriori: every sample with its own weight and mix.

.. math:: \ell = CE(e_y, \sigma(z)) + \beta S \, CE(\sigma(f / T), \sigma(z))
          + (\gamma - 1) K \, CE(u, \sigma(z)), \qquad S = \sum_k e^{f_k / T}

the negative log-posterior under the prior Dir(alpha), alpha = beta exp(f/T) + gamma [Zhang 2020,
eq. 6, 8 and 9]: at gamma = 1 a weight 1 + beta S on a mix with the share 1/(1 + beta S) of the
label. A constant added to a sample's logits changes its weight and not its targets.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from deep.losses import cross_entropy, logits_of, tempered_cross_entropy
from deep.matching import check_label_mass, matched_temperature, solved
from deep.method import Batch, Needs, Outputs, State
from theory import checks

CENTERS = ("none", "mean", "max")
READINGS = ("eq6", "eq3")
_LARGEST = math.log(torch.finfo(torch.float32).max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: Zhang 2020, section 5.2, which has this loss without values or an experiment.

    It begins at T = 1 and finds T > 1 useful; beta it calls a hyper-parameter. Weights exp(f/T) of
    a trained network at T = 1 differ by powers of ten between samples: by default T is that of
    section 7, and beta gives the label the share of eq. 3, in the mean.
    """

    reading: str = "eq6"
    """``"eq6"``: the loss above. ``"eq3"``: eq. 3 "with an additional sample weighting term", a
    fixed mix and the soft part times S: a CE + (1 - a) S CE(soft), without beta and gamma."""
    beta: float | None = None
    """Strength of the prior; None: solved for, so that the mean share of the label is
    ``label_weight`` on the training set."""
    temperature: float | None = None
    """T of the teacher alone (paper: 1, then more); None: solved for as in self-distillation, for
    ``label_mass`` at the fixed mix ``label_weight`` (section 7)."""
    gamma: float = 1.0
    """Flatness of the prior, at least 1 (paper, eq. 9: 1). Below, the loss has no lower bound;
    the method ``pruned_distillation`` is what the paper does then."""
    center: str = "none"
    """What is subtracted from a sample's logits in S: ``"none"`` (paper), their ``"mean"`` or
    ``"max"``."""
    label_weight: float = 0.6
    """a: of ``"eq3"``, and what beta of None is solved for."""
    label_mass: float = 0.85
    """What a temperature of None is solved for."""
    taught_by: str = "final"
    """Of the teacher's run: the network after the last step, or of the ``"best"`` validation
    epoch."""

    def __post_init__(self) -> None:
        checks.choice("reading", self.reading, READINGS)
        if self.beta is not None:
            checks.nonnegative("beta", checks.scalar("beta", self.beta))
        if self.temperature is None:
            check_label_mass(self.label_mass, self.label_weight)
        else:
            checks.temperature("temperature", self.temperature)
            checks.fraction("label_mass", self.label_mass)
        if checks.scalar("gamma", self.gamma) < 1:
            msg = f"gamma must be at least 1, or the loss has no lower bound, got {self.gamma}"
            raise ValueError(msg)
        checks.choice("center", self.center, CENTERS)
        checks.fraction("label_weight", self.label_weight)
        if self.beta is None and self.reading == "eq6" and not 0 < self.label_weight < 1:
            msg = f"label_weight must be in (0, 1) to solve for beta, got {self.label_weight}"
            raise ValueError(msg)
        checks.choice("taught_by", self.taught_by, ("final", "best"))


def map_distillation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    beta: float,
    temperature: float = 1.0,
    gamma: float = 1.0,
    center: str = "none",
) -> Tensor:
    r"""The loss above, one value a sample.

    :math:`\beta S` is formed as :math:`e^{\ln \beta + \ln S}`: S itself may be too large a number.
    Where the product is, in the dtype of the logits, the loss is inf; `fit` refuses such a setting.

    Args:
        student_logits: z, shape (..., batch, classes).
        teacher_logits: f, of the same shape.
        labels: y, int64 of shape (..., batch).
        beta: Strength of the prior, at least 0.
        temperature: T.
        gamma: At least 1.
        center: ``"none"``, ``"mean"`` or ``"max"``.

    Raises:
        ValueError: For another center.

    >>> z, f = torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    >>> map_distillation(z, f, torch.tensor([0]), beta=0.1)
    tensor([0.9509])
    """
    total = cross_entropy(student_logits, labels)
    if beta > 0:
        log_mass = teacher_log_mass(teacher_logits, temperature=temperature, center=center)
        targets = torch.softmax(teacher_logits / temperature, dim=-1)
        soft = tempered_cross_entropy(student_logits, targets)
        total = total + (log_mass + math.log(beta)).exp() * soft
    if gamma > 1:
        total = total - (gamma - 1) * torch.log_softmax(student_logits, dim=-1).sum(-1)
    return total


def rescaled_distillation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    label_weight: float = 0.6,
    temperature: float = 1.0,
    center: str = "none",
) -> Tensor:
    r"""The other reading, :math:`a \, CE(e_y, s_1) + (1 - a) \, S \, CE(\sigma(f/T), s_1)`.

    Args:
        student_logits: z, shape (..., batch, classes).
        teacher_logits: f, of the same shape.
        labels: y, int64 of shape (..., batch).
        label_weight: a.
        temperature: T.
        center: ``"none"``, ``"mean"`` or ``"max"``.

    Raises:
        ValueError: For another center.

    >>> z, f = torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    >>> rescaled_distillation(z, f, torch.tensor([0]))
    tensor([1.4468])
    """
    log_mass = teacher_log_mass(teacher_logits, temperature=temperature, center=center)
    targets = torch.softmax(teacher_logits / temperature, dim=-1)
    soft = log_mass.exp() * tempered_cross_entropy(student_logits, targets)
    return label_weight * cross_entropy(student_logits, labels) + (1 - label_weight) * soft


def teacher_log_mass(logits: Tensor, *, temperature: float, center: str = "none") -> Tensor:
    r""":math:`\ln S`, shape (...) of logits (..., classes).

    >>> teacher_log_mass(torch.tensor([[1000.0, 1000.0]]), temperature=1.0, center="mean")
    tensor([0.6931])

    Raises:
        ValueError: For a center that is none of ``"none"``, ``"mean"``, ``"max"``.
    """
    checks.choice("center", center, CENTERS)
    if center == "mean":
        logits = logits - logits.mean(dim=-1, keepdim=True)
    elif center == "max":
        logits = logits - logits.amax(dim=-1, keepdim=True)
    return torch.logsumexp(logits / temperature, dim=-1)


def fit(hyper: Hyper, teacher_logits: ArrayLike, labels: ArrayLike) -> Hyper:
    """``hyper`` with temperature and beta solved for, as far as they are None.

    Args:
        hyper: Options.
        teacher_logits: f of the training samples, (samples, classes).
        labels: y, (samples,).

    Raises:
        ValueError: As `deep.matching.matched_temperature`; if no beta gives the label its share; if
            a sample's weight is too large a number for float32.

    >>> solution = fit(Hyper(temperature=1.0), [[0.0, 0.0], [0.0, 0.0]], [0, 1])
    >>> solution.beta  # S = 2: a share of 1/(1 + 2/3)
    0.333
    """
    f = checks.logits("teacher_logits", teacher_logits)
    if hyper.temperature is None:
        temperature = matched_temperature(
            f, labels, label_mass=hyper.label_mass, label_weight=hyper.label_weight
        )
        hyper = replace(hyper, temperature=temperature)
    temperature = solved("temperature", hyper.temperature)
    log_mass = teacher_log_mass(
        torch.from_numpy(f), temperature=temperature, center=hyper.center
    ).numpy()
    if hyper.reading == "eq6" and hyper.beta is None:
        hyper = replace(hyper, beta=_strength(hyper, log_mass, f.shape[-1]))
    scale = 1.0 if hyper.reading == "eq3" else solved("beta", hyper.beta)
    with np.errstate(divide="ignore"):
        largest = float(log_mass.max() + np.log(scale))
    if largest > _LARGEST - math.log(1e6):  # the cross-entropy it multiplies may be large, too
        msg = (
            "temperature must be high enough for weights exp(f / T) that are floats: the largest "
            f"is e^{largest:.4g} at temperature {temperature:g}; raise it, or set center='mean' or "
            "'max', or beta=None"
        )
        raise ValueError(msg)
    return hyper


def _strength(hyper: Hyper, log_mass: checks.Array, classes: int) -> float:
    """The beta at which the mean of 1/(1 + beta S + (gamma - 1) K) is the label's share."""
    from scipy.optimize import brentq

    rest = _rest(hyper, classes)

    def excess(log_beta: float) -> float:
        share = np.exp(-np.logaddexp(math.log(rest), log_beta + log_mass))
        return float(share.mean()) - hyper.label_weight

    low, high = -float(log_mass.max()) - 50.0, -float(log_mass.min()) + 50.0
    log_beta = float(brentq(excess, low, high, xtol=1e-13))
    if not -700.0 < log_beta < 700.0:
        msg = (
            f"temperature must be high enough for a beta that is a float, got e^{log_beta:.4g} at "
            f"temperature {hyper.temperature:g}; raise it, or set center='mean' or 'max'"
        )
        raise ValueError(msg)
    return math.exp(log_beta)


def _rest(hyper: Hyper, classes: int) -> float:
    """1 + (gamma - 1) K, by which the label's share is divided whatever beta is."""
    rest = 1.0 + (hyper.gamma - 1.0) * classes
    if 1.0 / rest <= hyper.label_weight:
        msg = (
            f"gamma must be less than {1 + (1 / hyper.label_weight - 1) / classes:.4g} for the "
            f"label of {classes} classes to have a share of {hyper.label_weight:g} with some beta, "
            f"got {hyper.gamma:g}; give a beta"
        )
        raise ValueError(msg)
    return rest


def check(hyper: Hyper, classes: int) -> None:
    """Raise ValueError if no temperature, or no beta, can leave the label of so many its share.

    >>> check(Hyper(gamma=1.05), 10)
    """
    if hyper.temperature is None:
        check_label_mass(hyper.label_mass, hyper.label_weight, classes)
    if hyper.reading == "eq6" and hyper.beta is None:
        _rest(hyper, classes)


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
    """One term, `map_distillation` or `rescaled_distillation`.

    Raises:
        ValueError: If temperature or beta have not been solved for.
    """
    z, f = student.logits, logits_of(teacher)
    temperature = solved("temperature", hyper.temperature)
    if hyper.reading == "eq3":
        value = rescaled_distillation(
            z,
            f,
            batch.labels,
            label_weight=hyper.label_weight,
            temperature=temperature,
            center=hyper.center,
        )
    else:
        value = map_distillation(
            z,
            f,
            batch.labels,
            beta=solved("beta", hyper.beta),
            temperature=temperature,
            gamma=hyper.gamma,
            center=hyper.center,
        )
    return {"loss": value}
