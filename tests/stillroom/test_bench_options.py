"""What single options of ``stillroom bench run`` change."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from deep.records.runs import Runs
from stillroom.benching import display
from stillroom.benching.asked import normalization_for

TINY = ("--student", "mlp:width=8,depth=1", "--samples", "200", "--scale", "0.1")


def recipes_of(tmp_path):
    """Recipes of student and teacher, as stored."""
    return {
        one.config["stream"]: one.config["recipe"] for one in Runs(tmp_path / "out").summaries()
    }


def test_what_changes_the_recipe_changes_the_teachers_too(bench, tmp_path):
    err = bench("run", "kd", *TINY, "--epochs", 20, "--batch", 50, "--learning-rate", 0.1)[2]
    assert "--epochs, --batch and --learning-rate for student and teacher" in err
    for recipe in recipes_of(tmp_path).values():
        optimizer = recipe["optimizer"]
        assert (recipe["epochs"], optimizer["batch"], optimizer["learning_rate"]) == (20, 50, 0.1)


def test_not_where_the_teacher_has_a_recipe_of_its_own(bench, tmp_path):
    err = bench("run", "kd", *TINY, "--epochs", 20, "--batch", 50, "--teacher-recipe", "digits")[2]
    assert (
        "--epochs and --batch for the student only: the teacher has the recipe digits of its own"
    ) in err
    held = recipes_of(tmp_path)
    assert (held["student"]["epochs"], held["student"]["optimizer"]["batch"]) == (20, 50)
    assert (held["teacher"]["epochs"], held["teacher"]["optimizer"]["batch"]) == (30, 64)


@pytest.mark.parametrize("own", [(), ("--teacher-recipe", "digits")])
def test_epochs_of_the_teacher(bench, tmp_path, own):
    err = bench("run", "kd", *TINY, "--epochs", 20, "--teacher-epochs", 10, *own)[2]
    assert ("for the student only" in err) is bool(own)
    assert "for student and teacher" not in err
    held = recipes_of(tmp_path)
    assert (held["student"]["epochs"], held["teacher"]["epochs"]) == (20, 10)


def test_nothing_is_said_of_a_teacher_where_there_is_none(bench):
    assert "for student" not in bench("run", "one_hot", *TINY, "--epochs", 20)[2]


@pytest.mark.parametrize("count", [0, 7])
def test_how_many_samples_are_kept_whole(bench, tmp_path, count):
    assert bench("run", "one_hot", *TINY, "--keep", count)[0] == 0
    (key,) = Runs(tmp_path / "out").present()
    arrays = Runs(tmp_path / "out").get(key).arrays
    assert arrays["trajectory/probabilities"].shape[1] == count
    status, _, err = bench("run", "one_hot", *TINY, "--keep", -1)
    assert status == 2
    assert "--keep must be at least 0, got -1" in err


def pictures(folder, mode):
    """A folder of images with two classes."""
    rng = np.random.default_rng(0)
    shape = (8, 8) if mode == "L" else (8, 8, 3)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for number in range(6):
                pixels = rng.integers(256, size=shape, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return folder


@pytest.mark.parametrize(("mode", "chosen"), [("L", "unit"), ("RGB", "cifar100")])
def test_images_of_ones_own_are_normalized_as_fits_their_channels(bench, tmp_path, mode, chosen):
    folder = pictures(tmp_path / "own", mode)
    assert normalization_for(f"folder:{folder}", "cifar100") == chosen
    tiny = ("--student", "mlp:width=4,depth=1", "--batch", 4, "--scale", "0.005")
    status, _, err = bench("run", "kd", "--data", folder, *tiny)
    assert status == 0, err
    assert {one["normalization"] for one in recipes_of(tmp_path).values()} == {chosen}


def test_what_is_asked_for_is_not_changed(bench, tmp_path):
    folder = pictures(tmp_path / "own", "L")
    err = bench("run", "kd", "--data", folder, "--normalization", "cifar10")[2]
    assert "normalization has 3 channels, the images have 1" in err


def test_small_dense_students_of_several_seeds_are_trained_at_once(bench, tmp_path, monkeypatch):
    sizes = trained_together(monkeypatch)
    _, out, err = bench("run", "kd", *TINY, "--seeds", 3)
    assert sizes == [3, 1]  # and their teacher within
    assert err.count("9 steps of 64 samples, at once with the others") == 3
    assert re.search(r"^students, seeds 0 to 2: step 9/9, epoch 3/3, loss \d", err, re.M)
    assert re.search("^mean  ", out, re.M)
    together = Runs(tmp_path / "out")
    assert [together.get(key).record["trained_with"] for key in together.present()].count(2) == 3
    alone = tmp_path / "alone"
    for seed in range(3):
        bench("run", "kd", *TINY, "--seed", seed, "--out", alone)
    assert Runs(alone).present() == together.present()
    for key in together.present():
        one, other = (held.get(key).arrays["test_logits"] for held in (together, Runs(alone)))
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)


def test_what_is_finished_is_not_trained_with_the_others(bench, monkeypatch):
    bench("run", "one_hot", *TINY, "--seed", 1)
    sizes = trained_together(monkeypatch)
    err = bench("run", "one_hot", *TINY, "--seeds", 3)[2]
    assert sizes == [3]
    assert err.count("already finished") == 1
    assert err.count("at once") == 2
    assert "students, seeds 0, 2: step 9/9" in err


@pytest.mark.parametrize("network", ["mlp:width=500,depth=2", "resnet8"])
def test_large_and_convolutional_networks_are_trained_one_by_one(bench, monkeypatch, network):
    sizes = trained_together(monkeypatch)
    few = ("--samples", 40, "--test-samples", 20, "--scale", "0.001")
    status, _, err = bench("run", "one_hot", "--student", network, *few, "--seeds", 2)
    assert (status, sizes) == (0, [1, 1])
    assert "at once" not in err


def trained_together(monkeypatch):
    """Numbers of runs that the runner is asked for at once."""
    from deep.training.runner import Runner

    sizes, whole = [], Runner.run_together

    def counted(runner, configs):
        sizes.append(len(configs))
        return whole(runner, configs)

    monkeypatch.setattr(Runner, "run_together", counted)
    return sizes


def test_the_loss_so_far_is_shown_within_the_first_epoch():
    shown = []
    look = display.Look(SimpleNamespace(show=shown.append))
    look(trainer_at(step=2, epochs=0, losses=2.5))
    assert shown[0].numbers == {"train_loss": 2.5}
    assert display.told(shown[0]).startswith("epoch 1/2, loss 2.500")


def test_a_gpu_is_not_asked_for_the_loss_so_far():
    shown = []
    look = display.Look(SimpleNamespace(show=shown.append))
    look(trainer_at(step=2, epochs=0, losses=None, device="cuda"))
    look(trainer_at(step=1, epochs=0, losses=float("nan")))
    assert [moment.numbers for moment in shown] == [{}, {}]


def trainer_at(*, step, epochs, losses, device="cpu"):
    """As much of a trainer as is looked at; without losses, whoever asks for them fails."""
    course = SimpleNamespace(epochs=epochs)
    if losses is not None:
        course.mean_loss = lambda: losses
    return SimpleNamespace(
        updates=step,
        device=device,
        configs=(SimpleNamespace(stream="student", seed=0),),
        plan=SimpleNamespace(steps=20, per_epoch=10, epochs=2),
        course=course,
    )


@pytest.mark.parametrize(
    ("seeds", "said"),
    [([4], "student, seed 4"), ([0, 1, 2], "students, seeds 0 to 2"),
     ([0, 2], "students, seeds 0, 2")],
)  # fmt: skip
def test_who_is_trained(seeds, said):
    assert display.role([SimpleNamespace(stream="student", seed=seed) for seed in seeds]) == said


METHODS = {
    "early_stopped_kd": "the epoch that was best on held-out samples, .*; run kd, or name a net",
    "born_again": "the epoch that was best .*; give --taught-by final, or name a network to train",
    "filter_kd": "a table that is kept along the training, .*; run kd, or name a network to train",
    "parameter_average": "an average of the weights along the training, .*; run kd, or name",
}


@pytest.mark.parametrize("method", METHODS)
def test_weights_from_elsewhere_that_cannot_teach_a_method(bench, tmp_path, method):
    import torch

    from deep import models

    network = models.build(
        models.spec("mlp", width=8, depth=1),
        inputs=(8, 8, 1),
        classes=10,
        rng=np.random.default_rng(0),
    )
    torch.save(network.state_dict(), tmp_path / "theirs.pt")
    asked = ("--as", "mlp:width=8,depth=1", "--data", "digits", "--name", "theirs")
    assert bench("import", tmp_path / "theirs.pt", *asked)[0] == 0
    status, _, err = bench("run", method, *TINY, "--teacher", "theirs")
    assert status == 2
    assert f"teacher of {method} must be trained here, got the imported 'theirs'" in err
    assert re.search(METHODS[method], err)
    assert err.count("\n") == 1
    if method == "born_again":
        assert bench("run", method, *TINY, "--teacher", "theirs", "--taught-by", "final")[0] == 0
