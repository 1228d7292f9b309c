r"""Which parameter goes which way, found out and checked once.

The check counts how often each parameter enters the graph of the outputs, and compares, layer by
layer, :math:`v^\top K v` with :math:`|J^\top v|^2` for a random v on a few samples. What differs is
used in a way that its module does not show (a weight used by hand as well, sequences that come
before samples, samples in another order); it goes the general way. Every later pass must call the
layers as often, and use their weights as often, as that one did (`refuse_changed`).
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from theory.ntk.engine import capture
from theory.ntk.engine.choices import CoupledError
from theory.ntk.engine.contraction import contract, shape_of
from theory.ntk.engine.factors import Factor, joined
from theory.ntk.engine.rules import rule_of
from theory.ntk.engine.subject import Subject, refuse_not_finite
from theory.ntk.inputs import is_finite

Made = TypeVar("Made")
_KEPT = 16
"""Plans kept of one model, for other shapes of inputs or choices of parameters."""
_FEW = 32
"""Samples up to which a plan of its own is made."""
_ROUNDS, _LONG = 5, 1.0
"""How often they are timed, unless they have taken so many seconds."""
_GAIN = 0.95
"""How much faster it must be to go backward all at once, which takes more memory."""
_MANY = 256
"""Samples of each of two batches that a plan is made of."""
_PROBED = 8
"""Samples on which the plan is checked."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What was found out about a model."""

    layers: Mapping[str, frozenset[str]]
    """Layers that a rule covers, with the parameters of each that are asked for."""
    calls: Mapping[str, int]
    """How often each is called."""
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

    def bytes_of_a_sample(self, size: int, outputs: int) -> int:
        """What layers see, cotangents twice for pulling them back, and what the graph holds."""
        return size * (self.seen + (2 * outputs + 3) * self.made + 1)


class ChangedError(ValueError):
    """A pass used some layers in another way than the plan says."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)
        """Of the layers."""
        super().__init__(
            "the model must use its layers in the same way for all samples, but "
            f"{', '.join(names)} came in another way than for the first ones: their number of "
            "calls, their weights or the shape of what they see depends on values, or the model "
            "was changed meanwhile"
        )


_PLANS: "WeakKeyDictionary[nn.Module, dict[Any, Plan]]" = WeakKeyDictionary()


def factors_of(module: nn.Module, plan: Plan, call: capture.Call, pulled: Tensor) -> list[Factor]:
    """Factors of one call of a layer that a rule covers."""
    rule = rule_of(module)
    if rule is None:
        msg = f"{call.name} must be of a kind that a rule covers, got {type(module).__name__}"
        raise ValueError(msg)
    seen = call.seen.to(plan.dtype) if call.seen.is_floating_point() else call.seen
    shared = plan.calls[call.name] > 1
    return rule.factors(module, seen, pulled.to(plan.dtype), plan.layers[call.name], shared=shared)


def plan_of(
    subject: Subject,
    names: tuple[str, ...],
    inputs: Tensor,
    general: frozenset[str] = frozenset(),
    memory: int = 0,
) -> Plan:
    """The plan for a model as it is built now; models do not change, but their parts may.

    Args:
        subject: The model.
        names: Parameters that are asked for.
        inputs: Some samples.
        general: Layers that go the general way in any case.
        memory: Bytes that temporaries may take.
    """
    held = subject.model.named_parameters(remove_duplicate=False)
    structure = (
        tuple((name, *_kind_of(each)) for name, each in subject.modules.items()),
        tuple((name, id(each), each.dtype) for name, each in held),
    )
    kind = (inputs.shape[1:], inputs.dtype, inputs.device, len(inputs) > 1, len(inputs) > _FEW)
    mixed = torch.is_autocast_enabled(inputs.device.type)
    key = (structure, names, kind, subject.dtype, mixed)
    plans = _PLANS.setdefault(subject.model, {})
    if key not in plans:
        if len(plans) >= _KEPT:
            plans.clear()
        plans[key] = _found_out(subject, names, inputs, general, memory)
    return plans[key]


def forget(model: nn.Module) -> None:
    """Drop what was found out about a model."""
    _PLANS.pop(model, None)


def until_settled(model: nn.Module, make: Callable[[frozenset[str]], Made]) -> Made:
    """What ``make`` makes, once no pass uses layers in another way than the plan says.

    The plan may be that of the model before it was changed; what differs under a new one too
    differs from sample to sample, and goes the general way.

    Args:
        model: The network.
        make: Takes the layers that go the general way in any case.
    """
    general: frozenset[str] = frozenset()
    anew = False
    while True:
        try:
            return make(general)
        except ChangedError as error:
            if anew and error.names <= general:
                raise
            general |= error.names if anew else frozenset()
            anew = True
            forget(model)


def _kind_of(module: nn.Module) -> tuple[object, ...]:
    """What a module does, as far as can be seen without calling it."""
    hooks = (getattr(module, name, ()) for name in ("_forward_hooks", "_forward_pre_hooks"))
    own = vars(module).get("forward")
    return type(module), module.training, own, *map(tuple, hooks)


def refuse_changed(
    plan: Plan, modules: Mapping[str, nn.Module], passed: capture.Pass, samples: int
) -> None:
    """Raise ChangedError if a pass used layers in another way than the plan says."""
    output = passed.output
    if output.shape != (samples, plan.outputs) or output.dtype != plan.dtype:
        msg = (
            f"the model must return {plan.outputs} outputs for each of {samples} samples, "
            f"{plan.dtype}, as for the first ones, got shape {tuple(output.shape)}, {output.dtype}"
        )
        raise ValueError(msg)
    found = dict.fromkeys(plan.layers, 0)
    wrong = set()
    for call in passed.calls:
        found[call.name] += 1
        if call.seen.shape[:1] != (samples,) or call.shape[:1] != (samples,):
            wrong.add(call.name)
    wrong |= {name for name, count in found.items() if count != plan.calls[name]}
    owned = [
        (name, getattr(modules[name], own)) for name, each in plan.layers.items() for own in each
    ]
    uses = _uses(passed.output, (each for _, each in owned))
    wrong |= {
        name for (name, _), count in zip(owned, uses, strict=True) if count not in (0, found[name])
    }
    if wrong:
        raise ChangedError(sorted(wrong))


def _found_out(
    subject: Subject,
    names: tuple[str, ...],
    inputs: Tensor,
    general: frozenset[str],
    memory: int,
) -> Plan:
    """Sort the parameters by route on a few samples, check the result, and time the ways back."""
    probe = spread(inputs, _PROBED)
    asked = _owned(subject.modules, names)
    for name in asked:
        if getattr(subject.modules[name], "scale_grad_by_freq", False):
            msg = (
                f"scale_grad_by_freq must be off, got it in {name!r}: what it makes is no gradient"
            )
            raise ValueError(msg)
    ruled = {
        name: own
        for name, own in asked.items()
        if name not in general
        and rule_of(subject.modules[name]) is not None
        and own <= {"weight", "bias"}
    }
    passed = _first(subject, {name: subject.modules[name] for name in ruled}, probe)
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
        calls={name: len(calls.get(name, ())) for name in layers},
        general=tuple(name for name in names if name not in claimed),
        outputs=passed.output.shape[1],
        seen=sum(call.seen.numel() for name in layers for call in calls.get(name, ())) // count,
        made=sum(call.shape.numel() for name in layers for call in calls.get(name, ())) // count,
        dtype=passed.output.dtype,
        spread=any(call.seen.ndim > 2 for name in layers for call in calls.get(name, ())),
        batched=False,
    )
    draft = _checked(subject, draft, passed, probe)
    each = draft.bytes_of_a_sample(passed.output.element_size(), draft.outputs)
    fit = memory // each
    timed = spread(inputs, max(_PROBED, min(_FEW, fit // 4), fit // 16))
    return replace(draft, batched=_faster_batched(subject, draft, timed))


def spread(inputs: Tensor, count: int) -> Tensor:
    """At most so many samples, from the first to the last.

    >>> spread(torch.arange(7), 3)
    tensor([0, 3, 6])
    """
    if len(inputs) <= count:
        return inputs
    return inputs[[number * (len(inputs) - 1) // (count - 1) for number in range(count)]]


def some_of_both(x1: Tensor, x2: Tensor) -> Tensor:
    """Some samples of two batches, enough for a plan."""
    return torch.cat([spread(x1, _MANY), spread(x2, _MANY)])


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


def _first(subject: Subject, layers: Mapping[str, nn.Module], probe: Tensor) -> capture.Pass:
    """The first pass, which says whether the model can be called at all.

    Raises:
        ValueError: If it cannot, or its outputs are not one finite row a sample.
    """
    passed = tried(subject, layers, probe)
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


def tried(subject: Subject, layers: Mapping[str, nn.Module], inputs: Tensor) -> capture.Pass:
    """A forward pass with these layers watched.

    Raises:
        ValueError: If the model raises an error.
    """
    try:
        return capture.forward(subject, layers, inputs)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, IndexError) as error:
        msg = (
            f"the model must take inputs of shape {tuple(inputs.shape)}, {inputs.dtype} on "
            f"{inputs.device}, but raised {type(error).__name__}: {error}"
        )
        raise ValueError(msg) from error


def _refuse_coupled(subject: Subject, output: Tensor, probe: Tensor) -> None:
    """Raise ValueError if outputs are random, or depend on the other samples of the batch."""
    near = float(torch.finfo(output.dtype).eps ** 0.5 * output.detach().abs().max())

    def same(one: Tensor, two: Tensor) -> bool:
        return one.shape == two.shape and torch.allclose(one, two, rtol=0, atol=near)

    with torch.no_grad():
        again = subject(probe.clone())
        if not same(again, output):
            msg = (
                "outputs must be the same each time, got other ones for the same inputs: is there "
                "dropout? Call model.eval() first."
            )
            raise CoupledError(msg)
        for place in {0, len(probe) - 1}:
            own = slice(place, place + 1)
            cause = None
            try:
                alone = subject(probe[own].clone())
            except (RuntimeError, ValueError) as error:
                alone, cause = output.new_empty(0), error
            if not same(alone, output[own]):
                got = f"an error ({cause})" if cause else f"others, shape {tuple(alone.shape)},"
                msg = (
                    "outputs must be one row a sample that does not depend on the other samples of "
                    f"the batch, got {got} for one sample alone: the kernel of two samples is then "
                    "not defined. Is there batch normalization by batch statistics?"
                )
                raise CoupledError(msg) from cause


def _checked(subject: Subject, plan: Plan, passed: capture.Pass, probe: Tensor) -> Plan:
    """The plan, less what a random quadratic form shows to be used in other ways.

    Where weights leave a layer without any gradient, such as behind a head of zeros, the form says
    nothing; it is then asked again for other weights.
    """
    wrong, silent = _wrong(subject, plan, passed, probe)
    if silent:
        other = subject.perturbed()
        probe = _perturbed(probe)
        again = tried(other, {name: subject.modules[name] for name in plan.layers}, probe)
        if is_finite(again.output):
            wrong |= _wrong(other, plan, again, probe)[0]
    kept = {name: own for name, own in plan.layers.items() if name not in wrong}
    moved = [_full_name(name, own) for name in sorted(wrong) for own in sorted(plan.layers[name])]
    general = (*plan.general, *moved)
    calls = {name: plan.calls[name] for name in kept}
    return replace(plan, layers=kept, general=general, calls=calls)


def _perturbed(inputs: Tensor) -> Tensor:
    """Other inputs of about that size, unless they are integers."""
    if not inputs.is_floating_point():
        return inputs
    random = torch.Generator().manual_seed(0)
    moved = torch.randn(inputs.shape, generator=random, dtype=torch.float64).to(inputs)
    size = inputs.square().mean().sqrt()
    return inputs + torch.where(size > 0, 0.1 * size, 1.0) * moved


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
    counts = {id(leaf): 0 for leaf in leaves}
    open_nodes = [output.grad_fn]
    seen = set(open_nodes)
    while open_nodes:
        node = open_nodes.pop()
        for following, _ in node.next_functions if node is not None else ():
            if following is None:
                continue
            leaf = id(getattr(following, "variable", None))
            if leaf in counts:
                counts[leaf] += 1
            elif following not in seen:
                seen.add(following)
                open_nodes.append(following)
    return list(counts.values())


def _faster_batched(subject: Subject, plan: Plan, inputs: Tensor) -> bool:
    """Whether pulling all cotangents back at once is faster than one after the other; measured."""
    if plan.outputs == 1 or not plan.layers:
        return False
    layers = {name: subject.modules[name] for name in plan.layers}
    passed = tried(subject, layers, inputs)
    seeds = torch.eye(plan.outputs, dtype=passed.output.dtype, device=passed.output.device)
    try:
        # whether there are batching rules for all operations
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            capture.cotangents(passed, seeds[:2], batched=True, keep=True)
    except (RuntimeError, UserWarning):
        return False
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(_ROUNDS):
        for batched, taken in times.items():
            start = perf_counter()
            found = capture.cotangents(passed, seeds, batched=batched, keep=True)
            if found:
                float(found[-1][1].sum())  # waits for a device
            taken.append(perf_counter() - start)
        if sum(map(sum, times.values())) > _LONG:
            break
    return median(times[True]) < _GAIN * median(times[False])


def _parameters(plan: Plan) -> list[str]:
    return [_full_name(name, own) for name, each in plan.layers.items() for own in sorted(each)]


def _full_name(name: str, own: str) -> str:
    return f"{name}.{own}" if name else own
