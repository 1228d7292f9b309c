"""Adam and SGD as torch computes them, through its functional interface.

All are elementwise, so that stacked weights step as each network alone would. torch's optimizer
classes import the compiler when they are made, which takes longer than training a small network.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from theory import checks


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """How weights follow the gradient of the mean loss over a batch."""

    name: str = "adam"
    """``"adam"``, ``"sgd"``, or ``"gd"``: all samples in every step, in a fixed order."""
    learning_rate: float = 1e-3
    batch: int = 128
    """Samples a step; the last batch of an epoch holds what is left. Ignored by ``"gd"``."""
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        checks.choice("optimizer", self.name, ("adam", "sgd", "gd"))
        checks.positive("learning_rate", checks.scalar("learning_rate", self.learning_rate))
        checks.integer("batch", self.batch, minimum=1)
        if not 0 <= checks.scalar("momentum", self.momentum) < 1:
            msg = f"momentum must be in [0, 1), got {self.momentum}"
            raise ValueError(msg)
        checks.flag("nesterov", self.nesterov)
        checks.nonnegative("weight_decay", checks.scalar("weight_decay", self.weight_decay))
        if self.nesterov and not self.momentum:
            msg = "momentum must be > 0 with nesterov, got 0"
            raise ValueError(msg)
        if self.name == "adam" and self.momentum:
            msg = f"momentum must be 0 with adam, got {self.momentum}"
            raise ValueError(msg)

    def steps_per_epoch(self, samples: int) -> int:
        """Updates in one pass over ``samples``."""
        return 1 if self.name == "gd" else math.ceil(samples / self.batch)


class Stepper:
    """Steps ``weights`` in place, with the state of one optimizer.

    >>> weight = torch.tensor([1.0, 2.0])
    >>> Stepper(Optimizer(name="sgd", learning_rate=0.5), [weight]).step([torch.tensor([2.0, 0.0])])
    >>> weight
    tensor([0., 2.])
    """

    def __init__(self, optimizer: Optimizer, weights: Sequence[Tensor]) -> None:
        self.optimizer = optimizer
        self.weights = [weight.detach() for weight in weights]  # the same memory
        self._first = [torch.zeros_like(weight) for weight in self.weights]
        self._second = [torch.zeros_like(weight) for weight in self.weights]
        self._counts = [torch.zeros((), device=weight.device) for weight in self.weights]
        self._velocity: list[Tensor | None] = [None] * len(self.weights)

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], learning_rate: float | None = None) -> None:
        """One update along ``gradients``, one a weight, at the optimizer's rate or another."""
        optimizer = self.optimizer
        rate = optimizer.learning_rate if learning_rate is None else learning_rate
        pairs = zip(gradients, self.weights, strict=True)
        laid = [_laid_out_like(weight, gradient) for gradient, weight in pairs]
        if optimizer.name == "adam":
            adam(
                self.weights,
                laid,
                self._first,
                self._second,
                [],
                self._counts,
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=rate,
                weight_decay=optimizer.weight_decay,
                eps=1e-8,
                maximize=False,
            )
        else:
            sgd(
                self.weights,
                laid,
                self._velocity,
                fused=True,
                weight_decay=optimizer.weight_decay,
                momentum=optimizer.momentum,
                lr=rate,
                dampening=0.0,
                nesterov=optimizer.nesterov,
                maximize=False,
            )

    def tensors(self) -> dict[str, Tensor]:
        """The state by name, in the memory that the next step changes."""
        if self.optimizer.name == "adam":
            parts = {"first": self._first, "second": self._second, "count": self._counts}
            return {
                f"{name}.{i}": one for name, many in parts.items() for i, one in enumerate(many)
            }
        return {f"velocity.{i}": one for i, one in enumerate(self._velocity) if one is not None}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to a state that `tensors` gave."""
        if self.optimizer.name == "adam":
            for name, one in self.tensors().items():
                one.copy_(tensors[name])
            return
        for i, weight in enumerate(self.weights):
            held = tensors.get(f"velocity.{i}")
            self._velocity[i] = None if held is None else torch.empty_like(weight).copy_(held)


def _laid_out_like(weight: Tensor, gradient: Tensor) -> Tensor:
    """``gradient`` in the memory layout of ``weight``: the fused kernels pair them as they lie."""
    if gradient.stride() == weight.stride():
        return gradient
    return torch.empty_like(weight).copy_(gradient)
