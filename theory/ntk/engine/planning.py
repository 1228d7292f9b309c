r"""Which parameter goes which way, found out and checked once.

The check counts how often each parameter enters the graph of the outputs, and compares, layer by
layer, :math:`v^\top K v` with :math:`|J^\top v|^2` for a random v on two samples. What differs is
used in a way that its module does not show (a weight used by hand as well, or sequences that come
before samples); it goes the general way.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from theory.ntk.engine import capture
from theory.ntk.engine.choices import refuse_weights
from theory.ntk.engine.contraction import contract, shape_of
from theory.ntk.engine.factors import Factor, joined
from theory.ntk.engine.rules import rule_of
from theory.ntk.engine.subject import Subject, refuse_not_finite
from theory.ntk.inputs import is_finite

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


_PLANS: "WeakKeyDictionary[nn.Module, dict[Any, Plan]]" = WeakKeyDictionary()


def factors_of(module: nn.Module, plan: Plan, call: capture.Call, pulled: Tensor) -> list[Factor]:
    """Factors of one call of a layer that a rule covers."""
    rule = rule_of(module)
    if rule is None:
        msg = f"{call.name} must be of a kind that a rule covers, got {type(module).__name__}"
        raise ValueError(msg)
    shared = call.name in plan.shared
    return rule.factors(module, call.seen, pulled, plan.layers[call.name], shared=shared)


def plan_of(subject: Subject, names: tuple[str, ...], inputs: Tensor) -> Plan:
    """The plan for a model as it is built now; models do not change, but their parts may."""
    held = subject.model.named_parameters(remove_duplicate=False)
    structure = (
        tuple((name, type(each), each.training) for name, each in subject.modules.items()),
        tuple((name, id(each)) for name, each in held),
    )
    kind = (inputs.shape[1:], inputs.dtype, inputs.device, len(inputs) > 1)
    key = (structure, names, kind, subject.dtype)
    plans = _PLANS.setdefault(subject.model, {})
    if key not in plans:
        if len(plans) >= _KEPT:
            plans.clear()
        plans[key] = _found_out(subject, names, inputs)
    return plans[key]


def _found_out(subject: Subject, names: tuple[str, ...], inputs: Tensor) -> Plan:
    """Sort the parameters by route on two samples, check the result, and time the ways back."""
    refuse_weights(subject.model)
    probe = inputs[:2]
    asked = _owned(subject.modules, names)
    ruled = {
        name: own
        for name, own in asked.items()
        if rule_of(subject.modules[name]) is not None and own <= {"weight", "bias"}
    }
    passed = _first(
        subject, {name: subject.modules[name] for name in ruled}, probe, tuple(inputs.shape)
    )
    _refuse_coupled(subject, passed.output, probe)
    count = len(probe)
    calls: dict[str, list[capture.Call]] = {}
    for call in passed.calls:
        calls.setdefault(call.name, []).append(call)
    layers = {
        name: own
        for name, own in ruled.items()
        if all(call.seen.shape[:1] == call.shape[:1] == (count,) for call in calls.get(name, ()))
    }
    claimed = {_full_name(name, own) for name, each in layers.items() for own in each}
    draft = Plan(
        layers=layers,
        shared=frozenset(name for name in layers if len(calls.get(name, ())) > 1),
        general=tuple(name for name in names if name not in claimed),
        outputs=passed.output.shape[1],
        seen=sum(call.seen.numel() for name in layers for call in calls.get(name, ())) // count,
        made=sum(call.shape.numel() for name in layers for call in calls.get(name, ())) // count,
        dtype=passed.output.dtype,
        spread=any(call.seen.ndim > 2 for name in layers for call in calls.get(name, ())),
        batched=False,
    )
    draft = _checked(subject, draft, passed, probe)
    return replace(draft, batched=_faster_batched(subject, draft, inputs[:_TIMED]))


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
    subject: Subject, layers: Mapping[str, nn.Module], probe: Tensor, shape: tuple[int, ...]
) -> capture.Pass:
    """The first pass, which says whether the model can be called at all.

    Raises:
        ValueError: If it cannot, or its outputs are not one finite row a sample.
    """
    try:
        passed = capture.forward(subject, layers, probe)
    except (RuntimeError, TypeError, IndexError) as error:
        msg = (
            f"the model must take inputs of shape {shape}, {probe.dtype} on {probe.device}, but "
            f"raised {type(error).__name__}: {error}"
        )
        raise ValueError(msg) from error
    output: object = passed.output
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(probe):
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        msg = f"the model must return shape (samples, outputs) for {len(probe)} samples, got {got}"
        raise ValueError(msg)
    if output.shape[1] == 0 or not output.is_floating_point():
        msg = f"outputs must be real numbers, one or more, got {output.shape[1]} of {output.dtype}"
        raise ValueError(msg)
    refuse_not_finite(output, subject.model)
    return passed


def _refuse_coupled(subject: Subject, output: Tensor, probe: Tensor) -> None:
    """Raise ValueError if outputs are random, or depend on the other samples of the batch."""
    with torch.no_grad():
        again, alone = subject(probe), subject(probe[:1])
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


def _checked(subject: Subject, plan: Plan, passed: capture.Pass, probe: Tensor) -> Plan:
    """The plan, less what a random quadratic form shows to be used in other ways.

    Where weights leave a layer without any gradient, such as behind a head of zeros, the form says
    nothing; it is then asked again for other weights.
    """
    wrong, silent = _wrong(subject, plan, passed, probe)
    if silent:
        other = subject.perturbed()
        again = capture.forward(other, {name: subject.modules[name] for name in plan.layers}, probe)
        if is_finite(again.output):
            wrong |= _wrong(other, plan, again, probe)[0]
    kept = {name: own for name, own in plan.layers.items() if name not in wrong}
    moved = [_full_name(name, own) for name in sorted(wrong) for own in sorted(plan.layers[name])]
    general = (*plan.general, *moved)
    return replace(plan, layers=kept, general=general, shared=plan.shared & kept.keys())


def _wrong(
    subject: Subject, plan: Plan, passed: capture.Pass, probe: Tensor
) -> tuple[set[str], set[str]]:
    """Layers whose factors do not give what their gradients give, and those without gradients."""
    outputs = plan.outputs
    seeds = torch.eye(outputs, dtype=passed.output.dtype, device=passed.output.device)
    random = torch.Generator().manual_seed(0)
    vector = torch.randn(len(probe), outputs, generator=random, dtype=torch.float64).to(seeds)
    gradients = _gradients(subject, _parameters(plan), probe, vector)
    uses: dict[str, list[list[Factor]]] = {}
    wrong, silent = set(), set()
    for call, pulled in capture.cotangents(passed, seeds, batched=False):
        if call.name not in plan.layers:
            continue
        try:
            own = factors_of(subject.modules[call.name], plan, call, pulled)
        except (RuntimeError, IndexError):
            wrong.add(call.name)
        else:
            uses.setdefault(call.name, []).append(own)
    for name, asked in plan.layers.items():
        found = [gradients[_full_name(name, own)] for own in asked]
        if all(each.uses == 0 for each in found):
            continue  # not called, and not used otherwise
        calls = uses.get(name, ())
        total = sum(each.square for each in found)
        entered = all(each.uses == len(calls) for each in found)
        if not entered or not _agrees(calls, vector, total):
            wrong.add(name)
        elif total == 0:
            silent.add(name)
    return wrong, silent


def _agrees(uses: Sequence[Sequence[Factor]], vector: Tensor, exact: float) -> bool:
    """Whether the factors of a layer give the quadratic form that its gradient gives."""
    factors = joined(uses) if len(uses) > 1 else uses[0]
    count, outputs = vector.shape
    kernel = vector.new_empty(shape_of("full", outputs, count, count))
    contract(factors, factors, kernel, "full", symmetric=True, memory=1 << 26)
    matrix = kernel.view(count * outputs, -1).double()
    flat = vector.mT.reshape(-1).double()
    size = float(flat.abs() @ matrix.abs() @ flat.abs())
    near = float(torch.finfo(vector.dtype).eps) ** 0.5
    return bool(abs(float(flat @ matrix @ flat) - exact) <= near * size)


@dataclass(frozen=True, slots=True)
class _Gradient:
    """Of one parameter."""

    square: float
    """Squared norm of the gradient of the outputs times a vector."""
    uses: int
    """Edges of the graph of the outputs that end in the parameter."""


def _gradients(
    subject: Subject, names: Sequence[str], probe: Tensor, vector: Tensor
) -> dict[str, _Gradient]:
    """How the outputs depend on each parameter."""
    outputs, chosen = subject.function_of(names)
    leaves = {name: each.clone().requires_grad_() for name, each in chosen.items()}
    if not leaves:
        return {}
    try:
        with torch.enable_grad():
            output = outputs(leaves, probe)
            uses = _uses(output, leaves.values())
            found: Sequence[Tensor | None] = torch.autograd.grad(
                output, list(leaves.values()), vector, allow_unused=True
            )
    except RuntimeError as error:
        msg = f"the model must be differentiable by its parameters, but autograd says: {error}"
        raise ValueError(msg) from error
    return {
        name: _Gradient(0.0 if each is None else float(each.double().square().sum()), count)
        for name, each, count in zip(leaves, found, uses, strict=True)
    }


def _uses(output: Tensor, leaves: Iterable[Tensor]) -> list[int]:
    """How often each leaf enters the graph of ``output``, whatever flows there now."""
    counts = {get_gradient_edge(leaf).node: 0 for leaf in leaves}
    open_nodes = [output.grad_fn]
    seen = set(open_nodes)
    while open_nodes:
        node = open_nodes.pop()
        for following, _ in node.next_functions if node is not None else ():
            if following in counts:
                counts[following] += 1
            elif following is not None and following not in seen:
                seen.add(following)
                open_nodes.append(following)
    return list(counts.values())


def _faster_batched(subject: Subject, plan: Plan, inputs: Tensor) -> bool:
    """Whether pulling all cotangents back at once is faster than one after the other; measured."""
    if plan.outputs == 1 or not plan.layers:
        return False
    layers = {name: subject.modules[name] for name in plan.layers}
    passed = capture.forward(subject, layers, inputs)
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
