r"""Low-pass filters along training, and the table of Filter-KD that they fill.

Ren et al. 2022 smooth the predictions :math:`q_1, q_2, \ldots` for a sample, one an epoch, by

.. math:: s_t = (1 - a)\, s_{t-1} + a\, q_t.

What s starts from is an option everywhere: ``"first"`` starts at the first prediction,
:math:`s_1 = q_1` (the authors' code); ``"pass"`` starts from a prediction that was made before
training and counts as no update (Algorithm 1 of the paper); ``"debias"`` starts at 0 and divides
by the sum of the weights, :math:`1 - (1 - a)^t`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import checks
from theory.checks import Array
from theory.labels.smoothing.rows import is_label, labels_of
from theory.statements import states

INITS = ("pass", "first", "debias")


@states(
    "labels:low-pass-weights",
    "A low-pass filter that starts at the first of T predictions is their mean with the weights "
    "a(1-a)^(T-t), and (1-a)^(T-1) for the first; divided by 1-(1-a)^T, the filter that starts at "
    "0 is their mean with weights proportional to (1-a)^(T-t).",
    source="Ren 2022, section 4 and Algorithm 1 (the filter)",
)
def low_pass_weights(steps: int, smoothing: float, init: str = "first") -> Array:
    r"""The weight of every prediction in the last value of `low_pass`; they sum to 1.

    .. math:: a (1 - a)^{T - t}, \qquad \text{the start: } (1 - a)^{T - 1} \text{ or } (1 - a)^T

    Args:
        steps: T >= 1 predictions.
        smoothing: a in (0, 1].
        init: ``"first"``, ``"pass"`` or ``"debias"``, as the module says.

    Returns:
        T weights, the earliest first; T + 1 with ``"pass"``, that of the start first.

    Raises:
        ValueError: For no step, a smoothing outside (0, 1], or an unknown start.

    References:
        Ren et al. 2022, Algorithm 1.

    Example:
        >>> low_pass_weights(4, 0.5)
        array([0.125, 0.125, 0.25 , 0.5  ])
        >>> low_pass_weights(2, 0.5, init="pass")
        array([0.25, 0.25, 0.5 ])
        >>> low_pass_weights(2, 0.5, init="debias")
        array([0.33333333, 0.66666667])
    """
    steps = checks.integer("steps", steps, minimum=1)
    a = _smoothing(smoothing)
    checks.choice("init", init, INITS)
    age = np.arange(steps)[::-1]
    with np.errstate(under="ignore"):
        weights = a * _kept(a, age)
        if init == "pass":
            return np.append(_kept(a, steps), weights)
        if init == "first":
            weights[0] = _kept(a, steps - 1)
        else:
            weights /= _weight_sum(a, steps)
    return np.asarray(weights)


def low_pass(
    path: ArrayLike, smoothing: float, initial: ArrayLike | None = None, *, debias: bool = False
) -> Array:
    r"""Exponential moving average along time.

    Args:
        path: Values :math:`q_1, \ldots, q_T`, time first, shape ``(T, ...)``, T >= 1.
        smoothing: a in (0, 1]; 1 returns the path.
        initial: :math:`s_0`, of the shape of one value or broadcast to it. Without it
            :math:`s_1 = q_1`.
        debias: Start at 0 and divide by :math:`1 - (1 - a)^t`.

    Returns:
        :math:`s_1, \ldots, s_T`, of the shape of ``path``.

    Raises:
        ValueError: For an empty path, nan or inf, a smoothing outside (0, 1], an initial value of
            another shape, or one together with ``debias``.

    References:
        Ren et al. 2022, section 4, Algorithm 1 (a = 0.05).

    Example:
        >>> low_pass([1.0, 0.0, 0.0], 0.5)
        array([1.  , 0.5 , 0.25])
        >>> low_pass([1.0, 0.0, 0.0], 0.5, initial=0.0)
        array([0.5  , 0.25 , 0.125])
        >>> low_pass([1.0, 0.0, 0.0], 0.5, debias=True)
        array([1.        , 0.33333333, 0.14285714])
    """
    values = checks.samples("path", checks.real_array("path", path))
    a = _smoothing(smoothing)
    debias = checks.flag("debias", debias)
    if debias and initial is not None:
        msg = "give an initial value or debias, not both: the debiased filter starts at 0"
        raise ValueError(msg)
    result = np.empty_like(values)
    state = values[0] if initial is None else _initial(initial, values.shape[1:])
    with np.errstate(under="ignore"):
        for step, value in enumerate(values):
            # the debiased filter is a running mean whose newest weight falls from 1 to a
            share = a / _weight_sum(a, step + 1) if debias else a
            state = (1.0 - share) * state + share * value
            if step == 0 and initial is None:
                state = value
            result[step] = state
    return result


def half_life(smoothing: ArrayLike) -> Array:
    r"""Updates after which a prediction has half its weight, :math:`-\ln 2 / \ln(1 - a)`.

    Raises:
        ValueError: For a smoothing outside (0, 1].

    Example:
        >>> half_life([0.05, 0.5, 1.0])
        array([13.5134073,  1.       ,  0.       ])
    """
    a = _smoothings(smoothing)
    with np.errstate(divide="ignore", over="ignore"):
        return np.asarray(np.log(2.0) / -np.log1p(-a))[()]


def cut_off_frequency(smoothing: ArrayLike) -> Array:
    r"""Frequency, in radians per update, at which half of the power passes the filter.

    .. math:: \omega = 2 \arcsin \frac{a}{2 \sqrt{1 - a}}

    A wave of :math:`2 \pi / \omega` updates is damped by :math:`\sqrt 2`. For
    :math:`a > 2(\sqrt 2 - 1) = 0.828` every frequency keeps more than half of its power: inf.

    Raises:
        ValueError: For a smoothing outside (0, 1].

    Example:
        >>> cut_off_frequency([0.05, 0.5, 1.0])
        array([0.05130454, 0.72273425,        inf])
    """
    a = _smoothings(smoothing)
    with np.errstate(divide="ignore"):
        sine = a / (2 * np.sqrt(1.0 - a))
    return np.asarray(np.where(sine > 1.0, np.inf, 2 * np.arcsin(np.minimum(sine, 1.0))))[()]


def white_noise_factor(smoothing: ArrayLike) -> Array:
    r"""By how much the filter shrinks the variance of white noise, in the end: a / (2 - a).

    The sum of the squared weights of `low_pass_weights` as T grows.

    Raises:
        ValueError: For a smoothing outside (0, 1].

    Example:
        >>> white_noise_factor([0.05, 1.0])  # 1/39
        array([0.02564103, 1.        ])
    """
    a = _smoothings(smoothing)
    return np.asarray(a / (2.0 - a))[()]


@dataclass(frozen=True, slots=True, eq=False)
class FilterTable:
    """The soft labels of Filter-KD after some epochs."""

    rows: Array
    """One distribution for each sample, shape (N, K)."""
    updates: NDArray[np.intp]
    """How many predictions of each sample entered its row, shape (N,)."""
    unseen: NDArray[np.bool_]
    """Whether the sample was never visited and its row is the fallback, shape (N,)."""
    early: bool
    """Whether there were fewer than 3/a epochs: start-up still weighs more than 5 %."""


def filter_table(
    path: ArrayLike,
    smoothing: float,
    *,
    init: str = "pass",
    initial: ArrayLike | None = None,
    visited: ArrayLike | None = None,
    labels: ArrayLike | None = None,
) -> FilterTable:
    r"""The table of Filter-KD, one update a visit.

    A row that is not visited in an epoch (the last, smaller batch may be dropped) stays as it is.
    A row that was never visited is the initial one with ``init="pass"``, and otherwise
    `fallback_rows`, for which ``labels`` are needed.

    Args:
        path: Predictions of every epoch, shape (T, N, K).
        smoothing: a in (0, 1]; the paper's is 0.05.
        init: ``"pass"`` (Algorithm 1: an initial pass, no update), ``"first"`` (the authors' code:
            the first visit sets the row) or ``"debias"`` (zero start; each row is divided by
            :math:`1 - (1 - a)^m`, m its own number of visits).
        initial: Predictions of the initial pass, shape (N, K): required by ``"pass"``, refused
            otherwise.
        visited: Which predictions enter, shape (T, N); all by default.
        labels: One class for each sample, shape (N,).

    Returns:
        The rows, with what is known about their start.

    Raises:
        ValueError: For rows that are no distributions, shapes that disagree, an initial pass that
            is missing or not used, or a row never visited where there are no labels.

    References:
        Ren et al. 2022, Algorithm 1.

    Example:
        >>> path = [[[0.5, 0.5], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]]
        >>> table = filter_table(path, 0.5, initial=[[0.5, 0.5], [0.5, 0.5]])
        >>> table.rows, table.updates, table.early
        (array([[0.25 , 0.75 ], [0.875, 0.125]]), array([2, 2]), True)
    """
    q = checks.distributions("path", path)
    if q.ndim != 3 or q.size == 0:
        msg = f"path must have shape (epochs, samples, classes), none of them 0, got {q.shape}"
        raise ValueError(msg)
    a = _smoothing(smoothing)
    checks.choice("init", init, INITS)
    seen = _visited(visited, q.shape[:2])
    updates = seen.sum(axis=0)
    unseen = updates == 0
    rows = _start(init, initial, q.shape[1:])
    with np.errstate(under="ignore"):
        count = np.zeros_like(updates)
        for predictions, visit in zip(q, seen, strict=True):
            count += visit
            share = np.where(visit, _share(a, init, count), 0.0)[:, None]
            rows = (1.0 - share) * rows + share * predictions
    if init != "pass" and unseen.any():
        if labels is None:
            msg = f"labels are required: {int(unseen.sum())} rows were never visited"
            raise ValueError(msg)
        y = labels_of(labels, q.shape[2])
        if y.shape != unseen.shape:
            msg = f"labels must have shape {unseen.shape}, one a sample, got {y.shape}"
            raise ValueError(msg)
        rows[unseen] = fallback_rows(y[unseen], q.shape[2])
    return FilterTable(rows, updates, unseen, early_for_filter(len(q), a))


def fallback_rows(labels: ArrayLike, classes: int) -> Array:
    r"""Soft labels for samples that were never predicted, :math:`0.9\, e_y + 0.1 / K`.

    The authors' code leaves a row of zeros there, whose divergence from anything is no loss.

    Raises:
        ValueError: For a label out of range, no labels, or fewer than two classes.

    Example:
        >>> fallback_rows([1], 4)
        array([[0.025, 0.925, 0.025, 0.025]])
    """
    count = checks.count("classes", classes, minimum=2)
    return np.asarray(0.9 * is_label(labels_of(labels, count), count) + 0.1 / count)


def early_for_filter(best_epoch: int, smoothing: float) -> bool:
    r"""Whether a table was taken too early for its filter: before 3/a epochs.

    After T epochs the start has the weight :math:`(1 - a)^T`, which is below
    :math:`e^{-3} = 5\%` from 3/a on. Before that the printed algorithm can give worse targets than
    one-hot labels.

    Raises:
        ValueError: For fewer than one epoch, or a smoothing outside (0, 1].

    Example:
        >>> early_for_filter(16, 0.05), early_for_filter(16, 0.2)
        (True, False)
    """
    return checks.integer("best_epoch", best_epoch, minimum=1) < 3 / _smoothing(smoothing)


def _smoothings(value: ArrayLike) -> Array:
    array = checks.positive("smoothing", value)
    return checks.unit_interval("smoothing", array)


def _smoothing(value: float) -> float:
    return float(_smoothings(checks.scalar("smoothing", value)))


def _kept(a: float, age: ArrayLike) -> Array:
    """(1 - a)^age, with its digits also for tiny a and many updates."""
    age = np.asarray(age, dtype=np.float64)
    if a == 1.0:
        return np.where(age == 0, 1.0, 0.0)
    return np.asarray(np.exp(age * np.log1p(-a)))


def _weight_sum(a: float, count: ArrayLike) -> Array:
    """1 - (1 - a)^count without cancellation."""
    count = np.asarray(count, dtype=np.float64)
    if a == 1.0:
        return np.where(count == 0, 0.0, 1.0)
    return np.asarray(-np.expm1(count * np.log1p(-a)))


def _share(a: float, init: str, count: NDArray[np.intp]) -> Array:
    """Weight of the newest prediction in a row that has ``count`` of them, at least one."""
    if init == "debias":
        return np.asarray(a / _weight_sum(a, np.maximum(count, 1)))
    return np.where((count == 1) & (init == "first"), 1.0, a)


def _initial(value: ArrayLike, shape: tuple[int, ...]) -> Array:
    array = checks.real_array("initial", value)
    try:
        return np.asarray(np.broadcast_to(array, shape), dtype=np.float64)
    except ValueError:
        msg = f"initial must have the shape {shape} of one value of path, got shape {array.shape}"
        raise ValueError(msg) from None


def _visited(value: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if value is None:
        return np.ones(shape, dtype=np.bool_)
    seen = np.asarray(value)
    if seen.dtype != np.bool_ or seen.shape != shape:
        msg = (
            f"visited must be booleans of shape {shape}, one for each epoch and sample, "
            f"got {seen.dtype} of shape {seen.shape}"
        )
        raise ValueError(msg)
    return seen


def _start(init: str, initial: ArrayLike | None, shape: tuple[int, ...]) -> Array:
    if (init == "pass") != (initial is not None):
        needed = "required" if init == "pass" else "not used"
        msg = f"initial, the predictions of the initial pass, is {needed} with init={init!r}"
        raise ValueError(msg)
    if initial is None:
        return np.zeros(shape)
    rows = checks.distributions("initial", initial)
    if rows.shape != shape:
        msg = f"initial must have shape {shape}, one row a sample, got shape {rows.shape}"
        raise ValueError(msg)
    return rows
