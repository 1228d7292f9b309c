r"""The best time to stop: global minimum of the early-stopped risk, with proof.

The risk :math:`\sum_i c_i^2 e^{-2 \lambda_i t} + \sigma_i^2 (1 - e^{-\lambda_i t})^2` is not
unimodal in t: groups of directions that learn at different speeds each have their own best time.
The search is branch and bound with certified bounds on intervals of time, so that no minimum is
missed however narrow. All of it is written in

.. math:: x_i = \lambda_i t, \quad x_i^* = \ln(1 + c_i^2/\sigma_i^2), \quad
          S_i = c_i^2 + \sigma_i^2, \quad d_i = x_i^* - x_i,

where up to a constant

.. math::

    R   &= \sum_i S_i e^{-2 \min(x_i, x_i^*)} \phi(|d_i|)^2 \\
    R'  &= -2 \sum_i \lambda_i S_i e^{-x_i - \min(x_i, x_i^*)} \phi(|d_i|)
           \operatorname{sign} d_i \\
    R'' &= 2 \sum_i \lambda_i^2 S_i e^{-x_i - \min(x_i, x_i^*)}
           \begin{cases} 1 + \phi(d_i) & d_i \ge 0 \\ 1 - 2 \phi(-d_i) & d_i < 0 \end{cases}

Nothing there cancels, and as only signs and comparisons matter every sum is scaled by its own
largest term: eigenvalues and energies may span the range of floating point.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.flow.risk.modes import agree_in_modes, log_noise_ratio
from theory.numerics import LN2, phi, progress

_FIRST_INTERVALS = 24
_BLOCK = 1_000_000  # interval x mode entries evaluated at once
_ROUNDOFF = 32 * float(np.finfo(np.float64).eps)


def optimal_stopping_time(
    eigenvalues: ArrayLike, signal_energy: ArrayLike, noise_variance: ArrayLike
) -> Array:
    r"""The time at which plain gradient flow on noisy labels has the smallest risk of all times.

    .. math:: t^* = \arg\min_t \sum_i \bigl[c_i^2 e^{-2 \lambda_i t}
              + \sigma_i^2 (1 - e^{-\lambda_i t})^2\bigr]

    It is 0 where no direction that moves has signal, and inf where there is no noise. Of several
    global minima (equal to rounding) it is the earliest.

    Args:
        eigenvalues: :math:`\lambda_i \ge 0`, shape ``(..., modes)``, in any order.
        signal_energy: :math:`c_i^2`, shape ``(..., modes)``.
        noise_variance: :math:`\sigma^2`: a number, or an array that broadcasts against the modes.
            Weights on the modes are expressed by scaling energy and noise of a mode alike.

    Returns:
        One time for each problem: leading axes are problems, all solved at once.

    Raises:
        ValueError: On bad shapes or signs, or if only some of the directions with signal are free
            of noise.

    References:
        docs/flow.md, on dominance.

    Example:
        >>> best = optimal_stopping_time(
        ...     [1.0, 0.01], [5.0, 3.0], 1.0
        ... )  # a local minimum is at 2.039
        >>> round(float(best), 3)
        138.629
    """
    rate = checks.nonnegative("eigenvalues", eigenvalues)
    energy = checks.nonnegative("signal_energy", signal_energy)
    noise = checks.nonnegative("noise_variance", noise_variance)
    rate, energy, noise = agree_in_modes(
        eigenvalues=rate, signal_energy=energy, noise_variance=noise
    )
    shape = rate.shape[:-1]
    rate, energy, noise = (array.reshape(-1, rate.shape[-1]) for array in (rate, energy, noise))
    moving = (rate > 0) & (energy > 0)
    noisy = (rate > 0) & (noise > 0)
    noiseless = (moving & ~noisy).any(axis=1)
    if (noiseless & noisy.any(axis=1)).any():
        msg = (
            "noise_variance must be positive in every direction with signal or zero in all, "
            "got a mixture"
        )
        raise ValueError(msg)
    best = np.where(noiseless, np.inf, 0.0)
    open_ = moving.any(axis=1) & ~noiseless
    if open_.any():
        best[open_] = _search(_Problems.build(rate[open_], energy[open_], noise[open_]))
    return best.reshape(shape)[()]


@dataclass(frozen=True, slots=True)
class _Problems:
    """Several risks, one a row; modes that never move or weigh nothing have weight exp(-inf)."""

    rate: Array
    log_rate: Array
    progress: Array
    """x*, the progress at which each mode should be stopped."""
    log_total: Array
    """ln S."""
    mantissa: Array
    """rate x S = mantissa x 2^power, exactly but for one rounding."""
    power: np.ndarray
    first: Array
    """A time before which the risk falls."""
    last: Array
    """A time after which the risk rises."""

    @classmethod
    def build(cls, rate: Array, energy: Array, noise: Array) -> "_Problems":
        target = log_noise_ratio(energy, noise)
        with np.errstate(divide="ignore", over="ignore", under="ignore", invalid="ignore"):
            log_rate = np.log(rate)
            log_total = np.where(rate > 0, np.logaddexp(np.log(energy), np.log(noise)), -np.inf)
            stop = np.where(np.isfinite(log_total), target / rate, np.nan)
            # Each mode's risk falls before its own time and rises after it, so that every minimum
            # lies between the earliest and the latest of them.
            earliest, last = np.nanmin(stop, axis=1), np.nanmax(stop, axis=1)
            first = np.maximum(earliest, _falling_until(rate, log_rate, energy, noise))
        limits = np.finfo(np.float64)
        last = np.clip(last, limits.tiny, limits.max)
        first = np.clip(first, limits.tiny, last)
        return cls(rate, log_rate, target, log_total, *_split(rate, energy, noise), first, last)


def _split(rate: Array, energy: Array, noise: Array) -> tuple[Array, np.ndarray]:
    """Mantissa and binary exponent of rate x (energy + noise)."""
    mantissa, power = np.frexp(0.5 * energy + 0.5 * noise)
    part, more = np.frexp(rate)
    mantissa = mantissa * part
    # a mode that weighs nothing must not set the scale
    return mantissa, np.where(mantissa > 0, power + more + 1, -(10**6))


def _falling_until(rate: Array, log_rate: Array, energy: Array, noise: Array) -> Array:
    r"""A positive time before which the risk falls, for the earliest mode time may be 0.

    While :math:`t \le 1/(2\lambda_1)`, :math:`R'/2 \le t \sum \sigma^2 \lambda^2
    - e^{-1} \sum c^2 \lambda`, and the right side is negative for
    :math:`t < \sum c^2 \lambda / (e \sum \sigma^2 \lambda^2)`.
    """
    gain = _log_sum(np.log(energy) + log_rate)
    cost = _log_sum(np.log(noise) + 2 * log_rate)
    crossing = np.exp(gain - cost - 1.0)
    return np.asarray(np.minimum(0.5 / rate.max(axis=1), crossing))


def _log_sum(logs: Array) -> Array:
    """Ln of the sum of exponentials along the last axis."""
    top = logs.max(axis=-1, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore", under="ignore"):
        return np.asarray(np.log(np.exp(logs - top).sum(axis=-1)) + top[..., 0])


@dataclass(frozen=True, slots=True)
class _Ends:
    """What the modes do at given times, one row a time."""

    x: Array
    low: Array
    """min(x, x*)."""
    learned: Array
    """phi(|x* - x|)."""
    before: np.ndarray
    """x < x*: the mode still gains."""

    @classmethod
    def at(cls, rate: Array, target: Array, time: Array) -> "_Ends":
        x = progress(rate, time[:, None])
        return cls(x, np.minimum(x, target), phi(np.abs(target - x)), x < target)

    def curvature(self) -> Array:
        return np.where(self.before, 1.0 + self.learned, 1.0 - 2.0 * self.learned)

    def slope(self) -> Array:
        return np.where(self.before, -self.learned, self.learned)

    def noise(self) -> Array:
        """Round-off of the slope: that of x* - x, relative to the larger of the two."""
        return _ROUNDOFF * (self.learned + np.minimum(np.maximum(self.x, self.low), 1e3))


def _weights(logs: Array, *exponents: Array) -> list[Array]:
    """exp(logs - exponent) for each exponent, a common scale for each row."""
    shifted = [logs - exponent for exponent in exponents]
    top = np.max([rows.max(axis=1) for rows in shifted], axis=0)
    top = np.where(np.isfinite(top), top, 0.0)[:, None]
    with np.errstate(under="ignore"):
        return [np.exp(rows - top) for rows in shifted]


def _log_risk(log_total: Array, at: _Ends) -> Array:
    with np.errstate(divide="ignore"):
        return _log_sum(log_total - 2 * at.low + 2 * np.log(at.learned))


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Certified facts about the risk on intervals, one row an interval."""

    least: Array
    """ln of a lower bound of the risk."""
    reached: Array
    """ln of the risk at the better of both ends."""
    monotone: np.ndarray
    """The risk surely rises throughout, or falls."""
    convex: np.ndarray
    bracketed: np.ndarray
    """The risk falls at the left end and rises at the right."""


def _bounds(problems: _Problems, row: np.ndarray, left: Array, right: Array) -> _Bounds:
    rate, target, log_total = problems.rate[row], problems.progress[row], problems.log_total[row]
    a, b = _Ends.at(rate, target, left), _Ends.at(rate, target, right)

    # The risk of a mode on the interval is least at the point nearest to its own best time.
    with np.errstate(divide="ignore"):
        nearest = np.where(b.before, 2 * np.log(b.learned) - 2 * b.x, -np.inf)
        nearest = np.where(a.x > target, 2 * np.log(a.learned) - 2 * target, nearest)
    least = _log_sum(log_total + nearest)
    reached = np.minimum(_log_risk(log_total, a), _log_risk(log_total, b))

    # A mode's slope rises from x = 0 to a maximum S p*^2 / 4 at x* + ln 2, and then falls to 0.
    log_slope = problems.log_rate[row] + log_total
    inside = (a.x <= target + LN2) & (target + LN2 <= b.x)
    crest = np.where(inside, 2 * target + 2 * LN2, np.inf)
    at_a, at_b, top = _weights(log_slope, a.x + a.low, b.x + b.low, crest)
    slope_a, slope_b = at_a * a.slope(), at_b * b.slope()
    highest = np.where(inside, top, np.maximum(slope_a, slope_b))
    noise_a, noise_b = (at_a * a.noise()).sum(axis=1), (at_b * b.noise()).sum(axis=1)
    rising = np.minimum(slope_a, slope_b).sum(axis=1) > noise_a + noise_b
    falling = highest.sum(axis=1) < -noise_a - noise_b
    bracketed = (slope_a.sum(axis=1) <= noise_a) & (slope_b.sum(axis=1) >= -noise_b)

    # Its curvature falls from x = 0 to a minimum -S p*^2 / 8 at x* + 2 ln 2, and then rises to 0.
    log_curve = problems.log_rate[row] + log_slope
    inside = (a.x <= target + 2 * LN2) & (target + 2 * LN2 <= b.x)
    trough = np.where(inside, 2 * target + 3 * LN2, np.inf)
    at_a, at_b, bottom = _weights(log_curve, a.x + a.low, b.x + b.low, trough)
    curve = np.where(inside, -bottom, np.minimum(at_a * a.curvature(), at_b * b.curvature()))
    convex = curve.sum(axis=1) > _ROUNDOFF * (at_a + at_b).sum(axis=1)
    return _Bounds(least, reached, rising | falling, convex, bracketed)


def _at_most(logs: Array, limit: Array) -> np.ndarray:
    """Not above the limit, up to round-off of logarithms."""
    slack = np.where(np.isfinite(limit), _ROUNDOFF * (1.0 + np.abs(limit)), 0.0)
    return np.asarray(logs <= limit + slack)


def _in_blocks(problems: _Problems, row: np.ndarray, left: Array, right: Array) -> _Bounds:
    """``_bounds`` in bounded memory."""
    size = max(1, _BLOCK // problems.rate.shape[1])
    parts = [
        _bounds(problems, row[i : i + size], left[i : i + size], right[i : i + size])
        for i in range(0, len(row), size)
    ]
    names = ("least", "reached", "monotone", "convex", "bracketed")
    return _Bounds(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _search(problems: _Problems) -> Array:
    """Branch and bound: halve the intervals that can still hold the global minimum."""
    share = np.linspace(0.0, 1.0, _FIRST_INTERVALS + 1)
    log_first, log_last = np.log(problems.first), np.log(problems.last)
    knots = np.exp(log_first[:, None] + (log_last - log_first)[:, None] * share)
    knots[:, 0], knots[:, -1] = problems.first, problems.last
    knots = np.clip(knots, problems.first[:, None], problems.last[:, None])
    row = np.repeat(np.arange(len(knots)), _FIRST_INTERVALS)
    left, right = knots[:, :-1].ravel(), knots[:, 1:].ravel()

    best = np.full(len(knots), np.inf)
    found: list[tuple[np.ndarray, Array, Array]] = []
    while len(row):
        bounds = _in_blocks(problems, row, left, right)
        np.minimum.at(best, row, bounds.reached)
        keep = _at_most(bounds.least, best[row]) & ~bounds.monotone
        solved = keep & bounds.convex & bounds.bracketed
        narrow = keep & ~bounds.convex & (right - left <= _ROUNDOFF * right)
        done = solved | narrow
        found.append((row[done], left[done], right[done]))
        split = keep & ~bounds.convex & ~narrow
        row, left, right = row[split], left[split], right[split]
        middle = np.clip(np.sqrt(left) * np.sqrt(right), left, right)
        row = np.concatenate([row, row])
        left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
    rows, lefts, rights = (np.concatenate(part) for part in zip(*found, strict=True))
    return _choose(problems, rows, _stationary(problems, rows, lefts, rights))


def _stationary(problems: _Problems, row: np.ndarray, left: Array, right: Array) -> Array:
    """Root of the slope in each bracket: Newton's method, with bisection where it leaves it."""
    left, right = left.copy(), right.copy()
    rate, target = problems.rate[row], problems.progress[row]
    mantissa, power = problems.mantissa[row], problems.power[row]
    time: Array = np.clip(np.sqrt(left) * np.sqrt(right), left, right)
    for _ in range(100):
        at = _Ends.at(rate, target, time)
        weight = _exact_weights(mantissa, power, at.x + at.low)
        slope = (weight * at.slope()).sum(axis=1)
        left, right = np.where(slope <= 0, time, left), np.where(slope >= 0, time, right)
        with np.errstate(all="ignore"):
            # lambda t stays in range where lambda alone would not
            step = slope / (weight * np.minimum(at.x, 1e6) * at.curvature()).sum(axis=1)
            new = time * (1.0 - step)
        outside = ~((left <= new) & (new <= right))
        new = np.where(outside, np.clip(np.sqrt(left) * np.sqrt(right), left, right), new)
        settled = np.abs(new - time) <= 2e-16 * time
        time = new
        if settled.all():
            break
    return time


def _exact_weights(mantissa: Array, power: np.ndarray, exponent: Array) -> Array:
    """Mantissa x 2^power x exp(-exponent), a common scale for each row.

    Powers of two are summed as integers: logarithms of rates and energies far from 1 would cost
    digits.
    """
    exponent = np.minimum(exponent, 1e6)
    twos = np.rint(exponent / LN2)
    power = power - twos.astype(np.int64)
    power = np.clip(power - power.max(axis=1, keepdims=True), -2000, 0)
    with np.errstate(under="ignore"):
        scaled: Array = np.ldexp(mantissa * np.exp(twos * LN2 - exponent), power)
        return scaled


def _choose(problems: _Problems, row: np.ndarray, time: Array) -> Array:
    """Of the stationary times of each problem the one of least risk; ties go to the earliest."""
    at = _Ends.at(problems.rate[row], problems.progress[row], time)
    risk = _log_risk(problems.log_total[row], at)
    best = np.full(len(problems.first), np.inf)
    np.minimum.at(best, row, risk)
    tied = _at_most(risk, best[row])
    chosen = np.full(len(best), np.inf)
    np.minimum.at(chosen, row[tied], time[tied])
    return chosen
