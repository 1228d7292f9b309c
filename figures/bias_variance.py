"""Bias and variance of students, by what they learn from, on a plane of equal errors."""

import numpy as np
from matplotlib.axes import Axes

from figures import _taught, style
from sims.results import Result

RESULT = "bias_variance"
TITLE = "Bias and variance, by what the student learns from"
ALT = (
    "Six panels, one for each setting, bias across and variance up, with a mark and two crossed "
    "interval bars for teachers, students of labels, of smoothed labels, and of teachers at each "
    "temperature; dashed diagonals join points of equal error."
)
CAPTION = (
    "Test cross-entropy of small networks over draws of their training data and of their teachers, "
    "taken apart: bias across, variance up, in nats, with 95 % jackknife intervals over the draws. "
    "Along a dashed line the error is the same; toward the lower left it is less. Down and to the "
    "right of the black square, the student of the labels, distillation lowers the variance and "
    "raises the bias, as Zhou et al. 2021 assume; above the square it raises the variance. "
    "The toy has labels that are noisy by themselves, which adds the noise that its panel names."
)
ORDER = 10
PANELS = (2, 3)
SIZE = (style.TWO_COLUMNS, 5.6)


def draw(result: Result, axes: style.Panels) -> None:
    """One setting a panel."""
    names = _taught.titles(result)
    parts = [_taught.quantity(result, name) for name in ("noise", "bias", "variance")]
    for row, panel in enumerate(np.ravel(axes)):
        noise, bias, variance = (part[row] for part in parts)
        _marks(result, panel, bias, variance)
        if noise[0, 0] > 0:
            text = f"and noise {noise[0, 0]:.2f}"
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
            style.note(panel, text, at=(0.03, 0.03), va="bottom", bbox=box)
        panel.set_title(names[row])
    for panel in axes[-1]:
        panel.set_xlabel("bias (nats)")
    for panel in axes[:, 0]:
        panel.set_ylabel("variance (nats)")
    _taught.legend(axes)


def _marks(result: Result, panel: Axes, bias: np.ndarray, variance: np.ndarray) -> None:
    for role, across, up in zip(_taught.roles(result), bias, variance, strict=True):
        panel.errorbar(
            across[0], up[0], label=role.label, ecolor=role.color, elinewidth=1.0,
            xerr=[[across[0] - across[1]], [across[2] - across[0]]],
            yerr=[[up[0] - up[1]], [up[2] - up[0]]],
            **style.measured(role, markerfacecolor=role.color, markeredgecolor="white",
                             markeredgewidth=0.5, markersize=6),
        )  # fmt: skip
    low = min(bias[:, 1].min(), variance[:, 1].min(), 0.0)
    across, up = 1.08 * bias[:, 2].max(), 1.08 * variance[:, 2].max()
    panel.set(xlim=(low, across), ylim=(low, up))
    panel.locator_params(nbins=5)
    for total in np.linspace(0, across + up, 9)[1:-1]:
        panel.axline((0, total), slope=-1, **style.reference(linewidth=0.6))
