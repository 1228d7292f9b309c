r"""Tempered losses from logits, one value a sample.

.. math:: \ell(z, q) = -c \sum_k q_k \ln \sigma(z / \tau)_k
"""

import torch
from torch import Tensor

FACTORS = ("1", "tau", "tau2", "2tau2")


def temperature_factor(name: str, temperature: float) -> float:
    r"""The factor c of a loss at temperature :math:`\tau`: 1, tau, tau^2 or 2 tau^2.

    >>> temperature_factor("tau2", 4.0)
    16.0

    Raises:
        ValueError: If ``name`` is none of ``"1"``, ``"tau"``, ``"tau2"``, ``"2tau2"``.
    """
    factors = {
        "1": 1.0,
        "tau": temperature,
        "tau2": temperature**2,
        "2tau2": 2 * temperature**2,
    }
    if name not in factors:
        msg = f"factor must be one of {', '.join(map(repr, FACTORS))}, got {name!r}"
        raise ValueError(msg)
    return factors[name]


def tempered_cross_entropy(
    logits: Tensor, targets: Tensor, *, temperature: float = 1.0, factor: str = "tau2"
) -> Tensor:
    """Cross-entropy of targets and tempered predictions, shape (...) of arrays (..., classes).

    >>> float(tempered_cross_entropy(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])))
    0.693
    """
    scale = temperature_factor(factor, temperature)
    return -scale * (targets * torch.log_softmax(logits / temperature, dim=-1)).sum(-1)
