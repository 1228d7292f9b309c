"""Results to draw: every experiment at its smallest size, computed once a session."""

from importlib import import_module

import pytest

import figures
from sims.context import Context
from sims.results import Finding, Result


def drawn_experiments():
    return sorted({figures.get(name).result for name in figures.names()})


@pytest.fixture(scope="session")
def stored():
    """The smoke result of every experiment that a figure draws, by name."""
    made = {}
    with Context.plain() as context:
        for name in drawn_experiments():
            module = import_module(f"sims.experiments.{name}")
            made[name] = module.run(module.Config.smoke(), context)
    return made


@pytest.fixture
def make_result():
    def make(experiment, *, findings=(), config=None, provenance=None):
        return Result(experiment, config or {}, {}, tuple(findings), provenance or {})

    return make


@pytest.fixture
def make_finding():
    return Finding
