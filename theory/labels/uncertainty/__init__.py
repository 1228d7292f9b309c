"""How unsure predictions are, how diverse in that, and how well calibrated."""

from theory.labels.uncertainty.calibration import (
    Reliability,
    adaptive_calibration_error,
    adaptive_reliability,
    brier_score,
    brier_scores,
    expected_calibration_error,
    negative_log_likelihood,
    predictions,
    reliability,
)
from theory.labels.uncertainty.diversity import (
    confidence_diversity,
    knn_entropy,
    logit_uncertainty,
    predictive_uncertainty,
    tie_share,
)

__all__ = [
    "Reliability",
    "adaptive_calibration_error",
    "adaptive_reliability",
    "brier_score",
    "brier_scores",
    "confidence_diversity",
    "expected_calibration_error",
    "knn_entropy",
    "logit_uncertainty",
    "negative_log_likelihood",
    "predictions",
    "predictive_uncertainty",
    "reliability",
    "tie_share",
]
