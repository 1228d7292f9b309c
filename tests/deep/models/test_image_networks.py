"""The convolutional families: counts, shapes, memory format, initialization, definitions."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from deep import models
from deep.models import convolutional

COUNTS = {
    "resnet8": (78_042, 83_892, 90_392),
    "resnet14": (175_258, 181_108, None),
    "resnet20": (272_474, 278_324, 284_824),
    "resnet32": (466_906, 472_756, 479_256),
    "resnet44": (661_338, 667_188, 673_688),
    "resnet56": (855_770, 861_620, 868_120),
    "resnet110": (1_730_714, 1_736_564, 1_743_064),
    "resnet8x4": (1_210_410, 1_233_540, 1_259_240),
    "resnet32x4": (7_410_730, 7_433_860, 7_459_560),
    "resnet18": (11_173_962, 11_220_132, 11_271_432),
    "resnet34": (21_282_122, 21_328_292, 21_379_592),
    "wrn_16_1": (175_066, 180_916, 187_416),
    "wrn_16_2": (691_674, 703_284, 716_184),
    "wrn_40_1": (563_930, 569_780, 576_280),
    "wrn_40_2": (2_243_546, 2_255_156, 2_268_056),
    "wrn_40_4": (8_949_210, 8_972_340, 8_998_040),
    "wrn_16_8": (10_961_370, 11_007_540, 11_058_840),
    "wrn_28_10": (36_479_194, 36_536_884, 36_600_984),
}
"""Trainable parameters at 10, 100 and 200 classes, as the public networks have them."""
PADDED = {
    "resnet20": (269_722, 275_572, 282_072),
    "resnet32": (464_154, 470_004, None),
    "resnet44": (658_586, 664_436, None),
    "resnet56": (853_018, 858_868, None),
    "resnet110": (1_727_962, 1_733_812, None),
}
BUFFERS = {"resnet20": 1_589, "resnet56": 4_313, "resnet32x4": 9_954, "wrn_40_2": 5_445}
SMALL = {"resnet20": 16, "resnet8x4": 64, "wrn_16_2": 32, "wrn_16_1": 16}
"""Channels of the first group."""


def build(name, *, inputs=3072, classes=10, seed=0, **options):
    spec = models.named(name, **options)
    return models.build(spec, inputs=inputs, classes=classes, rng=np.random.default_rng(seed))


@pytest.fixture
def undrawn(monkeypatch):
    """Networks without numbers: they are counted, not run."""
    monkeypatch.setattr("deep.models.cifar_resnet.initialize", lambda *_, **__: None)
    monkeypatch.setattr("deep.models.resnet.initialize", lambda *_, **__: None)
    monkeypatch.setattr("deep.models.wide_resnet.initialize", lambda *_, **__: None)


def trainable(network):
    return sum(each.numel() for each in network.parameters() if each.requires_grad)


def test_every_named_convolutional_network_is_counted():
    families = set(models.names())
    assert set(COUNTS) == set(models.known()) - families


@pytest.mark.parametrize("name", COUNTS)
def test_trainable_parameters(name, undrawn):
    for classes, count in zip((10, 100, 200), COUNTS[name], strict=True):
        assert count in (None, trainable(build(name, classes=classes)))


@pytest.mark.parametrize("name", PADDED)
def test_trainable_parameters_with_padding_shortcuts(name, undrawn):
    for classes, count in zip((10, 100, 200), PADDED[name], strict=True):
        assert count in (None, trainable(build(name, classes=classes, shortcut="padding")))


@pytest.mark.parametrize("name", BUFFERS)
def test_buffers_of_batch_normalization(name, undrawn):
    assert sum(each.numel() for each in build(name).buffers()) == BUFFERS[name]


SHAPES = {
    "resnet8": ((16, 32), (16, 32), (32, 16), (64, 8), 64),
    "resnet8x4": ((32, 32), (64, 32), (128, 16), (256, 8), 256),
    "wrn_16_2": ((16, 32), (32, 32), (64, 16), (128, 8), 128),
    "resnet18": ((64, 32), (64, 32), (128, 16), (256, 8), (512, 4), 512),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_of_the_taps(name):
    network = build(name).eval()
    with torch.no_grad():
        taps = network.features(network.frozen(torch.rand(2, 3072)))
    *maps, pooled = SHAPES[name]
    expected = [(2, channels, side, side) for channels, side in maps]
    assert [tuple(each.shape) for each in taps] == [*expected, (2, pooled), (2, 10)]
    groups = [f"group{number}" for number in range(1, len(maps))]
    assert network.taps == ("stem", *groups, "pooled", "logits")


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "wrn_16_1"])
@pytest.mark.parametrize("inputs", [64, 28 * 28, 3 * 64])
def test_digits_and_mnist_go_through(name, inputs):
    network = build(name, inputs=inputs, classes=7)
    assert network(torch.rand(3, inputs)).shape == (3, 7)


@pytest.mark.parametrize("inputs", [64, 3072])
@pytest.mark.parametrize("options", [{}, {"shortcut": "padding"}])
def test_maps_lie_with_their_channels_side_by_side(inputs, options):
    network, flat = build("resnet8", inputs=inputs, **options), torch.rand(2, inputs)
    frozen = network.frozen(flat)
    assert frozen.data_ptr() == flat.data_ptr()
    for value in (frozen, *network.features(frozen)[1:4], *network.parameters()):
        assert value.ndim != 4 or value.is_contiguous(memory_format=torch.channels_last)


def normalized(state, name, maps):
    """Batch normalization, by its definition."""
    mean, variance = maps.mean((0, 2, 3)), maps.var((0, 2, 3), correction=0)
    scale = state[f"{name}.weight"] / (variance + 1e-5).sqrt()
    return (maps - mean[:, None, None]) * scale[:, None, None] + state[f"{name}.bias"][
        :, None, None
    ]


def padded(maps, channels):
    out = torch.zeros(len(maps), channels, *maps[:, :, ::2, ::2].shape[2:], dtype=maps.dtype)
    before = (channels - maps.shape[1]) // 2
    out[:, before : before + maps.shape[1]] = maps[:, :, ::2, ::2]
    return out


def resnet_by_definition(state, images, blocks):
    """Taps of a residual network, from the state alone."""

    def convolved(name, maps, stride=1):
        weight = state[f"{name}.weight"]
        return functional.conv2d(maps, weight, stride=stride, padding=weight.shape[-1] // 2)

    maps = normalized(state, "stem.norm", convolved("stem.convolution", images)).clamp(min=0)
    taps = [maps]
    for group in (1, 2, 3):
        for number in range(blocks):
            name = f"group{group}.{number}"
            stride = 2 if group > 1 and number == 0 else 1
            inner = convolved(f"{name}.convolution1", maps, stride)
            inner = normalized(state, f"{name}.norm1", inner).clamp(min=0)
            inner = normalized(state, f"{name}.norm2", convolved(f"{name}.convolution2", inner))
            if f"{name}.shortcut.convolution.weight" in state:
                maps = convolved(f"{name}.shortcut.convolution", maps, stride)
                maps = normalized(state, f"{name}.shortcut.norm", maps)
            elif stride == 2:
                maps = padded(maps, inner.shape[1])
            maps = (inner + maps).clamp(min=0)
        taps.append(maps)
    pooled = maps.mean((2, 3))
    return (*taps, pooled, pooled @ state["head.weight"].T + state["head.bias"])


def wide_by_definition(state, images, blocks):
    def convolved(name, maps, stride=1):
        weight = state[f"{name}.weight"]
        return functional.conv2d(maps, weight, stride=stride, padding=weight.shape[-1] // 2)

    maps = convolved("stem", images)
    taps = [maps]
    for group in (1, 2, 3):
        for number in range(blocks):
            name = f"group{group}.{number}"
            stride = 2 if group > 1 and number == 0 else 1
            active = normalized(state, f"{name}.norm1", maps).clamp(min=0)
            inner = convolved(f"{name}.convolution1", active, stride)
            inner = normalized(state, f"{name}.norm2", inner).clamp(min=0)
            if f"{name}.shortcut.weight" in state:
                maps = convolved(f"{name}.shortcut", active, stride)
            maps = maps + convolved(f"{name}.convolution2", inner)
        taps.append(maps)
    pooled = normalized(state, "norm", maps).clamp(min=0).mean((2, 3))
    return (*taps, pooled, pooled @ state["head.weight"].T + state["head.bias"])


CASES = [
    ("resnet14", {}, lambda *given: resnet_by_definition(*given, 2)),
    ("resnet14", {"shortcut": "padding"}, lambda *given: resnet_by_definition(*given, 2)),
    ("resnet8x4", {}, lambda *given: resnet_by_definition(*given, 1)),
    ("wrn_16_1", {}, lambda *given: wide_by_definition(*given, 2)),
    ("wrn_16_2", {}, lambda *given: wide_by_definition(*given, 2)),
]


def perturbed(network):
    """The same with all of batch normalization away from where it starts."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in network.parameters():
            if value.ndim == 1:
                value.add_(0.3 * torch.randn(value.shape, generator=generator))
    return network.double()


@pytest.mark.parametrize(("name", "options", "expected"), CASES, ids=[str(c[:2]) for c in CASES])
def test_taps_and_gradients_by_definition(name, options, expected):
    """In training mode, so with the statistics of the batch; work in place spoils nothing."""
    network = perturbed(build(name, inputs=3 * 64, classes=5, **options))
    flat = torch.from_numpy(np.random.default_rng(1).random((4, 192)))
    images = flat.reshape(4, 8, 8, 3).movedim(-1, 1)
    state = {
        k: v.detach().clone().requires_grad_(v.ndim > 0) for k, v in network.named_parameters()
    }
    want, taps = expected(state, images), network.features(network.frozen(flat))
    for got, value in zip(taps, want, strict=True):
        torch.testing.assert_close(got, value, rtol=1e-9, atol=1e-9)
    sum((each**2).sum() for each in taps).backward()
    sum((each**2).sum() for each in want).backward()
    for key, value in network.named_parameters():
        scale = float(state[key].grad.abs().max())
        torch.testing.assert_close(value.grad, state[key].grad, rtol=1e-6, atol=1e-9 * scale)
    torch.testing.assert_close(network(flat), taps[-1])


def test_an_evaluated_network_uses_what_it_stored():
    network = perturbed(build("resnet8", inputs=64))
    network(torch.rand(32, 64).double())
    network.eval()
    several = torch.rand(5, 64).double()
    torch.testing.assert_close(network(several)[:1], network(several[:1]))


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1"])
def test_many_images_are_evaluated_in_parts(name, monkeypatch):
    network, images = build(name, inputs=64).eval(), torch.rand(7, 64)
    whole, sizes = network(images), []
    network.head.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    monkeypatch.setattr(network, "part", 3)
    with torch.no_grad():
        torch.testing.assert_close(network(images), whole)
        assert sizes == [3, 3, 1]
        network.train()
        assert network(images).shape == whole.shape  # the batch's statistics need all of it
    assert sizes[3:] == [7]
    network.eval()(images)
    assert sizes[4:] == [7]


def test_the_largest_map_bounds_the_parts():
    assert build("resnet8").part == 1024
    assert build("resnet18").part == 256
    assert build("wrn_16_2").part == convolutional.LARGEST // (32 * 32 * 32)


def test_one_seed_gives_one_network_and_leaves_torch_alone():
    before = torch.get_rng_state()
    first, again, other = (build("resnet8", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(first.head.weight, other.head.weight)
    assert not torch.equal(first.stem.convolution.weight, other.stem.convolution.weight)


@pytest.mark.parametrize(("name", "head_bias"), [("resnet20", True), ("wrn_40_1", False)])
def test_the_initialization(name, head_bias):
    """Variances within 5 standard errors: a false alarm has probability 6e-7 a layer."""
    network = build(name, classes=2000)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            drawn = module.weight.detach().double()
            variance = 2 / (module.out_channels * drawn[0, 0].numel())
            error = 5 * np.sqrt(2 / drawn.numel())
            assert float((drawn**2).mean()) == pytest.approx(variance, rel=error)
            assert abs(float(drawn.mean())) < 5 * np.sqrt(variance / drawn.numel())
        elif isinstance(module, torch.nn.BatchNorm2d):
            values = [
                float(each.sum()) / module.num_features for each in module.state_dict().values()
            ]
            assert values == [1, 0, 0, 1, 0]
    weight, bias = network.head.weight.detach(), network.head.bias.detach()
    assert float(weight.abs().max()) <= 1 / 8
    assert float(weight.var()) == pytest.approx(1 / (3 * 64), rel=0.02)
    assert float(bias.abs().max()) <= 1 / 8
    assert (float(bias.var()) > 0.9 / (3 * 64)) == head_bias


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("cifar_resnet", {"depth": 18}, r"depth must be 6 n \+ 2, such as 8, 14, .* got 18"),
        ("cifar_resnet", {"depth": 2}, "depth must be an integer >= 8, got 2"),
        ("cifar_resnet", {"width": 0}, "width must be an integer >= 1, got 0"),
        ("cifar_resnet", {"shortcut": "C"}, "shortcut must be one of 'projection', 'padding'"),
        ("wide_resnet", {"depth": 20}, r"depth must be 6 n \+ 4, .* got 20"),
        ("wide_resnet", {"depth": 4}, "depth must be an integer >= 10, got 4"),
        ("resnet", {"depth": 50}, "depth must be 18 or 34, got 50"),
    ],
)
def test_networks_that_can_not_be(family, options, message):
    with pytest.raises(ValueError, match=message):
        models.spec(family, **options)


@pytest.mark.parametrize("name", ["resnet8", "resnet18", "wrn_16_1"])
def test_images_that_do_not_fit(name):
    with pytest.raises(ValueError, match=r"inputs must be square images .* got d = 10"):
        build(name, inputs=10)
    network = build(name, inputs=64)
    with pytest.raises(
        ValueError, match=r"inputs must have shape \(n, 64\), images of 8 by 8 by 1"
    ):
        network(torch.rand(2, 192))


@pytest.mark.parametrize("name", ["resnet8", "resnet18", "wrn_16_1", "small_cnn"])
def test_an_image_keeps_its_shape(name):
    """Not as the square image of as many pixels: a line of light shines in all of its row."""
    shape = (8, 32, 1)
    network = build(name, inputs=shape, classes=3).eval()
    assert network.shape == shape
    pixels = torch.zeros(1, *shape)
    pixels[0, 2] = 1.0
    maps = network.frozen(pixels.flatten(1))
    assert tuple(maps.shape) == (1, 1, 8, 32)
    assert torch.equal(maps[0, 0].sum(1), 32.0 * (torch.arange(8) == 2))
    assert network(pixels.flatten(1)).shape == (1, 3)
    square = build(name, inputs=(16, 16, 1), classes=3).eval()
    counted = build(name, inputs=256, classes=3)
    for one, other in zip(square.parameters(), counted.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["mlp", "random_features"])
def test_networks_without_maps_take_any_shape(name):
    whole, flat = build(name, inputs=(2, 5, 3)), build(name, inputs=30)
    for one, other in zip(whole.parameters(), flat.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 8), "inputs must be height, width and channels of images"),
        ((8, 0, 1), "inputs must be an integer >= 1, got 0"),
    ],
)
def test_shapes_that_are_no_image(shape, message):
    with pytest.raises(ValueError, match=message):
        build("resnet8", inputs=shape)


def test_pooling_must_leave_something_of_both_sides():
    with pytest.raises(ValueError, match="leave something of images of 4 by 32, got 3"):
        build("small_cnn", inputs=(4, 32, 1))
