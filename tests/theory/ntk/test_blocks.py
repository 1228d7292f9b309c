"""Kernels in blocks: any order, any mapper, killed and resumed."""

from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from theory.ntk import blocks_shape, empirical_ntk, ntk_blocks


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()


@pytest.fixture
def x():
    return torch.randn(11, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def backwards(function, tasks):
    return reversed([function(task) for task in tasks])


@pytest.mark.parametrize("outputs", ["full", "trace", "diagonal", "pseudo", [1]])
@pytest.mark.parametrize("mapper", [map, backwards])
@pytest.mark.parametrize("block", [1, 4, 11, 20])
def test_blocks_make_the_kernel(network, x, outputs, mapper, block):
    whole = empirical_ntk(network, x, outputs=outputs).numpy()
    out = np.full(whole.shape, np.nan)
    made = list(ntk_blocks(network, x, out=out, block=block, outputs=outputs, mapper=mapper))
    np.testing.assert_allclose(out, whole, rtol=1e-12, atol=1e-12)
    count = blocks_shape(11, block=block)[0]
    assert len(made) == len(set(made)) == count * (count + 1) // 2


def test_rectangles(network, x):
    whole = empirical_ntk(network, x, x[:5], outputs="full").numpy()
    out = np.full(whole.shape, np.nan)
    assert len(list(ntk_blocks(network, x, x[:5], out=out, block=4, outputs="full"))) == 6
    np.testing.assert_allclose(out, whole, rtol=1e-12, atol=1e-12)


def test_a_stopped_run_goes_on_in_its_files(network, x, tmp_path):
    whole = empirical_ntk(network, x, outputs="trace").numpy()
    kind = {"mode": "w+", "shape": (11, 11)}
    out = np.memmap(tmp_path / "kernel", np.float64, **kind)
    marks = np.memmap(tmp_path / "done", np.uint64, mode="w+", shape=blocks_shape(11, block=4))
    running = ntk_blocks(network, x, out=out, done=marks, block=4)
    first = [next(running) for _ in range(3)]
    running.close()
    del out, marks
    out = np.memmap(tmp_path / "kernel", np.float64, mode="r+", shape=(11, 11))
    marks = np.memmap(tmp_path / "done", np.uint64, mode="r+", shape=(3, 3))
    rest = list(ntk_blocks(network, x, out=out, done=marks, block=4))
    assert not set(first) & set(rest)
    assert len(first) + len(rest) == 6
    np.testing.assert_allclose(out, whole, rtol=1e-12, atol=1e-12)


def test_other_weights_or_options_are_computed_anew(network, x):
    out, marks = np.zeros((11, 11)), np.zeros((3, 3), np.uint64)
    assert len(list(ntk_blocks(network, x, out=out, done=marks, block=4))) == 6
    assert list(ntk_blocks(network, x, out=out, done=marks, block=4)) == []
    assert len(list(ntk_blocks(network, x + 1, out=out, done=marks, block=4))) == 6
    with torch.no_grad():
        network[0].bias[0] += 1
    assert len(list(ntk_blocks(network, x + 1, out=out, done=marks, block=4))) == 6
    rest = {"outputs": "pseudo"}
    assert len(list(ntk_blocks(network, x + 1, out=out, done=marks, block=4, **rest))) == 6
    np.testing.assert_allclose(out, empirical_ntk(network, x + 1, **rest).numpy(), rtol=1e-12)


@pytest.mark.slow
def test_work_travels_to_other_processes(network, x):
    out = np.zeros((11, 11))
    with ProcessPoolExecutor(2) as pool:
        list(ntk_blocks(network, x, out=out, block=4, mapper=pool.map))
    np.testing.assert_allclose(out, empirical_ntk(network, x, outputs="trace").numpy(), rtol=1e-12)


def test_places_that_do_not_fit(network, x):
    with pytest.raises(ValueError, match=r"out must be writable, of shape \(11, 11, \.\.\.\)"):
        ntk_blocks(network, x, out=np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"done must have shape \(3, 3\) and dtype uint64"):
        ntk_blocks(network, x, out=np.zeros((11, 11)), done=np.zeros((3, 3)), block=4)
    with pytest.raises(ValueError, match=r"block must be"):
        ntk_blocks(network, x, out=np.zeros((11, 11)), block=0)
