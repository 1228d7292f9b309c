"""Slopes of a comparison with what is drawn of them: lines, and where the points lie."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sims.parts.comparison_samples import Samples
from theory.labels.confidence import Exaggeration, exaggeration
from theory.labels.confidence.slopes import in_order

SIDES = ("bottom", "top")
FEW = 1_500  # points up to which every one is drawn
_ACROSS = 44  # hexagons across a panel
_NARROWEST = 0.02  # log-odds across a panel
_BUDGET = 100_000_000  # numbers drawn for a bootstrap
_FEWEST_RESAMPLES = 200
_FEWEST_POINTS = 5  # selected, for an interval

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """Confidence of the student against that of the teacher, in one class of each sample."""

    teacher: Floats
    """X, shape (seeds, n)."""
    student: Floats
    """Y, shape (seeds, n)."""
    control: Floats | None
    """The same of the control."""
    found: dict[str, Exaggeration]
    """By side."""

    def arrays(
        self, suffix: str, wrong: NDArray[np.bool_] | None
    ) -> dict[str, NDArray[np.generic]]:
        """What is drawn of it."""
        x, y = self.teacher.ravel(), self.student.ravel()
        low, high = _range(x, y)
        shown = (np.minimum(x, y) >= low) & (np.maximum(x, y) <= high)
        drawn = {
            f"range{suffix}": np.array([low, high]),
            f"outside{suffix}": np.array(int((~shown).sum())),
            f"lines{suffix}": np.stack([self._line(side) for side in SIDES]),
        }
        if x.size <= FEW:
            marked = np.zeros(x.shape, dtype=bool) if wrong is None else wrong.ravel()
            return drawn | {
                f"points{suffix}": np.stack([x[shown], y[shown]]),
                f"wrong{suffix}": marked[shown],
            }
        centers, counts = hexagons(x[shown], y[shown], low, high)
        width = np.array((high - low) / _ACROSS)
        return drawn | {
            f"cells{suffix}": centers, f"counts{suffix}": counts, f"width{suffix}": width,
        }  # fmt: skip

    def _line(self, side: str) -> Floats:
        """Ends of the mean line through the selected points, (x, y) and (x, y); nan without one."""
        count, slope = self.found[side].count, self.found[side].slope
        if not slope.low <= slope.high:
            return np.full((2, 2), np.nan)
        picked = [in_order(row, side)[:count] for row in self.teacher]
        x = np.concatenate([row[at] for row, at in zip(self.teacher, picked, strict=True)])
        y = np.concatenate([row[at] for row, at in zip(self.student, picked, strict=True)])
        ends = np.array([x.min(), x.max()])
        heights = y.mean() + slope.estimate * (ends - x.mean())
        return np.stack([ends, heights], axis=1)


def view(
    samples: Samples,
    name: str,
    *,
    rng: np.random.Generator,
    fraction: float,
    level: float,
    resamples: int,
) -> View:
    """The confidences that the networks hold as ``name``, with slopes at both ends."""
    values = {role: getattr(network, name) for role, network in samples.networks.items()}
    control = values.get("control")
    found = {
        side: _of_enough(
            exaggeration(
                values["teacher"], values["student"], control=control, rng=rng, fraction=fraction,
                side=side, level=level,
                resamples=affordable(resamples, values["teacher"], fraction),
            )
        )
        for side in SIDES
    }  # fmt: skip
    return View(values["teacher"], values["student"], control, found)


def _of_enough(found: Exaggeration) -> Exaggeration:
    """Without intervals where so few points are selected that resamples are all alike."""
    if found.count >= _FEWEST_POINTS:
        return found
    names = ("slope", "gap", "below", "control", "excess")
    bare = {
        name: replace(one, low=np.nan, high=np.nan)
        for name in names
        if (one := getattr(found, name)) is not None
    }
    return replace(found, **bare)


def affordable(resamples: int, confidence: Floats, fraction: float) -> int:
    """As many resamples as are drawn in seconds: fewer of very many points."""
    seeds, count = confidence.shape
    each = count * fraction if seeds == 1 else seeds * count
    return min(resamples, max(_FEWEST_RESAMPLES, int(_BUDGET / each)))


def _range(x: Floats, y: Floats) -> tuple[float, float]:
    """The square to draw: all points, or all but a few that would make the others a dot."""
    both = np.concatenate([x, y])
    low, high = float(both.min()), float(both.max())
    if x.size > 100:
        inner_low, inner_high = np.quantile(both, [0.002, 0.998])
        room = inner_high - inner_low
        low, high = max(low, inner_low - room), min(high, inner_high + room)
    # log-odds that differ by less are the same to a reader
    room = max(0.03 * (high - low), (_NARROWEST - (high - low)) / 2)
    return low - room, high + room


def hexagons(x: Floats, y: Floats, low: float, high: float) -> tuple[Floats, NDArray[np.int64]]:
    """Centers of the hexagons that hold points, shape (cells, 2), and how many each holds.

    The centers are two square lattices, each in the middle of the other; a point belongs to the
    nearest center.
    """
    across = (high - low) / _ACROSS
    up = across * np.sqrt(3.0)
    u, v = (x - low) / across, (y - low) / up
    even = np.stack([np.round(u), np.round(v)])
    odd = np.stack([np.floor(u), np.floor(v)]) + 0.5
    far = [(u - at[0]) ** 2 + 3 * (v - at[1]) ** 2 for at in (even, odd)]
    twice = (2 * np.where(far[0] <= far[1], even, odd)).astype(np.int64)
    cells, counts = np.unique(twice[0] * (1 << 20) + twice[1], return_counts=True)
    places = np.stack([cells >> 20, cells & ((1 << 20) - 1)], axis=1) / 2
    return low + places * [across, up], counts
