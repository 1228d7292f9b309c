"""A run that is taken up again is the run that was not interrupted, to the last bit."""

from dataclasses import replace

import pytest
import torch

from deep import methods, models
from deep.data.prepared import prepare
from deep.data.spec import DataSpec
from deep.training import checkpoint
from deep.training.arrange import arranged
from deep.training.recipes import recipe
from deep.training.runner import Runner
from deep.training.trainer import Trainer

DATA = DataSpec(samples=96, test_samples=40, noise=0.25)
RECIPE = recipe("digits")
SMALL = replace(RECIPE, optimizer=replace(RECIPE.optimizer, batch=16), epochs=3)
METHODS = ("one_hot", "beta_smoothing", "mrkd", "mixed_regularization", "wsl", "filter_kd")


def config(method, *, model="mlp", views="none", **options):
    size = {"width": 16} if model == "mlp" else {}
    return arranged(
        method=methods.spec(method, data="digits", **options),
        model=models.named(model, **size),
        recipe=replace(SMALL, views=views),
        data=DATA,
        scale=1.0,
    )


def trainer_of(student, out=None):
    """A trainer as the runner makes it, with the teacher trained."""
    runner = Runner(out)
    made = []
    runner._train = lambda trainer, *rest, **options: made.append(trainer)
    teacher = None if student.teacher is None else Runner(out).run(student.teacher)
    prepared = prepare(DATA, validation=student.recipe.validation)
    hyper = runner._fitted(student, teacher, prepared)
    taught = runner.teachers.teacher(student, teacher, prepared)
    chosen = torch.arange(5)
    return lambda: Trainer([student], prepared, teacher=taught, hyper=hyper, chosen=chosen)


def run(trainer, until):
    while trainer.updates < until:
        trainer.step()
    return trainer


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], rtol=0, atol=0, equal_nan=True, msg=name)


@pytest.mark.parametrize("method", METHODS)
def test_any_step_can_be_taken_up_again(method, tmp_path):
    make = trainer_of(config(method))
    whole = make()
    whole = run(whole, whole.plan.steps)
    for stop in (1, 6, 7, whole.plan.steps - 1):
        first = run(make(), stop)
        checkpoint.save(tmp_path / str(stop), first.tensors(), {"updates": first.updates})
        held = checkpoint.load(tmp_path / str(stop))
        second = make()
        second.load(held.tensors, updates=int(held.facts["updates"]))
        run(second, whole.plan.steps)
        assert_same(second.tensors(), whole.tensors())


@pytest.mark.parametrize("method", ["wsl", "mrkd"])
def test_a_convolutional_network_is_taken_up_again(method, tmp_path):
    make = trainer_of(config(method, model="resnet8", views="crop_flip"))
    whole = run(make(), 8)
    first = run(make(), 3)
    checkpoint.save(tmp_path, first.tensors(), {"updates": 3})
    second = make()
    second.load(checkpoint.load(tmp_path).tensors, updates=3)
    assert_same(run(second, 8).tensors(), whole.tensors())
