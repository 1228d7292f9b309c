import platform
import re
import subprocess
from datetime import UTC, datetime

import numpy as np

from deep.records import provenance as module
from deep.records.encoding import dumps, loads
from deep.records.provenance import provenance, version, versions


def test_says_where_a_number_came_from():
    known = provenance(config={"rate": 0.1}, seed=3, device="cuda:0", duration=1.5)
    assert known["config"] == {"rate": 0.1}
    assert (known["seed"], known["device"], known["duration"]) == (3, "cuda:0", 1.5)
    assert known["versions"]["python"] == platform.python_version()
    assert known["versions"]["numpy"] == np.__version__
    assert known["cpu"]
    assert known["cpus"] >= 1
    age = datetime.now(UTC) - datetime.fromisoformat(known["created"])
    assert 0 <= age.total_seconds() < 60


def test_is_ready_to_be_stored():
    known = provenance()
    assert loads(dumps(known)) == known
    assert "config" not in known
    assert "seed" not in known


def test_the_commit_is_that_of_the_checkout(tmp_path, monkeypatch):
    def git(*arguments):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *arguments], check=True, timeout=30)

    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "-m", "one")
    monkeypatch.setattr(module, "_HOUSE", tmp_path)
    known = provenance()
    assert re.fullmatch("[0-9a-f]{40}", known["commit"])
    assert known["changed"] is False
    (tmp_path / "file").write_text("two")
    assert provenance()["changed"] is True


def test_outside_a_checkout_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_HOUSE", tmp_path)
    assert provenance()["commit"] is None
    assert provenance()["changed"] is None


def test_no_git_is_no_failure(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(module, "_HOUSE", tmp_path)
    assert provenance()["commit"] is None
    monkeypatch.setenv("PATH", "")
    assert provenance()["commit"] is None


def test_libraries_that_are_not_installed_are_left_out(monkeypatch):
    monkeypatch.setattr(module, "_LIBRARIES", ("numpy", "no-such-library"))
    assert set(versions()) == {"python", "numpy"}
    assert version()
