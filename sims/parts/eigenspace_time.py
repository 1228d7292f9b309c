"""Where a training runs, and how long it will take, measured by one update before it begins."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sims.parts.eigenspace_case import Case, runs_of
from sims.parts.threads import one_thread

if TYPE_CHECKING:
    from sims.context import Context

LONG = 60.0
"""Seconds from which on it is said beforehand."""
TIMED = 3


def device_of(wanted: str) -> str:
    """``"cpu"`` or ``"cuda"``, the latter for ``"auto"`` where there is a GPU.

    Raises:
        ValueError: If a GPU is asked for and there is none.
    """
    if wanted == "cpu":
        return "cpu"
    import torch

    found = torch.cuda.is_available()
    if wanted == "cuda" and not found:
        msg = "device must be 'cpu' or 'auto' on a machine without a GPU, got 'cuda'"
        raise ValueError(msg)
    return "cuda" if found else "cpu"


def networks(case: Case) -> int:
    """A teacher and its students."""
    return 1 + len(case.students)


def updates(case: Case) -> int:
    """Updates of each network."""
    return case.epochs * -(-case.samples // case.batch)


def seconds_of_an_update(case: Case) -> float:
    """The fastest of a few updates of one network on this machine, after a first one."""
    from deep.training.fixed_targets.loop import Run
    from deep.training.fixed_targets.task import make_task

    size = min(case.samples, case.batch)
    teacher, _ = runs_of(replace(case, samples=size, test_samples=1, noise=0.0))
    with one_thread():
        run = Run(teacher, make_task(teacher.data, root=case.root), None, device=case.device)
        rows = run.batches(0)[0]
        float(run.step(rows).sum())  # the first one allocates
        seconds = []
        for _ in range(TIMED):
            begin = time.perf_counter()
            float(run.step(rows).sum())  # waits for the device
            seconds.append(time.perf_counter() - begin)
    return min(seconds)


def announce(cases: Sequence[Case], context: "Context") -> None:
    """Say how long training the CNNs among ``cases`` takes, if it takes long.

    Other networks take seconds. On a GPU the processes share one device; on processors the cases
    are shared among them.
    """
    trained = [case for case in cases if case.model == "cnn"]
    if not trained:
        return
    step = seconds_of_an_update(trained[0])
    count = sum(updates(case) * networks(case) for case in trained)
    on_gpu = trained[0].device != "cpu"
    shares = 1 if on_gpu else min(context.workers, len(trained))
    seconds = step * count / shares
    if seconds < LONG:
        return
    where = "the GPU" if on_gpu else f"{shares} processor{'s' if shares > 1 else ''}"
    total = sum(networks(case) for case in trained)
    context.say(
        f"Training the CNN takes about {duration(seconds)} on {where}: {total} networks, "
        f"{count:,} updates of {step:.3g} s (measured now). What is stored is not trained again."
    )


def duration(seconds: float) -> str:
    """A length of time in two digits.

    >>> duration(75), duration(600), duration(30_000)
    ('75 s', '10 min', '8.3 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 10 else f"{hours:.0f} h"
