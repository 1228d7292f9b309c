"""The optimum of LsrKD: against mpmath's roots, its inverse, and label smoothing at tau = 1."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.reference import relative_error
from tests.strategies import powers_of_ten
from theory.labels import smoothing as s
from theory.labels.losses import lsrkd, lsrkd_tc

classes = st.integers(2, 200)
factors = st.sampled_from(("1", "tau", "tau2"))
POWER = {"1": 0, "tau": 1, "tau2": 2}


def mp_tail(weight, k, tau, factor, g, start):
    """(1 - p)/p at the root, from the definition."""

    def slope(x):
        own = 1 / (1 + (k - 1) * mp.exp(-x))
        hot = 1 / (1 + (k - 1) * mp.exp(-x / tau))
        pull = weight * mp.mpf(tau) ** (POWER[factor] - 1) * (hot - g)
        return pull / ((1 - weight) * (1 - own)) - 1

    root = mp.findroot(slope, mp.mpf(start), tol=1e-40, verify=False, maxsteps=30)
    return (k - 1) * mp.exp(-root)


@pytest.mark.theorem("labels:lsrkd-optimum")
@given(powers_of_ten(-8, -0.01), classes, st.floats(0.7, 20), factors, st.floats(0, 0.95))
@example(0.1, 100, 3.0, "tau", 0.0)
def test_the_gradient_vanishes_at_the_optimum(weight, k, tau, factor, share):
    g = 1 / k + share * (1 - 1 / k)
    rest = s.lsrkd_optimum(weight, k, tau, factor=factor, teacher_mass=g, complement=True)
    own = s.lsrkd_optimum(weight, k, tau, factor=factor, teacher_mass=g)
    assert own + rest == pytest.approx(1, abs=1e-15)
    assert 1 / k - 1e-12 <= own <= 1
    logit = np.log(own) + np.log(k - 1) - np.log(rest)
    z = np.zeros(k)
    z[0] = logit
    loss = lsrkd_tc(z, 0, g, weight, tau, factor=factor)
    scale = max(1.0, tau ** (POWER[factor] - 1))
    assert np.abs(loss.gradient).max() < 1e-14 * scale
    back = s.lsrkd_weight_for_mass(rest, k, tau, factor=factor, teacher_mass=g, complement=True)
    assert 0 <= back <= 1
    # next to where the teacher alone would end, the weight hangs on the last digits of the mass
    alone = tau * (np.log(g) + np.log(k - 1) - np.log1p(-g))
    if logit - alone > 1e-6:
        with mp.workdps(30):
            want = mp_tail(mp.mpf(weight), k, mp.mpf(tau), factor, mp.mpf(g), logit)
            assert relative_error(rest, want / (1 + want)) < 1e-11
        assert back == pytest.approx(weight, rel=1e-14 * (10 + abs(logit) / (logit - alone)), abs=0)


@given(powers_of_ten(-12, 0), classes)
def test_at_temperature_one_it_is_label_smoothing(weight, k):
    for factor in POWER:
        got = s.lsrkd_optimum(weight, k, 1.0, factor=factor, complement=True)
        assert got == pytest.approx(s.convert_smoothing(weight, k), rel=1e-12, abs=0)
    g = 1 / k + 0.3 * (1 - 1 / k)
    mass = s.lsrkd_optimum(weight, k, 1.0, teacher_mass=g)
    assert mass == pytest.approx(1 - weight + weight * g, rel=1e-13, abs=0)


@given(powers_of_ten(-4, -0.05), powers_of_ten(-4, -0.05), classes, st.floats(1, 20), factors)
def test_more_weight_is_less_mass(one, other, k, tau, factor):
    low, high = sorted((one, other))
    light, heavy = s.lsrkd_optimum([low, high], k, tau, factor=factor)
    assert light >= heavy - 1e-15
    if factor == "tau" and tau > 1.01:
        assert light > s.mass_from_smoothing(low, k) - 1e-15


def test_optima_of_the_published_settings():
    weight, k = 0.1, 100
    np.testing.assert_allclose(
        s.lsrkd_optimum(weight, k, [1, 2, 3, 5, 20]), [0.901, 0.963, 0.984, 0.994, 0.999], atol=5e-4
    )
    np.testing.assert_allclose(
        s.lsrkd_optimum(weight, k, [2, 3, 5, 20], factor="tau2"),
        [0.939, 0.963, 0.977, 0.988],
        atol=5e-4,
    )


def test_ends_of_the_range():
    got = s.lsrkd_optimum([0.0, 1e-300, 1.0], 10, 3.0, complement=True)
    np.testing.assert_allclose(got, [0.0, 9e-301, 0.9], rtol=1e-12)
    assert s.lsrkd_optimum(0.5, 10, 3.0, teacher_mass=1.0) == 1.0
    # alone, a corrected teacher at temperature 3 ends at its mass to the third power
    g = 0.3
    want = g**3 / (g**3 + 9 * (0.7 / 9) ** 3)
    assert s.lsrkd_optimum(1.0, 10, 3.0, teacher_mass=g) == pytest.approx(want, rel=1e-13, abs=0)
    assert s.lsrkd_weight_for_mass([1.0, 0.1], 10).tolist() == [0.0, 1.0]
    assert s.lsrkd_optimum(np.full((2, 1), 0.1), 10, [1.0, 2.0, 3.0]).shape == (2, 3)


def test_the_optimum_is_the_least_of_all_logits():
    rng = np.random.default_rng(0)
    best = np.zeros(6)
    mass = s.lsrkd_optimum(0.2, 6, 4.0)
    best[2] = np.log(mass * 5 / (1 - mass))
    low = lsrkd(best, 2, 0.2, 4.0).value
    others = best + rng.standard_normal((500, 6)) * np.geomspace(1e-3, 3, 500)[:, None]
    assert (lsrkd(others, np.full(500, 2), 0.2, 4.0).value >= low - 1e-15).all()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: s.lsrkd_optimum(1.1, 10), r"weight must be in \[0, 1\]"),
        (lambda: s.lsrkd_optimum(0.1, 10, 0.0), "temperature must be > 0"),
        (lambda: s.lsrkd_optimum(0.1, 10, factor="tau3"), "factor must be one of"),
        (lambda: s.lsrkd_optimum(0.1, 10, teacher_mass=0.05), "teacher_mass must leave at least"),
        (lambda: s.lsrkd_optimum([0.1, 0.2], 10, [1.0, 2.0, 3.0]), "must broadcast"),
        (lambda: s.lsrkd_weight_for_mass(0.05, 10), "mass must leave at least"),
        (lambda: s.lsrkd_weight_for_mass(0.3, 10, teacher_mass=0.9), "some weight ends at"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
