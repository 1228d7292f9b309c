"""Risk under soft targets: its exact error, the published bounds and their sharp forms."""

from theory.labels.risk.bounded import (
    BoundedLoss,
    brier_loss,
    clipped_cross_entropy,
    zero_one_loss,
)
from theory.labels.risk.bounds import (
    PublishedBounds,
    SharpBounds,
    random_target_bounds,
    risk_bounds,
)
from theory.labels.risk.error import (
    RiskError,
    moment_risk_error,
    one_hot_risk_error,
    random_target_risk_error,
    target_risk_error,
)
from theory.labels.risk.sampled import (
    SampledBounds,
    SampledRiskError,
    sampled_risk_bounds,
    sampled_risk_error,
)

__all__ = [
    "BoundedLoss",
    "PublishedBounds",
    "RiskError",
    "SampledBounds",
    "SampledRiskError",
    "SharpBounds",
    "brier_loss",
    "clipped_cross_entropy",
    "moment_risk_error",
    "one_hot_risk_error",
    "random_target_bounds",
    "random_target_risk_error",
    "risk_bounds",
    "sampled_risk_bounds",
    "sampled_risk_error",
    "target_risk_error",
    "zero_one_loss",
]
