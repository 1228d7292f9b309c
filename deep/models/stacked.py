"""Several equal dense networks as one, with the members along a leading axis."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from deep.models.network import Network


class Stacked(Network):
    """Networks of one dense chain as one module: (members, batch, d) to (members, batch, classes).

    Every parameter and buffer of the members stands under ``network.`` and its own name, with a
    leading axis of members. Each layer is one batched product, so that many small networks take
    about the time of one. Members know nothing of each other: gradients of a sum over members are
    theirs.

    Raises:
        ValueError: If there are none, or they are not dense, or not of the same layers.

    >>> from deep import models
    >>> import numpy as np
    >>> members = [
    ...     models.build(
    ...         models.spec("mlp", width=8), inputs=4, classes=3, rng=np.random.default_rng(seed)
    ...     )
    ...     for seed in range(5)
    ... ]
    >>> stacked = Stacked(members)
    >>> tuple(stacked(torch.ones(5, 2, 4)).shape), tuple(stacked.network.layers[0].weight.shape)
    ((5, 2, 3), (5, 8, 4))
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        super().__init__()
        chain = _common_chain(networks)
        self.members = len(networks)
        self.chain = chain
        self.taps = networks[0].taps  # type: ignore[misc]  # those of the members
        # a member of no memory of its own, which then holds the weights of all
        self.network = copy.deepcopy(networks[0]).to("meta")
        for name, own in list(self.network.named_parameters()):
            values = torch.stack([each.get_parameter(name).detach() for each in networks])
            _put(self.network, name, nn.Parameter(values, requires_grad=own.requires_grad))
        for name, _ in list(self.network.named_buffers()):
            _put(self.network, name, torch.stack([each.get_buffer(name) for each in networks]))
        # not a module of this one, whose parameters would be counted twice
        self._frozen = (_Frozen(self.network),)

    def frozen(self, inputs: Tensor) -> Tensor:
        """The parts without trained weights, of inputs (members, n, d), or (n, d) shared by all."""
        if inputs.ndim not in (2, 3) or (inputs.ndim == 3 and len(inputs) != self.members):
            msg = (
                f"inputs must have shape ({self.members}, n, d), one batch for each member, or "
                f"(n, d), one for all, got {tuple(inputs.shape)}"
            )
            raise ValueError(msg)
        inputs = inputs.expand(self.members, *inputs.shape[-2:])
        if type(self.network).frozen is Network.frozen:
            return inputs
        own = [f"network.{name}" for name, _ in self.network.named_buffers()]
        held = dict(self.named_buffers())
        return torch.stack(
            [
                functional_call(self._frozen[0], {name: held[name][member] for name in own}, each)
                for member, each in enumerate(inputs)
            ]
        )

    def features(self, frozen: Tensor) -> tuple[Tensor, ...]:
        """All taps, each with a leading axis of members."""
        seen = [frozen]
        for name in self.chain:
            maps = _product(seen[-1], self.network.get_submodule(name))
            seen.append(maps if name == self.chain[-1] else maps.relu())
        # of a dense network these are the hidden layers, of random features they begin with frozen
        return tuple(seen[-len(self.taps) :])

    def unstack(self, state: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """The ``state_dict`` of each member, from one of this module."""
        own = {name.removeprefix("network."): value for name, value in state.items()}
        return [
            {name: value[member].clone() for name, value in own.items()}
            for member in range(self.members)
        ]


class _Frozen(nn.Module):
    """The frozen part of a network as a module, for `functional_call`."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network.frozen(inputs)


def _product(hidden: Tensor, layer: nn.Module) -> Tensor:
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)  # noqa: S101  # of a linear layer
    if isinstance(bias, Tensor):
        return torch.baddbmm(bias.unsqueeze(1), hidden, weight.mT)
    return torch.bmm(hidden, weight.mT)


def _put(network: nn.Module, name: str, values: Tensor) -> None:
    module, _, last = name.rpartition(".")
    setattr(network.get_submodule(module), last, values)


def _common_chain(networks: Sequence[Network]) -> tuple[str, ...]:
    if not networks:
        msg = "networks must be at least one, got none"
        raise ValueError(msg)
    chain = networks[0].dense_chain()
    if chain is None:
        msg = f"networks must be dense, but {type(networks[0]).__name__} has no dense chain"
        raise ValueError(msg)
    shapes = [
        {name: (tuple(value.shape), value.dtype) for name, value in each.state_dict().items()}
        for each in networks
    ]
    for number, (each, found) in enumerate(zip(networks, shapes, strict=True)):
        if type(each) is not type(networks[0]) or each.dense_chain() != chain or found != shapes[0]:
            msg = f"networks must have the same layers, but number {number} differs from number 0"
            raise ValueError(msg)
    return chain
