"""Small helpers for tensors, arrays and their parts."""

from collections.abc import Iterator
from typing import overload

import torch
from numpy.typing import ArrayLike
from torch import Tensor


@overload
def plain(values: ArrayLike | Tensor) -> ArrayLike: ...
@overload
def plain(values: None) -> None: ...
@overload
def plain(values: ArrayLike | Tensor | None) -> ArrayLike | None: ...
def plain(values: ArrayLike | Tensor | None) -> ArrayLike | None:
    """A tensor as an array; precision that arrays do not have (bfloat16) as float32.

    >>> plain(torch.ones(2, dtype=torch.bfloat16)).dtype
    dtype('float32')
    """
    if not isinstance(values, Tensor):
        return values
    here = values.detach().cpu()
    return (here.float() if here.dtype == torch.bfloat16 else here).numpy()


def slices(start: int, stop: int, step: int) -> Iterator[slice]:
    """From ``start`` to ``stop`` in steps, the last one cut short.

    >>> list(slices(0, 5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    for first in range(start, stop, step):
        yield slice(first, min(first + step, stop))
