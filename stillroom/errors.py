"""What a user is told when something is wrong: one line, and a way to see more."""

import os


class UserError(Exception):
    """A mistake of the user's; its text is all there is to say."""


def debugging() -> bool:
    """Whether full tracebacks are wanted."""
    return os.environ.get("STILLROOM_DEBUG", "") not in ("", "0")


def describe(error: BaseException) -> str:
    """An error in one line.

    Example:
        >>> describe(PermissionError(13, "Permission denied", "out/results"))
        'out/results: Permission denied'
    """
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        text = str(error) or type(error).__name__
    notes = getattr(error, "__notes__", [])
    return " ".join(" ".join([text, *(f"({note})" for note in notes)]).split())
