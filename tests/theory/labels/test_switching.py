"""The weight of the teacher in a switch: a partition, in both directions, at every time."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from theory.labels.switching import teacher_weight

TIMES = st.floats(-1e6, 1e6) | st.sampled_from((-np.inf, np.inf, 0.0, 15_000.0))
RAMPS = st.sampled_from(("start", "center"))


@given(TIMES, st.floats(0, 1e5), st.floats(0, 1e4) | st.sampled_from((0.0, 5e-324)), RAMPS)
@example(15_000.0, 15_000.0, 0.0, "start")
@pytest.mark.theorem("labels:switch-partition")
def test_both_directions_are_a_partition(time, begin, window, ramp):
    there = teacher_weight(time, begin, window, ramp=ramp)
    back = teacher_weight(time, begin, window, ramp=ramp, order="teacher-first")
    assert 0 <= there <= 1
    assert there + back == pytest.approx(1, abs=1e-9 if window > 1e-3 else 1)
    if window == 0:
        assert there + back == 1


@given(st.floats(0, 1e5), st.floats(1.0, 1e4), RAMPS)
def test_the_weight_grows_in_a_straight_line(begin, window, ramp):
    start = begin - (window / 2 if ramp == "center" else 0)
    share = np.linspace(0, 1, 9)
    got = teacher_weight(start + share * window, begin, window, ramp=ramp)
    np.testing.assert_allclose(got, share, atol=1e-9)
    assert teacher_weight(start - 1, begin, window, ramp=ramp) == 0
    assert teacher_weight(start + window + 1, begin, window, ramp=ramp) == 1


def test_the_papers_switches():
    """CIFAR-100: at step 15,000 over a thousand steps."""
    steps = [0, 14_999, 15_000, 15_250, 16_000, 30_000]
    np.testing.assert_array_equal(teacher_weight(steps, 15_000, 1_000), [0, 0, 0, 0.25, 1, 1])
    first = teacher_weight(steps, 15_000, 1_000, order="teacher-first")
    np.testing.assert_array_equal(first, [1, 1, 1, 0.75, 0, 0])


def test_the_last_of_a_weight_keeps_its_digits():
    got = teacher_weight(1e6 - 1e-6, 0.0, 1e6, order="teacher-first")
    assert got == pytest.approx((1e6 - (1e6 - 1e-6)) / 1e6, rel=1e-12, abs=0)


def test_an_abrupt_switch_counts_its_moment_as_after_it():
    for ramp in ("start", "center"):
        assert list(teacher_weight([4.0, 5.0, 6.0], 5.0, ramp=ramp)) == [0, 1, 1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"time": np.nan}, "time must be numbers, not nan"),
        ({"switch_time": np.inf}, "switch_time must be finite"),
        ({"window": -1.0}, "window must be >= 0"),
        ({"order": "both"}, "order must be one of"),
        ({"ramp": "cosine"}, "ramp must be one of"),
    ],
)
def test_bad_switches_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        teacher_weight(**({"time": 1.0, "switch_time": 0.0} | change))
