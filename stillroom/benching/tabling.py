"""``stillroom bench table``: how full a teacher's table of views is; fill it, check it."""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from deep import methods
from deep.data.prepared import Prepared
from deep.records.encoding import plain
from deep.training.config import ImportedTeacher, RunConfig
from deep.training.restore import config_from
from deep.training.runner import Runner, imported_key
from deep.training.streams import stream
from deep.training.teacher_views import storage_error
from deep.training.teaching import TableTeacher
from stillroom import options, terminal
from stillroom.benching import display, labels, stored
from stillroom.benching.stored import Stored
from stillroom.errors import UserError
from stillroom.options import Parser

ABOUT = """\
What a teacher says of every view of every training image is kept in a table, which all its students
share. Say how full it is, fill it, or check it against the teacher. Without an option it is only
looked at."""
CELLS = 1000
"""Cells that are looked at unless more are asked for."""


def main(arguments: Sequence[str]) -> int:
    """Look at the tables that are asked for, and do with them what is asked for.

    Returns:
        1 if a table was not that of its teacher, and is set aside.

    Raises:
        UserError: If there is no such run, or it has no table.
    """
    given = _parser().parsed(arguments)
    for name in ("verify", "error"):
        if (asked := getattr(given, name)) is not None and asked < 1:
            msg = f"--{name} must be at least 1 cell, got {asked}"
            raise UserError(msg)
    options.use_data_root(given.data_root)
    out = stored.folder(given.out)
    chosen = _students(out, given.key)
    shown = display.shown()
    with Runner(
        out,
        root=given.data_root,
        device=given.device,
        say=shown.say,
    ) as runner:
        for config in chosen:
            _require_teacher(runner, config)
        held: dict[str, tuple[RunConfig, TableTeacher]] = {}
        for config in chosen:
            teacher = runner.view_table_of(config)
            if teacher is not None:
                held.setdefault(teacher.table.layout.key, (config, teacher))
        if not held:
            msg = _why_none(chosen[0])
            raise UserError(msg)
        fine = [_told(runner, *each, given=given, shown=shown) for each in held.values()]
    return 0 if all(fine) else 1


def _parser() -> Parser:
    parser = Parser("bench table", ABOUT)
    add = parser.add_argument
    add("key", metavar="KEY|TEACHER",
        help="key of a student or of its teacher, or the name of an imported teacher")  # fmt: skip
    add("--sweep", action="store_true", help="compute all cells that are missing")
    add("--verify", nargs="?", type=int, const=CELLS, metavar="N",
        help=f"compute N random filled cells again, and compare (default: {CELLS})")  # fmt: skip
    add("--error", nargs="?", type=int, const=CELLS, metavar="N",
        help=f"what float16 would cost, over N random cells (default: {CELLS})")  # fmt: skip
    add("--device", default="cpu", metavar="NAME",
        help="the table of this device, which computes (default: cpu)")  # fmt: skip
    add("--data-root", type=Path, metavar="FOLDER",
        help="folder of image sets (default: STILLROOM_DATA)")  # fmt: skip
    parser.add_out()
    return parser


def _students(out: Path, name: str) -> list[RunConfig]:
    """The student of this key; of a teacher one student for each kind of table."""
    theirs = stored.imported(out, name)
    run = stored.one(out, name) if theirs is None else theirs
    if not run.config:
        msg = f"run {run.key[:8]} must be readable, got one that is {run.summary.status}"
        raise UserError(msg)
    if not run.imported and run.config.get("teacher"):
        return [config_from(run.config)]
    found: dict[object, RunConfig] = {}
    for one in stored.every(out):
        if not one.imported and _taught_by(one, run):
            config = config_from(one.config)
            kind = (config.data, config.recipe.views, config.recipe.pad, config.needs().teacher)
            how = (
                config.teacher_statistics,
                config.teacher_dtype,
                config.precision,
                config.needs().kept_average,
            )
            found.setdefault((kind, how), config)
    if not found:
        msg = f"run {run.key[:8]} must have a teacher or be one, got {_called(run)}, which teaches "
        msg += "no stored run"
        raise UserError(msg)
    return list(found.values())


def _taught_by(student: Stored, teacher: Stored) -> bool:
    held = student.config.get("teacher") or {}
    names = ("model", "weights", "normalization")
    if teacher.imported:
        return all(held.get(name) == teacher.config[name] for name in names)
    return bool(held) and held == teacher.config


def _called(run: Stored) -> str:
    return "an imported network" if run.imported else labels.method(run.config["method"])


def _require_teacher(runner: Runner, config: RunConfig) -> None:
    """Check that the teacher is there: nothing is trained here.

    Raises:
        UserError: If it is not.
    """
    teacher = config.teacher
    if isinstance(teacher, ImportedTeacher):
        key = imported_key(teacher)
    else:
        assert teacher is not None  # noqa: S101  # as the run has one
        key = runner.key(teacher)
    found = None if runner.runs is None else runner.runs.summary(key)
    if found is None or found.status != "finished":
        name = labels.teacher(plain(config))
        msg = (
            f"teacher {name} must be finished, and of the images that are there now; run {key[:8]} "
            "is not; `stillroom bench run` trains it"
        )
        raise UserError(msg)


def _why_none(config: RunConfig) -> str:
    name, needs = config.method.name, config.needs()
    if needs.teacher is None:
        why = "which is not taught"
    elif needs.teacher == "table":
        why = "which is taught by a row for each image"
    else:
        why = "whose teacher works with the statistics of the batch, or has too many views"
    return f"run must be taught by a network with a table of its views, got {name}, {why}"


def _told(
    runner: Runner,
    config: RunConfig,
    teacher: TableTeacher,
    *,
    given: argparse.Namespace,
    shown: display.Display,
) -> bool:
    """Say all of one table; whether it is its teacher's."""
    prepared, table, fine = runner.prepared(config), teacher.table, True
    print(terminal.wrapped(_what(config, teacher, prepared, runner.device)))
    if given.sweep:
        _swept(teacher, shown)
    filled = table.filled
    print(f"{filled:,} of {table.layout.cells:,} cells are filled ({_share(teacher)})")
    if given.verify is not None and not filled:
        print("nothing to verify: no cell is filled")
    elif given.verify is not None:
        count = min(given.verify, filled)
        rng = stream("verified cells", time.time_ns())
        worst = table.verify(teacher.compute, cells=given.verify, rng=rng)
        fine = table.filled > 0
        said = "" if fine else "; it is another teacher's: it is set aside"
        print(f"verified {count:,} random cells: the largest difference is {worst:.2g}{said}")
    if given.error is not None:
        print("\n".join(map(terminal.wrapped, _errors(config, teacher, given.error))))
    return fine


def _what(config: RunConfig, teacher: TableTeacher, prepared: Prepared, device: str) -> str:
    layout = teacher.table.layout
    held = plain(config)
    seen = " (only the plain one is asked for)" if teacher.teacher.plain else ""
    views = f"{layout.views} views{seen}" if layout.views > 1 else "one view"
    return (
        f"{labels.teacher(held)} on {labels.data(held['data'])}, {device}: {layout.samples:,} "
        f"images, {views}, {prepared.classes} classes, {layout.dtype}; {_bytes(layout.bytes)} when "
        "full"
    )


def _swept(teacher: TableTeacher, shown: display.Display) -> None:
    table, begin = teacher.table, time.perf_counter()
    before, total, done = table.filled, table.layout.cells, 0

    def advance(cells: int) -> None:
        nonlocal done
        done += cells
        shown.count("sweep", done, total)

    with shown:
        table.sweep(teacher.compute, advance=advance)
    spent = display.duration(time.perf_counter() - begin)
    print(f"computed {table.filled - before:,} cells in {spent}")


def _share(teacher: TableTeacher) -> str:
    """Rounded down: a table that lacks a cell is not full."""
    table = teacher.table
    return f"{int(1000 * table.filled / table.layout.cells) / 10:.1f} %"


def _errors(config: RunConfig, teacher: TableTeacher, count: int) -> list[str]:
    """What float16 would change, by the teacher's own exact logits."""
    layout = teacher.table.layout
    rng = stream("cells of a storage error", layout.key)
    cells = torch.from_numpy(rng.permutation(layout.cells)[:count])
    exact = teacher.compute(cells // layout.views, cells % layout.views).double().cpu().numpy()
    own = getattr(methods.hyper(config.method), "temperature", None)
    lines = [f"float16 would take half the space; over {len(cells):,} random cells"]
    for temperature in dict.fromkeys((1.0, own or 1.0)):
        found = storage_error(exact, "float16", temperature)
        lines.append(
            f"  at temperature {temperature:g}, a probability would change by at most "
            f"{found.largest:.1g}, predictions by {found.divergence:.1g} nats on average"
        )
    return lines


def _bytes(count: int) -> str:
    """A size as people say it.

    >>> _bytes(3_272_400_000), _bytes(57_000)
    ('3.27 GB', '57 kB')
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"
