"""``stillroom bench list`` and ``stillroom bench show``. Load no torch."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from stillroom import terminal
from stillroom.benching import differences, labels, numbers, stored
from stillroom.benching.stored import Stored
from stillroom.options import Parser

FORMATS = ("text", "csv", "json", "markdown")
FILTERS = ("method", "data", "student", "teacher", "recipe", "scale")
DIFFERS = "differs by"
LEAST = (DIFFERS, "age", "on test %", "scale", "best %", "networks")
"""Columns that are left out first where the terminal is too narrow."""
TOLD = ("networks", DIFFERS)
"""Of these, those that are told below the table."""
HEADLINES = {
    "last": "last, after the last step",
    "best": "best, of the epoch that was best on held-out samples",
}
SPLITS = ("test", "train", "validation")
_STATUS = ("finished", "interrupted", "running", "damaged")
_ROWS = 20


def list_runs(arguments: Sequence[str]) -> int:
    """List the stored runs."""
    parser = Parser("bench list", "Stored runs, the newest first: finished, interrupted, running.")
    add_filters(parser)
    parser.add_argument("--status", choices=_STATUS, help="only these")
    parser.add_argument("--format", choices=FORMATS, default="text", help="default: text")
    parser.add_out()
    given = parser.parsed(arguments)
    out = stored.folder(given.out)
    asked = {name: getattr(given, name) for name in FILTERS}
    runs = stored.matching(stored.every(out), **asked, status=given.status)
    if given.format == "json":
        told = _apart(runs)
        print(json.dumps([_plain(run, told[run.key]) for run in runs], indent=1))
        return 0
    if not runs:
        print(f"none of the runs under {out / 'runs'} is like that")
        return 0
    if given.format == "csv":
        print(_csv(runs))
        return 0
    from figures.report.tables import Table

    columns, rows = _columns(runs)
    if given.format == "markdown":
        print(Table.of(columns, rows).markdown())
        return 0
    table = terminal.fitted(columns, rows, least=LEAST)
    print("\n".join([table, *_below(table, columns, rows)]))
    headlines = {run.selected for run in runs if run.finished}
    if len(headlines) == 1:
        print(f"the headline is {HEADLINES[headlines.pop()]}")
    for run in runs:
        if run.summary.problem:
            print(terminal.wrapped(f"{run.key[:8]}: {run.summary.problem}"))
    return 0


def add_filters(parser: Parser) -> None:
    """Add the options that choose among the runs."""
    helps = {
        "method": "only runs of this method",
        "data": "only runs on this image set",
        "student": "only runs of this network",
        "teacher": "only runs with this teacher, as the list names it",
        "recipe": "only runs by this recipe",
    }
    for name, text in helps.items():
        parser.add_argument(f"--{name}", metavar="NAME", help=text)
    parser.add_argument("--scale", type=float, metavar="X", help="only runs of this scale")


def show_run(arguments: Sequence[str]) -> int:
    """Show all of one run."""
    parser = Parser("bench show", "Config, measures, history and provenance of one run.")
    parser.add_argument("key", metavar="KEY", help="first characters of its key")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")
    parser.add_argument(
        "--history", choices=("short", "all", "none"), default="short", help="default: short"
    )
    parser.add_out()
    given = parser.parsed(arguments)
    out = stored.folder(given.out)
    run = stored.one(out, given.key)
    if given.format == "json":
        print(json.dumps({**_plain(run), "record": run.record or {"config": run.config}}, indent=1))
        return 0
    print("\n\n".join(_shown(run)))
    if run.finished and given.history != "none":
        from deep.records.runs import Runs

        entry = Runs(out).get(run.key)
        table = None if entry is None else _history(entry.arrays, every=given.history == "all")
        if table:
            print(f"\n{table}")
    if run.finished:
        print(f"\nin {out / 'runs' / run.key}")
    return 0


def _columns(runs: Sequence[Stored]) -> tuple[list[str], list[list[str]]]:
    """The list as text; columns in which nothing stands are left out."""
    told = _apart(runs)
    cells: dict[str, Callable[[Stored], str]] = {
        "key": lambda run: run.key[:8],
        "state": lambda run: "" if run.finished else _state(run),
        "method": _method,
        "data": lambda run: labels.data(run.config["data"]) if run.config else "",
        "networks": lambda run: labels.networks(run.config) if run.config else "",
        DIFFERS: lambda run: ", ".join(told[run.key]),
        "scale": lambda run: "" if "scale" not in run.config else f"{run.config['scale']:g}",
        "seed": lambda run: "" if run.seed is None else str(run.seed),
        "last %": lambda run: numbers.percent(run.accuracy("last")),
        "best %": lambda run: numbers.percent(run.accuracy("best")),
        "on test %": lambda run: numbers.percent(run.accuracy("best_test")),
        "age": lambda run: age(run.summary.created),
    }
    if len({run.selected for run in runs if run.finished}) > 1:
        cells["headline"] = lambda run: run.selected if run.finished else ""
    held = {name: [cell(run) for run in runs] for name, cell in cells.items()}
    kept = [name for name, column in held.items() if any(column)]
    return kept, [list(row) for row in zip(*(held[name] for name in kept), strict=True)]


def _below(table: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """What runs are and differ by, where the table has no place for it."""
    head = table.partition("\n")[0]
    missing = [columns.index(name) for name in TOLD if name in columns and name not in head]
    told: dict[str, list[str]] = {}
    for row in rows:
        if text := "; ".join(row[place] for place in missing if row[place]):
            told.setdefault(text, []).append(row[0])
    for text, keys in told.items():
        yield terminal.wrapped(f"{', '.join(keys)}: {text}", rest="  ")


def _apart(runs: Sequence[Stored]) -> dict[str, list[str]]:
    """What tells runs apart whose rows would be alike but for their seeds and numbers."""
    alike: dict[tuple[object, ...], list[Stored]] = {}
    found: dict[str, list[str]] = {run.key: [] for run in runs}
    for run in runs:
        if run.config and not run.imported:
            config = run.config
            row = (labels.data(config["data"]), labels.networks(config), config.get("scale"))
            alike.setdefault((_method(run), *row), []).append(run)
    for held in alike.values():
        rests = differences.apart([run.config for run in held])
        found |= {run.key: differences.said(rest) for run, rest in zip(held, rests, strict=True)}
    return found


def _method(run: Stored) -> str:
    if not run.config:
        return ""
    if run.imported:
        name = run.config["imported"].get("name")
        return f"imported ({name})" if name else "imported"
    found = labels.method(run.config["method"])
    return found if run.is_student else f"{found} ({run.config.get('stream', 'teacher')})"


def _state(run: Stored) -> str:
    summary = run.summary
    far = f" {summary.step}/{summary.steps}" if summary.step is not None else ""
    return f"{summary.status}{far}"


def _plain(run: Stored, differs_by: Sequence[str] = ()) -> dict[str, Any]:
    """A run as a few numbers and words, for other programs."""
    config, known = run.config, bool(run.config)
    return {
        "key": run.key,
        "status": run.summary.status,
        "step": run.summary.step,
        "steps": run.summary.steps,
        "method": run.method if known else None,
        "options": dict(config.get("method", {}).get("options", [])),
        "stream": config.get("stream"),
        "data": labels.data(config["data"]) if known else None,
        "student": labels.network(config["model"]) if known else None,
        "teacher": labels.teacher(config) or None,
        "recipe": config.get("recipe", {}).get("name"),
        "differs_by": " ".join(differs_by),
        "scale": config.get("scale"),
        "seed": run.seed,
        "selected": run.selected if run.finished else None,
        "accuracy": run.accuracy(run.selected),
        "accuracy_last": run.accuracy("last"),
        "accuracy_best": run.accuracy("best"),
        "best_epoch": run.best_epoch("best"),
        "accuracy_best_on_test": run.accuracy("best_test"),
        "best_on_test_epoch": run.best_epoch("best_test"),
        "created": run.summary.created,
        "problem": run.summary.problem,
    }


def _csv(runs: Sequence[Stored]) -> str:
    from figures.report.tables import Table

    told = _apart(runs)
    rows = [_plain(run, told[run.key]) for run in runs]
    for row in rows:
        row["options"] = " ".join(f"{key}={value}" for key, value in row["options"].items())
    cells = [["" if value is None else str(value) for value in row.values()] for row in rows]
    return Table.of(list(rows[0]), cells).csv().rstrip()


def age(created: str, *, now: datetime | None = None) -> str:
    """How long ago that was.

    >>> age("2026-01-01T00:00:00+00:00", now=datetime(2026, 1, 1, 5, 7, tzinfo=UTC))
    '5 h'
    """
    try:
        seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(created)).total_seconds()
    except (TypeError, ValueError):
        return ""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _shown(run: Stored) -> list[str]:
    """What is known of a run, in parts."""
    head = f"{run.key}\n{_state(run)}"
    if run.summary.problem:
        head += f"\n{terminal.wrapped(run.summary.problem)}"
    if not run.config:
        return [head]
    if not run.imported:
        head += f"\n{_method(run)} on {labels.data(run.config['data'])}: "
        head += labels.networks(run.config)
    parts = [head, *_configs(run.config)]
    fitted = run.record.get("hyper", {})
    chosen = dict(run.config.get("method", {}).get("options", []))
    if fitted and fitted != chosen:
        parts.append(_pairs("hyper-parameters after those that were solved for", _flat(fitted)))
    parts += [_measures(run)] if run.record.get("measures") else []
    source = run.record.get("provenance")
    return [*parts, _pairs("provenance", _flat(source))] if source else parts


def _configs(config: Mapping[str, Any]) -> Iterator[str]:
    """The config, then that of its teacher as far as it is another."""
    title, before = "config", dict[str, str]()
    while config:
        taught_by = config.get("teacher")
        own = _flat({name: value for name, value in config.items() if name != "teacher"})
        other = {name: value for name, value in own.items() if before.get(name) != value}
        yield _pairs(title, other)
        title, before = "its teacher, where it differs", own
        config = taught_by or {}


def _flat(held: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Nested dictionaries as pairs of a dotted name and a text."""
    found: dict[str, str] = {}
    for name, value in held.items():
        path = f"{before}{name}"
        if isinstance(value, Mapping):
            found |= _flat(_unpaired(value), f"{path}.")
        elif value not in (None, [], ""):
            found[path] = _text(value)
    return found


def _unpaired(held: Mapping[str, Any]) -> Mapping[str, Any]:
    """A method or network with its options beside its name."""
    options = held.get("options")
    if not isinstance(options, list):
        return held
    return {"name": held["name"], **{str(key): value for key, value in options}}


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _pairs(title: str, held: Mapping[str, str]) -> str:
    return f"{title}\n{terminal.listed(list(held.items()))}"


def _measures(run: Stored) -> str:
    """Every measure: a row each, a column for each stop and split."""
    from figures.report.tables import Table

    held = run.record["measures"]
    columns = {
        f"{stop}, {split}": found[split]
        for stop, found in held.items()
        for split in SPLITS
        if isinstance(found.get(split), dict)
    }
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    rows = [[name, *(_number(column.get(name)) for column in columns.values())] for name in names]
    lines = [f"measures\n{Table.of(['', *columns], rows).text()}"]
    if run.accuracy(run.selected) is not None:
        accuracy = numbers.percent(run.accuracy(run.selected))
        lines.append(f"The headline is {HEADLINES[run.selected]}: {accuracy} % of the test images.")
    if run.best_epoch("best") is not None:
        lines.append(f"best: of epoch {run.best_epoch('best')}, chosen on held-out samples.")
    if run.best_epoch("best_test") is not None:
        best = numbers.percent(run.accuracy("best_test"))
        lines.append(
            f"The highest accuracy on the test set itself is {best} %, in epoch "
            f"{run.best_epoch('best_test')}: selected on the test set, for comparison only."
        )
    return "\n".join([lines[0], *map(terminal.wrapped, lines[1:])])


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else ""


def _history(arrays: Mapping[str, Any], *, every: bool) -> str:
    """Numbers by epoch; some epochs of a long run unless every one is asked for."""
    from figures.report.tables import Table

    held = {k.removeprefix("history/"): v for k, v in arrays.items() if k.startswith("history/")}
    count = len(next(iter(held.values()), ()))
    if not count:
        return ""
    step = 1 if every or count <= _ROWS else -(-count // _ROWS)
    chosen = sorted({*range(0, count, step), count - 1})
    rows = [
        [str(epoch + 1), *(_number(float(v[epoch])) for v in held.values())] for epoch in chosen
    ]
    more = "" if len(chosen) == count else f"\n{len(chosen)} of {count} epochs; --history all"
    return f"history\n{Table.of(['epoch', *held], rows).text()}{more}"
