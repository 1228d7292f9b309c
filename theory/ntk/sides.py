"""One set of samples of a kernel as an operator: vectors to the parameters, and back."""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge, saved_tensors_hooks

from theory.ntk.engine import capture
from theory.ntk.engine.calling import LOCK
from theory.ntk.engine.factors import Patched
from theory.ntk.engine.model import Engine
from theory.ntk.engine.storage import room
from theory.ntk.functional.jacobian import jacobian_contraction

COLUMNS = 8
"""Vectors multiplied at a time."""
_CACHED = 1 << 17
"""Numbers of one output that are read at a time, so that what they meet stays in the cache."""
Weights = dict[str, dict[str, Tensor]]


@dataclass(slots=True)
class _Use:
    """One call of a layer: what it saw, and the cotangents at its output."""

    name: str
    module: nn.Module
    own: tuple[str, ...]
    """Parameters asked for."""
    seen: Tensor
    cotangents: Tensor
    """Shape (K, N, …); (K, 1, C) where the layer's output is the model's."""
    shape: torch.Size
    """Of what it made."""

    graph: tuple[GradientEdge, list[Tensor]] | None = None
    """Of the layer as a function of its own parameters, and these; made when first needed."""

    def gradient(self, pulled: Tensor) -> dict[str, Tensor]:
        """Cotangents (R, N, …) at the output pulled back to the parameters, each (R, …)."""
        if isinstance(self.module, nn.Linear) and self.seen.ndim == 2:
            found = {"weight": lambda: pulled.mT @ self.seen, "bias": lambda: pulled.sum(1)}
            return {name: found[name]() for name in self.own}
        if self.graph is None:
            all_own = own_parameters(self.module)
            leaves = {name: all_own[name].detach().clone().requires_grad_() for name in self.own}
            with torch.enable_grad():
                output = _made(self.module, leaves, self.seen, self.shape)
            self.graph = get_gradient_edge(output), list(leaves.values())
        end, held = self.graph
        columns = [torch.autograd.grad([end], held, [each], retain_graph=True) for each in pulled]
        return {name: torch.stack(each) for name, *each in zip(self.own, *columns, strict=True)}

    def weighted(self, vectors: Tensor) -> Tensor:
        """Cotangents weighted by vectors (N, K, R) and summed, shape (R, N, …)."""
        count, _, columns = vectors.shape
        shape = (columns, count, *self.cotangents.shape[2:])
        if self.cotangents.shape[1] != count:
            return (vectors.permute(2, 0, 1) @ self.cotangents[:, 0]).contiguous()
        total = room(self.cotangents, *shape)
        weights = vectors.permute(1, 2, 0).reshape(-1, columns, count, *(1,) * (len(shape) - 2))
        for rows in self._blocks():
            part = total[:, rows]
            torch.mul(self.cotangents[0, rows], weights[0, :, rows], out=part)
            for pulled, each in zip(self.cotangents[1:], weights[1:], strict=True):
                part.addcmul_(pulled[rows], each[:, rows])
        return total

    def met(self, moved: Tensor) -> Tensor:
        """Inner products of the cotangents with (R, N, …), shape (N, K, R)."""
        columns, count = moved.shape[:2]
        found = moved.new_empty(count, len(self.cotangents), columns)
        if self.cotangents.shape[1] != count:
            return (moved @ self.cotangents[:, 0].mT).permute(1, 2, 0)
        for rows in self._blocks():
            for k, pulled in enumerate(self.cotangents):
                products = pulled[rows] * moved[:, rows]
                found[rows, k] = products.flatten(2).sum(-1).mT
        return found

    def _blocks(self) -> Iterator[slice]:
        """A few samples at a time."""
        count = len(self.seen)
        step = max(1, _CACHED // max(1, self.cotangents[0, 0].numel()))
        for start in range(0, count, step):
            yield slice(start, min(start + step, count))


class Side:
    """One set of samples: pulls vectors back to the parameters, and parameters to the outputs."""

    def __init__(self, engine: Engine, x: Tensor, memory: int) -> None:
        self.engine, self.x = engine, x
        plan = engine.plan
        size = engine.like.element_size()
        kept = size * len(x) * (plan.seen + plan.outputs * plan.made)
        fits = 4 * kept <= 3 * memory
        self._spare = memory - kept if fits else memory
        # a pass, its derivative and that of the derivative; cotangents, and buffers for them
        columns = 2 * max(plan.outputs, COLUMNS) + 2
        each = 3 * _saved(engine, x[:2]) + size * columns * plan.made
        self._step = max(1, 3 * self._spare // (4 * each + 1))
        self._kept = [(part, self._uses(x[part])) for part in self._parts()] if fits else None

    def _parts(self) -> Iterator[slice]:
        for start in range(0, len(self.x), self._step):
            yield slice(start, min(start + self._step, len(self.x)))

    def _uses(self, x: Tensor) -> list[_Use]:
        engine = self.engine
        identity = torch.eye(engine.plan.outputs, dtype=engine.like.dtype, device=x.device)
        return [
            _Use(
                call.name,
                engine.layers[call.name],
                tuple(engine.plan.layers[call.name]),
                call.seen,
                each,
                call.shape,
            )
            for call, each in engine.calls(x, identity)
        ]

    def pullback(self, vectors: Tensor) -> Weights:
        """The gradient of <outputs, v> for columns v of (N, K, R), by layer, each (R, …)."""
        found: Weights = {}
        if self._kept is not None:
            for part, uses in self._kept:
                for use in uses:
                    pulled = use.weighted(vectors[part])
                    _add(found, use.name, use.gradient(pulled))
        else:
            for part in self._parts():
                self._pull_again(part, vectors[part], found)
        if self.engine.plan.general:
            for part in self._parts():
                _add(found, "", self._general_gradient(self.x[part], vectors[part]))
        return found

    def forward(self, weights: Weights) -> Tensor:
        """Products of the Jacobian with weights (R, …), shape (N, K, R)."""
        columns = len(next(iter(next(iter(weights.values())).values()))) if weights else 0
        found = self.engine.like.new_zeros(len(self.x), self.engine.plan.outputs, columns)
        for part, uses in self._kept or ():
            found[part] += self._met(uses, weights)
        if self._kept is None:
            for part in self._parts():
                found[part] += self._push_again(part, weights)
        if self.engine.plan.general:
            for part in self._parts():
                found[part] += self._general_forward(self.x[part], weights[""])
        return found

    def _met(self, uses: Sequence[_Use], weights: Weights) -> Tensor:
        """What calls of layers, with other weights, change of the outputs: shape (n, K, R)."""
        total = torch.zeros((), dtype=self.engine.like.dtype, device=self.x.device)
        for use in uses:
            if use.name in weights:
                moved = _applied(use.module, use.own, use.seen, use.shape, weights[use.name])
                total = total + use.met(moved)
        return total

    def squares(self) -> Tensor:
        """Squared norms of the rows of the Jacobian, shape (N, K)."""
        plan = self.engine.plan
        seeds = torch.eye(plan.outputs, dtype=self.engine.like.dtype, device=self.x.device)
        found = self.engine.like.new_zeros(len(self.x), plan.outputs)
        for part in self._parts():
            for factors in self.engine.factors(self.x[part], seeds).values():
                for factor in factors:
                    if isinstance(factor, Patched):
                        found[part] += factor.squares(self._spare // 4).mT
                    else:
                        found[part] += factor.squares().mT
        if plan.general:
            function, parameters = self.engine.subject.function_of(plan.general)
            for n in range(len(self.x)):
                one = jacobian_contraction(
                    function,
                    parameters,
                    self.x[n : n + 1],
                    outputs="diagonal",
                    memory=self._spare,
                )
                found[n] += one[0, 0]
        return found

    def _pull_again(self, part: slice, vectors: Tensor, found: Weights) -> None:
        """`pullback` by another pass through the network."""
        passed = self.engine.passed(self.x[part])
        pulled = [_pulled(passed, vector) for vector in vectors.unbind(-1)]
        for call, *columns in zip(passed.calls, *pulled, strict=True):
            if columns[0] is not None:
                module, own = self.engine.layers[call.name], self._own(call.name)
                use = _Use(call.name, module, own, call.seen, call.seen, call.shape)
                _add(found, call.name, use.gradient(torch.stack(columns)))

    def _push_again(self, part: slice, weights: Weights) -> Tensor:
        """`forward` by another pass: what is pulled back is linear in the vector."""
        passed = self.engine.passed(self.x[part])
        try:
            with torch.enable_grad():
                vector = torch.zeros_like(passed.output).requires_grad_()
                pulled = _pulled(passed, vector, create_graph=True)
        except RuntimeError:  # some operation has no second derivative: all cotangents at once
            return self._met(self._uses(self.x[part]), weights)
        met: list[Tensor] = []
        moved: list[Tensor] = []
        for call, each in zip(passed.calls, pulled, strict=True):
            if each is not None and each.requires_grad and call.name in weights:
                module, own = self.engine.layers[call.name], self._own(call.name)
                met.append(each)
                moved.append(_applied(module, own, call.seen, call.shape, weights[call.name]))
        if not met:
            return torch.zeros((), dtype=vector.dtype, device=vector.device)
        return torch.stack(
            [
                torch.autograd.grad(met, vector, list(column), retain_graph=True)[0]
                for column in zip(*moved, strict=True)
            ],
            dim=-1,
        )

    def _own(self, name: str) -> tuple[str, ...]:
        return tuple(self.engine.plan.layers[name])

    def _general_gradient(self, x: Tensor, vectors: Tensor) -> dict[str, Tensor]:
        """Gradients by the parameters that no rule covers, each (R, …)."""
        leaves, output = self._general_output(x)
        pulled = [
            torch.autograd.grad(
                output,
                list(leaves.values()),
                vector,
                retain_graph=True,
                materialize_grads=True,
            )
            for vector in vectors.unbind(-1)
        ]
        return {
            name: torch.stack([each.to_dense() for each in columns])
            for name, *columns in zip(leaves, *pulled, strict=True)
        }

    def _general_forward(self, x: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """Products of the Jacobian by these parameters, shape (n, K, R)."""
        leaves, output = self._general_output(x)
        held = list(leaves.values())
        try:
            with torch.enable_grad():
                vector = torch.zeros_like(output).requires_grad_()
                pulled = torch.autograd.grad(
                    output, held, vector, create_graph=True, materialize_grads=True
                )
            used = [place for place, each in enumerate(pulled) if each.requires_grad]
            if not used:
                return output.new_zeros(*output.shape, len(next(iter(weights.values()))))
            pulled = tuple(pulled[place] for place in used)
            names = list(leaves)
            columns = zip(*(weights[names[place]] for place in used), strict=True)
            found = [
                torch.autograd.grad(pulled, vector, list(column), retain_graph=True)[0]
                for column in columns
            ]
            return torch.stack(found, dim=-1)
        except RuntimeError:  # some operation has no second derivative: gradients one by one
            with torch.enable_grad():
                entries = output.flatten().unbind()
            rows = []
            for each in entries:
                gradients = zip(
                    leaves,
                    torch.autograd.grad(each, held, retain_graph=True, materialize_grads=True),
                    strict=True,
                )
                met = [
                    (weights[name] * own.to_dense()).flatten(1).sum(1) for name, own in gradients
                ]
                rows.append(torch.stack(met).sum(0))
            return torch.stack(rows).view(*output.shape, -1)

    def _general_output(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        function, parameters = self.engine.subject.function_of(self.engine.plan.general)
        leaves = {name: each.clone().requires_grad_() for name, each in parameters.items()}
        with torch.enable_grad():
            return leaves, function(leaves, x)


def _saved(engine: Engine, x: Tensor) -> int:
    """Bytes that a pass keeps of one sample for its derivative, what layers see included."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        passed = engine.passed(x)
    for call in passed.calls:
        pack(call.seen)
    model = engine.subject.model
    with LOCK:
        held = (*model.parameters(), *model.buffers())
    for each in held:
        kept.pop(each.untyped_storage().data_ptr(), None)
    return sum(kept.values()) // len(x)


def _pulled(
    passed: capture.Pass, vector: Tensor, *, create_graph: bool = False
) -> tuple[Tensor | None, ...]:
    """A vector of the outputs pulled back to the output of each call."""
    if not passed.calls or not passed.output.requires_grad:
        return (None,) * len(passed.calls)
    return torch.autograd.grad(
        passed.output,
        [call.edge for call in passed.calls],
        vector,
        retain_graph=True,
        create_graph=create_graph,
        allow_unused=True,
    )


def _applied(
    module: nn.Module,
    own: Sequence[str],
    seen: Tensor,
    shape: torch.Size,
    weights: Mapping[str, Tensor],
) -> Tensor:
    """The layer with other parameters, those not asked for zero: shape (R, N, …)."""
    if isinstance(module, nn.Linear) and seen.ndim == 2:
        if "weight" not in own:
            return weights["bias"][:, None].expand(-1, len(seen), -1)
        other = weights["weight"]
        moved = room(seen, len(other), len(seen), other.shape[1])
        torch.matmul(seen, other.mT, out=moved)
        return moved.add_(weights["bias"][:, None]) if "bias" in own else moved
    columns = len(next(iter(weights.values())))
    rest = {
        name: torch.zeros_like(each)
        for name, each in own_parameters(module).items()
        if name not in own
    }
    return torch.stack(
        [
            _made(module, {**rest, **{name: weights[name][r] for name in own}}, seen, shape)
            for r in range(columns)
        ]
    )


def own_parameters(module: nn.Module) -> dict[str, Tensor]:
    """Those of a layer itself."""
    with LOCK:
        return {name: each for name, each in module._parameters.items() if each is not None}


def _made(
    module: nn.Module, parameters: Mapping[str, Tensor], seen: Tensor, shape: torch.Size
) -> Tensor:
    """What a layer makes with other parameters, without its hooks; nothing of it is changed."""
    with LOCK:
        other: Any = copy(module)
        other._parameters = {**module._parameters, **parameters}
        other._buffers = dict(module._buffers)
    if isinstance(module, nn.Embedding):
        other.sparse = False  # which changes the layout of gradients alone
    made: Tensor = other.forward(seen)
    if made.shape != shape:  # a transposed convolution may be told the size of its output
        made = other.forward(seen, output_size=list(shape[2:]))
    return made


def _add(found: Weights, name: str, more: dict[str, Tensor]) -> None:
    """Add gradients of a layer to those there are."""
    held = found.get(name)
    found[name] = more if held is None else {own: held[own] + each for own, each in more.items()}
