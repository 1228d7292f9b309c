"""How tight the bounds on the bias are over random problems, and how often they say nothing."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from figures import _risk, style
from sims.results import Result

RESULT = "risk_bounds"
TITLE = "How tight the bounds on the bias are"
ALT = (
    "Left: a bar for each bound, published and sharp, along a logarithmic axis of bound over the "
    "largest squared bias. Right: share of random problems in which a published bound exceeds what "
    "any loss can do, against the number of classes."
)
SIZE = (style.TWO_COLUMNS, 3.6)
PANELS = (1, 2)
ORDER = 20
ROWS = (
    ("tv", "l1"), ("l2",), ("sqrt_kl_fwd",), ("kl_fwd",), ("sqrt_kl_rev",), ("kl_rev",),
    ("jeffreys",), ("bretagnolle_huber_fwd",), ("bretagnolle_huber_rev",),
)  # fmt: skip
LINES = (("l2", "-", "o"), ("l1", "--", "s"), ("kl_fwd", "-.", "^"), ("kl_rev", ":", "D"))


def _shown(result: Result) -> tuple[int, int, int, float]:
    """The kind of problem at the left: next to ten classes and concentration 0.5."""
    classes, spread = result.array("problem_classes"), result.array("concentrations")
    row, column = int(np.argmin(np.abs(classes - 10))), int(np.argmin(np.abs(spread - 0.5)))
    return row, column, int(classes[row]), float(spread[column])


def _alike(result: Result) -> bool:
    """With one input a problem the root of a mean is the mean of the roots."""
    row, column, _, _ = _shown(result)
    every = result.array("published_tightness")[row, column]
    one, other = (_risk.column(result, "published", name) for name in ("sqrt_kl_fwd", "kl_fwd"))
    return bool(np.allclose(every[:, one], every[:, other]))


def CAPTION(result: Result) -> str:
    """What the problems are."""
    _, _, classes, spread = _shown(result)
    roots = " (those by roots of KL are the same as by KL here)" if _alike(result) else ""
    return (
        f"Target and true posterior drawn at random (Dirichlet {spread:g}), loss from 0 to l. "
        f"Left, {classes} classes: each bound{roots} over the largest squared bias that any loss "
        "makes, 1 being exact. Thick bars hold half of the problems, thin ones nine in ten, white "
        "ticks are medians; diamonds are bounds that are off by the same factor always; an arrow "
        "means that the rest is beyond the axis, or infinite. Right: how often a published bound "
        "is above l², which no squared bias exceeds: it then says nothing (95 % intervals)."
    )


def draw(result: Result, axes: style.Panels) -> None:
    """Tightness at the left, vacuous bounds at the right."""
    _tightness(result, axes[0])
    _vacuous(result, axes[1])


def _tightness(result: Result, axes: Axes) -> None:
    row, column, classes, _ = _shown(result)
    kinds = (("published", _risk.PUBLISHED, -0.17), ("sharp", _risk.SHARP, 0.17))
    bars = {
        (kind, str(name)): result.array(f"{kind}_tightness")[row, column, :, k]
        for kind, _, _ in kinds
        for k, name in enumerate(result.array(kind))
    }
    rows = [names for names in ROWS if not (_alike(result) and names[0].startswith("sqrt"))]
    highest = np.concatenate([values[-1:] for values in bars.values()])
    most = min(300.0, 1.5 * float(highest[np.isfinite(highest)].max(initial=10.0)))
    for place, names in enumerate(rows):
        for kind, role, shift in kinds:
            for name in names:
                if (kind, name) in bars:
                    _bar(axes, bars[kind, name], place + shift, role, most)
    axes.set_yticks(np.arange(len(rows)), [_risk.NAMES[names[0]] for names in rows], fontsize=7.5)
    axes.set(
        xscale="log", xlim=(0.85, most), ylim=(len(rows) - 0.5, -0.5),
        xlabel="bound / largest squared bias", title=f"how loose, {classes} classes",
    )  # fmt: skip
    axes.axvline(1.0, **style.reference())
    axes.grid(axis="y", visible=False)
    style.plain_log(axes.xaxis)
    handles = [
        Line2D([], [], color=role.color, linewidth=4, label=role.label)
        for role in (_risk.PUBLISHED, _risk.SHARP)
    ]
    axes.figure.legend(handles=handles, loc="outside lower left", ncols=2, frameon=False)


def _bar(axes: Axes, quantiles: NDArray[Any], y: float, role: style.Role, most: float) -> None:
    """Nine in ten problems, half of them, and the median; a diamond where all are the same."""
    low, first, median, third, high = (float(value) for value in np.minimum(quantiles, 1e6))
    color = role.color
    if high < 1.02 * low:
        axes.plot([median], [y], marker="D", color=color, markersize=4)
        return
    axes.plot([min(low, most), min(high, most)], [y, y], color=color, linewidth=1.0)
    axes.plot(
        [min(first, most), min(third, most)], [y, y], color=color, linewidth=5,
        solid_capstyle="butt",
    )  # fmt: skip
    if median < most:
        axes.plot([median], [y], marker="|", color="white", markersize=5, markeredgewidth=1.2)
    if high > most:
        axes.plot([most * 0.94], [y], marker=">", color=color, markersize=3.5)


def _vacuous(result: Result, axes: Axes) -> None:
    _, column, _, spread = _shown(result)
    classes = result.array("problem_classes")
    for name, line, marker in LINES:
        share = (
            100
            * result.array("published_vacuous_share")[
                :, column, _risk.column(result, "published", name)
            ]
        )
        mean, low, high = share.T
        axes.errorbar(
            classes, mean, yerr=[np.maximum(mean - low, 0), np.maximum(high - mean, 0)],
            linestyle=line, marker=marker, linewidth=1.2, markersize=3.6, capsize=0,
            color=_risk.PUBLISHED.color, markerfacecolor="white", label=_risk.NAMES[name],
        )  # fmt: skip
    axes.set(
        xscale="log", ylim=(-3, 103), xlabel="classes",
        ylabel=f"percent of random pairs (Dirichlet {spread:g})",
        title="how often they say nothing",
    )  # fmt: skip
    style.plain_log(axes.xaxis)
    axes.legend(loc="best")
