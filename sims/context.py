"""What an experiment is given: parallel items that are kept, trained networks, progress.

``context.map(f, items)`` runs a function over items in processes. Each item's arrays are stored
under ``<out>/cache`` as soon as they are there, by the function's name, the item, the version and
the source of what computes; a second call, in this run or a later one, fetches them. What is
interrupted loses only the items in the making.
"""

import hashlib
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from numpy.typing import ArrayLike, NDArray

from deep.records.encoding import content_key
from deep.records.provenance import version
from deep.records.store import Store
from sims.pool import Pool, Task
from sims.progress import Reporter, silent
from sims.results import source_digest

if TYPE_CHECKING:
    from deep.training.fixed_targets.config import RunConfig
    from deep.training.fixed_targets.loop import Trained

Item = TypeVar("Item")
Arrays = dict[str, NDArray[Any]]


class Context:
    """What a pure function cannot have.

    Args:
        out: Root of what is made at run time; None keeps nothing.
        workers: Processes for ``map``; None for one per processor.
        reporter: How progress is shown.
        data_root: Folder of image sets; None for the environment's STILLROOM_DATA.
        fresh: Compute everything anew, in place of what is stored.

    Use it in a ``with`` block, or call ``close()``: it may have started processes.

    Example:
        >>> with Context.plain() as context, context.progress("counting", total=2) as advance:
        ...     advance()
        ...     advance()
    """

    def __init__(
        self,
        out: Path | None = None,
        *,
        workers: int | None = None,
        reporter: Reporter | None = None,
        data_root: Path | None = None,
        fresh: bool = False,
    ) -> None:
        if workers is not None and workers < 1:
            msg = f"workers must be at least 1, got {workers}"
            raise ValueError(msg)
        self.out = None if out is None else Path(out)
        self.workers = workers or _processors()
        self.reporter = reporter or silent()
        root = data_root or os.environ.get("STILLROOM_DATA") or None
        self.data_root = None if root is None else Path(root)
        self.fresh = fresh
        self._pool = Pool(self.workers)
        self._kept: dict[str, Arrays] = {}
        self._trained: dict[str, Trained] = {}

    @classmethod
    def plain(cls) -> Self:
        """A context that works in this process, keeps nothing on disk and says nothing."""
        return cls(workers=1)

    def map(
        self,
        f: Callable[[Item], Mapping[str, ArrayLike]],
        items: Iterable[Item],
        *,
        description: str | None = None,
    ) -> list[Arrays]:
        """``[f(item) for item in items]``, in parallel, each item stored as it is finished.

        Args:
            f: A function at the top of a module that takes one item and returns arrays by name.
                It must depend on nothing but its item.
            items: Frozen dataclasses, numbers, text, arrays, or tuples and dictionaries of these.
            description: What to call the work while it runs.

        Returns:
            The arrays of each item, in order.

        Raises:
            ValueError: If ``f`` is a lambda or a nested function.
            Exception: What ``f`` raised, with the item named in a note.
        """
        name = _dotted(f)
        items = list(items)
        keys = [_item_key(name, f, item) for item in items]
        store = None if self.out is None else Store(self.out / "cache" / name)
        tasks = {
            key: Task(f, item, key, store, self.fresh)
            for key, item in zip(keys, items, strict=True)
        }
        done = {key: kept for key in tasks if (kept := self._fetch(store, key)) is not None}
        missing = [task for key, task in tasks.items() if key not in done]
        title = description or f.__name__.replace("_", " ")
        with self.progress(title, total=len(tasks), done=len(done)) as advance:
            for key, arrays in self._pool.run(missing):
                done[key] = arrays
                if store is None or self.fresh:
                    self._kept[key] = arrays
                advance()
        return [done[key] for key in keys]

    def trained(self, run_config: "RunConfig") -> "Trained":
        """The network that ``run_config`` describes: trained now, or kept from earlier.

        Its teacher, if it has one, is trained once for all its students.
        """
        from deep.training.fixed_targets.loop import train

        key = content_key({"run": run_config})
        if key not in self._trained:
            teacher = None if run_config.teacher is None else self.trained(run_config.teacher)
            self._trained[key] = train(run_config, teacher=teacher, root=self.data_root)
        return self._trained[key]

    @contextmanager
    def progress(
        self, description: str, *, total: int, done: int = 0
    ) -> Iterator[Callable[..., None]]:
        """Show progress of ``total`` steps while the block runs; call ``advance()`` or ``(n)``."""
        with self.reporter.task(description, total=total, done=done) as advance:
            yield advance

    def say(self, text: str) -> None:
        """Show a sentence, where progress is shown: how long what follows will take, for one."""
        self.reporter.say(text)

    def close(self) -> None:
        """Stop the processes."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _fetch(self, store: Store | None, key: str) -> Arrays | None:
        if store is None or self.fresh:
            return self._kept.get(key)
        entry = store.get(key)
        return None if entry is None else entry.arrays


def _processors() -> int:
    """Processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1


def _dotted(f: Callable[..., Any]) -> str:
    """Name of a function that another process can import.

    Raises:
        ValueError: If it cannot.
    """
    name = getattr(f, "__qualname__", "")
    module = inspect.getmodule(f)
    if not name or "." in name or "<" in name or module is None:
        msg = f"f must be a function at the top of a module, got {name or f!r}"
        raise ValueError(msg)
    return f"{f.__module__}.{name}"


def _item_key(name: str, f: Callable[..., Any], item: object) -> str:
    return content_key(
        {
            "function": name,
            "item": item,
            "version": version(),
            "source": [source_digest(), _file_digest(inspect.getfile(f))],
        }
    )


@cache
def _file_digest(path: str) -> str:
    """Digest of a source file: it may lie outside the packages that ``source_digest`` covers."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:  # a function typed at a prompt
        return ""
