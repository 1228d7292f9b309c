"""Where large temporaries lie.

A process pays for every page of fresh memory that it touches, and pages of four kilobytes make
that as dear as a good part of the arithmetic. NumPy asks for huge pages for large arrays; tensors
that share the memory of its arrays have them too. They cannot be resized, so what is returned to a
caller lies elsewhere.
"""

import numpy as np
import torch
from torch import Tensor

_LARGE = 1 << 22
"""Bytes from which on NumPy asks for huge pages."""
_ALIGNED = 64
"""Bytes of a cache line, on which PyTorch's own tensors begin."""


def room(like: Tensor, *shape: int) -> Tensor:
    """A contiguous tensor of this shape with any values, of the type and on the device of another.

    Example:
        >>> room(torch.zeros(2, dtype=torch.float64), 3, 4).shape
        torch.Size([3, 4])
    """
    size = torch.Size(shape).numel() * like.element_size()
    if like.device.type != "cpu" or size < _LARGE:
        return like.new_empty(shape)
    raw = np.empty(size + _ALIGNED, np.uint8)
    start = -raw.ctypes.data % _ALIGNED
    return torch.from_numpy(raw[start : start + size]).view(like.dtype).view(shape)


class Space:
    """Memory for temporaries that follow one another.

    Args:
        like: Any tensor of their type and on their device.

    Example:
        >>> space = Space(torch.zeros(2))
        >>> space.take(3, 4).data_ptr() == space.take(2, 5).data_ptr()
        True
    """

    def __init__(self, like: Tensor) -> None:
        self._held = like.new_empty(0)

    def take(self, *shape: int) -> Tensor:
        """A contiguous tensor of this shape with any values, in the place of the one before."""
        size = torch.Size(shape).numel()
        if len(self._held) < size:
            like, self._held = self._held, self._held.new_empty(0)
            self._held = room(like, size)
        return self._held[:size].view(shape)
