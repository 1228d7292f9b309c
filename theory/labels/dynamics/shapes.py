"""Shapes of one sample, of many, and of a batch: what the functions of a step share."""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array


def learning_rate(value: float) -> float:
    """A number >= 0."""
    number = checks.scalar("learning_rate", value)
    checks.nonnegative("learning_rate", number)
    return number


def vectors(name: str, value: ArrayLike) -> Array:
    """One number for each of at least two classes along the last axis."""
    return checks.samples(name, checks.logits(name, value))


def blocks(kernel: ArrayLike, classes: int) -> Array:
    """Blocks of K x K; a number is that multiple of the identity."""
    k = checks.real_array("kernel", kernel)
    if k.ndim == 0:
        return k * np.eye(classes)
    if k.ndim < 2 or k.shape[-2:] != (classes, classes) or k.size == 0:
        msg = f"kernel must have shape (..., {classes}, {classes}), got {k.shape}"
        raise ValueError(msg)
    return k


def pushed(q: Array, kernel: ArrayLike, residual: ArrayLike) -> tuple[Array, bool]:
    """K(o, u) r(u), and whether the axis before the last is a batch."""
    r = vectors("residual", residual)
    if r.shape[-1] != q.shape[-1]:
        checks.same_classes(probabilities=q, residual=r)
    k = blocks(kernel, q.shape[-1])
    batch = k.ndim == q.ndim + 2
    if k.ndim > q.ndim + 2:
        msg = (
            "kernel may have one axis more than that of the prediction, for a batch: got kernel "
            f"{k.shape} for probabilities {q.shape}"
        )
        raise ValueError(msg)
    rows = q[..., None, :] if batch else q
    broadcast_lead(probabilities=rows[..., None], kernel=k, residual=r[..., None])
    return times(k, r), batch


def through(name: str, value: ArrayLike, jacobian: ArrayLike | None) -> Array:
    """A vector of weights through the Jacobian of the logits, or what came through already."""
    if jacobian is None:
        return vectors(name, value)
    vector = checks.real_array(name, value)
    j = checks.real_array("jacobian", jacobian)
    if vector.ndim == 0 or j.ndim < 2 or j.shape[-1] != vector.shape[-1]:
        msg = (
            f"jacobian must have shape (..., K, d) with d the length of {name}, got {j.shape} "
            f"and {vector.shape}"
        )
        raise ValueError(msg)
    broadcast_lead(**{"jacobian": j, name: vector[..., None]})
    return times(j, vector)


def times(matrix: Array, vector: Array) -> Array:
    """Matrices times vectors; what overflows is inf or nan, which `in_range` names."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return np.asarray((matrix @ vector[..., None])[..., 0])


def in_range(what: str, value: ArrayLike) -> Array:
    """A result, if no number of it left the range of floats on the way."""
    found = np.asarray(value)
    if not np.isfinite(found).all():
        msg = f"{what} must be a number that a float can hold: what was given is too large"
        raise ValueError(msg)
    return found


def broadcast_lead(**arrays: Array) -> None:
    """Leading axes, all but the last two, must broadcast; the message shows them."""
    checks.broadcastable(**{name: array[..., 0, 0] for name, array in arrays.items()})
