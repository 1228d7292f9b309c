"""Test inputs of another distribution, where the dominance theorem does not hold."""

from matplotlib.axes import Axes

from figures import _paying, style
from sims.results import Result

RESULT = "does_it_pay"
TITLE = "Under covariate shift the theorem ends, and distillation can win"
ALT = (
    "Left: test error over training time for early stopping and for the student of a teacher "
    "stopped at the same time, each with its lowest point marked. Middle and right: maps of the "
    "gain of student and ridge over correlation and variance ratio of the test inputs."
)
ORDER = 40
PANELS = (1, 3)
SIZE = (style.TWO_COLUMNS, 2.8)


def CAPTION(result: Result) -> str:
    """What to see, with the numbers of the example."""
    plain = float(result.array("shift_example_early_stopping_risk")[0])
    student = float(result.array("shift_example_student_risk")[0])
    return (
        "Two directions, trained on one distribution of inputs and tested on another. Left: an "
        "example where in-sample no student could beat early stopping; on the shifted inputs the "
        f"best early stopping has a test error of {plain:.3f}, the best student {student:.3f} (on "
        "the curve, both times are equal; the mark is the best of all times). Middle and right: "
        "what the best student and the best ridge regression gain (orange) or lose (blue), over "
        "the correlation of the two test inputs and the variance of the weaker one; the cross is "
        "the example."
    )


def draw(result: Result, axes: style.Panels) -> None:
    """The example, and two maps."""
    _example(result, axes[0])
    correlation = result.array("shift_correlation")
    example = result.array("shift_example_correlation")[0]
    ratio = result.array("shift_variance_ratio")
    for panel, name in zip(axes[1:], ("student", "ridge"), strict=True):
        mesh = _paying.heat(panel, correlation, ratio, result.array(f"shift_{name}_percent"))
        panel.set_xlabel("correlation of test inputs")
        panel.plot(example, 1.0, marker="x", color=style.INK, markersize=5, markeredgewidth=1.4)
        panel.set_title(name)
        style.plain_log(panel.yaxis)
    axes[1].set_ylabel("variance ratio of test inputs", labelpad=2)
    axes[2].set_yticklabels([])
    _paying.bar(list(axes[1:]), mesh)


def _example(result: Result, panel: Axes) -> None:
    times = result.array("shift_example_times")
    for name, role in (("early_stopping", style.STOPPING), ("student", style.STUDENT)):
        label = name.replace("_", " ")
        panel.plot(times, result.array(f"shift_example_{name}"), label=label, **style.theory(role))
        panel.plot(
            result.array(f"shift_example_{name}_time")[0],
            result.array(f"shift_example_{name}_risk")[0],
            **style.measured(role),
        )
    panel.set(xscale="log", xlabel="training time", ylabel="test error")
    panel.set_title("example")
    panel.legend(loc="upper right")
    style.plain_log(panel.xaxis)
