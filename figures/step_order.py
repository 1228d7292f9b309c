"""How gradient descent comes to the closed form as its steps shrink."""

import numpy as np

from figures import _flows, style
from sims.results import Result

RESULT = "flow_trajectories"
TITLE = "Smaller steps come to the closed form, in proportion"
ALT = (
    "Step size across and distance of the student's weights from the closed form up, both "
    "logarithmic: markers on a straight line."
)
CAPTION = (
    "Distance of the student trained by gradient descent from the closed form, as a part of its "
    "whole way, for step sizes halved again and again (step size times top eigenvalue). The line "
    "is a power law through the markers; a slope of 1 says that half the step is half the error, "
    "as it must be if the closed form is the limit."
)
ORDER = 40


def PANELS(result: Result) -> tuple[int, int]:
    """One for each feature map."""
    return 1, len(_flows.maps(result))


def SIZE(result: Result) -> tuple[float, float]:
    """A page wide where there are two."""
    return (style.ONE_COLUMN, 2.7) if PANELS(result)[1] == 1 else (style.TWO_COLUMNS, 2.6)


def draw(result: Result, axes: style.Panels) -> None:
    """Error against step size."""
    for panel, (name, title) in zip(np.ravel(axes), _flows.maps(result), strict=True):
        sizes = result.array(f"{name}_step_sizes")
        slope = float(result.array(f"{name}_step_slope"))
        panel.plot(
            sizes, result.array(f"{name}_step_line"), label=f"slope {slope:.2f}",
            **style.theory(style.STUDENT),
        )  # fmt: skip
        panel.plot(
            sizes, result.array(f"{name}_step_errors"), label="gradient descent",
            **style.measured(style.STUDENT),
        )  # fmt: skip
        panel.set(xscale="log", yscale="log", xlabel="step size × top eigenvalue")
        panel.set_title(title)
        style.plain_log(panel.xaxis)
        style.plain_log(panel.yaxis)
        panel.legend(loc="upper left")
    np.ravel(axes)[0].set_ylabel("relative error of the weights")
