"""Memory that a step frees and the next one asks for again: kept by the process meanwhile.

glibc gives free memory at the end of its heap back to the system at once, and the system hands it
out again page by page, filled with zeros. A step of resnet20 so faults in 21,000 pages, which takes
a fifth of its time on a CPU. Elsewhere than with glibc nothing is done.
"""

import ctypes
import sys
from functools import cache

TRIM, MMAP = -1, -3
"""Numbers of the thresholds, from ``malloc.h``: what is free at the end of the heap before it is
given back, and the size from which memory is asked of the system by itself."""
KEPT = {MMAP: 1 << 30, TRIM: (1 << 31) - 1}
USUAL = {MMAP: 32 << 20, TRIM: 64 << 20}
"""Bytes; the usual ones are the highest that glibc reaches by its own rule."""


def keep() -> bool:
    """From now on keep what is freed; whether this is known how to do here.

    >>> keep() in (True, False)
    True
    """
    return limit(KEPT)


def give_back() -> None:
    """Give the system what is free, and do so from now on."""
    library = _glibc()
    if library is not None and limit(USUAL):
        library.malloc_trim(ctypes.c_size_t(0))


def limit(thresholds: dict[int, int]) -> bool:
    """Set thresholds by their numbers; whether this is known how to do here."""
    library = _glibc()
    if library is None:
        return False
    return all(library.mallopt(number, size) for number, size in thresholds.items())


@cache
def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    known = ("gnu_get_libc_version", "mallopt", "malloc_trim")
    return library if all(hasattr(library, name) for name in known) else None
