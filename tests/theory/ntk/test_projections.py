import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import theory.ntk
from theory.ntk.projections import Projector, eigendirections


def data(seed=0, shape=(6, 9), rank=None):
    rng = np.random.default_rng(seed)
    n, p = shape[-2:]
    rank = min(n, p) if rank is None else rank
    left, right = rng.normal(size=(*shape[:-1], rank)), rng.normal(size=(*shape[:-2], rank, p))
    return left @ right


@given(n=st.integers(1, 8), p=st.integers(1, 8), seed=st.integers(0, 1000))
def test_directions_diagonalize_the_second_moment(n, p, seed):
    x = data(seed, (n, p))
    eigen = eigendirections(x)
    moment = x.T @ x / n
    v, values = eigen.directions, eigen.eigenvalues
    assert np.all(np.diff(values) <= 0)
    np.testing.assert_allclose(v.T @ v, np.eye(len(values)), atol=1e-12)
    np.testing.assert_allclose(moment @ v, v * values, atol=1e-12 * values[0])


def test_small_eigenvalues_keep_their_digits():
    """s_k down to 1e-6 s_1 would be lost in a Gram matrix."""
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(7, 7)))[0]
    singular = 10.0 ** -np.arange(7)
    eigen = eigendirections((q * singular) @ q.T)
    np.testing.assert_allclose(eigen.eigenvalues, singular**2 / 7, rtol=1e-8)
    assert eigen.kept.tolist() == [True] * 6 + [False]


def trained(model, x, optimizer, steps=25):
    projector, starts, history = Projector(x, layer="0"), model[0].weight.detach().clone(), []
    targets = torch.randn(len(x), 2, dtype=x.dtype, generator=torch.Generator().manual_seed(0))
    for step in range(steps + 1):
        projector.record(model)
        history.append(model[0].weight.detach().clone())
        if step < steps:
            optimizer.zero_grad()
            (model(x) - targets).pow(2).mean().backward()
            optimizer.step()
    return projector.result(), starts, history


def network(p, dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(p, 5, bias=False, dtype=dtype), nn.ReLU(), nn.Linear(5, 2, dtype=dtype)
    )


def test_norms_and_displacements_by_hand():
    x = torch.from_numpy(data(shape=(6, 9)))
    model = network(9)
    got, start, history = trained(model, x, torch.optim.Adam(model.parameters(), lr=0.1))
    v = np.linalg.svd(x.numpy())[2][:6].T
    for record, weight in enumerate(history):
        w = weight.numpy().T
        moved = w - start.numpy().T
        np.testing.assert_allclose(got.norms[record], np.linalg.norm(w.T @ v, axis=0))
        want = np.linalg.norm(moved.T @ v, axis=0)
        np.testing.assert_allclose(got.displacements[record], want, atol=1e-14)
        np.testing.assert_allclose(got.moved[record], np.linalg.norm(moved), atol=1e-14)
    outside = moved - v @ (v.T @ moved)
    share = (np.linalg.norm(outside) / np.linalg.norm(moved)) ** 2
    assert got.null_share[-1] == pytest.approx(share)
    assert np.isnan(got.null_share[0])
    assert got.steps.tolist() == list(range(26))


def test_gradient_descent_stays_in_the_row_space_and_adam_leaves_it():
    """docs/flow.md, E13."""
    x = torch.from_numpy(data(shape=(16, 40)))
    shares = {}
    for name, optimizer in (("sgd", torch.optim.SGD), ("adam", torch.optim.Adam)):
        model = network(40)
        shares[name] = trained(model, x, optimizer(model.parameters(), lr=0.05))[0].null_share[-1]
    assert shares["sgd"] < 1e-12
    assert shares["adam"] > 0.05


def test_directions_below_the_rank_count_as_null_space():
    x = torch.from_numpy(data(shape=(8, 6), rank=3))
    model = network(6)
    projector = Projector(x, layer="0")
    assert projector.eigen.kept.sum() == 3
    projector.record(model)
    with torch.no_grad():
        model[0].weight += torch.from_numpy(projector.eigen.directions[:, 4])
    projector.record(model)
    assert projector.result().null_share[1] == pytest.approx(1.0)


@pytest.mark.parametrize("shared", [True, False])
def test_stacked_networks_are_recorded_together(shared):
    x = data(shape=(3, 6, 9))
    x = np.broadcast_to(x[0], x.shape) if shared else x
    first, second = (np.random.default_rng(s).normal(size=(3, 5, 9)) for s in (1, 2))
    together = Projector(x[0] if shared else x, layer="dense", stacked=1)
    for weights in (first, second):
        together.record({"dense.weight": torch.from_numpy(weights)})
    got = together.result()
    for member in range(3):
        alone = Projector(x[member], layer="dense")
        for weights in (first, second):
            alone.record({"dense.weight": torch.from_numpy(weights[member])})
        want = alone.result()
        np.testing.assert_allclose(got.norms[:, member], want.norms)
        np.testing.assert_allclose(got.displacements[:, member], want.displacements)
        np.testing.assert_allclose(got.null_share[1:, member], want.null_share[1:])


def test_a_convolution_is_flattened_like_its_patches():
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 4, 3, bias=False)
    image = torch.randn(1, 2, 6, 6)
    patches = nn.functional.unfold(image, 3)[0].T  # (windows, channels * rows * columns)
    projector = Projector(patches, layer="0")
    projector.record(nn.Sequential(layer))
    v = torch.from_numpy(projector.eigen.directions).float()
    want = (layer.weight.flatten(1) @ v).norm(dim=0).detach().numpy()
    np.testing.assert_allclose(projector.result().norms[0], want, rtol=1e-5)


def test_recording_leaves_the_model_and_its_gradients_alone():
    model, x = network(9), torch.from_numpy(data())
    model(x).sum().backward()
    before = [(w.detach().clone(), w.grad.clone()) for w in model.parameters()]
    projector = Projector(x, layer="0")
    projector.record(model)
    with torch.no_grad():
        model[0].weight.add_(1.0)
        model[0].weight.sub_(1.0)
    for weight, (value, slope) in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(weight.detach(), value)
        torch.testing.assert_close(weight.grad, slope)
    assert projector.result().displacements[0].max() == 0.0


def test_bad_input():
    x = torch.from_numpy(data())
    with pytest.raises(ValueError, match="inputs must be finite"):
        Projector(x * torch.nan, layer="0")
    with pytest.raises(ValueError, match="inputs must have shape"):
        Projector(x[0], layer="0")
    with pytest.raises(ValueError, match="inputs must have shape"):
        Projector(x[:0], layer="0")
    with pytest.raises(ValueError, match=r"a weight among .*0\.weight, .*got '7\.weight'"):
        Projector(x, layer="7").record(network(9))
    with pytest.raises(ValueError, match=r"then 9 inputs, got shape \(5, 8\)"):
        Projector(x, layer="0").record(network(8))
    with pytest.raises(ValueError, match="1 axes of stacked networks"):
        Projector(x, layer="0", stacked=1).record(network(9))
    with pytest.raises(ValueError, match="record must be called"):
        Projector(x, layer="0").result()


def test_the_package_gives_the_projector():
    assert theory.ntk.Projector is Projector
    assert theory.ntk.eigendirections is eigendirections
    assert set(theory.ntk.__all__) <= set(dir(theory.ntk))
    with pytest.raises(AttributeError, match="no attribute 'projector'"):
        _ = theory.ntk.projector


def test_whole_images_before_a_convolution_are_refused():
    model = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False))
    for images in (torch.randn(5, 2 * 6 * 6), torch.randn(5, 2, 6, 6), torch.randn(4, 2, 3, 3)):
        with pytest.raises(ValueError, match=r"0\.weight is a convolution, and only dense layers"):
            Projector(images, layer="0").record(model)
    grouped = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2, bias=False))
    with pytest.raises(ValueError, match=r"shape \(patches, 9\)"):
        Projector(torch.randn(5, 18), layer="0").record(grouped)


@pytest.mark.parametrize(
    ("layer", "size"), [(nn.Embedding(5, 5), 5), (nn.ConvTranspose1d(4, 4, 3), 12)]
)
def test_weights_that_are_not_outputs_by_inputs_are_refused(layer, size):
    model, projector = nn.Sequential(layer), Projector(torch.eye(size), layer="0")
    with pytest.raises(ValueError, match=rf"layer must be .* got a {type(layer).__name__}"):
        projector.record(model)
    projector.record({"0.weight": torch.ones(3, size)})


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused(bad):
    model = network(9)
    with torch.no_grad():
        model[0].weight[1, 2] = bad
    with pytest.raises(ValueError, match=r"0\.weight must be finite; 1 of 45 values are not"):
        Projector(data(), layer="0").record(model)


@pytest.mark.parametrize("tolerance", [-0.1, 1.5, np.nan, "small"])
def test_a_rank_tolerance_out_of_range_is_refused(tolerance):
    with pytest.raises(ValueError, match="rank_tolerance must be"):
        Projector(data(), layer="0", rank_tolerance=tolerance)


def test_another_network_midway_is_refused():
    projector = Projector(data(), layer="0")
    projector.record(network(9))
    wider = nn.Sequential(nn.Linear(9, 6, bias=False, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"shape of the first record, \(5, 9\), got \(6, 9\)"):
        projector.record(wider)
    projector.record(network(9).float())
    assert projector.result().displacements[1].max() < 1e-6


@pytest.mark.gpu
def test_on_a_gpu():
    x, model = torch.from_numpy(data()), network(9)
    here, there = Projector(x, layer="0"), Projector(x.cuda(), layer="0")
    here.record(model)
    there.record(model.cuda())
    np.testing.assert_allclose(there.result().norms, here.result().norms)
