"""Losses of distillation: autograd as the referee of every value and gradient, and their limits."""

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import reference, strategies
from theory.labels import divergences
from theory.labels.bias_variance import regularization_samples, soft_label_weights
from theory.labels.losses import (
    FACTORS,
    Loss,
    distillation,
    filtered_distillation,
    kept_at_random,
    masked_distillation,
    one_hot,
    pair_weights,
    teacher_tempered,
    tempered_cross_entropy,
    triple_weights,
    weighted_distillation,
)
from theory.labels.softmax import softmax

log_softmax = torch.log_softmax


def networks(samples=40, classes=6, seed=0, scale=3.0):
    rng = np.random.default_rng(seed)
    z, v = scale * rng.standard_normal((2, samples, classes))
    return z, v, rng.integers(0, classes, samples)


def assert_as_autograd(loss, value_of, logits, atol=1e-12):
    """``value_of`` maps student logits, a tensor that asks for its gradient, to values."""
    student = torch.tensor(logits, requires_grad=True)
    value = value_of(student)
    gradient = torch.autograd.grad(value.sum(), student)[0].numpy()
    np.testing.assert_allclose(loss.value, value.detach().numpy(), rtol=1e-12, atol=atol)
    np.testing.assert_allclose(loss.gradient, gradient, rtol=1e-9, atol=atol)


def kd(student, teacher, tau, factor=None):
    targets = torch.softmax(torch.as_tensor(teacher) / tau, -1)
    scale = tau**2 if factor is None else factor
    return -scale * (targets * log_softmax(student / tau, -1)).sum(-1)


def ce(student, labels):
    return torch.nn.functional.cross_entropy(student, torch.tensor(labels), reduction="none")


SCALES = {
    "1": lambda t: 1.0,
    "tau": lambda t: t,
    "tau2": lambda t: t * t,
    "2tau2": lambda t: 2 * t * t,
}


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("tau", [0.5, 1.0, 4.0])
def test_distillation_by_autograd(factor, tau):
    z, v, _ = networks()
    scale = SCALES[factor](tau)
    loss = distillation(z, v, tau, factor)
    assert_as_autograd(loss, lambda s: kd(s, v, tau, scale), z)
    less = distillation(z, v, tau, factor, "kl")
    np.testing.assert_array_equal(less.gradient, loss.gradient)
    np.testing.assert_allclose(
        loss.value - less.value, scale * divergences.entropy(softmax(v, tau)), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("value", ["ce", "kl"])
@pytest.mark.parametrize("tau", [0.7, 1.0, 3.0])
def test_any_target_by_autograd(tau, value):
    z, v, y = networks()
    q = softmax(v)
    q[::4] = np.eye(6)[y[::4]]

    def by_torch(s):
        targets = torch.tensor(q)
        found = -(targets * log_softmax(s / tau, -1)).sum(-1)
        if value == "kl":
            found = found + torch.special.xlogy(targets, targets).sum(-1)
        return tau**2 * found

    assert_as_autograd(tempered_cross_entropy(z, q, tau, value=value), by_torch, z)


def test_label_loss_and_teacher_tempered_by_autograd():
    z, v, y = networks()
    assert_as_autograd(one_hot(z, y), lambda s: ce(s, y), z)
    targets = torch.softmax(torch.tensor(v) / 4, -1)
    want = lambda s: -(targets * log_softmax(s, -1)).sum(-1)  # noqa: E731
    assert_as_autograd(teacher_tempered(z, v, 4.0), want, z)
    mixed = 0.6 * one_hot(z, y) + 0.4 * teacher_tempered(z, v, 4.0)
    assert_as_autograd(mixed, lambda s: 0.6 * ce(s, y) + 0.4 * want(s), z)
    both = 0.1 * one_hot(z, y) + 0.9 * distillation(z, v, 4.0)
    assert_as_autograd(both, lambda s: 0.1 * ce(s, y) + 0.9 * kd(s, v, 4.0), z)


@given(strategies.generators(), st.sampled_from((0.3, 1.0, 4.0)))
def test_p45_gradient_of_distillation(rng, tau):
    z, v = 5 * rng.uniform(-1, 1, (2, 3, 6))
    gradient = distillation(z, v, tau).gradient
    assert np.abs(gradient.sum(axis=-1)).max() < 1e-12
    np.testing.assert_allclose(gradient, tau * (softmax(z, tau) - softmax(v, tau)), atol=1e-12)
    step = 1e-5
    for k in range(6):
        ahead, behind = z.copy(), z.copy()
        ahead[:, k] += step
        behind[:, k] -= step
        slope = (distillation(ahead, v, tau).value - distillation(behind, v, tau).value) / 2 / step
        np.testing.assert_allclose(gradient[:, k], slope, atol=1e-6)


@given(strategies.generators(), st.sampled_from((0.5, 1.0, 4.0)), st.floats(-12, 1))
def test_p46_less_the_entropy_it_is_a_divergence(rng, tau, spread):
    v = 4 * rng.standard_normal(5)
    z = v + 10.0**spread * rng.standard_normal(5)
    loss = distillation(z, v, tau)
    divergence = distillation(z, v, tau, value="kl")
    assert divergence.value >= 0
    entropy = divergences.entropy(softmax(v, tau))
    assert loss.value - tau**2 * entropy == pytest.approx(divergence.value, rel=1e-12, abs=1e-12)
    with mp.workdps(80):
        s, t = ([mp.exp(mp.mpf(x) / tau) for x in logits.tolist()] for logits in (z, v))
        s, t = ([x / sum(row) for x in row] for row in (s, t))
        want = tau**2 * sum(b * mp.log(b / a) for a, b in zip(s, t, strict=True))
        assert reference.relative_error(divergence.value, want) < 1e-12
    shifted = distillation(np.round(8 * v) / 8 + 16.0, np.round(8 * v) / 8, tau, value="kl")
    assert shifted.value == 0
    assert not shifted.gradient.any()


@given(strategies.generators(), st.sampled_from((1.0, 4.0)), st.floats(-50, 50))
def test_p49_renormalized_mask_leaves_the_label_alone(rng, tau, shift):
    z, v = 5 * rng.standard_normal((2, 6))
    y = int(rng.integers(6))
    loss = masked_distillation(z, v, y, tau, "renormalized")
    assert loss.gradient[y] == 0
    assert abs(loss.gradient.sum()) < 1e-11
    moved = z + shift
    assert masked_distillation(moved, v, y, tau, "renormalized").value == pytest.approx(
        float(loss.value), rel=1e-11
    )
    moved = z.copy()
    moved[y] += shift
    assert masked_distillation(moved, v, y, tau, "renormalized").value == loss.value


@given(strategies.generators(), st.sampled_from((1.0, 4.0)))
def test_p50_printed_mask_pulls_the_label(rng, tau):
    z, v = 3 * rng.standard_normal((2, 6))
    y = int(rng.integers(6))
    s, t = softmax(z, tau), softmax(v, tau)
    gradient = masked_distillation(z, v, y, tau, "printed").gradient
    assert gradient[y] == pytest.approx(tau * (1 - t[y]) * s[y], rel=1e-9, abs=1e-12)
    step = np.zeros(6)
    step[y] = 1e-5
    ahead, behind = (
        masked_distillation(z + sign * step, v, y, tau, "printed").value for sign in (1, -1)
    )
    assert gradient[y] == pytest.approx((ahead - behind) / 2e-5, abs=1e-7)


@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_masks_by_autograd(tau):
    z, v, y = networks(classes=5)
    own = torch.tensor(np.eye(5)[y].astype(bool))

    def detach(s):
        return kd(torch.where(own, s.detach(), s), v, tau)

    def printed(s):
        targets = torch.softmax(torch.tensor(v) / tau, -1).masked_fill(own, 0.0)
        return -(tau**2) * (targets * log_softmax(s / tau, -1)).sum(-1)

    def renormalized(s):
        rows = (len(y), 4)
        return kd(s[~own].reshape(rows), torch.tensor(v)[~own].reshape(rows), tau)

    for variant, by_torch in (
        ("detach", detach),
        ("printed", printed),
        ("renormalized", renormalized),
    ):
        assert_as_autograd(masked_distillation(z, v, y, tau, variant), by_torch, z)


def test_renormalized_mask_of_two_classes_teaches_nothing():
    loss = masked_distillation([[1.0, 2.0]], [[0.0, 5.0]], [1], 4.0, "renormalized")
    assert loss.value == 0
    assert not loss.gradient.any()


@pytest.mark.parametrize("criterion", ["abs", "signed", "tau1"])
def test_filters_keep_one_part_each(criterion):
    z, v, y = networks(400)
    chosen = regularization_samples(z, v, y, 4.0, criterion)
    assert 0 < chosen.sum() < 400
    excluded = filtered_distillation(z, v, y, "exclude", criterion=criterion)
    only = filtered_distillation(z, v, y, "only", criterion=criterion)
    assert_as_autograd(excluded, lambda s: ce(s, y) + torch.tensor(~chosen) * kd(s, v, 4.0), z)
    assert_as_autograd(only, lambda s: ce(s, y) + torch.tensor(chosen) * kd(s, v, 4.0), z)
    drawn = kept_at_random(chosen, np.random.default_rng(0), excluded=0.5, added=1.0)
    mixed = filtered_distillation(z, v, y, drawn)
    assert_as_autograd(mixed, lambda s: ce(s, y) + torch.tensor(drawn) * kd(s, v, 4.0), z)
    assert (drawn | chosen).all()


def test_samples_are_kept_with_their_probabilities():
    chosen = np.arange(200_000) % 4 == 0
    rng = np.random.default_rng(0)
    drawn = kept_at_random(chosen, rng, excluded=0.75, added=0.5)
    # five standard errors: one false alarm in a million
    assert drawn[chosen].mean() == pytest.approx(0.25, abs=5 * np.sqrt(0.25 * 0.75 / 50_000))
    assert drawn[~chosen].mean() == pytest.approx(0.5, abs=5 * np.sqrt(0.25 / 150_000))
    assert kept_at_random(chosen, rng).all()
    assert (kept_at_random(chosen, rng, excluded=1.0) == ~chosen).all()
    assert (kept_at_random(chosen, rng, added=0.0) == chosen).all()


@pytest.mark.parametrize("form", ["exponential", "sigmoid"])
@pytest.mark.parametrize("eps", [None, 1e-7])
@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_weighted_soft_labels_by_autograd(form, eps, tau):
    z, v, y = networks(seed=5)

    def weight(s):
        ratio = ce(s, y) / (ce(torch.tensor(v), y) + (eps or 0.0))
        return -torch.expm1(-ratio) if form == "exponential" else torch.tanh(ratio / 2)

    held = weighted_distillation(z, v, y, tau, form=form, eps=eps)
    assert_as_autograd(held, lambda s: ce(s, y) + 2.25 * weight(s).detach() * kd(s, v, tau), z)
    moving = weighted_distillation(z, v, y, tau, form=form, eps=eps, detached=False)
    assert_as_autograd(moving, lambda s: ce(s, y) + 2.25 * weight(s) * kd(s, v, tau), z, atol=1e-10)
    np.testing.assert_allclose(
        held.gradient,
        softmax(z)
        - np.eye(6)[y]
        + 2.25
        * tau
        * soft_label_weights(z, v, y, form, eps)[:, None]
        * (softmax(z, tau) - softmax(v, tau)),
        atol=1e-12,
    )


def test_weighted_soft_labels_where_losses_vanish():
    for student, teacher in ((900.0, 900.0), (900.0, 0.0), (0.0, 900.0), (-900.0, 900.0)):
        for detached in (True, False):
            loss = weighted_distillation([[student, 0.0]], [[teacher, 0.0]], [0], detached=detached)
            assert np.isfinite(loss.value).all()
            assert np.isfinite(loss.gradient).all()


def test_a_weight_taught_through_is_another_gradient():
    """Whether the weight is held fixed matters: the gradients differ by a factor of some."""
    z, v, y = networks(200, 10, seed=3)
    held = weighted_distillation(z, v, y).gradient
    moving = weighted_distillation(z, v, y, detached=False).gradient
    norms = np.linalg.norm(moving - held, axis=1) / np.linalg.norm(held, axis=1)
    assert norms.mean() > 1


def test_relational_weights_are_means():
    w = np.random.default_rng(0).random(5)
    pairs, triples = pair_weights(w), triple_weights(w)
    for i in range(5):
        for j in range(5):
            assert pairs[i, j] == pytest.approx((w[i] + w[j]) / 2)
            for k in range(5):
                assert triples[i, j, k] == pytest.approx((w[i] + w[j] + w[k]) / 3)
    assert (pair_weights(np.ones(3)) == 1).all()
    assert (triple_weights(np.ones(3)) == 1).all()


def test_a_nearly_perfect_student_keeps_the_digits_of_its_gradient():
    v = np.array([3.0, 1.0, 0.0, -2.0])
    z = v + np.array([0.0, 1e-13, 0.0, 0.0])
    gap = z[1] - v[1]
    s = softmax(v)
    want = gap * (np.diag(s) - np.outer(s, s))[1]
    np.testing.assert_allclose(distillation(z, v, 1.0).gradient, want, rtol=1e-12)
    sure = one_hot([60.0, 0.0], 0)
    assert sure.gradient[0] == pytest.approx(-np.exp(-60.0), rel=1e-13, abs=0)
    assert sure.value == pytest.approx(np.exp(-60.0), rel=1e-13, abs=0)


def test_losses_add_and_scale():
    one = Loss(np.array([1.0, np.inf]), np.ones((2, 3)))
    two = np.array([2.0, 0.0]) * one + one * 0.5
    np.testing.assert_array_equal(two.value, [2.5, np.inf])
    np.testing.assert_array_equal(two.gradient, [[2.5] * 3, [0.5] * 3])
    np.testing.assert_array_equal((np.array([1.0, 0.0]) * one).value, [1.0, 0.0])


def test_leading_axes_broadcast():
    z, v, y = networks(4)
    many = np.stack([z, z + 1.0])
    for loss in (
        distillation(many, v),
        masked_distillation(many, v, y),
        weighted_distillation(many, v, y),
        filtered_distillation(many, v, y),
        teacher_tempered(many, v),
    ):
        assert loss.value.shape == (2, 4)
        assert loss.gradient.shape == (2, 4, 6)
    alone = distillation(z[0], v[0])
    assert np.shape(alone.value) == ()
    assert alone.gradient.shape == (6,)


@pytest.mark.parametrize("tau", [1e-3, 1e3])
@pytest.mark.parametrize("size", [1.0, 1e6])
def test_extremes_are_finite(tau, size):
    z, v = size * np.array([[1.0, 0.0, -1.0]]), size * np.array([[-1.0, 0.5, 0.0]])
    for loss in (
        distillation(z, v, tau),
        distillation(z, v, tau, value="kl"),
        masked_distillation(z, v, [0], tau, "printed"),
        masked_distillation(z, v, [0], tau, "renormalized"),
        weighted_distillation(z, v, [0], tau, detached=False),
        teacher_tempered(z, v, tau),
    ):
        assert np.isfinite(loss.value).all()
        assert np.isfinite(loss.gradient).all()


Z, V, Y = np.zeros((2, 3)), np.ones((2, 3)), [0, 1]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: distillation(Z, V, 0.0), "temperature must be > 0"),
        (lambda: distillation(Z, V, 1.0, "tau3"), "factor must be one of"),
        (lambda: distillation(Z, V, 1.0, value="js"), "value must be one of"),
        (lambda: distillation(Z, np.ones((3, 3))), "broadcast"),
        (lambda: distillation(np.zeros((2, 1)), V), "at least two classes"),
        (lambda: one_hot(Z, [0, 3]), "target must be integers from 0 to 2"),
        (lambda: one_hot(Z, [0.5, 0.25]), "target must be integers"),
        (lambda: tempered_cross_entropy(Z, [[0.5, 0.5, 0.5]] * 2), "row 0 sums to 1 \\+ 0.5"),
        (lambda: tempered_cross_entropy(Z, np.full((4, 3), 1 / 3)), "target must be one class"),
        (lambda: masked_distillation(Z, V, Y, variant="mask"), "variant must be one of 'detach'"),
        (lambda: filtered_distillation(Z, V, Y, "none"), "keep must be one of 'exclude', 'only'"),
        (lambda: filtered_distillation(Z, V, Y, [True]), "keep must be True or False"),
        (lambda: filtered_distillation(Z, V, Y, [0.5, 1.0]), "keep must be True or False"),
        (lambda: kept_at_random([0.5], np.random.default_rng(0)), "regularization must be True"),
        (lambda: kept_at_random([True], np.random.default_rng(0), excluded=2.0), "excluded must"),
        (lambda: weighted_distillation(Z, V, Y, alpha=-1.0), "alpha must be >= 0"),
        (lambda: weighted_distillation(Z, V, Y, detached=1), "detached must be True or False"),
        (lambda: pair_weights([[1.0]]), "weights must be one number a sample"),
        (lambda: triple_weights([]), "at least one sample"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()
