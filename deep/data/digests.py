"""Digests of files, computed once a process as long as the files stay as they are."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

_KEPT = 64
_known: dict[str, str] = {}
"""Digests of contents by those of places, sizes and times."""


def of_files(files: Iterable[tuple[str, Path]], *, about: str = "") -> str:
    """Digest of names and contents of files, in their order.

    In one process the same files are read again only if one of them has another size, or was
    written or replaced since.

    Args:
        files: For each file a name, which counts, and its place, which does not.
        about: What else counts.

    Raises:
        ValueError: If a file cannot be read.
    """
    held = list(files)
    state = hashlib.sha256(about.encode())
    for name, path in held:
        state.update(f"\0{name}\0{path.absolute()}\0{_state(path)}".encode())
    seen = state.hexdigest()
    if seen not in _known:
        digest = hashlib.sha256(about.encode())
        for name, path in held:
            digest.update(f"\0{name}\0{_content(path)}".encode())
        while len(_known) >= _KEPT:
            _known.pop(next(iter(_known)))
        _known[seen] = digest.hexdigest()
    return _known[seen]


def unreadable(path: Path, error: OSError) -> ValueError:
    """What to raise for a file that cannot be read."""
    msg = f"{path} must be a file that can be read ({error.strerror})"
    return ValueError(msg)


def _state(path: Path) -> tuple[int, ...]:
    try:
        now = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    return now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error
