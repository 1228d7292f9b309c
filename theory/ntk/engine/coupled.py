"""The kernel of a batch as it is, where its samples depend on each other."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from theory.ntk.engine.calling import called, cast
from theory.ntk.functional.jacobian import mirror
from theory.ntk.outputs import OutputChoice, output_choice


def coupled_kernel(
    model: nn.Module,
    names: Sequence[str],
    x1: Tensor,
    x2: Tensor | None,
    outputs: Any,  # noqa: ANN401
    *,
    dtype: torch.dtype | None,
    memory: int,
) -> Tensor:
    """The kernel where samples of a batch depend on each other: each batch is passed once.

    Forms the rows of the Jacobian of each whole batch.

    Raises:
        ValueError: If these do not fit into ``memory`` bytes.
    """
    left, choice = _batch_jacobian(model, names, x1, outputs, dtype=dtype, memory=memory)
    right = left
    if x2 is not None:
        right, _ = _batch_jacobian(model, names, x2, outputs, dtype=dtype, memory=memory)
    equation = {"trace": "nip,mip->nm", "diagonal": "nip,mip->nmi"}
    kernel = torch.einsum(equation.get(choice.kind, "nip,mjp->nmij"), left, right)
    if x2 is None:
        mirror(kernel)
    return kernel[..., 0, 0] if choice.kind == "pseudo" else kernel


def _batch_jacobian(
    model: nn.Module,
    names: Sequence[str],
    inputs: Tensor,
    outputs: Any,  # noqa: ANN401
    *,
    dtype: torch.dtype | None,
    memory: int,
) -> tuple[Tensor, OutputChoice]:
    """Gradients of all outputs of a batch, shape (N, K', P)."""
    held = cast(model, dtype) or {**dict(model.named_parameters()), **dict(model.named_buffers())}
    leaves = {name: held[name].detach().clone().requires_grad_() for name in names}
    buffers = {name: held[name].detach().clone() for name, _ in model.named_buffers()}
    with torch.enable_grad():
        found = called(model, {**held, **buffers, **leaves}, inputs)
        if found.ndim != 2 or len(found) != len(inputs):
            msg = f"the model must return shape (samples, outputs), got {tuple(found.shape)}"
            raise ValueError(msg)
        choice = output_choice(outputs, found.shape[1])
        size = sum(each.numel() for each in leaves.values())
        needed = len(inputs) * choice.rows * size * found.element_size()
        if 2 * needed > memory:
            msg = f"memory must be at least {2 * needed} bytes for a whole batch, got {memory}"
            raise ValueError(msg)
        rows = found.new_empty(len(inputs), choice.rows, size)
        for number, sample in enumerate(found):
            for place, seed in enumerate(choice.cotangents(found)):
                gradients: Sequence[Tensor | None] = torch.autograd.grad(
                    sample, list(leaves.values()), seed, retain_graph=True, allow_unused=True
                )
                parts = zip(gradients, leaves.values(), strict=True)
                rows[number, place] = torch.cat(
                    [
                        (torch.zeros_like(leaf) if each is None else each).flatten()
                        for each, leaf in parts
                    ]
                )
    return rows, choice
