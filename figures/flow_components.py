"""Progress along several eigendirections over training time, three ways."""

from textwrap import wrap

import numpy as np

from figures import _flows, style
from sims.results import Result

RESULT = "flow_trajectories"
TITLE = "Direction by direction, the student falls behind its teacher"
ALT = (
    "A row of panels for each feature map, one panel for each eigendirection from the strongest to "
    "weaker ones: training time across, progress up, with a blue curve for the teacher and an "
    "orange one for the student that lies lower and lower to the right."
)
CAPTION = (
    "How far teacher and student have moved along eigendirections of the data during training, in "
    "units of the teacher's whole way; the strongest direction on the left, weaker ones to the "
    "right (their eigenvalue, as a part of the top one, stands above). Lines are the closed form, "
    "open markers gradient descent, crosses an independent numerical solution of the differential "
    "equation. The weaker the direction, the further the student falls behind."
)
ORDER = 20


def PANELS(result: Result) -> tuple[int, int]:
    """A row for each feature map, a column for each direction."""
    counts = [len(result.array(f"{name}_followed")) for name, _ in _flows.maps(result)]
    return len(counts), max(counts)


def SIZE(result: Result) -> tuple[float, float]:
    """A page wide."""
    return style.TWO_COLUMNS, 0.7 + 1.8 * PANELS(result)[0]


def draw(result: Result, axes: style.Panels) -> None:
    """Closed form, gradient descent and the integrated flow in each panel."""
    panels = np.reshape(axes, PANELS(result))
    for row, (name, title) in zip(panels, _flows.maps(result), strict=True):
        directions = result.array(f"{name}_followed")
        kappa = result.array(f"{name}_followed_kappa")
        for column, panel in enumerate(row):
            if column >= len(directions):
                panel.set_axis_off()
                continue
            for who, role in _flows.WHO:
                for way, how in (
                    ("closed", style.theory(role)),
                    ("descent", style.measured(role, markersize=3.4)),
                    ("ode", _flows.solver()),
                ):
                    time = result.array(f"{name}_{who}_{way}_progress")
                    moved = result.array(f"{name}_{who}_{way}")[:, column]
                    every = slice(1, None, 2) if way == "descent" else slice(2, -1, 2)
                    kept = slice(None) if way == "closed" else every
                    panel.plot(time[kept], moved[kept], **how)
            panel.set(ylim=(-0.04, 1.08), yticks=(0, 0.5, 1), xlim=(0, None))
            panel.locator_params(axis="x", nbins=4, integer=True)
            panel.set_title(f"direction {directions[column]}", fontsize=8.5, pad=14)
            style.note(panel, f"eigenvalue {kappa[column]:.2g}", at=(0, 1.03), va="bottom")
            if column:
                panel.set_yticklabels([])
        row[0].set_ylabel("\n".join([*wrap(title, 22), "progress"]), fontsize=8)
    figure = panels[0, 0].figure
    figure.supxlabel("training time, times the top eigenvalue", fontsize=8.5)
    handles = []
    for _, role in _flows.WHO:
        handles += panels[0, 0].plot([], [], label=role.label, **style.theory(role))
    handles += panels[0, 0].plot(
        [], [], label="gradient descent", **style.measured(style.Role("", style.INK, "o"))
    )
    handles += panels[0, 0].plot([], [], label="numerical solution", **_flows.solver())
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
