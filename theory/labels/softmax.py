r"""The softmax and its logarithm, with a temperature, to full relative accuracy.

.. math:: s_\tau(z)_k = \frac{e^{z_k / \tau}}{\sum_j e^{z_j / \tau}}
"""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array


def surprisal(logits: ArrayLike, temperature: float = 1.0) -> Array:
    r""":math:`-\ln s_\tau(z)_k` of every class, accurate also where the probability rounds to 1.

    Args:
        logits: z, shape ``(..., classes)``, at least two classes.
        temperature: tau > 0.

    Returns:
        Numbers >= 0 of the shape of ``logits``.

    Raises:
        ValueError: For fewer than two classes, nan or inf, or a temperature that is not > 0.

    Example:
        >>> surprisal([50.0, 0.0])
        array([1.92874985e-22, 5.00000000e+01])
    """
    z = checks.logits("logits", logits)
    tau = checks.temperature("temperature", temperature)
    first = np.argmax(z, axis=-1)[..., None]
    top = np.take_along_axis(z, first, axis=-1)
    with np.errstate(under="ignore", over="ignore"):
        below = (top - z) / tau
        others = np.where(np.arange(z.shape[-1]) == first, 0.0, np.exp(-below))
        return np.asarray(below + np.log1p(others.sum(axis=-1, keepdims=True)))


def log_softmax(logits: ArrayLike, temperature: float = 1.0) -> Array:
    r""":math:`\ln s_\tau(z)_k` of every class; -inf where the logit lies out of range below.

    Raises:
        ValueError: As `surprisal`.

    Example:
        >>> log_softmax([2.0, 0.0], temperature=2.0)
        array([-0.31326169, -1.31326169])
    """
    return 0.0 - surprisal(logits, temperature)


def softmax(logits: ArrayLike, temperature: float = 1.0) -> Array:
    r""":math:`s_\tau(z)_k` of every class: nonnegative, and each row sums to 1.

    Raises:
        ValueError: As `surprisal`.

    Example:
        >>> softmax([[1000.0, 0.0], [0.0, 0.0]])
        array([[1. , 0. ],
               [0.5, 0.5]])
    """
    with np.errstate(under="ignore"):
        return np.asarray(np.exp(-surprisal(logits, temperature)))


def temper(probabilities: ArrayLike, temperature: float) -> Array:
    r"""Distributions at a temperature, :math:`p_k^{1/\tau} / \sum_j p_j^{1/\tau}`.

    The softmax of the logarithms divided by tau: `softmax` of logits z at temperature tau is
    ``temper(softmax(z), tau)``. What is 0 stays 0.

    Args:
        probabilities: p, shape ``(..., classes)``.
        temperature: tau > 0.

    Raises:
        ValueError: If a row is no distribution, or for a temperature that is not > 0.

    Example:
        >>> temper([0.8, 0.2, 0.0], 2.0).round(4)
        array([0.6667, 0.3333, 0.    ])
    """
    p = checks.distributions("probabilities", probabilities)
    tau = checks.temperature("temperature", temperature)
    with np.errstate(divide="ignore", under="ignore", over="ignore"):
        power = np.exp((np.log(p) - np.log(p.max(axis=-1, keepdims=True))) / tau)
        return np.asarray(power / power.sum(axis=-1, keepdims=True))
