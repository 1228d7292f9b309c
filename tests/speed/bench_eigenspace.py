"""The eigenspace experiment at the paper's size, and many small networks in one step."""

import os
from dataclasses import replace

from deep import models
from deep.data.spec import DataSpec
from deep.training.fixed_targets.config import RunConfig
from deep.training.fixed_targets.ensembles import train_together
from deep.training.fixed_targets.loop import train
from deep.training.optimizers import Optimizer
from sims.experiments.eigenspace import Config, _settings
from sims.parts.eigenspace_case import measure
from tests.speed.register import Skip, bench


def one_thread():
    import torch

    torch.set_num_threads(1)


def teacher_and_student(model, data):
    if data != "digits" and not os.environ.get("STILLROOM_DATA"):
        why = "STILLROOM_DATA is not set"
        raise Skip(why)
    one_thread()
    config = replace(Config.paper(), data=data, models=(model,), lengths=(1,), sgd_length=0)
    (case,) = _settings(config)
    case = replace(case, students=("student",))
    return {"stillroom": lambda: measure(case)}


@bench("random features 5000, 40 epochs, teacher and student, MNIST", seconds=20, repeats=3)
def random_features():
    return teacher_and_student("random_features", "mnist")


@bench("random features 5000, 40 epochs, teacher and student, digits", seconds=20, repeats=3)
def random_features_on_digits():
    return teacher_and_student("random_features", "digits")


@bench("MLP 2 x 1000, 20 epochs, teacher and student, MNIST", seconds=20, repeats=3)
def mlp():
    return teacher_and_student("mlp", "mnist")


@bench("MLP 2 x 1000, 20 epochs, teacher and student, digits", seconds=20, repeats=3)
def mlp_on_digits():
    return teacher_and_student("mlp", "digits")


def ten_seeds(width):
    one_thread()
    configs = [
        RunConfig(
            model=models.spec("mlp", width=width),
            data=DataSpec(samples=128, test_samples=100),
            optimizer=Optimizer(batch=32, learning_rate=1e-4),
            epochs=20,
            seed=seed,
        )
        for seed in range(10)
    ]
    return {
        "ten runs in a row": lambda: [train(config) for config in configs],
        "stillroom": lambda: train_together(configs),
    }


@bench("ten seeds of an MLP of width 32 against ten runs in a row", at_least=2)
def width_32():
    return ten_seeds(32)


@bench("ten seeds of an MLP of width 128 against ten runs in a row", at_least=2)
def width_128():
    return ten_seeds(128)


@bench("ten seeds of an MLP of width 1000, probe included", at_most=1.25, repeats=3)
def width_1000():
    return ten_seeds(1000)
