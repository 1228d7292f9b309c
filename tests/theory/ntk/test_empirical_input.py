"""Bad input ends in a ValueError that says what was required and what came."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.theory.ntk.networks import Positions, normal, on, randomized
from theory.ntk import NTKOperator, empirical_ntk, kernel_matrix
from theory.ntk.inputs import is_finite


def mlp():
    return on(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), 4)


class Returns(nn.Module):
    """Returns whatever ``what`` makes of the outputs of a layer."""

    def __init__(self, what):
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.what = what

    def forward(self, x):
        return self.what(self.layer(x))


OUTPUTS = {
    "one number for each sample": (lambda y: y[:, 0], r"\([23],\)"),
    "one number": (lambda y: y.sum(), r"\(\)"),
    "images": (lambda y: y[:, :, None], r"\([23], 3, 1\)"),
    "a tuple": (lambda y: (y, y), "tuple"),
    "a dict": (lambda y: {"logits": y}, "dict"),
    "fewer samples": (lambda y: y[:1], r"\(1, 3\)"),
    "no outputs": (lambda y: y[:, :0], "0"),
    "classes": (lambda y: y.argmax(1, keepdim=True), "int64"),
}


@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize("use", [empirical_ntk, NTKOperator])
def test_outputs_must_be_one_row_a_sample(kind, use):
    what, came = OUTPUTS[kind]
    with pytest.raises(ValueError, match=f"output.*({came})|({came}).*output|return.*({came})"):
        use(randomized(Returns(what)), normal(3, 4))


@pytest.mark.parametrize("use", [empirical_ntk, NTKOperator])
def test_empty_batches(use):
    """An empty kernel, or a refusal that says so."""
    for x1, x2 in (
        (normal(0, 4), None),
        (normal(0, 4), normal(2, 4)),
        (normal(2, 4), normal(0, 4)),
    ):
        with pytest.raises(ValueError, match=r"x[12]? .*at least one sample|empty"):
            use(mlp().model, x1, x2)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("use", [empirical_ntk, NTKOperator])
def test_weights_must_be_finite(bad, use):
    model = mlp().model
    with torch.no_grad():
        model[2].weight[1, 2] = bad
    with pytest.raises(ValueError, match=r"finite.*2\.weight"):
        use(model, normal(3, 4))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_stop_being_finite_are_named(bad):
    """Also once the model is known, whether outputs show it or only gradients."""
    model = mlp().model
    empirical_ntk(model, normal(3, 4))
    with torch.no_grad():
        model[2].weight[1, 2] = bad
    with pytest.raises(ValueError, match=r"finite.*2\.weight"):
        empirical_ntk(model, normal(3, 4))
    hidden = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2), torch.nn.Sigmoid())
    empirical_ntk(randomized(hidden), normal(3, 4))
    with torch.no_grad():
        hidden[1].weight[0, 0] = bad
    with pytest.raises(ValueError, match=r"finite.*1\.weight"):
        empirical_ntk(hidden, normal(3, 4))


def test_an_infinite_weight_behind_which_all_is_finite():
    saturated = randomized(torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Sigmoid()))
    empirical_ntk(saturated, normal(3, 4))
    with torch.no_grad():
        saturated[0].bias[1] = math.inf
    kernel = empirical_ntk(saturated, normal(3, 4))
    assert kernel.isfinite().all()
    assert (kernel[:, :, 1] == 0).all()
    assert (kernel[:, :, :, 1] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_sums_that_overflow_are_not_taken_for_infinite_terms(dtype):
    large = torch.finfo(dtype).max / 2
    assert is_finite(torch.full((9,), large, dtype=dtype))
    assert not is_finite(torch.tensor([1.0, math.nan], dtype=dtype))
    assert not is_finite(torch.tensor([-math.inf, math.inf], dtype=dtype))
    assert is_finite(torch.zeros(0, dtype=dtype))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 5])
def test_inputs_must_be_finite(bad, place):
    """Also where it is not among the first samples."""
    x = normal(6, 4)
    x[place, 1] = bad
    with pytest.raises(ValueError, match=r"finite"):
        empirical_ntk(mlp().model, x)
    with pytest.raises(ValueError, match=r"finite"):
        empirical_ntk(mlp().model, normal(2, 4), x)


def test_gradients_that_are_not_finite():
    """Finite outputs, but a derivative that is not: never a silent nan."""
    model = randomized(Returns(lambda y: (y - y).abs().sqrt() + y))
    with pytest.raises(ValueError, match=r"finite"):
        empirical_ntk(model, normal(3, 4))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool, torch.uint8])
def test_integer_inputs_to_dense_layers(dtype):
    with pytest.raises(ValueError, match=r"int|bool|dtype"):
        empirical_ntk(mlp().model, torch.ones(3, 4, dtype=dtype))


def test_integer_inputs_to_embeddings_are_right():
    model = randomized(Positions())
    kernel = empirical_ntk(model, torch.tensor([[0, 1, 2], [3, 3, 4]]))
    assert kernel.shape == (2, 2, 2, 2)


def test_indices_out_of_range():
    with pytest.raises(ValueError, match=r"IndexError|range"):
        empirical_ntk(randomized(Positions()), torch.tensor([[0, 1, 7]]))


def test_inputs_in_another_precision():
    """Refused with both named, or computed in the model's."""
    with pytest.raises(ValueError, match=r"float32"):
        empirical_ntk(mlp().model, normal(3, 4).float())


def test_inputs_on_another_device():
    with pytest.raises(ValueError, match=r"meta"):
        empirical_ntk(mlp().model, torch.ones(3, 4, dtype=torch.float64, device="meta"))
    with pytest.raises(ValueError, match=r"meta"):
        empirical_ntk(
            mlp().model,
            normal(3, 4),
            torch.ones(3, 4, dtype=torch.float64, device="meta"),
        )


def test_shapes_of_inputs():
    with pytest.raises(ValueError, match=r"\([23], 5\)"):
        empirical_ntk(mlp().model, normal(3, 5))
    with pytest.raises(ValueError, match=r"x2.*\((3, )?5,?\)"):
        empirical_ntk(mlp().model, normal(3, 4), normal(3, 5))


@pytest.mark.parametrize("x", [np.ones((3, 4)), [[1.0] * 4], None, 3.0])
def test_inputs_must_be_tensors(x):
    with pytest.raises(ValueError, match=r"x1.*tensor"):
        empirical_ntk(mlp().model, x)


@pytest.mark.parametrize("memory", [0, -1, 1, 64, 1.5, math.nan, "1GB"])
def test_a_budget_too_small(memory):
    with pytest.raises(ValueError, match=r"memory"):
        empirical_ntk(mlp().model, normal(6, 4), memory=memory)


def test_the_budget_that_would_suffice_is_named():
    """Where a budget is refused, the number in the message is accepted."""
    import re

    model = on(nn.Sequential(nn.Linear(4, 500), nn.Tanh(), nn.Linear(500, 9)), 4).model
    with pytest.raises(ValueError, match=r"memory.*\d") as refused:
        empirical_ntk(model, normal(6, 4), memory=100)
    numbers = [int(each.replace(",", "")) for each in re.findall(r"\d[\d,]*", str(refused.value))]
    empirical_ntk(model, normal(6, 4), memory=max(numbers))


@pytest.mark.parametrize(
    ("outputs", "came"),
    [
        ("diag", "diag"),
        ("", "''"),
        ([], "empty|at least one|\\[\\]"),
        ([3], "3"),
        ([-4], "-4"),
        ([0, 0.5], "0.5"),
        ([True, False], "True"),
        (None, "None"),
        (7, "7"),
    ],
)
def test_unknown_outputs(outputs, came):
    with pytest.raises(ValueError, match=rf"outputs.*({came})"):
        empirical_ntk(mlp().model, normal(3, 4), outputs=outputs)


@pytest.mark.parametrize(
    ("parameters", "came"),
    [
        (["0.size"], "0.size"),
        ([], "no parameter|at least one|none"),
        (lambda name: False, "no parameter|at least one|none"),
        (3, "3|int"),
        ({"0.weight": torch.ones(1)}, "dict|names"),
    ],
)
def test_unknown_parameters(parameters, came):
    with pytest.raises(ValueError, match=rf"parameter.*({came})|({came}).*parameter"):
        empirical_ntk(mlp().model, normal(3, 4), parameters=parameters)


def test_nothing_requires_a_gradient():
    model = mlp().model.requires_grad_(requires_grad=False)
    with pytest.raises(ValueError, match=r"requires? (a )?grad"):
        empirical_ntk(model, normal(3, 4))
    with pytest.raises(ValueError, match=r"parameter"):
        empirical_ntk(nn.Tanh(), normal(3, 4))


@pytest.mark.parametrize(
    "out",
    [
        torch.zeros(3, 3, dtype=torch.float64),
        torch.zeros(3, 3, 3, 2, dtype=torch.float64),
        torch.zeros(3, 3, 3, 3, dtype=torch.int64),
        torch.zeros(3, 3, 3, 3, dtype=torch.float64, device="meta"),
        np.zeros((3, 3, 3, 3), dtype=np.int32),
        [0.0],
    ],
)
def test_a_place_that_does_not_fit(out):
    with pytest.raises(ValueError, match=r"out "):
        empirical_ntk(mlp().model, normal(3, 4), out=out)


def test_a_place_that_cannot_be_written():
    out = np.zeros((3, 3, 3, 3))
    out.setflags(write=False)
    with pytest.raises(ValueError, match=r"out "):
        empirical_ntk(mlp().model, normal(3, 4), out=out)


def test_kinds_of_numbers():
    for dtype in (torch.int64, "float64", torch.complex64):
        with pytest.raises(ValueError, match=r"dtype"):
            empirical_ntk(mlp().model, normal(3, 4), dtype=dtype)


def test_something_that_is_no_model():
    for model in (None, 3, "resnet"):
        with pytest.raises(ValueError, match=r"model"):
            empirical_ntk(model, normal(3, 4))


def test_a_function_without_parameters():
    with pytest.raises(ValueError, match=r"param"):
        empirical_ntk(lambda params, x: x, normal(3, 4))


@pytest.mark.parametrize("kernel", [torch.ones(3), torch.ones(2, 2, 3, 2), np.ones((2, 2, 3, 3))])
def test_a_matrix_of_no_kernel(kernel):
    with pytest.raises(ValueError, match=r"kernel"):
        kernel_matrix(kernel)
