"""Paths of teacher and student in planes of two eigendirections, for the figures that draw them."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from figures import style

MARKS = 7


def path(panel: Axes, points: NDArray[np.float64], role: style.Role, marks: int = MARKS) -> None:
    """A line with marks on its way and a star at its end; points (2, T)."""
    panel.plot(*points, color=role.color, linewidth=1.3)
    if marks:
        at = np.unique(np.linspace(0, points.shape[1] - 1, marks + 2).astype(int))[1:-1]
        panel.plot(*points[:, at], **style.measured(role, markersize=2.8, markeredgewidth=0.8))
    panel.plot(
        *points[:, -1], marker="*", markersize=8, color=role.color,
        markeredgecolor="white", markeredgewidth=0.4, zorder=3,
    )  # fmt: skip


def _limits(panel: Axes, axis: int) -> tuple[float, float]:
    """From just below zero to the farthest point of the panel, and to 1 at least."""
    ends = [
        np.max(line.get_data()[axis]) for line in panel.lines if np.size(line.get_data()[0]) > 2
    ]
    top = max([1.0, *ends])
    return -0.06 * top, 1.12 * top


def second(panel: Axes, points: NDArray[np.float64]) -> None:
    """The path of a second teacher."""
    panel.plot(*points, color=style.NULL.color, linewidth=0.9, zorder=1.8)


def finish(panel: Axes) -> None:
    """The diagonal, and axes from zero to the farthest point."""
    panel.axline((0, 0), slope=1, **style.reference())
    panel.set(xlim=_limits(panel, 0), ylim=_limits(panel, 1), xticks=(0, 1), yticks=(0, 1))


def legend(panel: Axes) -> None:
    """What the lines are, above the whole figure."""
    handles = [
        panel.plot([], [], color=role.color, marker="*", markersize=8, label=role.label)[0]
        for role in (style.TEACHER, style.STUDENT)
    ]
    handles += panel.plot([], [], color=style.NULL.color, linewidth=0.9, label="second teacher")
    handles += panel.plot([], [], label="no bias: both alike", **style.reference())
    panel.figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
