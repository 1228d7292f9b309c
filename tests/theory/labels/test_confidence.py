"""Log-odds of a class, pairs of networks and who is right, against mpmath and by counting."""

import mpmath
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from theory.labels.confidence import (
    Dissection,
    complement,
    confidence,
    confidence_pair,
    cross_entropy,
    dissect,
    dissect_underfit,
    probability,
)
from theory.labels.softmax import softmax, surprisal
from theory.statistics import proportion_interval


def logits(largest=300.0):
    """From two to eight classes, with ties, zeros and subnormals among them."""
    value = st.floats(-largest, largest) | st.sampled_from((0.0, 5e-324, -1e-310, largest, 37.0))
    return st.integers(2, 8).flatmap(lambda k: arrays(float, k, elements=value))


def shares(z):
    values = [mpmath.exp(mpmath.mpf(float(v))) for v in z]
    return [v / mpmath.fsum(values) for v in values]


@given(logits(), st.data())
@pytest.mark.theorem("labels:log-odds")
def test_p71_confidence_is_the_log_odds_of_the_probability(z, data):
    y = data.draw(st.integers(0, len(z) - 1))
    got = confidence(z, y)
    with mpmath.workdps(400):
        p = shares(z)
        rest = mpmath.fsum(q for k, q in enumerate(p) if k != y)
        want = float(mpmath.log(p[y] / rest))
    # z_y - max and the logarithm of the rest are rounded once each
    assert abs(got - want) <= 4e-16 * (2 * np.abs(z).max() + abs(want)) + 1e-300
    share = softmax(z)[y]
    if 1e-6 < share < 1 - 1e-6:
        assert got == pytest.approx(np.log(share / (1 - share)), abs=1e-9)


@given(logits(), st.floats(-100, 100), st.data())
@example(np.array([1000.0, 0.0, 0.0]), 0.0, None)
@pytest.mark.theorem("labels:log-odds")
def test_p72_probability_and_cost_follow_from_the_log_odds(z, shift, data):
    y = 0 if data is None else data.draw(st.integers(0, len(z) - 1))
    phi = confidence(z, y)
    assert confidence(z + shift, y) == pytest.approx(phi, abs=1e-11)
    assert cross_entropy(phi) == pytest.approx(surprisal(z)[y], rel=1e-11, abs=1e-11)
    assert probability(phi) == pytest.approx(softmax(z)[y], rel=1e-11, abs=1e-300)
    assert complement(phi) == pytest.approx(
        softmax(z)[np.arange(len(z)) != y].sum(), rel=1e-11, abs=1e-300
    )


@given(logits(1e6))
@example(np.zeros(2))
@example(np.full(8, -1e6))
@pytest.mark.theorem("labels:confidence-floor")
def test_p73_confidence_in_the_preferred_class_has_a_floor(z):
    got = confidence_pair(z, z).teacher
    assert np.isfinite(got)
    assert got >= -np.log(len(z) - 1) - 1e-12


@given(logits(), st.data())
def test_p74_confidence_grows_one_for_one_with_its_own_logit(z, data):
    y = data.draw(st.integers(0, len(z) - 1))
    other = data.draw(st.integers(0, len(z) - 1).filter(lambda k: k != y))
    step = np.zeros(len(z))
    step[y] = 0.5
    assert confidence(z + step, y) - confidence(z, y) == pytest.approx(0.5, abs=1e-12)
    step = np.zeros(len(z))
    step[other] = 0.5
    assert confidence(z + step, y) <= confidence(z, y)


def test_confidence_at_the_edges():
    assert confidence([1000.0, 0.0, 0.0], 0) == 1000.0 - np.log(2)
    assert confidence([3.0, 1.0], 0) == 2.0
    assert confidence([3.0, 1.0], 1) == -2.0
    assert confidence([0.1, 0.3], 1) == 0.3 - 0.1
    # beside the largest of the others the rest is below round-off, and all that is left
    assert confidence([0.0, 0.0, -50.0], 0) == pytest.approx(-np.exp(-50.0), rel=1e-12, abs=0)
    assert confidence([1e308, -1e308], 0) == np.inf
    assert confidence(np.zeros((5, 1, 3)), np.zeros((1, 4), dtype=int)).shape == (5, 4)
    np.testing.assert_array_equal(confidence([[1, 2], [5, 2]], [0, 0]), [-1.0, 3.0])


def test_single_precision_probabilities_hold_no_confidence_beyond_17():
    """The log-odds of float32 probabilities are infinite, the cost exactly 0; ours are not."""
    z = np.array([[18.0, 0.0]], dtype=np.float32)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = (e / e.sum(axis=1, keepdims=True))[0, 0]
    assert p == 1
    assert -np.log(p) == 0
    assert confidence(z, [0]) == 18.0
    assert cross_entropy(confidence(z, [0])) == pytest.approx(np.log1p(np.exp(-18.0)), rel=1e-15)


@given(st.floats(-745, 745) | st.floats(-1e-300, 1e-300))
@example(-744.4)
@example(36.9)
@example(0.0)
def test_what_follows_from_the_log_odds_is_accurate(phi):
    with mpmath.workdps(800):
        share = 1 / (1 + mpmath.exp(-mpmath.mpf(phi)))
        want = [float(v) for v in (share, 1 - share, -mpmath.log(share))]
    got = [probability(phi), complement(phi), cross_entropy(phi)]
    np.testing.assert_allclose(got, want, rtol=1e-15, atol=5e-324)


def test_log_odds_may_be_infinite():
    ends = [-np.inf, np.inf]
    np.testing.assert_array_equal(probability(ends), [0, 1])
    np.testing.assert_array_equal(complement(ends), [1, 0])
    np.testing.assert_array_equal(cross_entropy(ends), [np.inf, 0])
    for function in (probability, complement, cross_entropy):
        with pytest.raises(ValueError, match="phi must be numbers, not nan"):
            function([0.0, np.nan])


@pytest.mark.parametrize(
    ("z", "y", "says"),
    [
        ([[1.0], [2.0]], [0, 0], "at least two classes"),
        (1.0, 0, "at least two classes"),
        ([1.0, 2.0], 2, "label must be integers from 0 to 1"),
        ([1.0, 2.0], -1, "label must be integers"),
        ([1.0, 2.0], 0.5, "label must be integers"),
        ([1.0, np.nan], 0, "logits must be finite"),
        ([1.0, np.inf], 0, "logits must be finite"),
        (np.zeros((3, 2)), [0, 1], "label must broadcast"),
        (np.zeros((3, 2)), [[0], [1], [0]], r"each row, got shapes \(3, 1\) and \(3, 2\)"),
    ],
)
def test_bad_logits_and_labels_are_refused(z, y, says):
    with pytest.raises(ValueError, match=says):
        confidence(z, y)


def test_a_single_row_may_have_many_labels():
    np.testing.assert_array_equal(confidence([3.0, 1.0], [0, 1, 0]), [2.0, -2.0, 2.0])
    assert confidence([3.0, 1.0], [[0], [1]]).shape == (2, 1)
    assert confidence(np.zeros((4, 1, 2)), [0, 1]).shape == (4, 2)


def test_a_pair_is_looked_at_in_the_class_the_teacher_prefers():
    rng = np.random.default_rng(0)
    teacher, students = rng.standard_normal((50, 5)), rng.standard_normal((3, 50, 5))
    teacher[0] = 0.0
    labels = rng.integers(0, 5, 50)
    pair = confidence_pair(teacher, students, labels)
    assert pair.predicted.shape == pair.teacher.shape == pair.student_true.shape == (3, 50)
    np.testing.assert_array_equal(pair.predicted[1], teacher.argmax(axis=1))
    assert pair.predicted[0, 0] == 0  # of equal logits the lowest class
    np.testing.assert_array_equal(pair.teacher[2], confidence(teacher, teacher.argmax(axis=1)))
    np.testing.assert_array_equal(pair.student[2], confidence(students[2], teacher.argmax(axis=1)))
    np.testing.assert_array_equal(pair.teacher_true[1], confidence(teacher, labels))
    np.testing.assert_array_equal(pair.student_true[1], confidence(students[1], labels))
    bare = confidence_pair(teacher, students)
    assert bare.teacher_true is None
    assert bare.student_true is None


@pytest.mark.parametrize(
    ("teacher", "student", "labels", "says"),
    [
        (
            np.zeros((3, 2)),
            np.zeros((3, 4)),
            None,
            "same classes, got teacher_logits",
        ),
        (
            np.zeros((3, 2)),
            np.zeros((4, 2)),
            None,
            "broadcast against each other, got teacher",
        ),
        (np.zeros((3, 1)), np.zeros((3, 1)), None, "at least two classes"),
        (np.zeros((3, 2)), np.zeros((3, 2)), [0, 1, 2], "labels must be integers from 0 to 1"),
        (np.zeros((3, 2)), np.zeros((3, 2)), [0, 1], "labels must be one class a sample"),
        (np.zeros((3, 2)), np.zeros((3, 2)), np.zeros((3, 2)), "labels must be one class a sample"),
    ],
)
def test_bad_pairs_are_refused(teacher, student, labels, says):
    with pytest.raises(ValueError, match=says):
        confidence_pair(teacher, student, labels)


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=300))
@pytest.mark.theorem("labels:dissection")
def test_p77_dissection_is_a_partition(rows):
    teacher, student, truth = np.array(rows).T
    got = dissect(teacher, student, truth)
    assert isinstance(got, Dissection)
    parts = (got.both, got.only_student, got.only_teacher, got.neither)
    counts = [round(part * len(rows)) for part in parts]
    assert [count / len(rows) for count in counts] == list(parts)
    assert sum(counts) == len(rows)
    assert counts[0] == sum(a == b == c for a, b, c in rows)
    assert counts[0] + counts[2] == (teacher == truth).sum()
    assert counts[0] + counts[1] == (student == truth).sum()


def test_dissecting_nothing_or_unequal_shapes_is_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        dissect([], [], [])
    with pytest.raises(ValueError, match="shapes must agree"):
        dissect([0], [0, 1], [0, 1])
    with pytest.raises(ValueError, match=r"teacher_prediction must be classes.*got 0\.5"):
        dissect([0.5], [0], [0])
    with pytest.raises(ValueError, match="labels must be >= 0"):
        dissect([0], [0], [-1])
    with pytest.raises(ValueError, match="shapes must agree"):
        dissect_underfit([0.0], [0.0], [0, 1], [0, 1], [0, 1])


def test_underfit_points_are_dissected_beside_the_others_of_their_quarter():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, 400))
    teacher, student, truth = rng.integers(0, 3, (3, 400))
    got = dissect_underfit(x, y, teacher, student, truth, fraction=0.3, level=0.9)
    unsure = np.argsort(x)[:120]
    under, over = unsure[y[unsure] < x[unsure]], unsure[y[unsure] >= x[unsure]]
    assert got.count == len(under)
    assert got.everyone == dissect(teacher, student, truth)
    assert got.unsure == dissect(teacher[unsure], student[unsure], truth[unsure])
    assert got.underfit == dissect(teacher[under], student[under], truth[under])
    wrong = (teacher != truth) | (student != truth)
    assert got.outside == proportion_interval(int(wrong[under].sum()), len(under), 0.9)
    assert got.outside_rest == proportion_interval(int(wrong[over].sum()), len(over), 0.9)


def test_without_underfit_points_there_is_nothing_to_dissect():
    x = np.arange(8.0)
    got = dissect_underfit(x, x, np.zeros(8), np.zeros(8), np.zeros(8))
    assert (got.count, got.underfit, got.outside) == (0, None, None)
    assert got.outside_rest.estimate == 0
    got = dissect_underfit(x, x - 1, np.zeros(8), np.zeros(8), np.zeros(8))
    assert got.count == 2
    assert got.outside_rest is None
