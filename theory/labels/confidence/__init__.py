"""How sure a network is of a class, and how a student's sureness follows its teacher's.

All from logits, never from probabilities: :math:`1 - p` has no digits left where p rounds to 1.
"""

from theory.labels.confidence.dissection import (
    Dissection,
    UnderfitDissection,
    dissect,
    dissect_underfit,
)
from theory.labels.confidence.log_odds import (
    ConfidencePair,
    complement,
    confidence,
    confidence_pair,
    cross_entropy,
    probability,
)
from theory.labels.confidence.networks import (
    agreement,
    binary_kl,
    entropy,
    jeffreys,
    jensen_shannon,
    kl_divergence,
    total_variation,
)
from theory.labels.confidence.seeds import over_seeds_interval
from theory.labels.confidence.slope_intervals import (
    Exaggeration,
    exaggeration,
    exaggeration_slope_hc3,
    exaggeration_slope_interval,
)
from theory.labels.confidence.slopes import Slope, exaggeration_slope, reliability

__all__ = [
    "ConfidencePair",
    "Dissection",
    "Exaggeration",
    "Slope",
    "UnderfitDissection",
    "agreement",
    "binary_kl",
    "complement",
    "confidence",
    "confidence_pair",
    "cross_entropy",
    "dissect",
    "dissect_underfit",
    "entropy",
    "exaggeration",
    "exaggeration_slope",
    "exaggeration_slope_hc3",
    "exaggeration_slope_interval",
    "jeffreys",
    "jensen_shannon",
    "kl_divergence",
    "over_seeds_interval",
    "probability",
    "reliability",
    "total_variation",
]
