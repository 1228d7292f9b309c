"""Options that several commands share, and how they are checked."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from stillroom.errors import UserError


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(f"stillroom {command}", description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Complain.

        Raises:
            UserError: Always.
        """
        msg = f"{message}; see `{self.prog} --help`"
        raise UserError(msg)

    def add_out(self) -> None:
        """Add ``--out``."""
        self.add_argument(
            "--out",
            type=Path,
            default=None,
            metavar="FOLDER",
            help="where everything made lies (default: STILLROOM_OUT, else out)",
        )

    def add_workers(self) -> None:
        """Add ``--workers``."""
        self.add_argument(
            "--workers",
            type=int,
            default=None,
            metavar="N",
            help="processes to compute with (default: one per processor)",
        )

    def parsed(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The options given."""
        return self.parse_args(list(arguments))


def out_folder(given: Path | None, *, write: bool = True) -> Path:
    """The root of what is made at run time; made, and checked to be writable, if ``write``.

    Raises:
        UserError: If it cannot be used.
    """
    chosen = given or Path(os.environ.get("STILLROOM_OUT") or "out")
    if chosen.exists() and not chosen.is_dir():
        msg = f"--out must be a folder, got {chosen}, which is a file"
        raise UserError(msg)
    if write:
        try:
            chosen.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"--out must be a folder that can be made, got {chosen} ({error.strerror})"
            raise UserError(msg) from error
        if not os.access(chosen, os.W_OK | os.X_OK):
            msg = f"--out must be a folder that can be written to, got {chosen}"
            raise UserError(msg)
    return chosen


def worker_count(given: int | None) -> int | None:
    """A number of processes.

    Raises:
        UserError: If it is less than 1.
    """
    if given is not None and given < 1:
        msg = f"--workers must be at least 1, got {given}"
        raise UserError(msg)
    return given


def use_data_root(given: Path | None) -> None:
    """Make ``given`` the folder of image sets, here and in the worker processes.

    The folder that STILLROOM_DATA names is looked at only where images are read from it.

    Raises:
        UserError: If ``given`` is not a folder.
    """
    if given is None:
        return
    if not given.is_dir():
        msg = f"--data-root must be a folder of image sets, got {given}, which is not one"
        raise UserError(msg)
    os.environ["STILLROOM_DATA"] = str(given.resolve())
