"""Variance while students train: those of teachers against those of labels."""

import numpy as np

from figures import _taught, style
from sims.results import Result

RESULT = "bias_variance"
TITLE = "Variance in the course of training"
ALT = (
    "Six panels, one for each setting: variance of the students up, epochs of training across on a "
    "logarithmic axis, with marks joined by thin lines for students of labels and of teachers at "
    "each temperature."
)
CAPTION = (
    "Variance over draws of the data and over teachers while the students train (of the models "
    "that there are, not corrected for their number). Black: students of labels, purple: of "
    "smoothed labels, orange: of a teacher. Where orange lies below black, distillation lowers the "
    "variance; the curves may cross in the course of training, and what the teacher learned from "
    "(panel by panel) moves the orange ones only."
)
ORDER = 30
PANELS = (2, 3)
SIZE = (style.TWO_COLUMNS, 5.2)


def draw(result: Result, axes: style.Panels) -> None:
    """One setting a panel."""
    epochs, path = result.array("epochs"), result.array("path")
    names, roles = _taught.titles(result), _taught.roles(result)[1:]
    for row, panel in enumerate(np.ravel(axes)):
        for k, role in enumerate(roles):
            panel.plot(
                epochs[1:], path[row, k, 1:, _taught.VARIANCE], label=role.label,
                **style.measured(role, linestyle="-", linewidth=0.9, color=role.color),
            )  # fmt: skip
        panel.set(xscale="log", title=names[row])
        panel.set_ylim(bottom=0.0)
        style.plain_log(panel.xaxis)
    for panel in axes[-1]:
        panel.set_xlabel("epochs")
    for panel in axes[:, 0]:
        panel.set_ylabel("variance (nats)")
    _taught.legend(axes)
