"""Five methods predicted before training, and the networks trained by them."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from figures import _predictions, style
from sims.results import Result

RESULT = "prediction_meets_network"
TITLE = "Networks trained by five methods, and what the closed form said before"
ALT = (
    "Three panels: progress along eigendirections against their eigenvalue; the share of flipped "
    "training samples that get their right class, over training; and test accuracy over training. "
    "Lines are predictions for five methods, and markers of trained networks lie close to them."
)
PANELS = (1, 3)
SIZE = (style.TWO_COLUMNS, 3.3)
ORDER = 0


def CAPTION(result: Result) -> str:
    """With the network and the kernel of the prediction."""
    setting = _predictions.shown(result)
    by = _predictions.predictor(result, setting)
    full = str(result.array("predictors")[by]) == "full"
    kernel = "full" if full else "trace"
    error, agree = result.array("error")[setting, by, 0, 0], result.array("agreement")[setting, by]
    samples = int(result.array("training_samples"))
    return (
        f"Lines: closed forms in the {kernel} tangent kernel at initialization, nothing fitted. "
        f"Markers: networks ({_predictions.named(result, setting)}, "
        f"{_predictions.seeds(result, setting)}) trained on {samples} digits, "
        f"{float(result.array('noise')):.0%} of them with a flipped label. Left: how far the "
        "labels have been learned along the kernel's eigendirections, in groups of similar "
        f"eigenvalue, after {result.array('reads')[_middle(result)]} steps. Middle and right: "
        f"flipped samples put right, and test accuracy, over training; until step "
        f"{int(result.array('switch_step'))} “teacher, then labels” is the student. "
        f"{_bars(result, setting)}"
        f"Training outputs are off by a median of {error:.0%} of their norm, and {agree[0]:.0%} "
        "of the test decisions are the same."
    )


def _bars(result: Result, setting: int) -> str:
    """What the upright bars are, where there are any."""
    spread = np.isfinite(result.array("progress_spread")[_network(result, setting)]).any()
    ends = np.isfinite(result.array("level")[setting, ..., 1]).any()
    left = "one standard deviation over seeds to each side on the left" if spread else ""
    rest = "95 % intervals of the mean elsewhere" if ends else ""
    said = ", ".join(each for each in (left, rest) if each)
    return f"Bars: {said}. " if said else ""


def _network(result: Result, setting: int) -> int:
    return int(result.array("setting_network")[setting])


def draw(result: Result, axes: style.Panels) -> None:
    """Progress, recovery, accuracy."""
    setting = _predictions.shown(result)
    _progress(result, setting, axes[0])
    for panel, quantity, title, label in (
        (axes[1], "recovery", "Flipped samples put right", "share of flipped samples"),
        (axes[2], "accuracy", "Test accuracy", "share of test samples"),
    ):
        _path(result, setting, panel, quantity, label)
        panel.set_title(title)
    handles = []
    for role in _predictions.roles(result).values():
        (line,) = axes[0].plot([], [], **style.theory(role))
        (marker,) = axes[0].plot([], [], **style.measured(role))
        handles.append(((line, marker), role.label))
    ink = style.Role("", style.INK, "o")
    handles += [
        (axes[0].plot([], [], linestyle="none")[0], " "),  # so that the next two share a column
        (axes[0].plot([], [], **style.theory(ink))[0], "line: closed form"),
        (axes[0].plot([], [], **style.measured(ink))[0], "marker: network"),
    ]
    axes[0].figure.legend(
        [pair for pair, _ in handles], [label for _, label in handles],
        loc="outside upper center", ncols=4, frameon=False, handlelength=2.2, columnspacing=1.8,
    )  # fmt: skip


def _progress(result: Result, setting: int, panel: Axes) -> None:
    network = _network(result, setting)
    read = _middle(result)
    x, grid = result.array("eigenvalues")[network], result.array("line_eigenvalues")
    for name, role in _predictions.roles(result).items():
        method = _predictions.place(result, "methods", name)
        panel.plot(grid, result.array("line")[method, read], **style.theory(role))
        y = result.array("progress")[network, 0, method, read]
        spread = result.array("progress_spread")[network, method, read]
        known = np.isfinite(x) & np.isfinite(y)
        panel.vlines(
            x[known], (y - spread)[known], (y + spread)[known], color=role.color, linewidth=1.0,
            alpha=0.55,
        )  # fmt: skip
        panel.plot(x[known], y[known], **style.measured(role))
    panel.set(xscale="log", xlim=(grid[0], 1.6), ylim=(-0.04, 1.08))
    panel.set(xlabel="eigenvalue / largest", ylabel="progress")
    panel.set_title(f"Progress after {result.array('reads')[read]} steps")
    style.powers(panel.xaxis)


def _middle(result: Result) -> int:
    """The last reading but one: all five methods differ by then, and none has learned all."""
    return len(result.array("reads")) - 2


def _path(result: Result, setting: int, panel: Axes, quantity: str, label: str) -> None:
    by, column = (
        _predictions.predictor(result, setting),
        _predictions.place(result, "quantities", quantity),
    )
    reads = result.array("reads")
    for name, role in _predictions.roles(result).items():
        method = _predictions.place(result, "methods", name)
        rows = result.array("level")[setting, method, :, column]
        _predictions.bars(panel, reads, rows, role.color)
        said = result.array("predicted_level")[setting, by, method, :, column]
        panel.plot(reads, said, **style.theory(role))
        panel.plot(reads, rows[:, 0], **style.measured(role))
    panel.set(xscale="log", xlabel="steps", ylabel=label)
    panel.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    _predictions.percent(panel.yaxis)
    style.plain_log(panel.xaxis)
