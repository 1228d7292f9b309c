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


SIZES = dict.fromkeys(("small_cnn", "cifar_resnet", "resnet", "wide_resnet"), 64)
"""Inputs of a family that takes images; the others take any size."""


@pytest.mark.parametrize("name", models.names())
def test_every_family_builds_with_its_defaults(name):
    size = SIZES.get(name, 5)
    network = models.build(models.spec(name), inputs=size, classes=3, rng=np.random.default_rng(0))
    assert network(torch.rand(2, size)).shape == (2, 3)


CNNS = [
    models.spec("small_cnn", channels=4, kernel=kernel, pool=pool, depth=depth, first_bias=bias)
    for kernel, pool, depth, bias in ((3, 2, 2, False), (2, 1, 3, True), (6, 3, 1, False))
]


def cnn(spec, inputs=64, seed=0):
    return models.build(spec, inputs=inputs, classes=3, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("spec", CNNS, ids=str)
@pytest.mark.parametrize("inputs", [64, 3 * 36])
def test_the_small_cnn_by_plain_loops(spec, inputs):
    """Zeros around, the odd row and column at the end; channels are the images' last axis."""
    options, network = dict(spec.options), cnn(spec, inputs).double()
    side, colors = (8, 1) if inputs == 64 else (6, 3)
    pixels = np.random.default_rng(1).random((2, inputs))
    maps = pixels.reshape(2, side, side, colors).transpose(0, 3, 1, 2)
    taps = network.features(network.frozen(torch.from_numpy(pixels)))
    kernel, pool = options["kernel"], options["pool"]
    before, after = (kernel - 1) // 2, kernel // 2
    for number, layer in enumerate(network.convolutions):
        weight = layer.weight.detach().numpy()
        assert (layer.bias is None) == (number == 0 and not options["first_bias"])
        around = np.pad(maps, ((0, 0), (0, 0), (before, after), (before, after)))
        seen = np.stack(
            [
                np.einsum("nchw,ochw->no", around[:, :, i : i + kernel, j : j + kernel], weight)
                for i in range(maps.shape[2])
                for j in range(maps.shape[3])
            ],
            axis=-1,
        ).reshape(2, -1, *maps.shape[2:])
        fit = maps.shape[2] // pool
        cut = np.maximum(seen, 0)[:, :, : fit * pool, : fit * pool]
        maps = cut.reshape(2, -1, fit, pool, fit, pool).max(axis=(3, 5))
        np.testing.assert_allclose(taps[number].detach().numpy(), maps, atol=1e-12)
    assert network.taps == (*(f"block{n + 1}" for n in range(options["depth"])), "logits")
    head = maps.reshape(2, -1) @ network.head.weight.detach().numpy().T
    np.testing.assert_allclose(taps[-1].detach().numpy(), head, atol=1e-12)
    torch.testing.assert_close(network(torch.from_numpy(pixels)), taps[-1])


def test_the_small_cnn_of_the_paper():
    """Table 7 on CIFAR-10: 3 convolutions of 100 channels and 6 by 6 kernels, pooling by 2."""
    network = cnn(models.spec("small_cnn"), inputs=3072)
    assert [tuple(layer.weight.shape) for layer in network.convolutions] == [
        (100, 3, 6, 6),
        (100, 100, 6, 6),
        (100, 100, 6, 6),
    ]
    convolutions = 100 * 3 * 36 + 2 * (100 * 100 * 36 + 100)
    head = 3 * (100 * 4 * 4) + 3
    assert sum(w.numel() for w in network.parameters()) == convolutions + head == 735_803


def test_many_images_are_evaluated_in_parts(monkeypatch):
    network, images = cnn(CNNS[0]), torch.rand(7, 64)
    whole = network(images)
    sizes = []
    network.head.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    monkeypatch.setattr("deep.models.small_cnn.EVALUATED", 3)
    with torch.no_grad():
        torch.testing.assert_close(network(images), whole)
    assert sizes == [3, 3, 1]
    assert network(images).requires_grad
    assert sizes[3:] == [7]


def test_one_seed_gives_one_small_cnn_drawn_like_dense_layers():
    first, again, other = (cnn(CNNS[0], seed=seed) for seed in (0, 0, 1))
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(first.head.weight, other.head.weight)
    assert float(first.convolutions[1].weight.detach().abs().max()) <= (4 * 9) ** -0.5
    he = cnn(models.spec("small_cnn", channels=80, kernel=3, init="he"))
    assert float(he.convolutions[1].weight.detach().var()) == pytest.approx(2 / (80 * 9), rel=0.03)


@pytest.mark.parametrize(
    ("options", "inputs", "message"),
    [
        ({"channels": 0}, 64, "channels must be an integer >= 1, got 0"),
        ({"init": "zero"}, 64, "init must be one of 'uniform', 'he', 'lecun'"),
        ({}, 5, r"inputs must be square images of one channel or three, .* got d = 5"),
        ({"depth": 4}, 64, "depth must be small enough for 2-fold pooling .* 8 by 8, got 4"),
    ],
)
def test_small_cnns_that_can_not_be(options, inputs, message):
    with pytest.raises(ValueError, match=message):
        cnn(models.spec("small_cnn", **options), inputs=inputs)


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
    with pytest.raises(
        ValueError, match=r"model must be one of 'cifar_resnet', 'mlp', .*got 'vgg8'"
    ):
        models.spec("vgg8")
    with pytest.raises(ValueError, match=r"mlp has the options bias, .*got 'wide'"):
        models.spec("mlp", wide=3)
    with pytest.raises(ValueError, match="option width of mlp must be of type int, got '3'"):
        models.spec("mlp", width="3")
    with pytest.raises(ValueError, match="width must be an integer >= 1, got 0"):
        models.spec("mlp", width=0)
    with pytest.raises(ValueError, match="head must be one of"):
        models.spec("random_features", head="ones")
