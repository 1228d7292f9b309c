"""What the kernel functions of a network are asked for, checked."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from theory.ntk.engine.calling import LOCK
from theory.ntk.inputs import check_inputs, is_finite

_DROPOUT = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)
_BATCH = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.RReLU)


class CoupledError(ValueError):
    """Outputs depend on the other samples of the batch, or on chance."""


def chosen_parameters(model: nn.Module, parameters: Any) -> tuple[str, ...]:  # noqa: ANN401
    """Full names of the parameters asked for.

    Args:
        model: The network.
        parameters: Names of parameters or modules, or a predicate of names; None for all that
            require a gradient.

    Raises:
        ValueError: If a name is unknown, or none is left.
    """
    if isinstance(model, torch.jit.ScriptModule):
        msg = (
            f"the model must be a plain torch.nn.Module, got {type(model).__name__}, whose layers "
            "cannot be watched; pass the module that it was made from"
        )
        raise ValueError(msg)  # noqa: TRY004 - bad input is a ValueError everywhere
    with LOCK:
        held = dict(model.named_parameters())
    if parameters is None:
        found = [name for name, each in held.items() if each.requires_grad]
        if not found:
            msg = (
                "some parameter must require a gradient, got "
                f"{'all frozen' if held else 'none at all'}; name them in parameters="
            )
            raise ValueError(msg)
    elif callable(parameters):
        found = [name for name in held if parameters(name)]
    elif isinstance(parameters, Sequence) and not isinstance(parameters, str):
        found = []
        for asked in parameters:
            own = [name for name in held if name == asked or name.startswith(f"{asked}.")]
            if not own:
                near = get_close_matches(str(asked), held, n=3, cutoff=0.0)
                msg = (
                    f"parameters must name parameters or modules, got {asked!r}; near it are {near}"
                )
                raise ValueError(msg)
            found += own
    else:
        msg = f"parameters must be names, or a predicate of names, got {parameters!r}"
        raise ValueError(msg)
    if not found:
        msg = f"parameters must choose at least one of {', '.join(held)}, got none"
        raise ValueError(msg)
    bad = [name for name in found if not held[name].is_floating_point()]
    if bad:
        msg = f"parameters must be real, got {', '.join(bad)}"
        raise ValueError(msg)
    return tuple(dict.fromkeys(found))


def ready_inputs(
    model: nn.Module, x1: Tensor, x2: Tensor | None, dtype: torch.dtype | None
) -> tuple[Tensor, Tensor | None]:
    """Both batches, checked against each other and the model, in the precision asked for.

    Raises:
        ValueError: If they are no batches of finite numbers, of one kind and on the model's device.
    """
    asked: object = dtype
    if asked is not None and not (isinstance(asked, torch.dtype) and asked.is_floating_point):
        msg = f"dtype must be a floating torch.dtype such as torch.float64, got {dtype!r}"
        raise ValueError(msg)
    held = next(model.parameters(), None)
    for name, each in (("x1", x1), ("x2", x2)):
        if held is not None and isinstance(each, Tensor) and each.device != held.device:
            msg = f"{name} must be on the device of the model, {held.device}, got {each.device}"
            raise ValueError(msg)
    rows = _ready(check_inputs("x1", x1), dtype)
    return rows, None if x2 is None else _ready(check_inputs("x2", x2, like=x1), dtype)


def _ready(inputs: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Inputs in another precision, unless they are integers; normal ones that autograd can keep."""
    inputs = inputs.detach()
    if inputs.is_inference():
        inputs = inputs.clone()
    return inputs.to(dtype) if dtype is not None and inputs.is_floating_point() else inputs


def refuse_train(model: nn.Module) -> None:
    """Raise CoupledError for active dropout, or batch normalization by batch statistics."""
    for name, module in model.named_modules():
        if not module.training or not isinstance(module, _DROPOUT + _BATCH):
            continue
        rate = getattr(module, "p", 0.0) if isinstance(module, _DROPOUT) else 0.0
        if isinstance(module, _BATCH) or rate > 0:
            msg = (
                f"the model must be in eval mode, got {type(module).__name__} {name!r} in train "
                "mode: it makes outputs random or ties the samples of a batch. Call model.eval() "
                "first."
            )
            raise CoupledError(msg)


def refuse_weights(model: nn.Module) -> None:
    """Raise ValueError, naming them, unless all parameters are finite."""
    bad = [name for name, each in model.named_parameters() if not is_finite(each)]
    if bad:
        msg = f"parameters of the model must be finite, got nan or inf in {', '.join(bad)}"
        raise ValueError(msg)
