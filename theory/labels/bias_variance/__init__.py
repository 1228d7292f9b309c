"""Bias and variance of networks trained with soft labels [Zhou et al. 2021; Heskes 1998]."""

from theory.labels.bias_variance.decomposition import (
    Decomposition,
    NestedVariance,
    Telescoped,
    expected_divergence,
    heskes,
    nested_variance,
    telescope,
    variance_interval,
)
from theory.labels.bias_variance.gradients import (
    CRITERIA,
    label_gradients,
    regularization_samples,
    same_sign_samples,
    same_sign_share,
)
from theory.labels.bias_variance.weights import (
    FORMS,
    soft_label_weights,
    weight_of_ratio,
)

__all__ = [
    "CRITERIA",
    "FORMS",
    "Decomposition",
    "NestedVariance",
    "Telescoped",
    "expected_divergence",
    "heskes",
    "label_gradients",
    "nested_variance",
    "regularization_samples",
    "same_sign_samples",
    "same_sign_share",
    "soft_label_weights",
    "telescope",
    "variance_interval",
    "weight_of_ratio",
]
