r"""Memory replay: which past network each copy holds, and what several copies teach together.

Wang et al. 2020, section 3.4. Copy 1 is the youngest; every kappa steps the copies move on by one.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import checks
from theory.checks import Array
from theory.labels import divergences
from theory.labels.divergences import kl_of_cost
from theory.labels.softmax import softmax, surprisal
from theory.statements import states

Updates = NDArray[np.int64]


def interval_steps(epochs: float, steps_per_epoch: int) -> int:
    """Steps between two replays from a number of epochs: rounded (half up), at least 1.

    Args:
        epochs: kappa in epochs, > 0; the paper's unit (25 epochs of 391 steps).
        steps_per_epoch: At least 1.

    Raises:
        ValueError: For numbers that are not positive.

    Example:
        >>> interval_steps(25, 391), interval_steps(2.5, 391), interval_steps(1 / 391, 391)
        (9775, 978, 1)
    """
    kappa = checks.scalar("epochs", checks.positive("epochs", epochs))
    count = checks.integer("steps_per_epoch", steps_per_epoch, minimum=1)
    return max(1, math.floor(Fraction(kappa) * count + Fraction(1, 2)))


@states(
    "labels:replay-ring",
    "At step t copy i of memory replay holds the weights after (floor(t/kappa) - i + 1) kappa - 1 "
    "updates, and the initial weights while floor(t/kappa) < i.",
    source="Wang 2020, algorithm 1",
)
def ring_updates(steps: ArrayLike, interval: int, copies: int) -> Updates:
    r"""After how many updates the weights are that each copy holds, in closed form.

    .. math:: u_i(t) = \max\left(0, (\lfloor t/\kappa \rfloor - i + 1) \kappa - 1\right)

    The replay of step t comes before its update, so that the youngest copy is always one update
    short of a multiple of kappa. 0 means the initial weights: all copies start there.

    Args:
        steps: t, integers from 1 (the first step), any shape.
        interval: kappa, in steps, at least 1.
        copies: n, at least 1.

    Returns:
        Integers, shape ``(..., copies)``; the first is copy 1, the youngest.

    Raises:
        ValueError: For steps below 1, or an interval or number of copies below 1.

    References:
        Wang et al. 2020, algorithm 1.

    Example:
        >>> ring_updates([24, 25, 74, 75], interval=25, copies=3)
        array([[ 0,  0,  0],
               [24,  0,  0],
               [49, 24,  0],
               [74, 49, 24]])
    """
    t = checks.positive("steps", steps)
    if (t > 2.0**53).any():
        msg = f"steps must be at most 2^53, got {float(t.max()):g}"
        raise ValueError(msg)
    if (t != np.floor(t)).any():
        msg = f"steps must be integers from 1, got {float(t[t != np.floor(t)].ravel()[0]):g}"
        raise ValueError(msg)
    kappa = checks.integer("interval", interval, minimum=1)
    index = np.arange(1, checks.integer("copies", copies, minimum=1) + 1)
    replays = t.astype(np.int64)[..., None] // kappa
    return np.asarray(np.maximum((replays - index + 1) * kappa - 1, 0))


def ring_by_recursion(steps: int, interval: int, copies: int, order: str = "descending") -> Updates:
    """The same, copy by copy as algorithm 1 writes it: the reference for `ring_updates`.

    Args:
        steps: T, how many steps to follow, at least 1.
        interval: kappa, in steps, at least 1.
        copies: n, at least 1.
        order: ``"descending"`` moves the oldest copy first, as printed. ``"ascending"`` overwrites
            what it is about to move: all copies beyond the first are then what the first was.

    Returns:
        Integers, shape ``(steps, copies)``: row t - 1 is what step t sees.

    Raises:
        ValueError: For numbers below 1, or an unknown order.

    Example:
        >>> ring_by_recursion(6, 2, 2)[-1], ring_by_recursion(6, 2, 3, "ascending")[-1]
        (array([5, 3]), array([5, 3, 3]))
    """
    kappa = checks.integer("interval", interval, minimum=1)
    held = np.zeros(checks.integer("copies", copies, minimum=1), dtype=np.int64)
    moves = range(1, len(held))
    down = checks.choice("order", order, ("descending", "ascending")) == "descending"
    seen = []
    for step in range(1, checks.integer("steps", steps, minimum=1) + 1):
        if step % kappa == 0:
            for place in reversed(moves) if down else moves:
                held[place] = held[place - 1]
            held[0] = step - 1
        seen.append(held.copy())
    return np.array(seen)


@dataclass(frozen=True, slots=True, eq=False)
class CopiesDivergence:
    """What several teachers ask of a student, and what of it the student can change."""

    mean: Array
    """Mean over the copies of the divergence of the student from each."""
    from_mean: Array
    """Divergence of the student from the copies' mean distribution: all that has a gradient."""
    spread: Array
    """Divergence of the copies from their mean (Jensen-Shannon): a constant for the student."""


@states(
    "labels:replay-mean",
    "The mean of the divergences from n teachers is the divergence from their arithmetic mean plus "
    "their Jensen-Shannon divergence, which does not depend on the student.",
    source="Wang 2020, eq. 14",
)
def copies_divergence(
    copies: ArrayLike, student: ArrayLike, temperature: float = 1.0
) -> CopiesDivergence:
    r"""Mean divergence from several teachers, split into what has a gradient and what has none.

    .. math:: \frac1n \sum_i KL(q_i \| q) = KL(\bar q \| q) + \frac1n \sum_i KL(q_i \| \bar q)

    Args:
        copies: Logits of the n copies, shape ``(n, ..., classes)``.
        student: Logits of the student, shape ``(..., classes)``.
        temperature: tau > 0 of all of them.

    Raises:
        ValueError: For bad logits or temperature, or shapes that do not broadcast.

    Example:
        >>> split = copies_divergence([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])
        >>> print(split.mean.round(6), split.from_mean, split.spread.round(6))
        0.110944 0.0 0.110944
    """
    z = checks.samples("copies", checks.logits("copies", copies))
    if z.ndim < 2:
        msg = f"copies must have shape (n, ..., classes), got shape {z.shape}"
        raise ValueError(msg)
    cost = surprisal(checks.logits("student", student), temperature)
    each = softmax(z, temperature)
    checks.same_classes(copies=each[0], student=cost)
    center = mean_teacher(each)
    return CopiesDivergence(
        np.mean([kl_of_cost(q, cost) for q in each], axis=0)[()],
        kl_of_cost(center, cost)[()],
        np.mean([divergences.kl(q, center) for q in each], axis=0)[()],
    )


def mean_teacher(probabilities: ArrayLike) -> Array:
    """Arithmetic mean of the distributions of n copies, shape ``(n, ..., classes)``.

    Raises:
        ValueError: If a row is no distribution, or there is no copy.

    Example:
        >>> mean_teacher([[0.5, 0.5], [1.0, 0.0]])
        array([0.75, 0.25])
    """
    q = checks.samples("probabilities", checks.distributions("probabilities", probabilities))
    if q.ndim < 2:
        msg = f"probabilities must have shape (n, ..., classes), got shape {q.shape}"
        raise ValueError(msg)
    return np.asarray(q.mean(axis=0))
