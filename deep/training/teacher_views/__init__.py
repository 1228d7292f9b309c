r"""What a teacher says of every view of every training image, computed once.

Under a finite augmentation an image has V views (162 for crop and flip, 1 for none), and a teacher
that is evaluated with stored statistics says one thing of each. So a table of ``samples x views``
rows of logits replaces it for every student, seed and method. Rows are computed when they are first
asked for, or all in a `sweep`. Of uniformly drawn views, E epochs ask for the share
:math:`1 - (1 - 1/V)^E` of them.

On disk a table is a folder with ``logits.bin`` (a row for each cell), ``marks.bin`` (a checksum for
each cell, 0 where there is none) and ``header.json``. Both binary files have their full length from
the start and take up what is written. Several processes may fill and read one table at once. A row
is written before its mark, and is believed only if the mark is its checksum: rows torn by a killed
process, lost in a power cut or changed on the disk count as missing and are computed again.

What is stored must not depend on which other cells were missing with it, or a run would differ in
its last bits from its repetition with a fuller table. On a CPU a row of a product depends on the
number of rows where these are few or do not fill the processor's blocks, and so the teacher is
given a multiple of 8 cells, 16 at least. With torch's linear and convolution layers, on the CPUs it
was tried on, each row was then the same to the last bit in every batch.
"""

from deep.training.teacher_views.layout import (
    DTYPES,
    Layout,
    StorageError,
    expected_share,
    storage_error,
    table_key,
)
from deep.training.teacher_views.shelves import NotStored
from deep.training.teacher_views.table import Compute, ViewTable

__all__ = [
    "DTYPES",
    "Compute",
    "Layout",
    "NotStored",
    "StorageError",
    "ViewTable",
    "expected_share",
    "storage_error",
    "table_key",
]
