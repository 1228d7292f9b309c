"""One pass through a network that keeps, of some layers, what they saw and the cotangents.

Cotangents are taken at the layers' outputs, so that autograd never computes a gradient of weights.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from theory.ntk.engine.calling import LOCK
from theory.ntk.engine.storage import room

Forward = Callable[[Tensor], Tensor]


@dataclass(slots=True)
class Call:
    """One call of one layer."""

    name: str
    """Of the layer in the model."""
    seen: Tensor
    """Its input."""
    edge: GradientEdge
    """Where its output enters the graph, whatever is done to the output in place later."""
    version: int
    """How often the input had been changed in place by then."""
    shape: torch.Size
    """Of its output."""
    returned: GradientEdge
    """Where what it returned stands in the graph, to see whether that is the model's output."""


@dataclass(slots=True)
class Pass:
    """A forward pass."""

    output: Tensor
    """Of the model."""
    calls: list[Call] = field(default_factory=list)
    """In the order in which the layers were called."""


def forward(call: Forward, layers: Mapping[str, nn.Module], inputs: Tensor) -> Pass:
    """Run the model with the layers watched; nothing of it is changed, and hooks never stay."""
    with LOCK:
        found = _watched(call, layers, inputs, copied=False)
        if any(one.seen._version != one.version for one in found.calls):
            found = _watched(call, layers, inputs, copied=True)
    return found


def cotangents(
    passed: Pass, seeds: Tensor, *, batched: bool, keep: bool = False
) -> list[tuple[Call, Tensor]]:
    """Vectors of the outputs pulled back to the output of each layer.

    Args:
        passed: The forward pass.
        seeds: Vectors in the space of outputs, shape (K', K).
        batched: Pull all back at once, or one after the other.
        keep: Keep the graph for another time.

    Returns:
        Of each call that the output depends on, the cotangents, shape (K', N, …); (K', 1, K) where
        the layer's output is the model's.
    """
    if not passed.output.requires_grad:
        return []
    end = get_gradient_edge(passed.output)
    last = [call for call in passed.calls if _same(call.returned, end)]
    rest = [call for call in passed.calls if not _same(call.returned, end)]
    found = [(call, seeds[:, None]) for call in last]
    if not rest:
        return found
    edges = [call.edge for call in rest]
    vectors = seeds[:, None].expand(-1, *passed.output.shape)
    if batched:
        pulled = torch.autograd.grad(
            passed.output,
            edges,
            vectors,
            retain_graph=keep,
            is_grads_batched=True,
            allow_unused=True,
        )
        return found + _present(rest, pulled)
    buffers = [_Buffer(len(vectors)) for _ in rest]
    for number, vector in enumerate(vectors):
        each_pulled: Sequence[Tensor | None] = torch.autograd.grad(
            passed.output,
            edges,
            vector,
            retain_graph=keep or number + 1 < len(vectors),
            allow_unused=True,
        )
        for buffer, each in zip(buffers, each_pulled, strict=True):
            buffer.put(number, each)
    return found + _present(rest, [buffer.values for buffer in buffers])


def _present(calls: Sequence[Call], pulled: Sequence[Tensor | None]) -> list[tuple[Call, Tensor]]:
    """Calls that the outputs depend on."""
    pairs = zip(calls, pulled, strict=True)
    return [(call, each.detach()) for call, each in pairs if each is not None]


@dataclass(slots=True)
class _Buffer:
    """Cotangents of one call as they come; where there are many positions, sample first."""

    count: int
    values: Tensor | None = None
    """Shape (K', N, …); None while there was none."""

    def put(self, number: int, pulled: Tensor | None) -> None:
        """Keep a cotangent; None stands for zero."""
        if pulled is None:
            if self.values is not None:
                self.values[number] = 0
            return
        if self.values is None:
            if pulled.ndim > 2:
                shape = (len(pulled), self.count, *pulled.shape[1:])
                self.values = room(pulled, *shape).transpose(0, 1)
            else:
                self.values = room(pulled, self.count, *pulled.shape)
            self.values[:number] = 0
        self.values[number] = pulled


def _same(one: GradientEdge, two: GradientEdge) -> bool:
    return one.node is two.node and one.output_nr == two.output_nr


def _watched(
    call: Forward, layers: Mapping[str, nn.Module], inputs: Tensor, *, copied: bool
) -> Pass:
    calls: list[Call] = []
    with (
        torch.inference_mode(mode=False),
        torch.enable_grad(),
        _hooks(layers, calls, copied=copied),
    ):
        output = call(inputs.clone())  # which the model may change in place
    return Pass(output, calls)


@contextmanager
def _hooks(layers: Mapping[str, nn.Module], calls: list[Call], *, copied: bool) -> Iterator[None]:
    handles = []
    try:
        for name, layer in layers.items():
            hook = _hook(name, calls, copied=copied)
            handles.append(layer.register_forward_hook(hook, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(name: str, calls: list[Call], *, copied: bool) -> Callable[..., Tensor]:
    def hook(
        _: nn.Module, args: Sequence[Any], options: Mapping[str, Any], output: Tensor
    ) -> Tensor:
        if not torch.is_grad_enabled():
            return output  # nothing flows through it
        seen = args[0] if args else options["input"]
        seen = seen.detach().clone() if copied else seen.detach()
        leaf = not output.requires_grad
        if leaf:
            output = output.detach().requires_grad_()
        edge = get_gradient_edge(output)
        # a leaf must not be changed in place, its copy may
        returned = output.clone() if leaf else output
        version = seen._version  # the counter by which autograd notices changes in place
        end = get_gradient_edge(returned) if leaf else edge
        calls.append(Call(name, seen, edge, version, output.shape, end))
        return returned

    return hook
