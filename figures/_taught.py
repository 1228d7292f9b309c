"""What the figures of bias_variance share: how a student is marked by what it learns from."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from figures import style
from sims.results import Result

ERROR, BIAS, VARIANCE = 0, 1, 2
"""Columns of ``path``."""
TAUGHT = 3
"""Conditions before the students of teachers."""
LABELS = style.Role("student of labels", style.INK, "s")
_SHADES = ("#f2b473", style.ORANGE, "#8f3d00", "#e08f3f", "#b35300")
_MARKERS = ("D", "o", "v", "P", "X")


def roles(result: Result) -> list[style.Role]:
    """A role for every condition."""
    fixed = [
        style.Role("teacher", style.TEACHER.color, "p"),
        LABELS,
        style.Role("student of smoothed labels", style.SOFTNESS.color, "^"),
    ]
    return [*fixed, *(taught(result, k) for k in range(len(result.array("temperature"))))]


def taught(result: Result, place: int) -> style.Role:
    """The role of students of teachers at one of the temperatures."""
    temperature = result.array("temperature")[place]
    color = _SHADES[place % len(_SHADES)]
    return style.Role(
        f"student of a teacher, T = {temperature:g}", color, _MARKERS[place % len(_MARKERS)]
    )


def quantity(result: Result, name: str) -> NDArray[np.float64]:
    """Estimate, low and high of one quantity, shape (settings, conditions, 3)."""
    column = [str(each) for each in result.array("quantity")].index(name)
    return np.asarray(result.array("estimate")[:, :, column])


def titles(result: Result) -> list[str]:
    """Names of the settings, on two lines where they are long."""
    return [_folded(str(name)) for name in result.array("setting")]


def _folded(name: str, width: int = 25) -> str:
    """A name with its parts on as many lines as they need."""
    lines: list[str] = []
    for part in name.split(", "):
        if lines and len(f"{lines[-1]}, {part}") <= width:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return ",\n".join(lines)


def legend(panels: style.Panels, *, columns: int = 3) -> None:
    """One legend above all panels."""
    first: Axes = np.ravel(panels)[0]
    handles, labels = first.get_legend_handles_labels()
    first.figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False)
