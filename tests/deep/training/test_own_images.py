"""Runs on the user's own images: what names them, what shape they have, what is told of them."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from deep import data, models
from deep.data.spec import DataSpec
from deep.training import runner
from deep.training.evaluation import measure
from deep.training.runner import Runner
from tests.deep.training.small_runs import assert_same, small


def folder(root, *, shape=(4, 4), per_class=9):
    """Two classes of gray images, one of them brighter."""
    rng = np.random.default_rng(0)
    for split, count in (("train", per_class), ("test", 3)):
        for place in (0, 1):
            (root / split / str(place)).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 128, shape, dtype=np.uint8) + 100 * place
                Image.fromarray(pixels.astype(np.uint8)).save(
                    root / split / str(place) / f"{number}.png"
                )
    return DataSpec(name=f"folder:{root}", noise=0.2)


def own(spec, method="one_hot", **options):
    recipe = {"normalization": "unit", **options.pop("recipe_options", {})}
    return small(method, data=spec, epochs=1, recipe_options=recipe, **options)


def test_a_run_on_a_copy_is_the_same_run(tmp_path, monkeypatch):
    first = folder(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    second = replace(first, name=f"folder:{tmp_path}/two")
    out = tmp_path / "out"
    one = Runner(out).run(own(first, "kd", batch=8))
    assert Runner().key(own(second, "kd", batch=8)) == one.key
    alone = Runner().run(own(second, "kd", batch=8))
    assert_same(alone.state(), one.state())
    monkeypatch.setattr(runner, "Trainer", lambda *_, **__: pytest.fail("it is trained again"))
    again = Runner(out).run(own(second, "kd", batch=8))
    assert again.key == one.key


def test_files_that_change_are_read_again(tmp_path):
    spec, one = folder(tmp_path / "one"), Runner()
    before, key = one.prepared(own(spec)), one.key(own(spec))
    assert one.prepared(own(spec)) is before
    Image.new("L", (4, 4), 77).save(tmp_path / "one/train/0/100.png")
    assert one.key(own(spec)) != key
    assert len(one.prepared(own(spec)).train) + len(one.prepared(own(spec)).validation or ()) == 19


def test_the_kind_of_files_is_part_of_the_name(tmp_path):
    spec, key = folder(tmp_path / "one"), Runner().key
    digits = small()
    assert key(own(spec)) != key(replace(own(spec), data=DataSpec(noise=0.2)))
    assert key(digits) == runner._name({"config": digits, "images": ""})


def test_labels_of_people_are_part_of_the_name(monkeypatch):
    said = ["one file", "another file"]
    monkeypatch.setattr(data, "fingerprint_of", lambda *_, **__: said[0])
    config = small()
    before = Runner().key(config)
    said.pop(0)
    assert Runner().key(config) != before


@pytest.mark.parametrize("model", ["resnet8", "small_cnn"])
def test_a_network_sees_images_in_their_own_shape(tmp_path, model):
    """8 x 32 pixels are as many as 16 x 16."""
    one = Runner()
    config = own(folder(tmp_path / "one", shape=(8, 32)), model=model, batch=8)
    done = one.run(config)
    network = done.network("final", one.prepared(config))
    assert network.shape == (8, 32, 1)


@pytest.mark.parametrize("model", ["resnet8", "wrn_16_1"])
@pytest.mark.parametrize("who", ["student", "teacher"])
def test_batches_of_one_image_are_refused_where_they_have_no_variance(
    tmp_path, monkeypatch, model, who
):
    """Of 4 x 4 images the last maps are of one pixel; 17 samples leave one of two batches of 8."""
    spec = replace(folder(tmp_path / "one", per_class=10), samples=17)
    whole = {"recipe_options": {"validation": 0.0}, "batch": 8}
    config = own(spec, model=model, **whole)
    if who == "teacher":
        config = own(spec, "kd", teacher=models.named(model), **whole)
        leaves_out = replace(config.teacher.recipe, drop_last=True)  # it can be trained itself
        taught_by = replace(config.teacher, recipe=leaves_out)
        config = replace(config, teacher=taught_by, teacher_statistics="batch")
    with monkeypatch.context() as patch:
        patch.setattr(runner, "Trainer", lambda *_, **__: pytest.fail("something is trained"))
        with pytest.raises(
            ValueError, match=r"batch must leave no batch of one .* got batch 8 for"
        ):
            Runner().run(config)
        lone = own(spec, model=model, recipe_options={"validation": 0.0}, batch=1)
        with pytest.raises(ValueError, match="batch must leave no batch of one"):
            Runner().run(lone)
    if who == "student":
        Runner().run(
            own(spec, model=model, recipe_options={"validation": 0.0, "drop_last": True}, batch=8)
        )
        Runner().run(replace(config, scale=0.5))
        Runner().run(own(spec, **whole))


def test_larger_maps_have_a_variance_of_their_own(tmp_path):
    spec = replace(folder(tmp_path / "one", shape=(8, 8), per_class=10), samples=17)
    Runner().run(own(spec, model="resnet8", batch=8, recipe_options={"validation": 0.0}))


def test_distances_from_the_true_and_from_the_given_law():
    spec = DataSpec(name="gaussian", samples=90, test_samples=30, noise=0.4)
    config = small(data=spec, epochs=1)
    one = Runner()
    done, prepared = one.run(config), one.prepared(config)
    found = done.measures["last"]["train"]
    logits, labels = done.arrays["train_logits"], done.arrays["train_labels"]
    for law, name in (
        (prepared.train.truth_law, "truth_distance"),
        (prepared.train.posterior, "given_law_distance"),
    ):
        alone = measure(logits, labels, truth=law.numpy())
        assert found[name] == pytest.approx(alone["truth_distance"], abs=1e-12)
    assert found["truth_distance"] != found["given_law_distance"]
    assert "truth_distance" in done.measures["last"]["test"]
    assert "given_law_distance" not in done.measures["last"]["test"]
    clean = one.run(replace(config, data=replace(spec, noise=0.0)))
    assert "given_law_distance" not in clean.measures["last"]["train"]


def test_noise_on_digits_has_a_law_of_the_given_label_only():
    found = Runner().run(small(epochs=1)).measures["last"]
    assert "truth_distance" not in found["train"] | found["validation"] | found["test"]
    assert "given_law_distance" in found["train"]
    assert "given_law_distance" not in found["test"]
