"""What the figures of predicted networks share: methods with their colors, networks by name."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from figures import style
from sims.results import Result

ROLES = {
    "labels": style.Role("labels", style.BLUE, "o"),
    "student": style.Role("student", style.ORANGE, "D"),
    "generations": style.Role("3 generations", style.RED, "^"),
    "distill_then_labels": style.Role("teacher, then labels", style.GREEN, "s"),
    "memory_replay": style.Role("memory replay", style.VIOLET, "v"),
}
"""The five methods that a picture has room for."""
KINDS = {"ntk": "NTK", "standard": "standard"}
LOSSES = {"squared": "", "cross_entropy": ", cross-entropy"}


def place(result: Result, axis: str, name: str) -> int:
    """Where a method, a quantity, a predictor or a statistic stands on its axis."""
    return [str(each) for each in result.array(axis)].index(name)


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


def bars(panel: Any, x: NDArray[Any], rows: NDArray[Any], color: str) -> None:  # noqa: ANN401
    """Intervals as thin upright lines, where there are any."""
    _, low, high = rows.T
    known = np.isfinite(low) & np.isfinite(high)
    if known.any():
        panel.vlines(x[known], low[known], high[known], color=color, linewidth=1.0, alpha=0.55)
