"""Where the closed form stops, and what other predictors miss."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from figures import _predictions, style
from sims.results import Result

RESULT = "prediction_meets_network"
TITLE = "Where the prediction stops, and what other kernels miss"
ALT = (
    "Three panels: the error of predicted outputs over training for every network; the error "
    "against how far the kernel has turned, for outputs scaled up and down; and bars of the error "
    "of several predictors, the network's own full kernel the shortest."
)
PANELS = (1, 3)
SIZE = (style.TWO_COLUMNS, 3.1)
ORDER = 20
NAMES = {
    "full": "own full kernel",
    "trace": "own trace kernel",
    "rbf": "Gaussian kernel",
    "wide_rbf": "wide Gaussian",
    "linear": "linear kernel",
}
COLORS = (style.BLUE, style.ORANGE, style.GREEN, style.VIOLET, style.RED, style.GRAY)
MARKERS = ("o", "D", "s", "v", "^", "P")
DASHES: tuple[object, ...] = ("-", "-", "-", "-", (0, (4, 2)), (0, (4, 2)))


def CAPTION(result: Result) -> str:
    """With the yardstick."""
    setting = _predictions.shown(result)
    network = int(result.array("setting_network")[setting])
    read = list(result.array("reads")).index(int(result.array("teacher_step")))
    other = float(result.array("other")[network, read, 0])
    return (
        "Median error of predicted training outputs over all methods, as a share of their norm. "
        "Left: over training, every network in its full kernel, unless said. Middle: the first "
        "network with outputs multiplied by the number beside each marker (large outputs hardly "
        "move the kernel, small ones turn it). Right: predictors of "
        f"{_predictions.named(result, setting)}; kernels of the inputs alone have a time fitted to "
        "the network, its own kernels nothing. The dashed line is how far another initialization "
        f"of the same network is ({other:.0%})."
    )


def draw(result: Result, axes: style.Panels) -> None:
    """Errors over time, over scales, and by predictor."""
    _over_time(result, axes[0])
    _over_scales(result, axes[1])
    _by_predictor(result, axes[2])


def _over_time(result: Result, panel: Axes) -> None:
    reads = result.array("reads")
    every = [*_predictions.settings(result), *_predictions.settings(result, "cross_entropy")]
    for number, setting in enumerate(every):
        by = _predictions.predictor(result, setting)
        y = np.median(result.array("error_path")[setting, by, :, :, 0], axis=0)
        full = str(result.array("predictors")[by]) == "full"
        panel.plot(
            reads, y, color=COLORS[number % 6], marker=MARKERS[number % 6], markersize=3.6,
            linestyle=DASHES[number % 6], linewidth=1.1, markerfacecolor="white",
            label=_predictions.named(result, setting) + ("" if full else " (trace)"),
        )  # fmt: skip
    panel.set(xscale="log", xlabel="steps", ylabel="error of training outputs")
    top = panel.get_ylim()[1]
    panel.set_ylim(0, top * (1.2 + 0.11 * len(every)))
    panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panel.legend(loc="upper left", fontsize=6.6, handlelength=1.8, labelspacing=0.25)
    panel.set_title("Over training")
    style.plain_log(panel.xaxis)


def _over_scales(result: Result, panel: Axes) -> None:
    turn, rows = result.array("scale_movement")[:, 1], result.array("scale_error")[:, 0]
    role = style.Role("", style.BLUE, "o")
    _predictions.bars(panel, turn, rows, role.color)
    panel.plot(turn, rows[:, 0], **style.measured(role))
    for x, y, scale in zip(turn, rows[:, 0], result.array("scales"), strict=True):
        panel.annotate(
            f"×{scale:g}", (x, y), xytext=(5, 3), textcoords="offset points", fontsize=7.5,
        )  # fmt: skip
    panel.set(xscale="log", xlabel="turn of the kernel: 1 − cosine")
    panel.set_ylim(0, 1.08 * panel.get_ylim()[1])
    panel.margins(x=0.22)
    panel.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panel.set_title("Over output scales")
    style.powers(panel.xaxis, most=4)


def _by_predictor(result: Result, panel: Axes) -> None:
    setting = _predictions.shown(result)
    network = int(result.array("setting_network")[setting])
    rows = {
        label: result.array("error")[setting, _predictions.place(result, "predictors", name), 0]
        for name, label in NAMES.items()
    }
    known = {label: row for label, row in rows.items() if np.isfinite(row[0])}
    places = np.arange(len(known))[::-1]
    for at, (label, (mean, low, high)) in zip(places, known.items(), strict=True):
        own = label.startswith("own")
        panel.barh(at, mean, height=0.55, color=style.BLUE if own else style.GRAY, linewidth=0)
        if np.isfinite([low, high]).all():
            panel.hlines(at, low, high, color=style.INK, linewidth=1.0)
    read = list(result.array("reads")).index(int(result.array("teacher_step")))
    panel.axvline(float(result.array("other")[network, read, 0]), **style.reference())
    panel.set(yticks=places, ylim=(-0.6, len(known) - 0.4))
    panel.set_yticklabels(list(known))
    panel.set_xlim(left=0)
    panel.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panel.grid(visible=False, axis="y")
    panel.set_xlabel("error of training outputs")
    panel.set_title("By predictor")
