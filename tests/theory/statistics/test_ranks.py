"""Rank correlation: against scipy, its coverage, ties, and the ends of its scale."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.theory.statistics.coverage import coverage
from theory.statistics import rank_correlation

ALL = pytest.mark.parametrize("method", ["bonett-wright", "fisher", "bootstrap", "bca"])
TIED = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=4, max_size=30)


def rng():
    return np.random.default_rng(0)


@given(TIED)
def test_agrees_with_scipy_with_ties(pairs):
    x, y = np.array(pairs, dtype=float).T
    got = rank_correlation(x, y)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert np.isnan([got.estimate, got.low, got.high]).all()
        assert not got.excludes(0.0)
    else:
        assert got.estimate == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-14)
        assert -1 <= got.low <= got.estimate <= got.high <= 1


@given(TIED, st.integers(0, 2**32 - 1))
def test_follows_order_and_nothing_else(pairs, seed):
    x, y = np.array(pairs, dtype=float).T
    one = rank_correlation(x, y)
    order = np.random.default_rng(seed).permutation(len(x))
    other = rank_correlation(np.exp(x)[order] * 1e300, 1e-310 * y[order] ** 3)
    # the smallest of these cubes differ by less than the smallest number: no ties may appear
    if len(np.unique(1e-310 * y**3)) == len(np.unique(y)):
        assert (other.estimate, other.low, other.high) == pytest.approx(
            (one.estimate, one.low, one.high), abs=1e-12, nan_ok=True
        )
    turned = rank_correlation(-x, y)
    assert (turned.low, turned.high) == pytest.approx((-one.high, -one.low), nan_ok=True)


def test_symmetric_in_its_arguments():
    x, y = np.random.default_rng(1).normal(size=(2, 20))
    assert rank_correlation(x, y) == rank_correlation(y, x)


@pytest.mark.parametrize(("method", "share"), [("bonett-wright", 0.5), ("fisher", 0.0)])
def test_ends_by_their_formula(method, share):
    got = rank_correlation([1, 2, 3, 4, 5], [1, 3, 2, 5, 4], method=method, level=0.9)
    half = stats.norm.ppf(0.95) * np.sqrt((1 + share * 0.8**2) / 2)
    want = np.tanh(np.arctanh(0.8) + np.array([-half, half]))
    assert (got.low, got.high) == pytest.approx(tuple(want), rel=1e-12)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_coverage_of_bonett_wright(rho):
    """Of normal pairs the rank correlation is 6 asin(rho / 2) / pi."""
    source = np.random.default_rng(2)
    chol = np.linalg.cholesky([[1.0, rho], [rho, 1.0]])
    data = source.standard_normal((1500, 40, 2)) @ chol.T
    truth = 6 * np.arcsin(rho / 2) / np.pi
    got = coverage(lambda x: rank_correlation(x[:, 0], x[:, 1]), data, truth)
    # the approximation is good to about a point; the simulation to half of one
    assert abs(got - 0.95) < 0.03
    if rho == 0.9:
        fisher = coverage(
            lambda x: rank_correlation(x[:, 0], x[:, 1], method="fisher"), data, truth
        )
        assert fisher < got - 0.01


@pytest.mark.parametrize("method", ["bootstrap", "bca"])
def test_coverage_of_the_bootstraps(method):
    source = np.random.default_rng(3)
    data = source.standard_normal((300, 40, 2)) @ np.linalg.cholesky([[1, 0.5], [0.5, 1]]).T
    got = coverage(
        lambda x: rank_correlation(x[:, 0], x[:, 1], method=method, rng=source, resamples=300),
        data,
        6 * np.arcsin(0.25) / np.pi,
    )
    assert abs(got - 0.94) < 0.065


@ALL
def test_perfect_agreement_and_constants(method):
    up = np.arange(6.0)
    same = rank_correlation(up, up**3, method=method, rng=rng())
    assert (same.estimate, same.high) == (1.0, 1.0)
    against = rank_correlation(up, -up, method=method, rng=rng())
    assert (against.estimate, against.low) == (-1.0, -1.0)
    if method in ("bonett-wright", "fisher"):
        # six pairs in order do not make it certain: the inner end is that of the next value, 0.943
        near = rank_correlation(up, [0, 1, 2, 3, 5, 4], method=method)
        assert near.estimate == pytest.approx(1 - 12 / 210)
        assert same.low == pytest.approx(near.low)
        assert against.high == pytest.approx(-near.low)
    none = rank_correlation(up, np.ones(6), method=method, rng=rng())
    assert np.isnan([none.estimate, none.low, none.high]).all()


def test_many_pairs_in_order():
    many = np.arange(500_000.0)
    got = rank_correlation(many, many)
    assert 0.999 < got.low <= got.estimate == got.high == 1


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: rank_correlation([1, 2, 3], [1, 2, 3]), "x must hold at least 4"),
        (lambda: rank_correlation([1, 2, 3, 4], [1, 2, 3, 4, 5]), "shapes must agree"),
        (lambda: rank_correlation([1, 2, 3, np.nan], [1, 2, 3, 4]), "x must be finite"),
        (lambda: rank_correlation(np.eye(4), np.eye(4)), "one number an observation"),
        (lambda: rank_correlation([1, 2, 3, 4], [1, 2, 3, 4], method="bca"), "rng must be"),
        (lambda: rank_correlation([1, 2, 3, 4], [1, 2, 3, 4], method="tau"), "method must be one"),
    ],
)
def test_bad_input_is_refused_by_name(call, says):
    with pytest.raises(ValueError, match=says):
        call()
