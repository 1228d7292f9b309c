"""A network called with other tensors in the place of its own."""

from collections.abc import Mapping
from threading import RLock
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

LOCK = RLock()
"""Held while a model has hooks or other tensors in it, and while what it holds is read."""


def called(model: nn.Module, tensors: Mapping[str, Tensor], inputs: Tensor) -> Any:  # noqa: ANN401
    """``model(inputs)`` with some parameters and buffers replaced, shared ones wherever they are.

    `torch.func.functional_call` with its own treatment of shared parameters leaves another tensor
    behind in a module that stands in two places; here each module is replaced in once.

    Args:
        model: The network.
        tensors: By name, one name for each shared parameter.
        inputs: Its only argument.

    Example:
        >>> import torch
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> called(nn.Sequential(layer, layer), {"0.weight": torch.tensor([[3.0]])}, torch.ones(1))
        tensor([9.])
    """
    with LOCK:
        held = dict(model.named_parameters()) | dict(model.named_buffers())
        by_tensor = {id(held[name]): each for name, each in tensors.items()}
        everywhere = {
            f"{place}.{name}" if place else name: by_tensor[id(own)]
            for place, module in model.named_modules()
            for name, own in (
                *module.named_parameters(recurse=False, remove_duplicate=False),
                *module.named_buffers(recurse=False, remove_duplicate=False),
            )
            if id(own) in by_tensor
        }
        return functional_call(model, everywhere, (inputs,), tie_weights=False)


def cast(model: nn.Module, dtype: torch.dtype | None) -> dict[str, Tensor] | None:
    """Parameters and buffers in another precision, or None if they have it.

    In train mode there are copies of the buffers: a pass may change them.
    """
    buffers = dict(model.named_buffers())
    changing = buffers and any(module.training for module in model.modules())
    if dtype is None and not changing:
        return None
    held = {**dict(model.named_parameters()), **buffers}
    if dtype is None or all(
        each.dtype == dtype for each in held.values() if each.is_floating_point()
    ):
        if not changing:
            return None
        return held | {name: each.clone() for name, each in buffers.items()}
    return {
        name: each.detach().to(dtype) if each.is_floating_point() else each.detach()
        for name, each in held.items()
    }
