"""What the numbers of a config may be: a least and a greatest value, and plain words beyond."""

from typing import Any

SEED = (0, 2**63 - 1)
"""Least and greatest seed."""


def within(config: Any, **bounds: tuple[float, float]) -> None:  # noqa: ANN401
    """Check the fields named: each must lie between its least and its greatest value.

    Raises:
        ValueError: Naming the field, what was required and what came.

    Example:
        >>> from types import SimpleNamespace
        >>> within(SimpleNamespace(seed=-1), seed=SEED)
        Traceback (most recent call last):
        ...
        ValueError: seed must be at least 0, got -1
    """
    for name, (least, most) in bounds.items():
        value = getattr(config, name)
        for word, limit, kept in (("least", least, value >= least), ("most", most, value <= most)):
            if not kept:  # nan is on neither side
                msg = f"{name} must be at {word} {_shown(limit)}, got {value}"
                raise ValueError(msg)


def _shown(limit: float) -> str:
    return f"{limit:,}" if isinstance(limit, int) else f"{limit:g}"
