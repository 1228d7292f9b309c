"""Student over teacher along every direction, at equal progress along the top one."""

import numpy as np

from figures import _flows, style
from sims.results import Result

RESULT = "flow_trajectories"
TITLE = "The theorem along every direction at once"
ALT = (
    "One panel for each feature map with logarithmic axes: eigenvalue as a part of the top one "
    "across, ratio of student to teacher up. Markers of every direction follow the line of the "
    "theorem inside a shaded band of bounds that ends at one on the right."
)
CAPTION = (
    "When the student has come as far as its teacher along the top direction: how far it has come "
    "along each lower direction, as a part of the teacher's way. A value of 1 would be a faithful "
    "copy. The line is the theorem, the shaded band its bounds; the markers are trained weights, "
    "along directions from the strongest to the weakest (where they crowd, not all are shown). The "
    "weaker the direction, the further behind the student."
)
ORDER = 30


def PANELS(result: Result) -> tuple[int, int]:
    """One for each feature map."""
    return 1, len(_flows.maps(result))


def SIZE(result: Result) -> tuple[float, float]:
    """A page wide where there are two."""
    return (4.0, 3.2) if PANELS(result)[1] == 1 else (style.TWO_COLUMNS, 3.1)


def draw(result: Result, axes: style.Panels) -> None:
    """Bounds, theorem and measurement."""
    for panel, (name, title) in zip(np.ravel(axes), _flows.maps(result), strict=True):
        kappa = result.array(f"{name}_ratio_kappa")
        panel.fill_between(
            kappa, result.array(f"{name}_ratio_lower"), result.array(f"{name}_ratio_upper"),
            color=style.STUDENT.color, alpha=0.13, linewidth=0, label="bounds of the theorem",
        )  # fmt: skip
        panel.axhline(1, **style.reference())
        panel.plot(
            kappa, result.array(f"{name}_ratio_closed"), label="closed form",
            **style.theory(style.STUDENT),
        )  # fmt: skip
        # every direction is there; where they crowd, markers would hide the line
        shown = _spaced(kappa)
        panel.plot(
            kappa[shown], result.array(f"{name}_ratio_descent")[shown], label="gradient descent",
            **style.measured(style.STUDENT),
        )  # fmt: skip
        panel.plot(
            kappa[shown], result.array(f"{name}_ratio_ode")[shown], label="numerical solution",
            **_flows.solver(),
        )  # fmt: skip
        panel.set(xscale="log", yscale="log")
        panel.set_title(title)
        panel.annotate(
            "faithful copy", (kappa[-1], 1), xytext=(0, 3), textcoords="offset points",
            fontsize=7.5, color=style.MUTED,
        )  # fmt: skip
        panel.set_ylim(top=3)
        panel.set_xlabel("eigenvalue / top eigenvalue")
    first = np.ravel(axes)[0]
    first.set_ylabel("student / teacher,\nat equal progress along the top")
    first.legend(loc="lower right")


def _spaced(kappa: style.Panels) -> style.Panels:
    """Of directions closer than a thirtieth of the logarithmic range, one."""
    logs = np.log(kappa)
    cells = np.floor(30 * (logs - logs.min()) / max(float(np.ptp(logs)), 1e-300))
    return np.unique(cells, return_index=True)[1]
