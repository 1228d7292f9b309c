"""Outputs and residuals on a kernel's eigenvectors: by hand, and under exact dynamics."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import theory.ntk
from theory.ntk import OutputProjector
from theory.ntk.projections import outputs as module


def kernel(n, seed=0, rank=None):
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(n, rank or n))
    return half @ half.T / n


def full(n, k, seed=0):
    """A full kernel (n, n, k, k), output-major matrix (k n, k n) beside it."""
    matrix = kernel(n * k, seed)
    return matrix.reshape(k, n, k, n).transpose(1, 3, 0, 2), matrix


def record_all(projector, outputs, steps=None):
    for number, each in enumerate(outputs):
        projector.record(each, None if steps is None else steps[number])
    return projector.result()


@given(n=st.integers(1, 6), k=st.integers(1, 3), seed=st.integers(0, 500))
def test_coefficients_of_a_full_kernel_by_hand(n, k, seed):
    tensor, matrix = full(n, k, seed)
    rng = np.random.default_rng(seed)
    outputs, targets = rng.normal(size=(4, n, k)), rng.normal(size=(n, k))
    found = record_all(
        OutputProjector(torch.from_numpy(tensor), targets), torch.from_numpy(outputs)
    )
    values, vectors = np.linalg.eigh(matrix)
    np.testing.assert_allclose(found.eigenvalues, values[::-1], atol=1e-12 * values[-1])
    for record in range(4):
        for which, values in (
            ("outputs", outputs[record]),
            ("residuals", outputs[record] - targets),
        ):
            want = vectors[:, ::-1].T @ values.T.reshape(-1)
            got = getattr(found, which)[record]
            np.testing.assert_allclose(np.abs(got), np.abs(want), atol=1e-9)
    np.testing.assert_allclose(found.outputs_explained, 1.0)
    np.testing.assert_allclose(found.residuals_explained, 1.0)


def test_all_ways_to_give_a_full_kernel_agree():
    tensor, matrix = full(4, 3)
    by_sample = tensor.transpose(0, 2, 1, 3).reshape(12, 12)
    values, vectors = np.linalg.eigh(matrix)
    pairs = SimpleNamespace(eigenvalues=values[::-1].copy(), vectors=vectors[:, ::-1].copy())
    rows = vectors.reshape(3, 4, 12).transpose(1, 0, 2).reshape(12, 12)
    turned = SimpleNamespace(eigenvalues=values[::-1].copy(), vectors=rows[:, ::-1].copy())
    outputs = np.random.default_rng(1).normal(size=(2, 4, 3))
    want = np.abs(record_all(OutputProjector(tensor), outputs).outputs)
    for given_kernel, how in (
        (matrix, "outputs"),
        (by_sample, "samples"),
        (tensor, "samples"),
        (pairs, "outputs"),
        (turned, "samples"),
    ):
        found = record_all(OutputProjector(given_kernel, numbering=how), outputs)
        np.testing.assert_allclose(np.abs(found.outputs), want, atol=1e-12)
    wrong = record_all(OutputProjector(matrix, numbering="samples"), outputs)
    assert np.abs(np.abs(wrong.outputs) - want).max() > 0.1


def test_a_kernel_of_samples_has_coefficients_of_every_output():
    k, outputs = kernel(5), np.random.default_rng(1).normal(size=(3, 5, 2))
    found = record_all(OutputProjector(k), outputs)
    vectors = np.linalg.eigh(k)[1][:, ::-1]
    want = np.einsum("nr,tnk->trk", vectors, outputs)
    np.testing.assert_allclose(np.abs(found.outputs), np.abs(want), atol=1e-12)
    np.testing.assert_allclose(found.energies(), (want**2).sum(-1), atol=1e-12)
    np.testing.assert_allclose(found.eigenvalues, np.linalg.eigvalsh(k)[::-1] / 2)
    whole = record_all(OutputProjector(k, summed=False), outputs)
    np.testing.assert_allclose(whole.eigenvalues, 2 * found.eigenvalues)


def test_the_share_that_few_directions_explain():
    values, vectors = np.linalg.eigh(kernel(6))
    top = SimpleNamespace(eigenvalues=values[:3:-1], vectors=vectors[:, :3:-1])
    outputs = np.random.default_rng(2).normal(size=(1, 6, 1))
    targets = np.random.default_rng(3).normal(size=6)
    found = record_all(OutputProjector(top, targets), outputs)
    for got, whole in (
        (found.outputs_explained, outputs[0, :, 0]),
        (found.residuals_explained, outputs[0, :, 0] - targets),
    ):
        want = ((vectors[:, 4:].T @ whole) ** 2).sum() / (whole**2).sum()
        np.testing.assert_allclose(got, want)
    silent = record_all(OutputProjector(top), np.zeros((1, 6)))
    assert np.isnan(silent.outputs_explained).all()


def linear_run(steps=60, share=0.9, outputs=2):
    """Gradient descent of linear regression: the kernel of the inputs never moves."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 9)), rng.normal(size=(6, outputs))
    matrix = x @ x.T
    rate = share / np.linalg.eigvalsh(matrix)[-1]
    weights, history = np.zeros((9, outputs)), []
    for _ in range(steps):
        history.append(x @ weights)
        weights = weights - rate * x.T @ (x @ weights - y)
    return matrix, y, rate, history


@pytest.mark.parametrize("share", [0.2, 0.9, 1.7])
def test_rates_of_gradient_descent_are_the_predicted_ones(share):
    """Also where steps overshoot, and coefficients change their sign."""
    matrix, y, rate, history = linear_run(share=share)
    found = record_all(OutputProjector(matrix, y, rate=rate, summed=False), history)
    known = np.isfinite(found.rates[0])
    assert known.sum() >= 4
    np.testing.assert_allclose(found.rates[0][known], found.descent_rates[known], rtol=1e-8)
    start = found.residuals[:1]
    want = found.descent()[:, :, None] * start
    np.testing.assert_allclose(found.residuals, want, atol=1e-9 * np.abs(start).max())
    assert (np.abs(found.flow_rates - found.descent_rates) > 1e-4).any()


def test_rates_of_the_flow_are_the_predicted_ones():
    k = kernel(5)
    values, vectors = np.linalg.eigh(k)
    targets = np.random.default_rng(1).normal(size=5)
    times = np.array([0.0, 0.7, 1.0, 3.0, 8.0])
    factors = np.exp(-0.3 * np.multiply.outer(times, values))
    outputs = targets - (factors * (vectors.T @ targets)) @ vectors.T
    found = record_all(OutputProjector(k, targets, rate=0.3), outputs, times)
    np.testing.assert_allclose(found.rates[0], found.flow_rates, rtol=1e-8)
    np.testing.assert_allclose(found.flow(), factors[:, ::-1])
    np.testing.assert_allclose(found.rates[1:], found.rates[[0, 0]], rtol=1e-6)
    assert (found.fitted[0] == 0).all()
    assert found.fitted[1, -1] == 8.0


def test_the_trace_kernel_predicts_equal_outputs():
    """f = J w with the same J for both outputs: the trace is twice the kernel of one."""
    matrix, y, rate, history = linear_run()
    found = record_all(OutputProjector(2 * matrix, y, rate=rate), history)
    known = np.isfinite(found.rates[0])
    np.testing.assert_allclose(found.rates[0][known], found.descent_rates[known], rtol=1e-8)


def test_an_eigenspace_has_one_energy_whatever_its_basis():
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    values = np.array([3.0, 1.0, 1.0, 1.0, 0.2])
    turn = np.eye(5)
    turn[1:4, 1:4] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    targets, times = rng.normal(size=5), np.arange(6.0)
    outputs = [targets - q @ (np.exp(-0.1 * values * t) * (q.T @ targets)) for t in times]
    found = [
        record_all(
            OutputProjector(SimpleNamespace(eigenvalues=values, vectors=basis), targets, rate=0.1),
            outputs,
        )
        for basis in (q, q @ turn)
    ]
    assert found[0].eigenspaces.tolist() == [0, 1, 1, 1, 2]
    np.testing.assert_allclose(found[0].energies(), found[1].energies())
    np.testing.assert_allclose(found[0].rates, found[1].rates)
    np.testing.assert_allclose(found[1].rates[0], 0.1 * values)
    assert np.abs(np.abs(found[0].residuals) - np.abs(found[1].residuals)).max() > 0.01


def test_a_direction_without_a_residual_has_no_rate():
    k = np.diag([2.0, 1.0, 0.0])
    targets, times = np.array([1.0, 0.0, 1.0]), range(5)
    outputs = [targets * (1 - np.exp(-np.diag(k) * t)) for t in times]
    found = record_all(OutputProjector(k, targets, rate=1.0), outputs)
    assert np.isnan(found.rates[:, 1]).all()
    assert np.isnan(found.fitted[:, 1]).all()
    np.testing.assert_allclose(found.rates[0, [0, 2]], [2.0, 0.0], atol=1e-12)


def test_a_diverging_run_and_one_step_to_the_end():
    matrix = np.diag([3.0, 1.0])
    outputs = [np.array([(-2.0) ** t, float(t == 0)]) for t in range(4)]
    found = record_all(OutputProjector(matrix, rate=1.0), outputs)
    np.testing.assert_allclose(found.rates[0], [-np.log(2), np.nan])
    np.testing.assert_allclose(found.descent_rates, [-np.log(2), np.inf])


def test_three_lines_in_a_loop_on_a_real_network():
    """A wide network moves its outputs at the rates of its kernel, and is left as it was."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(3, 4000, dtype=torch.float64), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(4000, 1, bias=False, dtype=torch.float64),
    )  # fmt: skip
    x = torch.randn(8, 3, dtype=torch.float64)
    y = torch.randn(8, 1, dtype=torch.float64)
    model.eval()
    jacobian = torch.func.jacrev(lambda p: torch.func.functional_call(model, p, (x,)).squeeze(1))(
        {name: p.detach() for name, p in model.named_parameters()}
    )
    k = sum(j.flatten(1) @ j.flatten(1).T for j in jacobian.values())
    rate = float(0.5 / torch.linalg.eigvalsh(k)[-1])
    projector = OutputProjector(k, y, inputs=x, rate=rate)
    for _ in range(30):
        model.train()
        projector.record(model)
        assert model[2].training
        model.eval()
        loss = 0.5 * (model(x) - y).square().sum()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.sub_(rate * gradient)
    found = projector.result()
    np.testing.assert_allclose(found.rates[0, :3], found.descent_rates[:3], rtol=0.05)
    assert found.steps.tolist() == list(range(30))
    assert all(p.grad is None for p in model.parameters())


def test_kernels_and_eigenpairs_of_a_model_are_read_alike():
    """The full kernel, its matrix, and the eigenpairs of the model with their own numbering."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    kernel = theory.ntk.empirical_ntk(model, x)
    pairs = theory.ntk.top_eigenpairs(model, x, 6)
    targets = torch.randn(5, 3, dtype=torch.float64)
    found = []
    for given_kernel in (kernel, theory.ntk.kernel_matrix(kernel), pairs):
        projector = OutputProjector(given_kernel, targets, inputs=x)
        projector.record(model)
        found.append(projector.result())
    for other in found[1:]:
        np.testing.assert_allclose(other.eigenvalues[:6], found[0].eigenvalues[:6], rtol=1e-6)
        for name in ("outputs", "residuals"):
            got, want = (np.abs(getattr(each, name)[0, :6]) for each in (other, found[0]))
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-8)
    assert found[2].residuals_explained[0] < 1
    trace = theory.ntk.empirical_ntk(model, x, outputs="trace")
    projector = OutputProjector(trace, targets, inputs=x)
    projector.record(model)
    assert projector.result().residuals.shape == (1, 5, 3)


def test_projecting_in_blocks_changes_nothing(monkeypatch):
    matrix, y, rate, history = linear_run()
    want = record_all(OutputProjector(matrix, y, rate=rate), history)
    monkeypatch.setattr(module, "_HELD", 50)
    projector = OutputProjector(matrix, y, rate=rate)
    got = record_all(projector, history)
    assert len(projector._projected) > 5
    np.testing.assert_allclose(got.residuals, want.residuals, atol=1e-13)
    assert len(projector.result().steps) == len(history)


def test_without_a_rate_nothing_is_predicted():
    matrix, y, _, history = linear_run()
    found = record_all(OutputProjector(matrix, y), history)
    assert np.isnan(found.flow_rates).all()
    assert np.isnan(found.descent()[1:]).all()
    assert np.isfinite(found.rates[0, 0])


GOOD = kernel(4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OutputProjector(np.ones((2, 3))), "kernel must be symmetric.*square"),
        (lambda: OutputProjector([[1.0, 2.0], [0.0, 1.0]]), "kernel must be symmetric"),
        (lambda: OutputProjector(-GOOD), "kernel must be .*positive semi-definite"),
        (lambda: OutputProjector(np.full((2, 2), np.nan)), "kernel must be .*finite"),
        (lambda: OutputProjector(np.ones((2, 3, 1, 1))), r"shape \(N, N, K, K\) or \(N, N\)"),
        (
            lambda: OutputProjector(SimpleNamespace(eigenvalues=[1.0, 2.0], vectors=np.eye(2))),
            "eigenvalues must descend",
        ),
        (
            lambda: OutputProjector(SimpleNamespace(eigenvalues=[1.0], vectors=np.eye(2))),
            "one for each column of vectors",
        ),
        (lambda: OutputProjector(GOOD, numbering="rows"), "numbering must be one of"),
        (lambda: OutputProjector(GOOD, summed=1), "summed must be True or False"),
        (lambda: OutputProjector(GOOD, rate=0.0), "rate must be > 0"),
        (lambda: OutputProjector(GOOD, gap=2.0), "gap must be in"),
        (lambda: OutputProjector(GOOD, np.ones(3)), r"targets must have shape \(4, K\)"),
        (lambda: OutputProjector(GOOD).record(np.ones(5)), r"outputs must have shape \(4, K\)"),
        (
            lambda: OutputProjector(GOOD, np.ones((4, 2))).record(np.ones((4, 1))),
            r"outputs must have shape \(4, 2\) for this kernel, got \(4, 1\)",
        ),
        (
            lambda: OutputProjector(full(2, 2)[0]).record(np.ones((4, 1))),
            r"outputs must have shape \(2, 2\)",
        ),
        (lambda: OutputProjector(GOOD).record([1.0, np.inf, 0.0, 0.0]), "outputs must be finite"),
        (lambda: OutputProjector(GOOD).record(nn.Linear(1, 1)), "inputs must be given"),
        (lambda: OutputProjector(GOOD).result(), "record must be called at least once"),
        (
            lambda: record_all(OutputProjector(GOOD), np.ones((2, 4)), [1, 1]),
            "greater than the last",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_package_gives_it():
    assert theory.ntk.OutputProjector is OutputProjector


@pytest.mark.gpu
def test_on_a_gpu():
    matrix, y, rate, history = linear_run()
    want = record_all(OutputProjector(matrix, y, rate=rate), history)
    there = OutputProjector(torch.from_numpy(matrix).cuda(), torch.from_numpy(y).cuda(), rate=rate)
    got = record_all(there, [torch.from_numpy(each).cuda() for each in history])
    np.testing.assert_allclose(got.rates, want.rates)


def test_half_precision_is_read_as_single():
    y = torch.tensor([[1.0, 2.0], [3.0, 5.0], [-1.0, 0.5], [0.0, 4.0]]).bfloat16()
    kernel = torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0])).bfloat16()
    found = record_all(OutputProjector(kernel, y), [2 * y])
    np.testing.assert_array_equal(np.abs(found.residuals[0]), y.abs().float().numpy())
    with pytest.raises(ValueError, match=r"for this kernel, got \(3, 2\)"):
        OutputProjector(torch.eye(4), y[:3])
