"""What kernel functions are given, checked."""

import cmath

import torch
from torch import Tensor


def check_inputs(name: str, x: object, *, like: Tensor | None = None) -> Tensor:
    """``x`` if it is a batch of finite numbers, of the shape and on the device of ``like``.

    Raises:
        ValueError: Otherwise.
    """
    if not isinstance(x, Tensor) or x.ndim == 0 or x.numel() == 0:
        got = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        msg = f"{name} must be a tensor of at least one sample, shape (N, ...), got {got}"
        raise ValueError(msg)
    if like is not None and x.shape[1:] != like.shape[1:]:
        msg = (
            f"{name} must have samples of the shape of those of x1, {tuple(like.shape[1:])}, got "
            f"shape {tuple(x.shape)}"
        )
        raise ValueError(msg)
    if like is not None and (x.device != like.device or x.dtype != like.dtype):
        msg = (
            f"{name} must be of the type and on the device of x1, {like.dtype} on {like.device}, "
            f"got {x.dtype} on {x.device}; move it there"
        )
        raise ValueError(msg)
    if x.layout != torch.strided or x.device.type == "meta":
        msg = f"{name} must be a dense tensor that holds numbers, got {x.layout} on {x.device}"
        raise ValueError(msg)
    require_finite(name, x)
    return x


def is_finite(values: Tensor) -> bool:
    """Whether all values are finite, at the price of one sum where they are.

    >>> is_finite(torch.tensor([3e38, 3e38])), is_finite(torch.tensor([0.0, torch.nan]))
    (True, False)
    """
    # a sum is not finite if a term is not; the other way round, it may have overflowed
    total = values.detach().sum().item()
    return cmath.isfinite(total) or bool(torch.isfinite(values).all())


def require_finite(name: str, values: Tensor) -> None:
    """Raise ValueError unless all values are finite."""
    if not is_finite(values):
        bad = int((~torch.isfinite(values)).sum())
        msg = f"{name} must be finite; {bad} of {values.numel()} values are not"
        raise ValueError(msg)
