"""Ctrl-C and SIGTERM: a run ends after the step at hand, with a checkpoint."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from deep.training.runner import Runner, Stopped
from deep.training.trainer import Trainer


class Stop:
    """Lets the first signal stop a run with a checkpoint, and a second one at once.

    A watch, which is called after every update: before the first and after the last one a signal
    ends the run at once, and nothing is lost.

    Args:
        runner: What trains.
        say: Told in words what happens.
    """

    def __init__(self, runner: Runner, say: Callable[[str], None]) -> None:
        self._runner, self._say = runner, say
        self._training = False
        self._usual: Callable[[], object] | None = None
        """What the signal that came usually does."""

    def __call__(self, trainer: Trainer) -> None:
        """Look on."""
        self._training = not trainer.done

    def end(self, stopped: Stopped) -> None:
        """Say how far it came, and end as the signal usually ends a program."""
        self._say(f"{stopped}; the same command goes on from there")
        if self._usual is not None:
            self._usual()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take the signals while the block runs."""
        before: dict[int, Any] = {}

        def take(number: int, frame: Any) -> None:  # noqa: ANN401
            usual = before[number]
            if not self._training or self._usual is not None:
                self._say("stopped; the same command goes on from there")
                usual(number, frame)
                return
            self._say("stopping after this step; once more stops at once")
            self._usual = lambda: usual(number, frame)
            self._runner.stop()

        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                if callable(signal.getsignal(number)):
                    before[int(number)] = signal.getsignal(number)
                    signal.signal(number, take)
        except ValueError:  # not the main thread
            pass
        try:
            yield
        finally:
            for taken, usual in before.items():
                signal.signal(taken, usual)
