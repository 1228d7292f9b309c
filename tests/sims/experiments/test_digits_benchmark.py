"""The benchmark on digits: numbers of the run store, one teacher, seeds compared in pairs."""

from dataclasses import replace

import numpy as np
import pytest

from deep import methods
from deep.data.prepared import prepare
from deep.records.runs import Runs
from deep.records.trajectories import Trajectories
from sims import results, runner
from sims.context import Context
from sims.experiments.digits_benchmark import Config, run
from sims.parts import benchmark_rows
from sims.parts.benchmark_findings import findings
from sims.parts.benchmark_rows import rows
from sims.parts.benchmark_runs import Job, Setting, configs, teaching
from sims.parts.benchmark_statistics import differences, means
from stillroom.main import main
from tests import made_benchmark as made

SMALL = Setting(width=4, depth=1, samples=60, noise=0.2, scale=0.1, seed=0)
FEW = replace(Config.smoke(), methods=("one_hot", "kd"), width=4, samples=60, scale=0.1)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def smoke(out):
    with Context(out, workers=1) as context:
        return run(Config.smoke(), context)


@pytest.fixture
def trained(monkeypatch):
    """Counts the steps of training; may end the process's work after some."""
    from deep.training.trainer import Trainer

    step, counted = Trainer.step, {"steps": 0, "most": None}

    def counting(self):
        if counted["steps"] == counted["most"]:
            raise KeyboardInterrupt
        counted["steps"] += 1
        return step(self)

    monkeypatch.setattr(Trainer, "step", counting)
    return counted


def test_numbers_are_those_of_the_run_store(smoke, out):
    arrays, runs = smoke.arrays, Runs(out)
    for row, seed in np.ndindex(arrays["key"].shape):
        entry = runs.get(str(arrays["key"][row, seed]))
        measures, at = entry.record["measures"], (row, seed)
        assert entry.record["config"]["seed"] == arrays["seeds"][seed]
        assert entry.record["config"]["method"]["name"] == arrays["method"][row]
        assert arrays["test_accuracy"][at] == measures["last"]["test"]["accuracy"]
        assert arrays["test_nll"][at] == measures["last"]["test"]["nll"]
        assert arrays["test_ece_15"][at] == measures["last"]["test"]["ece_15"]
        assert arrays["best_accuracy"][at] == measures["best"]["test"]["accuracy"]
        assert arrays["best_test_accuracy"][at] == measures["best_test"]["accuracy"]
        assert arrays["train_memorized"][at] == measures["last"]["train"]["memorized"]
        history = entry.arrays["history/test_accuracy"]
        np.testing.assert_array_equal(arrays["course_test_accuracy"][at], history)
        agreement = measures["last"]["test"].get("agreement", np.nan)
        np.testing.assert_equal(arrays["test_agreement"][at], agreement)


def test_flips_are_followed_epoch_by_epoch(smoke, out):
    entry = Runs(out).get(str(smoke.array("key")[0, 0]))
    given, truth = entry.arrays["train_labels"], entry.arrays["train_truth"]
    seen = Trajectories.from_arrays(entry.arrays).prediction
    flipped = given != truth
    assert smoke.array("flipped") == flipped.sum() > 0
    for epoch, predicted in enumerate(seen):
        visited = flipped & (predicted >= 0)
        by_heart = (predicted == given)[visited].mean()
        assert smoke.array("course_memorized")[0, 0, epoch] == pytest.approx(by_heart)


def test_one_teacher_is_trained_for_all(smoke, out):
    entries = [Runs(out).get(key) for key in Runs(out).present()]
    teachers = [entry for entry in entries if entry.record["config"]["stream"] == "teacher"]
    assert len(teachers) == 1
    assert len(entries) == 1 + smoke.array("key").size
    assert smoke.array("teacher_key") == teachers[0].key
    accuracy = teachers[0].record["measures"]["last"]["test"]["accuracy"]
    assert smoke.array("teacher_test_accuracy") == accuracy
    listed = Runs(out).summaries()
    assert {one.status for one in listed} == {"finished"}


def test_every_row_that_needs_a_teacher_has_the_same(tmp_path):
    job = Job(SMALL, methods.spec("one_hot"), (0,), together=True, out=tmp_path)
    (teacher,) = configs(teaching(job))
    taught = 0
    for row in rows():
        (student,) = configs(replace(job, method=row.method))
        assert (student.teacher is not None) == (row.kind == "teacher")
        if row.kind != "teacher":
            continue
        first = student.teacher
        while first.teacher is not None:  # generations: the first of them was taught by it
            first = first.teacher
        taught += 1
        later = dict(row.method.options).get("generation", 1) > 1
        assert first == teacher or later
        assert first.data == teacher.data
    assert taught >= 15


def test_the_job_is_the_same_wherever_the_runs_lie(tmp_path):
    job = Job(SMALL, methods.spec("one_hot"), (0,), together=True, out=tmp_path)
    assert job == replace(job, out=tmp_path / "elsewhere")
    assert job != replace(job, together=False)


def test_the_same_twice_and_alone_up_to_round_off(tmp_path):
    with Context.plain() as context:
        first, again = (run(FEW, context).arrays for _ in range(2))
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name], err_msg=name)
    with Context(tmp_path, workers=1) as context:
        alone = run(replace(FEW, together=False), context).arrays
    np.testing.assert_array_equal(first["key"], alone["key"])
    np.testing.assert_allclose(first["test_nll"], alone["test_nll"], rtol=1e-4)


def test_what_is_interrupted_goes_on_where_it_was(tmp_path, trained):
    with Context.plain() as context:
        whole = run(FEW, context).arrays
    steps = trained["steps"]
    trained.update(steps=0, most=steps - 2)  # the last of the rows is begun
    with Context(tmp_path, workers=1) as context, pytest.raises(KeyboardInterrupt):
        run(FEW, context)
    finished = len(Runs(tmp_path).summaries())
    trained.update(steps=0, most=None)
    with Context(tmp_path, workers=1) as context:
        resumed = run(FEW, context).arrays
    assert 0 < trained["steps"] < steps
    assert finished > 2
    for name, array in whole.items():
        np.testing.assert_array_equal(array, resumed[name], err_msg=name)


def test_nothing_is_trained_twice(tmp_path, trained):
    for seeds, more in ((2, True), (2, False), (3, True)):
        before = trained["steps"]
        with Context(tmp_path, workers=1) as context:
            result = run(replace(FEW, seeds=seeds), context)
        assert (trained["steps"] > before) is more
    # the teacher, and two methods of three seeds
    assert len(Runs(tmp_path).present()) == 7
    assert result.array("key").shape == (2, 3)


def test_computed_anew_it_takes_the_place_of_what_is_stored(tmp_path, trained):
    with Context(tmp_path, workers=1) as context:
        first = run(FEW, context)
    steps, keys = trained["steps"], Runs(tmp_path).present()
    folder = tmp_path / "runs" / keys[0]
    made_at = folder.stat().st_ino
    with Context(tmp_path, workers=1, fresh=True) as context:
        again = run(FEW, context)
    assert trained["steps"] == 2 * steps
    assert Runs(tmp_path).present() == keys
    assert folder.stat().st_ino != made_at
    np.testing.assert_array_equal(first.array("test_nll"), again.array("test_nll"))


def test_every_method_has_a_row_with_its_default():
    every = rows()
    assert {row.method for row in every} >= {
        methods.spec(name, data="digits") for name in methods.names()
    }
    assert len({row.method for row in every}) == len({row.label for row in every}) == len(every)
    assert {row.kind for row in every} == set(benchmark_rows.KINDS)
    assert [row.label for row in every if not row.source] == ["one-hot labels"]
    for row in every:
        options = dict(row.method.options)
        assert not (row.reading and row.method == methods.spec(row.method.name, data="digits"))
        if "MrKD-" in row.label:
            assert f"MrKD-{options['copies']}" in row.label
            assert row.needs.startswith(str(options["copies"]))
        if "generation" in options:
            assert row.label.endswith(str(options["generation"]))


def test_a_variant_has_the_share_of_training_that_its_paper_gives():
    (five,) = [dict(row.method.options) for row in rows(("mrkd",)) if row.label == "MrKD-5"]
    assert five["interval"] / 30 == pytest.approx(2.5 / 200)


def test_a_method_without_words_is_called_by_its_name(monkeypatch):
    monkeypatch.delitem(benchmark_rows.WORDS, "lsrkd_tc")
    assert [row.label for row in rows(("lsrkd_tc",))] == ["lsrkd tc"]


def test_a_default_that_is_a_variant_has_one_row(monkeypatch):
    variants = {"kd": (("KD by another name", {"temperature": 4.0}),)}
    monkeypatch.setattr(benchmark_rows, "VARIANTS", variants)
    assert [row.label for row in rows(("kd",))] == ["KD by another name"]


def test_held_out_labels_are_as_noisy_as_the_others():
    """What the findings say of the samples by which an epoch is chosen."""
    job = Job(replace(SMALL, samples=600), methods.spec("one_hot"), (0,), together=True, out=".")
    (config,) = configs(job)
    held = prepare(config.data, validation=config.recipe.validation).validation
    assert 0.05 < float((held.labels != held.truth).double().mean()) < 0.4
    assert len(held) == 60


def test_means_have_no_interval_where_all_seeds_agree():
    found = means(np.array([[0.5, 0.6, 0.7], [0.5, 0.5, 0.5], [0.5, np.nan, 0.5]]))
    assert found[0, 0] == pytest.approx(0.6)
    assert found[0, 2] - found[0, 0] == pytest.approx(4.302653 * 0.1 / np.sqrt(3), rel=1e-6)
    assert np.isnan(found[1:, 1:]).all()


def test_differences_are_those_of_pairs_and_adjusted_for_all_rows():
    rng = np.random.default_rng(0)
    seeds = rng.standard_normal(6)  # what a seed does to all drops out
    values = np.array([seeds, seeds + 1 + 0.01 * rng.standard_normal(6), seeds + 0.2])
    found, p_values = differences(values, 0)
    assert found[1, 0] == pytest.approx(1.0, abs=0.02)
    assert 0 < found[1, 1] < 1 < found[1, 2] < 1.1
    assert found[2, 0] == pytest.approx(0.2)
    # by the same in all seeds: nothing to judge by, and yet one of two tests
    assert np.isnan(found[2, 1:]).all()
    assert np.isnan(p_values[[0, 2]]).all()
    from scipy.stats import ttest_rel

    assert p_values[1] == pytest.approx(2 * ttest_rel(values[1], values[0]).pvalue)


def said(arrays, start):
    (one,) = [one for one in findings(arrays) if one.text.startswith(start)]
    return one


def test_the_winner_is_one_that_can_be_had():
    first = findings(made.arrays())[0]
    assert "Of 5 other ways to train, Filter-KD comes out best: +5" in first.text
    assert "The true law of the labels, which nobody has, gives +" in first.text
    assert first.holds is True
    assert first.low < first.value < first.high
    assert "so few seeds" not in first.text


def test_few_seeds_decide_nothing():
    first = findings(made.arrays(3))[0]
    assert first.holds is None
    assert "so few seeds say little" in first.text


def test_what_does_not_learn_is_told_and_counted_only_if_it_is_a_method_of_its_own():
    arrays = made.arrays()
    told = said(arrays, "The least accurate of 7 methods")
    assert told.holds is True
    assert "one-hot labels, reaches 87." in told.text
    assert "Not counted" in told.text
    assert "masked KD, detached (10" in told.text
    told = said({**arrays, "reading": np.zeros(8, bool)}, "The least accurate of 8 methods")
    assert told.holds is False
    assert "Not counted" not in told.text


def test_the_best_epoch_on_test_is_measured_over_rows_that_learn():
    arrays = made.arrays()
    told = said(arrays, "To report the best epoch on the test set")
    gain = (arrays["best_test_accuracy"] - arrays["test_accuracy"])[:7].mean()
    assert told.value == pytest.approx(gain)
    assert told.holds is None
    assert "from +1.0 (" in told.text
    assert "to +3.0 (" in told.text


def test_stopping_by_held_out_samples():
    told = said(made.arrays(), "To report the epoch that is best on held-out")
    assert told.value == pytest.approx(0.002)
    assert told.holds is None  # every seed gains by one image: no interval
    assert "by +0.2 points on average" in told.text
    assert "+0.2 for labels alone" in told.text


def test_the_order_by_two_epochs():
    arrays = made.arrays()
    told = said(arrays, "Does the order of the methods hang")
    assert "labels alone are number 7 of 7 rows" in told.text
    assert "on the test set number" in told.text
    best = arrays["best_test_accuracy_mean"][:7, 0]
    assert f"set number {1 + (best > best[2]).sum()};" in told.text


def test_flips_learned_by_heart():
    told = said(made.arrays(), "Does what is learned by heart cost accuracy?")
    assert told.holds is True
    assert told.high < 0
    assert "from 0% (true law of the label) to 40% (one-hot labels)" in told.text
    arrays = made.arrays()
    turned = {**arrays, "train_memorized": 1 - arrays["train_memorized"]}
    assert said(turned, "Does what is learned").holds is False


def test_students_above_their_teacher():
    arrays = made.arrays(teacher=0.895)
    told = said(arrays, "The teacher, the same network")
    assert "Of 2 rows that it teaches 2 end above it on average" in told.text
    assert "Filter-KD with 9" in told.text
    arrays["kind"] = np.full(8, "labels")
    assert not [one for one in findings(arrays) if one.text.startswith("The teacher")]


def test_one_training_under_two_names():
    told = said(made.arrays(), "With the values that their papers have")
    assert "LSR = label smoothing." in told.text
    assert told.value == 1
    arrays = made.arrays()
    arrays["test_nll"] = arrays["test_nll"] + np.arange(8)[:, None]
    assert not [one for one in findings(arrays) if one.text.startswith("With the values")]


def test_round_off_does_not_hide_it():
    arrays = made.arrays()
    arrays["course_test_accuracy"] = arrays["course_test_accuracy"].copy()
    arrays["course_test_accuracy"][4, 0, 5] += 2 / made.TESTS
    arrays["test_nll"] = arrays["test_nll"] * (1 + 5e-4 * (np.arange(8) == 4))[:, None]
    assert "LSR = label smoothing." in said(arrays, "With the values").text


def test_what_seeds_do_not_vary():
    arrays = made.arrays()
    told = said(arrays, "5 seeds vary the student's initialization")
    change = arrays["test_accuracy_change"][:7]
    half = np.nanmedian(change[:, 2] - change[:, 1]) / 2
    assert told.value == pytest.approx(half)
    assert f"reaches {100 * half:.1f} points" in told.text
    assert f", {half * made.TESTS:.0f} images" in told.text


@pytest.mark.parametrize("seeds", [2, 3, 10])
@pytest.mark.parametrize("spread", [0.0, 0.02])
def test_no_sentence_has_a_hole(seeds, spread):
    for one in findings(made.arrays(seeds, spread=spread)):
        assert "nan" not in one.text
        assert "inf " not in one.text


def test_findings_are_those_of_the_arrays_and_are_read_back(smoke, tmp_path):
    assert findings(smoke.arrays) == smoke.findings
    smoke.save(tmp_path)
    kept = results.load(tmp_path, "digits_benchmark")
    assert kept.findings == smoke.findings
    assert findings(kept.arrays) == smoke.findings
    for name, array in smoke.arrays.items():
        np.testing.assert_array_equal(array, kept.arrays[name], err_msg=name)


def test_labels_alone_are_enough(tmp_path):
    with Context(tmp_path, workers=1) as context:
        done = runner.finish(
            "digits_benchmark", replace(FEW, methods=("one_hot",)), context=context
        )
    assert done.result.array("label").tolist() == ["one-hot labels"]
    assert all("nan" not in one.text for one in done.result.findings)


def test_the_command_prints_the_table_and_bench_has_the_runs(tmp_path, capsys):
    asked = ["--methods", "one_hot", "kd", "--samples", "60", "--width", "4", "--scale", "0.1"]
    where = ["--out", str(tmp_path)]
    given = ["sim", "digits_benchmark", "--size", "smoke", *asked, *where, "--workers", "1"]
    assert main([*given, "--no-figures"]) == 0
    said = capsys.readouterr().out
    assert "Every method on 54 digits" in said
    assert "best on test %" in said
    assert "\nthe teacher itself" in said
    assert main(["bench", "list", *where, "--method", "kd"]) == 0
    listed = capsys.readouterr().out
    assert listed.count("mlp:width=4") >= 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"methods": ("kd",)}, "methods must include 'one_hot'"),
        ({"methods": ("one_hot", "kdd")}, "did you mean 'kd'"),
        ({"seeds": 1}, "seeds must be at least 2"),
        ({"samples": 49}, "samples must be at least 50"),
        ({"noise": 0.0}, "noise must be at least 0.01"),
        ({"noise": float("nan")}, "noise must be at least"),
        ({"scale": 0.0}, "scale must be at least 0.1"),
        ({"width": 0}, "width must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_bad_configs_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        Config(**change)


def test_all_digits_are_as_many_as_may_be_asked_for(tmp_path):
    """A number beyond them is refused before anything is trained."""
    job = Job(
        replace(SMALL, samples=1442), methods.spec("one_hot"), (0,), together=True, out=tmp_path
    )
    (config,) = configs(job)
    whole = prepare(replace(config.data, samples=None))
    assert len(whole.train) == len(prepare(config.data).train) == 1442
    with pytest.raises(ValueError, match="samples must be at most 1,442, got 1443"):
        Config(samples=1443)


@pytest.mark.slow
def test_every_method_learns():
    with Context.plain() as context:
        result = run(replace(Config.demo(), seeds=2, scale=1.0), context)
    assert result.array("learns")[~result.array("reading")].all()
    assert result.findings[1].holds is True


@pytest.mark.slow
def test_labels_alone_learn_flips_by_heart_after_what_is_right():
    with Context.plain() as context:
        result = run(replace(Config.demo(), methods=("one_hot", "ground_truth")), context)
    one_hot, truth = result.array("course_memorized").mean(axis=1)
    assert one_hot[10] < 0.08
    assert one_hot[-1] > 0.15
    assert truth[-1] < 0.02
    last, best = (
        result.array(f"{name}_mean")[:, 0] for name in ("test_accuracy", "best_test_accuracy")
    )
    assert last[1] > 0.94
    assert best[0] > last[0] + 0.015
