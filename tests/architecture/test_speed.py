"""The measuring of speed measures what it says; the speeds themselves are ``make bench``."""

import json
import time

import numpy as np
import pytest

from tests.speed import __main__ as speed
from tests.speed import register


def row(work, **goal):
    register.bench("row", **goal, repeats=3)(lambda: work)
    return register.measure(register.benches.pop())


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Time that passes only where a test says so."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def taking(clock, seconds):
    def work():
        clock[0] += seconds

    return work


def test_ratios_go_the_way_they_say(clock):
    work = {"slow": taking(clock, 3.0), "stillroom": taking(clock, 1.0)}
    ratio = row(work, at_most=0.5)
    assert ratio.passed
    assert ratio.value == pytest.approx(1 / 3)
    assert ratio.seconds == {"slow": 3.0, "stillroom": 1.0}
    speedup = row(work, at_least=2)
    assert speedup.passed
    assert speedup.value == 3
    assert speedup.baseline == "slow"
    assert not row(work, at_most=0.1).passed
    assert not row(work, at_least=10).passed


def test_the_median_of_what_was_taken_in_turn_counts(clock):
    asked = []

    def work(name, times):
        def one():
            asked.append(name)
            clock[0] += times.pop(0)

        return one

    got = row({"base": work("b", [9, 1, 1, 50]), "stillroom": work("s", [9, 2, 70, 2])}, at_most=2)
    assert got.value == 2
    assert "".join(asked) == "bs" + "bs" + "sb" + "bs"


def test_seconds_and_bytes_have_no_baseline(clock):
    assert row({"stillroom": taking(clock, 0.01)}, seconds=1).passed
    assert not row({"stillroom": taking(clock, 0.01)}, seconds=0.001).passed
    used = row({"stillroom": lambda: np.ones(10**6)}, peak_bytes=9e6)
    assert used.passed
    assert used.value >= 8e6


@pytest.mark.parametrize("goals", [{}, {"at_most": 1, "seconds": 1}])
def test_a_row_has_one_goal(goals):
    with pytest.raises(ValueError, match="give one of"):
        register.bench("row", **goals)


@pytest.mark.parametrize("work", [{"a": print}, {"stillroom": print}, {}])
def test_a_ratio_needs_us_and_a_baseline(work):
    with pytest.raises(ValueError, match="must return 'stillroom' and 1 baselines"):
        row(work, at_most=1)


def test_the_table_is_printed_and_written(clock, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(register, "benches", [])
    monkeypatch.setattr(speed, "HERE", tmp_path)  # no bench files

    @register.bench("quick", seconds=1)
    def quick():
        return {"stillroom": lambda: None}

    @register.bench("late", seconds=1)
    def late():
        return {"stillroom": taking(clock, 2)}

    @register.bench("elsewhere", seconds=1)
    def elsewhere():
        msg = "no such machine"
        raise register.Skip(msg)

    out = tmp_path / "deep" / "bench.json"
    assert speed.main(["--out", str(out)]) == 1
    said = capsys.readouterr().out
    assert "skipped: no such machine" in said
    assert "1 of 2 goals met, 1 skipped" in said
    written = json.loads(out.read_text())
    assert [one["passed"] for one in written["rows"]] == [True, False]
    assert written["provenance"]["versions"]["numpy"]
    assert speed.main(["quick"]) == 0
    assert speed.main(["nothing like it"]) == 1
    assert speed.main(["--list"]) == 0
