import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deep.records.encoding import content_key, dumps, loads, plain

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
names = st.text().filter(lambda name: not name.startswith("$"))
values = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=20
)


@dataclass(frozen=True)
class One:
    rate: float


@dataclass(frozen=True)
class Two:
    rate: float


def same(a, b):
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@given(value=values)
def test_what_is_written_is_read_back(value):
    assert same(loads(dumps(value)), value)


@given(value=values, indent=st.none() | st.integers(0, 2))
def test_the_text_is_strict_json(value, indent):
    import json

    def refuse(name):
        raise AssertionError(name)

    json.loads(dumps(value, indent=indent), parse_constant=refuse)


def test_paths_tuples_dataclasses_and_numpy_scalars():
    content = {"p": Path("a/b"), "t": (1, One(math.inf)), "n": np.float32(0.5), "b": np.True_}
    back = loads(dumps(content))
    assert back == {"p": Path("a/b"), "t": [1, {"rate": math.inf}], "n": 0.5, "b": True}


@pytest.mark.parametrize("bad", [{1, 2}, object(), 1j, b"x", np.zeros(2), len])
def test_refuses_what_has_no_place_in_a_record_and_says_where(bad):
    with pytest.raises(ValueError, match=r"record\.a\[1\] must be built of .* got "):
        plain({"a": [0, bad]})


@pytest.mark.parametrize("key", [1, "$float", None])
def test_refuses_keys_that_would_not_come_back(key):
    with pytest.raises(ValueError, match="must have keys that are text"):
        dumps({key: 1})


@pytest.mark.parametrize("text", ['{"$float": "seven"}', '{"$path": 3}', '{"$float": [1]}'])
def test_a_marker_that_means_nothing_stays_as_it_is(text):
    assert next(iter(loads(text))).startswith("$")


@given(content=st.dictionaries(names, values))
def test_the_key_does_not_depend_on_the_order(content):
    backwards = dict(reversed(list(content.items())))
    assert content_key(content) == content_key(backwards)


def test_the_key_tells_contents_apart():
    contents = [
        {"a": 1},
        {"a": 1.0},
        {"a": True},
        {"a": "1"},
        {"a": None},
        {"a": [1]},
        {"a": math.nan},
        {"a": math.inf},
        {"a": -math.inf},
        {"a": -0.0},
        {"a": 0.0},
        {"a": Path("1")},
        {"a": One(1.0)},
        {"a": Two(1.0)},
        {"a": np.zeros(2)},
        {"a": np.zeros(2, dtype=np.float32)},
        {"a": np.zeros((1, 2))},
        {"a": np.ones(2)},
        {"a": {}},
        {"b": 1},
    ]
    assert len({content_key(content) for content in contents}) == len(contents)


def test_the_key_is_stable_between_versions():
    content = {"experiment": "x", "config": {"times": (1.0, math.inf), "seed": 3}}
    assert content_key(content)[:16] == "9b411b02214aa51f"


def test_an_array_counts_by_its_values_whatever_its_memory():
    array = np.arange(6.0).reshape(2, 3)
    assert content_key({"a": array}) == content_key({"a": np.asfortranarray(array)})
    with pytest.raises(ValueError, match="must not hold Python objects"):
        content_key({"a": np.array([None])})


def test_a_file_counts_by_what_it_holds(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("same")
    second.write_text("same")
    assert content_key({"data": first}) == content_key({"data": second})
    second.write_text("other")
    assert content_key({"data": first}) != content_key({"data": second})


@dataclass(frozen=True)
class Placed:
    digest: str
    root: Path = field(default=Path(), compare=False)


def test_fields_that_do_not_count_in_comparisons_are_no_content(tmp_path):
    here, there = Placed("a", tmp_path), Placed("a", tmp_path / "elsewhere")
    assert content_key({"item": here}) == content_key({"item": there})
    assert content_key({"item": here}) != content_key({"item": Placed("b", tmp_path)})
