"""Runs that are killed at random moments end as if they had not been, to the last bit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deep.training import runner
from deep.training.runner import Runner
from tests.deep.training.small_runs import assert_same_run, killed_runs

HOUSE = Path(__file__).parents[3]
METHODS = ("one_hot", "wsl", "mrkd", "beta_smoothing", "filter_kd")


@pytest.mark.parametrize(
    ("kills", "model", "names"),
    [
        (3, "mlp", ("wsl",)),
        pytest.param(30, "resnet8", METHODS, marks=pytest.mark.slow),
    ],
)
def test_killed_runs_end_as_those_not_killed(tmp_path, monkeypatch, kills, model, names):
    program = [sys.executable, "-m", "tests.deep.training.small_runs", "storm"]
    done = subprocess.run(
        [*program, str(tmp_path), str(kills), "0", model, *names],
        cwd=HOUSE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    died, rounds = map(int, done.stdout.split()[-3::2])
    assert died >= kills
    asked = killed_runs(model, names)
    alone = {name: Runner() for name in names}
    wanted = {name: alone[name].run(config) for name, config in asked.items()}
    teachers = {
        name: alone[name].run(config.teacher) for name, config in asked.items() if config.teacher
    }
    monkeypatch.setattr(runner, "Trainer", lambda *_, **__: pytest.fail("not finished"))
    for place in range(rounds):
        found = Runner(tmp_path / str(place))
        for name, config in asked.items():
            assert_same_run(found.run(config), wanted[name])
            if name in teachers:
                assert_same_run(found.run(config.teacher), teachers[name])
        assert not list((tmp_path / str(place) / "runs" / ".working").iterdir())
