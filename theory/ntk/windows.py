"""The margin that a convolution puts round its images."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor


def margins(module: Any) -> list[tuple[int, int]]:  # noqa: ANN401 - a convolution of any dimension
    """Before and after along each axis; an odd total puts the larger part after.

    >>> from torch import nn
    >>> margins(nn.Conv1d(1, 1, 4, padding="same"))
    [(1, 2)]
    """
    if module.padding == "valid":
        return [(0, 0)] * len(module.kernel_size)
    if module.padding == "same":
        sizes = zip(module.kernel_size, module.dilation, strict=True)
        total = [dilation * (size - 1) for size, dilation in sizes]
        return [(both // 2, both - both // 2) for both in total]
    return [(size, size) for size in module.padding]


def padded(images: Tensor, module: Any) -> Tensor:  # noqa: ANN401
    """Images (n, channels, …) with the margin of the convolution, in its padding mode."""
    around = [side for pair in reversed(margins(module)) for side in pair]
    if not any(around):
        return images
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return F.pad(images, around, mode=mode)
