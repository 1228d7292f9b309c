"""Every bound beside the measured error and the squared bias, for some kinds of targets."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from figures import _risk, style
from sims.results import Result

RESULT = "risk_bounds"
TITLE = "Every bound beside the error that it is meant for"
ALT = (
    "Panels side by side, one for each kind of target, on logarithmic axes: the measured error and "
    "the squared bias in the first rows, with a line from each down to the last row, then a row "
    "for each bound with marks for its published and its sharp form."
)
SIZE = (style.TWO_COLUMNS, 3.9)
PANELS = (1, 4)
ORDER = 15
ROWS = (
    ("tv", "l1"), ("l2",), ("sqrt_kl_fwd",), ("kl_fwd",), ("sqrt_kl_rev",), ("kl_rev",),
    ("jeffreys",), ("bretagnolle_huber_fwd",), ("bretagnolle_huber_rev",),
)  # fmt: skip
FIRST = 2  # rows before those of the bounds
HOLLOW: dict[str, Any] = {"markerfacecolor": "white", "markeredgewidth": 1.0}


def CAPTION(result: Result) -> str:
    """What the marks are."""
    _, size = _risk.middle(result)
    return (
        f"Mean squared error of a risk measured on {size} samples, with its 95 % interval over "
        "many data sets and a black line at what the formula says; the squared bias (green "
        "line), which the bounds are bounds on; and all bounds, in the "
        "published form and in the sharp one. Filled diamonds are published bounds for the mean "
        "target given the input, open ones for the targets as drawn, where these are random. "
        "Arrows at the left stand for 0, at the right for infinity or what the axis does not "
        "hold. No loss makes a squared bias right of the dashed line: bounds there say nothing."
    )


def _chosen(result: Result) -> list[int]:
    """One-hot labels, the smoothing next to 0.1, a softened posterior, the last random teacher."""
    mass, group = result.array("strength"), result.array("group")
    smoothed = np.where(mass > 0, np.abs(mass - 0.1), np.inf)
    softened = np.flatnonzero(result.array("target") == "posterior at τ = 2")
    return [0, int(np.argmin(smoothed)), int(softened[0]), len(group) - 1]


def draw(result: Result, axes: style.Panels) -> None:
    """A kind of target a panel, the rows named at the left."""
    places = _chosen(result)
    size, _ = _risk.middle(result)
    every = [result.array("bias")[places] ** 2, result.array("mse")[places, size]]
    every += [result.array(f"{kind}_mean")[places] for kind in ("published", "sharp")]
    least = _risk.floor(*every)
    finite = np.concatenate([np.ravel(values) for values in every])
    most = 4 * max(finite[np.isfinite(finite)].max(), float(result.array("trivial")[0]))
    for panel, place in zip(axes, places, strict=True):
        _panel(result, panel, place, (least, most))
    names = ["measured error", "squared bias", *(_risk.NAMES[names[0]] for names in ROWS)]
    axes[0].set_yticks(np.arange(len(names)), names, fontsize=7.5)
    for panel in axes[1:]:
        panel.set_yticks(np.arange(len(names)), [])
    handles = [
        Line2D([], [], linestyle="none", color=role.color, marker=role.marker, label=label,
               markersize=4.2, **how)
        for label, role, how in (
            ("published, mean target", _risk.PUBLISHED, {}),
            ("published, targets as drawn", _risk.PUBLISHED, HOLLOW),
            ("sharp, mean target", _risk.SHARP, {}),
        )
    ]  # fmt: skip
    axes[0].figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)


def _panel(result: Result, panel: Axes, place: int, limits: tuple[float, float]) -> None:
    size, _ = _risk.middle(result)
    _error(result, panel, place, size, limits[0])
    published, sharp = (
        {str(name): float(value) for name, value in zip(
            result.array(kind), result.array(f"{kind}_mean")[place], strict=True)}
        for kind in ("published", "sharp")
    )  # fmt: skip
    drawn = dict(zip(published, result.array("published_drawn")[place], strict=True))
    random = not np.allclose(list(drawn.values()), list(published.values()), atol=0)
    for row, names in enumerate(ROWS, start=FIRST):
        for name in names:
            if random and name in drawn:
                _mark(panel, drawn[name], row - 0.13, _risk.PUBLISHED, limits, HOLLOW)
            if name in published:
                _mark(panel, published[name], row - 0.13, _risk.PUBLISHED, limits, {})
            if name in sharp:
                _mark(panel, sharp[name], row + 0.17, _risk.SHARP, limits, {})
    panel.axvline(float(result.array("trivial")[0]), **style.reference())
    panel.set(xscale="log", xlim=limits, ylim=(FIRST + len(ROWS) - 0.5, -0.6))
    label = str(result.array("target")[place])
    panel.set_title(label.replace(", ", ",\n").replace(" at ", "\nat "), fontsize=8.5)
    panel.set_xlabel("squared error")
    panel.grid(axis="y", visible=False)
    style.powers(panel.xaxis, most=4)


def _error(result: Result, panel: Axes, place: int, size: int, least: float) -> None:
    """The first two rows, and their lines down."""
    mean, low, high = result.array("measured_mse")[place, size]
    exact, bias = (
        float(result.array("mse")[place, size]),
        float(result.array("bias")[place, 0]) ** 2,
    )
    panel.axvline(exact, **style.theory(_risk.ERROR, linewidth=0.9))
    panel.errorbar(
        mean, 0, xerr=[[mean - max(low, least)], [high - mean]], ecolor=_risk.ERROR.color,
        elinewidth=0.9, **style.measured(_risk.ERROR),
    )  # fmt: skip
    if bias > least:
        panel.axvline(bias, **style.theory(_risk.BIAS, linewidth=0.9))
    _mark(panel, bias, 1, _risk.BIAS, (least, np.inf), {})


def _mark(
    panel: Axes,
    value: float,
    row: float,
    role: style.Role,
    limits: tuple[float, float],
    how: dict[str, Any],
) -> None:
    """A marker, or an arrow at the edge that the value is beyond."""
    least, most = limits
    marker = role.marker if least < value < most else "<" if value <= least else ">"
    at = float(np.clip(value, 1.5 * least, most / 1.5))
    panel.plot(at, row, marker=marker, color=role.color, markersize=4.2, linestyle="none", **how)
