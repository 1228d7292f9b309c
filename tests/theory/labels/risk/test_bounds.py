"""Bounds on the squared bias: valid, ordered, as sharp as they say, accurate, never nan."""

from dataclasses import asdict, fields

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.optimize import brentq

from tests.reference import relative_error
from tests.theory.labels.risk.cases import Case, cases, simplex
from theory.labels.divergences import kl
from theory.labels.risk import (
    PublishedBounds,
    SharpBounds,
    random_target_bounds,
    random_target_risk_error,
    risk_bounds,
    target_risk_error,
)

TOLERANCE = 1e-12

TRAP = Case(
    np.ones(1),
    np.array([[5.9e-40, 1.0]]),
    np.array([[5e-324, 1.0]]),
    np.array([[1.0, 0.0]]),
    1.0,
    3,
)
ONE_HOT = Case(
    np.array([0.0, 1.0]),
    np.eye(2),
    np.array([[0.0, 1.0], [0.0, 1.0]]),
    np.eye(2),
    1.0,
    1,
)


def squared_bias(case):
    return target_risk_error(case.p, case.target, case.truth, case.losses, case.samples).bias ** 2


def bounds_of(case, constants="published", **more):
    return risk_bounds(case.p, case.target, case.truth, case.bound, constants, **more)


def at_most(low, high, tolerance=TOLERANCE):
    """Relative to the bound; squares below the smallest number are not told apart."""
    return low <= high * (1 + tolerance) + 1e-300


def ordered(low, high, case, times=1):
    """In roots: rows that sum to 1 +- eps add as much of the loss to a bias or a distance."""
    return at_most(np.sqrt(low), np.sqrt(high) + times * 4e-16 * case.bound)


def holds_for(case, name, constants="published", **more):
    assert ordered(squared_bias(case), getattr(bounds_of(case, constants, **more), name), case)


# Properties 1 to 7: each published bound, for losses of either sign.


@pytest.mark.theorem("labels:risk-bounds")
@given(cases(signed=True) | cases(clipped=True))
@example(TRAP)
@example(ONE_HOT)
def test_p01_l2_bounds_the_squared_bias(case):
    holds_for(case, "l2")


@given(cases(signed=True) | cases(clipped=True))
@example(TRAP)
def test_p02_l1_bounds_the_squared_bias(case):
    holds_for(case, "l1")


@given(cases(signed=True) | cases(clipped=True))
@example(TRAP)
@example(ONE_HOT)
def test_p03_root_of_forward_kl_bounds_the_squared_bias(case):
    holds_for(case, "sqrt_kl_fwd")


@given(cases(signed=True) | cases(clipped=True))
@example(ONE_HOT)
def test_p04_forward_kl_bounds_the_squared_bias(case):
    holds_for(case, "kl_fwd")


@given(cases(signed=True) | cases(clipped=True))
@example(TRAP)
def test_p05_root_of_reverse_kl_bounds_the_squared_bias(case):
    holds_for(case, "sqrt_kl_rev")


@given(cases(signed=True) | cases(clipped=True))
@example(ONE_HOT)
def test_p06_reverse_kl_bounds_the_squared_bias(case):
    holds_for(case, "kl_rev")


@given(cases(signed=True) | cases(clipped=True))
@example(TRAP)
def test_p07_jeffreys_bounds_the_squared_bias(case):
    holds_for(case, "jeffreys")


@given(cases())
@example(TRAP)
def test_p08_l1_is_at_most_l2(case):
    bounds = bounds_of(case)
    assert at_most(bounds.l1, bounds.l2)
    sharp = bounds_of(case, "sharp")
    assert ordered(sharp.tv, sharp.l2, case)


@given(cases())
def test_p09_pinsker_and_jensen_chain(case):
    bounds = bounds_of(case)
    for way in ("fwd", "rev"):
        root, full = getattr(bounds, f"sqrt_kl_{way}"), getattr(bounds, f"kl_{way}")
        assert ordered(bounds.l1, root, case, times=4)
        assert at_most(root, full)


@given(cases())
@example(ONE_HOT)
def test_p10_jeffreys_is_the_mean_of_both_divergences(case):
    for constants in ("published", "sharp"):
        bounds = bounds_of(case, constants)
        assert bounds.jeffreys == pytest.approx(
            (bounds.kl_fwd + bounds.kl_rev) / 2, rel=TOLERANCE, abs=0
        )
        low, high = sorted((bounds.kl_fwd, bounds.kl_rev))
        assert at_most(low, bounds.jeffreys)
        assert at_most(bounds.jeffreys, high)
        least = bounds.l1 if constants == "published" else bounds.tv
        assert ordered(least, bounds.jeffreys, case, times=4)


@given(cases(), st.floats(0.01, 100))
def test_p11_bounds_are_quadratic_in_the_loss(case, factor):
    for constants in ("published", "sharp"):
        once = asdict(bounds_of(case, constants))
        scaled = asdict(
            risk_bounds(case.p, case.target, case.truth, factor * case.bound, constants)
        )
        for name, value in once.items():
            assert scaled[name] == pytest.approx(factor**2 * value, rel=TOLERANCE, abs=1e-300)


@pytest.mark.theorem("labels:risk-bounds-sharp")
@given(cases())
@example(TRAP)
@example(ONE_HOT)
def test_p12_total_variation_bounds_the_squared_bias(case):
    holds_for(case, "tv", "sharp")


@given(cases())
@example(TRAP)
def test_p13_centered_l2_bounds_the_squared_bias(case):
    holds_for(case, "l2", "sharp")


@given(cases())
@example(ONE_HOT)
def test_p14_bretagnolle_huber_bounds_the_squared_bias_and_is_never_vacuous(case):
    bounds = bounds_of(case, "sharp")
    for way in ("fwd", "rev"):
        holds_for(case, f"bretagnolle_huber_{way}", "sharp")
        assert at_most(getattr(bounds, f"bretagnolle_huber_{way}"), bounds.trivial)
    assert bounds.trivial == pytest.approx(case.bound**2)


@given(cases(signed=True))
def test_all_sharp_bounds_hold_for_losses_of_either_sign(case):
    for field in fields(SharpBounds):
        holds_for(case, field.name, "sharp", loss_range="signed")


@given(cases())
def test_all_sharp_bounds_hold_and_none_is_below_total_variation(case):
    sharp = bounds_of(case, "sharp")
    for field in fields(SharpBounds):
        holds_for(case, field.name, "sharp")
        assert ordered(sharp.tv, getattr(sharp, field.name), case, times=4)


@given(cases())
def test_sharp_and_published_differ_by_the_factors_that_are_stated(case):
    classes = case.truth.shape[1]
    published, sharp = bounds_of(case), bounds_of(case, "sharp")
    signed = bounds_of(case, "sharp", loss_range="signed")
    odd = 1.0 if classes % 2 == 0 else classes**2 / (classes**2 - 1)
    for field in fields(PublishedBounds):
        name = "tv" if field.name == "l1" else field.name
        factor = odd if field.name == "l2" else 1.0
        # of either sign the published constants are the sharp ones, but for l2 and odd K
        for bounds, more in ((sharp, 4.0), (signed, 1.0)):
            want = pytest.approx(more * factor * getattr(bounds, name), rel=TOLERANCE, abs=1e-300)
            assert getattr(published, field.name) == want


@given(cases(most_classes=2))
def test_with_two_classes_l2_and_total_variation_agree(case):
    sharp = bounds_of(case, "sharp")
    floor = 4e-16 * case.bound
    assert np.sqrt(sharp.l2) == pytest.approx(np.sqrt(sharp.tv), rel=TOLERANCE, abs=floor)


# Sharpness: a loss, and targets, that attain the bound.


@given(cases())
def test_total_variation_is_attained(case):
    for range_, losses in (
        ("nonnegative", case.bound * (case.target > case.truth)),
        ("signed", case.bound * np.sign(case.target - case.truth)),
    ):
        error = target_risk_error(case.p, case.target, case.truth, losses, 1)
        bounds = bounds_of(case, "sharp", loss_range=range_)
        # rows sum to 1 only to round-off, and half the gaps is not exactly the positive ones
        floor = 4e-16 * case.bound
        assert abs(error.bias) == pytest.approx(np.sqrt(bounds.tv), rel=TOLERANCE, abs=floor)


@pytest.mark.parametrize("classes", range(2, 9))
def test_l2_is_attained_for_every_number_of_classes(classes):
    half = np.arange(classes) < classes // 2
    truth = np.full((1, classes), 1 / classes)
    target = truth + (half - half.mean()) / classes
    for range_, losses in (("nonnegative", half * 1.0), ("signed", 2.0 * half - 1)):
        bias = target_risk_error([1.0], target, truth, losses[None], 1).bias
        bound = risk_bounds([1.0], target, truth, 1.0, "sharp", loss_range=range_).l2
        assert bias**2 == pytest.approx(bound, rel=1e-13)


def test_constants_of_the_divergences_cannot_be_smaller():
    truth, target = np.array([[0.5, 0.5]]), np.array([[0.501, 0.499]])
    bias = target_risk_error([1.0], target, truth, [[1.0, 0.0]], 1).bias
    bounds = risk_bounds([1.0], target, truth, 1.0, "sharp")
    for name in ("sqrt_kl_fwd", "kl_fwd", "sqrt_kl_rev", "kl_rev", "jeffreys"):
        assert 1 <= getattr(bounds, name) / bias**2 < 1.00001
    # Bretagnolle-Huber is sharp at the other end, where the distributions do not overlap
    truth, target = np.array([[1e-6, 1 - 1e-6]]), np.array([[1.0, 0.0]])
    bounds = risk_bounds([1.0], target, truth, 1.0, "sharp")
    assert 1 <= bounds.bretagnolle_huber_fwd / bounds.tv < 1.00001


def test_bretagnolle_huber_beats_pinsker_from_a_divergence_of_1_5936():
    truth = np.array([0.5, 0.5])
    for divergence, better in ((1.5935, False), (1.5937, True)):
        low = brentq(lambda x, want=divergence: kl(truth, [x, 1 - x]) - want, 1e-6, 0.4, xtol=1e-15)
        bounds = risk_bounds([1.0], [[low, 1 - low]], truth[None], 1.0, "sharp")
        assert (bounds.bretagnolle_huber_rev < bounds.kl_rev) == better


def test_no_order_between_the_other_bounds():
    """Witnesses both ways, for each pair that is not ordered."""
    rng = np.random.default_rng(0)
    first, second = (simplex(rng, (4000, 1, 3), 0.5) for _ in range(2))
    bounds = risk_bounds(np.ones(1), first, second, 1.0)
    for one, other in (
        ("l2", "kl_fwd"),
        ("l2", "kl_rev"),
        ("l2", "jeffreys"),
        ("kl_fwd", "kl_rev"),
        ("jeffreys", "sqrt_kl_fwd"),
    ):
        less = getattr(bounds, one) < getattr(bounds, other)
        assert less.any(), (one, other)
        assert (~less).any(), (one, other)


# Infinities, accuracy, shapes.


def test_infinite_exactly_where_the_supports_say():
    truth, one_hot = np.array([[0.5, 0.5, 0.0]]), np.array([[1.0, 0.0, 0.0]])
    outside = np.array([[0.5, 0.25, 0.25]])
    sure = risk_bounds([1.0], one_hot, truth, 1.0)
    assert np.isfinite([sure.kl_fwd, sure.sqrt_kl_fwd]).all()
    assert np.isinf([sure.kl_rev, sure.sqrt_kl_rev, sure.jeffreys]).all()
    away = risk_bounds([1.0], outside, truth, 1.0)
    assert np.isinf([away.kl_fwd, away.sqrt_kl_fwd, away.jeffreys]).all()
    assert np.isfinite([away.kl_rev, away.sqrt_kl_rev]).all()
    sharp = risk_bounds([1.0], outside, truth, 1.0, "sharp")
    assert (sharp.kl_fwd, sharp.bretagnolle_huber_fwd, sharp.trivial) == (np.inf, 1.0, 1.0)


def test_inputs_of_probability_zero_do_not_count():
    truth = np.array([[0.5, 0.5], [0.3, 0.7]])
    target = np.array([[1.0, 0.0], [0.4, 0.6]])
    got = risk_bounds([0.0, 1.0], target, truth, 2.0)
    want = risk_bounds([1.0], target[1:], truth[1:], 2.0)
    assert asdict(got) == asdict(want)


@given(cases())
@example(TRAP)
@example(ONE_HOT)
def test_never_nan_and_never_negative(case):
    for constants in ("published", "sharp"):
        values = np.array([*asdict(bounds_of(case, constants)).values()])
        assert (values >= 0).all()


def mp_bounds(case):
    """The published seven in 60 digits, from the definitions."""
    with mp.workdps(60):
        p, t, q = ([[mp.mpf(v) for v in row] for row in a] for a in (
            case.p[None], case.target, case.truth))  # fmt: skip
        size, count = mp.mpf(case.bound), len(q[0])

        def divergence(a, b):
            terms = (x * mp.log(x / y) - x + y if x else y for x, y in zip(a, b, strict=True))
            return mp.fsum(terms)

        def mean(f):
            return mp.fsum(w * f(a, b) for w, a, b in zip(p[0], t, q, strict=True))

        def gaps(a, b):
            return [abs(x - y) for x, y in zip(a, b, strict=True)]

        fwd, rev = mean(divergence), mean(lambda a, b: divergence(b, a))
        return {
            "l2": size**2 * count * mean(lambda a, b: mp.norm(gaps(a, b))) ** 2,
            "l1": size**2 * mean(lambda a, b: mp.fsum(gaps(a, b))) ** 2,
            "sqrt_kl_fwd": 2 * size**2 * mean(lambda a, b: mp.sqrt(divergence(a, b))) ** 2,
            "kl_fwd": 2 * size**2 * fwd,
            "sqrt_kl_rev": 2 * size**2 * mean(lambda a, b: mp.sqrt(divergence(b, a))) ** 2,
            "kl_rev": 2 * size**2 * rev,
            "jeffreys": size**2 * (fwd + rev),
        }


@given(cases(clipped=True, most_inputs=3, most_classes=4))
def test_all_digits_are_right(case):
    got = asdict(bounds_of(case))
    for name, want in mp_bounds(case).items():
        assert want < 1e-300 or relative_error(got[name], want) < 1e-12, name


def test_large_losses_times_small_distances_and_tiny_gaps():
    target, truth = [[0.5, 0.5]], [[0.5 + 2.0**-52, 0.5 - 2.0**-52]]
    assert risk_bounds([1.0], target, truth, 1e200).l1 == np.inf
    assert risk_bounds([1.0], target, truth, 1e160).l1 == pytest.approx(
        float(mp.mpf(1e160) ** 2 * mp.mpf(2) ** -102), rel=1e-12
    )
    tiny = risk_bounds([1.0], [[1e-200, 1.0]], [[0.0, 1.0]], 1e200, "sharp")
    assert tiny.tv == pytest.approx(0.25)
    assert risk_bounds([1.0], truth, truth, 1e308, "sharp", loss_range="signed").tv == 0
    assert risk_bounds([1.0], [[1.0, 0.0]], truth, 0.0).kl_rev == 0


def test_leading_axes_are_problems():
    rng = np.random.default_rng(1)
    p = simplex(rng, (5, 4), 1.0)
    target, truth = simplex(rng, (5, 4, 3), 1.0), simplex(rng, (4, 3), 1.0)
    size = np.arange(1.0, 6.0)
    for constants in ("published", "sharp"):
        together = asdict(risk_bounds(p, target, truth, size, constants))
        for k in range(5):
            alone = asdict(risk_bounds(p[k], target[k], truth, size[k], constants))
            for name, value in alone.items():
                assert np.ndim(value) == 0
                assert together[name][k] == pytest.approx(value, rel=1e-14), name


# Random targets.


@given(cases(most_inputs=3, most_classes=4), st.integers(0, 2**32 - 1))
def test_bounds_over_drawn_targets_are_valid_and_those_of_the_mean_smaller(case, seed):
    rng = np.random.default_rng(seed)
    inputs, classes = case.truth.shape
    drawn = simplex(rng, (inputs, 3, classes), 0.3)
    weights = simplex(rng, (inputs, 3), 1.0)
    error = random_target_risk_error(case.p, drawn, weights, case.truth, case.losses, 5)
    for constants in ("published", "sharp"):
        problem = (case.p, drawn, weights, case.truth, case.bound, constants)
        of_mean = asdict(random_target_bounds(*problem))
        of_targets = asdict(random_target_bounds(*problem, of="targets"))
        for name in of_mean:
            assert ordered(error.bias**2, of_mean[name], case, times=4), name
            if not name.startswith(("sqrt", "bretagnolle")):  # roots of divergences are not convex
                assert ordered(of_mean[name], of_targets[name], case, times=4), name


def test_bounds_over_drawn_targets_are_those_of_the_space_of_pairs():
    p, truth = np.array([0.25, 0.75]), np.array([[0.8, 0.2], [0.4, 0.6]])
    labels = np.broadcast_to(np.eye(2), (2, 2, 2))
    got = random_target_bounds(p, labels, truth, truth, 1.5, of="targets")
    want = 1.5**2 * (2 * np.sum(p * 2 * truth[:, 0] * truth[:, 1])) ** 2
    assert got.l1 == pytest.approx(want)
    assert random_target_bounds(p, labels, truth, truth, 1.5).l1 == 0


GOOD = ([0.5, 0.5], [[0.5, 0.5], [1.0, 0.0]], [[0.9, 0.1], [0.2, 0.8]])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"p": [0.5, 0.6]}, "input_probabilities must be distributions .* sums to 1 \\+ 0.1"),
        ({"p": [1.5, -0.5]}, "input_probabilities must be .* negative entry -0.5"),
        ({"p": []}, "input_probabilities must have at least one entry"),
        ({"p": 1.0}, "input_probabilities must have at least one entry"),
        ({"p": [0.5, 0.25, 0.25]}, "target must have a row for each of the 3 inputs"),
        ({"target": [[0.5, 0.5], [0.7, 0.2]]}, "target must be .* row 1 sums to 1 - 0.1"),
        ({"target": [[1.0], [1.0]]}, "target must have at least two classes"),
        ({"target": [0.5, 0.5]}, "target must have a row for each of the 2 inputs"),
        ({"target": [[0.5, 0.25, 0.25]] * 2}, "number of classes .* must agree"),
        ({"truth": [[np.nan, 0.5], [0.5, 0.5]]}, "truth must be finite"),
        ({"truth": [["a", "b"]] * 2}, "truth must be an array of real numbers"),
        ({"bound": -1.0}, "loss_bound must be >= 0, got -1"),
        ({"bound": np.inf}, "loss_bound must be finite"),
        ({"bound": [1.0, 2.0], "target": [GOOD[1]] * 3}, "shapes must broadcast.*loss_bound"),
        ({"constants": "best"}, "constants must be one of 'published', 'sharp', got 'best'"),
        ({"loss_range": "any"}, "loss_range must be one of"),
    ],
)
def test_bad_input_is_refused_by_name(change, says):
    given_ = dict(zip(("p", "target", "truth"), GOOD, strict=True)) | {"bound": 1.0} | change
    with pytest.raises(ValueError, match=says):
        risk_bounds(
            given_["p"],
            given_["target"],
            given_["truth"],
            given_["bound"],
            given_.get("constants", "published"),
            loss_range=given_.get("loss_range", "nonneg"),
        )


@pytest.mark.parametrize(
    ("targets", "weights", "says"),
    [
        (np.eye(2), [[0.5, 0.5]] * 2, "targets must have shape"),
        ([np.eye(2)] * 3, [[0.5, 0.5]] * 3, "targets must have shape"),
        ([np.eye(2)] * 2, [[0.5, 0.3, 0.2]] * 2, "weights must have one number for each"),
        ([np.eye(2)] * 2, [[0.5, 0.6]] * 2, "weights must be distributions"),
        ([np.eye(3)] * 2, [[0.2, 0.3, 0.5]] * 2, "number of classes"),
    ],
)
def test_bad_random_targets_are_refused_by_name(targets, weights, says):
    with pytest.raises(ValueError, match=says):
        random_target_bounds([0.5, 0.5], targets, weights, GOOD[2], 1.0)
    with pytest.raises(ValueError, match="of must be one of"):
        random_target_bounds([0.5, 0.5], [np.eye(2)] * 2, GOOD[2], GOOD[2], 1.0, of="median")
