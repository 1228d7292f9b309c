"""Does the kernel of a wide network see what is similar? Trace of the kernel and of A."""

import numpy as np
from matplotlib.axes import Axes

from figures import _pulls, style
from sims.results import Result

RESULT = "learning_dynamics"
TITLE = "How similar two inputs are, and the kernel between them"
ALT = (
    "Three panels: trace of the derivative of the softmax over epochs for points learned early and "
    "late; trace of the kernel of one point with all others against the rank of their similarity, "
    "in three colors; rank correlations of all points by inner product and by cosine."
)
PANELS = (1, 3)
SIZE = (style.TWO_COLUMNS, 2.8)
ORDER = 30
MEASURES = (("inner", "inner\nproduct"), ("cosine", "cosine"))


def CAPTION(result: Result) -> str:
    """With the settings of the network."""
    config = result.config
    return (
        f"A ReLU network of {config['width']} units on {config['points']} points of the plane. "
        "Left: trace of the derivative of the softmax along training, for the third of the points "
        "that is learned first and the third that is learned last (means over draws with 95 % "
        "intervals). Middle: trace of the kernel at the start between one point and all others, "
        "those most similar to it (largest cosine) on the left. If the trace falls to the right, "
        "it rises with the similarity. Right: rank correlation of the trace with two similarities, "
        "one dot for each point of each draw, and the mean over draws with its 95 % interval; "
        "above zero the trace rises with the similarity."
    )


def draw(result: Result, axes: style.Panels) -> None:
    """Trace of A, one point, all points."""
    for group, role in enumerate((_pulls.HARD, _pulls.EASY)):
        _pulls.band(
            axes[0], result.array("wide_epochs"), result.array("wide_trace_interval")[:, group],
            role, label=("learned last", "learned first")[group],
        )  # fmt: skip
    axes[0].set(ylim=(0, 0.7), yticks=(0, 0.2, 0.4, 0.6))  # at most 2/3 for three classes
    axes[0].set(xlabel="epoch", ylabel="trace of the derivative")
    axes[0].set_title("how movable")
    axes[0].legend(loc="upper right")
    _point(result, axes[1])
    _correlations(result, axes[2])


def _point(result: Result, axes: Axes) -> None:
    rank, trace = result.array("point_rank"), result.array("point_trace")
    for label, role in enumerate(_pulls.CLASSES):
        where = result.array("point_label") == label
        axes.plot(rank[where], trace[where], label=role.label, **style.measured(role))
    own = _pulls.CLASSES[int(result.array("point_own_label"))].label
    axes.set(xlabel="rank of the similarity (1: most similar)", ylabel="trace of the kernel")
    axes.set_title(f"one point of {own}")
    bottom, top = axes.get_ylim()
    axes.set_ylim(min(bottom, 0.0), top + 0.12 * (top - bottom))
    axes.locator_params(nbins=5, integer=True)
    axes.legend(loc="upper right")


def _correlations(result: Result, axes: Axes) -> None:
    axes.axhline(0.0, **style.reference())
    for place, (name, _) in enumerate(MEASURES):
        each = result.array(f"rank_{name}").ravel()
        # spread over a fixed pattern, so that dots do not hide each other
        offset = 0.5 * ((np.arange(len(each)) * 0.618034) % 1 - 0.5)
        axes.plot(
            place + offset, each, linestyle="none", marker="o", markersize=1.8, alpha=0.35,
            color=style.MUTED, markeredgewidth=0, rasterized=True,
        )  # fmt: skip
        mean, low, high = result.array(f"rank_{name}_interval")
        axes.errorbar(
            place, mean, yerr=[[mean - low], [high - mean]], ecolor=style.INK, capsize=3,
            **style.measured(style.Role("", style.INK, "D")),
        )  # fmt: skip
    axes.set(xlim=(-0.5, 1.5), xticks=(0, 1), ylim=(-1.05, 1.05), yticks=(-1, -0.5, 0, 0.5, 1))
    axes.set_xticklabels([words for _, words in MEASURES])
    axes.set_ylabel("rank correlation with the trace")
    axes.set_title("all points")
    axes.grid(visible=False, axis="x")
