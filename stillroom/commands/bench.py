"""``stillroom bench``: train students and teachers on images, by any method, and compare them."""

import difflib
from collections.abc import Sequence

from stillroom import terminal
from stillroom.errors import UserError

SUMMARY = "train teachers and students on images, list and compare them"
USAGE = "stillroom bench run METHOD [OPTIONS]"
PARTS = {
    "run": "train a student by a method, and its teacher before it; resumes what was interrupted",
    "methods": "list the methods",
    "networks": "list the networks",
    "recipes": "list the recipes: how long, how fast, on which views",
    "list": "list the stored runs, finished or not",
    "show": "show all of one run",
    "compare": "compare methods over seeds",
    "table": "how full a teacher's table of views is; fill it, check it",
    "import": "store a network that was trained elsewhere as a teacher",
}


def main(arguments: Sequence[str]) -> int:
    """Do one of the parts.

    Raises:
        UserError: If there is no such part.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return 0
    part, *rest = arguments
    if part not in PARTS:
        close = difflib.get_close_matches(part, PARTS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(PARTS)}"
        known = _is_method(part)
        hint = f"did you mean `stillroom bench run {part}`?" if known else hint
        msg = f"unknown part of bench {part!r}; {hint}"
        raise UserError(msg)
    if part == "run":
        return _run(rest)
    if part in ("methods", "networks", "recipes"):
        return _listed(part, rest)
    if part == "import":
        from stillroom.benching import importing

        return importing.main(rest)
    if part == "compare":
        from stillroom.benching import comparing

        return comparing.main(rest)
    if part == "table":
        from stillroom.benching import tabling

        return tabling.main(rest)
    from stillroom.benching import listing

    return listing.list_runs(rest) if part == "list" else listing.show_run(rest)


def overview() -> str:
    """What parts there are."""
    return (
        f"usage: {USAGE}\n\n{terminal.listed(list(PARTS.items()))}\n\n"
        "`stillroom bench PART --help` says more, `stillroom bench run METHOD --help` lists the\n"
        "options of a method. A first run, in seconds:\n\n"
        "  stillroom bench run kd --data digits --scale 0.2"
    )


def _run(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        from stillroom.benching import catalog

        print(
            f"usage: {USAGE}\n\nmethods:\n{terminal.listed(catalog.methods())}\n\n"
            "`stillroom bench run METHOD --help` lists the options of one."
        )
        return 0
    name, *rest = arguments
    if name.startswith("-"):
        msg = f"the name of the method comes first, got {name!r}: {USAGE}"
        raise UserError(msg)
    from deep import methods
    from stillroom.benching import catalog

    catalog.require("method", name, methods.names())
    from stillroom.benching import running

    return running.run(name, rest)


def _listed(part: str, arguments: Sequence[str]) -> int:
    from stillroom.benching import catalog
    from stillroom.options import Parser

    Parser(f"bench {part}", PARTS[part].capitalize()).parsed(arguments)
    print(terminal.listed(getattr(catalog, part)()))
    return 0


def _is_method(name: str) -> bool:
    from deep import methods

    return name in methods.names()
