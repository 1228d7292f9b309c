"""What the settings of the eigenspace experiment are called, for the figures that draw them."""

import numpy as np

from figures import style
from sims.results import Result

MODELS = {"random_features": "random features", "mlp": "MLP", "cnn": "CNN"}
OPTIMIZERS = {"adam": "Adam", "sgd": "SGD"}


def models(result: Result) -> list[str]:
    """The networks that were trained, in the order of the settings."""
    return list(dict.fromkeys(result.array("model").tolist()))


def of_model(result: Result, model: str) -> list[int]:
    """The settings of one network: Adam from the shortest to the longest, then SGD."""
    return [int(place) for place in np.flatnonzero(result.array("model") == model)]


def short(result: Result, setting: int) -> str:
    """Optimizer and number of updates."""
    optimizer = OPTIMIZERS[str(result.array("optimizer")[setting])]
    return f"{optimizer}, {result.array('updates')[setting]} updates"


def full(result: Result, setting: int) -> str:
    """Network with its teacher's accuracy in training, optimizer and updates, on two lines."""
    clean = place(result, "splits", "clean")
    fits = float(np.mean(result.array("accuracy")[setting, :, 0, clean]))
    model = MODELS[str(result.array("model")[setting])]
    known = f", fits {fits:.0%}" if np.isfinite(fits) else ""  # no sample has its right label
    return f"{model}{known}\n{short(result, setting)}"


def layer_rows(result: Result) -> list[int]:
    """Rows of the later layers: network by network, layer by layer, then by setting."""
    if "layer_setting" not in result.arrays:
        return []
    setting, number = result.array("layer_setting"), result.array("layer_number")
    known = models(result)
    of = np.array([known.index(str(result.array("model")[each])) for each in setting])
    return [int(row) for row in np.lexsort((setting, number, of))]


def nothing(axes: style.Panels, words: str) -> None:
    """Words in place of panels."""
    panels = np.ravel(axes)
    for panel in panels:
        panel.set_axis_off()
    panels[0].figure.text(0.5, 0.5, words, ha="center", va="center")


def paths_alike(result: Result, setting: int) -> bool:
    """Whether the second teacher's path is the teacher's: one batch, nothing to shuffle."""
    return bool(result.array("one_batch")[setting])


def place(result: Result, axis: str, name: str) -> int:
    """Where a student, a statistic, a control or a split stands on its axis."""
    return [str(each) for each in result.array(axis)].index(name)
