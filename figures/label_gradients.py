"""Gradients of the label's logit, by the label and by the teacher, sample by sample."""

import numpy as np
from matplotlib.axes import Axes

from figures import style
from sims.results import Result

RESULT = "bias_variance"
TITLE = "What label and teacher ask of the label's logit"
ALT = (
    "Scatter panels of samples, a column for each temperature, early in training above and at its "
    "end below: the label's gradient a across, from -1 to 0, what the teacher adds, b, up; two "
    "wedges are shaded in which b outweighs a."
)
CAPTION = (
    "One student and its training samples on the first setting: a, the gradient of the label's "
    "logit by the label (−1: the sample is not learned, 0: it is), and b, by what the teacher adds "
    "to it. In the shaded wedges |b| > |a|, and the sample is a regularization sample: in the "
    "upper one the teacher holds the student back, in the lower one it pulls up harder than the "
    "label does. Below the dashed line a and b have the same sign, where no sample can lie at "
    "temperature 1."
)
ORDER = 50
BACK, UP, POINT = "#f8d9b3", "#bcd0e8", style.RIGHT_LABEL


def PANELS(result: Result) -> tuple[int, int]:
    """Two moments; a column for each temperature."""
    return 2, len(result.array("temperature"))


def SIZE(result: Result) -> tuple[float, float]:
    """Panels near to squares."""
    return max(style.ONE_COLUMN, 0.6 + 2.2 * PANELS(result)[1]), 5.0


def draw(result: Result, axes: style.Panels) -> None:
    """Early above, the end below."""
    panels = np.reshape(axes, PANELS(result))
    plane, moments = result.array("plane")[0], result.array("plane_epochs")
    for column, temperature in enumerate(result.array("temperature")):
        reach = 1.15 * max(float(np.abs(plane[column, :, 1]).max()), 1.0)
        for row, epoch in enumerate(moments):
            panel = panels[row, column]
            _wedges(panel, reach, label=row + column == 0)
            panel.plot(
                *plane[column, row], linestyle="none", marker="o", markersize=3, alpha=0.6,
                color=POINT.color, markeredgewidth=0, zorder=2,
            )  # fmt: skip
            panel.axhline(0, **style.reference())
            panel.set(xlim=(-1.05, 0.05), ylim=(-reach, reach), xticks=[-1, -0.5, 0])
            panel.set_title(f"T = {temperature:g}, epoch {epoch}")
    for panel in panels[-1]:
        panel.set_xlabel("a: the label's gradient")
    for panel in panels[:, 0]:
        panel.set_ylabel("b: what the teacher adds")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    panels[0, 0].figure.legend(
        handles, labels, loc="outside upper center", ncols=min(2, panels.shape[1]), frameon=False
    )


def _wedges(panel: Axes, reach: float, *, label: bool) -> None:
    """Where b outweighs a, over the whole panel."""
    a = np.array([-1.05, 0.0, 0.05])
    far = np.full(3, reach)
    names = ("teacher holds back", "teacher pulls up harder than the label")
    back, up = names if label else (None, None)
    panel.fill_between(a, np.abs(a), far, color=BACK, linewidth=0, label=back, zorder=0.5)
    panel.fill_between(a, -np.abs(a), -far, color=UP, linewidth=0, label=up, zorder=0.5)
