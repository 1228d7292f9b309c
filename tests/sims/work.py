"""Functions for worker processes: they must stand at the top of a module."""

import os
import time
import warnings


def square(n):
    return {"square": n * n, "pid": os.getpid()}


def fail_on_three(n):
    if n == 3:
        msg = "three is refused"
        raise ArithmeticError(msg)
    return {"n": n}


def slow(item):
    """``item`` = (seconds, number, folder): sleep, then leave a mark of having run."""
    seconds, number, folder = item
    time.sleep(seconds)
    with open(f"{folder}/ran.{number}.{os.getpid()}.{time.monotonic_ns()}", "w"):
        pass
    return {"number": number}


def warn(n):
    warnings.warn(f"mind {n}", RuntimeWarning, stacklevel=1)
    return {"n": n}


def die(n):
    os._exit(9)


def threads(n):
    return {"omp": int(os.environ["OMP_NUM_THREADS"])}


def not_arrays(n):
    return [n]


def setting(name):
    return {"value": os.environ.get(name, "")}
