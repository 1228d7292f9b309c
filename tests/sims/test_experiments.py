import subprocess
import sys
from pathlib import Path

import pytest

from sims import experiments

HOUSE = Path(__file__).parents[2]


def test_an_experiment_is_found_by_its_file(fakes):
    assert experiments.names() == ("fake_squares",)
    assert experiments.title("fake_squares") == "Squares of the first numbers"
    found = experiments.get("fake_squares")
    assert found.title == "Squares of the first numbers"
    assert found.config("smoke").numbers == 2
    assert found.config() == found.Config()


def test_the_sizes_of_a_config_are_those_it_equals(fakes):
    found = experiments.get("fake_squares")
    assert found.sizes(found.Config(numbers=3)) == ("demo",)
    assert found.sizes(found.Config(numbers=3, seed=1)) == ()
    with pytest.raises(ValueError, match="size must be one of smoke, demo, laptop, paper, got 'x'"):
        found.config("x")


def test_an_unknown_one_is_refused_with_those_there_are(fakes):
    with pytest.raises(ValueError, match=r"'fake_square'; known: fake_squares; did you mean"):
        experiments.get("fake_square")
    with pytest.raises(ValueError, match=r"unknown experiment 'zzz'; known: fake_squares$"):
        experiments.title("zzz")


def test_listing_imports_no_experiment():
    code = (
        "import sys\nfrom sims import experiments\n"
        "[experiments.title(name) for name in experiments.names()]\n"
        "loaded = [m for m in sys.modules if m.startswith('sims.experiments.')]\n"
        "assert not loaded and 'torch' not in sys.modules, loaded"
    )
    subprocess.run([sys.executable, "-c", code], cwd=HOUSE, check=True)


@pytest.mark.parametrize("name", experiments.names())
def test_every_experiment_has_four_sizes_and_a_title(name):
    found = experiments.get(name)
    assert found.title
    for size in experiments.SIZES:
        assert isinstance(found.config(size), found.Config)
    assert "laptop" in found.sizes(found.Config())
