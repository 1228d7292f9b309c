"""Small runs for tests, and a program that trains them and may be killed at any moment.

``python -m tests.deep.training.small_runs OUT METHOD...`` trains them with a checkpoint every two
steps, and writes a line for every step it takes and for every run that is done.
"""

import sys
import warnings
from dataclasses import replace
from pathlib import Path

import torch

from deep import methods, models
from deep.data.spec import DataSpec
from deep.training.arrange import arranged
from deep.training.recipes import recipe
from deep.training.runner import Runner
from deep.training.trainer import Trainer

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
        views=views,
        pad=2,
        **(recipe_options or {}),
    )
    arrangement.setdefault("data", DATA)
    return arranged(
        method=methods.spec(method, **(options or {})),
        model=models.named(model, **size),
        recipe=asked,
        **arrangement,
    )


def trainer_of(*configs, out=None, view_table=True):
    """A trainer as the runner makes it, before its first step."""
    runner = Runner(out, view_table=view_table)
    first = configs[0]
    taught_by = runner._taught_by(first)
    prepared = runner.prepared(first)
    return Trainer(
        configs,
        prepared,
        teacher=runner._teacher(first, taught_by, prepared),
        hyper=runner._fitted(first, taught_by, prepared),
        chosen=torch.arange(5),
    )


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


def killed_runs(names):
    """Runs with all that a checkpoint can hold, by name."""
    options = {
        "mrkd": {"copies": 2, "interval": 0.75},
        "filter_kd": {"smoothing": 0.3},
    }
    return {
        name: small(name, model="resnet8", views="crop_flip", options=options.get(name))
        for name in names
    }


def train(out, *names):
    """Train runs, one after another, and say how far it is."""
    runner = Runner(
        Path(out),
        checkpoint_steps=2,
        watch=lambda trainer: print(trainer.updates, flush=True),
        say=lambda text: print(text, flush=True),
    )
    for name, config in killed_runs(names).items():
        runner.run(config)
        print(f"done {name}", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    train(*sys.argv[1:])
