from pathlib import Path

import pytest

from sims import experiments

FAKES = Path(__file__).parent / "fakes"


@pytest.fixture
def fakes(monkeypatch):
    """Make tests/sims/fakes the only experiments there are."""
    monkeypatch.setattr(experiments, "__path__", [str(FAKES)])
