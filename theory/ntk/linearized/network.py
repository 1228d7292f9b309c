r"""A network replaced by its first-order expansion in the parameters.

.. math:: f_\mathrm{lin}(x; \delta) = f(x; \theta_0) + J(x)\, \delta

[Lee et al. 2019]. Trained from :math:`\delta = 0`, its outputs follow the kernel
:math:`J J^\top` exactly, as `theory.ntk.linearized.training` solves in closed form.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from theory.ntk.engine.calling import called
from theory.ntk.engine.choices import chosen_parameters, refuse_train
from theory.ntk.functional.function import quiet

Displacement = Mapping[str, Tensor]
_HINTS = {
    "attention": "; attention has both under torch.nn.attention.sdpa_kernel(SDPBackend.MATH)",
    "embedding_bag": "; a sum or mean over what nn.Embedding gives has both",
}
"""What to do, by what PyTorch says."""


class Linearized:
    r"""A network linear in the displacement of its parameters. Made by `linearize`.

    Calls give :math:`f(x; \theta_0) + J(x) \delta` by one forward-mode derivative, which autograd
    differentiates in :math:`\delta`. The parameters and buffers are copies: later training of the
    network does not change them.
    """

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        held = dict(model.named_parameters())
        self._model = model
        self._rest = {
            name: tensor.detach().clone()
            for name, tensor in (*held.items(), *model.named_buffers())
            if name not in names
        }
        self.parameters: dict[str, Tensor] = {name: held[name].detach().clone() for name in names}
        r""":math:`\\theta_0` by name, those that may move."""

    def displacement(self) -> dict[str, Tensor]:
        r""":math:`\delta = 0`, one leaf for each parameter, ready for an optimizer.

        >>> list(linearize(nn.Linear(2, 1)).displacement())
        ['weight', 'bias']
        """
        return {
            name: torch.zeros_like(tensor).requires_grad_()
            for name, tensor in self.parameters.items()
        }

    def __call__(
        self, x: Tensor, displacement: Displacement | None = None, *, base: Tensor | None = None
    ) -> Tensor:
        r"""Outputs at a displacement, of the shape of the network's.

        Args:
            x: A batch of inputs.
            displacement: :math:`\delta` by name of parameter; names left out do not move.
            base: What stands for :math:`f(x; \theta_0)`: zeros, to go without the outputs at the
                start, or outputs kept from elsewhere. The derivative passes through the network
                anyway, so keeping them saves nothing.

        Raises:
            ValueError: If the network is in train mode with dropout or batch normalization, or does
                not take x, or names or shapes do not fit, or an operation has no such derivative.
        """
        outputs, moved = self._expansion(x, {} if displacement is None else displacement)
        return self._start(outputs, base) + moved

    def outputs(self, x: Tensor) -> Tensor:
        r""":math:`f(x; \theta_0)`, without history."""
        refuse_train(self._model)
        with torch.no_grad():
            return _tensor(self._forward(x)({}))

    def push(self, x: Tensor, displacement: Displacement) -> Tensor:
        r""":math:`J(x) \delta`, of the shape of the outputs."""
        return self._expansion(x, displacement)[1]

    def pull(self, x: Tensor, vector: Tensor) -> dict[str, Tensor]:
        r""":math:`J(x)^\top v`, of a vector of the shape of the outputs, by name of parameter.

        :math:`J(x) (J(x_2)^\top v)` is the product of the kernel with v.

        >>> linearized = linearize(nn.Linear(2, 1))
        >>> x = torch.tensor([[1.0, 2.0]])
        >>> linearized.push(x, linearized.pull(x, torch.ones(1, 1)))
        tensor([[6.]])
        """
        refuse_train(self._model)
        with quiet():
            outputs, pull = torch.func.vjp(self._forward(x), self.parameters)[:2]
        if vector.shape != outputs.shape:
            msg = (
                f"vector must have the shape of the outputs, {tuple(outputs.shape)}, got "
                f"{tuple(vector.shape)}"
            )
            raise ValueError(msg)
        pulled: dict[str, Tensor] = pull(vector)[0]
        return {name: each.to_dense() for name, each in pulled.items()}

    def _forward(self, x: Tensor) -> Callable[[dict[str, Tensor]], Tensor]:
        given: object = x
        if not isinstance(given, Tensor):
            msg = f"x must be a tensor, got {type(given).__name__}"
            raise ValueError(msg)  # noqa: TRY004  # bad input is a ValueError throughout

        def forward(values: dict[str, Tensor]) -> Tensor:
            held = {**self._rest, **self.parameters, **values}
            try:
                return called(self._model, held, x.clone())  # type: ignore[no-any-return]
            except NotImplementedError:  # no derivative of some kind, which is not the inputs'
                raise
            except (RuntimeError, TypeError, IndexError) as error:
                msg = (
                    f"the model must take inputs of shape {tuple(x.shape)}, {x.dtype} on "
                    f"{x.device}, but raised {type(error).__name__}: {error}"
                )
                raise ValueError(msg) from error

        return forward

    def _expansion(self, x: Tensor, displacement: Displacement) -> tuple[Tensor, Tensor]:
        refuse_train(self._model)
        tangents = self._checked(displacement)
        forward = self._forward(x)
        try:
            with quiet():
                outputs, moved = torch.func.jvp(forward, (self.parameters,), (tangents,))[:2]
        except NotImplementedError:
            outputs, moved = _by_reverse(forward, self.parameters, tangents)
        return _tensor(outputs), moved

    def _checked(self, displacement: Displacement) -> dict[str, Tensor]:
        unknown = [name for name in displacement if name not in self.parameters]
        if unknown:
            msg = (
                f"displacement must name parameters that move ({', '.join(self.parameters)}), got "
                f"{', '.join(map(repr, unknown))}"
            )
            raise ValueError(msg)
        for name, moved in displacement.items():
            at = self.parameters[name]
            if moved.shape != at.shape or moved.dtype != at.dtype or moved.device != at.device:
                msg = (
                    f"displacement of {name!r} must have shape {tuple(at.shape)}, {at.dtype} on "
                    f"{at.device}, got {tuple(moved.shape)}, {moved.dtype} on {moved.device}"
                )
                raise ValueError(msg)
        return {
            name: displacement[name] if name in displacement else torch.zeros_like(at)
            for name, at in self.parameters.items()
        }

    @staticmethod
    def _start(outputs: Tensor, base: Tensor | None) -> Tensor:
        if base is None:
            return outputs
        if base.shape != outputs.shape:
            msg = (
                f"base must have the shape of the outputs, {tuple(outputs.shape)}, got "
                f"{tuple(base.shape)}"
            )
            raise ValueError(msg)
        return base


def linearize(model: nn.Module, *, parameters: Any = None) -> Linearized:  # noqa: ANN401
    r"""The network's first-order expansion around its parameters as they are.

    .. math:: f_\mathrm{lin}(x; \delta) = f(x; \theta_0) + J(x)\, \delta

    Args:
        model: The network, in eval mode.
        parameters: Those that move: names of parameters or modules, or a predicate of names; by
            default all that require a gradient.

    Raises:
        ValueError: If the network has dropout or batch normalization in train mode, which make
            outputs random or dependent on the batch, or no parameter is left.

    References:
        Lee et al. 2019, section 2.2.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> linearized = linearize(model)
        >>> move = linearized.displacement()
        >>> loss = linearized(torch.ones(3, 2), move).sum()
        >>> loss.backward()
        >>> move["weight"].grad
        tensor([[3., 3.]])
    """
    if not hasattr(model, "named_parameters"):
        msg = f"model must be a torch.nn.Module, got {type(model).__name__}"
        raise ValueError(msg)
    refuse_train(model)
    return Linearized(model, chosen_parameters(model, parameters))


def _by_reverse(
    forward: Callable[[dict[str, Tensor]], Tensor],
    parameters: dict[str, Tensor],
    tangents: dict[str, Tensor],
) -> tuple[Tensor, Tensor]:
    r"""J δ by two reverse passes: :math:`v \mapsto J^\top v` is linear, and its transpose is J."""
    try:
        with quiet():
            outputs, pull = torch.func.vjp(forward, parameters)[:2]
            push = torch.func.vjp(lambda v: pull(v)[0], torch.zeros_like(outputs))[1]
            return outputs, push(tangents)[0]
    except RuntimeError as error:
        told = str(error).rstrip(".")
        msg = (
            "the model must have operations with a forward-mode derivative or a second derivative; "
            f"PyTorch says: {told}{''.join(hint for word, hint in _HINTS.items() if word in told)}"
        )
        raise ValueError(msg) from error


def _tensor(outputs: object) -> Tensor:
    if not isinstance(outputs, Tensor):
        msg = f"the model must return one tensor, got {type(outputs).__name__}"
        raise ValueError(msg)  # noqa: TRY004  # bad input is a ValueError throughout
    return outputs
