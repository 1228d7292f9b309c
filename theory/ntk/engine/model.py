"""A model with the parameters asked for, ready to give the factors of batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from theory.ntk.engine import capture
from theory.ntk.engine.choices import refuse_train
from theory.ntk.engine.factors import Factor, joined
from theory.ntk.engine.planning import factors_of, plan_of, refuse_changed, tried
from theory.ntk.engine.subject import Subject, refuse_not_finite


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
        general: Layers that go the general way in any case.
        memory: Bytes that temporaries may take.

    Raises:
        ValueError: If the model is in train mode, its weights or outputs are not finite, or its
            outputs are not (N, K), are random or depend on other samples.
    """

    def __init__(
        self,
        model: nn.Module,
        names: Sequence[str],
        inputs: Tensor,
        dtype: torch.dtype | None,
        general: frozenset[str] = frozenset(),
        *,
        memory: int,
    ) -> None:
        refuse_train(model)
        self.subject = Subject(model, dtype)
        self.plan = plan_of(self.subject, tuple(names), inputs, general, memory)
        self.layers = {name: self.subject.modules[name] for name in self.plan.layers}
        self.like = torch.empty(0, dtype=self.plan.dtype, device=inputs.device)
        """Any tensor of the type and on the device of the outputs."""

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
            for name in self.subject.modules
            if name in plan.layers or name in general
        }

    def calls(self, inputs: Tensor, seeds: Tensor) -> list[tuple[capture.Call, Tensor]]:
        """Calls of layers for a batch, with the cotangents at their outputs.

        Raises:
            ValueError: If an output is not finite.
        """
        passed = self.passed(inputs)
        return capture.cotangents(passed, seeds, batched=self.plan.batched and len(seeds) > 1)

    def passed(self, inputs: Tensor) -> capture.Pass:
        """A forward pass with all layers watched.

        Raises:
            ValueError: If an output is not finite, or not one row a sample, or the model used its
                layers in another way than the plan says.
        """
        passed = tried(self.subject, self.layers, inputs)
        refuse_not_finite(passed.output, self.subject.model)
        refuse_changed(self.plan, self.subject.modules, passed, len(inputs))
        return passed

    def factors(self, inputs: Tensor, seeds: Tensor) -> dict[str, list[Factor]]:
        """Factors of each layer for a batch.

        Raises:
            ValueError: If an output is not finite.
        """
        found: dict[str, list[list[Factor]]] = {}
        for call, pulled in self.calls(inputs, seeds):
            own = factors_of(self.layers[call.name], self.plan, call, pulled)
            found.setdefault(call.name, []).append(own)
        return {
            name: joined(uses) if self.plan.calls[name] > 1 else uses[0]
            for name, uses in found.items()
        }
