"""Training methods: one module each, found by name. Names are listed without loading torch.

What a module must have is told in `deep.method`; to add a method is to add a file.
"""

import difflib
from dataclasses import MISSING, asdict, fields, is_dataclass, replace
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import UnionType
from typing import Any, get_args, get_type_hints

from deep.method import Method, MethodSpec, Option


def names() -> tuple[str, ...]:
    """Names of the methods.

    >>> "one_hot" in names()
    True
    """
    return tuple(sorted(module.name for module in iter_modules(__path__)))


@cache
def get(name: str) -> Method:
    """The method ``name``.

    Raises:
        ValueError: If there is none; the message names the nearest, and all there are.

    >>> get("one_hot").title
    'One-hot labels: cross-entropy of the given class'
    """
    if name not in names():
        close = difflib.get_close_matches(name, names(), n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        msg = f"method must be one that exists, got {name!r}; {hint}known: {', '.join(names())}"
        raise ValueError(msg)
    return Method.of(import_module(f"{__name__}.{name}"))


def spec(name: str, *, data: str | None = None, **options: Option) -> MethodSpec:
    """The method ``name`` with ``options``, the others as the paper has them for ``data``.

    >>> spec("kd", temperature=2).options
    (('factor', 'tau2'), ('label_weight', 0.1), ('soft_weight', None), ('temperature', 2.0),
     ('value', 'kl'))

    Raises:
        ValueError: If the method or an option is unknown, or a value is not allowed.
    """
    method = get(name)
    start = method.paper.get(data or "", None) or method.Hyper()
    hyper = replace(start, **{key: _typed(method, key, value) for key, value in options.items()})
    return MethodSpec(name, tuple(sorted(asdict(hyper).items())))


def hyper(chosen: MethodSpec) -> Any:  # noqa: ANN401 - each method has its own type
    """The hyper-parameters of ``chosen`` as the method's own dataclass."""
    return get(chosen.name).Hyper(**dict(chosen.options))


def _typed(method: Method, option: str, value: Option) -> Option:
    """``value`` in the type of the option: an integer is a float where one is asked for."""
    if not is_dataclass(method.Hyper):  # pragma: no cover - the shared tests see to it
        msg = f"Hyper of {method.name} must be a dataclass"
        raise TypeError(msg)
    known = {field.name: field for field in fields(method.Hyper)}
    if option not in known:
        listed = ", ".join(sorted(known)) or "none"
        msg = f"hyper-parameters of {method.name} are {listed}; got {option!r}"
        raise ValueError(msg)
    hint = get_type_hints(method.Hyper)[option]
    allowed = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if type(value) is int and float in allowed and int not in allowed:
        return float(value)
    if type(value) not in allowed:
        default = known[option].default
        shown = "" if default is MISSING else f" such as {default!r}"
        wanted = " or ".join(getattr(kind, "__name__", str(kind)) for kind in allowed)
        msg = f"{option} of {method.name} must be of type {wanted}{shown}, got {value!r}"
        raise ValueError(msg)
    return value
