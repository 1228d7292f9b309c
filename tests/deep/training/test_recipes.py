"""The papers' recipes: their numbers, and the learning rate of every update."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deep.data import synthetic
from deep.data.augment import normalize
from deep.data.normalization import normalization
from deep.training import recipes
from deep.training.optimizers import Optimizer
from deep.training.recipes import Recipe, Schedule, recipe

CIFAR = 50_000
# epochs, batch, rate, decay, momentum, nesterov, views, normalization, validation, select
PAPERS = {
    "crd": (240, 64, 0.05, 5e-4, 0.9, False, "crop_flip", "cifar100", 0.0, "last"),
    "overhaul": (200, 128, 0.1, 5e-4, 0.9, True, "reflect_crop_flip", "overhaul", 0.0, "last"),
    "ren": (200, 256, 0.1, 5e-4, 0.9, False, "crop_flip", "cifar10", 0.05, "last"),
    "ren_noisy": (100, 128, 0.1, 5e-4, 0.9, False, "crop_flip", "cifar10", 0.1, "last"),
    "zhang_sabuncu": (150, 128, 0.1, 1e-4, 0.9, False, "crop_flip", "cifar100", 0.1, "best"),
    "wang": (200, 128, 0.1, 5e-4, 0.9, False, "crop_flip", "cifar100", 0.0, "last"),
    "nagarajan_v1": (450, 1024, 1.0, 5e-4, 0.9, True, "crop_flip", "cifar100", 0.0, "last"),
    "nagarajan_v2": (240, 64, 0.05, 5e-4, 0.9, True, "crop_flip", "cifar100", 0.0, "last"),
}
DROPS = {
    "crd": (150, 180, 210),
    "overhaul": (100, 150),
    "zhang_sabuncu": (50, 100),
    "nagarajan_v1": (200, 300, 400),
    "nagarajan_v2": (150, 180, 210),
}
# epochs, batch, rate, of Adam, or of SGD without decay
CONSTANT = {
    "ren_toy": (100, 32, 5e-4, "sgd", 0.9),
    "nagarajan_features": (40, 128, 1e-3, "adam", 0.0),
    "nagarajan_mlp": (20, 32, 1e-4, "adam", 0.0),
    "nagarajan_cnn": (40, 128, 1e-4, "adam", 0.0),
}
COSINES = {"ren": 1e-5, "ren_noisy": 1e-5, "wang": 1e-4, "digits": 0.0}


def in_epoch(chosen, epoch, *, last=False, scale=1.0):
    """The rate of the first or the last update of an epoch, counted from 1."""
    per_epoch = chosen.steps_per_epoch(CIFAR) * scale
    # an update that lies in two short epochs: drops count it to the nearer, cosines to the first
    near = round if chosen.schedule.kind == "steps" else lambda step: math.ceil(step - 1e-6)
    step = near(epoch * per_epoch) - 1 if last else near((epoch - 1) * per_epoch)
    return chosen.learning_rate(step, CIFAR, scale)


@pytest.mark.parametrize("name", PAPERS)
def test_the_numbers_are_those_of_the_papers(name):
    one = recipe(name)
    how = one.optimizer
    assert how.name == "sgd"
    assert PAPERS[name] == (
        one.epochs,
        how.batch,
        how.learning_rate,
        how.weight_decay,
        how.momentum,
        how.nesterov,
        one.views,
        one.normalization,
        one.validation,
        one.select,
    )
    assert (one.pad, one.drop_last) == (4, False)
    normalization(one.normalization).check_channels(3)


def test_recipes_are_found_by_name():
    assert {*PAPERS, "digits"} == {*DROPS, *COSINES} <= {*recipes.names()}
    with pytest.raises(ValueError, match=r"recipe must be one of .*'crd'.*, got 'cdr'"):
        recipe("cdr")


@pytest.mark.parametrize("name", CONSTANT)
def test_the_small_experiments_of_the_papers_have_a_constant_rate(name):
    one = recipe(name)
    how = one.optimizer
    found = (one.epochs, how.batch, how.learning_rate, how.name, how.momentum)
    assert found == CONSTANT[name]
    assert (how.weight_decay, how.nesterov, one.views) == (0, False, "none")
    assert one.normalization == ("gaussian" if name == "ren_toy" else "unit")
    rates = {one.learning_rate(step, 5_000, scale) for step in (0, 7, 9_999) for scale in (1, 0.1)}
    assert rates == {how.learning_rate}


def test_the_toy_is_split_as_in_the_paper():
    """5, 5 and 90 % of 100,000 samples, and the best epoch on the second."""
    toy = recipe("ren_toy")
    train, test = synthetic.source("gaussian").train, synthetic.source("gaussian").test
    held_out = toy.validation * len(train.labels)
    assert (len(train.labels) - held_out, held_out, len(test.labels)) == (5_000, 5_000, 90_000)
    assert (toy.select, toy.ties) == ("best", "earlier")
    assert toy.steps(5_000) == 100 * 157


def test_the_inputs_of_the_toy_are_on_the_papers_scale():
    """Means of -1, 0 and 1, and a deviation of 2; at other scales its rate is another."""
    test, style = synthetic.source("gaussian").test, normalization(recipe("ren_toy").normalization)
    inputs = normalize(torch.from_numpy(test.images), style).numpy().reshape(90_000, 30)
    means = np.stack([inputs[test.labels == label].mean(0) for label in range(3)])
    np.testing.assert_allclose(means, means.round(), atol=0.06)
    assert {*means.round().ravel()} == {-1, 0, 1}
    assert (inputs - means[test.labels]).std() == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize("scale", [1.0, 0.1, 0.013])
@pytest.mark.parametrize("name", DROPS)
def test_rates_drop_tenfold_in_the_epoch_after_each_milestone(name, scale):
    one = recipe(name)
    rate = one.optimizer.learning_rate
    for number, milestone in enumerate(DROPS[name]):
        before = in_epoch(one, milestone, last=True, scale=scale)
        after = in_epoch(one, milestone + 1, scale=scale)
        assert before == pytest.approx(rate * 0.1**number, rel=1e-12)
        assert after == pytest.approx(rate * 0.1 ** (number + 1), rel=1e-12)
    assert in_epoch(one, one.epochs, last=True, scale=scale) == after


def test_the_first_drop_of_the_crd_recipe_is_in_epoch_151():
    one = recipe("crd")
    assert one.steps_per_epoch(CIFAR) == 782  # 781 of 64, and one of 16
    assert one.learning_rate(150 * 782 - 1, CIFAR) == 0.05
    assert one.learning_rate(150 * 782, CIFAR) == pytest.approx(0.005)
    assert one.learning_rate(240 * 782 - 1, CIFAR) == pytest.approx(5e-5)
    assert one.steps(CIFAR) == 240 * 782


@pytest.mark.parametrize("scale", [1.0, 0.1])
@pytest.mark.parametrize("name", COSINES)
def test_cosines_change_once_an_epoch_and_end_just_above_their_floor(name, scale):
    one, low = recipe(name), COSINES[name]
    high, epochs = one.optimizer.learning_rate, int(one.epochs)
    for epoch in (1, 2, epochs // 2, epochs):
        done = (epoch - 1) / epochs
        want = low + (high - low) * (1 + math.cos(math.pi * done)) / 2
        assert in_epoch(one, epoch, scale=scale) == pytest.approx(want, rel=1e-9)
        assert in_epoch(one, epoch, last=True, scale=scale) == pytest.approx(want, rel=1e-9)
    assert low < in_epoch(one, epochs) < low + 0.003 * high


@pytest.mark.parametrize("scale", [1.0, 0.1])
@pytest.mark.parametrize(("name", "epochs"), [("nagarajan_v1", 15), ("nagarajan_v2", 1)])
def test_the_warm_up_is_linear_in_updates(name, epochs, scale):
    one = recipe(name)
    count = round(epochs * one.steps_per_epoch(CIFAR) * scale)
    high = one.optimizer.learning_rate
    rates = [one.learning_rate(step, CIFAR, scale) for step in range(count + 2)]
    for step in (0, 1, count // 2, count - 1):
        assert rates[step] == pytest.approx(
            high * (step + 1) / count, rel=2e-2 * (scale < 1) + 1e-12
        )
    assert rates[-1] == rates[-2] == high


@pytest.mark.parametrize("name", recipes.names())
@given(scale=st.floats(1e-12, 2), samples=st.integers(1, 60_000))
def test_short_runs_have_at_least_one_update_and_rates_that_begin_high(name, scale, samples):
    one = recipe(name)
    steps = one.steps(samples, scale)
    assert steps >= 1
    assert abs(steps - scale * one.epochs * one.steps_per_epoch(samples)) <= 1
    first = one.learning_rate(0, samples, scale)
    last = one.learning_rate(steps - 1, samples, scale)
    assert 0 < last <= one.optimizer.learning_rate
    if not one.schedule.warmup:
        assert first == one.optimizer.learning_rate


def test_a_dropped_last_batch_makes_an_epoch_shorter():
    one = replace(recipe("ren"), drop_last=True)
    assert (recipe("ren").steps_per_epoch(1000), one.steps_per_epoch(1000)) == (4, 3)
    assert one.steps_per_epoch(768) == recipe("ren").steps_per_epoch(768) == 3
    with pytest.raises(ValueError, match="batch must be at most the 255 samples"):
        one.steps_per_epoch(255)


def test_a_constant_rate_and_drops_between_epochs():
    assert Schedule(kind="constant").factor(10**9, per_epoch=3.0, epochs=1) == 1.0
    half = Schedule(milestones=(1.5,), decay=0.5)
    assert [half.factor(step, per_epoch=4.0, epochs=3) for step in (5, 6, 11)] == [1, 0.5, 0.5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs must be > 0"),
        ({"epochs": math.inf}, "epochs must be finite"),
        ({"views": "crop"}, "views must be one of 'none', 'crop_flip'"),
        ({"pad": -1}, "pad must be"),
        ({"validation": 1.0}, r"validation must be a share in \[0, 1\), got 1.0"),
        ({"validation": math.nan}, "validation must"),
        ({"select": "best"}, "validation must be > 0 where the best epoch is reported"),
        ({"select": "first"}, "select must be one of 'last', 'best'"),
        ({"ties": "first"}, "ties must be one of 'earlier', 'later'"),
        ({"drop_last": 1}, "drop_last must be"),
        ({"optimizer": Optimizer(name="gd")}, "optimizer of a recipe must be one of 'sgd', 'adam'"),
    ],
)
def test_what_no_recipe_can_be(change, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**{"name": "mine", "epochs": 1, "optimizer": Optimizer(), **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "linear"}, "schedule must be one of 'steps', 'cosine', 'constant'"),
        ({"decay": 1.5}, r"decay must be in \[0, 1\]"),
        ({"floor": -0.1}, r"floor must be in \[0, 1\]"),
        ({"warmup": -1.0}, "warmup must be >= 0"),
        ({"milestones": (0.0,)}, "milestones must be > 0"),
    ],
)
def test_what_no_schedule_can_be(change, message):
    with pytest.raises(ValueError, match=message):
        Schedule(**change)
