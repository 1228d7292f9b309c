"""A page of small panels, one for each training scheme, ordered and colored by how it leans."""

import math
from collections.abc import Callable
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from figures import style
from sims.results import Result

COLUMNS = 6
# how the effective time goes as the eigenvalue grows: what that is called, and its color
GROUPS = {
    "rises": ("leans on the top: exaggerates", style.EXAGGERATES.color),
    "rises, then falls": ("first one, then the other", "#9a6a00"),
    "falls, then rises": ("first holds back, then leans", "#9a6a00"),
    "mixed": ("no single trend", "#9a6a00"),
    "falls": ("holds back the top: brakes", style.OPPOSITE.color),
    "constant": ("plain early stopping", style.STOPPING.color),
    "undefined": ("overshoots the labels", style.SOFTNESS.color),
}


def panels(result: Result) -> tuple[int, int]:
    """Rows and columns that hold all schemes."""
    count = len(result.array("labels"))
    return math.ceil(count / COLUMNS), min(COLUMNS, count)


def size(result: Result) -> tuple[float, float]:
    """A page wide."""
    return style.TWO_COLUMNS, 0.85 + 1.22 * panels(result)[0]


def draw(
    result: Result,
    axes: style.Panels,
    one: Callable[[Axes, int, str], None],
    *,
    across: str,
    up: str,
) -> None:
    """Let ``one(panel, scheme, color)`` draw every scheme; add titles, labels and the key."""
    grid = np.reshape(axes, panels(result))
    ends = (result.array("grid")[0] / 1.4, result.array("grid")[-1] * 1.4)
    pattern = [str(kind) for kind in result.array("pattern")]
    order = sorted(range(len(pattern)), key=lambda scheme: list(GROUPS).index(pattern[scheme]))
    for panel in grid.flat[len(order) :]:
        panel.set_axis_off()
    for place, (panel, scheme) in enumerate(zip(grid.flat, order, strict=False)):
        color = GROUPS[pattern[scheme]][1]
        one(panel, scheme, color)
        label = "\n".join(wrap(str(result.array("labels")[scheme]), 19))
        panel.set_title(label, fontsize=7, fontweight="normal", color=style.INK, pad=3)
        panel.set(xscale="log", xlim=ends)
        style.powers(panel.xaxis, most=3)
        panel.tick_params(labelsize=7)
        if place % COLUMNS:
            panel.set_yticklabels([])
        if place + COLUMNS < len(order):
            panel.set_xticklabels([])
    figure = grid[0, 0].figure
    figure.supxlabel(across, fontsize=8.5)
    figure.supylabel(up, fontsize=8.5)
    shown = [GROUPS[kind] for kind in GROUPS if kind in pattern]
    figure.legend(
        handles=[Patch(color=color, label=name) for name, color in dict(shown).items()],
        loc="outside upper center", ncols=min(len(shown), 3), frameon=False, handlelength=1.0,
    )  # fmt: skip
