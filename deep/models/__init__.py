"""Networks, each with named taps: one module a family, found by name.

A family is a module of this package with ``Options`` (a frozen dataclass) and
``build(options, inputs, classes, rng)``; to add one is to add a file.
"""

from dataclasses import MISSING, asdict, dataclass, fields
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from deep.models.network import Network

Option = bool | int | float | str
_NOT_A_FAMILY = {"network"}


def names() -> tuple[str, ...]:
    """Names of the families.

    >>> names()
    ('mlp', 'random_features', 'small_cnn')
    """
    found = (module.name for module in iter_modules(__path__))
    return tuple(sorted(name for name in found if name not in _NOT_A_FAMILY))


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A family with all its options: hashable, and the same for the same network."""

    name: str
    options: tuple[tuple[str, Option], ...]
    """All options of the family by name, defaults filled in."""


def spec(name: str, **options: Option) -> ModelSpec:
    """The network ``name`` with ``options``, the others at their defaults.

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


def build(model: ModelSpec, *, inputs: int, classes: int, rng: np.random.Generator) -> "Network":
    """The network of ``model`` at its initialization, float32 on the CPU.

    All weights are drawn from ``rng``, so that one seed gives one network on any device.
    """
    family = _family(model.name)
    network: Network = family.build(family.Options(**dict(model.options)), inputs, classes, rng)
    return network


def _family(name: str) -> Any:  # noqa: ANN401 - a module
    if name not in names():
        msg = f"model must be one of {', '.join(map(repr, names()))}, got {name!r}"
        raise ValueError(msg)
    return import_module(f"{__name__}.{name}")
