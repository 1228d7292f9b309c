"""The strategies reach the hard cases: each is found, or hypothesis raises NoSuchExample."""

import numpy as np
import pytest
from hypothesis import find, given
from hypothesis import strategies as st

from tests import strategies


def _values(X):
    return np.linalg.svd(X, compute_uv=False)


def is_wide(X):
    return X.shape[1] > X.shape[0]


def is_tall(X):
    return X.shape[0] > X.shape[1]


def is_square(X):
    return X.shape[0] == X.shape[1] > 1


def is_rank_deficient(X):
    values = _values(X)
    return values[0] > 0 and values[-1] <= 1e-12 * values[0]


def is_zero(X):
    return not X.any()


def has_repeated_value(X):
    values = _values(X)
    positive = values[values > 1e-10 * values[0]]
    return bool((np.diff(positive) > -1e-9 * positive[0]).any()) if positive.size > 1 else False


def has_full_rank(X):
    values = _values(X)
    return values[-1] > 0.01 * values[0]


def is_one_sample(X):
    return X.shape[0] == 1 < X.shape[1]


TRAITS = (
    is_wide,
    is_tall,
    is_square,
    is_rank_deficient,
    is_zero,
    has_repeated_value,
    has_full_rank,
    is_one_sample,
)


@pytest.mark.parametrize("trait", TRAITS)
def test_data_matrices_reach(trait):
    find(strategies.data_matrices(), trait)


@pytest.mark.parametrize("shape", [is_wide, is_tall, is_square])
def test_rank_deficiency_is_reached_in_every_shape(shape):
    find(strategies.data_matrices(), lambda X: shape(X) and is_rank_deficient(X))


def test_ill_conditioned_data_are_reached():
    def is_ill_conditioned(X):
        values = _values(X)
        return 0 < values[-1] < 1e-8 * values[0] and values[-1] > 1e-13 * values[0]

    find(strategies.ill_conditioned(), is_ill_conditioned)


@pytest.mark.parametrize("trait", [is_rank_deficient, has_repeated_value, has_full_rank, is_zero])
def test_kernels_reach(trait):
    find(strategies.kernels(), trait)


def test_ill_conditioned_kernels_are_reached():
    def is_ill_conditioned(kernel):
        values = np.linalg.eigvalsh(kernel)
        return 1e-13 * values[-1] < values[0] < 1e-7 * values[-1]

    find(strategies.kernels(), is_ill_conditioned)


@pytest.mark.parametrize(
    "trait",
    [
        lambda problem: problem.y.ndim == 1,
        lambda problem: problem.y.ndim == 2 and problem.y.shape[1] > 1,
        lambda problem: problem.initial.any(),
        lambda problem: not problem.initial.any(),
    ],
    ids=["one output", "many outputs", "non-zero initial weights", "zero initial weights"],
)
def test_problems_reach(trait):
    find(strategies.problems(), trait)


def test_times_reach_zero_and_infinity():
    for wanted in (0.0, np.inf):
        find(strategies.times(infinite=True), lambda time, wanted=wanted: time == wanted)


@given(data=st.data())
def test_matrices_have_the_spectrum_they_were_built_from(data):
    n, p = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 8))
    values = data.draw(strategies.singular_values(min(n, p)))
    X = strategies.from_spectrum(data.draw(strategies.generators()), values, n, p)
    np.testing.assert_allclose(_values(X), values, rtol=0, atol=1e-14)


@given(kernel=strategies.kernels())
def test_kernels_are_symmetric_and_not_negative(kernel):
    assert (kernel == kernel.T).all()
    values = np.linalg.eigvalsh(kernel)
    assert values[0] >= -1e-14 * max(values[-1], 1e-8)
