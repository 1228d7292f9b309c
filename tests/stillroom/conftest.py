from pathlib import Path

import pytest

from sims import experiments
from stillroom.main import main

FAKES = Path(__file__).parents[1] / "sims" / "fakes"


@pytest.fixture
def fakes(monkeypatch):
    """Make tests/sims/fakes the only experiments there are."""
    monkeypatch.setattr(experiments, "__path__", [str(FAKES)])


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys):
    """Run ``stillroom bench`` in an out folder of its own; gives the status, and what was said."""
    monkeypatch.setenv("STILLROOM_OUT", str(tmp_path / "out"))
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments):
        status = main(["bench", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run
