"""The averaged network of Beta smoothing: its decay, step by step."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from theory.labels import smoothing as s


@given(st.integers(1, 3000), st.floats(0, 1) | st.sampled_from((0.0, 0.5, 0.9, 0.999, 1.0)))
@example(3000, 0.999)
@example(998, 0.999)
@example(999, 0.999)
@example(1, 0.0)
def test_the_start_weighs_the_product_of_all_decays(steps, limit):
    decay = s.averaging_decay(np.arange(1, steps + 1), limit)
    plain = [min(1 - 1 / (k + 1), limit) for k in range(1, steps + 1)]
    np.testing.assert_allclose(decay, plain, rtol=1e-15)
    want = np.prod(decay)
    got = s.initial_share(steps, limit)
    assert got == pytest.approx(want, rel=1e-11, abs=1e-300)
    if limit == 1 or steps + 1 <= 1 / (1 - limit):
        assert got == pytest.approx(1 / (steps + 1), rel=1e-12, abs=0)


def test_an_average_made_step_by_step():
    """A network that is 0 throughout, averaged from a start of 1."""
    average = 1.0
    for step in range(1, 2001):
        d = min(1 - 1 / (step + 1), 0.999)
        average = d * average
        if step in (1, 10, 999, 1000, 2000):
            assert s.initial_share(step) == pytest.approx(average, rel=1e-11, abs=0)
    # a constant decay would have kept a seventh of the start
    assert 0.999**2000 > 0.13 > 300 * average


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: s.averaging_decay(0), "step must be > 0"),
        (lambda: s.averaging_decay(1.5), "step must be integers from 1"),
        (lambda: s.averaging_decay(1, 1.5), r"limit must be in \[0, 1\]"),
        (lambda: s.initial_share(-1), "step must be > 0"),
        (lambda: s.initial_share(1, np.nan), "limit must be"),
    ],
)
def test_bad_input_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()
