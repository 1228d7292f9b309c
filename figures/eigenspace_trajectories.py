"""The first layer's weights in planes of two eigendirections (Nagarajan 2023, fig. 19, 20)."""

import numpy as np

from figures import _settings, style
from figures._paths import finish, legend, path, second
from sims.results import Result

RESULT = "eigenspace"
TITLE = "Two networks on their way through pairs of eigendirections"
ALT = (
    "A grid of small panels, one row for each way of training and one column for each pair of "
    "eigendirections; in each a blue path of the teacher and an orange path of the student run "
    "from the origin to a star."
)
ORDER = 20
COLUMNS = 6


def CAPTION(result: Result) -> str:
    """What to see."""
    *others, last = (_settings.MODELS[model] for model in _settings.models(result))
    known = f"{', '.join(others)} and {last}" if others else last
    return (
        "How far the first layer has moved along a higher eigendirection (across) and a lower one "
        f"(up), in units of the teacher's final distance; {known}. Each column is one randomly "
        "drawn pair, whose numbers stand above it; stars are the final weights. A path further "
        "below another means more bias to the higher direction. Top row: the exact flow of the "
        "squared loss, where the student must run below its teacher. Below: networks as trained. "
        "Gray: a second teacher with other batches, where there are batches to shuffle."
    )


def PANELS(result: Result) -> tuple[int, int]:
    """One row for each way of training, and the flow; columns are shared by the networks."""
    return 1 + len(_rows(result)), len(_columns(result))


def SIZE(result: Result) -> tuple[float, float]:
    """A page wide; panels near to squares."""
    return style.TWO_COLUMNS, 1.0 + 1.16 * PANELS(result)[0]


def draw(result: Result, axes: style.Panels) -> None:
    """Draw the flow in the first row, the networks below."""
    panels = np.reshape(axes, PANELS(result))
    drawn = result.array("pair_teacher")
    for column, (model, pair) in enumerate(_columns(result)):
        first = _settings.of_model(result, model)[0]
        higher, lower = 1 + result.array("pair_index")[first, pair]
        panels[0, column].set_title(
            f"{_settings.MODELS[model]}\n{higher} and {lower}",
            fontsize=7.5, fontweight="normal", loc="center",
        )  # fmt: skip
        flow = result.array("pair_flow")[first, :, pair]
        end = flow[0, :, -1:]
        path(panels[0, column], flow[0] / end, style.TEACHER, marks=0)
        path(panels[0, column], flow[1] / end, style.STUDENT, marks=0)
        trained = _trainings(result, model)
        for row, training in enumerate(_rows(result), start=1):
            panel = panels[row, column]
            if training not in trained:
                panel.set_axis_off()
                continue
            setting = trained[training]
            steps = np.isfinite(result.array("pair_steps")[setting])
            teacher = drawn[setting, pair][:, steps]
            end = teacher[:, -1:]
            if not _settings.paths_alike(result, setting):
                other = result.array("pair_null")[setting, pair][:, steps]
                if np.isfinite(other).all():
                    second(panel, other / end)
            path(panel, teacher / end, style.TEACHER)
            student = result.array("pair_student")[setting, pair][:, steps]
            path(panel, student / end, style.STUDENT)
    for panel in panels.flat:
        if panel.axison:
            finish(panel)
    labels = ["exact flow,\nsquared loss", *(_row_name(*training) for training in _rows(result))]
    for panel, label in zip(panels[:, 0], labels, strict=True):
        panel.set_ylabel(label, fontsize=8)
    figure = panels[0, 0].figure
    figure.supxlabel("moved along the higher direction (teacher's end = 1)", fontsize=8.5)
    figure.supylabel("moved along the lower direction (teacher's end = 1)", fontsize=8.5)
    legend(panels[0, 0])


def _columns(result: Result) -> list[tuple[str, int]]:
    """Network and pair of each column."""
    known = _settings.models(result)
    each = min(COLUMNS // len(known), result.array("pair_index").shape[1])
    return [(model, pair) for model in known for pair in range(each)]


Training = tuple[str, int]
"""Optimizer, and how many times longer than the network's first training."""


def _trainings(result: Result, model: str) -> dict[Training, int]:
    """The settings of one network that are drawn: the first, the longest of Adam, and SGD."""
    settings = _settings.of_model(result, model)
    names, epochs = result.array("optimizer"), result.array("epochs")
    adam = [setting for setting in settings if names[setting] == "adam"]
    sgd = [setting for setting in settings if names[setting] == "sgd"]
    return {
        (str(names[setting]), int(epochs[setting]) // int(epochs[settings[0]])): setting
        for setting in dict.fromkeys([adam[0], adam[-1], *sgd])
    }


def _rows(result: Result) -> list[Training]:
    """Every way in which one of the networks was trained."""
    every = [_trainings(result, model) for model in _settings.models(result)]
    known = list(dict.fromkeys(training for each in every for training in each))
    return sorted(known, key=lambda training: (training[0] != "adam", training[1]))


def _row_name(optimizer: str, times: int) -> str:
    """Optimizer, and how much longer than the first setting it ran."""
    name = _settings.OPTIMIZERS[optimizer]
    return f"{name},\nshortest" if times == 1 else f"{name},\n{times} times longer"
