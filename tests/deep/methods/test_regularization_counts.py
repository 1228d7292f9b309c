"""Regularization samples by several criteria, and how many of them an epoch has."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deep import methods
from deep.losses import CRITERIA, regularization_mask, regularization_masks
from deep.training.runner import Runner
from deep.training.streams import stream
from tests.deep.training.small_runs import small, trainer_of
from theory.labels.bias_variance import regularization_samples

BOTH = ("regularization_samples", "regularization_samples_signed")


def logits(seed, *axes, known=0.0):
    drawn = torch.from_numpy(3 * stream("counts", seed).normal(size=(*axes, 200, 10)))
    return drawn + known * torch.eye(10, dtype=drawn.dtype).repeat(20, 1)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("criteria", [CRITERIA, ("signed",), ("abs",), ("tau1", "signed"), ()])
def test_together_they_are_what_each_is_alone(criteria, temperature):
    z, v = logits(0, 2, known=8.0), logits(1, 2, known=12.0)
    labels = torch.arange(200).remainder(10).expand(2, 200)
    found = regularization_masks(z, v, labels, temperature=temperature, criteria=criteria)
    assert tuple(found) == criteria
    for name, mask in found.items():
        alone = regularization_mask(z, v, labels, temperature=temperature, criterion=name)
        assert torch.equal(mask, alone)
        theirs = regularization_samples(z.numpy(), v.numpy(), labels.numpy(), temperature, name)
        np.testing.assert_array_equal(mask.numpy(), theirs)
    if temperature > 1 and criteria == CRITERIA:
        assert len({int(mask.sum()) for mask in found.values()}) == 3


def test_another_criterion_is_refused():
    z = logits(0)
    with pytest.raises(ValueError, match="criterion must be one of 'abs', 'signed', 'tau1'"):
        regularization_masks(
            z, z, torch.zeros(200, dtype=torch.int64), temperature=1.0, criteria=("abs", "both")
        )


def counted(config):
    """The counts of the last epoch by each criterion, from the logits of its steps."""
    trainer = trainer_of(config)
    hear, learn = trainer.teacher.logits, trainer.network.forward
    said, learned = [], []
    trainer.teacher.logits = lambda *view: said.append(hear(*view)) or said[-1]
    trainer.network.forward = lambda x: learned.append(learn(x)) or learned[-1]
    for step in range(trainer.plan.steps):
        if step % trainer.plan.per_epoch == 0:
            found = dict.fromkeys(CRITERIA, 0)
        trainer.step()
        index = trainer.plan.visit(step).index
        for name in CRITERIA:
            mask = regularization_mask(
                learned[step],
                said[step],
                trainer.data.train.labels[index],
                temperature=getattr(trainer.hyper, "temperature", None) or 1.0,
                criterion=name,
            )
            found[name] += int(mask.sum())
        learned[step + 1 :] = []  # those of the evaluation after an epoch
    return found, trainer.course.history()


@pytest.mark.parametrize(
    ("method", "options", "criterion"),
    [
        ("kd", {}, "abs"),
        ("exclude_regularization", {}, "abs"),
        ("exclude_regularization", {"criterion": "signed"}, "signed"),
        ("only_regularization", {"criterion": "tau1"}, "tau1"),
        ("wsl", {"criterion": "tau1"}, "tau1"),
        ("self_distillation", {"temperature": 2.0}, "abs"),
    ],
)
def test_an_epoch_counts_by_the_methods_criterion_and_by_sign(method, options, criterion):
    # a student that is nearly sure of some samples, and a teacher that is surer
    sure = {"teacher_scale": 3.0, "epochs": 20, "rate": 0.2}
    found, history = counted(small(method, options=options, **sure))
    assert 0 < found["signed"] < found["abs"]
    assert [int(history[name][-1]) for name in BOTH] == [found[criterion], found["signed"]]


def test_members_are_counted_apart():
    configs = [small("wsl", options={"criterion": "tau1"}, seed=seed) for seed in (0, 1)]
    together = Runner().run_together(configs)
    alone = [Runner().run(config) for config in configs]
    for name in BOTH:
        for one, other in zip(together, alone, strict=True):
            np.testing.assert_array_equal(
                one.arrays[f"history/{name}"][:2], other.arrays[f"history/{name}"][:2]
            )


@pytest.mark.parametrize("method", ["one_hot", "filter_kd"])
def test_without_a_network_that_teaches_nothing_is_counted(method):
    done = Runner().run(replace(small(method), scale=0.5))
    assert not [name for name in done.arrays if "regularization_samples" in name]
    assert methods.get(method).needs(methods.get(method).Hyper()).teacher in (None, "table")
