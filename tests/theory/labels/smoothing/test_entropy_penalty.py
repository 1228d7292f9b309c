"""The optimum of the entropy penalty: against mpmath's Lambert function over all strengths."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.reference import relative_error
from tests.strategies import powers_of_ten
from theory.labels import smoothing as s

classes = st.integers(2, 1000) | st.sampled_from((2, 10**4, 10**6))


def mp_tail(beta, k):
    """beta W((K - 1) exp(-1/beta)/beta): (1 - p)/p."""
    b = mp.mpf(beta)
    return b * mp.lambertw((k - 1) * mp.exp(-1 / b) / b).real


@pytest.mark.theorem("labels:entropy-penalty-optimum")
@given(powers_of_ten(-3, 3), classes)
@example(1e-3, 10**6)
@example(1 / 700, 10)
@example(1.0, 2)
@example(1e3, 10**6)
def test_p55_the_optimum_is_stationary_and_keeps_its_digits(beta, k):
    p = s.entropy_penalty_optimum(beta, k)
    rest = s.entropy_penalty_optimum(beta, k, complement=True)
    with mp.workdps(60):
        tail = mp_tail(beta, k)
        assert relative_error(p, 1 / (1 + tail)) < 2e-15
        want = tail / (1 + tail)
        if want > mp.mpf(1e-300):
            assert relative_error(rest, want) < 5e-15
        else:
            assert abs(rest - want) < 1e-315
    if beta > 2e-3:
        odds = np.log(p) + np.log(k - 1) - np.log(rest)
        assert beta * odds == pytest.approx(1 / p, rel=1e-12, abs=0)


@given(powers_of_ten(-3, 3), powers_of_ten(-3, 3), classes)
def test_p56_the_mass_falls_with_the_strength_from_one_to_uniform(one, other, k):
    low, high = sorted((one, other))
    masses = s.entropy_penalty_optimum([low, high], k)
    rests = s.entropy_penalty_optimum([low, high], k, complement=True)
    assert (masses >= 1 / k - 1e-15).all()
    assert (masses <= 1).all()
    assert masses[0] >= masses[1] - 1e-15
    assert rests[0] <= rests[1] * (1 + 1e-14)
    if high > low * (1 + 1e-9) and rests[1] > 1e-300:
        assert rests[0] < rests[1]


@given(st.integers(2, 1000) | st.just(10**6), st.floats(0, 1))
def test_p57_the_inverse_inverts(k, share):
    p = 1 / k + 0.01 + share * max(0.999 - 1 / k - 0.01, 0.0)
    beta = s.entropy_penalty_for_mass(p, k)
    with mp.workdps(40):
        q = mp.mpf(float(p))
        assert relative_error(beta, 1 / (q * mp.log(q * (k - 1) / (1 - q)))) < 1e-13
    assert s.entropy_penalty_optimum(beta, k) == pytest.approx(p, rel=1e-12, abs=0)


@given(powers_of_ten(-300, -0.5), classes)
@example(1e-300, 10**6)
def test_the_inverse_inverts_next_to_one(rest, k):
    beta = s.entropy_penalty_for_mass(rest, k, complement=True)
    # the logarithm of the tail is 1/beta: an ulp of beta is 1/beta ulps of the tail
    got = s.entropy_penalty_optimum(beta, k, complement=True)
    if rest < 1 - 1.001 / k:
        assert got == pytest.approx(rest, rel=4e-16 / beta + 1e-14, abs=0)


def test_ends_of_the_range_and_tiny_strengths():
    np.testing.assert_array_equal(s.entropy_penalty_optimum([0, np.inf], 8), [1, 1 / 8])
    assert s.entropy_penalty_optimum(-0.0, 8) == 1.0
    np.testing.assert_array_equal(
        s.entropy_penalty_optimum([0, 5e-324, 1e-300], 8, complement=True), 0
    )
    assert s.entropy_penalty_optimum(1e300, 8) == pytest.approx(1 / 8, rel=1e-15, abs=0)
    # exp(-1/beta) alone has lost digits here, with a million classes the tail has all
    tiny = 1 / 720
    with mp.workdps(60):
        want = mp_tail(tiny, 10**6)
    assert s.entropy_penalty_optimum(tiny, 10**6, complement=True) == pytest.approx(
        float(want), rel=1e-12, abs=0
    )
    assert s.entropy_penalty_for_mass([1.0, 1 / 49], 49).tolist() == [0.0, np.inf]
    assert s.entropy_penalty_for_mass(0.5, 2) == np.inf
    assert s.entropy_penalty_for_mass(0.0, 2, complement=True) == 0.0


def test_the_printed_objective_divides_the_penalty():
    got = s.entropy_penalty_optimum(5.0, 10, samples=50)
    assert got == s.entropy_penalty_optimum(0.1, 10)


def test_matching_smoothing_of_the_same_mass():
    for convention in ("mix", "true"):
        for eps in (1e-12, 0.1, 0.15, 0.5):
            beta = s.entropy_penalty_for_smoothing(eps, 100, convention)
            mass = s.mass_from_smoothing(eps, 100, convention)
            assert s.entropy_penalty_optimum(beta, 100) == pytest.approx(mass, rel=1e-12, abs=0)
    # smoothing whose prior has beta = 0.1, that is mass 0.91 with 100 classes
    mass = s.mass_from_beta(0.1, 100)
    assert mass == pytest.approx(0.91, abs=1e-12)
    assert s.entropy_penalty_for_mass(mass, 100) == pytest.approx(0.159, abs=5e-4)


@given(powers_of_ten(-2, 2), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_no_distribution_does_better(beta, k, seed):
    p = float(s.entropy_penalty_optimum(beta, k))
    best = np.full(k, (1 - p) / (k - 1))
    best[0] = p
    rng = np.random.default_rng(seed)
    others = np.vstack([rng.dirichlet(np.ones(k), 200), 0.9 * best + 0.1 * rng.dirichlet(best, 50)])

    def objective(q):
        with np.errstate(divide="ignore", invalid="ignore"):
            return -np.log(q[..., 0]) + beta * np.where(q > 0, q * np.log(q), 0.0).sum(-1)

    low = objective(best)
    assert (objective(others) >= low - 1e-12 * (1 + abs(low))).all()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: s.entropy_penalty_optimum(-0.1, 3), "beta must be >= 0"),
        (lambda: s.entropy_penalty_optimum(np.nan, 3), "beta must be numbers, not nan"),
        (lambda: s.entropy_penalty_optimum(0.1, 1), "classes must be an integer >= 2"),
        (lambda: s.entropy_penalty_optimum(0.1, 3, samples=0), "samples must be an integer >= 1"),
        (lambda: s.entropy_penalty_for_mass(0.3, 3), "mass must leave at least 1/classes"),
        (lambda: s.entropy_penalty_for_mass(1.2, 3), r"mass must be in \[0, 1\]"),
    ],
)
def test_bad_strengths_are_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
