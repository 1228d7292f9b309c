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


class Scaled(nn.Module):
    """With a buffer that is not saved, and an attribute that is not printed."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("scale", torch.ones(()), persistent=False)
        self.act = torch.tanh
        self.power = 1

    def forward(self, x):
        return self.act(self.layer(x)) ** self.power * self.scale


def test_other_networks_of_the_same_weights_are_computed_anew(network, x):
    out, marks = np.zeros((11, 11)), np.zeros((3, 3), np.uint64)

    def run(model):
        made = list(ntk_blocks(model, x, out=out, done=marks, block=4))
        want = empirical_ntk(model, x, outputs="trace").numpy()
        np.testing.assert_allclose(out, want, rtol=1e-11, atol=1e-12)
        return len(made)

    assert run(network) == 6
    network[1] = nn.ReLU()
    assert run(network) == 6
    scaled = Scaled().double()
    assert run(scaled) == 6
    scaled.scale.fill_(3.0)
    assert run(scaled) == 6
    scaled.power = 2
    assert run(scaled) == 6
    scaled.act = torch.relu
    assert run(scaled) == 6
    assert run(scaled) == 0
    scaled.train(mode=not scaled.training)
    assert run(scaled) == 6


@pytest.mark.parametrize("what", ["weights", "inputs"])
def test_what_changes_on_the_way_is_refused_and_left_undone(network, x, what):
    out, marks = np.zeros((11, 11)), np.zeros((3, 3), np.uint64)
    running = ntk_blocks(network, x, out=out, done=marks, block=4)
    assert next(running) == (0, 0)
    with torch.no_grad():
        (network[0].weight if what == "weights" else x).mul_(2)
    with pytest.raises(ValueError, match=r"must stay as they are .* got others at block \(0, 1\)"):
        next(running)
    assert np.count_nonzero(marks) == 1
    assert len(list(ntk_blocks(network, x, out=out, done=marks, block=4))) == 6
    want = empirical_ntk(network, x, outputs="trace").numpy()
    np.testing.assert_allclose(out, want, rtol=1e-12, atol=1e-12)


def test_half_precision_is_stored_as_single(network, x):
    network, x = network.bfloat16(), x.bfloat16()
    out = np.zeros((11, 11), np.float32)
    list(ntk_blocks(network, x, out=out, block=11))
    want = empirical_ntk(network, x, outputs="trace").float().numpy()
    np.testing.assert_array_equal(out, want)


@pytest.mark.slow
def test_work_travels_to_other_processes(network, x):
    out = np.zeros((11, 11))
    with ProcessPoolExecutor(2) as pool:
        list(ntk_blocks(network, x, out=out, block=4, mapper=pool.map))
    np.testing.assert_allclose(out, empirical_ntk(network, x, outputs="trace").numpy(), rtol=1e-12)


def test_places_that_do_not_fit(network, x):
    for bad in (
        np.zeros((3, 3)),
        np.zeros((11, 11, 2, 2)),
        np.zeros((11, 11), int),
        np.zeros((11, 11), np.float32),
    ):
        with pytest.raises(
            ValueError, match=r"out must be writable, of shape \(11, 11\) and type f"
        ):
            ntk_blocks(network, x, out=bad)
    with pytest.raises(ValueError, match=r"out must be writable, of shape \(11, 5, 2\)"):
        ntk_blocks(network, x, x[:5], out=np.zeros((11, 5)), outputs="diagonal")
    fixed = np.zeros((11, 11))
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        ntk_blocks(network, x, out=fixed)
    with pytest.raises(ValueError, match=r"out must be an array of shape \(11, 11\) .* got list"):
        ntk_blocks(network, x, out=[[0.0]])
    with pytest.raises(
        ValueError, match=r"done must be writable, of shape \(3, 3\) and type uint64"
    ):
        ntk_blocks(network, x, out=np.zeros((11, 11)), done=np.zeros((3, 3)), block=4)
    with pytest.raises(ValueError, match=r"done must be an array .* got list"):
        ntk_blocks(network, x, out=np.zeros((11, 11)), done=[[0]], block=4)
    with pytest.raises(ValueError, match=r"block must be"):
        ntk_blocks(network, x, out=np.zeros((11, 11)), block=0)
    with pytest.raises(ValueError, match="x1 must be a tensor"):
        ntk_blocks(network, x.numpy(), out=np.zeros((11, 11)))
    with pytest.raises(ValueError, match="x2 must be a tensor"):
        ntk_blocks(network, x, x.numpy(), out=np.zeros((11, 11)))
    with pytest.raises(ValueError, match=r"must be a torch\.nn\.Module"):
        ntk_blocks(lambda x: x, x, out=np.zeros((11, 11)))
