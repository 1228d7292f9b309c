"""Every method's student: accuracy after the last epoch and the best ones, flips, calibration."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from figures import _benchmark, style
from sims.results import Result

RESULT = _benchmark.RESULT
TITLE = "Every method, one setting"
ALT = (
    "Three panels with a row for each method, the most accurate on top. Left: dots with intervals "
    "for the test accuracy after the last epoch, smaller marks for the best epochs, lines for "
    "labels alone and for the teacher. Middle: the share of flipped labels learned by heart. "
    "Right: the calibration error."
)
ORDER = 10
PANELS = (1, 3)
_ROW = 0.172  # inches
_BEST: dict[str, Any] = {
    "linestyle": "none", "marker": "o", "markersize": 3.4, "markerfacecolor": "white",
    "markeredgewidth": 0.9, "zorder": 2.6,
}  # fmt: skip
_CHOSEN: dict[str, Any] = {
    "linestyle": "none", "marker": "|", "markersize": 6, "markeredgewidth": 1.1,
    "color": style.INK, "zorder": 2.8,
}  # fmt: skip


def SIZE(result: Result) -> tuple[float, float]:
    """A line of text for each row."""
    return style.TWO_COLUMNS, 1.6 + _ROW * len(result.array("label"))


def CAPTION(result: Result) -> str:
    """With the size of the test set."""
    images = int(result.array("test_samples")[0])
    return (
        f"Left: accuracy on {images} test images, {_benchmark.setting(result)}; bars are 95 % t "
        "intervals over seeds, which vary initialization and batches alone. Filled: after the last "
        "epoch. Open circle: of the epoch that is best on held-out samples, whose labels are as "
        "noisy. Tick: of the epoch that is best on the test set itself, which is too high. Middle: "
        "how many of the flipped labels the student predicts in the end. Right: calibration error "
        "(15 bins) on the clean test labels; who has learned that labels are often flipped is less "
        "sure than it is right."
    )


def draw(result: Result, axes: style.Panels) -> None:
    """Three panels that share their rows."""
    order = _benchmark.order(result)
    places = np.arange(len(order))[::-1]
    for panel in axes:
        panel.set_ylim(-0.7, len(order) - 0.3)
        panel.grid(visible=False, axis="y")
        for place in places[::2]:
            panel.axhspan(place - 0.5, place + 0.5, color="#f4f5f7", linewidth=0, zorder=0)
        panel.tick_params(axis="y", length=0)
        panel.set_yticks(places, labels=[])
    labels = [str(result.array("label")[row]) for row in order]
    axes[0].set_yticks(places, labels=labels)
    _accuracy(result, axes[0], dict(zip(order.tolist(), places.tolist(), strict=True)))
    shown = _benchmark.learning(result)
    for panel, name in zip(axes[1:], ("train_memorized", "test_ece_15"), strict=True):
        for row, place in zip(order, places, strict=True):
            if shown[row]:
                _dot(panel, result, int(row), int(place), name)
        panel.set_xlim(left=0)
        panel.margins(x=0.08)
        panel.xaxis.set_major_locator(MaxNLocator(3))
    axes[1].set(title="Flips by heart", xlabel="of flipped labels")
    axes[2].set(title="Calibration", xlabel="test ECE")
    axes[1].xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes[0].figure.legend(
        handles=_handles(result), loc="outside lower center", ncols=4, frameon=False,
        handlelength=1.8, columnspacing=1.4,
    )  # fmt: skip
    for label, row in zip(axes[0].get_yticklabels(), order, strict=True):
        label.set_color(_benchmark.role(result, int(row)).color)
        if row == _benchmark.baseline(result):
            label.set_fontweight("bold")
    axes[0].get_subplotspec().get_gridspec().set_width_ratios([2.1, 1, 1])


def _accuracy(result: Result, panel: Axes, at: dict[int, int]) -> None:
    shown = _benchmark.learning(result)
    names = ("test_accuracy", "best_accuracy", "best_test_accuracy")
    means = np.stack([result.array(f"{name}_mean")[:, 0] for name in names])[:, shown]
    teacher = float(result.array("teacher_test_accuracy"))
    low, high = float(min(means.min(), teacher)), float(max(means.max(), teacher))
    room = 0.06 * (high - low or 1.0)
    panel.set_xlim(low - 2 * room, min(1.0, high + 2 * room))
    for row, place in at.items():
        if shown[row]:
            _row(panel, result, row, place)
        else:
            _out_of_range(panel, result, row, place)
    own = float(result.array("test_accuracy_mean")[_benchmark.baseline(result), 0])
    panel.axvline(own, **style.reference(color=style.BLUE, zorder=1.5))
    panel.axvline(teacher, **style.reference(color=style.INK, linestyle=":", linewidth=1.0))
    panel.set(title="Accuracy", xlabel="test accuracy")
    panel.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    panel.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")


def _row(panel: Axes, result: Result, row: int, place: int) -> None:
    role = _benchmark.role(result, row)
    best = float(result.array("best_accuracy_mean")[row, 0])
    chosen = float(result.array("best_test_accuracy_mean")[row, 0])
    panel.plot(chosen, place, **_CHOSEN)
    panel.plot(best, place, markeredgecolor=role.color, **_BEST)
    _dot(panel, result, row, place, "test_accuracy")


def _dot(panel: Axes, result: Result, row: int, place: int, name: str) -> None:
    """Mean and interval of a row."""
    role = _benchmark.role(result, row)
    mean, low, high = result.array(f"{name}_mean")[row]
    if np.isfinite([low, high]).all():
        panel.plot([low, high], [place, place], color=role.color, linewidth=1.1, alpha=0.55)
    panel.plot(
        mean, place, linestyle="none", marker=role.marker, color=role.color,
        markersize=3.6 if role.marker == "D" else 4.4, markeredgewidth=0, zorder=3, clip_on=False,
    )  # fmt: skip


def _out_of_range(panel: Axes, result: Result, row: int, place: int) -> None:
    """A row that has not learned: its accuracy in words, at the side where it would lie."""
    mean = float(result.array("test_accuracy_mean")[row, 0])
    panel.annotate(
        f"◂ {mean:.0%}", (0.015, place), xycoords=("axes fraction", "data"), va="center",
        fontsize=7.5, color=_benchmark.role(result, row).color,
    )  # fmt: skip


def _handles(result: Result) -> list[Line2D]:
    """Kinds first, then marks and lines."""
    kinds = [_benchmark.KINDS[name] for name in _benchmark.kinds(result)]
    found = [
        Line2D([], [], linestyle="none", marker=r.marker, color=r.color, label=r.label,
               markersize=4.4)
        for r in kinds
    ]  # fmt: skip
    found.append(Line2D([], [], markeredgecolor=style.MUTED, label="best on held-out", **_BEST))
    found.append(Line2D([], [], label="best on test", **_CHOSEN))
    lines = (("labels alone, last epoch", style.BLUE, (0, (4, 3))), ("teacher", style.INK, ":"))
    found += [
        Line2D([], [], **style.reference(color=color, linestyle=dash, label=label, linewidth=1.0))
        for label, color, dash in lines
    ]
    return found
