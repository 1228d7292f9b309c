"""Squares of the first numbers.

An experiment for tests: small, and failing on demand.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from sims.inputs import dataset
from sims.results import Finding, Result
from tests.sims import work


@dataclass(frozen=True, slots=True)
class Config:
    """Five numbers."""

    numbers: int = 5
    """How many numbers to square."""
    seed: int = 0
    """Added to each number."""
    times: tuple[float, ...] = (1.0, float("inf"))
    """Never used."""
    pause: float = 0.0
    """Seconds to sleep over each number."""
    marks: str = ""
    """Folder for a mark of each number worked on."""
    fail: Literal["no", "value", "type", "interrupt", "nothing"] = "no"
    """How to fail."""
    data: Path | None = None
    """An npz of the user's."""

    @classmethod
    def demo(cls):
        return cls(numbers=3)

    @classmethod
    def paper(cls):
        return cls(numbers=9)

    @classmethod
    def smoke(cls):
        return cls(numbers=2)


def run(config, context):
    if config.fail != "no":
        return _failed(config.fail)
    if config.data is not None:
        dataset(config.data)
    numbers = [n + config.seed for n in range(config.numbers)]
    if config.pause:
        context.map(work.slow, [(config.pause, n, config.marks) for n in numbers])
    made = context.map(work.square, numbers)
    squares = np.array([one["square"] for one in made])
    text = f"The sum of the {config.numbers} squares is {squares.sum()}, which is what it must be."
    findings = (Finding(text, holds=True, value=squares.sum()), Finding("Nothing is claimed here."))
    return Result("fake_squares", config, {"squares": squares}, findings)


def _failed(how):
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "nothing":
        return "nothing"
    msg = "the numbers are\nbad"
    raise ValueError(msg) if how == "value" else TypeError(msg)
