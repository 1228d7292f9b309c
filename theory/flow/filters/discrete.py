"""Gradient descent in finite steps: plain, with momentum, and its averaged trajectory."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theory import checks
from theory.checks import Array
from theory.flow.filters.base import Filter, log, log_of_shortfall, put
from theory.flow.filters.powers import affine_power, matrix_power, scaled
from theory.numerics import LN2, phi, progress

SERIES_TERMS = 22
# up to so many steps a recursion is faster than a power of the step's matrix
SHORT = 64
# beyond so many a recursion takes too long even where it is the more accurate of the two
LONG = 100_000


def _step_size(value: float) -> float:
    size = checks.scalar("step_size", value)
    checks.nonnegative("step_size", size)
    return size


def _require_stable(lam: Array, step_size: float, bound: float, rule: str) -> None:
    top = float(lam.max()) if lam.size else 0.0
    if step_size * top >= bound:
        msg = (
            f"step_size must stay below {bound / top:.6g} for the largest eigenvalue {top:.6g} "
            f"({rule}), got {step_size:.6g}: the iteration diverges"
        )
        raise ValueError(msg)


@dataclass(frozen=True)
class GradientDescent(Filter):
    r"""Full-batch gradient descent on the labels: rows 14 to 16.

    .. math:: e_{m+1} = (1 - \eta \lambda) e_m, \qquad g = 1 - e_m

    With momentum :math:`\mu` (heavy ball from rest) :math:`e_{m+1} = (1 + \mu - \eta \lambda)
    e_m - \mu e_{m-1}`, :math:`e_0 = e_{-1} = 1`; with Nesterov's :math:`e_{m+1} = (1 - \eta
    \lambda) ((1 + \mu) e_m - \mu e_{m-1})`, whose first step is :math:`e_1 = 1 - (1 + \mu) \eta
    \lambda` in ``torch.optim.SGD`` (``start="torch"``) and :math:`e_1 = 1 - \eta \lambda` in
    textbooks (``start="textbook"``).

    For :math:`\eta \lambda > 1`, or with momentum, the gain oscillates and can exceed 1; such
    modes have no effective time. Evaluation raises ValueError where the iteration diverges:
    :math:`\eta \lambda \ge 2`, :math:`2 (1 + \mu)` for the heavy ball and
    :math:`2 (1 + \mu) / (1 + 2 \mu)` for Nesterov.

    Example:
        >>> GradientDescent(0.5, 3).gain([0.5, 1.0, 3.0])
        array([0.578125, 0.875   , 1.125   ])
        >>> float(GradientDescent(0.1, 3, momentum=0.9, nesterov=True).gain(1.0))
        0.672679
    """

    step_size: float
    r"""Step :math:`\eta \ge 0`."""
    steps: int
    """Number m of steps."""
    momentum: float = 0.0
    r""":math:`\mu` in [0, 1)."""
    nesterov: bool = False
    """Nesterov's look-ahead instead of the heavy ball."""
    start: str = "torch"
    """How Nesterov begins: ``"torch"`` or ``"textbook"``."""

    def __post_init__(self) -> None:
        momentum = checks.fraction("momentum", self.momentum)
        if momentum == 1:
            msg = "momentum must be in [0, 1), got 1"
            raise ValueError(msg)
        put(
            self,
            step_size=_step_size(self.step_size),
            steps=checks.count("steps", self.steps),
            momentum=momentum,
            nesterov=checks.flag("nesterov", self.nesterov),
            start=checks.choice("start", self.start, ("torch", "textbook")),
        )

    @property
    def largest_step(self) -> float:
        """The bound on step size times eigenvalue below which the iteration converges."""
        mu = self.momentum
        return 2.0 * (1.0 + mu) / (1.0 + 2.0 * mu if self.nesterov else 1.0)

    def check_eigenvalues(self, eigenvalues: Array) -> None:
        """Raise ValueError where the iteration diverges."""
        rule = f"step size times eigenvalue below {self.largest_step:.6g}"
        _require_stable(eigenvalues, self.step_size, self.largest_step, rule)

    def _log_error(self, lam: Array) -> tuple[Array, Array]:
        """Logarithm and sign of the error without momentum."""
        x = self.step_size * lam
        with np.errstate(divide="ignore", invalid="ignore"):
            logarithm = np.where(x < 1, np.log1p(-np.minimum(x, 1.0)), np.log(np.abs(x - 1.0)))
            logarithm = self.steps * logarithm if self.steps else np.zeros_like(x)
        return logarithm, np.where((x > 1) & (self.steps % 2 == 1), -1.0, 1.0)

    def _gain(self, lam: Array) -> Array:
        if self.momentum:
            x = self.step_size * lam
            return x * self._learned(x)
        logarithm, sign = self._log_error(lam)
        return np.where(sign > 0, -np.expm1(logarithm), 1.0 + np.exp(logarithm))

    def _shortfall(self, lam: Array) -> Array:
        if self.momentum:
            error, scale = self._error(lam)
            return scaled(error, scale)
        logarithm, sign = self._log_error(lam)
        return sign * np.exp(logarithm)

    def _log_shortfall(self, lam: Array) -> Array:
        if self.momentum:
            error, scale = self._error(lam)
            large = np.where(error >= 0, log(np.maximum(error, 0.0)) + LN2 * scale, np.nan)
        else:
            logarithm, sign = self._log_error(lam)
            large = np.where(sign > 0, logarithm, np.nan)
        return log_of_shortfall(self._gain(lam), large)

    def _rate(self, lam: Array) -> Array:
        if self.momentum:
            return self.step_size * self._learned(self.step_size * lam)
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = self._gain(lam) / lam
        # m eta to first order in a small eta lambda, where the gain may underflow
        tiny = self.step_size * self.steps
        return np.where(lam * tiny < 1e-280, tiny, rate)

    def _coefficients(self, x: Array) -> tuple[Array, Array, Array]:
        """The step e' = (1 - p x) e - b v, v' = x e + c v, with p, b, c for x = eta lambda."""
        mu = self.momentum
        whole = np.ones_like(x)
        if not self.nesterov:
            return whole, mu * whole, mu * whole
        if self.start == "torch":
            return (1.0 + mu) * whole, mu * mu * whole, mu * whole
        return whole, mu * (1.0 - x), mu * (1.0 - x)

    def _learned(self, x: Array) -> Array:
        """The gain over x = eta lambda, by a recursion that starts at zero with a unit push."""
        first, b, c = self._coefficients(x)
        if self.steps <= SHORT:
            return self._learned_in_turn(x)
        step = np.array([[1.0 - first * x, b], [-x, c]])
        learned: Array = affine_power(step, np.array([first, np.ones_like(x)]), self.steps)[0]
        near = _fragile(step, self.steps)
        if near.any():
            learned[near] = self._learned_in_turn(x[near])
        return learned

    def _learned_in_turn(self, x: Array) -> Array:
        first, b, c = self._coefficients(x)
        gain, velocity = np.zeros_like(x), np.zeros_like(x)
        for _ in range(self.steps):
            force = 1.0 - x * gain
            gain, velocity = gain + first * force + b * velocity, force + c * velocity
        return gain

    def _error(self, lam: Array) -> tuple[Array, Array]:
        """Mantissa of the error and the binary logarithm of its scale."""
        x = self.step_size * lam
        first, b, c = self._coefficients(x)
        step = np.array([[1.0 - first * x, -b], [x, c]])
        power, scale = matrix_power(step, self.steps)
        error = power[0, 0]
        near = _fragile(step, self.steps)
        if near.any():
            error[near], scale[near] = self._error_in_turn(step[:, :, near])
        return error, scale

    def _error_in_turn(self, step: Array) -> tuple[Array, Array]:
        error, velocity = np.ones_like(step[0, 0]), np.zeros_like(step[0, 0])
        scale = np.zeros_like(error)
        for index in range(self.steps):
            error, velocity = (
                step[0, 0] * error + step[0, 1] * velocity,
                step[1, 0] * error + step[1, 1] * velocity,
            )
            if index % SHORT == 0:  # by a power of two, before anything underflows
                shift = np.frexp(np.maximum(np.abs(error), np.abs(velocity)))[1]
                error, velocity = np.ldexp(error, -shift), np.ldexp(velocity, -shift)
                scale += shift
        return error, scale


def _fragile(step: Array, steps: int) -> NDArray[np.bool_]:
    """Where squaring steps loses digits: large steps whose two negative roots nearly coincide."""
    trace = step[0, 0] + step[1, 1]
    determinant = step[0, 0] * step[1, 1] - step[0, 1] * step[1, 0]
    nearly_double = np.abs(trace**2 - 4.0 * determinant) < 0.1 * trace**2
    return np.asarray((trace < 0) & nearly_double & (SHORT < steps <= LONG))


@dataclass(frozen=True)
class DiscreteTrajectoryAverage(Filter):
    r"""Filter-KD's labels as its algorithm makes them: one full-batch step an epoch.

    The average takes in the prediction before each step, :math:`q_{m+1} = (1 - a) q_m + a z_m`
    from :math:`q_0 = z_0`; after M epochs, with :math:`\rho = 1 - \eta \lambda` and
    :math:`\beta = 1 - a`,

    .. math:: g = 1 - \beta^M - a \frac{\rho^M - \beta^M}{\rho - \beta}

    It lags one step behind :class:`TrajectoryAverage`, its limit of small steps. Source: Ren
    2022, Algorithm 1.

    Example:
        >>> DiscreteTrajectoryAverage(0.5, 0.25, 4).gain([0.5, 1.0])
        array([0.26171875, 0.4296875 ])
    """

    step_size: float
    r"""Step :math:`\eta \ge 0`."""
    smoothing: float
    """Weight a of the newest prediction, in [0, 1]."""
    epochs: int
    """Number M of epochs."""

    def __post_init__(self) -> None:
        put(
            self,
            step_size=_step_size(self.step_size),
            smoothing=checks.fraction("smoothing", self.smoothing),
            epochs=checks.count("epochs", self.epochs),
        )

    def check_eigenvalues(self, eigenvalues: Array) -> None:
        """Raise ValueError where the iteration diverges."""
        rule = "step size times eigenvalue below 2"
        _require_stable(eigenvalues, self.step_size, 2.0, rule)

    @property
    def _still(self) -> bool:
        """Whether the average is where it began: the first epoch takes in the start itself."""
        return self.epochs <= 1 or not self.smoothing

    @property
    def _kept(self) -> float:
        return float(np.exp(self._log_kept)) if self.epochs else 1.0

    @property
    def _log_kept(self) -> float:
        """Logarithm of the weight that stays on the start, after one epoch or more."""
        return self.epochs * float(np.log1p(-self.smoothing)) if self.smoothing < 1 else -np.inf

    def _sum(self, x: Array) -> tuple[Array, Array]:
        r"""Logarithm and sign of the mean power :math:`(\rho^M - \beta^M) / (\rho - \beta)`."""
        a, epochs = self.smoothing, self.epochs
        lower, upper = np.minimum(x, a), np.minimum(np.maximum(x, a), 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            # upper base is 1 - lower; the logarithm of the ratio of the bases
            distance = np.log1p(np.maximum(upper - lower, 0.0) / (1.0 - upper))
            distance = np.where(upper > lower, distance, 0.0)
            ratio = phi(progress(epochs, distance)) / phi(distance)
            ratio = np.where(distance == 0, float(epochs), ratio)
            growth = np.log1p(-lower) * (epochs - 1) if epochs > 1 else np.zeros_like(x)
            same_sign = growth + np.log(ratio)
        plain = np.where(x > 1, self._alternating(x), 1.0)
        logarithm = np.where(x > 1, log(np.abs(plain)), same_sign)
        return logarithm, np.sign(plain)

    def _alternating(self, x: Array) -> Array:
        """The mean power for x > 1, where the two bases differ in sign and nothing cancels."""
        x = np.maximum(x, 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 only where x <= 1
            powers = (1.0 - x) ** self.epochs - (1.0 - self.smoothing) ** self.epochs
            return np.asarray(powers / ((1.0 - x) - (1.0 - self.smoothing)))

    def _gain(self, lam: Array) -> Array:
        if self._still:
            return np.zeros_like(lam)
        x = self.step_size * lam
        beyond = -np.expm1(self._log_kept) - self.smoothing * self._alternating(x)
        return np.where(x > 1, beyond, x * self._rate_of_step(x))

    def _rate_of_step(self, x: Array) -> Array:
        """The gain over x = eta lambda <= 1, symmetric in x and a but for that factor."""
        a, epochs = self.smoothing, self.epochs
        x = np.minimum(x, 1.0)
        logarithm, _ = self._sum(x)
        lower = np.minimum(x, a)
        with np.errstate(divide="ignore", invalid="ignore"):
            whole = -np.expm1(epochs * np.log1p(-lower)) / lower
            whole = np.where(lower > 0, whole, float(epochs))
            rate = (whole - np.exp(logarithm)) * np.where(x <= a, 1.0, a / x)
        near = np.maximum(x, a) * epochs < 1
        if near.any():
            rate[near] = a * self._series(x[near])
        return rate

    def _series(self, x: Array) -> Array:
        """The sum over k of (-1)^k binomial(M, k + 2) H_k(x, a), for M max(x, a) < 1."""
        epochs = self.epochs
        x, a = epochs * x, epochs * self.smoothing
        coefficient = epochs * (epochs - 1) / 2.0  # binomial / M^k, which does not overflow
        homogeneous, power = np.ones_like(x), np.ones_like(x)
        total = np.full_like(x, coefficient)
        for k in range(1, SERIES_TERMS):
            power = power * x
            homogeneous = a * homogeneous + power
            coefficient *= -(1.0 - (k + 1) / epochs) / (k + 2)
            total += coefficient * homogeneous
        return total

    def _shortfall(self, lam: Array) -> Array:
        if self._still:
            return np.ones_like(lam)
        logarithm, sign = self._sum(self.step_size * lam)
        return np.asarray(self._kept + self.smoothing * sign * np.exp(logarithm))

    def _log_shortfall(self, lam: Array) -> Array:
        if self._still:
            return np.zeros_like(lam)
        logarithm, sign = self._sum(self.step_size * lam)
        large = np.logaddexp(self._log_kept, np.log(self.smoothing) + logarithm)
        if (sign < 0).any():
            error = self._shortfall(lam)
            with np.errstate(invalid="ignore"):
                large = np.where(sign > 0, large, np.where(error >= 0, log(np.abs(error)), np.nan))
        return log_of_shortfall(self._gain(lam), large)

    def _rate(self, lam: Array) -> Array:
        if self._still:
            return np.zeros_like(lam)
        x = self.step_size * lam
        with np.errstate(divide="ignore", invalid="ignore"):
            beyond = self._gain(lam) / lam
        return np.where(x > 1, beyond, self.step_size * self._rate_of_step(x))


@dataclass(frozen=True)
class InSteps(Filter):
    r"""A scheme of gradient flow carried out in steps of gradient descent.

    .. math:: g_\eta(\lambda) = g\bigl(-\ln(1 - \eta \lambda)\bigr)

    with the times of the flow counted in steps. Descent takes :math:`1 - \eta \lambda` of the error
    to the next step where flow takes :math:`e^{-\lambda}` of it in unit time, so this is exact
    for all schemes whose targets are constant between whole steps.

    Evaluation raises ValueError where :math:`\eta \lambda \ge 1`: there descent overshoots, and no
    flow does.

    Example:
        >>> from theory.flow.filters import GradientFlow
        >>> InSteps(GradientFlow(3), 0.5).gain([0.5, 1.0])  # as 1 - (1 - 0.5 x)^3
        array([0.578125, 0.875   ])
    """

    flow: Filter
    """The scheme, its times in steps."""
    step_size: float
    r"""Step :math:`\eta \ge 0`, in units of one over the eigenvalues."""

    def __post_init__(self) -> None:
        given: object = self.flow
        if not isinstance(given, Filter):
            msg = f"flow must be a filter of theory.flow.filters, got {given!r}"
            raise ValueError(msg)  # noqa: TRY004 - bad input is a ValueError everywhere
        object.__setattr__(self, "step_size", _step_size(self.step_size))

    def check_eigenvalues(self, eigenvalues: Array) -> None:
        """Raise ValueError where a step overshoots."""
        top = float(eigenvalues.max()) if eigenvalues.size else 0.0
        if self.step_size * top >= 1:
            msg = (
                f"step_size must stay below {1 / top:.6g} for the largest eigenvalue {top:.6g}, "
                f"so that no step overshoots, got {self.step_size:.6g}"
            )
            raise ValueError(msg)

    def _warped(self, lam: Array) -> Array:
        return -np.log1p(-self.step_size * lam)

    def _gain(self, lam: Array) -> Array:
        return self.flow._gain(self._warped(lam))

    def _shortfall(self, lam: Array) -> Array:
        return self.flow._shortfall(self._warped(lam))

    def _log_shortfall(self, lam: Array) -> Array:
        return self.flow._log_shortfall(self._warped(lam))

    def _rate(self, lam: Array) -> Array:
        x = self.step_size * lam
        with np.errstate(divide="ignore", invalid="ignore"):
            stretch = np.where(x > 1e-290, self._warped(lam) / x, 1.0)
        return self.flow._rate(self._warped(lam)) * stretch * self.step_size
