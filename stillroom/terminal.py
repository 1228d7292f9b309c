"""What was found, in words on a terminal."""

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sims.results import Finding, Result
    from stillroom.pictures import Drawn

_MARKS = {True: "+", False: "-", None: "·"}
LEGEND = "+ the claim holds   - it does not   · undecided, or no claim"


def width() -> int:
    """Columns to write in: the terminal's, up to 100."""
    return max(40, min(100, shutil.get_terminal_size((100, 24)).columns))


def wrapped(text: str, *, first: str = "", rest: str | None = None) -> str:
    """``text`` in lines of the terminal's width."""
    indent = " " * len(first) if rest is None else rest
    return textwrap.fill(text, width(), initial_indent=first, subsequent_indent=indent)


def sentence(finding: "Finding") -> str:
    """A finding behind its mark."""
    return wrapped(finding.text, first=f"  {_MARKS[finding.holds]} ")


def findings(result: "Result", title: str) -> str:
    """The findings of a result under its name and title."""
    head = wrapped(f"{result.experiment}: {title}")
    said = [sentence(finding) for finding in result.findings] or ["  no findings"]
    return "\n".join([head, *said])


def headlines(result: "Result", title: str) -> str:
    """What a summary says of a result, and how much more there is."""
    rest = len(result.findings) - len(result.headlines)
    more = [f"    … and {rest} more in the report"] if rest else []
    return "\n".join([wrapped(title), *map(sentence, result.headlines), *more])


def files(written: "Sequence[Path]", folder: "Path") -> str:
    """How many figure files lie where."""
    return f"{len(written)} figure file{'s' * (len(written) != 1)} in {folder}"


def drawing_status(drawn: "Drawn") -> int:
    """Say on standard error which figures could not be drawn; the exit status of that."""
    for line in drawn.failed:
        print(f"stillroom: failed: {line} (STILLROOM_DEBUG=1 shows where)", file=sys.stderr)
    return 1 if drawn.failed else 0


def listed(rows: list[tuple[str, str]]) -> str:
    """Names and what they are, in two columns."""
    column = max((len(name) for name, _ in rows), default=0) + 4
    return "\n".join(
        wrapped(text, first=f"  {name:<{column - 2}}", rest=" " * column) for name, text in rows
    )


def fitted(
    columns: "Sequence[str]",
    rows: "Sequence[Sequence[str]]",
    *,
    least: "Sequence[str]" = (),
    whole: str = "--format csv has all",
) -> str:
    """A table as text; where it is wider than the terminal, without columns of ``least``.

    Written to a file or a pipe, it has them all. ``whole`` says where else they are.
    """
    from figures.report.tables import Table

    kept, dropped = list(columns), []
    limit = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else None

    def text() -> str:
        places = [list(columns).index(name) for name in kept]
        return Table.of(kept, [[row[place] for place in places] for row in rows]).text()

    for name in least:
        if limit is None or max(map(len, text().splitlines())) <= limit:
            break
        if name in kept:
            kept.remove(name)
            dropped.append(name)
    note = f"\n(too narrow for {', '.join(dropped)}; {whole})" if dropped else ""
    return f"{text()}{note}"
