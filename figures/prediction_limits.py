"""Where the closed form stops, and what other predictors miss."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

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
SIZE = (style.TWO_COLUMNS, 3.4)
ORDER = 20
NAMES = {
    "full": "own full kernel",
    "trace": "own trace kernel",
    "rbf": "Gaussian kernel",
    "wide_rbf": "wide Gaussian",
    "linear": "linear kernel",
}


def CAPTION(result: Result) -> str:
    """With the yardstick."""
    setting = _predictions.shown(result)
    network = int(result.array("setting_network")[setting])
    other = float(result.array("yardstick")[network, 0, 0])
    ends = np.isfinite(result.array("scale_error")[:, 0, 1]).any()
    bars = ", with 95 % intervals over seeds" if ends else ""
    late = result.array("reads")[result.array("late")]
    return (
        "Median error of predicted training outputs over all methods, as a share of their norm. "
        "Left: over training, every network in its full kernel, unless said. Middle: the first "
        "network with outputs multiplied by the number beside each marker (large outputs hardly "
        f"move the kernel, small ones turn it), steps {late[0]} to {late[-1]}{bars}. Right: the "
        f"same steps, predictors of {_predictions.named(result, setting)}; kernels of the inputs "
        "alone have a time fitted to the network, its own kernels nothing. The dashed line is "
        f"another initialization (plain labels, median over the same steps: {other:.0%})."
    )


def draw(result: Result, axes: style.Panels) -> None:
    """Errors over time, over scales, and by predictor."""
    _over_time(result, axes[0])
    _over_scales(result, axes[1])
    _by_predictor(result, axes[2])


def _over_time(result: Result, panel: Axes) -> None:
    reads = result.array("reads")
    handles = []
    for setting, look in _predictions.every_setting(result).items():
        by = _predictions.predictor(result, setting)
        y = np.median(result.array("error_path")[setting, by, :, :, 0], axis=0)
        full = str(result.array("predictors")[by]) == "full"
        label = _predictions.named(result, setting) + ("" if full else " (trace)")
        handles += panel.plot(reads, y, label=label, **look)
    panel.set(xscale="log", xlabel="steps", ylabel="error of training outputs")
    panel.set_ylim(bottom=0)
    _predictions.percent(panel.yaxis)
    panel.figure.legend(
        handles=handles, loc="outside upper center", ncols=min(len(handles), 3), frameon=False,
        title="left panel", title_fontsize=7.5, fontsize=7.5,
    )  # fmt: skip
    panel.set_title("Over training")
    style.plain_log(panel.xaxis)


def _over_scales(result: Result, panel: Axes) -> None:
    turn, rows = result.array("scale_movement")[:, 1], result.array("scale_error")[:, 0]
    role = style.Role("", style.BLUE, "o")
    _predictions.bars(panel, turn, rows, role.color)
    panel.plot(turn, rows[:, 0], **style.measured(role))
    for x, y, scale in zip(turn, rows[:, 0], result.array("scales"), strict=True):
        panel.annotate(
            f"×{scale:g}", (x, y), xytext=(-6, 0), textcoords="offset points", fontsize=7.5,
            ha="right", va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip
    panel.set(
        xscale="log", xlabel="turn of the kernel: 1 − cosine", ylabel="error of training outputs"
    )
    panel.margins(x=0.3, y=0.15)
    panel.set_ylim(bottom=0)
    _predictions.percent(panel.yaxis)
    panel.set_title("Over output scales")
    _predictions.few_powers(panel.xaxis)


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
    yardstick = float(result.array("yardstick")[network, 0, 0])
    panel.axvline(yardstick, **style.reference(color=style.INK, zorder=3))
    panel.set(yticks=places, ylim=(-0.6, len(known) - 0.4))
    panel.set_yticklabels(list(known))
    panel.set_xlim(left=0)
    panel.xaxis.set_major_locator(MaxNLocator(4))
    _predictions.percent(panel.xaxis)
    panel.grid(visible=False, axis="y")
    panel.set_xlabel("error of training outputs")
    panel.set_title("By predictor")
