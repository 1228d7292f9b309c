"""What the figures of predicted networks share: methods with their colors, networks by name."""

from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from figures import style
from sims.results import Result

RESULT = "prediction_meets_network"
METHODS = {
    "labels": (style.BLUE, "o"),
    "student": (style.ORANGE, "D"),
    "generations": (style.RED, "^"),
    "distill_then_labels": (style.GREEN, "s"),
    "memory_replay": (style.VIOLET, "v"),
}
"""The five methods that a picture has room for, with color and marker."""
COLORS = (style.BLUE, style.ORANGE, style.GREEN, style.VIOLET, style.RED, style.GRAY)
MARKERS = ("o", "D", "s", "v", "^", "P")
DASHES: tuple[Any, ...] = ("-", "-", "-", "-", (0, (4, 2)), (0, (4, 2)))
KINDS = {"ntk": "NTK", "standard": "standard"}
LOSSES = {"squared": "", "cross_entropy": ", cross-entropy"}


def place(result: Result, axis: str, name: str) -> int:
    """Where a method, a quantity, a predictor or a statistic stands on its axis."""
    return [str(each) for each in result.array(axis)].index(name)


def roles(result: Result) -> dict[str, style.Role]:
    """The five methods by name, labeled as the result names them."""
    labels = result.array("method_labels")
    return {
        name: style.Role(str(labels[place(result, "methods", name)]), color, marker)
        for name, (color, marker) in METHODS.items()
    }


def every_setting(result: Result) -> dict[int, dict[str, Any]]:
    """Keywords of lines with markers for all settings, squared loss first: the same everywhere."""
    every = [*settings(result), *settings(result, "cross_entropy")]
    return {
        setting: {
            "color": COLORS[number % 6],
            "marker": MARKERS[number % 6],
            "linestyle": DASHES[number % 6],
            "linewidth": 1.1,
            "markersize": 3.6,
            "markerfacecolor": "white",
        }
        for number, setting in enumerate(every)
    }


def settings(result: Result, loss: str = "squared") -> list[int]:
    """Numbers of the settings of one loss."""
    return [int(each) for each in np.flatnonzero(result.array("setting_loss") == loss)]


def predictor(result: Result, setting: int) -> int:
    """The full kernel where there is one, else the trace kernel."""
    full, trace = (place(result, "predictors", name) for name in ("full", "trace"))
    return full if np.isfinite(result.array("error")[setting, full, 0, 0]) else trace


def shown(result: Result) -> int:
    """The setting of the main picture: the widest network of the first parametrization.

    A single seed is not shown where another network has several.
    """
    own = settings(result)
    several = [each for each in own if result.array("setting_seeds")[each] > 1] or own
    network, width = result.array("setting_network"), result.array("network_width")
    first = result.array("network_parametrization")[0]
    kinds = result.array("network_parametrization")
    alike = [each for each in several if kinds[network[each]] == first] or several
    return max(alike, key=lambda each: width[network[each]])


def named(result: Result, setting: int) -> str:
    """Width, parametrization where there are several, and loss."""
    network = int(result.array("setting_network")[setting])
    kinds = result.array("network_parametrization")
    several = f", {KINDS[str(kinds[network])]}" if len(set(kinds.tolist())) > 1 else ""
    loss = LOSSES[str(result.array("setting_loss")[setting])]
    return f"W = {result.array('network_width')[network]}{several}{loss}"


def seeds(result: Result, setting: int) -> str:
    """How many seeds, in words."""
    count = int(result.array("setting_seeds")[setting])
    return f"{count} seed" + ("s" if count > 1 else "")


def percent(axis: Any) -> None:  # noqa: ANN401
    """Ticks of an axis as percentages, with a true minus sign and none before a zero."""

    def shown(value: float, _: object) -> str:
        return f"{round(100 * value, 6):zg}%".replace("-", "−")

    axis.set_major_formatter(FuncFormatter(shown))


def few_powers(axis: Any) -> None:  # noqa: ANN401
    """Ticks of a logarithmic axis in a narrow panel: powers of ten, and 3 times them if few."""
    low, high = sorted(axis.get_view_interval())
    if high < 150 * low:
        axis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=6))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    else:
        style.powers(axis, most=3)


def number(value: float, digits: int = 2) -> str:
    """A number with a true minus sign, and none before a zero.

    >>> number(-0.284), number(-0.001)
    ('−0.28', '0.00')
    """
    return f"{value:z.{digits}f}".replace("-", "−")


def bars(panel: Any, x: NDArray[Any], rows: NDArray[Any], color: str) -> None:  # noqa: ANN401
    """Intervals as thin upright lines, where there are any."""
    _, low, high = rows.T
    known = np.isfinite(low) & np.isfinite(high)
    if known.any():
        panel.vlines(x[known], low[known], high[known], color=color, linewidth=1.0, alpha=0.55)
