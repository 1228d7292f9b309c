"""Where distillation pays and where it can not, over decay of the signal and noise."""

from matplotlib.lines import Line2D

from figures import _paying, style
from sims.results import Result

RESULT = "does_it_pay"
TITLE = "A map of where distillation pays"
ALT = (
    "Three colored maps with the decay of the signal across and the noise variance up on a "
    "logarithmic axis: best distillation, ridge regression, and the best of all filters. Orange is "
    "a gain over early stopping, blue a loss; hatched parts are those that the theorem rules out."
)
CAPTION = (
    "Each point of a map is a problem: how fast the signal falls off along the directions (across; "
    "to the right it lies more and more in the top ones) and how noisy the labels are (up). "
    "Orange: less error than the best early stopping; blue: more. Left: the best of a student and "
    "up to ten generations. Middle: ridge regression, which leans the other way. Right: the best "
    "any filter could do. In the hatched parts the theorem rules a gain out; right of the dashed "
    "line it promises one."
)
SIZE = (style.TWO_COLUMNS, 2.9)
PANELS = (1, 3)
ORDER = 30
CERTAIN = {"colors": "black", "linewidths": 1.0, "linestyles": "dashed"}
SHOWN = (
    ("distillation", "distillation"),
    ("ridge", "ridge"),
    ("wiener", "best of all filters"),
)


def draw(result: Result, axes: style.Panels) -> None:
    """One map for each of the three."""
    decay, noise = result.array("map_decay"), result.array("map_noise")
    for panel, (name, title) in zip(axes, SHOWN, strict=True):
        mesh = _paying.heat(panel, decay, noise, result.array(f"map_{name}_percent"))
        if name != "wiener":
            _paying.bounded(panel, decay, noise, result.array(f"map_{name}_ruled_out"))
        if name == "distillation":
            certain = result.array("map_student_certain")
            _paying.outline(panel, decay, noise, certain, **CERTAIN)
        panel.set_xlabel("decay b of the signal")
        panel.set_title(title)
        style.plain_log(panel.yaxis)
    for panel in axes[1:]:
        panel.set_yticklabels([])
    axes[0].set_ylabel("noise variance")
    _paying.bar(list(axes), mesh)
    promised = Line2D([], [], label="gain certain, to the right", color="black", linestyle="--")
    axes[0].figure.legend(
        handles=[_paying.ruled_out(), promised], loc="outside lower center", ncols=2,
        frameon=False, handleheight=1.1,
    )  # fmt: skip
