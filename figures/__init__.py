"""Pictures of stored results. The only package that imports matplotlib.

A figure is one module here. It holds what to draw from and how, and computes nothing:

    ``RESULT``   name of the experiment whose result it draws
    ``TITLE``    a short headline
    ``ALT``      what is drawn, for those who can not see it
    ``CAPTION``  what to see: text, or a function of the result that returns text
    ``SIZE``     width and height in inches: a pair, or a function of the result
    ``PANELS``   rows and columns of panels: a pair, or a function of the result
    ``ORDER``    its place among the figures of the same experiment
    ``draw(result, axes)``  draws on one Axes, or on an array of them where there are more panels

Modules whose name begins with an underscore are what several figures share. Nothing of matplotlib
is loaded before a figure is asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

NOT_FIGURES = frozenset({"style", "rendering", "report"})
PARTS = ("RESULT", "TITLE", "ALT", "CAPTION", "SIZE", "PANELS", "ORDER", "draw")


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure module, read: plain data and one function that draws."""

    name: str
    result: str
    title: str
    alt: str
    order: int
    caption: Callable[[Any], str]
    size: Callable[[Any], tuple[float, float]]
    panels: Callable[[Any], tuple[int, int]]
    draw: Callable[[Any, Any], None]


def names() -> tuple[str, ...]:
    """Every figure there is, in alphabetical order; imports none of them."""
    modules = {module.name for module in iter_modules(__path__) if module.name[0] != "_"}
    return tuple(sorted(modules - NOT_FIGURES))


def get(name: str) -> Figure:
    """The figure of that name.

    Raises:
        ValueError: Where there is none, with the names that there are.
    """
    if name not in names():
        msg = f"unknown figure {name!r}; known: {', '.join(names())}"
        raise ValueError(msg)
    module = import_module(f"{__name__}.{name}")
    missing = [part for part in PARTS if not hasattr(module, part)]
    if missing:
        msg = f"figures/{name}.py must define {', '.join(missing)}"
        raise TypeError(msg)
    return Figure(
        name=name,
        result=module.RESULT,
        title=module.TITLE,
        alt=module.ALT,
        order=module.ORDER,
        caption=_of_result(module.CAPTION),
        size=_of_result(module.SIZE),
        panels=_of_result(module.PANELS),
        draw=module.draw,
    )


def of(experiment: str) -> tuple[Figure, ...]:
    """The figures that draw results of one experiment, in the order to show them."""
    every = (get(name) for name in names())
    return tuple(
        sorted((f for f in every if f.result == experiment), key=lambda f: (f.order, f.name))
    )


def stem(figure: str, result: Any) -> str:  # noqa: ANN401
    """Name of the file of a figure: with the label of its result, where that has one."""
    return f"{figure}-{result.label}" if result.label else figure


def _of_result(part: Any) -> Callable[[Any], Any]:  # noqa: ANN401  # text, a pair, or a function
    return part if callable(part) else lambda _: part
