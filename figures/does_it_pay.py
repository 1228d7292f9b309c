"""Every scheme at its best against the best early stopping, signal by signal."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from figures import _paying, style
from sims.results import Result

RESULT = "does_it_pay"
TITLE = "What each scheme gains over early stopping"
ALT = (
    "A table of colored cells with numbers: training schemes in rows, grouped by whether they "
    "exaggerate, brake or can do either; signals in columns, from those in weak directions to "
    "those in the top ones, and real data last."
)
CAPTION = (
    "Expected error of each scheme with its best parameters, in percent above or below the best "
    "that plain early stopping can do. Negative and orange: the scheme pays. Columns are signals; "
    "the larger b, the more of the signal lies in the top directions; the last column is real "
    "data, with signal and noise estimated. Read the upper block from left to right to see where "
    "distillation begins to pay. Hatched cells are those where the theorem says that no gain is "
    "possible. The last row is what the best of all filters could do, if it knew the signal."
)
ORDER = 10
GROUPS = {
    "exaggerates": "lean on\nthe top",
    "either": "either",
    "brakes": "hold back\nthe top",
}


def _rows(result: Result) -> NDArray[np.int64]:
    """Schemes by family, in the order within it that they have."""
    family = result.array("family")
    return np.concatenate([np.flatnonzero(family == name) for name in GROUPS])


PANELS = (1, 1)


def SIZE(result: Result) -> tuple[float, float]:
    """A page wide; a line for each scheme."""
    return style.TWO_COLUMNS, 1.2 + 0.235 * (len(_rows(result)) + 1)


def draw(result: Result, axes: Axes) -> None:
    """Cells, numbers, hatching and the names of the groups."""
    rows = _rows(result)
    percent = np.vstack([result.array("decay_percent"), result.array("data_percent")]).T
    best = np.append(result.array("decay_wiener_percent"), result.array("data_wiener_percent"))
    out = np.vstack([result.array("decay_ruled_out"), result.array("data_ruled_out")]).T
    table, out = np.vstack([percent[rows], best]), np.vstack([out[rows], 0 * best]).astype(bool)
    count, signals = table.shape
    across = np.append(np.arange(signals - 1.0), signals - 0.7)  # the data stand a little apart
    for (row, column), value in np.ndenumerate(table):
        corner = (float(across[column]) - 0.5, row - 0.5)
        color = style.DIVERGING(float(_paying.NORM(value))) if np.isfinite(value) else "white"
        cell = Rectangle(corner, 1, 1, facecolor=color, edgecolor="white", linewidth=1.2)
        axes.add_patch(cell)
        if out[row, column]:
            axes.add_patch(Rectangle(corner, 1, 1, **_paying.HATCH))
        axes.text(
            float(across[column]), row, _number(value), ha="center", va="center", fontsize=7.5,
            color=_paying.ink_on(color),
        )  # fmt: skip
    names = [str(result.array("signal")[k]).replace("-", "−") for k in range(signals - 1)]
    axes.set_xticks(across, [*names, str(result.array("data_name")[0])])
    labels = [str(result.array("scheme_label")[row]) for row in rows]
    axes.set_yticks(np.arange(count), [*labels, "best of all filters"])
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelcolor=style.INK)
    axes.set(xlim=(-0.5, across[-1] + 0.5), ylim=(count - 0.5, -0.5))
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    _groups(axes, result, rows, across[-1] + 0.5)
    axes.set_xlabel("signal: weak directions  →  top directions; then real data", labelpad=6)
    axes.xaxis.set_label_position("top")
    axes.figure.legend(
        handles=[_paying.ruled_out()], loc="outside lower center", frameon=False, handleheight=1.1
    )


def _groups(axes: Axes, result: Result, rows: NDArray[np.int64], right: float) -> None:
    """Name the families at the right, with a rule between them."""
    family = result.array("family")[rows]
    for name, label in GROUPS.items():
        places = np.flatnonzero(family == name)
        if len(places) == 0:
            continue
        axes.axhline(places[-1] + 0.5, color=style.INK, linewidth=0.8)
        axes.annotate(
            label, (right, places.mean()), xytext=(8, 0), textcoords="offset points",
            va="center", fontsize=8, color=style.MUTED,
        )  # fmt: skip


def _number(value: float) -> str:
    """Percent with a sign, a plain 0 where it rounds to that."""
    if not np.isfinite(value):
        return "–"
    if abs(value) < 0.05:
        return "0"
    return style.signed(value, 1 if abs(value) < 100 else 0)
