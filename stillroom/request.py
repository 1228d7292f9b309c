"""Options that are the fields of dataclasses, such as those of ``stillroom sim``. Loads tyro."""

import contextlib
import io
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from sims import experiments
from stillroom.errors import UserError
from stillroom.options import Parser

_UNPREFIXED = (tyro.conf.OmitArgPrefixes,)


@dataclass(frozen=True, slots=True)
class Common:
    """How to run it, and where what is made lies."""

    size: Literal["smoke", "demo", "laptop", "paper"] = "laptop"
    """Size that the other options start from."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Where everything made lies; STILLROOM_OUT, else out."""
    workers: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Processes to compute with; one per processor unless given."""
    data_root: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder of image sets; STILLROOM_DATA unless given."""
    fresh: bool = False
    """Compute anew what is stored already."""
    figures: bool = True
    """Draw the figures of the result."""


def of(name: str, arguments: Sequence[str]) -> tuple[Any, Common]:
    """The config and the common options that ``arguments`` ask for; prints the help if asked.

    Raises:
        ValueError: If there is no such experiment.
        UserError: If an option is wrong.
    """
    experiment = experiments.get(name)
    sized = Common(size=_size(name, arguments))
    kind = make_dataclass("Options", [("config", experiment.Config), ("run", Common)], frozen=True)
    default = kind(config=experiment.config(sized.size), run=sized)
    title = experiment.title
    stop = "" if title[-1:] in ".?!" else "."
    about = f"{title}{stop} Defaults are those of the size {sized.size}."
    asked = parsed(kind, f"sim {name}", about, arguments, default, config=_UNPREFIXED)
    return asked.config, asked.run


def common(arguments: Sequence[str]) -> Common:
    """The common options alone.

    Raises:
        UserError: If an option is wrong.
    """
    about = "Every experiment in turn."
    done: Common = parsed(Common, "sim all", about, arguments, Common(), config=_UNPREFIXED)
    return done


def of_size(name: str, asked: Common) -> Any:  # noqa: ANN401
    """The config of an experiment at the size asked for."""
    return experiments.get(name).config(asked.size)


def _size(name: str, arguments: Sequence[str]) -> Any:  # noqa: ANN401
    """The size that the defaults are taken from."""
    parser = Parser(f"sim {name}", "")
    parser.add_argument("--size", choices=experiments.SIZES, default="laptop")
    rest = [one for one in arguments if one not in ("-h", "--help")]
    return parser.parse_known_args(rest)[0].size


def parsed(
    kind: Any,  # noqa: ANN401
    command: str,
    about: str,
    arguments: Sequence[str],
    default: object,
    *,
    config: tuple[Any, ...] = (),
) -> Any:  # noqa: ANN401
    """``default``, a dataclass of the given kind, with what ``arguments`` put in its fields.

    Args:
        kind: A dataclass of dataclasses; their documentation is the help, which is printed if
            asked for.
        command: What comes after ``stillroom`` on the command line.
        about: The first lines of the help.
        arguments: What comes after the command.
        default: Where the options start from.
        config: How tyro names the options.

    Raises:
        UserError: If an option is wrong.
    """
    said, shown = io.StringIO(), sys.stdout
    if os.environ.get("NO_COLOR"):  # tyro colors whatever is a terminal
        shown = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(shown):
            return tyro.cli(
                kind,
                prog=f"stillroom {command}",
                description=about,
                args=list(arguments),
                default=default,
                config=config,
            )
    except SystemExit as end:
        if not end.code:
            if isinstance(shown, io.StringIO):
                print(shown.getvalue(), end="")
            sys.stdout.flush()
            raise
        raise UserError(_one_line(said.getvalue(), command)) from None


def _one_line(box: str, command: str) -> str:
    r"""What tyro's complaint says first, and the option it proposes.

    It comes in sections between rules, in a frame with the title in its upper edge; where standard
    output knows no such characters it comes without a frame, and the title is a section.

    Example:
        >>> _one_line("╭─ Bad ─╮\n│ bad   │\n│ value │\n│ ───── │\n│ more  │\n╰───────╯", "sim x")
        'bad value; see `stillroom sim x --help`'
    """
    lines = [line.strip("│ ") for line in re.sub("\x1b\\[[0-9;]*m", "", box).splitlines()]
    inner = "\n".join(line for line in lines if line[:1] not in ("╭", "╰"))
    sections = re.split(r"^[─-]+$", inner, flags=re.MULTILINE)
    if "╭" not in box and len(sections) > 1:
        del sections[0]
    said = re.sub(r"^Error parsing (\w+: )?", "", " ".join(sections[0].split()))
    said = said or "the options cannot be read"
    close = re.search(r"(?:Perhaps you meant|similar to \S+):\s+(--[\w.-]+)", inner)
    hint = f"; did you mean {close[1]}?" if close else ""
    return f"{said}{hint}; see `stillroom {command} --help`"
