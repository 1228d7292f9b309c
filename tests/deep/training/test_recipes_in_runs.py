"""What a recipe says of the best epoch, in runs and for their teachers."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from deep.training import recipes
from deep.training.best import Best
from deep.training.recipes import recipe
from deep.training.runner import Runner
from tests.deep.training.small_runs import small, trainer_of


class Course:
    """As much of a trainer as `Best` looks at: a weight that is the number of the epoch."""

    def __init__(self, members=()):
        self.members, self.device, self.table = members, "cpu", None
        self.network = nn.Linear(1, 1, bias=False)
        self.network.weight = nn.Parameter(torch.zeros(*members, 1, 1))

    def offered(self, accuracies, **how):
        best = Best(self, **how)
        for epoch, accuracy in enumerate(accuracies, 1):
            nn.init.constant_(self.network.weight, epoch)
            best.offer(
                torch.tensor(accuracy), torch.full((*self.members, 3), float(epoch)), epoch=epoch
            )
        return best


@pytest.mark.parametrize(("ties", "epoch"), [("earlier", 2), ("later", 4)])
def test_of_equal_epochs_the_recipe_says_which_counts(ties, epoch):
    best = Course().offered([0.2, 0.5, 0.4, 0.5, 0.1], ties=ties)
    assert (int(best.epoch), float(best.accuracy)) == (epoch, 0.5)
    assert float(best.held["network.weight"]) == epoch
    assert best.held["test_logits"].tolist() == [epoch] * 3


def test_each_member_has_its_own_later_epoch():
    best = Course((2,)).offered([[0.5, 0.5], [0.5, 0.4], [0.1, 0.5]], ties="later")
    assert best.epoch.tolist() == [2, 3]
    assert best.held["network.weight"].flatten().tolist() == [2, 3]


@pytest.mark.parametrize(("ties", "epoch"), [("earlier", 1), ("later", 3)])
def test_a_run_follows_its_recipe(ties, epoch):
    """At a rate of next to nothing all epochs are equal."""
    done = Runner().run(small(rate=1e-30, recipe_options={"ties": ties}))
    assert done.measures["best"]["epoch"] == epoch


def test_the_later_epoch_counts_where_the_code_has_it_so():
    assert [name for name in recipes.names() if recipe(name).ties == "later"] == ["zhang_sabuncu"]


def test_a_teachers_recipe_may_report_the_best_where_none_is_held_out():
    student = small(
        "kd", teacher_recipe=recipe("zhang_sabuncu"), recipe_options={"validation": 0.0}
    )
    assert (student.teacher.recipe.validation, student.teacher.recipe.select) == (0.0, "last")
    held_out = small("kd", teacher_recipe=recipe("zhang_sabuncu"))
    want = replace(recipe("zhang_sabuncu"), validation=held_out.recipe.validation)
    assert held_out.teacher.recipe == want
    assert want.select == "best"


@pytest.mark.parametrize("mine", recipes.names())
def test_any_two_recipes_go_together(mine):
    for teachers in recipes.names():
        student = small("kd", teacher_recipe=recipe(teachers))
        arranged = replace(recipe(teachers), validation=student.recipe.validation)
        assert student.teacher.recipe == arranged
        chosen = recipe(mine)
        options = {name: getattr(chosen, name) for name in ("validation", "select", "ties")}
        student = small("kd", teacher_recipe=recipe(teachers), recipe_options=options)
        assert student.teacher.recipe.validation == chosen.validation


def test_an_adam_recipe_trains():
    trainer = trainer_of(
        replace(small(), recipe=replace(recipe("nagarajan_mlp"), epochs=1.0, validation=0.1))
    )
    before = [weight.detach().clone() for weight in trainer.weights]
    trainer.step()
    moved = max(
        float((new.detach() - old).abs().max())
        for new, old in zip(trainer.weights, before, strict=True)
    )
    # the first step of Adam is of the size of the rate
    assert moved == pytest.approx(1e-4, rel=1e-2)
