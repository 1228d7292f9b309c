"""What pulls the prediction on a sample: its own label, and the labels of its neighbors."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from figures import _pulls, style
from sims.results import Result

RESULT = "learning_dynamics"
TITLE = "Two forces: the own label, and the labels of the neighbors"
ALT = (
    "A triangle with the path of one prediction that bends from the true posterior to a wrong "
    "corner, arrows of two colors along it; and five panels over the epochs: sizes of the pulls on "
    "hard and on easy samples, directions, distance from the posterior, and how far a prediction "
    "can be moved."
)
PANELS = (2, 3)
SIZE = (style.TWO_COLUMNS, 4.9)
ORDER = 20
NAMES = ("A", "B", "C")


def CAPTION(result: Result) -> str:
    """What the panels show, whatever they show."""
    return (
        "Training on labels drawn from a known posterior. Hard samples have the unluckiest labels, "
        "easy ones the likeliest. Top left: the prediction on the hardest sample of one run, from "
        "light to dark over training; the star is its true posterior, the square its label; "
        "arrows beside the path show what the own label (red, filled) and all other samples (blue, "
        "hollow) do during an epoch, to first order, the longer one always drawn at the same "
        "length. Then: size of both pulls on hard and on easy samples; the direction of the "
        "neighbors' pull on hard samples, 1 where it points to the posterior or to the label and "
        "−1 where away from it; distance of predictions from the posterior; and trace and largest "
        "eigenvalue of the derivative of the softmax, by which a prediction answers a change of "
        "its logits. Lines are means over "
        f"{result.config['seeds']} runs with 95 % intervals."
    )


def draw(result: Result, axes: style.Panels) -> None:
    """The example, the pulls of both groups, direction, distance, sensitivity."""
    _triangle(result, axes[0, 0])
    _sizes(result, axes[0, 1], 0, "pulls on hard samples")
    _sizes(result, axes[0, 2], 1, "pulls on easy samples")
    _directions(result, axes[1, 0])
    _distances(result, axes[1, 1])
    _sensitivity(result, axes[1, 2])
    for panel in axes.flat[1:]:
        panel.set_xlabel("epoch")
        panel.set_xlim(0, result.array("epochs")[-1])
        panel.locator_params(axis="x", nbins=5)


def _triangle(result: Result, axes: Axes) -> None:
    corners, path = result.array("example_corners"), result.array("example_path")
    axes.fill(*corners.T, facecolor="none", edgecolor=style.RULE, linewidth=1.0)
    for name, corner in zip(NAMES, corners, strict=True):
        away = 0.09 * (corner - corners.mean(axis=0)) / 0.577
        across, up = corner + away
        axes.text(across, up, name, ha="center", va="center", fontsize=8)
    axes.scatter(
        path[:, 0], path[:, 1], c=np.linspace(0.0, 1.0, len(path)), cmap="binary", vmin=-0.25, s=4,
        linewidths=0, zorder=2,
    )  # fmt: skip
    for who, role in (("own", _pulls.OWN), ("neighbors", _pulls.NEIGHBORS)):
        start, arrows = result.array(f"example_{who}")
        axes.quiver(
            *start.T, *arrows.T, facecolor=role.color if who == "own" else "white",
            edgecolor=role.color, linewidth=0.8, angles="xy", scale_units="xy", scale=1,
            width=0.013, headwidth=3.6, headlength=4, headaxislength=3.6, zorder=3,
        )  # fmt: skip
    axes.plot(*result.array("example_truth"), marker="*", markersize=11, color=style.INK,
              markeredgecolor="white", markeredgewidth=0.6, zorder=4)  # fmt: skip
    axes.plot(*result.array("example_label"), marker="s", markersize=6, color=style.INK, zorder=4)
    axes.set(xlim=(-0.12, 1.12), ylim=(-0.12, 1.0), aspect="equal")
    axes.axis("off")
    axes.set_title("the hardest sample of a run")


def _sizes(result: Result, axes: Axes, group: int, title: str) -> None:
    epochs = result.array("epochs")
    for who, role in (("own", _pulls.OWN), ("neighbors", _pulls.NEIGHBORS)):
        mean, low, high = result.array(f"force_{who}_interval")[:, group]
        # an interval on a logarithmic axis can not show what lies below zero
        _pulls.band(axes, epochs, np.stack([mean, np.maximum(low, mean / 30), high]), role)
    axes.set(yscale="log")
    axes.set_ylabel("size of the pull, per epoch")
    axes.set_title(title)
    style.powers(axes.yaxis)
    axes.legend(loc="upper right" if group else "lower left")


def _directions(result: Result, axes: Axes) -> None:
    epochs = result.array("epochs")
    axes.axhline(0.0, **style.reference())
    _pulls.band(
        axes, epochs, result.array("force_to_truth_interval")[:, 0], _pulls.HARD,
        label="to the posterior",
    )  # fmt: skip
    _pulls.band(
        axes, epochs, result.array("force_to_label_interval")[:, 0], _pulls.OWN,
        label="to the label",
    )  # fmt: skip
    axes.set(ylim=(-1.05, 1.05), yticks=(-1, 0, 1))
    axes.set_ylabel("cosine of the angle")
    axes.set_title("where neighbors pull")
    axes.legend(loc="center right")


def _distances(result: Result, axes: Axes) -> None:
    for group, role in enumerate((_pulls.HARD, _pulls.EASY)):
        _pulls.band(
            axes, result.array("epochs"), result.array("force_distance_interval")[:, group], role
        )
    axes.set(ylim=(0, 1.45), yticks=(0, 0.5, 1))  # at most the root of 2
    axes.set_ylabel("distance from the posterior")
    axes.set_title("there and back")
    axes.legend(loc="upper center")


def _sensitivity(result: Result, axes: Axes) -> None:
    epochs = result.array("epochs")
    for group, role in enumerate((_pulls.HARD, _pulls.EASY)):
        for what, dashed in (("trace", False), ("top", True)):
            interval = result.array(f"force_{what}_interval")[:, group]
            _pulls.band(axes, epochs, interval, role, dashed=dashed, label="")
    axes.set(ylim=(0, 0.7), yticks=(0, 0.2, 0.4, 0.6))  # the trace is at most 2/3
    axes.set_ylabel("derivative of the softmax")
    axes.set_title("how movable it is")
    axes.legend(
        [Line2D([], [], color=style.INK, linestyle=dash) for dash in ("-", "--")],
        ["trace", "largest eigenvalue"],
        loc="upper right",
    )
