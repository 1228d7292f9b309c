"""Work on one thread, for networks that are small."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Numbers that no count of threads rounds; matrices this small lose more by them than they win.

    This holds for torch and for the linear algebra of numpy.

    Example:
        >>> with one_thread():
        ...     import torch
        ...
        ...     torch.get_num_threads()
        1
    """
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
