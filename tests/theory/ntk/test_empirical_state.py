"""The model is left as it was found, also after an exception; train mode is refused."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

from tests.theory.ntk.networks import ALL, assert_near, normal, on, randomized, reference
from theory.ntk import NTKOperator, empirical_ntk

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def state(model):
    """All of a model that a call could leave changed."""
    modules = {
        name: (
            module.training,
            [dict(getattr(module, hooks)) for hooks in HOOKS],
            set(vars(module)),
        )
        for name, module in model.named_modules()
    }
    parameters = {
        name: (id(each), each.requires_grad, id(each.grad), each._version, each.grad_fn)
        for name, each in model.named_parameters()
    }
    values = copy.deepcopy(model.state_dict())
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    return modules, parameters, values, gradients, torch.get_rng_state(), torch.is_grad_enabled()


def assert_same(one, two):
    assert one[0] == two[0]
    assert one[1] == two[1]
    assert one[5] == two[5]
    assert torch.equal(one[4], two[4])
    assert one[2].keys() == two[2].keys()
    for name in one[2]:
        assert torch.equal(one[2][name], two[2][name])
    for before, after in zip(one[3], two[3], strict=True):
        assert (before is None) == (after is None)
        assert before is None or torch.equal(before, after)


def with_gradients(model, x):
    """Some parameters frozen, some with a gradient, a hook of the user in place."""
    model(x).square().sum().backward()
    named = list(model.parameters())
    named[0].requires_grad_(requires_grad=False)
    named[-1].grad = None
    model.register_forward_hook(lambda module, given, output: None)
    return model


@pytest.mark.parametrize(
    "name",
    [
        "batch norm 2d",
        "conv2d circular",
        "lstm",
        "tied embedding",
        "raw parameters",
        "unused",
        "one module in two places",
    ],
)
def test_a_call_leaves_no_trace(name):
    built = ALL[name]()
    x = built.x(4)
    model = with_gradients(built.model, x)
    before, seen = state(model), x.clone()
    for outputs in ("full", "trace"):
        empirical_ntk(model, x, outputs=outputs)
    empirical_ntk(model, x, x[:2], by_layer=True)
    NTKOperator(model, x).matvec(torch.ones(4 * model(x).shape[1], dtype=torch.float64))
    assert_same(state(model), before)
    assert torch.equal(x, seen)


class Failing(nn.Module):
    """Fails at a call of one's choice, after layers have been seen."""

    count = 0

    def __init__(self, call, error):
        super().__init__()
        self.layer, self.last = nn.Linear(3, 3), nn.Linear(3, 2)
        self.call, self.error = call, error

    def forward(self, x):
        x = self.layer(x)
        type(self).count += 1
        if type(self).count == self.call:
            raise self.error
        return self.last(x)


def repeatedly(function, *given):
    for _ in range(5):
        function(*given)


class Interruption(BaseException):
    """Stands for a key that is pressed."""


@pytest.mark.parametrize("error", [RuntimeError("out of order"), Interruption(), KeyError("k")])
@pytest.mark.parametrize("call", [1, 2, 3, 4, 5])
def test_an_exception_leaves_no_trace(call, error):
    model = randomized(Failing(call, error))
    before = state(model)
    Failing.count = 0
    with pytest.raises((ValueError, type(error))) as raised:  # wrapped, or as it is
        repeatedly(empirical_ntk, model, normal(3, 3))
    assert error in (raised.value, raised.value.__cause__)
    assert_same(state(model), before)
    Failing.count = 100
    assert_near(empirical_ntk(model, normal(3, 3)), reference(model, normal(3, 3)))


def test_the_model_is_not_kept_alive():
    model = randomized(nn.Sequential(nn.Linear(3, 2)))
    empirical_ntk(model, normal(3, 3))
    watched = weakref.ref(model)
    del model
    gc.collect()
    assert watched() is None


def test_a_model_that_was_used_can_be_copied_and_saved(tmp_path):
    built = ALL["batch norm 2d"]()
    want = empirical_ntk(built.model, built.x())
    again = copy.deepcopy(built.model)
    assert torch.equal(empirical_ntk(again, built.x()), want)
    torch.save(built.model.state_dict(), tmp_path / "weights.pt")


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("name", ["two linear", "conv2d", "raw parameters", "embedding"])
def test_wherever_it_is_called(context, name):
    built = ALL[name]()
    want = reference(built.model, built.x())
    with context():
        x = built.x()
        found = empirical_ntk(built.model, x)
        trace = empirical_ntk(built.model, x, outputs="trace")
    assert_near(found.clone(), want)
    assert_near(trace.clone(), torch.einsum("nmii->nm", want), scale=2 * float(want.max()))


def normalized():
    return on(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 2)), 4)


def dropped():
    return on(nn.Sequential(nn.Linear(4, 30), nn.Dropout(0.5), nn.Tanh(), nn.Linear(30, 2)), 4)


@pytest.mark.parametrize("make", [normalized, dropped])
@pytest.mark.parametrize("use", [empirical_ntk, NTKOperator])
def test_train_mode_is_refused(make, use):
    built = make()
    model = built.model.train()
    before = state(model)
    with pytest.raises(ValueError, match=r"eval\(\)|allow_train"):
        use(model, built.x(6))
    assert_same(state(model), before)


def test_train_mode_without_effect_is_no_reason():
    """No layer behaves otherwise in train mode, or only by a probability of zero."""
    layers = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.0), nn.LayerNorm(3), nn.Linear(3, 2))
    model = randomized(layers).train()
    x = normal(4, 4)
    assert_near(empirical_ntk(model, x), reference(model, x))
    assert model.training


def test_batch_norm_in_train_mode_when_asked():
    """The kernel of the batch as a whole, and the running statistics stay."""
    built = normalized()
    model, x = built.model.train(), built.x(6)
    before = state(model)
    found = empirical_ntk(model, x, allow_train=True)
    assert_same(state(model), before)
    assert_near(found, reference(copy.deepcopy(model), x))


def test_dropout_in_train_mode_when_asked():
    built = dropped()
    model, x = built.model.train(), built.x(5)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        found = empirical_ntk(model, x, allow_train=True)
    assert found.shape == (5, 5, 2, 2)
    matrix = found.permute(2, 0, 3, 1).reshape(10, 10)
    assert torch.equal(matrix, matrix.mT)
    eigenvalues = torch.linalg.eigvalsh(matrix)
    assert eigenvalues.min() >= -1e-12 * eigenvalues.max()
    assert model.training


class Coupled(nn.Module):
    """Outputs depend on the other samples, without any layer known to do so."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x - x.mean(0))


def test_samples_that_depend_on_each_other_are_refused():
    model = randomized(Coupled())
    with pytest.raises(ValueError, match=r"depend.*other samples|batch"):
        empirical_ntk(model, normal(4, 3))
