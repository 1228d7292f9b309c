"""How much farther the student went than the teacher, direction by direction."""

import numpy as np

from figures import _settings, style
from sims.results import Result

RESULT = "eigenspace"
TITLE = "How far the student went, measured by how far its teacher went"
ALT = (
    "One scatter panel for each network and way of training: each dot is one eigendirection, its "
    "eigenvalue across on a logarithmic axis and the ratio of student's to teacher's final "
    "distance up; a tilt upward to the right is the bias in question."
)
CAPTION = (
    "Each dot is one eigendirection of one seed: how far the student's weights moved along it, "
    "divided by how far its teacher's did. On the dashed line the student is a copy. Dots that "
    "rise from left to right say that the student falls behind along weak directions more than "
    "along strong ones. The slope of the logarithm of the ratio on that of the eigenvalue, with "
    "its 95 % interval over seeds, stands in each panel (statistic S4)."
)
ORDER = 30


def PANELS(result: Result) -> tuple[int, int]:
    """A row for each network, a column for each way of training."""
    rows = [_settings.of_model(result, model) for model in _settings.models(result)]
    return len(rows), max(len(row) for row in rows)


def SIZE(result: Result) -> tuple[float, float]:
    """A page wide."""
    return style.TWO_COLUMNS, 0.5 + 2.2 * PANELS(result)[0]


def draw(result: Result, axes: style.Panels) -> None:
    """One panel for each setting."""
    panels = np.reshape(axes, PANELS(result))
    column = _settings.place(result, "statistics", "s4_slope")
    for row, model in zip(panels, _settings.models(result), strict=True):
        settings = _settings.of_model(result, model)
        for panel in row[len(settings) :]:
            panel.set_axis_off()
        for panel, setting in zip(row, settings, strict=False):
            panel.plot(
                result.array("eigenvalues")[setting].ravel(),
                np.exp(result.array("final_log_ratio")[setting].ravel()),
                linestyle="none", marker="o", markersize=2.2, markeredgewidth=0,
                color=style.STUDENT.color, alpha=0.45, rasterized=True,
            )  # fmt: skip
            panel.axhline(1, **style.reference())
            panel.set(xscale="log", yscale="log")
            panel.set_title(_settings.short(result, setting), fontsize=8, pad=25)
            mean, low, high = result.array("values_interval")[:, setting, 0, column]
            slope = f"slope {style.signed(mean)}\n{style.signed(low)} to {style.signed(high)}"
            if np.isfinite(mean):
                style.note(panel, slope, at=(0, 1.04), va="bottom")
            low, high = panel.get_ylim()
            panel.set_ylim(min(low, 0.48), max(high, 1.05))  # two ticks at least
            style.powers(panel.yaxis)
        row[0].set_ylabel(f"{_settings.MODELS[model]}\nstudent / teacher")
    panels[0, 0].figure.supxlabel("eigenvalue of the direction", fontsize=8.5)
