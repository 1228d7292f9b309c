from dataclasses import replace

import numpy as np
import pytest

from deep import models
from deep.data.spec import DataSpec
from deep.training.fixed_targets import ensembles
from deep.training.fixed_targets.config import RunConfig, Supervision
from deep.training.fixed_targets.ensembles import train_together
from deep.training.fixed_targets.loop import train
from deep.training.fixed_targets.task import Task
from deep.training.optimizers import Optimizer

BASE = RunConfig(
    model=models.spec("mlp", width=8),
    data=DataSpec(samples=40, test_samples=30, noise=0.25),
    optimizer=Optimizer(batch=16, learning_rate=1e-2),
    epochs=3,
    precision="float64",
)
ADAM, SGD = BASE.optimizer, Optimizer(name="sgd", learning_rate=0.1, momentum=0.9, batch=16)
GD = Optimizer(name="gd", learning_rate=0.1)


def members(base):
    """A teacher, its students under every supervision, and another seed with other data."""
    teacher = replace(base, stream="teacher")
    students = [
        replace(base, teacher=teacher, student_init="teacher", supervision=supervision)
        for supervision in (
            Supervision(kind="teacher", temperature=4.0),
            Supervision(kind="teacher", temperature=4.0, factor="1"),
            Supervision(kind="teacher"),
            Supervision(kind="teacher_confidence", temperature=4.0),
            Supervision(temperature=4.0),
            Supervision(kind="smooth", smoothing=0.1),
        )
    ]
    elsewhere = replace(base, seed=1, data=replace(base.data, seed=1))
    return [teacher, *students, elsewhere]


CASES = {
    "adam": BASE,
    "sgd": replace(BASE, optimizer=SGD),
    "gd": replace(BASE, optimizer=GD),
    "linear": replace(BASE, model=models.spec("mlp", depth=0, first_bias=True)),
    "deep": replace(BASE, model=models.spec("mlp", width=6, depth=4, init="he")),
    "features": replace(BASE, model=models.spec("random_features", features=30)),
    "one batch": replace(BASE, optimizer=Optimizer(batch=40, learning_rate=1e-2)),
    "features, gd": replace(BASE, model=models.spec("random_features", features=30), optimizer=GD),
}


@pytest.mark.parametrize("strategy", ["batched", "loop"])
@pytest.mark.parametrize("base", CASES.values(), ids=CASES)
def test_the_numbers_are_those_of_the_loop(base, strategy):
    configs = members(base)
    for config, got in zip(configs, train_together(configs, strategy=strategy), strict=True):
        want = train(config)
        np.testing.assert_allclose(got.train_logits, want.train_logits, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(got.test_logits, want.test_logits, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(got.history["loss"], want.history["loss"], rtol=1e-10)
        for name, weights in want.weights.items():
            np.testing.assert_allclose(got.weights[name], weights, rtol=1e-8, atol=1e-10)


def test_float32_agrees_to_its_rounding():
    configs = [replace(config, precision="float32") for config in members(BASE)]
    for config, got in zip(configs, train_together(configs, strategy="batched"), strict=True):
        want = train(config)
        np.testing.assert_allclose(got.train_logits, want.train_logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("case", ["features, gd", "one batch", "adam"])
def test_members_on_the_same_samples_share_their_inputs(case):
    """All samples in every step, the same for all members: one wide product, no gather."""
    base = CASES[case]
    configs = members(base)[:-1]
    for config, got in zip(configs, train_together(configs, strategy="batched"), strict=True):
        want = train(config).train_logits
        np.testing.assert_allclose(got.train_logits, want, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("strategy", ["batched", "loop"])
def test_recorders_see_all_members_stacked(strategy):
    configs, seen = members(BASE), []

    def record(step, weights):
        seen.append((step, weights["layers.0.weight"].detach().clone().numpy()))

    trained = train_together(configs, strategy=strategy, recorders=[record])
    assert [step for step, _ in seen] == list(range(10))
    assert seen[0][1].shape == (len(configs), 8, 64)
    final = np.stack([each.weights["layers.0.weight"] for each in trained])
    np.testing.assert_array_equal(seen[-1][1], final)


@pytest.mark.parametrize("strategy", ["batched", "loop"])
def test_given_tasks_are_used(strategy):
    rng = np.random.default_rng(0)

    def drawn():
        x, y = rng.standard_normal((20, 5)), rng.integers(0, 3, 20)
        return Task(x[:15], y[:15], y[:15], x[15:], y[15:], 3)

    tasks = [drawn(), drawn()]
    configs = [replace(BASE, seed=seed) for seed in range(2)]
    for config, task, got in zip(
        configs, tasks, train_together(configs, tasks=tasks, strategy=strategy), strict=True
    ):
        want = train(config, task=task)
        assert got.train_logits.shape == (15, 3)
        np.testing.assert_allclose(got.test_logits, want.test_logits, rtol=1e-8, atol=1e-10)
    with pytest.raises(ValueError, match="tasks must be one for each of 2 members, got 1"):
        train_together(configs, tasks=tasks[:1])


def test_given_teachers_are_used():
    teacher = train(replace(BASE, stream="teacher"))
    configs = members(BASE)[1:-1]
    given = train_together(configs, teachers=[teacher] * len(configs), strategy="batched")
    own = train_together(configs, strategy="batched")
    for one, other in zip(given, own, strict=True):
        np.testing.assert_array_equal(one.train_logits, other.train_logits)


@pytest.mark.parametrize("recorders", [[], [lambda step, weights: None]])
@pytest.mark.parametrize("pays", [True, False])
def test_auto_follows_the_probe(monkeypatch, pays, recorders):
    monkeypatch.setattr(ensembles, "_batching_pays", lambda runs: pays)
    steps = {"batched": 0, "single": 0}
    for kind, name in ((ensembles._Batched, "batched"), (ensembles.Run, "single")):

        def step(self, rows, original=kind.step, name=name):
            steps[name] += 1
            return original(self, rows)

        monkeypatch.setattr(kind, "step", step)
    train_together([replace(BASE, seed=seed) for seed in range(3)], recorders=recorders)
    assert steps == ({"batched": 9, "single": 0} if pays else {"batched": 0, "single": 27})


def test_the_probe_changes_no_number():
    configs = members(BASE)
    for got, want in zip(
        train_together(configs), train_together(configs, strategy="batched"), strict=True
    ):
        np.testing.assert_allclose(got.train_logits, want.train_logits, rtol=1e-8, atol=1e-10)


def test_bad_input():
    with pytest.raises(ValueError, match="configs must hold at least one run"):
        train_together([])
    with pytest.raises(ValueError, match="members must agree in epochs"):
        train_together([BASE, replace(BASE, epochs=2)])
    with pytest.raises(ValueError, match="strategy must be one of"):
        train_together([BASE], strategy="vmap")
    with pytest.raises(ValueError, match="teachers must be one for each of 1 members, got 0"):
        train_together([BASE], teachers=[])
    with pytest.raises(ValueError, match="equally many samples"):
        train_together([BASE, replace(BASE, data=replace(BASE.data, samples=39))])
    with pytest.raises(ValueError, match="learning_rate must be small enough"):
        train_together([replace(BASE, optimizer=Optimizer(name="sgd", learning_rate=1e300))] * 2)


@pytest.mark.gpu
def test_the_same_on_a_gpu():
    configs = members(BASE)
    there = train_together(configs, strategy="batched", device="cuda")
    for config, got in zip(configs, there, strict=True):
        np.testing.assert_allclose(got.train_logits, train(config).train_logits, rtol=1e-6)
