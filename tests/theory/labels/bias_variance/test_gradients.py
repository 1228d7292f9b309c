"""Label gradients, regularization samples and the weights of soft labels."""

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests import reference, strategies
from theory.labels.bias_variance import (
    label_gradients,
    regularization_samples,
    same_sign_samples,
    same_sign_share,
    soft_label_weights,
    weight_of_ratio,
)
from theory.labels.gaps import divergence, softmax_gap
from theory.labels.softmax import softmax

TEMPERATURES = (0.5, 1.0, 1.0 + 1e-9, 2.0, 4.0, 6.0)


@st.composite
def networks(draw, *, largest=300.0, max_classes=6):
    """Student and teacher, near to or far from each other, sure or not, and a label."""
    rng = draw(strategies.generators())
    classes = draw(st.integers(2, max_classes))
    scale = largest / 5 * 10.0 ** draw(st.floats(-4, 0))
    student = scale * rng.standard_normal(classes)
    if draw(st.booleans()):
        student[0] += draw(st.sampled_from((10.0, 40.0, 200.0)))
    if draw(st.booleans()):
        teacher = student + 10.0 ** draw(st.floats(-12, 1)) * rng.standard_normal(classes)
    else:
        teacher = scale * rng.standard_normal(classes)
    student, teacher = np.clip(student, -largest, largest), np.clip(teacher, -largest, largest)
    return student, teacher, draw(st.integers(0, classes - 1))


def mp_softmax(z, tau=1.0):
    e = [mp.exp(mp.mpf(float(value)) / mp.mpf(tau)) for value in z]
    return [value / sum(e) for value in e]


def mp_gradients(student, teacher, y, tau):
    one, s, t = mp_softmax(student), mp_softmax(student, tau), mp_softmax(teacher, tau)
    a = one[y] - 1
    return a, mp.mpf(tau) * (s[y] - t[y]) - a


@pytest.mark.theorem("labels:opposite-signs-at-one")
@given(networks())
def test_p42_gradients_at_temperature_one(case):
    student, teacher, y = case
    a, b = label_gradients(student, teacher, y, 1.0)
    assert -1 <= a <= 0
    assert 0 <= b <= 1
    assert b == pytest.approx(1 - softmax(teacher)[y], abs=1e-12)
    assert a * b <= 0
    assert not same_sign_samples(student, teacher, y, 1.0)


@pytest.mark.theorem("labels:opposite-signs-at-one")
@given(networks())
def test_p43_at_temperature_one_it_is_who_is_ahead(case):
    student, teacher, y = case
    ahead = softmax(student)[y] - softmax(teacher)[y]
    assume(abs(ahead) > 1e-12)
    for criterion in ("abs", "signed", "tau1"):
        assert regularization_samples(student, teacher, y, 1.0, criterion) == (ahead > 0)
        at_four = regularization_samples(student, teacher, y, 4.0, "tau1")
    assert at_four == (ahead > 0)


@pytest.mark.theorem("labels:regularization-branches")
@given(networks(), st.floats(0.3, 20))
def test_p44_two_branches(case, tau):
    student, teacher, y = case
    with mp.workdps(600):
        a, b = mp_gradients(student, teacher, y, tau)
        s, t = mp_softmax(student, tau)[y], mp_softmax(teacher, tau)[y]
        assume(abs(abs(b) - abs(a)) > 1e-10 * abs(a))
        branches = s > t or mp.mpf(tau) * (t - s) > 2 * (1 - mp_softmax(student)[y])
        assert (abs(b) > abs(a)) == branches
        assert regularization_samples(student, teacher, y, tau) == (abs(b) > abs(a))
        assert regularization_samples(student, teacher, y, tau, "signed") == (s > t)


@given(networks(), st.sampled_from(TEMPERATURES))
@example((np.array([900.0, 0.0]), np.array([800.0, 0.0]), 0), 1.0)
def test_gradients_keep_all_digits(case, tau):
    """To round-off of the larger of what makes b up, in the better of its two forms."""
    student, teacher, y = case
    a, b = label_gradients(student, teacher, y, tau)
    with mp.workdps(900):
        want_a, want_b = mp_gradients(student, teacher, y, tau)
        s, t = mp_softmax(student, tau)[y], mp_softmax(teacher, tau)[y]
        one = mp_softmax(student)[y]
        scale = min(
            tau * abs(s - t) + abs(want_a),
            tau * (1 - t) + abs(tau * (1 - s) - (1 - one)),
        )
        if abs(want_a) > 1e-290:
            assert reference.relative_error(a, want_a) < 1e-12
        assert abs(mp.mpf(float(b)) - want_b) <= 1e-12 * scale + mp.mpf("1e-290")


def test_gradients_are_those_of_the_losses():
    """Autograd as the referee, at every temperature."""
    rng = np.random.default_rng(0)
    z, v = 3 * rng.standard_normal((2, 50, 7))
    y = rng.integers(0, 7, 50)
    for tau in (0.5, 1.0, 2.0, 4.0, 6.0):
        a, b = label_gradients(z, v, y, tau)
        student = torch.tensor(z, requires_grad=True)
        targets = torch.softmax(torch.tensor(v) / tau, -1)
        ce = torch.nn.functional.cross_entropy(student, torch.tensor(y), reduction="sum")
        kd = -(tau**2) * (targets * torch.log_softmax(student / tau, -1)).sum()
        first = torch.autograd.grad(ce, student, retain_graph=True)[0].numpy()
        second = torch.autograd.grad(kd - ce, student)[0].numpy()
        rows = np.arange(50)
        np.testing.assert_allclose(a, first[rows, y], rtol=0, atol=1e-13)
        np.testing.assert_allclose(b, second[rows, y], rtol=0, atol=1e-13)


@given(networks(), st.sampled_from((0.3, 1.0, 4.0)))
def test_differences_of_softmaxes_keep_all_digits(case, tau):
    student, teacher, _ = case
    gap = softmax_gap(student, teacher, tau)
    with mp.workdps(900):
        s, t = mp_softmax(student, tau), mp_softmax(teacher, tau)
        for k in range(len(s)):
            scale = sum(abs(s[k] * t[j] - s[j] * t[k]) for j in range(len(s)))
            error = abs(mp.mpf(float(gap[k])) - (s[k] - t[k]))
            assert error <= 1e-12 * scale + mp.mpf("1e-290")
        want = sum(b * mp.log(b / a) for a, b in zip(s, t, strict=True))
        if want > 1e-290:
            assert reference.relative_error(divergence(teacher, student, tau), want) < 1e-11


@pytest.mark.parametrize("tau", [5e-324, 1e-310, 1e-300, 1e300])
def test_extreme_temperatures(tau):
    """At tau -> 0 both networks are arg-maxima and tau times their gap is 0: b = -a."""
    student, teacher = [[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]], [[0.0, 1.0, 2.0], [1e-310, 0.0, 0.0]]
    a, b = label_gradients(student, teacher, [0, 0], tau)
    np.testing.assert_allclose(a, softmax(student)[:, 0] - 1, rtol=1e-14)
    # at tau -> inf: tau (s - t) is the difference of the centered logits over K
    pull = [2 / 3, -4 / 9] if tau > 1 else [0.0, 0.0]
    np.testing.assert_allclose(b, pull - a, rtol=1e-13)


def test_a_sure_student_is_a_regularization_sample_unless_matched():
    """1 - s by subtraction is 0 here, and so would be the count."""
    student, teacher = [60.0, 0.0], [50.0, 0.0]
    assert 1 - softmax(student)[0] == 0
    a, b = label_gradients(student, teacher, 0, 1.0)
    assert a == pytest.approx(-np.exp(-60), rel=1e-13, abs=0)
    assert b == pytest.approx(np.exp(-50), rel=1e-13, abs=0)
    assert regularization_samples(student, teacher, 0, 1.0)
    assert not regularization_samples(teacher, student, 0, 1.0)
    # where nothing is left of either as a float, the logits still tell
    assert regularization_samples([2000.0, 0.0], [1999.0, 0.0], 0, 4.0, "signed")
    assert not regularization_samples([-2000.0, 0.0], [-1999.0, 0.0], 0, 1.0)
    assert regularization_samples([-1999.0, 0.0], [-2000.0, 0.0], 0, 1.0)


def test_each_form_of_what_the_teacher_adds_is_needed():
    """One loses all digits where the other is exact."""
    _, b = label_gradients([0.0, 0.0], [60.0, 0.0], 0, 1.0)
    assert b == pytest.approx(np.exp(-60.0), rel=1e-13, abs=0)
    _, b = label_gradients([60.0, 0.0], [60.0, 0.0], 0, 20.0)
    assert b == pytest.approx(np.exp(-60.0), rel=1e-13, abs=0)


@pytest.mark.parametrize("criterion", ["abs", "signed", "tau1"])
@pytest.mark.parametrize("tau", [0.5, 1.0, 4.0])
def test_ties_are_no_regularization_samples(criterion, tau):
    rng = np.random.default_rng(1)
    logits = np.round(20 * rng.standard_normal((50, 8))) / 4
    labels = rng.integers(0, 8, 50)
    assert not regularization_samples(logits, logits, labels, tau, criterion).any()
    assert not regularization_samples(logits + 64.0, logits, labels, tau, criterion).any()


def test_counts_are_those_of_the_definition():
    rng = np.random.default_rng(2)
    z, v = 4 * rng.standard_normal((2, 4000, 100))
    y = rng.integers(0, 100, 4000)
    for tau in (1.0, 2.0, 4.0):
        a, b = label_gradients(z, v, y, tau)
        assert (regularization_samples(z, v, y, tau) == (np.abs(b) > np.abs(a))).all()
        assert same_sign_share(z, v, y, tau) == np.mean((a < 0) & (b < 0))


def test_blocks_do_not_show(monkeypatch):
    rng = np.random.default_rng(5)
    z, v = 3 * rng.standard_normal((2, 6, 5, 4))
    y = rng.integers(0, 4, (6, 5))
    whole = [*label_gradients(z, v, y, 4.0), regularization_samples(z, v, y, 4.0)]
    monkeypatch.setattr("theory.labels.bias_variance.gradients._BLOCK", 9)
    parts = [*label_gradients(z, v, y, 4.0), regularization_samples(z, v, y, 4.0)]
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)


def test_arrays_of_any_shape():
    rng = np.random.default_rng(3)
    z, v = rng.standard_normal((4, 5, 3)), rng.standard_normal((5, 3))
    y = rng.integers(0, 3, 5)
    a, b = label_gradients(z, v, y, 2.0)
    assert a.shape == b.shape == (4, 5)
    assert regularization_samples(z, v, y, 2.0).shape == (4, 5)
    assert soft_label_weights(z, v, y).shape == (4, 5)
    assert label_gradients([1.0, 2.0], [0.0, 0.0], 1, 1.0)[0] == pytest.approx(-0.26894142)


losses = strategies.powers_of_ten(-12, 3)


def logits_of_loss(loss):
    """Two logits whose first class has the cross-entropy ``loss``."""
    return np.array([-np.log(np.expm1(loss)) if loss < 700 else -loss, 0.0])


@given(losses, losses, losses)
def test_p47_weights_of_the_exponential_form(student, teacher, more):
    def weight(s, t):
        return float(soft_label_weights(logits_of_loss(s), logits_of_loss(t), 0))

    found = weight(student, teacher)
    assert 0 <= found <= 1
    assert found == pytest.approx(-np.expm1(-student / teacher), rel=1e-12, abs=0)
    assert weight(student * (1 + more), teacher) >= found * (1 - 1e-12)
    assert weight(student, teacher * (1 + more)) <= found * (1 + 1e-12)


@given(st.floats(0, 1e3))
def test_p48_the_sigmoid_form(ratio):
    sigmoid, exponential = weight_of_ratio(ratio, "sigmoid"), weight_of_ratio(ratio, "exponential")
    assert sigmoid == pytest.approx(np.tanh(ratio / 2), rel=1e-12, abs=0)
    assert sigmoid == pytest.approx(exponential / (2 - exponential), rel=1e-12, abs=0)
    assert exponential / 2 * (1 - 1e-12) <= sigmoid <= exponential * (1 + 1e-12)


def test_weights_reach_one():
    """So that they lie in [0, 1], not in [0, 1): beyond a ratio of 37 there is no number below."""
    assert weight_of_ratio(38.0, "exponential") == 1.0
    assert soft_label_weights([0.0, 0.0], [300.0, 0.0], 0) == 1.0


@given(st.floats(-1000, 1000), st.floats(-1000, 1000), st.sampled_from(("exponential", "sigmoid")))
@example(900.0, 900.0, "exponential")
@example(1000.0, 0.0, "sigmoid")
def test_weights_where_losses_are_too_small_for_a_float(student, teacher, form):
    got = soft_label_weights([student, 0.0], [teacher, 0.0], 0, form)
    with mp.workdps(900):
        lost = [mp.log1p(mp.exp(-mp.mpf(phi))) for phi in (student, teacher)]
        ratio = lost[0] / lost[1]
        want = -mp.expm1(-ratio) if form == "exponential" else mp.tanh(ratio / 2)
        if want > 1e-290:
            assert reference.relative_error(got, want) < 1e-12


def test_limits_of_the_weights():
    known, unsure = [900.0, 0.0], [0.0, 0.0]
    assert soft_label_weights(unsure, known, 0) == 1.0
    assert soft_label_weights(known, unsure, 0) == 0.0
    assert soft_label_weights(known, known, 0) == pytest.approx(1 - np.exp(-1))
    # the authors' code, in which what both networks know counts nothing
    assert soft_label_weights(unsure, known, 0, eps=1e-7) == 1.0
    assert soft_label_weights(known, unsure, 0, eps=1e-7) == 0.0
    assert soft_label_weights(known, known, 0, eps=1e-7) == 0.0
    lost = np.log1p(np.exp(-17.0))
    half = soft_label_weights([17.0, 0.0], [17.0, 0.0], 0, eps=1e-7)
    assert half == pytest.approx(-np.expm1(-lost / (lost + 1e-7)))


def test_weights_at_temperature_one_split_at_the_regularization_samples():
    """w >= 1 - 1/e exactly where the student's loss is the larger one."""
    rng = np.random.default_rng(4)
    z, v = 3 * rng.standard_normal((2, 1000, 5))
    y = rng.integers(0, 5, 1000)
    behind = ~regularization_samples(z, v, y, 1.0)
    assert ((soft_label_weights(z, v, y) >= 1 - np.exp(-1)) == behind).all()


PAIR = ([[0.0, 1.0]], [[1.0, 0.0]], [0])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: label_gradients(*PAIR, 0.0), "temperature must be > 0"),
        (lambda: label_gradients(*PAIR, np.inf), "temperature must be finite"),
        (lambda: label_gradients([[0.0, np.nan]], *PAIR[1:], 1.0), "student_logits must be finite"),
        (lambda: label_gradients([[0.0]], [[1.0]], [0], 1.0), "at least two classes"),
        (lambda: label_gradients([[0.0, 1e301]], *PAIR[1:], 1.0), "must not exceed 1e\\+300"),
        (lambda: label_gradients(*PAIR[:2], [2], 1.0), "labels must be integers from 0 to 1"),
        (lambda: label_gradients(*PAIR[:2], [0, 1, 1.5], 1.0), "labels must be integers"),
        (lambda: label_gradients(np.zeros((2, 2)), np.zeros((2, 2)), [0, 0, 0], 1.0), "each row"),
        (lambda: label_gradients(*np.zeros((2, 3, 2)), [[0], [1], [0]], 1.0), "each row"),
        (lambda: label_gradients(np.zeros((2, 2)), np.zeros((3, 2)), [0, 0], 1.0), "broadcast"),
        (lambda: label_gradients(np.zeros((2, 1 + 2)), np.zeros((2, 2)), [0, 0], 1.0), "classes"),
        (lambda: regularization_samples(*PAIR, 1.0, "both"), "criterion must be one of 'abs'"),
        (lambda: soft_label_weights(*PAIR, "tanh"), "form must be one of 'exponential'"),
        (lambda: soft_label_weights(*PAIR, eps=0.0), "eps must be > 0"),
        (lambda: weight_of_ratio([1.0, -1.0]), "ratio must be >= 0, got -1"),
        (lambda: weight_of_ratio(np.nan), "ratio must be numbers, not nan"),
        (lambda: weight_of_ratio(1.0, "tanh"), "form must be one of 'exponential'"),
        (
            lambda: same_sign_share(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), 1.0),
            "at least one",
        ),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()
