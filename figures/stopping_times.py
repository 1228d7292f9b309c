"""When each direction should stop, and when each scheme stops it."""

import numpy as np
from matplotlib.axes import Axes

from figures import style
from sims.results import Result

RESULT = "does_it_pay"
TITLE = "Every direction wants its own stopping time"
ALT = (
    "Four panels with the eigenvalue across and training time up, both logarithmic: gray dots are "
    "the best stopping time of every single direction; a flat blue line is early stopping, an "
    "orange one the student, a green one ridge regression."
)
CAPTION = (
    "Signals with a larger b lie more in the top directions. Gray dots: how long it would be best "
    "to train along each single direction, given its signal and the noise. Early stopping can "
    "offer only one time for all, the flat line. A student's line rises to the right: it trains "
    "strong directions for longer than weak ones (flat is the best it can do where a rise would "
    "not help). Ridge regression does the opposite. A scheme pays where its line can follow the "
    "dots better than a flat one."
)
SIZE = (style.TWO_COLUMNS, 2.75)
PANELS = (1, 4)
ORDER = 20
SHOWN = (
    ("student", style.STUDENT, {"linestyle": "-"}),
    ("ridge", style.OPPOSITE, {"linestyle": (0, (5, 1.5))}),
)


def draw(result: Result, axes: style.Panels) -> None:
    """Three signals and the data."""
    count = len(result.array("signal")) - 1
    places = np.unique(np.linspace(0, count - 1, 3).round().astype(int))
    shown = [("decay", int(place), str(result.array("signal")[place])) for place in places]
    shown = [("decay", 0, shown[0][2])] * (3 - len(shown)) + shown
    shown.append(("data", 0, str(result.array("data_name")[0])))
    for panel, (kind, place, title) in zip(axes, shown, strict=True):
        _panel(result, panel, kind, place)
        panel.set_title(title.replace("-", "−"))
        panel.set_xlabel("eigenvalue")
    axes[0].set_ylabel("training time")
    handles, labels = axes[0].get_legend_handles_labels()
    axes[0].figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)


def _panel(result: Result, panel: Axes, kind: str, place: int) -> None:
    eigenvalues = result.array(f"{kind}_eigenvalues")
    wanted = result.array(f"{kind}_mode_times")[place]
    drawn = np.isfinite(wanted) & (wanted > 0)
    panel.plot(
        eigenvalues[drawn], wanted[drawn], linestyle="none", marker="o", markersize=3,
        color="#9aa0a6", markeredgewidth=0, label="best for this direction",
    )  # fmt: skip
    stop = result.array(f"{kind}_early_stopping_time")[place]
    panel.axhline(stop, label="early stopping", color=style.STOPPING.color, linewidth=1.5)
    schemes = result.array("scheme").tolist()
    seen = [stop, *wanted[drawn]]
    for name, role, how in SHOWN:
        times = result.array(f"{kind}_effective_times")[place, schemes.index(name)]
        panel.plot(
            eigenvalues, np.where(times > 0, times, np.nan), label=name,
            **{**style.theory(role), **how},
        )  # fmt: skip
        seen += times[np.isfinite(times) & (times > 0)].tolist()
    panel.set(xscale="log", yscale="log")
    finite = [time for time in seen if 0 < time < np.inf] or [1.0]
    if 0 < stop < np.inf:  # what lies far from it would press the rest together
        finite = [time for time in finite if stop / 1e4 < time < stop * 1e4]
    else:
        style.note(panel, f"early stopping: {'never' if stop else 'at once'}", at=(0.04, 0.04))
    low, high = np.min(finite), np.max(finite)
    room = max(1.3, (high / low) ** 0.06)
    panel.set_ylim(low / room, high * room)
    for axis in (panel.xaxis, panel.yaxis):
        style.powers(axis)
