"""Holm's procedure against its definition."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from theory.statistics import holm

P_VALUES = st.lists(
    st.floats(0, 1) | st.sampled_from((0.0, 1.0, 0.01, 0.05, 1e-300)), min_size=1, max_size=9
)


def rejected(p_values, level):
    """Step down: the smallest against level / m, the next against level / (m - 1), and so on."""
    out, left = set(), len(p_values)
    for place in np.argsort(p_values, kind="stable"):
        if p_values[place] * left > level:
            break
        out.add(int(place))
        left -= 1
    return out


@given(P_VALUES, st.floats(1e-4, 0.9999))
@example([0.05, 0.05, 0.05], 0.15)
@example([0.01, 0.04, 0.03], 0.06)
def test_rejects_what_stepping_down_rejects(p_values, level):
    assert set(np.flatnonzero(holm(p_values) <= level)) == rejected(p_values, level)


@given(P_VALUES)
def test_lies_between_the_p_value_and_bonferroni_and_keeps_the_order(p_values):
    p, got = np.array(p_values), holm(p_values)
    assert (got >= p).all()
    assert (got <= np.minimum(len(p) * p, 1.0)).all()
    order = np.argsort(p)
    assert (np.diff(got[order]) >= 0).all()
    for one in range(len(p)):
        assert (got[p == p[one]] == got[one]).all()


@given(P_VALUES, st.integers(0, 2**32 - 1))
def test_follows_a_permutation(p_values, seed):
    order = np.random.default_rng(seed).permutation(len(p_values))
    np.testing.assert_array_equal(holm(np.array(p_values)[order]), holm(p_values)[order])


def test_no_more_than_the_level_of_families_has_a_false_rejection():
    """With all hypotheses true and independent, a share 1 - (1 - level / m)^m has one."""
    rng = np.random.default_rng(0)
    wrong = np.array([holm(p).min() <= 0.05 for p in rng.random((4000, 5))])
    assert abs(wrong.mean() - (1 - 0.99**5)) < 5 * np.sqrt(0.05 * 0.95 / 4000)


def test_shape_nan_and_family():
    table = np.array([[0.01, np.nan], [0.04, 0.03]])
    np.testing.assert_allclose(holm(table), [[0.03, np.nan], [0.06, 0.06]])
    np.testing.assert_allclose(holm(table, family=4), [[0.04, np.nan], [0.09, 0.09]])
    assert np.isnan(holm([np.nan, np.nan])).all()
    assert holm(0.03) == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: holm([]), "p_values must hold at least one"),
        (lambda: holm([0.5, 1.5]), "p_values must be in \\[0, 1\\], got 1.5"),
        (lambda: holm([0.5, -0.1]), "p_values must be in"),
        (lambda: holm([0.5, np.inf]), "p_values must be finite"),
        (lambda: holm(["a"]), "p_values must be an array of real numbers"),
        (lambda: holm([[0.5, 0.1], [0.2]]), "p_values must be an array of real numbers"),
        (lambda: holm([0.5, 0.2], family=1), "family must be at least the number of p-values"),
    ],
)
def test_bad_input_is_refused_by_name(call, says):
    with pytest.raises(ValueError, match=says):
        call()
