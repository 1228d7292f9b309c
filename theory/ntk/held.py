"""Whether a model is still as it was."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from theory.ntk.engine.calling import LOCK
from theory.ntk.engine.choices import refuse_train


class Held:
    """A model and inputs as they are when this is made, for what is computed from them later.

    Values are compared with copies: the counters of changes in place, by which autograd notices
    them, do not see what is done through ``parameter.data``.

    Args:
        model: The network.
        inputs: Batches; of these only the counters are compared.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> held = Held(model, ())
        >>> with held.unchanged():
        ...     _ = model(torch.ones(1, 2))
        >>> _ = nn.init.ones_(model.weight)
        >>> with held.unchanged():
        ...     _ = model(torch.ones(1, 2))
        Traceback (most recent call last):
        ...
        ValueError: weights have changed since the operator was made: weight; make a new one
    """

    def __init__(self, model: nn.Module, inputs: Sequence[Tensor]) -> None:
        self._model = model
        self._modes = _modes(model)
        self._values = {name: each.detach().clone() for name, each in _tensors(model).items()}
        with LOCK:
            self._buffers = [
                (module, own, buffer, buffer.detach().clone())
                for module in model.modules()
                for own, buffer in module.named_buffers(recurse=False)
            ]
        self._inputs = [(each, each._version) for each in inputs if not each.is_inference()]

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """A block that uses the model; what the model does to its buffers there is undone.

        Raises:
            ValueError: If the model or the inputs are not as they were.
        """
        self._require_same()
        try:
            yield
        finally:
            self.restore()

    def restore(self) -> None:
        """Put buffers back that the model has changed."""
        with LOCK, torch.no_grad():
            for module, own, buffer, value in self._buffers:
                if module._buffers.get(own) is not buffer:
                    module._buffers[own] = buffer
                if not _same(buffer, value):
                    buffer.copy_(value)

    def _require_same(self) -> None:
        now = _tensors(self._model)
        others = [
            name
            for name in {**self._values, **now}
            if name not in now
            or name not in self._values
            or not _same(now[name], self._values[name])
        ]
        if others:
            msg = (
                "weights have changed since the operator was made: "
                f"{', '.join(others[:3])}{', ...' if others[3:] else ''}; make a new one"
            )
            raise ValueError(msg)
        if _modes(self._model) != self._modes:
            refuse_train(self._model)
            msg = (
                "modules and their modes must be as they were when the operator was made, got "
                "others; call model.eval() or train() as before, or make a new one"
            )
            raise ValueError(msg)
        if any(each._version != version for each, version in self._inputs):
            msg = "inputs have changed in place since the operator was made; make a new one"
            raise ValueError(msg)


def _modes(model: nn.Module) -> list[tuple[str, int, bool]]:
    return [(name, id(each), each.training) for name, each in model.named_modules()]


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    with LOCK:
        return dict(model.named_parameters()) | dict(model.named_buffers())


def _same(one: Tensor, two: Tensor) -> bool:
    """Whether two tensors are equal to the last bit, nan included."""
    if one.shape != two.shape or one.dtype != two.dtype or one.device != two.device:
        return False
    return torch.equal(one, two) or bool(((one == two) | ((one != one) & (two != two))).all())
