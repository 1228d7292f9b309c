"""All ways to soften a label on one scale: what each strength leaves off the label."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from figures import style
from sims.results import Result

RESULT = "smoothing_map"
TITLE = "Which strength of one softening is which of another"
ALT = (
    "Three panels with the mass off the label up, logarithmic. In two, for 10 and 100 classes, "
    "lines for seven ways of softening rise with their strength, from left to right; circles mark "
    "published settings. In the third, lines for two forms of LsrKD fall as the temperature rises."
)
CAPTION = (
    "Every loss here ends at a label of which some mass is taken off and shared equally by all "
    "other classes; lines give how much (up) for its strength (across). What lies at the same "
    "height is the same label: follow a horizontal line to translate one strength into another. "
    "Circles are settings of the papers, crosses are minima found by a general minimizer that "
    "knows only the loss. Right: LsrKD with weight 0.1 over its temperature; at 1 it is label "
    "smoothing. Solid lines have the first number of classes, dashed lines the second."
)
SIZE = (style.TWO_COLUMNS, 3.5)
PANELS = (1, 3)
ORDER = 10

LOOKS: dict[str, dict[str, Any]] = {
    "mix": {"color": style.BLUE, "linestyle": "-"},
    "true": {"color": style.BLUE, "linestyle": (0, (1, 1.2))},
    "prior": {"color": style.GREEN, "linestyle": (0, (4, 1.5))},
    "entropy": {"color": style.RED, "linestyle": "-", "linewidth": 2.4},
    "lsrkd": {"color": style.ORANGE, "linestyle": "-"},
    "lsrkd_square": {"color": style.ORANGE, "linestyle": (0, (4, 1.5))},
    "lsrkd_tc": {"color": style.VIOLET, "linestyle": (0, (6, 1.2, 1.2, 1.2))},
}
LEAST = 1e-4
MARK: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 5.5}
CROSS: dict[str, Any] = {
    "linestyle": "none", "marker": "x", "markersize": 3.2, "markeredgewidth": 0.8,
}  # fmt: skip


def draw(result: Result, axes: style.Panels) -> None:
    """Two maps, and LsrKD over temperatures."""
    for row, panel in enumerate(axes[:2]):
        _map(result, panel, row)
        panel.set_title(f"{result.array('classes')[row]} classes")
        panel.set_xlabel("strength: ε, weight or β")
    axes[0].set_ylabel("mass off the label")
    axes[1].set_yticklabels([])
    _temperatures(result, axes[2])
    handles = [
        Line2D([], [], label=str(label), **LOOKS[str(name)])
        for name, label in zip(result.array("method"), result.array("method_label"), strict=True)
    ]
    handles.append(
        Line2D([], [], label="published", color=style.INK, markerfacecolor="white", **MARK)
    )
    handles.append(Line2D([], [], label="found by descent", color=style.INK, **CROSS))
    axes[0].figure.legend(
        handles=handles, loc="outside lower center", ncols=3, frameon=False, handlelength=2.2
    )


def _map(result: Result, panel: Axes, row: int) -> None:
    strength, off = result.array("strength"), result.array("off")[row]
    names = [str(name) for name in result.array("method")]
    for name, line in zip(names, off, strict=True):
        panel.plot(strength, line, **LOOKS[name])
    found, place = result.array("descent_off")[row], result.array("descent_strength")
    for name, values in zip(names, found, strict=True):
        closed = result.array("descent_closed")[row, names.index(name)]
        shown = np.isfinite(closed)
        panel.plot(place[shown], values[shown], color=LOOKS[name]["color"], **CROSS)
    for name, x, y in zip(
        result.array("published_method"),
        result.array("published_strength"),
        result.array("published_off")[row],
        strict=True,
    ):
        color = LOOKS[str(name)]["color"]
        panel.plot(x, y, markerfacecolor="white", markeredgecolor=color, zorder=4, **MARK)
    panel.set(xscale="log", yscale="log", xlim=(strength[0], strength[-1]), ylim=(LEAST, 1.2))
    shown = [0.001, 0.01, 0.1, 1.0]  # a label at 10 would run into the next panel
    panel.set_xticks(shown, labels=[f"{tick:g}" for tick in shown])
    style.powers(panel.yaxis)


def _temperatures(result: Result, panel: Axes) -> None:
    tau, off = result.array("tau"), result.array("tau_off")
    counts = result.array("classes")
    for row, count in enumerate(counts):
        for column, name in enumerate(("lsrkd", "lsrkd_square")):
            dash = "-" if row == 0 else (0, (4, 1.5))
            panel.plot(
                tau, off[row, column], color=(style.ORANGE, "#8a5a2b")[column], linestyle=dash,
                label=f"{('factor τ', 'factor τ²')[column]}, {count}",
            )  # fmt: skip
            published = float(result.array("tau_published")[0])
            if name == "lsrkd":
                at = np.interp(published, tau, off[row, column])
                panel.plot(
                    published, at, markerfacecolor="white", markeredgecolor=style.ORANGE, **MARK
                )
    panel.set(xscale="log", yscale="log", xlim=(tau[0], tau[-1]))
    panel.set_ylim(off.min() / 30, off.max() * 1.5)  # room for the legend
    panel.set_xlabel("temperature of LsrKD")
    panel.set_title("weight 0.1")
    style.plain_log(panel.xaxis)
    style.powers(panel.yaxis)
    panel.legend(loc="lower left", title="factor, classes", title_fontsize=7.5)
