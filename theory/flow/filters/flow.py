"""Gradient flow on labels, on a teacher, on both: generations and mixed losses."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from theory import checks
from theory.checks import Array
from theory.flow.filters.base import (
    Composed,
    Filter,
    Learned,
    Mixture,
    Product,
    decay,
    log,
    log_of_shortfall,
    put,
)
from theory.numerics import LN2, h, log_phi, phi, progress
from theory.statements import states


@dataclass(frozen=True)
class GradientFlow(Filter):
    r"""Gradient flow on the labels, stopped at a time: row 1 of the table of schemes.

    .. math:: g = \phi(\lambda t) = 1 - e^{-\lambda t}, \qquad t_\mathrm{eff} = t

    Source: Nagarajan 2023, eq. 3 and 4.

    Example:
        >>> GradientFlow(2.0).gain([0.0, 0.5, 1e3])
        array([0.   , 0.632, 1.   ])
        >>> GradientFlow(2.0).effective_time([0.0, 0.5, 1e3])
        array([2., 2., 2.])
    """

    time: float
    """Stopping time t >= 0; ``inf`` for training to the end."""

    def __post_init__(self) -> None:
        put(self, time=checks.time("time", self.time))

    def _gain(self, lam: Array) -> Array:
        return phi(progress(lam, self.time))

    def _shortfall(self, lam: Array) -> Array:
        return decay(progress(lam, self.time))

    def _log_shortfall(self, lam: Array) -> Array:
        return -progress(lam, self.time)

    def _rate(self, lam: Array) -> Array:
        x = progress(lam, self.time)
        with np.errstate(divide="ignore", invalid="ignore"):
            # t h(x) where little is learned, phi / lambda where t may be infinite
            rate = np.where(x < 1, self.time * h(np.minimum(x, 1.0)), phi(x) / lam)
        return np.where(lam == 0, self.time, rate)

    def _effective_time(self, lam: Array) -> Array:
        return np.full_like(lam, self.time)


@dataclass(frozen=True)
class Generations(Filter):
    r"""Self-distillation over generations, each a student of the one before: row 4.

    .. math::

        g_j = \phi(\lambda T_j) \, (\alpha_j + (1 - \alpha_j) \, g_{j-1}), \qquad g_0 = 1

    The first generation learns from the labels. With no label weights, g is the product of
    :math:`\phi(\lambda T_j)`, whatever their order. Source: Nagarajan 2023, eq. 5 and 6
    (corrected), iterated; Zhang 2020, section 3, for the generations.

    Example:
        >>> Generations((3.0, 3.0)).gain([0.5, 1.0])
        array([0.604, 0.903])
    """

    times: tuple[float, ...]
    r"""Stopping times :math:`T_j \ge 0`, first generation first."""
    label_weights: tuple[float, ...] | None = None
    r"""Weights :math:`\alpha_j` of the labels in each generation's loss (one number for all of
    them, or one each; that of the first has no effect); None for pure distillation."""

    def __post_init__(self) -> None:
        times = np.atleast_1d(checks.times("times", self.times))
        if times.ndim != 1 or times.size == 0:
            msg = f"times must be a sequence of one or more times, got {self.times!r}"
            raise ValueError(msg)
        put(self, times=tuple(times.tolist()))
        if self.label_weights is None:
            return
        weights = checks.unit_interval("label_weights", self.label_weights)
        if weights.shape not in {(), (1,), times.shape}:
            msg = (
                f"label_weights must be one number or one for each of {times.size} generations, "
                f"got shape {weights.shape}"
            )
            raise ValueError(msg)
        put(self, label_weights=tuple(np.broadcast_to(weights, times.shape).tolist()))

    @property
    def _weights(self) -> tuple[float, ...]:
        return self.label_weights or (0.0,) * len(self.times)

    @property
    def _weighted(self) -> bool:
        return any(self._weights[1:])

    def _gain(self, lam: Array) -> Array:
        if self._weighted:
            return self._recursion(lam)[0]
        gain = np.ones_like(lam)
        for time, times in Counter(self.times).items():  # equal times are computed once
            gain *= _power(progress(lam, time), 0.0, times)
        return gain

    def _shortfall(self, lam: Array) -> Array:
        if self._weighted:
            return self._recursion(lam)[1]
        return -np.expm1(self._log_gain(lam))

    def _log_shortfall(self, lam: Array) -> Array:
        if self._weighted:
            return self._log_recursion(lam)
        log_gain = self._log_gain(lam)
        tail = np.full_like(lam, -np.inf)
        for time, times in Counter(self.times).items():
            tail = np.logaddexp(tail, log(times) - progress(lam, time))
        # 1 - prod(1 - e^{-x_j}) is the sum of the e^{-x_j} to relative accuracy once tiny
        near = log(-np.expm1(np.minimum(log_gain, -1e-30)))
        return log_of_shortfall(self._gain(lam), np.where(log_gain > -1e-20, tail, near))

    def _rate(self, lam: Array) -> Array:
        above = lam
        if np.isinf(self.times).any():  # what endless ones learn jumps up at eigenvalue zero
            above = np.maximum(lam, np.nextafter(0.0, 1.0))
        if self._weighted:
            before = Generations(self.times[:-1], self._weights[:-1])
            weight = self._weights[-1]
            if np.isinf(self.times[-1]) and weight == 0:
                return before._rate(lam)
            target = weight + (1.0 - weight) * before._gain(above)
            return np.asarray(GradientFlow(self.times[-1])._rate(lam) * target)
        # the order is free: with the shortest as carrier nothing underflows that need not
        shortest = min(self.times)
        rate = GradientFlow(shortest)._rate(lam)
        for time, times in (Counter(self.times) - Counter((shortest,))).items():
            x = progress(above, time)
            rate = rate * _power(x, 0.0, times // 2) * _power(x, 0.0, times - times // 2)
        return rate

    def _log_gain(self, lam: Array) -> Array:
        total = np.zeros_like(lam)
        for time, times in Counter(self.times).items():  # equal times are computed once
            total += times * log_phi(progress(lam, time))
        return total

    def _steady(self) -> bool:
        """Whether all generations are alike, so that the recursion has a closed form."""
        weights = self._weights
        return len(self.times) > 3 and len(set(self.times)) == 1 and len(set(weights[1:])) == 1

    def _approach(self, lam: Array) -> tuple[Filter, Array]:
        r"""For equal generations :math:`g_k = g_* + q^k (1 - g_*)`: the filter g* and k ln q.

        The fixed point g* is that of :class:`MixedFixedPoint`, and q = (1 - alpha) phi.
        """
        time, weight = self.times[-1], self._weights[-1]
        with np.errstate(divide="ignore"):
            exponent = len(self.times) * (log_phi(progress(lam, time)) + np.log1p(-weight))
        return MixedFixedPoint(time, weight), exponent

    def _recursion(self, lam: Array) -> tuple[Array, Array]:
        weights = self._weights
        if self._steady():
            point, exponent = self._approach(lam)
            away = point._shortfall(lam)
            kept = _power(progress(lam, self.times[-1]), weights[-1], len(self.times))
            return point._gain(lam) + kept * away, -np.expm1(exponent) * away
        gain, shortfall = np.ones_like(lam), np.zeros_like(lam)
        for time, weight in zip(self.times, weights, strict=True):
            x = progress(lam, time)
            fraction = phi(x)
            gain = fraction * (weight + (1.0 - weight) * gain)
            shortfall = decay(x) + fraction * ((1.0 - weight) * shortfall)
        return gain, shortfall

    def _log_recursion(self, lam: Array) -> Array:
        if self._steady():
            point, exponent = self._approach(lam)
            large = point._log_shortfall(lam) + log(-np.expm1(exponent))
            return log_of_shortfall(self._recursion(lam)[0], large)
        weights = self._weights
        large = np.full_like(lam, -np.inf)
        for time, weight in zip(self.times, weights, strict=True):
            x = progress(lam, time)
            large = np.logaddexp(-x, log_phi(x) + log(1.0 - weight) + large)
        return log_of_shortfall(self._recursion(lam)[0], large)


def _power(x: Array, weight: float, exponent: int) -> Array:
    """((1 - weight) phi(x)) to a power."""
    power = ((1.0 - weight) * phi(x)) ** exponent
    if exponent < 4:
        return np.asarray(power)
    # powers of numbers near 1 lose digits, and so do logarithms of small ones
    with np.errstate(divide="ignore"):
        near = np.exp(exponent * (log_phi(x) + np.log1p(-weight)))
    return np.where((x < LN2) | (weight > 0.5), power, near)


@states(
    "flow:mixed-exaggerates",
    "A student of labels and teacher together that trains no longer than its teacher did "
    "has an effective time that rises with the eigenvalue.",
    source="Nagarajan 2023, eq. 2, with the weight of Zhang 2020 on the labels",
)
@dataclass(frozen=True)
class Mixed(Composed):
    r"""A student of labels and teacher at once: row 5.

    .. math:: g = \phi(\lambda s) \, (\alpha + (1 - \alpha) \, \phi(\lambda T))

    The weight :math:`\alpha` rests on the labels, as in Zhang 2020; Wang 2020 puts it on the
    teacher. For :math:`0 < \alpha < 1` it exaggerates everywhere if :math:`s \le T`, weakens
    everywhere if :math:`T \le \alpha s / 2` (numerical), and does first one, then the other in
    between.

    Example:
        >>> Mixed(1.0, 2.0, 0.5).gain([0.5, 1.0])
        array([0.3210947 , 0.58934645])
    """

    student_time: float
    """Stopping time s of the student."""
    teacher_time: float
    """Stopping time T of the teacher."""
    label_weight: float
    r"""Weight :math:`\alpha` of the labels, in [0, 1]."""

    def __post_init__(self) -> None:
        put(
            self,
            student_time=checks.time("student_time", self.student_time),
            teacher_time=checks.time("teacher_time", self.teacher_time),
            label_weight=checks.fraction("label_weight", self.label_weight),
        )

    @property
    def form(self) -> Filter:
        """Flow on a mixture of labels and teacher outputs."""
        if self.label_weight == 1:
            return GradientFlow(self.student_time)
        teacher = GradientFlow(self.teacher_time)
        if self.label_weight == 0:
            return Product((GradientFlow(self.student_time), teacher))
        weights = (self.label_weight, 1.0 - self.label_weight)
        return Product((GradientFlow(self.student_time), Mixture((Learned(), teacher), weights)))


@dataclass(frozen=True)
class MixedFixedPoint(Filter):
    r"""Where endless generations of mixed distillation of equal length settle: row 6.

    .. math:: g = \frac{\alpha \phi(\lambda T)}{\alpha + (1 - \alpha) e^{-\lambda T}}

    It is the limit of :class:`Generations` with all times T and label weights
    :math:`\alpha`, and exaggerates for :math:`0 < \alpha < 1`.

    Example:
        >>> MixedFixedPoint(2.0, 0.5).gain([0.5, 1.0])
        array([0.462, 0.762])
    """

    time: float
    """Length T of every generation."""
    label_weight: float
    r"""Weight :math:`\alpha` of the labels, in [0, 1]."""

    def __post_init__(self) -> None:
        put(
            self,
            time=checks.time("time", self.time),
            label_weight=checks.fraction("label_weight", self.label_weight),
        )

    def _scale(self, lam: Array) -> Array:
        scale = self.label_weight + (1.0 - self.label_weight) * decay(progress(lam, self.time))
        # no weight on the labels: nothing is left of them, also where e^{-x} underflows
        return np.where(scale == 0, 1.0, scale)

    def _gain(self, lam: Array) -> Array:
        return self.label_weight * phi(progress(lam, self.time)) / self._scale(lam)

    def _shortfall(self, lam: Array) -> Array:
        if self.label_weight == 0:
            return np.ones_like(lam)
        # a weight below e^{-x} keeps the quotient in range where e^{-x} is not
        return decay(progress(lam, self.time) + log(self._scale(lam)))

    def _log_shortfall(self, lam: Array) -> Array:
        if self.label_weight == 0:
            return np.zeros_like(lam)
        large = -progress(lam, self.time) - log(self._scale(lam))
        return log_of_shortfall(self._gain(lam), large)

    def _rate(self, lam: Array) -> Array:
        if self.label_weight == 0:
            return np.zeros_like(lam)
        return self.label_weight / self._scale(lam) * GradientFlow(self.time)._rate(lam)


@dataclass(frozen=True)
class Shrinkage(Filter):
    r"""Labels with a pull of the outputs to zero: row 17.

    .. math:: g = \frac{w_1}{w_1 + w_2} \phi(\lambda (w_1 + w_2) t)

    The limit of high temperature of LsrKD (Wang 2020, eq. 10 to 12): distillation from the
    uniform distribution shrinks the logits. It weakens the bias of gradient flow.

    Example:
        >>> Shrinkage(1.0, 0.25, 2.0).gain([0.5, 50.0])
        array([0.571, 0.8  ])
    """

    label_weight: float
    r"""Weight :math:`w_1 \ge 0` of the labels."""
    zero_weight: float
    r"""Weight :math:`w_2 \ge 0` of the pull to zero."""
    time: float
    """Stopping time t."""

    def __post_init__(self) -> None:
        for name in ("label_weight", "zero_weight"):
            value = checks.scalar(name, getattr(self, name))
            checks.nonnegative(name, value)
            put(self, **{name: value})
        put(self, time=checks.time("time", self.time))

    @property
    def _total(self) -> float:
        return self.label_weight + self.zero_weight

    @property
    def _ceiling(self) -> float:
        return self.label_weight / self._total if self._total else 0.0

    def _progress(self, lam: Array) -> Array:
        clock = float(progress(self._total, self.time))
        if 0 < clock < np.inf:
            return progress(lam, clock)
        return progress(progress(lam, self._total), self.time)

    def _gain(self, lam: Array) -> Array:
        return self._ceiling * phi(self._progress(lam))

    def _shortfall(self, lam: Array) -> Array:
        if not self._total:
            return np.ones_like(lam)
        pulled = self.zero_weight + self.label_weight * decay(self._progress(lam))
        return pulled / self._total

    def _log_shortfall(self, lam: Array) -> Array:
        if not self._total:
            return np.zeros_like(lam)
        fitted = log(self.label_weight) - self._progress(lam)
        large = np.logaddexp(log(self.zero_weight), fitted) - np.log(self._total)
        return log_of_shortfall(self._gain(lam), large)

    def _rate(self, lam: Array) -> Array:
        x, slope = self._progress(lam), float(progress(self.label_weight, self.time))
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = np.where(x < 1, slope * h(x), self._ceiling * phi(x) / lam)
        return np.where(lam == 0, slope, rate)
