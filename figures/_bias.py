"""Statistics of students beside their teachers and controls: a row for each way of training."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from figures import _settings, style
from sims.results import Result

PANELS = (2, 3)
# statistic, title, axis, value without bias, whether more bias lies to the right
SHOWN = (
    ("s1_share", "S1: pairs with a lag", "share of pairs", 0.5, True),
    ("s1_median", "S1: size of the lag", "median log ratio", 0.0, False),
    ("s2_median", "S2: area between paths", "median difference", 0.0, False),
    ("s3_median", "S3: at the end", "median log ratio", 0.0, False),
    ("s4_slope", "S4: over all directions", "slope on log eigenvalue", 0.0, True),
    ("s6_share", "S6: own final value", "share of pairs", 0.5, None),
)
WHO = (("student", style.STUDENT), ("null", style.NULL), ("soft", style.SOFTNESS))


def draw(
    result: Result,
    axes: style.Panels,
    intervals: NDArray[np.float64],
    flow: NDArray[np.float64],
    labels: Sequence[str],
    groups: NDArray[np.generic],
    *,
    one_batch: NDArray[np.bool_] | None = None,
) -> None:
    """One panel for each statistic, one row for each of ``labels``.

    Intervals have shape (3, rows, students, statistics), the flow (rows, statistics); a rule
    stands between rows of different ``groups``; without batches to shuffle a row has no null.
    """
    count = len(labels)
    alike = result.array("one_batch") if one_batch is None else one_batch
    for panel, (name, title, label, zero, right) in zip(np.ravel(axes), SHOWN, strict=True):
        _panel(result, panel, name, intervals, flow, alike)
        panel.axvline(zero, **style.reference(linestyle="-"))
        panel.set(xlabel=label, ylim=(count - 0.45, -0.55))
        panel.set_title(title)
        if name.endswith("share"):
            panel.set(xlim=(-0.04, 1.04), xticks=(0, 0.5, 1), xticklabels=("0", "½", "1"))
        else:
            panel.margins(x=0.12)
            panel.locator_params(axis="x", nbins=5)
        if right is not None:
            low, high = panel.get_xlim()
            side = (zero, max(high, zero)) if right else (min(low, zero), zero)
            panel.axvspan(*side, color=style.STUDENT.color, alpha=0.07, linewidth=0, zorder=0)
            panel.set_xlim(low, high)
        panel.grid(visible=False, axis="y")
    for panel in axes.flat:
        for row in np.flatnonzero(groups[1:] != groups[:-1]):
            panel.axhline(row + 0.5, color=style.RULE, linewidth=0.8, zorder=0.5)
        panel.set_yticks(range(count), [])
        panel.tick_params(axis="y", length=0)
    for panel in axes[:, 0]:
        panel.set_yticklabels(labels, fontsize=7.5)
    handles, names = axes[0, 0].get_legend_handles_labels()
    axes[0, 0].figure.legend(handles, names, loc="outside upper center", ncols=4, frameon=False)


def _panel(
    result: Result,
    panel: Axes,
    name: str,
    intervals: NDArray[np.float64],
    flow: NDArray[np.float64],
    one_batch: NDArray[np.bool_],
) -> None:
    column = _settings.place(result, "statistics", name)
    rows = np.arange(len(flow))
    panel.vlines(
        flow[:, column], rows - 0.36, rows + 0.36, color=style.TEACHER.color, linewidth=2.2,
        label="exact flow, squared loss",
    )  # fmt: skip
    for (who, role), shift in zip(WHO, (-0.22, 0.0, 0.22), strict=True):
        mean, low, high = intervals[:, :, _settings.place(result, "students", who), column]
        known = np.isfinite(mean)
        if who == "null":
            known &= ~one_batch
        panel.errorbar(
            mean[known], rows[known] + shift, xerr=np.stack([mean - low, high - mean])[:, known],
            label=role.label, ecolor=role.color, elinewidth=1.1, **style.measured(role),
        )  # fmt: skip
