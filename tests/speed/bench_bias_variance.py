"""Regularization samples and weights over a training set, and a decomposition of many models."""

import numpy as np

from tests.speed.register import bench
from theory.labels.bias_variance import (
    heskes,
    regularization_samples,
    same_sign_share,
    soft_label_weights,
)

SAMPLES, CLASSES = 50_000, 100


def networks():
    rng = np.random.default_rng(0)
    student = 3.0 * rng.standard_normal((SAMPLES, CLASSES))
    teacher = student + rng.standard_normal(student.shape)
    return student, teacher, rng.integers(0, CLASSES, SAMPLES)


@bench("regularization samples of 50,000 x 100 logits", seconds=1.0)
def count_regularization_samples():
    student, teacher, labels = networks()
    return {"stillroom": lambda: regularization_samples(student, teacher, labels, 4.0)}


@bench("share of samples with gradients of one sign, 50,000 x 100 logits", seconds=1.0)
def share_of_one_sign():
    student, teacher, labels = networks()
    return {"stillroom": lambda: same_sign_share(student, teacher, labels, 4.0)}


@bench("weights of soft labels, 50,000 x 100 logits", seconds=0.5)
def weigh_soft_labels():
    student, teacher, labels = networks()
    return {"stillroom": lambda: soft_label_weights(student, teacher, labels)}


@bench("noise, bias and variance of 20 models on 10,000 x 100 logits", seconds=5.0, repeats=3)
def decompose():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((20, 10_000, CLASSES))
    labels = rng.integers(0, CLASSES, 10_000)
    return {"stillroom": lambda: heskes(logits, labels)}
