"""What the figures of does_it_pay share: gains and losses against early stopping as colors."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_rgb
from matplotlib.patches import Patch
from numpy.typing import NDArray

from figures import style

STRONGEST = 20.0
"""Percent at which the colors end."""
NORM = Normalize(-STRONGEST, STRONGEST, clip=True)
COLORS: dict[str, Any] = {"cmap": style.DIVERGING, "norm": NORM}
HATCH: dict[str, Any] = {
    "facecolor": "none",
    "edgecolor": "#8a8d91",
    "hatch": "////",
    "linewidth": 0.0,
}


def heat(
    axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], percent: NDArray[np.float64]
) -> Any:  # noqa: ANN401  # a mesh, for `bar`
    """A map of gains and losses; ``y`` is logarithmic."""
    across, up = _edges(x), np.exp(_edges(np.log(y)))
    mesh = axes.pcolormesh(across, up, percent, rasterized=True, **COLORS)
    axes.set(yscale="log", xlim=(across[0], across[-1]), ylim=(up[0], up[-1]))
    axes.grid(visible=False)
    return mesh


def bar(axes: Any, mesh: Any) -> None:  # noqa: ANN401  # one Axes, a list or an array of them
    """The scale of colors beside the panels."""
    first = axes if isinstance(axes, Axes) else np.ravel(axes)[0]
    scale = first.figure.colorbar(mesh, ax=axes, shrink=0.85, aspect=28, pad=0.02, extend="both")
    scale.set_ticks([-20, -10, 0, 10, 20], labels=["−20 %", "−10 %", "0", "+10 %", "+20 %"])
    scale.outline.set_visible(False)
    scale.set_label("error against best early stopping\n(orange: less, blue: more)", fontsize=8)


def bounded(
    axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64], where: NDArray[np.bool_]
) -> None:
    """Hatch the part of a map that the theorem rules out; ``y`` is logarithmic."""
    across, up, inside = _to_edges(x), np.exp(_to_edges(np.log(y))), np.pad(where, 1, mode="edge")
    hatched = axes.contourf(
        across, up, inside.astype(float), levels=[0.5, 1.5], colors="none", hatches=["////"]
    )
    hatched.set(edgecolor=HATCH["edgecolor"], linewidth=0.0)
    outline(axes, x, y, where, colors=style.MUTED, linewidths=0.9)


def outline(
    axes: Axes,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    where: NDArray[np.bool_],
    **how: Any,  # noqa: ANN401
) -> None:
    """A line around a part of a map, nothing where the part is all of it or none."""
    if where.any() and not where.all():
        across, up = _to_edges(x), np.exp(_to_edges(np.log(y)))
        axes.contour(across, up, np.pad(where, 1, mode="edge").astype(float), levels=[0.5], **how)


def _edges(centers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges of cells with the given centers: one more than these."""
    ends = _to_edges(centers)
    return np.concatenate([ends[:1], (centers[1:] + centers[:-1]) / 2, ends[-1:]])


def _to_edges(centers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centers of cells with the outer edges of the first and the last added."""
    first, last = (centers[1] - centers[0]) / 2, (centers[-1] - centers[-2]) / 2
    return np.concatenate([[centers[0] - first], centers, [centers[-1] + last]])


def ink_on(color: Any) -> str:  # noqa: ANN401  # any color
    """Black or white, whichever can be read on a color."""
    red, green, blue = to_rgb(color)
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else style.INK


def ruled_out() -> Patch:
    """What the hatching means, for a legend."""
    return Patch(**HATCH, label="no gain possible, says the theorem")
