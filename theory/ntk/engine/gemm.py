"""Matrix products of the kernel, by the faster of two libraries that come with PyTorch.

On some processors the library behind `torch.mm` runs at less than half the speed of oneDNN, on
others both are equal. Which is faster is measured once, in a few milliseconds, when the first large
product of single precision on a CPU is asked for.
"""

from functools import cache
from statistics import median
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor

_LARGE = 1 << 24
"""Multiplications from which on the choice matters."""
_GAIN = 0.85
"""How much faster oneDNN must be, with its copies, to be taken."""


def multiply(left: Tensor, right: Tensor, out: Tensor) -> None:
    """Write ``left @ right.T`` to ``out``.

    Args:
        left: Shape (n, k).
        right: Shape (m, k).
        out: Shape (n, m).
    """
    if _large(left, right) and _onednn_is_faster(torch.get_num_threads()):
        out.copy_(_onednn(left, right))
    else:
        torch.mm(left, right.mT, out=out)


def add_product(left: Tensor, right: Tensor, out: Tensor) -> None:
    """Add ``left @ right.T`` to ``out``; shapes as in `multiply`."""
    if _large(left, right) and _onednn_is_faster(torch.get_num_threads()):
        out += _onednn(left, right)
    else:
        out.addmm_(left, right.mT)


def _large(left: Tensor, right: Tensor) -> bool:
    return (
        left.device.type == "cpu"
        and left.dtype == torch.float32
        and left.numel() * len(right) >= _LARGE
    )


def _onednn(left: Tensor, right: Tensor) -> Tensor:
    product: Tensor = F.linear(left.contiguous().to_mkldnn(), right.contiguous()).to_dense()
    return product


@cache
def _onednn_is_faster(threads: int) -> bool:
    """Whether oneDNN multiplies faster with so many threads, and to the same result."""
    del threads  # only a key
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    random = torch.Generator().manual_seed(0)
    left = torch.randn(256, 768, generator=random)
    right = torch.randn(1024, 768, generator=random)
    try:
        other = _onednn(left, right)
    except (RuntimeError, NotImplementedError):
        return False
    if not torch.allclose(other, left @ right.mT, rtol=1e-4, atol=1e-3):
        return False
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(5):
        for onednn in (True, False):
            start = perf_counter()
            if onednn:
                _onednn(left, right)
            else:
                torch.mm(left, right.mT)
            times[onednn].append(perf_counter() - start)
    return median(times[True]) < _GAIN * median(times[False])
