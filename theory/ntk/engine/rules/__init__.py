"""What each kind of layer contributes to the kernel: one module a kind, found by class.

A rule turns what a layer saw, with the cotangents at its output, into factors. A module belongs to
a rule if it runs the forward pass of that class unchanged; any other module that owns parameters
goes the general way (`theory.ntk.functional.jacobian`).
"""

from typing import Protocol

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from theory.ntk.engine.factors import Factor
from theory.ntk.engine.rules import convolution, dense, embedding, normalization


class Rule(Protocol):
    """One kind of layer."""

    def applies(self, module: nn.Module) -> bool:
        """Whether the options of this layer are covered."""

    def factors(
        self,
        module: nn.Module,
        seen: Tensor,
        cotangents: Tensor,
        names: frozenset[str],
        *,
        shared: bool,
    ) -> list[Factor]:
        """Factors of the parameters ``names`` of ``module``.

        Args:
            module: The layer.
            seen: Its input, samples first.
            cotangents: At its output, shape (K, N, …); (K, 1, C) where the same for all samples.
            names: Which of its own parameters are asked for.
            shared: Whether the layer is called more than once: then no `Outer`.
        """


RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: dense.Dense(),
    nn.Conv1d: convolution.Convolution(),
    nn.Conv2d: convolution.Convolution(),
    nn.Conv3d: convolution.Convolution(),
    nn.ConvTranspose1d: convolution.Transposed(),
    nn.ConvTranspose2d: convolution.Transposed(),
    nn.ConvTranspose3d: convolution.Transposed(),
    nn.BatchNorm1d: normalization.Batch(),
    nn.BatchNorm2d: normalization.Batch(),
    nn.BatchNorm3d: normalization.Batch(),
    nn.LayerNorm: normalization.Layer(),
    nn.RMSNorm: normalization.Rms(),
    nn.GroupNorm: normalization.Group(),
    nn.Embedding: embedding.Embedding(),
}


def rule_of(module: nn.Module) -> Rule | None:
    """The rule of a module, or None if it has to go the general way."""
    if is_parametrized(module):
        return None
    for kind, rule in RULES.items():
        if isinstance(module, kind) and type(module).forward is kind.forward:
            return rule if rule.applies(module) else None
    return None
