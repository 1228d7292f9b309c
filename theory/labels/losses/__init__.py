"""Every published loss of one sample, with its exact gradient in the student's logits.

Values and gradients are float64 and exact to round-off: they are what losses of trained networks
are checked against.
"""

from theory.labels.losses.base import (
    FACTORS,
    Loss,
    one_hot,
    temperature_factor,
    tempered_cross_entropy,
)

__all__ = [
    "FACTORS",
    "Loss",
    "one_hot",
    "temperature_factor",
    "tempered_cross_entropy",
]
