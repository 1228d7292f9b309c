"""Products with a kernel that is never formed, against the kernel."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.theory.ntk.networks import ALL, assert_near, built_networks, normal, on, reference, share
from theory.ntk import NTKOperator, empirical_ntk

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")


def dense(kernel):
    """(N K, M K), rows numbered sample by sample."""
    n, m, k, _ = kernel.shape
    return kernel.permute(0, 2, 1, 3).reshape(n * k, m * k)


@pytest.mark.parametrize("name", ALL)
def test_products_with_every_kind_of_layer(name):
    built = ALL[name]()
    x1, x2 = built.x(4), built.x(3, seed=5)
    for other in (None, x2):
        matrix = dense(reference(built.model, x1, other))
        operator = NTKOperator(built.model, x1, other)
        assert tuple(operator.shape) == tuple(matrix.shape)
        assert operator.dtype == torch.float64
        right = normal(matrix.shape[1], 2, seed=7)
        left = normal(matrix.shape[0], 2, seed=8)
        scale = float(matrix.abs().max()) * 10
        assert_near(operator.matvec(right[:, 0]), matrix @ right[:, 0], scale=scale)
        assert_near(operator.matmat(right), matrix @ right, scale=scale)
        assert_near(operator.rmatvec(left[:, 0]), matrix.mT @ left[:, 0], scale=scale)
        assert_near(operator.rmatmat(left), matrix.mT @ left, scale=scale)


@share(5)
@given(
    built=built_networks(),
    n=st.integers(1, 5),
    m=st.none() | st.integers(1, 5),
    columns=st.integers(1, 4),
)
def test_products_are_linear_and_adjoint(built, n, m, columns):
    operator = NTKOperator(built.model, built.x(n), None if m is None else built.x(m, seed=5))
    rows, width = operator.shape
    u, v, w = normal(rows, columns), normal(width, columns, seed=2), normal(width, columns, seed=3)
    size = float(operator.matmat(torch.eye(width).double()).abs().max()) + 1e-300
    combined = operator.matmat(2.0 * v - 3.0 * w)
    apart = 2.0 * operator.matmat(v) - 3.0 * operator.matmat(w)
    assert_near(combined, apart, scale=100 * size)
    one, two = (u * operator.matmat(v)).sum(), (operator.rmatmat(u) * v).sum()
    assert float(abs(one - two)) <= 1e-12 * size * rows * width * 10
    columnwise = torch.stack([operator.matvec(column) for column in v.mT], 1)
    assert_near(operator.matmat(v), columnwise, scale=100 * size)


@share(5)
@given(built=built_networks(), n=st.integers(1, 5))
def test_products_are_those_of_the_kernel(built, n):
    x = built.x(n)
    kernel = empirical_ntk(built.model, x)
    matrix = dense(kernel)
    operator = NTKOperator(built.model, x)
    v = normal(len(matrix), seed=4)
    scale = float(matrix.abs().max()) * 10
    assert_near(operator.matvec(v), matrix @ v, scale=scale)
    assert_near(operator.diagonal(), torch.einsum("nnii->ni", kernel), scale=scale)


def test_vectors_number_like_outputs():
    built = on(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), 4)
    x, y = built.x(4), normal(4, 3, seed=9)
    got = NTKOperator(built.model, x).matvec(y.reshape(-1)).reshape(4, 3)
    assert_near(got, torch.einsum("nmij,mj->ni", empirical_ntk(built.model, x), y))


@pytest.mark.parametrize("memory", [1 << 16, 1 << 20])
@pytest.mark.parametrize("name", ["two linear", "conv2d", "embedding", "lstm", "called twice"])
def test_the_budget_changes_no_product(name, memory):
    built = ALL[name]()
    x = built.x(9)
    matrix = dense(reference(built.model, x))
    operator = NTKOperator(built.model, x, memory=memory)
    v = normal(len(matrix), 3, seed=4)
    assert_near(operator.matmat(v), matrix @ v, scale=float(matrix.abs().max()) * 10)
    assert operator.diagonal().shape == (9, matrix.shape[0] // 9)


def test_parameters_of_ones_choice():
    built = ALL["batch norm 2d"]()
    x = built.x(3)
    chosen = ["0.weight", "1.weight"]
    matrix = dense(reference(built.model, x, parameters=chosen))
    operator = NTKOperator(built.model, x, parameters=chosen)
    v = normal(len(matrix), seed=4)
    assert_near(operator.matvec(v), matrix @ v, scale=float(matrix.abs().max()) * 10)


def test_what_scipy_makes_of_it():
    built = on(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)), 4)
    x1, x2 = built.x(6), built.x(3, seed=5)
    matrix = dense(empirical_ntk(built.model, x1)).numpy()
    operator = NTKOperator(built.model, x1).to_scipy()
    assert isinstance(operator, scipy.sparse.linalg.LinearOperator)
    assert operator.dtype == np.float64
    np.testing.assert_allclose(operator @ np.eye(12), matrix, rtol=1e-11, atol=1e-11)
    values = scipy.sparse.linalg.eigsh(operator, 3, return_eigenvectors=False)
    np.testing.assert_allclose(np.sort(values), np.linalg.eigvalsh(matrix)[-3:], rtol=1e-10)
    solution, info = scipy.sparse.linalg.cg(operator, matrix @ np.ones(12), rtol=1e-12)
    assert info == 0
    np.testing.assert_allclose(matrix @ solution, matrix @ np.ones(12), rtol=1e-8)
    cross = dense(empirical_ntk(built.model, x1, x2)).numpy()
    rectangular = NTKOperator(built.model, x1, x2).to_scipy()
    u = np.random.default_rng(0).standard_normal(12)
    np.testing.assert_allclose(rectangular.rmatvec(u), cross.T @ u, rtol=1e-11, atol=1e-11)


def test_single_precision():
    built = on(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)), 4)
    x = built.x(5)
    matrix = dense(reference(built.model, x))
    operator = NTKOperator(built.model.float(), x.float())
    v = normal(10, seed=4)
    found = operator.matvec(v.float())
    assert found.dtype == operator.dtype == torch.float32
    assert_near(found.double(), matrix @ v, 1e-5, scale=float(matrix.abs().max()) * 10)


def test_products_keep_no_graph():
    built = ALL["two linear"]()
    operator = NTKOperator(built.model, built.x())
    v = normal(9, seed=4).requires_grad_()
    assert not operator.matvec(v).requires_grad
    assert all(each.grad is None for each in built.model.parameters())


def test_vectors_that_do_not_fit():
    built = ALL["two linear"]()
    operator = NTKOperator(built.model, built.x(4), built.x(2, seed=5))
    for method, shape in (
        ("matvec", (12,)),
        ("matvec", (6, 1)),
        ("rmatvec", (6,)),
        ("matmat", (12, 2)),
        ("matmat", (6,)),
        ("rmatmat", (6, 2)),
    ):
        with pytest.raises(ValueError, match=r"must have shape|must be"):
            getattr(operator, method)(normal(*shape))
    with pytest.raises(ValueError, match=r"diagonal|square|x2"):
        operator.diagonal()
    with pytest.raises(ValueError, match=r"float32|dtype"):
        operator.matvec(normal(6).float())
    with pytest.raises(ValueError, match=r"tensor"):
        operator.matvec(np.ones(6))


def many(built):
    """Operators that keep everything, and nothing."""
    x = built.x(5)
    return [NTKOperator(built.model, x), NTKOperator(built.model, x, memory=1)]


def assert_products(built, operators=None):
    matrix = dense(reference(built.model, built.x(5)))
    v = normal(len(matrix), seed=4)
    scale = float(matrix.abs().max()) * 10
    for operator in operators or many(built):
        assert_near(operator.matvec(v), matrix @ v, scale=scale)


class Mixed(nn.Module):
    """With parameters that a rule covers and some that go the general way."""

    def __init__(self):
        super().__init__()
        self.first, self.both = nn.Linear(4, 5), nn.Bilinear(5, 5, 3)
        self.last = nn.Linear(3, 2)

    def forward(self, x):
        hidden = torch.tanh(self.first(x))
        return self.last(torch.tanh(self.both(hidden, hidden)))


def by_data(model):
    model.first.weight.data.mul_(2)


def by_an_optimizer(model):
    model(torch.ones(1, 4).double()).sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()


def by_another_parameter(model):
    model.first.weight = nn.Parameter(2 * model.first.weight.detach())


@pytest.mark.parametrize("change", [by_data, by_an_optimizer, by_another_parameter])
def test_other_weights_are_refused(change):
    built = on(Mixed(), 4)
    before = [each.detach().clone() for each in built.model.parameters()]
    operators = many(built)
    change(built.model)
    v = normal(10)
    for operator in operators:
        for call in (operator.matvec, operator.rmatvec, operator.to_scipy().matvec):
            with pytest.raises(ValueError, match=r"weights have changed since .* make a new one"):
                call(v)
        with pytest.raises(ValueError, match="weights have changed since"):
            operator.diagonal()
    assert_products(built)
    with torch.no_grad():  # the old ones again
        for own, old in zip(built.model.parameters(), before, strict=True):
            own.copy_(old)
    assert_products(built, operators)


@pytest.fixture
def often_switching():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("often_switching")
def test_products_beside_other_threads():
    """Kernels in another precision put other tensors into the model meanwhile."""
    model = nn.Sequential(nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(9, 2))
    built = on(model, 2, 4)
    operators, v, x = many(built), normal(10), built.x(3)
    want = [operator.matvec(v) for operator in operators]
    with ThreadPoolExecutor(2) as pool:
        busy = [pool.submit(empirical_ntk, model, x, dtype=torch.float32) for _ in range(60)]
        while not all(each.done() for each in busy):
            for operator, product in zip(operators, want, strict=True):
                assert_near(operator.matvec(v), product)


def test_inputs_changed_in_place_are_refused():
    built, x = on(Mixed(), 4), normal(5, 4)
    operator = NTKOperator(built.model, x)
    x.mul_(2)
    with pytest.raises(ValueError, match="inputs have changed in place"):
        operator.matvec(normal(10))


class Dropped(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.p = nn.Linear(4, 2), 0.5

    def forward(self, x):
        return F.dropout(self.layer(x), self.p, self.training)


@pytest.mark.parametrize(
    "model",
    [nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 2)), Dropped()],
)
def test_train_mode_later_is_refused_and_moves_nothing(model):
    built = on(model.eval(), 4)
    operators = many(built)
    before = {name: each.clone() for name, each in built.model.state_dict().items()}
    built.model.train()
    for operator in operators:
        for call in (lambda operator=operator: operator.matvec(normal(10)), operator.diagonal):
            with pytest.raises(ValueError, match=r"eval"):
                call()
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())
    built.model.eval()
    assert_products(built, operators)


class Counting(nn.Module):
    """With buffers that each call changes."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("again", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        self.again = self.again + 1
        return self.layers(x)


def test_buffers_that_the_model_moves_are_put_back():
    built = on(Counting(), 4)
    calls, again = built.model.calls, built.model.again
    for operator in many(built):
        operator.matvec(normal(10))
        operator.matvec(normal(10))
        operator.diagonal()
        assert built.model.calls is calls
        assert built.model.again is again
        assert float(calls) == float(again) == 0


class Summed(nn.Module):
    def __init__(self, general):
        super().__init__()
        self.first = nn.Linear(4, 3)
        self.last = nn.Bilinear(3, 3, 2) if general else nn.Linear(3, 2)

    def forward(self, x):
        hidden = torch.tanh(self.first(x)).cumsum(0)
        return (
            self.last(hidden, hidden) if isinstance(self.last, nn.Bilinear) else self.last(hidden)
        )


class Forgotten(nn.Module):
    """Samples where the recurrence expects steps."""

    def __init__(self):
        super().__init__()
        self.cells, self.head = nn.LSTM(4, 3), nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.cells(x)[0][:, -1])


@pytest.mark.parametrize("model", [Summed(general=True), Summed(general=False), Forgotten()])
def test_samples_that_meet_are_refused(model):
    x = normal(5, 3, 4) if isinstance(model, Forgotten) else normal(5, 4)
    with pytest.raises(ValueError, match="depend"):
        NTKOperator(model.double(), x)
    with pytest.raises(ValueError, match="depend"):
        NTKOperator(model.double(), x[:1], x)


class Sized(nn.Module):
    """A transposed convolution that is told the size of its output."""

    def __init__(self):
        super().__init__()
        self.spread = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        return self.head(torch.tanh(self.spread(x, output_size=(6, 7))).mean((2, 3)))


def test_a_size_of_the_output_told_to_the_layer():
    assert_products(on(Sized(), 2, 3, 4))


class Tied(nn.Module):
    def __init__(self, *, tied):
        super().__init__()
        self.rows, self.head = nn.Embedding(5, 3, sparse=True), nn.Linear(3, 5)
        if tied:
            self.head.weight = self.rows.weight

    def forward(self, x):
        return self.head(torch.tanh(self.rows(x)).mean(1))


@pytest.mark.parametrize("tied", [False, True])
def test_sparse_gradients_of_an_embedding(tied):
    torch.manual_seed(0)
    built = on(Tied(tied=tied), 4, below=5)
    matrix = dense(empirical_ntk(built.model, built.x(5)))
    for operator in many(built):
        v = normal(len(matrix), seed=4)
        assert_near(operator.matvec(v), matrix @ v, scale=float(matrix.abs().max()) * 10)


def test_hooks_of_layers_stay_silent_between_passes():
    built = on(nn.Sequential(nn.Conv1d(2, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(9, 2)), 2, 4)
    seen = []
    built.model[0].register_forward_hook(lambda _, args, made: seen.append(made))
    operator = NTKOperator(built.model, built.x(5))
    count = len(seen)
    operator.matvec(normal(10))
    assert len(seen) == count
    built.model[0].register_forward_pre_hook(lambda _, args: (2 * args[0],))
    assert_products(built)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_the_bias_of_a_layer_whose_weights_are_made_by_a_hook():
    layer = torch.nn.utils.weight_norm(nn.Conv1d(2, 3, 2))
    model = nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.Linear(9, 2)).double()
    x, v = normal(5, 2, 4), normal(10)
    held = [layer.bias, model[3].weight]
    rows = [torch.autograd.grad(each, held, retain_graph=True) for each in model(x).flatten()]
    jacobian = torch.stack([torch.cat([each.flatten() for each in row]) for row in rows])
    for memory in (1, 1 << 30):
        operator = NTKOperator(model, x, parameters=["0.bias", "3.weight"], memory=memory)
        assert_near(operator.matvec(v), jacobian @ (jacobian.mT @ v))


def test_complex_vectors_through_scipy():
    built = ALL["two linear"]()
    operator = NTKOperator(built.model, built.x(3)).to_scipy()
    matrix = operator @ np.eye(operator.shape[0])
    v = normal(len(matrix), 2).numpy() + 1j * normal(len(matrix), 2, seed=3).numpy()
    np.testing.assert_allclose(operator.matmat(v), matrix @ v, rtol=1e-11)
    np.testing.assert_allclose(operator.matvec(v[:, 0]), matrix @ v[:, 0], rtol=1e-11)


def test_half_precision_through_scipy():
    built = on(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)), 4)
    operator = NTKOperator(built.model.bfloat16(), built.x(3).bfloat16())
    found = operator.to_scipy() @ np.ones(6, np.float32)
    assert operator.to_scipy().dtype == found.dtype == np.float32
    np.testing.assert_array_equal(found, operator.matvec(torch.ones(6).bfloat16()).float())


def test_the_budget_holds_for_parameters_that_go_the_general_way():
    built = on(Mixed(), 4)
    x = built.x(4)
    with pytest.raises(ValueError, match="memory must hold one block"):
        NTKOperator(built.model, x, memory=1).diagonal()
    kernel = empirical_ntk(built.model, x)
    assert_near(NTKOperator(built.model, x).diagonal(), torch.einsum("nnii->ni", kernel))
