"""Intervals for the exaggeration slope: bootstrap of pairs, of seeds, and HC3.

The points that count are chosen by X, so every resample chooses its own again.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import checks
from theory.checks import Array
from theory.labels.confidence.slopes import (
    Standard,
    exaggeration_slope,
    in_order,
    paired_confidences,
    selected,
)
from theory.statistics import Interval, blocks, percentile_interval
from theory.statistics.interval import nominal

_MARGIN = 8.0  # standard deviations: no resample reaches further for its points


@dataclass(frozen=True, slots=True)
class Exaggeration:
    """How a student's confidence follows its teacher's at one end of it."""

    slope: Interval
    """Slope of Y on X; the mean over seeds where there are several."""
    gap: Interval
    """Mean of Y - X over the selected points."""
    below: Interval
    """Share of the selected points with Y < X."""
    count: int
    """Number of points selected, for each seed."""
    control: Interval | None = None
    """Slope of the control on X; None without a control."""
    excess: Interval | None = None
    """Slope of the student less that of the control, on the same points."""


def exaggeration(
    teacher: ArrayLike,
    student: ArrayLike,
    *,
    rng: np.random.Generator,
    control: ArrayLike | None = None,
    fraction: float = 0.25,
    side: str = "bottom",
    level: float = 0.95,
    resamples: int = 1000,
) -> Exaggeration:
    """The slope and what to read beside it: the gap, the share below, and a control.

    All intervals are percentile intervals of one bootstrap of the samples, which draws teacher,
    student and control together. With several training seeds the seeds are drawn too, and the
    deviations of so few are widened as Student's t widens them.

    Args:
        teacher: X, shape ``(n,)``, or ``(seeds, n)`` for the same samples under several seeds.
        student: Y, of either shape.
        rng: Source of the resamples.
        control: Confidence, in the same classes, of a network trained without the teacher.
        fraction: Share of the points selected.
        side: ``"bottom"`` or ``"top"``.
        level: Nominal coverage.
        resamples: Number of resamples.

    Raises:
        ValueError: On shapes that disagree, no samples, nan or inf, a fraction outside (0, 1], or
            a level outside (0, 1).

    References:
        Nagarajan et al. 2023, appendix C.4.

    Example:
        >>> x = np.linspace(-1.0, 3.0, 200)
        >>> found = exaggeration(x, 1.5 * x - 1, rng=np.random.default_rng(0), control=0.5 * x)
        >>> found.slope.estimate, found.excess.low, found.below.estimate
        (1.5, 1., 1.)
    """
    x, ys = _networks(teacher, student, control)
    count = selected(x.shape[1], fraction, side)
    times = checks.count("resamples", resamples, minimum=1)
    points = [_Points.of(row, ys[:, seed], count, side) for seed, row in enumerate(x)]
    whole = np.stack([one.statistics(one.plain()) for one in points], axis=1)[0]
    lines = [
        [exaggeration_slope(row, y, fraction, side).slope for y in ys[:, seed]]
        for seed, row in enumerate(x)
    ]
    whole[:, [0, *range(3, 2 + len(ys))]] = lines  # summed in another order they differ by an ulp
    draws = list(_draws(rng, points, x.shape[1], times))
    tables = np.concatenate(draws) if len(x) == 1 else _over_seeds(rng, whole, draws, level)
    estimate = whole.mean(axis=0)
    names = {"of pairs": x.shape[1]} if len(x) == 1 else {"of seeds and pairs": len(x)}
    ((how, units),) = names.items()

    def interval(column: int) -> Interval:
        values = tables[:, column]
        return percentile_interval(
            float(estimate[column]), values, level, units, f"bootstrap {how}"
        )

    found = [interval(column) for column in range(len(estimate))]
    below = replace(found[2], low=max(found[2].low, 0.0), high=min(found[2].high, 1.0))
    return Exaggeration(found[0], found[1], below, count, *found[3:])


def exaggeration_slope_interval(
    teacher: ArrayLike,
    student: ArrayLike,
    *,
    rng: np.random.Generator,
    fraction: float = 0.25,
    side: str = "bottom",
    level: float = 0.95,
    resamples: int = 1000,
) -> Interval:
    """``exaggeration_slope`` with a percentile interval from a bootstrap of the pairs.

    Every resample selects its own points again, as the choice by X is part of the statistic. Equal
    X at the border of the selection are taken in their order in the data.

    Args:
        teacher: X, shape ``(n,)``, or ``(seeds, n)`` for the same samples under several seeds: then
            the slope is the mean over seeds, and the seeds are drawn too.
        student: Y, of either shape.
        rng: Source of the resamples.
        fraction: Share of the points selected.
        side: ``"bottom"`` or ``"top"``.
        level: Nominal coverage.
        resamples: Number of resamples.

    Raises:
        ValueError: As ``exaggeration_slope``, or for a level outside (0, 1).

    Example:
        >>> x = np.linspace(0.0, 1.0, 40)
        >>> exaggeration_slope_interval(x, 2 * x, rng=np.random.default_rng(0)).low
        2.0
    """
    found = exaggeration(
        teacher, student, rng=rng, fraction=fraction, side=side, level=level, resamples=resamples
    )
    return found.slope


def exaggeration_slope_hc3(
    teacher: ArrayLike,
    student: ArrayLike,
    *,
    fraction: float = 0.25,
    side: str = "bottom",
    level: float = 0.95,
) -> Interval:
    r"""``exaggeration_slope`` with an interval that allows for unequal scatter, without resampling.

    .. math:: \hat\sigma^2 = \frac{\sum_i (x_i - \bar x)^2 \, e_i^2 / (1 - h_i)^2}
        {(\sum_i (x_i - \bar x)^2)^2}

    over the m selected points, with residuals e and leverages h, and Student's t with m - 2 degrees
    of freedom. The ends are nan where a point alone decides the slope, or for m < 3.

    Raises:
        ValueError: As ``exaggeration_slope``, or for a level outside (0, 1).

    References:
        MacKinnon and White 1985, J. Econometrics 29.

    Example:
        >>> found = exaggeration_slope_hc3(range(8), [0, 1, 3, 3, 5, 5, 7, 7], fraction=1.0)
        >>> round(found.estimate, 3), round(found.low, 3), round(found.high, 3)
        (1.036, 0.789, 1.282)
    """
    from scipy.special import stdtrit

    level = nominal(level)
    x, y = paired_confidences(teacher, student)
    line = exaggeration_slope(x, y, fraction, side)
    size, method = x.size, "HC3"
    if line.count < 3 or np.isnan(line.slope):
        return Interval(line.slope, np.nan, np.nan, level, size, method)
    chosen = in_order(x, side)[: line.count]
    across, up = Standard.of(x[chosen]), Standard.of(y[chosen])
    squares = across.values**2
    total = squares.sum()
    left = 1 - 1 / line.count - squares / total
    if left.min() < 1e-12:
        return Interval(line.slope, np.nan, np.nan, level, size, method)
    rest = up.values - (across.values * up.values).sum() / total * across.values
    error = np.sqrt((squares * (rest / left) ** 2).sum()) / total
    half = float(up.per(across, stdtrit(line.count - 2, 0.5 + level / 2) * error))
    return Interval(line.slope, line.slope - half, line.slope + half, level, size, method)


def _networks(
    teacher: ArrayLike, student: ArrayLike, control: ArrayLike | None
) -> tuple[Array, Array]:
    """X of shape (seeds, n) and Y of shape (networks, seeds, n)."""
    given = {"teacher": teacher, "student": student, "control": control}
    arrays = {
        name: checks.real_array(name, value) for name, value in given.items() if value is not None
    }
    sizes = {array.shape[-1] if array.ndim else 0 for array in arrays.values()}
    seeds = {array.shape[0] for array in arrays.values() if array.ndim == 2} - {1}
    if any(array.ndim not in (1, 2) for array in arrays.values()) or sizes == {0}:
        shapes = " and ".join(str(array.shape) for array in arrays.values())
        msg = f"teacher and student must be one confidence a sample, got shapes {shapes}"
        raise ValueError(msg)
    if len(sizes) > 1 or len(seeds) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        msg = f"shapes must agree, got {shapes}"
        raise ValueError(msg)
    shape = (*(seeds or {1}), *sizes)
    x, *ys = (np.broadcast_to(array, shape) for array in arrays.values())
    return x, np.stack(ys)


@dataclass(frozen=True, slots=True, eq=False)
class _Points:
    """The points of one seed that a resample may select, in order from the end that counts."""

    order: NDArray[np.intp]
    """Places of all points, from that end on."""
    across: Standard
    """X of the points within reach."""
    up: tuple[Standard, ...]
    """The same of student and control."""
    beside: Array
    """Y - X and whether it is negative, shape (reach, 2)."""
    unit: float
    """Of Y - X."""
    count: int
    """How many are selected."""

    @classmethod
    def of(cls, x: Array, ys: Array, count: int, side: str) -> "_Points":
        """The points of a seed: x of shape (n,), ys of shape (networks, n)."""
        order = in_order(x, side)
        near = order[: _reach(x.size, count)]
        across = Standard.of(x[near], count)
        up = tuple(Standard.of(y[near], count) for y in ys)
        with np.errstate(over="ignore", under="ignore"):
            half = ys[0][near] / 2 - x[near] / 2
        unit = float(np.abs(half).max()) or 1.0
        beside = np.stack([half / unit, ys[0][near] < x[near]], axis=1)
        return cls(order, across, up, beside, unit, count)

    @property
    def reach(self) -> int:
        return len(self.across.values)

    def plain(self) -> Array:
        """Every selected point once."""
        return (np.arange(self.reach) < self.count)[None].astype(np.float64)

    def statistics(self, weights: Array) -> Array:
        """Slope, gap, share below, then the control's slope and the excess, for each row."""
        x = self.across.values
        ys = [up.values for up in self.up]
        columns = [x, x * x, *ys, *(x * y for y in ys)]
        sums = weights @ np.column_stack([*columns, self.beside])
        sums = sums / weights.sum(axis=1, keepdims=True)
        networks = len(ys)
        constant = self._constant(weights)
        slopes = []
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            spread = sums[:, 1] - sums[:, 0] ** 2
            for at, up in enumerate(self.up):
                both = sums[:, 2 + networks + at] - sums[:, 0] * sums[:, 2 + at]
                unit = np.where(constant, np.nan, both / spread)
                slopes.append(up.per(self.across, unit))
            gap = sums[:, -2] * self.unit * 2
            excess = [slopes[0] - other for other in slopes[1:]]
        return np.stack([slopes[0], gap, sums[:, -1], *slopes[1:], *excess], axis=1)

    def _constant(self, weights: Array) -> NDArray[np.bool_]:
        """Whether X is constant under each row: in order, its first and last are equal."""
        x, hit = self.across.values, weights > 0
        last = self.reach - 1 - np.argmax(hit[:, ::-1], axis=1)
        return np.asarray(x[np.argmax(hit, axis=1)] == x[last])


def _reach(size: int, count: int) -> int:
    """How many points, in order, hold the ``count`` first of a resample but for bad luck."""
    return min(size, count + int(_MARGIN * np.sqrt(count)) + 16)


def _draws(
    rng: np.random.Generator, points: list[_Points], size: int, resamples: int
) -> Iterator[Array]:
    """Statistics of every resample, shape (rows, statistics) or (rows, seeds, statistics)."""
    if len(points) == 1:
        (one,) = points
        for rows in blocks(resamples, one.reach):
            yield one.statistics(_first(_drawn(rng, size, one.reach, rows), one.count))
        return
    for rows in blocks(resamples, size):
        drawn = _drawn(rng, size, size, rows)
        yield np.stack(
            [one.statistics(_first(drawn[:, one.order[: one.reach]], one.count)) for one in points],
            axis=1,
        )


def _drawn(rng: np.random.Generator, size: int, reach: int, rows: int) -> NDArray[np.intp]:
    """How often each of the first ``reach`` of ``size`` points comes in ``rows`` resamples."""
    hits = np.full(rows, size) if reach == size else rng.binomial(size, reach / size, size=rows)
    index = rng.integers(0, reach, int(hits.sum())) + np.repeat(reach * np.arange(rows), hits)
    return np.asarray(np.bincount(index, minlength=rows * reach).reshape(rows, reach))


def _first(drawn: NDArray[np.intp], count: int) -> Array:
    """Weights of the first ``count`` that were drawn, in order."""
    before = np.cumsum(drawn, axis=1) - drawn
    return np.asarray(np.clip(count - before, 0, drawn), dtype=np.float64)


def _over_seeds(rng: np.random.Generator, whole: Array, draws: list[Array], level: float) -> Array:
    """Means over the seeds of every resample, with the deviations of drawn seeds added.

    Args:
        rng: Source of the seeds drawn.
        whole: Statistics of the seeds themselves, shape (seeds, statistics).
        draws: Their resamples, blocks of shape (rows, seeds, statistics).
        level: Nominal coverage.
    """
    from scipy.special import ndtri, stdtrit

    every = np.concatenate(draws)
    rows, seeds = every.shape[:2]
    tail = 0.5 + nominal(level) / 2
    # the bootstrap of S values has (S - 1) / S of the variance, and not the tails of t
    wider = np.sqrt(seeds / (seeds - 1)) * stdtrit(seeds - 1, tail) / ndtri(tail)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        center = every.mean(axis=1)
        # seeds differ by their samples' chance as well, which the resamples have already
        moved = every - whole
        moved -= moved.mean(axis=1, keepdims=True)
        chance = np.square(moved).sum(axis=1).mean(axis=0)
        apart = whole - whole.mean(axis=0)
        own = 1 - chance / np.square(apart).sum(axis=0)
        apart = apart * np.sqrt(np.where(own > 0, own, 0.0)) * wider
        return np.asarray(center + apart[rng.integers(0, seeds, (rows, seeds))].mean(axis=1))
