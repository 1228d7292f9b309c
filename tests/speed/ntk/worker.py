"""One engine in a process of its own: ``python -m tests.speed.ntk.worker ENGINE CORES CASE MODE``.

It prepares the case, says so in one line of JSON, and then answers each line on its standard input
with one on its standard output: ``run`` with the seconds of a call (CPU and wall), ``values`` with
some entries of the result, ``memory`` with bytes, ``peak SIZE DTYPE CLOCK`` with the speed of a
matrix product. The parent lets engines take turns, so that what disturbs the machine disturbs all.
"""

import importlib
import json
import os
import re
import sys
import time
from pathlib import Path

_STATUS = Path("/proc/self/status")
_SHORT = 0.2  # calls are repeated up to about so many seconds for one timing


def main(engine, cores, case_name, mode):
    chosen = sorted(os.sched_getaffinity(0))[-int(cores) :]
    os.sched_setaffinity(0, chosen)  # before libraries start their threads
    from tests.speed.ntk import cases

    module = importlib.import_module(f"tests.speed.ntk.engine_{engine}")
    base = _bytes("VmRSS")
    case = cases.named(case_name)
    begin = time.perf_counter()
    work, as_numpy = module.prepare(case, mode)
    prepared = time.perf_counter() - begin
    result = work()
    first = time.perf_counter() - begin - prepared
    first_peak = _bytes("VmHWM") - base
    seconds = first if first > 1 else _timed(work, 1)["wall"]
    calls = max(1, int(_SHORT / max(seconds, 1e-6)))
    _answer(ready=True, prepared=prepared, first=first, calls=calls)
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "run":
            # a process that slept is slow at first: its core, and the memory it gave back
            for _ in range(_waking(seconds)):
                work()
            _answer(**_timed(work, calls))
        elif word == "values":
            values = as_numpy(result)
            _answer(values=values[cases.probe(values.shape)].tolist(), shape=values.shape)
        elif word == "memory":
            del result  # as a caller who asks again
            _forget_peak()
            result = work()
            _answer(call=_bytes("VmHWM") - base, first=first_peak, base=base, **_device(module))
        elif word == "peak":
            _answer(flops=_peak(module, int(rest[0]), *rest[1:]))


def _waking(seconds):
    """Calls before one that is timed, for about a fifth of a second and at least one."""
    return max(1, int(_SHORT / max(seconds, 1e-6)))


def _timed(work, calls):
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(calls):
        work()
    return {
        "cpu": (time.process_time() - cpu) / calls,
        "wall": (time.perf_counter() - wall) / calls,
    }


def _peak(module, size, dtype, clock):
    """The best of several products, in operations per second."""
    product = module.multiply(size, dtype)
    product()
    return 2 * size**3 / min(_timed(product, 3)[clock] for _ in range(10))


def _device(module):
    """Bytes on an accelerator, where there is one."""
    return {"device": module.device_peak()} if hasattr(module, "device_peak") else {}


def _bytes(field):
    found = re.search(rf"{field}:\s+(\d+) kB", _STATUS.read_text())
    return 1024 * int(found.group(1))


def _forget_peak():
    """Let VmHWM begin anew (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def _answer(**fields):
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
