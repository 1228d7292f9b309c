"""Effective times in networks, the turning of their kernels, and what it costs in order."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from figures import _predictions, style
from sims.results import Result

RESULT = "prediction_meets_network"
TITLE = "Effective times, the turn of the kernel, and the order of methods"
ALT = (
    "Two or three panels: measured against predicted slopes of effective times, round the "
    "diagonal; the turn of every network's kernel over training, rising; and, where there are "
    "seeds enough, the share of pairs of methods ordered right against that turn."
)
SIZE = (style.TWO_COLUMNS, 3.4)
ORDER = 30
ORDERED = {
    "recovery": style.Role("recovery", style.GREEN, "s"),
    "accuracy": style.Role("accuracy", style.VIOLET, "v"),
}


def PANELS(result: Result) -> tuple[int, int]:
    """Two where no pair of methods was tested, which takes several seeds."""
    return 1, 3 if any(len(turn) for turn, _ in _ordered(result).values()) else 2


def CAPTION(result: Result) -> str:
    """With the networks whose full kernel was measured in the end."""
    text = (
        "Left: slope of the logarithm of effective training time on that of the eigenvalue, less "
        "that of plain labels; above 0 a method exaggerates. One marker for each method at each "
        "late step, squared loss; the dashed diagonal is a perfect prediction. "
        f"{'Middle' if PANELS(result)[1] == 3 else 'Right'}: how far the trace kernel has turned "
        "in training on plain labels, 1 less its cosine with the one at initialization"
    )
    if np.isfinite(result.array("full_movement")[:, 1]).any():
        text += "; filled, the full kernel at the end"
    if PANELS(result)[1] < 3:
        return text + "."
    return (
        f"{text}. Right: of the pairs of methods that the networks tell apart, the share that the "
        "prediction orders right, for every network and loss (filled) and every other output scale "
        "of the first network (open)."
    )


def draw(result: Result, axes: style.Panels) -> None:
    """Slopes, the turn of the kernel, the order."""
    _slopes(result, axes[0])
    handles = _over_time(result, axes[1])
    if len(axes) == 3:
        _order(result, axes[2])
    axes[0].figure.legend(
        handles=handles, loc="outside upper center", ncols=min(len(handles), 3), frameon=False,
        fontsize=7.5,
    )  # fmt: skip


def _slopes(result: Result, panel: Axes) -> None:
    mask = result.array("counted").copy()
    mask[0] = False
    looks = _predictions.every_setting(result)
    for setting in _predictions.settings(result):
        number = int(result.array("setting_network")[setting])
        rows, said = (result.array("slope")[number, side][mask] for side in (0, 1))
        look = looks[setting]
        _predictions.bars(panel, said[:, 0], rows, look["color"])
        panel.plot(said[:, 0], rows[:, 0], **look | {"linestyle": "none", "markersize": 3.2})
    panel.axline((0, 0), slope=1, **style.reference())
    panel.set(xlabel="predicted, less plain labels", ylabel="measured, less plain labels")
    panel.set_title("Slope of effective time")
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(MaxNLocator(5))


def _over_time(result: Result, panel: Axes) -> list[object]:
    reads = result.array("reads")
    handles: list[object] = []
    for setting, look in _predictions.every_setting(result).items():
        turn = result.array("movement")[setting, :, 1]
        label = _predictions.named(result, setting)
        handles += panel.plot(reads, turn, label=label, **look)
        if setting not in _predictions.settings(result):
            continue
        full = result.array("full_movement")[int(result.array("setting_network")[setting]), 1]
        if np.isfinite(full):
            end = {"markerfacecolor": look["color"], "linestyle": "none"}
            panel.plot(reads[-1], full, **look | end)
    panel.set(xscale="log", yscale="log", xlabel="steps", ylabel="1 − cosine")
    panel.set_title("Turn of the kernel")
    style.plain_log(panel.xaxis)
    style.powers(panel.yaxis)
    return handles


def _ordered(result: Result) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Turn of the kernel and share ordered right, where pairs were tested, scales last."""
    column = _predictions.place(result, "statistics", "concordance")
    found = {}
    for quantity in ORDERED:
        row = _predictions.place(result, "quantities", quantity)
        shares = [
            result.array("table")[setting, _predictions.predictor(result, setting), row, column, 0]
            for setting in range(len(result.array("setting_network")))
        ]
        # the first scale is 1: the first network itself
        x = [*result.array("movement")[:, -1, 1], *result.array("scale_movement")[1:, 1]]
        y = [*shares, *result.array("scale_table")[1:, row, column, 0]]
        known = np.isfinite(y)
        found[quantity] = np.array(x)[known], np.array(y)[known]
    return found


def _order(result: Result, panel: Axes) -> None:
    scaled = result.array("scale_movement")[1:, 1]
    for (quantity, (turn, share)), size in zip(_ordered(result).items(), (7.0, 3.6), strict=True):
        role = ORDERED[quantity]
        of_scale = np.isin(turn, scaled)
        panel.plot(turn[of_scale], share[of_scale], **style.measured(role, markersize=size))
        fill = {"markerfacecolor": role.color, "markeredgecolor": "white", "markeredgewidth": 0.5}
        look = style.measured(role, markersize=size, label=role.label, **fill)
        panel.plot(turn[~of_scale], share[~of_scale], **look)
    panel.set(xscale="log", xlabel="1 − cosine at the end", ylabel="pairs ordered right")
    panel.margins(0.12)
    panel.set_ylim(top=1.03)
    _predictions.percent(panel.yaxis)
    panel.legend(loc="lower left")
    panel.set_title("Order of methods")
    _predictions.few_powers(panel.xaxis)
