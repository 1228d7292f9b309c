"""Neural-tangents in an environment of its own, with the versions it is known to run with."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[3]
FOLDER = HOUSE / ".venv-ntk"
WITH_DEPENDENCIES = (
    "jax==0.4.25",
    "jaxlib==0.4.25",
    "ml_dtypes==0.5.4",
    "numpy==1.26.4",
    "opt_einsum==3.4.0",
    "scipy==1.12.0",
    "frozendict==2.5.1",
    "absl-py==2.5.1",
    "flatbuffers==25.12.19",
    "protobuf==7.36.2",
)
# it names tensorflow among what it needs, of which it uses nothing here
ALONE = ("neural-tangents==0.6.5",)
_KNOWN = ((3, 11), (3, 12))


class Missing(Exception):
    """The environment is not there and could not be made; the text says why and what to do."""


def environment():
    """The interpreter of the environment, which is made if need be.

    Raises:
        Missing: If no fitting Python is found, or pip cannot install.
    """
    python, ready = FOLDER / "bin" / "python", FOLDER / ".ready"
    wanted = "\n".join((*WITH_DEPENDENCIES, *ALONE))
    if ready.is_file() and ready.read_text() == wanted:
        return python
    print(f"making {FOLDER} with {ALONE[0]} and {WITH_DEPENDENCIES[0]} (once) ...", flush=True)
    _run(_fitting_python(), "-m", "venv", "--clear", str(FOLDER))
    pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _run(*pip, *WITH_DEPENDENCIES)
    _run(*pip, "--no-deps", *ALONE)
    ready.write_text(wanted)
    return python


def _fitting_python():
    if sys.version_info[:2] in _KNOWN:
        return sys.executable
    names = [f"python{major}.{minor}" for major, minor in _KNOWN]
    found = next(filter(_runs, map(shutil.which, names)), None)
    if found is None:
        why = f"jax 0.4.25 needs one of {', '.join(names)}, and none runs here"
        raise Missing(why)
    return found


def _runs(python):
    """Whether it is there, and is no shim of a version that is not."""
    ran = python and subprocess.run([python, "-c", ""], check=False, capture_output=True)
    return ran and ran.returncode == 0


def _run(*command):
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ""}
    )
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        why = (
            f"{' '.join(command[:4])} ... failed: {last[0]}. Where there is no network, make the "
            "environment elsewhere and pass --peer-python, or --skip-peers to measure without it"
        )
        raise Missing(why)
