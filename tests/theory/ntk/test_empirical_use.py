"""Choice of parameters, shared and overwritten tensors, layouts, and where results go."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tests.theory.ntk.networks import ALL, Twice, assert_near, normal, on, randomized, reference
from theory.ntk import empirical_ntk, kernel_matrix


def mlp():
    return on(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), 4)


def cnn():
    return ALL["batch norm 2d"]()


class Overwritten(nn.Module):
    """The input of a layer is changed in place after the layer has seen it."""

    def __init__(self, *, in_place):
        super().__init__()
        self.first, self.second = nn.Linear(4, 3), nn.Linear(4, 3)
        self.in_place = in_place

    def forward(self, x):
        x = x.clone()
        y = self.first(x)
        x = x.mul_(3.0).add_(1.0) if self.in_place else 3.0 * x + 1.0
        return y.sin() + self.second(x)


def test_an_input_overwritten_later():
    """Autograd itself cannot train this network: refused, or the kernel of the same without."""
    model = randomized(Overwritten(in_place=True))
    plain = Overwritten(in_place=False).double()
    plain.load_state_dict(model.state_dict())
    x = normal(3, 4)
    before = x.clone()
    try:
        assert_near(empirical_ntk(model, x), reference(plain, x))
    except ValueError as refused:
        assert "in place" in str(refused).replace("inplace", "in place")  # noqa: PT017
    assert torch.equal(x, before)


@pytest.mark.parametrize("in_place", ["first", "inside"])
def test_inputs_stay_as_they_are(in_place):
    layers = [nn.ReLU(inplace=True), nn.Linear(4, 2)]
    model = randomized(nn.Sequential(*(layers if in_place == "first" else reversed(layers))))
    x = normal(3, 4)
    before = x.clone()
    want = reference(model, x.clone())
    assert_near(empirical_ntk(model, x), want)
    if in_place == "inside":
        assert torch.equal(x, before)


def test_frozen_parameters_have_no_part():
    built = mlp()
    built.model[0].weight.requires_grad_(requires_grad=False)
    x = built.x()
    want = reference(built.model, x, parameters=["0.bias", "2.weight", "2.bias"])
    assert_near(empirical_ntk(built.model, x), want)
    assert sorted(empirical_ntk(built.model, x, by_layer=True)) == ["0", "2"]
    built.model[0].requires_grad_(requires_grad=False)
    want = reference(built.model, x, parameters=["2.weight", "2.bias"])
    assert_near(empirical_ntk(built.model, x), want)


def test_frozen_parameters_may_be_asked_for():
    built = mlp()
    built.model.requires_grad_(requires_grad=False)
    x = built.x()
    want = reference(built.model, x, parameters=["0.weight"])
    assert_near(empirical_ntk(built.model, x, parameters=["0.weight"]), want)
    assert not any(each.requires_grad for each in built.model.parameters())


@pytest.mark.parametrize("name", ["lstm", "attention", "tied embedding", "called twice"])
def test_parts_of_layers(name):
    built = ALL[name]()
    x = built.x()
    size = float(reference(built.model, x).abs().max())
    for chosen, _ in built.model.named_parameters():
        want = reference(built.model, x, parameters=[chosen])
        assert_near(empirical_ntk(built.model, x, parameters=[chosen]), want, scale=size)


def test_a_predicate_and_names_of_modules():
    built = cnn()
    x = built.x()
    biases = [name for name, _ in built.model.named_parameters() if name.endswith("bias")]
    want = reference(built.model, x, parameters=biases)
    found = empirical_ntk(built.model, x, parameters=lambda name: name.endswith("bias"))
    assert_near(found, want)
    assert_near(empirical_ntk(built.model, x, parameters=biases), want)


def test_layers_are_named_as_in_the_model():
    built = ALL["called twice"]()
    layers = empirical_ntk(built.model, built.x(), by_layer=True)
    assert sorted(layers) == ["first", "last"]
    for name, kernel in layers.items():
        own = [f"{name}.weight", f"{name}.bias"]
        assert_near(kernel, reference(built.model, built.x(), parameters=own))


def test_a_shared_parameter_counts_once():
    """The kernel is that of the sum of its gradients, not the sum of the kernels of its uses."""
    model = randomized(Twice(by_hand=False))
    x = normal(3, 4)
    apart = randomized(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh()))
    for place in (0, 2):
        apart[place].load_state_dict(model.first.state_dict())
    apart.append(copy.deepcopy(model.last))
    assert torch.equal(model(x), apart(x))
    assert not torch.allclose(empirical_ntk(model, x), empirical_ntk(apart, x))
    assert_near(empirical_ntk(model, x), reference(model, x))


def test_unused_parameters_have_no_part():
    built = ALL["unused"]()
    x = built.x()
    kernel = empirical_ntk(built.model, x, parameters=["alone", "never.weight", "called.bias"])
    assert kernel.shape == (3, 3, 2, 2)
    assert not kernel.any()


def test_a_weight_that_moves_between_calls():
    """What was found out about a model is not what its weights were."""
    built, x = mlp(), mlp().x()
    empirical_ntk(built.model, x)
    with torch.no_grad():
        built.model[0].weight.mul_(2.0)
    assert_near(empirical_ntk(built.model, x), reference(built.model, x))
    built.model[2] = randomized(nn.Linear(5, 4), seed=4)
    assert_near(empirical_ntk(built.model, x), reference(built.model, x))
    built.model[1] = nn.ReLU()
    assert_near(empirical_ntk(built.model, x), reference(built.model, x))
    built.model[2] = built.model[0] = randomized(nn.Linear(4, 4), seed=5)
    assert_near(empirical_ntk(built.model, x), reference(built.model, x))


def test_a_hook_of_the_user_that_changes_an_output():
    built = mlp()
    built.model[0].register_forward_hook(lambda module, given, output: output.sin() * 2)
    built.model[2].register_forward_pre_hook(lambda module, given: (given[0] + 1.0,))
    x = built.x()
    assert_near(empirical_ntk(built.model, x), reference(built.model, x))


@pytest.mark.parametrize("name", ["conv2d", "conv2d circular", "batch norm 2d", "max pool"])
def test_channels_last(name):
    built = ALL[name]()
    x = built.x(4)
    want = reference(built.model, x)
    found = empirical_ntk(built.model, x.to(memory_format=torch.channels_last))
    assert_near(found, want)
    last = copy.deepcopy(built.model).to(memory_format=torch.channels_last)
    assert_near(empirical_ntk(last, x.to(memory_format=torch.channels_last)), want)


@pytest.mark.parametrize("name", ["two linear", "conv2d stride", "embedding", "linear on a grid"])
def test_inputs_that_are_not_contiguous(name):
    built = ALL[name]()
    wide = built.x(8)
    strided = wide[::2]
    turned = wide.transpose(0, -1).contiguous().transpose(0, -1)
    repeated = wide[:1].expand(3, *wide.shape[1:])
    for x in (strided, turned, repeated):
        assert_near(empirical_ntk(built.model, x), reference(built.model, x.contiguous()))


def test_inputs_that_require_a_gradient():
    built = mlp()
    x = built.x().requires_grad_()
    kernel = empirical_ntk(built.model, x)
    assert not kernel.requires_grad
    assert x.grad is None
    assert_near(kernel, reference(built.model, x.detach()))


@pytest.mark.parametrize("samples", [1, 2, 3, 31, 33])
@pytest.mark.parametrize("outputs", [1, 2])
def test_odd_numbers_of_samples(samples, outputs):
    built = on(nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, outputs)), 3)
    x = built.x(samples)
    want = reference(built.model, x)
    for memory in (1 << 15, 1 << 30):
        assert_near(empirical_ntk(built.model, x, memory=memory), want)
        trace = empirical_ntk(built.model, x, outputs="trace", memory=memory)
        assert_near(trace, torch.einsum("nmii->nm", want), scale=outputs * float(want.max()))


def test_many_samples():
    """Enough of them that blocks are cut at the default budget too."""
    built = on(nn.Sequential(nn.Linear(5, 20), nn.Tanh(), nn.Linear(20, 3)), 5)
    x1, x2 = built.x(700), built.x(300, seed=3)
    left, right = by_hand(built.model, x1), by_hand(built.model, x2)
    assert_near(empirical_ntk(built.model, x1), torch.einsum("nip,mjp->nmij", left, left))
    for memory in (1 << 22, 1 << 30):
        found = empirical_ntk(built.model, x1, x2, memory=memory)
        assert_near(found, torch.einsum("nip,mjp->nmij", left, right))
        trace = empirical_ntk(built.model, x1, x2, memory=memory, outputs="trace")
        assert_near(trace, torch.einsum("nip,mip->nm", left, right))


def by_hand(model, x):
    """The Jacobian of two dense layers with tanh between them."""
    hidden = torch.tanh(model[0](x))
    inward = model[2].weight * (1 - hidden**2)[:, None]
    outward = torch.eye(3).double().expand(len(x), 3, 3)
    parts = [
        torch.einsum("nkw,nd->nkwd", inward, x).flatten(2),
        inward,
        torch.einsum("nkj,nw->nkjw", outward, hidden).flatten(2),
        outward,
    ]
    return torch.cat(parts, 2).detach()


def test_the_matrix_needs_no_copy():
    built = mlp()
    kernel = empirical_ntk(built.model, built.x(4), built.x(2, seed=3))
    matrix = kernel_matrix(kernel)
    assert matrix.shape == (12, 6)
    assert matrix.data_ptr() == kernel.data_ptr()
    for n, m, i, j in np.ndindex(4, 2, 3, 3):
        assert matrix[i * 4 + n, j * 2 + m] == kernel[n, m, i, j]


def test_the_matrix_of_a_contiguous_kernel():
    built = mlp()
    x = built.x(4)
    plain = empirical_ntk(built.model, x)
    kernel = empirical_ntk(built.model, x, contiguous=True)
    assert kernel.is_contiguous()
    assert torch.equal(kernel, plain)
    assert torch.equal(kernel_matrix(kernel), kernel_matrix(plain))


def test_the_matrix_solves_for_the_labels():
    """Rows are numbered output by output, as ``y.T.reshape(-1)``."""
    built = mlp()
    x, y = built.x(4), normal(4, 3, seed=8)
    kernel = empirical_ntk(built.model, x)
    got = kernel_matrix(kernel) @ y.mT.reshape(-1)
    want = torch.einsum("nmij,mj->ni", kernel, y)
    torch.testing.assert_close(got.reshape(3, 4).mT, want, rtol=1e-12, atol=1e-12)


FORMS = {"full": (4, 2, 3, 3), "trace": (4, 2), "diagonal": (4, 2, 3), "pseudo": (4, 2)}


@pytest.mark.parametrize("outputs", FORMS)
def test_into_a_tensor(outputs):
    built = mlp()
    x1, x2 = built.x(4), built.x(2, seed=3)
    want = empirical_ntk(built.model, x1, x2, outputs=outputs)
    into = torch.full(FORMS[outputs], 7.0, dtype=torch.float64)
    found = empirical_ntk(built.model, x1, x2, outputs=outputs, out=into)
    assert torch.equal(into, want)
    assert torch.equal(found, want)
    assert found.data_ptr() == into.data_ptr()


@pytest.mark.parametrize("outputs", FORMS)
def test_into_a_file(outputs, tmp_path):
    built = mlp()
    x1, x2 = built.x(4), built.x(2, seed=3)
    want = empirical_ntk(built.model, x1, x2, outputs=outputs)
    shape = FORMS[outputs]
    into = np.lib.format.open_memmap(tmp_path / "kernel.npy", "w+", np.float64, shape)
    empirical_ntk(built.model, x1, x2, outputs=outputs, out=into)
    into.flush()
    np.testing.assert_array_equal(np.load(tmp_path / "kernel.npy"), want.numpy())


def test_into_part_of_a_larger_array():
    built = mlp()
    x = built.x(4)
    whole = np.zeros((6, 6))
    empirical_ntk(built.model, x, outputs="trace", out=whole[1:5, 2:6])
    want = empirical_ntk(built.model, x, outputs="trace").numpy()
    np.testing.assert_array_equal(whole[1:5, 2:6], want)
    assert not whole[0].any()
    assert not whole[:, :2].any()


def test_in_another_precision():
    built = cnn()
    single = copy.deepcopy(built.model).float()
    x = built.x()
    want = empirical_ntk(copy.deepcopy(single).double(), x.float().double())
    found = empirical_ntk(single, x.float(), dtype=torch.float64)
    assert found.dtype == torch.float64
    assert_near(found, want, 1e-14)
    assert {each.dtype for each in single.parameters()} == {torch.float32}
    lower = empirical_ntk(built.model, x, dtype=torch.float32)
    assert lower.dtype == torch.float32
    assert_near(lower.double(), empirical_ntk(built.model, x), 2e-5)


def test_a_function_of_its_parameters():
    built = mlp()
    parameters = {name: each.detach() for name, each in built.model.named_parameters()}

    def f(given, x):
        return torch.func.functional_call(built.model, given, (x,))

    x1, x2 = built.x(), built.x(2, seed=3)
    assert_near(empirical_ntk(f, x1, parameters=parameters), reference(built.model, x1))
    found = empirical_ntk(f, x1, x2, parameters=parameters, outputs="trace")
    assert_near(found, torch.einsum("nmii->nm", reference(built.model, x1, x2)))


class Gated(nn.Module):
    """Parameters of all kinds act on positive inputs alone."""

    def __init__(self, *, by_hand=False):
        super().__init__()
        self.first, self.last = nn.Linear(4, 3, bias=False), nn.Linear(3, 2)
        self.raw = nn.Parameter(torch.ones(3))
        self.by_hand = by_hand

    def forward(self, x):
        y = self.first(x.relu()) + self.raw * x[:, :1].relu()
        if self.by_hand:
            y = y + torch.tanh(x[:, 1:2].relu() @ self.first.weight[:1, :3])
        return self.last(y)


@pytest.mark.parametrize("silent", [1, 2, 40])
def test_first_samples_that_say_nothing(silent):
    """On the first samples nothing flows through some parameters; on later ones it does."""
    say_nothing_first(silent, by_hand=False)


@pytest.mark.parametrize("silent", [2, 40])
def test_first_samples_that_hide_a_use_by_hand(silent):
    """The same where a weight of a layer is used once more, by hand, on later samples."""
    say_nothing_first(silent, by_hand=True)


def say_nothing_first(silent, *, by_hand):
    model = randomized(Gated(by_hand=by_hand))
    quiet, loud = -normal(silent, 4).abs(), normal(4, 4, seed=6).abs()
    for x in (quiet, torch.cat([quiet, loud]), loud):
        assert_near(empirical_ntk(model, x), reference(model, x))


@pytest.mark.parametrize("silent", [1, 2])
def test_dead_units_that_wake(silent):
    built = on(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU()), 4)
    model = built.model.append(randomized(nn.Linear(5, 2), seed=3))
    with torch.no_grad():
        model[0].bias.fill_(0.0)
        model[0].weight.copy_(model[0].weight.abs())
        model[2].weight.copy_(model[2].weight.abs())
    quiet, loud = -normal(silent, 4).abs(), normal(4, 4, seed=6).abs()
    for x in (quiet, torch.cat([quiet, loud]), loud):
        assert_near(empirical_ntk(model, x), reference(model, x))


def test_first_inputs_look_nothing_up():
    """The first samples are padding alone."""
    built = ALL["embedding with padding"]()
    x = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [0, 2, 3, 1], [4, 1, 0, 2]])
    assert_near(empirical_ntk(built.model, x), reference(built.model, x))
