"""Teacher correction, also of teachers that leave nothing to share, and the teacher of Tf-KD."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from theory.labels import smoothing as s
from theory.labels.softmax import softmax, temper

entries = st.floats(-20, 20) | st.sampled_from((0.0, 1e6, -1e6, 5e-324, 700.0))
logits = st.integers(2, 7).flatmap(lambda k: arrays(float, k, elements=entries))


@pytest.mark.theorem("labels:teacher-correction")
@given(logits, st.data(), st.floats(0, 1), st.floats(0, 1), st.floats(0.2, 20))
@example(np.array([1e6, 1.0, 0.0]), None, 0.6, 0.3, 1.0)
def test_p67_the_label_has_its_mass_and_the_others_keep_their_ratios(z, data, mass, other, tau):
    y = 0 if data is None else data.draw(st.integers(0, len(z) - 1))
    q = s.teacher_correction(z, y, mass, tau)
    assert q[y] == mass
    assert q.sum() == pytest.approx(1, abs=1e-14)
    assert (q >= 0).all()
    rest = np.delete(softmax(np.delete(np.append(z, -1e9), y), tau), -1)
    np.testing.assert_allclose(np.delete(q, y), (1 - mass) * rest, rtol=1e-11, atol=1e-300)
    # a second correction is the only one
    with np.errstate(divide="ignore"):
        again = np.maximum(np.log(q), -1e5)
    if 0 < mass < 1 and q.min() > 1e-300:
        np.testing.assert_allclose(
            s.teacher_correction(again, y, other),
            s.teacher_correction(z, y, other, tau),
            rtol=1e-12,
        )
        np.testing.assert_allclose(s.teacher_correction(again, y, mass), q, rtol=1e-12)
        np.testing.assert_allclose(s.correct_probabilities(q, y, mass), q, rtol=1e-12)


@given(logits, st.data(), st.floats(0.2, 20))
def test_p68_the_teachers_own_mass_changes_nothing(z, data, tau):
    y = data.draw(st.integers(0, len(z) - 1))
    q = softmax(z, tau)
    if q[y] <= 1 - 1e-6:
        got = s.teacher_correction(z, y, q[y], tau)
        np.testing.assert_allclose(got, q, rtol=0, atol=1e-13)
        np.testing.assert_allclose(s.correct_probabilities(q, y, q[y]), q, rtol=0, atol=1e-13)


def test_a_saturated_teacher_keeps_its_ratios_from_logits():
    z = np.array([800.0, 3.0, 1.0, 0.0])
    assert softmax(z)[0] == 1.0
    got = s.teacher_correction(z, 0, 0.7)
    with mp.workdps(50):
        others = [mp.exp(v) for v in z[1:]]
        want = [float(mp.mpf(3) / 10 * v / mp.fsum(others)) for v in others]
    np.testing.assert_allclose(got[1:], want, rtol=1e-14)
    # its probabilities still have them where they are no zeros, however small
    np.testing.assert_allclose(
        s.correct_probabilities([1.0, 3e-320, 1e-320], 0, 0.6), [0.6, 0.3, 0.1], rtol=1e-3
    )


def test_a_teacher_with_nothing_off_the_label_is_corrected_as_uniform_or_refused():
    np.testing.assert_allclose(s.correct_probabilities([0.0, 1.0, 0.0], 1, 0.5), [0.25, 0.5, 0.25])
    # sure of another class than the label: nothing is wrong with that
    np.testing.assert_allclose(s.correct_probabilities([0.0, 1.0, 0.0], 0, 0.5), [0.5, 0.5, 0.0])
    with pytest.raises(ValueError, match="1 rows have all of it there; give logits instead"):
        s.correct_probabilities([[0.0, 1.0], [0.5, 0.5]], [1, 1], 0.5, saturated="error")


@given(st.integers(2, 50), st.floats(0, 1))
def test_the_corrected_uniform_teacher_is_a_smoothed_label(k, mass):
    want = s.smooth(1, k, 1 - mass, "true")
    np.testing.assert_allclose(s.teacher_correction(np.zeros(k), 1, mass), want, atol=1e-15)
    np.testing.assert_allclose(s.virtual_teacher(1, k, mass), want, atol=1e-15)
    np.testing.assert_allclose(
        s.teacher_correction(np.zeros(k), 1, 1 / k), np.full(k, 1 / k), rtol=1e-14
    )


@given(st.integers(2, 50), st.floats(0, 1), st.floats(0.05, 50))
@example(10, 1.0, 20.0)
@example(10, 0.0, 20.0)
@example(10, 5e-324, 0.05)
def test_the_virtual_teacher_in_both_temperings(k, mass, tau):
    plain = s.virtual_teacher(1, k, mass)
    np.testing.assert_allclose(
        s.virtual_teacher(1, k, mass, tau), temper(plain, tau), rtol=1e-11, atol=1e-300
    )
    np.testing.assert_allclose(
        s.virtual_teacher(1, k, mass, tau, temper="prob_as_logit"),
        softmax(plain, tau),
        rtol=1e-12,
        atol=1e-300,
    )


def test_shapes_broadcast():
    z = np.zeros((2, 5, 3))
    assert s.teacher_correction(z, np.zeros(5, int), 0.5).shape == (2, 5, 3)
    assert s.teacher_correction(z, 0, np.full((2, 5), 0.5)).shape == (2, 5, 3)
    assert s.teacher_correction([0.0, 0.0], [0, 1, 1], [0.1, 0.2, 0.3]).shape == (3, 2)
    assert s.virtual_teacher([0, 1], 3, [[0.5], [0.6]]).shape == (2, 2, 3)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: s.teacher_correction([[0, 0]], [2], 0.5), "labels must be integers from 0 to 1"),
        (lambda: s.teacher_correction(np.zeros((2, 2)), [0, 1, 0], 0.5), "labels must broadcast"),
        (lambda: s.teacher_correction([[0, 0]], [0], 1.5), r"mass must be in \[0, 1\]"),
        (lambda: s.teacher_correction([[0, 0]], [0], [0.1, 0.2]), "mass must be one number or"),
        (lambda: s.teacher_correction([[0, 0]], [0], 0.5, 0.0), "temperature must be > 0"),
        (lambda: s.teacher_correction([[0, np.nan]], [0], 0.5), "logits must be finite"),
        (lambda: s.teacher_correction([[0]], [0], 0.5), "at least two classes"),
        (lambda: s.teacher_correction(np.zeros((0, 2)), [], 0.5), "at least one sample"),
        (lambda: s.correct_probabilities([[0.5, 0.6]], [0], 0.5), r"row 0 sums to 1 \+ 0.1"),
        (lambda: s.correct_probabilities([[0, 1]], [0], 0.5, saturated="no"), "saturated must be"),
        (lambda: s.virtual_teacher([0], 3, 0.9, -1.0), "temperature must be > 0"),
        (lambda: s.virtual_teacher([0], 3, 0.9, temper="hot"), "temper must be one of"),
        (lambda: s.virtual_teacher([0, 1], 3, [0.1] * 3), "must broadcast"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
