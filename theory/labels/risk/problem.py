"""A finite space of inputs: what is given of it, checked, and expectations over it."""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.numerics import progress


def inputs(value: ArrayLike) -> Array:
    """Probabilities of the inputs, shape ``(..., S)``, one input or more."""
    return checks.distributions("input_probabilities", value, fewest=1)


def rows(name: str, value: ArrayLike, count: int) -> Array:
    """A distribution over the classes for each of ``count`` inputs, shape ``(..., S, K)``."""
    array = checks.distributions(name, value)
    return for_each_input(name, array, count)


def for_each_input(name: str, array: Array, count: int) -> Array:
    """``array`` if its axis before the last goes over the inputs."""
    if array.ndim < 2 or array.shape[-2] != count:
        msg = (
            f"{name} must have a row for each of the {count} inputs, shape (..., {count}, K), "
            f"got shape {array.shape}"
        )
        raise ValueError(msg)
    return array


def same_classes(**arrays: Array) -> None:
    """Raise ValueError unless all have the same last axis and their leading axes broadcast."""
    if len({array.shape[-1] for array in arrays.values()}) > 1:
        listed = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        msg = f"the number of classes (the last axis) must agree, got {listed}"
        raise ValueError(msg)
    checks.broadcastable(**arrays)


def pair(
    input_probabilities: ArrayLike, target: ArrayLike, truth: ArrayLike
) -> tuple[Array, Array, Array]:
    """The inputs' probabilities, the targets and the true posterior, leading axes broadcast."""
    p = inputs(input_probabilities)
    first, second = rows("target", target, p.shape[-1]), rows("truth", truth, p.shape[-1])
    same_classes(target=first, truth=second)
    checks.broadcastable(input_probabilities=p, **{"target over classes": first[..., 0]})
    checks.broadcastable(input_probabilities=p, **{"truth over classes": second[..., 0]})
    return p, first, second


def losses_like(value: ArrayLike, p: Array, truth: Array) -> Array:
    """The loss of every class at every input, shape ``(..., S, K)``."""
    losses = for_each_input("losses", checks.real_array("losses", value), p.shape[-1])
    same_classes(losses=losses, truth=truth)
    return losses


def mean_over(p: Array, values: Array) -> Array:
    """Expectation over the inputs; those of probability 0 do not count, whatever their value."""
    return np.asarray(progress(p, values).sum(axis=-1))[()]


def inner(first: Array, second: Array) -> Array:
    """Sum over the classes of the product; a probability 0 costs nothing."""
    return np.asarray(progress(first, second).sum(axis=-1))
