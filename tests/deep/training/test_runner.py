"""Runs are made once, resumed, stored whole, and refused before anything is trained."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import safetensors.torch
import torch
from PIL import Image
from pyarrow import parquet as pq

from deep import methods, models
from deep.data.spec import DataSpec
from deep.matching import matched_temperature
from deep.records.runs import Runs
from deep.records.store import Corrupt, Store
from deep.records.trajectories import Trajectories
from deep.training import checkpoint, runner
from deep.training.config import ImportedTeacher
from deep.training.evaluation import measure
from deep.training.importing import import_teacher
from deep.training.runner import Runner
from tests.deep.training.small_runs import (
    DATA,
    assert_same,
    assert_same_run,
    killed_runs,
    small,
)

HOUSE = Path(__file__).parents[3]
STEPS = 18


class Stopped(Exception):
    """What ends a run in these tests."""


def stop_after(steps):
    """A watch that ends a run of a student, as a signal would."""

    def watch(trainer):
        if trainer.configs[0].stream == "student" and trainer.updates == steps:
            raise Stopped

    return watch


def interrupted(out, config, steps=9, every=4):
    with pytest.raises(Stopped):
        Runner(out, checkpoint_steps=every, watch=stop_after(steps)).run(config)


def no_training(monkeypatch):
    def refuse(*_, **__):
        pytest.fail("something is trained")

    monkeypatch.setattr(runner, "Trainer", refuse)


def test_a_finished_run_is_never_trained_again(tmp_path, monkeypatch):
    config = small("kd")
    first = Runner(tmp_path).run(config)
    no_training(monkeypatch)
    assert_same_run(Runner(tmp_path).run(config), first)
    assert Runner(tmp_path).run(config.teacher).record["config"]["stream"] == "teacher"
    assert len(Runs(tmp_path).present()) == 2


def test_without_a_place_nothing_is_written_and_a_run_is_remembered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    alone = Runner()
    first = alone.run(small("kd"))
    no_training(monkeypatch)
    assert alone.run(small("kd")) is first
    assert not list(tmp_path.iterdir())


def test_a_run_stored_is_the_run_not_stored(tmp_path):
    config = small("filter_kd", model="resnet8", views="crop_flip")
    assert_same_run(Runner(tmp_path).run(config), Runner().run(config))


def test_an_interrupted_run_goes_on_at_its_checkpoint(tmp_path):
    config, said, steps = small("wsl"), [], []
    interrupted(tmp_path, config)
    key = Runner(tmp_path).key(config)
    summary = Runs(tmp_path).summary(key)
    assert (summary.status, summary.step, summary.steps) == ("interrupted", 8, STEPS)
    again = Runner(tmp_path, say=said.append, watch=lambda trainer: steps.append(trainer.updates))
    done = again.run(config)
    assert said == ["going on after 8 of 18 steps"]
    assert steps == list(range(9, STEPS + 1))
    assert_same_run(done, Runner().run(config))
    assert not Runs(tmp_path).folder(key).exists()


def test_checkpoints_come_by_time_too(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(checkpoint, "save", lambda *parts: saved.append(parts[2]["updates"]))
    Runner(tmp_path, checkpoint_seconds=0.0).run(small())
    assert saved == list(range(1, STEPS + 1))
    saved.clear()
    Runner(tmp_path / "other").run(small())
    assert not saved


def test_a_damaged_checkpoint_is_passed_over(tmp_path):
    config = small()
    interrupted(tmp_path, config, steps=14)
    folder = Runs(tmp_path).folder(Runner(tmp_path).key(config))
    newest = max(folder.glob("checkpoint-*"))
    content = bytearray(newest.read_bytes())
    content[-5] ^= 1
    newest.write_bytes(content)
    said = []
    with pytest.warns(Corrupt, match="is damaged"):
        done = Runner(tmp_path, say=said.append).run(config)
    assert said == ["going on after 8 of 18 steps"]
    assert_same_run(done, Runner().run(config))


def test_without_a_whole_checkpoint_it_begins_anew(tmp_path):
    config, said = small(), []
    interrupted(tmp_path, config)
    for path in Runs(tmp_path).folder(Runner(tmp_path).key(config)).glob("checkpoint-*"):
        path.write_bytes(b"")
    with pytest.warns(Corrupt, match="is damaged"):
        done = Runner(tmp_path, say=said.append).run(config)
    assert not said
    assert_same_run(done, Runner().run(config))


@pytest.mark.parametrize("of_teacher", [False, True])
def test_a_damaged_run_is_set_aside_and_made_again(tmp_path, of_teacher):
    config = small("kd")
    first = Runner(tmp_path).run(config)
    asked = config.teacher if of_teacher else config
    entry = tmp_path / "runs" / Runner(tmp_path).key(asked)
    path = max(
        (one for one in entry.iterdir() if one.is_file()), key=lambda one: one.stat().st_size
    )
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.warns(Corrupt, match="is damaged"):
        again = Runner(tmp_path).run(asked)
    assert list((tmp_path / "runs" / "set-aside").iterdir())
    assert_same_run(again, Runner().run(asked))
    assert_same_run(Runner(tmp_path).run(config), first)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    config, saved = small("mrkd"), []
    save = checkpoint.save

    def full(*parts):
        if len(saved) == 2:
            raise OSError(28, "No space left on device", str(parts[0]))
        saved.append(save(*parts))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", full)
        with pytest.raises(OSError, match=r"No space left on device: .*\.working"):
            Runner(tmp_path, checkpoint_steps=4).run(config)
    said = []
    assert_same_run(Runner(tmp_path, say=said.append).run(config), Runner().run(config))
    assert said == ["going on after 8 of 18 steps"]


def test_checkpoints_left_beside_a_finished_run_are_cleared(tmp_path, monkeypatch):
    config = small()
    with monkeypatch.context() as patch:
        patch.setattr("deep.records.runs._remove", lambda _: None)  # as if killed before it
        Runner(tmp_path, checkpoint_steps=4).run(config)
    folder = Runs(tmp_path).folder(Runner(tmp_path).key(config))
    assert list(folder.glob("checkpoint-*"))
    no_training(monkeypatch)
    Runner(tmp_path).run(config)
    assert not folder.exists()


def test_a_disk_full_at_the_end_loses_no_step(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", full)
        with pytest.raises(OSError, match="No space left"):
            Runner(tmp_path, checkpoint_steps=4).run(small())
    said = []
    Runner(tmp_path, say=said.append).run(small())
    assert said == ["going on after 18 of 18 steps"]


def test_two_processes_that_want_one_run_train_it_once(tmp_path):
    program = [sys.executable, "-m", "tests.deep.training.small_runs", "train"]
    command = [*program, str(tmp_path), "mlp", "one_hot"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen(
            command, cwd=HOUSE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    said = [one.communicate(timeout=120) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    lines = [out.decode().split() for out, _ in said]
    steps = sorted(int(word) for words in lines for word in words if word.isdigit())
    assert steps == list(range(1, STEPS + 1))
    assert [words[-2:] for words in lines] == [["done", "one_hot"]] * 2
    config = killed_runs("mlp", ["one_hot"])["one_hot"]
    assert_same_run(Runner(tmp_path).run(config), Runner().run(config))


def test_what_is_fitted_is_used_and_recorded(tmp_path):
    options = {"label_mass": 0.65, "label_weight": 0.3}
    config = small("self_distillation", options=options, epochs=8)
    done = Runner(tmp_path).run(config)
    teacher = Runner(tmp_path).run(config.teacher)
    want = matched_temperature(
        teacher.arrays["train_logits"].astype(np.float64), teacher.arrays["train_labels"], **options
    )
    assert done.record["hyper"]["temperature"] == want
    assert done.record["hyper"]["label_mass"] == 0.65
    given = small("self_distillation", options={**options, "temperature": want}, epochs=8)
    for name, value in Runner().run(given).state().items():
        assert torch.equal(value, done.state()[name])


def test_measures_are_those_of_the_stored_outputs():
    config = small("wsl", model="resnet8", epochs=5)
    done = Runner().run(config)
    teacher = Runner().run(config.teacher)
    arrays, measures = done.arrays, done.measures
    for split in ("train", "test", "validation"):
        logits, labels = arrays[f"{split}_logits"], arrays[f"{split}_labels"]
        found = measures["last"][split]
        assert found["accuracy"] == pytest.approx((logits.argmax(-1) == labels).mean())
        p = np.exp(logits.astype(np.float64))
        p /= p.sum(-1, keepdims=True)
        nll = -np.log(p[np.arange(len(labels)), labels]).mean()
        assert found["nll"] == pytest.approx(nll, rel=1e-5)
        truth = arrays[f"{split}_truth"]
        assert found["accuracy_true"] == pytest.approx((logits.argmax(-1) == truth).mean())
    assert (arrays["train_labels"] != arrays["train_truth"]).mean() == pytest.approx(0.25, abs=0.03)
    taught = measure(
        arrays["test_logits"],
        arrays["test_labels"],
        teacher_logits=teacher.arrays["test_logits"],
        temperature=4.0,
    )
    for name in ("agreement", "kl_teacher", "slope_bottom", "regularization_abs"):
        assert measures["last"]["test"][name] == pytest.approx(taught[name], rel=1e-6)
    on_test = arrays["history/test_accuracy"]
    assert measures["best_test"] == {
        "epoch": int(on_test.argmax()) + 1,
        "accuracy": pytest.approx(on_test.max()),
    }
    epoch = measures["best"]["epoch"]
    assert epoch == int(arrays["history/validation_accuracy"].argmax()) + 1
    right = arrays["best_test_logits"].argmax(-1) == arrays["test_labels"]
    assert measures["best"]["test"]["accuracy"] == pytest.approx(right.mean())
    assert on_test[epoch - 1] == pytest.approx(right.mean())
    assert done.record["headline"] == {
        "test_accuracy": measures["last"]["test"]["accuracy"],
        "last_test_accuracy": measures["last"]["test"]["accuracy"],
        "best_validation_test_accuracy": measures["best"]["test"]["accuracy"],
        "best_test_accuracy": measures["best_test"]["accuracy"],
    }


def test_stored_weights_have_the_stored_outputs():
    done = Runner().run(small(model="resnet8", epochs=2))
    prepared = Runner().prepared(small())
    inputs = prepared.test.images.reshape(40, -1) / 16
    for which, name in (("final", "test_logits"), ("best", "best_test_logits")):
        network = done.network(which, prepared).eval()
        with torch.no_grad():
            np.testing.assert_allclose(network(inputs), done.arrays[name], rtol=0, atol=1e-5)


def test_without_held_out_samples_only_the_last_epoch_counts():
    done = Runner().run(small("kd", recipe_options={"validation": 0.0}))
    assert {*done.measures} == {"last", "best_test"}
    assert "best_validation_test_accuracy" not in done.record["headline"]
    assert "best.safetensors" not in done.files


@pytest.mark.parametrize("method", ["kd", "self_distillation", "filter_kd", "mrkd"])
def test_a_run_of_a_few_steps_is_a_run(method):
    options = {"filter_kd": {"stop": "last"}, "self_distillation": {"temperature": 4.0}}
    done = Runner().run(small(method, scale=1 / 9, options=options.get(method)))
    assert (done.record["steps"], done.record["epochs"]) == (2, 1)
    assert "train_logits" not in done.arrays
    assert Trajectories.from_arrays(done.arrays).visited.sum() == 32
    assert np.isfinite(done.measures["last"]["test"]["nll"])


TOGETHER = ("one_hot", "kd", "mrkd", "beta_smoothing", "filter_kd", "mixed_regularization")


@pytest.mark.parametrize("method", TOGETHER)
def test_runs_trained_together_are_the_runs_alone_to_rounding(method):
    configs = [small(method, seed=seed) for seed in range(3)]
    together = Runner().run_together(configs)
    for config, ours in zip(configs, together, strict=True):
        alone = Runner().run(config)
        assert ours.key == alone.key
        assert ours.arrays.keys() == alone.arrays.keys()
        for which in ("final", "best"):
            for name, value in alone.state(which).items():
                torch.testing.assert_close(ours.state(which)[name], value, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(
            ours.arrays["history/train_loss"], alone.arrays["history/train_loss"], rtol=1e-4
        )
        assert ours.measures["best"]["epoch"] == alone.measures["best"]["epoch"]
        visited = [one.arrays["trajectory/visited"] for one in (ours, alone)]
        np.testing.assert_array_equal(*visited)


def test_a_group_trains_what_is_missing_and_stores_each_by_itself(tmp_path, monkeypatch):
    configs = [small("kd", seed=seed) for seed in range(4)]
    first = Runner(tmp_path).run(configs[1])
    sizes = []
    plain = runner.Trainer

    def count(asked, *rest, **options):
        sizes.append(len(asked))
        return plain(asked, *rest, **options)

    monkeypatch.setattr(runner, "Trainer", count)
    done = Runner(tmp_path).run_together(configs)
    assert sizes == [3]
    assert_same_run(done[1], first)
    assert [one.record["config"]["seed"] for one in done] == [0, 1, 2, 3]
    assert [one.record["trained_with"] for one in done] == [2, 0, 2, 2]
    again = [Runner(tmp_path).run(config) for config in configs]
    assert sizes == [3]
    for one, other in zip(done, again, strict=True):
        assert_same_run(one, other)


def test_an_interrupted_group_goes_on_together(tmp_path):
    configs, said = [small(seed=seed) for seed in range(3)], []
    with pytest.raises(Stopped):
        Runner(tmp_path, checkpoint_steps=4, watch=stop_after(9)).run_together(configs)
    done = Runner(tmp_path, say=said.append).run_together(configs)
    assert said == ["going on after 8 of 18 steps"]
    for one, other in zip(done, Runner().run_together(configs), strict=True):
        assert_same_run(one, other)


def test_a_member_of_an_interrupted_group_can_be_trained_alone(tmp_path):
    configs, said = [small(seed=seed) for seed in range(2)], []
    with pytest.raises(Stopped):
        Runner(tmp_path, checkpoint_steps=4, watch=stop_after(9)).run_together(configs)
    alone = Runner(tmp_path, say=said.append).run(configs[0])
    assert not said
    assert_same_run(alone, Runner().run(configs[0]))
    Runner(tmp_path).run_together(configs)


def test_a_run_asked_for_twice_at_once_is_trained_once(tmp_path):
    found = Runner(tmp_path).run_together([small(seed=1), small(), small(seed=1)])
    assert found[0].key == found[2].key != found[1].key
    assert found[1].record["trained_with"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher_seed": 1}, "must agree in teacher, got 2"),
        ({"epochs": 4}, "must agree in recipe"),
        ({"teacher_view": "plain"}, "must agree in teacher_view"),
        ({"teacher_statistics": "batch"}, "must agree in teacher_statistics"),
        ({"options": {"temperature": 3.0}}, "must agree in method"),
    ],
)
def test_only_seeds_may_differ_among_runs_trained_together(change, message, monkeypatch):
    no_training(monkeypatch)
    with pytest.raises(ValueError, match=message):
        Runner().run_together([small("kd"), small("kd", seed=1, **change)])


def test_convolutional_networks_are_not_trained_together(monkeypatch):
    no_training(monkeypatch)
    with pytest.raises(ValueError, match="networks must be dense"):
        Runner().run_together([small("kd", model="resnet8", seed=seed) for seed in (0, 1)])


def test_no_runs_are_no_work():
    assert Runner().run_together([]) == []


def test_divergence_is_told_at_the_end_of_the_epoch(tmp_path):
    steps = []
    watch = lambda trainer: steps.append(trainer.updates)  # noqa: E731
    with pytest.raises(ValueError, match=r"learning_rate must be small enough .* epoch 1$"):
        Runner(tmp_path, watch=watch).run(small(rate=1e30))
    assert steps[-1] == 6
    assert [one.status for one in Runs(tmp_path).summaries()] == ["interrupted"]


def test_a_member_that_diverges_does_not_take_others_with_it(tmp_path):
    configs = [small(seed=seed) for seed in range(3)]

    def spoil(trainer):
        if trainer.updates == 8 and len(trainer.configs) == 3:
            with torch.no_grad():
                next(trainer.network.parameters())[1] = torch.nan

    with pytest.raises(ValueError, match=r"it diverges in epoch 2$"):
        Runner(tmp_path, watch=spoil).run_together(configs)
    runs = Runs(tmp_path)
    keys = [Runner(tmp_path).key(config) for config in configs]
    assert [runs.get(key) is not None for key in keys] == [True, False, True]
    alone = Runner().run_together(configs)[2]
    np.testing.assert_array_equal(
        runs.get(keys[2]).arrays["test_logits"], alone.arrays["test_logits"]
    )


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda", "'cuda' must be there, and torch finds no GPU; use 'cpu'"),
        ("cuda:99", "'cuda:99' must be"),
        ("mps", "device must be 'cpu' or 'cuda', got 'mps'"),
        ("gpu", "device must be 'cpu' or 'cuda', perhaps with a number, got 'gpu'"),
    ],
)
def test_a_device_that_is_not_there(device, message):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ValueError, match=message):
        Runner(device=device)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_cpu_computes_in_float32_only(precision, monkeypatch):
    no_training(monkeypatch)
    with pytest.raises(
        ValueError, match=f"precision must be 'float32' on 'cpu', got '{precision}'"
    ):
        Runner().run(small("kd", precision=precision))


TOY = {"data": DataSpec(name="gaussian", samples=60, test_samples=6)}
COLORS = {"recipe_options": {"normalization": "cifar100"}}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            lambda: small("kd", model="small_cnn", teacher=models.named("mlp"), **TOY),
            "leave something of images of 5 by 6",
        ),
        (lambda: small("kd", **COLORS), "normalization has 3 channels, the images have 1"),
        (
            lambda: small("kd", views="reflect_crop_flip", recipe_options={"pad": 8}),
            "pad must be less than the 8 x 8 pixels",
        ),
        (
            lambda: small("kd", batch=400, recipe_options={"drop_last": True}),
            "batch must be at most the 86 samples",
        ),
        (
            lambda: small("ground_truth", data=replace(DATA, noise=0.0)),
            "posterior must be known for ground_truth",
        ),
    ],
)
def test_what_cannot_be_trained_is_told_before_anything_is(config, message, monkeypatch):
    no_training(monkeypatch)
    with pytest.raises(ValueError, match=message):
        Runner().run(config())


def test_labels_outside_the_classes(tmp_path, monkeypatch):
    no_training(monkeypatch)
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "PNG")
    images = [{"bytes": buffer.getvalue(), "path": "x.png"}] * 30
    made = pa.table({"image": images, "label": [row % 3 for row in range(30)]})
    features = {"label": {"names": ["one", "two"], "_type": "ClassLabel"}}
    about = json.dumps({"info": {"features": features}})
    pq.write_table(made.replace_schema_metadata({"huggingface": about}), tmp_path / "x.parquet")
    bad = DataSpec(name=f"parquet:{tmp_path}/x.parquet")
    with pytest.raises(ValueError, match=r"labels must lie in 0 \.\. 1, got 0 \.\. 2"):
        Runner().run(small("kd", data=bad))


def imported(tmp_path, classes_of):
    """A network of 10 classes from a file."""
    model = models.named("mlp", width=16)
    rng = np.random.default_rng(0)
    network = models.build(model, inputs=64, classes=10, rng=rng)
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(network.state_dict(), path)
    done = import_teacher(
        path, model=model, data=DataSpec(test_samples=9), normalization="unit", out=classes_of
    )
    return ImportedTeacher(model, done.record["config"]["weights"], "unit")


def test_an_imported_teacher_must_be_there(tmp_path, monkeypatch):
    teacher = imported(tmp_path, tmp_path / "here")
    no_training(monkeypatch)
    with pytest.raises(ValueError, match=r"teacher must be imported under .*there.*import --help"):
        Runner(tmp_path / "there").run(small("kd", teacher=teacher))


def test_an_imported_teacher_must_fit_the_images(tmp_path, monkeypatch):
    teacher = imported(tmp_path, tmp_path)
    Runner(tmp_path).run(small("kd", teacher=teacher, epochs=1))
    no_training(monkeypatch)
    colors = small("kd", teacher=teacher, data=DataSpec(name="synthetic", samples=40))
    with pytest.raises(
        ValueError, match=r"family 'mlp' for 10 classes and images of shape \(32, 32, 3\)"
    ):
        Runner(tmp_path).run(colors)


def test_a_generation_is_taught_by_the_best_epoch_of_the_one_before(tmp_path):
    config = small("born_again", options={"generation": 2}, epochs=4)
    Runner(tmp_path).run(config)
    assert len(Runs(tmp_path).present()) == 3
    before = Runner(tmp_path).run(config.teacher)
    assert before.record["config"]["method"]["name"] == "born_again"
    asked = Runner(tmp_path).view_table_of(config)
    assert_same(asked.teacher.network.state_dict(), before.state("best"))
    assert before.measures["best"]["epoch"] < 4  # or this would be no test


def test_all_methods_begin_alike():
    """Students of one seed share initialization, order, views and labels."""
    begun = {}

    def watch(trainer):
        if trainer.configs[0].stream == "student":
            begun[trainer.method.name] = trainer.course.tensors()["now.confidence"].clone()
            raise Stopped

    options = {"filter_kd": {"stop": "last"}, "self_distillation": {"temperature": 2.0}}
    shared = Runner(watch=watch)
    for method in methods.names():
        with pytest.raises(Stopped):
            shared.run(
                small(method, model="resnet8", views="crop_flip", options=options.get(method))
            )
    assert len(begun) == len(methods.names())
    for name, value in begun.items():
        torch.testing.assert_close(value, begun["one_hot"], rtol=0, atol=0, msg=name)


def test_the_headline_is_of_the_epoch_that_the_recipe_reports():
    config = small()
    reporting = replace(config, recipe=replace(config.recipe, select="best"))
    last, best = (Runner().run(one) for one in (config, reporting))
    assert last.record["selected"] == "last"
    assert last.record["headline"]["test_accuracy"] == last.measures["last"]["test"]["accuracy"]
    assert set(last.measures["best"]) == {"epoch", "test"}
    found = best.measures["best"]
    assert best.record["headline"]["test_accuracy"] == found["test"]["accuracy"]
    epoch = found["epoch"] - 1
    history = best.arrays["history/validation_accuracy"]
    assert found["validation"]["accuracy"] == pytest.approx(history[epoch], abs=1e-12)
    assert found["train"].keys() == best.measures["last"]["train"].keys()
