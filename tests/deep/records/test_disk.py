import os
import threading
import time
from pathlib import Path

import pytest

from deep.records import disk
from deep.records.disk import is_held, locked, naming, write_whole


def test_a_file_is_written_whole_and_alone(tmp_path):
    path = tmp_path / "file"
    for content in (b"one", b"", b"three"):
        write_whole(path, content)
        assert path.read_bytes() == content
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("where", "name"), [(os, "fsync"), (Path, "rename"), (Path, "open")])
def test_what_cannot_be_written_leaves_the_old_file(tmp_path, monkeypatch, where, name):
    path = tmp_path / "file"
    write_whole(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(where, name, full)
        with pytest.raises(
            OSError, match=r"No space left.* nothing that was finished is lost.*file"
        ):
            write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_names_a_file_once(tmp_path):
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    for number in (28, 5):
        with pytest.raises(OSError, match="inner") as caught, naming(outer), naming(inner):
            raise OSError(number, os.strerror(number))
        assert "outer" not in str(caught.value)
        assert str(caught.value).count("lost") == (number == 28)
    with pytest.raises(FileNotFoundError, match="absent"), naming(outer):
        (tmp_path / "absent").read_bytes()


def test_nothing_is_written_to_a_device_that_is_full():
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this machine")
    with pytest.raises(OSError, match="nothing that was finished is lost: '/dev/full'"):
        overfill(Path("/dev/full"))


def overfill(path):
    with naming(path), path.open("wb") as file:
        file.write(bytes(100))
        file.flush()


def test_a_lock_is_held_once_and_its_file_removed(tmp_path):
    path = tmp_path / "folder" / "lock"
    assert not is_held(path)
    with locked(path):
        assert is_held(path)
        with locked(path, wait=False) as held:
            assert not held
        assert is_held(path)
    assert not is_held(path)
    assert not path.exists()
    path.touch()  # left by a killed process
    assert not is_held(path)
    with locked(path, wait=False) as held:
        assert held


def test_waiting_is_told_once(tmp_path):
    path, told = tmp_path / "lock", []

    def hold(begun):
        with locked(path):
            begun.set()
            time.sleep(0.1)

    begun = threading.Event()
    holder = threading.Thread(target=hold, args=(begun,))
    holder.start()
    begun.wait()
    with locked(path, waiting=lambda: told.append(1)), locked(path, wait=False) as another:
        assert not another  # the file that it waited for is gone; it holds the one of today
    with locked(path, waiting=lambda: told.append(2)):
        pass
    holder.join()
    assert told == [1]


def test_looking_at_a_lock_does_not_count_as_holding_it(tmp_path, monkeypatch):
    path, told = tmp_path / "lock", []
    tries = iter([False, True])
    real = disk._try
    monkeypatch.setattr(disk, "_try", lambda handle: next(tries) and real(handle))
    with locked(path, waiting=lambda: told.append(1)):
        assert told == []
        assert is_held(path)


def test_many_take_turns(tmp_path):
    path, inside, most = tmp_path / "lock", [], []

    def work():
        for _ in range(20):
            with locked(path):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 120
    assert not path.exists()
