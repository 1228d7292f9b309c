"""Models that change between calls, or do other things for other samples: right, or refused."""

import copy
import warnings
from concurrent.futures import ThreadPoolExecutor
from types import MethodType

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.theory.ntk.networks import assert_near, normal, randomized, reference
from theory.ntk import NTKOperator, empirical_ntk
from theory.ntk.engine.rules.convolution import Patches
from theory.ntk.engine.rules.embedding import LookedUp


class Flexible(nn.Module):
    """A layer that is called as often as one likes, and whose weight may be used by hand."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.times, self.by_hand, self.dropout = 1, False, False

    def forward(self, x):
        for _ in range(self.times):
            x = self.layer(x).tanh()
        if self.by_hand:
            x = x @ self.layer.weight
        return self.head(F.dropout(x) if self.dropout else x)


def doubled(model):
    model.layer.register_forward_hook(lambda module, args, output: 2 * output)


def cubed(model):
    layer = model.layer
    layer.forward = MethodType(lambda own, x: F.linear(x, own.weight**3, own.bias), layer)


@pytest.mark.parametrize(
    "change",
    [
        doubled,
        cubed,
        lambda model: setattr(model, "times", 3),
        lambda model: setattr(model, "times", 0),
        lambda model: setattr(model, "by_hand", True),
        lambda model: setattr(model, "layer", randomized(nn.Linear(4, 4, bias=False))),
        lambda model: setattr(model, "head", randomized(nn.Linear(4, 2), seed=7)),
    ],
)
def test_a_model_that_was_changed_since_its_first_kernel(change):
    model, x = randomized(Flexible()), normal(5, 4)
    assert_near(empirical_ntk(model, x), reference(model, x))
    change(model)
    for outputs in ("full", "trace"):
        got = empirical_ntk(model, x, outputs=outputs)
        want = reference(model, x)
        assert_near(got, want if outputs == "full" else want.diagonal(dim1=2, dim2=3).sum(2))
    vector = normal(10)
    matrix = reference(model, x).permute(0, 2, 1, 3).reshape(10, 10)
    assert_near(NTKOperator(model, x).matvec(vector), matrix @ vector)


def test_chance_that_comes_later_is_refused_by_a_new_plan():
    model, x = randomized(Flexible()), normal(5, 4)
    empirical_ntk(model, x)
    model.dropout = True
    with pytest.raises(ValueError, match="same each time"):
        empirical_ntk(model, normal(5, 4).float().double(), parameters=["head"])


def test_precision_that_changes():
    class Looked(nn.Module):
        def __init__(self):
            super().__init__()
            self.rows, self.head = nn.Embedding(9, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.rows(x).mean(1).tanh())

    model, x = Looked(), torch.randint(0, 9, (5, 3))
    assert empirical_ntk(model, x).dtype == torch.float32
    model.double()
    assert_near(empirical_ntk(model, x), reference(model, x))
    single, y = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)), normal(4, 4).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert empirical_ntk(single, y).dtype == torch.bfloat16
    assert empirical_ntk(single, y).dtype == torch.float32


class Sorted(nn.Module):
    """A layer that sees the samples in another order."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, x):
        order = x[:, 0].argsort(descending=True)
        return self.head(self.layer(x[order]).tanh()[order.argsort()])


class Packed(nn.Module):
    """Sequences sorted by length before a recurrent layer, as is done for packing."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(4, 5), nn.GRU(5, 3, batch_first=True)

    def forward(self, x):
        lengths = 1 + (x[:, 0, 0] > 0).long()
        order = lengths.argsort(descending=True)
        pairs = nn.utils.rnn.pack_padded_sequence(
            self.layer(x[order]).tanh(), lengths[order], batch_first=True
        )
        return self.head(pairs)[1][0][order.argsort()]


@pytest.mark.parametrize(("make", "shape"), [(Sorted, (12, 4)), (Packed, (12, 2, 4))])
def test_samples_in_another_order_inside(make, shape):
    model, x = randomized(make()), normal(*shape)
    assert_near(empirical_ntk(model, x), reference(model, x))


class Routed(nn.Module):
    """Experts that see the samples of their own only."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(4, 2), nn.Linear(4, 2)])

    def forward(self, x):
        mine = x[:, 0] > 0
        out = x.new_zeros(len(x), 2)
        for expert, chosen in zip(self.experts, (mine, ~mine), strict=True):
            out[chosen] = expert(x[chosen]).tanh()
        return out


@pytest.mark.parametrize("first", [1, 2, 10])
def test_layers_that_see_some_of_the_samples(first):
    model, x = randomized(Routed()), normal(10, 4)
    x[:first, 0] = x[:first, 0].abs()
    want = reference(model, x)
    assert_near(empirical_ntk(model, x), want)
    assert_near(empirical_ntk(model, x.flip(0)), want.flip(0, 1))


class Early(nn.Module):
    """A layer that is called once more where inputs are large."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        y = self.layer(x).tanh()
        if x.abs().max() > 100:
            y = self.layer(y).tanh()
        return self.head(y)


def test_control_flow_by_value_between_calls():
    model, x = randomized(Early()), normal(4, 4)
    assert_near(empirical_ntk(model, x), reference(model, x))
    large = x + 1000 * torch.eye(4)
    assert_near(empirical_ntk(model, large), reference(model, large))
    with pytest.raises(ValueError, match="other samples of the batch"):
        empirical_ntk(randomized(Early()), torch.cat([x, large]))


class AcrossSamples(nn.Module):
    """Outputs that depend on the samples before."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(x.cumsum(0))


def test_samples_that_depend_on_those_before_them():
    with pytest.raises(ValueError, match=r"other samples of the batch.*allow_train=True"):
        empirical_ntk(randomized(AcrossSamples()), normal(4, 4))
    found = empirical_ntk(randomized(AcrossSamples()), normal(4, 4), allow_train=True)
    assert found.shape == (4, 4, 2, 2)


@pytest.mark.parametrize("shape", [(4,), (4, 3)])
def test_statistics_of_the_batch_in_eval_mode(shape):
    layer = nn.BatchNorm1d(4, track_running_stats=False).double().eval()
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(torch.Size(shape).numel(), 2).double())
    x = normal(5, *shape)
    for batches in ((x, None), (x[:1], x)):
        with pytest.raises(ValueError, match=r"other samples of the batch.*allow_train=True"):
            empirical_ntk(model, *batches)
    assert empirical_ntk(model, x, allow_train=True).shape == (5, 5, 2, 2)


def test_one_sample_beside_many():
    """Sequences that come before samples, with one sample in the rows."""

    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.Linear(4, 5), nn.Linear(5, 2)

        def forward(self, x):
            return self.head(self.layer(x.transpose(0, 1)).tanh().mean(0))

    model, x = randomized(First()), normal(6, 1, 4)
    want = reference(model, x[:1], x)
    assert_near(empirical_ntk(model, x[:1], x), want)
    got = empirical_ntk(model, x[:1], x, outputs="diagonal")
    assert_near(got, want.diagonal(dim1=2, dim2=3))


def twice():
    """A network without biases whose first layer returns twice what it computes."""
    model = randomized(nn.Sequential(nn.Linear(4, 5, bias=False), nn.Tanh(), nn.Linear(5, 2)))
    model[0].register_forward_hook(lambda module, args, output: 2 * output)
    return model


def test_samples_of_zeros_hide_nothing():
    model, x = twice(), normal(12, 4)
    x[:9] = 0
    assert_near(empirical_ntk(model, x), reference(model, x))
    later = twice()
    empirical_ntk(later, torch.zeros(3, 4, dtype=torch.float64))
    assert_near(empirical_ntk(later, x), reference(later, x))


def test_a_pass_without_gradients_inside():
    class Warm(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            with torch.no_grad():
                start = self.layer(x).tanh()
            return self.head(self.layer(start).tanh())

    model, x = randomized(Warm()), normal(4, 4)
    assert_near(empirical_ntk(model, x), reference(model, x))


def test_running_statistics_in_train_mode_stay():
    layer = nn.InstanceNorm1d(3, affine=True, track_running_stats=True).double()
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(12, 2).double()).train()
    before = layer.running_mean.clone()
    empirical_ntk(model, normal(4, 3, 4))
    assert torch.equal(layer.running_mean, before)


def test_gradients_scaled_by_frequency_are_none():
    model = nn.Sequential(
        nn.Embedding(5, 3, scale_grad_by_freq=True), nn.Flatten(), nn.Linear(6, 2)
    )
    with pytest.raises(ValueError, match="scale_grad_by_freq must be off, got it in '0'"):
        empirical_ntk(model, torch.tensor([[0, 0], [1, 2]]))


def test_products_of_finite_rows_that_overflow():
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    x = normal(400, 4).float()
    empirical_ntk(model, x)
    x[200:] *= 1e20
    for outputs in ("full", "trace", "diagonal"):
        with pytest.raises(ValueError, match="the kernel must be finite"):
            empirical_ntk(model, x, outputs=outputs)
        with pytest.raises(ValueError, match="the kernel must be finite"):
            empirical_ntk(model, x[:201], x, outputs=outputs)


def test_layers_in_several_precisions():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = nn.Linear(4, 5).double(), nn.Linear(5, 2)

        def forward(self, x):
            return self.head(self.layer(x).tanh().to(self.head.weight.dtype))

    model, x = Mixed(), normal(300, 4)
    for outputs in ("full", "trace"):
        single = empirical_ntk(model, x, outputs=outputs)
        assert single.dtype == torch.float32
        double = empirical_ntk(copy.deepcopy(model).double(), x, outputs=outputs)
        torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-4)


def test_several_threads():
    model = randomized(nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3)))
    x = normal(8, 4)
    want = empirical_ntk(model, x)
    single = model.float()
    with ThreadPoolExecutor(4) as pool:
        options = [{"dtype": torch.float64} if k % 2 else {} for k in range(40)]
        found = list(pool.map(lambda each: empirical_ntk(single, x.float(), **each), options))
    for each in found:
        torch.testing.assert_close(each.double(), want, rtol=1e-3, atol=1e-3)


def test_looked_up_rows_are_not_spread_over_the_vocabulary(monkeypatch):
    """A Jacobian would take 20,000 numbers for each output, sample and feature."""
    monkeypatch.setattr(LookedUp, "write_jacobian", None)
    model = nn.Sequential(nn.Embedding(20_000, 3), nn.Flatten(), nn.Linear(15, 2)).double()
    x = torch.randint(0, 20_000, (4, 5))
    x[1] = x[0]
    for outputs in ("full", "trace"):
        found = empirical_ntk(model, x, outputs=outputs)
        want = reference(model, x)
        assert_near(found, want if outputs == "full" else want.diagonal(dim1=2, dim2=3).sum(2))


def test_jacobians_that_do_not_fit_are_not_formed(monkeypatch):
    model = nn.Sequential(nn.Conv1d(40, 2, 30), nn.Flatten(), nn.Linear(42, 3)).double()
    x = normal(3, 40, 50)
    want = reference(model, x)
    assert_near(empirical_ntk(model, x), want)
    monkeypatch.setattr(Patches, "write_jacobian", None)
    assert_near(empirical_ntk(model, x, memory=1 << 18), want)


@pytest.mark.parametrize("out", ["expanded", "gradient", "inference"])
def test_places_that_are_no_plain_tensors(out):
    model, x = randomized(nn.Linear(4, 1)), normal(3, 4)
    with torch.inference_mode(out == "inference"):
        place = torch.zeros(3, 3, dtype=torch.float64)
    if out == "expanded":
        place = torch.zeros(3, 1, dtype=torch.float64).expand(3, 3)
    elif out == "gradient":
        place.requires_grad_()
    with pytest.raises(ValueError, match="out must be a plain tensor"):
        empirical_ntk(model, x, outputs="trace", out=place)


def test_models_and_inputs_of_other_kinds():
    model, x = randomized(nn.Linear(4, 2)), normal(3, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch wants other things to be used
        scripted = torch.jit.script(model)
    with pytest.raises(ValueError, match=r"plain torch.nn.Module, got .*Script"):
        empirical_ntk(scripted, x)
    sparse = x.to_sparse()
    with pytest.raises(ValueError, match="dense tensor"):
        empirical_ntk(model, sparse)
    rows = torch.ones(40, dtype=torch.long)
    rows[30] = 99
    with pytest.raises(ValueError, match=r"raised IndexError"):
        empirical_ntk(nn.Embedding(5, 2), rows)
