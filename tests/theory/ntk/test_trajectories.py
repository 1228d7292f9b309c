import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import linregress
from scipy.stats import t as student_t

from theory.flow.weights import weight_gain
from theory.ntk import trajectories
from theory.ntk.trajectories import (
    bias_statistics,
    decay_rates,
    final_log_ratio,
    log_slope,
    matched_progress,
    pair_mask,
    share_below,
)
from theory.numerics import phi


def flow(seed=0, size=40, span=4.0, horizon=1.0):
    """Displacements of teacher and student under the exact flow, same horizon for both."""
    rng = np.random.default_rng(seed)
    singular = np.sort(10.0 ** rng.uniform(-span / 2, 0, size))[::-1]
    labels = np.abs(rng.normal(size=size)) + 0.1
    times = np.append(0.0, np.geomspace(1e-4, 1.0, 3000) * horizon)
    teacher = weight_gain(singular, times[:, None]) * labels
    student = teacher * phi(singular**2 * horizon)
    return teacher, student, singular**2


@given(seed=st.integers(0, 10_000), horizon=st.floats(3, 300))
def test_under_the_flow_the_student_is_more_biased_in_all_pairs(seed, horizon):
    """Theorem 1.3 by measurement: S1 share .98 to 1, S4 and S3 positive, S6 a coin flip."""
    teacher, student, eigenvalues = flow(seed, horizon=horizon)
    found = bias_statistics(teacher, student, eigenvalues, tie=1e-9)
    never = matched_progress(teacher, student).log_ratio[pair_mask(eigenvalues)]
    assert never.max() < 1e-9
    # pairs that both have fitted to the last digit tie, and count half
    assert found["s1_share"] >= (0.98 if horizon < 30 else 0.9)
    assert found["s1_median"] < 0
    assert found["s2_median"] < 0
    assert found["s3_share"] >= 0.9  # pairs fitted to the last digit tie
    assert found["s4_slope"] > 0
    assert found["s6_share"] == pytest.approx(0.5, abs=1e-3)
    assert abs(found["s6_median"]) < 1e-9


def test_matched_ratio_is_the_theorems():
    """The measured L of one pair is the mean of ln R over the levels of progress."""
    eigenvalues, horizon = np.array([1.0, 0.2]), 2.0
    times = np.linspace(0, horizon, 20_001)
    teacher = weight_gain(np.sqrt(eigenvalues), times[:, None])
    student = teacher * phi(eigenvalues * horizon)
    top = phi(horizon)  # the student's progress along the first direction
    levels = np.arange(1, 20) / 20 * top
    teacher_times = -np.log1p(-levels * phi(horizon))
    student_times = -np.log1p(-levels)  # phi(A) phi(B) = level * phi(B)
    ratio = phi(0.2 * student_times) * phi(0.2 * horizon) / phi(0.2 * teacher_times)
    got = matched_progress(teacher, student).log_ratio[0, 1]
    assert got == pytest.approx(np.log(ratio).mean(), rel=1e-5)


def test_a_path_that_starts_elsewhere_waits_there():
    """Raw norms: levels below the start count as the start, where teacher and student agree."""
    teacher = np.array([[0.8, 0.5], [1.0, 1.0]])
    student = np.array([[0.8, 0.5], [1.0, 0.8]])
    levels = np.arange(1, 20) / 20
    part = np.maximum((levels - 0.8) / 0.2, 0)
    want = np.log((0.5 + 0.3 * part) / (0.5 + 0.5 * part)).mean()
    assert matched_progress(teacher, student).log_ratio[0, 1] == pytest.approx(want)


def test_area_is_the_mean_gap_per_progress():
    """Straight paths: y_T = x and y_S = c x up to x = reach, so that the area is (c - 1) / 2."""
    time = np.linspace(0, 1, 11)
    teacher = np.stack([time, time], axis=1)
    student = 0.4 * np.stack([time, 0.5 * time], axis=1)
    assert matched_progress(teacher, student).area[0, 1] == pytest.approx(-0.25)


def test_exchanging_teacher_and_student_changes_the_sign():
    teacher, student, eigenvalues = flow(1, horizon=20.0)
    there = matched_progress(teacher, student).log_ratio
    back = matched_progress(student, teacher).log_ratio
    apart = ~np.eye(len(there), dtype=bool)
    np.testing.assert_array_equal(np.sign(there)[apart], -np.sign(back)[apart])
    np.testing.assert_allclose(
        log_slope(final_log_ratio(teacher, student), eigenvalues),
        -log_slope(final_log_ratio(student, teacher), eigenvalues),
    )


def test_a_twin_ties_everywhere():
    teacher, _, eigenvalues = flow()
    found = bias_statistics(teacher, teacher, eigenvalues)
    assert {name: found[name] for name in ("s1_share", "s3_share", "s6_share")} == {
        "s1_share": 0.5,
        "s3_share": 0.5,
        "s6_share": 0.5,
    }
    assert found["s4_slope"] == 0.0


def test_the_scale_of_a_direction_does_not_matter():
    teacher, student, _ = flow(2, horizon=30.0)
    factor = np.random.default_rng(3).uniform(0.1, 10, teacher.shape[1])
    for name in ("log_ratio", "area"):
        plain = getattr(matched_progress(teacher, student), name)
        scaled = getattr(matched_progress(factor * teacher, factor * student), name)
        np.testing.assert_allclose(scaled, plain, rtol=1e-9, atol=1e-12)


def test_a_direction_that_never_moves_is_left_out():
    teacher, student, eigenvalues = flow()
    teacher[:, 5] = student[:, 5] = 0.0
    found = matched_progress(teacher, student)
    assert np.isnan(found.log_ratio[5]).all()
    assert np.isnan(found.log_ratio[:, 5]).all()
    assert np.isnan(final_log_ratio(teacher, student)[5])
    assert all(np.isfinite(v) for v in bias_statistics(teacher, student, eigenvalues).values())


def test_a_path_that_turns_back_uses_its_running_maximum():
    teacher = np.array([[0, 0], [1, 0.1], [0.5, 0.5], [1.0, 1.0]])
    student = np.array([[0, 0], [1, 0.2], [1.0, 1.0]])
    # both have come to every level by their first step
    assert matched_progress(teacher, student).log_ratio[0, 1] == pytest.approx(np.log(2))


def test_pairs_of_nearly_equal_directions_are_left_out():
    mask = pair_mask([4.0, 4.0 * (1 - 1e-3), 1.0, 0.0], [True, True, True, True])
    assert mask.sum() == 2
    assert not mask[0, 1]
    assert pair_mask([4.0, 2.0, 1.0], [True, False, True]).sum() == 1


def test_share_counts_ties_half():
    assert share_below([-1e-6, 1e-6, np.nan, -1.0], tie=1e-5) == pytest.approx(2 / 3)
    assert np.isnan(share_below([np.nan]))


@given(slope=st.floats(-3, 3), shift=st.floats(-5, 5))
def test_slope_recovers_a_line(slope, shift):
    eigenvalues = 10.0 ** np.linspace(3, -3, 9)
    values = shift + slope * np.log(eigenvalues)
    values[4] = np.nan
    assert log_slope(values, eigenvalues) == pytest.approx(slope, abs=1e-12)


def test_slope_needs_two_directions():
    assert np.isnan(log_slope([1.0, np.nan], [2.0, 1.0]))
    assert np.isnan(log_slope([1.0, 2.0], [2.0, 1.0], [True, False]))


def test_bad_input():
    good = np.array([[0.0, 0.0], [1.0, 1.0]])
    with pytest.raises(ValueError, match="teacher must be >= 0"):
        matched_progress(-good, good)
    with pytest.raises(ValueError, match="student must have shape"):
        matched_progress(good, good[0])
    with pytest.raises(ValueError, match="same directions"):
        matched_progress(good, good[:, :1])
    with pytest.raises(ValueError, match=r"eigenvalues must have shape \(r,\)"):
        pair_mask(good)
    with pytest.raises(ValueError, match="shapes must agree"):
        log_slope([1.0, 2.0], [1.0])


@pytest.mark.parametrize("own", [False, True])
def test_a_direction_that_returns_to_its_start_is_left_out(own):
    """Its final value is no unit: nan for it, no warning, and nothing else is touched."""
    teacher = np.array([[0.0, 0.0, 0.0], [0.5, 0.6, 0.3], [0.9, 0.4, 0.2], [1.0, 0.8, 0.0]])
    student = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.1], [0.9, 0.3, 0.2], [1.0, 0.4, 0.0]])
    got = matched_progress(teacher, student, own_normalizer=own)
    want = matched_progress(teacher[:, :2], student[:, :2], own_normalizer=own)
    np.testing.assert_array_equal(got.log_ratio[:2, :2], want.log_ratio)
    np.testing.assert_array_equal(got.area[:2, :2], want.area)
    for table in (got.log_ratio, got.area):
        assert np.isnan(table[2]).all()
        assert np.isnan(table[:, 2]).all()
    found = bias_statistics(teacher, student, [3.0, 2.0, 1.0])
    assert np.isfinite(found["s1_share"])


@given(rate=st.floats(-2, 2), seed=st.integers(0, 99))
@example(rate=2.0, seed=69)
def test_decay_rates_are_those_of_a_line(rate, seed):
    """scipy's regression on the same points, down to the floor."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, 3, 12))
    amplitudes = np.exp(-rate * times + rng.normal(scale=0.05, size=12))
    found, ends = decay_rates(times, amplitudes[:, None], floor=0.2)
    below = np.flatnonzero(amplitudes < 0.2 * amplitudes[0])
    count = int(below[0]) if len(below) else 12
    want = [times[0], times[count - 1]] if count > 1 else [np.nan, np.nan]
    assert ends[:, 0] == pytest.approx(want, nan_ok=True)
    if count > 2:
        line = linregress(times[:count], np.log(amplitudes[:count]))
        half = line.stderr * student_t.ppf(0.975, count - 2)
        want = [-line.slope, -line.slope - half, -line.slope + half]
        np.testing.assert_allclose(found[:, 0], want, rtol=1e-9, atol=1e-9)


def test_decay_rates_need_two_records_above_the_floor():
    amplitudes = [[1.0, 1.0, 0.0, 1.0], [0.5, 0.01, 0.0, 0.0], [0.01, 1.0, 0.0, 1.0]]
    found, ends = decay_rates([0.0, 1.0, 2.0], amplitudes)
    np.testing.assert_allclose(found[0], [np.log(2), np.nan, np.nan, np.nan])
    assert np.isnan(found[1:]).all()
    np.testing.assert_allclose(ends[:, 0], [0, 1])
    assert np.isnan(ends[:, 1:]).all()


@pytest.mark.parametrize(
    ("times", "amplitudes", "message"),
    [
        ([0.0, 0.0], [[1.0], [1.0]], "times must increase"),
        ([0.0, 1.0], [1.0, 1.0], "times must increase"),
        ([0.0], [[1.0], [1.0]], "times must increase"),
        ([0.0, 1.0], [[1.0], [-1.0]], "amplitudes must be >= 0"),
    ],
)
def test_decays_that_can_not_be_fitted(times, amplitudes, message):
    with pytest.raises(ValueError, match=message):
        decay_rates(times, amplitudes)


def test_clocks_in_blocks_are_clocks_one_by_one(monkeypatch):
    teacher, student, _ = flow(3, size=12, horizon=30.0)
    teacher[:, 4] = 0.0
    whole = matched_progress(teacher, student)
    monkeypatch.setattr(trajectories, "_BLOCK", 1)
    alone = matched_progress(teacher, student)
    np.testing.assert_array_equal(alone.log_ratio, whole.log_ratio)
    np.testing.assert_array_equal(alone.area, whole.area)


def test_a_student_that_returns_to_its_start_is_no_clock_in_its_own_units():
    teacher = np.array([[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]])
    student = np.array([[0.0, 0.0], [0.5, 0.3], [1.0, 0.0]])
    found = matched_progress(teacher, student, own_normalizer=True)
    assert np.isnan(found.log_ratio[1]).all()
    assert np.isnan(found.area[1]).all()
    assert found.log_ratio[0, 0] == 0.0
