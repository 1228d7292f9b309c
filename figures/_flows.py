"""What the figures of flow_trajectories share: feature maps, and marks of the three ways."""

from typing import Any

from figures import style
from sims.results import Result

WHO = (("teacher", style.TEACHER), ("student", style.STUDENT))


def maps(result: Result) -> list[tuple[str, str]]:
    """Name and title of each feature map."""
    return list(zip(result.array("feature_maps").tolist(), titles(result), strict=True))


def titles(result: Result) -> list[str]:
    """Titles of the feature maps, each beginning with a capital."""
    return [str(title)[:1].upper() + str(title)[1:] for title in result.array("titles")]


def steps(role: style.Role) -> dict[str, Any]:
    """How gradient descent is marked."""
    return style.measured(role)


def solver() -> dict[str, Any]:
    """How the integrated differential equation is marked."""
    return {
        "linestyle": "none",
        "marker": "+",
        "markersize": 5.5,
        "markeredgewidth": 0.9,
        "color": style.INK,
    }
