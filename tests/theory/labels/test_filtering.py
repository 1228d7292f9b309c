"""The low-pass filter and the table it fills: properties, mpmath, frequency response, rules."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.reference import relative_error
from tests.theory.labels.test_paths import training
from theory.labels import filtering, paths

smoothings = st.floats(1e-3, 1.0) | st.sampled_from((1.0, 0.05, 0.5, 1e-12, 1e-300))


@given(training(), smoothings)
@example((np.full((60, 1, 2), 0.5), np.array([0])), 1.0)
def test_p28_filtered_paths_stay_distributions(case, a):
    q, _ = case
    for options in (
        {},
        {"debias": True},
        {"initial": q[0]},
        {"initial": np.full(q.shape[2], 1 / q.shape[2])},
    ):
        s = filtering.low_pass(q, a, **options)
        assert s.min() >= 0
        np.testing.assert_allclose(s.sum(axis=-1), 1.0, atol=1e-12)
    np.testing.assert_array_equal(filtering.low_pass(q, 1.0), q)
    np.testing.assert_array_equal(filtering.low_pass(q, 1.0, debias=True), q)
    still = np.broadcast_to(q[0], q.shape)
    np.testing.assert_allclose(filtering.low_pass(still, a), still, atol=1e-12)
    np.testing.assert_allclose(filtering.low_pass(still, a, debias=True), still, atol=1e-12)


@pytest.mark.theorem("labels:low-pass-weights")
@given(training(), smoothings)
def test_p29_closed_form_weights(case, a):
    q, _ = case
    start = np.full(q.shape[1:], 1 / q.shape[2])
    results = {
        "first": (filtering.low_pass(q, a), q),
        "pass": (filtering.low_pass(q, a, initial=start), np.concatenate([start[None], q])),
        "debias": (filtering.low_pass(q, a, debias=True), q),
    }
    for init, (s, values) in results.items():
        weights = filtering.low_pass_weights(len(q), a, init)
        assert weights.sum() == pytest.approx(1.0, abs=1e-13)
        np.testing.assert_allclose(s[-1], np.tensordot(weights, values, 1), atol=1e-13)


@pytest.mark.parametrize("a", [1e-300, 1e-17, 1e-9, 0.05, 0.999, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 40, 10_000])
def test_weights_keep_their_digits(a, steps):
    with mp.workdps(400):
        left = 1 - mp.mpf(a)
        weights = [mp.mpf(a) * left**age for age in (steps - 1, steps // 2, 0)]
        first, start, total = left ** (steps - 1), left**steps, 1 - left**steps
    places = [0, steps - 1 - steps // 2, -1]
    got = {init: filtering.low_pass_weights(steps, a, init) for init in filtering.INITS}
    for weight, place in zip(weights, places, strict=True):
        if weight < 1e-300 and a > 1e-290:  # beyond the range of numbers
            continue
        assert relative_error(got["pass"][1:][place], weight) < 1e-12
        assert relative_error(got["debias"][place], weight / total) < 1e-12
    if steps > 1 and first > 1e-300:
        assert relative_error(got["first"][0], first) < 1e-12
        assert relative_error(got["pass"][0], start) < 1e-12 or start < 1e-300


def test_a_filter_of_no_memory_loss_is_the_running_mean():
    q = np.random.default_rng(0).random((50, 3))
    want = np.cumsum(q, axis=0) / np.arange(1, 51)[:, None]
    np.testing.assert_allclose(filtering.low_pass(q, 1e-300, debias=True), want, rtol=1e-13)


@given(training(), smoothings, st.floats(-3, 3), st.integers(0, 2**32 - 1))
def test_p30_linear_and_equivariant(case, a, factor, seed):
    q, _ = case
    rng = np.random.default_rng(seed)
    other, order = rng.random(q.shape), rng.permutation(q.shape[2])
    for debias in (False, True):
        s = filtering.low_pass(q, a, debias=debias)
        both = filtering.low_pass(q + factor * other, a, debias=debias)
        apart = s + factor * filtering.low_pass(other, a, debias=debias)
        np.testing.assert_allclose(both, apart, atol=1e-12)
        np.testing.assert_array_equal(
            filtering.low_pass(q[..., order], a, debias=debias), s[..., order]
        )


def test_debias_is_the_zero_start_divided_by_its_weight():
    q = np.random.default_rng(0).random((30, 4))
    zero = filtering.low_pass(q, 0.05, initial=0.0)
    weight = 1 - 0.95 ** np.arange(1, 31)[:, None]
    np.testing.assert_allclose(filtering.low_pass(q, 0.05, debias=True), zero / weight, rtol=1e-12)


@given(st.floats(1e-4, 0.999))
def test_half_life(a):
    assert (1 - a) ** filtering.half_life(a) == pytest.approx(0.5, rel=1e-9)


@given(st.floats(1e-3, 0.8284))
def test_half_of_the_power_passes_at_the_cut_off(a):
    wave = np.exp(-1j * filtering.cut_off_frequency(a))
    assert abs(a / (1 - (1 - a) * wave)) ** 2 == pytest.approx(0.5, rel=1e-9)


def test_the_numbers_of_the_usual_filter():
    assert filtering.half_life(0.05) == pytest.approx(13.5, abs=0.02)
    assert filtering.cut_off_frequency(0.05) == pytest.approx(0.0513, abs=1e-4)
    assert 2 * np.pi / filtering.cut_off_frequency(0.05) == pytest.approx(122, abs=0.6)
    assert filtering.white_noise_factor(0.05) == pytest.approx(1 / 39, rel=1e-15)
    assert filtering.cut_off_frequency(0.8285) == np.inf
    assert filtering.half_life(5e-324) == np.inf


def test_white_noise_is_shrunk_by_the_factor():
    weights = filtering.low_pass_weights(2000, 0.05)
    assert (weights**2).sum() == pytest.approx(filtering.white_noise_factor(0.05), rel=1e-12)
    noise = np.random.default_rng(0).standard_normal((600, 2000))
    late = filtering.low_pass(noise, 0.05)[300:]
    assert late.var() == pytest.approx(1 / 39, rel=0.03)


@given(training(), st.sampled_from((0.05, 0.3, 1.0)))
def test_a_table_visited_every_epoch_is_the_filtered_path(case, a):
    q, _ = case
    start = np.full(q.shape[1:], 1 / q.shape[2])
    for init, options in (
        ("first", {}),
        ("debias", {"debias": True}),
        ("pass", {"initial": start}),
    ):
        initial = start if init == "pass" else None
        table = filtering.filter_table(q, a, init=init, initial=initial)
        want = filtering.low_pass(q, a, **options)[-1]
        np.testing.assert_allclose(table.rows, want, atol=1e-14)
        assert (table.updates == len(q)).all()
        assert not table.unseen.any()
        assert table.early == (len(q) < 3 / a)


@pytest.mark.parametrize("init", filtering.INITS)
def test_rows_that_are_not_visited_keep_what_they_have(init):
    rng = np.random.default_rng(0)
    q, seen = rng.dirichlet(np.ones(3), (20, 8)), rng.random((20, 8)) < 0.4
    seen[:, 5] = False
    start = rng.dirichlet(np.ones(3), 8)
    table = filtering.filter_table(
        q, 0.2, init=init, initial=start if init == "pass" else None, visited=seen, labels=[1] * 8
    )
    np.testing.assert_array_equal(table.updates, seen.sum(axis=0))
    np.testing.assert_array_equal(table.unseen, np.arange(8) == 5)
    for row in set(range(8)) - {5}:
        options = {"initial": start[row]} if init == "pass" else {"debias": init == "debias"}
        want = filtering.low_pass(q[seen[:, row], row], 0.2, **options)[-1]
        np.testing.assert_allclose(table.rows[row], want, atol=1e-15)
    fallback = start[5] if init == "pass" else [1 / 30, 28 / 30, 1 / 30]
    np.testing.assert_allclose(table.rows[5], fallback, atol=1e-15)
    np.testing.assert_allclose(table.rows.sum(axis=1), 1.0, atol=1e-14)


def test_a_filter_is_taken_early_before_three_times_its_memory():
    assert filtering.early_for_filter(59, 0.05)
    assert not filtering.early_for_filter(60, 0.05)
    assert filtering.low_pass_weights(60, 0.05, "pass")[0] < np.exp(-3)


def test_the_names_stand_in_paths_too():
    assert paths.low_pass is filtering.low_pass


PATH = [[[0.5, 0.5]]]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: filtering.low_pass([], 0.5), "path must hold at least one sample"),
        (lambda: filtering.low_pass(1.0, 0.5), "path must hold at least one sample"),
        (lambda: filtering.low_pass([1.0, np.nan], 0.5), "path must be finite"),
        (lambda: filtering.low_pass([1.0], 0.0), "smoothing must be > 0"),
        (lambda: filtering.low_pass([1.0], 1.5), r"smoothing must be in \[0, 1\]"),
        (lambda: filtering.low_pass([1.0], [0.5]), "smoothing must be one number"),
        (lambda: filtering.low_pass([1.0], 0.5, [1.0, 2.0]), "initial must have the shape"),
        (lambda: filtering.low_pass([1.0], 0.5, 0.0, debias=True), "not both"),
        (lambda: filtering.low_pass_weights(0, 0.5), "steps must be an integer >= 1"),
        (lambda: filtering.low_pass_weights(3, 0.5, "zero"), "init must be one of"),
        (lambda: filtering.half_life([0.5, 0.0]), "smoothing must be > 0"),
        (lambda: filtering.cut_off_frequency(1.1), "smoothing must be in"),
        (lambda: filtering.filter_table(PATH, 0.5), "is required with init='pass'"),
        (lambda: filtering.filter_table(PATH, 0.5, init="first", initial=PATH[0]), "not used"),
        (lambda: filtering.filter_table(PATH[0], 0.5, init="first"), "epochs, samples, classes"),
        (lambda: filtering.filter_table(PATH, 0.5, initial=[0.5, 0.5]), "initial must have shape"),
        (lambda: filtering.filter_table(PATH, 0.5, init="first", visited=[True]), "visited must"),
        (
            lambda: filtering.filter_table(PATH, 0.5, init="first", visited=[[False]]),
            "labels are required: 1 rows",
        ),
        (
            lambda: filtering.filter_table(
                PATH, 0.5, init="first", visited=[[False]], labels=[0, 1]
            ),
            "labels must have shape",
        ),
        (lambda: filtering.fallback_rows([3], 3), "labels must be integers from 0 to 2"),
        (lambda: filtering.early_for_filter(0, 0.5), "best_epoch must be an integer >= 1"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()
