"""Every published loss of one sample, with its exact gradient in the student's logits.

Values and gradients are float64 and exact to round-off: they are what losses of trained networks
are checked against. Losses taught by a teacher stand in `theory.labels.losses.distillation`,
those that need none in `theory.labels.losses.regularization`.
"""

from theory.labels.losses.base import (
    FACTORS,
    Loss,
    one_hot,
    temperature_factor,
    tempered_cross_entropy,
)
from theory.labels.losses.distillation import (
    MASKS,
    distillation,
    filtered_distillation,
    kept_at_random,
    masked_distillation,
    pair_weights,
    teacher_tempered,
    triple_weights,
    weighted_distillation,
)

__all__ = [
    "FACTORS",
    "MASKS",
    "Loss",
    "distillation",
    "filtered_distillation",
    "kept_at_random",
    "masked_distillation",
    "one_hot",
    "pair_weights",
    "teacher_tempered",
    "temperature_factor",
    "tempered_cross_entropy",
    "triple_weights",
    "weighted_distillation",
]
