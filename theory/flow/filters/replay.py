"""Memories of the past self as a second target."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from theory import checks
from theory.checks import Array
from theory.flow.filters.base import Filter, decay, log, log_of_shortfall, put
from theory.flow.filters.flow import GradientFlow
from theory.flow.filters.powers import affine_power, matrix_power
from theory.numerics import LN2, h, phi, progress
from theory.statements import states

# above so many intervals a power of the companion matrix is faster than the recursion
LONG = 256
# after so many the logarithm of the error is proportional to their number, to working precision
ENDLESS = 2.0**50
NEWTON_STEPS = 60

_View = Callable[[Array], Array]


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
        """The flow that copies or labels alone, or endless training, leave."""
        if self.copy_weight == 0:
            return GradientFlow(self.time)
        if self.copy_weight == 1:  # the copies hold the network where it began
            return GradientFlow(0.0)
        if np.isinf(self.time) and np.isfinite(self.interval):
            return GradientFlow(np.inf)
        return None

    def _phases(self) -> tuple[float, float]:
        """Whole intervals, inf where they exceed the range, and the rest of the time."""
        if self.time < self.interval or np.isinf(self.interval):
            return 0.0, self.time
        rest = float(np.fmod(self.time, self.interval))  # exact, unlike a floor of the quotient
        with np.errstate(over="ignore"):
            return float(np.rint(np.float64(self.time - rest) / self.interval)), rest

    def _views(self, lam: Array, settled: _View, counted: _View) -> Array:
        r"""Each eigenvalue by the slowest root where it alone is left, else by all intervals.

        The other roots of :math:`r^n = \rho r^{n-1} + \tfrac{\alpha (1 - \rho)}{n} \sum_{i<n}
        r^i` have died out after 64 n intervals unless they are as large as the slowest one, which
        they are only if labels and replay both outweigh the copies.
        """
        intervals, _ = self._phases()
        if self.copies == 1:
            return settled(lam)
        if intervals <= max(LONG, 64 * self.copies):
            return counted(lam)
        alone = progress(lam, self.copies * self.interval) <= 1
        if self.copy_weight >= 0.5 or alone.all():
            return settled(lam)
        out = counted(lam)
        out[alone] = settled(lam[alone])
        return out

    def _gain(self, lam: Array) -> Array:
        if (limit := self._limit()) is not None:
            return limit._gain(lam)
        return self._views(
            lam,
            lambda lam: phi(self._progress(lam, per_eigenvalue=False)),
            lambda lam: self._learned(lam, per_eigenvalue=False),
        )

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
        return self._views(
            lam, self._settled_rate, lambda lam: self._learned(lam, per_eigenvalue=True)
        )

    def _log_error(self, lam: Array) -> Array:
        return self._views(
            lam, lambda lam: -self._progress(lam, per_eigenvalue=False), self._log_error_by_powers
        )

    def _settled_rate(self, lam: Array) -> Array:
        total, time = (self._progress(lam, per_eigenvalue=each) for each in (False, True))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(total < 1, time * h(np.minimum(total, 1.0)), phi(total) / lam)

    def _progress(self, lam: Array, *, per_eigenvalue: bool) -> Array:
        """-ln of the error by the slowest root, or this over the eigenvalue: the effective time."""
        intervals, rest = self._phases()
        fraction = phi(progress(lam, self.interval))
        pull = self._pull(fraction)
        total = _waned(lam, rest, rest, 1.0, pull, self.copy_weight, per_eigenvalue=per_eigenvalue)
        if not intervals:
            return total
        span = self.time - rest
        whole = _waned(
            lam,
            self.interval,
            span,
            intervals,
            pull,
            self.copy_weight,
            per_eigenvalue=per_eigenvalue,
        )
        onset = self._onset(fraction, pull)
        if per_eigenvalue:
            onset = np.divide(onset, lam, out=np.zeros_like(lam), where=lam > 0)
        return total + whole + onset

    def _pull(self, fraction: Array) -> Array:
        r"""The pull q to the labels: the slowest root is :math:`1 - q \phi(\lambda \kappa)`.

        .. math:: q = 1 - \alpha - \alpha \, \tfrac1n \sum_{j<n} (r^{-j} - 1)

        The difference of both sides is convex in q: Newton steps from above end at the root.
        """
        alpha, n = self.copy_weight, self.copies
        if n == 1:
            return np.full_like(fraction, 1.0 - alpha)
        powers = np.arange(1, n)[:, None]
        pull = (1.0 - alpha) / (1.0 + fraction * alpha * (n - 1) / 2)
        for _ in range(NEWTON_STEPS):
            root = 1.0 - fraction * pull
            grown = np.expm1(-powers * np.log1p(-fraction * pull))
            excess = pull + alpha * grown.sum(axis=0) / n - (1.0 - alpha)
            slope = 1.0 + alpha * (powers * (1.0 + grown)).sum(axis=0) / n * (fraction / root)
            step = excess / slope
            pull = np.maximum(pull - step, 0.0)
            if (np.abs(step) <= 1e-16 * pull).all():
                break
        return pull

    def _onset(self, fraction: Array, pull: Array) -> Array:
        """-ln C where the error tends to C r^m: what starting from equal copies costs."""
        if self.copies == 1:
            return np.zeros_like(fraction)
        own, root = self.copy_weight / self.copies * fraction, 1.0 - fraction * pull
        log_root = np.log1p(-fraction * pull)
        weight, above, below = np.zeros_like(root), np.zeros_like(root), np.ones_like(root)
        for age in range(self.copies - 1, 0, -1):  # left eigenvector of the companion matrix
            weight = (own + weight) / root
            above += weight * np.expm1(-age * log_root)
            below += weight * np.exp(-age * log_root)
        return -np.log1p(-above / below)

    def _log_error_by_powers(self, lam: Array) -> Array:
        intervals, rest = self._phases()
        alpha = self.copy_weight
        x, y = progress(lam, self.interval), progress(lam, rest)
        # companion matrix of the errors, latest first: all entries >= 0, so nothing cancels
        step = np.zeros((self.copies, self.copies, lam.size))
        step[0] = alpha / self.copies * phi(x)
        step[0, 0] += decay(x)
        step[range(1, self.copies), range(self.copies - 1)] = 1.0
        power, scale = matrix_power(step, int(min(intervals, ENDLESS)))
        errors = power.sum(axis=1)  # from e = 1 at all earlier times
        last = decay(y) * errors[0] + alpha * phi(y) * errors.mean(axis=0)
        return progress(log(last) + LN2 * scale, max(intervals / ENDLESS, 1.0))

    def _learned(self, lam: Array, *, per_eigenvalue: bool) -> Array:
        """The gain, or the gain over the eigenvalue, by a recursion of positive terms."""
        intervals, rest = self._phases()
        if intervals > LONG:
            many = int(min(intervals, ENDLESS))
            return self._learned_by_powers(lam, many, rest, per_eigenvalue=per_eigenvalue)
        past = [np.zeros_like(lam) for _ in range(self.copies)]
        gain = past[0]
        for time, count in ((self.interval, int(intervals)), (rest, 1)):
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


def _waned(
    lam: Array,
    time: float,
    span: float,
    count: float,
    pull: Array,
    hold: float,
    *,
    per_eigenvalue: bool,
) -> Array:
    """-ln(1 - pull phi(lambda time)) for a count of times that span so much, or over lambda.

    ``hold`` is 1 - pull, where the pull exceeds 1/2: only beside a single copy.
    """
    x = progress(lam, time)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = -np.log1p(-pull * phi(np.minimum(x, 1.0))) / x
        ratio = np.where(x > 1e-290, ratio, pull)
        learned = pull * phi(x)
        far = -log_of_shortfall(learned, log(decay(x) + hold * phi(x)))
        far = np.where(far > 0, far * count, 0.0)
        if per_eigenvalue:
            return np.where(x < 1, span * ratio, far / lam)
        return np.where(x < 1, progress(lam, span) * ratio, far)
