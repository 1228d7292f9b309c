"""Random streams keyed by what they are for: no draw shifts any other."""

import hashlib
import operator
from typing import SupportsIndex

import numpy as np


def stream(purpose: str, *key: SupportsIndex | str) -> np.random.Generator:
    """The generator that belongs to ``purpose`` and ``key``, such as (seed, epoch, step).

    The same call gives the same stream in any process, on any machine, after any other draw, so a
    resumed run, another method or a longer training changes no other stream. An integer is the same
    key in every type, a numpy one or True included; text is another.

    Raises:
        ValueError: If a part of the key is neither text nor an integer.

    >>> float(stream("order", 3, 0).random()) == float(stream("order", 3, 0).random())
    True
    >>> float(stream("order", 3, 0).random()) == float(stream("order", 3, 1).random())
    False
    """
    parts = (_text("purpose", purpose), *(_part(part) for part in key))
    # repr separates 1 from "1" and ("a", "b") from ("ab",)
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        msg = f"{name} of a stream must be text, got {value!r}"
        raise ValueError(msg)  # noqa: TRY004  # bad input is a ValueError throughout
    return str(value)


def _part(part: object) -> int | str:
    if isinstance(part, str):
        return str(part)
    try:
        return int(operator.index(part))  # type: ignore[arg-type]  # that is what is tried
    except TypeError:
        msg = f"key of a stream must be integers and text, got {part!r}"
        raise ValueError(msg) from None
