"""The first layer's weights in planes of two eigendirections (Nagarajan 2023, fig. 19, 20)."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from figures import _settings, style
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
MARKS = 7


def CAPTION(result: Result) -> str:
    """What to see."""
    known = " and ".join(_settings.MODELS[model] for model in _settings.models(result))
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
        settings = _settings.of_model(result, model)
        higher, lower = 1 + result.array("pair_index")[settings[0], pair]
        panels[0, column].set_title(
            f"{_settings.MODELS[model]}\n{higher} and {lower}",
            fontsize=7.5, fontweight="normal", loc="center",
        )  # fmt: skip
        flow = result.array("pair_flow")[settings[0], :, pair]
        end = flow[0, :, -1:]
        _path(panels[0, column], flow[0] / end, style.TEACHER, marks=0)
        _path(panels[0, column], flow[1] / end, style.STUDENT, marks=0)
        for row, place in enumerate(_rows(result), start=1):
            panel = panels[row, column]
            if place >= len(settings):
                panel.set_axis_off()
                continue
            setting = settings[place]
            steps = np.isfinite(result.array("pair_steps")[setting])
            teacher = drawn[setting, pair][:, steps]
            end = teacher[:, -1:]
            if not _settings.paths_alike(result, setting):
                other = result.array("pair_null")[setting, pair][:, steps]
                if np.isfinite(other).all():
                    panel.plot(*(other / end), color=style.NULL.color, linewidth=0.9, zorder=1.8)
            _path(panel, teacher / end, style.TEACHER)
            student = result.array("pair_student")[setting, pair][:, steps]
            _path(panel, student / end, style.STUDENT)
    for panel in panels.flat:
        panel.axline((0, 0), slope=1, **style.reference())
        panel.set(xlim=_limits(panel, 0), ylim=_limits(panel, 1), xticks=(0, 1), yticks=(0, 1))
    labels = ["exact flow,\nsquared loss", *(_row_name(result, row) for row in _rows(result))]
    for panel, label in zip(panels[:, 0], labels, strict=True):
        panel.set_ylabel(label, fontsize=8)
    figure = panels[0, 0].figure
    figure.supxlabel("moved along the higher direction (teacher's end = 1)", fontsize=8.5)
    figure.supylabel("moved along the lower direction (teacher's end = 1)", fontsize=8.5)
    handles = [
        panels[0, 0].plot([], [], color=role.color, marker="*", markersize=8, label=role.label)[0]
        for role in (style.TEACHER, style.STUDENT)
    ]
    handles += panels[0, 0].plot(
        [], [], color=style.NULL.color, linewidth=0.9, label="second teacher"
    )
    handles += panels[0, 0].plot([], [], label="no bias: both alike", **style.reference())
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)


def _path(panel: Axes, path: NDArray[np.float64], role: style.Role, marks: int = MARKS) -> None:
    panel.plot(*path, color=role.color, linewidth=1.3)
    if marks:
        at = np.unique(np.linspace(0, path.shape[1] - 1, marks + 2).astype(int))[1:-1]
        panel.plot(*path[:, at], **style.measured(role, markersize=2.8, markeredgewidth=0.8))
    panel.plot(
        *path[:, -1], marker="*", markersize=8, color=role.color,
        markeredgecolor="white", markeredgewidth=0.4, zorder=3,
    )  # fmt: skip


def _limits(panel: Axes, axis: int) -> tuple[float, float]:
    """From just below zero to the farthest point of the panel, and to 1 at least."""
    ends = [
        np.max(line.get_data()[axis]) for line in panel.lines if np.size(line.get_data()[0]) > 2
    ]
    top = max([1.0, *ends])
    return -0.06 * top, 1.12 * top


def _columns(result: Result) -> list[tuple[str, int]]:
    """Network and pair of each column."""
    known = _settings.models(result)
    each = min(COLUMNS // len(known), result.array("pair_index").shape[1])
    return [(model, pair) for model in known for pair in range(each)]


def _rows(result: Result) -> list[int]:
    """Places among the settings of one network: the first, the longest of Adam, and SGD."""
    settings = _settings.of_model(result, _settings.models(result)[0])
    names = result.array("optimizer")[settings].tolist()
    adam = [place for place, name in enumerate(names) if name == "adam"]
    sgd = [place for place, name in enumerate(names) if name == "sgd"]
    return list(dict.fromkeys([adam[0], adam[-1], *sgd]))


def _row_name(result: Result, place: int) -> str:
    """Optimizer, and how much longer than the first setting it ran."""
    settings = _settings.of_model(result, _settings.models(result)[0])
    setting = settings[place]
    name = _settings.OPTIMIZERS[str(result.array("optimizer")[setting])]
    epochs = result.array("epochs")
    times = int(epochs[setting]) // int(epochs[settings[0]])
    return f"{name},\npaper's length" if times == 1 else f"{name},\n{times} times longer"
