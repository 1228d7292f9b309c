"""What each method changes against plain labels, predicted and measured."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from figures import _predictions, style
from sims.results import Result

RESULT = "prediction_meets_network"
TITLE = "What a method changes against plain labels, predicted and measured"
ALT = (
    "Panels by network and quantity: measured against predicted differences from plain labels, "
    "one marker for each method at each step, round the diagonal; the trace kernel's predictions "
    "are smaller gray markers that lie farther from it."
)
ORDER = 10
QUANTITIES = {
    "accuracy": "test accuracy",
    "recovery": "flipped samples put right",
    "risk": "test risk",
}
OWN = style.Role("full kernel", style.ORANGE, "o")
TRACE = style.Role("trace kernel, the mean over outputs", style.GRAY, "s")


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
    """With the statistics of the first network."""
    parts = []
    for setting in _kept(result):
        by = _predictions.predictor(result, setting)
        r2, slope = (
            result.array("table")[
                setting, by, _predictions.place(result, "quantities", "recovery"),
                _predictions.place(result, "statistics", name), 0,
            ]
            for name in ("r2", "slope")
        )  # fmt: skip
        parts.append(f"{_predictions.named(result, setting)}: R² {r2:.2f}, slope {slope:.2f}")
    text = (
        "Difference of nine methods from plain labels at the same step, means over seeds with 95 % "
        "intervals; the dashed diagonal is a perfect prediction. The mean over outputs "
        "(trace kernel) orders methods, too, but gets the size of their differences wrong where "
        f"the network is narrow. Recovery ({'; '.join(parts)})."
    )
    return text.replace("-", "−") if "slope -" in text or "R² -" in text else text


def draw(result: Result, axes: style.Panels) -> None:
    """One panel for each network and quantity."""
    grid = np.atleast_2d(axes)
    for row, setting in zip(grid, _kept(result), strict=True):
        for panel, (quantity, title) in zip(row, QUANTITIES.items(), strict=True):
            _scatter(result, setting, panel, quantity)
            panel.set_title(title)
        row[0].set_ylabel(f"{_predictions.named(result, setting)}\nmeasured difference")
    for panel in grid[-1]:
        panel.set_xlabel("predicted difference")
    handles = [
        grid[0, 0].plot([], [], label=role.label, **style.measured(role))[0]
        for role in (OWN, TRACE)
    ]
    grid[0, 0].figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)


def _scatter(result: Result, setting: int, panel: Axes, quantity: str) -> None:
    column = _predictions.place(result, "quantities", quantity)
    late = result.array("late")
    rows = result.array("difference")[setting, 1:, :, column][:, late].reshape(-1, 3)
    for name, role in (("trace", TRACE), ("full", OWN)):
        by = _predictions.place(result, "predictors", name)
        x = result.array("predicted_difference")[setting, by, 1:, :, column][:, late].ravel()
        if not np.isfinite(x).any():
            continue
        if role is OWN:
            _predictions.bars(panel, x, rows, role.color)
        size = {"markersize": 3.4, "alpha": 0.75} if role is TRACE else {}
        panel.plot(x, rows[:, 0], **style.measured(role, **size))
    panel.axline((0, 0), slope=1, **style.reference())
    panel.margins(0.08)
    panel.xaxis.set_major_locator(MaxNLocator(4))
