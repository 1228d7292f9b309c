"""What keeps files whole on a disk that may fill up, under processes that may be killed.

A file is written aside, flushed and renamed into place. A lock is a file locked by the operating
system (``flock``): a killed process gives it up by dying, and nobody has to guess whether a holder
still lives.
"""

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["flush_folder", "is_held", "locked", "naming", "write_whole"]

_FULL = (errno.ENOSPC, errno.EDQUOT)
_KEPT = "; nothing that was finished is lost"
_held: set[int] = set()
"""Handles of the locks that this process holds."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name ``path`` in an OSError that names no file, as that of a full disk does.

    A full disk also says what became of the rest: what was finished before stays as it is.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL and not str(error.strerror).endswith(_KEPT):
            text = os.strerror(error.errno or 0) + _KEPT
            raise OSError(error.errno, text, str(path)) from error
        if error.filename is None:
            error.filename = str(path)
        raise


def flush_folder(folder: Path) -> None:
    """Make the names in ``folder`` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file so that at any moment there is the old one or the new one.

    Args:
        path: The file; its folder exists.
        content: What it will hold.
        durable: Whether it survives a power cut once this returns; a killed process it survives
            in any case.

    Raises:
        OSError: If it cannot be written; the old file stays, and nothing is left beside it.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with naming(path):
        try:
            with aside.open("wb") as file:
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            aside.rename(path)
        except BaseException:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
            raise
        if durable:
            flush_folder(path.parent)


@contextmanager
def locked(
    path: Path, *, wait: bool = True, waiting: Callable[[], object] | None = None
) -> Iterator[bool]:
    """Hold the lock that is the file ``path``; yields whether it is held (always, if ``wait``).

    It is not held twice by one process either: a second ``locked`` of the same path waits. A child
    made by ``fork`` does not hold it.

    Args:
        path: The file; made with its folder, and removed in the end.
        wait: Whether to wait for another holder.
        waiting: Called once before waiting.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = acquire(path, wait=wait, waiting=waiting)
    try:
        yield handle is not None
    finally:
        if handle is not None and handle in _held:
            # Removed by its holder only: whoever waits on it sees a file that is no longer
            # the one of this name, and starts again (`acquire`).
            with suppress(OSError):
                path.unlink(missing_ok=True)
            release(handle)


def acquire(
    path: Path, *, wait: bool = True, waiting: Callable[[], object] | None = None
) -> int | None:
    """A locked handle of the file ``path``, or None if another holds it and ``wait`` is off."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if not _try(handle):
                if not wait:
                    os.close(handle)
                    return None
                if waiting is not None:
                    time.sleep(0.02)  # `is_held` of another process takes the lock for a moment
                    if not _try(handle):
                        waiting()
                        waiting = None
                fcntl.flock(handle, fcntl.LOCK_EX)
            if _same_file(handle, path):
                _held.add(handle)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def release(handle: int) -> None:
    """Give up a handle that `acquire` gave."""
    _held.discard(handle)
    os.close(handle)


def is_held(path: Path) -> bool:
    """Whether anyone holds the lock ``path``; nothing is made, nor need it be writable."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _leave_to_the_parent() -> None:
    """A lock lasts as long as any copy of its handle: an orphan must not keep it."""
    for handle in _held:
        with suppress(OSError):
            os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_leave_to_the_parent)
