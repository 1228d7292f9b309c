import copy

import numpy as np
import pytest
import torch

from deep import models
from deep.models.network import Network
from deep.models.stacked import Stacked

SPECS = [
    models.spec("mlp", width=7, depth=2),
    models.spec("mlp", width=6, depth=1, first_bias=True),
    models.spec("mlp", depth=0),
    models.spec("mlp", width=6, depth=3, bias=False),
    models.spec("random_features", features=11, head="uniform"),
]


def members(spec, count=3, inputs=5):
    return [
        models.build(spec, inputs=inputs, classes=4, rng=np.random.default_rng(seed))
        for seed in range(count)
    ]


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("count", [1, 3])
def test_outputs_taps_and_gradients_are_those_of_the_members(spec, count):
    networks = members(spec, count)
    stacked = Stacked(networks)
    inputs = torch.rand(count, 6, 5)
    taps = stacked.features(stacked.frozen(inputs))
    assert stacked.taps == networks[0].taps
    weights = torch.randn(count, 6, 4)
    (taps[-1] * weights).sum().backward()
    torch.testing.assert_close(stacked(inputs), taps[-1])
    for member, network in enumerate(networks):
        own = network.features(network.frozen(inputs[member]))
        for got, want in zip(taps, own, strict=True):
            torch.testing.assert_close(got[member], want, rtol=1e-6, atol=1e-6)
        (own[-1] * weights[member]).sum().backward()
        for name, value in network.named_parameters():
            grad = stacked.network.get_parameter(name).grad[member]
            torch.testing.assert_close(grad, value.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_members_are_unstacked_as_they_were(spec):
    networks = members(spec)
    stacked = Stacked(networks)
    for network, state in zip(networks, stacked.unstack(stacked.state_dict()), strict=True):
        again = copy.deepcopy(network)
        again.load_state_dict(state, strict=True)
        for name, value in network.state_dict().items():
            assert torch.equal(value, state[name])
    assert [name for name, _ in stacked.named_parameters()] == [
        f"network.{name}" for name, _ in networks[0].named_parameters()
    ]


def test_one_batch_for_all_members_and_a_step_changes_no_member():
    networks = members(SPECS[0])
    stacked, inputs = Stacked(networks), torch.rand(6, 5)
    before = [copy.deepcopy(each.state_dict()) for each in networks]
    out = stacked(inputs)
    assert out.shape == (3, 6, 4)
    torch.testing.assert_close(out[1], networks[1](inputs))
    out.sum().backward()
    with torch.no_grad():
        for value in stacked.parameters():
            value.sub_(value.grad)
    assert not torch.equal(stacked(inputs)[1], out[1])
    for each, state in zip(networks, before, strict=True):
        assert all(torch.equal(each.state_dict()[name], value) for name, value in state.items())


def test_a_copy_in_double_precision_is_its_own():
    stacked = Stacked(members(SPECS[-1]))
    again = copy.deepcopy(stacked).double()
    inputs = torch.rand(3, 2, 5)
    torch.testing.assert_close(again(inputs.double()).float(), stacked(inputs))
    with torch.no_grad():
        again.network.projection.zero_()
        assert float(again(inputs.double()).abs().max()) == 0
        assert float(stacked(inputs).abs().max()) > 0


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        (list, "networks must be at least one"),
        (lambda: members(models.named("resnet8"), 2, 64), "must be dense, but ResNet has no"),
        (lambda: members(SPECS[0]) + members(SPECS[1]), "number 3 differs from number 0"),
        (lambda: [*members(SPECS[0]), *members(SPECS[0], inputs=6)], "number 3 differs"),
        (lambda: [members(SPECS[2], 1)[0], members(SPECS[2], 1)[0].double()], "number 1 differs"),
    ],
)
def test_networks_that_can_not_be_stacked(networks, message):
    with pytest.raises(ValueError, match=message):
        Stacked(networks())


@pytest.mark.parametrize("shape", [(2, 6, 5), (5,), (3, 1, 6, 5)])
def test_inputs_that_do_not_fit(shape):
    with pytest.raises(ValueError, match=r"inputs must have shape \(3, n, d\), one batch for each"):
        Stacked(members(SPECS[0]))(torch.rand(shape))


def test_the_stack_is_a_network():
    assert isinstance(Stacked(members(SPECS[0])), Network)
