"""Confidence of the student against that of its teacher (Nagarajan 2023, fig. 18)."""

import numpy as np

from figures import _settings, style
from sims.results import Result

RESULT = "eigenspace"
TITLE = "How sure the student is of what its teacher prefers"
ALT = (
    "Scatter panels of single samples, training above and test below, one column for each network: "
    "the teacher's confidence across, the student's up, with the diagonal of equal confidence."
)
CAPTION = (
    "Each mark is a sample: log-odds of the class that the teacher prefers, for teacher (across) "
    "and student (up), one seed. On the diagonal the student is as sure as its teacher, below it "
    "less. Crosses are training samples with a wrong label. The slope over the quarter of samples "
    "where the teacher is least sure is the mean over seeds with its 95 % interval; 1 is a copy."
)
ORDER = 60
SPLITS = ("train", "test")


def PANELS(result: Result) -> tuple[int, int]:
    """Training and test; a column for each network."""
    return 2, len(_settings.models(result))


def SIZE(result: Result) -> tuple[float, float]:
    """Panels near to squares."""
    return 0.5 + 2.7 * PANELS(result)[1], 5.4


def draw(result: Result, axes: style.Panels) -> None:
    """Training above, test below."""
    panels = np.reshape(axes, PANELS(result))
    for column, model in zip(panels.T, _settings.models(result), strict=True):
        setting = _settings.of_model(result, model)[0]
        wrong = result.array(f"mislabeled_{model}")
        for side, (panel, split) in enumerate(zip(column, SPLITS, strict=True)):
            both = result.array(f"scatter_{split}_{model}")
            marked = wrong if split == "train" else np.zeros(both.shape[1], dtype=bool)
            panel.plot(
                *both[:, ~marked], linestyle="none", marker="o", markersize=3, alpha=0.55,
                color=style.RIGHT_LABEL.color, markeredgewidth=0, label="right label",
            )  # fmt: skip
            if marked.any():
                panel.plot(
                    *both[:, marked], linestyle="none", marker="x", markersize=4.5,
                    color=style.WRONG_LABEL.color, markeredgewidth=1.3, label="wrong label",
                )  # fmt: skip
                panel.legend(loc="upper left")
            low, high = both.min(), both.max()
            room = 0.06 * (high - low)
            panel.set(xlim=(low - room, high + room), ylim=(low - room, high + room))
            panel.set_aspect("equal")
            panel.locator_params(nbins=5)
            panel.axline((0, 0), slope=1, **style.reference())
            mean, least, most = result.array("slope_interval")[:, setting, side]
            if np.isfinite(mean):
                style.note(
                    panel, f"slope where unsure\n{mean:.2f} ({least:.2f} to {most:.2f})",
                    at=(0.97, 0.04), ha="right", va="bottom", color=style.INK,
                    bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1},
                )  # fmt: skip
            panel.set_title(f"{_settings.MODELS[model]}, {'training' if side == 0 else 'test'}")
    for panel in panels[-1]:
        panel.set_xlabel("teacher's confidence (log-odds)")
    for panel in panels[:, 0]:
        panel.set_ylabel("student's confidence (log-odds)")
