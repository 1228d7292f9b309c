"""Programs that make runs and may die, started by the tests in processes of their own.

``endless ROOT SEED`` makes runs, one after another, until it is killed.
``points ROOT`` dies once at each step of making a run, in children, and prints what is then found.
``once ROOT LOG`` makes a run unless another does, noting each making in ``LOG``.
``hold ROOT`` makes a run for ever; ``hold ROOT orphan`` leaves a child behind that outlives it.
``full ROOT`` fills a small disk, and says what is lost.
``readonly ROOT`` uses runs that may only be read.
"""

import itertools
import os
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from deep.records.runs import Runs
from tests.deep.records.crashes import die_after

CONFIG = {"method": "kd", "seed": 3}


def make(runs, value, config=CONFIG):
    with runs.working(runs.key(config), config) as work:
        if work.finished is not None:
            return work.finished
        work.progress(1, 2)
        path = work.folder / "weights"
        path.write_bytes(bytes([value]) * 100_000)
        return work.finish({"x": np.full(3, value)}, {"headline": {"value": value}}, {"w": path})


def whole(entry):
    value = entry.record["headline"]["value"]
    assert (entry.arrays["x"] == value).all()
    assert entry.files["w"].read_bytes() == bytes([value]) * 100_000
    return value


def endless(root, seed):
    rng = np.random.default_rng(int(seed))
    while True:
        make(Runs(Path(root)), int(rng.integers(256)), {"seed": int(rng.integers(1000))})
        print("made", flush=True)


def points(root):
    for step in itertools.count():
        runs = Runs(Path(root) / str(step))
        child = os.fork()
        if child == 0:
            die_after(step)
            make(runs, 1)
            os._exit(0)
        died = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        states = [one.status for one in runs.summaries()]
        assert states in ([], ["interrupted"], ["damaged"], ["finished"]), states
        print(whole(make(runs, 2)), flush=True)
        remains = [*runs.root.glob(".partial/*"), *runs.root.glob(".working/*")]
        if remains or [one.status for one in runs.summaries()] != ["finished"]:
            print("remains", remains, flush=True)
        if not died:
            return


def once(root, log):
    runs, key = Runs(Path(root)), Runs.key(CONFIG)
    print("ready", flush=True)
    sys.stdin.read(1)
    said = []
    with runs.working(key, CONFIG, say=said.append) as work:
        if work.finished is None:
            with open(log, "a") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(0.3)
            work.finish({}, {"by": os.getpid()})
    print(len(said), work.finished.record["by"], flush=True)


def hold(root, orphan=""):
    runs = Runs(Path(root))
    with runs.working(runs.key(CONFIG), CONFIG) as work:
        work.progress(3, 10)
        if orphan and os.fork() == 0:
            print(os.getpid(), flush=True)
            time.sleep(600)
        if not orphan:
            print("making", flush=True)
        time.sleep(600)


def full(root):
    runs = Runs(Path(root))
    make(runs, 7)
    config = {"seed": 4}
    try:
        with runs.working(runs.key(config), config) as work:
            work.finish({}, {}, {"w": bytes(400_000)})
    except OSError as error:
        print(error)
    print(whole(runs.get(runs.key(CONFIG))))
    print(sorted(one.status for one in runs.summaries()))


def readonly(root):
    runs = Runs(Path(root))
    print(whole(make(runs, 9)))
    print([one.status for one in runs.summaries()])
    try:
        make(runs, 9, {"seed": 5})
    except OSError as error:
        print(error)


if __name__ == "__main__":
    warnings.simplefilter("error")  # a damaged run is only set aside with a warning
    programs = (endless, points, once, hold, full, readonly)
    {program.__name__: program for program in programs}[sys.argv[1]](*sys.argv[2:])
