"""What a kernel learns: squared loss in closed form, cross-entropy by a differential equation."""

from theory.flow.logits.descent import LogitFit, descent_step, minimize_cross_entropy
from theory.flow.logits.dual import cross_entropy_flow
from theory.flow.logits.equation import LogitFlow
from theory.flow.logits.kernels import cross_entropy, kernel_predictions

__all__ = [
    "LogitFit",
    "LogitFlow",
    "cross_entropy",
    "cross_entropy_flow",
    "descent_step",
    "kernel_predictions",
    "minimize_cross_entropy",
]
