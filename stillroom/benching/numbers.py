"""Numbers in tables."""

import math
from collections.abc import Sequence


def percent(value: float | None) -> str:
    """A share in percent; empty where there is none.

    >>> percent(0.9312), percent(None)
    ('93.12', '')
    """
    return "" if value is None else f"{100 * value:.2f}"


def decimal(value: float | None) -> str:
    """A number with three digits behind the point; empty where there is none."""
    return "" if value is None else f"{value:.3f}"


def at_epoch(value: float | None, epoch: int | None) -> str:
    """A share in percent, and the epoch that it is of.

    >>> at_epoch(0.5, 7)
    '50.00 (7)'
    """
    return percent(value) if value is None or epoch is None else f"{percent(value)} ({epoch})"


def mean(values: Sequence[float | None], *, scale: float = 100.0) -> str:
    """Mean and half of its 95 % t interval, of two values or more.

    >>> mean([0.5, 0.52, 0.54])
    '52.00 ± 4.97'
    """
    from theory.statistics import t_interval

    held = [value for value in values if value is not None and math.isfinite(value)]
    digits = 2 if scale == 100 else 3
    if len(held) < 2:
        return f"{scale * held[0]:.{digits}f}" if held else ""
    found = t_interval(held).times(scale)
    return f"{found.estimate:.{digits}f} ± {found.high - found.estimate:.{digits}f}"
