"""Measured error of the risk under targets, beside formula and bounds."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from figures import _risk, style
from sims.results import Result

RESULT = "risk_bounds"
TITLE = "How far the risk under soft targets is off"
ALT = (
    "Two panels on logarithmic axes. Left: error, squared bias and bounds against the mass moved "
    "from the label to all classes. Right: a row for each kind of target with markers for measured "
    "error, squared bias, sharp bound and published bounds."
)
SIZE = (style.TWO_COLUMNS, 4.3)
PANELS = (1, 2)
ORDER = 10


def CAPTION(result: Result) -> str:
    """What is compared, and at which size."""
    _, size = _risk.middle(result)
    return (
        f"The risk of a fixed predictor is estimated on {size} samples with targets in place of "
        "the truth. Left: labels smoothed more and more. Black: its mean squared error, by formula "
        "(line) and measured on many data sets (circles, 95 % intervals); green: the squared bias, "
        "the part that more samples do not remove; dashed: the bounds on it. Right: other targets; "
        "arrows at the left edge stand for 0. Open diamonds are the published bound read as the "
        "distance of the targets as drawn, filled ones as that of their mean given the input, "
        "which is what bias depends on. One-hot labels have no bias, however far each one is from "
        "the posterior."
    )


def draw(result: Result, axes: style.Panels) -> None:
    """Smoothing at the left, all targets at the right, one legend for both."""
    _smoothing(result, axes[0])
    _targets(result, axes[1])
    hollow: dict[str, Any] = {"markerfacecolor": "white", "markersize": 4.2}
    roles: tuple[tuple[str, style.Role, Any, dict[str, Any]], ...] = (
        ("error: measured, and by formula (line)", _risk.ERROR, "-", hollow),
        ("squared bias", _risk.BIAS, "-", {"markersize": 4.2}),
        ("sharp bound, total variation", _risk.SHARP, "--", {"markersize": 4.2}),
        (
            "published bound, Euclidean, of the mean target",
            _risk.PUBLISHED,
            "--",
            {"markersize": 4.2},
        ),
        ("the same, of the targets as drawn", _risk.PUBLISHED, "none", hollow),
    )
    handles = [
        Line2D([], [], label=label, color=role.color, marker=role.marker, linestyle=line,
               linewidth=1.2, **how)
        for label, role, line, how in roles
    ]  # fmt: skip
    axes[0].figure.legend(
        handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=7.5
    )


def _bound(result: Result, kind: str, name: str) -> NDArray[Any]:
    """A bound for every kind of target."""
    return result.array(kind)[:, _risk.column(result, kind.partition("_")[0], name)]


def _smoothing(result: Result, axes: Axes) -> None:
    size, count = _risk.middle(result)
    mass = result.array("strength")
    rows = np.flatnonzero(np.isfinite(mass))
    rows = rows[np.argsort(mass[rows])]
    x, error = mass[rows], result.array("mse")[rows, size]
    bias = np.square(result.array("bias")[rows, 0])
    published = _bound(result, "published_mean", "l2")[rows]
    sharp = _bound(result, "sharp_mean", "tv")[rows]
    trivial = float(result.array("trivial")[0])
    least = _risk.floor(error, bias, sharp)
    axes.plot(x, error, **style.theory(_risk.ERROR))
    mean, low, high = result.array("measured_mse")[rows, size].T
    axes.errorbar(
        x, mean, yerr=[mean - low, high - mean], ecolor=_risk.ERROR.color, elinewidth=0.9,
        **style.measured(_risk.ERROR),
    )  # fmt: skip
    for values, role, line in (
        (bias, _risk.BIAS, "-"),
        (sharp, _risk.SHARP, "--"),
        (published, _risk.PUBLISHED, "--"),
    ):
        seen = np.where(values > least, values, np.nan)
        axes.plot(x, seen, color=role.color, linestyle=line, linewidth=1.3)
    axes.axhline(trivial, **style.reference())
    axes.set(
        yscale="log", xlabel="mass moved from the label to all classes", title="smoothed labels",
        ylabel=f"squared error of the risk, N = {count}", ylim=(least, 4 * trivial),
    )  # fmt: skip
    style.powers(axes.yaxis, most=8)
    where = {"transform": axes.get_yaxis_transform(), "ha": "left", "va": "bottom"}
    style.note(axes, "no loss makes more than this", at=(0.02, 1.12 * trivial), **where)


def _targets(result: Result, axes: Axes) -> None:
    size, count = _risk.middle(result)
    error = result.array("measured_mse")[:, size, 0]
    bias = np.square(result.array("bias")[:, 0])
    drawn, mean = (_bound(result, f"published_{of}", "l2") for of in ("drawn", "mean"))
    sharp = _bound(result, "sharp_mean", "tv")
    least = _risk.floor(error, bias)
    place = np.arange(len(error), dtype=float)
    hollow = {"markerfacecolor": "white", "markeredgewidth": 1.0}
    _risk.dots(axes, drawn, place, least, _risk.PUBLISHED, **hollow)
    _risk.dots(axes, mean, place, least, _risk.PUBLISHED)
    _risk.dots(axes, sharp, place, least, _risk.SHARP)
    _risk.dots(axes, bias, place, least, _risk.BIAS)
    _risk.dots(axes, error, place, least, _risk.ERROR, **hollow)
    axes.axvline(float(result.array("trivial")[0]), **style.reference())
    group = result.array("group")
    for border in np.flatnonzero(group[1:] != group[:-1]):
        axes.axhline(border + 0.5, color=style.RULE, linewidth=0.8)
    axes.set_yticks(place, [str(name) for name in result.array("target")], fontsize=7)
    axes.set(
        xscale="log", xlim=(least, None), ylim=(len(place) - 0.4, -0.6), title="all targets",
        xlabel=f"squared error of the risk, N = {count}",
    )  # fmt: skip
    axes.grid(axis="y", visible=False)
    style.powers(axes.xaxis)
