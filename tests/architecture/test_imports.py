"""What importing a package must not load: torch takes seconds, and the command line must not."""

import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[2]

HEAVY = ("torch", "matplotlib", "sklearn", "tyro", "rich", "pyarrow", "jinja2", "scipy")


def loaded(code):
    """Which of the heavy libraries ``code`` loads in a process of its own."""
    code += f"\nimport sys; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=HOUSE, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import theory", ()),
        ("import stillroom.main", ()),
        ("from stillroom.main import main; main(['--help'])", ()),
        ("from stillroom.main import main; main(['--version'])", ()),
        ("from stillroom.main import main; main(['sim', '--help'])", ()),
        ("from stillroom.main import main; main(['bench', '--help'])", ()),
        ("from stillroom.main import main; main(['bench', 'methods'])", ()),
        ("from stillroom.main import main; main(['bench', 'run', 'no_such'])", ()),
        ("from stillroom.main import main; main(['bench', 'list', '--out', '/dev/null'])", ()),
        ("from stillroom.main import main; main(['nonsense'])", ()),
        ("import sims.results", ()),
        ("import sims.context, sims.experiments, sims.runner", ()),
        ("import deep.records.store, deep.records.provenance", ()),
        ("import figures; figures.names()", ()),
        ("import sims.inputs", ()),
    ],
)
def test_importing_stays_light(code, allowed):
    assert loaded(code) <= set(allowed)


@pytest.mark.parametrize(
    "code",
    [
        "import theory.flow, theory.flow.spectrum, theory.flow.weights",
        "import pkgutil, importlib, theory.flow\n"
        "[importlib.import_module(m.name) for m in"
        " pkgutil.walk_packages(theory.flow.__path__, 'theory.flow.')]",
        "import figures.rendering, figures.report",
    ],
)
def test_no_torch_below_the_networks(code):
    assert "torch" not in loaded(code)
