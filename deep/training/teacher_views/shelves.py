"""Where the rows of a table stand: in memory, or in files that several processes share."""

import errno
import fcntl
import os
import secrets
import shutil
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deep.records.encoding import dumps, loads
from deep.records.store import Corrupt
from deep.training.streams import stream
from deep.training.teacher_views.layout import Layout

Cells = NDArray[np.int64]
Marks = NDArray[np.uint32]

_SCHEMA = 1
_RESERVE = 256 * 2**20  # bytes left on the disk to others: checkpoints are written there too
_PROBE = 256  # rows that are looked at when a table is opened
_BEARABLE = 0.1  # share of these that a kill or a power cut may have spoiled


class NotStored(UserWarning):
    """Rows of a table can no longer be kept on the disk; they are computed each time."""


class Shelf:
    """Rows and their marks, wherever they stand."""

    rows: NDArray[Any]
    marks: Marks
    place = "memory"

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._words = np.dtype(f"u{np.dtype(layout.dtype).itemsize}")
        draw = stream("teacher_views_checksum")
        self._factors = draw.integers(2**64, size=layout.classes + 2, dtype=np.uint64) | 1

    def checksum(self, cells: Cells, rows: NDArray[Any]) -> Marks:
        """Strongly universal hash of cell number and bits (multiply and shift), never 0."""
        words = rows.view(self._words).astype(np.uint64)
        total = words @ self._factors[2:]
        total += cells.astype(np.uint64) * self._factors[:1] + self._factors[1:2]
        marks: Marks = (total >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
        return marks

    def held(self) -> Cells:
        """Cells that have a mark, in order."""
        # of a copy: numpy does not bear that another process changes what it counts
        return np.flatnonzero(self.marks != 0).astype(np.int64, copy=False)

    def write(self, cells: Cells, rows: NDArray[Any]) -> None:
        """Store rows of cells that ascend."""
        raise NotImplementedError

    def renewed(self, why: str) -> "Shelf":
        """An empty one in its place."""
        raise NotImplementedError

    def close(self) -> None:
        """Give up what it holds."""


class Memory(Shelf):
    """Arrays of this process, which take up memory as they are filled."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.rows = np.zeros((layout.cells, layout.classes), layout.dtype)
        self.marks = np.zeros(layout.cells, np.uint32)

    def write(self, cells: Cells, rows: NDArray[Any]) -> None:
        """Store rows of cells."""
        self.rows[cells] = rows
        self.marks[cells] = self.checksum(cells, rows)

    def renewed(self, why: str) -> Shelf:
        """Empty arrays."""
        warnings.warn(f"table of a teacher in memory is emptied: {why}", Corrupt, stacklevel=4)
        return Memory(self.layout)


class Files(Shelf):
    """Files that are written with ``pwrite`` and read through a map.

    Writing through a map would end the process with SIGBUS where the disk is full.
    """

    def __init__(self, layout: Layout, folder: Path) -> None:
        super().__init__(layout)
        self.place = str(folder)
        self._folder = folder
        paths = [folder / name for name in _sizes(layout)]
        self._handles = [os.open(path, os.O_RDWR | os.O_CLOEXEC) for path in paths]
        self._closing = weakref.finalize(self, _close, self._handles)
        shape = (layout.cells, layout.classes)
        # plain arrays: indexing a memmap is slower
        self.rows = np.asarray(np.memmap(paths[0], layout.dtype, mode="r", shape=shape))
        self.marks = np.asarray(np.memmap(paths[1], np.uint32, mode="r", shape=shape[:1]))

    def write(self, cells: Cells, rows: NDArray[Any]) -> None:
        """Store rows of cells that ascend, each before its mark.

        Raises:
            OSError: If they cannot be written, or nearly nothing else could be after them.
        """
        disk = os.fstatvfs(self._handles[0])
        if disk.f_bavail * disk.f_frsize < _RESERVE + rows.nbytes:
            msg = f"less than {_RESERVE >> 20} MiB of the disk are free"
            raise OSError(errno.ENOSPC, msg)
        _write_runs(self._handles[0], cells, rows)
        _write_runs(self._handles[1], cells, self.checksum(cells, rows))

    def renewed(self, why: str) -> "Files":
        """Those begun in place of these, by whoever is first."""
        folder = self._folder.parent
        with _locked(folder, self.layout.key):
            if self._stands():
                _set_aside(self._folder, why)
            if not self._folder.exists():
                _begin(self._folder, self.layout)
            return type(self)(self.layout, self._folder)

    def close(self) -> None:
        """Give up the files; what was read from them stays readable."""
        self._closing()

    def _stands(self) -> bool:
        """Whether these are still the files of that name."""
        try:
            named = (self._folder / "logits.bin").stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(os.fstat(self._handles[0]), named)


def opened(folder: Path, layout: Layout) -> Files:
    """The files of this layout in ``folder``; what is there and is not them is set aside."""
    place = folder / layout.key
    with _locked(folder, layout.key):
        fault = _fault(place, layout)
        if fault is not None:
            _set_aside(place, fault)
        if not place.exists():
            _begin(place, layout)
        shelf = Files(layout, place)
    spoiled = _spoiled_share(shelf)
    if spoiled <= _BEARABLE:
        return shelf
    return shelf.renewed(f"{spoiled:.0%} of some random rows fail their checksum")


def _sizes(layout: Layout) -> dict[str, int]:
    return {"logits.bin": layout.cells * layout.row, "marks.bin": 4 * layout.cells}


def _begin(place: Path, layout: Layout) -> None:
    """An empty table, which takes no space, under its name at once."""
    new = place.with_name(f".new-{layout.key}")
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir()
        for name, size in _sizes(layout).items():
            with (new / name).open("wb") as file:
                file.truncate(size)
        header = {"schema": _SCHEMA, **asdict(layout)}
        (new / "header.json").write_text(dumps(header, indent=1) + "\n", encoding="utf-8")
        new.rename(place)
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        if error.filename is None:  # a full disk names no file
            error.filename = str(place)
        raise


def _fault(place: Path, layout: Layout) -> str | None:
    """What is wrong with the files of a table, if there are any."""
    if not place.exists():
        return None
    try:
        header = loads((place / "header.json").read_bytes())
    except (OSError, ValueError):
        return "its header cannot be read"
    if header != {"schema": _SCHEMA, **asdict(layout)}:
        return "it is another table than its name and shape say"
    for name, size in _sizes(layout).items():
        path = place / name
        if not path.is_file() or path.stat().st_size != size:
            return f"{name} has not the {size} bytes it must have"
    return None


def _spoiled_share(shelf: Shelf) -> float:
    """Share of some random rows that fail their checksum."""
    held = shelf.held()
    if not len(held):
        return 0.0
    draw = stream("teacher_views_probe", shelf.layout.key)
    chosen = held[draw.integers(len(held), size=_PROBE)]
    marks, rows = shelf.marks[chosen], shelf.rows[chosen]
    return float(np.mean(marks != shelf.checksum(chosen, rows)))


def _set_aside(place: Path, why: str) -> None:
    target = place.parent / "set-aside" / f"{place.name}.{secrets.token_hex(4)}"
    target.parent.mkdir(exist_ok=True)
    place.rename(target)
    warnings.warn(
        f"table of a teacher {place} is set aside, and begun anew: {why}; it was moved to {target}",
        Corrupt,
        stacklevel=5,
    )


@contextmanager
def _locked(folder: Path, key: str) -> Iterator[None]:
    """Alone with the files of a key, while they are begun or set aside."""
    locks = folder / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / key).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given up with the file
        yield


def _write_runs(handle: int, cells: Cells, values: NDArray[Any]) -> None:
    """One value for each cell, neighbors together."""
    raw = values.reshape(-1).view(np.uint8).data
    size = values.nbytes // len(cells)
    breaks = np.flatnonzero(np.diff(cells) != 1) + 1
    for start, stop in pairwise([0, *breaks.tolist(), len(cells)]):
        _write_at(handle, raw[start * size : stop * size], int(cells[start]) * size)


def _write_at(handle: int, content: memoryview, offset: int) -> None:
    while content:
        done = os.pwrite(handle, content, offset)
        content, offset = content[done:], offset + done


def _close(handles: list[int]) -> None:
    for handle in handles:
        os.close(handle)
