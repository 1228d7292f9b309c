"""Over training: test accuracy, flipped labels learned by heart, and regularization samples."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from figures import _benchmark, style
from sims.results import Result

RESULT = _benchmark.RESULT
TITLE = "What is learned by heart, and when"
ALT = (
    "Three panels over epochs, a line for each of some methods. Left: test accuracy, which rises "
    "and for labels alone falls again. Middle: the share of flipped labels learned by heart, which "
    "rises. Right: the share of regularization samples, for methods that have a teacher."
)
SIZE = (style.TWO_COLUMNS, 3.1)
ORDER = 20
PANELS = (1, 3)
LOOKS: dict[str, dict[str, Any]] = {
    "one_hot": {"color": style.BLUE, "linestyle": "-"},
    "ground_truth": {"color": style.VIOLET, "linestyle": "-"},
    "beta_smoothing": {"color": style.GREEN, "linestyle": "-"},
    "kd": {"color": style.ORANGE, "linestyle": "-"},
    "filter_kd": {"color": "#8a4300", "linestyle": (0, (5, 1.5))},
    "wsl": {"color": style.RED, "linestyle": (0, (1, 1))},
}
"""Methods that are shown where they were trained; others take the place of those that were not."""


def CAPTION(result: Result) -> str:
    """With the teacher."""
    return (
        f"Means and ranges over {len(result.array('seeds'))} seeds. Left: accuracy on the test "
        f"set; the dotted line is the teacher at its end. Middle: how many of the "
        f"{int(result.array('flipped')[0])} flipped training labels are predicted when the sample "
        "is visited; right labels are learned before wrong ones. Right: samples on which the "
        "teacher pulls the label's logit harder than the label does, as Zhou 2021 counts them "
        "(method by method at its own temperature)."
    )


def draw(result: Result, axes: style.Panels) -> None:
    """Three quantities over epochs."""
    looks = shown(result)
    train = int(result.array("train_samples")[0])
    for row, look in looks.items():
        label = str(result.array("label")[row])
        _line(axes[0], result.array("course_test_accuracy")[row], look, label)
        _line(axes[1], result.array("course_memorized")[row], look)
        counts = result.array("course_regularization_samples")[row]
        if np.isfinite(counts).all():
            _line(axes[2], counts / train, look)
    teacher = float(result.array("teacher_test_accuracy"))
    axes[0].axhline(
        teacher, **style.reference(color=style.INK, linestyle=":", linewidth=1.0, label="teacher")
    )
    for panel, title in zip(
        axes, ("Test accuracy", "Flips by heart", "Regularization samples"), strict=True
    ):
        panel.set(title=title, xlabel="epoch", xlim=(0, None))
        panel.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))
        panel.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g}%")
    final = result.array("course_test_accuracy")[list(looks)]
    _from_where_it_counts(axes[0], final)
    axes[1].set_ylim(bottom=0)
    axes[2].set_ylim(bottom=0)
    if not axes[2].lines:
        style.note(axes[2], "no method here has a teacher", at=(0.08, 0.5))
    axes[0].figure.legend(loc="outside lower center", ncols=4, frameon=False, handlelength=2.4)


def shown(result: Result) -> dict[int, dict[str, Any]]:
    """Rows that are drawn, with the looks of their lines."""
    methods = [str(name) for name in result.array("method")]
    found = {methods.index(name): look for name, look in LOOKS.items() if name in methods}
    free = [look for name, look in LOOKS.items() if name not in methods]
    others = [row for row in range(len(methods)) if methods[row] not in LOOKS]
    found |= dict(zip(others, free, strict=False))
    return found


def _line(panel: Axes, values: Any, look: dict[str, Any], label: str | None = None) -> None:  # noqa: ANN401
    """Mean over seeds in a band from the least to the greatest; values of shape (seeds, epochs)."""
    epochs = np.arange(1, values.shape[1] + 1)
    panel.fill_between(
        epochs, values.min(axis=0), values.max(axis=0), color=look["color"], alpha=0.14,
        linewidth=0,
    )  # fmt: skip
    panel.plot(epochs, values.mean(axis=0), label=label, **look)


def _from_where_it_counts(panel: Axes, values: Any) -> None:  # noqa: ANN401
    """Leave out the first rise, where all lines are one."""
    late = values[..., values.shape[-1] // 5 :]
    low, high = float(late.min()), float(values.max())
    room = 0.05 * (high - low or 1.0)
    panel.set_ylim(low - room, high + room)
