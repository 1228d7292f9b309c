"""Weights of samples under a teacher's prior, for logits that predict the same."""

from typing import Any

from figures import style
from sims.results import Result

RESULT = "smoothing_map"
TITLE = "The weight of a sample is not in what the teacher predicts"
ALT = (
    "Left: weights of the samples in ascending order, relative to their mean, one line for each "
    "of four ways to write the same predictions as logits. Right: the ratio of the 95th to the "
    "5th percentile of these weights over the temperature."
)
CAPTION = (
    "Read as maximum a posteriori, distillation gives each sample a weight that grows with the "
    "sum of the exponentials of its logits. Adding a constant to the logits of a sample changes "
    "the weight and not the prediction. Each line is one way to choose the constant, with the "
    "strength of the prior set so that samples keep the same share of their label on average. "
    "Left: the weights in order, at the matched temperature. Right: how far they spread, over "
    "the temperature; the dotted line is the matched one."
)
SIZE = (style.TWO_COLUMNS, 2.9)
PANELS = (1, 2)
ORDER = 30
LOOKS: tuple[dict[str, Any], ...] = (
    {"color": style.TEACHER.color, "linestyle": "-"},
    {"color": style.STUDENT.color, "linestyle": (0, (5, 1.5))},
    {"color": style.OPPOSITE.color, "linestyle": "-", "linewidth": 2.6, "alpha": 0.5},
    {"color": style.WRONG_LABEL.color, "linestyle": (0, (2, 1.5))},
)


def draw(result: Result, axes: style.Panels) -> None:
    """Weights in order, and their spread."""
    names = [str(name) for name in result.array("writing")]
    for name, look, weights, spread in zip(
        names, LOOKS, result.array("weight"), result.array("spread"), strict=True
    ):
        axes[0].plot(result.array("weight_rank"), weights, label=name, **look)
        axes[1].plot(result.array("spread_temperature"), spread, **look)
    axes[0].axhline(1.0, **style.reference())
    axes[0].set(yscale="log", xlim=(0, 1))
    axes[0].set_xlabel("rank of the sample by weight, as a share of all")
    axes[0].set_ylabel("weight relative to the mean")
    axes[0].set_title("the weights in order")
    axes[0].legend(loc="upper left")
    matched = float(result.array("matched_temperature")[0])
    axes[1].axvline(matched, **style.reference(linestyle=(0, (1, 1.5))))
    axes[1].set(xscale="log", yscale="log")
    axes[1].set_xlim(result.array("spread_temperature")[[0, -1]])
    axes[1].set_xlabel("temperature of the teacher")
    axes[1].set_ylabel("95th over 5th percentile")
    axes[1].set_title("the spread of the weights")
    for axis in (axes[0].yaxis, axes[1].xaxis, axes[1].yaxis):
        style.plain_log(axis)
