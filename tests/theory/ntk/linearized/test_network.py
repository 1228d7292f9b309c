"""The linearized network against finite differences, whole Jacobians and the kernel."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.theory.ntk.networks import assert_near, indices, jacobian, normal, randomized
from theory.ntk import empirical_ntk
from theory.ntk.linearized.network import linearize


def smooth():
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 2))
    return randomized(model), normal(6, 3)


def convolved():
    layers = (nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(12, 2))
    return randomized(model), normal(4, 2, 6, 6)


def embedded():
    model = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 2))
    return randomized(model), indices(4, 2, below=5)


class Tied(nn.Module):
    """One weight used by two modules and once by hand."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight

    def forward(self, x):
        hidden = torch.tanh(self.second(torch.tanh(self.first(x))))
        return hidden @ self.first.weight


def tied():
    return randomized(Tied()), normal(5, 3)


class Recurrent(nn.Module):
    """Without a forward-mode derivative."""

    def __init__(self):
        super().__init__()
        self.cells = nn.LSTM(3, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.cells(x)[0][:, -1])


def recurrent():
    return randomized(Recurrent()), normal(3, 4, 3)


def attentive():
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    return randomized(nn.Sequential(layer, nn.Flatten(), nn.Linear(12, 2))), normal(3, 3, 4)


def repeated():
    """One module in two places."""
    layer = nn.Linear(3, 3)
    return randomized(nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(3, 2))), normal(5, 3)


NETWORKS = [smooth, convolved, embedded, tied, recurrent, repeated]


def moves(linearized, seed=0):
    return {
        name: 0.1 * normal(*value.shape, seed=seed + i)
        for i, (name, value) in enumerate(linearized.parameters.items())
    }


def flat(displacement):
    return torch.cat([value.reshape(-1) for value in displacement.values()])


@pytest.mark.parametrize("make", NETWORKS)
def test_equals_the_outputs_and_the_jacobian(make):
    model, x = make()
    linearized = linearize(model)
    move = moves(linearized)
    want = model(x).detach() + jacobian(model, x) @ flat(move)
    assert_near(linearized(x, move), want)
    assert_near(linearized.push(x, move), jacobian(model, x) @ flat(move))
    assert_near(linearized.outputs(x), model(x).detach(), 1e-14)
    assert_near(linearized(x), model(x).detach(), 1e-14)


def test_is_what_small_displacements_do():
    model, x = smooth()
    linearized = linearize(model)
    move = moves(linearized)
    errors = []
    for size in (1e-2, 5e-3):
        moved = copy.deepcopy(model)
        with torch.no_grad():
            for name, value in moved.named_parameters():
                value.add_(size * move[name])
        small = {name: size * value for name, value in move.items()}
        errors.append(float((moved(x).detach() - linearized(x, small)).abs().max()))
    # what is left is of second order
    assert errors[1] == pytest.approx(errors[0] / 4, rel=0.05)


def test_exact_for_a_model_linear_in_its_parameters():
    model, x = randomized(nn.Linear(3, 2)), normal(4, 3)
    linearized = linearize(model)
    move = moves(linearized)
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.add_(100 * move[name])
    assert_near(
        linearized(x, {name: 100 * value for name, value in move.items()}), model(x).detach()
    )


@pytest.mark.parametrize("make", NETWORKS)
def test_gradients_in_the_displacement_are_those_of_the_jacobian(make):
    model, x = make()
    linearized = linearize(model)
    move = linearized.displacement()
    vector = normal(*linearized.outputs(x).shape, seed=7)
    (linearized(x, move) * vector).sum().backward()
    want = torch.einsum("ni,nip->p", vector, jacobian(model, x))
    assert_near(flat({name: value.grad for name, value in move.items()}), want)
    assert_near(flat(linearized.pull(x, vector)), want)


@pytest.mark.parametrize("make", NETWORKS)
def test_a_pull_and_a_push_are_a_product_with_the_kernel(make):
    model, x = make()
    linearized = linearize(model)
    vector = normal(*linearized.outputs(x).shape, seed=7)
    got = linearized.push(x, linearized.pull(x, vector))
    assert_near(got, torch.einsum("nmij,mj->ni", empirical_ntk(model, x), vector))


def test_some_parameters_move():
    model, x = smooth()
    last = linearize(model, parameters=["3"])
    assert list(last.parameters) == ["3.weight", "3.bias"]
    move = moves(last)
    whole = linearize(model)
    zeros = {name: torch.zeros_like(value) for name, value in whole.parameters.items()}
    assert_near(last(x, move), whole(x, {**zeros, **move}))
    assert_near(last(x, {"3.bias": move["3.bias"]}), model(x).detach() + move["3.bias"])
    model[0].requires_grad_(requires_grad=False)
    assert "0.weight" not in linearize(model).parameters


def test_base_stands_for_the_outputs_at_the_start():
    model, x = smooth()
    linearized = linearize(model)
    move = moves(linearized)
    zeros = torch.zeros(6, 2, dtype=torch.float64)
    assert torch.equal(linearized(x, move, base=zeros), linearized.push(x, move))


def test_the_network_is_left_as_it_was_and_may_be_trained_on():
    model, x = convolved()
    before = copy.deepcopy(model.state_dict())
    linearized = linearize(model)
    move = linearized.displacement()
    linearized(x, move).square().sum().backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training
    moved = moves(linearized)
    first = linearized(x, moved)
    assert not first.requires_grad
    with torch.no_grad():
        for value in (*model.parameters(), model[1].running_mean):
            value.add_(1)
    assert torch.equal(linearized(x, moved), first)


@pytest.mark.parametrize("make", NETWORKS)
def test_the_network_keeps_its_own_parameters(make):
    model, x = make()
    before = [(name, id(each)) for name, each in model.named_parameters(remove_duplicate=False)]
    linearized = linearize(model)
    move = moves(linearized)
    for call in (
        lambda: linearized(x, move),
        lambda: linearized.push(x, move),
        lambda: linearized.pull(x, linearized.outputs(x)),
        lambda: linearized.outputs(x),
    ):
        call()
        after = model.named_parameters(remove_duplicate=False)
        assert [(name, id(each)) for name, each in after] == before


def test_gradients_of_sparse_embeddings_are_dense():
    model, x = embedded()
    linearized = linearize(model)
    vector = linearized.outputs(x)
    want = linearized.pull(x, vector)
    model[0].sparse = True
    for name, each in linearized.pull(x, vector).items():
        assert_near(each, want[name])


def test_inputs_that_the_network_writes_into_are_left_as_they_were():
    model, x = randomized(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2))), normal(5, 3)
    before = x.clone()
    linearized = linearize(model)
    move = moves(linearized)
    want = model(x.clone()).detach()
    assert_near(linearized.outputs(x), want)
    assert_near(linearized(x), want)
    assert_near(linearized.push(x, move), x.relu() @ move["1.weight"].T + move["1.bias"])
    assert_near(linearized.pull(x, want)["1.bias"], want.sum(0))
    assert torch.equal(x, before)


def test_training_by_an_optimizer_descends_as_the_kernel_says():
    """One step of length s moves the outputs by -s K (f - y)."""
    model, x = smooth()
    y = normal(6, 2, seed=3)
    linearized = linearize(model)
    move = linearized.displacement()
    optimizer = torch.optim.SGD(move.values(), lr=0.01)
    start = linearized(x, move)
    (0.5 * (start - y).square().sum()).backward()
    optimizer.step()
    kernel = empirical_ntk(model, x)
    want = start - 0.01 * torch.einsum("nmij,mj->ni", kernel, start - y)
    assert_near(linearized(x, move).detach(), want.detach())


def test_attention_goes_where_its_second_derivative_exists():
    model, x = attentive()
    linearized = linearize(model)
    move = moves(linearized)
    with pytest.raises(ValueError, match=r"SDPBackend\.MATH"):
        linearized(x, move)
    with sdpa_kernel(SDPBackend.MATH):
        want = model(x).detach() + jacobian(model, x) @ flat(move)
        assert_near(linearized(x, move), want)


def test_bags_of_embeddings_are_refused_with_what_stands_for_them():
    model = nn.Sequential(nn.EmbeddingBag(5, 3), nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"a sum or mean over what nn\.Embedding gives") as caught:
        linearize(model.eval())(indices(4, 2, below=5))
    assert "attention" not in str(caught.value)


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(3), nn.Dropout(0.5)])
def test_train_mode_is_refused_at_first_and_later(layer):
    model = nn.Sequential(nn.Linear(3, 3), layer).double()
    with pytest.raises(ValueError, match="eval mode"):
        linearize(model)
    linearized = linearize(model.eval())
    model.train()
    for call in (
        lambda: linearized(normal(4, 3)),
        lambda: linearized.outputs(normal(4, 3)),
        lambda: linearized.pull(normal(4, 3), normal(4, 3)),
    ):
        with pytest.raises(ValueError, match="eval mode"):
            call()
    assert model.training


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x):
        return self.linear(x), x


def test_bad_input_is_refused():
    model, x = smooth()
    linearized = linearize(model)
    with pytest.raises(ValueError, match=r"must be a torch\.nn\.Module, got function"):
        linearize(lambda x: x)
    with pytest.raises(ValueError, match="parameters must name"):
        linearize(model, parameters=["third"])
    with pytest.raises(ValueError, match="displacement must name parameters"):
        linearized(x, {"4.weight": normal(2)})
    with pytest.raises(ValueError, match=r"displacement of '3\.bias' must have shape"):
        linearized(x, {"3.bias": normal(3)})
    with pytest.raises(ValueError, match=r"got .* torch\.float32"):
        linearized(x, {"3.bias": normal(2).float()})
    with pytest.raises(ValueError, match="base must have the shape"):
        linearized(x, base=normal(6, 3))
    with pytest.raises(ValueError, match="vector must have the shape"):
        linearized.pull(x, normal(6, 3))
    for call in (linearized, linearized.outputs, lambda x: linearized.pull(x, normal(6, 2))):
        with pytest.raises(ValueError, match=r"must take inputs of shape \(6, 3\), torch\.float32"):
            call(x.float())
        with pytest.raises(ValueError, match="x must be a tensor, got ndarray"):
            call(x.numpy())
    with pytest.raises(ValueError, match="must return one tensor, got tuple"):
        linearize(Two()).outputs(x.float())
