r"""The prediction along gradient flow: its velocity, exactly, and what it adds up to."""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.dynamics.shapes import in_range
from theory.labels.dynamics.steps import first_order_change
from theory.statements import states

RULES = ("simpson", "trapezoid")
"""Rules of `flow_displacement`: errors of fourth and of second order in the distance of times."""


def flow_velocity(
    probabilities: ArrayLike,
    kernel: ArrayLike,
    residual: ArrayLike,
    *,
    temperature: float = 1.0,
) -> Array:
    r"""Velocity of a prediction under gradient flow of the mean loss, exactly.

    .. math:: \frac{dq_t(o)}{dt} = A(q_t(o)) \, \frac1N \sum_u K_t(o, u) \, r_t(u)

    What is the first order of a step is the whole of a flow, at every moment with the kernel and
    the residuals of that moment.

    Args:
        probabilities: :math:`q_t(o)`, shape ``(..., K)``; a leading axis may hold moments.
        kernel: :math:`K_t(o, u)`, shape ``(..., N, K, K)``, or ``(..., K, K)`` for one sample.
        residual: :math:`r_t(u)`, shape ``(..., N, K)``.
        temperature: tau of the prediction.

    Returns:
        dq/dt, shape ``(..., K)``.

    Raises:
        ValueError: As `first_order_change`.

    References:
        Ren et al. 2022, Proposition 1, for a learning rate to 0.

    Example:
        >>> flow_velocity([0.5, 0.5], np.eye(2), [0.5, -0.5])
        array([ 0.25, -0.25])
    """
    return first_order_change(probabilities, kernel, residual, 1.0, temperature=temperature)


@states(
    "labels:flow-identity",
    "Along gradient flow a prediction is displaced by exactly the integral of A K r over time.",
    source="Ren 2022, Proposition 1, for a learning rate to 0",
)
def flow_displacement(times: ArrayLike, velocity: ArrayLike, *, rule: str = "simpson") -> Array:
    r"""How far a prediction has come at each time, :math:`q_t - q_{t_0} = \int_{t_0}^t \dot q`.

    Args:
        times: Moments, rising, shape ``(T,)``, any distances; at least 2, and 3 for Simpson's
            rule.
        velocity: At these moments along the first axis, as `flow_velocity` gives them, shape
            ``(T, ...)``.
        rule: ``"simpson"`` integrates the parabola through three neighboring moments,
            ``"trapezoid"`` the line through two.

    Returns:
        Displacement since the first moment, shape ``(T, ...)``, zero there.

    Raises:
        ValueError: For times that do not rise or are too few, shapes that do not fit, nan or inf,
            an unknown rule, or a displacement (or, for Simpson's rule, a slope) too large for a
            float.

    Example:
        >>> times = np.array([0.0, 1.0, 1.5, 3.0])
        >>> flow_displacement(times, times**2)  # t^3 / 3
        array([0.        , 0.33333333, 1.125     , 9.        ])
        >>> flow_displacement(times, times, rule="trapezoid")  # t^2 / 2
        array([0.   , 0.5  , 1.125, 4.5  ])
    """
    checks.choice("rule", rule, RULES)
    t, f = checks.real_array("times", times), checks.real_array("velocity", velocity)
    least = 3 if rule == "simpson" else 2
    if t.ndim != 1 or len(t) < least or (t[1:] <= t[:-1]).any():
        msg = f"times must be at least {least} rising numbers for the {rule} rule, got {_brief(t)}"
        raise ValueError(msg)
    if f.ndim == 0 or len(f) != len(t):
        msg = f"velocity must have one entry along its first axis for each of {len(t)} times, got "
        raise ValueError(msg + f"shape {f.shape}")
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        width = np.diff(t).reshape(-1, *[1] * (f.ndim - 1))
        pieces = width * (f[1:] / 2 + f[:-1] / 2)
        if rule == "simpson":
            pieces = pieces - _bend(width, f)
        total = np.cumsum(pieces, axis=0)
    return in_range("the displacement", np.concatenate([np.zeros_like(f[:1]), total]))


def _bend(width: Array, f: Array) -> Array:
    """What a parabola lies above its chords: each piece shares one with its left or right mate."""
    slope = np.diff(f, axis=0) / width
    second = np.diff(slope, axis=0) / (width[1:] + width[:-1])
    # pieces 0, 1 take the parabola through moments 0, 1, 2; pieces 2, 3 that through 2, 3, 4
    mate = np.minimum(np.arange(len(width)) // 2 * 2, len(second) - 1)
    return np.asarray(second[mate] * width**3 / 6)


def _brief(times: Array) -> str:
    return f"shape {times.shape}" if times.ndim != 1 else f"{len(times)} that begin {times[:4]}"
