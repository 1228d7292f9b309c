"""Later layers in planes of two eigendirections (Nagarajan 2023, fig. 22, 23)."""

import numpy as np

from figures import _settings, style
from figures._paths import finish, legend, path, second
from sims.results import Result

RESULT = "eigenspace"
TITLE = "The later layers on their way through pairs of eigendirections"
ALT = (
    "A grid of small panels, one row for each later layer of each network and one column for each "
    "pair of eigendirections; in each a blue path of the teacher and an orange path of the student "
    "run from the origin to a star."
)
CAPTION = (
    "As for the first layers, but each row is a later layer, trained with Adam for the shortest "
    "time, and the directions are those of what the layer sees in the teacher at the end of its "
    "training; randomly drawn pairs, whose numbers stand above each panel. Across: the higher "
    "direction, up: the lower one, in units of the teacher's final distance. A path further "
    "below another means more bias to the higher direction. Gray: a second teacher with other "
    "batches."
)
ORDER = 22
COLUMNS = 6


def PANELS(result: Result) -> tuple[int, int]:
    """One row for each later layer, one column for each pair."""
    rows = _rows(result)
    return (len(rows), _columns(result)) if rows else (1, 1)


def SIZE(result: Result) -> tuple[float, float]:
    """A page wide; panels near to squares."""
    return style.TWO_COLUMNS, 1.0 + 1.3 * PANELS(result)[0]


def draw(result: Result, axes: style.Panels) -> None:
    """Paths of teacher, student and second teacher."""
    rows = _rows(result)
    if not rows:
        _settings.nothing(axes, "No network with more than one layer was trained.")
        return
    panels = np.reshape(axes, PANELS(result))
    null = 1 + _settings.place(result, "students", "null")
    for row, line in zip(rows, panels, strict=True):
        setting = int(result.array("layer_setting")[row])
        model = _settings.MODELS[str(result.array("model")[setting])]
        line[0].set_ylabel(f"{model},\n{result.array('layer_title')[row]}", fontsize=8)
        pairs = result.array("layer_pairs")[row]  # (members, pairs, 2, records)
        for pair, panel in enumerate(line):
            drawn = pairs[:, pair][..., np.isfinite(pairs[0, pair]).all(axis=0)]
            end = drawn[0, :, -1:]
            if not (end.size and (end > 0).all()):  # the layer has no two directions
                panel.set_axis_off()
                continue
            higher, lower = 1 + result.array("layer_pair_index")[row, pair]
            panel.set_title(
                f"{higher} and {lower}", fontsize=7.5, fontweight="normal", loc="center"
            )
            if not _settings.paths_alike(result, setting) and np.isfinite(drawn[null]).all():
                second(panel, drawn[null] / end)
            path(panel, drawn[0] / end, style.TEACHER)
            path(panel, drawn[1] / end, style.STUDENT)
            finish(panel)
    figure = panels[0, 0].figure
    figure.supxlabel("moved along the higher direction (teacher's end = 1)", fontsize=8.5)
    figure.supylabel("moved along the lower direction (teacher's end = 1)", fontsize=8.5)
    legend(panels[0, 0])


def _rows(result: Result) -> list[int]:
    """Layers of every network as it was trained first."""
    first = [_settings.of_model(result, model)[0] for model in _settings.models(result)]
    return [
        row
        for row in _settings.layer_rows(result)
        if int(result.array("layer_setting")[row]) in first
    ]


def _columns(result: Result) -> int:
    return min(COLUMNS, int(result.array("layer_pair_index").shape[1]))
