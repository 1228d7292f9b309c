r"""What the losses of several methods are made of: torch, from logits, one value a sample.

.. math:: \ell(z, q) = -c \sum_k q_k \ln \sigma(z / \tau)_k

Closed forms of all of them, with their gradients, are in `theory.labels.losses`.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from deep.method import Outputs
from theory import checks

FACTORS = ("1", "tau", "tau2", "2tau2")
VALUES = ("ce", "kl")
RAMPS = ("start", "center")
CRITERIA = ("abs", "signed", "tau1")


def temperature_factor(name: str, temperature: float) -> float:
    r"""The factor c of a loss at temperature :math:`\tau`: 1, tau, tau^2 or 2 tau^2.

    >>> temperature_factor("tau2", 4.0)
    16.0

    Raises:
        ValueError: If ``name`` is none of ``"1"``, ``"tau"``, ``"tau2"``, ``"2tau2"``.
    """
    factors = {
        "1": 1.0,
        "tau": temperature,
        "tau2": temperature**2,
        "2tau2": 2 * temperature**2,
    }
    if name not in factors:
        msg = f"factor must be one of {', '.join(map(repr, FACTORS))}, got {name!r}"
        raise ValueError(msg)
    return factors[name]


def tempered_cross_entropy(
    logits: Tensor, targets: Tensor, *, temperature: float = 1.0, factor: str = "tau2"
) -> Tensor:
    """Cross-entropy of targets and tempered predictions, shape (...) of arrays (..., classes).

    >>> float(tempered_cross_entropy(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])))
    0.693
    """
    scale = temperature_factor(factor, temperature)
    return -scale * (targets * torch.log_softmax(logits / temperature, dim=-1)).sum(-1)


def divergence(
    logits: Tensor, targets: Tensor, *, temperature: float = 1.0, factor: str = "tau2"
) -> Tensor:
    r"""Divergence of tempered predictions from targets, :math:`c \, KL(q, s_\tau)`.

    `tempered_cross_entropy` less c times the entropy of the targets, which are constants.

    >>> divergence(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
    tensor([0.6931])
    """
    log_s = torch.log_softmax(logits / temperature, dim=-1)
    targets = targets.detach()
    # 0 log 0 = 0
    gap = torch.where(targets > 0, targets.log(), log_s.detach()) - log_s
    return temperature_factor(factor, temperature) * (targets * gap).sum(-1)


def two_level_targets(labels: Tensor, label_mass: Tensor, classes: int) -> Tensor:
    """Distributions with a given mass on the label and the rest in equal parts on the others.

    Args:
        labels: int64, shape (..., batch).
        label_mass: In [0, 1], of a shape that broadcasts against it; targets have its type.
        classes: At least 2.

    >>> two_level_targets(torch.tensor([0, 2]), torch.tensor([0.8, 0.5]), 3)
    tensor([[0.8000, 0.1000, 0.1000],
            [0.2500, 0.2500, 0.5000]])
    """
    mass = label_mass.expand(labels.shape).unsqueeze(-1)
    rest = (1 - mass) / (classes - 1)
    return rest.expand(*labels.shape, classes).scatter(-1, labels.unsqueeze(-1), mass)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the given class, shape (...) of logits (..., classes).

    >>> cross_entropy(torch.zeros(1, 2), torch.tensor([0]))
    tensor([0.6931])
    """
    return -_at(torch.log_softmax(logits, dim=-1), labels)


def distillation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float,
    factor: str = "tau2",
    value: str = "ce",
) -> Tensor:
    r"""Tempered distillation, :math:`c \, CE(t_\tau, s_\tau)` or :math:`c \, KL(t_\tau, s_\tau)`.

    Classes that the teacher rules out (logit -inf) count 0. The teacher is a constant.

    >>> z, v = torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0]])
    >>> distillation(z, v, temperature=1.0), distillation(z, z, temperature=1.0, value="kl")
    (tensor([0.3607]), tensor([0.]))
    """
    log_t = torch.log_softmax(teacher_logits.detach() / temperature, dim=-1)
    log_s = torch.log_softmax(student_logits / temperature, dim=-1)
    t, scale = log_t.exp(), temperature_factor(factor, temperature)
    if value == "ce":
        return -scale * (t * log_s).sum(-1)
    if value != "kl":
        msg = f"value must be one of {', '.join(map(repr, VALUES))}, got {value!r}"
        raise ValueError(msg)
    # 0 log 0 = 0 where the teacher rules a class out
    gap = torch.where(t > 0, log_t, log_s.detach()) - log_s
    return scale * (t * gap).sum(-1)


def teaching_copies(past_logits: Tensor, student_logits: Tensor, trained: int | None) -> Tensor:
    """The first ``trained`` of a network's past copies, or all, as constants.

    Args:
        past_logits: Shape (copies, ..., batch, classes).
        student_logits: Shape (..., batch, classes).
        trained: How many; None for all.

    >>> teaching_copies(torch.zeros(3, 5, 2), torch.zeros(5, 2), 1).shape
    torch.Size([1, 5, 2])

    Raises:
        ValueError: If the copies' logits have another shape, or there are not so many.
    """
    if past_logits.shape[1:] != student_logits.shape:
        msg = (
            "past_logits must have shape (copies, ..., batch, classes), one more axis than "
            f"student_logits, got {tuple(past_logits.shape)} and {tuple(student_logits.shape)}"
        )
        raise ValueError(msg)
    count = len(past_logits) if trained is None else trained
    if not 0 <= count <= len(past_logits):
        msg = f"trained must be from 0 to the {len(past_logits)} copies there are, got {count}"
        raise ValueError(msg)
    return past_logits[:count].detach()


def log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    r""":math:`\varphi_y = z_y - \ln \sum_{k \ne y} e^{z_k} = \ln \frac{p_y}{1 - p_y}`.

    The cross-entropy is softplus(-phi), which keeps its digits where a float32 softmax is 1.

    >>> log_odds(torch.tensor([[3.0, 1.0]]), torch.tensor([0]))
    tensor([2.])
    """
    others = logits.scatter(-1, labels.unsqueeze(-1), -torch.inf)
    return _at(logits, labels) - torch.logsumexp(others, dim=-1)


def log_loss(phi: Tensor) -> Tensor:
    r""":math:`\ln \mathrm{softplus}(-\varphi)`, finite also where the cross-entropy underflows.

    >>> log_loss(torch.tensor([0.0, 200.0]))
    tensor([  -0.3665, -200.0000])
    """
    # far out the loss is e^-phi to the last digit; torch's softplus is cut off at 20
    return torch.where(phi > 30, -phi, (-logsigmoid(phi.clamp(max=30))).log())


def regularization_mask(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float,
    criterion: str = "abs",
) -> Tensor:
    r"""Which samples are regularization samples [Zhou 2021, section 3.2]; ties are not.

    ``"abs"``, the paper's :math:`|b| > |a|`: the student gives the label more than the teacher at
    the temperature, or :math:`\tau (t_\tau(y) - s_\tau(y)) > 2 (1 - s_1(y))`; ``"signed"`` is the
    first of the two alone, ``"tau1"`` the first at temperature 1.

    >>> z, v = torch.tensor([[3.0, 0.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    >>> regularization_mask(z, v, torch.tensor([0, 0]), temperature=4.0)
    tensor([ True, False])
    """
    masks = regularization_masks(
        student_logits, teacher_logits, labels, temperature=temperature, criteria=(criterion,)
    )
    return masks[criterion]


def regularization_masks(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float,
    criteria: Sequence[str] = CRITERIA,
) -> dict[str, Tensor]:
    """`regularization_mask` by several criteria at once, which share what they compute.

    >>> z, v = torch.tensor([[3.0, 0.0]]), torch.tensor([[9.0, 0.0]])
    >>> regularization_masks(z, v, torch.tensor([0]), temperature=4.0)
    {'abs': tensor([True]), 'signed': tensor([False]), 'tau1': tensor([False])}

    Raises:
        ValueError: If one is none of ``"abs"``, ``"signed"``, ``"tau1"``.
    """
    for criterion in criteria:
        checks.choice("criterion", criterion, CRITERIA)
    z, v = student_logits.detach(), teacher_logits.detach()
    found = {}
    if "tau1" in criteria:
        found["tau1"] = log_odds(z, labels) > log_odds(v, labels)
    if {"abs", "signed"} & {*criteria}:
        student, teacher = (log_odds(one / temperature, labels) for one in (z, v))
        found["signed"] = student > teacher
    if "abs" in criteria:
        # in logarithms, for both sides may be smaller than any float:
        # t - s = t (1 - s) (1 - e^(student - teacher)), and 2 (1 - s_1(y)) on the other side
        apart = (-torch.expm1((student - teacher).clamp(max=0.0))).log()
        pull = math.log(temperature) + logsigmoid(teacher) + logsigmoid(-student) + apart
        missing = math.log(2.0) + logsigmoid(-log_odds(z, labels))
        found["abs"] = found["signed"] | (pull > missing)
    return {criterion: found[criterion] for criterion in criteria}


def beta_shape(shape: float | None, *, label_mass: float, label_weight: float) -> float:
    r"""Shape a of label masses drawn from Beta(a, 1): the one given, or that of a mean label mass.

    .. math:: w + (1 - w) \frac{a}{a + 1} = m, \qquad a = \frac{m - w}{1 - m}

    [Zhang 2020, section 7, with 1 - epsilon for the misprinted epsilon].

    Args:
        shape: a > 0, or None.
        label_mass: m, of the whole target in the mean; of no effect where a shape is given.
        label_weight: w of the one-hot part.

    >>> beta_shape(None, label_mass=0.85, label_weight=0.6)
    1.6667

    Raises:
        ValueError: For a shape that is not > 0, or if the labels alone have more than that mass.
    """
    if shape is not None:
        return float(checks.positive("shape", checks.scalar("shape", shape)))
    if not label_weight < label_mass < 1:
        msg = (
            "label_weight must be less than label_mass, and label_mass less than 1, where no shape "
            f"is given, got {label_weight:g} and {label_mass:g}"
        )
        raise ValueError(msg)
    return (label_mass - label_weight) / (1 - label_mass)


def switched_share(
    progress: float, *, switch: float, window: float = 0.0, ramp: str = "start"
) -> float:
    r"""How much of a switch from one loss to another is done, :math:`clip((t - t_0)/w, 0, 1)`.

    Args:
        progress: t, share of the training that is done.
        switch: t_0. With w = 0 the step at t_0 comes after the switch.
        window: w >= 0, share of the training that the switch takes.
        ramp: Whether t_0 is its ``"start"`` or its ``"center"``.

    >>> [switched_share(t, switch=0.5, window=0.2) for t in (0.4, 0.5, 0.6, 0.7)]
    [0.0, 0.0, 0.5, 1.0]

    Raises:
        ValueError: If ``ramp`` is neither.
    """
    if ramp not in RAMPS:
        msg = f"ramp must be one of {', '.join(map(repr, RAMPS))}, got {ramp!r}"
        raise ValueError(msg)
    if not window > 0:
        return float(progress >= switch)
    done = (progress - switch) / window + (0.5 if ramp == "center" else 0.0)
    return min(1.0, max(0.0, done))


def logits_of(outputs: Outputs | None) -> Tensor:
    """Logits of a teacher that must be there, as constants.

    Raises:
        ValueError: If there is none.
    """
    if outputs is None:
        msg = "teacher must be given to a method that learns from one, got None"
        raise ValueError(msg)
    return outputs.logits.detach()


def required(name: str, tensor: Tensor | None) -> Tensor:
    """What the runner must have provided, under its name, as a constant.

    Raises:
        ValueError: If it is not there.
    """
    if tensor is None:
        msg = f"{name} must be given to this method, got None"
        raise ValueError(msg)
    return tensor.detach()


def _at(values: Tensor, labels: Tensor) -> Tensor:
    """The entry of each row at its label."""
    return values.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
