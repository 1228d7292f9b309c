"""What one step of training on some samples does to the prediction on another."""

from theory.labels.dynamics.flow import RULES, flow_displacement, flow_velocity
from theory.labels.dynamics.forces import Pulls, pulls
from theory.labels.dynamics.jacobian import (
    jacobian_eigenvalues,
    jacobian_norm,
    jacobian_trace,
    softmax_jacobian,
    top_eigenvalue_bounds,
)
from theory.labels.dynamics.residuals import LOSSES, residual
from theory.labels.dynamics.steps import (
    first_order_change,
    loss_change,
    momentum_change,
    prediction_change,
    second_order_change,
    tangent_kernel,
    weight_decay_change,
)

__all__ = [
    "LOSSES",
    "RULES",
    "Pulls",
    "first_order_change",
    "flow_displacement",
    "flow_velocity",
    "jacobian_eigenvalues",
    "jacobian_norm",
    "jacobian_trace",
    "loss_change",
    "momentum_change",
    "prediction_change",
    "pulls",
    "residual",
    "second_order_change",
    "softmax_jacobian",
    "tangent_kernel",
    "top_eigenvalue_bounds",
    "weight_decay_change",
]
