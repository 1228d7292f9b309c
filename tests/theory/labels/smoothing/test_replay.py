"""Memory replay: the ring of copies in closed form, and what several copies teach."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.labels import smoothing as s
from theory.labels.divergences import kl
from theory.labels.softmax import softmax


@pytest.mark.theorem("labels:replay-mean")
@given(
    st.integers(1, 6),
    st.integers(2, 9),
    st.integers(0, 2**32 - 1),
    st.floats(0.5, 20),
    st.sampled_from((0.0, 1e-6, 1.0, 300.0)),
)
def test_p69_mean_divergence_is_that_from_the_mean_and_a_constant(n, k, seed, tau, scale):
    rng = np.random.default_rng(seed)
    copies, student = scale * rng.standard_normal((n, 4, k)), rng.standard_normal((4, k))
    split = s.copies_divergence(copies, student, tau)
    np.testing.assert_allclose(split.mean, split.from_mean + split.spread, rtol=1e-12, atol=1e-15)
    assert split.mean.shape == (4,)
    # the constant does not know the student
    other = s.copies_divergence(copies, student[::-1] * 3, tau)
    np.testing.assert_array_equal(split.spread, other.spread)
    q = softmax(copies, tau)
    np.testing.assert_allclose(split.mean, kl(q, softmax(student, tau)).mean(axis=0), rtol=1e-14)
    if n == 1 or scale == 0:
        np.testing.assert_allclose(split.spread, 0.0, atol=1e-16)


@pytest.mark.theorem("labels:replay-ring")
@given(st.integers(1, 200), st.integers(1, 20), st.integers(1, 6))
def test_p70_the_ring_in_closed_form(steps, interval, copies):
    got = s.ring_updates(np.arange(1, steps + 1), interval, copies)
    np.testing.assert_array_equal(got, s.ring_by_recursion(steps, interval, copies))


def test_the_ring_moves_weights_themselves():
    """A made-up training: the weights after u updates are the number u."""
    kappa, n = 3, 3
    copies = [0] * n
    for theta in range(39):
        t = theta + 1
        if t % kappa == 0:
            for i in range(n - 1, 0, -1):
                copies[i] = copies[i - 1]
            copies[0] = theta
        assert s.ring_updates(t, kappa, n).tolist() == copies


def test_order_matters():
    """Moving the youngest first, all older copies become what it was."""
    wrong = s.ring_by_recursion(60, 5, 4, order="ascending")
    right = s.ring_by_recursion(60, 5, 4)
    for t in range(5, 61):
        assert len(set(wrong[t - 1, 1:])) == 1
        assert wrong[t - 1, 1] == right[t - 1, 1]
    assert (wrong[24:, 2] != right[24:, 2]).all()
    assert len(set(right[-1])) == 4


def test_intervals_in_epochs():
    assert s.interval_steps(25, 391) == 9775
    assert s.interval_steps(2.5, 391) == 978
    assert s.interval_steps(0.25, 391) == 98
    assert s.interval_steps(1e-9, 391) == 1
    assert s.interval_steps(1e308, 391) == 391 * int(1e308)


def test_divergence_of_far_copies_is_finite():
    split = s.copies_divergence([[[800.0, 0.0]], [[0.0, 800.0]]], [[0.0, 0.0]])
    np.testing.assert_allclose(split.mean, [np.log(2)])
    np.testing.assert_allclose(split.spread, [np.log(2)])
    assert split.from_mean == 0.0
    # half of the copy lies where the student's probability is no float
    gone = s.copies_divergence([[0.0, 0.0]], [1e6, 0.0])
    assert gone.mean == gone.from_mean == pytest.approx(5e5 - np.log(2), rel=1e-15)
    assert gone.spread == 0.0
    assert s.copies_divergence(np.zeros((2, 1, 3)), np.zeros((5, 3))).mean.shape == (5,)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: s.ring_updates(0, 2, 2), "steps must be > 0"),
        (lambda: s.ring_updates(1.5, 2, 2), "steps must be integers from 1"),
        (lambda: s.ring_updates(1e300, 2, 2), "steps must be at most 2\\^53"),
        (lambda: s.ring_updates(1, 0, 2), "interval must be an integer >= 1"),
        (lambda: s.ring_updates(1, 2, 0), "copies must be an integer >= 1"),
        (lambda: s.ring_by_recursion(0, 2, 2), "steps must be an integer >= 1"),
        (lambda: s.ring_by_recursion(3, 2, 2, "up"), "order must be one of"),
        (lambda: s.interval_steps(0.0, 391), "epochs must be > 0"),
        (lambda: s.interval_steps(1.0, 0), "steps_per_epoch must be an integer >= 1"),
        (lambda: s.copies_divergence([1.0, 0.0], [1.0, 0.0]), r"copies must have shape \(n"),
        (lambda: s.copies_divergence(np.zeros((2, 3, 2)), np.zeros((4, 2))), "must broadcast"),
        (lambda: s.mean_teacher([0.5, 0.5]), r"probabilities must have shape \(n"),
        (lambda: s.mean_teacher([[0.5, 0.6]]), r"sums to 1 \+ 0.1"),
        (lambda: s.mean_teacher(np.zeros((0, 3))), "at least one sample"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
