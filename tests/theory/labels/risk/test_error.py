"""The exact error, against going through every data set, and for random targets."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.theory.labels.risk.cases import Case, cases, enumerated, simplex
from theory.labels.risk import (
    moment_risk_error,
    one_hot_risk_error,
    random_target_risk_error,
    target_risk_error,
)

SEEDS = st.integers(0, 2**32 - 1)

# terms that differ by 1e-8 of their size: the mean square less the squared mean has no digit
NEARLY_CONSTANT = Case(
    np.full(2, 0.5), np.eye(2), np.eye(2), np.array([[1.0, 0.0], [0.0, 1.0 + 1e-8]]), 2.0, 1
)
FIELDS = ("mse", "variance", "bias", "risk", "label_variance")


def problem(seed, inputs=3, classes=3, concentration=0.7):
    rng = np.random.default_rng(seed)
    p, losses = simplex(rng, (inputs,), 1.0), rng.normal(size=(inputs, classes))
    target, truth = (simplex(rng, (inputs, classes), concentration) for _ in range(2))
    return p, target, truth, losses, rng


@pytest.mark.theorem("labels:risk-error")
@given(SEEDS)
def test_p15_closed_form_is_what_enumeration_gives(seed):
    p, target, truth, losses, _ = problem(seed)
    want = enumerated(p, target[:, None], np.ones((3, 1)), truth, losses, 3)
    got = target_risk_error(p, target, truth, losses, 3)
    assert got.mse == pytest.approx(want, rel=1e-12, abs=1e-14)
    assert got.mse == pytest.approx(got.variance / 3 + got.bias**2, rel=1e-14)
    assert got.label_variance == 0


@given(cases(), SEEDS)
def test_p16_relabeling_the_classes_changes_nothing(case, seed):
    rng = np.random.default_rng(seed)
    classes, inputs = rng.permutation(case.truth.shape[1]), rng.permutation(len(case.p))
    straight = (case.target, case.truth, case.losses)
    turned = tuple(a[inputs][:, classes] for a in straight)
    one = target_risk_error(case.p, *straight, case.samples)
    other = target_risk_error(case.p[inputs], *turned, case.samples)
    for name in FIELDS:
        want = pytest.approx(getattr(one, name), rel=1e-12, abs=1e-15 * max(case.bound, 1) ** 2)
        assert getattr(other, name) == want


@pytest.mark.theorem("labels:one-hot-unbiased")
@given(cases())
def test_p17_one_hot_targets_are_unbiased_and_vary_more(case):
    p, truth, losses = case.p, case.truth, case.losses
    one_hot = one_hot_risk_error(p, truth, losses, case.samples)
    exact = target_risk_error(p, truth, truth, losses, case.samples)
    assert one_hot.bias == 0
    assert exact.bias == 0
    assert one_hot.variance >= exact.variance
    within = sum(p[x] * (truth[x] @ (losses[x] - truth[x] @ losses[x]) ** 2) for x in range(len(p)))
    excess = pytest.approx(within, rel=1e-10, abs=1e-13 * case.bound**2)
    assert one_hot.label_variance == excess
    assert one_hot.variance - exact.variance == excess
    assert one_hot.risk == pytest.approx(exact.risk)


@pytest.mark.parametrize("seed", range(3))
def test_one_hot_error_is_what_enumeration_gives(seed):
    p, _, truth, losses, _ = problem(seed)
    want = enumerated(p, [np.eye(3)] * 3, truth, truth, losses, 3)
    assert one_hot_risk_error(p, truth, losses, 3).mse == pytest.approx(want, rel=1e-12)


@pytest.mark.theorem("labels:random-targets")
@pytest.mark.parametrize("seed", range(3))
def test_random_targets_against_enumeration(seed):
    p, _, truth, losses, rng = problem(seed, inputs=2)
    drawn, weights = simplex(rng, (2, 3, 3), 0.5), simplex(rng, (2, 3), 1.0)
    got = random_target_risk_error(p, drawn, weights, truth, losses, 3)
    want = enumerated(p, drawn, weights, truth, losses, 3)
    assert got.mse == pytest.approx(want, rel=1e-12)
    mean = np.einsum("sm,smk->sk", weights, drawn)
    fixed = target_risk_error(p, mean, truth, losses, 3)
    assert got.bias == pytest.approx(fixed.bias, rel=1e-12)
    assert got.variance - got.label_variance == pytest.approx(fixed.variance, rel=1e-12)


@given(SEEDS)
def test_random_targets_contain_the_other_kinds(seed):
    """One target an input is a fixed one, labels drawn from the truth are one-hot training."""
    p, target, truth, losses, _ = problem(seed, 4, 3, 0.3)
    for got, want in (
        (
            random_target_risk_error(p, target[:, None], np.ones((4, 1)), truth, losses, 7),
            target_risk_error(p, target, truth, losses, 7),
        ),
        (
            random_target_risk_error(p, np.stack([np.eye(3)] * 4), truth, truth, losses, 7),
            one_hot_risk_error(p, truth, losses, 7),
        ),
    ):
        for name in FIELDS:
            assert getattr(got, name) == pytest.approx(getattr(want, name), rel=1e-10, abs=1e-14)


@given(SEEDS)
def test_two_moments_are_enough(seed):
    p, _, truth, losses, rng = problem(seed, 4, 3, 0.3)
    drawn, weights = simplex(rng, (4, 5, 3), 0.5), simplex(rng, (4, 5), 1.0)
    mean = np.einsum("sm,smk->sk", weights, drawn)
    moment = np.einsum("sm,smk,smj->skj", weights, drawn, drawn)
    got = moment_risk_error(p, mean, moment, truth, losses + 1e3, 9)
    want = random_target_risk_error(p, drawn, weights, truth, losses + 1e3, 9)
    for name in FIELDS:
        assert getattr(got, name) == pytest.approx(getattr(want, name), rel=1e-7, abs=1e-9)


@given(cases(clipped=True, most_inputs=4, most_classes=5))
@example(NEARLY_CONSTANT)
def test_all_digits_of_the_variance_are_right(case):
    got = target_risk_error(case.p, case.target, case.truth, case.losses, case.samples)
    with mp.workdps(60):
        p, t, loss = (
            [[mp.mpf(v) for v in row] for row in a]
            for a in (case.p[None], case.target, case.losses)
        )
        terms = [mp.fdot(row, cost) for row, cost in zip(t, loss, strict=True)]
        mean = mp.fdot(p[0], terms)
        want = mp.fsum(w * (g - mean) ** 2 for w, g in zip(p[0], terms, strict=True))
    # each term is rounded once, in units of the largest loss
    floor = 8 * np.finfo(float).eps * case.bound
    assert np.sqrt(got.variance) == pytest.approx(float(mp.sqrt(want)), rel=1e-12, abs=floor)


@given(cases(signed=True), st.floats(-100, 100))
def test_a_constant_added_to_all_losses_moves_only_the_risk(case, constant):
    one = target_risk_error(case.p, case.target, case.truth, case.losses, case.samples)
    other = target_risk_error(case.p, case.target, case.truth, case.losses + constant, case.samples)
    floor = 1e-13 * (case.bound + abs(constant))
    assert other.bias == pytest.approx(one.bias, abs=floor)
    assert other.risk == pytest.approx(one.risk + constant, rel=1e-12, abs=floor)
    assert np.sqrt(other.variance) == pytest.approx(np.sqrt(one.variance), abs=4 * floor)


def test_monte_carlo_agrees():
    """20,000 data sets; five standard errors, a false alarm once in two million."""
    p, target, truth, losses, rng = problem(5)
    drawn = rng.choice(3, p=p, size=(20_000, 40))
    term = np.einsum("sk,sk->s", target, losses)
    risk = p @ np.einsum("sk,sk->s", truth, losses)
    squares = (term[drawn].mean(axis=1) - risk) ** 2
    error = squares.std() / np.sqrt(len(squares))
    got = target_risk_error(p, target, truth, losses, 40)
    assert abs(squares.mean() - got.mse) < 5 * error
    assert got.risk == pytest.approx(risk)


def test_leading_axes_are_problems_and_samples_may_be_many():
    rng = np.random.default_rng(2)
    p, losses = simplex(rng, (4,), 1.0), rng.normal(size=(5, 4, 3))
    target, truth = simplex(rng, (5, 4, 3), 1.0), simplex(rng, (4, 3), 1.0)
    together = target_risk_error(p, target, truth, losses, 10)
    alone = target_risk_error(p, target[2], truth, losses[2], 10)
    for name in FIELDS:
        assert np.shape(getattr(together, name)) == (5,)
        assert getattr(together, name)[2] == pytest.approx(getattr(alone, name), rel=1e-13)
    many = target_risk_error(p, target[2], truth, losses[2], [1, 10, 100])
    assert many.mse.shape == (3,)
    assert many.mse[1] == pytest.approx(alone.mse)
    one = target_risk_error([1], [[1, 0]], [[0, 1]], [[1, 0]], 1.0)
    assert (one.mse, one.variance, one.bias, one.risk) == (1, 0, 1, 0)


def test_large_and_tiny_losses_do_not_warn():
    p, target, truth, losses, _ = problem(6)
    huge = target_risk_error(p, target, truth, 1e200 * losses, 3)
    assert huge.mse == np.inf
    assert np.isfinite([huge.bias, huge.risk]).all()
    tiny = one_hot_risk_error(p, truth, 1e-200 * losses, 3)
    assert tiny.variance == 0
    never = target_risk_error([0.0, 1.0], target[:2], truth[:2], [[1e308] * 3, [1.0] * 3], 3)
    assert never.mse == pytest.approx(0, abs=1e-30)


GOOD = {
    "p": [0.5, 0.5],
    "target": [[0.5, 0.5], [1.0, 0.0]],
    "truth": [[0.9, 0.1], [0.2, 0.8]],
    "losses": [[0.0, 1.0], [1.0, 0.0]],
    "samples": 10,
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"samples": 0}, "samples must be > 0"),
        ({"samples": 2.5}, "samples must be whole numbers >= 1, got 2.5"),
        ({"samples": np.inf}, "samples must be finite"),
        ({"losses": [0.0, 1.0]}, "losses must have a row for each of the 2 inputs"),
        ({"losses": [[0.0, 1.0, 2.0]] * 2}, "number of classes .* must agree"),
        ({"losses": [[0.0, np.inf]] * 2}, "losses must be finite"),
        ({"target": [[0.5, 0.6], [1.0, 0.0]]}, "target must be .* row 0 sums to 1 \\+ 0.1"),
        ({"truth": [[0.9, 0.1]]}, "truth must have a row for each of the 2 inputs"),
        ({"p": [0.9, 0.2]}, "input_probabilities must be distributions"),
        ({"losses": np.zeros((3, 2, 2)), "target": [GOOD["target"]] * 4}, "must broadcast"),
        ({"losses": np.zeros((3, 2, 2)), "samples": [1, 2]}, "must broadcast"),
    ],
)
def test_bad_input_is_refused_by_name(change, says):
    with pytest.raises(ValueError, match=says):
        target_risk_error(*(GOOD | change).values())


@pytest.mark.parametrize(
    ("moment", "says"),
    [
        (np.eye(2), "second_moment must have shape"),
        ([[[0.25, 0.25], [0.2, 0.25]]] * 2, "differs from its transpose by 0.05"),
        ([np.eye(2)] * 2, "rows sum to the mean only within"),
    ],
)
def test_bad_moments_are_refused_by_name(moment, says):
    mean = [[0.5, 0.5], [0.5, 0.5]]
    with pytest.raises(ValueError, match=says):
        moment_risk_error(GOOD["p"], mean, moment, mean, GOOD["losses"], 3)


def test_losses_whose_squares_overflow_give_inf_and_no_warning():
    p, target, truth, losses, _ = problem(6)
    losses = (losses - 0.5) * 1e300
    drawn, weights = np.stack([target, truth], axis=1), np.full((3, 2), 0.5)
    moment = np.einsum("sm,smk,smj->skj", weights, drawn, drawn)
    for error in (
        one_hot_risk_error(p, truth, losses, 3),
        random_target_risk_error(p, drawn, weights, truth, losses, 3),
        moment_risk_error(p, drawn.mean(axis=1), moment, truth, losses, 3),
    ):
        assert error.mse == error.variance == error.label_variance == np.inf
        assert np.isfinite([error.bias, error.risk]).all()
