r"""The kernel as a linear operator: products with it that never form it.

.. math:: K v = J_1 (J_2^\top v)

A layer is linear in its own parameters. So :math:`J_2^\top v` is, layer by layer, the cotangents at
its output weighted by v and pulled back to the parameters; and :math:`J_1 u` is the layer with the
parameters u, applied to what it saw, met by the cotangents again. With P parameters, N samples and
inputs and cotangents kept, a product costs about 4 N P operations for dense layers, whatever K is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.func import functional_call

from theory import checks
from theory.ntk.engine import capture
from theory.ntk.engine.choices import chosen_parameters, ready_inputs
from theory.ntk.engine.factors import Patched
from theory.ntk.engine.model import Engine
from theory.ntk.engine.storage import room
from theory.ntk.functional.jacobian import jacobian_contraction

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

MEMORY = 1 << 32
"""Bytes for what is kept between products, unless said otherwise."""
_CACHED = 1 << 17
"""Numbers of one output that are read at a time, so that what they meet stays in the cache."""
_COLUMNS = 8
"""Vectors multiplied at a time."""
Weights = dict[str, dict[str, Tensor]]


class NTKOperator:
    r"""Products with the kernel of a network between x and x2, shape (N K, M K).

    Vectors are numbered like ``model(x).reshape(-1)``: entry n K + i is output i of sample n.

    Args:
        model: The network, in eval mode, with outputs of shape (N, K); nothing of it is changed,
            and what is kept does not follow later changes of its weights.
        x: Inputs of the rows.
        x2: Inputs of the columns; by default those of the rows.
        parameters: As of `empirical_ntk`: names or a predicate; by default all that require a
            gradient.
        memory: Bytes for inputs and cotangents kept between products. Where they do not fit, each
            product passes through the network again, in blocks, at two to three times the cost.

    Raises:
        ValueError: As `empirical_ntk`.

    Example:
        >>> operator = NTKOperator(nn.Linear(2, 1), torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
        >>> operator.matvec(torch.tensor([1.0, 1.0]))
        tensor([9., 5.])
        >>> operator.shape, operator.diagonal().flatten()
        ((2, 2), tensor([6., 2.]))
    """

    @torch.inference_mode(mode=False)
    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        x2: Tensor | None = None,
        *,
        parameters: Any = None,  # noqa: ANN401 - names or a predicate
        memory: int = MEMORY,
    ) -> None:
        self._memory = checks.count("memory", memory, minimum=1)
        rows, columns = ready_inputs(model, x, x2, None)
        names = chosen_parameters(model, parameters)
        self._engine = Engine(model, names, rows, None)
        self._outputs = self._engine.plan.outputs
        sides = 1 if columns is None else 2
        self._rows = _Side(self._engine, rows, self._memory // sides)
        self._columns = (
            self._rows if columns is None else _Side(self._engine, columns, self._memory // sides)
        )
        self.shape = (len(rows) * self._outputs, len(self._columns.x) * self._outputs)
        """(N K, M K)."""
        self.dtype = self._engine.like.dtype
        """Of the outputs of the network."""
        self.device = self._engine.like.device
        """On which the network is."""
        self.outputs = self._outputs
        """K."""

    def matvec(self, vector: Tensor) -> Tensor:
        """K v, shape (N K,), of a vector of shape (M K,)."""
        self._check("vector", vector, (self.shape[1],))
        return _product(self._columns, self._rows, vector[:, None])[:, 0]

    def rmatvec(self, vector: Tensor) -> Tensor:
        r""":math:`K^\\top v`, shape (M K,), of a vector of shape (N K,)."""
        self._check("vector", vector, (self.shape[0],))
        return _product(self._rows, self._columns, vector[:, None])[:, 0]

    def matmat(self, vectors: Tensor) -> Tensor:
        """K V, shape (N K, R), of columns of shape (M K, R)."""
        self._check("vectors", vectors, (self.shape[1], None))
        return _product(self._columns, self._rows, vectors)

    def rmatmat(self, vectors: Tensor) -> Tensor:
        r""":math:`K^\\top V`, shape (M K, R), of columns of shape (N K, R)."""
        self._check("vectors", vectors, (self.shape[0], None))
        return _product(self._rows, self._columns, vectors)

    def diagonal(self) -> Tensor:
        """Squared norms of the gradients of all outputs, shape (N, K).

        Raises:
            ValueError: If there is an x2.
        """
        if self._columns is not self._rows:
            msg = "diagonal is of a kernel of samples with themselves; x2 must be left out"
            raise ValueError(msg)
        return self._rows.squares()

    def to_scipy(self) -> "LinearOperator":
        """The same as a `scipy.sparse.linalg.LinearOperator` on NumPy arrays."""
        from scipy.sparse.linalg import LinearOperator

        def of(product: Callable[[Tensor], Tensor]) -> Callable[[Any], Any]:
            def apply(values: Any) -> Any:  # noqa: ANN401 - arrays
                given = torch.as_tensor(values, dtype=self.dtype, device=self.device)
                return (
                    product(given.reshape(len(given), -1))
                    .reshape(-1, *values.shape[1:])
                    .cpu()
                    .numpy()
                )

            return apply

        return LinearOperator(
            self.shape,
            matvec=of(self.matmat),
            rmatvec=of(self.rmatmat),
            matmat=of(self.matmat),
            rmatmat=of(self.rmatmat),
            dtype=torch.empty(0, dtype=self.dtype).numpy().dtype,
        )

    def _check(self, name: str, values: object, shape: tuple[int | None, ...]) -> None:
        if not isinstance(values, Tensor):
            msg = f"{name} must be a tensor, got {type(values).__name__}; see to_scipy for arrays"
            raise ValueError(msg)  # noqa: TRY004 - bad input is a ValueError everywhere
        fits = values.ndim == len(shape) and all(
            size in (None, own) for size, own in zip(shape, values.shape, strict=True)
        )
        if not fits or values.shape[-1] == 0:
            wanted = tuple("R" if size is None else size for size in shape)
            msg = f"{name} must have shape {wanted}, got {tuple(values.shape)}"
            raise ValueError(msg)
        if values.dtype != self.dtype or values.device != self.device:
            msg = (
                f"{name} must be of dtype {self.dtype} on {self.device}, got {values.dtype} on "
                f"{values.device}"
            )
            raise ValueError(msg)


def _product(source: "_Side", target: "_Side", vectors: Tensor) -> Tensor:
    """J' (J^T V), for a few columns at a time."""
    with torch.inference_mode(mode=False), torch.no_grad():
        parts = [
            target.forward(source.pullback(part.reshape(len(source.x), -1, part.shape[1])))
            for part in torch.split(vectors.detach(), _COLUMNS, dim=1)
        ]
    return torch.cat(parts, 2).flatten(0, 1)


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

    graph: tuple[GradientEdge, list[Tensor]] | None = None
    """Of the layer as a function of its own parameters, and these; made when first needed."""

    def gradient(self, pulled: Tensor) -> dict[str, Tensor]:
        """Cotangents (R, N, …) at the output pulled back to the parameters, each (R, …)."""
        if isinstance(self.module, nn.Linear) and self.seen.ndim == 2:
            found = {"weight": lambda: pulled.mT @ self.seen, "bias": lambda: pulled.sum(1)}
            return {name: found[name]() for name in self.own}
        if self.graph is None:
            leaves = {
                name: self.module.get_parameter(name).detach().requires_grad_() for name in self.own
            }
            with torch.enable_grad():
                output = functional_call(self.module, leaves, (self.seen,))
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


class _Side:
    """One set of samples: pulls vectors back to the parameters, and parameters to the outputs."""

    def __init__(self, engine: Engine, x: Tensor, memory: int) -> None:
        self.engine, self.x, self.memory = engine, x, memory
        plan = engine.plan
        size = engine.like.element_size()
        self._step = max(1, memory // (size * (plan.seen + (2 * plan.outputs + 6) * plan.made + 1)))
        needed = size * len(x) * (plan.seen + plan.outputs * plan.made)
        self._kept = None
        if needed <= memory:
            self._kept = [(part, self._uses(x[part])) for part in self._parts()]

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
                moved = _applied(use.module, use.own, use.seen, weights[use.name])
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
                        found[part] += factor.squares(self.memory // 4).mT
                    else:
                        found[part] += factor.squares().mT
        if plan.general:
            function, parameters = self.engine.subject.function_of(plan.general)
            for n in range(len(self.x)):
                one = jacobian_contraction(
                    function, parameters, self.x[n : n + 1], outputs="diagonal"
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
                use = _Use(call.name, module, own, call.seen, call.seen)
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
                moved.append(_applied(module, own, call.seen, weights[call.name]))
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
        return {name: torch.stack(columns) for name, *columns in zip(leaves, *pulled, strict=True)}

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
                met = [(weights[name] * own).flatten(1).sum(1) for name, own in gradients]
                rows.append(torch.stack(met).sum(0))
            return torch.stack(rows).view(*output.shape, -1)

    def _general_output(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        function, parameters = self.engine.subject.function_of(self.engine.plan.general)
        leaves = {name: each.clone().requires_grad_() for name, each in parameters.items()}
        with torch.enable_grad():
            return leaves, function(leaves, x)


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
    module: nn.Module, own: Sequence[str], seen: Tensor, weights: Mapping[str, Tensor]
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
        for name, each in module.named_parameters(recurse=False)
        if name not in own
    }
    return torch.stack(
        [
            functional_call(module, {**rest, **{name: weights[name][r] for name in own}}, (seen,))
            for r in range(columns)
        ]
    )


def _add(found: Weights, name: str, more: dict[str, Tensor]) -> None:
    """Add gradients of a layer to those there are."""
    held = found.get(name)
    found[name] = more if held is None else {own: held[own] + each for own, each in more.items()}
