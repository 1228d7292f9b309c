import subprocess
import sys

import pytest

from deep import models


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("wrn-40-2", "wrn_40_2"),
        ("wrn40-2", "wrn_40_2"),
        ("WRN-16-1", "wrn_16_1"),
        ("ResNet-18", "resnet18"),
        ("resnet_20", "resnet20"),
        ("ResNet32x4", "resnet32x4"),
        ("small-cnn", "small_cnn"),
    ],
)
def test_spellings(written, name):
    assert models.named(written) == models.named(name)


def test_names_are_different_however_they_are_spelled():
    assert len({models._plain(name) for name in models.known()}) == len(models.known())


@pytest.mark.parametrize("name", models.known())
def test_every_known_name_is_a_spec(name):
    chosen = models.named(name)
    assert chosen.name in models.names()
    assert models.spec(chosen.name, **dict(chosen.options)) == chosen


def test_options_of_a_named_network():
    padded = models.named("resnet56", shortcut="padding")
    assert dict(padded.options) == {"depth": 56, "shortcut": "padding", "width": 1}
    assert models.named("resnet20", depth=20) == models.named("resnet20")
    assert models.named("mlp", width=7) == models.spec("mlp", width=7)
    with pytest.raises(ValueError, match=r"depth of resnet20 is 20, got 32; .*'cifar_resnet'"):
        models.named("resnet20", depth=32)
    with pytest.raises(ValueError, match=r"cifar_resnet has the options depth, .* got 'dropout'"):
        models.named("resnet20", dropout=0.1)


@pytest.mark.parametrize(
    ("name", "near"),
    [("resnet21", "resnet"), ("wrn_40_3", "wrn_40_"), ("mlpp", "mlp"), ("WRN-40-22", "wrn_40_2")],
)
def test_an_unknown_network_has_a_near_one(name, near):
    with pytest.raises(
        ValueError, match=rf"got '{name}'; did you mean '{near}.*known: .*wrn_28_10"
    ):
        models.named(name)


@pytest.mark.parametrize("name", ["", "vgg8", 5])
def test_a_network_like_none(name):
    with pytest.raises(ValueError, match=r"network must be one that exists, got .* cifar_resnet, "):
        models.named(name)


def test_a_network_is_no_family():
    with pytest.raises(ValueError, match=r"got 'resnet20'; it is a network of .*'cifar_resnet'"):
        models.spec("resnet20")


def test_names_are_listed_without_torch():
    code = (
        "import sys; from deep import models; models.known(); models.names();"
        "assert 'torch' not in sys.modules and 'deep.models.resnet' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_helpers_are_no_families():
    helpers = {"network", "convolutional", "foreign", "stacked"}
    assert not helpers & set(models.names())
