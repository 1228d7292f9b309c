"""Random streams keyed by what they are for: no draw shifts any other."""

import hashlib

import numpy as np


def stream(purpose: str, *key: int | str) -> np.random.Generator:
    """The generator that belongs to ``purpose`` and ``key``, such as (seed, epoch, step).

    The same call gives the same stream in any process, on any machine, after any other draw, so a
    resumed run, another method or a longer training changes no other stream.

    >>> float(stream("order", 3, 0).random()) == float(stream("order", 3, 0).random())
    True
    >>> float(stream("order", 3, 0).random()) == float(stream("order", 3, 1).random())
    False
    """
    # repr separates 1 from "1" and ("a", "b") from ("ab",)
    digest = hashlib.sha256(repr((purpose, *key)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
