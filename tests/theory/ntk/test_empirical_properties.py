"""What holds for the kernel of any network, on networks that Hypothesis builds."""

import copy
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from tests.theory.ntk.networks import (
    assert_near,
    built_networks,
    dense_networks,
    jacobian,
    normal,
    on,
    randomized,
    reference,
    share,
)
from theory.ntk import empirical_ntk, kernel_matrix

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
samples = st.integers(1, 6)
few = share(5)


@share(2)
@given(built=built_networks(), n=samples, m=st.none() | samples)
def test_any_network(built, n, m):
    x1, x2 = built.x(n), None if m is None else built.x(m, seed=5)
    want = reference(built.model, x1, x2)
    assert_near(empirical_ntk(built.model, x1, x2), want)
    trace = empirical_ntk(built.model, x1, x2, outputs="trace")
    assert_near(trace, torch.einsum("nmii->nm", want), scale=trace_size(want))


@few
@given(built=built_networks(), n=samples, m=st.none() | samples, memory=st.integers(16, 22))
def test_forms_agree_with_the_full_kernel(built, n, m, memory):
    x1, x2 = built.x(n), None if m is None else built.x(m, seed=5)
    full = empirical_ntk(built.model, x1, x2)
    forms = {
        "trace": torch.einsum("nmii->nm", full),
        "diagonal": torch.einsum("nmii->nmi", full),
        "pseudo": full.sum((2, 3)) / full.shape[2],
    }
    for outputs, want in forms.items():
        found = empirical_ntk(built.model, x1, x2, outputs=outputs, memory=1 << memory)
        assert_near(found, want, scale=trace_size(full))


def trace_size(full):
    """The size by which errors of sums over pairs of outputs are judged."""
    return float(full.abs().max()) * full.shape[2] ** 2


@few
@given(built=built_networks(), n=samples)
def test_symmetric_and_positive(built, n):
    kernel = empirical_ntk(built.model, built.x(n))
    assert torch.equal(kernel, kernel.permute(1, 0, 3, 2))
    matrix = kernel_matrix(kernel)
    assert torch.equal(matrix, matrix.mT)
    eigenvalues = torch.linalg.eigvalsh(matrix)
    assert eigenvalues.min() >= -1e-14 * len(matrix) * eigenvalues.max()


@few
@given(built=built_networks(), n=samples)
def test_the_same_inputs_twice(built, n):
    x = built.x(n)
    once, twice = empirical_ntk(built.model, x), empirical_ntk(built.model, x, x.clone())
    assert_near(once, twice, 1e-14)
    assert_near(empirical_ntk(built.model, x, x), twice, 1e-14)


@few
@given(built=built_networks(), data=st.data())
def test_parameters_add_up(built, data):
    names = [name for name, _ in built.model.named_parameters()]
    first = [name for name in names if data.draw(st.booleans())]
    second = [name for name in names if name not in first]
    x1, x2 = built.x(3), built.x(2, seed=5)
    parts = [
        empirical_ntk(built.model, x1, x2, parameters=part) for part in (first, second) if part
    ]
    whole = empirical_ntk(built.model, x1, x2)
    assert_near(sum(parts), whole)
    for part, names_of_part in zip(parts, filter(None, (first, second)), strict=True):
        want = reference(built.model, x1, x2, parameters=names_of_part)
        assert_near(part, want, scale=float(whole.abs().max()))


@few
@given(built=built_networks(), data=st.data())
def test_samples_in_another_order(built, data):
    order = data.draw(st.permutations(range(5)))
    x = built.x(5)
    kernel = empirical_ntk(built.model, x)
    assert_near(empirical_ntk(built.model, x[order]), kernel[order][:, order], 1e-14)
    part = order[: data.draw(st.integers(1, 5))]
    assert_near(
        empirical_ntk(built.model, x[part], x),
        kernel[part],
        1e-14,
        scale=float(kernel.abs().max()),
    )


@few
@given(built=built_networks(), threads=st.sampled_from([1, 2, 3]))
def test_threads_and_budget_change_nothing(built, threads):
    x = built.x(6)
    want = reference(built.model, x)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = [empirical_ntk(built.model, x, memory=memory) for memory in (1 << 18, 1 << 30)]
    finally:
        torch.set_num_threads(before)
    for kernel in found:
        assert_near(kernel, want)


def homogeneous(widths):
    """Dense layers without bias and ReLU between them."""
    layers = []
    for inward, outward in itertools.pairwise(widths):
        layers += [nn.Linear(inward, outward, bias=False), nn.ReLU()]
    return on(nn.Sequential(*layers[:-1]), widths[0])


@few
@given(
    widths=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    factor=st.floats(0.01, 100),
)
def test_power_laws_of_homogeneous_networks(widths, factor):
    built = homogeneous(widths)
    x = built.x(4)
    kernel = empirical_ntk(built.model, x)
    assert_near(empirical_ntk(built.model, factor * x), factor**2 * kernel)
    assert_near(empirical_ntk(built.model, x, factor * x), factor * kernel)
    scaled = copy.deepcopy(built.model)
    with torch.no_grad():
        for parameter in scaled.parameters():
            parameter.mul_(factor)
    depth = len(widths) - 1
    assert_near(empirical_ntk(scaled, x), factor ** (2 * (depth - 1)) * kernel)


@few
@given(built=dense_networks(), factor=st.floats(-10, 10))
def test_a_scaled_readout(built, factor):
    """All layers but the last grow with its square; the last one's own part stays."""
    model, x = built.model, built.x(4)
    last = f"{len(model) - 1}"
    scaled = copy.deepcopy(model)
    with torch.no_grad():
        scaled[-1].weight.mul_(factor)
    before, after = (empirical_ntk(each, x, by_layer=True) for each in (model, scaled))
    for name in before:
        want = before[name] if name == last else factor**2 * before[name]
        assert_near(after[name], want, scale=float(before[name].abs().max()) * max(1, factor**2))


@few
@given(seed=st.integers(0, 1000), width=st.integers(1, 6))
def test_rotated_hidden_units(seed, width):
    """Rotating the hidden layer of a linear network changes neither outputs nor kernel."""
    model = randomized(nn.Sequential(nn.Linear(4, width, bias=False), nn.Linear(width, 3)), seed)
    rotated = copy.deepcopy(model)
    rotation = torch.linalg.qr(normal(width, width, seed=seed)).Q
    with torch.no_grad():
        rotated[0].weight.copy_(rotation @ model[0].weight)
        rotated[1].weight.copy_(model[1].weight @ rotation.mT)
    x = normal(5, 4)
    torch.testing.assert_close(rotated(x), model(x), rtol=1e-12, atol=1e-12)
    assert_near(empirical_ntk(rotated, x), empirical_ntk(model, x))


def test_a_linear_network_by_hand():
    model = randomized(nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 2)))
    x = normal(4, 3)
    hidden, readout = x @ model[0].weight.mT, model[1].weight
    inward = torch.einsum("nm,ij->nmij", x @ x.mT, readout @ readout.mT)
    outward = torch.einsum("nm,ij->nmij", hidden @ hidden.mT + 1, torch.eye(2).double())
    assert_near(empirical_ntk(model, x), (inward + outward).detach())


def moved(model, direction, step):
    """Outputs' parameters moved by ``step`` along a flat direction."""
    parameters, place = {}, 0
    for name, each in model.named_parameters():
        part = direction[place : place + each.numel()].view_as(each)
        parameters[name] = each.detach() + step * part
        place += each.numel()
    return parameters


@few
@given(built=built_networks(), n=st.integers(1, 4))
def test_moving_along_a_gradient(built, n):
    r""":math:`f(\theta + \epsilon J^\top v) - f(\theta) = \epsilon K v + O(\epsilon^2)`."""
    model, x = built.model, built.x(n)
    gradients = jacobian(model, x)
    v = normal(*gradients.shape[:2], seed=7)
    v /= torch.einsum("nip,ni->p", gradients, v).norm() + 1e-9
    direction = torch.einsum("nip,ni->p", gradients, v)
    predicted = torch.einsum("nmij,mj->ni", empirical_ntk(model, x), v)
    step = 1e-5
    with torch.no_grad():
        ahead = functional_call(model, moved(model, direction, step), (x,))
        behind = functional_call(model, moved(model, direction, -step), (x,))
    measured = (ahead - behind) / (2 * step)
    torch.testing.assert_close(measured, predicted, rtol=1e-5, atol=1e-6)


def test_a_small_step_of_gradient_descent():
    """What the kernel does not predict of a step falls as its square."""
    built = on(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)), 4)
    model, x, unseen = built.model, built.x(6), built.x(3, seed=9)
    targets = normal(6, 3, seed=3)
    with torch.no_grad():
        start, residual = model(unseen), model(x) - targets
    pull = torch.einsum("nmij,mj->ni", empirical_ntk(model, unseen, x), residual)
    errors = []
    for rate in (1e-2, 5e-3, 2.5e-3):
        trained = copy.deepcopy(model)
        (0.5 * (trained(x) - targets).square().sum()).backward()
        with torch.no_grad():
            for parameter in trained.parameters():
                parameter.sub_(rate * parameter.grad)
            errors.append(float((trained(unseen) - start + rate * pull).norm()))
    for coarse, fine in itertools.pairwise(errors):
        assert coarse / fine == pytest.approx(4, rel=0.15)


@few
@given(built=built_networks(norms=False), n=samples)
def test_single_precision(built, n):
    """Smooth networks alone: a kink may fall to the other side of zero, a norm may divide by it."""
    x = built.x(n)
    want = empirical_ntk(built.model, x)
    single = copy.deepcopy(built.model).float()
    found = empirical_ntk(single, x.float() if x.is_floating_point() else x)
    assert found.dtype == torch.float32
    assert_near(found.double(), want, 2e-5)
