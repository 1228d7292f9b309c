"""The same statistics for the layers after the first (Nagarajan 2023, appendix D.7)."""

import numpy as np

from figures import _bias, _settings, style
from sims.results import Result

RESULT = "eigenspace"
TITLE = "Is it so in the later layers?"
ALT = (
    "Six panels of dots with horizontal interval bars, one panel for each statistic and one row "
    "for each later layer of each network and way of training; orange diamonds are students, gray "
    "squares and purple triangles the two controls, dark bars the exact flow."
)
CAPTION = (
    "As for the first layers, but along the eigendirections of what a later layer sees in the "
    "teacher at the end of its training: units for a dense layer, random patches for a "
    "convolution. Means over seeds with 95 % intervals; the student is more biased to the higher "
    "directions than its teacher where its diamond lies on the shaded side, and the teacher's "
    "knowledge is the reason only where it also lies beyond the gray square (chance) and the "
    "purple triangle (softness). The blue bar is the exact flow of the squared loss on the same "
    "representation."
)
ORDER = 42


def PANELS(result: Result) -> tuple[int, int]:
    """One for each statistic, if there is a layer to show."""
    return _bias.PANELS if _settings.layer_rows(result) else (1, 1)


def SIZE(result: Result) -> tuple[float, float]:
    """A page wide; a row for each layer and setting."""
    return style.TWO_COLUMNS, 1.8 + 0.6 * len(_settings.layer_rows(result))


def draw(result: Result, axes: style.Panels) -> None:
    """One panel for each statistic, one row for each layer and setting."""
    rows = _settings.layer_rows(result)
    if not rows:
        _settings.nothing(axes, "No network with more than one layer was trained.")
        return
    settings = result.array("layer_setting")[rows]
    titles = result.array("layer_title")[rows]
    labels = [
        f"{_settings.MODELS[str(result.array('model')[setting])]}, {title}\n"
        f"{_settings.short(result, int(setting))}"
        for setting, title in zip(settings, titles, strict=True)
    ]
    groups = np.array([label.partition("\n")[0] for label in labels])
    _bias.draw(
        result,
        axes,
        result.array("layer_values_interval")[:, rows],
        result.array("layer_flow_interval")[0, rows],
        labels,
        groups,
        one_batch=result.array("one_batch")[settings],
    )
