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
