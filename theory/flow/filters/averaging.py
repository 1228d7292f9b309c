"""Schemes that learn from an average of their own or their teacher's past."""

from dataclasses import dataclass

import numpy as np

from theory import checks
from theory.checks import Array
from theory.flow.filters.base import (
    Composed,
    Filter,
    Product,
    affine_power,
    decay,
    log,
    log_of_shortfall,
    matrix_power,
    put,
)
from theory.flow.filters.flow import GradientFlow
from theory.numerics import h, phi, progress
from theory.statements import states

SERIES_TERMS = 22
# above so many intervals a power of the companion matrix is faster than the recursion
LONG = 256


def _rate_of_average(rate: float) -> float:
    value = checks.scalar("rate", rate, infinite=True)
    checks.nonnegative("rate", value, infinite=True)
    return value


@states(
    "flow:trajectory-average-symmetric",
    "The gain of the averaged trajectory is symmetric in the eigenvalue and the averaging rate.",
    source="Ren 2022, Algorithm 1, as a flow",
)
@dataclass(frozen=True)
class TrajectoryAverage(Filter):
    r"""The exponential moving average of outputs along training, Filter-KD's labels: row 7.

    With :math:`\dot q = a (z - q)`, :math:`q(0) = z(0)`, along gradient flow z to time T:

    .. math:: g = 1 - \frac{a e^{-\lambda T} - \lambda e^{-a T}}{a - \lambda}

    and :math:`1 - e^{-\lambda T}(1 + \lambda T)` at :math:`a = \lambda`. A mixture of
    early-stopped models, so it weakens the bias of gradient flow; it never exceeds
    :math:`1 - e^{-a T}`. For models linear in their parameters it is also the average of the
    parameters. Source: Ren 2022, Algorithm 1.

    Example:
        >>> TrajectoryAverage(1.0, 2.0).gain([0.5, 1.0, 1e3])
        array([0.4  , 0.594, 0.865])
    """

    rate: float
    """Averaging rate a >= 0; ``inf`` follows the outputs at once."""
    time: float
    """Training time T of the averaged model."""

    def __post_init__(self) -> None:
        put(self, rate=_rate_of_average(self.rate), time=checks.time("time", self.time))

    def _parts(self, lam: Array) -> tuple[Array, Array, Array]:
        """Smaller and larger of lambda T and a T, and their distance without cancellation."""
        flow, memory = progress(lam, self.time), float(progress(self.rate, self.time))
        small, large = np.minimum(flow, memory), np.maximum(flow, memory)
        return small, large, progress(np.abs(lam - self.rate), self.time)

    def _gain(self, lam: Array) -> Array:
        small, large, distance = self._parts(lam)
        with np.errstate(invalid="ignore"):
            # m e^{-m} h(M - m), without inf * 0 where both are infinite
            tail = np.minimum(small, 800.0) * decay(small) * h(distance)
            middle = small * (h(small) - decay(small) * h(distance))
        gain = np.where(small < 1, middle, phi(small) - tail)
        near = large < 1
        if near.any():
            gain[near] = small[near] * large[near] * _series(small[near], large[near])
        return gain

    def _shortfall(self, lam: Array) -> Array:
        small, _, distance = self._parts(lam)
        return decay(small) * (1.0 + np.minimum(small, 800.0) * h(distance))

    def _log_shortfall(self, lam: Array) -> Array:
        small, _, distance = self._parts(lam)
        with np.errstate(invalid="ignore"):
            overhang = np.where(np.isinf(small), 0.0, small * h(distance))
        return log_of_shortfall(self._gain(lam), -small + np.log1p(overhang))

    def _rate(self, lam: Array) -> Array:
        memory = float(progress(self.rate, self.time))
        if memory == 0:
            return np.zeros_like(lam)
        small, large, distance = self._parts(lam)
        with np.errstate(divide="ignore", invalid="ignore"):
            # the time where the flow is the slower of the two: the gain may underflow there
            slow = self.time * (h(small) - decay(small) * h(distance))
            rate = np.where((small < 1) & (small < memory), slow, self._gain(lam) / lam)
        near = large < 1
        if near.any():
            rate[near] = self.time * (memory * _series(small[near], large[near]))
        return np.where((lam == 0) & np.isinf(self.time), np.inf, rate)


def _series(small: Array, large: Array) -> Array:
    """The sum over n of (-1)^n H_n(m, M) / (n + 2)!, H_n complete homogeneous, for M < 1."""
    homogeneous, power = np.ones_like(small), np.ones_like(small)
    factorial, total = 2.0, np.full_like(small, 0.5)
    for n in range(1, SERIES_TERMS):
        power = power * small
        homogeneous = large * homogeneous + power
        factorial *= n + 2
        total += homogeneous * ((-1) ** n / factorial)
    return total


@dataclass(frozen=True)
class FilterKD(Composed):
    r"""A student of the averaged outputs of its teacher's training (Filter-KD): row 8.

    .. math:: g = \phi(\lambda s) \, E(\lambda, a, T)

    with E the gain of :class:`TrajectoryAverage`. Its effective time rises with the eigenvalue
    up to a peak and falls beyond it. Source: Ren 2022, Algorithm 1.

    Example:
        >>> FilterKD(2.0, 1.0, 2.0).gain([0.5, 1.0])
        array([0.253, 0.514])
    """

    student_time: float
    """Stopping time s of the student."""
    rate: float
    """Averaging rate a >= 0."""
    teacher_time: float
    """Training time T of the averaged teacher."""

    def __post_init__(self) -> None:
        put(
            self,
            student_time=checks.time("student_time", self.student_time),
            rate=_rate_of_average(self.rate),
            teacher_time=checks.time("teacher_time", self.teacher_time),
        )

    @property
    def form(self) -> Filter:
        """Flow on the averaged outputs."""
        average = TrajectoryAverage(self.rate, self.teacher_time)
        return Product((GradientFlow(self.student_time), average))


@dataclass(frozen=True)
class MeanTeacher(Filter):
    r"""A student of the labels and of the moving average of itself, online: row 13.

    .. math::

        \dot z = \lambda (\alpha y + (1 - \alpha) q - z), \quad \dot q = a (z - q), \qquad
        g = p_1 \phi(r_1 t) + p_2 \phi(r_2 t)

    with :math:`r_{1,2} = \tfrac12 \big(\lambda + a \mp \sqrt{(\lambda - a)^2 + 4 (1 - \alpha) a
    \lambda}\big)`, :math:`p_1 = (r_2 - \alpha \lambda) / (r_2 - r_1)` and
    :math:`p_2 = 1 - p_1`. Settles at the labels; weakens the bias of gradient flow
    (numerical). Source: Ren 2022, appendix I, as an online scheme.

    Example:
        >>> MeanTeacher(1.0, 2.0, 0.5).gain([0.5, 1.0])
        array([0.34965887, 0.5200358 ])
    """

    rate: float
    """Averaging rate a >= 0; 0 never moves the teacher, ``inf`` makes it the student itself."""
    time: float
    """Training time t."""
    label_weight: float
    r"""Weight :math:`\alpha` of the labels, in [0, 1]."""

    def __post_init__(self) -> None:
        put(
            self,
            rate=_rate_of_average(self.rate),
            time=checks.time("time", self.time),
            label_weight=checks.fraction("label_weight", self.label_weight),
        )

    def _limit(self) -> Filter | None:
        """The flow that an extreme weight or rate leaves."""
        if self.label_weight == 1:
            return GradientFlow(self.time)
        if np.isinf(self.rate):
            return GradientFlow(float(progress(self.label_weight, self.time)))
        return None

    def _modes(self, lam: Array) -> tuple[Array, Array, Array, Array]:
        """r1 / lambda, r2, p1 and p2 / lambda: all sums of positive terms."""
        a, weight = self.rate, self.label_weight
        gap = np.hypot(lam - a, 2.0 * np.sqrt(1.0 - weight) * np.sqrt(a) * np.sqrt(lam))
        idle = gap == 0  # only at lambda = a = 0, where nothing moves
        gap = np.where(idle, 1.0, gap)
        r2 = np.maximum(0.5 * lam + 0.5 * a + 0.5 * gap, np.finfo(float).tiny)
        cross = 2.0 * (1.0 - weight) * (a / r2)  # times lambda r2: 2 (1 - alpha) a lambda
        with np.errstate(invalid="ignore", divide="ignore"):
            # r2 - a and r2 - lambda: half of a sum, or the product of the roots over it
            above_a = np.where(
                lam >= a, 0.5 * ((lam - a) + gap), cross * lam * (r2 / (gap + (a - lam)))
            )
            above_lam = np.where(
                lam <= a, 0.5 * ((a - lam) + gap), cross * lam * (r2 / (gap + (lam - a)))
            )
        p1 = (above_lam + (1.0 - weight) * lam) / gap
        p2_rate = weight * (above_a / r2) / gap
        return weight * (a / r2), r2, np.where(idle, 1.0, p1), np.where(idle, 0.0, p2_rate)

    def _gain(self, lam: Array) -> Array:
        if (limit := self._limit()) is not None:
            return limit._gain(lam)
        r1_rate, r2, p1, p2_rate = self._modes(lam)
        slow = phi(progress(r1_rate * lam, self.time))
        return p1 * slow + p2_rate * lam * phi(progress(r2, self.time))

    def _shortfall(self, lam: Array) -> Array:
        if (limit := self._limit()) is not None:
            return limit._shortfall(lam)
        r1_rate, r2, p1, p2_rate = self._modes(lam)
        slow = decay(progress(r1_rate * lam, self.time))
        return p1 * slow + p2_rate * lam * decay(progress(r2, self.time))

    def _log_shortfall(self, lam: Array) -> Array:
        if (limit := self._limit()) is not None:
            return limit._log_shortfall(lam)
        r1_rate, r2, p1, p2_rate = self._modes(lam)
        slow = log(p1) - progress(r1_rate * lam, self.time)
        large = np.logaddexp(slow, log(p2_rate * lam) - progress(r2, self.time))
        return log_of_shortfall(self._gain(lam), large)

    def _rate(self, lam: Array) -> Array:
        if (limit := self._limit()) is not None:
            return limit._rate(lam)
        r1_rate, r2, p1, p2_rate = self._modes(lam)
        slow = GradientFlow(self.time)._rate(r1_rate * lam)
        with np.errstate(invalid="ignore"):
            slow = np.where(r1_rate == 0, 0.0, r1_rate * slow)
        return p1 * slow + p2_rate * phi(progress(r2, self.time))


@states(
    "flow:memory-replay-brakes",
    "Replaying memories keeps the gain between that of the flow with the weight of the labels "
    "alone and that of the flow; more copies brake more.",
    source="Wang 2020, Algorithm 1 (MrKD), in the linear model",
)
@dataclass(frozen=True)
class MemoryReplay(Filter):
    r"""Labels and the mean of n stored copies of the past self, MrKD: row 12.

    Every interval :math:`\kappa` the oldest copy is replaced by the present network; all start
    as the initial one. With the error :math:`e = 1 - g` and
    :math:`\rho = e^{-\lambda \kappa}`, after m whole intervals and a rest r:

    .. math::

        e_{m+1} = \rho e_m + \alpha (1 - \rho) \tfrac1n \sum_{i<n} e_{m-i}, \qquad
        e(t) = e^{-\lambda r} e_m + \alpha \phi(\lambda r) \tfrac1n \sum_{i<n} e_{m-i}

    with :math:`e_j = 1` for :math:`j \le 0`. It settles at the labels for every
    :math:`\alpha < 1`: a brake, no lasting regularization, strongest along top directions.
    Source: Wang 2020, eq. 14 and Algorithm 1.

    Example:
        >>> MemoryReplay(1.0, 2.5, 0.5).gain([0.5, 1.0])
        array([0.426, 0.624])
    """

    interval: float
    r"""Time :math:`\kappa > 0` between copies."""
    time: float
    """Training time t."""
    copy_weight: float
    r"""Weight :math:`\alpha` of the copies, in [0, 1]."""
    copies: int = 1
    """Number n of copies."""

    def __post_init__(self) -> None:
        interval = checks.scalar("interval", self.interval, infinite=True)
        checks.positive("interval", interval, infinite=True)
        put(
            self,
            interval=interval,
            time=checks.time("time", self.time),
            copy_weight=checks.fraction("copy_weight", self.copy_weight),
            copies=checks.count("copies", self.copies, minimum=1),
        )

    def _limit(self) -> Filter | None:
        """The flow that no copies, or endless training, leaves."""
        if self.copy_weight == 0:
            return GradientFlow(self.time)
        if np.isinf(self.time) and np.isfinite(self.interval):
            # the errors shrink in every interval unless nothing pulls to the labels
            return GradientFlow(np.inf if self.copy_weight < 1 else 0.0)
        return None

    def _phases(self) -> tuple[int, float]:
        """Whole intervals and the rest of the time after them."""
        if self.time < self.interval or np.isinf(self.interval):
            return 0, self.time
        rest = float(np.fmod(self.time, self.interval))  # exact, unlike a floor of the quotient
        return round((self.time - rest) / self.interval), rest

    def _gain(self, lam: Array) -> Array:
        if (limit := self._limit()) is not None:
            return limit._gain(lam)
        if self.copies == 1:
            return -np.expm1(self._log_error(lam))
        return self._learned(lam, per_eigenvalue=False)

    def _shortfall(self, lam: Array) -> Array:
        if (limit := self._limit()) is not None:
            return limit._shortfall(lam)
        return np.exp(self._log_error(lam))

    def _log_shortfall(self, lam: Array) -> Array:
        if (limit := self._limit()) is not None:
            return limit._log_shortfall(lam)
        return log_of_shortfall(self._gain(lam), self._log_error(lam))

    def _rate(self, lam: Array) -> Array:
        if (limit := self._limit()) is not None:
            return limit._rate(lam)
        return self._learned(lam, per_eigenvalue=True)

    def _log_error(self, lam: Array) -> Array:
        intervals, rest = self._phases()
        alpha = self.copy_weight
        x, y = progress(lam, self.interval), progress(lam, rest)
        if self.copies == 1:
            last = _log_kept(y, alpha)
            return intervals * _log_kept(x, alpha) + last if intervals else last
        # companion matrix of the errors, latest first: all entries >= 0, so nothing cancels
        step = np.zeros((self.copies, self.copies, lam.size))
        step[0] = alpha / self.copies * phi(x)
        step[0, 0] += decay(x)
        step[range(1, self.copies), range(self.copies - 1)] = 1.0
        power, scale = matrix_power(step, intervals)
        errors = power.sum(axis=1)  # from e = 1 at all earlier times
        last = decay(y) * errors[0] + alpha * phi(y) * errors.mean(axis=0)
        return log(last) + scale

    def _learned(self, lam: Array, *, per_eigenvalue: bool) -> Array:
        """The gain, or the gain over the eigenvalue, by a recursion of positive terms."""
        intervals, rest = self._phases()
        if intervals > LONG:
            return self._learned_by_powers(lam, intervals, rest, per_eigenvalue=per_eigenvalue)
        past = [np.zeros_like(lam) for _ in range(self.copies)]
        gain = past[0]
        for time, count in ((self.interval, intervals), (rest, 1)):
            kept, fraction, unit = self._step(lam, time, per_eigenvalue=per_eigenvalue)
            for _ in range(count):
                memory = sum(past[1:], past[0]) * (unit * (self.copy_weight / self.copies))
                gain = kept * past[0] + fraction * ((1.0 - self.copy_weight) + memory)
                past = [gain, *past[:-1]]
        return gain

    def _step(
        self, lam: Array, time: float, *, per_eigenvalue: bool
    ) -> tuple[Array, Array, Array | float]:
        """What a time leaves of the gain, what it adds at most, and the unit of the gain."""
        x = progress(lam, time)
        if per_eigenvalue:
            return decay(x), GradientFlow(time)._rate(lam), lam
        return decay(x), phi(x), 1.0

    def _learned_by_powers(
        self, lam: Array, intervals: int, rest: float, *, per_eigenvalue: bool
    ) -> Array:
        kept, fraction, unit = self._step(lam, self.interval, per_eigenvalue=per_eigenvalue)
        step = np.zeros((self.copies, self.copies, lam.size))
        step[0] = fraction * unit * (self.copy_weight / self.copies)
        step[0, 0] += kept
        step[range(1, self.copies), range(self.copies - 1)] = 1.0
        push = np.zeros((self.copies, lam.size))
        push[0] = fraction * (1.0 - self.copy_weight)
        past = affine_power(step, push, intervals)
        kept, fraction, unit = self._step(lam, rest, per_eigenvalue=per_eigenvalue)
        memory = past.mean(axis=0) * unit * self.copy_weight
        return np.asarray(kept * past[0] + fraction * ((1.0 - self.copy_weight) + memory))


def _log_kept(x: Array, weight: float) -> Array:
    """ln(1 - (1 - weight) phi(x)): what a progress of x leaves of the error, beside one copy."""
    learned = phi(x)
    return log_of_shortfall((1.0 - weight) * learned, log(decay(x) + weight * learned))
