"""Teacher and student in the plane of two eigendirections of real digits."""

import numpy as np
from matplotlib.axes import Axes

from figures import _flows, style
from sims.results import Result

RESULT = "flow_trajectories"
TITLE = "The student leans harder on the top direction than its teacher"
ALT = (
    "Progress along the top eigendirection across and along a lower one up. The orange curve of "
    "the student runs well below the blue curve of the teacher. Markers of gradient descent lie on "
    "both curves."
)
ORDER = 10


def CAPTION(result: Result) -> str:
    """What to see, with the numbers of the first feature map."""
    name, title = _flows.maps(result)[0]
    _, lower = result.array(f"{name}_pair")
    teacher = result.array(f"{name}_pair_match_teacher")[1]
    student = result.array(f"{name}_pair_match_student")[1]
    data = "real handwritten digits" if result.config.get("data") is None else "your data"
    return (
        "How far a linear model has moved along the top eigendirection of the data (across) and "
        f"along direction {lower} (up), each in units of the teacher's whole way. Lines are the "
        f"closed form; markers are gradient descent on {data}. Stars mark the end of training. "
        "Go up the dotted line, where both have come equally far along the top "
        f"direction: on {title[:1].lower() + title[1:]} the teacher has then covered {teacher:.0%} "
        f"of its way along direction {lower}, the student {student:.0%}."
    )


def PANELS(result: Result) -> tuple[int, int]:
    """One for each feature map."""
    return 1, len(_flows.maps(result))


def SIZE(result: Result) -> tuple[float, float]:
    """A page wide where there are two."""
    return (4.4, 4.0) if PANELS(result)[1] == 1 else (style.TWO_COLUMNS, 3.6)


def draw(result: Result, axes: style.Panels) -> None:
    """One panel for each feature map."""
    for panel, (name, title) in zip(np.ravel(axes), _flows.maps(result), strict=True):
        top, lower = result.array(f"{name}_pair")
        for who, role in _flows.WHO:
            line = result.array(f"{name}_{who}_closed_pair")
            steps = result.array(f"{name}_{who}_descent_pair")
            panel.plot(*line.T, **style.theory(role, linewidth=2))
            panel.plot(*steps[1:-1].T, **style.measured(role))
            panel.plot(*line[-1], **style.final(role))
        _gap(panel, result, name)
        panel.set(xlim=(0, 1.46), ylim=(0, 1.06), xticks=np.linspace(0, 1, 6))
        panel.set_yticks(np.linspace(0, 1, 6))
        panel.set_title(title)
        kappa = result.array(f"{name}_pair_kappa")[1]
        panel.set_xlabel(f"progress along direction {top}, the top one", loc="left")
        panel.set_ylabel(f"progress along direction {lower}\n(eigenvalue {kappa:.2g} of the top)")
    first = np.ravel(axes)[0]
    columns = 2 * PANELS(result)[1]
    first.figure.legend(
        handles=_key(first), loc="outside upper center", ncols=columns, frameon=False
    )


def _gap(panel: Axes, result: Result, name: str) -> None:
    """The two at equal progress along the top direction, named at the right."""
    across, up = (float(value) for value in result.array(f"{name}_pair_match_teacher"))
    lower = float(result.array(f"{name}_pair_match_student")[1])
    panel.plot([across, across], [0, max(up, lower)], color=style.MUTED, linewidth=1, linestyle=":")
    panel.annotate(
        "", xy=(across, lower), xytext=(across, up),
        arrowprops={"arrowstyle": "-|>", "color": style.INK, "linewidth": 1.1,
                    "shrinkA": 1, "shrinkB": 5},
    )  # fmt: skip
    apart = max(0.08 - abs(up - lower), 0) / 2
    for height, role, away in ((up, style.TEACHER, apart), (lower, style.STUDENT, -apart)):
        panel.text(
            1.03, height + away, f"{role.label} {height:.0%}", va="center", color=role.color,
            fontweight="bold",
        )  # fmt: skip
    if up - lower > 0.25:
        top = result.array(f"{name}_pair")[0]
        panel.text(
            1.03, (up + lower) / 2, f"at equal progress\nalong direction {top}", va="center",
            fontsize=7.5, color=style.MUTED,
        )  # fmt: skip


def _key(panel: Axes) -> list[object]:
    handles: list[object] = []
    for _, role in _flows.WHO:
        handles += panel.plot([], [], label=f"{role.label}, closed form", **style.theory(role))
        handles += panel.plot([], [], label="gradient descent", **style.measured(role))
    return handles
