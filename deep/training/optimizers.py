"""Adam and SGD as torch computes them, through its functional interface.

All are elementwise, so that stacked weights step as each network alone would. torch's optimizer
classes import the compiler when they are made, which takes longer than training a small network.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from deep.training.config import Optimizer


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
    def step(self, gradients: Sequence[Tensor]) -> None:
        """One update along ``gradients``, one for each weight."""
        optimizer = self.optimizer
        if optimizer.name == "adam":
            adam(
                self.weights,
                list(gradients),
                self._first,
                self._second,
                [],
                self._counts,
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=optimizer.learning_rate,
                weight_decay=optimizer.weight_decay,
                eps=1e-8,
                maximize=False,
            )
        else:
            sgd(
                self.weights,
                list(gradients),
                self._velocity,
                fused=True,
                weight_decay=optimizer.weight_decay,
                momentum=optimizer.momentum,
                lr=optimizer.learning_rate,
                dampening=0.0,
                nesterov=optimizer.nesterov,
                maximize=False,
            )
