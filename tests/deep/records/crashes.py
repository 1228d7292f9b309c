"""Programs that die, run by the tests of the store in processes of their own.

``python crashes.py endless ROOT SEED`` puts entries until it is killed.
``python crashes.py points ROOT`` dies once at each step of replacing an entry, in children, and
prints what is then read: one line each, ``old`` or ``new`` (anything else is a fault).
``python crashes.py hold ROOT KEY`` makes an entry for ever.
"""

import itertools
import os
import pathlib
import sys
import time

import numpy as np

from deep.records import store as records

KEY = "abcdef0123456789"


def endless(root, seed):
    rng = np.random.default_rng(int(seed))
    store = records.Store(root)
    print("ready", flush=True)
    for n in itertools.count():
        key = f"{rng.integers(6):016x}"  # few keys: most puts replace an entry
        value = int(rng.integers(1000))
        array = np.full(int(rng.integers(1, 200_000)), value)
        store.put(key, arrays={"values": array}, record={"value": value, "n": n})


def points(root):
    for step in itertools.count():
        store = records.Store(os.path.join(root, str(step)))
        store.put(KEY, arrays={"version": 1}, record={"version": "old"})
        child = os.fork()
        if child == 0:
            die_after(step)
            store.put(KEY, arrays={"version": 2}, record={"version": "new"})
            os._exit(0)
        died = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        entry = store.get(KEY)
        print(entry.record["version"] if entry else "nothing", flush=True)
        store.sweep()
        if list(store.root.glob(".partial/*")):
            print("remains", flush=True)
        if not died:
            return


def die_after(steps):
    """Die at the ``steps``-th call that changes the disk, before it is made."""
    left = iter(range(steps))

    def dying(f):
        def g(*args, **kwargs):
            if next(left, None) is None:
                os._exit(9)
            return f(*args, **kwargs)

        return g

    os.fsync = dying(os.fsync)
    for name in ("rename", "mkdir", "unlink", "open"):
        setattr(pathlib.Path, name, dying(getattr(pathlib.Path, name)))
    records.shutil.rmtree = dying(records.shutil.rmtree)


def hold(root, key):
    def make():
        print("making", flush=True)
        time.sleep(600)

    records.Store(root).get_or_make(key, make)


def once(root, key, log):
    """Get or make, noting each making in ``log``."""

    def make():
        with open(log, "a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.2)
        return {"x": np.arange(3)}, {"by": os.getpid()}

    print("ready", flush=True)
    sys.stdin.read(1)
    entry = records.Store(root).get_or_make(key, make)
    print(entry.record["by"], flush=True)


if __name__ == "__main__":
    {"endless": endless, "points": points, "hold": hold, "once": once}[sys.argv[1]](*sys.argv[2:])
