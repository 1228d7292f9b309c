"""What stored runs are called in tables. Reads source files where it must; loads no torch."""

import ast
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from typing import Any

from stillroom.benching.catalog import written


def network(model: Mapping[str, Any]) -> str:
    """A network by its own name where it has one, and the options that are not the usual ones.

    >>> network({"name": "mlp", "options": [["width", 8], ["depth", 2]]})
    'mlp:width=8'
    """
    family, options = str(model["name"]), dict(model["options"])
    usual = _defaults("deep.models", family, "Options")
    found, fixed = family, dict[str, Any]()
    for name, (its_family, its_options) in _named().items():
        own = its_options.items() <= options.items()
        if its_family == family and own and len(its_options) > len(fixed):
            found, fixed = name, dict(its_options)
    return written(found, _unusual(options, usual | fixed))


def method(spec: Mapping[str, Any]) -> str:
    """A method and the hyper-parameters that are not its defaults.

    >>> method({"name": "label_smoothing", "options": [["epsilon", 0.2]]})
    'label_smoothing:epsilon=0.2'
    """
    name, options = str(spec["name"]), dict(spec["options"])
    return written(name, _unusual(options, _defaults("deep.methods", name, "Hyper")))


def data(spec: Mapping[str, Any]) -> str:
    """An image set, how many samples of it, and their labels.

    >>> data({"name": "digits", "samples": 100, "noise": 0.25})
    'digits:samples=100,noise=0.25'
    """
    usual = _defaults("deep.data", "spec", "DataSpec")
    rest = {key: value for key, value in spec.items() if key != "name"}
    kind, colon, place = str(spec["name"]).partition(":")
    name = place.rstrip("/").rpartition("/")[2] if colon else kind
    return written(name, _unusual(rest, usual))


def teacher(config: Mapping[str, Any]) -> str:
    """The network that taught a run, and how it was trained where that is not by one-hot labels."""
    taught_by = config.get("teacher")
    if not taught_by:
        return ""
    found = network(taught_by["model"])
    if "weights" in taught_by:
        return f"{found} (imported)"
    how = method(taught_by["method"])
    return found if how == "one_hot" else f"{found} ({how})"


def networks(config: Mapping[str, Any]) -> str:
    """Student and teacher."""
    student, taught_by = network(config["model"]), teacher(config)
    return f"{student} <- {taught_by}" if taught_by else student


def _unusual(options: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in options.items() if k not in usual or usual[k] != v}


@cache
def _defaults(package: str, module: str, kind: str) -> dict[str, Any]:
    """Literal defaults of a dataclass, read from its source."""
    found = find_spec(f"{package}.{module}")
    source = getattr(found and found.loader, "get_source", None)
    tree = ast.parse((source and source(f"{package}.{module}")) or "")
    held: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == kind:
            for part in node.body:
                if isinstance(part, ast.AnnAssign) and part.value:
                    with suppress(ValueError):  # a default that is computed
                        held[ast.unparse(part.target)] = _literal(part.value)
    return held


def _literal(value: ast.expr) -> Any:  # noqa: ANN401
    """A literal, or the quotient of two, such as 1000 / 30000."""
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Div):
        return _literal(value.left) / _literal(value.right)
    return ast.literal_eval(value)


@cache
def _named() -> dict[str, tuple[str, Mapping[str, Any]]]:
    from deep import models

    return dict(models.networks())
