"""Losses that are bounded, as the bounds on the risk require, with their bound.

Cross-entropy is not: the loss of a class tends to infinity with its surprisal. It is clipped here.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array


class BoundedLoss(NamedTuple):
    """The loss of every class, and what it cannot exceed."""

    losses: Array
    """Shape ``(..., K)``, in [0, bound]."""
    bound: float


def zero_one_loss(predictions: ArrayLike) -> BoundedLoss:
    """0 for the predicted class and 1 for every other; of tied classes the lowest is predicted.

    Args:
        predictions: Distributions, shape ``(..., K)``.

    Raises:
        ValueError: If a row is no distribution.

    Example:
        >>> zero_one_loss([[0.2, 0.8], [0.5, 0.5]])
        BoundedLoss(losses=array([[1., 0.], [0., 1.]]), bound=1.0)
    """
    q = checks.distributions("predictions", predictions)
    predicted = np.argmax(q, axis=-1)[..., None]
    return BoundedLoss(np.where(np.arange(q.shape[-1]) == predicted, 0.0, 1.0), 1.0)


def brier_loss(predictions: ArrayLike) -> BoundedLoss:
    r"""Squared distance to the one-hot label, :math:`\|e_k - q\|^2 = 1 - 2 q_k + \|q\|^2 \le 2`.

    Args:
        predictions: q, distributions, shape ``(..., K)``.

    Raises:
        ValueError: If a row is no distribution.

    Example:
        >>> brier_loss([0.75, 0.25])
        BoundedLoss(losses=array([0.125, 1.125]), bound=2.0)
    """
    q = checks.distributions("predictions", predictions)
    with np.errstate(under="ignore"):
        squares = np.square(q)
        # the others' squares summed one by one: total less own cancels for a sure prediction
        others = (squares[..., None, :] * (1.0 - np.eye(q.shape[-1]))).sum(axis=-1)
        return BoundedLoss(np.minimum(np.square(1.0 - q) + others, 2.0), 2.0)


def clipped_cross_entropy(predictions: ArrayLike, floor: float) -> BoundedLoss:
    r"""Cross-entropy with probabilities not below a floor, :math:`-\ln \max(q_k, c) \le -\ln c`.

    Args:
        predictions: q, distributions, shape ``(..., K)``.
        floor: c in (0, 1).

    Raises:
        ValueError: If a row is no distribution, or for a floor outside (0, 1).

    Example:
        >>> loss = clipped_cross_entropy([1.0, 0.0], 0.01)
        >>> print(loss.losses, round(loss.bound, 4))
        [0.     4.6052] 4.6052
    """
    q = checks.distributions("predictions", predictions)
    least = checks.scalar("floor", floor)
    if not 0 < least < 1:
        msg = f"floor must be in (0, 1), got {least:g}"
        raise ValueError(msg)
    bound = float(-np.log(least))
    clipped = np.clip(q, least, 1.0)
    # 1 - q of a probability near 1 is exact, and log1p keeps its digits
    losses = np.where(clipped > 0.5, -np.log1p(np.maximum(clipped, 0.5) - 1.0), -np.log(clipped))
    return BoundedLoss(np.clip(losses, 0.0, bound), bound)
