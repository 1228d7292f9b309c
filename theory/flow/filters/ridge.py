"""Ridge regression, once or in rounds of self-distillation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.flow.filters.base import Composed, Filter, Product, log, put
from theory.flow.spectrum import Spectrum
from theory.statements import states


@dataclass(frozen=True)
class Ridge(Filter):
    r"""Ridge regression: row 2 of the table of schemes.

    .. math:: g = \frac{\lambda}{\lambda + \mu}

    A mixture of early-stopped flows with exponential stopping times of rate :math:`\mu`, so it
    weakens the bias of gradient flow.

    Example:
        >>> Ridge(1.0).gain([0.0, 1.0, 3.0])
        array([0.  , 0.5 , 0.75])
    """

    penalty: float
    r""":math:`\mu \ge 0`; ``inf`` learns nothing, 0 everything."""

    def __post_init__(self) -> None:
        penalty = checks.scalar("penalty", self.penalty, infinite=True)
        checks.nonnegative("penalty", penalty, infinite=True)
        put(self, penalty=penalty)

    def _gain(self, lam: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            gain = 1.0 / (1.0 + self.penalty / lam)  # the sum lambda + mu may overflow
        return np.where(lam == 0, 0.0, gain)

    def _shortfall(self, lam: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            shortfall = np.divide(1.0, 1.0 + lam / self.penalty)
        return np.where(lam == 0, 1.0, shortfall)

    def _log_shortfall(self, lam: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            near = -np.log1p(lam / self.penalty)
            # the ratio overflows before its logarithm does
            far = log(self.penalty) - np.log(lam) - np.log1p(self.penalty / lam)
        chosen = np.where(np.isinf(near), far, near)
        return np.where(lam == 0, 0.0, chosen)

    def _rate(self, lam: Array) -> Array:
        with np.errstate(divide="ignore"):
            return np.divide(1.0, lam + self.penalty)


@dataclass(frozen=True)
class RidgeRounds(Composed):
    r"""Ridge regression in rounds, each on the outputs of the one before: row 3.

    .. math:: g = \prod_j \frac{\lambda}{\lambda + \mu_j}

    Exaggerates within ridge's own family (Mobahi et al. 2020); beside gradient flow its
    effective time rises, then falls.

    Example:
        >>> RidgeRounds((1.0, 2.0)).gain([1.0, 2.0])
        array([0.167, 0.333])
    """

    penalties: tuple[float, ...]
    r""":math:`\mu_j \ge 0`, one for each round."""

    def __post_init__(self) -> None:
        penalties = np.atleast_1d(checks.nonnegative("penalties", self.penalties, infinite=True))
        if penalties.ndim != 1 or penalties.size == 0:
            msg = f"penalties must be a sequence of one or more numbers, got {self.penalties!r}"
            raise ValueError(msg)
        put(self, penalties=tuple(penalties.tolist()))

    @property
    def form(self) -> Filter:
        """A product of ridges."""
        return Product(tuple(Ridge(penalty) for penalty in self.penalties))


@dataclass(frozen=True)
class ConstrainedRounds:
    """What constrained self-distillation went through, round by round."""

    penalties: tuple[float, ...]
    r"""The Lagrange parameters :math:`\mu_j` of the rounds before the collapse."""
    norms: tuple[float, ...]
    r""":math:`\|y_j\|` from the labels (j = 0) on; one more than there are penalties."""
    collapsed: bool
    """Whether the next round would have no reason to learn anything (its output is zero)."""
    least_rounds: int
    r"""Rounds that are certain before the collapse:
    :math:`\lceil \|y_0\| / \sqrt{n \epsilon} \rceil - 1`."""

    @property
    def filter(self) -> RidgeRounds | None:
        """The filter of all rounds together; None where the labels themselves collapse."""
        return RidgeRounds(self.penalties) if self.penalties else None


@states(
    "flow:constrained-rounds",
    "Each constrained ridge round moves the targets by exactly sqrt(n eps), so at least "
    "ceil(|y| / sqrt(n eps)) - 1 rounds pass before the collapse.",
    source="Mobahi et al. 2020, as cited in Nagarajan 2023, section 4",
)
def constrained_rounds(
    spectrum: Spectrum, y: ArrayLike, tolerance: float, *, rounds: int = 1000
) -> ConstrainedRounds:
    r"""Self-distillation where each round is the smoothest fit within a mean squared error.

    Round j replaces the targets by

    .. math::

        y_j = U \frac{\lambda}{\lambda + \mu_j} U^\top y_{j-1}, \qquad
        \sum_i \Big(\frac{\mu_j}{\lambda_i + \mu_j}\Big)^2 (u_i^\top y_{j-1})^2 = n \epsilon

    The root is unique, for the sum increases in :math:`\mu`; it exists as long as
    :math:`\|y_{j-1}\|^2 > n \epsilon`, after which the targets collapse to zero. What lies in
    modes of eigenvalue zero, or outside all modes, is never fitted and counts fully in the
    first round.

    Args:
        spectrum: Of the data or the kernel, n samples.
        y: Labels, shape (n,) or (n, K); the K outputs share one constraint.
        tolerance: :math:`\epsilon > 0`, the mean squared error that a round may make.
        rounds: Stop after so many rounds where no collapse came before.

    Raises:
        ValueError: If what cannot be fitted exceeds the tolerance already.

    Example:
        >>> spectrum = Spectrum.from_kernel(np.diag([2.0, 1.0]))
        >>> constrained_rounds(spectrum, [2.0, 1.0], 0.5).penalties
        (1.376, 7.266)
    """
    targets = checks.columns("y", y, spectrum.left.shape[0], of="sample of the spectrum")
    epsilon = float(checks.positive("tolerance", checks.scalar("tolerance", tolerance)))
    limit = checks.count("rounds", rounds, minimum=1)
    # in units of a power of two near the largest label, whose square would else overflow
    unit = float(np.ldexp(1.0, int(np.frexp(np.abs(targets).max())[1])))
    flat = targets.reshape(len(targets), -1) / unit
    coefficients = spectrum.left.T @ flat
    energy = np.sum(coefficients**2, axis=1)
    live = spectrum.eigenvalues > 0
    lam, energy = spectrum.eigenvalues[live], energy[live]
    outside = flat - spectrum.left[:, live] @ coefficients[live]
    unfitted = float(np.sum(outside**2))
    budget = len(flat) * (epsilon / unit / unit)
    norms = [float(np.linalg.norm(flat))]
    least = max(int(np.ceil(norms[0] / np.sqrt(budget))) - 1, 0)
    penalties: list[float] = []
    # round-off leaves a trace outside the modes of labels that lie inside them
    if unfitted >= budget and norms[0] ** 2 > budget:
        msg = (
            f"tolerance must exceed what no round can fit, {unfitted / budget * epsilon:.3g}: the "
            f"mean square of y outside the modes of positive eigenvalue; got {epsilon:.3g}"
        )
        raise ValueError(msg)
    while energy.sum() + unfitted > budget and len(penalties) < limit:
        penalty = _penalty(lam, energy, budget - unfitted)
        penalties.append(penalty)
        energy = energy * Ridge(penalty)._gain(lam) ** 2
        unfitted = 0.0
        norms.append(float(np.sqrt(energy.sum())))
    collapsed = bool(energy.sum() + unfitted <= budget)
    return ConstrainedRounds(
        tuple(penalties), tuple(norm * unit for norm in norms), collapsed, least
    )


def _penalty(lam: Array, energy: Array, budget: float) -> float:
    """The penalty at which the residual energy is the budget, found in its logarithm."""
    from scipy.optimize import brentq

    keep = energy > 0
    lam, energy = lam[keep], energy[keep]

    def excess(log_penalty: float) -> float:
        shortfall = Ridge(float(np.exp(log_penalty)))._shortfall(lam)
        return float(np.log(np.sum(energy * shortfall**2)) - np.log(budget))

    # shortfall^2 lies between those of the extreme eigenvalues, each solved for the penalty
    share = np.sqrt(budget / energy.sum())
    odds = np.log(share) - np.log1p(-share) if share < 1 else 40.0
    low, high = float(np.log(lam.min()) + odds) - 1.0, float(np.log(lam.max()) + odds) + 1.0
    while excess(low) > 0:
        low -= 4.0
    while excess(high) < 0:
        high += 4.0
    return float(np.exp(brentq(excess, low, high, xtol=1e-15, rtol=1e-15)))
