"""Processes that work on tasks and keep what they finish.

The processes are started when first needed, live as long as the pool, and use one thread each.
They ignore Ctrl-C (their parent stops them) and end when their parent is gone, however it went.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from deep.records.store import Store, storable

Arrays = dict[str, NDArray[Any]]
Caught = tuple[Warning, str, int]  # what was warned, and the file and line of it
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True, slots=True)
class Task:
    """One item of work and where its arrays are kept."""

    function: Callable[[Any], Any]
    """A function at the top of a module."""
    item: Any
    """What it is given."""
    key: str
    """Name of the result."""
    store: Store | None
    """Where the result is kept, if anywhere."""
    fresh: bool = False
    """Whether to make it even if it is kept already."""

    def done(self) -> Arrays:
        """The arrays: fetched, or made and kept."""
        if self.store is None:
            return self._made()
        if self.fresh:
            return self.store.put(self.key, arrays=self._made(), record={}).arrays
        return self.store.get_or_make(self.key, lambda: (self._made(), {})).arrays

    def _made(self) -> Arrays:
        made = self.function(self.item)
        if not isinstance(made, Mapping):
            name = self.function.__name__
            msg = f"{name} must return a dictionary of arrays, got {type(made).__name__}"
            raise ValueError(msg)  # noqa: TRY004  # bad input is a ValueError throughout
        return storable(made)

    def note(self) -> str:
        """What this task is, for an error message."""
        shown = repr(self.item)
        return f"while computing {self.function.__name__} of " + (
            shown if len(shown) <= 200 else shown[:200] + "…"
        )


class Pool:
    """Up to ``workers`` processes, started lazily.

    Example:
        >>> list(Pool(1).run([]))
        []
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._executor: ProcessPoolExecutor | None = None

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[str, Arrays]]:
        """Key and arrays of each task, in the order in which they are finished.

        One task, or one worker, is worked on in this process. If a task fails, or the caller is
        interrupted, the processes are stopped; what was finished by then is kept.

        Raises:
            Exception: What a task raised, with the task named in a note unless it is a ValueError,
                which says itself what is wrong with what was given.
        """
        if len(tasks) <= 1 or self.workers == 1:
            for task in tasks:
                with _named(task):
                    yield task.key, task.done()
            return
        executor = self._started(tasks[0].function.__module__)
        try:
            futures = {executor.submit(_listened, task): task for task in tasks}
            yield from _finished(futures)
        except BaseException:
            self.kill()
            raise

    def close(self) -> None:
        """Stop the processes; none of them is at work."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def kill(self) -> None:
        """Stop the processes at once, whatever they are doing."""
        if self._executor is None:
            return
        executor, self._executor = self._executor, None
        processes = list((executor._processes or {}).values())
        executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(timeout=5)
            if process.is_alive():
                process.kill()

    def _started(self, module: str) -> ProcessPoolExecutor:
        if self._executor is None:
            context = multiprocessing.get_context("forkserver")
            # The server imports the module of the work once; its children share that by fork.
            context.set_forkserver_preload([module])
            with _one_thread():
                from multiprocessing import forkserver

                forkserver.ensure_running()
            self._executor = ProcessPoolExecutor(
                self.workers, mp_context=context, initializer=_begin, initargs=(_house(),)
            )
        return self._executor


def _listened(task: Task) -> tuple[Arrays, list[Caught]]:
    """What a task makes, and the warnings that its parent shall give."""
    with warnings.catch_warnings(record=True) as caught:
        arrays = task.done()
    return arrays, [
        (
            one.message if isinstance(one.message, Warning) else one.category(one.message),
            one.filename,
            one.lineno,
        )
        for one in caught
    ]


def _finished(
    futures: dict[Future[tuple[Arrays, list[Caught]]], Task],
) -> Iterator[tuple[str, Arrays]]:
    waiting: Iterable[Future[tuple[Arrays, list[Caught]]]] = futures
    while waiting:
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in done:
            task = futures.pop(future)
            with _named(task):
                arrays, caught = _outcome(future)
                for message, file, line in caught:
                    warnings.warn_explicit(message, type(message), file, line)
                yield task.key, arrays


def _outcome(future: Future[tuple[Arrays, list[Caught]]]) -> tuple[Arrays, list[Caught]]:
    try:
        return future.result()
    except BrokenProcessPool as error:
        msg = (
            "a worker process died, most likely for want of memory; what is finished is kept, "
            "and fewer workers (--workers 1) may do"
        )
        raise RuntimeError(msg) from error


@contextlib.contextmanager
def _named(task: Task) -> Iterator[None]:
    """Add to an error that ``task`` was the one."""
    try:
        yield
    except ValueError:  # bad input: the user knows nothing of tasks
        raise
    except Exception as error:
        error.add_note(task.note())
        raise


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes started here use one thread each."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _house() -> dict[str, str]:
    """Our own settings: the server that forks the workers may be older than they are."""
    return {name: value for name, value in os.environ.items() if name.startswith("STILLROOM_")}


def _begin(settings: Mapping[str, str]) -> None:
    """Set up a worker process."""
    os.environ.update(settings)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
