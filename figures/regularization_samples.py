"""Shares of regularization samples while students train (Zhou et al. 2021, fig. 2)."""

import numpy as np
from matplotlib.axes import Axes

from figures import style
from sims.results import Result

RESULT = "bias_variance"
TITLE = "Regularization samples in the course of training"
ALT = (
    "Panels of shares of the training samples against epochs on a logarithmic axis: a column for "
    "each temperature, teachers of the labels above and of smoothed labels below; four kinds of "
    "marks joined by thin lines, with interval bars."
)
CAPTION = (
    "Share of the training samples that count as regularization samples, with 95 % intervals over "
    "draws of the data. Circles: the paper's criterion, |b| > |a|, with a and b the gradients of "
    "the label's logit by the label and by what the teacher adds. Diamonds: those among them where "
    "the teacher holds the student back; in the others it pulls up harder than the label. Gray: "
    "the student gives the label more than its teacher does at temperature 1. Crosses: a and b "
    "have the same sign, which is so for no sample at temperature 1."
)
ORDER = 40
ROWS = (0, 1)
ROLES = (
    style.Role("|b| > |a|", style.BLUE, "o"),
    style.Role("of these, held back", style.ORANGE, "D"),
    style.Role("ahead at T = 1", style.GRAY, "s"),
    style.Role("a and b of one sign", style.RED, "x"),
)


def PANELS(result: Result) -> tuple[int, int]:
    """A column for each temperature."""
    return len(ROWS), len(result.array("temperature"))


def SIZE(result: Result) -> tuple[float, float]:
    """Two rows of panels."""
    return max(style.ONE_COLUMN, 0.6 + 2.2 * PANELS(result)[1]), 4.6


def draw(result: Result, axes: style.Panels) -> None:
    """Teachers of labels above, of smoothed labels below."""
    panels = np.reshape(axes, PANELS(result))
    names = [str(name) for name in result.array("setting")]
    for row, setting in enumerate(ROWS):
        for column, temperature in enumerate(result.array("temperature")):
            panel = panels[row, column]
            _shares(panel, result.array("epochs"), result.array("share")[setting, column])
            panel.set_title(f"T = {temperature:g}")
        panels[row, 0].set_ylabel(f"{names[setting]}:\nshare of samples")
    for panel in panels[-1]:
        panel.set_xlabel("epochs")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    panels[0, 0].figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols={1: 1, 2: 2}.get(panels.shape[1], 4),
        frameon=False,
    )


def _shares(panel: Axes, epochs: np.ndarray, share: np.ndarray) -> None:
    for k, role in enumerate(ROLES):
        mean, low, high = share[1:, k].T
        panel.errorbar(
            epochs[1:], 100 * mean, yerr=100 * np.stack([mean - low, high - mean]),
            label=role.label, color=role.color, elinewidth=0.9,
            **style.measured(role, linestyle="-", linewidth=0.8),
        )  # fmt: skip
    panel.set(xscale="log", ylim=(-4, 104))
    panel.set_yticks([0, 50, 100], ["0", "50 %", "100 %"])
    style.plain_log(panel.xaxis)
