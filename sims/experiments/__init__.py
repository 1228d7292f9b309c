"""One file per experiment: ``Config`` in four sizes and ``run(config, context) -> Result``.

A file placed here is found by its name; listing the experiments imports none of them.
"""

import ast
import difflib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

SIZES = ("smoke", "demo", "laptop", "paper")
"""Sizes of a config, from the smallest; ``laptop`` is ``Config()`` itself."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment, found by its name."""

    name: str
    title: str
    """First line of the module's description."""
    Config: Any
    """Its config, a frozen dataclass."""
    run: Callable[..., Any]
    """``run(config, context) -> Result``."""
    reads: Callable[..., str] | None = None
    """``inputs(config, context) -> str``: digest of files that it reads and its config does not
    name, if there are any."""

    def inputs(self, config: object, context: object) -> str:
        """Digest of the files that are read beyond those that the config names; empty for none.

        Raises:
            ValueError: If they are not there.
        """
        return "" if self.reads is None else self.reads(config, context)

    def config(self, size: str = "laptop") -> Any:  # noqa: ANN401
        """The config of a size.

        Raises:
            ValueError: If there is no such size.
        """
        if size not in SIZES:
            msg = f"size must be one of {', '.join(SIZES)}, got {size!r}"
            raise ValueError(msg)
        return self.Config() if size == "laptop" else getattr(self.Config, size)()

    def sizes(self, config: object) -> tuple[str, ...]:
        """The sizes whose config equals ``config``: none, if options were changed."""
        return tuple(size for size in SIZES if self.config(size) == config)


def names() -> tuple[str, ...]:
    """Names of all experiments, in order."""
    return tuple(sorted(module.name for module in iter_modules(__path__) if module.name[0] != "_"))


def title(name: str) -> str:
    """First line of an experiment's description, without importing it."""
    spec = find_spec(f"{__name__}.{_known(name)}")
    if spec is None or spec.origin is None:
        return ""
    described = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return described.partition("\n")[0].rstrip(".")


def get(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        ValueError: If there is none; the message lists those there are.
    """
    module = import_module(f"{__name__}.{_known(name)}")
    return Experiment(name, title(name), module.Config, module.run, getattr(module, "inputs", None))


def _known(name: str) -> str:
    known = names()
    if name in known:
        return name
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    msg = f"unknown experiment {name!r}; known: {', '.join(known) or 'none'}{hint}"
    raise ValueError(msg)
