"""What each scheme has learned of the labels along each direction."""

import numpy as np
from matplotlib.axes import Axes

from figures import _atlas, style
from sims.results import Result

RESULT = "spectral_atlas"
TITLE = "What each scheme learns of each direction"
ALT = (
    "A page of small panels, one for each training scheme, grouped by color: eigenvalue across on "
    "a logarithmic axis and the learned share of the labels up, with a dashed curve for plain "
    "training in every panel."
)
CAPTION = (
    "The gain of a scheme: the share of the labels that it has learned along a direction. The "
    "dashed curve, the same in every panel, is plain training on the labels for the same time. "
    "Above 1 a scheme overshoots the labels. A lower curve alone is no bias, for it may be plain "
    "training that was stopped earlier; the figure before tells the two apart. All curves are "
    "closed forms."
)
ORDER = 20
PANELS = _atlas.panels
SIZE = _atlas.size


def draw(result: Result, axes: style.Panels) -> None:
    """One panel for each scheme."""
    grid, gains = result.array("grid"), result.array("gain")
    plain = result.array("label_gain")
    top = max(1.08, float(np.max(gains)) * 1.05)

    def one(panel: Axes, scheme: int, color: str) -> None:
        panel.plot(grid, plain, **style.reference())
        panel.plot(grid, gains[scheme], color=color)
        panel.set(ylim=(min(-0.06, float(np.min(gains)) - 0.05), top), yticks=(0, 0.5, 1))

    _atlas.draw(
        result, axes, one,
        across="eigenvalue, in units of the largest", up="learned share of the labels",
    )  # fmt: skip
