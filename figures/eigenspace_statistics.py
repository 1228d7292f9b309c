"""Is the student more biased than its teacher? Every statistic beside its controls."""

from figures import _bias, _settings, style
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
PANELS = _bias.PANELS
ORDER = 40


def SIZE(result: Result) -> tuple[float, float]:
    """A page wide; a row for each setting."""
    return style.TWO_COLUMNS, 1.8 + 0.6 * len(result.array("model"))


def draw(result: Result, axes: style.Panels) -> None:
    """One panel for each statistic, one row for each setting."""
    models = result.array("model")
    rows = range(len(models))
    labels = [_settings.full(result, each) for each in rows]
    flow = result.array("flow_interval")[0]
    _bias.draw(result, axes, result.array("values_interval"), flow, labels, models)
