"""Values as JSON: one text for one content, and back again.

Strict JSON has no nan, infinity or path, so these are written as ``{"$float": "nan"}`` and
``{"$path": "data/my.npz"}``; a dictionary may therefore hold no key that begins with ``$``.
Tuples are written as lists, dataclasses as dictionaries of their fields, NumPy scalars as the
Python numbers they are. Everything else is refused rather than guessed at.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path, PurePath
from typing import Any

import numpy as np

_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def plain(value: Any) -> Any:  # noqa: ANN401
    """``value`` with dataclasses as dictionaries, tuples as lists and NumPy scalars as numbers.

    Raises:
        ValueError: If a value has no place in a record; the message says where it stands.

    Example:
        >>> plain({"times": (np.float64(1.0), math.inf)})
        {'times': [1.0, inf]}
    """
    return _plain(value, "record")


def _plain(value: Any, where: str) -> Any:  # noqa: ANN401
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Enum):
        return _plain(value.value, where)
    if value is None or isinstance(value, bool | int | float | str | PurePath):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return {_name(key, where): _plain(held, f"{where}.{key}") for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(held, f"{where}[{i}]") for i, held in enumerate(value)]
    msg = (
        f"{where} must be built of numbers, text, booleans, None, paths, lists, dictionaries and "
        f"dataclasses, got {type(value).__name__}"
    )
    raise ValueError(msg)


def _name(key: object, where: str) -> str:
    if not isinstance(key, str) or key.startswith("$"):
        msg = f"{where} must have keys that are text and do not begin with '$', got {key!r}"
        raise ValueError(msg)
    return key


def _strict(value: Any) -> Any:  # noqa: ANN401
    """A plain value in strict JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": "nan" if math.isnan(value) else str(value)}
    if isinstance(value, PurePath):
        return {"$path": value.as_posix()}
    if isinstance(value, dict):
        return {key: _strict(held) for key, held in value.items()}
    if isinstance(value, list):
        return [_strict(held) for held in value]
    return value


def dumps(value: Any, *, indent: int | None = None) -> str:  # noqa: ANN401
    """``value`` as strict JSON with sorted keys: the same text for the same content.

    Example:
        >>> dumps({"b": (1, 2), "a": math.nan})
        '{"a": {"$float": "nan"}, "b": [1, 2]}'
    """
    return json.dumps(_strict(plain(value)), sort_keys=True, allow_nan=False, indent=indent)


def loads(text: str | bytes) -> Any:  # noqa: ANN401
    """The value that ``dumps`` wrote, with lists for tuples.

    Raises:
        ValueError: If the text is not JSON.

    Example:
        >>> loads('{"a": {"$float": "-inf"}}')
        {'a': -inf}
    """

    def revive(held: dict[str, Any]) -> Any:  # noqa: ANN401
        if len(held) == 1:
            match next(iter(held.items())):
                case ("$float", str(name)) if name in _NOT_FINITE:
                    return _NOT_FINITE[name]
                case ("$path", str(path)):
                    return Path(path)
        return held

    return json.loads(text, object_hook=revive)


def content_key(content: Mapping[str, Any]) -> str:
    """Name of a content: the SHA-256 of its canonical JSON, in hexadecimal.

    Two contents have one key exactly if they are equal after :func:`plain`, but for this: a
    dataclass counts with its type and the fields that count where it is compared, an array by
    dtype, shape and bytes, and a path that is a file by what the file holds. An integer and the
    float of the same value differ, as they do in JSON.

    Raises:
        ValueError: If the content holds what no record can hold.

    Example:
        >>> content_key({"seed": 1, "rate": 0.1}) == content_key({"rate": 0.1, "seed": 1})
        True
        >>> content_key({"seed": 1}) == content_key({"seed": 2})
        False
    """
    return hashlib.sha256(dumps(_identified(dict(content))).encode()).hexdigest()


def _identified(value: Any) -> Any:  # noqa: ANN401
    """``value`` with the types of dataclasses and the digests of arrays and files written out."""
    if isinstance(value, Path) and value.is_file():
        with value.open("rb") as file:
            return {"file": hashlib.file_digest(file, "sha256").hexdigest()}
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject:
            msg = f"an array in a content must not hold Python objects, got dtype {value.dtype}"
            raise ValueError(msg)
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return {"array": [value.dtype.str, list(value.shape), digest]}
    if is_dataclass(value) and not isinstance(value, type):
        counting = [field.name for field in fields(value) if field.compare]
        held = {name: _identified(getattr(value, name)) for name in counting}
        return {"type": f"{type(value).__module__}.{type(value).__qualname__}", "fields": held}
    if isinstance(value, Mapping):
        return {key: _identified(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_identified(held) for held in value]
    return value
