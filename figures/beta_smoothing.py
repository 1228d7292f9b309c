"""Confidences of a teacher beside Beta targets of the same mean, at a matched temperature."""

import numpy as np
from matplotlib.axes import Axes

from figures import style
from sims.results import Result

RESULT = "smoothing_map"
TITLE = "Confidences of a teacher, and what Beta smoothing puts in their place"
ALT = (
    "Left: mean label mass of the teacher falls with the temperature, for training and for "
    "held-out samples; a dot marks the matched temperature. Right: label masses in ascending "
    "order, the teacher's, the Beta targets' and a constant."
)
CAPTION = (
    "Left: mean probability of the label under a teacher of real data, over its temperature. "
    "The temperature is chosen where the mean on the training samples is what the soft part of "
    "the target needs (dotted line). Right: the confidences of the samples at that temperature, "
    "in order, beside the mean targets that Beta smoothing would give samples of these ranks "
    "(line), and beside the one number of label smoothing (dotted). Squares with bars: means and "
    "central 90 % of simulated batches."
)
SIZE = (style.TWO_COLUMNS, 2.9)
PANELS = (1, 2)
ORDER = 20


def draw(result: Result, axes: style.Panels) -> None:
    """The matching and the ranks."""
    _matching(result, axes[0])
    _ranks(result, axes[1])


def _matching(result: Result, panel: Axes) -> None:
    grid, wanted = result.array("teacher_temperature"), float(result.array("wanted_mass")[0])
    panel.plot(grid, result.array("train_mass"), label="training", **style.theory(style.TEACHER))
    panel.plot(
        grid, result.array("held_mass"), label="held out",
        **style.theory(style.TEACHER, linestyle=(0, (4, 1.5))),
    )  # fmt: skip
    panel.axhline(wanted, **style.reference(linestyle=(0, (1, 1.5))))
    floor = 1 / float(result.array("teacher_classes")[0])
    panel.axhline(floor, **style.reference())
    matched = float(result.array("matched_temperature")[0])
    panel.plot(matched, wanted, label=f"T = {matched:.3g}", **style.final(style.TEACHER))
    panel.set(xscale="log", ylim=(0, 1.04), xlim=(grid[0], grid[-1]))
    panel.set_xlabel("temperature of the teacher")
    panel.set_ylabel("mean mass on the label")
    panel.set_title(f"matching a mass of {wanted:.3g}, {result.array('data_name')[0]}")
    style.plain_log(panel.xaxis)
    # the dashed line is the uniform distribution
    panel.annotate(
        "uniform", (grid[0], floor), xytext=(4, 3), textcoords="offset points",
        fontsize=7.5, color=style.MUTED,
    )  # fmt: skip
    panel.legend(loc="lower left", bbox_to_anchor=(0.0, 0.16))


def _ranks(result: Result, panel: Axes) -> None:
    rank = result.array("rank")
    wanted = float(result.array("wanted_mass")[0])
    panel.plot(
        rank, result.array("teacher_confidence"), label="teacher at that temperature",
        color=style.TEACHER.color, linewidth=2.2,
    )  # fmt: skip
    shape = float(result.array("beta_shape")[0])
    panel.plot(
        rank, result.array("beta_target"), label=f"Beta smoothing, shape {shape:.3g}",
        **style.theory(style.SOFTNESS),
    )  # fmt: skip
    low, high = result.array("batch_low"), result.array("batch_high")
    place, mean = result.array("batch_rank"), result.array("batch_mean")
    some = np.unique(np.linspace(0, len(place) - 1, min(10, len(place))).round().astype(int))
    panel.errorbar(
        place[some], mean[some], yerr=[(mean - low)[some], (high - mean)[some]],
        fmt="s", color=style.SOFTNESS.color, markerfacecolor="white", markersize=3.6,
        elinewidth=0.8, label=f"the same, batches of {len(place)}",
    )  # fmt: skip
    panel.axhline(wanted, label="label smoothing", **style.reference(linestyle=(0, (1, 1.5))))
    panel.set(xlim=(-0.015, 1.015), ylim=(0, 1.04))
    panel.set_xlabel("rank of the sample, as a share of all")
    panel.set_ylabel("mass on the label")
    panel.set_title("label masses in order")
    # bars come last of themselves; they belong to the line of the same color
    handles, labels = panel.get_legend_handles_labels()
    order = (0, 1, 3, 2)
    panel.legend([handles[k] for k in order], [labels[k] for k in order], loc="lower right")
