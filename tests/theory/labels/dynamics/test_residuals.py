"""Residuals of every loss: autograd as referee, saturated networks, refusals."""

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import generators
from theory.labels.dynamics import LOSSES, residual
from theory.labels.losses.base import FACTORS
from theory.labels.softmax import softmax


def by_autograd(loss, logits, target, temperature, factor):
    """-d loss / d logits from the definition of each loss."""
    z = torch.tensor(logits, requires_grad=True)
    p = torch.as_tensor(target)
    q = torch.softmax(z / temperature, dim=-1)
    scale = {"1": 1.0, "tau": temperature, "tau2": temperature**2, "2tau2": 2 * temperature**2}
    if loss in ("cross_entropy", "tempered_cross_entropy"):
        value = -(p * torch.log_softmax(z / temperature, dim=-1)).sum()
    elif loss == "kl":
        value = torch.nn.functional.kl_div(q.log(), p, reduction="sum")
    elif loss == "brier":
        value = ((q - p) ** 2).sum()
    else:
        value = ((z - p) ** 2).sum() / 2
    (scale.get(factor, factor) * value).backward()
    return -z.grad.numpy()


@given(
    st.sampled_from(LOSSES),
    st.sampled_from((*FACTORS, 2.5)),
    st.sampled_from((0.5, 1.0, 2.0, 4.0, 10.0)),
    generators(),
)
def test_residuals_are_minus_the_gradient(loss, factor, temperature, rng):
    if loss == "squared":
        temperature = 1.0
    z, p = 3 * rng.standard_normal((4, 5)), rng.dirichlet(np.ones(5), 4)
    target = rng.standard_normal((4, 5)) if loss == "squared" else p
    got = residual(loss, z, target, temperature=temperature, factor=factor)
    want = by_autograd(loss, z, target, temperature, factor)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-13 * max(1, temperature**2))
    if loss != "squared":
        np.testing.assert_allclose(got.sum(axis=-1), 0.0, atol=1e-13)
        q = softmax(z, temperature)
        same = residual(loss, None, p, temperature=temperature, factor=factor, prediction=q)
        np.testing.assert_allclose(same, got, rtol=0, atol=1e-13)


def test_brier_score_of_draws_has_the_gradient_of_the_squared_distance():
    """sum_k p_k |e_k - q|^2 and |q - p|^2 differ by a constant."""
    rng = np.random.default_rng(0)
    z, p = rng.standard_normal(4), rng.dirichlet(np.ones(4))
    leaf = torch.tensor(z, requires_grad=True)
    q = torch.softmax(leaf, dim=-1)
    distances = ((torch.eye(4, dtype=torch.float64) - q) ** 2).sum(dim=1)
    (torch.as_tensor(p) * distances).sum().backward()
    np.testing.assert_allclose(residual("brier", z, p), -leaf.grad.numpy(), atol=1e-15)


@given(st.floats(20, 600), st.integers(0, 2))
def test_a_sure_network_keeps_its_residual(margin, label):
    z = np.zeros(3)
    z[label] = margin
    with mpmath.workdps(400):
        rest = mpmath.exp(-mpmath.mpf(margin))
        gap, q = 2 * rest / (1 + 2 * rest), 1 / (1 + 2 * rest)
        # A(q) r, in the class of the label, for r = gap there and -gap / 2 in both others
        brier = 2 * q * (1 - q) * (gap + gap / 2)
        want = [float(gap), float(brier)]
    got = [residual(loss, z, np.eye(3)[label])[label] for loss in ("cross_entropy", "brier")]
    np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-305)
    assert residual("kl", z, label)[label] == got[0]


def test_classes_and_distributions_are_both_targets():
    z = np.random.default_rng(1).standard_normal((4, 3))
    labels = [0, 2, 1, 1]
    np.testing.assert_array_equal(
        residual("cross_entropy", z, labels), residual("cross_entropy", z, np.eye(3)[labels])
    )
    shared = residual("cross_entropy", z, [0.2, 0.3, 0.5])
    assert shared.shape == (4, 3)


def test_named_factors_differ_as_they_should():
    z, p, tau = [1.0, -1.0], [0.5, 0.5], 3.0
    one = residual("tempered_cross_entropy", z, p, temperature=tau)
    for factor, times in (("tau", tau), ("tau2", tau**2), ("2tau2", 2 * tau**2), (0.5, 0.5)):
        got = residual("tempered_cross_entropy", z, p, temperature=tau, factor=factor)
        np.testing.assert_allclose(got, times * one, rtol=1e-15)


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        (("hinge", [0.0, 1.0], [0.5, 0.5]), {}, "loss must be one of 'cross_entropy'"),
        (("brier", [0.0, 1.0], [0.5, 0.6]), {}, r"target must be distributions .* 1 \+ 0.1"),
        (("brier", [0.0, 1.0], 2), {}, "target must be integers from 0 to 1"),
        (("kl", [0.0, 1.0], 0), {"temperature": 0.0}, "temperature must be > 0"),
        (("kl", [0.0, 1.0], 0), {"factor": "tau3"}, "factor must be one of '1', 'tau'"),
        (("kl", [0.0, 1.0], 0), {"factor": -1.0}, "factor must be >= 0"),
        (("kl", None, 0), {}, "got neither"),
        (("kl", [0.0, 1.0], 0), {"prediction": [0.5, 0.5]}, "got both"),
        (("kl", [0.0], 0), {}, "at least two classes"),
        (("kl", [[0.0, 1.0]] * 3, [0, 1]), {}, "one class or one distribution for each row"),
        (("squared", None, [0.0, 1.0]), {"prediction": [0.5, 0.5]}, "give logits"),
        (("squared", [0.0, 1.0], [0.0, 1.0]), {"temperature": 2.0}, "no temperature"),
        (("squared", [0.0, 1.0], [0.0, 1.0, 2.0]), {}, "same classes"),
        (("kl", np.zeros((3, 2)), [[0], [1], [0]]), {}, "one class .* for each row"),
        (("squared", [0.0, np.inf], [0.0, 1.0]), {}, "logits must be finite"),
        (("squared", [1e308, 0.0], [-1e308, 0.0]), {}, "residual .* too large"),
        (("kl", [1.0, 0.0], [0.5, 0.5]), {"temperature": 1e-310}, "residual .* too large"),
    ],
)
def test_bad_input_is_refused(arguments, options, says):
    with pytest.raises(ValueError, match=says):
        residual(*arguments, **options)


def test_any_temperature_has_a_residual():
    hot = residual("kl", [1e308, 0.0], [0.0, 1.0], temperature=1e308, factor="tau")
    gap = residual("kl", [1.0, 0.0], [0.0, 1.0])
    np.testing.assert_allclose(hot, gap, rtol=1e-14)
    wide = residual("kl", [1.0, 0.0], [1.0, 0.0], temperature=1e308, factor="2tau2")
    np.testing.assert_allclose(wide, [1e308, -1e308], rtol=1e-14)
