"""What the figures and tables of the benchmark share: who teaches, and the order of the rows."""

import numpy as np
from numpy.typing import NDArray

from figures import style
from sims.results import Result

RESULT = "digits_benchmark"
KINDS = {
    "labels": style.Role("labels alone", style.BLUE, "o"),
    "teacher": style.Role("a teacher", style.ORANGE, "D"),
    "itself": style.Role("its own past or average", style.GREEN, "s"),
    "truth": style.Role("the true law of the label", style.VIOLET, "^"),
}
"""What teaches a student, by color and marker."""


def order(result: Result) -> NDArray[np.intp]:
    """Rows from the most accurate after the last epoch to the least, those that tie as listed."""
    return np.argsort(-result.array("test_accuracy_mean")[:, 0], kind="stable")


def baseline(result: Result) -> int:
    """The row that learns labels alone, with which all are compared."""
    return int(result.array("baseline")[0])


def learning(result: Result) -> NDArray[np.bool_]:
    """Rows that learn; all where labels alone do not, as when training is much too short."""
    rows = np.asarray(result.array("learns"), dtype=np.bool_)
    return rows if rows[baseline(result)] else np.ones_like(rows)


def role(result: Result, row: int) -> style.Role:
    """Color and marker of a row."""
    return KINDS[str(result.array("kind")[row])]


def kinds(result: Result) -> list[str]:
    """The kinds there are, in the order of the legend."""
    present = set(result.array("kind").tolist())
    return [name for name in KINDS if name in present]


def setting(result: Result) -> str:
    """Samples, flips and seeds in words."""
    train, flipped = int(result.array("train_samples")[0]), int(result.array("flipped")[0])
    return f"{train:,} digits, {flipped:,} flipped labels, {len(result.array('seeds'))} seeds"
