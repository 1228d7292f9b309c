"""``stillroom``: finds the command, runs it, and turns what goes wrong into one clean line."""

import contextlib
import difflib
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, NoReturn

from stillroom import commands
from stillroom.errors import UserError, debugging, describe

USAGE, INTERRUPTED, BROKEN_PIPE, TERMINATED = 2, 130, 141, 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``stillroom`` with ``arguments`` (the command line's) and return the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    _open_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that knows no Greek letters
    with _terminable(), _plain_warnings():
        try:
            status = dispatch(given)
            _flush()
        except BrokenPipeError:  # the reader, such as `head`, has seen enough
            _discard()
            return BROKEN_PIPE
        except KeyboardInterrupt:
            say("interrupted; what is finished is kept")
            return INTERRUPTED
        except _Terminated:
            say("terminated; what is finished is kept")
            return TERMINATED
        except Exception as error:
            if debugging():
                raise
            return report(error)
    return status


def dispatch(given: Sequence[str]) -> int:
    """Run the command that ``given`` begins with.

    Raises:
        UserError: If there is no such command.
    """
    if not given or given[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if given[0] in ("-V", "--version"):
        from deep.records.provenance import version

        print(f"stillroom {version()}")
        return 0
    name, *rest = given
    if name not in names():
        close = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"commands: {', '.join(names())}"
        what = "option" if name.startswith("-") else "command"
        msg = f"unknown {what} {name!r}; {hint}"
        raise UserError(msg)
    return int(command(name).main(rest))


def names() -> tuple[str, ...]:
    """Names of the commands, in order."""
    return tuple(sorted(module.name for module in iter_modules(commands.__path__)))


def command(name: str) -> Any:  # noqa: ANN401
    """The module of a command."""
    return import_module(f"stillroom.commands.{name}")


def overview() -> str:
    """What ``stillroom --help`` says."""
    lines = "\n".join(f"  {name:<10}{command(name).SUMMARY}" for name in names())
    return f"""\
usage: stillroom COMMAND [OPTIONS]

The laboratory for the theory of knowledge distillation.

commands:
{lines}

`stillroom COMMAND --help` says more. Everything made lies under out/ (--out, STILLROOM_OUT).
Begin with `stillroom demo`."""


def report(error: Exception) -> int:
    """Say what went wrong in one line; the status tells a mistake (2) from a failure (1)."""
    if isinstance(error, UserError | ValueError | OSError):
        say(f"error: {describe(error)}")
        return USAGE
    kind = "" if isinstance(error, RuntimeError) else f"{type(error).__name__}: "
    say(f"failed: {kind}{describe(error)} (STILLROOM_DEBUG=1 shows where)")
    return 1


def _flush() -> None:
    """Write out what was printed, or name what could not be written to."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:  # a full disk names no file
        _discard()
        error.filename = "standard output"
        raise


def _discard() -> None:
    """Throw away what standard output still holds, lest Python complain of it at the end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_streams() -> None:
    """Give a closed standard stream (``>&-``) somewhere to go, lest a result's file take its place.

    The lowest free number is the one that ``open`` takes.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115  # for good


def say(text: str) -> None:
    """One line on standard error."""
    with contextlib.suppress(OSError):
        print(f"stillroom: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show a warning as one line."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        say(f"warning: {' '.join(str(message).split())}")

    with warnings.catch_warnings():
        if not debugging():
            warnings.showwarning = show
        yield


class _Terminated(BaseException):
    """SIGTERM came."""


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM unwind like Ctrl-C, so that workers are stopped and the cursor comes back."""

    def stop(*_: object) -> NoReturn:
        raise _Terminated

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
