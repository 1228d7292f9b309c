r"""Tf-KD: distillation from a hand-made teacher, without any network.

.. math:: \ell = (1 - \alpha) \, CE(e_y, \sigma(z)) + \alpha \, c \, KL(p_\tau, \sigma(z / \tau')),
          \qquad p(y) = a, \quad p(k) = \frac{1 - a}{K - 1}

Yuan et al. 2020 (regularization form), a baseline of Wang 2020. The released code differs from the
paper in every part: its teacher is the softmax of *probabilities* over tau, at its values next to
uniform (.0105 on the label of 100 classes), its student is not tempered, and its divergence is
averaged over the classes too.
"""

import math
from dataclasses import asdict, dataclass

from torch import Tensor

from deep.losses import cross_entropy, divergence, two_level_targets
from deep.method import Batch, Needs, Outputs, State
from theory import checks

TEMPERS = ("power", "prob_as_logit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyper:
    """Defaults: the loss as Wang 2020 quotes it, with the numbers of the released code.

    The released code, ResNet-18 on CIFAR-100: ``temper="prob_as_logit", student_temperature=1,
    class_mean=True, multiplier=100``; MobileNet-V2: also ``weight=.95, temperature=40,
    multiplier=1``.
    """

    label_mass: float = 0.99
    """a: at least .99 (paper), .99 (code)."""
    weight: float = 0.1
    """alpha of the hand-made teacher; the label has the rest. It depends on the network: .1 and .95
    in the code."""
    temperature: float = 20.0
    """tau of the teacher: at least 20 (paper), 20 and 40 (code)."""
    temper: str = "power"
    """``"power"``: the teacher is p^(1/tau), normalized, as probabilities are tempered;
    ``"prob_as_logit"``: softmax(p / tau) (code)."""
    student_temperature: float | None = None
    """tau'. None: tau, as the paper has it; the code has 1."""
    class_mean: bool = False
    """Whether the divergence is also divided by the number of classes (code)."""
    multiplier: float = 1.0
    """c, a factor of the divergence: 1, or 100 in the code, which undoes the mean over classes."""

    def __post_init__(self) -> None:
        checks.fraction("label_mass", self.label_mass)
        checks.fraction("weight", self.weight)
        checks.temperature("temperature", self.temperature)
        checks.choice("temper", self.temper, TEMPERS)
        if self.student_temperature is not None:
            checks.temperature("student_temperature", self.student_temperature)
        checks.flag("class_mean", self.class_mean)
        checks.nonnegative("multiplier", checks.scalar("multiplier", self.multiplier))


def virtual_label_mass(
    classes: int, *, label_mass: float = 0.99, temperature: float = 20.0, temper: str = "power"
) -> float:
    """Mass that the tempered hand-made teacher puts on the label.

    Args:
        classes: K, at least 2.
        label_mass: a in [0, 1].
        temperature: tau.
        temper: ``"power"`` or ``"prob_as_logit"``.

    Raises:
        ValueError: For another way to temper.

    >>> virtual_label_mass(100), virtual_label_mass(100, temper="prob_as_logit")
    (0.0157, 0.0105)
    """
    others = (1 - label_mass) / (classes - 1)
    if checks.choice("temper", temper, TEMPERS) == "prob_as_logit":
        gap = (label_mass - others) / temperature
    elif 0 < label_mass < 1:
        gap = (math.log(label_mass) - math.log(others)) / temperature
    else:
        return label_mass
    # of the two forms the one whose exponential does not overflow
    if gap > 0:
        return 1 / (1 + (classes - 1) * math.exp(-gap))
    return math.exp(gap) / (math.exp(gap) + classes - 1)


def virtual_teacher_distillation(
    student_logits: Tensor,
    labels: Tensor,
    *,
    label_mass: float = 0.99,
    weight: float = 0.1,
    temperature: float = 20.0,
    temper: str = "power",
    student_temperature: float | None = None,
    class_mean: bool = False,
    multiplier: float = 1.0,
) -> Tensor:
    """The loss above, one value a sample.

    Args:
        student_logits: z, shape (..., batch, classes).
        labels: y, int64 of shape (..., batch).
        label_mass: a.
        weight: alpha.
        temperature: tau.
        temper: How the teacher is tempered.
        student_temperature: tau'; the teacher's if None.
        class_mean: Whether the divergence is divided by the number of classes.
        multiplier: c.

    >>> import torch
    >>> virtual_teacher_distillation(torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
    tensor([0.1144])
    """
    classes = student_logits.shape[-1]
    mass = virtual_label_mass(
        classes, label_mass=label_mass, temperature=temperature, temper=temper
    )
    targets = two_level_targets(labels, student_logits.new_full((), mass), classes)
    tau = temperature if student_temperature is None else student_temperature
    soft = divergence(student_logits, targets, temperature=tau, factor="1")
    scale = weight * multiplier / (classes if class_mean else 1)
    return (1 - weight) * cross_entropy(student_logits, labels) + scale * soft


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
    """One term, `virtual_teacher_distillation`."""
    value = virtual_teacher_distillation(student.logits, batch.labels, **asdict(hyper))
    return {"loss": value}
