"""Schemes that learn from an average of their own or their teacher's past."""

from dataclasses import dataclass

import numpy as np

from theory import checks
from theory.checks import Array
from theory.flow.filters.base import (
    Composed,
    Filter,
    Product,
    decay,
    log,
    log_of_shortfall,
    put,
)
from theory.flow.filters.flow import GradientFlow
from theory.numerics import h, phi, progress
from theory.statements import states

SERIES_TERMS = 22


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
            return GradientFlow(self._clock)
        return None

    def _modes(self, lam: Array) -> tuple[Array, Array, Array, Array, Array]:
        """r1 t, r2, p1, p2 and p2 / lambda: all sums of positive terms."""
        a, weight = self.rate, self.label_weight
        gap = np.hypot(lam - a, 2.0 * np.sqrt(1.0 - weight) * np.sqrt(a) * np.sqrt(lam))
        idle = gap == 0  # only at lambda = a = 0, where nothing moves
        gap = np.where(idle, 1.0, gap)
        r2 = np.maximum(0.5 * lam + 0.5 * a + 0.5 * gap, np.finfo(float).tiny)
        cross = (1.0 - weight) * (a / r2)  # times lambda r2: (1 - alpha) a lambda
        behind, ahead = 0.5 * gap + 0.5 * (a - lam), 0.5 * gap + 0.5 * (lam - a)
        with np.errstate(invalid="ignore", divide="ignore"):
            # (r2 - a) / r2 and (r2 - lambda) / gap: half of a sum, or the product of the roots
            above_a = np.where(lam >= a, ahead / r2, cross * (lam / behind))
            above_lam = np.where(lam <= a, behind / gap, cross * (lam / ahead) * (r2 / gap))
        p1 = above_lam + (1.0 - weight) * (lam / gap)
        p2 = weight * above_a * (lam / gap)
        r1 = a * (lam / r2)  # over alpha, which may be too small to take part before the time
        slow = progress(weight, progress(r1, self.time))
        slow = np.where(np.isinf(slow), progress(r1, self._clock), slow)
        return slow, r2, np.where(idle, 1.0, p1), p2, np.where(idle, 0.0, weight * above_a / gap)

    @property
    def _clock(self) -> float:
        """The training time of a student whose teacher is itself: alpha t."""
        return float(progress(self.label_weight, self.time))

    def _gain(self, lam: Array) -> Array:
        if (limit := self._limit()) is not None:
            return limit._gain(lam)
        slow, r2, p1, p2, _ = self._modes(lam)
        return p1 * phi(slow) + p2 * phi(progress(r2, self.time))

    def _shortfall(self, lam: Array) -> Array:
        if (limit := self._limit()) is not None:
            return limit._shortfall(lam)
        slow, r2, p1, p2, _ = self._modes(lam)
        return p1 * decay(slow) + p2 * decay(progress(r2, self.time))

    def _log_shortfall(self, lam: Array) -> Array:
        if (limit := self._limit()) is not None:
            return limit._log_shortfall(lam)
        slow, r2, p1, p2, _ = self._modes(lam)
        large = np.logaddexp(log(p1) - slow, log(p2) - progress(r2, self.time))
        return log_of_shortfall(self._gain(lam), large)

    def _rate(self, lam: Array) -> Array:
        if (limit := self._limit()) is not None:
            return limit._rate(lam)
        slow, r2, p1, _, p2_rate = self._modes(lam)
        with np.errstate(divide="ignore", invalid="ignore"):
            # r1 t / lambda where r1 t itself underflows
            tiny = progress(self.label_weight, progress(self.time, self.rate / r2))
            rate = np.where(slow > 1e-290, phi(slow) / lam, tiny)
        return p1 * rate + p2_rate * phi(progress(r2, self.time))
