"""``stillroom bench compare``: methods beside each other, over the seeds they share."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deep.records.encoding import dumps
from stillroom import terminal
from stillroom.benching import differences, labels, stored
from stillroom.benching.listing import FILTERS, add_filters
from stillroom.benching.stored import Stored
from stillroom.errors import UserError
from stillroom.options import Parser

ABOUT = """\
Compare methods over seeds: means with 95 % t intervals, and differences to the first on the seeds
that both have. A key stands for all runs that differ from it in nothing but the seed, the name of a
method for all its runs; runs that differ in more are told apart."""
FORMATS = ("text", "markdown", "latex", "csv")
SELECTED = (
    "best on test: the highest of all epochs on the test set itself, so selected on it, and too "
    "high.",
    "±: half of a 95 % t interval over seeds. change: mean difference to the first over the seeds "
    "that both have; * where its interval excludes 0.",
)
SETTING = ("data", "model", "recipe", "scale", "precision")
"""What runs must share to be compared."""


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that differ in their seed only."""

    label: str
    runs: tuple[Stored, ...]

    def values(self, which: str) -> dict[int, float]:
        """Test accuracy by seed, in percent."""
        found = {run.seed: run.accuracy(which) for run in self.runs if run.seed is not None}
        return {seed: 100 * value for seed, value in found.items() if value is not None}


def main(arguments: Sequence[str]) -> int:
    """Compare what is asked for.

    Raises:
        UserError: If there is no such run, or they cannot be compared.
    """
    parser = Parser("bench compare", ABOUT)
    parser.add_argument("what", nargs="+", metavar="KEY|METHOD", help="the first is the reference")
    add_filters(parser)
    parser.add_argument("--format", choices=FORMATS, default="text", help="default: text")
    parser.add_out()
    given = parser.parsed(arguments)
    out = stored.folder(given.out)
    asked = {name: getattr(given, name) for name in FILTERS}
    runs = [run for run in stored.every(out) if run.finished and not run.imported]
    chosen = groups(stored.matching(runs, **asked), given.what)
    _require_alike(chosen)
    words = sys.stdout if given.format == "text" else sys.stderr
    headline = chosen[0].runs[0].selected
    print(_setting(chosen[0].runs[0]), file=words)
    if given.format == "csv":
        print(_csv(chosen))
        return 0
    from figures.report.tables import Table

    columns, rows = _rows(chosen)
    if given.format == "text":
        print()
        least = ("best on test %", *(name for name in columns if name.startswith("change of")))
        print(terminal.fitted(columns, rows, least=least))
    else:
        print(getattr(Table.of(columns, rows), given.format)())
    print("\n".join(["", *map(terminal.wrapped, (_stops(headline), *SELECTED))]), file=words)
    return 0


def groups(runs: Sequence[Stored], asked: Sequence[str]) -> list[Group]:
    """The groups of runs that keys and names of methods stand for, each once.

    Raises:
        UserError: If a key or a method has none.
    """
    found: dict[str, list[Stored]] = {}
    for name in asked:
        for sign, held in _asked(runs, name).items():
            found.setdefault(sign, held)
    names = differences.called([held[0].config for held in found.values()])
    return [
        Group(name, tuple(sorted(_once(held), key=lambda run: run.seed or 0)))
        for name, held in zip(names, found.values(), strict=True)
    ]


def _once(runs: Sequence[Stored]) -> list[Stored]:
    """One run a seed, the newest: of images that were changed since there can be another."""
    return list({run.seed: run for run in reversed(runs)}.values())


def _asked(runs: Sequence[Stored], name: str) -> dict[str, list[Stored]]:
    """Groups, by what their runs share, that ``name`` stands for."""
    every: dict[str, list[Stored]] = {}
    for run in runs:
        every.setdefault(_sign(run), []).append(run)
    called = {s: held for s, held in every.items() if held[0].method == name and held[0].is_student}
    if called:
        return called
    keyed = {s: held for s, held in every.items() if any(r.key.startswith(name) for r in held)}
    if len(keyed) == 1 and len(name) >= 4:
        return keyed
    known = sorted({run.method for run in runs if run.is_student})
    if keyed:
        msg = f"{name!r} must be the beginning of one key, and several begin so; give more of it"
    else:
        msg = (
            f"no finished run has the method, or a key that begins with, {name!r}; there are runs "
            f"of {', '.join(known) or 'nothing'}"
        )
    raise UserError(msg)


def _sign(run: Stored) -> str:
    return dumps({name: value for name, value in run.config.items() if name != "seed"})


def _require_alike(chosen: Sequence[Group]) -> None:
    """Check that the groups differ in how they are taught, and in nothing else.

    Raises:
        UserError: If they do not; it says in what, and how to choose.
    """
    configs = [group.runs[0].config for group in chosen]
    for name in SETTING:
        values = dict.fromkeys(_said(name, config) for config in configs)
        if len({dumps({"": config.get(name)}) for config in configs}) > 1:
            option = {"model": "student"}.get(name, name)
            chosen_by = option in FILTERS and len(values) == len({v.split()[0] for v in values})
            choose = f"choose by --{option}" if chosen_by else "compare by key"
            msg = f"runs must agree in {option}, got {'; '.join(values)}; {choose}"
            raise UserError(msg)


def _said(name: str, config: Mapping[str, Any]) -> str:
    if name == "data":
        return labels.data(config["data"])
    if name == "model":
        return labels.network(config["model"])
    if name == "recipe":
        held = config["recipe"]
        return f"{held['name']} ({held['epochs']:g} epochs of {held['optimizer']['batch']})"
    value = config.get(name)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _setting(run: Stored) -> str:
    config = run.config
    return terminal.wrapped(
        f"{labels.network(config['model'])} on {labels.data(config['data'])}, recipe "
        f"{_said('recipe', config)}, scale {_said('scale', config)}; test accuracy in %"
    )


def _rows(chosen: Sequence[Group]) -> tuple[list[str], list[list[str]]]:
    """The headline comes first."""
    stops = ("best", "last") if chosen[0].runs[0].selected == "best" else ("last", "best")
    columns = ["method", "n"]
    for which in stops:
        columns += [f"{which} %", "change" if which == stops[0] else f"change of {which}"]
    columns.append("best on test %")
    rows = []
    for group in chosen:
        cells = [group.label, str(len(group.runs))]
        for which in stops:
            cells += [_mean(group.values(which)), _change(group, chosen[0], which)]
        rows.append([*cells, _mean(group.values("best_test"))])
    kept = [place for place in range(len(columns)) if any(row[place] for row in rows)]
    return [columns[place] for place in kept], [[row[place] for place in kept] for row in rows]


def _stops(headline: str) -> str:
    """What is meant by last and best, and which of them is the headline."""
    said = {
        "last": "after the last step",
        "best": "of the epoch with the highest accuracy on held-out samples",
    }
    said[headline] += ", the headline by this recipe"
    return " ".join(f"{which}: {text}." for which, text in said.items())


def _mean(values: Mapping[int, float]) -> str:
    from stillroom.benching import numbers

    return numbers.mean([value / 100 for value in values.values()])


def _change(group: Group, first: Group, which: str) -> str:
    """Paired difference to the first, marked where its interval excludes 0."""
    from theory.statistics import paired_difference

    if group is first:
        return ""
    own, other = group.values(which), first.values(which)
    shared = sorted(own.keys() & other.keys())
    if not shared:
        return ""
    if len(shared) == 1:
        return f"{own[shared[0]] - other[shared[0]]:+.2f}"
    gap = paired_difference({s: own[s] for s in shared}, {s: other[s] for s in shared})
    sure = " *" if gap.excludes(0.0) else ""
    return f"{gap.estimate:+.2f} ± {gap.high - gap.estimate:.2f}{sure}"


def _csv(chosen: Sequence[Group]) -> str:
    """Every number in a cell of its own."""
    from figures.report.tables import Table
    from theory.statistics import paired_difference, t_interval

    columns = ["method", "selected_on", "n", "mean", "low", "high"]
    columns += ["change_n", "change", "change_low", "change_high"]
    rows = []
    for group in chosen:
        for which, on in (("last", "nothing"), ("best", "validation"), ("best_test", "test")):
            own, other = group.values(which), chosen[0].values(which)
            if not own:
                continue
            mean = sum(own.values()) / len(own)
            cells = [group.label, on, str(len(own)), f"{mean:.6g}"]
            ends = t_interval(list(own.values())) if len(own) > 1 else None
            cells += [f"{ends.low:.6g}", f"{ends.high:.6g}"] if ends else ["", ""]
            shared = [] if group is chosen[0] else sorted(own.keys() & other.keys())
            cells.append(str(len(shared)) if shared else "")
            if len(shared) > 1:
                gap = paired_difference({s: own[s] for s in shared}, {s: other[s] for s in shared})
                cells += [f"{x:.6g}" for x in (gap.estimate, gap.low, gap.high)]
            else:
                cells += [f"{own[s] - other[s]:.6g}" for s in shared] or [""]
                cells += ["", ""]
            rows.append(cells)
    return Table.of(columns, rows).csv().rstrip()
