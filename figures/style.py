"""One look for every figure: what a color, a line and a marker mean.

Lines are theory, markers are measurement, everywhere. A color stands for one role everywhere. The
colors keep apart for color-blind readers and in gray print (their lightness differs, and the
marker shapes differ too): teacher dark blue, student orange.
"""

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

INK = "#1c1c1c"
MUTED = "#5f6368"
RULE = "#c9ccd1"
GRID = "#e8eaed"

# the colors of the roles below, and of the parts that single figures play with them
BLUE = "#1b4f8f"
ORANGE = "#dd6b00"
GREEN = "#00806b"
RED = "#b4004e"
VIOLET = "#7a3f98"
GRAY = "#6f7378"

Panels = NDArray[Any]
"""An array of matplotlib Axes."""

ONE_COLUMN = 3.5  # inches, of a two-column page
TWO_COLUMNS = 7.2


@dataclass(frozen=True, slots=True)
class Role:
    """One part in the play: its name in legends, its color, its marker."""

    label: str
    color: str
    marker: str


TEACHER = Role("teacher", BLUE, "o")
STUDENT = Role("student", ORANGE, "D")
NULL = Role("second teacher (null)", GRAY, "s")
SOFTNESS = Role("student of smoothed labels", VIOLET, "^")
RIGHT_LABEL = Role("right label", "#5a6b7d", "o")
WRONG_LABEL = Role("wrong label", RED, "x")
STOPPING = Role("early stopping", BLUE, "o")
OPPOSITE = Role("anti-exaggerates", GREEN, "v")
EXAGGERATES = Role("exaggerates", ORANGE, "D")

# Blue where the reference wins, orange where distillation does, white where they tie.
DIVERGING = LinearSegmentedColormap.from_list(
    "stillroom", ["#b25400", "#e9983f", "#f8d9b3", "#fafafa", "#bcd0e8", "#5c8cc4", "#1b4f8f"]
)

RC: Any = {  # typed as a dictionary of some three hundred literals, others in each release
    "axes.axisbelow": True,
    "axes.edgecolor": "#8a8d91",
    "axes.facecolor": "white",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.unicode_minus": True,
    "figure.constrained_layout.h_pad": 0.05,
    "figure.constrained_layout.w_pad": 0.05,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "hatch.linewidth": 0.7,
    "legend.borderaxespad": 0.4,
    "legend.borderpad": 0.3,
    "legend.edgecolor": "none",
    "legend.facecolor": "white",
    "legend.fontsize": 8,
    "legend.framealpha": 0.85,
    "legend.handlelength": 1.6,
    "legend.labelspacing": 0.35,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "mathtext.fontset": "dejavusans",
    "path.simplify_threshold": 0.2,
    "pdf.fonttype": 42,  # TrueType: text in the PDF stays text
    "savefig.dpi": 220,
    "savefig.facecolor": "white",
    "svg.fonttype": "path",  # the same look on every machine, whatever fonts it has
    "svg.hashsalt": "stillroom",
    "text.color": INK,
    "text.hinting": "none",  # letters of the same width at every resolution
    "xtick.color": MUTED,
    "xtick.labelsize": 8,
    "xtick.major.size": 3,
    "xtick.major.width": 0.6,
    "xtick.minor.size": 0,
    "ytick.color": MUTED,
    "ytick.labelsize": 8,
    "ytick.major.size": 3,
    "ytick.major.width": 0.6,
    "ytick.minor.size": 0,
}


def theory(role: Role, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """Keywords of a line that stands for a closed form."""
    return {"color": role.color, "linewidth": 1.5, "solid_capstyle": "round", **more}


def measured(role: Role, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """Keywords of markers that stand for a measurement."""
    return {
        "linestyle": "none",
        "marker": role.marker,
        "markerfacecolor": "white",
        "markeredgecolor": role.color,
        "markeredgewidth": 1.1,
        "markersize": 4.4 if role.marker != "D" else 3.8,
        **more,
    }


def final(role: Role) -> dict[str, Any]:
    """Keywords of the star at the end of training."""
    return {
        "marker": "*",
        "markersize": 10,
        "markerfacecolor": role.color,
        "markeredgecolor": "white",
        "markeredgewidth": 0.5,
        "linestyle": "none",
        "zorder": 3,
    }


def reference(**more: Any) -> dict[str, Any]:  # noqa: ANN401
    """Keywords of a line that only guides the eye: a diagonal, a zero."""
    return {"color": "#8a8d91", "linewidth": 0.8, "linestyle": (0, (4, 3)), "zorder": 1.2, **more}


def note(axes: Axes, text: str, *, at: tuple[float, float], **more: Any) -> None:  # noqa: ANN401
    """A few muted words inside a panel, at a place in units of its sides."""
    how = {"fontsize": 7.5, "color": MUTED, "transform": axes.transAxes, "zorder": 5, **more}
    axes.text(*at, text, **how)


def plain_log(axis: Axis) -> None:
    """Ticks of a logarithmic axis as plain numbers, some between the powers where there are few."""
    low, high = sorted(axis.get_view_interval())
    steps = (1.0, 2.0, 5.0) if high < 150 * low else (1.0,)
    axis.set_major_locator(LogLocator(subs=steps, numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def powers(axis: Axis, *, most: int = 5) -> None:
    """Ticks of a logarithmic axis at a few powers of ten, plain numbers where it is short."""
    low, high = sorted(axis.get_view_interval())
    if high < 150 * low:
        plain_log(axis)
    else:
        axis.set_major_locator(LogLocator(numticks=most))


def signed(value: float, digits: int = 3) -> str:
    """A number with its sign, the minus as long as the plus.

    Example:
        >>> signed(-0.0125, 2)
        '−0.01'
    """
    return f"{value:+.{digits}f}".replace("-", "−")
