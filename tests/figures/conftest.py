"""Results to draw: every experiment at its smallest size, computed once a session."""

from importlib import import_module

import numpy as np
import pytest

import figures
from figures import rendering
from sims.comparison import compare
from sims.context import Context
from sims.results import Finding, Result

OWN = "comparison"  # of the user's own networks: no experiment


def drawn_experiments():
    return sorted({figures.get(name).result for name in figures.names()} - {OWN})


def two_networks(samples=400, classes=5):
    """Logits of a teacher, its student and a control, and the true classes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, samples)
    teacher = rng.standard_normal((samples, classes)) + 2 * np.eye(classes)[labels]
    student, control = rng.standard_normal((2, samples, classes))
    return teacher, 1.3 * teacher + 0.5 * student, teacher + 0.8 * control, labels


@pytest.fixture(scope="session")
def stored():
    """The smoke result of every experiment that a figure draws, by name."""
    made = {}
    with Context.plain() as context:
        for name in drawn_experiments():
            module = import_module(f"sims.experiments.{name}")
            made[name] = module.run(module.Config.smoke(), context)
    teacher, student, control, labels = two_networks()
    made[OWN] = compare(teacher, student, labels, control=control)
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
