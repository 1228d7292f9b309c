"""Bounded losses: within their bound, attained, accurate."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reference import relative_error
from tests.theory.labels.risk.cases import rows
from theory.labels.risk import brier_loss, clipped_cross_entropy, zero_one_loss


@given(rows((4, 5)), st.floats(1e-12, 0.5))
def test_losses_stay_within_their_bound(q, floor):
    for loss in (zero_one_loss(q), brier_loss(q), clipped_cross_entropy(q, floor)):
        assert loss.losses.shape == (4, 5)
        assert (loss.losses >= 0).all()
        assert (loss.losses <= loss.bound).all()


def test_bounds_are_attained():
    sure = np.array([[1.0, 0.0, 0.0]])
    for loss in (zero_one_loss(sure), brier_loss(sure), clipped_cross_entropy(sure, 1e-3)):
        np.testing.assert_array_equal(loss.losses, [[0.0, loss.bound, loss.bound]])
    assert clipped_cross_entropy(sure, 1e-3).bound == pytest.approx(-np.log(1e-3))


def test_ties_go_to_the_lowest_class():
    np.testing.assert_array_equal(
        zero_one_loss([[0.5, 0.5], [0.5, 0.5]]).losses, [[0.0, 1.0], [0.0, 1.0]]
    )


@given(rows((3, 4)))
def test_brier_and_cross_entropy_keep_their_digits(q):
    brier, entropy = brier_loss(q).losses, clipped_cross_entropy(q, 1e-300).losses
    for x, k in np.ndindex(q.shape):
        with mp.workdps(60):
            row = [mp.mpf(v) for v in q[x]]
            want = mp.fsum((v - (j == k)) ** 2 for j, v in enumerate(row))
            cost = -mp.log(max(row[k], mp.mpf(1e-300)))
        assert want < 1e-300 or relative_error(brier[x, k], want) < 1e-14
        assert cost <= 0 or relative_error(entropy[x, k], cost) < 1e-14


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: zero_one_loss([0.5, 0.6]), "predictions must be distributions"),
        (lambda: brier_loss([1.0]), "predictions must have at least two classes"),
        (lambda: clipped_cross_entropy([0.5, 0.5], 0.0), "floor must be in \\(0, 1\\), got 0"),
        (lambda: clipped_cross_entropy([0.5, 0.5], 1.0), "floor must be in"),
        (lambda: clipped_cross_entropy([0.5, 0.5], [0.1, 0.1]), "floor must be one number"),
    ],
)
def test_bad_input_is_refused_by_name(call, says):
    with pytest.raises(ValueError, match=says):
        call()
