"""A student beside its teacher, at the size of CIFAR-100 and of a million samples."""

import numpy as np

from sims.comparison import compare
from tests.speed.register import bench


def networks(samples, classes):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, samples)
    teacher = rng.standard_normal((samples, classes)).astype(np.float32)
    teacher[np.arange(samples), labels] += 4
    student = 1.3 * teacher + 0.5 * rng.standard_normal(teacher.shape).astype(np.float32)
    return teacher, student, labels


@bench("comparison of 50,000 x 100 logits", seconds=6.0, repeats=3)
def of_cifar():
    teacher, student, labels = networks(50_000, 100)
    return {"stillroom": lambda: compare(teacher, student, labels)}


@bench("memory of the comparison of 50,000 x 100 logits", peak_bytes=300_000_000)
def memory_of_cifar():
    teacher, student, labels = networks(50_000, 100)
    return {"stillroom": lambda: compare(teacher, student, labels)}


@bench("memory of the comparison of a million samples of ten classes", peak_bytes=700_000_000)
def memory_of_a_million():
    teacher, student, labels = networks(1_000_000, 10)
    return {"stillroom": lambda: compare(teacher, student, labels)}
