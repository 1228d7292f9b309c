"""Small runs for tests, and programs that train them and are killed, for processes of their own.

``train OUT NETWORK METHOD...`` trains them with a checkpoint every two steps, and writes a line for
every step it takes and for every run that is done.
``storm OUT KILLS SEED NETWORK METHOD...`` trains them in children that it kills at random moments,
in folders ``OUT/0``, ``OUT/1`` and on, until so many were killed and all runs of the last are done.
"""

import os
import signal
import sys
import time
import traceback
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from deep import methods, models
from deep.data.spec import DataSpec
from deep.records.encoding import dumps
from deep.training.arrange import arranged
from deep.training.recipes import recipe
from deep.training.runner import Runner
from deep.training.streams import stream

DIGITS = recipe("digits")
DATA = DataSpec(samples=96, test_samples=40, noise=0.25)


def small(
    method="one_hot",
    *,
    model="mlp",
    views="none",
    batch=16,
    epochs=3,
    rate=0.05,
    options=None,
    recipe_options=None,
    **arrangement,
):
    """A run that takes about a tenth of a second; of 96 digits, 10 held out."""
    size = {"width": 16} if model == "mlp" else {}
    asked = replace(
        DIGITS,
        optimizer=replace(DIGITS.optimizer, batch=batch, learning_rate=rate),
        epochs=epochs,
        **{"views": views, "pad": 2, **(recipe_options or {})},
    )
    arrangement.setdefault("data", DATA)
    return arranged(
        method=methods.spec(method, **(options or {})),
        model=models.named(model, **size),
        recipe=asked,
        **arrangement,
    )


class Made(Exception):
    """Brings a trainer out of a runner."""


def trainer_of(*configs, out=None, view_table=True, device="cpu"):
    """A trainer as the runner makes it, before its first step; its teacher is trained."""
    runner = Runner(out, view_table=view_table, device=device)
    train = runner._train

    def stop(trainer, *rest, **options):
        if trainer.configs == configs:
            raise Made(trainer)
        train(trainer, *rest, **options)

    runner._train = stop
    try:
        runner.run_together(configs)
    except Made as made:
        return made.args[0]
    raise AssertionError("the run is finished already")  # noqa: EM101


def stepped(trainer, steps=None):
    """After so many updates, or all."""
    last = trainer.plan.steps if steps is None else steps
    while trainer.updates < last:
        trainer.step()
    return trainer


def assert_same(left, right):
    """All tensors are equal, to the last bit."""
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], rtol=0, atol=0, equal_nan=True, msg=name)


def assert_same_run(left, right):
    """All arrays, weights, tables and numbers are equal, to the last bit."""
    assert left.key == right.key
    assert left.arrays.keys() == right.arrays.keys()
    for name, value in left.arrays.items():
        np.testing.assert_array_equal(value, right.arrays[name], err_msg=name)
    assert left.files.keys() == right.files.keys()
    for name in left.files:
        assert_same(*(one._tensors(name, name) for one in (left, right)))
    for name in ("config", "hyper", "measures", "headline", "steps", "epochs"):
        assert dumps(left.record[name]) == dumps(right.record[name])


def killed_runs(model, names):
    """Runs with all that a checkpoint can hold, by name."""
    options = {
        "mrkd": {"copies": 2, "interval": 0.75},
        "filter_kd": {"smoothing": 0.3},
    }
    return {
        name: small(name, model=model, views="crop_flip", options=options.get(name))
        for name in names
    }


def train(out, model, *names):
    """Train runs, one after another, and say how far it is."""
    runner = Runner(
        out,
        checkpoint_steps=2,
        watch=lambda trainer: print(trainer.updates, flush=True),
        say=lambda text: print(text, flush=True),
    )
    for name, config in killed_runs(model, names).items():
        runner.run(config)
        print(f"done {name}", flush=True)


def storm(out, kills, seed, *asked):
    """Kill, take up again, and tell of anything but death and success."""
    train(None, *asked)  # so that all is imported before the first child is born
    rng, died, place = stream("kills", int(seed)), 0, 0
    while died < int(kills) or place == 0:
        child = os.fork()
        if child == 0:
            _in_child(Path(out) / str(place), asked)
        # from before the first step to several runs
        fate = _after(child, 10 ** rng.uniform(-2, 0.5))
        if fate == -signal.SIGKILL:
            died += 1
        elif fate == 0:
            place += 1
        else:
            sys.exit(f"a run failed in {out}/{place} after {died} kills")
    print("killed", died, "finished", place, flush=True)


def _in_child(out, asked):
    code = 1
    try:
        with open(os.devnull, "w") as sys.stdout:
            train(out, *asked)
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it is, this process ends here
        traceback.print_exc()
    finally:
        os._exit(code)


def _after(child, seconds):
    """How a child ended, or that it was killed after some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    {"train": train, "storm": storm}[sys.argv[1]](*sys.argv[2:])
