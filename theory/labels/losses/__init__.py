"""Every published loss of one sample, with its exact gradient in the student's logits.

Values and gradients are float64 and exact to round-off: they are what losses of trained networks
are checked against. By what teaches: labels and any target (`base`), a teacher (`teachers`),
relations between samples (`relations`), smoothing, corrected and hand-made teachers
(`regularization`), past copies of the network (`replay`), priors (`priors`).
"""

from theory.labels.losses.base import (
    FACTORS,
    Loss,
    one_hot,
    temperature_factor,
    tempered_cross_entropy,
)
from theory.labels.losses.priors import (
    beta_smoothing,
    dirichlet_map_loss,
    map_distillation_loss,
    rescaled_distillation,
)
from theory.labels.losses.regularization import (
    entropy_penalty,
    label_smoothing,
    lsrkd,
    lsrkd_tc,
    tfkd,
    uniform_gradient_expansion,
)
from theory.labels.losses.relations import (
    pair_weights,
    relational_distillation,
    triple_weights,
)
from theory.labels.losses.replay import mrkd, mrkd_tc
from theory.labels.losses.teachers import (
    MASKS,
    distillation,
    filtered_distillation,
    kept_at_random,
    masked_distillation,
    self_distillation,
    teacher_tempered,
    weighted_distillation,
)

__all__ = [
    "FACTORS",
    "MASKS",
    "Loss",
    "beta_smoothing",
    "dirichlet_map_loss",
    "distillation",
    "entropy_penalty",
    "filtered_distillation",
    "kept_at_random",
    "label_smoothing",
    "lsrkd",
    "lsrkd_tc",
    "map_distillation_loss",
    "masked_distillation",
    "mrkd",
    "mrkd_tc",
    "one_hot",
    "pair_weights",
    "relational_distillation",
    "rescaled_distillation",
    "self_distillation",
    "teacher_tempered",
    "temperature_factor",
    "tempered_cross_entropy",
    "tfkd",
    "triple_weights",
    "uniform_gradient_expansion",
    "weighted_distillation",
]
