"""What the figures of risk_bounds share: roles, names of the bounds, marks for what is 0."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from figures.style import GREEN, INK, RED, VIOLET, Role
from sims.results import Result

ERROR = Role("mean squared error", INK, "o")
BIAS = Role("squared bias", GREEN, "v")
PUBLISHED = Role("published bound", RED, "D")
SHARP = Role("sharp bound", VIOLET, "^")

NAMES = {
    "l2": "Euclidean",
    "l1": "total variation",
    "tv": "total variation",
    "sqrt_kl_fwd": "root of forward KL",
    "kl_fwd": "forward KL",
    "sqrt_kl_rev": "root of reverse KL",
    "kl_rev": "reverse KL",
    "jeffreys": "Jeffreys",
    "bretagnolle_huber_fwd": "Bretagnolle-Huber, forward",
    "bretagnolle_huber_rev": "Bretagnolle-Huber, reverse",
}


def column(result: Result, kind: str, name: str) -> int:
    """Place of a bound among those of its kind."""
    return int(np.flatnonzero(result.array(kind) == name)[0])


def middle(result: Result) -> tuple[int, int]:
    """Place of the middle size of data sets, and the size."""
    sizes = result.array("samples")
    return len(sizes) // 2, int(sizes[len(sizes) // 2])


def floor(*values: NDArray[Any]) -> float:
    """A third of the smallest number above 0: where a logarithmic axis may begin."""
    every = np.concatenate([np.ravel(value) for value in values])
    every = every[np.isfinite(every) & (every > 1e-15)]
    return float(every.min() / 3) if len(every) else 1e-6


def dots(
    axes: Axes,
    x: NDArray[Any],
    y: NDArray[Any],
    least: float,
    role: Role,
    **more: Any,  # noqa: ANN401
) -> None:
    """Markers along a logarithmic axis; what is 0 points out of it at the left."""
    seen = x > least
    how: dict[str, Any] = {"linestyle": "none", "color": role.color, "markersize": 4.2, **more}
    axes.plot(x[seen], y[seen], marker=role.marker, **how)
    axes.plot(np.full(int((~seen).sum()), 1.4 * least), y[~seen], marker="<", **how)
