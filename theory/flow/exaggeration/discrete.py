r"""Gradient descent with finite steps, in the terms of the flow.

After m steps of size :math:`\eta` with :math:`\eta \lambda < 1` a direction has learned
:math:`1 - (1 - \eta\lambda)^m = \phi(x)` with :math:`x = -m \ln(1 - \eta\lambda)`. With the
same step size for teacher and student all that holds of the flow holds with these progresses and
:math:`\kappa_\eta = \ln(1 - \eta\lambda_2) / \ln(1 - \eta\lambda_1)`. It fails for different
step sizes, for :math:`\eta\lambda_1 > 1` and with momentum. (docs/flow.md, E12.)
"""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.statements import states


def discrete_progress(step_size: ArrayLike, eigenvalue: ArrayLike, steps: ArrayLike) -> Array:
    r"""Progress of gradient descent along a direction, :math:`-m \ln(1 - \eta \lambda)`.

    Args:
        step_size: :math:`\eta \ge 0`, with :math:`\eta \lambda < 1`.
        eigenvalue: :math:`\lambda \ge 0`.
        steps: m, >= 0; need not be whole, and may be ``inf``.

    Raises:
        ValueError: If an argument is negative, or the step overshoots.

    Example:
        >>> discrete_progress(0.5, 1.0, steps=10)
        array(6.931)
    """
    rate, step = _checked(step_size, eigenvalue, "eigenvalue")
    count = checks.times("steps", steps)
    checks.broadcastable(step_size=step, eigenvalue=rate, steps=count)
    with np.errstate(all="ignore"):
        product = count * (rate * step) * _stretch(rate * step)
    return np.where((count == 0) | (rate * step == 0), 0.0, product)


@states(
    "flow:discrete-ratio",
    "With one step size for teacher and student and steps below 1 / lambda_1, the theorem holds "
    "with a smaller kappa: finite steps exaggerate more than the flow.",
    source="docs/flow.md, E12",
)
def discrete_kappa(step_size: ArrayLike, eigenvalue: ArrayLike, top_eigenvalue: ArrayLike) -> Array:
    r"""What :math:`\kappa` becomes when teacher and student take steps of one size.

    .. math:: \kappa_\eta = \frac{\ln(1 - \eta\lambda_2)}{\ln(1 - \eta\lambda_1)}
        \le \frac{\lambda_2}{\lambda_1} \quad (\lambda_2 \le \lambda_1)

    Args:
        step_size: :math:`\eta \ge 0`; 0 is the flow.
        eigenvalue: :math:`\lambda_2 \ge 0`, of the other direction.
        top_eigenvalue: :math:`\lambda_1 > 0`, of the matched direction.

    Raises:
        ValueError: If an eigenvalue or the step size is negative, or a step overshoots.

    Example:
        >>> discrete_kappa([0.0, 0.5, 0.9], eigenvalue=0.5, top_eigenvalue=1.0).round(3)
        array([0.5  , 0.415, 0.26 ])
    """
    other, top, step = _pair(step_size, eigenvalue, top_eigenvalue)
    return other / top * (_stretch(step * other) / _stretch(step * top))


def discrete_delta(step_size: ArrayLike, eigenvalue: ArrayLike, top_eigenvalue: ArrayLike) -> Array:
    r"""One minus :func:`discrete_kappa`, without cancellation, for :func:`component_gap`.

    .. math:: 1 - \kappa_\eta = \ln\left(1 - \eta \frac{\lambda_1 - \lambda_2}{1 - \eta\lambda_2}
        \right) / \ln(1 - \eta\lambda_1)

    Args:
        step_size: :math:`\eta \ge 0`; 0 is the flow.
        eigenvalue: :math:`\lambda_2 \ge 0`, of the other direction.
        top_eigenvalue: :math:`\lambda_1 > 0`, of the matched direction.

    Raises:
        ValueError: If an eigenvalue or the step size is negative, or a step overshoots.

    Example:
        >>> discrete_delta([0.0, 0.5, 0.9], eigenvalue=0.5, top_eigenvalue=1.0).round(3)
        array([0.5  , 0.585, 0.74 ])
    """
    other, top, step = _pair(step_size, eigenvalue, top_eigenvalue)
    left = 1.0 - step * other
    change = (top - other) / left
    return change / top * (_stretch(step * change) / _stretch(step * top))


def _pair(
    step_size: ArrayLike, eigenvalue: ArrayLike, top_eigenvalue: ArrayLike
) -> tuple[Array, Array, Array]:
    """The other and the top eigenvalue and the step size, checked together."""
    other, step = _checked(step_size, eigenvalue, "eigenvalue")
    positive = checks.positive("top_eigenvalue", top_eigenvalue)
    top, _ = _checked(step_size, positive, "top_eigenvalue")
    checks.broadcastable(step_size=step, eigenvalue=other, top_eigenvalue=top)
    return other, top, step


def _checked(step_size: ArrayLike, eigenvalue: ArrayLike, name: str) -> tuple[Array, Array]:
    step = checks.nonnegative("step_size", step_size)
    rate = checks.nonnegative(name, eigenvalue)
    checks.broadcastable(**{"step_size": step, name: rate})
    with np.errstate(over="ignore", under="ignore"):
        largest = (step * rate).max(initial=0.0)
    if largest >= 1:
        msg = (
            f"step_size must be below 1 / {name}, for a longer step overshoots and has no "
            f"flow time, got step_size * {name} = {largest:g}"
        )
        raise ValueError(msg)
    return rate, step


def _stretch(x: Array) -> Array:
    """-ln(1 - x) / x for x < 1, with its limit 1 at 0."""
    small = np.abs(x) < 1e-20
    safe = np.where(small, 0.5, x)
    return np.where(small, 1.0, -np.log1p(-safe) / safe)
