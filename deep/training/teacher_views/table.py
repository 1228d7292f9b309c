"""The table: rows looked up, computed where they are missing, verified."""

import errno
import math
import os
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deep.training.streams import stream
from deep.training.teacher_views.layout import Layout
from deep.training.teacher_views.shelves import Cells, Memory, NotStored, Shelf, opened
from theory import checks

Compute = Callable[[Tensor, Tensor], Tensor]
"""Logits (k, classes) of cells, from their samples and views, each int64 of shape (k,) on the CPU;
each row from its own cell alone."""

_FEWEST, _MOST, _MULTIPLE = 16, 512, 8  # cells that the teacher is given at a time
_WAITING = 64  # batches on their way from a GPU


class ViewTable:
    """Logits of one teacher, cell by cell. Made by `open`.

    >>> table = ViewTable.open(None, key="00", samples=2, views=3, classes=2)
    >>> def teacher(index, view):
    ...     return torch.stack([index, view], dim=1).float()
    >>> table.lookup(torch.tensor([1, 0]), torch.tensor([2, 0]), teacher)
    tensor([[1., 2.],
            [0., 0.]])
    >>> table.filled, table.share
    (2, 0.333)
    """

    def __init__(self, layout: Layout, shelf: Shelf, device: str | torch.device) -> None:
        self.layout = layout
        self.damaged = 0
        """Rows whose checksum was wrong when they were asked for; they were computed again."""
        self._shelf = shelf
        self._device = torch.device(device)
        self._storing = True
        self._waiting: deque[tuple[Cells, Tensor, Any]] = deque()

    @classmethod
    def open(
        cls,
        folder: Path | None,
        *,
        key: str,
        samples: int,
        views: int,
        classes: int,
        dtype: str = "float32",
        device: str | torch.device = "cpu",
    ) -> Self:
        """The table of this key in ``folder``, begun if there is none.

        A table there that is damaged or of another shape is set aside with a `Corrupt` warning.

        Args:
            folder: Where tables stand, each in a folder with the name of its key; None for a table
                in the memory of this process.
            key: As `table_key` gives it.
            samples: Training images.
            views: Views of each.
            classes: Logits of a row.
            dtype: ``"float32"``, or ``"float16"``, whose error `storage_error` measures.
            device: Where looked-up rows go.

        Raises:
            ValueError: If an argument is not as described.
            OSError: If the folder cannot be written, or has no space.
        """
        layout = Layout(key=key, samples=samples, views=views, classes=classes, dtype=dtype)
        shelf = Memory(layout) if folder is None else opened(Path(folder), layout)
        return cls(layout, shelf, device)

    @property
    def filled(self) -> int:
        """Cells that hold a row."""
        self.flush()
        return len(self._shelf.held())

    @property
    def share(self) -> float:
        """Share of the cells that hold a row."""
        return self.filled / self.layout.cells

    def lookup(self, index: Tensor, view: Tensor, compute: Compute) -> Tensor:
        """Logits of a batch, float32 of shape (*index.shape, classes) on the table's device.

        Cells that are missing are computed, each once however often it occurs, and stored. No GPU
        is waited for.

        Args:
            index: Samples, integers of any shape, on the CPU.
            view: Views, of the same shape.
            compute: The teacher.

        Raises:
            ValueError: For samples or views that do not exist, or what is no output of a teacher.
        """
        cells = self._cells(index, view)
        self._collect()
        rows, missing = self._read(cells)
        shape = (*index.shape, self.layout.classes)
        if not len(missing):
            return self._placed(rows).view(shape)
        wanted, inverse = np.unique(cells[missing], return_inverse=True)
        fresh = self._computed(wanted, compute)
        self._keep(wanted, fresh)
        if fresh.device.type == "cpu":
            rows[missing] = fresh.numpy()[inverse]
            return self._placed(rows).view(shape)
        known = self._placed(rows)
        to, of = (self._sent(torch.from_numpy(places)) for places in (missing, inverse))
        known[to] = fresh.to(self._device, torch.float32)[of]
        return known.view(shape)

    def sweep(
        self,
        compute: Compute,
        *,
        batch: int = _MOST,
        advance: Callable[[int], object] | None = None,
    ) -> None:
        """Fill all cells that are missing.

        Several processes may do so at once; each begins elsewhere and passes over what it finds.

        Args:
            compute: The teacher.
            batch: Cells at a time.
            advance: Is told of cells that are done, as they are.

        Raises:
            OSError: If rows cannot be stored.
        """
        batch = checks.integer("batch", batch, minimum=1)
        blocks = math.ceil(self.layout.cells / batch)
        begin = stream("teacher_views_sweep", os.getpid()).integers(blocks)
        for block in range(blocks):
            start = (block + int(begin)) % blocks * batch
            stop = min(start + batch, self.layout.cells)
            missing = start + np.flatnonzero(self._shelf.marks[start:stop] == 0)
            if len(missing):
                self._keep(missing, self._computed(missing, compute, batch))
                self._collect()
            if not self._storing:
                msg = f"rows cannot be stored in {self._shelf.place}"
                raise OSError(errno.ENOSPC, msg)
            if advance is not None:
                advance(stop - start)
        self.flush()

    def verify(
        self,
        compute: Compute,
        *,
        cells: int = 1000,
        rng: np.random.Generator,
        tolerance: float = 1e-3,
    ) -> float:
        """The largest difference between stored logits and the teacher's, over random cells.

        A table that differs more is not this teacher's: it is set aside with a `Corrupt` warning,
        and begun anew. Rows with a wrong checksum are computed again, and do not count.

        Args:
            compute: The teacher.
            cells: How many, at most.
            rng: Chooses them.
            tolerance: Allowed difference, relative to the largest logit (at least 1), beside the
                rounding of the table's numbers.

        Returns:
            The absolute difference; 0 for an empty table, inf where nan stands beside a number.
        """
        checks.integer("cells", cells, minimum=1)
        self.flush()
        chosen = np.sort(rng.permutation(self._shelf.held())[:cells])
        if not len(chosen):
            return 0.0
        stored, missing = self._read(chosen)
        exact = self._computed(chosen, compute, rounded=False).cpu().numpy()
        again = torch.from_numpy(exact[missing]).to(getattr(torch, self.layout.dtype))
        self._write(chosen[missing], again.numpy())
        kept = np.delete(np.arange(len(chosen)), missing)
        old, new = stored[kept].astype(np.float64), exact[kept].astype(np.float64)
        # equal infinities have no difference
        with np.errstate(invalid="ignore"):
            gap = np.where((old == new) | (np.isnan(old) & np.isnan(new)), 0.0, np.abs(old - new))
        worst = float(np.nan_to_num(gap, nan=np.inf).max(initial=0.0))
        size = float(np.abs(new[np.isfinite(new)]).max(initial=1.0))
        if worst > (tolerance + float(np.finfo(self.layout.dtype).eps)) * size:
            why = f"it differs by {worst:.1e} from what the teacher says"
            self._shelf = self._shelf.renewed(why)
        return worst

    def flush(self) -> None:
        """Store what is still on its way from a GPU."""
        self._collect(wait=True)

    def close(self) -> None:
        """Store what is on its way and give up the files."""
        self.flush()
        self._shelf.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _cells(self, index: Tensor, view: Tensor) -> Cells:
        if index.shape != view.shape:
            msg = (
                "view must have the shape of index, one for each sample, got shapes "
                f"{tuple(view.shape)} and {tuple(index.shape)}"
            )
            raise ValueError(msg)
        i = _places("index", index, self.layout.samples)
        v = _places("view", view, self.layout.views)
        return i * self.layout.views + v

    def _read(self, cells: Cells) -> tuple[NDArray[Any], NDArray[np.intp]]:
        """Rows of cells, and the places of those that are missing."""
        marks, rows = self._shelf.marks[cells], self._shelf.rows[cells]
        wrong = marks != self._shelf.checksum(cells, rows)
        if not wrong.any():
            return rows, np.empty(0, dtype=np.intp)
        self.damaged += int(np.count_nonzero(marks[wrong]))
        return rows, np.flatnonzero(wrong)

    def _computed(
        self, cells: Cells, compute: Compute, most: int = _MOST, *, rounded: bool = True
    ) -> Tensor:
        """Rows of cells by the teacher, in the table's numbers."""
        parts = [cells[start : start + most] for start in range(0, len(cells), most)]
        with torch.no_grad():
            logits = torch.cat([self._asked(part, compute) for part in parts])
        if not rounded:
            return logits
        return logits.to(getattr(torch, self.layout.dtype))

    def _asked(self, cells: Cells, compute: Compute) -> Tensor:
        """Logits of some cells; of few, the last is asked for several times."""
        count = max(_FEWEST, math.ceil(len(cells) / _MULTIPLE) * _MULTIPLE)
        padded = torch.from_numpy(np.pad(cells, (0, count - len(cells)), mode="edge"))
        views = self.layout.views
        logits = compute(padded // views, padded % views)
        if logits.shape != (count, self.layout.classes) or not logits.is_floating_point():
            msg = (
                f"compute must return logits of shape {(count, self.layout.classes)}, got "
                f"{logits.dtype} of shape {tuple(logits.shape)}"
            )
            raise ValueError(msg)
        return logits[: len(cells)]

    def _placed(self, rows: NDArray[Any]) -> Tensor:
        return self._sent(torch.from_numpy(rows)).to(torch.float32)

    def _sent(self, tensor: Tensor) -> Tensor:
        if self._device.type == "cpu":
            return tensor
        pinned = tensor.pin_memory() if self._device.type == "cuda" else tensor
        return pinned.to(self._device, non_blocking=True)

    def _keep(self, cells: Cells, rows: Tensor) -> None:
        """Store rows now, or when they have arrived from a GPU."""
        if rows.device.type != "cuda":
            self._write(cells, rows.cpu().numpy())
            return
        host = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
        host.copy_(rows, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record(torch.cuda.current_stream(rows.device))
        self._waiting.append((cells, host, arrived))

    def _collect(self, *, wait: bool = False) -> None:
        while self._waiting:
            cells, host, arrived = self._waiting[0]
            if wait or len(self._waiting) > _WAITING:
                arrived.synchronize()
            elif not arrived.query():
                return
            self._waiting.popleft()
            self._write(cells, host.numpy())

    def _write(self, cells: Cells, rows: NDArray[Any]) -> None:
        if self.layout.dtype == "float16" and np.isinf(rows).any():
            msg = "logits must be at most 65504 in size for a table in float16: use float32"
            raise ValueError(msg)
        if not self._storing or not len(cells):
            return
        try:
            self._shelf.write(cells, np.ascontiguousarray(rows))
        except OSError as error:
            self._storing = False
            what = error.strerror or str(error)
            warnings.warn(
                f"logits of the teacher can no longer be stored in {self._shelf.place} ({what}): "
                "those that are not there yet are computed each time they are needed",
                NotStored,
                stacklevel=3,
            )


def _places(name: str, value: Tensor, count: int) -> Cells:
    """Integers in [0, count), flat."""
    if value.device.type != "cpu" or value.is_floating_point() or value.is_complex():
        msg = f"{name} must be integers on the CPU, got {value.dtype} on {value.device}"
        raise ValueError(msg)
    places: Cells = value.reshape(-1).numpy().astype(np.int64, copy=False)
    # as unsigned numbers, negative ones are the largest
    if places.size and int(places.view(np.uint64).max()) >= count:
        bad = places[(places < 0) | (places >= count)][0]
        msg = f"{name} must be from 0 to {count - 1}, got {bad}"
        raise ValueError(msg)
    return places
