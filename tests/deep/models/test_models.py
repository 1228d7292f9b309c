import numpy as np
import pytest
import torch

from deep import models
from deep.models import mlp, random_features

SPECS = [
    models.spec("mlp", width=7, depth=0),
    models.spec("mlp", width=7, depth=3, first_bias=True, init="he"),
    models.spec("mlp", width=7, bias=False, init="lecun"),
    models.spec("random_features", features=11, head="uniform", scale=2),
]


def build(spec, seed=0):
    return models.build(spec, inputs=5, classes=3, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("name", models.names())
def test_every_family_builds_with_its_defaults(name):
    network = models.build(models.spec(name), inputs=5, classes=3, rng=np.random.default_rng(0))
    assert network(torch.rand(2, 5)).shape == (2, 3)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_taps_are_named_and_end_with_the_logits(spec):
    network, inputs = build(spec), torch.rand(4, 5)
    features = network.features(network.frozen(inputs))
    assert len(features) == len(network.taps)
    assert network.taps[-1] == "logits"
    torch.testing.assert_close(features[-1], network(inputs))


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_dense_chain_is_the_trained_part(spec):
    network = build(spec)
    hidden = network.frozen(torch.rand(4, 5))
    expected = network.trained(hidden)
    layers = [network.get_submodule(name) for name in network.dense_chain()]
    for number, layer in enumerate(layers):
        hidden = layer(hidden if number == 0 else hidden.relu())
    torch.testing.assert_close(hidden, expected)
    named = {f"{name}.{kind}" for name in network.dense_chain() for kind in ("weight", "bias")}
    assert {name for name, _ in network.named_parameters()} <= named


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_one_seed_gives_one_network(spec):
    first, again, other = build(spec), build(spec), build(spec, seed=1)
    for name, value in first.state_dict().items():
        torch.testing.assert_close(value, again.state_dict()[name], rtol=0, atol=0)
    assert any(not torch.equal(v, other.state_dict()[n]) for n, v in first.state_dict().items())


def test_paper_sizes():
    network = models.build(models.spec("mlp"), inputs=784, classes=10, rng=np.random.default_rng(0))
    assert [tuple(layer.weight.shape) for layer in network.layers] == [
        (1000, 784),
        (1000, 1000),
        (10, 1000),
    ]
    assert network.layers[0].bias is None
    assert network.layers[1].bias is not None


def test_scale_of_the_random_features():
    """Entries of the projection are N(0, s^2 / d): 5 standard errors, false alarm 6e-7."""
    options = random_features.Options(features=4000, scale=3.0)
    entries = random_features.build(options, 50, 2, np.random.default_rng(0)).projection
    variance = float((entries**2).mean())
    assert abs(variance - 9 / 50) < 5 * 9 / 50 * np.sqrt(2 / entries.numel())


def test_random_features_start_at_zero_and_train_the_head_only():
    network = build(models.spec("random_features", features=11))
    assert [name for name, _ in network.named_parameters()] == ["head.weight"]
    assert float(network(torch.rand(2, 5)).detach().abs().max()) == 0.0


@pytest.mark.parametrize(("init", "gain"), [("uniform", 1 / 3), ("he", 2.0), ("lecun", 1.0)])
def test_initial_variances(init, gain):
    layer = mlp.build(mlp.Options(width=900, init=init), 900, 2, np.random.default_rng(0)).layers[0]
    assert float(layer.weight.detach().var()) == pytest.approx(gain / 900, rel=0.02)


def test_a_spec_fills_in_the_defaults_and_is_hashable():
    assert models.spec("mlp", width=1000) == models.spec("mlp")
    assert hash(models.spec("random_features", scale=2)) == hash(
        models.spec("random_features", scale=2.0)
    )


def test_bad_input():
    with pytest.raises(ValueError, match=r"model must be one of 'mlp', .*got 'resnet20'"):
        models.spec("resnet20")
    with pytest.raises(ValueError, match=r"mlp has the options bias, .*got 'wide'"):
        models.spec("mlp", wide=3)
    with pytest.raises(ValueError, match="option width of mlp must be of type int, got '3'"):
        models.spec("mlp", width="3")
    with pytest.raises(ValueError, match="width must be an integer >= 1, got 0"):
        models.spec("mlp", width=0)
    with pytest.raises(ValueError, match="head must be one of"):
        models.spec("random_features", head="ones")
