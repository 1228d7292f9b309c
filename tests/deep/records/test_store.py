import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deep.records import store as records
from deep.records.store import Corrupt, Store, storable

KEY = "abcdef0123456789"
OTHER = "0123456789abcdef"
HOUSE = Path(__file__).parents[3]

dtypes = (
    hnp.boolean_dtypes()
    | hnp.integer_dtypes(endianness="?")
    | hnp.floating_dtypes(endianness="?")
    | hnp.complex_number_dtypes()
    | hnp.unicode_string_dtypes()
    | hnp.datetime64_dtypes()
)
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
names = st.text(min_size=1).filter(str.isprintable)


def put(store, key=KEY, value=1):
    return store.put(key, arrays={"x": np.full(3, value)}, record={"value": value})


def program(*arguments, **options):
    command = [sys.executable, "-m", "tests.deep.records.crashes", *map(str, arguments)]
    return subprocess.Popen(command, cwd=HOUSE, text=True, stdout=subprocess.PIPE, **options)


@given(held=st.dictionaries(names, arrays, max_size=4))
def test_arrays_come_back_as_they_were(held, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    entry = store.put(KEY, arrays=held, record={})
    for kept in (entry.arrays, store.get(KEY).arrays):
        assert kept.keys() == held.keys()
        for name, array in held.items():
            assert kept[name].dtype == array.dtype
            np.testing.assert_array_equal(kept[name], array)


def test_what_put_returns_is_what_get_returns(tmp_path):
    store = Store(tmp_path)
    record = {"times": (1, float("inf")), "path": Path("a"), "n": np.int64(3)}
    entry = store.put(KEY, arrays={"file": [1.5], "a/b": 3}, record=record)
    again = store.get(KEY)
    assert entry.record == again.record == store.record(KEY)
    assert entry.record == {"times": [1, float("inf")], "path": Path("a"), "n": 3}
    assert list(again.arrays) == ["file", "a/b"]
    assert again.arrays["a/b"].shape == ()


def test_equal_contents_give_equal_bytes(tmp_path):
    first, second = Store(tmp_path / "1"), Store(tmp_path / "2")
    for store in (first, second):
        put(store)
    for name in ("arrays.npz", "record.json", "manifest.json"):
        assert (first.path(KEY) / name).read_bytes() == (second.path(KEY) / name).read_bytes()


def test_the_arrays_are_an_ordinary_npz(tmp_path):
    put(Store(tmp_path))
    with np.load(tmp_path / KEY / "arrays.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["x"], [1, 1, 1])


def test_a_missing_entry_is_none_and_nothing_is_made(tmp_path):
    store = Store(tmp_path / "none")
    assert store.get(KEY) is None
    assert store.record(KEY) is None
    assert store.present() == ()
    assert not store.root.exists()


def test_only_entries_are_present(tmp_path):
    store = Store(tmp_path)
    put(store), put(store, OTHER)
    (tmp_path / "set-aside").mkdir()
    assert store.present() == (OTHER, KEY)


def test_put_replaces(tmp_path):
    store = Store(tmp_path)
    put(store, value=1), put(store, value=2)
    assert store.get(KEY).record == {"value": 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == [".locks", ".partial", KEY]
    assert not list(tmp_path.glob(".*/*"))


@pytest.mark.parametrize("key", ["", "..", "a/b", "../abcdef01", "ABCDEF0123", "abc", "x" * 64])
def test_refuses_keys_that_are_not_hexadecimal(tmp_path, key):
    store = Store(tmp_path)
    for ask in (store.get, store.path, store.record, lambda key: put(store, key)):
        with pytest.raises(ValueError, match="key must be 8 to 64 lower-case hexadecimal"):
            ask(key)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("held", "what"),
    [
        ({"x": np.array([None])}, "array 'x' must hold numbers or text, got dtype object"),
        ({"x": [[1], [2, 3]]}, "must hold numbers or text"),
        ({"x": np.zeros(1, dtype=[("a", "f8")])}, "must hold numbers or text"),
        ({"x": {"a": 1}}, "must hold numbers or text"),
        ({"": 1}, "name of an array must be printable text, got ''"),
        ({"a\nb": 1}, "must be printable text"),
        ({3: 1}, "must be printable text, got 3"),
    ],
)
def test_refuses_arrays_that_would_need_pickle(tmp_path, held, what):
    with pytest.raises(ValueError, match=re.escape(what)):
        Store(tmp_path).put(KEY, arrays=held, record={})
    with pytest.raises(ValueError, match=re.escape(what)):
        storable(held)
    assert not list(tmp_path.iterdir())


def test_a_record_that_cannot_be_stored_is_refused_and_the_old_entry_stays(tmp_path):
    store = Store(tmp_path)
    put(store)
    with pytest.raises(ValueError, match=r"record\.x must be built of"):
        store.put(KEY, arrays={}, record={"x": object()})
    assert store.get(KEY).record == {"value": 1}


def test_an_entry_may_hold_further_files(tmp_path):
    store = Store(tmp_path / "store")
    source = tmp_path / "weights"
    source.write_bytes(bytes(range(256)) * 10_000)  # more than is read at once
    files = {"weights.bin": source, "note.txt": b"text", "empty": b""}
    entry = store.put(KEY, arrays={"x": 1}, record={}, files=files)
    again = store.get(KEY)
    assert entry.files == again.files
    assert {name: path.parent for name, path in again.files.items()} == dict.fromkeys(
        files, store.path(KEY)
    )
    assert again.files["weights.bin"].read_bytes() == source.read_bytes()
    assert again.files["note.txt"].read_bytes() == b"text"
    source.write_bytes(b"changed afterwards")
    assert store.get(KEY) is not None
    put(store)  # in place of it, without files
    assert store.get(KEY).files == {}
    assert not again.files["note.txt"].exists()


def test_what_is_made_may_hold_files(tmp_path):
    store = Store(tmp_path)
    made = store.get_or_make(KEY, lambda: ({}, {"n": 1}, {"a": b"1"}))
    assert made.files["a"].read_bytes() == store.get(KEY).files["a"].read_bytes() == b"1"
    with pytest.raises(ValueError, match="file 'a' must be bytes"):
        store.get_or_make(OTHER, lambda: ({}, {}, {"a": "1"}))
    assert store.get_or_make(OTHER, lambda: ({}, {})).files == {}


def test_a_file_under_the_root_is_linked_not_copied(tmp_path):
    store = Store(tmp_path / "store")
    inside, outside = tmp_path / "store" / "inside", tmp_path / "outside"
    inside.parent.mkdir()
    for path in (inside, outside):
        path.write_bytes(b"weights")
    (tmp_path / "store" / "pointer").symlink_to(inside)
    files = {"in": inside, "out": outside, "link": tmp_path / "store" / "pointer"}
    entry = store.put(KEY, arrays={}, record={}, files=files)
    assert entry.files["in"].samefile(inside)
    assert not entry.files["out"].samefile(outside)
    assert not entry.files["link"].is_symlink()
    inside.unlink()
    assert store.get(KEY).files["in"].read_bytes() == b"weights"


def test_a_file_system_without_links_gets_copies(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    store = Store(tmp_path)
    source = tmp_path / "inside"
    source.write_bytes(b"weights")
    monkeypatch.setattr(os, "link", refuse)
    store.put(KEY, arrays={}, record={}, files={"in": source})
    assert store.get(KEY).files["in"].read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("arrays.npz", b"", "name of a file must be letters"),
        ("manifest.json", b"", "name of a file must be letters"),
        ("a/b", b"", "name of a file must be letters"),
        ("..", b"", "name of a file must be letters"),
        (".hidden", b"", "name of a file must be letters"),
        ("", b"", "name of a file must be letters"),
        (3, b"", "name of a file must be letters"),
        ("a", "text", "must be bytes or the path of a file, got str"),
        ("a", Path("/nowhere/at/all"), "got /nowhere/at/all, which is no file"),
        ("a", Path("/"), "got /, which is no file"),
    ],
)
def test_refuses_files_that_cannot_be_stored(tmp_path, name, content, what):
    with pytest.raises(ValueError, match=what):
        Store(tmp_path).put(KEY, arrays={}, record={}, files={name: content})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../../outside", "/etc/passwd", "sub/file"])
def test_a_manifest_that_points_elsewhere_is_damage(tmp_path, name):
    store = Store(tmp_path)
    put(store)
    path = tmp_path / KEY / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["sha256"][name] = "0" * 64
    path.write_text(json.dumps(manifest))
    with pytest.warns(Corrupt, match="another entry"):
        assert store.get(KEY) is None


def test_an_entry_without_files_is_written_as_before(tmp_path):
    put(Store(tmp_path))
    manifest = json.loads((tmp_path / KEY / "manifest.json").read_text())
    assert manifest.keys() == {"schema", "key", "sha256"}
    assert manifest["sha256"].keys() == {"arrays.npz", "record.json"}
    assert manifest["schema"] == 1


# What can happen to an entry on disk: (file, how)
def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-7])


def emptied(path):
    path.write_bytes(b"")


def listed(path):
    path.write_text("[1, 2]")


def folder_instead(path):
    path.unlink()
    path.mkdir()


DAMAGE = [
    (name, harm)
    for name in ("arrays.npz", "record.json", "manifest.json", "further.bin")
    for harm in (flipped, truncated, emptied, listed, Path.unlink, folder_instead)
]


@pytest.mark.parametrize(("name", "harm"), DAMAGE)
def test_a_damaged_entry_is_set_aside_and_made_again(tmp_path, name, harm):
    store = Store(tmp_path)
    store.put(KEY, arrays={"x": np.ones(3)}, record={}, files={"further.bin": bytes(1000)})
    harm(tmp_path / KEY / name)
    with pytest.warns(Corrupt, match=f"{KEY} is damaged: .* moved to .*set-aside"):
        assert store.get(KEY) is None
    (aside,) = (tmp_path / "set-aside").iterdir()
    assert aside.name.startswith(KEY)
    assert store.get(KEY) is None  # no second warning
    entry = store.get_or_make(KEY, lambda: ({"x": np.ones(1)}, {"again": True}))
    assert entry.record == store.get(KEY).record == {"again": True}
    assert aside.exists()


@pytest.mark.parametrize("part", ["schema", "key", "sha256", None])
@pytest.mark.parametrize("value", [None, [1], "text"])
def test_a_manifest_of_other_things_is_damage(tmp_path, part, value):
    store = Store(tmp_path)
    put(store)
    path = tmp_path / KEY / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(value if part is None else {**manifest, part: value}))
    with pytest.warns(Corrupt, match=f"{KEY} is damaged"):
        assert store.get_or_make(KEY, lambda: ({}, {"again": True})).record == {"again": True}
    assert store.get(KEY).record == {"again": True}


def test_a_file_in_place_of_an_entry_is_damage(tmp_path):
    store = Store(tmp_path)
    (tmp_path / KEY).write_text("mine")
    with pytest.warns(Corrupt, match="manifest cannot be read"):
        assert store.get_or_make(KEY, lambda: ({}, {"again": True})).record == {"again": True}
    assert [path.read_text() for path in (tmp_path / "set-aside").iterdir()] == ["mine"]


@pytest.mark.parametrize("error", [KeyError, TypeError, ValueError])
def test_an_entry_that_fails_the_check_is_damage(tmp_path, error):
    def check(entry):
        if entry.record["value"] == 1:
            msg = "one"
            raise error(msg)

    put(Store(tmp_path))
    store = Store(tmp_path, check=check)
    with pytest.warns(Corrupt, match=f"does not hold what it must .{error.__name__}: '?one"):
        assert store.get(KEY) is None
    put(store, value=2)
    assert store.get(KEY).record == {"value": 2}


def test_get_or_make_heals_a_damaged_entry_at_once(tmp_path):
    store = Store(tmp_path)
    put(store)
    truncated(tmp_path / KEY / "arrays.npz")
    with pytest.warns(Corrupt):
        entry = store.get_or_make(KEY, lambda: ({}, {"again": True}))
    assert store.get(KEY).record == entry.record == {"again": True}


def test_an_entry_under_another_name_is_damaged(tmp_path):
    store = Store(tmp_path)
    put(store)
    (tmp_path / KEY).rename(tmp_path / OTHER)
    with pytest.warns(Corrupt, match="another entry"):
        assert store.get(OTHER) is None


def test_arrays_that_do_not_parse_are_damage_even_with_a_matching_checksum(tmp_path):
    import hashlib

    store = Store(tmp_path)
    put(store)
    junk = b"not an archive"
    (tmp_path / KEY / "arrays.npz").write_bytes(junk)
    manifest = json.loads((tmp_path / KEY / "manifest.json").read_text())
    manifest["sha256"]["arrays.npz"] = hashlib.sha256(junk).hexdigest()
    (tmp_path / KEY / "manifest.json").write_text(json.dumps(manifest))
    with pytest.warns(Corrupt, match="cannot be read"):
        assert store.get(KEY) is None


def test_an_entry_of_a_newer_schema_is_left_alone(tmp_path):
    store = Store(tmp_path)
    put(store)
    path = tmp_path / KEY / "manifest.json"
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.raises(ValueError, match="schema 2; this version reads schema 1"):
        store.get(KEY)
    assert path.exists()


def test_a_damaged_entry_that_cannot_be_moved_is_reported_all_the_same(tmp_path, monkeypatch):
    store = Store(tmp_path)
    put(store)
    truncated(tmp_path / KEY / "arrays.npz")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    monkeypatch.setattr(os, "open", refuse)  # nor can it be locked
    with pytest.warns(Corrupt, match="could not be moved .*Permission denied"):
        assert store.get(KEY) is None


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
def test_a_failure_while_making_leaves_nothing(tmp_path, error):
    store = Store(tmp_path)

    def fail():
        raise error

    with pytest.raises(error):
        store.get_or_make(KEY, fail)
    assert store.get(KEY) is None
    assert store.get_or_make(KEY, lambda: ({}, {"n": 1})).record == {"n": 1}  # the lock is free


@pytest.mark.parametrize("step", range(5))
def test_a_full_disk_leaves_the_old_entry(tmp_path, monkeypatch, step):
    store = Store(tmp_path)
    put(store)
    calls = iter(range(step))
    flush = os.fsync

    def full(handle):
        if next(calls, None) is None:
            raise OSError(28, "No space left on device")
        flush(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=f"No space left.*{KEY}"):
            put(store, value=2)
    assert store.get(KEY).record["value"] == (1 if step < 4 else 2)  # step 4: it is in place
    assert not list(tmp_path.glob(".partial/*"))


def test_only_one_of_many_threads_makes_an_entry(tmp_path):
    made = []

    def make():
        made.append(threading.get_ident())
        time.sleep(0.05)
        return {"x": np.ones(2)}, {}

    def ask():
        Store(tmp_path).get_or_make(KEY, make)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert not list(tmp_path.glob(".locks/*"))


def test_only_one_of_three_processes_makes_an_entry(tmp_path):
    log = tmp_path / "log"
    asked = [program("once", tmp_path / "s", KEY, log, stdin=subprocess.PIPE) for _ in range(3)]
    for process in asked:
        assert process.stdout.readline() == "ready\n"
    answers = {process.communicate("\n")[0] for process in asked}
    assert len(log.read_text().split()) == 1
    assert answers == {log.read_text()}


def test_different_keys_do_not_wait_for_each_other(tmp_path):
    store = Store(tmp_path)
    entry = store.get_or_make(KEY, lambda: ({}, {"inner": put(store, OTHER).record["value"]}))
    assert entry.record == {"inner": 1}


def test_a_reader_never_sees_an_entry_being_replaced(tmp_path):
    store = Store(tmp_path)
    put(store, value=0)
    stop = threading.Event()

    def replace():
        value = 0
        while not stop.is_set():
            value += 1
            put(store, value=value)

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                entry = store.get(KEY)
                assert entry is not None
                assert (entry.arrays["x"] == entry.record["value"]).all()
    finally:
        stop.set()
        writer.join()


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    process = program("hold", tmp_path, KEY)
    assert process.stdout.readline() == "making\n"
    store = Store(tmp_path)
    with store._locked(KEY, wait=False) as held:
        assert not held
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert store.get_or_make(KEY, lambda: ({}, {"n": 1})).record == {"n": 1}


def test_death_at_any_step_of_a_replacement_leaves_one_whole_entry(tmp_path):
    said = program("points", tmp_path).communicate()[0].split()
    assert len(said) > 12
    assert said == ["old"] * said.count("old") + ["new"] * said.count("new")
    assert said.count("old") > 4
    assert said.count("new") > 2


@pytest.mark.parametrize("kills", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_kill_at_random_moments_leaves_whole_entries_only(tmp_path, kills):
    rng = np.random.default_rng(0)
    store = Store(tmp_path)
    seen = 0
    for kill in range(kills):
        process = program("endless", tmp_path, kill)
        assert process.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.02, 0.15))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        for key in store.present():
            entry = store.get(key)  # a damaged one warns, and warnings are errors here
            assert (entry.arrays["values"] == entry.record["value"]).all()
            seen += 1
        store.sweep()
        assert not list(tmp_path.glob(".partial/*"))
    assert seen > kills
    assert not (tmp_path / "set-aside").exists()


def test_sweeping_leaves_what_another_is_writing(tmp_path):
    store = Store(tmp_path)
    (tmp_path / ".partial" / f"{KEY}.new").mkdir(parents=True)
    (tmp_path / ".partial" / f"{OTHER}.new").mkdir()
    with store._locked(KEY):
        Store(tmp_path).sweep()
        assert [path.name for path in tmp_path.glob(".partial/*")] == [f"{KEY}.new"]
    store.sweep()
    assert not list(tmp_path.glob(".partial/*"))


def test_records_load_neither_torch_nor_scipy():
    code = "import sys, deep.records.store, deep.records.provenance as p; p.provenance()\n"
    code += "assert not {'torch', 'scipy', 'theory'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=HOUSE, check=True)


def test_the_module_says_what_it_gives():
    assert set(records.__all__) >= {"Store", "Entry", "content_key"}


def test_a_replacement_that_ends_between_two_looks_is_not_missed(tmp_path, monkeypatch):
    store = Store(tmp_path)
    put(store)
    read, calls = records._read, []

    def late(path, key):
        calls.append(key)
        if len(calls) == 1:  # the moment between the two renames
            raise FileNotFoundError(path)
        return read(path, key)

    monkeypatch.setattr(records, "_read", late)
    assert store.get(KEY).record == {"value": 1}
