"""How a speed is measured: see ``tests/speed/__main__.py`` for how to write one."""

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Work = Callable[[], Any]


class Skip(Exception):
    """This cannot be measured here; the text says why."""


@dataclass(frozen=True)
class Bench:
    """One row of the table: what is measured, against what, and the goal."""

    title: str
    prepare: Callable[[], Mapping[str, Work]]
    goal: float
    kind: str  # "at most", "at least", "seconds", "bytes"
    repeats: int
    module: str


@dataclass(frozen=True)
class Row:
    """One row, measured. ``value`` is a ratio, seconds, or bytes, as ``kind`` says."""

    title: str
    kind: str
    goal: float
    value: float
    passed: bool
    seconds: dict[str, float]
    baseline: str | None
    repeats: int


benches: list[Bench] = []


def bench(title, *, at_most=None, at_least=None, seconds=None, peak_bytes=None, repeats=5):
    """Register a function that prepares the work; exactly one goal is given."""
    goals = {"at most": at_most, "at least": at_least, "seconds": seconds, "bytes": peak_bytes}
    given = {kind: goal for kind, goal in goals.items() if goal is not None}
    if len(given) != 1:
        msg = f"{title}: give one of at_most, at_least, seconds, peak_bytes, got {len(given)}"
        raise ValueError(msg)
    ((kind, goal),) = given.items()

    def record(prepare):
        benches.append(Bench(title, prepare, float(goal), kind, repeats, prepare.__module__))
        return prepare

    return record


def measure(one, repeats=None):
    """Measure a row.

    The pieces of work are prepared once, run once to warm up, and then in turn, so that what
    disturbs the machine disturbs all of them; the value is made of medians.
    """
    work = dict(one.prepare())
    baseline = _baseline(one, work)
    if one.kind == "bytes":
        return _measured_bytes(one, work)
    for run in work.values():
        run()
    count = repeats or one.repeats
    taken = {name: [] for name in work}
    for turn in range(count):
        for name in list(work) if turn % 2 == 0 else reversed(list(work)):
            gc.collect()
            begin = time.perf_counter()
            work[name]()
            taken[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(times) for name, times in taken.items()}
    ours = medians["stillroom"]
    if one.kind == "seconds":
        value, passed = ours, ours <= one.goal
    elif one.kind == "at most":
        value = ours / medians[baseline]
        passed = value <= one.goal
    else:
        value = medians[baseline] / ours
        passed = value >= one.goal
    return Row(one.title, one.kind, one.goal, value, passed, medians, baseline, count)


def _baseline(one, work):
    others = [name for name in work if name != "stillroom"]
    wanted = 0 if one.kind in ("seconds", "bytes") else 1
    if "stillroom" not in work or len(others) != wanted:
        msg = f"{one.title}: prepare must return 'stillroom' and {wanted} baselines, got {[*work]}"
        raise ValueError(msg)
    return others[0] if others else None


def _measured_bytes(one, work):
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work["stillroom"]()
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    return Row(one.title, one.kind, one.goal, float(peak), peak <= one.goal, {}, None, 1)
