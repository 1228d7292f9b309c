r"""The averaged network that Beta smoothing ranks by: how fast its average of weights forgets.

Zhang and Sabuncu 2020, section 6. It starts from weights of its own, which a constant decay would
keep for thousands of steps; the decay grows instead from 1/2 up to its limit.
"""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array


def averaging_decay(step: ArrayLike, limit: float = 0.999) -> Array:
    r"""Share of the average that a step keeps, :math:`d_s = \min(1 - 1/(s + 1), d)`.

    The average after the step is :math:`d_s \bar\theta + (1 - d_s) \theta`.

    Args:
        step: s, integers from 1.
        limit: d in [0, 1].

    Raises:
        ValueError: For steps that are no integers from 1, or a limit outside [0, 1].

    References:
        Zhang and Sabuncu 2020, section 6, in the released code.

    Example:
        >>> averaging_decay([1, 2, 9, 5000])
        array([0.5       , 0.66666667, 0.9       , 0.999     ])
    """
    s = _steps(step)
    return np.asarray(np.minimum(s / (s + 1.0), checks.fraction("limit", limit)))[()]


def initial_share(steps: ArrayLike, limit: float = 0.999) -> Array:
    r"""Weight of the averaged network's own start after S steps, :math:`\prod_{s \le S} d_s`.

    It is :math:`1/(S + 1)` until the decay reaches its limit, and falls by the limit from then on.

    Args:
        steps: S, integers from 1.
        limit: d in [0, 1].

    Raises:
        ValueError: As `averaging_decay`.

    Example:
        >>> initial_share([1, 99, 999, 5000])
        array([5.000e-01, 1.000e-02, 1.000e-03, 1.826e-05])
    """
    s = _steps(steps)
    d = checks.fraction("limit", limit)
    # the decay grows while s/(s + 1) <= d; where rounding takes a step too few both forms agree
    growing = s if d == 1.0 else np.minimum(s, np.floor(d / (1.0 - d)))
    with np.errstate(under="ignore"):
        return np.asarray(d ** (s - growing) / (growing + 1.0))[()]


def _steps(value: ArrayLike) -> Array:
    s = checks.positive("step", value)
    if (s != np.floor(s)).any():
        msg = f"step must be integers from 1, got {float(s[s != np.floor(s)].ravel()[0]):g}"
        raise ValueError(msg)
    return s
