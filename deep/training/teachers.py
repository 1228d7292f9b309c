"""Finished networks as teachers: their logits, and tables of what they said, opened once."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from deep.data.augment import Viewer, Views
from deep.data.normalization import normalization
from deep.data.prepared import Prepared
from deep.training.config import RunConfig
from deep.training.finished import Finished
from deep.training.precision import device_name
from deep.training.streams import stream
from deep.training.teacher_views import ViewTable, table_key
from deep.training.teaching import NetworkTeacher, RowTeacher, TableTeacher, Teacher, plain_logits

LARGEST_TABLE = 16 << 30
"""Bytes of the largest table of teacher outputs; on disk only what is seen takes space."""
LARGEST_IN_MEMORY = 2 << 30
"""The same where nothing is kept on disk."""
PROBED = 16
"""Cells of a table found on disk that are computed again before it is trusted."""


class Teachers:
    """Makes teachers of finished runs.

    Args:
        out: Root of what is made at run time; None keeps tables in memory.
        device: Where the teachers compute.
        view_table: Whether what they say of every view is kept.
        say: Told in words where a table is not made.
    """

    def __init__(
        self,
        out: Path | None,
        *,
        device: str,
        view_table: bool,
        say: Callable[[str], None],
    ) -> None:
        self._folder = None if out is None else out / "cache" / "teacher_views"
        self._device, self._view_table, self._say = device, view_table, say
        self._tables: dict[str, ViewTable] = {}

    def teacher(
        self, config: RunConfig, taught_by: Finished | None, data: Prepared
    ) -> Teacher | None:
        """Who teaches the students of ``config``; None for a method without a teacher.

        Raises:
            ValueError: If the method needs a teacher and there is none.
        """
        needs = config.needs()
        if needs.teacher is None:
            return None
        if taught_by is None:
            msg = f"teacher must be given for method {config.method.name!r}, got None"
            raise ValueError(msg)
        if needs.teacher == "table":
            if (warning := taught_by.table_warning(needs.stop)) is not None:
                self._say(warning)
            return RowTeacher(taught_by.table(needs.stop).to(self._device))
        asked = self._network(config, taught_by, data)
        if asked.network.training or not self._view_table:
            return asked
        return self._with_table(asked, config, taught_by, data) or asked

    def with_table(
        self, config: RunConfig, taught_by: Finished, data: Prepared
    ) -> TableTeacher | None:
        """The teacher of ``config`` with its table of views, to fill or to check it.

        None where no table is kept: of a teacher with the statistics of the batch, of one that
        teaches by rows, or where it would be too large.
        """
        if config.needs().teacher in (None, "table"):
            return None
        asked = self._network(config, taught_by, data)
        return None if asked.network.training else self._with_table(asked, config, taught_by, data)

    def said(self, config: RunConfig, taught_by: Finished, data: Prepared, split: str) -> Tensor:
        """What the teacher's network says of plain images, stored or computed.

        That of a method taught by a table is the network after its last step.

        Args:
            config: Of a student.
            taught_by: Its teacher.
            data: Its samples.
            split: ``"train"`` or ``"test"``.

        Returns:
            Logits, (samples, classes), on the CPU.
        """
        which = _weights(config)
        stored = {"final": f"{split}_logits", "best": f"best_{split}_logits"}.get(which)
        if isinstance(config.teacher, RunConfig) and stored in taught_by.arrays:
            return torch.from_numpy(taught_by.arrays[stored])
        part = data.train if split == "train" else data.test
        network = taught_by.network(which, data).to(self._device)
        style = normalization(taught_by.normalization)
        return plain_logits(network, part, style, white=data.white)

    def flush(self) -> None:
        """Store what is on its way to the tables."""
        for table in self._tables.values():
            table.flush()

    def close(self) -> None:
        """Give up the tables' files."""
        for table in self._tables.values():
            table.close()
        self._tables.clear()

    def _network(self, config: RunConfig, taught_by: Finished, data: Prepared) -> NetworkTeacher:
        needs = config.needs()
        statistics = config.teacher_statistics
        if needs.kept_average is not None and needs.kept_average.statistics == "batch":
            statistics = "batch"
        return NetworkTeacher(
            taught_by.network(_weights(config), data).to(self._device),
            normalization(taught_by.normalization),
            statistics=statistics,
            plain=config.teacher_view == "plain",
            dtype=getattr(torch, config.teacher_dtype),
        )

    def _with_table(
        self, asked: NetworkTeacher, config: RunConfig, taught_by: Finished, data: Prepared
    ) -> TableTeacher | None:
        views = Views(config.recipe.views, config.recipe.pad)
        size = getattr(torch, config.teacher_dtype).itemsize
        total = len(data.train) * views.count * data.classes * size
        allowed = LARGEST_IN_MEMORY if self._folder is None else LARGEST_TABLE
        if total > allowed:
            self._say(
                f"a table of all the teacher says would take {total / 2**30:.1f} GiB, more than "
                f"the {allowed / 2**30:.0f} allowed: the teacher is asked in every step"
            )
            return None
        key = table_key(
            weights=taught_by.digest(_weights(config)),
            normalization=asked.normalization,
            dtype=config.teacher_dtype,
            tf32=config.precision == "tf32",
            images=data.fingerprint,
            views=views,
            # devices round differently, and rows of two would mix
            network=(taught_by.model, device_name(self._device).partition(":")[0]),
        )
        found = self._tables.get(key)
        table = found or ViewTable.open(
            self._folder,
            key=key,
            samples=len(data.train),
            views=views.count,
            classes=data.classes,
            dtype=config.teacher_dtype,
            device=self._device,
        )
        self._tables[key] = table
        teacher = TableTeacher(asked, table, Viewer(data.train.images, views), white=data.white)
        if found is None and table.filled:
            table.verify(teacher.compute, cells=PROBED, rng=stream("probe of a table", key))
        return teacher


def _weights(config: RunConfig) -> str:
    """Which weights of a finished run teach; beside a table of rows, those after the last step."""
    which = config.needs().teacher or "final"
    return "final" if which == "table" else which
