import io
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from sims import pool, results
from sims.context import Context
from sims.progress import Bars, Lines, shown
from tests.sims import work

HOUSE = Path(__file__).parents[2]


def ran(folder):
    return sorted(path.name.split(".")[1] for path in folder.glob("ran.*"))


def test_maps_in_order_and_fetches_the_second_time(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    items = [(0.0, n, str(marks)) for n in (3, 1, 2)]
    for _ in range(2):
        with Context(tmp_path / "out", workers=1) as context:
            got = context.map(work.slow, items)
        assert [one["number"] for one in got] == [3, 1, 2]
    assert ran(marks) == ["1", "2", "3"]
    assert [path.name for path in (tmp_path / "out" / "cache").iterdir()] == [
        "tests.sims.work.slow"
    ]


def test_works_in_processes_of_one_thread_that_are_shared_between_calls(tmp_path):
    with Context(tmp_path, workers=2) as context:
        first = context.map(work.square, range(6))
        second = context.map(work.square, range(6, 12))
        threads = context.map(work.threads, range(3))
    assert [int(one["square"]) for one in first + second] == [n * n for n in range(12)]
    pids = {int(one["pid"]) for one in first + second}
    assert len(pids) <= 2
    assert os.getpid() not in pids
    assert {int(one["omp"]) for one in threads} == {1}


def test_processes_give_what_one_process_gives(tmp_path):
    with Context(tmp_path / "2", workers=2) as several, Context.plain() as one:
        for a, b in zip(
            several.map(work.square, range(4)), one.map(work.square, range(4)), strict=True
        ):
            assert a["square"].dtype == b["square"].dtype
            assert a["square"] == b["square"]


def test_a_plain_context_writes_nothing_and_starts_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    context = Context.plain()
    got = context.map(work.square, [1, 2])
    assert {int(one["pid"]) for one in got} == {os.getpid()}
    assert not list(tmp_path.iterdir())
    assert context.map(work.square, [2])[0] is got[1]  # kept


def test_equal_items_are_computed_once(tmp_path):
    context = Context(tmp_path / "out", workers=1)
    got = context.map(work.slow, [(0.0, 1, str(tmp_path))] * 3)
    assert [int(one["number"]) for one in got] == [1, 1, 1]
    assert ran(tmp_path) == ["1"]


def test_fresh_computes_anew_but_once(tmp_path):
    items = [(0.0, 1, str(tmp_path))]
    Context(tmp_path / "out", workers=1).map(work.slow, items)
    fresh = Context(tmp_path / "out", workers=1, fresh=True)
    fresh.map(work.slow, items)
    fresh.map(work.slow, items)
    assert ran(tmp_path) == ["1", "1"]


def test_edited_source_is_computed_anew(tmp_path, monkeypatch):
    context = Context(tmp_path / "out", workers=1)
    context.map(work.slow, [(0.0, 1, str(tmp_path))])
    monkeypatch.setattr("sims.context.source_digest", lambda: "edited")
    context.map(work.slow, [(0.0, 1, str(tmp_path))])
    assert ran(tmp_path) == ["1", "1"]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_names_the_item_and_keeps_what_is_finished(tmp_path, workers):
    with Context(tmp_path, workers=workers) as context:
        with pytest.raises(ArithmeticError, match="three is refused") as caught:
            context.map(work.fail_on_three, [1, 2, 3])
        assert caught.value.__notes__ == ["while computing fail_on_three of 3"]
        assert len(list(tmp_path.glob("cache/*/[0-9a-f]*"))) == 2
        assert [int(one["n"]) for one in context.map(work.fail_on_three, [2, 1])] == [2, 1]


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_input_is_said_as_it_is(tmp_path, workers):
    with Context(tmp_path, workers=workers) as context:
        with pytest.raises(ValueError, match="must return a dictionary") as caught:
            context.map(work.not_arrays, [1, 2])
        assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_warning_of_a_worker_is_given_by_its_parent(tmp_path, workers):
    with Context(tmp_path, workers=workers) as context, warnings.catch_warnings(record=True) as got:
        warnings.simplefilter("always")
        context.map(work.warn, [1, 2])
    said = [(str(one.message), one.category, Path(one.filename).name) for one in got]
    assert sorted(said) == [(f"mind {n}", RuntimeWarning, "work.py") for n in (1, 2)]


def test_a_dead_worker_is_reported(tmp_path):
    with Context(tmp_path, workers=2) as context:
        with pytest.raises(RuntimeError, match="a worker process died"):
            context.map(work.die, [1, 2])
        assert int(context.map(work.square, [5, 6])[1]["square"]) == 36  # started again


def test_refuses_what_is_not_arrays():
    with pytest.raises(ValueError, match="not_arrays must return a dictionary of arrays, got list"):
        Context.plain().map(work.not_arrays, [1])


def test_refuses_functions_that_no_process_can_import():
    def nested(n):
        return {"n": n}

    for f in (nested, lambda n: {"n": n}, work.slow.__call__):
        with pytest.raises(ValueError, match="f must be a function at the top of a module"):
            Context.plain().map(f, [1])


@pytest.mark.parametrize("workers", [0, -1])
def test_refuses_no_workers(workers):
    with pytest.raises(ValueError, match="workers must be at least 1"):
        Context(workers=workers)


def test_workers_know_the_settings_of_now(tmp_path, monkeypatch):
    for value in ("first", "second"):
        monkeypatch.setenv("STILLROOM_TEST", value)
        with Context(workers=2) as context:
            got = context.map(work.setting, ["STILLROOM_TEST", "HOME"])
        assert str(got[0]["value"]) == value


def test_nothing_to_do():
    assert Context.plain().map(work.square, []) == []


def test_long_items_are_cut_in_messages():
    task = pool.Task(work.square, list(range(1000)), "", None)
    assert len(task.note()) < 260


@pytest.mark.parametrize(
    ("signal_", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9), (signal.SIGTERM, 143)]
)
def test_stopping_the_parent_stops_the_workers_and_keeps_the_finished(tmp_path, signal_, status):
    code = (
        "import sys\nfrom sims import experiments\n"
        "experiments.__path__ = ['tests/sims/fakes']\n"
        "from stillroom.main import main\nsys.exit(main(sys.argv[1:]))"
    )
    options = ["--numbers", "6", "--pause", "0.4", "--marks", str(tmp_path), "--no-figures"]
    command = ["sim", "fake_squares", "--out", str(tmp_path / "out"), "--workers", "2", *options]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command],
        cwd=HOUSE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not ran(tmp_path):
        time.sleep(0.02)
        assert process.poll() is None
    if signal_ == signal.SIGINT:
        os.killpg(process.pid, signal_)  # as a terminal does: the workers get it too
    else:
        process.send_signal(signal_)
    begin = time.monotonic()
    said = process.communicate()[1]
    assert time.monotonic() - begin < 5
    assert process.returncode == status
    assert "Traceback" not in said
    word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}.get(signal_)
    if word is not None:
        assert said.splitlines()[-1] == f"stillroom: {word}; what is finished is kept"
        assert said.count("stillroom:") == 1
    finished = ran(tmp_path)
    time.sleep(0.6)
    assert ran(tmp_path) == finished  # no worker goes on
    assert len(finished) < 6
    assert not list(tmp_path.glob("out/results/*/[0-9a-f]*"))
    done = subprocess.run([sys.executable, "-c", code, *command], cwd=HOUSE, check=False)
    assert done.returncode == 0
    assert set(ran(tmp_path)) == set("012345")
    assert len(ran(tmp_path)) <= 6 + 2  # at most what was in the making is made twice


def test_progress_in_lines():
    said = io.StringIO()
    context = Context(reporter=Lines(said, interval=0))
    with context.progress("training", total=3, done=1) as advance:
        advance()
        advance()
    assert said.getvalue().splitlines() == ["training: 2/3 (0 s)", "training: 3/3 (0 s)"]


def test_sentences_are_said_where_progress_is_shown(capsys):
    said = io.StringIO()
    Context(reporter=Lines(said)).say("about [2] hours")
    assert said.getvalue() == "about [2] hours\n"
    bars = Bars()
    context = Context(reporter=bars)
    context.say("about [3] hours")
    with context.progress("counting", total=1):
        context.say("about [4] hours")
    told = capsys.readouterr().err
    assert "about [3] hours" in told
    assert "about [4] hours" in told
    Context.plain().say("nothing")
    assert capsys.readouterr().err == ""


def test_progress_in_bars(capsys):
    bars = Bars()
    with bars.task("outer [x]", total=1) as outer:
        with bars.task("inner", total=2) as inner:
            inner(2)
        outer()
    with bars.task("next", total=1):
        pass
    said = capsys.readouterr().err
    assert "outer [x]" in said
    assert "2/2" in said


def test_bars_are_for_terminals(monkeypatch):
    assert isinstance(shown(io.StringIO()), Lines)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert isinstance(shown(), Bars)


def test_the_data_root_is_the_environment_s(monkeypatch, tmp_path):
    monkeypatch.delenv("STILLROOM_DATA", raising=False)
    assert Context.plain().data_root is None
    monkeypatch.setenv("STILLROOM_DATA", str(tmp_path))
    assert Context.plain().data_root == tmp_path
    assert Context(data_root=tmp_path / "a").data_root == tmp_path / "a"


def test_a_network_is_trained_once_and_its_teacher_once_for_all_students(monkeypatch):
    import deep.training.fixed_targets.loop as loop

    trained = []

    def train(config, *, teacher=None, root=None):
        trained.append((config["name"], teacher))
        return config["name"]

    class Run(dict):
        teacher = property(lambda self: self["teacher"])

    monkeypatch.setattr(loop, "train", train)
    context = Context.plain()
    teacher = Run(name="teacher", teacher=None)
    for name in ("a", "b", "a"):
        assert context.trained(Run(name=name, teacher=teacher)) == name
    assert trained == [("teacher", None), ("a", "teacher"), ("b", "teacher")]


def test_results_do_not_load_what_computes():
    code = "import sys, sims.results; assert not {'torch', 'theory', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=HOUSE, check=True)
    assert results.source_digest()


def test_arrays_in_items_are_told_apart():
    def twice(a):
        return Context.plain().map(work.square, [a])[0]["square"]

    np.testing.assert_array_equal(twice(np.array([1.0, 2.0])), [1, 4])
