"""Eigenpairs of kernels with prescribed spectra, from every kind of source."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests import strategies
from tests.theory.ntk.networks import assert_near, normal, randomized, share
from theory.ntk import NTKOperator, empirical_ntk
from theory.ntk.spectra.eigenpairs import alignment, effective_rank, top_eigenpairs
from theory.ntk.spectra.krylov import _orthonormal

SOLVERS = ("exact", "randomized", "lanczos")
SPECTRA = {
    "powers": torch.arange(1, 201).double() ** -1.5,
    "slow": torch.linspace(1, 0.9, 150).double(),
    "ill": torch.logspace(0, -12, 120).double(),
    "low rank": torch.cat([torch.tensor([3.0, 2.0, 1.0]), torch.zeros(60)]).double(),
    "equal": torch.cat([torch.full((6,), 2.0), torch.linspace(1, 0.01, 90)]).double(),
    "identity": torch.ones(40).double(),
    "zero": torch.zeros(30).double(),
    "one": torch.tensor([4.0]).double(),
}


def matrix(values, seed=0):
    basis = torch.linalg.qr(normal(len(values), len(values), seed=seed))[0]
    kernel = (basis * values) @ basis.T
    return (kernel + kernel.T) / 2


def assert_pairs(kernel, pairs, values, tolerance=1e-8):
    top = float(values[0])
    assert pairs.converged
    assert_near(pairs.eigenvalues, values, 1e-12, max(top, 1.0))
    assert bool((pairs.eigenvalues.diff() <= 1e-13 * top).all())
    assert_near(pairs.vectors.T @ pairs.vectors, torch.eye(len(values)).double(), 1e-11)
    moved = kernel @ pairs.vectors - pairs.vectors * pairs.eigenvalues
    floor = 1e-14 * top
    assert bool((moved.norm(dim=0) <= 2 * tolerance * values + floor).all())
    large = values > 1e-6 * top
    want = moved.norm(dim=0)[large] / values[large]
    torch.testing.assert_close(pairs.residuals[large], want, rtol=1e-3, atol=1e-13)


@pytest.mark.parametrize("method", SOLVERS)
@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("count", [1, 5])
def test_prescribed_spectra(method, name, count):
    values = SPECTRA[name]
    if count > len(values) - (method == "lanczos") or (method == "lanczos" and name == "equal"):
        pytest.skip("no such pairs, or copies of an eigenvalue that single vectors may miss")
    kernel = matrix(values)
    assert_pairs(kernel, top_eigenpairs(kernel, count=count, method=method), values[:count])


@pytest.mark.parametrize("method", ["exact", "randomized"])
@share(4)
@given(kernel=strategies.kernels(), data=st.data())
def test_any_kernel_up_to_all_of_its_pairs(method, kernel, data):
    kernel = torch.from_numpy(kernel)
    count = data.draw(st.integers(1, len(kernel)))
    pairs = top_eigenpairs(kernel, count=count, method=method)
    want = torch.linalg.eigvalsh(kernel).flip(0)[:count]
    assert_near(pairs.eigenvalues, want, 1e-12, max(float(want[0]), 1e-300))
    assert_near(pairs.vectors.T @ pairs.vectors, torch.eye(count).double(), 1e-11)
    assert pairs.converged


def test_all_of_them():
    values = SPECTRA["powers"]
    for method in ("exact", "randomized", "auto"):
        pairs = top_eigenpairs(matrix(values), count=len(values), method=method)
        assert_pairs(matrix(values), pairs, values)


def test_directions_that_are_all_but_in_the_basis_leave_it():
    basis = torch.linalg.qr(normal(30, 6))[0]
    new = basis @ normal(6, 4, seed=3) + 1e-10 * normal(30, 4, seed=4)
    found = torch.cat([basis, _orthonormal(new, basis)], 1)
    assert_near(found.T @ found, torch.eye(10).double(), 1e-14)


def test_copies_of_an_eigenvalue_are_all_found_by_blocks():
    values = SPECTRA["equal"]
    pairs = top_eigenpairs(matrix(values), count=8, method="randomized")
    assert_pairs(matrix(values), pairs, values[:8])


def test_the_same_from_run_to_run_and_by_seed():
    kernel = matrix(SPECTRA["powers"])
    for method in SOLVERS:
        one, two, other = (
            top_eigenpairs(kernel, count=3, method=method, seed=seed) for seed in (0, 0, 1)
        )
        assert torch.equal(one.vectors, two.vectors)
        assert method == "exact" or not torch.equal(one.vectors, other.vectors)


def test_few_products_do():
    """A block iteration on a decaying spectrum takes some tens of columns for each pair."""
    pairs = top_eigenpairs(matrix(SPECTRA["powers"]), count=5, method="randomized")
    assert 13 < pairs.products < 120
    assert top_eigenpairs(matrix(SPECTRA["powers"]), count=5, method="exact").products == 0


@pytest.mark.parametrize("method", ["randomized", "lanczos"])
def test_giving_up_is_said(method):
    pairs = top_eigenpairs(matrix(SPECTRA["slow"]), count=3, method=method, max_products=20)
    assert not pairs.converged
    assert float(pairs.residuals.max()) > 1e-8


@pytest.mark.parametrize("method", ["randomized", "lanczos"])
def test_tolerance_is_what_is_reached(method):
    kernel = matrix(SPECTRA["slow"])
    loose = top_eigenpairs(kernel, count=2, method=method, tolerance=1e-3)
    tight = top_eigenpairs(kernel, count=2, method=method, tolerance=1e-11)
    assert loose.converged
    assert tight.converged
    assert float(tight.residuals.max()) <= 1e-11
    assert loose.products < tight.products


def test_single_precision_ends_at_its_round_off():
    values = SPECTRA["powers"]
    kernel = matrix(values).float()
    for method in SOLVERS:
        pairs = top_eigenpairs(kernel, count=10, method=method)
        assert pairs.eigenvalues.dtype == pairs.vectors.dtype == torch.float32
        assert pairs.converged
        assert_near(pairs.eigenvalues.double(), values[:10], 1e-6)
        assert float(pairs.residuals.max()) < 2e-5


def network():
    return randomized(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)))


class Wrapped:
    """An operator with nothing but what is asked for."""

    def __init__(self, kernel, *, blocks):
        self.kernel, self.shape, self.dtype = kernel, tuple(kernel.shape), kernel.dtype
        if blocks:
            self.matmat = kernel.__matmul__
        else:
            self.matvec = kernel.__matmul__


@pytest.mark.parametrize("method", SOLVERS)
def test_every_source_gives_the_same_pairs(method):
    model, x = network(), normal(7, 4)
    full = empirical_ntk(model, x)
    rows = full.permute(0, 2, 1, 3).reshape(21, 21)
    want = torch.linalg.eigvalsh(rows).flip(0)[:4]
    operator = NTKOperator(model, x)
    functional = lambda params, x: torch.func.functional_call(model, params, (x,))  # noqa: E731
    found = [
        top_eigenpairs(model, x, 4, method=method),
        top_eigenpairs(model, x, 4, method=method, memory=2000),
        top_eigenpairs(functional, x, 4, method=method, parameters=dict(model.named_parameters())),
        top_eigenpairs(full, count=4, method=method),
        top_eigenpairs(full.contiguous(), count=4, method=method),
        top_eigenpairs(operator, count=4, method=method),
        top_eigenpairs(operator.to_scipy(), count=4, method=method),
        top_eigenpairs(rows, count=4, method=method),
        top_eigenpairs(Wrapped(rows, blocks=True), count=4, method=method),
        top_eigenpairs(Wrapped(rows, blocks=False), count=4, method=method),
    ]
    for pairs in found:
        assert_pairs(rows, pairs, want)
    for pairs in found[:6]:
        assert pairs.outputs == 3
        assert pairs.by_sample.shape == (7, 3, 4)
        moved = torch.einsum("nmij,mjc->nic", full, pairs.by_sample)
        assert_near(moved, pairs.by_sample * pairs.eigenvalues, 2e-8)


def test_parameters_of_a_network_are_chosen():
    model, x = network(), normal(5, 4)
    pairs = top_eigenpairs(model, x, 2, parameters=["2"])
    want = top_eigenpairs(empirical_ntk(model, x, parameters=["2"]), count=2)
    assert_near(pairs.eigenvalues, want.eigenvalues)
    whole = top_eigenpairs(model, x, 2)
    assert float(whole.eigenvalues[0]) > float(want.eigenvalues[0])


def test_a_trace_kernel_is_a_matrix_of_samples():
    model, x = network(), normal(6, 4)
    trace = empirical_ntk(model, x, outputs="trace")
    pairs = top_eigenpairs(trace, count=2)
    assert pairs.outputs == 1
    assert pairs.by_sample.shape == (6, 1, 2)
    assert_near(pairs.eigenvalues, torch.linalg.eigvalsh(trace).flip(0)[:2])


def test_auto_decomposes_what_is_small_and_iterates_on_the_rest():
    assert top_eigenpairs(matrix(SPECTRA["powers"]), count=2).method == "exact"
    values = torch.arange(1, 1102).double() ** -2
    few = normal(1101, 30, seed=3)
    kernel = few @ few.T
    assert top_eigenpairs(kernel, count=2).method == "randomized"
    assert top_eigenpairs(torch.diag(values), count=190).method == "exact"
    x = normal(7, 4)
    assert top_eigenpairs(network(), x, 2, memory=2000).method == "exact"  # small even so


BAD = {
    "too many": ((torch.eye(3),), {"count": 4}, "count must be at most 3"),
    "none": ((torch.eye(3),), {"count": 0}, "count must be an integer >= 1"),
    "lanczos": ((torch.eye(3),), {"count": 3, "method": "lanczos"}, "count must be below the size"),
    "method": ((torch.eye(3),), {"method": "qr"}, "method must be one of"),
    "rectangular": ((torch.ones(2, 3),), {}, "kernel must be that of samples with themselves"),
    "blocks": ((torch.ones(2, 2, 3, 2),), {}, "kernel must be that of samples"),
    "axes": ((torch.ones(2, 2, 2),), {}, "kernel must be that of samples"),
    "empty": ((torch.ones(0, 0),), {}, "kernel must be that of samples"),
    "asymmetric": ((torch.tensor([[1.0, 2.0], [0.0, 1.0]]),), {}, "must be symmetric"),
    "nan": ((torch.full((2, 2), torch.nan),), {}, "finite"),
    "integers": ((torch.ones(2, 2, dtype=torch.int64),), {}, "floating"),
    "no x": ((nn.Linear(2, 1),), {}, "x must be given with a network"),
    "x beside": ((torch.eye(2), torch.eye(2)), {}, "x must be given with a network"),
    "nothing": (("kernel",), {}, "source must be"),
    "empty x": ((nn.Linear(2, 1), torch.zeros(0, 2)), {}, "x must be a tensor of at least one"),
    "train": ((nn.Sequential(nn.Linear(2, 1), nn.Dropout()), torch.ones(2, 2)), {}, "eval mode"),
    "tolerance": ((torch.eye(2),), {"tolerance": 0.0}, "tolerance must be > 0"),
    "products": ((torch.eye(2),), {"max_products": 0}, "max_products must be"),
    "rectangle": ((Wrapped(torch.ones(2, 3), blocks=True),), {}, "operator must be square"),
    "nan operator": (
        (Wrapped(torch.full((2, 2), torch.nan), blocks=True),),
        {},
        "products with the kernel",
    ),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_bad_input_is_refused(case):
    args, options, message = case
    with pytest.raises(ValueError, match=message):
        top_eigenpairs(*args, **options)


@pytest.mark.parametrize("kind", ["trace", "entropy"])
def test_effective_rank_counts_equal_eigenvalues(kind):
    values = torch.tensor([2.0, 2.0, 2.0, 0.0]).double()
    assert effective_rank(values, kind=kind) == pytest.approx(3.0, rel=1e-12)
    assert effective_rank(matrix(values), kind=kind) == pytest.approx(3.0, rel=1e-10)
    assert effective_rank(torch.tensor([5.0]), kind=kind) == 1.0


@share(2)
@given(kernel=strategies.kernels(low=-4.0))
def test_effective_ranks_lie_between_one_and_the_rank(kernel):
    kernel = torch.from_numpy(kernel)
    values = torch.linalg.eigvalsh(kernel).clamp(min=0)
    if float(values.max()) == 0:
        with pytest.raises(ValueError, match="must not be zero"):
            effective_rank(kernel)
        return
    for kind in ("trace", "entropy"):
        rank = effective_rank(kernel, kind=kind)
        assert 1 - 1e-12 <= rank <= len(kernel) + 1e-9
        assert effective_rank(7 * kernel, kind=kind) == pytest.approx(rank, rel=1e-9)


def test_effective_ranks_by_hand():
    values = torch.tensor([3.0, 1.0]).double()
    assert effective_rank(values) == pytest.approx(4 / 3)
    want = np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert effective_rank(values, kind="entropy") == pytest.approx(want, rel=1e-12)
    model, x = network(), normal(5, 4)
    full = empirical_ntk(model, x)
    rows = full.permute(0, 2, 1, 3).reshape(15, 15)
    assert effective_rank(full) == pytest.approx(effective_rank(rows), rel=1e-10)
    with pytest.raises(ValueError, match="eigenvalues must be >= 0"):
        effective_rank(torch.tensor([1.0, -0.1]))
    with pytest.raises(ValueError, match="kind must be"):
        effective_rank(values, kind="rank")


def test_arrays_are_as_good_as_tensors():
    values = np.array([3.0, 1.0])
    assert effective_rank(values) == effective_rank([3, 1]) == pytest.approx(4 / 3)
    kernel = empirical_ntk(network(), normal(5, 4), outputs="trace")
    y = normal(5)
    assert effective_rank(kernel.numpy()) == effective_rank(kernel)
    assert alignment(kernel.numpy(), y.numpy()) == alignment(kernel, y)
    # round-off is that of the precision given
    single = np.array([1.0, -1e-7], np.float32)
    assert effective_rank(single) == 1.0
    with pytest.raises(ValueError, match="eigenvalues must be >= 0"):
        effective_rank(single.astype(np.float64))
    with pytest.raises(ValueError, match="source must be an array of real numbers"):
        effective_rank("kernel")


@pytest.mark.parametrize("method", ["auto", *SOLVERS])
@pytest.mark.parametrize("memory", [None, 100])
def test_inputs_that_the_network_does_not_take_are_refused(method, memory):
    for x in (normal(5, 4).float(), normal(5, 7)):
        with pytest.raises(ValueError, match="must take inputs of shape"):
            top_eigenpairs(network(), x, method=method, memory=memory)


def aligned(kernel, gram):
    return (kernel * gram).sum() / np.linalg.norm(kernel) / np.linalg.norm(gram)


@pytest.mark.parametrize("centered", [False, True])
def test_alignment_is_the_cosine_of_matrices(centered):
    n, k = 6, 3
    model, x = network(), normal(n, 4)
    y = normal(n, k, seed=4)
    center = np.eye(n) - 1 / n if centered else np.eye(n)
    trace = empirical_ntk(model, x, outputs="trace")
    gram = center @ (y @ y.T).numpy() @ center
    want = aligned(center @ trace.numpy() @ center, gram)
    assert alignment(trace, y, centered=centered) == pytest.approx(want, rel=1e-10)
    full = empirical_ntk(model, x)
    rows = full.permute(0, 2, 1, 3).reshape(n * k, n * k).numpy()
    block = np.kron(center, np.eye(k))
    vector = block @ y.reshape(-1).numpy()
    want = aligned(block @ rows @ block, np.outer(vector, vector))
    assert alignment(full, y, centered=centered) == pytest.approx(want, rel=1e-10)


def test_alignment_at_its_ends():
    y = normal(5, 2)
    assert alignment(3 * y @ y.T, y) == pytest.approx(1, rel=1e-12)
    other = torch.linalg.qr(torch.cat([y, normal(5, 3, seed=9)], 1))[0][:, 2:]
    assert alignment(other @ other.T, y) == pytest.approx(0, abs=1e-12)
    labels = torch.tensor([1, -1, 1, -1])
    assert alignment(torch.outer(labels, labels).double() + 5, labels, centered=True) == 1.0
    blocks = torch.einsum("ni,mj->nmij", y, y)
    assert alignment(blocks, y) == pytest.approx(1, rel=1e-12)
    per_output = torch.einsum("nm,ij->nmij", y @ y.T, torch.eye(2).double())
    assert alignment(per_output, y) <= 2**-0.5


@pytest.mark.parametrize(
    ("kernel", "targets", "message"),
    [
        (torch.eye(3), torch.ones(2), "targets must have shape"),
        (torch.eye(3), torch.ones(3, 2, 2), "targets must have shape"),
        (torch.ones(2, 2, 3, 3), torch.ones(2, 2), "one column for each output"),
        (torch.zeros(2, 2), torch.ones(2), "kernel must not be zero"),
        (torch.eye(2), torch.zeros(2), "targets must not be zero"),
        (torch.ones(2, 3), torch.ones(2), "kernel must be that of samples"),
        (torch.eye(2), torch.tensor([1.0, torch.nan]), "targets must be finite"),
    ],
)
def test_alignment_refuses(kernel, targets, message):
    with pytest.raises(ValueError, match=message):
        alignment(kernel, targets)


def test_alignment_refuses_constants_once_centered():
    with pytest.raises(ValueError, match="targets must not be zero after centering"):
        alignment(torch.eye(2), torch.ones(2), centered=True)
