r"""A kernel too large for memory, in blocks of samples that are done once and in any order.

.. math:: \Theta = \begin{pmatrix} \Theta_{pq} \end{pmatrix}, \qquad
          \Theta_{pq} = J_p J_q^\top, \quad \Theta_{qp} = \Theta_{pq}^\top

Of a kernel of samples with themselves the blocks with p <= q are computed and the others mirrored.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from theory import checks
from theory.ntk.arrays import plain
from theory.ntk.empirical import MEMORY, Outputs, empirical_ntk
from theory.ntk.engine.calling import LOCK
from theory.ntk.engine.choices import chosen_parameters
from theory.ntk.inputs import check_inputs

BLOCK = 512
_NUMBERS = (bool, int, float, str)
_FUNCTIONS = (FunctionType, BuiltinFunctionType)
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
    a digest of the network (what it prints, its parameters, buffers, modes and plain attributes),
    the inputs and the options, so that blocks of anything else are computed anew. Work is spread by
    any function like `map` that may return results in any order, such as ``pool.imap_unordered`` of
    `multiprocessing` or of `ray.util.multiprocessing`; model and inputs travel with each call, as
    pickles.

    Args:
        model: The network, as for `empirical_ntk`.
        x1: Inputs of the rows, N of them.
        x2: Inputs of the columns, M of them; by default those of the rows.
        out: Where to, of the shape and type that `empirical_ntk` returns for these ``outputs``;
            float32 for bfloat16, which arrays do not have.
        done: Marks of shape `blocks_shape`, zeros at first.
        block: Samples along each side of a block.
        outputs: As of `empirical_ntk`.
        parameters: As of `empirical_ntk`.
        memory: As of `empirical_ntk`, of each call.
        mapper: ``mapper(function, tasks)``.

    Raises:
        ValueError: If ``out`` or ``done`` have another shape or type, or the network changes before
            all blocks are done, or as `empirical_ntk`.

    Example:
        >>> model, x = nn.Linear(3, 2), torch.eye(3)
        >>> out, done = np.zeros((3, 3), np.float32), np.zeros(blocks_shape(3, block=2), np.uint64)
        >>> list(ntk_blocks(model, x, out=out, done=done, block=2))
        [(0, 0), (0, 1), (1, 1)]
        >>> np.diag(out), list(ntk_blocks(model, x, out=out, done=done, block=2))
        (array([4., 4., 4.], dtype=float32), [])
    """
    step = checks.count("block", block, minimum=1)
    check_inputs("x1", x1)
    if x2 is not None:
        check_inputs("x2", x2, like=x1)
    work = _Work(model, x1, x2, outputs, parameters, memory, step)
    like = work.start()
    shape = blocks_shape(len(x1), None if x2 is None else len(x2), block=step)
    marks = np.zeros(shape, np.uint64) if done is None else done
    _require_place("done", marks, shape, np.dtype(np.uint64))
    columns = x1 if x2 is None else x2
    _require_place("out", out, (len(x1), len(columns), *like.shape[2:]), like.dtype)
    return _written(work, out, marks, mapper)


def _require_place(name: str, array: object, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise ValueError unless it is an array of this shape and type that can be written to."""
    if not isinstance(array, np.ndarray):
        msg = (
            f"{name} must be an array of shape {shape} and type {dtype}, got {type(array).__name__}"
        )
        raise ValueError(msg)  # noqa: TRY004 - bad input is a ValueError everywhere
    if array.shape != shape or array.dtype != dtype or not array.flags.writeable:
        kind = "" if array.flags.writeable else ", read-only"
        msg = (
            f"{name} must be writable, of shape {shape} and type {dtype}, got {array.shape}, "
            f"{array.dtype}{kind}"
        )
        raise ValueError(msg)


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
    digests = _Digests(work)
    digest = digests.whole
    symmetric = work.x2 is None
    tasks = [(int(p), int(q)) for p, q in np.argwhere(marks != digest) if not symmetric or p <= q]
    for (p, q), found in mapper(work, tasks):
        digests.require_same((p, q))
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
        rows, columns = self.samples(task)
        same = self.x2 is None and task[0] == task[1]
        return task, self._kernel(rows, None if same else columns)

    def samples(self, task: Task) -> tuple[Tensor, Tensor]:
        """Inputs of the rows and of the columns of a block."""
        (p, q), across = task, self.x1 if self.x2 is None else self.x2
        rows = self.x1[p * self.block : (p + 1) * self.block]
        return rows, across[q * self.block : (q + 1) * self.block]

    def start(self) -> NDArray[Any]:
        """The kernel of the first samples, for the shape and type of all."""
        return self._kernel(self.x1[:2], None if self.x2 is None else self.x2[:2])

    def _kernel(self, rows: Tensor, columns: Tensor | None) -> NDArray[Any]:
        found: Any = empirical_ntk(
            self.model,
            rows,
            columns,
            outputs=self.outputs,
            parameters=self.parameters,
            memory=self.memory,
        )
        return np.asarray(plain(found))


class _Digests:
    """Short numbers that tell a network and inputs from others."""

    def __init__(self, work: _Work) -> None:
        self._work = work
        self._network = self._of_network()
        rows, columns = blocks_shape(
            len(work.x1), None if work.x2 is None else len(work.x2), block=work.block
        )
        self._rows = [_digest(work.samples((p, 0))[0]) for p in range(rows)]
        self._columns = self._rows
        if work.x2 is not None:
            self._columns = [_digest(work.samples((0, q))[1]) for q in range(columns)]
        names = chosen_parameters(work.model, work.parameters)
        kinds = [(name, *_kind_of(module)) for name, module in work.model.named_modules()]
        symmetric = work.x2 is None
        options = repr((names, kinds, work.block, work.outputs, symmetric)).encode()
        told = _digest(options, self._network, *self._rows, *self._columns)
        self.whole = np.uint64(int.from_bytes(told, "little") | 1)
        """Of everything, never 0."""

    def require_same(self, task: Task) -> None:
        """Raise ValueError unless the network and the samples of a block are as they were."""
        rows, columns = self._work.samples(task)
        now = (self._of_network(), _digest(rows), _digest(columns))
        if now != (self._network, self._rows[task[0]], self._columns[task[1]]):
            msg = (
                "model and inputs must stay as they are until all blocks are done, got others at "
                f"block {task}; call ntk_blocks again, which computes all of them anew"
            )
            raise ValueError(msg)

    def _of_network(self) -> bytes:
        model = self._work.model
        modes = [(name, module.training) for name, module in model.named_modules()]
        with LOCK:
            held = (*model.named_parameters(), *model.named_buffers())
        names = [name for name, _ in held]
        return _digest(repr((model, modes, names)).encode(), *(tensor for _, tensor in held))


def _digest(*given: bytes | Tensor) -> bytes:
    told = blake2b(digest_size=8)
    for each in given:
        if isinstance(each, bytes):
            told.update(each)
            continue
        here = each.detach().cpu().contiguous()
        told.update(repr((here.shape, here.dtype)).encode())
        told.update(here.flatten().view(torch.uint8).numpy().data)
    return told.digest()


def _kind_of(module: nn.Module) -> tuple[object, ...]:
    """What a module is, beside what it prints and its tensors: class, numbers, functions."""
    kind = type(module)
    values = {
        key: value if isinstance(value, _NUMBERS) else f"{value.__module__}.{value.__qualname__}"
        for key, value in vars(module).items()
        if not key.startswith("_") and isinstance(value, _NUMBERS + _FUNCTIONS)
    }
    return kind.__module__, kind.__qualname__, sorted(values.items())
