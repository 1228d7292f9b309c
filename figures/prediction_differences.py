"""What each method changes against plain labels, predicted and measured."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from figures import _predictions, style
from sims.results import Result

RESULT = "prediction_meets_network"
TITLE = "What a method changes against plain labels, predicted and measured"
ALT = (
    "Panels by network and quantity: measured against predicted differences from plain labels, "
    "one marker for each method at each step, round the diagonal; the trace kernel's predictions "
    "are smaller gray squares."
)
ORDER = 10
QUANTITIES = {
    "accuracy": "Test accuracy",
    "recovery": "Flipped samples put right",
    "risk": "Test risk",
}
OWN = style.Role("full kernel", style.ORANGE, "o")
TRACE = style.Role("trace kernel, the mean over outputs", style.GRAY, "s")
APART = "memory_replay"
"""Left out of the panels of risk, where it would squeeze all others into a corner."""


def _kept(result: Result) -> list[int]:
    """The settings of the squared loss in the first parametrization."""
    kinds, network = result.array("network_parametrization"), result.array("setting_network")
    return [each for each in _predictions.settings(result) if kinds[network[each]] == kinds[0]]


def PANELS(result: Result) -> tuple[int, int]:
    """A row for each network."""
    return len(_kept(result)), 3


def SIZE(result: Result) -> tuple[float, float]:
    """As many rows as networks."""
    return style.TWO_COLUMNS, 0.75 + 2.15 * len(_kept(result))


def CAPTION(result: Result) -> str:
    """With what one unit of a predicted difference in recovery is in each network."""
    several = bool((result.array("setting_seeds")[_kept(result)] > 1).any())
    ends = bool(np.isfinite(result.array("difference")[_kept(result)][..., 1]).any())
    means = ", means over seeds" if several else ""
    means += " with 95 % intervals" if ends else ""
    said = "; ".join(_slopes(result, setting) for setting in _kept(result))
    return (
        f"Difference of the other methods from plain labels at the same step{means}; each method "
        "at each late step once, although it goes by another name before it switches. The dashed "
        "diagonal is a perfect prediction. One unit of predicted difference in recovery is, in "
        f"the network, {said}. {_apart(result)}"
    )


def _apart(result: Result) -> str:
    """What the panel of risks leaves out, with how far it and the others go."""
    column = _predictions.place(result, "quantities", "risk")
    change = np.abs(result.array("difference")[_kept(result)][:, :, :, column, 0])
    one = _predictions.place(result, "methods", APART)
    most, others = (
        float(change[:, mask].max())
        for mask in (_only(result.array("counted"), one), _drawn(result, "risk"))
    )
    return (
        f"The panels of risk leave out {result.array('method_labels')[one]}, which changes it by "
        f"up to {most:.2f}; the others do by up to {others:.2f}."
    )


def _only(mask: NDArray[np.bool_], method: int) -> NDArray[np.bool_]:
    return np.asarray(mask & (np.arange(len(mask)) == method)[:, None])


def _slopes(result: Result, setting: int) -> str:
    """Slope of the recovery in every kernel of the network that there is."""
    row = _predictions.place(result, "quantities", "recovery")
    column = _predictions.place(result, "statistics", "slope")
    found = {
        name: float(result.array("table")[setting, by, row, column, 0])
        for name in ("full", "trace")
        for by in [_predictions.place(result, "predictors", name)]
    }
    known = [
        f"{_predictions.number(slope)} ({name} kernel)"
        for name, slope in found.items()
        if np.isfinite(slope)
    ]
    return f"{' and '.join(known) or 'not known'} at {_predictions.named(result, setting)}"


def draw(result: Result, axes: style.Panels) -> None:
    """One panel for each network and quantity."""
    grid = np.atleast_2d(axes)
    shown = False
    for row, setting in zip(grid, _kept(result), strict=True):
        for panel, (quantity, title) in zip(row, QUANTITIES.items(), strict=True):
            shown |= _scatter(result, setting, panel, quantity)
            panel.set_title(title)
        row[0].set_ylabel(f"{_predictions.named(result, setting)}\nmeasured difference")
    for panel in grid[-1]:
        panel.set_xlabel("predicted difference")
    handles = [
        grid[0, 0].plot([], [], label=role.label, **style.measured(role))[0]
        for role in ((OWN, TRACE) if shown else (TRACE,))
    ]
    grid[0, 0].figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)


def _drawn(result: Result, quantity: str) -> NDArray[np.bool_]:
    """Methods and reads (S, R) that a panel shows: not plain labels, and nothing twice."""
    mask = result.array("counted").copy()
    mask[0] = False
    if quantity == "risk":
        mask[_predictions.place(result, "methods", APART)] = False
    return np.asarray(mask)


def _scatter(result: Result, setting: int, panel: Axes, quantity: str) -> bool:
    """Whether the full kernel is among what was drawn."""
    column = _predictions.place(result, "quantities", quantity)
    drawn = _drawn(result, quantity)
    rows = result.array("difference")[setting, :, :, column][drawn]
    full = False
    for name, role in (("trace", TRACE), ("full", OWN)):
        by = _predictions.place(result, "predictors", name)
        x = result.array("predicted_difference")[setting, by, :, :, column][drawn]
        if not np.isfinite(x).any():
            continue
        if role is OWN:
            full = True
            _predictions.bars(panel, x, rows, role.color)
        size = {"markersize": 3.4, "alpha": 0.75} if role is TRACE else {}
        panel.plot(x, rows[:, 0], **style.measured(role, **size))
    panel.axline((0, 0), slope=1, **style.reference())
    panel.margins(0.08)
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(MaxNLocator(4))
        if quantity != "risk":
            _predictions.percent(axis)
    return full
