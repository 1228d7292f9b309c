import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from deep.records import runs as module
from deep.records.runs import Runs
from deep.records.store import Corrupt
from tests.deep.records.run_crashes import CONFIG, make, whole

HOUSE = Path(__file__).parents[3]
KEY = Runs.key(CONFIG)


def program(*arguments, before=(), **options):
    command = [*before, sys.executable, "-m", "tests.deep.records.run_crashes"]
    command += map(str, arguments)
    return subprocess.Popen(command, cwd=HOUSE, text=True, stdout=subprocess.PIPE, **options)


def mounted(script):
    """A shell in which a file system may be mounted, or a skip."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare on this machine")
    before = ["unshare", "-rm", "sh", "-c", f'{script} && exec "$@"', "sh"]
    if subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets tests mount nothing")
    return before


@dataclass(frozen=True)
class Config:
    seed: int = 0
    teacher: "Config | None" = None


def test_equal_configs_are_one_run_and_a_new_version_is_another(monkeypatch):
    assert Runs.key(Config(1, Config())) == Runs.key(Config(1, Config()))
    keys = {Runs.key(config) for config in (Config(), Config(1), Config(1, Config()), CONFIG)}
    assert len(keys) == 4
    monkeypatch.setattr(module, "RUN_VERSION", module.RUN_VERSION + 1)
    assert Runs.key(CONFIG) != KEY


def test_a_finished_run_is_there_with_its_files_and_config(tmp_path):
    runs = Runs(tmp_path)
    assert runs.get(KEY) is None
    entry = make(runs, 5)
    again = Runs(tmp_path).get(KEY)
    assert whole(entry) == whole(again) == 5
    assert again.record["config"] == CONFIG
    assert again.record["provenance"]["created"]
    assert not runs.folder(KEY).exists()
    assert whole(make(runs, 6)) == 5  # it is not made again


def test_what_is_given_in_the_record_stays(tmp_path):
    runs = Runs(tmp_path)
    with runs.working(KEY, CONFIG) as work:
        work.finish({}, {"provenance": {"created": "then"}, "config": {"more": 1}})
    assert runs.get(KEY).record == {"provenance": {"created": "then"}, "config": {"more": 1}}


def test_an_interrupted_run_keeps_its_folder(tmp_path):
    runs = Runs(tmp_path)
    with runs.working(KEY, CONFIG) as work:
        (work.folder / "checkpoint").write_text("half")
        work.progress(5, 10)
    (one,) = runs.summaries()
    assert (one.status, one.step, one.steps, one.config) == ("interrupted", 5, 10, CONFIG)
    (runs.folder(KEY) / ".progress.json.0123").write_text("killed while writing")
    with runs.working(KEY, CONFIG) as work:
        assert (work.folder / "checkpoint").read_text() == "half"
        assert not list(work.folder.glob(".*"))
        assert runs.summary(KEY).status == "running"
        assert runs.summary(KEY).created == one.created
        work.finish({}, {"headline": {"accuracy": 0.5}, "steps": 10})
    (one,) = runs.summaries()
    assert (one.status, one.step, one.steps) == ("finished", 10, 10)
    assert one.headline == {"accuracy": 0.5}
    assert not runs.folder(KEY).exists()


def test_a_run_that_is_finished_is_not_worked_on(tmp_path):
    runs = Runs(tmp_path)
    make(runs, 1)
    with runs.working(KEY, CONFIG) as work:
        for ask in (lambda: work.finish({}, {}), lambda: work.progress(1, 2)):
            with pytest.raises(ValueError, match="must not be finished yet"):
                ask()


def test_what_cannot_be_stored_leaves_the_run_to_be_resumed(tmp_path):
    runs = Runs(tmp_path)
    with runs.working(KEY, CONFIG) as work:
        (work.folder / "checkpoint").write_text("last")
        with pytest.raises(ValueError, match="must be built of"):
            work.finish({}, {"x": object()})
        assert (work.folder / "checkpoint").exists()
        assert work.finished is None
    with pytest.raises(ValueError, match="must be built of"), runs.working(KEY, {"x": object()}):
        pass
    with pytest.raises(ValueError, match="hexadecimal"), runs.working("../x", CONFIG):
        pass


@pytest.mark.parametrize("name", ["arrays.npz", "record.json", "manifest.json", "w"])
def test_any_flipped_byte_is_found_and_the_run_made_again(tmp_path, name):
    runs = Runs(tmp_path)
    make(runs, 1)
    path = runs.root / KEY / name
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)
    with pytest.warns(Corrupt, match="set-aside"):
        assert runs.get(KEY) is None
    assert whole(make(runs, 2)) == 2
    assert len(list((runs.root / "set-aside").iterdir())) == 1


def test_three_processes_train_a_run_once(tmp_path):
    log = tmp_path / "log"
    asked = [program("once", tmp_path, log, stdin=subprocess.PIPE) for _ in range(3)]
    for process in asked:
        assert process.stdout.readline() == "ready\n"
    said = [process.communicate("\n")[0].split() for process in asked]
    (maker,) = log.read_text().split()
    assert {by for _, by in said} == {maker}
    # Who waited was told so; one that came when all was done did not wait.
    assert sum(int(times) for times, _ in said) <= 2


def test_who_waits_is_told_and_then_fetches(tmp_path):
    runs, said, told = Runs(tmp_path), [], threading.Event()

    def say(text):
        said.append(text)
        told.set()

    fetched = []

    def ask():
        with Runs(tmp_path).working(KEY, CONFIG, say=say) as work:
            fetched.append(work.finished.record["n"])

    with runs.working(KEY, CONFIG) as work:
        waiting = threading.Thread(target=ask)
        waiting.start()
        assert told.wait(10)
        work.finish({}, {"n": 1})
        assert not fetched  # until the lock is free
    waiting.join(10)
    assert fetched == [1]
    assert said == ["another process is training this run; waiting"]


@pytest.mark.parametrize("orphan", [[], ["orphan"]])
def test_the_lock_of_a_killed_process_is_free(tmp_path, orphan):
    process = program("hold", tmp_path, *orphan)
    child = process.stdout.readline()
    runs = Runs(tmp_path)
    assert [one.status for one in runs.summaries()] == ["running"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    try:
        # dead at once, though a child that inherited the handle lives on
        (one,) = runs.summaries()
        assert (one.status, one.step, one.steps) == ("interrupted", 3, 10)
        assert whole(make(runs, 1)) == 1
    finally:
        if orphan:
            os.kill(int(child), signal.SIGKILL)
        process.stdout.close()


def test_death_at_any_step_loses_nothing_that_was_finished(tmp_path):
    said = program("points", tmp_path).communicate()[0].split()
    assert len(said) > 20
    assert said == ["2"] * said.count("2") + ["1"] * said.count("1")
    assert said.count("1") > 3  # among them: after it was stored, before its folder was removed


@pytest.mark.parametrize("kills", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_kill_at_random_moments_leaves_whole_runs_only(tmp_path, kills):
    rng = np.random.default_rng(1)
    runs, seen = Runs(tmp_path), 0
    for kill in range(kills):
        process = program("endless", tmp_path, kill)
        assert process.stdout.readline() == "made\n"
        time.sleep(rng.uniform(0.05, 0.3))
        # A third party reads meanwhile: warnings are errors here.
        for one in runs.summaries():
            assert one.status in ("finished", "running", "interrupted") or not one.config
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for one in runs.summaries():
            if one.status == "finished":
                whole(runs.get(one.key))
                seen += 1
            else:
                # Anew, or as it was about to be put in place.
                whole(make(runs, 1, one.config or CONFIG))
    assert seen > kills
    assert not (runs.root / "set-aside").exists()


def test_summaries_pass_over_damage_and_strangers(tmp_path):
    runs = Runs(tmp_path)
    assert runs.summaries() == []
    configs = [{"n": n} for n in range(4)]
    for config in configs:
        make(runs, 1, config)
    torn, foreign, gone, _ = (runs.root / runs.key(config) for config in configs)
    (torn / "record.json").write_bytes(b"{")
    manifest = (foreign / "manifest.json").read_text()
    (foreign / "manifest.json").write_text(manifest.replace('"schema": 1', '"schema": 9'))
    (gone / "manifest.json").unlink()
    begun = runs.folder("ab" * 32)
    begun.mkdir(parents=True)
    (begun / "config.json").write_text("[")
    (begun / "progress.json").write_text('{"step": "many", "steps": null}')
    (runs.root / "notes.txt").write_text("mine")
    (runs.root / ".working" / "notes").mkdir()
    found = {one.key: one for one in runs.summaries()}
    assert len(found) == 5
    assert {key for key, one in found.items() if one.status == "damaged"} == {
        torn.name,
        foreign.name,
        gone.name,
        begun.name,
    }
    assert "schema 9" in found[foreign.name].problem
    assert "checksum of record.json" in found[torn.name].problem
    assert "config.json" in found[begun.name].problem
    assert torn.exists()  # looking changes nothing
    assert not (runs.root / "set-aside").exists()


def test_a_record_of_other_things_is_summed_up_all_the_same(tmp_path):
    runs = Runs(tmp_path)
    record = {"headline": [1], "provenance": 3, "steps": "many", "config": None}
    with runs.working(KEY, CONFIG) as work:
        work.finish({}, record)
    (one,) = runs.summaries()
    assert (one.status, one.headline, one.created, one.steps, one.config) == (
        "finished",
        {},
        "",
        None,
        {},
    )


def test_the_newest_run_comes_first(tmp_path):
    runs = Runs(tmp_path)
    for n in range(3):
        make(runs, 1, {"n": n})
    assert [one.config["n"] for one in runs.summaries()] == [2, 1, 0]


def test_a_run_is_found_by_the_beginning_of_its_key(tmp_path):
    runs = Runs(tmp_path)
    with pytest.raises(ValueError, match=r"got 'ab'; there are none under .*runs"):
        runs.find("ab")
    keys = ["abcd0000" * 8, "abcd1111" * 8]
    for key in keys:
        with runs.working(key, {"k": key}) as work:
            if key == keys[0]:
                work.finish({}, {})
    assert runs.present() == tuple(keys)
    assert [runs.find(key[:5]) for key in keys] == keys
    assert runs.find(keys[0]) == keys[0]
    with pytest.raises(ValueError, match="got 'abcd', which begins abcd0000abcd, abcd1111abcd"):
        runs.find("abcd")
    for absent in ("ff", "", "ABCD0", "../x"):
        with pytest.raises(ValueError, match="there are abcd0000abcd, abcd1111abcd"):
            runs.find(absent)
    for n in range(20):
        runs.folder(f"{n:08x}").mkdir()
    with pytest.raises(ValueError, match="and 14 more"):
        runs.find("ff")


def test_progress_is_shown_not_insisted_on(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    runs = Runs(tmp_path)
    with runs.working(KEY, CONFIG) as work:
        work.progress(np.int64(1), 2)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", full)
            work.progress(2, 2)
        assert runs.summary(KEY).step == 1
        assert sorted(path.name for path in work.folder.iterdir()) == [
            "config.json",
            "progress.json",
        ]


def test_a_full_disk_is_named_and_loses_nothing(tmp_path):
    before = mounted(f"mount -t tmpfs -o size=300k none {tmp_path}")
    said = program("full", tmp_path, before=before).communicate()[0].splitlines()
    other = Runs.key({"seed": 4})
    assert said[0].startswith("[Errno 28] No space left on device; nothing that was finished is")
    assert f"{other}/w" in said[0]
    assert said[1:] == ["7", "['finished', 'interrupted']"]


def test_finished_runs_can_be_read_where_nothing_may_be_written(tmp_path):
    before = mounted(f"mount --bind {tmp_path} {tmp_path} && mount -o remount,ro,bind {tmp_path}")
    make(Runs(tmp_path), 5)
    with Runs(tmp_path).working(Runs.key({"seed": 5}), {"seed": 5}):
        pass
    said = program("readonly", tmp_path, before=before).communicate()[0].splitlines()
    assert sorted(said[:2]) == ["5", "['interrupted', 'finished']"]
    assert "Read-only file system" in said[2]
    assert str(tmp_path) in said[2]


def test_runs_load_neither_torch_nor_theory():
    code = "import sys, deep.records.runs, deep.records.trajectories\n"
    code += "assert not {'torch', 'scipy', 'theory'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=HOUSE, check=True)
