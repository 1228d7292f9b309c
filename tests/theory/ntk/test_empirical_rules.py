"""Every kind of layer, every form of the kernel, against the plainest way to it."""

import copy
import warnings

import pytest
import torch
from torch.func import functional_call, jacrev

from tests.theory.ntk.networks import ALL, assert_near, reference
from theory.ntk import empirical_ntk, jacobian_contraction

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")


@pytest.mark.parametrize("name", ALL)
def test_the_reference_is_that_of_jacrev(name):
    built = ALL[name]()
    x = built.x(3)
    parameters = {key: each.detach() for key, each in built.model.named_parameters()}
    model = copy.deepcopy(built.model)  # functional_call spoils a module that has two names
    with warnings.catch_warnings():  # of torch, where an operation is not batched
        warnings.simplefilter("ignore")
        jacobians = jacrev(lambda given: functional_call(model, given, (x,)))(parameters)
    flat = torch.cat([each.reshape(3, each.shape[1], -1) for each in jacobians.values()], 2)
    assert_near(torch.einsum("nip,mjp->nmij", flat, flat), reference(built.model, x), 1e-14)


@pytest.mark.parametrize("name", ALL)
def test_every_form_of_the_kernel(name):
    built = ALL[name]()
    x1, x2 = built.x(4), built.x(3, seed=5)
    square, cross = reference(built.model, x1), reference(built.model, x1, x2)
    for want, other in ((square, None), (cross, x2), (square, x1.clone())):
        got = empirical_ntk(built.model, x1, other)
        assert_near(got, want)
        size = float(want.abs().max())
        forms = {
            "trace": torch.einsum("nmii->nm", want),
            "diagonal": torch.einsum("nmii->nmi", want),
            "pseudo": want.sum((2, 3)) / want.shape[2],
        }
        for outputs, form in forms.items():
            found = empirical_ntk(built.model, x1, other, outputs=outputs)
            assert_near(found, form, scale=size * want.shape[2])
        chosen = [want.shape[2] - 1, 0]
        found = empirical_ntk(built.model, x1, other, outputs=chosen)
        assert_near(found, want[:, :, chosen][..., chosen], scale=size)


GENERAL = {
    "instance norm",
    "embedding bag",
    "prelu",
    "raw parameters",
    "attention",
    "transformer layer",
    "gru",
    "lstm",
    "weight norm",
    "weight norm of a convolution",
    "tied embedding",
    "called twice and by hand",
    "only by hand",
    "subclass of a layer",
    "sequence first",
    "unused",
    "positions",
}
"""Where some parameters have no rule, or are used in another way than it says."""


@pytest.mark.parametrize("name", [name for name in ALL if name not in GENERAL])
def test_rules_are_used(name, monkeypatch):
    """A rule that is wrong would be found out by the engine's own check, and only cost time."""

    def refuse(*given, **options):
        pytest.fail("some parameters went the general way")

    monkeypatch.setattr("theory.ntk.empirical.jacobian_contraction", refuse)
    built = ALL[name]()
    assert_near(empirical_ntk(built.model, built.x()), reference(built.model, built.x()))


@pytest.mark.parametrize("name", sorted(GENERAL))
def test_what_has_no_rule_goes_the_general_way(name, monkeypatch):
    called = []

    def watched(*given, **options):
        called.append(given)
        return jacobian_contraction(*given, **options)

    monkeypatch.setattr("theory.ntk.empirical.jacobian_contraction", watched)
    built = ALL[name]()
    empirical_ntk(built.model, built.x())
    assert called


@pytest.mark.parametrize("name", ALL)
def test_symmetry_is_exact(name):
    built = ALL[name]()
    x = built.x(5)
    full = empirical_ntk(built.model, x)
    assert torch.equal(full, full.permute(1, 0, 3, 2))
    for outputs in ("trace", "pseudo", "diagonal"):
        kernel = empirical_ntk(built.model, x, outputs=outputs)
        assert torch.equal(kernel, kernel.transpose(0, 1))


@pytest.mark.parametrize("name", ALL)
def test_layers_add_up(name):
    built = ALL[name]()
    x1, x2 = built.x(3), built.x(2, seed=5)
    layers = empirical_ntk(built.model, x1, x2, by_layer=True)
    assert_near(sum(layers.values()), reference(built.model, x1, x2))
    modules = dict(built.model.named_modules())
    owners = {name for name, module in modules.items() if module._parameters}
    assert owners >= set(layers)
    for outputs in ("trace", "diagonal", "pseudo", [0]):
        whole = empirical_ntk(built.model, x1, x2, outputs=outputs)
        layers = empirical_ntk(built.model, x1, x2, outputs=outputs, by_layer=True)
        assert_near(sum(layers.values()), whole, scale=float(sum(layers.values()).abs().max()) * 4)


CUT = (
    "two linear",
    "linear on a grid",
    "conv2d same even",
    "conv2d groups",
    "conv2d many channels",
    "transposed 2d options",
    "layer norm is the output",
    "embedding with few rows",
    "called twice",
    "raw parameters",
    "tied embedding",
)
"""One for each way in which work is cut into blocks."""


@pytest.mark.parametrize("name", CUT)
def test_the_budget_changes_nothing(name):
    """From the smallest that is accepted upward."""
    built = ALL[name]()
    x1, x2 = built.x(5), built.x(3, seed=5)
    for outputs, other in (("full", None), ("full", x2), ("trace", None), ("diagonal", x2)):
        want = reference(built.model, x1, other)
        forms = {"trace": "nmii->nm", "diagonal": "nmii->nmi", "full": "nmij->nmij"}
        form = torch.einsum(forms[outputs], want)
        smallest = smallest_budget(built.model, x1, other, outputs)
        for memory in (smallest, 6 * smallest):
            found = empirical_ntk(built.model, x1, other, outputs=outputs, memory=memory)
            assert_near(found, form, scale=float(want.abs().max()) * want.shape[2])


def smallest_budget(model, x1, x2, outputs):
    """The smallest power of two that is accepted."""
    for power in range(8, 31):
        try:
            empirical_ntk(model, x1, x2, outputs=outputs, memory=1 << power)
        except ValueError as error:
            assert "memory" in str(error)  # noqa: PT017 - whether it is the budget that is refused
            continue
        return 1 << power
    pytest.fail("no budget up to 1 GiB is accepted")


LARGE = (
    "linear last on a sequence",
    "wide",
    "conv2d many channels",
    "conv2d is the output",
    "transposed 2d options",
    "batch norm 2d",
    "layer norm is the output",
    "embedding of one index",
    "called twice",
    "raw parameters",
)
"""One for each way in which a large block is put together."""


@pytest.mark.parametrize("name", LARGE)
def test_many_samples(name):
    """Kernels so large that they are made strip by strip: entries at the ends of strips."""
    built = ALL[name]()
    x1, x2 = built.x(280), built.x(260, seed=5)
    rows, columns = [0, 1, 100, 254, 255, 256, 257, 279], [0, 47, 48, 128, 255, 256, 259]
    for other, right, chosen in ((None, x1, rows), (x2, x2, columns)):
        full = empirical_ntk(built.model, x1, other)
        want = reference(built.model, x1[rows], right[chosen])
        assert_near(full[rows][:, chosen], want)
        size = float(full.abs().max())
        forms = {
            "trace": torch.einsum("nmii->nm", full),
            "diagonal": torch.einsum("nmii->nmi", full),
            "pseudo": full.sum((2, 3)) / full.shape[2],
        }
        for outputs, form in forms.items():
            found = empirical_ntk(built.model, x1, other, outputs=outputs)
            assert_near(found, form, scale=size * 4)
            assert other is not None or torch.equal(found, found.transpose(0, 1))
        assert other is not None or torch.equal(full, full.permute(1, 0, 3, 2))
