"""Risk of spectral filters under label noise: what a filter costs, and what can be better."""

from theory.flow.risk.modes import (
    denoising_risk,
    mode_stopping_time,
    training_error,
    wiener_excess,
    wiener_gain,
)
from theory.flow.risk.stopping import optimal_stopping_time
from theory.flow.risk.transfer import excess_risk, excess_risk_in_basis, is_separable
from theory.flow.risk.verdict import (
    Verdict,
    aggregate_ties,
    dominance,
    dominating_time,
    student_certainly_gains,
    winning_student,
)

__all__ = [
    "Verdict",
    "aggregate_ties",
    "denoising_risk",
    "dominance",
    "dominating_time",
    "excess_risk",
    "excess_risk_in_basis",
    "is_separable",
    "mode_stopping_time",
    "optimal_stopping_time",
    "student_certainly_gains",
    "training_error",
    "wiener_excess",
    "wiener_gain",
    "winning_student",
]
