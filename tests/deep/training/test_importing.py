import json
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch

from deep import methods, models
from deep.data.prepared import prepare
from deep.data.spec import DataSpec
from deep.models.foreign import weights_digest
from deep.records.runs import Runs
from deep.training.arrange import arranged
from deep.training.config import ImportedTeacher
from deep.training.importing import import_teacher
from deep.training.recipes import recipe
from deep.training.runner import Runner, imported_key

MODEL = models.spec("mlp", width=16, depth=1)
DATA = DataSpec(test_samples=100)


@pytest.fixture
def network():
    return models.build(MODEL, inputs=64, classes=10, rng=np.random.default_rng(3))


@pytest.fixture
def place(tmp_path):
    """Where things are, and the import with what most tests have in common."""

    def take(path, **options):
        known = {"model": MODEL, "data": DATA, "normalization": "unit", "out": tmp_path / "out"}
        return import_teacher(path, **{**known, **options})

    return SimpleNamespace(root=tmp_path, take=take, runs=Runs(tmp_path / "out"))


def saved(state, path):
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_it_is_stored_with_its_accuracy(place, network, name):
    path = saved(network.state_dict(), place.root / name)
    done = place.take(path, name="mine")
    assert weights_digest(done.state()) == weights_digest(network.state_dict())
    assert (done.model, done.normalization) == (MODEL, "unit")
    test = prepare(DATA).test
    inputs = test.images.reshape(len(test), -1) / 16
    right = (network(inputs).argmax(-1) == test.labels).double().mean()
    assert done.measures["last"]["test"]["accuracy"] == pytest.approx(float(right))
    assert done.record["parameters"] == 64 * 16 + 16 * 10 + 10
    assert done.record["provenance"]["device"] == "cpu"
    (summary,) = place.runs.summaries()
    assert summary.config["imported"]["name"] == "mine"
    assert len(summary.config["imported"]["sha256"]) == 64
    assert summary.headline["test_accuracy"] == pytest.approx(float(right))
    assert done.key == imported_key(ImportedTeacher(MODEL, done.digest(), "unit"))


def test_it_teaches_as_the_network_that_it_is(place, network):
    done = place.take(saved(network.state_dict(), place.root / "w.pt"))
    teacher = ImportedTeacher(MODEL, done.digest(), "unit")
    config = arranged(
        method=methods.spec("kd"), model=MODEL, recipe=recipe("digits"), data=DATA,
        teacher=teacher, scale=0.01,
    )  # fmt: skip
    student = Runner(place.root / "out").run(config)
    test = prepare(DATA).test
    said = network(test.images.reshape(len(test), -1) / 16).argmax(-1).numpy()
    agreement = (student.arrays["test_logits"].argmax(-1) == said).mean()
    assert student.measures["last"]["test"]["agreement"] == pytest.approx(agreement)


def test_the_same_weights_are_the_same_teacher(place, network):
    state = network.state_dict()
    first = place.take(saved(state, place.root / "a.pt"), name="mine")
    wrapped = {f"module.{name}": value for name, value in state.items()}
    again = place.take(saved({"state_dict": wrapped}, place.root / "b.pt"), name="other")
    assert again.key == first.key
    assert again.record == first.record
    assert len(place.runs.present()) == 1


def test_a_mapping_renames(place, network):
    ours = list(network.state_dict())
    strange = {f"x{place}": network.state_dict()[name] for place, name in enumerate(ours)}
    path = saved(strange, place.root / "w.pt")
    with pytest.raises(ValueError, match="give a mapping"):
        place.take(path)
    mapping = place.root / "names.json"
    mapping.write_text(json.dumps({f"x{place}": name for place, name in enumerate(ours)}))
    assert place.take(path, mapping=mapping).digest() == weights_digest(network.state_dict())


def test_what_is_wrong_is_said_and_nothing_stored(place, network):
    path = saved(network.state_dict(), place.root / "w.pt")
    (place.root / "junk.pt").write_bytes(b"junk")
    wrong = [
        (path, {"model": models.spec("mlp", width=17, depth=1)}, "of another shape"),
        (path, {"normalization": "cifar10"}, "normalization has 3 channels, the images have 1"),
        (path, {"normalization": "none"}, "normalization must be one of"),
        (path, {"device": "tpu"}, "device must be 'cpu' or 'cuda'"),
        (path, {"name": "resnet20"}, "name must not be that of a network"),
        (path, {"name": "two words"}, "name must be one word"),
        (place.root / "none.pt", {}, "does not exist"),
        (place.root / "junk.pt", {}, "must be a file of torch.save or safetensors"),
    ]
    for file, options, said in wrong:
        with pytest.raises(ValueError, match=said):
            place.take(file, **options)
    assert place.runs.present() == ()


def test_a_name_is_given_once(place, network):
    place.take(saved(network.state_dict(), place.root / "a.pt"), name="mine")
    other = models.build(MODEL, inputs=64, classes=10, rng=np.random.default_rng(4))
    with pytest.raises(ValueError, match="name must be new, got 'mine'"):
        place.take(saved(other.state_dict(), place.root / "b.pt"), name="mine")
