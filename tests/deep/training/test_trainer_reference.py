"""The trainer against a plain loop written for these tests, in the papers' own terms."""

import math
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from deep import methods, models
from deep.data.augment import Views
from deep.data.spec import DataSpec
from deep.training.optimizers import Optimizer
from deep.training.recipes import Schedule
from deep.training.runner import Runner
from deep.training.streams import stream
from tests.deep.training.small_runs import small, stepped, trainer_of

STEPS = 9  # beyond an epoch of 6


class PlainLoop:
    """One network, per-sample views cut out of padded arrays, torch's own SGD, images as NCHW."""

    def __init__(self, config, loss, taught_by=None):
        self.config, self.recipe, self.loss = config, config.recipe, loss
        self.data = Runner().prepared(config)
        self.images = self.data.train.images.numpy()
        self.labels = self.data.train.labels
        self.network = self.initial("initial weights")
        self.average = self.initial("average")
        self.ring = [deepcopy(self.network) for _ in range(3)]
        self.teacher = None if taught_by is None else taught_by.network("final", self.data).eval()
        optimizer = self.recipe.optimizer
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=1.0,
            momentum=optimizer.momentum,
            nesterov=optimizer.nesterov,
            weight_decay=optimizer.weight_decay,
        )

    def initial(self, purpose):
        size = self.images[0].size
        rng = stream(purpose, "student", self.config.seed)
        return models.build(self.config.model, inputs=size, classes=self.data.classes, rng=rng)

    def view(self, sample, number):
        top, left, mirrored = Views(self.recipe.views, self.recipe.pad).geometry(int(number))
        image, (height, width) = self.images[sample], self.images.shape[1:3]
        if self.recipe.views != "none":
            pad = [(self.recipe.pad,) * 2] * 2 + [(0, 0)]
            mode = "reflect" if self.recipe.views.startswith("reflect") else "constant"
            image = np.pad(image, pad, mode=mode)[top : top + height, left : left + width]
        return image[:, ::-1] if mirrored else image

    def inputs(self, index, views, mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010)):
        batch = np.stack([self.view(*pair) for pair in zip(index, views, strict=True)])
        batch = batch.transpose(0, 3, 1, 2) / np.float32(self.data.white)
        if self.recipe.normalization != "unit":
            batch = (batch - np.reshape(mean, (1, 3, 1, 1))) / np.reshape(std, (1, 3, 1, 1))
        nchw = torch.from_numpy(np.ascontiguousarray(batch, dtype=np.float32))
        return nchw.permute(0, 2, 3, 1).flatten(1).contiguous()

    def rate(self, epoch, step, per_epoch):
        schedule, epochs = self.recipe.schedule, self.recipe.epochs
        rate = self.recipe.optimizer.learning_rate
        if schedule.kind == "cosine":
            low = schedule.floor * rate
            return low + (rate - low) * (1 + math.cos(math.pi * epoch / epochs)) / 2
        for milestone in schedule.milestones:
            if epoch + 1 > milestone:  # epochs counted from 1
                rate *= schedule.decay
        return (
            rate * min(1, (step + 1) / (schedule.warmup * per_epoch)) if schedule.warmup else rate
        )

    def run(self, steps):
        count, batch, done, epoch = len(self.labels), self.recipe.optimizer.batch, 0, 0
        key = ("student", self.config.seed)
        while done < steps:
            order = stream("order", *key, epoch).permutation(count)
            views = Views(self.recipe.views, self.recipe.pad).draw(
                stream("views", *key, epoch), count
            )
            draws = 1 - stream("draws", *key, epoch).random((count, 1), dtype=np.float32)
            starts = range(0, count, batch)
            for start in starts:
                index = order[start : start + batch]
                rate = self.rate(epoch, done, len(starts))
                self.step(index, views[index], draws[index, 0], done + 1, rate)
                done += 1
                if done == steps:
                    return
            epoch += 1

    def step(self, index, views, draws, number, rate):
        x, y = self.inputs(index, views), self.labels[index]
        self.optimizer.param_groups[0]["lr"] = rate
        self.network.train()
        loss = self.loss(self, x, y, torch.from_numpy(draws), number)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        decay = min(0.999, 1 - 1 / (number + 1))
        with torch.no_grad():
            for own, new in zip(self.average.parameters(), self.network.parameters(), strict=True):
                own.copy_(decay * own + (1 - decay) * new)


def kl(target, logits):
    return (target * (target.log() - functional.log_softmax(logits, -1))).sum(-1)


def one_hot(loop, x, y, draws, number):
    return functional.cross_entropy(loop.network(x), y)


def kd(loop, x, y, draws, number):
    z = loop.network(x)
    with torch.no_grad():
        target = functional.softmax(loop.teacher(x) / 4, -1)
    return (0.1 * functional.cross_entropy(z, y) + 0.9 * 16 * kl(target, z / 4).mean()).mean()


def wsl(loop, x, y, draws, number):
    z = loop.network(x)
    with torch.no_grad():
        f = loop.teacher(x)
    hard = functional.cross_entropy(z, y, reduction="none")
    weight = 1 - torch.exp(-hard / functional.cross_entropy(f, y, reduction="none"))
    soft = -(functional.softmax(f / 4, -1) * functional.log_softmax(z / 4, -1)).sum(-1)
    return (hard + 2.25 * weight.detach() * 16 * soft).mean()


def mrkd(loop, x, y, draws, number):
    if number % 4 == 0:  # .6 epochs of 6 steps, rounded
        for later in (2, 1):
            loop.ring[later].load_state_dict(loop.ring[later - 1].state_dict())
        loop.ring[0].load_state_dict(loop.network.state_dict())
    z = loop.network(x)
    hard = functional.cross_entropy(z, y)
    with torch.no_grad():
        targets = [functional.softmax(copy.eval()(x) / 3, -1) for copy in loop.ring]
    soft = sum(kl(target, z / 3).mean() for target in targets) / len(targets)
    return 0.75 * hard + 0.25 * 9 * soft


def beta_smoothing(loop, x, y, draws, number):
    z, classes = loop.network(x), loop.data.classes
    with torch.no_grad():
        sure = functional.softmax(loop.average.train()(x).double(), -1).max(-1).values
    masses = np.sort(draws.numpy() ** (3 / 5)).tolist()
    target = torch.empty_like(z)
    for mass, sample in zip(masses, np.argsort(sure.numpy(), kind="stable"), strict=True):
        target[sample] = (1 - mass) / (classes - 1)
        target[sample, y[sample]] = mass
    soft = -(target * functional.log_softmax(z, -1)).sum(-1).mean()
    return 0.6 * functional.cross_entropy(z, y) + 0.4 * soft


LOSSES = {
    "one_hot": (one_hot, {}),
    "kd": (kd, {}),
    "wsl": (wsl, {}),
    "mrkd": (mrkd, {"copies": 3, "interval": 0.6, "weight": 0.25}),
    "beta_smoothing": (beta_smoothing, {}),
}
ON_DIGITS = {"model": "resnet8", "views": "crop_flip"}
ON_COLORS = {
    "model": "resnet8",
    "views": "reflect_crop_flip",
    "data": DataSpec(name="synthetic", samples=80, test_samples=8),
    "recipe_options": {
        "normalization": "cifar10",
        "validation": 0.0,
        "schedule": Schedule(milestones=(1.0,), warmup=0.5),
    },
}


def gap(trained, plain):
    """Largest difference of a weight or statistic, relative to the largest of its tensor."""
    pairs = zip(trained.state_dict().values(), plain.state_dict().values(), strict=True)
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-2)) for a, b in pairs)


@pytest.mark.parametrize("method", LOSSES)
def test_every_kind_of_method_trains_as_a_plain_loop_does(method):
    loss, options = LOSSES[method]
    config = small(method, options=options, **ON_DIGITS)
    taught_by = None if config.teacher is None else Runner().run(config.teacher)
    plain = PlainLoop(config, loss, taught_by)
    plain.run(STEPS)
    trainer = stepped(trainer_of(config, view_table=False), STEPS)
    assert gap(trainer.network, plain.network) < 1e-3
    started = PlainLoop(config, loss, taught_by).network
    assert gap(trainer.network, started) > 0.1


@pytest.mark.parametrize("nesterov", [False, True])
def test_images_in_color_with_drops_warm_up_and_reflected_frames(nesterov):
    config = small(**ON_COLORS)
    optimizer = Optimizer(
        name="sgd",
        learning_rate=0.01,  # at higher ones rounding grows tenfold in every step
        batch=16,
        momentum=0.8,
        nesterov=nesterov,
        weight_decay=1e-3,
    )
    config = replace(config, recipe=replace(config.recipe, optimizer=optimizer))
    plain = PlainLoop(config, one_hot)
    plain.run(7)
    trainer = stepped(trainer_of(config), 7)
    assert gap(trainer.network, plain.network) < 2e-4


def test_the_average_of_beta_smoothing_is_the_plain_loops():
    config = small("beta_smoothing", **ON_DIGITS)
    plain = PlainLoop(config, beta_smoothing)
    plain.run(STEPS)
    trainer = stepped(trainer_of(config), STEPS)
    pairs = zip(trainer.average.network.parameters(), plain.average.parameters(), strict=True)
    for own, theirs in pairs:
        torch.testing.assert_close(own, theirs, rtol=1e-3, atol=1e-4)
    assert methods.hyper(config.method).start == "own"
