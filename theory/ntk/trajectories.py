r"""Is a student more biased than its teacher? Statistics of their paths along eigendirections.

Teacher and student start from the same weights; D_k(t) is how far the weights have moved along
direction k (`theory.ntk.projections`), eigenvalues descend. A pair (i, j), i < j, has i as the
higher direction. All paths are divided by the teacher's final value, for the student too: with its
own final value the student's path under the flow of the squared loss is the teacher's, and the
effect is invisible. (Nagarajan 2023, appendix D.3, made precise.)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from theory import checks
from theory.checks import Array

POINTS = 19
_BLOCK = 1 << 16
"""Numbers that are interpolated together: they fit in the cache."""
FIT_FLOOR = 0.05
"""Share of its first amplitude down to which a direction's decay is measured."""


@dataclass(frozen=True, slots=True)
class Matched:
    """What student and teacher have along j when both have come equally far along i; both (r, r).

    Row i is the clock, column j the direction compared. Where a direction never moves: nan.
    """

    log_ratio: Array
    r""":math:`L_{ij}`, mean of :math:`\ln(D^S_j / D^T_j)` at equal progress along i; below 0 the
    student is more biased to the higher direction."""
    area: Array
    """Mean difference of the normalized paths at equal progress, over the range of progress."""


def matched_progress(
    teacher: ArrayLike, student: ArrayLike, *, own_normalizer: bool = False, points: int = POINTS
) -> Matched:
    r"""Compare student and teacher along every direction j at equal progress along every i.

    With :math:`x = D_i / D^T_i(\text{end})`, its running maximum as the clock, and ``points``
    levels from 1/(points + 1) to points/(points + 1) of the progress that both reach, the values
    along j are interpolated linearly between the records.

    Args:
        teacher: :math:`D^T`, shape (records, r); the first record is the start, where D = 0. (Raw
            norms, which start elsewhere, are taken to be at all levels below their start there.)
        student: :math:`D^S`, shape (records, r); the number of records may differ.
        own_normalizer: Divide the student by its own final value: the negative control.
        points: Levels of progress.

    Raises:
        ValueError: If a path is not finite and >= 0, or the numbers of directions differ.

    >>> teacher = np.outer([0.0, 0.5, 1.0], [1.0, 1.0])
    >>> student = np.outer([0.0, 0.5, 1.0], [1.0, 0.5])
    >>> matched_progress(teacher, student).log_ratio.round(3)
    array([[ 0.   , -0.693],
           [ 0.693,  0.   ]])
    """
    paths = _paths("teacher", teacher), _paths("student", student)
    if paths[0].shape[1] != paths[1].shape[1]:
        shapes = f"{paths[0].shape} and {paths[1].shape}"
        msg = f"teacher and student must have the same directions, got shapes {shapes}"
        raise ValueError(msg)
    points = checks.count("points", points, minimum=1)
    first = _normalized(paths[0], paths[0][-1])
    second = _normalized(paths[1], paths[1][-1] if own_normalizer else paths[0][-1])
    levels = np.arange(1, points + 1) / (points + 1)
    size = first.shape[1]
    log_ratio, area = np.full((2, size, size), np.nan)
    reached = np.minimum(first.max(axis=0), second.max(axis=0))
    moving = np.flatnonzero((reached > 0) & (reached < np.inf))
    together = max(1, _BLOCK // (points * size))
    for start in range(0, len(moving), together):
        clocks = moving[start : start + together]
        at = levels[:, None] * reached[clocks]
        y_teacher, y_student = _at(first, clocks, at), _at(second, clocks, at)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            log_ratio[clocks] = np.log(y_student / y_teacher).mean(axis=0)
        area[clocks] = (y_student - y_teacher).mean(axis=0) / reached[clocks, None]
    return Matched(np.where(np.isfinite(log_ratio), log_ratio, np.nan), area)


def _normalized(paths: Array, ends: Array) -> Array:
    """Paths in units of ``ends``; a direction that ends where it began has none: nan."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        parts = paths / ends
    return np.where(np.isfinite(parts).all(axis=0), parts, np.nan)


def _at(paths: Array, clocks: NDArray[np.int64], levels: Array) -> Array:
    """All directions at the first moment when each of ``clocks`` has come to its levels.

    Levels have shape (points, clocks), the answer (points, clocks, r).
    """
    progress = np.maximum.accumulate(paths[:, clocks])
    found = [np.searchsorted(own, at) for own, at in zip(progress.T, levels.T, strict=True)]
    after = np.clip(np.array(found, dtype=np.int64).T, 1, len(progress) - 1)
    before = np.take_along_axis(progress, after - 1, axis=0)
    step = np.take_along_axis(progress, after, axis=0) - before
    part = np.divide(levels - before, step, out=np.ones_like(step), where=step > 0)
    part = np.maximum(part, 0.0)  # a path that does not start at 0 is at its start already
    start = paths[after - 1]
    ahead = paths[after]
    ahead -= start
    ahead *= part[..., None]
    ahead += start
    return np.asarray(ahead)


def pair_mask(
    eigenvalues: ArrayLike, kept: ArrayLike | None = None, *, gap: float = 1e-3
) -> NDArray[np.bool_]:
    r"""Which pairs (i, j) to judge: i < j, both kept, and :math:`s_i - s_j \ge gap\, s_i`.

    Nearly equal singular values share an eigenspace, whose basis is arbitrary.

    >>> pair_mask([4.0, 1.0, 1.0]).astype(int)
    array([[0, 1, 1],
           [0, 0, 0],
           [0, 0, 0]])

    Raises:
        ValueError: If eigenvalues are negative or not one axis.
    """
    singular = np.sqrt(checks.nonnegative("eigenvalues", eigenvalues))
    if singular.ndim != 1:
        msg = f"eigenvalues must have shape (r,), got {singular.shape}"
        raise ValueError(msg)
    use = singular > 0 if kept is None else np.asarray(kept, dtype=bool) & (singular > 0)
    apart = singular[:, None] - singular[None, :] >= gap * singular[:, None]
    return np.asarray(np.triu(np.ones((len(use), len(use)), dtype=bool), 1)) & (
        apart & use[:, None] & use[None, :]
    )


def final_log_ratio(teacher: ArrayLike, student: ArrayLike) -> Array:
    r"""How much farther the student has moved in the end, :math:`\ln(D^S_k / D^T_k)`, shape (r,).

    nan where either has not moved.

    >>> final_log_ratio([[0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, np.exp(-1.0)]])
    array([ 0., -1.])
    """
    ends = _paths("student", student)[-1], _paths("teacher", teacher)[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(ends[0]) - np.log(ends[1])
    return np.where(np.isfinite(ratio), ratio, np.nan)


def log_slope(values: ArrayLike, eigenvalues: ArrayLike, kept: ArrayLike | None = None) -> float:
    r"""Slope of ``values`` on :math:`\ln \lambda_k` by least squares; nan values are left out.

    Of `final_log_ratio` it is the statistic S4, one number without pairs or a clock: above 0 the
    student moves relatively farther along higher directions. Of the logarithm of a filter's
    effective time it is S5, above 0 where the filter exaggerates.

    >>> log_slope([2.0, 1.0, 0.0], [np.exp(2), np.exp(1), 1.0])
    1.0
    """
    y = checks.real_array("values", np.nan_to_num(np.asarray(values, dtype=np.float64)))
    x = checks.nonnegative("eigenvalues", eigenvalues)
    checks.same_shape(values=y, eigenvalues=x)
    use = np.isfinite(np.asarray(values, dtype=np.float64)) & (x > 0)
    if kept is not None:
        use &= np.asarray(kept, dtype=bool)
    if use.sum() < 2:
        return float("nan")
    centered = np.log(x[use]) - np.log(x[use]).mean()
    spread = float(centered @ centered)
    return float(centered @ y[use]) / spread if spread > 0 else float("nan")


def share_below(values: ArrayLike, *, tie: float = 0.0) -> float:
    """Share of values below zero; those within ``tie`` of zero count half, nan not at all.

    >>> share_below([-1.0, -2.0, 0.0, 1.0])
    0.625
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    if known.size == 0:
        return float("nan")
    below, above = (known < -tie).mean(), (known > tie).mean()
    return float(below + 0.5 * (1 - below - above))


STATISTICS = (
    "s1_share",
    "s1_median",
    "s2_median",
    "s3_share",
    "s3_median",
    "s4_slope",
    "s6_share",
    "s6_median",
)
"""What `bias_statistics` returns. Shares above 1/2, medians below 0 and slopes above 0 say that the
student is more biased than its teacher; S6 is the negative control."""


def bias_statistics(
    teacher: ArrayLike,
    student: ArrayLike,
    eigenvalues: ArrayLike,
    kept: ArrayLike | None = None,
    *,
    tie: float = 0.0,
) -> dict[str, float]:
    r"""All statistics of one student beside one teacher, over all pairs of kept directions.

    ======== ==========================================================================
    S1       share of pairs with :math:`L_{ij} < 0` and median of :math:`L_{ij}`
    S2       median of the area between the paths at matched progress
    S3       :math:`\ln(D_j^S/D_j^T) - \ln(D_i^S/D_i^T)` at the end: share below 0, median
    S4       slope of :math:`\ln(D_k^S/D_k^T)` at the end on :math:`\ln\lambda_k`
    S6       S1 with the student divided by its own final value
    ======== ==========================================================================

    Args:
        teacher: :math:`D^T`, shape (records, r).
        student: :math:`D^S`, shape (records, r).
        eigenvalues: Shape (r,), descending.
        kept: Directions above the rank tolerance; all of positive eigenvalue if None.
        tie: Within this of zero a pair counts half: the rounding of the networks.

    >>> time, rate = np.linspace(0, 3, 400)[:, None], np.array([1.0, 0.5, 0.1])
    >>> teacher = 1 - np.exp(-rate * time)
    >>> student = teacher * (1 - np.exp(-rate * 3))
    >>> found = bias_statistics(teacher, student, rate, tie=1e-12)
    >>> found["s1_share"], found["s6_share"], found["s4_slope"] > 0
    (1.0, 0.5, True)
    """
    mask = pair_mask(eigenvalues, kept)
    matched = matched_progress(teacher, student)
    own = matched_progress(teacher, student, own_normalizer=True)
    final = final_log_ratio(teacher, student)
    first, second, sixth = matched.log_ratio[mask], matched.area[mask], own.log_ratio[mask]
    third = (final[None, :] - final[:, None])[mask]
    return {
        "s1_share": share_below(first, tie=tie),
        "s1_median": _median(first),
        "s2_median": _median(second),
        "s3_share": share_below(third, tie=tie),
        "s3_median": _median(third),
        "s4_slope": log_slope(final, eigenvalues, kept),
        "s6_share": share_below(sixth, tie=tie),
        "s6_median": _median(sixth),
    }


def decay_rates(
    times: ArrayLike, amplitudes: ArrayLike, *, floor: float = FIT_FLOOR
) -> tuple[Array, Array]:
    r"""Rates of exponential decay: minus the slope of :math:`\ln a_k` on time by least squares.

    Fitted are the records from the first to the last before the amplitude first falls below
    ``floor`` of its beginning: what comes after is rounding, or what leaked in from elsewhere.

    Args:
        times: Increasing, shape (T,).
        amplitudes: :math:`a_k \ge 0`, shape (T, r).
        floor: Share of the first amplitude, in [0, 1).

    Returns:
        Estimate, low and high (95 %, for independent errors about the line), shape (3, r), and the
        first and last time of the fit, shape (2, r). nan where fewer than two records are left; the
        interval alone is nan where there are two.

    Raises:
        ValueError: If times do not increase, shapes disagree or an amplitude is negative.

    >>> times = np.arange(6.0)
    >>> rates, used = decay_rates(times, np.exp(-np.outer(times, [0.1, 1.0])))
    >>> rates[0], used
    (array([0.1, 1. ]), array([[0., 0.],
           [5., 2.]]))
    """
    t = checks.real_array("times", times)
    a = checks.nonnegative("amplitudes", amplitudes)
    floor = checks.fraction("floor", floor)
    if t.ndim != 1 or a.ndim != 2 or len(t) != len(a) or np.any(np.diff(t) <= 0):
        msg = (
            "times must increase, shape (T,), with amplitudes of shape (T, r), got shapes "
            f"{t.shape} and {a.shape}"
        )
        raise ValueError(msg)
    used = np.logical_and.accumulate((a >= floor * a[:1]) & (a > 0))
    count = used.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = np.where(used, t[:, None], np.nan)
        y = np.log(np.where(used, a, np.nan))
        ends = np.where(count >= 2, np.stack([x[0], t[np.maximum(count - 1, 0)]]), np.nan)
        weight = used / count
        x_mean = (weight * np.nan_to_num(x)).sum(axis=0)
        y_mean = (weight * np.nan_to_num(y)).sum(axis=0)
        x, y = (np.nan_to_num(part) for part in (x - x_mean, y - y_mean))
        spread = (x * x).sum(axis=0)
        slope = (x * y).sum(axis=0) / spread
        error = ((y - slope * x) ** 2 * used).sum(axis=0)
        deviation = np.sqrt(error / (count - 2.0) / spread)
    half = np.where(count > 2, stdtrit(np.maximum(count - 2, 1), 0.975) * deviation, np.nan)
    rate = np.where(count >= 2, -slope, np.nan)
    return np.stack([rate, rate - half, rate + half]), ends


def _median(values: Array) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else float("nan")


def _paths(name: str, value: ArrayLike) -> Array:
    paths = checks.nonnegative(name, value)
    if paths.ndim != 2 or len(paths) < 2 or paths.shape[1] == 0:
        msg = f"{name} must have shape (records, directions) with 2 records, got {paths.shape}"
        raise ValueError(msg)
    return paths
