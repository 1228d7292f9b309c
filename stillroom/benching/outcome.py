"""What finished runs came to, as a table."""

from collections.abc import Sequence
from pathlib import Path

from deep.training.finished import Finished
from stillroom import terminal
from stillroom.benching import numbers

SELECTED = {
    "last %": "last: after the last step{last}.",
    "best %": "best: of the epoch that was best on held-out samples, in parentheses{best}.",
    "best on test %": "best on test: the best epoch on the test set itself, so selected on it: "
    "for comparison only.",
}
LEAST = ("ECE %", "NLL", "agreement %")


def table(done: Sequence[Finished]) -> str:
    """A row for each run, and their mean if there are several."""
    rows = [_row(finished) for finished in done]
    columns = ["seed", "last %", "best %", "best on test %", "NLL", "ECE %", "agreement %"]
    kept = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    if len(done) > 1:
        rows.append(_means(done))
    shown = terminal.fitted(
        [columns[i] for i in kept],
        [[row[i] for i in kept] for row in rows],
        least=LEAST,
        whole="`stillroom bench show` has all",
    )
    mark = dict.fromkeys(("last", "best"), "") | {selected(done[0]): "; the headline"}
    said = [
        text.format(**mark) for name, text in SELECTED.items() if name in [columns[i] for i in kept]
    ]
    return "\n".join(["", shown, "", *map(terminal.wrapped, said)])


def selected(finished: Finished) -> str:
    """Which accuracy the recipe's authors report: ``"last"`` or ``"best"``."""
    record = finished.record
    said = record.get("selected") or record["config"]["recipe"]["select"]
    return "best" if said == "best" and "best" in finished.measures else "last"


def where(done: Sequence[Finished], out: Path) -> str:
    """Where they are stored, and how to see more."""
    lines = [f"stored in {out / 'runs' / finished.key}" for finished in done]
    first = done[0].key[:8]
    return "\n".join([*lines, f"`stillroom bench show {first}` says more"])


def _values(finished: Finished) -> list[float | None]:
    measures = finished.measures
    last = measures["last"]["test"]
    best = measures.get("best", {}).get("test", {})
    return [
        last.get("accuracy"),
        best.get("accuracy"),
        measures.get("best_test", {}).get("accuracy"),
        last.get("nll"),
        last.get("ece_15"),
        last.get("agreement"),
    ]


def _row(finished: Finished) -> list[str]:
    last, best, best_test, nll, ece, agreement = _values(finished)
    epochs = {name: finished.measures.get(name, {}).get("epoch") for name in ("best", "best_test")}
    return [
        str(finished.record["config"]["seed"]),
        numbers.percent(last),
        numbers.at_epoch(best, epochs["best"]),
        numbers.at_epoch(best_test, epochs["best_test"]),
        numbers.decimal(nll),
        numbers.percent(ece),
        numbers.percent(agreement),
    ]


def _means(done: Sequence[Finished]) -> list[str]:
    columns = list(zip(*(_values(finished) for finished in done), strict=True))
    shown = [
        numbers.mean(values, scale=1.0 if place == 3 else 100.0)
        for place, values in enumerate(columns)
    ]
    return ["mean", *shown]
