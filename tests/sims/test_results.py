import dataclasses
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from deep.records.store import Corrupt, Store
from sims import results
from sims.results import Finding, NoResult, Result, latest, load, result_key


@dataclass(frozen=True, slots=True)
class Config:
    times: tuple[float, ...] = (1.0, math.inf)
    data: Path | None = None
    seed: int = 3


def result(experiment="squares", config=None, value=1, sizes=("demo",), **changes):
    arrays = {"x": np.full(3, value), "names": np.array(["a", "bc"])}
    found = (Finding("It is so.", holds=True, value=np.float32(0.5), low=0, high=math.nan),)
    provenance = {"sizes": list(sizes), "created": f"2026-01-01T00:00:{value:02d}"}
    made = Result(experiment, config or Config(), arrays, found, provenance)
    return dataclasses.replace(made, **changes)


def test_a_result_comes_back_as_it_was(tmp_path):
    made = result()
    path = made.save(tmp_path)
    assert path == tmp_path / "results" / "squares" / result_key("squares", Config())
    back = load(tmp_path, "squares")
    assert back.experiment == "squares"
    assert back.config == made.config == {"times": [1.0, math.inf], "data": None, "seed": 3}
    assert back.provenance == made.provenance
    np.testing.assert_array_equal(back.array("x"), [1, 1, 1])
    assert list(back.array("names")) == ["a", "bc"]
    (finding,) = back.findings
    assert (finding.text, finding.holds, finding.value, finding.low) == ("It is so.", True, 0.5, 0)
    assert math.isnan(finding.high)


def test_provenance_is_filled_in_when_stored(tmp_path):
    result(provenance={}).save(tmp_path)
    assert {"created", "versions", "commit", "cpu"} <= load(tmp_path, "squares").provenance.keys()


def test_the_latest_is_loaded_and_may_be_asked_for_by_size_or_key(tmp_path):
    first = result(config=Config(seed=1), value=1, sizes=("smoke",))
    second = result(config=Config(seed=2), value=2)
    path = first.save(tmp_path)
    second.save(tmp_path)
    assert load(tmp_path, "squares").config["seed"] == 2
    assert load(tmp_path, "squares", size="smoke").config["seed"] == 1
    assert load(tmp_path, "squares", key=path.name[:12]).config["seed"] == 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "no result of cubes under .*results; run `stillroom sim cubes`"),
        ({"size": "paper"}, "no result of cubes of size paper under .* --size paper`"),
        ({"key": "abc"}, "no result of cubes of key abc"),
    ],
)
def test_what_is_not_there_is_said_with_what_to_run(tmp_path, asked, said):
    result().save(tmp_path)
    with pytest.raises(NoResult, match=said):
        load(tmp_path, "cubes", **asked)


def test_a_damaged_result_is_set_aside_and_the_one_before_it_is_loaded(tmp_path):
    result(config=Config(seed=1), value=1).save(tmp_path)
    path = result(config=Config(seed=2), value=2).save(tmp_path)
    (path / "arrays.npz").write_bytes(b"")
    with pytest.warns(Corrupt, match=path.name):
        assert load(tmp_path, "squares").config["seed"] == 1
    assert load(tmp_path, "squares").config["seed"] == 1


@pytest.mark.parametrize(
    "change",
    [{"findings": ...}, {"findings": [{}]}, {"findings": 3}, {"provenance": None}, {"config": []}],
    ids=str,
)
def test_a_record_that_is_no_result_is_damage_whatever_its_checksums(tmp_path, change):
    path = result().save(tmp_path)
    record = {**result().record(), **change}
    record = {name: value for name, value in record.items() if value is not ...}
    Store(path.parent).put(path.name, arrays={}, record=record)
    with pytest.warns(Corrupt, match="does not hold what it must"):
        assert latest(tmp_path) == {}
    assert not path.exists()


def test_a_copied_folder_is_no_experiment(tmp_path):
    path = result().save(tmp_path)
    for copy in ("squares.bak", "cubes"):
        shutil.copytree(path.parent, tmp_path / "results" / copy)
    assert list(latest(tmp_path)) == ["squares"]


def test_latest_gives_one_of_each_experiment(tmp_path):
    assert latest(tmp_path) == {}
    result().save(tmp_path)
    result("cubes").save(tmp_path)
    (tmp_path / "results" / "empty").mkdir()
    assert list(latest(tmp_path)) == ["cubes", "squares"]


def test_the_key_is_that_of_the_config_however_it_is_given():
    fields = dataclasses.asdict(Config())
    assert result_key("squares", Config()) == result_key("squares", fields)
    assert result_key("squares", Config()) == result_key("squares", result().config)
    assert result_key("squares", Config()) != result_key("cubes", Config())
    assert result_key("squares", Config()) != result_key("squares", Config(seed=4))


def test_the_key_follows_a_data_file_and_the_source(tmp_path, monkeypatch):
    data = tmp_path / "my.npz"
    data.write_bytes(b"one")
    before = result_key("squares", Config(data=data))
    data.write_bytes(b"two")
    assert result_key("squares", Config(data=data)) != before
    with monkeypatch.context() as patch:
        plain = result_key("squares", Config())
        patch.setattr(results, "source_digest", lambda: "edited")
        assert result_key("squares", Config()) != plain


def test_the_source_digest_covers_names_and_contents(tmp_path, monkeypatch):
    def digest():
        results.source_digest.cache_clear()
        return results.source_digest()

    monkeypatch.setattr(results, "_HOUSE", tmp_path)
    seen = {digest()}
    for name, text in [("theory/a.py", "1"), ("theory/a.py", "2"), ("sims/b/c.py", "2")]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        seen.add(digest())
    assert len(seen) == 4
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "d.py").write_text("")
    assert digest() in seen
    monkeypatch.undo()
    results.source_digest.cache_clear()


def test_taking_the_source_digest_is_quick():
    results.source_digest.cache_clear()
    begin = time.perf_counter()
    results.source_digest()
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"experiment": "no name"}, "experiment must be the name of a module, got 'no name'"),
        ({"config": [1]}, "config must be a dataclass or a dictionary, got list"),
        ({"config": {"a": object()}}, r"record\.a must be built of"),
        ({"arrays": {"x": np.array([None])}}, "array 'x' must hold numbers or text"),
    ],
)
def test_refuses_what_cannot_be_stored(bad, said):
    with pytest.raises(ValueError, match=said):
        result(**bad)


@pytest.mark.parametrize("text", ["", "  "])
def test_a_finding_is_a_sentence(text):
    with pytest.raises(ValueError, match="text of a finding must be a sentence"):
        Finding(text)


def test_an_array_that_is_not_there_is_said_with_those_that_are():
    with pytest.raises(ValueError, match="squares has no array 'y'; it has names, x"):
        result().array("y")


def test_headlines_are_the_first_finding_and_all_that_do_not_hold():
    findings = [Finding("a", holds=True), Finding("b", holds=None), Finding("c", holds=False)]
    result = Result("fake", {}, {}, [*findings, Finding("d", holds=True)])
    assert [finding.text for finding in result.headlines] == ["a", "c"]
    assert Result("fake", {}, {}).headlines == ()
