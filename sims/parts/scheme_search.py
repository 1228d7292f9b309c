r"""The best parameters of a training scheme, for many risks on one spectrum at once.

A risk that is quadratic in the gain of a scheme is written :math:`R(g) = R_0 + |F (g - w)|^2`. For
the in-sample risk F is diagonal and w the Wiener filter; under covariate shift F is full.

The search is global in two stages. The gains of a scheme on a grid over all of its parameters do
not depend on the risk, so that one table is scored against all risks by two matrix products. From
the best few points of the grid, apart from each other, Levenberg-Marquardt descends to the minimum.
All is deterministic.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from sims.parts.schemes import Array, Scheme
from theory.flow.risk import wiener_gain

_STEP = 1e-6  # of the difference quotients
_ROUNDS = 200
_NEGLIGIBLE = 1e-12  # of the risk, gained in one step


@dataclass(frozen=True, slots=True, eq=False)
class Risks:
    """Risks of the same modes, one a row: ``floor + |factor (gain - center)|^2``."""

    center: Array
    """The gain that is best, shape (risks, modes)."""
    factor: Array
    """Shape (risks, modes) if diagonal, else (risks, modes, modes)."""
    floor: Array
    """The least risk of any gain, shape (risks,)."""

    @classmethod
    def shifted(
        cls, eigenvalues: Array, coefficients: Array, noise: float, covariances: Array
    ) -> "Risks":
        r"""Test risks of one linear target under population covariances (risks, modes, modes).

        In the eigenbasis, :math:`(1 - g)^\top Q (1 - g) + \sigma^2 \sum_i g_i^2 S_{ii} / \lambda_i`
        with :math:`Q = \mathrm{diag}(a) S \mathrm{diag}(a)`.
        """
        bias = covariances * np.multiply.outer(coefficients, coefficients)
        spread = np.einsum("bii->bi", covariances) * noise / eigenvalues
        hessian = bias + spread[:, :, None] * np.eye(len(eigenvalues))
        center = np.linalg.solve(hessian, bias.sum(axis=2)[..., None])[..., 0]
        floor = bias.sum(axis=(1, 2)) - np.einsum("bij,bj->b", bias, center)
        factor = np.swapaxes(np.linalg.cholesky(hessian), 1, 2)
        return cls(center, factor, floor)

    @classmethod
    def denoising(cls, energy: Array, noise: Array, samples: int | None = None) -> "Risks":
        """In-sample risks of signal energies (risks, modes) under noise of variance (risks,)."""
        energy, noise = np.atleast_2d(energy), np.atleast_1d(noise)[:, None]
        best = wiener_gain(energy, noise) + 0.0 * energy
        count = samples or energy.shape[1]
        total = energy + noise
        return cls(best, np.sqrt(total / count), (total * best * (1 - best)).sum(axis=1) / count)

    def residual(self, gain: Array, which: NDArray[np.intp]) -> Array:
        """``factor (gain - center)`` of gains (rows, modes) for the risks ``which`` (rows,)."""
        gap = gain - self.center[which]
        if self.factor.ndim == 2:
            return np.asarray(self.factor[which] * gap)
        return np.asarray(np.einsum("bij,bj->bi", self.factor[which], gap))

    def of(self, gain: Array) -> Array:
        """The risk of every gain (gains, modes) under every risk: shape (gains, risks)."""
        if self.factor.ndim == 2:
            weight = self.factor**2
            cross = gain**2 @ weight.T - 2 * gain @ (weight * self.center).T
            return np.asarray(cross + (weight * self.center**2).sum(axis=1) + self.floor)
        gap = gain[:, None, :] - self.center
        inner = np.einsum("bij,gbj->gbi", self.factor, gap)
        return np.asarray((inner**2).sum(axis=2) + self.floor)


@dataclass(frozen=True, slots=True, eq=False)
class Best:
    """The best of one scheme, for each risk."""

    points: Array
    """Shape (risks, coordinates)."""
    risk: Array
    """Shape (risks,)."""


def best_parameters(
    what: Scheme, eigenvalues: Array, risks: Risks, *, density: float = 4.0, starts: int = 4
) -> Best:
    """The global minimum of each risk over all parameters of a scheme.

    Args:
        what: The scheme.
        eigenvalues: Shape (modes,), at least one of them positive.
        risks: On these modes.
        density: Points of the grid per decade of the time.
        starts: Number of points of the grid from which the descent starts.
    """
    axes = [_times(eigenvalues, density), *(axis.grid() for axis in what.shapes)]
    low = np.array([axis[0] for axis in axes])
    high = np.array([axis[-1] for axis in axes])
    table = _Table(what, eigenvalues, axes)
    seeds = table.seeds(risks, starts)
    which = np.repeat(np.arange(len(risks.center)), starts)
    points, cost = _descend(
        what, eigenvalues, risks, which, seeds.reshape(-1, len(axes)), low, high
    )
    cost = cost.reshape(-1, starts)
    pick = np.argmin(cost, axis=1)
    rows = np.arange(len(pick))
    return Best(points.reshape(len(pick), starts, -1)[rows, pick], cost[rows, pick] + risks.floor)


def _times(eigenvalues: Array, density: float) -> Array:
    """Logarithms of times from where nothing is learned to where everything is.

    The latter holds also for a scheme with a thousandth of its weight on the labels.
    """
    top = float(eigenvalues.max())
    slowest = float(eigenvalues[eigenvalues > 1e-10 * top].min())
    low, high = np.log(1e-3 / top), np.log(2e4 / slowest)
    return np.linspace(low, high, int(np.ceil(density * (high - low) / np.log(10.0))) + 1)


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """Gains of a scheme on the grid, one shape at a time."""

    what: Scheme
    eigenvalues: Array
    axes: list[Array]

    def blocks(self) -> Iterator[tuple[Array, Array]]:
        """Points and gains of one shape at all times."""
        for shape in product(*self.axes[1:]):
            points = np.empty((len(self.axes[0]), len(self.axes)))
            points[:, 0], points[:, 1:] = self.axes[0], shape
            yield points, self.what.gains(points, self.eigenvalues)

    def seeds(self, risks: Risks, count: int) -> Array:
        """Points to descend from, shape (risks, count, coordinates).

        First the points that are below all their neighbors, each value once (on the plateaus where
        a scheme is another in the limit there are many of one value); then the best of the others
        that are apart from those chosen.
        """
        from scipy.ndimage import minimum_filter

        points, scores = [], []
        for block, gains in self.blocks():
            points.append(block)
            scores.append(risks.of(gains))
        grid, score = np.concatenate(points), np.concatenate(scores)
        lengths = [len(axis) for axis in (*self.axes[1:], self.axes[0])]
        spacing = np.array([axis[1] - axis[0] if len(axis) > 1 else 1.0 for axis in self.axes])
        unit = grid / spacing
        chosen = np.empty((score.shape[1], count, grid.shape[1]))
        for column, values in enumerate(score.T):
            basin = values <= minimum_filter(values.reshape(lengths), 3, mode="nearest").ravel()
            lowest = np.flatnonzero(basin)[np.argsort(values[basin])]
            apart = np.diff(values[lowest], prepend=-np.inf) > 1e-9 * np.abs(values[lowest])
            picks = list(lowest[apart][:count])
            left = values.copy()
            for pick in picks:
                left[np.abs(unit - unit[pick]).max(axis=1) < 2.5] = np.inf
            while len(picks) < count:
                pick = int(np.argmin(left))
                left[np.abs(unit - unit[pick]).max(axis=1) < 2.5] = np.inf
                picks.append(pick)
            chosen[column] = grid[picks]
        return chosen


def _descend(
    what: Scheme,
    eigenvalues: Array,
    risks: Risks,
    which: NDArray[np.intp],
    points: Array,
    low: Array,
    high: Array,
) -> tuple[Array, Array]:
    """Levenberg-Marquardt from every row of ``points``, within the bounds."""
    points, damping = points.copy(), np.full(len(points), 1e-2)
    residual = risks.residual(what.gains(points, eigenvalues), which)
    cost = (residual**2).sum(axis=1)
    active = np.arange(len(points))
    for _ in range(_ROUNDS):
        if not active.size:
            break
        here, target, rest = points[active], which[active], residual[active]
        # difference quotients look inwards at the upper bound
        step = np.where(here + _STEP > high, -_STEP, _STEP)
        moved = here[:, None, :] + step[:, :, None] * np.eye(points.shape[1])
        gains = what.gains(moved.reshape(-1, points.shape[1]), eigenvalues)
        there = risks.residual(gains, np.repeat(target, points.shape[1]))
        there = there.reshape(*step.shape, -1)
        jacobian = np.swapaxes((there - rest[:, None]) / step[:, :, None], 1, 2)
        move = _step(jacobian, rest, damping[active], here, low, high)
        trial = np.clip(here + move, low, high)
        fresh = risks.residual(what.gains(trial, eigenvalues), target)
        new = (fresh**2).sum(axis=1)
        better = new < cost[active]
        gained = np.where(better, cost[active] - new, 0.0)
        scale = new + risks.floor[target]
        took = active[better]
        points[took], residual[took], cost[took] = trial[better], fresh[better], new[better]
        damping[active] = np.where(better, damping[active] / 5, damping[active] * 5)
        # a small gain of a heavily damped step does not mean that there is no more to gain
        settled = better & (gained <= _NEGLIGIBLE * scale) & (damping[active] < 1)
        done = settled | (damping[active] > 1e9)
        active = active[~done]
    return points, cost


def _step(
    jacobian: Array, residual: Array, damping: Array, here: Array, low: Array, high: Array
) -> Array:
    """Damped Gauss-Newton steps, at most 2 in each coordinate; coordinates at a bound rest."""
    gradient = np.einsum("bij,bi->bj", jacobian, residual)
    held = ((here <= low) & (gradient > 0)) | ((here >= high) & (gradient < 0))
    jacobian = np.where(held[:, None, :], 0.0, jacobian)
    gradient = np.where(held, 0.0, gradient)
    normal = np.einsum("bij,bik->bjk", jacobian, jacobian)
    diagonal = np.einsum("bjj->bj", normal)
    floor = 1e-12 * diagonal.max(axis=1, keepdims=True) + 1e-300
    ridge = damping[:, None] * diagonal + floor
    normal = normal + ridge[:, :, None] * np.eye(normal.shape[1])
    return np.clip(-np.linalg.solve(normal, gradient[..., None])[..., 0], -2.0, 2.0)
