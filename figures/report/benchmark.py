"""The tables of the benchmark: every row with its accuracies, and what else its students are."""

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
)
FURTHER = (
    "method",
    "NLL",
    "ECE",
    "flips by heart %",
    "flips put right %",
    "agreement %",
    "KL",
    "slope",
)
LEAST = ("paper", "taught by", "best on test %", "Holm p", "slope", "KL", "flips put right %")
"""Columns that are left out first where there is no room for all."""
MEANINGS = (
    ("taught by", "what teaches beside the labels, or in their place"),
    ("last %", "test accuracy after the last epoch; ± half of a 95 % t interval over seeds"),
    ("change", "of it, to one-hot labels seed by seed, in points"),
    ("Holm p", "of no change, adjusted for all rows; – where all seeds change alike"),
    ("best %", "of the epoch best on held-out samples, whose labels are as noisy"),
    ("best on test %", "of the epoch best on the test set: selected on it, and too high"),
    ("NLL, ECE", "on the test set after the last epoch; ECE with 15 bins"),
    ("flips by heart %", "of the flipped labels, predicted as given after the last epoch"),
    ("flips put right %", "of the flipped labels, predicted as the true class"),
    ("agreement %, KL", "with the teacher on the test set: same class, and divergence from it"),
    ("slope", "of the student's confidence on the teacher's where that is least sure"),
)
"""What the columns are."""


def tables_of(result: Result) -> tuple[tuple[str, Table], ...]:
    """Titles and tables, the last of them of the columns; none for other experiments."""
    if result.experiment != _benchmark.RESULT:
        return ()
    order = [int(row) for row in _benchmark.order(result)]
    accuracies = [*(_accuracies(result, row) for row in order), _teacher(result)]
    further = [*(_further(result, row) for row in order), _further_of_teacher(result)]
    return (
        (f"Every method on {_benchmark.setting(result)}", Table.of(COLUMNS, accuracies)),
        ("What else their students are like", Table.of(FURTHER, further)),
        ("The columns", Table.of(("column", "meaning"), MEANINGS)),
    )


def _accuracies(result: Result, row: int) -> tuple[str, ...]:
    own = row == _benchmark.baseline(result)
    change = result.array("test_accuracy_change")[row]
    return (
        *(str(result.array(name)[row]) for name in ("label", "source", "needs")),
        _mean(result, "test_accuracy", row),
        "" if own else _with_half(change, signed=True),
        "" if own else _p(float(result.array("test_accuracy_p")[row])),
        _mean(result, "best_accuracy", row),
        _mean(result, "best_test_accuracy", row),
    )


def _further(result: Result, row: int) -> tuple[str, ...]:
    def mean(name: str, digits: int, scale: float = 1.0) -> str:
        return _number(scale * float(result.array(name)[row].mean()), digits)

    return (
        str(result.array("label")[row]),
        mean("test_nll", 3),
        mean("test_ece_15", 3),
        mean("train_memorized", 0, 100),
        mean("train_correction", 0, 100),
        mean("test_agreement", 1, 100),
        mean("test_kl_teacher", 3),
        mean("test_slope_bottom", 2),
    )


def _teacher(result: Result) -> tuple[str, ...]:
    """The one teacher, which is of a single seed."""
    names = ("test_accuracy", "best_accuracy", "best_test_accuracy")
    last, best, on_test = (f"{100 * float(result.array(f'teacher_{name}')):.1f}" for name in names)
    return "the teacher itself", "", "labels alone", last, "", "", best, on_test


def _further_of_teacher(result: Result) -> tuple[str, ...]:
    def own(name: str, digits: int, scale: float = 1.0) -> str:
        return _number(scale * float(result.array(f"teacher_{name}")), digits)

    return (
        "the teacher itself",
        own("test_nll", 3),
        own("test_ece_15", 3),
        own("train_memorized", 0, 100),
        own("train_correction", 0, 100),
        "",
        "",
        "",
    )


def _mean(result: Result, name: str, row: int) -> str:
    return _with_half(result.array(f"{name}_mean")[row], signed=False)


def _with_half(three: NDArray[np.float64], *, signed: bool) -> str:
    """A mean in percent and half of its interval, where that is known."""
    mean, low, high = (100 * float(x) for x in three)
    shown = f"{mean:+z.1f}".replace("-", "−") if signed else f"{mean:.1f}"
    return f"{shown} ± {(high - low) / 2:.1f}" if np.isfinite(high - low) else shown


def _number(value: float, digits: int) -> str:
    """A number with a true minus sign; empty where there is none."""
    return f"{value:z.{digits}f}".replace("-", "−") if np.isfinite(value) else ""


def _p(value: float) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"
