"""How long one waits before anything happens."""

import subprocess
import sys
import tempfile

from tests.speed.register import bench


def process(*arguments):
    def run():
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)

    return run


@bench("import theory", seconds=0.4, repeats=9)
def import_theory():
    return {"stillroom": process("-c", "import theory")}


@bench("import everything of theory.flow", seconds=0.4, repeats=9)
def import_flow():
    code = (
        "import importlib, pkgutil, theory.flow\n"
        "for m in pkgutil.walk_packages(theory.flow.__path__, 'theory.flow.'):\n"
        "    importlib.import_module(m.name)\n"
    )
    return {"stillroom": process("-c", code)}


@bench("stillroom --help", seconds=0.5, repeats=9)
def stillroom_help():
    return {"stillroom": process("-m", "stillroom.main", "--help")}


@bench("stillroom sim --help", seconds=0.5, repeats=9)
def sim_help():
    return {"stillroom": process("-m", "stillroom.main", "sim", "--help")}


@bench("import theory.flow against import numpy alone", at_most=3.0, repeats=9)
def flow_against_numpy():
    return {
        "import numpy": process("-c", "import numpy"),
        "stillroom": process("-c", "import theory.flow.spectrum, theory.flow.weights"),
    }


@bench("stillroom demo, from nothing", seconds=90, repeats=1)
def demo():
    def run():
        with tempfile.TemporaryDirectory() as out:
            process("-m", "stillroom.main", "demo", "--out", out)()

    return {"stillroom": run}
