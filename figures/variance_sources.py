"""What the variance of distilled students comes from: the draw of the data, or the teacher."""

import numpy as np
from matplotlib.axes import Axes

from figures import _taught, style
from sims.results import Result

RESULT = "bias_variance"
TITLE = "How much of the variance is the teacher's"
ALT = (
    "Horizontal bars in groups, a group for each setting and a bar for the students of labels and "
    "of teachers at each temperature: the dark part is the variance over draws of the data, the "
    "light part at its end that over teachers of the same data, with interval bars."
)
CAPTION = (
    "Variance of students over draws of the training data (dark) and over teachers of the same "
    "data (light), in nats; the two add up. Students of one draw start from the same weights and "
    "see the same batches, so that the light part is the teacher's alone. The parts are corrected "
    "for the small number of teachers and draws; bars are 95 % jackknife intervals of their sum."
)
ORDER = 20
PANELS = (1, 1)


def SIZE(result: Result) -> tuple[float, float]:
    """A page wide; a line for each bar."""
    bars = len(result.array("setting")) * (len(result.array("temperature")) + 1.6)
    return style.TWO_COLUMNS, 1.0 + 0.165 * bars


def draw(result: Result, axes: Axes) -> None:
    """A group of bars for each setting, the first on top."""
    within, between = (_taught.quantity(result, name) for name in ("within", "between"))
    total = _taught.quantity(result, "variance")
    roles = _taught.roles(result)
    shown = [1, *range(_taught.TAUGHT, len(roles))]
    ticks = []
    for row in range(len(total)):
        places = row * (len(shown) + 0.6) + np.arange(len(shown))
        ticks.append(places.mean())
        for place, k in zip(places, shown, strict=True):
            role, label = roles[k], roles[k].label if row == 0 else None
            data, teacher = between[row, k, 0], max(within[row, k, 0], 0.0)
            axes.barh(place, data, height=0.82, color=role.color, label=label)
            axes.barh(place, teacher, left=data, height=0.82, color=role.color, alpha=0.4)
            mean, low, high = total[row, k]
            axes.errorbar(
                mean, place, xerr=[[mean - low], [high - mean]], color="#8a8d91",
                elinewidth=1.1, capsize=2,
            )  # fmt: skip
    axes.set_yticks(ticks, _taught.titles(result))
    axes.tick_params(axis="y", length=0, labelcolor=style.INK)
    axes.grid(visible=False, axis="y")
    axes.invert_yaxis()
    axes.set(xlabel="variance (nats): over data (dark), over teachers (light)")
    axes.set_xlim(left=0.0)
    _taught.legend(np.array([axes]), columns=2)
