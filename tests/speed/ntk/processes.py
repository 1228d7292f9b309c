"""Engines in processes that take turns."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

HOUSE = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, slots=True)
class Place:
    """Where and by which clock is measured."""

    name: str
    cores: int
    clock: str
    """``cpu`` seconds are robust on a machine that others use, ``wall`` time is what one waits."""
    device: str = "cpu"


PINNED = Place("one core", 1, "cpu")
THREADS = Place("two threads", 2, "wall")
DEVICE = Place("GPU", 2, "wall", "cuda")


class Failed(Exception):
    """An engine could not do a case; the text says why."""


class Engine:
    """One engine with one case, prepared in a process of its own."""

    def __init__(self, python, engine, place, case, mode=""):
        self.name = engine
        self.mode = mode
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [
                str(python),
                "-m",
                "tests.speed.ntk.worker",
                engine,
                str(place.cores),
                case.name,
                mode,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=HOUSE,
            env=_environment(place),
        )
        try:
            self.ready = self._answer()
        except Failed:
            self.close()
            raise

    def ask(self, *words):
        """One line there, one line back."""
        try:
            self._process.stdin.write(" ".join(map(str, words)) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        return self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        code = self._process.wait()
        self._errors.seek(0)
        said = [each for each in self._errors.read().splitlines() if each.strip()]
        why = said[-1] if said else f"the process ended with status {code}"
        raise Failed(f"{self.name} {self.mode}: {why}".strip())

    def close(self):
        """End the process; a second time does nothing."""
        if not self._errors.closed:
            self._process.stdin.close()
            self._process.wait()
            self._process.stdout.close()
            self._errors.close()


def _environment(place):
    eigen = "true" if place.cores > 1 else "false"
    own = {
        "OMP_NUM_THREADS": str(place.cores),
        "MKL_NUM_THREADS": str(place.cores),
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={eigen}",
    }
    if place.device == "cpu":
        own |= {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    return {**os.environ, **own}


def in_turn(engines, place, repeats):
    """Median seconds of each engine; slow ones are asked fewer times."""
    slowest = max(engine.ready["first"] for engine in engines)
    count = repeats if slowest < 5 else min(repeats, 3)
    taken = {id(engine): [] for engine in engines}
    for turn in range(count):
        for engine in engines if turn % 2 == 0 else reversed(engines):
            taken[id(engine)].append(engine.ask("run")[place.clock])
    return [statistics.median(taken[id(engine)]) for engine in engines]


OURS = Path(sys.executable)
