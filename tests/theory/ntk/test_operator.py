"""Products with a kernel that is never formed, against the kernel."""

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
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
