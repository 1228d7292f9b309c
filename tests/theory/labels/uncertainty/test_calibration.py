"""Calibration errors: against a loop over bins, by their bounds, and at the edges of bins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from theory.labels.softmax import log_softmax, softmax
from theory.labels.uncertainty import (
    adaptive_calibration_error,
    adaptive_reliability,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    predictions,
    reliability,
)

sizes = st.integers(1, 300)
# many confidences on the edges of the bins, and at both ends
sure = st.floats(0, 1) | st.integers(0, 20).map(lambda k: k / 20) | st.sampled_from((0.0, 1.0))
cases = sizes.flatmap(lambda n: st.tuples(arrays(float, n, elements=sure), arrays(bool, n)))


def by_bins(confidence, correct, bins):
    """Equation 5 of Ren et al. 2022, bin by bin."""
    edges = np.linspace(0, 1, bins + 1)
    total = 0.0
    for m in range(bins):
        inside = (confidence > edges[m]) & (confidence <= edges[m + 1])
        if m == 0:
            inside |= confidence == 0
        if inside.any():
            total += inside.sum() * abs(correct[inside].mean() - confidence[inside].mean())
    return total / len(confidence)


@given(cases, st.integers(1, 30))
def test_it_is_the_sum_over_bins(case, bins):
    confidence, correct = case
    got = expected_calibration_error(confidence, correct, bins)
    assert got == pytest.approx(by_bins(confidence, correct, bins), abs=1e-13)


@given(cases, st.randoms(use_true_random=False))
def test_p35_it_lies_in_the_unit_interval_whatever_the_order(case, random):
    confidence, correct = case
    got = expected_calibration_error(confidence, correct)
    assert -1e-12 <= got <= 1 + 1e-12
    order = list(range(len(confidence)))
    random.shuffle(order)
    assert expected_calibration_error(confidence[order], correct[order]) == pytest.approx(
        got, abs=1e-12
    )
    assert adaptive_calibration_error(confidence[order], correct[order]) == pytest.approx(
        adaptive_calibration_error(confidence, correct), abs=1e-12
    )


def test_p35_it_is_zero_where_every_bin_is_right():
    confidence = np.repeat([0.25, 0.75], 4)
    correct = [1, 0, 0, 0, 1, 1, 1, 0]
    assert expected_calibration_error(confidence, correct) == 0.0
    assert expected_calibration_error(confidence, confidence) == 0.0  # chances of being right
    assert expected_calibration_error([1.0, 0.0], [0, 1]) == 1.0


@given(cases)
def test_p36_it_is_at_least_the_gap_of_the_means(case):
    confidence, correct = case
    gap = abs(correct.mean() - confidence.mean())
    one = expected_calibration_error(confidence, correct, bins=1)
    assert one == pytest.approx(gap, abs=1e-12)
    assert expected_calibration_error(confidence, correct) >= gap - 1e-12
    assert adaptive_calibration_error(confidence, correct) >= gap - 1e-12


def test_edges_belong_to_the_bin_below_and_zero_to_the_first():
    edges = np.linspace(0, 1, 11)
    np.testing.assert_array_equal(reliability(edges, np.ones(11)).count, [2] + [1] * 9)
    just_above = np.nextafter(edges[:-1], 1)
    np.testing.assert_array_equal(reliability(just_above, np.ones(10)).count, [1] * 10)


def test_a_table_says_nothing_of_empty_bins():
    table = reliability([0.95, 0.05], [1, 0])
    assert np.isnan(table.accuracy[1:-1]).all()
    assert table.error == pytest.approx(0.05)
    assert table.largest_error == pytest.approx(0.05)


def test_adaptive_bins_hold_equal_numbers_and_keep_ties_together():
    rng = np.random.default_rng(0)
    table = adaptive_reliability(rng.random(1000) ** 0.1, rng.random(1000) < 0.5, bins=10)
    np.testing.assert_array_equal(table.count, [100] * 10)
    tied = adaptive_reliability([0.5] * 7 + [0.9, 0.95, 1.0], np.ones(10), bins=5)
    np.testing.assert_array_equal(tied.count, [7, 1, 1, 1] if len(tied.count) == 4 else [7, 1, 2])
    assert adaptive_reliability([0.0, 0.0], [0, 0]).count.sum() == 2
    assert adaptive_reliability([0.3], [1], bins=10).count.tolist() == [1]


@given(st.integers(0, 2**32 - 1), st.integers(2, 8))
def test_scores_are_those_of_the_probabilities(seed, classes):
    rng = np.random.default_rng(seed)
    z, y = rng.standard_normal((30, classes)) * 4, rng.integers(0, classes, 30)
    p = softmax(z)
    confidence, correct = predictions(z, y)
    np.testing.assert_allclose(confidence, p.max(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(correct, p.argmax(axis=1) == y)
    nll = -log_softmax(z)[np.arange(30), y].mean()
    assert negative_log_likelihood(z, y) == pytest.approx(nll, rel=1e-13)
    square = ((p - np.eye(classes)[y]) ** 2).sum(axis=1).mean()
    assert brier_score(z, y) == pytest.approx(square, rel=1e-12)


def test_scores_of_sure_networks_keep_their_digits():
    assert negative_log_likelihood([[60.0, 0.0]], [0]) == pytest.approx(
        np.exp(-60), rel=1e-12, abs=0
    )
    assert brier_score([[60.0, 0.0]], [0]) == pytest.approx(2 * np.exp(-120), rel=1e-12, abs=0)
    far = negative_log_likelihood([[8e307, -8e307]] * 4, [1] * 4)
    assert far == pytest.approx(1.6e308, rel=1e-12)
    confidence, correct = predictions([[1e308, -1e308]], [1])
    assert (confidence[0], correct[0]) == (1.0, False)


@pytest.mark.parametrize(
    ("confidence", "correct", "bins", "says"),
    [
        ([1.5], [1], 10, r"confidence must be in \[0, 1\], got 1.5"),
        ([0.5], [2], 10, r"correct must be in \[0, 1\], got 2"),
        ([0.5, 0.5], [1], 10, "shapes must agree"),
        ([], [], 10, "at least one sample"),
        ([0.5], [1], 0, "bins must be an integer >= 1"),
        ([np.nan], [1], 10, "confidence must be finite"),
    ],
)
@pytest.mark.parametrize("error", [expected_calibration_error, adaptive_calibration_error])
def test_bad_input_is_named(error, confidence, correct, bins, says):
    with pytest.raises(ValueError, match=says):
        error(confidence, correct, bins)


@pytest.mark.parametrize("score", [negative_log_likelihood, brier_score, predictions])
@pytest.mark.parametrize(
    ("z", "y", "says"),
    [
        (np.zeros((3, 2)), [0, 1], "labels must be one class a row"),
        (np.zeros((2, 2)), [0, 2], "integers from 0 to 1"),
        (np.zeros((0, 2)), [], "at least one sample"),
        ([[np.nan, 0.0]], [0], "logits must be finite"),
    ],
)
def test_bad_logits_are_named(score, z, y, says):
    with pytest.raises(ValueError, match=says):
        score(z, y)
