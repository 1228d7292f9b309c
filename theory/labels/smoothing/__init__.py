"""Soft labels made by hand or from a teacher: smoothing, correction, priors, Beta targets.

Each says how strong it is by another number; the maps between them are here too.
"""

from theory.labels.smoothing.averaging import averaging_decay, initial_share
from theory.labels.smoothing.beta import (
    beta_draws,
    beta_entropy,
    beta_mean,
    beta_order_mean,
    beta_shape_for_mean,
    beta_shape_from_mean,
    beta_targets,
    random_beta_targets,
    ranking_scores,
    soft_mass,
)
from theory.labels.smoothing.conventions import (
    beta_from_mass,
    beta_from_smoothing,
    convert_smoothing,
    mass_from_beta,
    mass_from_smoothing,
    smooth,
    smoothing_from_beta,
    smoothing_from_mass,
)
from theory.labels.smoothing.correction import (
    correct_probabilities,
    teacher_correction,
    virtual_teacher,
)
from theory.labels.smoothing.entropy import (
    entropy_penalty_for_mass,
    entropy_penalty_for_smoothing,
    entropy_penalty_optimum,
)
from theory.labels.smoothing.matching import (
    kept_classes,
    mean_label_mass,
    prune,
    temperature_for_mass,
)
from theory.labels.smoothing.optima import lsrkd_optimum, lsrkd_weight_for_mass
from theory.labels.smoothing.priors import (
    MapDistillation,
    dirichlet_map,
    distillation_concentration,
    exponents,
    map_distillation,
    smoothing_concentration,
)
from theory.labels.smoothing.replay import (
    CopiesDivergence,
    copies_divergence,
    interval_steps,
    mean_teacher,
    ring_by_recursion,
    ring_updates,
)

__all__ = [
    "CopiesDivergence",
    "MapDistillation",
    "averaging_decay",
    "beta_draws",
    "beta_entropy",
    "beta_from_mass",
    "beta_from_smoothing",
    "beta_mean",
    "beta_order_mean",
    "beta_shape_for_mean",
    "beta_shape_from_mean",
    "beta_targets",
    "convert_smoothing",
    "copies_divergence",
    "correct_probabilities",
    "dirichlet_map",
    "distillation_concentration",
    "entropy_penalty_for_mass",
    "entropy_penalty_for_smoothing",
    "entropy_penalty_optimum",
    "exponents",
    "initial_share",
    "interval_steps",
    "kept_classes",
    "lsrkd_optimum",
    "lsrkd_weight_for_mass",
    "map_distillation",
    "mass_from_beta",
    "mass_from_smoothing",
    "mean_label_mass",
    "mean_teacher",
    "prune",
    "random_beta_targets",
    "ranking_scores",
    "ring_by_recursion",
    "ring_updates",
    "smooth",
    "smoothing_concentration",
    "smoothing_from_beta",
    "smoothing_from_mass",
    "soft_mass",
    "teacher_correction",
    "temperature_for_mass",
    "virtual_teacher",
]
