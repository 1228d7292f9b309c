"""The kernel by torch.func against whole Jacobians, on every way it can take."""

import subprocess
import sys
import warnings
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.theory.ntk.networks import assert_near, indices, normal, share
from theory.ntk.functional.function import as_function
from theory.ntk.functional.jacobian import _route, jacobian_contraction, mirror
from theory.ntk.outputs import output_choice

KINDS = ("full", "trace", "diagonal", "pseudo")
METHODS = ("contraction", "products", "auto")


def two_layers(params, x):
    return torch.tanh(x @ params["a"] + params["b"]) @ params["c"]


def parameters(inputs=3, hidden=5, outputs=3, seed=0):
    shapes = {"a": (inputs, hidden), "b": (hidden,), "c": (hidden, outputs)}
    return {name: normal(*shape, seed=seed + i) for i, (name, shape) in enumerate(shapes.items())}


def jacobian(f, params, x):
    """(N, K, P) by one reverse derivative of the whole batch."""
    tree = torch.func.jacrev(f)(params, x)
    return torch.cat([leaf.flatten(2) for leaf in tree.values()], dim=2)


def contracted(left, right, kind):
    full = torch.einsum("nip,mjp->nmij", left, right)
    if kind == "full":
        return full
    if kind == "pseudo":
        return full.sum((2, 3)) / full.shape[2]
    diagonal = full.diagonal(dim1=2, dim2=3)
    return diagonal if kind == "diagonal" else diagonal.sum(2)


def looped(f, params, x):
    """The full kernel by plain autograd, sample by sample and output by output."""
    rows = []
    for n in range(len(x)):
        leaves = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}
        outputs = f(leaves, x[n : n + 1])[0]
        for value in outputs:
            grads = torch.autograd.grad(
                value, list(leaves.values()), retain_graph=True, materialize_grads=True
            )
            real = [torch.view_as_real(g) if g.is_complex() else g for g in grads]
            rows.append(torch.cat([g.flatten() for g in real]))
    j = torch.stack(rows).view(len(x), -1, len(rows[0]))
    return torch.einsum("nip,mjp->nmij", j, j)


def functional(model):
    """A module as a function, and its parameters."""
    model = model.double().eval()
    buffers = dict(model.named_buffers())
    return (
        lambda params, x: torch.func.functional_call(model, (params, buffers), (x,)),
        {name: p.detach() for name, p in model.named_parameters()},
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
@share(8)
@given(
    n=st.integers(1, 5),
    m=st.integers(1, 5) | st.none(),
    outputs=st.integers(1, 4),
    memory=st.sampled_from([None, 20_000, 6_000, 2_600]),
    seed=st.integers(0, 1000),
)
def test_equals_products_of_jacobians(kind, method, n, m, outputs, memory, seed):
    params = parameters(outputs=outputs, seed=seed)
    x1, x2 = normal(n, 3, seed=seed), None if m is None else normal(m, 3, seed=seed + 1)
    left = jacobian(two_layers, params, x1)
    right = left if x2 is None else jacobian(two_layers, params, x2)
    got = jacobian_contraction(
        two_layers, params, x1, x2, outputs=kind, method=method, memory=memory
    )
    assert_near(got, contracted(left, right, kind))
    assert got.is_contiguous()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("listed", [[0], [2, 0], (1, 1), torch.tensor([1, 2])])
def test_listed_outputs_in_their_order(method, listed):
    params, x = parameters(), normal(4, 3)
    full = contracted(*[jacobian(two_layers, params, x)] * 2, "full")
    got = jacobian_contraction(two_layers, params, x, outputs=listed, method=method, memory=3000)
    where = torch.as_tensor(listed)
    assert_near(got, full[:, :, where][..., where])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("memory", [None, 9_000, 2_600])
def test_symmetric_to_the_last_bit(method, memory):
    params, x = parameters(outputs=2), normal(5, 3)
    full = jacobian_contraction(two_layers, params, x, method=method, memory=memory)
    assert torch.equal(full, full.permute(1, 0, 3, 2))
    for kind in ("trace", "diagonal", "pseudo"):
        one = jacobian_contraction(
            two_layers, params, x, outputs=kind, method=method, memory=memory
        )
        assert torch.equal(one, one.transpose(0, 1))
    twice = jacobian_contraction(two_layers, params, x, x, method=method, memory=memory)
    assert_near(full, twice)


def test_the_same_numbers_again():
    params, x = parameters(), normal(6, 3)
    first = jacobian_contraction(two_layers, params, x)
    assert torch.equal(first, jacobian_contraction(two_layers, params, x))


class Pair(NamedTuple):
    weight: torch.Tensor
    bias: torch.Tensor


def test_any_tree_of_parameters():
    tree = {"first": Pair(normal(3, 4), normal(4, seed=2)), "rest": [normal(4, 2, seed=3), ()]}

    def f(params, x):
        assert isinstance(params["first"], Pair)
        assert isinstance(params["rest"], list)
        hidden = torch.tanh(x @ params["first"].weight + params["first"].bias)
        return hidden @ params["rest"][0]

    flat = {"a": tree["first"].weight, "b": tree["first"].bias, "c": tree["rest"][0]}
    x = normal(5, 3)
    assert_near(jacobian_contraction(f, tree, x), jacobian_contraction(two_layers, flat, x), 0)
    only = jacobian_contraction(lambda w, x: x @ w, normal(3, 1), x)
    assert_near(only[..., 0, 0], x @ x.T)


def test_unused_and_integer_leaves_add_nothing():
    params, x = parameters(), normal(4, 3)
    more = {**params, "unused": normal(6), "steps": torch.tensor(3), "none": torch.zeros(0)}
    for method in METHODS:
        got = jacobian_contraction(two_layers, more, x, method=method)
        assert_near(got, jacobian_contraction(two_layers, params, x, method=method))
    constant = jacobian_contraction(
        lambda p, x: x @ p["fixed"].double(),
        {"fixed": torch.ones(3, 2, dtype=torch.int64), "free": normal(2)},
        x,
    )
    assert torch.equal(constant, torch.zeros(4, 4, 2, 2, dtype=torch.float64))


def test_a_tensor_under_two_names_counts_twice():
    w, x = normal(3, 2), normal(4, 3)
    once = jacobian_contraction(lambda p, x: x @ p["a"], {"a": w}, x)
    both = jacobian_contraction(lambda p, x: x @ (p["a"] + p["b"]), {"a": w, "b": w}, x)
    tied = jacobian_contraction(lambda p, x: x @ (p["a"] + p["a"]), {"a": w}, x)
    assert_near(both, 2 * once)
    assert_near(tied, 4 * once)


def complex_weights():
    def f(params, x):
        phases = torch.exp(1j * torch.arange(3, dtype=torch.float64))
        return ((x * phases) @ params["w"] + 0.5).abs().square()

    return f, {"w": torch.complex(normal(3, 2), normal(3, 2, seed=5))}, normal(4, 3)


class Square(torch.autograd.Function):
    """Without what torch.func needs."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        return 2 * ctx.saved_tensors[0] * grad


def branching():
    def f(params, x):
        rows = [row @ params["w"] if row.sum() > 0 else torch.sin(row @ params["w"]) for row in x]
        return torch.stack(rows)

    return f, {"w": normal(3, 2)}, normal(6, 3)


def by_hand():
    return lambda params, x: Square.apply(x @ params["w"]), {"w": normal(3, 2)}, normal(4, 3)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells = nn.LSTM(3, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.cells(x)[0][:, -1])


def recurrent():
    return *functional(Recurrent()), normal(3, 5, 3)


def embedded():
    model = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(12, 2))
    return *functional(model), indices(6, 4, below=5)


def convolved():
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding="same"),
        nn.BatchNorm2d(3),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(12, 3),
    )
    return *functional(model), normal(5, 2, 4, 4)


def attentive():
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(12, 2))
    return *functional(model), normal(3, 3, 4)


FUNCTIONS = [
    complex_weights,
    branching,
    by_hand,
    recurrent,
    embedded,
    convolved,
    attentive,
]
UNPUSHED = {branching, by_hand, recurrent, attentive}


@pytest.mark.parametrize("make", FUNCTIONS)
def test_functions_that_ask_for_much(make):
    torch.manual_seed(0)
    f, params, x = make()
    want = looped(f, params, x)
    for method in METHODS:
        if method == "products" and make in UNPUSHED:
            with pytest.raises(ValueError, match="forward-mode"):
                jacobian_contraction(f, params, x, method=method)
        else:
            assert_near(jacobian_contraction(f, params, x, method=method), want)


def test_loops_only_where_vectors_do_not_go():
    for make in (embedded, convolved, complex_weights):
        assert as_function(*make()).vectorizes
    for make in (branching, by_hand):
        assert not as_function(*make()).vectorizes


def test_cost_decides():
    """Many outputs of a wide layer are cheaper to push, one output is cheaper to contract."""
    for outputs, kind, expected in (
        (10, "full", "products"),
        (1, "full", "contraction"),
        (10, "trace", "contraction"),
    ):
        params = parameters(20, 30, outputs)
        x = normal(20, 20)
        function = as_function(two_layers, params, x)
        route = _route(function, output_choice(kind, outputs), "auto", x, 20, 1 << 30)
        assert route.method == expected


@pytest.mark.parametrize("budget", [3_000, 10_000, 1 << 20])
def test_blocks_fit_the_budget(budget):
    params, x = parameters(4, 6, 3), normal(30, 4)
    function = as_function(two_layers, params, x)
    route = _route(function, output_choice("full", 3), "contraction", x, 30, budget)
    largest = max(sum(function.sizes[name] for name in group) for group in route.groups)
    rows = (route.held + route.streamed) * route.rows
    assert 8 * rows * (2 * largest + 2 * function.saved) <= budget
    assert {name for group in route.groups for name in group} == set(function.sizes)


def test_the_least_budget_that_is_named_suffices():
    params, x = parameters(), normal(3, 3)
    with pytest.raises(ValueError, match=r"memory must hold one block.*: \d+ bytes") as refused:
        jacobian_contraction(two_layers, params, x, memory=100)
    needed = int(str(refused.value).split(" bytes")[0].split()[-1])
    got = jacobian_contraction(two_layers, params, x, memory=needed)
    assert_near(got, jacobian_contraction(two_layers, params, x))
    with pytest.raises(ValueError, match=f"{needed} bytes"):
        jacobian_contraction(two_layers, params, x, memory=needed - 16)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["contraction", "products"])
def test_memory_of_a_process_stays_within_the_budget(method):
    """Beside what a first small call takes, and the result."""
    code = f"""
import resource, torch
from theory.ntk import jacobian_contraction
torch.set_num_threads(1)
sizes = [400, 600, 600, 10]
params = [torch.randn(a, b) for a, b in zip(sizes, sizes[1:])]
def f(params, x):
    for weight in params[:-1]:
        x = torch.tanh(x @ weight)
    return x @ params[-1]
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
x = torch.randn(40, 400)
jacobian_contraction(f, [torch.randn(400, 10)], x[:2], method={method!r})
before = peak()
jacobian_contraction(f, params, x, memory=200 << 20, method={method!r})
print(peak() - before)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 40 < float(run.stdout) < 200


def test_nothing_of_the_caller_is_touched():
    params = {name: leaf.requires_grad_() for name, leaf in parameters().items()}
    before = {name: leaf.detach().clone() for name, leaf in params.items()}
    x = normal(4, 3).requires_grad_()
    kernel = jacobian_contraction(two_layers, params, x)
    assert not kernel.requires_grad
    assert all(leaf.grad is None and leaf.requires_grad for leaf in params.values())
    assert all(torch.equal(leaf, before[name]) for name, leaf in params.items())
    with torch.no_grad():
        assert torch.equal(kernel, jacobian_contraction(two_layers, params, x))
    with torch.inference_mode():
        inner = {name: leaf.clone() for name, leaf in before.items()}
        again = jacobian_contraction(two_layers, inner, x.detach().clone())
        assert torch.equal(kernel, again)


@pytest.mark.slow
def test_the_first_forward_derivative_of_a_process_warns_of_nothing():
    code = """
import warnings
warnings.simplefilter("error")
import torch
from theory.ntk import jacobian_contraction
x = torch.randn(3, 4)
jacobian_contraction(lambda w, x: torch.tanh(x @ w), torch.randn(4, 2), x, method="products")
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_operations_without_a_batching_rule_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jacobian_contraction(*recurrent())


def test_float32_keeps_its_type_and_its_digits():
    params, x = parameters(), normal(5, 3)
    exact = jacobian_contraction(two_layers, params, x)
    single = {name: leaf.float() for name, leaf in params.items()}
    for method in METHODS:
        got = jacobian_contraction(two_layers, single, x.float(), method=method)
        assert got.dtype == torch.float32
        assert_near(got.double(), exact, 1e-6)


@pytest.mark.parametrize("samples", [1, 2, 5, 300])
@pytest.mark.parametrize("inner", [(), (2,), (2, 2)])
def test_mirror_takes_what_is_above_the_diagonal(samples, inner):
    kernel = torch.randn(samples, samples, *inner)
    whole = kernel.clone()
    mirror(kernel, step=3)
    order = (1, 0, 3, 2) if len(inner) == 2 else (1, 0, *range(2, kernel.ndim))
    assert torch.equal(kernel, kernel.permute(order))
    above = torch.triu(torch.ones(samples, samples, dtype=torch.bool), 1)
    assert torch.equal(kernel[above], whole[above])
    if len(inner) == 2:
        own = torch.arange(samples)
        assert torch.equal(kernel[own, own, 0, 1], whole[own, own, 0, 1])


def linear(params, x):
    return x @ params


BAD = {
    "empty": (linear, normal(3, 2), torch.zeros(0, 3), {}, "x1 must be a tensor of at least one"),
    "no batch": (linear, normal(3, 2), np.ones((2, 3)), {}, "x1 must be a tensor"),
    "nan input": (linear, normal(3, 2), torch.full((2, 3), torch.nan), {}, "x1 must be finite"),
    "nan weight": (linear, normal(3, 2) * torch.nan, normal(2, 3), {}, "params must be finite"),
    "3-D": (lambda p, x: (x @ p)[..., None], normal(3, 2), normal(2, 3), {}, "outputs of f"),
    "1-D": (lambda p, x: (x @ p)[:, 0], normal(3, 2), normal(2, 3), {}, "outputs of f"),
    "complex": (lambda p, x: (x @ p) * 1j, normal(3, 2), normal(2, 3), {}, "real floating"),
    "no outputs": (lambda p, x: (x @ p)[:, :0], normal(3, 2), normal(2, 3), {}, "at least one"),
    "overflow": (
        lambda p, x: x @ p / 0,
        normal(3, 2),
        normal(2, 3),
        {},
        "outputs of f must be fin",
    ),
    "coupled": (lambda p, x: x @ p - (x @ p).mean(0), normal(3, 2), normal(2, 3), {}, "own sample"),
    "random": (lambda p, x: x @ p * torch.rand(1), normal(3, 2), normal(2, 3), {}, "chance"),
    "no tree": (linear, {"a": 1.0}, normal(2, 3), {}, r"got float at params\['a'\]"),
    "no floats": (linear, torch.ones(3, 2, dtype=torch.int64), normal(2, 3), {}, "floating tensor"),
    "unknown": (linear, normal(3, 2), normal(2, 3), {"outputs": "all"}, "outputs must be one of"),
    "too far": (linear, normal(3, 2), normal(2, 3), {"outputs": [2]}, "from 0 to 1"),
    "none": (linear, normal(3, 2), normal(2, 3), {"outputs": []}, "outputs must be"),
    "negative": (linear, normal(3, 2), normal(2, 3), {"outputs": [-1]}, "outputs must be"),
    "memory": (linear, normal(3, 2), normal(2, 3), {"memory": 0}, "memory must be"),
    "method": (linear, normal(3, 2), normal(2, 3), {"method": "fast"}, "method must be"),
    "x2 shape": (linear, normal(3, 2), normal(2, 3), {"x2": normal(2, 4)}, "x2 must have samples"),
    "x2 type": (linear, normal(3, 2), normal(2, 3), {"x2": normal(2, 3).float()}, "x2 must be of"),
    "x2 empty": (linear, normal(3, 2), normal(2, 3), {"x2": normal(0, 3)}, "x2 must be a tensor"),
    "x2 device": (
        linear,
        normal(3, 2),
        normal(2, 3),
        {"x2": normal(2, 3).to("meta")},
        "x2 must be of the type",
    ),
    "device": (linear, normal(3, 2).to("meta"), normal(2, 3), {}, "device of the parameters"),
    "infinite slope": (
        lambda p, x: (x @ p).abs().sqrt(),
        torch.zeros(3, 2).double(),
        normal(2, 3),
        {},
        "kernel must be finite",
    ),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_bad_input_is_refused(case):
    f, params, x, options, message = case
    with pytest.raises(ValueError, match=message):
        jacobian_contraction(f, params, x, **options)


def test_train_mode_is_refused_where_one_sample_fails():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()
    params = dict(model.named_parameters())

    def f(params, x):
        return torch.func.functional_call(model, params, (x,))

    with pytest.raises(ValueError, match="evaluation mode"):
        jacobian_contraction(f, params, normal(4, 3))
