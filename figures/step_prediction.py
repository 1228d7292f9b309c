"""A step on one sample, predicted and taken: what the first order says and what it misses."""

import numpy as np
from matplotlib.axes import Axes

from figures import _pulls, style
from sims.results import Result

RESULT = "learning_dynamics"
TITLE = "What a step on one sample does to others, predicted and measured"
ALT = (
    "Three panels: predicted against measured changes of predictions along the diagonal; what "
    "the prediction misses against the learning rate, on lines of slope 2; and what sums of "
    "predicted changes over whole runs miss, falling with the learning rate but for one line."
)
PANELS = (1, 3)
SIZE = (style.TWO_COLUMNS, 2.9)
ORDER = 10
GROUPS = (("hard training samples", "-"), ("held-out samples", (0, (4, 2))))


def CAPTION(result: Result) -> str:
    """With the learning rate of the scatter."""
    rate = float(result.array("step_scatter_rate"))
    network = _pulls.NETWORKS[str(result.array("activation")[0])].label
    return (
        "Left: change of the probabilities of other samples by a step on one sample, predicted to "
        f"first order and measured, at a learning rate of {rate:.2g} ({network} network). Middle: "
        "size of the change (light markers) and of what the first order misses (dark markers) "
        "against the learning rate; the lines are what the second-order formula says it should "
        "miss, and have slope 2. Right: predicted changes added up over whole runs of gradient "
        "descent, and how much of the way that predictions went they miss; for smaller steps it "
        "should vanish. Where it does not, hidden units of the training samples cross the kinks of "
        "a ReLU network again and again: there no step is small."
    )


def draw(result: Result, axes: style.Panels) -> None:
    """Scatter, sizes against learning rates, sums over runs."""
    _scatter(result, axes[0])
    _sizes(result, axes[1])
    _sums(result, axes[2])


def _scatter(result: Result, axes: Axes) -> None:
    predicted, measured = result.array("step_predicted"), result.array("step_measured")
    most = 1.08 * max(np.abs(predicted).max(), np.abs(measured).max())
    axes.plot([-most, most], [-most, most], **style.reference())
    axes.plot(
        predicted, measured, linestyle="none", marker="o", markersize=2.2, alpha=0.45,
        color=_pulls.NETWORKS[str(result.array("activation")[0])].color, markeredgewidth=0,
        rasterized=True,
    )  # fmt: skip
    axes.set(xlim=(-most, most), ylim=(-most, most), xlabel="predicted change")
    axes.set_ylabel("measured change of a probability")
    axes.set_title("one step")
    axes.locator_params(nbins=4)


def _sizes(result: Result, axes: Axes) -> None:
    rates = result.array("step_rates")
    for k, name in enumerate(result.array("activation")):
        role = _pulls.NETWORKS[str(name)]
        slope = float(result.array("step_slope_interval")[0, k])
        axes.plot(rates, result.array("step_second_order")[k], **style.theory(role))
        axes.plot(
            rates, result.array("step_change")[k], alpha=0.4, **style.measured(role),
        )  # fmt: skip
        axes.plot(
            rates, result.array("step_remainder")[k],
            **style.measured(role, markerfacecolor=role.color),
            label=f"missed, {role.label}: slope {slope:.2f}",
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="learning rate")
    axes.set_ylabel("change of a prediction")
    axes.set_title("smaller steps")
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top * 30)  # room for the legend
    style.powers(axes.xaxis)
    style.powers(axes.yaxis)
    axes.legend(loc="upper left", fontsize=7, handletextpad=0.2, borderpad=0.1)


def _sums(result: Result, axes: Axes) -> None:
    rates, missed = result.array("path_rates"), result.array("path_missed_mean")
    for k, name in enumerate(result.array("activation")):
        role = _pulls.NETWORKS[str(name)]
        for group, (words, dash) in enumerate(GROUPS):
            axes.plot(
                rates, 100 * missed[k, :, group], marker=role.marker, markersize=4,
                markerfacecolor="white", color=role.color, linestyle=dash, linewidth=1.2,
                label=f"{role.label}, {words}",
            )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="learning rate")
    axes.set_ylabel("missed, % of the way")
    axes.set_title("added up over a run")
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top * 25)
    style.plain_log(axes.xaxis)
    axes.set_yticks([10.0**k for k in range(-4, 3) if bottom <= 10.0**k <= 1.5 * top])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.legend(loc="upper left", fontsize=7, handlelength=2.6, borderpad=0.1)
