"""Progress of long work: live bars on a terminal, plain lines elsewhere, or nothing."""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rich.progress import Progress

Advance = Callable[..., None]


class Reporter(ABC):
    """Shows progress."""

    @abstractmethod
    def task(
        self, description: str, *, total: int, done: int = 0
    ) -> "AbstractContextManager[Advance]":
        """Show a task while the block runs; it yields ``advance(steps=1)``."""

    def say(self, text: str) -> None:  # noqa: B027  # a reporter may be silent
        """Show a sentence."""


class _Silent(Reporter):
    @contextmanager
    def task(self, description: str, *, total: int, done: int = 0) -> Iterator[Advance]:  # noqa: ARG002
        yield lambda steps=1: None  # noqa: ARG005


class Lines(Reporter):
    """One line when a task begins to last, every ``interval`` seconds, and when it is done."""

    def __init__(self, stream: TextIO | None = None, *, interval: float = 10.0) -> None:
        self._stream = stream
        self._interval = interval

    def say(self, text: str) -> None:
        """Write a line."""
        print(text, file=self._stream or sys.stderr, flush=True)

    @contextmanager
    def task(self, description: str, *, total: int, done: int = 0) -> Iterator[Advance]:
        """Write lines while the block runs."""
        begin = shown = time.monotonic()
        count = done

        def say() -> None:
            stream = self._stream or sys.stderr
            seconds = time.monotonic() - begin
            print(f"{description}: {count}/{total} ({seconds:.0f} s)", file=stream, flush=True)

        def advance(steps: int = 1) -> None:
            nonlocal count, shown
            count += steps
            if time.monotonic() - shown >= self._interval and count < total:
                shown = time.monotonic()
                say()

        yield advance
        say()


class Bars(Reporter):
    """Live bars, one for each task; they stay on the screen when done."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._open = 0

    def say(self, text: str) -> None:
        """Write a line, above the bars if there are any."""
        console = (self._progress or _bars()).console
        console.print(text, markup=False, highlight=False)

    @contextmanager
    def task(self, description: str, *, total: int, done: int = 0) -> Iterator[Advance]:
        """Show a bar while the block runs."""
        bars = self._progress = self._progress or _bars()
        row = bars.add_task(description, total=total, completed=done)
        self._open += 1
        if self._open == 1:
            bars.start()
        try:
            yield lambda steps=1: bars.advance(row, steps)
        finally:
            self._open -= 1
            bars.stop_task(row)
            if self._open == 0:
                bars.stop()
                self._progress = None


def _bars() -> "Progress":
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description:<34}", markup=False),
        progress.BarColumn(bar_width=24),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        console=Console(stderr=True),
    )


def silent() -> Reporter:
    """Say nothing."""
    return _Silent()


def shown(stream: TextIO | None = None) -> Reporter:
    """Bars where ``stream`` (standard error) is a terminal, else lines."""
    return Bars() if (stream or sys.stderr).isatty() else Lines()
