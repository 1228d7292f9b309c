"""Order, views and draws: what they are, and what does not shift them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deep import methods
from deep.data.augment import Views
from deep.training.plan import Plan
from deep.training.streams import stream
from tests.deep.training.small_runs import small

SAMPLES = 86
CROPS = Views("crop_flip", 2)


def plan_of(*configs, views=CROPS, samples=SAMPLES, draws=0):
    return Plan(configs, samples, views, draws=draws)


def drawn(plan, steps=None):
    """Samples, views and draws of the first steps, in one line."""
    visits = [plan.visit(step) for step in range(plan.steps if steps is None else steps)]
    parts = [torch.cat([getattr(one, name) for one in visits], -1) for name in ("index", "view")]
    if plan.draws:
        parts.append(torch.cat([one.draws for one in visits], -2))
    return [part.numpy() for part in parts]


def test_every_epoch_visits_every_sample_once_in_another_order():
    plan = plan_of(small())
    assert (plan.per_epoch, plan.steps, plan.epochs) == (6, 18, 3)
    assert [len(plan.visit(step).index) for step in range(6)] == [16] * 5 + [6]
    index, view = drawn(plan)
    epochs = index.reshape(3, SAMPLES)
    assert (np.sort(epochs) == np.arange(SAMPLES)).all()
    assert len({tuple(one) for one in epochs}) == 3
    assert view.min() >= 0
    assert view.max() < CROPS.count
    assert [step for step in range(18) if plan.ends_epoch(step)] == [5, 11, 17]


def test_order_and_views_are_the_documented_streams():
    index, view = drawn(plan_of(small(seed=4)))
    for epoch in range(3):
        part = slice(epoch * SAMPLES, (epoch + 1) * SAMPLES)
        order = stream("order", "student", 4, epoch).permutation(SAMPLES)
        views = CROPS.draw(stream("views", "student", 4, epoch), SAMPLES)
        assert (index[part] == order).all()
        assert (view[part] == views[order]).all()


def test_a_dropped_last_batch_leaves_out_other_samples_every_epoch():
    plan = plan_of(small(recipe_options={"drop_last": True}))
    assert (plan.per_epoch, plan.steps) == (5, 15)
    index, _ = drawn(plan)
    missed = [{*range(SAMPLES)} - {*one} for one in index.reshape(3, 80).tolist()]
    assert [len(one) for one in missed] == [6, 6, 6]
    assert missed[0] != missed[1]
    assert np.array_equal(index[:80], drawn(plan_of(small()))[0][:80])


@pytest.mark.parametrize("method", methods.names())
def test_no_method_shifts_order_or_views(method):
    options = {
        "filter_kd": {"stop": "last"},
        "born_again": {"taught_by": "final"},
    }.get(method)
    config = small(method, options=options)
    draws = methods.get(method).needs(methods.hyper(config.method)).draws
    mine, plain = drawn(plan_of(config, draws=draws)), drawn(plan_of(small()))
    assert np.array_equal(mine[0], plain[0])
    assert np.array_equal(mine[1], plain[1])
    assert config.init_key == small().init_key


@pytest.mark.parametrize(
    "change", [{"epochs": 7}, {"scale": 0.4}, {"rate": 0.5}, {"model": "resnet8"}]
)
def test_longer_and_other_runs_begin_alike(change):
    plan = plan_of(small(**change))
    steps = min(plan.steps, 18)
    for mine, plain in zip(drawn(plan, steps), drawn(plan_of(small()), steps), strict=True):
        assert np.array_equal(mine, plain)


def test_a_sample_has_its_view_and_draws_whatever_the_size_of_a_batch():
    found = []
    for batch in (16, 7):
        index, view, draws = drawn(plan_of(small(batch=batch, epochs=1), draws=2))
        back = np.argsort(index)
        found.append((view[back], draws[back]))
    assert np.array_equal(found[0][0], found[1][0])
    assert np.array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"order": "teacher"}, {"order": "teacher", "teacher_seed": 1}]
)
def test_other_streams_are_other_draws(other):
    views = [drawn(plan_of(small("kd", **one)))[1] for one in ({}, other)]
    # 258 of 50: some agree by chance
    assert (views[0] == views[1]).mean() < 0.2


def test_a_teacher_visits_samples_in_another_order_than_its_students():
    student = small("kd")
    taken = drawn(plan_of(replace(student, order="teacher")))
    for mine, teachers in zip(taken, drawn(plan_of(student.teacher)), strict=True):
        assert np.array_equal(mine, teachers)


def test_draws_lie_inside_the_interval_and_fill_it():
    draws = drawn(plan_of(small(batch=50_000, epochs=1), samples=100_000, draws=1))[2]
    assert 0 < draws.min() < 1e-4
    assert 1 - 1e-4 < draws.max() < 1
    assert abs(draws.mean() - 0.5) < 5 * (1 / 12 / draws.size) ** 0.5  # false alarm 6e-7


def test_members_have_what_each_has_alone():
    configs = [small(seed=seed) for seed in (2, 0, 5)]
    together = drawn(plan_of(*configs, draws=1))
    for member, config in enumerate(configs):
        for ours, own in zip(together, drawn(plan_of(config, draws=1)), strict=True):
            assert np.array_equal(ours[member], own)


def test_any_step_can_be_asked_for_first():
    whole, later = plan_of(small()), plan_of(small())
    for step in (13, 2, 17, 6, 5):
        assert torch.equal(whole.visit(step).index, later.visit(step).index)
    assert torch.equal(plan_of(small()).visit(13).view, whole.visit(13).view)


def test_a_run_may_end_within_an_epoch():
    plan = plan_of(small(scale=0.45))  # 8.1 steps
    assert (plan.steps, plan.epochs) == (8, 2)
    assert [step for step in range(8) if plan.ends_epoch(step)] == [5, 7]
