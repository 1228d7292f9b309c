"""Validators: what they accept, what they convert, and that each error says what came."""

import numpy as np
import pytest

from theory import checks
from theory.flow.exaggeration import (
    component_gap,
    component_ratio,
    discrete_delta,
    discrete_kappa,
    discrete_progress,
    gap_bounds,
    matched_student_time,
    matched_teacher_time,
    ratio_bounds,
)
from theory.flow.weights import weight_gain

REFUSED = {
    "nan": (checks.real_array, [1.0, np.nan], "finite.*1 .*of 2.*nan"),
    "inf": (checks.real_array, [1.0, np.inf], "finite"),
    "complex": (checks.real_array, np.array([1j]), "real numbers.*complex"),
    "text": (checks.real_array, "abc", "real numbers.*str"),
    "ragged": (checks.real_array, [[1.0], [1.0, 2.0]], "real numbers.*list"),
    "object": (checks.real_array, np.array([None]), "real numbers.*object"),
    "nothing": (checks.real_array, None, "real numbers"),
    "vector for matrix": (checks.matrix, [1.0, 2.0], r"matrix.*\(2,\)"),
    "empty matrix": (checks.matrix, np.zeros((0, 3)), r"at least one row.*\(0, 3\)"),
    "not square": (checks.square_matrix, np.zeros((2, 3)), r"square.*\(2, 3\)"),
    "negative": (checks.nonnegative, [1.0, -2.0], ">= 0, got -2"),
    "infinite rate": (checks.nonnegative, np.inf, "finite"),
    "zero": (checks.positive, 0.0, "> 0, got 0"),
    "above one": (checks.unit_interval, [0.5, 1.5], r"in \[0, 1\], got 1.5"),
    "negative time": (checks.times, [-1.0], ">= 0"),
    "nan time": (checks.times, np.nan, "nan"),
    "vector for number": (checks.scalar, [1.0], r"one number.*\(1,\)"),
    "negative scalar time": (checks.time, -1.0, ">= 0"),
    "fraction above one": (checks.fraction, 2.0, r"\[0, 1\]"),
    "half a count": (checks.count, 1.5, "integer >= 0, got 1.5"),
    "negative count": (checks.count, -1, "integer >= 0, got -1"),
}


@pytest.mark.parametrize(("check", "value", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_input_names_the_argument_and_what_came(check, value, message):
    with pytest.raises(ValueError, match=f"(?s)^thing .*{message}"):
        check("thing", value)


@pytest.mark.parametrize("value", [[1, 2], (True, False), np.float32([1, 2]), np.arange(4)[::2]])
def test_real_numbers_of_any_type_become_float64(value):
    got = checks.real_array("thing", value)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, np.asarray(value))


def test_infinity_is_a_time():
    assert checks.time("time", np.inf) == np.inf
    np.testing.assert_array_equal(checks.times("times", [0, np.inf]), [0, np.inf])


def test_an_integral_float_is_a_count():
    assert checks.count("steps", 3.0, minimum=1) == 3
    with pytest.raises(ValueError, match="integer >= 5, got 3"):
        checks.count("steps", 3, minimum=5)


def test_large_counts_are_kept_to_the_last_digit():
    assert checks.count("seed", 2**63 + 1) == 2**63 + 1


@pytest.mark.parametrize("value", [np.zeros(3), np.zeros((2, 0)), np.zeros((3, 1)), 1.0])
def test_columns_have_one_row_each(value):
    with pytest.raises(ValueError, match=r"y must have shape \(2,\).*sample.*got shape"):
        checks.columns("y", value, 2, of="sample")


def test_columns_accepts_one_and_several():
    assert checks.columns("y", [1, 2], 2, of="sample").shape == (2,)
    assert checks.columns("y", [[1], [2]], 2, of="sample").shape == (2, 1)


def test_choice_lists_what_is_known():
    assert checks.choice("size", "demo", ("demo", "paper")) == "demo"
    with pytest.raises(ValueError, match="size must be one of 'demo', 'paper', got 'big'"):
        checks.choice("size", "big", ("demo", "paper"))


def test_same_shape_names_every_array():
    checks.same_shape(a=np.zeros(2), b=np.zeros(2))
    with pytest.raises(ValueError, match=r"a \(2,\), b \(3,\)"):
        checks.same_shape(a=np.zeros(2), b=np.zeros(3))


def test_messages_show_a_few_values_only():
    with pytest.raises(ValueError, match=r"got -1, -1, -1, …$"):
        checks.nonnegative("thing", -np.ones(1000))


def test_integers_are_no_floats():
    assert checks.integer("size", np.int64(3), minimum=1) == 3
    for bad in (3.0, True, "3", None, np.float64(3), -1, [3]):
        with pytest.raises(ValueError, match="size must be an integer >= 0"):
            checks.integer("size", bad)


def test_flags_are_true_or_false():
    assert checks.flag("fresh", True) is True
    for bad in (1, "yes", None):
        with pytest.raises(ValueError, match="fresh must be True or False, got"):
            checks.flag("fresh", bad)


def test_shapes_that_do_not_broadcast_are_named():
    checks.broadcastable(a=np.zeros(3), b=np.zeros((2, 1)), c=np.zeros(()))
    with pytest.raises(ValueError, match=r"broadcast against each other, got a \(3,\), b \(2,\)"):
        checks.broadcastable(a=np.zeros(3), b=np.zeros(2))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: weight_gain([1.0, 2.0], [1.0, 2.0, 3.0]), "singular_values"),
        (lambda: matched_teacher_time(1.0, [1.0, 2.0], [1.0, 2.0, 3.0]), "student_time"),
        (lambda: matched_student_time(1.0, [1.0, 2.0], [1.0, 2.0, 3.0]), "teacher_time"),
        (lambda: component_ratio([0.1, 0.2], [1.0, 2.0, 3.0], 1.0), "kappa"),
        (lambda: component_gap([0.1, 0.2], 1.0, [1.0, 2.0, 3.0]), "delta"),
        (lambda: ratio_bounds([0.1, 0.2], 1.0, [1.0, 2.0, 3.0]), "kappa"),
        (lambda: gap_bounds([0.1, 0.2], 1.0, [1.0, 2.0, 3.0]), "delta"),
        (lambda: discrete_progress(0.1, [0.1, 0.2], [1, 2, 3]), "steps"),
        (lambda: discrete_kappa(0.1, [0.1, 0.2], [1.0, 2.0, 3.0]), "top_eigenvalue"),
        (lambda: discrete_delta(0.1, [0.1, 0.2], [1.0, 2.0, 3.0]), "top_eigenvalue"),
    ],
)
def test_functions_of_several_arrays_name_those_that_do_not_broadcast(call, name):
    with pytest.raises(ValueError, match=rf"shapes must broadcast.*{name} \("):
        call()
