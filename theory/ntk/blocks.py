r"""A kernel too large for memory, in blocks of samples that are done once and in any order.

.. math:: \Theta = \begin{pmatrix} \Theta_{pq} \end{pmatrix}, \qquad
          \Theta_{pq} = J_p J_q^\top, \quad \Theta_{qp} = \Theta_{pq}^\top

Of a kernel of samples with themselves the blocks with p <= q are computed and the others mirrored.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from theory import checks
from theory.ntk.empirical import MEMORY, Outputs, empirical_ntk
from theory.ntk.engine.choices import chosen_parameters

BLOCK = 512
Task = tuple[int, int]
Done = tuple[Task, NDArray[Any]]
Mapper = Callable[[Callable[[Task], Done], Iterable[Task]], Iterable[Done]]


def ntk_blocks(
    model: nn.Module,
    x1: Tensor,
    x2: Tensor | None = None,
    *,
    out: NDArray[Any],
    done: NDArray[np.uint64] | None = None,
    block: int = BLOCK,
    outputs: Outputs = "trace",
    parameters: Any = None,  # noqa: ANN401 - names or a predicate
    memory: int = MEMORY,
    mapper: Mapper = map,
) -> Iterator[Task]:
    """Write a kernel into an array block by block, yielding (p, q) as each is done.

    Give ``out`` as `numpy.memmap` for kernels larger than memory, and ``done`` too, opened with
    mode ``"r+"``, to go on where a killed run stopped: a block is marked after it is written, with
    a digest of the weights, the inputs and the options, so that blocks of anything else are
    computed anew. Work is spread by any function like `map` that may return results in any order,
    such as ``pool.imap_unordered`` of `multiprocessing` or of `ray.util.multiprocessing`; model and
    inputs travel with each call, as pickles.

    Args:
        model: The network, as for `empirical_ntk`.
        x1: Inputs of the rows, N of them.
        x2: Inputs of the columns, M of them; by default those of the rows.
        out: Where to, of the shape that `empirical_ntk` returns for these ``outputs``.
        done: Marks of shape `blocks_shape`, zeros at first.
        block: Samples along each side of a block.
        outputs: As of `empirical_ntk`.
        parameters: As of `empirical_ntk`.
        memory: As of `empirical_ntk`, of each call.
        mapper: ``mapper(function, tasks)``.

    Raises:
        ValueError: If ``out`` or ``done`` have another shape or type, or as `empirical_ntk`.

    Example:
        >>> model, x = nn.Linear(3, 2), torch.eye(3)
        >>> out, done = np.zeros((3, 3), np.float32), np.zeros(blocks_shape(3, block=2), np.uint64)
        >>> list(ntk_blocks(model, x, out=out, done=done, block=2))
        [(0, 0), (0, 1), (1, 1)]
        >>> np.diag(out), list(ntk_blocks(model, x, out=out, done=done, block=2))
        (array([4., 4., 4.], dtype=float32), [])
    """
    step = checks.count("block", block, minimum=1)
    work = _Work(model, x1, x2, outputs, parameters, memory, step)
    columns = x1 if x2 is None else x2
    shape = blocks_shape(len(x1), None if x2 is None else len(x2), block=step)
    marks = np.zeros(shape, np.uint64) if done is None else done
    if marks.shape != shape or marks.dtype != np.uint64:
        msg = f"done must have shape {shape} and dtype uint64, got {marks.shape}, {marks.dtype}"
        raise ValueError(msg)
    if out.shape[:2] != (len(x1), len(columns)) or not out.flags.writeable:
        msg = f"out must be writable, of shape ({len(x1)}, {len(columns)}, ...), got {out.shape}"
        raise ValueError(msg)
    return _written(work, out, marks, mapper)


def blocks_shape(rows: int, columns: int | None = None, *, block: int = BLOCK) -> tuple[int, int]:
    """Number of blocks along each side.

    >>> blocks_shape(1000, block=512)
    (2, 2)
    """
    across = rows if columns is None else columns
    return -(-rows // block), -(-across // block)


def _written(
    work: "_Work", out: NDArray[Any], marks: NDArray[np.uint64], mapper: Mapper
) -> Iterator[Task]:
    digest = work.digest()
    symmetric = work.x2 is None
    tasks = [(int(p), int(q)) for p, q in np.argwhere(marks != digest) if not symmetric or p <= q]
    for (p, q), found in mapper(work, tasks):
        rows = slice(p * work.block, (p + 1) * work.block)
        part = slice(q * work.block, (q + 1) * work.block)
        out[rows, part] = found
        if symmetric and p != q:
            turned = (1, 0, 3, 2) if found.ndim == 4 else (1, 0, *range(2, found.ndim))
            out[part, rows] = found.transpose(turned)
        if isinstance(out, np.memmap):
            out.flush()
        marks[p, q] = digest
        if symmetric:
            marks[q, p] = digest
        if isinstance(marks, np.memmap):
            marks.flush()
        yield p, q


@dataclass(frozen=True, slots=True)
class _Work:
    """One block, for any process that has a copy of this."""

    model: nn.Module
    x1: Tensor
    x2: Tensor | None
    outputs: Outputs
    parameters: Any
    memory: int
    block: int

    def __call__(self, task: Task) -> Done:
        """The kernel between two blocks of samples."""
        p, q = task
        rows = self.x1[p * self.block : (p + 1) * self.block]
        across = self.x1 if self.x2 is None else self.x2
        columns = None
        if self.x2 is not None or p != q:
            columns = across[q * self.block : (q + 1) * self.block]
        found: Any = empirical_ntk(
            self.model,
            rows,
            columns,
            outputs=self.outputs,
            parameters=self.parameters,
            memory=self.memory,
        )
        return task, found.cpu().numpy()

    def digest(self) -> np.uint64:
        """Of weights, inputs and options; never 0."""
        names = chosen_parameters(self.model, self.parameters)
        told = blake2b(repr((names, self.block, self.outputs)).encode(), digest_size=8)
        for tensor in (*self.model.state_dict().values(), self.x1, self.x2):
            if tensor is not None:
                plain = tensor.detach().cpu().contiguous()
                told.update(repr((plain.shape, plain.dtype)).encode())
                told.update(plain.flatten().view(torch.uint8).numpy())
        return np.uint64(int.from_bytes(told.digest(), "little") | 1)
