"""The table of the benchmark: every row with its accuracies, intervals and the change."""

import numpy as np
from numpy.typing import NDArray

from figures import _benchmark
from figures.report.tables import Table
from sims.results import Result

COLUMNS = (
    "method",
    "paper",
    "taught by",
    "last %",
    "change",
    "Holm p",
    "best %",
    "best on test %",
    "NLL",
    "ECE",
    "flips by heart %",
)
LEAST = ("paper", "flips by heart %", "NLL", "taught by", "best on test %", "Holm p", "ECE")
"""Columns that are left out first where there is no room for all."""
MEANINGS = (
    ("taught by", "what teaches beside the labels, or in their place"),
    ("last %", "test accuracy after the last epoch; ± half of a 95 % t interval over seeds"),
    ("change", "of it, to one-hot labels seed by seed, in points"),
    ("Holm p", "of no change, adjusted for all rows; – where all seeds change alike"),
    ("best %", "of the epoch best on held-out samples, whose labels are as noisy"),
    ("best on test %", "of the epoch best on the test set: selected on it, and too high"),
    ("NLL, ECE", "of the test set, after the last epoch; ECE with 15 bins"),
    ("flips by heart %", "of the flipped labels, predicted as given after the last epoch"),
)
"""What the columns are."""


def tables_of(result: Result) -> tuple[tuple[str, Table], ...]:
    """Titles and tables; none for other experiments."""
    if result.experiment != _benchmark.RESULT:
        return ()
    title = f"Every method on {_benchmark.setting(result)}"
    rows = [_row(result, int(row)) for row in _benchmark.order(result)]
    table = Table.of(COLUMNS, [*rows, _teacher(result)])
    return (title, table), ("Its columns", Table.of(("column", "meaning"), MEANINGS))


def _row(result: Result, row: int) -> tuple[str, ...]:
    own = row == _benchmark.baseline(result)
    p_value = float(result.array("test_accuracy_p")[row])
    change = result.array("test_accuracy_change")[row]
    return (
        *(str(result.array(name)[row]) for name in ("label", "source", "needs")),
        _mean(result, "test_accuracy", row),
        "" if own else _with_half(change, signed=True),
        "" if own else _p(p_value),
        _mean(result, "best_accuracy", row),
        _mean(result, "best_test_accuracy", row),
        f"{result.array('test_nll_mean')[row, 0]:.3f}",
        f"{result.array('test_ece_15_mean')[row, 0]:.3f}",
        f"{100 * result.array('train_memorized_mean')[row, 0]:.0f}",
    )


def _teacher(result: Result) -> tuple[str, ...]:
    """The one teacher, which is of a single seed."""

    def own(name: str, digits: int) -> str:
        return f"{float(result.array(f'teacher_{name}')):.{digits}f}"

    def percent(name: str, digits: int = 1) -> str:
        return _benchmark.percent(result.array(f"teacher_{name}"), digits)

    return (
        "the teacher itself", "", "labels alone", percent("test_accuracy"), "", "",
        percent("best_accuracy"), percent("best_test_accuracy"), own("test_nll", 3),
        own("test_ece_15", 3), percent("train_memorized", 0),
    )  # fmt: skip


def _mean(result: Result, name: str, row: int) -> str:
    return _with_half(result.array(f"{name}_mean")[row], signed=False)


def _with_half(three: NDArray[np.float64], *, signed: bool) -> str:
    """A mean in percent and half of its interval, where that is known."""
    mean, low, high = (100 * float(x) for x in three)
    shown = f"{mean:+z.1f}".replace("-", "−") if signed else f"{mean:.1f}"
    return f"{shown} ± {(high - low) / 2:.1f}" if np.isfinite(high - low) else shown


def _p(value: float) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"
