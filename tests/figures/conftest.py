"""Results to draw: every experiment at its smallest size, computed once a session."""

from importlib import import_module

import pytest

import figures
from figures import rendering
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


@pytest.fixture(scope="session")
def drawn(stored):
    """Every figure drawn once."""
    every = (figures.get(name) for name in figures.names())
    return {f.name: rendering.canvas(f.name, stored[f.result]) for f in every}


@pytest.fixture(scope="session")
def encoded(drawn):
    """Every figure as the bytes of an SVG file."""
    return {name: rendering.encode(canvas, "svg") for name, canvas in drawn.items()}


@pytest.fixture(scope="session")
def drawings(encoded, tmp_path_factory):
    """Every figure as an SVG file, by name."""
    folder = tmp_path_factory.mktemp("drawings")
    return {
        name: rendering.write_whole(folder / f"{name}.svg", data) for name, data in encoded.items()
    }


@pytest.fixture
def make_result():
    def make(experiment, *, findings=(), config=None, provenance=None):
        return Result(experiment, config or {}, {}, tuple(findings), provenance or {})

    return make


@pytest.fixture
def make_finding():
    return Finding
