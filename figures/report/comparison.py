"""The tables of a comparison: what is measured of each network, of the pair, and of classes."""

from collections.abc import Iterable, Sequence

import numpy as np

from figures.report.tables import Table
from sims.results import Result

_MINUS = "−"
_NONE = "–"
_MOST = 6  # classes

GROUPS = ("all samples", "teacher least sure", "and student less sure still")
PARTS = ("both", "only student", "only teacher", "neither")


def tables_of(result: Result) -> tuple[tuple[str, Table], ...]:
    """Titles and tables of a result: those of a comparison; of others there are none."""
    if result.experiment != "comparison":
        return ()
    level = f"{100 * float(result.config['level']):g}% intervals in brackets"
    right = (("Who is right", dissection(result)),) if "dissection" in result.arrays else ()
    return (
        (f"Each network ({level})", networks(result)),
        (f"The pair ({level})", pair(result)),
        *right,
        (_classes_title(result), classes(result)),
    )


def every_number(result: Result) -> Table:
    """For a program: a row for each number with the ends of its interval, shares as fractions."""
    rows = [
        ["network", name, role, cell]
        for name, values in zip(
            result.array("measures"), result.array("measure_values"), strict=True
        )
        for role, cell in zip(result.array("roles"), values, strict=True)
    ]
    rows += [
        ["pair", name, "", cell]
        for name, cell in zip(result.array("pairs"), result.array("pair_values"), strict=True)
    ]
    if "dissection" in result.arrays:
        rows += [
            ["who is right", group, part, (share,)]
            for group, shares in zip(GROUPS, result.array("dissection"), strict=True)
            for part, share in zip(PARTS, shares, strict=True)
        ]
    columns = ("samples", "change of log-odds", "teacher right", "student right")
    arrays = (
        result.array("class_count"),
        result.array("class_gap"),
        *result.array("class_accuracy"),
    )
    rows += [
        ["class", name, column, (float(values[k]),)]
        for k, name in enumerate(result.array("class_names"))
        for column, values in zip(columns, arrays, strict=True)
    ]
    return Table.of(
        ["table", "what", "of", "value", "low", "high"],
        [[*map(str, names), *_plain(cell)] for *names, cell in rows],
    )


def _plain(values: Sequence[float]) -> list[str]:
    """Value and ends, empty where there are none."""
    cells = ["" if np.isnan(value) else f"{value:.10g}" for value in values]
    return cells + [""] * (3 - len(cells))


def networks(result: Result) -> Table:
    """A row for every score, a column for every network and one for student less teacher."""
    roles = [str(role) for role in result.array("roles")]
    shown = {"difference": "student less teacher"}
    rows = [
        [_named(name), *(_cell(cell, percent=_is_share(name)) for cell in values)]
        for name, values in zip(
            result.array("measures"), result.array("measure_values"), strict=True
        )
    ]
    return Table.of(["", *(shown.get(role, role) for role in roles)], rows)


def pair(result: Result) -> Table:
    """A row for everything that is measured of student and teacher together."""
    names, values = result.array("pairs"), result.array("pair_values")
    rows = [
        [_named(name), _cell(cell, percent=_is_share(name))]
        for name, cell in zip(names, values, strict=True)
    ]
    return Table.of(["", "value"], rows)


def classes(result: Result) -> Table:
    """The classes whose samples change most from teacher to student."""
    counts, gaps = result.array("class_count"), result.array("class_gap")
    accuracies = result.array("class_accuracy")
    names = result.array("class_names")
    labeled = not np.isnan(accuracies).all()
    change = accuracies[1] - accuracies[0] if labeled else gaps
    filled = [k for k in np.argsort(-np.nan_to_num(np.abs(change)), kind="stable") if counts[k]]
    columns = ["class", "samples", "change of log-odds"]
    rows = [[str(names[k]), f"{counts[k]:,}", _number(float(gaps[k]))] for k in filled[:_MOST]]
    if labeled:
        columns += ["teacher right", "student right"]
        shares = ((f"{accuracies[0][k]:.1%}", f"{accuracies[1][k]:.1%}") for k in filled[:_MOST])
        rows = [[*row, *share] for row, share in zip(rows, shares, strict=True)]
    return Table.of(columns, rows)


def _classes_title(result: Result) -> str:
    labeled = not np.isnan(result.array("class_accuracy")).all()
    by = "accuracy" if labeled else "confidence"
    of = "true" if labeled else "teacher's"
    return f"The {of} classes whose {by} changes most"


def dissection(result: Result) -> Table:
    """Shares of samples by who is right: of all, of the unsure ones, of the underfit ones."""
    rows = [
        [group, f"{count:,}", *(_NONE if np.isnan(share) else f"{share:.1%}" for share in shares)]
        for group, count, shares in zip(
            GROUPS, result.array("dissection_samples"), result.array("dissection"), strict=True
        )
    ]
    return Table.of(["", "samples", *PARTS], rows)


def _is_share(name: str) -> bool:
    return name.startswith(("accuracy", "share", "agreement"))


def _named(name: str) -> str:
    return f"{name} (%)" if _is_share(name) else str(name)


def _cell(values: Sequence[float], *, percent: bool = False) -> str:
    estimate, low, high = (float(value) * (100.0 if percent else 1.0) for value in values)
    if np.isnan(estimate):
        return _NONE
    if np.isnan(low):
        return _number(estimate)
    ends = ", ".join(_alike((low, high), estimate))
    return f"{_number(estimate)} [{ends}]"


def _alike(values: Iterable[float], like: float) -> list[str]:
    """Numbers with as many decimals as one of them needs."""
    size = abs(like)
    decimals = 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 else 3
    if 0 < size < 1e-3:
        return [f"{value:.2e}".replace("-", _MINUS) for value in values]
    return [f"{value:,.{decimals}f}".replace("-", _MINUS) for value in values]


def _number(value: float) -> str:
    return _alike((value,), value)[0]
