r"""What a spectral filter is, and the three ways in which filters combine.

Along an eigendirection of eigenvalue :math:`\lambda` a training scheme has learned the fraction
:math:`g(\lambda)` of the label. Four views of g are computed, none from another by a difference
that cancels: the gain itself, the shortfall :math:`1 - g`, its logarithm, and the rate
:math:`g / \lambda`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.statements import states

# Eigenvalues are taken in blocks that fit the cache: faster, and temporaries stay small.
BLOCK = 1 << 14
# Sums of a few positive terms that add up to 1 miss it by so much.
ROUND_OFF = 8 * float(np.finfo(float).eps)
# Below it a product may underflow where the quotient by the eigenvalue does not.
_TINY = 1e-290


class Filter(ABC):
    r"""The fraction :math:`g(\lambda)` of the labels that a scheme has learned along each mode.

    Subclasses give the four views on a flat array of eigenvalues. Public methods take eigenvalues
    >= 0 of any shape and raise ValueError for others.
    """

    def gain(self, eigenvalues: ArrayLike) -> Array:
        r"""Learned fraction :math:`g(\lambda)`, zero at :math:`\lambda = 0`."""
        return self._map(lambda block: _within(self._gain(block)), eigenvalues)

    def shortfall(self, eigenvalues: ArrayLike) -> Array:
        r"""What is missing, :math:`1 - g(\lambda)`, without cancellation."""
        return self._map(lambda block: _within(self._shortfall(block)), eigenvalues)

    def log_shortfall(self, eigenvalues: ArrayLike) -> Array:
        r""":math:`\ln(1 - g)`, right also where :math:`1 - g` underflows; nan where g > 1."""
        return self._map(self._log_shortfall, eigenvalues)

    def gain_over_eigenvalue(self, eigenvalues: ArrayLike) -> Array:
        r""":math:`g(\lambda) / \lambda`, continued to :math:`g'(0)` at zero.

        It carries training outputs to other inputs: :math:`K_* U \,\mathrm{diag}(g / \lambda)\,
        U^\top`. Where :math:`g'(0)` is infinite (infinite time) the value at zero is 0, as in
        the pseudo-inverse.
        """

        def finite(block: Array) -> Array:
            rate = self._rate(block)
            return np.where((block == 0) & np.isinf(rate), 0.0, rate)

        return self._map(finite, eigenvalues)

    def effective_time(self, eigenvalues: ArrayLike) -> Array:
        r"""Stopping time of plain gradient flow on labels that learns as much along each mode.

        .. math:: t_\mathrm{eff}(\lambda) = -\ln(1 - g(\lambda)) / \lambda

        with :math:`g'(0)` at zero. It increases with the eigenvalue for a scheme that
        exaggerates the bias of gradient flow to top directions, and decreases for one that
        weakens it. ``inf`` where g = 1 exactly; nan where g < 0 or g > 1.
        """
        return self._map(self._effective_time, eigenvalues)

    def __mul__(self, other: "Filter") -> "Product":
        if not isinstance(other, Filter):
            return NotImplemented
        return Product((self, other))

    def check_eigenvalues(self, eigenvalues: Array) -> None:  # noqa: B027
        """Raise ValueError where the scheme does not converge; by default it always does."""

    @abstractmethod
    def _gain(self, lam: Array) -> Array: ...

    @abstractmethod
    def _shortfall(self, lam: Array) -> Array: ...

    @abstractmethod
    def _log_shortfall(self, lam: Array) -> Array: ...

    @abstractmethod
    def _rate(self, lam: Array) -> Array: ...

    def _effective_time(self, lam: Array) -> Array:
        gain, log_shortfall = self._gain(lam), self._log_shortfall(lam)
        legal = (gain >= 0) & ~np.isnan(log_shortfall)
        small = legal & (gain < 0.5)
        with np.errstate(divide="ignore", invalid="ignore", under="ignore"):
            # -ln(1 - g) / g, which is 1 at g = 0: the rate does not underflow where g does
            stretch = np.where(gain > 0, -np.log1p(-np.where(small, gain, 0.0)) / gain, 1.0)
            # rates overflow to inf only where the gain is not small, or at infinite time
            slow = self._rate(lam) * np.where(small, stretch, 1.0)
            fast = -log_shortfall / lam
        return np.where(legal, np.where(small | (lam == 0), slow, fast), np.nan)

    def _told(self, lam: Array, logarithm: Array) -> Array:
        """The logarithm of the shortfall where parts that overshoot 1 leave it undefined."""
        lost = np.isnan(logarithm)
        if not lost.any():
            return logarithm
        shortfall = self._shortfall(lam)
        told = np.where(shortfall >= 0, log(np.maximum(shortfall, 0.0)), np.nan)
        return np.where(lost, told, logarithm)

    def _map(self, view: Callable[[Array], Array], eigenvalues: ArrayLike) -> Array:
        lam = checks.nonnegative("eigenvalues", eigenvalues)
        self.check_eigenvalues(lam)
        flat = lam.reshape(-1)
        out: Array = np.empty_like(flat)
        with np.errstate(under="ignore", over="ignore"):
            for start in range(0, flat.size, BLOCK):
                out[start : start + BLOCK] = view(flat[start : start + BLOCK])
        result: Array = out.reshape(lam.shape)[()]
        return result


def _within(values: Array) -> Array:
    """Values that only round-off has carried beyond 1 are 1; overshoot stays."""
    return np.where((values > 1.0) & (values <= 1.0 + ROUND_OFF), 1.0, values)


def log_of_shortfall(gain: Array, large: Array) -> Array:
    """ln(1 - g): from g where g < 1/2, else the value ``large``."""
    return np.where(gain < 0.5, np.log1p(-np.minimum(gain, 0.5)), large)


def log(x: ArrayLike) -> Array:
    """Natural logarithm with ln 0 = -inf, no warning."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(x))


def decay(x: ArrayLike) -> Array:
    """exp(-x); underflow is zero without a warning."""
    with np.errstate(under="ignore"):
        return np.asarray(np.exp(-np.asarray(x)))


def put(instance: object, **fields: object) -> None:
    """Store checked values in the fields of a frozen dataclass."""
    for name, value in fields.items():
        object.__setattr__(instance, name, value)


class Composed(Filter):
    """A filter that is another filter in disguise; subclasses name it in ``form``."""

    @property
    @abstractmethod
    def form(self) -> Filter:
        """The same filter, written with simpler ones."""

    def check_eigenvalues(self, eigenvalues: Array) -> None:
        """Raise ValueError where a part of the scheme does not converge."""
        self.form.check_eigenvalues(eigenvalues)

    def _gain(self, lam: Array) -> Array:
        return self.form._gain(lam)

    def _shortfall(self, lam: Array) -> Array:
        return self.form._shortfall(lam)

    def _log_shortfall(self, lam: Array) -> Array:
        return self.form._log_shortfall(lam)

    def _rate(self, lam: Array) -> Array:
        return self.form._rate(lam)

    def _effective_time(self, lam: Array) -> Array:
        return self.form._effective_time(lam)


def _filters(parts: object, name: str) -> tuple[Filter, ...]:
    """A checked tuple of filters."""
    if not isinstance(parts, tuple | list) or not parts:
        msg = f"{name} must be a sequence of one or more filters, got {parts!r}"
        raise ValueError(msg)
    if not all(isinstance(part, Filter) for part in parts):
        msg = f"{name} must all be filters, got {parts!r}"
        raise ValueError(msg)
    return tuple(parts)


@states(
    "flow:product-exaggerates",
    "A product of filters whose effective time does not fall with the eigenvalue has an "
    "effective time that does not fall either.",
    source="Nagarajan 2023, Thm B.1, generalized",
)
@dataclass(frozen=True)
class Product(Filter):
    r"""One scheme after another: the student of one filter is trained by the other.

    .. math:: g = \prod_j g_j, \qquad 1 - g = (1 - g_1) + g_1 (1 - g_2) + g_1 g_2 (1 - g_3) + \dots

    Example:
        >>> from theory.flow.filters import GradientFlow
        >>> (GradientFlow(1.0) * GradientFlow(2.0)).gain([0.5, 1.0])
        array([0.249, 0.547])
    """

    filters: tuple[Filter, ...]
    """The factors, in any order."""

    def __post_init__(self) -> None:
        put(self, filters=_filters(self.filters, "filters"))

    def check_eigenvalues(self, eigenvalues: Array) -> None:
        """Raise ValueError where a factor does not converge."""
        for part in self.filters:
            part.check_eigenvalues(eigenvalues)

    def _gain(self, lam: Array) -> Array:
        gain = self.filters[0]._gain(lam)
        for part in self.filters[1:]:
            gain = gain * part._gain(lam)
        return gain

    def _shortfall(self, lam: Array) -> Array:
        gain, shortfall = self.filters[0]._gain(lam), self.filters[0]._shortfall(lam)
        for part in self.filters[1:]:
            shortfall = shortfall + gain * part._shortfall(lam)
            gain = gain * part._gain(lam)
        return shortfall

    def _log_shortfall(self, lam: Array) -> Array:
        gain, large = self.filters[0]._gain(lam), self.filters[0]._log_shortfall(lam)
        for part in self.filters[1:]:
            with np.errstate(invalid="ignore"):  # factors outside [0, 1] have no such logarithm
                large = np.logaddexp(large, log(np.maximum(gain, 0.0)) + part._log_shortfall(lam))
            gain = gain * part._gain(lam)
        return log_of_shortfall(gain, self._told(lam, large))

    def _rate(self, lam: Array) -> Array:
        gain, rate = self.filters[0]._gain(lam), self.filters[0]._rate(lam)
        for part in self.filters[1:]:
            own = part._gain(lam)
            lost = (own < _TINY) & (lam > 0)
            with np.errstate(invalid="ignore"):  # at eigenvalue zero, overwritten below
                rate = rate * own
                if lost.any():
                    rate = np.where(lost, gain * part._rate(lam), rate)
            gain = gain * own
        none = lam == 0
        return np.where(none, self._slope_at_zero(), rate) if none.any() else rate

    def _slope_at_zero(self) -> float:
        """The limit of g / lambda: one factor carries it if all others jump up from zero."""
        slopes = [float(part._rate(np.zeros(1))[0]) for part in self.filters]
        carriers = [slope for slope in slopes if np.isfinite(slope)]
        if len(carriers) != 1:
            return 0.0 if carriers else np.inf
        # at infinite time, or with labels mixed in, a factor has a limit other than zero
        for part, slope in zip(self.filters, slopes, strict=True):
            if np.isinf(slope):
                carriers[0] *= float(part._gain(np.full(1, np.nextafter(0.0, 1.0)))[0])
        return carriers[0]


@states(
    "flow:parallel-exaggerates",
    "Training in turn, 1 - (1 - g1)(1 - g2), adds effective times.",
    source="Nagarajan 2023, section 4, generalized",
)
@dataclass(frozen=True)
class Parallel(Filter):
    r"""Two phases on the same network: the second learns of what the first has left.

    .. math:: 1 - g = (1 - g_1)(1 - g_2)

    so that effective times add.
    """

    first: Filter
    """One phase."""
    second: Filter
    """The other phase."""

    def __post_init__(self) -> None:
        _filters((self.first, self.second), "first and second")

    def check_eigenvalues(self, eigenvalues: Array) -> None:
        """Raise ValueError where a phase does not converge."""
        self.first.check_eigenvalues(eigenvalues)
        self.second.check_eigenvalues(eigenvalues)

    def _gain(self, lam: Array) -> Array:
        return self.first._gain(lam) + self.first._shortfall(lam) * self.second._gain(lam)

    def _shortfall(self, lam: Array) -> Array:
        return self.first._shortfall(lam) * self.second._shortfall(lam)

    def _log_shortfall(self, lam: Array) -> Array:
        return self._told(lam, self.first._log_shortfall(lam) + self.second._log_shortfall(lam))

    def _rate(self, lam: Array) -> Array:
        return self.first._rate(lam) + self.first._shortfall(lam) * self.second._rate(lam)


@states(
    "flow:mixture-weakens",
    "A mixture of early-stopped flows, other than a single one, has an effective time that falls "
    "with the eigenvalue.",
    source="theory of self-distillation, convexity of ln E exp(-lambda s)",
)
@dataclass(frozen=True)
class Mixture(Filter):
    r"""Weighted mean of filters; weight that is missing to one rests on "nothing learned".

    .. math:: g = \sum_j w_j g_j, \qquad \sum_j w_j \le 1
    """

    filters: tuple[Filter, ...]
    """The parts."""
    weights: tuple[float, ...]
    """Their weights, >= 0, with a sum of at most 1."""

    def __post_init__(self) -> None:
        put(self, filters=_filters(self.filters, "filters"))
        weights = checks.unit_interval("weights", self.weights)
        if weights.shape != (len(self.filters),) or weights.sum() > 1 + 1e-12:
            msg = (
                f"weights must be one for each of {len(self.filters)} filters with a sum of at "
                f"most 1, got {self.weights!r}"
            )
            raise ValueError(msg)
        put(self, weights=tuple(weights.tolist()))

    def check_eigenvalues(self, eigenvalues: Array) -> None:
        """Raise ValueError where a part does not converge."""
        for part in self.filters:
            part.check_eigenvalues(eigenvalues)

    @property
    def _live(self) -> list[tuple[float, Filter]]:
        pairs = zip(self.weights, self.filters, strict=True)
        return [(weight, part) for weight, part in pairs if weight > 0]

    @property
    def _idle(self) -> float:
        rest = 1.0
        for weight in self.weights:
            rest -= weight
        return rest if rest > 1e-15 else 0.0

    def _gain(self, lam: Array) -> Array:
        return sum((weight * part._gain(lam) for weight, part in self._live), np.zeros_like(lam))

    def _shortfall(self, lam: Array) -> Array:
        missing = (weight * part._shortfall(lam) for weight, part in self._live)
        return sum(missing, np.full_like(lam, self._idle))

    def _log_shortfall(self, lam: Array) -> Array:
        large = np.full_like(lam, log(self._idle))
        for weight, part in self._live:
            with np.errstate(invalid="ignore"):  # parts beyond 1 have no such logarithm
                large = np.logaddexp(large, np.log(weight) + part._log_shortfall(lam))
        return log_of_shortfall(self._gain(lam), self._told(lam, large))

    def _rate(self, lam: Array) -> Array:
        rates = [weight * part._rate(lam) for weight, part in self._live]
        return sum(rates, np.zeros_like(lam))


@dataclass(frozen=True)
class Learned(Filter):
    """The labels themselves: everything learned, along every mode. A part of other filters."""

    def _gain(self, lam: Array) -> Array:
        return np.ones_like(lam)

    def _shortfall(self, lam: Array) -> Array:
        return np.zeros_like(lam)

    def _log_shortfall(self, lam: Array) -> Array:
        return np.full_like(lam, -np.inf)

    def _rate(self, lam: Array) -> Array:
        with np.errstate(divide="ignore"):
            return 1.0 / lam
