"""A folder of finished results: atomic, checksummed, locked, named by their content.

One entry is one folder ``root/<key>`` with ``arrays.npz``, ``record.json``, any files that were
given with them, and ``manifest.json``, which holds the SHA-256 of all the others. An entry is
written to ``root/.partial``, flushed to the disk and renamed into place, so that a process killed
at any moment leaves either the whole entry or none. Whoever makes an entry holds a lock of the
operating system (``flock``), which a killed process gives up by dying. Everything in ``.partial``
that belongs to a key whose lock is free is therefore the remains of a dead process.

An entry that fails its checksums, or the store's own ``check``, is moved to ``root/set-aside``
with a warning, never deleted.
"""

import os
import secrets
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from deep.records.disk import flush_folder, locked, naming
from deep.records.encoding import content_key
from deep.records.entries import (
    Damaged,
    Entry,
    Files,
    Written,
    encoded,
    is_key,
    record_of,
    storable,
)
from deep.records.entries import read as _read

__all__ = ["Corrupt", "Entry", "Store", "content_key", "storable"]

Made = (
    tuple[Mapping[str, ArrayLike], Mapping[str, Any]]
    | tuple[Mapping[str, ArrayLike], Mapping[str, Any], Files]
)


class Corrupt(UserWarning):
    """An entry is damaged and was set aside."""


class Store:
    """Entries under ``root``, each made once however many processes ask for it.

    Args:
        root: Their folder; made when the first of them is written.
        check: Raises KeyError, TypeError or ValueError for an entry that does not hold what the
            entries of this store must hold: such a one is damaged, whatever its checksums.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> folder = tempfile.TemporaryDirectory()
        >>> store = Store(folder.name)
        >>> key = content_key({"what": "squares", "up to": 3})
        >>> entry = store.get_or_make(key, lambda: ({"squares": np.arange(4) ** 2}, {"n": 4}))
        >>> store.get(key).arrays["squares"]
        array([0, 1, 4, 9])
        >>> folder.cleanup()
    """

    def __init__(
        self, root: str | os.PathLike[str], *, check: Callable[[Entry], object] | None = None
    ) -> None:
        self.root = Path(root)
        self._check = check
        self._swept = False

    def present(self) -> tuple[str, ...]:
        """Keys of the entries present, unverified, in order."""
        if not self.root.is_dir():
            return ()
        return tuple(sorted(path.name for path in self.root.iterdir() if is_key(path.name)))

    def path(self, key: str) -> Path:
        """The folder of an entry, present or not.

        Raises:
            ValueError: If ``key`` is not hexadecimal, as ``content_key`` gives it.
        """
        if not is_key(key):
            msg = f"key must be 8 to 64 lower-case hexadecimal digits, got {key!r}"
            raise ValueError(msg)
        return self.root / key

    def get(self, key: str) -> Entry | None:
        """The entry, verified by its checksums, or None.

        A damaged entry is set aside with a :class:`Corrupt` warning, and None is returned.
        """
        try:
            return self._read(self.path(key), key)
        except FileNotFoundError:
            if not self._remains(key) and not self.path(key).exists():
                return None
        except Damaged:
            pass
        # Replaced while it was read, or left so by a killed process: look again, alone.
        try:
            with self._locked(key):
                self._tidy(key)
                return self._checked(key)
        except OSError:  # a folder that may only be read
            return self._checked(key)

    def record(self, key: str) -> dict[str, Any] | None:
        """The record of an entry without its arrays, or None where it cannot be read."""
        try:
            return record_of(self.path(key), key)
        except (Damaged, FileNotFoundError):
            return None

    def put(
        self,
        key: str,
        *,
        arrays: Mapping[str, ArrayLike],
        record: Mapping[str, Any],
        files: Files | None = None,
    ) -> Entry:
        """Write an entry, in place of one of the same key if there is one.

        Args:
            key: As ``content_key`` gives it.
            arrays: Arrays by name.
            record: All that JSON can hold; see `deep.records.encoding`.
            files: Further files by name: bytes, or the path of a file, which is copied without
                being loaded. A file that lies under the store's own root is linked instead: it
                must not be changed afterwards.

        Raises:
            ValueError: If the arrays, the record or the files cannot be stored; nothing is written
                then.
            OSError: If the disk is full or may not be written; the entry before stays.
        """
        self.path(key)
        new = encoded(key, arrays, record, files)
        with self._locked(key):
            self._tidy(key)
            return self._write(new)

    def get_or_make(
        self,
        key: str,
        make: Callable[[], Made],
    ) -> Entry:
        """The entry, or what ``make()`` returns, stored.

        It returns ``(arrays, record)`` or ``(arrays, record, files)``, as `put` takes them.

        Of several processes or threads that ask for a key at once, one makes it and the others
        wait. ``make`` must not ask the store for the same key.
        """
        found = self.get(key)
        if found is not None:
            return found
        with self._locked(key):
            self._tidy(key)
            found = self._checked(key)
            if found is not None:
                return found
            return self._write(encoded(key, *make()))

    def sweep(self) -> None:
        """Clear up what killed processes left; what others are writing stays."""
        for key in {path.name.split(".")[0] for path in self._partial_folders()}:
            with self._locked(key, wait=False) as held:
                if held:
                    self._tidy(key)

    def _checked(self, key: str) -> Entry | None:
        """The entry, or None after setting a damaged one aside. The lock is held."""
        try:
            return self._read(self.path(key), key)
        except FileNotFoundError:
            return None
        except Damaged as damage:
            self._set_aside(key, str(damage))
            return None

    def _read(self, path: Path, key: str) -> Entry:
        """The entry in the folder ``path``: see the function of this name."""
        entry = _read(path, key)
        if self._check is not None:
            try:
                self._check(entry)
            except (KeyError, TypeError, ValueError) as error:
                msg = f"it does not hold what it must ({type(error).__name__}: {error})"
                raise Damaged(msg) from error
        return entry

    def _sound(self, folder: Path, key: str) -> bool:
        try:
            self._read(folder, key)
        except (Damaged, OSError, ValueError):
            return False
        return True

    def _set_aside(self, key: str, why: str) -> None:
        target = self.root / "set-aside" / f"{key}.{secrets.token_hex(4)}"
        try:
            target.parent.mkdir(exist_ok=True)
            self.path(key).rename(target)
            what = f"it was moved to {target}"
        except OSError as error:
            what = f"it could not be moved to {target} ({error.strerror})"
        warnings.warn(f"stored entry {self.path(key)} is damaged: {why}; {what}", Corrupt, 4)

    def _write(self, entry: Written) -> Entry:
        """Write the files aside, flush them, rename the folder into place. The lock is held."""
        if not self._swept:
            self._swept = True
            self.sweep()
        key = entry.key
        final = self.path(key)
        new = self.root / ".partial" / f"{key}.new"
        old = self.root / ".partial" / f"{key}.old"
        try:
            with naming(final):
                entry.write(new, final=final, own=self.root)
                if final.exists():
                    final.rename(old)  # killed here: `_tidy` puts the new one in place
                new.rename(final)
                flush_folder(self.root)
        finally:
            self._tidy(key)
        return entry.entry(final)

    def _tidy(self, key: str) -> None:
        """Finish or clear what a killed process left of ``key``. The lock is held."""
        for end in ("new", "old"):
            folder = self.root / ".partial" / f"{key}.{end}"
            if not folder.exists():
                continue
            if not self.path(key).exists() and self._sound(folder, key):
                folder.rename(self.path(key))
            else:
                shutil.rmtree(folder, ignore_errors=True)

    def _partial_folders(self) -> list[Path]:
        folder = self.root / ".partial"
        return list(folder.iterdir()) if folder.is_dir() else []

    def _remains(self, key: str) -> bool:
        return any((self.root / ".partial" / f"{key}.{end}").exists() for end in ("new", "old"))

    @contextmanager
    def _locked(self, key: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold the lock of ``key``; yields whether it is held (always, if ``wait``)."""
        with locked(self.root / ".locks" / key, wait=wait) as held:
            yield held
