"""Relations between samples: plain loops for the values, autograd for the gradient."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from theory.labels.losses import pair_weights, relational_distillation, triple_weights

ORDINARY = np.random.default_rng(3)
STUDENT, TEACHER = ORDINARY.standard_normal((5, 3)), 4 * ORDINARY.standard_normal((5, 2))


def h(x):
    return x * x / 2 if abs(x) < 1 else abs(x) - 0.5


def by_loops(student, teacher, w, distance, angle):
    """Sample by sample, pair by pair, triple by triple."""
    n = len(student)

    def psi(f):
        sizes = np.array([[np.linalg.norm(f[i] - f[j]) for j in range(n)] for i in range(n)])
        return sizes / sizes[sizes > 0].mean()

    def cosine(f, i, j, k):
        a, b = f[j] - f[i], f[k] - f[i]
        size = np.linalg.norm(a) * np.linalg.norm(b)
        return a @ b / size if size else 0.0

    far, close = psi(student), psi(teacher)
    total = sum(
        distance / n**2 * (w[i] + w[j]) / 2 * h(far[i, j] - close[i, j])
        for i in range(n)
        for j in range(n)
    )
    return total + sum(
        angle / n**3 * (w[i] + w[j] + w[k]) / 3
        * h(cosine(student, i, j, k) - cosine(teacher, i, j, k))
        for i in range(n)
        for j in range(n)
        for k in range(n)
    )  # fmt: skip


def by_torch(student, teacher, w, distance, angle):
    """With the operations of a training loop; no two samples coincide."""

    def relations(f):
        step = f.unsqueeze(0) - f.unsqueeze(1)
        apart = step.square().sum(-1)
        size = torch.where(apart > 0, apart, torch.ones_like(apart)).sqrt() * (apart > 0)
        unit = step / torch.where(apart > 0, size, torch.ones_like(size))[..., None]
        return size / size[size > 0].mean(), unit @ unit.transpose(1, 2)

    (far, turned), (its_far, its_turned) = relations(student), relations(teacher)
    smooth = torch.nn.functional.smooth_l1_loss
    pairs, triples = (torch.as_tensor(f(w)) for f in (pair_weights, triple_weights))
    return (
        distance * (pairs * smooth(far, its_far, reduction="none")).mean()
        + angle * (triples * smooth(turned, its_turned, reduction="none")).mean()
    )


@given(st.integers(2, 6), st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_value_by_loops_and_gradient_by_autograd(n, d, teacher_d, seed):
    rng = np.random.default_rng(seed)
    student, teacher = rng.standard_normal((n, d)) ** 3, rng.standard_normal((n, teacher_d))
    w, distance, angle = rng.random(n), *rng.uniform(0, 50, 2)
    got = relational_distillation(student, teacher, w, distance=distance, angle=angle)
    want = by_loops(student, teacher, w, distance, angle)
    assert got.value == pytest.approx(want, rel=1e-12, abs=1e-13)
    features = torch.tensor(student, requires_grad=True)
    value = by_torch(features, torch.as_tensor(teacher), w, distance, angle)
    value.backward()
    assert got.value == pytest.approx(value.item(), rel=1e-11, abs=1e-13)
    size = np.abs(features.grad.numpy()).max()
    np.testing.assert_allclose(got.gradient, features.grad.numpy(), atol=1e-10 * max(size, 1e-2))
    # neither a place nor a scale is asked of the student
    np.testing.assert_allclose(got.gradient.sum(axis=0), 0, atol=1e-11 * max(size, 1))
    assert abs((got.gradient * student).sum()) < 1e-9 * max(size, 1)


def test_weights_of_one_are_the_plain_loss_and_weights_are_linear():
    plain = relational_distillation(STUDENT, TEACHER)
    ones = relational_distillation(STUDENT, TEACHER, np.ones(5))
    np.testing.assert_array_equal(plain.gradient, ones.gradient)
    parts = [relational_distillation(STUDENT, TEACHER, row) for row in np.eye(5)]
    assert sum(part.value for part in parts) == pytest.approx(plain.value, rel=1e-13)
    np.testing.assert_allclose(sum(part.gradient for part in parts), plain.gradient, rtol=1e-11)


def test_a_student_of_the_same_relations_has_no_loss():
    turn = np.linalg.qr(ORDINARY.standard_normal((2, 2)))[0]
    same = relational_distillation(3 * TEACHER @ turn + 1, TEACHER)
    assert same.value < 1e-25
    np.testing.assert_allclose(same.gradient, 0.0, atol=1e-13)


def test_samples_that_coincide_have_no_direction():
    twice = STUDENT[[0, 0, 1, 2, 3]]
    loss = relational_distillation(twice, TEACHER)
    assert loss.value == pytest.approx(by_loops(twice, TEACHER, np.ones(5), 25, 50), rel=1e-12)
    assert np.isfinite(loss.gradient).all()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: relational_distillation(STUDENT[:1], TEACHER[:1]), "at least two samples"),
        (lambda: relational_distillation(STUDENT, TEACHER[:4]), "same samples, got 5 and 4"),
        (lambda: relational_distillation(STUDENT, np.ones((5, 2))), "teacher_features must not"),
        (lambda: relational_distillation(STUDENT[0], TEACHER), "student_features must be a matrix"),
        (lambda: relational_distillation(STUDENT, TEACHER, [1.0]), "weights must be one number a"),
        (lambda: relational_distillation(STUDENT, TEACHER, -np.ones(5)), "weights must be >= 0"),
        (lambda: relational_distillation(STUDENT, TEACHER, distance=-1), "distance must be >= 0"),
        (lambda: relational_distillation(STUDENT, TEACHER, angle=np.nan), "angle must be"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
