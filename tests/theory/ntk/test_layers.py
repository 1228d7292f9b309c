"""What a layer sees: patches by plain loops, representations by calling the parts."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import theory.ntk
from theory.ntk import Projector, patches, representations
from theory.ntk.projections.layers import evaluating

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@st.composite
def convolutions(draw):
    axes = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 2]))
    kernel = draw(st.tuples(*[st.integers(1, 3)] * axes))
    same = draw(st.booleans())
    mode = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    return CONVOLUTIONS[axes](
        2 * groups,
        3 * groups,
        kernel,
        stride=1 if same else draw(st.tuples(*[st.integers(1, 2)] * axes)),
        padding="same" if same else draw(st.tuples(*[st.integers(0, 1)] * axes)),
        dilation=draw(st.tuples(*[st.integers(1, 2)] * axes)),
        groups=groups,
        padding_mode=mode,
        bias=False,
        dtype=torch.float64,
    )


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@given(layer=convolutions(), count=st.integers(1, 12), seed=st.integers(0, 99))
def test_a_patch_times_the_weights_is_an_output_of_the_convolution(layer, count, seed):
    """Whatever its stride, padding, dilation and groups; of the image that its row says."""
    axes = len(layer.kernel_size)
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.normal(size=(3, layer.in_channels, *[6, 7, 5][:axes])))
    cut = patches(images, layer, count, seed=seed)
    outputs = layer(images).detach()
    groups = layer.groups
    assert cut.shape == ((groups,) if groups > 1 else ()) + (count, layer.weight[0].numel())
    weights = layer.weight.detach().reshape(groups, -1, layer.weight[0].numel())
    answers = torch.einsum("gnp,ghp->ngh", cut.reshape(groups, count, -1), weights).flatten(1)
    for row, answer in enumerate(answers):
        places = outputs[row * 3 // count].flatten(1).T
        assert (places - answer).abs().amax(dim=1).min() < 1e-12


def test_all_windows_come_equally_often():
    """A count of 9 cells by chi square: 8 degrees of freedom, 40 has a chance of 3e-6."""
    images = torch.arange(25.0).reshape(1, 1, 5, 5)
    cut = patches(images, 3, 9000, seed=1)
    corners, counts = np.unique(cut[:, 0].numpy(), return_counts=True)
    assert corners.tolist() == [0, 1, 2, 5, 6, 7, 10, 11, 12]
    assert ((counts - 1000) ** 2 / 1000).sum() < 40


def test_the_second_moment_is_that_of_all_windows():
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(6, 2, 5, 5)))
    every = nn.functional.unfold(images, 3).transpose(1, 2).reshape(-1, 18)
    cut = patches(images, (3, 3), 60_000)
    got, want = (x.T @ x / len(x) for x in (cut, every))
    assert (got - want).abs().max() < 0.05
    assert (got - want).abs().max() > 1e-6


@pytest.mark.parametrize("count", [1, 4, 7, 23])
def test_all_images_give_equally_many(count):
    images = torch.arange(7.0)[:, None, None].expand(7, 1, 4)
    assert patches(images, 2, count)[:, 0].tolist() == (np.arange(count) * 7 // count).tolist()


def test_patches_keep_the_type_and_follow_the_seed():
    images = np.random.default_rng(0).random((3, 2, 4, 4), dtype=np.float32)
    first, again, other = (patches(images, (2, 3), 5, seed=seed) for seed in (1, 1, 2))
    assert first.dtype == torch.float32
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(first, patches(images, (2, 3), 5, seed=np.random.default_rng(1)))


@pytest.mark.parametrize(
    ("images", "window", "count", "message"),
    [
        (torch.zeros(2, 3), 2, 4, r"images must have shape \(n, channels, sizes\)"),
        (torch.zeros(0, 1, 4, 4), 2, 4, "none empty"),
        (torch.zeros(2, 1, 4, 4), (2, 2, 2), 4, r"3 axes of sizes.*got \(2, 1, 4, 4\)"),
        (torch.zeros(2, 1, 4, 4), 5, 4, r"as large as the window, \(5, 5\).*got \(4, 4\)"),
        (torch.zeros(2, 1, 4, 4), nn.Conv2d(1, 1, 3, dilation=2), 4, r"window, \(5, 5\)"),
        (torch.zeros(2, 1, 4, 4), nn.Conv2d(3, 1, 3), 4, "3 channels for this layer, got 1"),
        (torch.zeros(2, 1, 4, 4), nn.Conv1d(1, 1, 3), 4, "1 axes of sizes"),
        (torch.zeros(2, 1, 4, 4), nn.Linear(2, 1), 4, "window must be a Conv1d, .* got a Linear"),
        (torch.zeros(2, 1, 4, 4), nn.ConvTranspose2d(1, 1, 3), 4, "got a ConvTranspose2d"),
        (torch.zeros(2, 1, 4, 4), 0, 4, "window must be an integer >= 1, got 0"),
        (torch.zeros(2, 1, 4, 4), 2.5, 4, "window must be"),
        (torch.zeros(2, 1, 4, 4), 2, 0, "count must be an integer >= 1, got 0"),
    ],
)
def test_patches_that_can_not_be_cut(images, window, count, message):
    with pytest.raises(ValueError, match=message):
        patches(images, window, count)


class Branches(nn.Module):
    """A layer called twice, one by keyword, one never, and a change in place after a layer."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2)
        self.drop = nn.Dropout(0.5)
        self.twice = nn.Linear(4, 4)
        self.named = nn.Linear(4, 2)
        self.never = nn.Linear(4, 2)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.drop(self.norm(self.stem(x))).flatten(2)  # (n, 2, 4): a sequence
        x = self.twice(self.act(self.twice(x)))
        return self.named(input=x).flatten(1)


def branches():
    torch.manual_seed(0)
    return Branches().double()


def test_a_dense_layer_has_the_rows_of_all_calls():
    model, x = branches().eval(), torch.randn(3, 1, 2, 2, dtype=torch.float64)
    first = model.norm(model.stem(x)).flatten(2)
    second = model.twice(first).relu()
    seen = torch.cat([first.reshape(-1, 4), second.reshape(-1, 4)]).detach()
    torch.testing.assert_close(representations(model, x, "twice"), seen, rtol=0, atol=0)
    third = model.twice(second).reshape(-1, 4).detach()
    torch.testing.assert_close(representations(model, x, "named"), third, rtol=0, atol=0)


def test_inputs_are_those_before_a_change_in_place():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.ReLU(inplace=True))
    model.add_module("3", nn.Linear(3, 1))
    x = torch.randn(4, 3)
    seen = representations(model, x, "1")
    torch.testing.assert_close(seen, model[0](x).detach(), rtol=0, atol=0)
    assert representations(model, x, "3").min() >= 0

    class Spoiled(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            x = x * 1.0
            y = self.layer(x)
            x.zero_()
            return y

    assert torch.equal(representations(Spoiled(), x, "layer"), x)


def test_a_convolution_has_patches_of_what_it_sees():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 2, stride=2, groups=2))
    x = torch.randn(5, 1, 8, 8)
    want = patches(model[0](x).relu(), model[2], 30, seed=3)
    got = representations(model, x, "2", count=30, seed=3)
    assert got.shape == (2, 30, 8)
    assert torch.equal(got, want)


def test_a_convolution_called_twice_shares_its_patches():
    layer = nn.Conv1d(1, 1, 3, padding=1, bias=False)
    model = nn.Sequential(layer, layer)
    x = torch.ones(2, 1, 5)
    seen = representations(model, x, "0", count=9)
    assert seen.shape == (9, 3)
    assert (seen[:4] <= 1).all()
    assert not torch.isin(seen[4:], torch.tensor([0.0, 1.0])).all()


@pytest.mark.parametrize("batch", [1, 2, 5, 9])
def test_evaluating_in_parts_changes_nothing(batch):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 2, groups=2), nn.Flatten(), nn.Linear(24, 2)
    )
    x = torch.randn(5, 1, 5, 5, dtype=torch.float64)
    model.double()
    for layer, count in (("0", 3), ("2", 13), ("4", 1)):
        want = representations(model, x, layer, count=count, seed=1)
        got = representations(model, x, layer, count=count, seed=1, batch=batch)
        torch.testing.assert_close(got, want, rtol=1e-14, atol=1e-14)


def test_parts_of_a_model_that_regroups_its_samples_are_refused():
    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv1d(1, 1, 2)

        def forward(self, x):
            return self.layer(x.reshape(-1, 1, 3))

    x = torch.randn(4, 2, 3)
    assert representations(Views(), x, "layer", count=7).shape == (7, 2)
    with pytest.raises(ValueError, match="batch must be None where layer sees other samples"):
        representations(Views(), x, "layer", batch=2)


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(fails):
    model = branches().train()
    model.norm.eval()
    x = torch.randn(3, 1, 3 if fails else 2, 2, dtype=torch.float64)
    model(torch.randn(3, 1, 2, 2, dtype=torch.float64)).sum().backward()
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    if fails:
        with pytest.raises(RuntimeError):
            representations(model, x, "twice")
    else:
        first, again = (representations(model, x, "named") for _ in range(2))
        assert torch.equal(first, again)
        assert not first.requires_grad
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        assert (parameter.grad is None) == (grad is None)
        assert grad is None or torch.equal(parameter.grad, grad)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_modes_return_after_an_exception():
    model = nn.Sequential(nn.Dropout(), nn.Linear(1, 1))
    model[1].eval()

    def fail():
        with evaluating(model):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (model.training, model[0].training, model[1].training) == (True, True, False)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("head", r"\(stem, twice, named, never\), got 'head', which is not there"),
        ("norm", r"\(stem, .*\), got 'norm', which is a BatchNorm2d"),
        ("never", "one that the model calls, got 'never'"),
    ],
)
def test_layers_that_have_no_inputs(layer, message):
    with pytest.raises(ValueError, match=message):
        representations(branches(), torch.zeros(2, 1, 2, 2, dtype=torch.float64), layer)


def test_a_model_without_layers_says_so():
    with pytest.raises(ValueError, match="it has none"):
        representations(nn.ReLU(), torch.zeros(2, 1), "0")


def test_one_line_from_a_teacher_to_a_projector():
    """Dense and convolutional, and a grouped one with the eigendirections of each group."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, groups=2), nn.Flatten(),
        nn.Linear(24, 3),
    )  # fmt: skip
    x = torch.randn(6, 1, 4, 4)
    for layer in ("0", "2", "4"):
        seen = representations(model, x, layer, count=50)
        projector = Projector(seen, layer=layer)
        projector.record(model)
        start = model[int(layer)].weight.detach().clone()
        with torch.no_grad():
            model[int(layer)].weight.add_(torch.randn_like(start))
        projector.record(model)
        found, moved = projector.result(), model[int(layer)].weight.detach() - start
        groups = 2 if layer == "2" else 1
        for group, rows, own in zip(
            itertools.count(), seen.reshape(groups, -1, seen.shape[-1]), moved.chunk(groups)
        ):
            v = np.linalg.svd(rows.double().numpy(), full_matrices=False)[2].T
            want = np.linalg.norm(own.flatten(1).double().numpy() @ v, axis=0)
            got = found.displacements[1, group] if groups == 2 else found.displacements[1]
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_patches_of_whole_channels_do_for_a_grouped_layer_too():
    """Pooled over groups: one set of directions for all, as flattened weights have it."""
    model = nn.Sequential(nn.Conv2d(4, 6, 2, groups=2, bias=False))
    cut = patches(torch.randn(5, 4, 4, 4), model[0], 40)
    Projector(cut.reshape(-1, 8), layer="0").record(model)
    with pytest.raises(ValueError, match="is a convolution"):
        Projector(torch.cat([cut, cut[:1]]), layer="0").record(model)


def test_the_package_gives_them():
    assert theory.ntk.patches is patches
    assert theory.ntk.representations is representations


@pytest.mark.gpu
def test_on_a_gpu():
    model, x = branches().cuda(), torch.randn(3, 1, 2, 2, dtype=torch.float64)
    for layer in ("stem", "named"):
        there = representations(model, x.cuda(), layer, count=9)
        assert there.device.type == "cuda"
        torch.testing.assert_close(there.cpu(), representations(branches(), x, layer, count=9))
