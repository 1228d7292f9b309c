"""Dataclasses as options whose help reads well: tyro keeps the lines of a docstring apart."""

import ast
import inspect
import re
import textwrap
from dataclasses import field, fields, make_dataclass
from itertools import pairwise
from typing import Annotated, Any, get_type_hints

import tyro

_MARKS = re.compile(r":math:|`+")


def like(kind: type[Any], start: Any) -> type[Any]:  # noqa: ANN401
    """A dataclass with the fields of ``kind``, each with its documentation on one line.

    Values are only checked for their type; it is for ``kind`` to check them.

    Args:
        kind: A dataclass with a documentation after each field.
        start: One of these, whose values are the defaults.
    """
    told = _told(kind)
    hints = get_type_hints(kind, include_extras=True)
    made: list[tuple[str, Any, Any]] = []
    for each in fields(kind):
        value = getattr(start, each.name)
        hint = "" if value is None else None  # what None means is told already
        words = tyro.conf.arg(help=told.get(each.name, ""), help_behavior_hint=hint)
        made.append((each.name, Annotated[hints[each.name], words], field(default=value)))
    found = make_dataclass(kind.__name__, made, frozen=True)
    found.__doc__ = plain(inspect.getdoc(kind) or "")
    return found


def plain(text: str) -> str:
    """Documentation without its marks.

    >>> plain("``x`` of :math:`y`")
    'x of y'
    """
    return _MARKS.sub("", text)


def _told(kind: type[Any]) -> dict[str, str]:
    """The documentation after each field."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    body = getattr(tree, "body", [])
    found = {}
    for before, node in pairwise(body):
        text = getattr(getattr(node, "value", None), "value", None)
        if isinstance(before, ast.AnnAssign) and isinstance(text, str):
            found[ast.unparse(before.target)] = plain(" ".join(text.split()))
    return found
