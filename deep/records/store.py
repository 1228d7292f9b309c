"""A folder of finished results: atomic, checksummed, locked, named by their content.

One entry is one folder ``root/<key>`` with three files: ``arrays.npz``, ``record.json`` and
``manifest.json``, which holds the SHA-256 of the other two. An entry is written to
``root/.partial``, flushed to the disk and renamed into place, so that a process killed at any
moment leaves either the whole entry or none. Whoever makes an entry holds a lock of the operating
system (``flock``), which a killed process gives up by dying. Everything in ``.partial`` that
belongs to a key whose lock is free is therefore the remains of a dead process.

An entry that fails its checksums, or the store's own ``check``, is moved to ``root/set-aside``
with a warning, never deleted.
"""

import fcntl
import hashlib
import io
import os
import re
import secrets
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep.records.encoding import content_key, dumps, loads

__all__ = ["Corrupt", "Entry", "Store", "content_key", "storable"]

Arrays = Mapping[str, NDArray[Any]]
_SCHEMA = 1
_FILES = ("arrays.npz", "record.json")


class Corrupt(UserWarning):
    """An entry is damaged and was set aside."""


class _Damaged(Exception):
    """Why an entry cannot be trusted."""


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A finished result as stored."""

    key: str
    """Name of the content, as ``content_key`` gives it."""
    arrays: dict[str, NDArray[Any]]
    """Arrays by name."""
    record: dict[str, Any]
    """Everything else; lists where tuples were given."""


def storable(arrays: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
    """``arrays`` as NumPy arrays of numbers, booleans, times or text.

    Raises:
        ValueError: If a name is not printable text or a value is not such an array.

    Example:
        >>> storable({"rates": [1.0, 2.0]})
        {'rates': array([1., 2.])}
    """
    kept = {}
    for name, value in arrays.items():
        if not (isinstance(name, str) and name and name.isprintable()):  # type: ignore[redundant-expr]
            msg = f"the name of an array must be printable text, got {name!r}"
            raise ValueError(msg)
        try:
            array = np.asarray(value)
        except ValueError:  # ragged nesting
            array = np.empty(0, dtype=object)
        if array.dtype.kind not in "biufcmMSU":
            msg = f"array {name!r} must hold numbers or text, got dtype {array.dtype}"
            raise ValueError(msg)
        kept[name] = array
    return kept


class Store:
    """Entries under ``root``, each made once however many processes ask for it.

    Args:
        root: Their folder; made when the first of them is written.
        check: Raises KeyError, TypeError or ValueError for an entry that does not hold what the
            entries of this store must hold: such a one is damaged, whatever its checksums.

    Example:
        >>> import tempfile
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
        return tuple(sorted(path.name for path in self.root.iterdir() if _is_key(path.name)))

    def path(self, key: str) -> Path:
        """The folder of an entry, present or not.

        Raises:
            ValueError: If ``key`` is not hexadecimal, as ``content_key`` gives it.
        """
        if not _is_key(key):
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
        except _Damaged:
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
            manifest = _manifest(self.path(key), key)
            return _record(self.path(key), manifest)
        except (_Damaged, FileNotFoundError):
            return None

    def put(self, key: str, *, arrays: Mapping[str, ArrayLike], record: Mapping[str, Any]) -> Entry:
        """Write an entry, in place of one of the same key if there is one.

        Raises:
            ValueError: If the arrays or the record cannot be stored; nothing is written then.
        """
        self.path(key)
        entry, files = _encoded(key, arrays, record)
        with self._locked(key):
            self._tidy(key)
            self._write(key, files)
        return entry

    def get_or_make(
        self,
        key: str,
        make: Callable[[], tuple[Mapping[str, ArrayLike], Mapping[str, Any]]],
    ) -> Entry:
        """The entry, or what ``make()`` returns as ``(arrays, record)``, stored.

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
            entry, files = _encoded(key, *make())
            self._write(key, files)
        return entry

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
        except _Damaged as damage:
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
                raise _Damaged(msg) from error
        return entry

    def _sound(self, folder: Path, key: str) -> bool:
        try:
            self._read(folder, key)
        except (_Damaged, OSError, ValueError):
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

    def _write(self, key: str, files: Mapping[str, bytes]) -> None:
        """Write the files aside, flush them, rename the folder into place. The lock is held."""
        if not self._swept:
            self._swept = True
            self.sweep()
        final = self.path(key)
        new = self.root / ".partial" / f"{key}.new"
        old = self.root / ".partial" / f"{key}.old"
        try:
            new.mkdir(parents=True)
            for name, content in files.items():
                with (new / name).open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            _flush_folder(new)
            if final.exists():
                final.rename(old)  # killed here: `_tidy` puts the new one in place
            new.rename(final)
            _flush_folder(self.root)
        except OSError as error:
            if error.filename is None:  # a full disk names no file
                error.filename = str(final)
            raise
        finally:
            self._tidy(key)

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
        folder = self.root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / key
        handle = _acquire(path, wait=wait)
        try:
            yield handle is not None
        finally:
            if handle is not None:
                # Removed by its holder only: whoever waits on it sees a file that is no longer
                # the one of this name, and starts again (`_acquire`).
                path.unlink(missing_ok=True)
                os.close(handle)


def _acquire(path: Path, *, wait: bool) -> int | None:
    """A locked handle of the file ``path``, or None if another holds it and ``wait`` is off."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if _same_file(handle, path):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _is_key(name: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{8,64}", name) is not None


def _flush_folder(folder: Path) -> None:
    """Make the names in ``folder`` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _encoded(
    key: str, arrays: Mapping[str, ArrayLike], record: Mapping[str, Any]
) -> tuple[Entry, dict[str, bytes]]:
    """The entry as it will be read back, and its files."""
    kept = storable(arrays)
    text = dumps(dict(record), indent=1) + "\n"
    files = {"arrays.npz": _npz(kept), "record.json": text.encode()}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = dumps({"schema": _SCHEMA, "key": key, "sha256": sums}, indent=1) + "\n"
    return Entry(key, kept, loads(text)), {**files, "manifest.json": manifest.encode()}


def _npz(arrays: Arrays) -> bytes:
    """``arrays`` as an npz file, with any names (``np.savez`` cannot store one called ``file``)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")  # its date is 1980: equal arrays, equal bytes
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    return buffer.getvalue()


def _manifest(path: Path, key: str) -> dict[str, Any]:
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        manifest = loads((path / "manifest.json").read_bytes())
        schema, named = int(manifest["schema"]), manifest["key"]
        sums = dict(manifest["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = "its manifest cannot be read"
        raise _Damaged(msg) from error
    if schema != _SCHEMA:
        msg = f"{path} is written in schema {schema}; this version reads schema {_SCHEMA}"
        raise ValueError(msg)
    if named != key or set(sums) != set(_FILES):
        msg = "its manifest is that of another entry"
        raise _Damaged(msg)
    return dict(manifest)


def _verified(path: Path, name: str, manifest: Mapping[str, Any]) -> bytes:
    try:
        content = (path / name).read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        msg = (
            f"{name} is missing" if isinstance(error, FileNotFoundError) else f"{name} is a folder"
        )
        raise _Damaged(msg) from error
    if hashlib.sha256(content).hexdigest() != manifest["sha256"][name]:
        msg = f"the checksum of {name} is wrong"
        raise _Damaged(msg)
    return content


def _record(path: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return dict(loads(_verified(path, "record.json", manifest)))
    except (ValueError, TypeError) as error:
        msg = "record.json cannot be read"
        raise _Damaged(msg) from error


def _read(path: Path, key: str) -> Entry:
    """The entry in the folder ``path``.

    Raises:
        FileNotFoundError: If there is none.
        _Damaged: If it fails its checksums.
    """
    manifest = _manifest(path, key)
    record = _record(path, manifest)
    content = io.BytesIO(_verified(path, "arrays.npz", manifest))
    try:
        with zipfile.ZipFile(content) as archive:
            arrays = {
                name.removesuffix(".npy"): _member(archive, name) for name in archive.namelist()
            }
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        msg = "arrays.npz cannot be read"
        raise _Damaged(msg) from error
    return Entry(key, arrays, record)


def _member(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(name) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array
