"""Difficulty, zig-zag scores and the triangle: properties, exact sums, bad input."""

from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from theory.labels import paths


@st.composite
def simplex(draw, classes=None, rows=()):
    """Distributions with zeros, subnormals and entries next to 1."""
    count = classes or draw(st.integers(2, 11))
    entries = st.floats(1e-3, 1.0) | st.sampled_from((0.0, 5e-324, 1e-200, 1e-16, 1.0))
    raw = draw(arrays(float, (*rows, count), elements=entries))
    raw[..., draw(st.integers(0, count - 1))] += draw(st.sampled_from((1e-3, 1.0, 1e9)))
    return raw / raw.sum(axis=-1, keepdims=True)


@st.composite
def training(draw, classes=None, longest=60):
    steps, samples = draw(st.integers(1, longest)), draw(st.integers(1, 3))
    count = classes or draw(st.integers(2, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    q = rng.dirichlet(np.full(count, draw(st.sampled_from((0.05, 1.0, 20.0)))), (steps, samples))
    return q / q.sum(axis=-1, keepdims=True), rng.integers(0, count, samples)


@given(simplex(rows=(3,)), arrays(int, 3, elements=st.integers(0, 10)))
@example(np.array([[1.0, 5e-321, 5e-321]] * 3), np.array([0, 0, 1]))
def test_p27_base_difficulty(p, places):
    classes = p.shape[-1]
    y = places % classes
    got = paths.base_difficulty(y, p)
    own = p[np.arange(3), y]
    assert ((got >= 0) & (got <= np.sqrt(2) + 1e-12)).all()
    np.testing.assert_allclose(got**2, 1 - 2 * own + (p**2).sum(axis=1), atol=1e-12)
    hot = np.eye(classes)[y]
    np.testing.assert_array_equal(got == 0, (p == hot).all(axis=1))
    np.testing.assert_array_equal(paths.base_difficulty(hot, p), got)
    for row, target, value in zip(p, hot, got, strict=True):
        want = mp.sqrt(
            mp.fsum((mp.mpf(float(a)) - b) ** 2 for a, b in zip(row, target, strict=True))
        )
        assert abs(value - want) <= 1e-14 * want + 5e-324  # subnormal numbers have few digits


def test_difficulty_of_a_posterior_next_to_the_label_is_not_zero():
    assert paths.base_difficulty(0, [1.0, 1e-200]) == 1e-200
    assert paths.base_difficulty(0, [1.0, 0.0]) == 0.0
    assert paths.base_difficulty(1, [1.0, 0.0]) == np.sqrt(2)


def test_one_posterior_and_many_labels():
    np.testing.assert_allclose(
        paths.base_difficulty([0, 1, 0], [0.8, 0.2]), np.sqrt(2) * np.array([0.2, 0.8, 0.2])
    )


@pytest.mark.theorem("labels:label-variance")
@given(simplex())
def test_a_drawn_label_is_one_less_the_squared_length_away(p):
    every = np.array([paths.base_difficulty(k, p) ** 2 for k in range(len(p))])
    got = paths.expected_squared_difficulty(p)
    assert got == pytest.approx((p * every).sum(), abs=1e-13)
    assert got == pytest.approx(1 - (p**2).sum(), abs=1e-12)


def test_the_distance_of_an_almost_certain_label_keeps_its_digits():
    assert paths.expected_squared_difficulty([1.0, 1e-30]) == pytest.approx(2e-30, rel=1e-14, abs=0)


@pytest.mark.theorem("labels:zigzag-bounds")
@given(training())
def test_p31_zigzag_bounds(case):
    q, y = case
    score = paths.zigzag_score(q, y)
    left = len(q) - paths.integral_difficulty(q, y)
    assert (score <= left + 1e-12 * len(q)).all()
    assert (score >= left / (q.shape[-1] - 1) - 1e-12 * len(q)).all()
    np.testing.assert_allclose(paths.zigzag_score(q, y, normalize=True) * len(q), score, rtol=1e-15)
    for sample, label in enumerate(y):
        sums = [sum(map(Fraction, map(float, q[:, sample, k]))) for k in range(q.shape[-1])]
        exact = max(value for k, value in enumerate(sums) if k != label)
        assert score[sample] == pytest.approx(float(exact), rel=1e-13)
        assert score[sample] == paths.zigzag_score(q[:, sample], label)


def test_the_score_is_the_largest_sum_and_not_the_sum_of_the_largest():
    q = [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    assert paths.zigzag_score(q, 0) == 1.0
    assert paths.zigzag_score(q, 1) == 1.0
    assert paths.integral_difficulty(q, 0) == 0.0


def test_scores_of_long_and_single_precision_paths():
    q = np.full((100, 7, 4), 0.25, np.float32)
    np.testing.assert_allclose(paths.zigzag_score(q, 2), np.full(7, 25.0))


@pytest.mark.theorem("labels:barycentric-isometry")
@given(simplex(classes=3, rows=(2,)))
@example(np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
def test_p32_barycentric_isometry(q):
    points = paths.barycentric(q)
    plane = np.linalg.norm(points[0] - points[1])
    assert plane * np.sqrt(2) == pytest.approx(np.linalg.norm(q[0] - q[1]), abs=1e-12)
    np.testing.assert_allclose(paths.from_barycentric(points), q, atol=1e-15)
    corners = [[0, 0], [1, 0], [0.5, np.sqrt(3) / 2]]
    np.testing.assert_allclose(paths.barycentric(np.eye(3)), corners, atol=1e-15)


@given(simplex(classes=6), st.permutations(range(6)))
def test_three_of_many_classes_and_the_rest_on_the_third(q, order):
    chosen = order[:3]
    folded = [q[chosen[0]], q[chosen[1]], q[order[2:]].sum()]
    np.testing.assert_allclose(paths.barycentric(q, chosen), paths.barycentric(folded), atol=1e-15)


def test_the_order_of_three_classes_turns_the_triangle():
    np.testing.assert_array_equal(paths.barycentric([0.0, 1.0, 0.0], (1, 0, 2)), [0.0, 0.0])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: paths.base_difficulty([2], [[0.5, 0.5]]), "labels must be integers from 0 to 1"),
        (lambda: paths.base_difficulty([0, 1, 1], [[0.5, 0.5]] * 2), "labels must broadcast"),
        (lambda: paths.base_difficulty([[0], [1], [1]], [[0.5, 0.5]] * 3), "labels must broadcast"),
        (lambda: paths.zigzag_score([[[0.5, 0.5]] * 3] * 2, [[0], [1], [1]]), "each row"),
        (lambda: paths.base_difficulty([0], [[0.5, 0.6]]), "truth must be distributions"),
        (lambda: paths.base_difficulty([[0.5, 0.6]], [[0.5, 0.5]]), "labels must be distributions"),
        (lambda: paths.expected_squared_difficulty([1.0]), "at least two classes"),
        (lambda: paths.zigzag_score([0.5, 0.5], 0), "path must have time first"),
        (lambda: paths.zigzag_score(np.empty((0, 2)), 0), "path must have time first"),
        (lambda: paths.zigzag_score([[0.5, 0.5]], 2), "labels must be integers from 0 to 1"),
        (lambda: paths.zigzag_score([[0.5, 0.5]], 0, normalize=1), "normalize must be True or F"),
        (lambda: paths.zigzag_score([[np.nan, 0.5]], 0), "path must be finite"),
        (lambda: paths.integral_difficulty([[0.5, 0.5]], 0.5), "labels must be integers"),
        (lambda: paths.barycentric([0.5, 0.5]), "q must have three classes"),
        (lambda: paths.barycentric([0.25] * 4), "q must have three classes"),
        (lambda: paths.barycentric([0.25] * 4, (0, 1)), "three different classes"),
        (lambda: paths.barycentric([0.25] * 4, (0, 1, 1)), "three different classes"),
        (lambda: paths.barycentric([0.25] * 4, (0, 1, 4)), "classes must be integers from 0 to 3"),
        (lambda: paths.from_barycentric([0.5]), "two coordinates"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()
