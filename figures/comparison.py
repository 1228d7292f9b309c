"""The user's own student beside its teacher: confidence, who is right, and calibration."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.ticker import MaxNLocator, PercentFormatter

from figures import style
from sims.results import Result

RESULT = "comparison"
TITLE = "Student beside teacher"
ALT = (
    "Density of the student's confidence against its teacher's with the diagonal and lines through "
    "the quarters where the teacher is least sure and surest; bars of who is right and a "
    "reliability diagram where the true classes are known, else divergence against confidence."
)
ORDER = 10

PARTS = ("both", "only the student", "only the teacher", "neither")
GROUPS = ("all samples", "teacher least sure", "of those, student\nless sure still")
SHADES = ("#9db4d3", style.STUDENT.color, style.TEACHER.color, style.GRAY)
DENSITY = LinearSegmentedColormap.from_list(
    "density", ["#dfe7f1", "#9db4d3", "#4d79ae", "#1b4f8f", "#0a1f3d"]
)


def PANELS(result: Result) -> tuple[int, int]:
    """Two rows where the true classes are known."""
    return (2, 2) if _labeled(result) else (1, 2)


def SIZE(result: Result) -> tuple[float, float]:
    """Panels near to squares."""
    return style.TWO_COLUMNS, 6.4 if _labeled(result) else 3.6


def CAPTION(result: Result) -> str:
    """What is drawn, and what is left out."""
    share = float(result.config["fraction"])
    drawn = "Each mark is a sample" if "points" in result.arrays else "Shading counts samples"
    part = f"{100 * share:g}%"
    text = (
        f"{drawn}: log-odds of a class for teacher (across) and student (up), with the diagonal of "
        "equal confidence. Orange lines are least-squares fits over the "
        f"{part} of samples where the teacher is least sure and the {part} where it is surest; "
        "steeper than the diagonal at the lower end, the student exaggerates."
    )
    if "control" in result.array("roles"):
        text += " The control's slope is that of a network trained without the teacher."
    outside = int(result.array("outside"))
    if outside:
        text += f" {outside:,} samples lie outside the panel."
    if not _labeled(result):
        return f"{text} Right: mean divergence over groups of samples of like confidence."
    return (
        f"{text} Below: who is right, of all samples, of those where the teacher is least sure, "
        "and of those among them where the student is less sure than it; and accuracy against the "
        "probability of the preferred class, in bins."
    )


def draw(result: Result, axes: style.Panels) -> None:
    """Confidence, and what else the labels allow."""
    panels = np.ravel(axes)
    _confidence(result, panels[0], "", "class that the teacher prefers")
    if _labeled(result):
        _confidence(result, panels[1], "_true", "true class")
        _dissection(result, panels[2])
        _reliability(result, panels[3])
    else:
        _divergence(result, panels[1])


def _labeled(result: Result) -> bool:
    return "dissection" in result.arrays


def _confidence(result: Result, panel: Axes, suffix: str, what: str) -> None:
    low, high = result.array(f"range{suffix}")
    if f"points{suffix}" in result.arrays:
        _points(result, panel, suffix)
    else:
        _cells(result, panel, suffix)
    panel.set(xlim=(low, high), ylim=(low, high))
    panel.set_aspect("equal")
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    panel.ticklabel_format(useOffset=False, style="plain")
    panel.axline((low, low), slope=1, **style.reference(zorder=2.5))
    for line in result.array(f"lines{suffix}"):
        if np.isfinite(line).all():
            panel.plot(*line.T, color="white", linewidth=3.4, zorder=3)
            panel.plot(*line.T, color=style.STUDENT.color, linewidth=1.8, zorder=3.1)
    words = " (true class)" if suffix else ""
    said = [
        _slope(result, f"slope, teacher least sure{words}", "least sure"),
        _slope(result, f"slope, teacher surest{words}", "surest"),
        _slope(result, f"slope of the control, teacher least sure{words}", "control, least sure"),
    ]
    lines = [one for one in said if one]
    style.note(panel, "\n".join(lines), at=(0.0, 1.02), va="bottom", color=style.INK, fontsize=7.2)
    panel.set_title(f"{what[:1].upper()}{what[1:]}", pad=5 + 11.0 * len(lines))
    panel.set(xlabel="teacher's log-odds", ylabel="student's log-odds")


def _slope(result: Result, name: str, words: str) -> str:
    names = list(result.array("pairs"))
    if name not in names:
        return ""
    estimate, low, high = result.array("pair_values")[names.index(name)]
    if not np.isfinite([estimate, low, high]).all():
        return f"{words}: no slope (too few samples)"
    ends = f"({low:.2f} to {high:.2f})".replace("-", "−")
    return f"{words}: slope {estimate:.2f} {ends}".replace("-", "−")


def _points(result: Result, panel: Axes, suffix: str) -> None:
    both, wrong = result.array(f"points{suffix}"), result.array(f"wrong{suffix}")
    many = both.shape[1] > 100
    size, layer = (3.2, 2.6) if many else (4.5, 3.5)  # a few points stand before the lines
    panel.plot(
        *both[:, ~wrong], linestyle="none", marker="o", markersize=size, alpha=0.6,
        color=style.TEACHER.color, markeredgewidth=0, label="both right", zorder=layer,
    )  # fmt: skip
    if wrong.any():
        panel.plot(
            *both[:, wrong], linestyle="none", marker="x", markersize=size + 1,
            color=style.WRONG_LABEL.color, markeredgewidth=1.1, label="one or both wrong",
            zorder=layer + 0.1,
        )  # fmt: skip
        panel.legend(loc="lower right", fontsize=7)


def _cells(result: Result, panel: Axes, suffix: str) -> None:
    counts = result.array(f"counts{suffix}")
    across = float(result.array(f"width{suffix}"))
    turns = np.deg2rad(np.arange(6) * 60 + 30)
    # a little larger than their place: no seam shows between neighbors
    corners = 1.04 * across / np.sqrt(3.0) * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    cells = PolyCollection(
        [corners], offsets=result.array(f"cells{suffix}"), offset_transform=panel.transData,
        transform=_scale_only(panel), cmap=DENSITY, norm=LogNorm(1, max(int(counts.max()), 2)),
        linewidth=0, zorder=2,
    )  # fmt: skip
    cells.set_array(counts)
    panel.add_collection(cells)
    bar = panel.figure.colorbar(cells, ax=panel, shrink=0.72, aspect=22, pad=0.02)
    bar.set_label("samples", fontsize=7.5)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)


def _scale_only(panel: Axes) -> Any:  # noqa: ANN401  # of matplotlib, untyped
    """From lengths in data to lengths on paper."""
    from matplotlib.transforms import AffineDeltaTransform

    return AffineDeltaTransform(panel.transData)  # type: ignore[arg-type]  # affine: no log axes


def _dissection(result: Result, panel: Axes) -> None:
    table = result.array("dissection")
    count = int(result.array("dissection_samples")[-1])
    places = np.arange(len(GROUPS))[::-1]
    start = np.zeros(len(GROUPS))
    for share, name, shade in zip(np.nan_to_num(table.T), PARTS, SHADES, strict=True):
        panel.barh(places, share, left=start, height=0.62, color=shade, label=name, linewidth=0)
        for place, left, width in zip(places, start, share, strict=True):
            if width >= 0.12:
                panel.text(
                    left + width / 2, place, f"{width:.0%}", ha="center", va="center",
                    color="white" if shade != SHADES[0] else style.INK, fontsize=7.5,
                )  # fmt: skip
        start = start + share
    if count == 0:
        panel.text(0.01, places[-1], "no such sample", va="center", fontsize=7.5)
    panel.set(yticks=places, xlim=(0, 1), ylim=(-0.5, len(GROUPS) + 0.35), xlabel="share")
    panel.set_yticklabels(GROUPS)
    panel.xaxis.set_major_formatter(PercentFormatter(1.0))
    panel.grid(visible=False, axis="y")
    panel.legend(
        loc="upper center", ncols=2, fontsize=7, columnspacing=1.2, handlelength=1.0,
        borderaxespad=0.1,
    )  # fmt: skip
    panel.set_title("Who is right")


def _reliability(result: Result, panel: Axes) -> None:
    panel.axline((0, 0), slope=1, **style.reference())
    above = 0.0
    for role, shift in ((style.TEACHER, -0.004), (style.STUDENT, 0.004)):
        rows = result.array(f"reliability_{role.label}")
        rows = rows[rows[:, 0] > 0]
        _, x, y, low, high = rows.T
        above += float((y - x).mean())
        panel.vlines(x + shift, low, high, color=role.color, linewidth=1.0, alpha=0.7)
        panel.plot(x + shift, y, **style.measured(role, label=role.label))
    panel.set(
        xlim=(0, 1.02),
        ylim=(-0.03, 1.03),  # marks at both ends are whole
        title="Reliability",
        xlabel="probability of the preferred class",
        ylabel="share right",
    )
    # in the corner that the points leave: they lie above the diagonal, or below it
    panel.legend(loc="lower right" if above > 0 else "upper left")


def _divergence(result: Result, panel: Axes) -> None:
    x, y, low, high = result.array("divergence_groups").T
    panel.vlines(x, np.maximum(low, 0), high, color=style.STUDENT.color, linewidth=1.0, alpha=0.7)
    panel.plot(x, y, **style.measured(style.STUDENT))
    panel.set_ylim(bottom=0)
    panel.set(
        title="Divergence",
        xlabel="teacher's log-odds",
        ylabel="KL(teacher, student) in nats",
    )
