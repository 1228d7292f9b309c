"""Rows of the table, measured."""

import contextlib
import math
from dataclasses import dataclass

import numpy as np

from tests.speed.ntk import cases
from tests.speed.ntk.floor import operations
from tests.speed.ntk.processes import OURS, PINNED, THREADS, Engine, Failed, in_turn


@dataclass(frozen=True, slots=True)
class Row:
    """One case in one place; seconds, bytes beyond the base of the process."""

    name: str
    place: str
    goal: float | None
    tutorial_goal: float | None
    ours: float
    first: float
    """Our first call, which finds out about the model; setting up for products."""
    peer: float | None
    peer_mode: str | None
    peer_first: float | None
    """Their first call, which compiles."""
    tutorial: float | None
    scaled: bool
    """Whether the tutorial's way was timed on one block."""
    bytes_ours: int
    bytes_peer: int | None
    difference: float | None
    """Largest difference of entries compared, beside the largest entry."""
    floor: float
    """Seconds that the operations take at the speed of matrix products."""
    failures: tuple[str, ...] = ()

    @property
    def ratio(self):
        return None if self.peer is None else self.peer / self.ours

    @property
    def tutorial_ratio(self):
        return None if self.tutorial is None else self.tutorial / self.ours

    @property
    def met(self):
        """Whether no goal that was measured is missed."""
        pairs = ((self.ratio, self.goal), (self.tutorial_ratio, self.tutorial_goal))
        return all(None in pair or pair[0] >= pair[1] for pair in pairs)


@dataclass(frozen=True, slots=True)
class Tiny:
    """One call on a tiny network, CPU seconds on the pinned core."""

    ours: float
    bare: float
    """The same kernel written out by hand for this network."""
    goal: float = cases.TINY_SECONDS

    @property
    def overhead(self):
        return self.ours - self.bare

    @property
    def met(self):
        return self.overhead <= self.goal


@dataclass(frozen=True, slots=True)
class Growth:
    """A trace kernel on two threads: wall seconds, bytes beyond the base of the process."""

    samples: int
    seconds: float
    bytes: int
    result: int
    """Bytes of the kernel itself."""
    budget: int


def row(case, place, *, peer, tutorial, repeats, speed):
    """Let all engines take turns at a case.

    Raises:
        Failed: If ours cannot do it.
    """
    failures = []
    with contextlib.ExitStack() as stack:

        def start(python, engine, mode=""):
            started = Engine(python, engine, place, case, mode)
            stack.callback(started.close)
            return started

        ours = start(OURS, "stillroom")
        others = []
        for mode in case.modes if peer else ():
            try:
                others.append(start(peer, "neural_tangents", mode))
            except Failed as why:
                failures.append(str(why))
            if case.quantity == "product":
                break
        seconds, *theirs = in_turn([ours, *others], place, repeats)
        best = min(zip(theirs, others, strict=True), key=lambda pair: pair[0], default=None)
        memory = ours.ask("memory")
        difference = None if best is None else _difference(ours, best[1])
        bytes_peer = None if best is None else _bytes(best[1].ask("memory"), place)
    slow = None
    if tutorial:
        try:
            slow = _tutorial(case, place)
        except Failed as why:
            failures.append(str(why))
    return Row(
        name=case.name,
        place=place.name,
        goal=case.goal,
        tutorial_goal=case.tutorial_goal,
        ours=seconds,
        first=ours.ready["prepared"] + ours.ready["first"],
        peer=best and best[0],
        peer_mode=best and best[1].mode,
        peer_first=best and best[1].ready["first"],
        tutorial=slow,
        scaled=bool(slow and case.block),
        bytes_ours=_bytes(memory, place),
        bytes_peer=bytes_peer,
        difference=difference,
        floor=operations(case) / speed,
        failures=tuple(failures),
    )


def _bytes(memory, place):
    return memory.get("device", 0) if place.device != "cpu" else memory["call"]


def _difference(one, two):
    a, b = (np.array(engine.ask("values")["values"]) for engine in (one, two))
    return float(np.abs(a - b).max() / np.abs(b).max())


def _tutorial(case, place):
    """Seconds of the whole, from one block with another where there are blocks."""
    if not case.block and case.quantity != "product":
        return None
    engine = Engine(OURS, "tutorial", place, case)
    try:
        (seconds,) = in_turn([engine], place, 3)
    finally:
        engine.close()
    blocks = math.ceil(case.samples / case.block) ** 2 if case.block else 1
    return seconds * blocks


def peaks(place, peer):
    """The fastest matrix product of either library, operations per second by kind of number."""
    found = {}
    pythons = [(OURS, "stillroom"), *([(peer, "neural_tangents")] if peer else [])]
    for python, name in pythons:
        engine = Engine(python, name, place, cases.TINY, cases.STRUCTURED)
        try:
            for dtype in ("float32", "float64"):
                speed = engine.ask("peak", 1024, dtype, place.clock)["flops"]
                found[dtype] = max(found.get(dtype, 0.0), speed)
        finally:
            engine.close()
    return found


def tiny(repeats):
    """The time of one call where there is next to nothing to compute."""
    with contextlib.ExitStack() as stack:
        engines = [Engine(OURS, name, PINNED, cases.TINY) for name in ("stillroom", "bare")]
        for engine in engines:
            stack.callback(engine.close)
        return Tiny(*in_turn(engines, PINNED, repeats))


def growth():
    """Time and memory of one large kernel after the other."""
    found = []
    for case in cases.GROWTH:
        engine = Engine(OURS, "stillroom", THREADS, case)
        try:
            (seconds,) = in_turn([engine], THREADS, 3)
            peak = engine.ask("memory")["call"]
        finally:
            engine.close()
        result = case.samples**2 * np.dtype(case.dtype).itemsize
        found.append(Growth(case.samples, seconds, peak, result, case.memory))
    return found
