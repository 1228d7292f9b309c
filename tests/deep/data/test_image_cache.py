import errno
import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from deep.data import DataSpec, parquet
from deep.data.prepared import prepare
from deep.records.store import Corrupt


@pytest.fixture
def name(tmp_path):
    for split, count in (("train", 20), ("test", 5)):
        for label in ("a", "b"):
            folder = tmp_path / "pictures" / split / label
            folder.mkdir(parents=True)
            for row in range(count):
                value = (row, 100 if label == "b" else 0, 7)
                Image.new("RGB", (6, 6), value).save(folder / f"{row:02d}.png")
    return f"folder:{tmp_path / 'pictures'}"


def same(one, two):
    assert one.fingerprint == two.fingerprint
    assert one.class_names == two.class_names
    for split in ("train", "validation", "test"):
        for part in ("images", "labels", "truth"):
            assert torch.equal(
                getattr(getattr(one, split), part), getattr(getattr(two, split), part)
            )


def get(name, cache=None):
    return prepare(DataSpec(name=name, noise=0.2), validation=0.2, cache=cache)


def entries(cache):
    return sorted(path for path in (cache / "images").iterdir() if not path.name.startswith("."))


def no_decoding(monkeypatch):
    def refuse(*args):
        pytest.fail("decoded again")

    monkeypatch.setattr(parquet, "_decode", refuse)


def test_the_second_time_nothing_is_decoded(name, tmp_path, monkeypatch):
    plain, first = get(name), get(name, tmp_path / "cache")
    assert len(entries(tmp_path / "cache")) == 2
    no_decoding(monkeypatch)
    second = get(name, tmp_path / "cache")
    same(plain, first)
    same(plain, second)


def test_few_samples_are_decoded_alone_and_taken_where_all_are(name, tmp_path, monkeypatch):
    few = DataSpec(name=name, samples=2, test_samples=5)
    cache = tmp_path / "cache"
    alone = prepare(few, cache=cache)
    assert len(entries(cache)) == 1  # the test split
    get(name, cache)
    no_decoding(monkeypatch)
    assert prepare(few, cache=cache).fingerprint == alone.fingerprint


def test_changed_files_are_not_taken_from_the_cache(name, tmp_path):
    get(name, tmp_path / "cache")
    Image.new("RGB", (6, 6), (250, 0, 0)).save(tmp_path / "pictures/train/a/00.png")
    assert get(name, tmp_path / "cache").fingerprint == get(name).fingerprint


def test_moved_files_are(name, tmp_path, monkeypatch):
    spec = DataSpec(name=name, choice="first")
    before = prepare(spec, cache=tmp_path / "cache")
    (tmp_path / "pictures").rename(tmp_path / "moved")
    no_decoding(monkeypatch)
    moved = DataSpec(name=f"folder:{tmp_path / 'moved'}", choice="first")
    assert prepare(moved, cache=tmp_path / "cache").fingerprint == before.fingerprint


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("damage", [flip_a_byte, truncate, os.unlink])
@pytest.mark.parametrize("file", ["arrays.npz", "record.json", "manifest.json"])
def test_a_damaged_entry_is_set_aside_and_made_again(name, tmp_path, damage, file):
    cache = tmp_path / "cache"
    first = get(name, cache)
    for entry in entries(cache):
        damage(entry / file)
    with pytest.warns(Corrupt, match="was moved to"):
        again = get(name, cache)
    same(first, again)
    assert len(list((cache / "images" / "set-aside").iterdir())) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(first, get(name, cache))


def test_a_full_disk_is_said_and_leaves_nothing(name, tmp_path, monkeypatch):
    cache = tmp_path / "cache"

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left on device.*cache/images"):
            get(name, cache)
    assert not [path for path in entries(cache) if path.name != "set-aside"]
    assert not list((cache / "images" / ".partial").iterdir())
    same(get(name), get(name, cache))


CHILD = """
import sys
from pathlib import Path
from deep.data import DataSpec
from deep.data.prepared import prepare
print("ready", flush=True)
sys.stdin.readline()
spec = DataSpec(name=sys.argv[1], noise=0.2)
print(prepare(spec, validation=0.2, cache=Path(sys.argv[2])).fingerprint)
"""


def child(name, cache):
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, name, str(cache)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.slow
def test_two_processes_at_once(name, tmp_path):
    cache = tmp_path / "cache"
    both = [child(name, cache), child(name, cache)]
    for process in both:
        process.stdin.write("\n")
        process.stdin.flush()
    results = [process.communicate() for process in both]
    assert [error for _, error in results] == ["", ""]
    assert {out.strip() for out, _ in results} == {get(name).fingerprint}
    assert len(entries(cache)) == 2


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_wrong_afterwards(name, tmp_path):
    cache = tmp_path / "cache"
    want = get(name).fingerprint
    for delay in np.linspace(0.0, 0.05, 8):
        process = child(name, cache)
        process.stdin.write("\n")
        process.stdin.flush()
        time.sleep(float(delay))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert get(name, cache).fingerprint == want


@pytest.mark.slow
def test_real_cifar_starts_fast_the_second_time(data_root, tmp_path):
    """About 1 s when measured; the bound of the project is 2 s."""
    spec = DataSpec(name="cifar100", noise=0.2)
    first = prepare(spec, validation=0.05, root=data_root, cache=tmp_path)
    start = time.process_time()  # not of the clock: other tests may run beside this one
    second = prepare(spec, validation=0.05, root=data_root, cache=tmp_path)
    assert time.process_time() - start < 2
    same(first, second)
