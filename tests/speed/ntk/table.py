"""The table as text."""

import itertools
import math

from tests.speed.ntk.cases import STRUCTURED, named

_COLUMNS = (
    f"{'case':<22}{'ours':>9}{'peer':>10}{'ratio':>7}{'goal':>6}  {'':<7}"
    f"{'tutorial':>11}{'ratio':>8}{'goal':>6}  {'':<7}"
    f"{'floor':>8}{'share':>7}{'MB':>6}{'theirs':>7}{'differ':>9}"
)


def heading(place):
    """Above the rows of one place."""
    clock = {"cpu": "CPU", "wall": "wall"}[place.clock]
    print(f"\n{place.name}: {clock} milliseconds\n{_COLUMNS}", flush=True)


def line(row):
    """One row."""
    star = "*" if row.scaled else " "
    mode = "" if row.peer_mode in (None, STRUCTURED) else "j"
    print(
        f"{row.name:<22}{_ms(row.ours):>9}{_ms(row.peer) + mode:>10}{_times(row.ratio):>7}"
        f"{_goal(row.goal):>6}  {_verdict(row.ratio, row.goal, named(row.name).stretch):<7}"
        f"{_ms(row.tutorial):>10}{star}{_times(row.tutorial_ratio):>8}{_goal(row.tutorial_goal):>6}"
        f"  {_verdict(row.tutorial_ratio, row.tutorial_goal):<7}"
        f"{_ms(row.floor):>8}{row.floor / row.ours:>7.0%}"
        f"{_mega(row.bytes_ours):>6}{_mega(row.bytes_peer):>7}{_small(row.difference):>9}",
        flush=True,
    )
    for why in row.failures:
        print(f"    {why}", flush=True)


def summary(rows, speeds, tiny, growth):
    """What stands below the tables."""
    print(
        "\npeer: neural-tangents under jit, j by Jacobian contraction, else by structured "
        "derivatives or its product.\ntutorial: torch.func; * timed on one block of samples with "
        "another, times the number of blocks.\nfloor: operations at the speed of a matrix product "
        "of this run; share: how much of our time that is.\nMB: peak beyond the base of the "
        "process, in a later call. differ: of 256 entries, beside the largest. beyond: further "
        "than the goal, as far as was thought possible."
    )
    for place, found in speeds.items():
        said = ", ".join(f"{dtype} {speed / 1e9:.0f}" for dtype, speed in found.items())
        print(f"matrix products on {place}: {said} GFLOP/s")
    heavier = [
        row.name
        for row in rows
        if row.bytes_peer and "product" not in row.name and row.bytes_ours > row.bytes_peer
    ]
    if any(row.bytes_peer for row in rows):
        print(
            f"kernels with a higher peak than the peer: {', '.join(sorted(set(heavier))) or 'none'}"
        )
    if tiny:
        print(
            f"a tiny network: {1e3 * tiny.ours:.3f} ms a call, {1e3 * tiny.bare:.3f} written out "
            f"by hand; overhead {1e3 * tiny.overhead:.3f} ms, goal {1e3 * tiny.goal:g}: "
            f"{'met' if tiny.met else 'MISSED'}"
        )
    if growth:
        _growth(growth)
    goals = [row for row in rows if row.goal is not None and row.ratio is not None]
    print(f"{sum(row.met for row in goals)} of {len(goals)} rows with goals meet them")


def _growth(found):
    print("trace kernel of the MLP on two threads, wall time:")
    for one in found:
        print(
            f"  N={one.samples:<6}{one.seconds:8.2f} s{_mega(one.bytes):>8} MB beyond the base, "
            f"{_mega(one.bytes - one.result)} MB beside the kernel (budget {_mega(one.budget)} MB)"
        )
    powers = [
        math.log(b.seconds / a.seconds) / math.log(b.samples / a.samples)
        for a, b in itertools.pairwise(found)
    ]
    print(f"  time grows as N to the power {', '.join(f'{power:.2f}' for power in powers)}")


def _ms(seconds):
    if seconds is None:
        return "-"
    ms = 1e3 * seconds
    return f"{ms:.1f}" if ms < 100 else f"{ms:.0f}" if ms < 1e6 else f"{ms:.1e}"


def _times(value):
    return "-" if value is None else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _goal(value):
    return "" if value is None else f"{value:g}"


def _verdict(value, goal, stretch=None):
    if value is not None and stretch is not None and value >= stretch:
        return "beyond"
    return "" if None in (value, goal) else "met" if value >= goal else "MISSED"


def _mega(count):
    return "-" if count is None else f"{count / 1e6:.0f}"


def _small(value):
    return "-" if value is None else f"{value:.0e}"
