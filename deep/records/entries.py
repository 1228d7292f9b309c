"""One stored entry: its files, how they are written and how they are verified.

The folder of an entry holds ``arrays.npz``, ``record.json``, any files that were given with it, and
``manifest.json`` with the SHA-256 of all of these.
"""

import hashlib
import io
import os
import re
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deep.records.disk import flush_folder, naming
from deep.records.encoding import dumps, loads

__all__ = ["Damaged", "Entry", "Written", "encoded", "is_key", "read", "record_of", "storable"]

Arrays = Mapping[str, NDArray[Any]]
Files = Mapping[str, bytes | Path]
_SCHEMA = 1
_ALWAYS = ("arrays.npz", "record.json")
_MANIFEST = "manifest.json"
_CHUNK = 1 << 20


class Damaged(Exception):
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
    files: dict[str, Path] = field(default_factory=dict)
    """Where further files lie, by name; verified with the entry, and only to be read."""


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """An entry that is yet to be written, found fit to be stored."""

    key: str
    arrays: dict[str, NDArray[Any]]
    record: dict[str, Any]
    contents: dict[str, bytes | Path]
    """All files but the manifest."""

    def entry(self, folder: Path) -> Entry:
        """The entry as it will be read from its folder."""
        files = {name: folder / name for name in self.contents if name not in _ALWAYS}
        return Entry(self.key, self.arrays, self.record, files)

    def write(self, folder: Path, *, final: Path, own: Path) -> None:
        """Write all files into the new folder ``folder``, and flush them to the disk.

        Args:
            folder: Made here.
            final: Where the folder will lie: errors name files there.
            own: Files under this folder need no copy of their own: they are linked.
        """
        folder.mkdir(parents=True)
        sums = {}
        for name, content in self.contents.items():
            with naming(final / name):
                sums[name] = _place(content, folder / name, own)
        manifest = dumps({"schema": _SCHEMA, "key": self.key, "sha256": sums}, indent=1) + "\n"
        with naming(final / _MANIFEST):
            _place(manifest.encode(), folder / _MANIFEST, own)
            flush_folder(folder)


def is_key(name: str) -> bool:
    """Whether ``name`` can name an entry."""
    return re.fullmatch(r"[0-9a-f]{8,64}", name) is not None


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


def encoded(
    key: str,
    arrays: Mapping[str, ArrayLike],
    record: Mapping[str, Any],
    files: Files | None = None,
) -> Written:
    """An entry ready to be written.

    Raises:
        ValueError: If the arrays, the record or the files cannot be stored.
    """
    kept = storable(arrays)
    text = dumps(dict(record), indent=1) + "\n"
    further = {name: _file(name, content) for name, content in (files or {}).items()}
    contents = {"arrays.npz": _npz(kept), "record.json": text.encode(), **further}
    return Written(key, kept, loads(text), contents)


def read(path: Path, key: str) -> Entry:
    """The entry in the folder ``path``.

    Raises:
        FileNotFoundError: If there is none.
        Damaged: If it fails its checksums.
        ValueError: If it is written in another schema.
    """
    sums = _sums(path, key)
    record = _record(path, sums)
    content = io.BytesIO(_verified(path, "arrays.npz", sums))
    try:
        with zipfile.ZipFile(content) as archive:
            arrays = {
                name.removesuffix(".npy"): _member(archive, name) for name in archive.namelist()
            }
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        msg = "arrays.npz cannot be read"
        raise Damaged(msg) from error
    files = {name: path / name for name in sums if name not in _ALWAYS}
    for name in files:
        _verify(path, name, sums)
    return Entry(key, arrays, record, files)


def record_of(path: Path, key: str) -> dict[str, Any]:
    """The record of the entry in ``path``, verified, without the rest; raises as `read` does."""
    return _record(path, _sums(path, key))


def _file(name: object, content: object) -> bytes | Path:
    """A file that can be stored, or a ValueError."""
    taken = (*_ALWAYS, _MANIFEST)
    if not (isinstance(name, str) and _is_file_name(name)) or name in taken:
        msg = (
            "the name of a file must be letters, digits, '.', '_' and '-', begin with none of the "
            f"signs and not be one of {', '.join(taken)}, got {name!r}"
        )
        raise ValueError(msg)
    if isinstance(content, bytes | bytearray | memoryview):
        return bytes(content)
    if isinstance(content, Path) and content.is_file():
        return content
    what = f"{content}, which is no file" if isinstance(content, Path) else type(content).__name__
    msg = f"file {name!r} must be bytes or the path of a file, got {what}"
    raise ValueError(msg)


def _is_file_name(name: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", name) is not None


def _place(content: bytes | Path, target: Path, own: Path) -> str:
    """Put a file at ``target`` and on the disk; returns its SHA-256."""
    if isinstance(content, Path):
        if not (_lies_in(content, own) and _linked(content, target)):
            with content.open("rb") as source, target.open("xb") as file:
                shutil.copyfileobj(source, file, _CHUNK)
        # Read back rather than summed on the way: a file that another changes meanwhile, or a
        # linked one, counts as what it is here.
        with target.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        return digest
    with target.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(content).hexdigest()


def _lies_in(path: Path, folder: Path) -> bool:
    return not path.is_symlink() and path.resolve().is_relative_to(folder.resolve())


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        return False
    return True


def _npz(arrays: Arrays) -> bytes:
    """``arrays`` as an npz file, with any names (``np.savez`` cannot store one called ``file``)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")  # its date is 1980: equal arrays, equal bytes
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    return buffer.getvalue()


def _sums(path: Path, key: str) -> dict[str, Any]:
    """SHA-256 by name of file, from the manifest."""
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        manifest = loads((path / _MANIFEST).read_bytes())
        schema, named = int(manifest["schema"]), manifest["key"]
        sums = dict(manifest["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = "its manifest cannot be read"
        raise Damaged(msg) from error
    if schema != _SCHEMA:
        msg = f"{path} is written in schema {schema}; this version reads schema {_SCHEMA}"
        raise ValueError(msg)
    if named != key or not set(sums) >= set(_ALWAYS) or not all(map(_is_file_name, sums)):
        msg = "its manifest is that of another entry"
        raise Damaged(msg)
    return sums


def _verify(path: Path, name: str, sums: Mapping[str, Any]) -> None:
    """Compare a file with its checksum, however large it is."""
    with _opened(path, name) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sums[name]:
        msg = f"the checksum of {name} is wrong"
        raise Damaged(msg)


def _verified(path: Path, name: str, sums: Mapping[str, Any]) -> bytes:
    with _opened(path, name) as file:
        content = file.read()
    if hashlib.sha256(content).hexdigest() != sums[name]:
        msg = f"the checksum of {name} is wrong"
        raise Damaged(msg)
    return content


def _opened(path: Path, name: str) -> io.BufferedReader:
    try:
        return (path / name).open("rb")
    except (FileNotFoundError, IsADirectoryError) as error:
        msg = (
            f"{name} is missing" if isinstance(error, FileNotFoundError) else f"{name} is a folder"
        )
        raise Damaged(msg) from error


def _record(path: Path, sums: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return dict(loads(_verified(path, "record.json", sums)))
    except (ValueError, TypeError) as error:
        msg = "record.json cannot be read"
        raise Damaged(msg) from error


def _member(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(name) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array
