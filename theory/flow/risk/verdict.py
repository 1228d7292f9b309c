r"""When distillation can not pay: schemes that no parameters make better than early stopping.

Every filter stops direction i effectively at :math:`\theta_i = -\ln(1 - g_i)/\lambda_i`, and the
direction should be stopped at :math:`t_i^*`. If one runs up the spectrum while the other runs down,
a single time lies between them in all directions at once, and stopping everything there is at least
as good in each direction.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.flow.risk.modes import agree_in_modes, mode_stopping_time, wiener_gain
from theory.flow.risk.stopping import optimal_stopping_time
from theory.flow.risk.transfer import COUPLING, is_separable
from theory.numerics import phi, progress
from theory.statements import states

EXAGGERATING = (
    "Generations (label_weights is None)",
    "Mixed (student_time <= teacher_time)",
    "MixedFixedPoint",
    "DistillThenLabels (window == 0 or switch_time + window <= min(time, teacher_time))",
    "LabelsThenDistill (teacher_time >= switch_time and window == 0)",
    "GradientDescent (step_size * eigenvalue < 1 and momentum == 0)",
)
"""Filters whose effective stopping time does not fall with the eigenvalue, with its condition."""

BRAKING = (
    "Ridge",
    "TrajectoryAverage",
    "MemoryReplay",
    "MeanTeacher",
    "Mixed (teacher_time <= label_weight * student_time / 2)",
    "LabelsThenDistill (teacher_time <= switch_time and window == 0)",
    "Shrinkage",
)
"""Filters whose effective stopping time does not rise with the eigenvalue, with its condition.

For memory replay with several copies, the mean teacher and the mixed loss that rests on a numerical
search without a contrary case, for the others on proof.
"""

Pattern = Literal["nonincreasing", "nondecreasing", "constant", "mixed"]

_ROUNDOFF = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What the dominance theorem says of one spectrum and one signal."""

    pattern: Pattern
    """How the best stopping time of a direction changes as the eigenvalue grows."""
    eigenvalues: Array
    """Distinct eigenvalues > 0 of directions that count, descending."""
    mode_times: Array
    """The best stopping time of each of them."""
    cannot_win: tuple[str, ...]
    """Families of ``theory.flow.filters`` that beat early stopping for no parameters."""
    explanation: str

    def forbids(self, effective_times: ArrayLike) -> bool:
        """Whether a filter with these effective times, one an eigenvalue, is beaten for sure.

        This looks at the numbers instead of the family, and so decides more: it is True as soon as
        one early-stopping time is at least as good in every direction.

        Example:
            >>> verdict = dominance([1.0, 0.1], [4.0, 1.0], 1.0)
            >>> verdict.forbids([3.0, 2.0]), verdict.forbids([2.0, 5.0])
            (True, False)
        """
        return not bool(np.isnan(dominating_time(effective_times, self.mode_times)))


def aggregate_ties(
    eigenvalues: ArrayLike,
    signal_energy: ArrayLike,
    noise_variance: ArrayLike,
    *,
    weights: ArrayLike | None = None,
) -> tuple[Array, Array, Array]:
    r"""Directions of one eigenvalue as one: every filter treats them alike.

    Their common risk is again :math:`(1-g)^2 c^2 + \sigma^2 g^2`, with weighted sums of energy and
    of noise. Directions that never move, or whose risk is zero whatever the gain, are dropped.

    Returns:
        Distinct eigenvalues, descending, with the energy and the noise of each.

    Example:
        >>> aggregate_ties([1.0, 2.0, 1.0, 0.0], [3.0, 0.0, 1.0, 9.0], 0.5)
        (array([2., 1.]), array([0., 4.]), array([0.5, 1. ]))
    """
    rate = np.atleast_1d(checks.nonnegative("eigenvalues", eigenvalues))
    energy = checks.nonnegative("signal_energy", signal_energy)
    noise = checks.nonnegative("noise_variance", noise_variance)
    scale = np.ones(1) if weights is None else checks.nonnegative("weights", weights)
    _one_a_mode(rate, signal_energy=energy, noise_variance=noise, weights=scale)
    with np.errstate(over="ignore", under="ignore"):
        energy, noise = energy * scale + 0.0 * rate, noise * scale + 0.0 * rate
    counts = (rate > 0) & ((energy > 0) | (noise > 0))
    distinct, group = np.unique(-rate[counts], return_inverse=True)
    totals = (np.bincount(group, part[counts], len(distinct)) for part in (energy, noise))
    return -distinct, *totals  # type: ignore[return-value]


@states(
    "flow:dominance-exaggerating",
    "D1: if the best stopping time of a direction does not rise with its eigenvalue, no filter "
    "whose effective time does not fall with it beats the best early stopping.",
    source="docs/flow.md, D1",
)
@states(
    "flow:dominance-braking",
    "D2: if the best stopping time does not fall with the eigenvalue, no filter whose effective "
    "time does not rise with it beats the best early stopping.",
    source="docs/flow.md, D2",
)
@states(
    "flow:dominance-constant",
    "D3: if all directions have the same best stopping time, early stopping is the Wiener filter.",
    source="docs/flow.md, D3",
)
def dominance(
    eigenvalues: ArrayLike,
    signal_energy: ArrayLike,
    noise_variance: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    covariance: ArrayLike | None = None,
    basis: ArrayLike | None = None,
) -> Verdict:
    r"""Which families of filters can not beat early stopping, whatever their parameters.

    For a risk that is a sum over directions: in-sample denoising, or the test risk where the
    population covariance is diagonal in the eigenbasis. Directions of one eigenvalue count as one.

    Args:
        eigenvalues: :math:`\lambda_i \ge 0`, shape ``(modes,)``, in any order.
        signal_energy: :math:`c_i^2`, shape ``(modes,)``.
        noise_variance: :math:`\sigma^2`.
        weights: Weight of each direction in the risk, >= 0; equal if absent.
        covariance: Population covariance of the test inputs, if the test risk is meant.
        basis: Right singular vectors V, shape ``(p, modes)``, where ``covariance`` is not already
            written in them.

    Raises:
        ValueError: If ``covariance`` couples directions of different eigenvalues: then the theorem
            does not hold, and a scheme it would rule out can win (see ``excess_risk``). If it
            couples directions of the same eigenvalue: the theorem then holds, for the risk is
            :math:`(1-g)^2 \beta^\top S \beta + \sigma^2 g^2 \operatorname{tr} S / \lambda` on the
            eigenspace, but energies do not tell the signs of :math:`\beta` in the first term. The
            basis of an eigenspace is free: choose the one in which ``covariance`` is diagonal, and
            give the energies along it.

    References:
        docs/flow.md, D1 to D5.

    Example:
        >>> verdict = dominance([1.0, 0.1], [4.0, 1.0], 1.0)
        >>> verdict.pattern, verdict.cannot_win[0]
        ('nonincreasing', 'Generations (label_weights is None)')
    """
    scale = weights
    if covariance is not None:
        scale = _test_weights(eigenvalues, weights, covariance, basis)
    rate, energy, noise = aggregate_ties(eigenvalues, signal_energy, noise_variance, weights=scale)
    stop = mode_stopping_time(rate, energy, noise)
    pattern = _pattern(stop)
    return Verdict(pattern, rate, np.atleast_1d(stop), _FORBIDDEN[pattern], _EXPLANATION[pattern])


_COUPLED = (
    "covariance must be diagonal in the eigenbasis for the dominance theorem, got one that couples "
    "directions: what the theorem rules out can then win. Compare excess_risk instead."
)
_TURNED = (
    "covariance must be diagonal in the eigenbasis, got one that couples directions of the same "
    "eigenvalue: their risk depends on the signs of the coefficients, which signal_energy does not "
    "tell. Turn the basis within each eigenspace so that covariance is diagonal there, and give "
    "signal_energy along the new directions."
)
_FORBIDDEN: dict[Pattern, tuple[str, ...]] = {
    "nonincreasing": EXAGGERATING,
    "nondecreasing": BRAKING,
    "constant": EXAGGERATING + BRAKING,
    "mixed": (),
}
_EXPLANATION: dict[Pattern, str] = {
    "nonincreasing": (
        "Weak directions should be trained longest. Schemes that train them shortest relative to "
        "the strong ones, distillation among them, are never better than the best early stopping; "
        "ridge, averaged labels and their like may be."
    ),
    "nondecreasing": (
        "Strong directions should be trained longest. Schemes that hold them back relative to the "
        "weak ones, such as ridge and averaged labels, are never better than the best early "
        "stopping; distillation may be."
    ),
    "constant": (
        "All directions should be stopped at the same time, and early stopping does just that: it "
        "is the Wiener filter, which nothing beats."
    ),
    "mixed": (
        "The best stopping time neither rises nor falls along the whole spectrum: the theorem "
        "rules nothing out."
    ),
}


def _pattern(stop: Array) -> Pattern:
    """Of times at descending eigenvalues, up to round-off."""
    if stop.size == 0 or _close(stop.min(), stop.max()):
        return "constant"
    # along descending eigenvalues the times must not fall below what came before
    if _close_all(stop, np.maximum.accumulate(stop)):
        return "nonincreasing"
    if _close_all(stop, np.minimum.accumulate(stop)):
        return "nondecreasing"
    return "mixed"


def _close(low: float, high: float) -> bool:
    return bool(low == high or high - low <= _ROUNDOFF * high < np.inf)


def _close_all(values: Array, envelope: Array) -> bool:
    return all(_close(min(v, e), max(v, e)) for v, e in zip(values, envelope, strict=True))


def _test_weights(
    eigenvalues: ArrayLike,
    weights: ArrayLike | None,
    covariance: ArrayLike,
    basis: ArrayLike | None,
) -> Array:
    r"""Weight of each direction in the test risk, :math:`v_i^\top S v_i / \lambda_i`."""
    rate = np.atleast_1d(checks.nonnegative("eigenvalues", eigenvalues))
    scale = np.ones(1) if weights is None else checks.nonnegative("weights", weights)
    _one_a_mode(rate, weights=scale)
    separable = is_separable(covariance, basis)
    population = checks.square_matrix("covariance", covariance)
    directions = np.eye(len(population)) if basis is None else checks.matrix("basis", basis)
    if directions.shape[1:] != rate.shape:
        msg = (
            f"covariance, in the given basis, must speak of the {rate.size} modes of eigenvalues, "
            f"got {directions.shape[1]}"
        )
        raise ValueError(msg)
    if not separable:
        raise ValueError(_COUPLED if _couples_unequal(rate, population, directions) else _TURNED)
    seen = np.clip((directions * (population @ directions)).sum(axis=0), 0.0, None)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # relative to the top one, so that the quotient stays in range
        return np.where(rate > 0, seen * scale / (rate / max(rate.max(), 1e-300)), 0.0)


def _couples_unequal(rate: Array, population: Array, directions: Array) -> bool:
    """Whether S carries a direction out of its eigenspace."""
    moved = population @ directions
    inside = np.where(rate[:, None] == rate, directions.T @ moved, 0.0)
    left_over = np.abs(moved - directions @ inside).max()
    return bool(left_over > COUPLING * np.abs(population).max())


def _one_a_mode(rate: Array, **others: Array) -> None:
    """Refuse what is neither one number nor one a mode."""
    if rate.ndim != 1 or any(part.shape not in {(), (1,), rate.shape} for part in others.values()):
        shapes = ", ".join(str(part.shape) for part in (rate, *others.values()))
        names = ", ".join(others)
        msg = f"eigenvalues and {names} must have one value a mode, got shapes {shapes}"
        raise ValueError(msg)


def dominating_time(
    effective_times: ArrayLike, mode_times: ArrayLike, *, eigenvalues: ArrayLike | None = None
) -> Array:
    r"""The early-stopping time that is at least as good as a filter in every single direction.

    A time between :math:`\theta_i` (where the filter stops direction i) and :math:`t_i^*` (where it
    should be stopped), for all i at once. Intervals of the line that meet pairwise have a common
    point, so it exists exactly if the largest lower end is at most the smallest upper end. If one
    sequence rises and the other falls along the spectrum, intervals i and j always meet:
    :math:`\theta_i \ge \theta_j` and :math:`t_i^* \le t_j^*` give
    :math:`\min(\theta_i, t_i^*) \le t_j^* \le \max(\theta_j, t_j^*)` and
    :math:`\min(\theta_j, t_j^*) \le \theta_i \le \max(\theta_i, t_i^*)`. That is the proof of D1
    and D2; elsewhere the time may exist or not. The risk of a direction is convex in the gain with
    its minimum at the gain of :math:`t_i^*`, so that moving towards it never costs.

    Args:
        effective_times: ``filter.effective_time(eigenvalues)``, shape ``(..., modes)``; inf
            allowed, and nan (a gain outside [0, 1], about which nothing is said).
        mode_times: ``mode_stopping_time(...)``, shape ``(..., modes)``; inf allowed.
        eigenvalues: If given, directions of eigenvalue 0 are left out: nothing is learned there.

    Returns:
        The time, nan where there is none.

    Example:
        >>> dominating_time([[3.0, 2.0], [2.0, 9.0]], [1.6, 6.9])
        array([ 2., nan])
    """
    reached, best, rate = agree_in_modes(
        effective_times=_times_or_nan("effective_times", effective_times),
        mode_times=checks.times("mode_times", mode_times),
        eigenvalues=checks.nonnegative("eigenvalues", 1.0 if eigenvalues is None else eigenvalues),
    )
    moving, unknown = rate > 0, np.isnan(reached)
    reached = np.where(unknown, 0.0, reached)
    low = np.where(moving, np.minimum(reached, best), 0.0).max(axis=-1)
    high = np.where(moving, np.maximum(reached, best), np.inf).min(axis=-1)
    # where the filter stops every direction too early, the latest time that is not too late
    early = (~moving | (reached <= best)).all(axis=-1)
    late = (~moving | (reached >= best)).all(axis=-1)
    exists = _not_above(low, high) & ~(unknown & moving).any(axis=-1)
    return np.where(exists, np.where(early & ~late, high, low), np.nan)[()]


def _times_or_nan(name: str, value: ArrayLike) -> Array:
    raw = np.asarray(value)
    if raw.dtype.kind != "f":
        return checks.times(name, value)
    unknown = np.isnan(raw)
    return np.where(unknown, np.nan, checks.times(name, np.where(unknown, 0.0, raw)))


def _not_above(low: Array, high: Array) -> np.ndarray:
    """``low <= high`` up to round-off of effective times."""
    with np.errstate(over="ignore"):
        return np.asarray(low <= high * (1 + _ROUNDOFF))


def student_certainly_gains(
    eigenvalues: ArrayLike, signal_energy: ArrayLike, noise_variance: ArrayLike
) -> bool:
    r"""Whether the slowest direction is over-fitted at the best stopping time: a student then wins.

    A student trained for ever repeats its teacher, so the best student is never worse than the
    best early stopping. Stopped very late it shrinks the slowest direction the most, so that it is
    strictly better if :math:`\phi(\lambda_{\min} t^*) > w_{\min}`: sufficient, not necessary.

    Example:
        >>> student_certainly_gains([1.0, 0.1], [4.0, 0.0], 1.0)
        True
    """
    rate, energy, noise = aggregate_ties(eigenvalues, signal_energy, noise_variance)
    if rate.size == 0:
        return False
    stop = optimal_stopping_time(rate, energy, noise)
    if not np.isfinite(stop):
        return False
    # the same comparison as of the gains, without their round-off
    return not bool(_not_above(stop, mode_stopping_time(rate[-1], energy[-1], noise[-1])))


@states(
    "flow:student-limit",
    "D4: over all teacher and student times the least risk of a student is not above the best "
    "early stopping, and is below where the slowest direction is over-fitted at the best time.",
    source="docs/flow.md, D4",
)
def winning_student(
    eigenvalues: ArrayLike, signal_energy: ArrayLike, noise_variance: ArrayLike
) -> tuple[float, float, float]:
    r"""A student of the best-stopped teacher, and how much less it risks than that teacher.

    .. math:: \Delta(\tilde t) = \sum_i S_i \phi_i q_i \bigl[2 (\phi_i - w_i) - \phi_i q_i\bigr],
              \qquad q_i = e^{-\lambda_i \tilde t}, \quad \phi_i = \phi(\lambda_i t^*)

    is the gain summed over directions, formed without cancellation, so that it is found where it is
    far below the rounding of the risks.

    Returns:
        ``(student_time, teacher_time, gain)``; student time inf and gain 0 where no student time
        helps with this teacher.

    Example:
        >>> student_time, teacher_time, gain = winning_student([1.0, 0.1], [4.0, 0.0], 1.0)
        >>> round(student_time, 3), round(teacher_time, 3), round(gain, 4)
        (4.933, 1.553, 0.0167)
    """
    rate, energy, noise = aggregate_ties(eigenvalues, signal_energy, noise_variance)
    stop = float(optimal_stopping_time(rate, energy, noise)) if rate.size else 0.0
    if stop == 0 or np.isinf(stop):
        return np.inf, stop, 0.0
    learned = phi(progress(rate, stop))
    over = learned - wiener_gain(energy, noise)

    def gain(times: Array) -> Array:
        with np.errstate(under="ignore"):
            left = learned * np.exp(-progress(times[:, None], rate))
        return np.asarray(((energy + noise) * left * (2 * over - left)).sum(axis=1))

    late = 745.0 / rate[-1]  # beyond it the student is the teacher in floating point
    times = np.geomspace(min(1e-3 / rate[0], late), late, 4001)
    for _ in range(4):
        best = int(np.argmax(gains := gain(times)))
        if gains[best] <= 0:
            return np.inf, stop, 0.0
        times = np.geomspace(times[max(best - 1, 0)], times[min(best + 1, len(times) - 1)], 101)
    best = int(np.argmax(gains := gain(times)))
    return float(times[best]), stop, float(gains[best])
