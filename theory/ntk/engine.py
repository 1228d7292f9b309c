"""Which parameter goes which way, found out and checked once, and the factors of batches.

The check compares, layer by layer, :math:`v^\\top K v` with :math:`|J^\\top v|^2` for a random v on
two samples. What differs is used in a way that its module does not show (a weight used by another
module, or twice, or sequences that come before samples); it goes the general way.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from time import perf_counter
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from theory.ntk import capture
from theory.ntk.calling import called
from theory.ntk.contraction import contract, shape_of
from theory.ntk.factors import Factor, joined
from theory.ntk.function import check_inputs
from theory.ntk.jacobian import OutputChoice, mirror, output_choice
from theory.ntk.rules import rule_of

Forward = Callable[[Tensor], Tensor]
_DROPOUT = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)
_BATCH = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, nn.RReLU)
_KEPT = 16
"""Plans kept of one model, for other shapes of inputs or choices of parameters."""
_TIMED = 32
"""Samples on which two ways to go backward are timed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What was found out about a model."""

    layers: Mapping[str, frozenset[str]]
    """Layers that a rule covers, with the parameters of each that are asked for."""
    shared: frozenset[str]
    """Those among them that are called more than once."""
    general: tuple[str, ...]
    """Parameters that go the general way."""
    outputs: int
    """K."""
    seen: int
    """Numbers that layers see of one sample."""
    made: int
    """Numbers that layers make of one sample."""
    dtype: torch.dtype
    """Of the outputs."""
    spread: bool
    """Whether some layer is applied at many positions."""
    batched: bool
    """Whether cotangents are pulled back all at once."""


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that one kernel is made of."""

    layers: tuple[str, ...]
    """Layers that a rule covers."""
    general: tuple[str, ...]
    """Parameters that go the general way."""


class Engine:
    """A model with the parameters asked for, ready to give the factors of batches.

    Args:
        model: The network.
        names: Parameters that are asked for.
        inputs: The first batch, to find out what there is to know.
        dtype: To compute in another precision than the model's.

    Raises:
        ValueError: If the model is in train mode, its weights or outputs are not finite, or its
            outputs are not (N, K), are random or depend on other samples.
    """

    def __init__(
        self, model: nn.Module, names: Sequence[str], inputs: Tensor, dtype: torch.dtype | None
    ) -> None:
        self.model = model
        self.dtype = dtype
        self.tensors = _cast(model, dtype)
        refuse_train(model)
        _refuse_weights(model)
        modules = dict(model.named_modules())
        self.plan = _plan(self, modules, tuple(names), inputs)
        self.layers = {name: modules[name] for name in self.plan.layers}
        self.like = torch.empty(0, dtype=self.plan.dtype, device=inputs.device)
        """Any tensor of the type and on the device of the outputs."""

    @property
    def spread(self) -> bool:
        """Whether some layer is applied at many positions."""
        return self.plan.spread

    def groups(self, *, by_layer: bool) -> dict[str, Group]:
        """All parameters together under the name "", or those of each module under its name."""
        plan = self.plan
        if not by_layer:
            return {"": Group(tuple(plan.layers), plan.general)}
        general: dict[str, list[str]] = {}
        for name in plan.general:
            general.setdefault(name.rpartition(".")[0], []).append(name)
        return {
            name: Group((name,) if name in plan.layers else (), tuple(general.get(name, ())))
            for name in dict(self.model.named_modules())
            if name in plan.layers or name in general
        }

    def __call__(self, inputs: Tensor) -> Tensor:
        """Outputs of the model, in the precision asked for."""
        if self.tensors is None:
            return self.model(inputs)  # type: ignore[no-any-return]
        return called(self.model, self.tensors, inputs)  # type: ignore[no-any-return]

    def factors(self, inputs: Tensor, seeds: Tensor) -> dict[str, list[Factor]]:
        """Factors of each layer for a batch.

        Raises:
            ValueError: If an output is not finite.
        """
        passed = capture.forward(self, self.layers, inputs)
        self.refuse_not_finite(passed.output)
        batched = self.plan.batched and len(seeds) > 1
        found: dict[str, list[list[Factor]]] = {}
        for call, pulled in capture.cotangents(passed, seeds, batched=batched):
            found.setdefault(call.name, []).append(self._rule(call, pulled, self.plan))
        return {
            name: joined(uses) if name in self.plan.shared else uses[0]
            for name, uses in found.items()
        }

    def _rule(self, call: capture.Call, pulled: Tensor, plan: Plan) -> list[Factor]:
        module = self.model.get_submodule(call.name)
        rule = rule_of(module)
        assert rule is not None
        shared = call.name in plan.shared
        return rule.factors(module, call.seen, pulled, plan.layers[call.name], shared=shared)

    def general(self, names: Sequence[str]) -> tuple[Callable[..., Tensor], dict[str, Tensor]]:
        """A function of some parameters and a batch, and these parameters."""
        own = self.tensors or {}
        parameters = dict(self.model.named_parameters())
        chosen = {name: own.get(name, parameters[name]).detach() for name in names}

        def outputs(given: dict[str, Tensor], inputs: Tensor) -> Tensor:
            return called(self.model, {**own, **given}, inputs)  # type: ignore[no-any-return]

        return outputs, chosen

    def refuse_not_finite(self, outputs: Tensor) -> None:
        """Raise ValueError unless all outputs are finite; inputs and weights are."""
        if not outputs.isfinite().all():
            msg = (
                "outputs of the model must be finite, got nan or inf for finite inputs and weights"
            )
            raise ValueError(msg)


def chosen_parameters(model: nn.Module, parameters: Any) -> tuple[str, ...]:  # noqa: ANN401
    """Full names of the parameters asked for.

    Args:
        model: The network.
        parameters: Names of parameters or modules, or a predicate of names; None for all that
            require a gradient.

    Raises:
        ValueError: If a name is unknown, or none is left.
    """
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
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
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
    """Raise ValueError for active dropout, or batch normalization by batch statistics."""
    for name, module in model.named_modules():
        if not module.training or not isinstance(module, _DROPOUT + _BATCH):
            continue
        rate = getattr(module, "p", 0.0) if isinstance(module, _DROPOUT) else 0.0
        if isinstance(module, _BATCH) or rate > 0:
            msg = (
                f"the model must be in eval mode, got {type(module).__name__} {name!r} in train "
                "mode: it makes outputs random or ties the samples of a batch. Call model.eval(), "
                "or pass allow_train=True for the kernel of these batches as they are"
            )
            raise ValueError(msg)


def _refuse_weights(model: nn.Module) -> None:
    """Raise ValueError, naming them, unless all parameters are finite."""
    sizes = {
        name: torch.linalg.vector_norm(each.detach(), ord=float("inf"))
        for name, each in model.named_parameters()
        if each.is_floating_point()
    }
    if not torch.stack([size.double() for size in sizes.values()]).isfinite().all():
        bad = [name for name, size in sizes.items() if not size.isfinite()]
        msg = f"parameters of the model must be finite, got nan or inf in {', '.join(bad)}"
        raise ValueError(msg)


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
    held = _cast(model, dtype) or {**dict(model.named_parameters()), **dict(model.named_buffers())}
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
            msg = f"memory must be at least {2 * needed} bytes for a batch in train mode, got {memory}"
            raise ValueError(msg)
        rows = found.new_empty(len(inputs), choice.rows, size)
        for number, sample in enumerate(found):
            for place, seed in enumerate(choice.cotangents(found)):
                gradients = torch.autograd.grad(
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


def _cast(model: nn.Module, dtype: torch.dtype | None) -> dict[str, Tensor] | None:
    """Parameters and buffers in another precision, or None if they have it."""
    if dtype is None:
        return None
    held = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    if all(each.dtype == dtype for each in held.values() if each.is_floating_point()):
        return None
    return {
        name: each.detach().to(dtype) if each.is_floating_point() else each.detach()
        for name, each in held.items()
    }


_PLANS: "WeakKeyDictionary[nn.Module, dict[Any, Plan]]" = WeakKeyDictionary()


def _plan(
    engine: Engine, modules: Mapping[str, nn.Module], names: tuple[str, ...], inputs: Tensor
) -> Plan:
    """The plan for a model as it is built now; models do not change, but their parts may."""
    structure = tuple(
        (
            name,
            type(module),
            module.training,
            tuple((own, id(each)) for own, each in module._parameters.items()),
        )
        for name, module in modules.items()
    )
    kind = (inputs.shape[1:], inputs.dtype, inputs.device, len(inputs) > 1)
    key = (structure, names, kind, engine.dtype)
    plans = _PLANS.setdefault(engine.model, {})
    if key not in plans:
        if len(plans) >= _KEPT:
            plans.clear()
        plans[key] = _found_out(engine, modules, names, inputs)
    return plans[key]


def _found_out(
    engine: Engine, modules: Mapping[str, nn.Module], names: tuple[str, ...], inputs: Tensor
) -> Plan:
    """Sort the parameters by route on two samples, check the result, and time the ways back."""
    probe = inputs[:2]
    asked = _owned(modules, names)
    ruled = {
        name: own
        for name, own in asked.items()
        if rule_of(modules[name]) is not None and own <= {"weight", "bias"}
    }
    passed = _first(engine, {name: modules[name] for name in ruled}, probe, tuple(inputs.shape))
    _refuse_coupled(engine, passed.output, probe)
    count = len(probe)
    calls: dict[str, list[capture.Call]] = {}
    for call in passed.calls:
        calls.setdefault(call.name, []).append(call)
    layers = {
        name: own
        for name, own in ruled.items()
        if name in calls
        and all(call.seen.shape[:1] == call.shape[:1] == (count,) for call in calls[name])
    }
    claimed = {_full_name(name, own) for name, each in layers.items() for own in each}
    draft = Plan(
        layers=layers,
        shared=frozenset(name for name in layers if len(calls[name]) > 1),
        general=tuple(name for name in names if name not in claimed),
        outputs=passed.output.shape[1],
        seen=sum(call.seen.numel() for name in layers for call in calls[name]) // count,
        made=sum(call.shape.numel() for name in layers for call in calls[name]) // count,
        dtype=passed.output.dtype,
        spread=any(call.seen.ndim > 2 for name in layers for call in calls[name]),
        batched=False,
    )
    draft = _checked(engine, draft, passed, probe)
    return replace(draft, batched=_faster_batched(engine, modules, draft, inputs[:_TIMED]))


def _owned(modules: Mapping[str, nn.Module], names: tuple[str, ...]) -> dict[str, frozenset[str]]:
    """Parameters asked for, by the one module that owns them; those of several are left out."""
    owners: dict[int, list[tuple[str, str]]] = {}
    for name, module in modules.items():
        for own, parameter in module.named_parameters(recurse=False):
            owners.setdefault(id(parameter), []).append((name, own))
    asked = set(names)
    found: dict[str, set[str]] = {}
    for places in owners.values():
        name, own = places[0]
        if len(places) == 1 and _full_name(name, own) in asked:
            found.setdefault(name, set()).add(own)
    return {name: frozenset(own) for name, own in found.items()}


def _first(
    engine: Engine, layers: Mapping[str, nn.Module], probe: Tensor, shape: tuple[int, ...]
) -> capture.Pass:
    """The first pass, which says whether the model can be called at all.

    Raises:
        ValueError: If it cannot, or its outputs are not one finite row a sample.
    """
    try:
        passed = capture.forward(engine, layers, probe)
    except (RuntimeError, TypeError, IndexError) as error:
        msg = (
            f"the model must take inputs of shape {shape}, {probe.dtype} on {probe.device}, but "
            f"raised {type(error).__name__}: {error}"
        )
        raise ValueError(msg) from error
    output = passed.output
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(probe):
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        msg = f"the model must return shape (samples, outputs) for {len(probe)} samples, got {got}"
        raise ValueError(msg)
    if output.shape[1] == 0 or not output.is_floating_point():
        msg = f"outputs must be real numbers, one or more, got {output.shape[1]} of {output.dtype}"
        raise ValueError(msg)
    engine.refuse_not_finite(output)
    return passed


def _refuse_coupled(engine: Engine, output: Tensor, probe: Tensor) -> None:
    """Raise ValueError if outputs are random, or depend on the other samples of the batch."""
    with torch.no_grad():
        again, alone = engine(probe), engine(probe[:1])
    near = torch.finfo(output.dtype).eps ** 0.5 * output.detach().abs().max()
    if not torch.allclose(again, output, rtol=0, atol=float(near)):
        msg = (
            "outputs must be the same each time, got other ones for the same inputs: is there "
            "dropout? call model.eval() first, or pass allow_train=True"
        )
        raise ValueError(msg)
    if not torch.allclose(alone, output[:1], rtol=0, atol=float(near)):
        msg = (
            "outputs must not depend on the other samples of the batch, got other ones for the "
            "first sample alone: the kernel of two samples is then not defined. Is there batch "
            "normalization by batch statistics? Or pass allow_train=True for the kernel of this "
            "batch as a whole"
        )
        raise ValueError(msg)


def _checked(engine: Engine, plan: Plan, passed: capture.Pass, probe: Tensor) -> Plan:
    """The plan, less what a random quadratic form shows to be used in other ways."""
    outputs = plan.outputs
    seeds = torch.eye(outputs, dtype=passed.output.dtype, device=passed.output.device)
    random = torch.Generator().manual_seed(0)
    vector = torch.randn(len(probe), outputs, generator=random, dtype=torch.float64).to(seeds)
    squares = _squares(engine, [*_parameters(plan), *plan.general], probe, vector)
    uses: dict[str, list[list[Factor]]] = {}
    wrong = set()
    for call, pulled in capture.cotangents(passed, seeds, batched=False):
        if call.name not in plan.layers:
            continue
        try:
            uses.setdefault(call.name, []).append(engine._rule(call, pulled, plan))
        except (RuntimeError, IndexError, AssertionError):
            wrong.add(call.name)
    for name, own in plan.layers.items():
        exact = sum(squares[_full_name(name, each)] for each in own)
        if name in wrong or not _agrees(uses.get(name), name in plan.shared, vector, exact):
            wrong.add(name)
    kept = {name: own for name, own in plan.layers.items() if name not in wrong}
    moved = [_full_name(name, own) for name in sorted(wrong) for own in sorted(plan.layers[name])]
    general = [name for name in (*plan.general, *moved) if squares[name] != 0]
    return replace(plan, layers=kept, general=tuple(general), shared=plan.shared & kept.keys())


def _agrees(uses: list[list[Factor]] | None, shared: bool, vector: Tensor, exact: float) -> bool:
    """Whether the factors of a layer give the quadratic form that its gradient gives."""
    if uses is None:
        return exact == 0
    factors = joined(uses) if shared else uses[0]
    count, outputs = vector.shape
    kernel = vector.new_empty(shape_of("full", outputs, count, count))
    contract(factors, factors, kernel, "full", symmetric=True, memory=1 << 26)
    matrix = kernel.view(count * outputs, -1).double()
    flat = vector.mT.reshape(-1).double()
    size = float(flat.abs() @ matrix.abs() @ flat.abs())
    near = float(torch.finfo(vector.dtype).eps) ** 0.5
    return abs(float(flat @ matrix @ flat) - exact) <= near * size


def _squares(
    engine: Engine, names: Sequence[str], probe: Tensor, vector: Tensor
) -> dict[str, float]:
    """Squared norms of the gradient of the outputs times ``vector``, by parameter."""
    outputs, chosen = engine.general(names)
    leaves = {name: each.clone().requires_grad_() for name, each in chosen.items()}
    if not leaves:
        return {}
    try:
        with torch.enable_grad():
            found = torch.autograd.grad(
                outputs(leaves, probe), list(leaves.values()), vector, allow_unused=True
            )
    except RuntimeError as error:
        msg = f"the model must be differentiable by its parameters, but autograd says: {error}"
        raise ValueError(msg) from error
    return {
        name: 0.0 if each is None else float(each.double().square().sum())
        for name, each in zip(leaves, found, strict=True)
    }


def _faster_batched(
    engine: Engine, modules: Mapping[str, nn.Module], plan: Plan, inputs: Tensor
) -> bool:
    """Whether pulling all cotangents back at once is faster than one after the other; measured."""
    if plan.outputs == 1 or not plan.layers:
        return False
    layers = {name: modules[name] for name in plan.layers}
    passed = capture.forward(engine, layers, inputs)
    seeds = torch.eye(plan.outputs, dtype=passed.output.dtype, device=passed.output.device)
    times = []
    for batched in (True, False):
        try:
            # the first time at once also says whether there are batching rules for all operations
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                capture.cotangents(passed, seeds[:2], batched=batched, keep=True)
        except (RuntimeError, UserWarning):
            return False
        start = perf_counter()
        found = capture.cotangents(passed, seeds, batched=batched, keep=True)
        if found:
            float(found[-1][1].sum())  # waits for a device
        times.append(perf_counter() - start)
    return times[0] < times[1]


def _parameters(plan: Plan) -> list[str]:
    return [_full_name(name, own) for name, each in plan.layers.items() for own in sorted(each)]


def _full_name(name: str, own: str) -> str:
    return f"{name}.{own}" if name else own
