import pytest

from sims import experiments, results, runner
from sims.context import Context


def config(**changes):
    return experiments.get("fake_squares").Config(**changes)


def test_a_finished_result_is_fetched(fakes, tmp_path):
    first = runner.finish("fake_squares", context=Context(tmp_path, workers=1))
    again = runner.finish("fake_squares", context=Context(tmp_path, workers=1))
    assert (first.fetched, again.fetched) == (False, True)
    assert first.path == again.path
    assert list(again.result.array("squares")) == [0, 1, 4, 9, 16]
    assert again.result.findings == first.result.findings
    assert again.result.provenance == first.result.provenance


def test_fresh_takes_the_place_of_what_is_stored(fakes, tmp_path):
    first = runner.finish("fake_squares", context=Context(tmp_path, workers=1))
    fresh = runner.finish("fake_squares", context=Context(tmp_path, workers=1, fresh=True))
    assert not fresh.fetched
    assert fresh.path == first.path
    stored = results.load(tmp_path, "fake_squares")
    assert stored.provenance["created"] == fresh.result.provenance["created"]
    assert stored.provenance["created"] > first.result.provenance["created"]


def test_provenance_says_what_was_asked_for(fakes, tmp_path):
    context = Context(tmp_path, workers=1)
    known = runner.finish("fake_squares", config(numbers=3), context=context).result.provenance
    assert known["sizes"] == ["demo"]
    assert known["seed"] == 0
    assert known["device"] == "cpu"
    assert known["duration"] > 0
    changed = runner.finish("fake_squares", config(numbers=3, seed=7), context=context).result
    assert changed.provenance["sizes"] == []
    assert changed.config["seed"] == 7


def test_without_a_context_nothing_is_kept(fakes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = runner.finish("fake_squares")
    assert done.path is None
    assert not list(tmp_path.iterdir())


def test_a_failure_stores_nothing(fakes, tmp_path):
    context = Context(tmp_path, workers=1)
    with pytest.raises(ValueError, match="numbers are"):
        runner.finish("fake_squares", config(fail="value"), context=context)
    assert not list(tmp_path.glob("results/*/[0-9a-f]*"))
    with pytest.raises(TypeError, match=r"fake_squares\.py must return a Result of fake_squares"):
        runner.finish("fake_squares", config(fail="nothing"), context=context)
