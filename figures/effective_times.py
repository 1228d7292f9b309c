"""How long each scheme seems to have trained each direction."""

import numpy as np
from matplotlib.axes import Axes

from figures import _atlas, style
from sims.results import Result

RESULT = "spectral_atlas"
TITLE = "How long each scheme seems to have trained"
ALT = (
    "A page of small panels, one for each training scheme, grouped by color: eigenvalue across and "
    "effective training time up, both logarithmic, with a dashed level line for plain training."
)
CAPTION = (
    "The effective time of a scheme along a direction is how long plain training on the labels "
    "would take to learn as much. The dashed line is plain training itself: the same time for "
    "every direction. Where a curve rises to the right, strong directions are trained for longer "
    "than weak ones, and the scheme exaggerates; where it falls, it brakes. Where a scheme "
    "overshoots the labels, there is no such time, and the curve breaks off. All curves are closed "
    "forms; times are in units of the training time."
)
ORDER = 10
PANELS = _atlas.panels
SIZE = _atlas.size
FLOOR = 2e-3


def draw(result: Result, axes: style.Panels) -> None:
    """One panel for each scheme."""
    grid, times = result.array("grid"), result.array("effective_time")

    def one(panel: Axes, scheme: int, color: str) -> None:
        panel.axhline(1, **style.reference())
        panel.plot(grid, np.where(times[scheme] > 0, times[scheme], np.nan), color=color)
        panel.set(yscale="log", ylim=(FLOOR, 6), yticks=(0.01, 0.1, 1))
        panel.set_yticklabels(["0.01", "0.1", "1"])

    _atlas.draw(
        result, axes, one,
        across="eigenvalue, in units of the largest", up="effective time / training time",
    )  # fmt: skip
