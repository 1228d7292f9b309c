"""Checkpoints in the layouts of public code, written here as modules with those names."""

import argparse
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from deep import models
from deep.models import foreign


def conv3(inputs, outputs, stride=1):
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


class Padding(nn.Module):
    """What akamaster's LambdaLayer does: it has no tensors."""

    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def forward(self, x):
        return functional.pad(
            x[:, :, ::2, ::2], (0, 0, 0, 0, self.channels // 4, self.channels // 4)
        )


class Basic(nn.Module):
    """A block whose projection is called ``downsample`` or ``shortcut``."""

    def __init__(self, inputs, outputs, stride, shortcut):
        super().__init__()
        self.conv1, self.bn1 = conv3(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv3(outputs, outputs), nn.BatchNorm2d(outputs)
        self.called = "downsample" if shortcut == "downsample" else "shortcut"
        change = nn.Sequential()
        if (inputs, stride) != (outputs, 1):
            change = (
                Padding(outputs)
                if shortcut == "padding"
                else nn.Sequential(
                    nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
                )
            )
        self.add_module(self.called, change)

    def forward(self, x):
        out = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(out + getattr(self, self.called)(x))


class Residual(nn.Module):
    def __init__(self, channels, blocks, shortcut, head):
        super().__init__()
        self.conv1, self.bn1 = conv3(3, channels[0]), nn.BatchNorm2d(channels[0])
        self.groups = len(channels) - 1
        for number in range(1, len(channels)):
            sizes = [channels[number - 1], *[channels[number]] * blocks]
            layer = [
                Basic(sizes[i], sizes[i + 1], 2 if number > 1 and i == 0 else 1, shortcut)
                for i in range(blocks)
            ]
            self.add_module(f"layer{number}", nn.Sequential(*layer))
        self.called = head
        self.add_module(head, nn.Linear(channels[-1], 10))

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        for number in range(1, self.groups + 1):
            x = getattr(self, f"layer{number}")(x)
        return getattr(self, self.called)(x.mean((2, 3)))


class WideBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), conv3(inputs, outputs, stride)
        self.bn2, self.conv2 = nn.BatchNorm2d(outputs), conv3(outputs, outputs)
        self.convShortcut = None
        if inputs != outputs:
            self.convShortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x):
        active = torch.relu(self.bn1(x))
        out = self.conv2(torch.relu(self.bn2(self.conv1(active))))
        return out + (x if self.convShortcut is None else self.convShortcut(active))


class WideGroup(nn.Module):
    def __init__(self, *blocks):
        super().__init__()
        self.layer = nn.Sequential(*blocks)

    def forward(self, x):
        return self.layer(x)


class Wide(nn.Module):
    def __init__(self, channels, blocks):
        super().__init__()
        self.conv1 = conv3(3, channels[0])
        for number in (1, 2, 3):
            sizes = [channels[number - 1], *[channels[number]] * blocks]
            self.add_module(
                f"block{number}",
                WideGroup(
                    *[
                        WideBlock(sizes[i], sizes[i + 1], 2 if number > 1 and i == 0 else 1)
                        for i in range(blocks)
                    ]
                ),
            )
        self.bn1, self.fc = nn.BatchNorm2d(channels[-1]), nn.Linear(channels[-1], 10)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(torch.relu(self.bn1(x)).mean((2, 3)))


CIFAR = [16, 16, 32, 64]
LAYOUTS = {
    "RepDistiller resnet14": (lambda: Residual(CIFAR, 2, "downsample", "fc"), "resnet14", {}),
    "RepDistiller resnet8x4": (
        lambda: Residual([32, 64, 128, 256], 1, "downsample", "fc"),
        "resnet8x4",
        {},
    ),
    "akamaster resnet20": (
        lambda: Residual(CIFAR, 3, "padding", "linear"),
        "resnet20",
        {"shortcut": "padding"},
    ),
    "kuangliu ResNet18": (
        lambda: Residual([64, 64, 128, 256, 512], 2, "shortcut", "linear"),
        "resnet18",
        {},
    ),
    "torchvision ResNet18": (
        lambda: Residual([64, 64, 128, 256, 512], 2, "downsample", "fc"),
        "resnet18",
        {},
    ),
    "RepDistiller wrn_16_1": (lambda: Wide(CIFAR, 2), "wrn_16_1", {}),
    "RepDistiller wrn_16_2": (lambda: Wide([16, 32, 64, 128], 2), "wrn_16_2", {}),
}


def trained_elsewhere(make):
    """Of their layout, with statistics and weights of normalization that are none of the start."""
    torch.manual_seed(0)
    module = make()
    with torch.no_grad():
        for value in module.parameters():
            if value.ndim == 1:
                value.add_(0.2 * torch.randn(value.shape))
        module(torch.randn(16, 3, 8, 8))
    return module.eval()


def network(name, classes=10, inputs=192, **options):
    chosen = models.named(name, **options)
    return models.build(chosen, inputs=inputs, classes=classes, rng=np.random.default_rng(3))


@pytest.fixture(scope="module")
def theirs():
    return trained_elsewhere(LAYOUTS["RepDistiller resnet14"][0])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_networks_of_public_code_give_the_same_outputs_here(layout, tmp_path):
    make, name, options = LAYOUTS[layout]
    other, ours = trained_elsewhere(make), network(name, **options).eval()
    torch.save({"model": other.state_dict(), "epoch": 240, "best_acc": 72.3}, tmp_path / "net.pth")
    ours.load_state_dict(
        foreign.map_weights(foreign.read_weights(tmp_path / "net.pth"), ours), strict=True
    )
    flat = torch.rand(4, 192)
    with torch.no_grad():
        expected = other(flat.reshape(4, 8, 8, 3).movedim(-1, 1))
        torch.testing.assert_close(
            ours(flat), expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max())
        )
    assert ours.get_parameter("head.weight").requires_grad


def formats(state):
    wrapped = {f"module.{name}": value for name, value in state.items()}
    compiled = {f"_orig_mod.{name}": value for name, value in state.items()}
    within = {name.replace("layer1.", "layer1._orig_mod."): value for name, value in state.items()}
    return {
        "bare": state,
        "model": {"model": state, "opt": "text", "epoch": 3},
        "state_dict": {"state_dict": wrapped, "best_prec1": 91.2, "optimizer": {"state": {}}},
        "net": {"net": wrapped, "acc": 95.0},
        "nested": {"model": {"state_dict": state}},
        "compiled": compiled,
        "both": {f"module._orig_mod.{name}": value for name, value in state.items()},
        "within": within,
        "container": {f"model.{name}": value for name, value in wrapped.items()},
    }


@pytest.mark.parametrize("kind", formats({}))
def test_formats_of_torch(kind, theirs, tmp_path):
    state = theirs.state_dict()
    torch.save(formats(state)[kind], tmp_path / "net.pt")
    read = foreign.read_weights(str(tmp_path / "net.pt"))
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], value) for name, value in state.items())
    assert not any(value.requires_grad for value in read.values())


@pytest.mark.parametrize("name", ["net.safetensors", "weights.bin"])
def test_safetensors_whatever_the_file_is_called(name, theirs, tmp_path):
    state = theirs.state_dict()
    save_file({f"module.{key}": value for key, value in state.items()}, tmp_path / name)
    assert all(torch.equal(v, state[k]) for k, v in foreign.read_weights(tmp_path / name).items())


def test_parameters_and_the_older_format_are_read(theirs, tmp_path):
    torch.save(
        dict(theirs.named_parameters()),
        tmp_path / "net.pth",
        _use_new_zipfile_serialization=False,
    )
    read = foreign.read_weights(tmp_path / "net.pth")
    assert torch.equal(read["fc.weight"], theirs.fc.weight)
    assert not read["fc.weight"].requires_grad


class Bomb:
    def __reduce__(self):
        return (print, ("this must never be printed",))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (argparse.Namespace(lr=1), "argparse.Namespace"),
        (Bomb(), "print"),
        (nn.ReLU(), "ReLU"),
        (np.float64(72.3), "scalar"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_is_unpickled(content, found, zipped, tmp_path, capsys):
    file = tmp_path / "net.pth"
    torch.save({"model": {}, "opt": content}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=rf"must hold tensors.*{found}.*weights_only=False"):
        foreign.read_weights(file)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(2)], "must hold a dictionary of tensors, got list"),
        ({}, "alone or under one of 'state_dict', .* got nothing"),
        ({"epoch": 3, "weights": {"a": torch.ones(2)}}, "got 'epoch', 'weights'"),
        ({"a": torch.ones(1), "_orig_mod.a": torch.ones(1)}, "must hold each weight once"),
    ],
)
def test_files_without_weights(content, message, tmp_path):
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=message):
        foreign.read_weights(tmp_path / "net.pth")


def test_a_dictionary_that_holds_itself(tmp_path):
    itself = {}
    itself["model"] = itself
    torch.save(itself, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=r"must hold a dictionary of tensors, .* got 'model'"):
        foreign.read_weights(tmp_path / "net.pth")


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
@pytest.mark.parametrize("kept", [0, 3, 20, 1000, -10])
def test_damaged_files(name, kept, theirs, tmp_path):
    file = tmp_path / name
    if file.suffix == ".pth":
        torch.save(theirs.state_dict(), file)
    else:
        save_file(theirs.state_dict(), file)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match=rf"{name} must be a"):
        foreign.read_weights(file)


@pytest.mark.parametrize("content", [b"hello, this is text\n", b"\x00" * 64, b"PK\x03\x04" * 9])
def test_files_of_another_kind(content, tmp_path):
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"net.pth must be a file of torch.save or safetensors"):
        foreign.read_weights(tmp_path / "net.pth")


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"net.pth does not exist"):
        foreign.read_weights(tmp_path / "net.pth")
    with pytest.raises(ValueError, match="is a folder"):
        foreign.read_weights(tmp_path)


def test_our_own_names_are_kept(theirs):
    ours = network("resnet14")
    state = ours.state_dict()
    mapped = foreign.map_weights(state, network("resnet14"))
    assert list(mapped) == list(state)
    assert all(torch.equal(mapped[name], value) for name, value in state.items())


def test_counters_may_be_missing_and_halves_are_cast(theirs):
    given = {
        name: value.half()
        for name, value in theirs.state_dict().items()
        if "num_batches" not in name
    }
    mapped = foreign.map_weights(given, network("resnet14"))
    assert mapped["stem.norm.num_batches_tracked"] == 0
    assert {value.dtype for value in mapped.values()} == {torch.float32, torch.int64}
    assert torch.equal(mapped["head.weight"], theirs.fc.weight.half().float())


def wrong(state, change):
    state = dict(state)
    change(state)
    return state


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("fc.bias"), r"1 missing \(head.bias\).*\"their name\": \"head.bias\""),
        (lambda s: s.update(extra=torch.ones(1)), r"1 left over \(extra\)"),
        (
            lambda s: s.update({"fc.weight": torch.ones(100, 64)}),
            r"1 of another shape \(fc.weight -> head.weight: \(100, 64\) for \(10, 64\)\)",
        ),
        (
            lambda s: s.update({"linear.bias": torch.ones(10)}),
            r"1 given twice \(head.bias by fc.bias and linear.bias\)",
        ),
        (
            lambda s: [s.pop(name) for name in list(s) if "layer2" in name],
            r"25 missing \(group2.0.convolution1.weight, (group2\S+, ){3}…\)",
        ),
        (
            lambda s: s["bn1.running_var"].fill_(float("inf")),
            r"must be finite, .* in stem.norm.running_var",
        ),
    ],
)
def test_weights_that_do_not_fit(change, message):
    make = LAYOUTS["RepDistiller resnet14"][0]
    state = wrong(trained_elsewhere(make).state_dict(), change)
    with pytest.raises(ValueError, match=message):
        foreign.map_weights(state, network("resnet14"))


@pytest.mark.parametrize("other", ["resnet8", "resnet20", "wrn_16_1", "resnet18", "resnet8x4"])
def test_weights_of_another_network(other, theirs):
    with pytest.raises(ValueError, match=r"one for one, but there are .*choose the network"):
        foreign.map_weights(theirs.state_dict(), network(other))
    with pytest.raises(ValueError, match="left over"):
        foreign.map_weights(theirs.state_dict(), network("resnet14", shortcut="padding"))
    with pytest.raises(ValueError, match="left over"):
        foreign.map_weights(theirs.state_dict(), network("mlp"))


def test_a_mapping_file(theirs, tmp_path):
    """Modules or tensors by name, null for what is left; rules hold for the others."""
    state = {
        name.replace("bn1", "norm_a").replace("fc", "out"): value
        for name, value in theirs.state_dict().items()
    }
    state["mean"] = torch.zeros(3)
    names = {
        "mean": None,
        "out.weight": "head.weight",
        "out.bias": "head.bias",
        "norm_a": "stem.norm",
    }
    for group in (1, 2, 3):
        for block in (0, 1):
            names[f"layer{group}.{block}.norm_a"] = f"group{group}.{block}.norm1"
    (tmp_path / "names.json").write_text(json.dumps(names))
    read = foreign.read_names(tmp_path / "names.json")
    ours = network("resnet14")
    with pytest.raises(ValueError, match=r"left over \(norm_a"):
        foreign.map_weights(state, ours)
    mapped = foreign.map_weights(state, ours, names=read)
    expected = foreign.map_weights(theirs.state_dict(), ours)
    assert foreign.weights_digest(mapped) == foreign.weights_digest(expected)
    with pytest.raises(ValueError, match=r"names must be those of tensors .* got fcc"):
        foreign.map_weights(state, ours, names={**read, "fcc": "head"})


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": 3}', "\xff"])
def test_mapping_files_that_are_none(text, tmp_path):
    (tmp_path / "names.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="mapping of names"):
        foreign.read_names(tmp_path / "names.json")
    with pytest.raises(ValueError, match="mapping of names"):
        foreign.read_names(tmp_path / "absent.json")


def test_the_digest_is_of_names_types_shapes_and_bytes():
    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)}
    digest = foreign.weights_digest(state)
    assert digest == foreign.weights_digest(dict(reversed(state.items())))
    others = [
        {**state, "b": torch.tensor(4)},
        {**state, "b": torch.tensor([3])},
        {**state, "b": torch.tensor(3, dtype=torch.int32)},
        {**state, "a": state["a"].view(torch.int32)},
        {**state, "a": state["a"].reshape(3, 2)},
        {**state, "a": -state["a"]},
        {"c": state["a"], "b": state["b"]},
        {"a": state["a"]},
        {"a": state["a"].bfloat16(), "b": state["b"]},
    ]
    assert len({digest, *map(foreign.weights_digest, others)}) == 10
    maps = torch.rand(2, 3, 4, 4)
    lying = {"w": maps.contiguous(memory_format=torch.channels_last)}
    assert foreign.weights_digest(lying) == foreign.weights_digest({"w": maps})
    assert len(foreign.weights_digest({"empty": torch.empty(0, 3)})) == 64


def adapted(module, **taps):
    return foreign.adapt(module, image=(8, 8, 3), taps=taps)


def test_any_module_with_named_taps(theirs):
    wrapped = adapted(theirs, first="layer1", last="layer3.1")
    flat = torch.rand(4, 192)
    frozen = wrapped.frozen(flat)
    first, last, logits = wrapped.features(frozen)
    assert wrapped.taps == ("first", "last", "logits")
    assert first.shape == (4, 16, 8, 8)
    expected = theirs.layer1(torch.relu(theirs.bn1(theirs.conv1(frozen))))
    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(theirs.fc(last.mean((2, 3))), logits)
    torch.testing.assert_close(wrapped(flat), logits)
    assert not any(module._forward_hooks for module in theirs.modules())
    last.sum().backward()
    assert theirs.conv1.weight.grad is not None
    assert theirs.fc.weight.grad is None
    theirs.zero_grad()


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.flat, self.relu, self.head = nn.Flatten(), nn.ReLU(inplace=True), nn.Linear(192, 192)
        self.idle = nn.Identity()

    def forward(self, x):
        return self.relu(self.head(self.relu(self.flat(x) + 0)))


@pytest.mark.parametrize(
    ("taps", "message"),
    [
        ({"tap": "relu"}, "tap 'tap' must give one tensor, once, but 'relu' is called twice"),
        ({"tap": "idle"}, "tap 'tap' must be of a module that is used, but 'idle' is not"),
        ({"tap": "head"}, "tap 'tap' must stay as it is, but what 'head' gave is changed in place"),
        ({"tap": "heads"}, "tap 'tap' must be a module of the network, such as flat, relu, head"),
        ({"logits": "head"}, "taps must not name 'logits'"),
    ],
)
def test_taps_that_can_not_be(taps, message):
    module = Shared()

    def take():
        network = adapted(module, **taps)
        network.features(network.frozen(torch.rand(2, 192)))

    with pytest.raises(ValueError, match=message):
        take()
    assert not any(each._forward_hooks for each in module.modules())


def test_without_gradients_a_tap_is_what_the_module_gave():
    module = Shared()
    wrapped, flat = adapted(module, tap="head"), torch.rand(2, 192)
    with torch.inference_mode():
        tap, logits = wrapped.features(wrapped.frozen(flat))
        torch.testing.assert_close(tap.relu(), logits)
    assert float(tap.min()) < 0


@pytest.mark.parametrize("image", [(8, 8), (8, 8, 0), (8, 8.5, 3)])
def test_images_of_an_adapted_network(image):
    with pytest.raises(ValueError, match="image must be"):
        foreign.adapt(nn.Flatten(), image=image, taps={})


def test_an_adapted_network_gives_logits():
    with pytest.raises(
        ValueError, match=r"must give logits of shape \(n, classes\), got \(2, 3, 8, 8\)"
    ):
        adapted(nn.Identity())(torch.rand(2, 192))
    with pytest.raises(ValueError, match=r"inputs must have shape \(n, 192\)"):
        adapted(nn.Flatten())(torch.rand(2, 64))
