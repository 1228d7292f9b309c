"""Training against a loop with the usual costs, methods against one-hot labels, overheads."""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from deep import methods, models
from deep.data.augment import Viewer
from deep.data.prepared import Prepared, prepare
from deep.data.spec import DataSpec
from deep.training import checkpoint, evaluation, heap
from deep.training.arrange import KEEPS, arranged
from deep.training.config import RunConfig
from deep.training.recipes import recipe
from deep.training.runner import Runner
from deep.training.streams import stream
from deep.training.teacher_views import ViewTable
from deep.training.teaching import NetworkTeacher, RowTeacher, TableTeacher, Teacher
from deep.training.trainer import Trainer, initial_network
from tests.speed.reference_loop import ReferenceLoop, batches_of
from tests.speed.register import Skip, Work, bench

PAIRS = (("resnet20", "resnet8"), ("resnet56", "resnet20"), ("wrn_40_2", "wrn_16_2"))
IMAGES = 256
STEPS = 4
"""Of one repeat: with batches of 64 the second epoch, its end included."""


@cache
def data_of(samples: int) -> Prepared:
    """Real images; one for testing, since steps are to be timed and not evaluation."""
    if not os.environ.get("STILLROOM_DATA"):
        why = "STILLROOM_DATA must name the folder of CIFAR-100"
        raise Skip(why)
    return prepare(DataSpec(name="cifar100", samples=samples, test_samples=1))


def config_of(model: str, method: str = "one_hot", **options: object) -> RunConfig:
    return arranged(
        method=methods.spec(method, data="cifar100", **options),
        model=models.named(model),
        recipe=recipe("crd"),
        data=DataSpec(name="cifar100"),
    )


def trainer_of(
    model: str,
    method: str = "one_hot",
    *,
    samples: int = IMAGES,
    teacher: Teacher | None = None,
    **options: object,
) -> Trainer:
    data = data_of(samples)
    rows = torch.arange(min(128, samples))
    return Trainer([config_of(model, method, **options)], data, teacher=teacher, chosen=rows)


def stepping(trainer: Trainer) -> Work:
    """The same steps each time, on weights that go on."""

    def work() -> None:
        trainer.updates = STEPS
        for _ in range(STEPS):
            trainer.step()

    return work


def teacher_network(name: str) -> nn.Module:
    """Untrained, but for its statistics: what a teacher knows does not change what it costs."""
    data = data_of(IMAGES)
    trainer = trainer_of(name)
    network = initial_network([config_of(name)], data).train()
    with torch.no_grad():
        for _ in range(20):
            network(trainer.plain_inputs(data.train, torch.arange(64)))
    return network


def kd_beside_reference(teacher: str, student: str, *, warm: bool) -> Mapping[str, Work]:
    """Both loops, after three steps in which their losses were found equal."""
    network = teacher_network(teacher)
    alone = trainer_of(student)
    taught: Teacher = NetworkTeacher(network, alone.normalization)
    if warm:
        taught = warmed(taught, alone)
    ours = trainer_of(student, "kd", teacher=taught)
    reference = ReferenceLoop.beside(ours, network)
    before = reference.run(batches_of(ours, range(3)))
    np.testing.assert_allclose(before, [ours.step().mean().item() for _ in before], rtol=2e-3)
    batches = batches_of(alone, range(STEPS, 2 * STEPS))
    step = stepping(ours)

    def usual() -> None:
        heap.limit(heap.USUAL)
        reference.run(batches)

    def stillroom() -> None:
        heap.keep()
        step()

    return {"usual loop": usual, "stillroom": stillroom}


def warmed(asked: NetworkTeacher, trainer: Trainer) -> TableTeacher:
    """The table of its outputs, with all cells that the first two epochs visit."""
    data, plan = trainer.data, trainer.plan
    table = ViewTable.open(
        None,
        key="00",
        samples=len(data.train),
        views=trainer.views.count,
        classes=data.classes,
    )
    viewer = Viewer(data.train.images, trainer.views)
    teacher = TableTeacher(asked, table, viewer, white=data.white)
    visits = [plan.visit(step) for step in range(2 * STEPS)]
    index = torch.cat([visit.host_index for visit in visits])
    view = torch.cat([visit.host_view for visit in visits])
    table.lookup(index, view, teacher.compute)
    return teacher


def register_pair(teacher: str, student: str) -> None:
    @bench(f"KD {teacher} to {student}, warm table, against the usual loop", at_least=2.5)
    def warm() -> Mapping[str, Work]:
        return kd_beside_reference(teacher, student, warm=True)

    @bench(f"KD {teacher} to {student}, teacher asked, against the usual loop", at_least=1.3)
    def cold() -> Mapping[str, Work]:
        return kd_beside_reference(teacher, student, warm=False)


for pair in PAIRS:
    register_pair(*pair)


@bench("a step of resnet20 over forward, backward and update alone", at_most=1.05, repeats=15)
def overhead() -> Mapping[str, Work]:
    trainer = trainer_of("resnet20", samples=12_800)
    network = initial_network(trainer.configs, trainer.data).train()
    labels = trainer.data.train.labels[:64]
    inputs = trainer.plain_inputs(trainer.data.train, torch.arange(64))
    sgd = torch.optim.SGD(
        network.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4, fused=True
    )

    def bare() -> None:
        for _ in range(STEPS):
            sgd.zero_grad()
            functional.cross_entropy(network(inputs), labels).backward()
            sgd.step()

    return {"bare step": bare, "stillroom": stepping(trainer)}


@bench("a Filter-KD step of resnet20 over a one-hot step", at_most=1.03, repeats=15)
def filter_kd() -> Mapping[str, Work]:
    one_hot = trainer_of("resnet20")
    rows = torch.full((IMAGES, one_hot.data.classes), 1 / one_hot.data.classes)
    student = trainer_of("resnet20", "filter_kd", teacher=RowTeacher(rows), stop="last")
    return {"one-hot": stepping(one_hot), "stillroom": stepping(student)}


@bench("keeping a filtered table and an average of weights, resnet20", at_most=1.03, repeats=15)
def filter_kd_teacher() -> Mapping[str, Work]:
    # the first epoch, in which the untrained network predicts too, is the one that warms up
    one_hot = trainer_of("resnet20")
    config = replace(config_of("resnet20"), keeps=KEEPS)
    keeping = Trainer([config], one_hot.data, chosen=torch.arange(128))
    return {"keeping nothing": stepping(one_hot), "stillroom": stepping(keeping)}


def register_mrkd(copies: int) -> None:
    @bench(f"an MrKD-{copies} step of resnet20 over a one-hot step", at_most=1 + 0.45 * copies)
    def mrkd() -> Mapping[str, Work]:
        student = trainer_of("resnet20", "mrkd", copies=copies, interval=1.0)
        return {"one-hot": stepping(trainer_of("resnet20")), "stillroom": stepping(student)}


for number in (1, 3, 5):
    register_mrkd(number)


@bench("plan of an epoch of 50,000 samples in batches of 64", seconds=0.002, repeats=15)
def plan() -> Mapping[str, Work]:
    epochs = count()
    made = trainer_of("resnet8").plan
    made.samples, made.per_epoch = 50_000, 782
    return {"stillroom": lambda: made.visit(next(epochs) * 782)}


SHARE = 0.03 * 782 / STEPS
"""3 % of the 782 steps of an epoch, in repeats of a row."""


@bench("measures of 10,000 x 100 test logits, 3 % of an epoch of resnet20", at_most=SHARE)
def measures() -> Mapping[str, Work]:
    trainer = trainer_of("resnet20", samples=12_800)
    rng = stream("bench", "measures")
    logits = torch.from_numpy(rng.standard_normal((10_000, 100), dtype=np.float32))
    labels = torch.from_numpy(rng.integers(0, 100, 10_000))
    return {
        f"{STEPS} steps": stepping(trainer),
        "stillroom": lambda: evaluation.quick(logits, labels),
    }


@cache
def long_run() -> Trainer:
    """A teacher after 240 epochs of CIFAR-100, as far as a checkpoint is concerned."""
    config = replace(config_of("resnet20"), keeps=KEEPS)
    trainer = Trainer([config], data_of(50_000), chosen=torch.arange(128))
    trainer.step()
    for _ in range(240):
        trainer.course.end_epoch({"test_accuracy": torch.tensor(0.5)})
    return trainer


@bench("checkpoint of 240 epochs of CIFAR-100, 1 % of the minute between two", seconds=0.6)
def saving() -> Mapping[str, Work]:
    trainer, folder = long_run(), tempfile.TemporaryDirectory()
    return {"stillroom": lambda: checkpoint.save(Path(folder.name), trainer.tensors(), {})}


@bench("resuming after 240 epochs of CIFAR-100", seconds=2.0)
def resuming() -> Mapping[str, Work]:
    trainer, folder = long_run(), tempfile.TemporaryDirectory()
    checkpoint.save(Path(folder.name), trainer.tensors(), {})

    def resumed() -> None:
        held = checkpoint.load(Path(folder.name))
        trainer.load(held.tensors, updates=1)

    return {"stillroom": resumed}


@bench("three seeds of a dense network on digits at once against one by one", at_least=1.3)
def ensemble() -> Mapping[str, Work]:
    configs = [
        arranged(
            method=methods.spec("one_hot"),
            model=models.named("mlp", width=128),
            recipe=recipe("digits"),
            seed=seed,
        )
        for seed in range(3)
    ]
    return {
        "one by one": lambda: [Runner().run(config) for config in configs],
        "stillroom": lambda: Runner().run_together(configs),
    }
