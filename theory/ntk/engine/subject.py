"""A model in the precision asked for, called with its own or with other parameters."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from theory.ntk.engine.calling import LOCK, called, cast
from theory.ntk.engine.choices import refuse_weights
from theory.ntk.inputs import is_finite


class Subject:
    """A model as the engine calls it; nothing of it is changed.

    Args:
        model: The network.
        dtype: To compute in another precision than the model's.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype | None) -> None:
        self.model = model
        self.dtype = dtype
        self.modules: Mapping[str, nn.Module] = dict(model.named_modules())
        """All modules by name."""
        with LOCK:
            self._tensors = cast(model, dtype)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Outputs of the model, in the precision asked for."""
        with LOCK:
            if self._tensors is None:
                return self.model(inputs)  # type: ignore[no-any-return]
            return called(self.model, self._tensors, inputs)  # type: ignore[no-any-return]

    def perturbed(self) -> "Subject":
        """The same model with other weights: each moved by about a tenth of its scale."""
        with LOCK:
            held = {**dict(self.model.named_parameters()), **dict(self.model.named_buffers())}
        held |= self._tensors or {}
        random = torch.Generator().manual_seed(0)
        other = Subject(self.model, None)
        other.dtype = self.dtype
        other._tensors = dict(held)
        for name, _ in self.model.named_parameters():
            each = held[name].detach()
            moved = torch.randn(each.shape, generator=random, dtype=torch.float64).to(each)
            size = each.square().mean().sqrt()
            scale = torch.where(size > 0, size, max(1, each[:1].numel()) ** -0.5)
            other._tensors[name] = each + 0.1 * scale * moved
        return other

    def function_of(
        self, names: Sequence[str]
    ) -> tuple[Callable[[dict[str, Tensor], Tensor], Tensor], dict[str, Tensor]]:
        """A function of some parameters and a batch, and these parameters."""
        own = self._tensors or {}
        with LOCK:
            held = dict(self.model.named_parameters())
        chosen = {name: own.get(name, held[name]).detach() for name in names}

        def outputs(given: dict[str, Tensor], inputs: Tensor) -> Tensor:
            tensors = {**own, **given}
            return called(self.model, tensors, inputs.clone())  # type: ignore[no-any-return]

        return outputs, chosen


def refuse_not_finite(outputs: Tensor, model: nn.Module) -> None:
    """Raise ValueError unless all outputs are finite; it names weights that are not."""
    if not is_finite(outputs):
        refuse_weights(model)
        msg = "outputs of the model must be finite, got nan or inf for finite inputs and weights"
        raise ValueError(msg)
