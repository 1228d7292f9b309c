"""A step on a batch, split by whose label pulls."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.dynamics import shapes
from theory.labels.dynamics.steps import change
from theory.statements import states


@dataclass(frozen=True, slots=True, eq=False)
class Pulls:
    """The change of a prediction by a step on a batch, split by whose loss causes it."""

    own: Array
    """By the loss of the sample itself, shape ``(..., K)``."""
    neighbors: Array
    """By the losses of all the others, shape ``(..., K)``."""

    @property
    def total(self) -> Array:
        """Both together: what `first_order_change` gives for the batch."""
        return self.own + self.neighbors


@states(
    "labels:pulls",
    "The first-order change of a prediction by a step on a batch is the sum of the pull of the "
    "sample's own label and that of its neighbors.",
    source="Ren 2022, section 3.3 and fig. 4",
)
def pulls(
    probabilities: ArrayLike,
    kernel: ArrayLike,
    residual: ArrayLike,
    learning_rate: float,
    own: ArrayLike | None = None,
    *,
    temperature: float = 1.0,
) -> Pulls:
    r"""A step on a batch, split into the sample's own pull and that of its neighbors.

    .. math::

        dq(o) = \underbrace{\tfrac{\eta}{U} A(q(o)) K(o, o) \, r(o)}_{\text{own}}
              + \underbrace{\tfrac{\eta}{U} A(q(o)) \sum_{u \ne o} K(o, u) \, r(u)}_{
                \text{neighbors}}

    An epoch of U steps on single samples pulls U times as much, to first order.

    Args:
        probabilities: q(o), shape ``(..., K)``.
        kernel: K(o, u) for every u of the batch, shape ``(..., U, K, K)``.
        residual: r(u), shape ``(U, K)`` or ``(..., U, K)``.
        learning_rate: eta >= 0.
        own: Place of o in the batch, integers of shape ``(...)``; -1 for a sample that is not in
            it, which has no pull of its own. Sample i of ``(U, K)`` probabilities is sample i of
            the batch if absent.
        temperature: tau of the prediction.

    Raises:
        ValueError: As `first_order_change`, for a kernel without an axis for the batch, for places
            out of range, or where they are absent and the batch is not the samples themselves.

    Example:
        >>> kernel = np.stack([np.eye(2), 0.2 * np.eye(2)])
        >>> both = pulls([0.5, 0.5], kernel, [[0.5, -0.5], [-0.5, 0.5]], 0.1, own=0)
        >>> print(both.own, both.neighbors)
        [ 0.0125 -0.0125] [-0.0025  0.0025]
    """
    q = checks.distributions("probabilities", probabilities)
    eta = shapes.learning_rate(learning_rate)
    tau = checks.temperature("temperature", temperature)
    pushed, batch = shapes.pushed(q, kernel, residual)
    if not batch:
        msg = (
            "kernel must have an axis for the batch, shape (..., U, K, K) for probabilities "
            f"{q.shape}, got {np.shape(kernel)}"
        )
        raise ValueError(msg)
    size = pushed.shape[-2]
    mine = np.arange(size) == _places(own, q, size)[..., None]
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        parts = [np.where(at[..., None], pushed, 0.0).sum(axis=-2) for at in (mine, ~mine)]
    return Pulls(*(change(q, part, eta / size, tau) for part in parts))


def _places(own: ArrayLike | None, q: Array, size: int) -> Array:
    """Where each sample stands in the batch."""
    if own is None:
        if q.ndim != 2 or len(q) != size:
            msg = (
                "own must be given unless the batch is the samples themselves, got probabilities "
                f"{q.shape} and a batch of {size}"
            )
            raise ValueError(msg)
        return np.arange(size, dtype=np.float64)
    places = checks.real_array("own", own)
    if ((places != np.floor(places)) | (places < -1) | (places >= size)).any():
        msg = f"own must be places in the batch, integers from 0 to {size - 1}, or -1, got {own}"
        raise ValueError(msg)
    shapes.broadcast_lead(probabilities=q[..., None], own=places[..., None, None])
    return places
