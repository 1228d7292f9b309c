"""Networks, each with named taps: one module a family, found by name.

A family is a module of this package with ``Options`` (a frozen dataclass) and
``build(options, inputs, classes, rng)``, where ``inputs`` is the shape of an image or a number;
to add one is to add a file. Networks of a family that have a name of their own stand in its
``NAMED``, a literal dictionary of their options. Names are read from the source, so that listing
them loads neither the families nor torch.
"""

import ast
import difflib
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from deep.models.network import Network

Option = bool | int | float | str


def names() -> tuple[str, ...]:
    """Names of the families.

    >>> names()
    ('cifar_resnet', 'mlp', 'random_features', 'resnet', 'small_cnn', 'wide_resnet')
    """
    return tuple(_families())


def known() -> tuple[str, ...]:
    """All that `named` takes: the families, then their networks with a name of their own.

    >>> [name for name in known() if name.startswith("wrn_40")]
    ['wrn_40_1', 'wrn_40_2', 'wrn_40_4']
    """
    return (*names(), *networks())


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A family with all its options: hashable, and the same for the same network."""

    name: str
    options: tuple[tuple[str, Option], ...]
    """All options of the family by name, defaults filled in."""


def named(name: str, **options: Option) -> ModelSpec:
    """The network or family ``name`` with ``options``.

    ``WRN-40-2`` and ``wrn40-2`` are read as ``wrn_40_2``.

    >>> named("resnet8x4").options
    (('depth', 8), ('shortcut', 'projection'), ('width', 4))
    >>> named("resnet20", shortcut="padding") == spec("cifar_resnet", depth=20, shortcut="padding")
    True

    Raises:
        ValueError: If there is none of that name (the message has the nearest, and all there are),
            or an option is unknown, not allowed, or other than the name says.
    """
    found = {_plain(each): each for each in known()}.get(_plain(name))
    if found is None:
        msg = f"network must be one that exists, got {name!r}; {_hint(name)}{', '.join(known())}"
        raise ValueError(msg)
    family, fixed = networks().get(found, (found, {}))
    for option, value in fixed.items():
        if options.get(option, value) != value:
            msg = (
                f"{option} of {found} is {value!r}, got {options[option]!r}; "
                f"for other values ask for the family {family!r}"
            )
            raise ValueError(msg)
    return spec(family, **{**options, **fixed})


def spec(name: str, **options: Option) -> ModelSpec:
    """The network of family ``name`` with ``options``, the others at their defaults.

    >>> spec("random_features", features=64).options
    (('features', 64), ('head', 'zero'), ('scale', 1.0))

    Raises:
        ValueError: If the family or an option is unknown, or a value is not allowed.
    """
    kind = _family(name).Options
    known = {field.name: field for field in fields(kind)}
    for option, value in options.items():
        if option not in known:
            msg = f"{name} has the options {', '.join(sorted(known))}, got {option!r}"
            raise ValueError(msg)
        default = known[option].default
        expected = type(default) if default is not MISSING else type(value)
        if expected is float and type(value) is int:
            options[option] = float(value)
        elif type(value) is not expected:
            msg = f"option {option} of {name} must be of type {expected.__name__}, got {value!r}"
            raise ValueError(msg)
    filled = asdict(kind(**options))
    return ModelSpec(name, tuple(sorted(filled.items())))


def build(
    model: ModelSpec,
    *,
    inputs: "int | tuple[int, int, int]",
    classes: int,
    rng: np.random.Generator,
) -> "Network":
    """The network of ``model`` at its initialization, float32 on the CPU.

    All weights are drawn from ``rng``, so that one seed gives one network on any device.

    Args:
        model: Which network.
        inputs: Height, width and channels of the images, which come flattened with the channels
            last; or how many numbers an input has, which networks on images take for those of a
            square image of one channel or three.
        classes: Number of classes.
        rng: Where the weights come from.

    Raises:
        ValueError: If the network cannot take such inputs.
    """
    family = _family(model.name)
    network: Network = family.build(family.Options(**dict(model.options)), inputs, classes, rng)
    return network


def _family(name: str) -> Any:  # noqa: ANN401 - a module
    if name not in names():
        network = networks().get(name)
        hint = f"; it is a network of the family {network[0]!r}: use named" if network else ""
        msg = f"model must be one of {', '.join(map(repr, names()))}, got {name!r}{hint}"
        raise ValueError(msg)
    return import_module(f"{__name__}.{name}")


@cache
def _families() -> Mapping[str, Mapping[str, Mapping[str, Option]]]:
    """Named networks of each family; modules that build no networks are none."""
    found = {}
    for module in sorted(iter_modules(__path__), key=lambda module: module.name):
        source = find_spec(f"{__name__}.{module.name}")
        read = getattr(source and source.loader, "get_source", None)
        tree = ast.parse((read and read(f"{__name__}.{module.name}")) or "")
        if any(isinstance(node, ast.FunctionDef) and node.name == "build" for node in tree.body):
            found[module.name] = _literal(tree, "NAMED")
    return found


def _literal(tree: ast.Module, name: str) -> Mapping[str, Mapping[str, Option]]:
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets: list[ast.expr] = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        else:
            continue
        if any(isinstance(each, ast.Name) and each.id == name for each in targets) and node.value:
            value: Mapping[str, Mapping[str, Option]] = ast.literal_eval(node.value)
            return value
    return {}


def networks() -> dict[str, tuple[str, Mapping[str, Option]]]:
    """Family and options of each network that has a name of its own; loads no torch.

    >>> networks()["wrn_16_2"]
    ('wide_resnet', {'depth': 16, 'width': 2})
    """
    return {
        network: (family, options)
        for family, members in _families().items()
        for network, options in members.items()
    }


def _plain(name: str) -> str:
    """``name`` without what is often written otherwise: case, hyphens, one before a number."""
    return re.sub(r"(?<=[a-z])_(?=\d)", "", str(name).lower().replace("-", "_"))


def _hint(name: str) -> str:
    spelled = {_plain(each): each for each in known()}
    close = difflib.get_close_matches(_plain(name), spelled, n=1)
    return f"did you mean {spelled[close[0]]!r}? known: " if close else "known: "
