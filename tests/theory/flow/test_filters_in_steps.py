"""Schemes of gradient flow carried out in steps of gradient descent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory.flow.filters import (
    DistillThenLabels,
    Generations,
    GradientDescent,
    GradientFlow,
    InSteps,
)


@given(st.floats(1e-12, 0.95), st.integers(1, 300), st.floats(1e-3, 1e3))
def test_flow_in_steps_is_gradient_descent(x, steps, size):
    ours, reference = InSteps(GradientFlow(steps), size), GradientDescent(size, steps)
    lam = x / size
    for view in ("gain", "shortfall", "gain_over_eigenvalue", "log_shortfall"):
        got, want = (float(getattr(each, view)(lam)) for each in (ours, reference))
        assert got == pytest.approx(want, rel=1e-11, abs=1e-300)
    assert ours.gain_over_eigenvalue(0.0) == pytest.approx(size * steps)


@given(st.floats(1e-3, 0.95), st.integers(0, 40), st.integers(0, 40))
def test_a_scheme_in_steps_is_that_scheme_step_by_step(x, first, second):
    teacher = 1 - (1 - x) ** first
    student = teacher * (1 - (1 - x) ** second)
    generations = InSteps(Generations((first, second)), 0.5).gain(x / 0.5)
    np.testing.assert_allclose(generations, student, rtol=1e-11)
    scheme = DistillThenLabels(second, first + second, teacher_time=first)
    switching = InSteps(scheme, 0.5)
    switched = 1 - (1 - student) * (1 - x) ** first
    np.testing.assert_allclose(switching.gain(x / 0.5), switched, rtol=1e-11)


def test_bad_input_is_refused_by_name():
    with pytest.raises(ValueError, match="flow must be a filter"):
        InSteps(3, 0.5)
    with pytest.raises(ValueError, match=r"step_size must stay below 0.5 .* got 0.5"):
        InSteps(GradientFlow(2), 0.5).gain([1.0, 2.0])
    with pytest.raises(ValueError, match="step_size"):
        InSteps(GradientFlow(2), -1.0)
