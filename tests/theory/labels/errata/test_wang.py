"""Wang et al. 2020: what is printed, and what holds."""

import numpy as np
import pytest

from theory.labels import smoothing as s
from theory.labels.divergences import cross_entropy, kl
from theory.labels.losses import label_smoothing, mrkd, mrkd_tc, tfkd
from theory.labels.losses.base import one_hot
from theory.labels.softmax import softmax

# error in per cent: LSR, LsrKD; table 1 (CIFAR-100) and table 2 (CIFAR-10, CINIC-10)
CIFAR100 = np.array([
    [31.06, 30.98], [28.93, 29.10], [27.58, 27.92], [27.12, 27.34], [25.48, 25.60],
    [25.49, 25.42], [23.44, 22.89], [22.33, 22.08], [20.96, 20.71], [19.66, 19.88],
    [20.08, 19.32], [17.44, 17.55],
])  # fmt: skip
TEN_CLASSES = np.array([
    [7.32, 7.21], [6.48, 6.55], [5.98, 5.77], [5.22, 5.21], [3.96, 3.88],
    [17.16, 17.36], [15.92, 15.88], [15.39, 15.17], [13.61, 13.76], [11.22, 11.13],
])  # fmt: skip


def test_w1_equation_6_misses_a_constant():
    rng = np.random.default_rng(0)
    z, y, weight, k = rng.standard_normal((9, 100)), rng.integers(100, size=9), 0.1, 100
    left = cross_entropy(s.smooth(y, k, weight), softmax(z))
    right = (1 - weight) * cross_entropy(np.eye(k)[y], softmax(z)) + weight * kl(
        np.full(k, 1 / k), softmax(z)
    )
    np.testing.assert_allclose(left - right, weight * np.log(k), rtol=1e-12)
    assert weight * np.log(k) == pytest.approx(0.4605, abs=5e-5)
    # the gradients are the same
    np.testing.assert_allclose(
        label_smoothing(z, y, weight).gradient,
        label_smoothing(z, y, weight, value="kl").gradient,
        atol=1e-15,
    )


def test_w2_softer_smoothing_is_not_consistently_better():
    """Printed: LsrKD can improve LSR performance consistently."""
    gain = CIFAR100[:, 0] - CIFAR100[:, 1]
    assert (gain > 0).sum() == 6
    assert len(gain) == 12
    assert gain.mean() == pytest.approx(0.065, abs=5e-4)
    both = np.concatenate([gain, TEN_CLASSES[:, 0] - TEN_CLASSES[:, 1]])
    assert ((both > 0).sum(), len(both)) == (13, 22)
    # a coin would do as well or better in a quarter of all cases
    from scipy.stats import binomtest

    assert binomtest(13, 22, alternative="greater").pvalue > 0.2


def test_w3_the_expansion_needs_centered_logits():
    """Printed for logits that are "zero-meaned"; networks' logits are not."""
    rng = np.random.default_rng(0)
    k, tau = 100, 20.0
    z = 3 * rng.standard_normal(k) + 3.0
    exact = (softmax(z, tau) - 1 / k) / tau
    centered = z - z.mean()
    errors = [
        np.linalg.norm(v / (k * tau**2) - exact) / np.linalg.norm(exact) for v in (z, centered)
    ]
    assert errors[0] > 0.4
    assert errors[1] < 0.15
    # the next term, and its order
    sizes = []
    for t in (20.0, 200.0):
        exact = (softmax(z, t) - 1 / k) / t
        square = centered**2
        second = centered / t + (square - square.mean()) / (2 * t**2)
        sizes.append(np.linalg.norm(second / (k * t) - exact) * t)
    assert np.log10(sizes[0] / sizes[1]) == pytest.approx(3, abs=0.1)


def test_w4_equation_17_has_one_temperature_less_than_equation_13():
    """Where the correction changes nothing the two losses should agree, and do not."""
    rng = np.random.default_rng(0)
    z, copy, tau, weight = rng.standard_normal((1, 5)), rng.standard_normal((1, 5)), 3.0, 0.25
    own = softmax(copy, tau)[0, 2]
    hard = (1 - weight) * one_hot(z, [2]).gradient
    plain = mrkd(z, [2], copy[None], weight, tau).gradient - hard
    printed = mrkd_tc(z, [2], copy[None], own, weight, tau).gradient - hard
    np.testing.assert_allclose(plain, tau * printed, rtol=1e-12)
    square = mrkd_tc(z, [2], copy[None], own, weight, tau, factor="tau2").gradient - hard
    np.testing.assert_allclose(plain, square, rtol=1e-12)


def test_w4_the_printed_range_and_the_printed_bold():
    """The range [0.11, 0.25] leaves out the gamma = 0.025 that the same paper then uses."""
    grid = [0.01, 0.011, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9]
    chosen = 0.025
    assert 0.11 not in grid
    assert not 0.11 <= chosen <= 0.25
    assert 0.011 in grid
    assert 0.011 <= chosen <= 0.25
    # table 2, CINIC-10, WRN-16-8: MrKD1 is bold
    row = {"LsrKD": 11.13, "LsrKD-TC": 11.13, "MrKD1": 11.04, "MrKD3": 10.90, "MrKD3-TC": 11.05}
    assert min(row, key=row.get) == "MrKD3"


def test_w5_replay_of_every_step_is_the_baseline_with_a_smaller_step():
    """Printed: then the copy is too similar and the regularization may stumble the model."""
    np.testing.assert_array_equal(
        s.ring_updates(np.arange(1, 50), 1, 1)[:, 0], np.arange(49)
    )  # step t trains the weights after t - 1 updates: the copy is the network itself
    z, y = np.random.default_rng(0).standard_normal((4, 6)), [0, 1, 2, 3]
    got = mrkd(z, y, z[None], 0.25, 3.0)
    plain = 0.75 * one_hot(z, y)
    np.testing.assert_array_equal(got.value, plain.value)
    np.testing.assert_array_equal(got.gradient, plain.gradient)


def test_w5_a_replay_that_never_comes_is_a_random_teacher():
    """Printed: kappa = 200 epochs means that the copies are never updated."""
    steps = 40
    times = np.arange(1, steps + 1)
    assert (s.ring_updates(times, steps + 1, 3) == 0).all()
    last = s.ring_updates(times, steps, 3)
    assert (last[:-1] == 0).all()
    assert last[-1].tolist() == [steps - 1, 0, 0]
    # n = 3, kappa = 25 epochs: the third copy is the initial network for the first 75 of 200
    per_epoch = 391
    kappa = s.interval_steps(25, per_epoch)
    third = s.ring_updates([75 * per_epoch - 1, 75 * per_epoch], kappa, 3)[:, 2]
    assert third[0] == 0
    assert third[1] == kappa - 1


def test_w6_only_the_averaged_prediction_of_the_copies_matters():
    """Several copies are more than one only through their mean; the rest is a constant."""
    rng = np.random.default_rng(0)
    copies, y = 3 * rng.standard_normal((3, 4, 5)), [0, 1, 2, 3]
    # one copy that predicts the mean at temperature tau teaches the same
    tau = 3.0
    mean = tau * np.log(softmax(copies, tau).mean(axis=0))
    shifts = []
    for z in (np.zeros((4, 5)), rng.standard_normal((4, 5))):
        several, one = mrkd(z, y, copies, 0.25, tau), mrkd(z, y, mean[None], 0.25, tau)
        np.testing.assert_allclose(several.gradient, one.gradient, atol=1e-14)
        shifts.append(several.value - one.value)
    np.testing.assert_allclose(shifts[0], shifts[1], rtol=1e-12)
    assert (shifts[0] > 0.01).all()


def test_w7_the_released_teacher_is_nearly_uniform():
    """Yuan et al.'s code takes the softmax of the teacher's probabilities."""
    k, tau, mass = 100, 20.0, 0.99
    code = s.virtual_teacher(0, k, mass, tau, temper="prob_as_logit")
    paper = s.virtual_teacher(0, k, mass, tau)
    assert code[0] == pytest.approx(0.0105, abs=5e-5)
    assert paper[0] == pytest.approx(0.0157, abs=5e-5)
    z = np.random.default_rng(0).standard_normal((3, k))
    # and averages the divergence over the classes as well: a hundredth of the paper's
    options = {"temper": "prob_as_logit", "student_temperature": 1.0}
    whole = tfkd(z, [0, 1, 2], mass, 1.0, tau, **options)
    released = tfkd(z, [0, 1, 2], mass, 1.0, tau, class_mean=True, **options)
    np.testing.assert_allclose(whole.gradient, k * released.gradient, rtol=1e-12)
