"""The register of theorems: which function computes which numbered statement.

A function states a theorem, and the property test marked ``theorem("label")`` checks it; a test
of the register fails where one lacks the other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pkgutil import walk_packages
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any] | type)


@dataclass(frozen=True, slots=True)
class Statement:
    """A theorem and the function or class that computes it."""

    label: str
    """Short and stable, such as ``"flow:component-ratio"``."""
    text: str
    """The statement in one sentence."""
    source: str
    """Where it comes from, such as ``"Nagarajan 2023, Thm B.1, corrected"``."""
    where: str
    """Dotted name of the function or class."""


_register: dict[str, Statement] = {}


def states(label: str, text: str, *, source: str) -> Callable[[F], F]:
    """Register the decorated function or class as what computes the statement ``label``.

    Raises:
        ValueError: If another function states ``label`` already.
    """

    def record(thing: F) -> F:
        where = f"{thing.__module__}.{thing.__qualname__}"
        known = _register.get(label)
        if known is not None and known.where != where:
            msg = f"statement {label!r} is computed by {known.where} already, got {where}"
            raise ValueError(msg)
        _register[label] = Statement(label, text, source, where)
        return thing

    return record


def statements() -> tuple[Statement, ...]:
    """All registered statements, by label. Imports ``theory.flow`` and ``theory.labels``."""
    for name in ("theory.flow", "theory.labels"):
        package = import_module(name)
        for module in walk_packages(package.__path__, prefix=f"{name}."):
            import_module(module.name)
    return tuple(_register[label] for label in sorted(_register))
