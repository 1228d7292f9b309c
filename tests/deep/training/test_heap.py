"""Freed memory is kept for the next step where that is known how to do, and given back after."""

import subprocess
import sys

import pytest

from deep.training import heap

FAULTS = """
import resource, sys
import numpy as np
from deep.training import heap

def step():
    held = [np.ones(500_000) for _ in range(32)]  # 128 MB, as one step of a small network

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def size():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

for _ in range(3):
    step()
usual = faults()
heap.keep()
step()
kept = faults()
held = size()
heap.give_back()
print(usual, kept, held - size(), faults())
"""


@pytest.mark.skipif(not heap.keep(), reason="only glibc is told what to keep")
def test_pages_are_kept_between_steps_and_given_back():
    found = subprocess.run(
        [sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True
    )
    usual, kept, returned, again = map(int, found.stdout.split())
    assert usual > 10_000  # or the remedy is not needed any more
    assert kept < 1_000
    assert returned > 10_000
    assert again > 10_000


def test_elsewhere_nothing_is_done(monkeypatch):
    monkeypatch.setattr(heap, "_glibc", lambda: None)
    assert heap.keep() is False
    heap.give_back()
