"""Configs of stored runs, made again from what their records hold."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from deep.training.config import ImportedTeacher, RunConfig


def config_from(plain: Mapping[str, Any]) -> RunConfig:
    """The config that `deep.records.encoding.plain` wrote out, teachers and theirs included.

    What a record of an earlier version lacks has its default.

    >>> from deep.models import spec
    >>> from deep.records.encoding import plain
    >>> from deep.training.recipes import recipe
    >>> config = RunConfig(model=spec("mlp", width=8), recipe=recipe("crd"), seed=3)
    >>> config_from(plain(config)) == config
    True

    Raises:
        ValueError: If it is not the config of a run that was trained here, or is not allowed.
    """
    found: RunConfig = _made(RunConfig, plain, "config")
    return found


def _made(kind: type[Any], held: object, where: str) -> Any:  # noqa: ANN401
    """A dataclass from a dictionary of its fields."""
    if not isinstance(held, Mapping):
        msg = f"{where} must be a dictionary of the fields of {kind.__name__}, got {held!r}"
        raise ValueError(msg)  # noqa: TRY004
    known = {each.name: each for each in fields(kind)}
    strange = sorted(held.keys() - known.keys())
    if strange:
        msg = (
            f"{where} must have the fields of {kind.__name__}, got {', '.join(map(repr, strange))} "
            "beside them; is it the config of a run that was trained here?"
        )
        raise ValueError(msg)
    needed = [
        name
        for name, each in known.items()
        if name not in held and each.default is MISSING and each.default_factory is MISSING
    ]
    if needed:
        msg = (
            f"{where} must have {', '.join(map(repr, needed))}, got {', '.join(held) or 'nothing'}"
        )
        raise ValueError(msg)
    hints = get_type_hints(kind)
    return kind(
        **{name: _value(hints[name], value, f"{where}.{name}") for name, value in held.items()}
    )


def _value(hint: Any, held: object, where: str) -> Any:  # noqa: ANN401
    """A value of a field: dataclasses from dictionaries, tuples from lists, all else as it is."""
    kinds = get_args(hint) if get_origin(hint) in (UnionType, Union) else (hint,)
    made_of = [kind for kind in kinds if is_dataclass(kind)]
    if held is None and (type(None) in kinds or not made_of):
        return None
    if made_of == [RunConfig, ImportedTeacher]:
        elsewhere = isinstance(held, Mapping) and "weights" in held
        return _made(ImportedTeacher if elsewhere else RunConfig, held, where)
    if made_of:
        return _made(made_of[0], held, where)  # type: ignore[arg-type]  # a class
    return _tuples(held)


def _tuples(held: object) -> object:
    return tuple(map(_tuples, held)) if isinstance(held, list | tuple) else held
