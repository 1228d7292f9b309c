"""Is the student more biased than its teacher? Every statistic beside its controls."""

import numpy as np
from matplotlib.axes import Axes

from figures import _settings, style
from sims.results import Result

RESULT = "eigenspace"
TITLE = "Is the student more biased than its teacher, and than the controls"
ALT = (
    "Six panels of dots with horizontal interval bars, one panel for each statistic and one row "
    "for each network and way of training; orange diamonds are students, gray squares and purple "
    "triangles the two controls, dark bars the exact flow."
)
CAPTION = (
    "Means over seeds with 95 % intervals. In every panel the student is more biased to the higher "
    "directions than its teacher where its diamond lies on the shaded side. Gray: a second "
    "teacher, which shows what chance does. Purple: a student of uniformly smoothed labels, which "
    "shows what softness alone does. The blue bar is the exact flow of the squared loss on the "
    "same inputs, where the theorem holds. The last panel is a check that must come out at one "
    "half under the flow: it divides the student by its own final value. Beside each network "
    "stands how much of the clean training samples its teacher fits: little says that it was "
    "stopped early."
)
PANELS = (2, 3)
ORDER = 40
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


def SIZE(result: Result) -> tuple[float, float]:
    """A page wide; a row for each setting."""
    return style.TWO_COLUMNS, 1.8 + 0.6 * len(result.array("model"))


def draw(result: Result, axes: style.Panels) -> None:
    """One panel for each statistic, one row for each setting."""
    count = len(result.array("model"))
    for panel, (name, title, label, zero, right) in zip(np.ravel(axes), SHOWN, strict=True):
        _panel(result, panel, name)
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
    models = result.array("model")
    for panel in axes.flat:
        for row in np.flatnonzero(models[1:] != models[:-1]):
            panel.axhline(row + 0.5, color=style.RULE, linewidth=0.8, zorder=0.5)
        panel.set_yticks(range(count), [])
        panel.tick_params(axis="y", length=0)
    for panel in axes[:, 0]:
        panel.set_yticklabels([_settings.full(result, each) for each in range(count)], fontsize=7.5)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    axes[0, 0].figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)


def _panel(result: Result, panel: Axes, name: str) -> None:
    column = _settings.place(result, "statistics", name)
    values = result.array("values_interval")
    flow = result.array("flow_interval")[0, :, column]
    rows = np.arange(len(flow))
    panel.vlines(
        flow, rows - 0.36, rows + 0.36, color=style.TEACHER.color, linewidth=2.2,
        label="exact flow, squared loss",
    )  # fmt: skip
    for (who, role), shift in zip(WHO, (-0.22, 0.0, 0.22), strict=True):
        mean, low, high = values[:, :, _settings.place(result, "students", who), column]
        known = np.isfinite(mean)
        if who == "null":
            known &= ~result.array("one_batch")
        panel.errorbar(
            mean[known], rows[known] + shift, xerr=np.stack([mean - low, high - mean])[:, known],
            label=role.label, ecolor=role.color, elinewidth=1.1, **style.measured(role),
        )  # fmt: skip
