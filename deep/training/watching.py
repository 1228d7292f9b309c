"""What looks on while a run trains: progress for people, and the course of it for TensorBoard.

A watch is called with the `Trainer` after every update. Numbers are read where an epoch has ended
and they lie on the host already; within an epoch nothing is asked of the device, so that no watch
makes it wait.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from theory import checks

if TYPE_CHECKING:
    from deep.training.config import RunConfig
    from deep.training.trainer import Trainer


@dataclass(frozen=True, slots=True)
class Moment:
    """How far a run is."""

    configs: "tuple[RunConfig, ...]"
    """The run, or those that train together."""
    step: int
    """Updates made."""
    steps: int
    """Updates of the whole run."""
    epoch: int
    """The epoch that the last update belongs to, counted from 1."""
    epochs: int
    numbers: dict[str, float]
    """The last epoch's numbers, such as ``train_loss`` and ``test_accuracy``, means over the runs;
    empty in the first."""
    seconds_left: float
    """At the speed of this process so far; nan while it is not known."""

    @property
    def done(self) -> bool:
        """Whether the last update is made."""
        return self.step >= self.steps


class Progress:
    """A watch that tells how far a run is, a few times a second and at the end of each run.

    Args:
        show: Told of each moment.
        interval: Seconds between two moments, at least.
        clock: Seconds, growing.
    """

    def __init__(
        self,
        show: Callable[[Moment], None],
        *,
        interval: float = 0.25,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._show, self._clock = show, clock
        self._interval = checks.scalar("interval", interval)
        checks.nonnegative("interval", self._interval)
        self._trainer: Trainer | None = None
        self._next = 0.0
        self._begin, self._first = 0.0, 0
        self._epochs = 0
        self._numbers: dict[str, float] = {}

    def __call__(self, trainer: "Trainer") -> None:
        """Look on after an update."""
        now = self._clock()
        if trainer is not self._trainer:
            self._start(trainer, now)
        elif now < self._next and trainer.updates < trainer.plan.steps:
            return
        self._next = now + self._interval
        self._show(self._moment(trainer, now))

    def _start(self, trainer: "Trainer", now: float) -> None:
        self._trainer, self._numbers, self._epochs = trainer, {}, 0
        self._begin, self._first = now, trainer.updates

    def _moment(self, trainer: "Trainer", now: float) -> Moment:
        plan, made = trainer.plan, trainer.updates
        if trainer.course.epochs > self._epochs:
            self._epochs = trainer.course.epochs
            held = trainer.course.history()
            self._numbers = {name: float(value[-1].mean()) for name, value in held.items()}
        # the first step, in which much is made ready, does not count
        since = made - self._first
        left = (now - self._begin) * (plan.steps - made) / since if since else float("nan")
        epoch = min(-(-made // plan.per_epoch), plan.epochs)
        return Moment(
            trainer.configs, made, plan.steps, epoch, plan.epochs, dict(self._numbers), left
        )


class TensorBoard:
    """A watch that writes the numbers of every epoch for TensorBoard, a folder for each run.

    Needs the extra ``tensorboard``. A run that is resumed goes on in its folder; what an earlier
    process wrote of epochs that are trained again is replaced.

    Args:
        folder: Where the folders of runs are made.
        name: Names the folder of a run.

    Raises:
        ValueError: If TensorBoard is not installed.
    """

    def __init__(self, folder: Path, name: "Callable[[RunConfig], str]") -> None:
        self._folder, self._name = folder, name
        self._make = _summary_writer()
        self._trainer: Trainer | None = None
        self._writers: list[Any] = []
        self._epochs = 0

    def __call__(self, trainer: "Trainer") -> None:
        """Look on after an update."""
        if trainer is not self._trainer:
            self._start(trainer)
        if trainer.course.epochs > self._epochs:
            self._write(trainer)

    def close(self) -> None:
        """Write out what is left; the watch may be used again."""
        for writer in self._writers:
            writer.close()
        self._writers, self._trainer = [], None

    def _start(self, trainer: "Trainer") -> None:
        self.close()
        self._trainer = trainer
        # an epoch that has just ended is still to be written
        ended = trainer.plan.ends_epoch(trainer.updates - 1)
        self._epochs = trainer.course.epochs - ended
        self._writers = [
            self._make(str(self._folder / self._name(config)), purge_step=self._epochs + 1)
            for config in trainer.configs
        ]

    def _write(self, trainer: "Trainer") -> None:
        history = trainer.course.history()
        for epoch in range(self._epochs, trainer.course.epochs):
            for name, values in history.items():
                for writer, value in zip(self._writers, values[epoch].reshape(-1), strict=True):
                    writer.add_scalar(name, float(value), epoch + 1)
        for writer in self._writers:
            writer.flush()
        self._epochs = trainer.course.epochs


def each(*watches: "Callable[[Trainer], None]") -> "Callable[[Trainer], None]":
    """A watch that calls several."""

    def watch(trainer: "Trainer") -> None:
        for one in watches:
            one(trainer)

    return watch


def _summary_writer() -> Any:  # noqa: ANN401
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        msg = (
            "tensorboard must be installed to write for it, and is not: "
            "pip install 'stillroom[tensorboard]'"
        )
        raise ValueError(msg) from error
    return SummaryWriter
