r"""Does a student lean harder on the top eigendirections than its teacher? Theorem 4.1, corrected.

Let teacher and student start from the same weights, the teacher stop at T and the student at
:math:`\tilde t`, both finite. One earlier moment t of the teacher's own training has the same
displacement along the top direction. At that moment the student's displacement along any other
direction is R times the teacher's, with :math:`\kappa = \lambda_2 / \lambda_1` and

.. math::

    R = \frac{\phi(\kappa A)\, \phi(\kappa B)}{\phi(\kappa \tau)}, \qquad
    \phi(\tau) = \phi(A)\, \phi(B), \qquad
    A = \lambda_1 \tilde t, \quad B = \lambda_1 T, \quad \tau = \lambda_1 t .

R < 1 below the matched direction and R > 1 above it; R = 1 if one of the two times is infinite.
It needs a label with a component along the matched direction. (Nagarajan 2023, section 4 and
Thm B.1; corrections and proofs in docs/flow.md.)

Progress means eigenvalue x time, of the matched (top) direction unless said otherwise. Every
function takes arrays that broadcast.
"""

from theory.flow.exaggeration.discrete import discrete_delta, discrete_kappa, discrete_progress
from theory.flow.exaggeration.ratio import (
    Bounds,
    component_gap,
    component_ratio,
    gap_bounds,
    ratio_bounds,
)
from theory.flow.exaggeration.times import matched_student_time, matched_teacher_time
from theory.flow.exaggeration.trend import Trend, classify, effective_time_trend

__all__ = [
    "Bounds",
    "Trend",
    "classify",
    "component_gap",
    "component_ratio",
    "discrete_delta",
    "discrete_kappa",
    "discrete_progress",
    "effective_time_trend",
    "gap_bounds",
    "matched_student_time",
    "matched_teacher_time",
    "ratio_bounds",
]
