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
    """Panels near to squares."""
    return (4.2, 3.9) if PANELS(result)[1] == 1 else (style.TWO_COLUMNS, 3.7)


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
        panel.set(xlim=(0, 1.06), ylim=(0, 1.06), xticks=np.linspace(0, 1, 6))
        panel.set_yticks(np.linspace(0, 1, 6))
        panel.set_aspect("equal")
        panel.set_title(title)
        kappa = result.array(f"{name}_pair_kappa")[1]
        panel.set_xlabel(f"progress along direction {top}, the top one")
        panel.set_ylabel(f"progress along direction {lower}\n(eigenvalue {kappa:.2g} of the top)")
    figure = np.ravel(axes)[0].figure
    figure.legend(
        handles=_key(np.ravel(axes)[0]), loc="outside upper center", ncols=4, frameon=False
    )


def _gap(panel: Axes, result: Result, name: str) -> None:
    """The two at equal progress along the top direction."""
    across, up = result.array(f"{name}_pair_match_teacher")
    lower = result.array(f"{name}_pair_match_student")[1]
    panel.plot([across, across], [0, max(up, lower)], color=style.MUTED, linewidth=1, linestyle=":")
    panel.annotate(
        "", xy=(across, lower), xytext=(across, up),
        arrowprops={"arrowstyle": "-|>", "color": style.INK, "linewidth": 1.1,
                    "shrinkA": 1, "shrinkB": 5},
    )  # fmt: skip
    panel.text(
        across + 0.02, (up + lower) / 2, "equal progress along the top", rotation=90,
        ha="left", va="center", fontsize=7.5, color=style.MUTED,
    )  # fmt: skip
    for height, role, place in ((up, style.TEACHER, 0.025), (lower, style.STUDENT, 0.0)):
        panel.annotate(
            f"{role.label} {height:.0%}", xy=(across, height), xytext=(-7, 4 + 100 * place),
            textcoords="offset points", ha="right", va="center", color=role.color,
            fontsize=8.5, fontweight="bold",
        )  # fmt: skip


def _key(panel: Axes) -> list[object]:
    handles: list[object] = []
    for _, role in _flows.WHO:
        handles += panel.plot([], [], label=f"{role.label}, closed form", **style.theory(role))
        handles += panel.plot([], [], label="gradient descent", **style.measured(role))
    return handles
