"""``stillroom bench run`` and the lists: what it does, and what it says of a mistake."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from deep import methods
from deep.records.runs import Runs
from stillroom.benching import asked as options
from stillroom.main import main

HOUSE = Path(__file__).parents[2]
TINY = ("--student", "mlp:width=8,depth=1", "--samples", "200", "--scale", "0.1")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An out folder with three seeds of one_hot and kd, and two of kd at another temperature."""
    out = tmp_path_factory.mktemp("trained")
    for asked in (
        ["one_hot", "--seeds", "3"],
        ["kd", "--seeds", "3"],
        ["kd", "--seeds", "2", "--temperature", "2"],
    ):
        assert main(["bench", "run", *asked, *TINY, "--out", str(out)]) == 0
    return out


@pytest.fixture
def stored(trained, bench, monkeypatch):
    """``stillroom bench`` on these runs."""
    monkeypatch.setenv("STILLROOM_OUT", str(trained))
    return bench


@pytest.mark.parametrize("asked", [[], ["--help"], ["-h"]])
def test_alone_it_says_what_parts_there_are(bench, asked):
    status, out, _ = bench(*asked)
    assert status == 0
    for part in (
        "run",
        "methods",
        "networks",
        "recipes",
        "list",
        "show",
        "compare",
        "table",
        "import",
    ):
        assert f"\n  {part} " in out


def test_run_alone_and_methods_list_the_methods(bench):
    for asked in (["run"], ["run", "--help"], ["methods"]):
        status, out, _ = bench(*asked)
        assert status == 0
        assert re.search(r"^  wsl +Weighted soft labels: the teacher counts less", out, re.M)


def test_networks_and_recipes(bench):
    out = bench("networks")[1]
    assert re.search(r"^  resnet8x4 +cifar_resnet:depth=8,", out, re.M)
    assert re.search(r"^  mlp +Dense network with ReLU: depth hidden layers of width$", out, re.M)
    assert "240 epochs of batches of 64, learning rate 0.05 x 0.1 after" in bench("recipes")[1]


def test_a_run_trains_its_teacher_first_and_says_what_it_came_to(bench, tmp_path):
    status, out, err = bench("run", "kd", *TINY)
    assert status == 0
    first, *rest = err.splitlines()
    network = "mlp:depth=1,width=8"
    assert first == (
        f"kd: {network} <- {network} on digits:samples=200, recipe digits, scale 0.1, cpu"
    )
    assert rest[0] == "teacher, seed 0: mlp:depth=1,width=8 (602 parameters), 9 steps of 64 samples"
    assert rest[1].startswith("student, seed 0: mlp:depth=1,width=8 (602 parameters), 9 steps")
    assert re.match(r"teacher, seed 0: step 9/9, epoch 3/3, loss \d.*, test \d+\.\d %$", rest[2])
    assert rest[3].startswith("student, seed 0: step 9/9, epoch 3/3, loss ")
    assert re.search(r"^seed +last % +best % +best on test % +NLL +ECE % +agreement %$", out, re.M)
    assert "selected on it" in out
    (where,) = re.findall(r"stored in (.*)", out)
    assert Path(where).is_dir()
    assert len(Runs(tmp_path / "out").present()) == 2


def test_what_is_finished_is_fetched_and_said(stored, trained):
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("record.json")}
    status, out, err = stored("run", "kd", *TINY, "--seeds", "3")
    assert status == 0
    assert err.count("already finished") == 4
    assert re.search(r"^mean  \d+\.\d\d ± \d+\.\d\d ", out, re.M)
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("record.json")} == before


def test_hyper_parameters_may_be_written_short_or_long(bench, tmp_path):
    bench("run", "lsr", *TINY, "--smoothing=0.3", "--value", "kl")
    (long,) = Runs(tmp_path / "out").summaries()
    assert dict(long.config["method"]["options"]) == {"smoothing": 0.3, "value": "kl"}
    assert (
        "already finished" in bench("run", "lsr", *TINY, "--hyper.smoothing", ".3", "--value=kl")[2]
    )


def test_a_flag_of_a_method(bench, tmp_path):
    bench("run", "tf_kd", *TINY, "--class-mean")
    (run,) = Runs(tmp_path / "out").summaries()
    assert dict(run.config["method"]["options"])["class_mean"] is True
    assert "already finished" not in bench("run", "tf_kd", *TINY, "--no-class-mean")[2]


def test_no_method_shares_an_option_with_the_run(bench, tmp_path):
    """Born_again's part of the teacher is no longer called as the teacher's network is."""
    student = ("run", "born_again", *TINY, "--teacher", "mlp:width=4,depth=1")
    assert bench(*student, "--taught-by", "final")[0] == 0
    (run,) = [one for one in Runs(tmp_path / "out").summaries() if one.config["teacher"]]
    assert dict(run.config["method"]["options"])["taught_by"] == "final"
    assert dict(run.config["teacher"]["model"]["options"])["width"] == 4


@pytest.mark.parametrize("name", methods.names())
def test_no_hyper_parameter_is_called_as_an_option_of_the_run(name):
    groups = (options.Samples, options.Student, options.Teaching, options.Machine)
    taken = {option for group in groups for option in group.__annotations__}
    assert not taken & set(methods.get(name).Hyper.__dataclass_fields__)


def test_what_the_options_change(bench, tmp_path):
    bench(
        *("run", "one_hot", *TINY, "--epochs", 20, "--batch", 50, "--learning-rate", 0.2),
        *("--validation", 0.2, "--noise", 0.25, "--test-samples", 90, "--data-seed", 3),
        *("--seed", 5, "--recipe", "ren", "--normalization", "unit"),
    )
    (run,) = Runs(tmp_path / "out").summaries()
    config, recipe = run.config, run.config["recipe"]
    assert (recipe["name"], recipe["epochs"], recipe["validation"]) == ("ren", 20, 0.2)
    assert (recipe["optimizer"]["batch"], recipe["optimizer"]["learning_rate"]) == (50, 0.2)
    assert (config["data"]["noise"], config["data"]["seed"], config["seed"]) == (0.25, 3, 5)
    assert run.steps == 8  # 20 epochs of 160 samples in batches of 50, a tenth of them


def test_the_teacher_of_a_method_without_one_is_not_used(bench, tmp_path):
    _, _, err = bench("run", "one_hot", *TINY, "--teacher", "resnet8")
    assert "one_hot has no teacher; --teacher is not used" in err
    assert len(Runs(tmp_path / "out").present()) == 1


def test_help_of_a_method_shows_its_hyper_parameters(bench, capsys):
    with pytest.raises(SystemExit) as end:
        bench("run", "wsl", "--help")
    assert end.value.code == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Weighted soft labels: the teacher counts less" in said
    assert "--hyper.temperature FLOAT" in said
    assert "may be written without hyper." in said
    assert "(default: None)" not in said
    for option in ("--data SET", "--student NETWORK", "--teacher NETWORK", "--no-view-table"):
        assert option in said


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("rnu", "unknown part of bench 'rnu'; did you mean 'run'?"),
        ("zzz", "unknown part of bench 'zzz'; there are run, methods,"),
        ("kd", "did you mean `stillroom bench run kd`?"),
        ("run --data digits", "the name of the method comes first, got '--data'"),
        ("run wls", "unknown method 'wls'; did you mean 'wsl'? known: beta_smoothing, born_again"),
        (
            "run kd --data cifer10",
            "or 'parquet:PATH' of your own, got 'cifer10'; did you mean 'c",
        ),
        ("run kd --data cifar10 --data-root TMP", "no file TMP/cifar10/plain_text/train-00000"),
        ("run kd --data TMP", "TMP/train"),
        ("run kd --data-root TMP/none", "--data-root must be a folder of image sets"),
        ("run kd --student resnt20", "got 'resnt20'; did you mean 'resnet20'? known: cifar_resnet"),
        ("run kd --student mlp:wdth=3", "mlp has the options bias, depth, first_bias, init, width"),
        ("run kd --student mlp:width", "--student must be NAME or NAME:option=value,..., got"),
        ("run kd --teacher resnt20", "got 'resnt20'; did you mean 'resnet20'?"),
        ("run kd --teacher-method one_hat", "got 'one_hat'; did you mean 'one_hot'?"),
        ("run kd --recipe crdd", "unknown recipe 'crdd'; did you mean 'crd'? known: crd, overhaul"),
        ("run kd --teacher-recipe crdd", "unknown recipe 'crdd'"),
        ("run kd --normalization one", "unknown normalization 'one'; known: cifar100"),
        ("run kd --normalization cifar10", "normalization has 3 channels, the images have 1"),
        ("run kd --temprature 3", "unknown option --temprature of kd; did you mean --temperature?"),
        ("run kd --hyper.temper 3", "unknown option --hyper.temper of kd; did you mean --temp"),
        ("run kd --temperature x", "--hyper.temperature: could not convert string to float: 'x'"),
        ("run kd --temperature -1", "temperature must be > 0, got -1"),
        ("run kd stray", "stray; see `stillroom bench run kd --help`"),
        ("run kd --seeds 0", "--seeds must be at least 1, got 0"),
        ("run kd --seeds 2 --seed 1", "--seed and --seeds must not both be given"),
        ("run kd --scale 0", "scale must be > 0, got 0"),
        ("run kd --noise 2", "noise must be in [0, 1], got 2"),
        ("run kd --samples 9999", "1442 that digits has, got 9999"),
        ("run kd --labels cifar10n-worse", "labels of digits must be one of 'given'"),
        ("run kd --device tpu", "device must be 'cpu' or 'cuda', perhaps with a number, got 'tpu'"),
        ("run kd --precision bf16", "precision must be 'float32' on 'cpu', got 'bf16'"),
        ("run kd --checkpoint-seconds 0", "--checkpoint-seconds must be greater than 0, got 0"),
        ("run ground_truth", "ground_truth needs to know the law of the labels"),
        ("run filter_kd --validation 0", "validation must be > 0 for 'filter_kd'"),
        ("run kd --student-init teacher --teacher mlp:width=9", "student_init must be 'own'"),
        ("list", "no runs under TMP/out/runs; `stillroom bench run METHOD` makes some"),
        ("show", "the following arguments are required: KEY; see `stillroom bench show --help`"),
        ("compare kd", "no runs under TMP/out/runs"),
        ("import", "the following arguments are required: FILE, --as, --data; see `stillroom"),
    ],
)
def test_a_mistake_is_one_line_before_any_training(bench, tmp_path, asked, said):
    status, out, err = bench(*asked.replace("TMP", str(tmp_path)).split())
    assert status == 2
    assert out == ""
    assert err.startswith("stillroom: error: ")
    assert err.count("\n") == 1
    assert said.replace("TMP", str(tmp_path)) in err
    assert not list((tmp_path / "out").glob("runs/**/*.json"))


def test_a_gpu_that_is_not_there(bench, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    status, _, err = bench("run", "kd", "--device", "cuda")
    assert status == 2
    assert "device 'cuda' must be there, and torch finds no GPU; use 'cpu'" in err


def test_no_space_left_is_said_before_training(bench, monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    status, _, err = bench("run", "kd", *TINY)
    assert status == 2
    assert "no space left for the runs: they need about 1" in err
    assert not Runs(tmp_path / "out").present()


def test_tensorboard_that_is_not_installed(bench, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    status, _, err = bench("run", "kd", *TINY, "--tensorboard")
    assert status == 2
    assert "pip install 'stillroom[tensorboard]'" in err
    assert not (tmp_path / "out").exists()


def test_list_shows_what_there_is(stored):
    status, out, err = stored("list")
    assert (status, err) == (0, "")
    head, _, *rows, last = out.splitlines()
    assert head.split("  ")[0] == "key"
    assert last == "the headline is last, after the last step"
    assert len(rows) == 9  # eight students and their teacher
    assert sum("one_hot (teacher)" in row for row in rows) == 1
    assert sum("kd:temperature=2" in row for row in rows) == 2
    assert all("digits:samples=200" in row for row in rows)


def test_list_for_other_programs(stored):
    rows = json.loads(stored("list", "--format", "json", "--method", "kd")[1])
    assert len(rows) == 5
    assert {row["seed"] for row in rows} == {0, 1, 2}
    assert rows[0]["student"] == rows[0]["teacher"] == "mlp:depth=1,width=8"
    assert 0 <= rows[0]["accuracy_last"] <= 1
    head, *lines = stored("list", "--format", "csv")[1].splitlines()
    assert head.startswith("key,status,step,steps,method,")
    assert len(lines) == 9
    assert stored("list", "--format", "markdown")[1].startswith("| key | ")


def test_list_of_nothing_like_that(stored):
    status, out, _ = stored("list", "--data", "cifar10")
    assert status == 0
    assert out.startswith("none of the runs under")


def test_list_shows_interrupted_running_and_damaged_runs(bench, tmp_path):
    bench("run", "one_hot", *TINY)
    runs = Runs(tmp_path / "out")
    (done,) = runs.summaries()
    with runs.working("a" * 64, {**done.config, "seed": 7}) as work:
        work.progress(3, 9)
        assert "running 3/9" in bench("list")[1]
    assert "interrupted 3/9" in bench("list")[1]
    (runs.root / done.key / "record.json").write_text("{")
    said = bench("list")[1]
    assert f"{done.key[:8]}  damaged" in said
    assert said.count(done.key[:8]) == 2  # and what is wrong with it
    assert "damaged" in bench("show", done.key[:8])[1]
    assert "interrupted 3/9" in bench("show", "aaaa")[1]


def test_show_has_everything(stored, trained):
    (key,) = [
        row["key"]
        for row in json.loads(stored("list", "--format", "json", "--method", "kd")[1])
        if row["seed"] == 2
    ]
    status, out, _ = stored("show", key[:10])
    assert status == 0
    assert out.startswith(f"{key}\nfinished 9/9\nkd on digits:samples=200: mlp:depth=1,width=8 <- ")
    for line in (
        r"  method.temperature +4$",
        r"its teacher, where it differs$",
        r"  method.name +one_hot$",
        r" +best, test +last, test +last, train +last, validation$",
        r"ece_15 +\d",
        r"  commit ",
        r"epoch  train_loss  train_accuracy ",
    ):
        assert re.search(f"^{line}", out, re.M), line
    assert "selected on the test set" in out
    assert out.rstrip().endswith(f"in {trained / 'runs' / key}")
    assert "history" not in stored("show", key, "--history", "none")[1]
    record = json.loads(stored("show", key, "--format", "json")[1])["record"]
    assert record["config"]["seed"] == 2


def test_show_of_no_run_and_of_several(stored, trained):
    assert "key must begin that of a run under" in stored("show", "zz")[2]
    first = Runs(trained).present()[0]
    assert stored("show", first)[0] == 0


def test_compare_by_method(stored):
    status, out, err = stored("compare", "one_hot", "kd")
    assert (status, err) == (0, "")
    assert out.startswith(
        "mlp:depth=1,width=8 on digits:samples=200, recipe digits (30 epochs of 64)"
    )
    rows = {line.split("  ")[0]: line for line in out.splitlines()}
    assert set(rows) >= {"one_hot", "kd", "kd:temperature=2"}
    assert re.match(r"one_hot +3  \d+\.\d\d ± \d+\.\d\d  +\d", rows["one_hot"])
    assert re.match(r"kd +3  \d+\.\d\d ± \d+\.\d\d +[-+]\d+\.\d\d ± \d", rows["kd"])
    assert re.match(r"kd:temperature=2 +2  ", rows["kd:temperature=2"])
    assert "so selected on it" in out


def test_compare_in_numbers_is_what_theory_says(stored):
    from theory.statistics import paired_difference, t_interval

    listed = json.loads(stored("list", "--format", "json")[1])
    values = {
        method: {
            row["seed"]: 100 * row["accuracy_last"]
            for row in listed
            if row["method"] == method
            and row["stream"] == "student"
            and row["options"].get("temperature", 4.0) == 4.0
        }
        for method in ("one_hot", "kd")
    }
    out, err = stored("compare", "one_hot", "kd", "--format", "csv")[1:]
    assert "test accuracy" in err
    head, *lines = (line.split(",") for line in out.splitlines())
    (row,) = [dict(zip(head, line, strict=True)) for line in lines if line[:2] == ["kd", "nothing"]]
    mean, gap = (
        t_interval(list(values["kd"].values())),
        paired_difference(values["kd"], values["one_hot"]),
    )
    assert float(row["mean"]) == pytest.approx(mean.estimate, rel=1e-5)
    assert float(row["low"]) == pytest.approx(mean.low, rel=1e-4, abs=1e-3)
    assert float(row["change"]) == pytest.approx(gap.estimate, rel=1e-4, abs=1e-3)
    assert float(row["change_high"]) == pytest.approx(gap.high, rel=1e-4, abs=1e-3)
    assert {line[1] for line in lines} == {"nothing", "validation", "test"}


def test_compare_by_key_takes_all_seeds(stored):
    rows = json.loads(stored("list", "--format", "json", "--method", "one_hot")[1])
    key = next(row["key"] for row in rows if row["stream"] == "student")
    assert re.search(r"^one_hot +3 ", stored("compare", key[:8])[1], re.M)


@pytest.mark.parametrize(("form", "begins"), [("markdown", "| method |"), ("latex", r"\begin{tab")])
def test_compare_for_papers(stored, form, begins):
    status, out, err = stored("compare", "one_hot", "kd", "--format", form)
    assert status == 0
    assert out.startswith(begins)
    assert "so selected on it" in err


def test_compare_refuses_what_cannot_be_compared(stored, trained, tmp_path, monkeypatch):
    assert "there are runs of kd, one_hot" in stored("compare", "wsl")[2]
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    monkeypatch.setenv("STILLROOM_OUT", str(copy))
    stored("run", "one_hot", *TINY, "--scale", "0.05")
    status, _, err = stored("compare", "one_hot", "kd")
    assert status == 2
    assert "runs must agree in scale, got 0.05; 0.1; choose by --scale" in err
    assert stored("compare", "one_hot", "kd", "--scale", "0.1")[0] == 0


def test_lists_load_no_torch(trained):
    code = (
        "import sys; from stillroom.main import main\n"
        "main(['bench', 'list']); main(['bench', 'compare', 'one_hot', 'kd'])\n"
        "main(['bench', 'show', 'KEY']); sys.exit('torch' in sys.modules)"
    ).replace("KEY", Runs(trained).present()[0])
    env = {**os.environ, "STILLROOM_OUT": str(trained)}
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=HOUSE, env=env, check=False).returncode
        == 0
    )


@pytest.mark.parametrize(("columns", "missing"), [(200, []), (100, ["age"]), (60, ["best %"])])
def test_a_list_fits_the_terminal(stored, monkeypatch, columns, missing):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    out = stored("list")[1]
    head = out.splitlines()[0]
    assert "last %" in head
    assert all(name not in head for name in missing)
    assert ("--format csv has all" in out) is bool(missing)


@pytest.fixture
def weights(tmp_path):
    """Weights from elsewhere, with the prefix of DataParallel."""
    import torch

    from deep import models

    model = models.spec("mlp", width=16, depth=1)
    network = models.build(model, inputs=64, classes=10, rng=np.random.default_rng(0))
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "theirs.pt")
    return tmp_path / "theirs.pt"


def test_an_imported_network_teaches(bench, weights, tmp_path):
    asked = (
        "import",
        weights,
        "--as",
        "mlp:width=16,depth=1",
        "--data",
        "digits",
        "--name",
        "theirs",
    )
    status, out, _ = bench(*asked)
    assert status == 0
    assert re.search(
        r"\(1,194 parameters\) of .*theirs.pt: \d+\.\d\d % of the test images of dig", out
    )
    assert "stillroom bench run kd --data digits --teacher theirs" in out
    (key,) = Runs(tmp_path / "out").present()
    assert f"stored as {key[:8]} (theirs)" in out
    status, out, err = bench("run", "kd", *TINY, "--teacher", "theirs")
    assert status == 0
    assert "mlp:depth=1,width=8 <- mlp:depth=1,width=16 (imported) on digits" in err
    assert "agreement %" in out
    assert "already finished" in bench("run", "kd", *TINY, "--teacher", key[:8])[2]
    assert re.search("^[0-9a-f]{8}  imported \\(theirs\\) +digits ", bench("list")[1], re.M)
    shown = bench("show", key[:8])[1]
    assert "imported.sha256" in shown
    assert re.search("^accuracy +0[.]", shown, re.M)


def test_an_imported_network_that_cannot_teach(bench, weights):
    bench("import", weights, "--as", "mlp:width=16,depth=1", "--data", "digits", "--name", "theirs")
    status, _, err = bench("run", "filter_kd", *TINY, "--teacher", "theirs")
    assert status == 2
    assert "must be trained here" in err
    status, _, err = bench("run", "kd", *TINY, "--data", "gaussian", "--teacher", "theirs")
    assert status == 2
    assert "teacher must be for images of shape [5, 6, 1] and 3 classes; this one was" in err
    assert "imported under" in bench("run", "kd", "--teacher", "their")[2]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--as", "mlp:width=17,depth=1"), "of another shape"),
        (("--as", "resne20"), "got 'resne20'; did you mean 'resnet20'?"),
        (("--data", "digit"), "got 'digit'; did you mean 'digits'?"),
        (("--normalization", "cifar10"), "normalization has 3 channels, the images have 1"),
        (("--map", "none.json"), "none.json"),
        (("--name", "resnet20"), "name must not be that of a network, got 'resnet20'"),
        (("--device", "cuda:99"), "device 'cuda:99' must be"),
    ],
)
def test_an_import_that_is_refused_stores_nothing(bench, weights, tmp_path, change, said):
    known = ("--as", "mlp:width=16,depth=1", "--data", "digits")
    status, out, err = bench("import", weights, *known, *change)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert said in err
    assert not Runs(tmp_path / "out").present()


def test_a_file_that_is_not_there_makes_no_folder(bench, tmp_path):
    status, _, err = bench("import", tmp_path / "no.pt", "--as", "resnet8", "--data", "digits")
    assert status == 2
    assert "no.pt does not exist" in err
    assert not (tmp_path / "out").exists()


def test_tensorboard_is_written(bench, tmp_path):
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    assert bench("run", "one_hot", *TINY, "--tensorboard")[0] == 0
    assert list((tmp_path / "out" / "tensorboard").glob("one_hot-student-seed0-*/events.*"))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59.6, "1:00 min"), (3599.7, "1:00 h"), (172_800, "2 d 0 h")],
)
def test_a_duration_in_words(seconds, said):
    from stillroom.benching.display import duration

    assert duration(seconds) == said


def test_plain_lines_come_seldom(capsys):
    from deep.training.watching import Moment
    from stillroom.benching.display import Lines

    now = [0.0]
    config = type("Config", (), {"stream": "student", "seed": 4})()
    numbers = {"train_loss": 0.25, "test_accuracy": 0.5}
    lines = Lines(every=10, clock=lambda: now[0])
    for step in range(1, 26):
        now[0] += 1
        lines.show(Moment((config,), step, 25, 1, 2, numbers, 25.0 - step))
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "student, seed 4: step 10/25, epoch 1/2, loss 0.250, test 50.0 %, 15 s left",
        "student, seed 4: step 20/25, epoch 1/2, loss 0.250, test 50.0 %, 5 s left",
        "student, seed 4: step 25/25, epoch 1/2, loss 0.250, test 50.0 %",
    ]


def test_on_a_terminal_there_is_a_live_line_a_run(bench, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "90")
    status, _, err = bench("run", "kd", *TINY)
    assert status == 0
    said = " ".join(re.sub("\x1b\\[[0-9;?]*[a-zA-Z]", "", err).split())
    assert "teacher, seed 0 9/9 epoch 3/3, loss" in said
    assert "student, seed 0 9/9 epoch 3/3, loss" in said


def started(out, *arguments):
    env = {**os.environ, "STILLROOM_OUT": str(out), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "stillroom.main", "bench", "run", *arguments],
        cwd=HOUSE, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def until_checkpointed(out, process):
    """Wait until the student's first checkpoint is noted."""
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        for path in out.glob("runs/.working/*/progress.json"):
            config = json.loads((path.parent / "config.json").read_text())["config"]
            step = json.loads(path.read_text())["step"]
            if config["stream"] == "student" and step:
                return
        time.sleep(0.01)
    raise AssertionError(process.communicate())


SMALL = ("wsl", "--student", "mlp:width=8,depth=1", "--teacher-scale", "0.05")
OFTEN = ("--checkpoint-seconds", "0.1")


def test_a_killed_run_goes_on_says_so_and_ends_the_same(tmp_path, bench):
    asked = (*SMALL, "--scale", "2", *OFTEN)
    killed = tmp_path / "killed"
    process = started(killed, *asked)
    until_checkpointed(killed, process)
    process.kill()
    process.communicate()
    (summary,) = [one for one in Runs(killed).summaries() if one.status == "interrupted"]
    assert 0 < summary.step < summary.steps == 1260
    again = started(killed, *asked)
    _, said = again.communicate(timeout=100)
    assert again.returncode == 0
    assert re.search("^teacher, seed 0: .*already finished$", said, re.M)
    step = int(re.search("^going on after ([0-9]+) of 1260 steps$", said, re.M)[1])
    assert step >= summary.step
    assert bench("run", *asked)[0] == 0
    finished, alone = (Runs(out).get(summary.key).arrays for out in (killed, tmp_path / "out"))
    assert finished.keys() == alone.keys()
    for name, array in alone.items():
        np.testing.assert_array_equal(finished[name], array)


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_an_interrupt_leaves_a_checkpoint(tmp_path, number, status):
    out = tmp_path / "out"
    process = started(out, *SMALL, "--scale", "60", *OFTEN)
    until_checkpointed(out, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status
    stopped = re.search("stopped after ([0-9]+) of 37800 steps; the same command goes on", err)
    (summary,) = [one for one in Runs(out).summaries() if one.status == "interrupted"]
    assert summary.step == int(stopped[1])
    assert "Traceback" not in err
