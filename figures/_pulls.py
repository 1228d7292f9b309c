"""What the figures of learning_dynamics share: who pulls, how hard the sample is, which network."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from figures import style

OWN = style.Role("own label", style.RED, "D")
NEIGHBORS = style.Role("neighbors", style.BLUE, "o")
HARD = style.Role("hard samples", style.VIOLET, "^")
EASY = style.Role("easy samples", style.GREEN, "v")
ROLES = (OWN, NEIGHBORS, HARD, EASY)
CLASSES = (
    style.Role("class A", style.BLUE, "o"),
    style.Role("class B", style.ORANGE, "D"),
    style.Role("class C", style.GREEN, "v"),
)
NETWORKS = {
    "tanh": style.Role("tanh", style.BLUE, "o"),
    "relu": style.Role("ReLU", style.ORANGE, "D"),
}


def band(
    axes: Axes,
    x: NDArray[Any],
    interval: NDArray[Any],
    role: style.Role,
    *,
    label: str | None = None,
    dashed: bool = False,
) -> None:
    """A measured mean over x with its interval; ``interval`` is mean, low and high.

    A few markers tell the roles apart in gray print.
    """
    mean, low, high = interval
    # not where those of another role lie
    first = 2 * list(ROLES).index(role) if role in ROLES else 0
    some = np.unique(np.linspace(0, len(x) - 1, 28).astype(int))[first % 8 :: 8]
    axes.plot(
        x, mean, linewidth=1.2, color=role.color,
        **style.measured(role, linestyle="--" if dashed else "-", markevery=some.tolist()),
        label=role.label if label is None else label,
    )  # fmt: skip
    axes.fill_between(x, low, high, color=role.color, alpha=0.16, linewidth=0)
