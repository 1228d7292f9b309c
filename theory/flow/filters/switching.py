"""Labels first and then the teacher, or the other way round, at once or over a window."""

from dataclasses import dataclass
from math import fsum

import numpy as np

from theory import checks
from theory.checks import Array
from theory.flow.filters.base import (
    Composed,
    Filter,
    Parallel,
    Product,
    decay,
    log,
    log_of_shortfall,
    put,
)
from theory.flow.filters.flow import GradientFlow
from theory.numerics import h, phi, progress
from theory.statements import states

SERIES_TERMS = 20


@dataclass(frozen=True)
class _Switch(Composed):
    """Fields and checks of both switches."""

    switch_time: float
    """Time s at which the switch begins."""
    time: float
    """Training time t of the student."""
    teacher_time: float
    """Stopping time T of the teacher."""
    window: float = 0.0
    """Length w of the linear change from one loss to the other; 0 for an abrupt switch."""

    def __post_init__(self) -> None:
        window = checks.scalar("window", self.window)
        checks.nonnegative("window", window)
        put(
            self,
            switch_time=checks.time("switch_time", self.switch_time),
            time=checks.time("time", self.time),
            teacher_time=checks.time("teacher_time", self.teacher_time),
            window=window,
        )

    @property
    def _student(self) -> Filter:
        return Product((GradientFlow(self.time), GradientFlow(self.teacher_time)))


@dataclass(frozen=True)
class DistillThenLabels(_Switch):
    r"""Distillation until a switch, labels after it: rows 9 and 11.

    .. math:: g = 1 - e^{-\lambda (t - s)} (1 - \phi(\lambda s) \phi(\lambda T))

    With a window the weight of the teacher falls linearly from 1 at s to 0 at s + w, and
    :math:`g = \phi(\lambda t) - e^{-\lambda T} I`, with I the integral of the teacher's weight
    against :math:`\lambda e^{-\lambda (t - u)}`. An abrupt switch exaggerates at every
    parameter; a window does so only if :math:`T \ge s + w`. Source: Nagarajan 2023, section
    5.2 and appendix E.

    Example:
        >>> DistillThenLabels(1.0, 2.0, 3.0).gain([0.5, 1.0])
        array([0.579, 0.853])
    """

    @property
    def form(self) -> Filter:
        """Two phases in turn, or the ramp."""
        if self.time <= self.switch_time:
            return self._student
        if self.window > 0:
            return _Ramp(
                self.switch_time, self.time, self.teacher_time, self.window, teacher_first=True
            )
        teacher = GradientFlow(self.teacher_time)
        first = Product((GradientFlow(self.switch_time), teacher))
        return Parallel(GradientFlow(self.time - self.switch_time), first)


@states(
    "flow:switch-to-own-past",
    "A student that switches from labels to the outputs of a teacher stopped at the switch "
    "stays where it is.",
    source="Nagarajan 2023, section 5.2, in the linear model",
)
@dataclass(frozen=True)
class LabelsThenDistill(_Switch):
    r"""Labels until a switch, distillation after it: row 10.

    .. math:: g = \phi(\lambda t) - \phi(\lambda (t - s)) e^{-\lambda T}

    Exaggerates if the teacher trained beyond the switch (:math:`T > s`), does nothing after the
    switch if :math:`T = s`, and weakens if :math:`T < s`. With a window the weight of the
    teacher rises linearly from 0 at s to 1 at s + w. Source: Nagarajan 2023, section 5.2 and
    appendix E.

    Example:
        >>> LabelsThenDistill(1.0, 2.0, 3.0).gain([0.5, 1.0])
        array([0.544, 0.833])
    """

    @property
    def form(self) -> Filter:
        """Two phases in turn, or the ramp."""
        if self.time <= self.switch_time:
            return GradientFlow(self.time)
        if self.window > 0:
            return _Ramp(
                self.switch_time, self.time, self.teacher_time, self.window, teacher_first=False
            )
        after = self.time - self.switch_time
        if self.teacher_time >= self.switch_time:
            ahead = GradientFlow(self.teacher_time - self.switch_time)
            second = Product((GradientFlow(after), ahead))
            return Parallel(GradientFlow(self.switch_time), second)
        kept = _Delayed(after, self.switch_time - self.teacher_time)
        return Parallel(GradientFlow(self.teacher_time), kept)


@dataclass(frozen=True)
class _Delayed(Filter):
    """What a flow of length ``length`` has learned and then lost to zero labels for ``delay``."""

    delay: float
    length: float

    def _gain(self, lam: Array) -> Array:
        return decay(progress(lam, self.delay)) * phi(progress(lam, self.length))

    def _shortfall(self, lam: Array) -> Array:
        x = progress(lam, self.delay)
        return phi(x) + decay(x) * decay(progress(lam, self.length))

    def _log_shortfall(self, lam: Array) -> Array:
        # the shortfall exceeds phi of the delay and e^{-length}: it underflows only if both do
        x, y = progress(lam, self.delay), progress(lam, self.length)
        return log_of_shortfall(self._gain(lam), np.logaddexp(log(phi(x)), -x - y))

    def _rate(self, lam: Array) -> Array:
        if np.isinf(self.delay):  # all is lost, at eigenvalue zero in the limit
            return np.zeros_like(lam)
        return decay(progress(lam, self.delay)) * GradientFlow(self.length)._rate(lam)


@dataclass(frozen=True)
class _Ramp(Filter):
    r"""A linear change between labels and teacher, from s to s + w, seen at time t > s.

    The teacher's share of what is remembered at t, :math:`\int \lambda e^{-\lambda (t - u)}
    k(u)\,du` for its weight k, and the labels' share, for 1 - k, are sums of positive terms; then

    .. math:: g = \text{labels} + \phi(\lambda T)\,\text{teacher}, \qquad
              1 - g = e^{-\lambda t} + e^{-\lambda T}\,\text{teacher}
    """

    switch_time: float
    time: float
    teacher_time: float
    window: float
    teacher_first: bool

    def _early_and_late(self, lam: Array, *, per_eigenvalue: bool) -> tuple[Array, Array, Array]:
        """Shares of the losses before and after the change, or these over lambda.

        The early one is given without its factor e^{-lambda d}, d the time since the change
        ended; that decay follows.
        """
        ramp = min(self.time - self.switch_time, self.window)
        since = self._since
        done, undone = ramp / self.window, max(-self._past, 0.0) / self.window
        x, rest = progress(lam, ramp), decay(progress(lam, since))
        rise, fall = _ramp_integrals(x)
        if per_eigenvalue:
            before, level, after = (
                GradientFlow(time)._rate(lam) for time in (self.switch_time, ramp, since)
            )
            rise, fall = (_over(share, lam, x, ramp) for share in (rise, fall))
        else:
            before, level, after = (
                phi(progress(lam, time)) for time in (self.switch_time, ramp, since)
            )
        early = decay(x) * before + undone * level + done * fall
        return early, after + rest * (done * rise), rest

    @property
    def _past(self) -> float:
        """Time since the change ended, negative before it did, rounded once."""
        if np.isinf(self.time):
            return np.inf
        return fsum((self.time, -self.switch_time, -self.window))

    @property
    def _since(self) -> float:
        return max(self._past, 0.0)

    def _shares(self, lam: Array, *, per_eigenvalue: bool) -> tuple[Array, Array]:
        """What the teacher and what the labels have contributed, or these over lambda."""
        early, late, rest = self._early_and_late(lam, per_eigenvalue=per_eigenvalue)
        return (early * rest, late) if self.teacher_first else (late, early * rest)

    def _gain(self, lam: Array) -> Array:
        teacher, labels = self._shares(lam, per_eigenvalue=False)
        return labels + phi(progress(lam, self.teacher_time)) * teacher

    def _shortfall(self, lam: Array) -> Array:
        teacher, _ = self._shares(lam, per_eigenvalue=False)
        missed = decay(progress(lam, self.teacher_time)) * teacher
        return decay(progress(lam, self.time)) + missed

    def _log_shortfall(self, lam: Array) -> Array:
        early, late, _ = self._early_and_late(lam, per_eigenvalue=False)
        share = log(early) - progress(lam, self._since) if self.teacher_first else log(late)
        missed = share - progress(lam, self.teacher_time)
        large = np.logaddexp(-progress(lam, self.time), missed)
        return log_of_shortfall(self._gain(lam), large)

    def _rate(self, lam: Array) -> Array:
        teacher, labels = self._shares(lam, per_eigenvalue=True)
        learned = phi(progress(lam, self.teacher_time))
        with np.errstate(invalid="ignore"):
            rate = labels + learned * teacher
        if np.isinf(self._since) and not self.teacher_first:
            limit: Array | float = self.teacher_time  # nothing but the teacher is remembered
        elif np.isinf(self.teacher_time):
            limit = labels + teacher  # it knows every mode but those of eigenvalue zero
        else:
            limit = labels
        return np.where(lam == 0, limit, rate)


def _over(share: Array, lam: Array, x: Array, ramp: float) -> Array:
    """A share of the ramp over lambda, x = lambda ramp; the limit at zero is half the ramp."""
    with np.errstate(divide="ignore", invalid="ignore"):
        near = ramp * np.where(x > 1e-290, share / x, 0.5)
        return np.where(x < 1, near, share / lam)


def _ramp_integrals(x: Array) -> tuple[Array, Array]:
    r"""The means of :math:`1 - v` and of v against :math:`x e^{-x v}`, v from 0 to 1.

    :math:`1 - h(x)` and :math:`h(x) - e^{-x}`, by their series below 1.
    """
    small = np.minimum(x, 1.0)
    rise, fall = np.full_like(x, 0.5), np.full_like(x, 0.5)
    term = np.full_like(x, 0.5)
    for n in range(1, SERIES_TERMS):
        term = term * (-small) / (n + 2)
        rise += term
        fall += (n + 1) * term
    rise = np.where(x < 1, x * rise, 1.0 - h(x))
    fall = np.where(x < 1, x * fall, h(x) - decay(x))
    return rise, fall
