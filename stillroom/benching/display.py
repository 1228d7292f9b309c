"""How far the runs are: a live line on a terminal, plain lines elsewhere."""

import math
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from rich.progress import Progress, TaskID

    from deep.training.config import RunConfig
    from deep.training.trainer import Trainer
    from deep.training.watching import Moment

LINES_EVERY = 10.0
"""Seconds between two lines where standard error is no terminal."""


def told(moment: "Moment") -> str:
    """A moment in words."""
    parts = [f"epoch {moment.epoch}/{moment.epochs}"]
    loss, test = moment.numbers.get("train_loss"), moment.numbers.get("test_accuracy")
    if loss is not None:
        parts.append(f"loss {loss:.3f}")
    if test is not None:
        parts.append(f"test {100 * test:.1f} %")
    if not moment.done and not math.isnan(moment.seconds_left):
        parts.append(f"{duration(moment.seconds_left)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(42.4), duration(150), duration(7500), duration(200_000)
    ('42 s', '2:30 min', '2:05 h', '2 d 7 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    minutes = whole // 60
    if minutes < 48 * 60:
        return f"{minutes // 60}:{minutes % 60:02d} h"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def role(configs: "Sequence[RunConfig]") -> str:
    """Teacher or student, or students that are trained at once, and of which seeds."""
    kind, seeds = configs[0].stream, [config.seed for config in configs]
    if len(seeds) == 1:
        return f"{kind}, seed {seeds[0]}"
    if seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{kind}s, seeds {seeds[0]} to {seeds[-1]}"
    return f"{kind}s, seeds {', '.join(map(str, seeds))}"


class Display(AbstractContextManager["Display"]):
    """Shows moments, and sentences between them. To be entered."""

    def show(self, moment: "Moment") -> None:
        """Show how far a run is."""

    def count(self, name: str, done: int, total: int) -> None:
        """Show how much of something is done."""

    def say(self, text: str) -> None:
        """Show a sentence."""

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        error: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        """Leave what was shown last."""


class Lines(Display):
    """Lines: one when a run lasts, and one when it is done."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        every: float = LINES_EVERY,
        clock: "Callable[[], float]" = time.monotonic,
    ) -> None:
        self._stream, self._every, self._clock = stream, every, clock
        self._last = clock()

    def say(self, text: str) -> None:
        """Write a line."""
        print(text, file=self._stream or sys.stderr, flush=True)

    def show(self, moment: "Moment") -> None:
        """Write a line if it is time."""
        now = self._clock()
        if moment.done or now - self._last >= self._every:
            self._last = now
            self.say(f"{role(moment.configs)}: step {moment.step}/{moment.steps}, {told(moment)}")

    def count(self, name: str, done: int, total: int) -> None:
        """Write a line if it is time."""
        now = self._clock()
        if now - self._last >= self._every:
            self._last = now
            self.say(f"{name}: {done:,} of {total:,}")


class Live(Display):
    """One live line for each run; it stays when the run is done."""

    def __init__(self) -> None:
        self._progress: Progress = _progress()
        self._rows: dict[int | str, TaskID] = {}

    def __enter__(self) -> "Live":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and give the cursor back."""
        self._progress.stop()

    def say(self, text: str) -> None:
        """Write a line above the live ones."""
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, moment: "Moment") -> None:
        """Move the line of this run."""
        run = id(moment.configs)
        if run not in self._rows:
            self._rows[run] = self._progress.add_task(
                role(moment.configs), total=moment.steps, told=""
            )
        self._progress.update(self._rows[run], completed=moment.step, told=told(moment))

    def count(self, name: str, done: int, total: int) -> None:
        """Move the line of that name."""
        if name not in self._rows:
            self._rows[name] = self._progress.add_task(name, total=total, told="")
        self._progress.update(self._rows[name], completed=done)


class Look:
    """A watch that shows how far a run is, on a CPU with the loss so far in its first epoch.

    Within an epoch a GPU is asked nothing: it would be waited for.
    """

    def __init__(self, display: Display) -> None:
        from deep.training.watching import Progress

        self._display = display
        self._progress = Progress(self._show)
        self._trainer: Trainer | None = None

    def __call__(self, trainer: "Trainer") -> None:
        """Look on after an update."""
        self._trainer = trainer
        self._progress(trainer)

    def _show(self, moment: "Moment") -> None:
        trainer = self._trainer
        if "train_loss" not in moment.numbers and trainer is not None and trainer.device == "cpu":
            loss = trainer.course.mean_loss()
            if math.isfinite(loss):
                moment = replace(moment, numbers={**moment.numbers, "train_loss": loss})
        self._display.show(moment)


def shown() -> Display:
    """Live lines where standard error is a terminal, else plain ones."""
    return Live() if sys.stderr.isatty() else Lines()


def _progress() -> "Progress":
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    bar = [progress.BarColumn(bar_width=16)] if console.width >= 100 else []
    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        *bar,
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[told]}", markup=False),
        console=console,
        refresh_per_second=4,
    )
