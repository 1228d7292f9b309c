"""Losses that regularize: values by the definition, gradients by autograd, limits by name."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from tests.strategies import powers_of_ten
from theory.labels import losses as r
from theory.labels import smoothing as s
from theory.labels.losses.base import one_hot, tempered_cross_entropy
from theory.labels.softmax import softmax

N, K = 6, 5
DRAW = np.random.default_rng(7)
LABELS = DRAW.integers(K, size=N)
COPIES = 3 * DRAW.standard_normal((3, N, K))
TEACHER = 2 * DRAW.standard_normal((N, K))
COUNTS = np.eye(K)[LABELS]
ALPHA = 1 + DRAW.gamma(0.5, size=(N, K))
TARGETS = s.beta_targets(DRAW.random(N), DRAW.random(N), LABELS, K)


def ce(p, z, tau=1.0):
    return -(torch.as_tensor(p) * torch.log_softmax(z / tau, -1)).sum(-1)


def kl(p, z, tau=1.0):
    p = torch.as_tensor(p)
    return (p * (torch.log(p) - torch.log_softmax(z / tau, -1))).sum(-1)


def hard(z):
    return ce(COUNTS, z)


def uniform():
    return np.full((N, K), 1 / K)


def entropy(z):
    return -(torch.softmax(z, -1) * torch.log_softmax(z, -1)).sum(-1)


def corrected(g, tau):
    each = torch.softmax(torch.as_tensor(COPIES) / tau, -1)
    own = torch.as_tensor(COUNTS).bool()
    rest = (1 - g) * each / (1 - (each * own).sum(-1, keepdim=True))
    return torch.where(own, torch.full_like(each, g), rest)


def strengths(beta, tau, gamma=1.0):
    return beta * np.exp(TEACHER / tau) + gamma


PAIRS = {
    "label smoothing": (
        lambda z: r.label_smoothing(z, LABELS, 0.3),
        lambda z: ce(0.7 * COUNTS + 0.3 / K, z),
    ),
    "label smoothing, divergence": (
        lambda z: r.label_smoothing(z, LABELS, 0.3, value="kl"),
        lambda z: 0.7 * hard(z) + 0.3 * kl(uniform(), z),
    ),
    "label smoothing, true convention": (
        lambda z: r.label_smoothing(z, LABELS, 0.3, convention="true"),
        lambda z: ce(s.smooth(LABELS, K, 0.3, "true"), z),
    ),
    "LsrKD": (
        lambda z: r.lsrkd(z, LABELS, 0.1, 3.0),
        lambda z: 0.9 * hard(z) + 0.3 * kl(uniform(), z, 3.0),
    ),
    "LsrKD, square": (
        lambda z: r.lsrkd(z, LABELS, 0.1, 3.0, factor="tau2"),
        lambda z: 0.9 * hard(z) + 0.9 * kl(uniform(), z, 3.0),
    ),
    "LsrKD-TC": (
        lambda z: r.lsrkd_tc(z, LABELS, 0.4, 0.2, 3.0),
        lambda z: 0.8 * hard(z) + 0.6 * kl(s.smooth(LABELS, K, 0.6, "true"), z, 3.0),
    ),
    "MrKD": (
        lambda z: r.mrkd(z, LABELS, COPIES, 0.25, 3.0),
        lambda z: (
            0.75 * hard(z)
            + 0.25 * 9 * sum(kl(softmax(c, 3.0), z, 3.0) for c in COPIES) / len(COPIES)
        ),
    ),
    "MrKD, mean copy": (
        lambda z: r.mrkd(z, LABELS, COPIES, 0.25, 3.0, value="mean"),
        lambda z: 0.75 * hard(z) + 0.25 * 9 * kl(softmax(COPIES, 3.0).mean(0), z, 3.0),
    ),
    "MrKD, two real copies": (
        lambda z: r.mrkd(z, LABELS, COPIES, 0.25, 3.0, real=[True, True, False]),
        lambda z: (
            0.75 * hard(z) + 0.25 * 9 * sum(kl(softmax(c, 3.0), z, 3.0) for c in COPIES[:2]) / 2
        ),
    ),
    "MrKD, no real copy": (
        lambda z: r.mrkd(z, LABELS, COPIES, 0.25, 3.0, real=[False] * 3),
        lambda z: 0.75 * hard(z),
    ),
    "MrKD-TC": (
        lambda z: r.mrkd_tc(z, LABELS, COPIES, 0.4, 0.25, 3.0),
        lambda z: 0.75 * hard(z) + 0.25 * 3 * kl(corrected(0.4, 3.0), z, 3.0).mean(0),
    ),
    "MrKD-TC, square": (
        lambda z: r.mrkd_tc(z, LABELS, COPIES, 0.4, 0.25, 3.0, factor="tau2"),
        lambda z: 0.75 * hard(z) + 0.25 * 9 * kl(corrected(0.4, 3.0), z, 3.0).mean(0),
    ),
    "MrKD-TC, two real copies": (
        lambda z: r.mrkd_tc(z, LABELS, COPIES, 0.4, 0.25, 3.0, real=[True, True, False]),
        lambda z: 0.75 * hard(z) + 0.25 * 3 * kl(corrected(0.4, 3.0)[:2], z, 3.0).mean(0),
    ),
    "MrKD-TC, no real copy": (
        lambda z: r.mrkd_tc(z, LABELS, COPIES, 0.4, 0.25, real=[False] * 3),
        lambda z: 0.75 * hard(z),
    ),
    "labels beside a teacher": (
        lambda z: r.self_distillation(z, TEACHER, LABELS, 0.6, 2.0),
        lambda z: 0.6 * hard(z) + 0.4 * ce(softmax(TEACHER, 2.0), z),
    ),
    "labels beside a teacher, both scaled": (
        lambda z: r.self_distillation(z, TEACHER, LABELS, 0.1, 4.0, scale="both", value="kl"),
        lambda z: 0.1 * hard(z) + 0.9 * 16 * kl(softmax(TEACHER, 4.0), z, 4.0),
    ),
    "labels beside a teacher, both scaled, factor 1": (
        lambda z: r.self_distillation(z, TEACHER, LABELS, 0.1, 4.0, scale="both", factor="1"),
        lambda z: 0.1 * hard(z) + 0.9 * ce(softmax(TEACHER, 4.0), z, 4.0),
    ),
    "MrKD-TC, average first": (
        lambda z: r.mrkd_tc(z, LABELS, COPIES, 0.4, 0.25, 3.0, correct="average"),
        lambda z: (
            0.75 * hard(z)
            + 0.25
            * 3
            * kl(s.correct_probabilities(softmax(COPIES, 3.0).mean(0), LABELS, 0.4), z, 3.0)
        ),
    ),
    "Tf-KD": (
        lambda z: r.tfkd(z, LABELS, 0.99, 0.9, 20.0),
        lambda z: 0.1 * hard(z) + 0.9 * kl(s.virtual_teacher(LABELS, K, 0.99, 20.0), z, 20.0),
    ),
    "Tf-KD, released code": (
        lambda z: r.tfkd(
            z,
            LABELS,
            0.99,
            0.9,
            20.0,
            temper="prob_as_logit",
            student_temperature=1.0,
            multiplier=5.0,
            class_mean=True,
        ),
        lambda z: (
            0.1 * hard(z)
            + 0.9
            * 5.0
            * torch.nn.functional.kl_div(
                torch.log_softmax(z, 1),
                torch.softmax(torch.as_tensor(s.smooth(LABELS, K, 0.01, "true")) / 20, 1),
                reduction="none",
            ).mean(-1)
        ),
    ),
    "entropy penalty": (
        lambda z: r.entropy_penalty(z, LABELS, 0.7),
        lambda z: hard(z) - 0.7 * entropy(z),
    ),
    "entropy penalty, as printed": (
        lambda z: r.entropy_penalty(z, LABELS, 0.7, samples=N),
        lambda z: hard(z) - 0.7 / N * entropy(z),
    ),
    "Dirichlet": (
        lambda z: r.dirichlet_map_loss(z, COUNTS, ALPHA),
        lambda z: ce(COUNTS + ALPHA - 1, z),
    ),
    "posterior distillation": (
        lambda z: r.map_distillation_loss(z, LABELS, TEACHER, 0.3, 2.0),
        lambda z: ce(COUNTS + strengths(0.3, 2.0) - 1, z),
    ),
    "posterior distillation, gamma": (
        lambda z: r.map_distillation_loss(z, LABELS, TEACHER, 0.3, 2.0, gamma=1.5),
        lambda z: ce(COUNTS + strengths(0.3, 2.0, 1.5) - 1, z),
    ),
    "rescaled distillation": (
        lambda z: r.rescaled_distillation(z, LABELS, TEACHER, 0.6, 2.0),
        lambda z: 0.6 * hard(z) + 0.4 * ce(strengths(1.0, 2.0, 0.0), z),
    ),
    "Beta smoothing": (
        lambda z: r.beta_smoothing(z, LABELS, TARGETS, 0.6),
        lambda z: 0.6 * hard(z) + 0.4 * ce(TARGETS, z),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("scale", [0.0, 1.0, 8.0])
def test_values_and_gradients_are_those_of_autograd(name, scale):
    ours, theirs = PAIRS[name]
    start = scale * np.random.default_rng(3).standard_normal((N, K))
    z = torch.tensor(start, requires_grad=True)
    value = theirs(z)
    value.sum().backward()
    got = ours(start)
    np.testing.assert_allclose(got.value, value.detach().numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(got.gradient, z.grad.numpy(), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(got.gradient.sum(-1), 0.0, atol=1e-13)


@pytest.mark.theorem("labels:smoothing-identity")
@given(
    st.integers(2, 9), st.integers(0, 2**32 - 1), st.floats(0, 1), st.sampled_from((1.0, 1e3, 1e6))
)
def test_p65_smoothing_is_labels_and_a_uniform_teacher_and_a_constant(k, seed, weight, scale):
    rng = np.random.default_rng(seed)
    z, y = scale * rng.standard_normal(k), int(rng.integers(k))
    whole = r.label_smoothing(z, y, weight)
    apart = r.label_smoothing(z, y, weight, value="kl")
    constant = weight * np.log(k)
    assert whole.value == pytest.approx(apart.value + constant, rel=1e-13, abs=1e-13)
    divergence = tempered_cross_entropy(z, np.full(k, 1 / k), value="kl")
    mixed = (1 - weight) * one_hot(z, y) + weight * divergence
    assert apart.value == pytest.approx(mixed.value, rel=1e-13, abs=0)
    np.testing.assert_allclose(whole.gradient, apart.gradient, atol=1e-14)
    same = r.lsrkd(z, y, weight, 1.0)
    assert same.value == pytest.approx(apart.value, rel=1e-14, abs=0)


@given(
    st.integers(2, 8),
    st.integers(0, 2**32 - 1),
    st.floats(0, 1),
    st.floats(0.5, 20),
    st.sampled_from((("1", 0), ("tau", 1), ("tau2", 2))),
)
def test_p66_the_gradient_of_lsrkd(k, seed, weight, tau, power):
    rng = np.random.default_rng(seed)
    z, y = 4 * rng.uniform(-1, 1, k), int(rng.integers(k))
    factor, f = power
    got = r.lsrkd(z, y, weight, tau, factor=factor).gradient
    label = np.eye(k)[y]
    want = (1 - weight) * (softmax(z) - label) + weight * tau**f / tau * (softmax(z, tau) - 1 / k)
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-13)
    assert got.sum() == pytest.approx(0, abs=1e-12)
    steps = 1e-5 * np.eye(k)
    values = [
        r.lsrkd(z + sign * steps, np.full(k, y), weight, tau, factor=factor).value
        for sign in (1, -1)
    ]
    np.testing.assert_allclose((values[0] - values[1]) / 2e-5, got, atol=1e-7)


@given(st.integers(2, 8), st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0.5, 20))
def test_teachers_that_are_the_same_give_the_same(k, seed, weight, tau):
    rng = np.random.default_rng(seed)
    z, y = 5 * rng.standard_normal((4, k)), rng.integers(k, size=4)
    plain = r.lsrkd(z, y, weight, tau)
    corrected = r.lsrkd_tc(z, y, 1 / k, weight, tau)
    np.testing.assert_allclose(plain.gradient, corrected.gradient, atol=1e-14)
    # an initial network with a zero output layer makes MrKD the LsrKD of factor tau^2
    zero = r.mrkd(z, y, np.zeros((2, 4, k)), weight, tau)
    square = r.lsrkd(z, y, weight, tau, factor="tau2")
    np.testing.assert_allclose(zero.gradient, square.gradient, atol=1e-13)
    np.testing.assert_allclose(zero.value, square.value, rtol=1e-12, atol=1e-14)
    # at temperature one LsrKD-TC smooths to the mass 1 - a + a g
    g = rng.uniform(1 / k, 1)
    one = r.lsrkd_tc(z, y, g, weight, 1.0)
    target = s.smooth(y, k, weight * (1 - g), "true")
    np.testing.assert_allclose(one.gradient, tempered_cross_entropy(z, target).gradient, atol=1e-14)


@pytest.mark.parametrize("order", [1, 2])
def test_the_expansion_of_a_uniform_teachers_gradient(order):
    z = 3 * np.random.default_rng(5).standard_normal((4, 7)) + 10
    errors = []
    for tau in (100.0, 1000.0):
        exact = r.lsrkd(z, [0, 1, 2, 3], 1.0, tau, factor="1").gradient
        gap = r.uniform_gradient_expansion(z, tau, order) - exact
        errors.append(np.abs(gap).max())
        assert errors[-1] < 0.2 * np.abs(exact).max()
    assert np.log10(errors[0] / errors[1]) == pytest.approx(2 + order, abs=0.1)
    # first order: a penalty on centered logits
    linear = r.uniform_gradient_expansion(z, 2.0, 1)
    np.testing.assert_allclose(linear, (z - z.mean(-1, keepdims=True)) / 28, rtol=1e-12)


def test_where_only_the_teacher_is_tempered_the_optimum_is_flatter():
    z, v = TEACHER / 2.0 + 3.0, TEACHER + 3.0
    alone = r.self_distillation(z, TEACHER, LABELS, 0.0, 2.0)
    both = r.self_distillation(v, TEACHER, LABELS, 0.0, 2.0, scale="both")
    for loss in (alone, both):
        np.testing.assert_allclose(loss.gradient, 0.0, atol=1e-15)


@given(st.integers(1, 5), st.integers(0, 2**32 - 1), st.floats(0.5, 20))
def test_only_the_mean_copy_matters(n, seed, tau):
    rng = np.random.default_rng(seed)
    z, copies = rng.standard_normal((3, 4)), rng.standard_normal((n, 3, 4))
    y = rng.integers(4, size=3)
    each, mean = (r.mrkd(z, y, copies, 0.25, tau, value=v) for v in ("each", "mean"))
    np.testing.assert_array_equal(each.gradient, mean.gradient)
    spread = s.copies_divergence(copies, z, tau).spread
    np.testing.assert_allclose(
        each.value - mean.value, 0.25 * tau**2 * spread, rtol=1e-10, atol=1e-13
    )


@given(powers_of_ten(-2, 1.5), st.integers(2, 50))
@example(0.02, 2)
def test_the_entropy_penalty_is_least_at_its_optimum(beta, k):
    p = s.entropy_penalty_optimum(beta, k)
    rest = s.entropy_penalty_optimum(beta, k, complement=True)
    z = np.zeros(k)
    z[1] = np.log(p) + np.log(k - 1) - np.log(rest)
    loss = r.entropy_penalty(z, 1, beta)
    assert np.abs(loss.gradient).max() < 1e-14 * (1 + beta)


def test_copies_without_the_axes_of_the_samples_are_the_same_for_all():
    z = np.random.default_rng(1).standard_normal((N, K))
    copies = COPIES[:, 0]
    for loss in (r.mrkd, lambda z, y, c: r.mrkd_tc(z, y, c, 0.4)):
        got = loss(z, LABELS, copies)
        want = loss(z, LABELS, np.repeat(copies[:, None], N, axis=1))
        np.testing.assert_array_equal(got.value, want.value)
        np.testing.assert_array_equal(got.gradient, want.gradient)


@pytest.mark.parametrize("tau", [1e-300, 1e-160, 1e154])
def test_temperatures_whose_square_is_no_ordinary_number(tau):
    z = np.array([[1.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
    for loss in (
        r.lsrkd(z, [0, 1], 1.0, tau),
        r.lsrkd(z, [0, 1], 1.0, tau, factor="tau2"),
        r.mrkd(z, [0, 1], [z / 2], 1.0, tau),
        r.mrkd_tc(z, [0, 1], [z / 2], 0.5, 1.0, tau),
    ):
        assert np.isfinite(loss.value).all()
        assert np.isfinite(loss.gradient).all()
    # the gradient is tau (s - q), also where tau^2 is 0
    got = tempered_cross_entropy(z, [[0.25, 0.5, 0.25]] * 2, tau).gradient[1]
    np.testing.assert_allclose(
        got, tau * np.array([1 / 12, -1 / 6, 1 / 12]), rtol=1e-12, atol=5e-324
    )


def test_losses_of_logits_without_measure():
    z = np.array([[1e6, 0.0, -1e6], [-1e6, 0.0, 5e-324]])
    for loss in (
        r.label_smoothing(z, [0, 0], 0.1),
        r.lsrkd(z, [0, 0]),
        r.mrkd(z, [0, 0], z[None] / 2),
        r.mrkd_tc(z, [0, 0], z[None], 0.5),
        r.tfkd(z, [0, 0]),
        r.entropy_penalty(z, [0, 0], 1.0),
        r.map_distillation_loss(z, [0, 0], z, 0.1, center="max"),
    ):
        assert np.isfinite(loss.value).all()
        assert np.isfinite(loss.gradient).all()
    # a label of weight nothing costs nothing, also where its loss is beyond any number
    assert r.label_smoothing([-1e308, 1e308], 0, 1.0, convention="true").value == 0.0


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda z, y: r.label_smoothing(z, y, 1.5), r"epsilon must be in \[0, 1\]"),
        (lambda z, y: r.label_smoothing(z, y, 0.1, value="js"), "value must be one of"),
        (lambda z, y: r.label_smoothing(z, [9] * 6, 0.1), "labels must be integers from 0 to 4"),
        (lambda z, y: r.lsrkd(z, y, 0.1, 0.0), "temperature must be > 0"),
        (lambda z, y: r.lsrkd(z, y, 0.1, factor="tau9"), "factor must be one of"),
        (lambda z, y: r.lsrkd(z, y, -0.1), r"weight must be in \[0, 1\]"),
        (lambda z, y: r.uniform_gradient_expansion(z, 3.0, 3), "order must be 1 or 2"),
        (lambda z, y: r.uniform_gradient_expansion(z, 3.0, 0), "order must be an integer >= 1"),
        (lambda z, y: r.uniform_gradient_expansion(1e300 * TEACHER), "squares that are floats"),
        (lambda z, y: r.self_distillation(z, z, y, 1.1), "label_weight must be in"),
        (lambda z, y: r.self_distillation(z, z, y, scale="student"), "scale must be one of"),
        (lambda z, y: r.self_distillation(z, z, y, factor="3"), "factor must be one of"),
        (lambda z, y: r.lsrkd_tc(z, y, 1.1), r"mass must be in \[0, 1\]"),
        (lambda z, y: r.mrkd(z, y, z[0]), "copies must have shape|must broadcast"),
        (lambda z, y: r.mrkd(z, y, np.zeros((2, 6, 4))), "copies must have shape"),
        (lambda z, y: r.mrkd(z, y, np.zeros((0, 6, 5))), "at least one sample"),
        (lambda z, y: r.mrkd(z, y, COPIES, real=[True]), "real must be 3 booleans"),
        (lambda z, y: r.mrkd(z, y, COPIES, value="sum"), "value must be one of"),
        (lambda z, y: r.mrkd_tc(z, y, COPIES, 0.5, correct="none"), "correct must be one of"),
        (lambda z, y: r.tfkd(z, y, multiplier=-1.0), "multiplier must be >= 0"),
        (lambda z, y: r.tfkd(z, y, class_mean=1), "class_mean must be True or False"),
        (lambda z, y: r.entropy_penalty(z, y, -1.0), "beta must be >= 0"),
        (lambda z, y: r.entropy_penalty(z, y, 1.0, samples=0), "samples must be an integer"),
        (lambda z, y: r.dirichlet_map_loss(z, COUNTS, 0.5), "unbounded below"),
        (lambda z, y: r.map_distillation_loss(z, y, 1e5 * TEACHER, 1.0), "choose center="),
        (lambda z, y: r.map_distillation_loss(z, y, np.zeros((N, 4)), 1.0), "same classes"),
        (lambda z, y: r.rescaled_distillation(z, y, np.zeros((N, 4)), 0.6), "same classes"),
        (lambda z, y: r.dirichlet_map_loss(z, COUNTS, 1e308), "sum that is a float"),
        (
            lambda z, y: r.lsrkd(z, y, 0.1, 1e300, factor="tau2"),
            "temperature must have a square that is a float",
        ),
        (lambda z, y: r.lsrkd(z, y, 0.1, 5e-324, factor="1"), "an inverse that is a float"),
        (lambda z, y: r.rescaled_distillation(z, y, 1e5 * TEACHER, 0.5), "choose center="),
        (lambda z, y: r.beta_smoothing(z, y, 2 * TARGETS), r"row 0 sums to 1 \+ 1"),
        (lambda z, y: r.beta_smoothing(z, y, TARGETS, 1.5), "label_weight must be in"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call(np.zeros((N, K)), LABELS)
