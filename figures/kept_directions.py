"""Accuracy of a head cut to its top eigendirections (Nagarajan 2023, fig. 17)."""

import numpy as np
from matplotlib.axes import Axes

from figures import _settings, style
from sims.results import Result

RESULT = "eigenspace"
TITLE = "Which directions hold the truth, and which the noise"
ALT = (
    "Four panels with the number of eigendirections kept across on a logarithmic axis and accuracy "
    "up, for clean training samples, wrong labels, the true labels behind them and test samples; "
    "blue circles are the teacher, orange diamonds the student."
)
CAPTION = (
    "Random features trained with wrong labels among the right ones; then only the parts of the "
    "weights along the top K directions are kept. Where a curve rises, there lies what the model "
    "knows of that panel's samples: compare how many directions the clean samples need, and how "
    "many the wrong labels. The third panel asks for the true class of the same mislabeled "
    "samples: it falls where the noise is let in. Means over seeds with 95 % intervals."
)
SIZE = (style.TWO_COLUMNS, 2.5)
PANELS = (1, 4)
ORDER = 50
SHOWN = (
    ("clean", "clean samples"),
    ("mislabeled, as given", "wrong labels, as given"),
    ("mislabeled, as in truth", "the same, true class"),
    ("test", "test samples"),
)


def draw(result: Result, axes: style.Panels) -> None:
    """One panel for each split that has samples; words where there is nothing to draw."""
    if "kept_accuracy" not in result.arrays:
        _settings.nothing(axes, "No random features were trained.")
        return
    counts, accuracy = result.array("kept_counts")[:-1], result.array("kept_accuracy")
    for panel, (name, title) in zip(axes, SHOWN, strict=True):
        split = _settings.place(result, "splits", name)
        panel.set_title(title, fontsize=8.5)
        if not np.isfinite(accuracy[:, :, split]).all():
            _no_samples(panel)
            continue
        for who, role in enumerate((style.TEACHER, style.STUDENT)):
            mean, low, high = np.clip(accuracy[:, who, split, :-1], 0, 1)
            panel.fill_between(counts, low, high, color=role.color, alpha=0.16, linewidth=0)
            panel.plot(counts, mean, color=role.color, linewidth=0.9)
            panel.plot(counts, mean, label=role.label, **style.measured(role, markersize=3.2))
        panel.set(xscale="log", ylim=(-0.03, 1.03), xlabel="top directions kept")
        style.plain_log(panel.xaxis)
    shown = [panel for panel in axes if panel.axison]
    for panel in shown[1:]:
        panel.set_yticklabels([])
    if shown:
        shown[0].set_ylabel("accuracy")
        shown[0].legend(loc="lower right")


def _no_samples(panel: Axes) -> None:
    """A title, and words in place of axes."""
    panel.set_axis_off()
    panel.text(0.5, 0.5, "no such samples", ha="center", va="center", transform=panel.transAxes)
