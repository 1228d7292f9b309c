"""Kernels that neural-tangents computed once on stated weights (``fixtures/make.py``)."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.theory.ntk.fixtures import formulas
from tests.theory.ntk.networks import assert_near
from theory.ntk import NTKOperator, empirical_ntk

KERNELS = np.load(Path(__file__).parent / "fixtures" / "kernels.npz")
ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}


def dense(name):
    layers = []
    for inward, outward in pairwise(formulas.MLP[name]):
        layers += [nn.Linear(inward, outward), ACTIVATIONS[name]()]
    return filled(layers[:-1], *formulas.mlp(name))


def convolutional(name):
    layers = []
    for (outward, inward, *window), stride, padding in formulas.CNN[name]:
        (top, bottom), (left, right) = padding
        layers += [nn.ZeroPad2d((left, right, top, bottom))]
        layers += [nn.Conv2d(inward, outward, window, stride), nn.Tanh(), nn.AvgPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(formulas.features(name), formulas.CLASSES)]
    return filled(layers, *formulas.cnn(name))


def filled(layers, parameters, batches):
    """The network with its weights, and its batches."""
    owners = [layer for layer in layers if isinstance(layer, nn.Linear | nn.Conv2d)]
    for layer, values in zip(owners, parameters, strict=True):
        layer.weight, layer.bias = (nn.Parameter(torch.from_numpy(each)) for each in values)
    return nn.Sequential(*layers).eval(), [torch.from_numpy(each) for each in batches]


@pytest.mark.parametrize("entry", KERNELS.files)
def test_kernels_of_neural_tangents(entry):
    kind, name, form, pair = entry.split()
    model, batches = (dense if kind == "mlp" else convolutional)(name)
    other = batches[1] if pair == "cross" else None
    want = torch.from_numpy(KERNELS[entry])
    assert_near(empirical_ntk(model, batches[0], other, outputs=form), want)
    if form == "full":
        rows, columns = want.shape[0] * want.shape[2], want.shape[1] * want.shape[3]
        product = NTKOperator(model, batches[0], other).matmat(torch.eye(columns).double())
        assert_near(product, want.permute(0, 2, 1, 3).reshape(rows, columns))
