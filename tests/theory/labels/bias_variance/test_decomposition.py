"""Heskes' decomposition, the telescoping identity, nested variance and its interval."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests import reference, strategies
from theory.labels import divergences
from theory.labels.bias_variance import (
    expected_divergence,
    heskes,
    nested_variance,
    telescope,
    variance_interval,
)
from theory.labels.softmax import softmax


@st.composite
def ensembles(draw, *, models=None, leading=()):
    """Logits of models, from all but equal to far apart, some sure of one class; and a target."""
    rng = draw(strategies.generators())
    classes = draw(st.integers(2, 11))
    count = draw(st.integers(1, 8)) if models is None else models
    base = draw(st.sampled_from((0.0, 1.0, 20.0))) * rng.standard_normal((*leading, classes))
    base[..., 0] += draw(st.sampled_from((0.0, 0.0, 30.0, 50.0)))
    spread = 10.0 ** draw(st.floats(-9, 1))
    shift = draw(st.sampled_from((0.0, 0.0, 10.0))) * rng.standard_normal((count,))
    noise = spread * rng.standard_normal((count, *base.shape))
    logits = np.clip(base + noise, -50, 50) + shift.reshape(count, *[1] * base.ndim)
    kind = draw(st.sampled_from(("label", "one-hot", "soft", "with zeros")))
    target = softmax(3 * rng.standard_normal(base.shape))
    if kind == "with zeros":
        target = np.where(np.arange(classes) == 0, 0.0, target)
        target = target / target.sum(axis=-1, keepdims=True)
    if kind == "one-hot":
        target = np.eye(classes)[np.argmax(target, axis=-1)]
    if kind == "label":
        target = np.argmax(target, axis=-1)
    weights = None if draw(st.booleans()) else rng.random(count) + 0.01
    return logits, target, weights


def mp_log_softmax(z):
    z = [mp.mpf(float(value)) for value in z]
    total = mp.log(sum(mp.exp(value) for value in z))
    return [value - total for value in z]


def mp_shares(weights, count):
    weights = [mp.mpf(1)] * count if weights is None else [mp.mpf(float(w)) for w in weights]
    return [w / sum(weights) for w in weights]


def mp_variance(logits, weights):
    rows = [mp_log_softmax(z) for z in logits]
    share = mp_shares(weights, len(rows))
    means = [
        sum(w * row[k] for w, row in zip(share, rows, strict=True)) for k in range(len(rows[0]))
    ]
    return -mp.log(sum(mp.exp(mean) for mean in means))


@pytest.mark.theorem("labels:heskes")
@given(ensembles())
def test_p37_error_is_noise_plus_bias_plus_variance(case):
    logits, target, weights = case
    parts = heskes(logits, target, weights)
    assert parts.error == pytest.approx(parts.noise + parts.bias + parts.variance, rel=1e-12)


@pytest.mark.theorem("labels:heskes")
@given(ensembles())
def test_p38_variance_is_the_mean_divergence_from_the_geometric_mean(case):
    logits, target, weights = case
    parts = heskes(logits, target, weights)
    assert parts.variance >= 0
    share = np.full(len(logits), 1 / len(logits)) if weights is None else weights / weights.sum()
    plain = sum(
        w * divergences.kl(parts.geometric_mean, softmax(z))
        for w, z in zip(share, logits, strict=True)
    )
    # the divergence of rounded probabilities is that of the models up to the rounding squared
    assert parts.variance == pytest.approx(plain, rel=1e-6, abs=1e-15)


@pytest.mark.theorem("labels:heskes")
@given(ensembles())
def test_variance_keeps_all_digits(case):
    """Also where models nearly agree, and where nearly all the probability is on one class."""
    logits, target, weights = case
    with mp.workdps(200):
        want = mp_variance(logits, weights)
        if len(logits) == 1:
            assert heskes(logits, target, weights).variance == 0
        else:
            got = heskes(logits, target, weights).variance
            assert reference.relative_error(got, want) < 1e-12


@given(ensembles(), st.floats(-1000, 1000))
@example((np.array([[50.0, 0.1], [50.0, 0.1]]), 0, None), 1.0)
def test_p39_no_variance_where_all_models_agree(case, shift):
    logits, target, weights = case
    same = np.broadcast_to(logits[:1], logits.shape)
    assert heskes(same, target, weights).variance == 0
    # a shift that rounds makes other models, whose logits differ by their rounding
    shifts = shift * np.arange(len(logits))[:, None]
    assert heskes(same + shifts, target, weights).variance <= 1e-20
    whole = np.round(same * 8) / 8 + np.round(shifts)
    assert heskes(whole, target, weights).variance == 0


@pytest.mark.theorem("labels:telescoping")
@given(st.data())
def test_p40_telescoping_identity(data):
    teachers, draws = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    distilled, target, weights = data.draw(ensembles(models=teachers * draws))
    rng = data.draw(strategies.generators())
    direct = 3 * rng.standard_normal((draws, distilled.shape[-1]))
    found = telescope(direct, distilled, target, distilled_weights=weights)
    total = found.noise + found.bias_direct + found.cross + found.variance
    scale = abs(found.cross) + found.error
    assert abs(total - found.error) <= 1e-12 * scale
    assert found.bias_direct == heskes(direct, target).bias
    assert found.bias_direct + found.cross == pytest.approx(
        heskes(distilled, target, weights).bias, rel=1e-12, abs=1e-12 * scale
    )


@pytest.mark.theorem("labels:nested-variance")
@given(ensembles(models=12), st.booleans(), strategies.generators())
def test_p41_nested_variance(case, weighted, rng):
    logits = case[0].reshape(4, 3, -1)
    data_weights = rng.random(4) if weighted else None
    teacher_weights = rng.random((4, 3)) if weighted else None
    parts = nested_variance(logits, data_weights, teacher_weights)
    assert parts.total == pytest.approx(parts.within + parts.between, rel=1e-12, abs=0)
    inside = [
        heskes(rows, 0, None if teacher_weights is None else teacher_weights[d])
        for d, rows in enumerate(logits)
    ]
    share = np.full(4, 0.25) if data_weights is None else data_weights / data_weights.sum()
    want = sum(w * part.variance for w, part in zip(share, inside, strict=True))
    assert parts.within == pytest.approx(want, rel=1e-12, abs=0)
    means = np.stack([part.geometric_mean for part in inside])
    pairs = share[:, None] * (np.ones((4, 3)) if teacher_weights is None else teacher_weights)
    pairs = pairs / pairs.sum(axis=1, keepdims=True) * share[:, None]
    overall = heskes(logits.reshape(12, -1), 0, pairs.ravel()).geometric_mean
    between = sum(w * divergences.kl(overall, mean) for w, mean in zip(share, means, strict=True))
    assert parts.between == pytest.approx(between, rel=1e-6, abs=1e-15)


def test_nested_parts_keep_all_digits():
    rng = np.random.default_rng(0)
    base = np.array([40.0, 3.0, -1.0])
    logits = base + 1e-7 * rng.standard_normal((3, 2, 3)) + 1e-3 * rng.standard_normal((3, 1, 3))
    parts = nested_variance(logits)
    with mp.workdps(120):
        total = mp_variance(logits.reshape(6, 3), None)
        within = sum(mp_variance(rows, None) for rows in logits) / 3
        assert reference.relative_error(parts.total, total) < 1e-12
        assert reference.relative_error(parts.within, within) < 1e-12
        # their difference in extended precision, where it does not cancel
        assert reference.relative_error(parts.between, total - within) < 1e-12


@given(ensembles(), strategies.generators())
def test_mean_divergence_from_any_reference(case, rng):
    """E KL(r, yhat) = KL(r, ybar) - ln Z, least at the geometric mean."""
    logits, _, weights = case
    parts = heskes(logits, softmax(rng.standard_normal(logits.shape[-1])), weights)
    own = expected_divergence(logits, parts.geometric_mean, weights)
    assert own == pytest.approx(parts.variance, rel=1e-6, abs=1e-15)
    other = softmax(rng.standard_normal(logits.shape[-1]))
    far = expected_divergence(logits, other, weights)
    at = heskes(logits, other, weights)
    assert far == pytest.approx(at.bias + at.variance, rel=1e-12)
    assert far >= own * (1 - 1e-6) - 1e-15


def test_rows_of_any_shape_are_decomposed_alone():
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((5, 4, 3, 6))
    labels = rng.integers(0, 6, (4, 3))
    whole = heskes(logits, labels)
    assert whole.geometric_mean.shape == (4, 3, 6)
    for i in range(4):
        for j in range(3):
            one = heskes(logits[:, i, j], labels[i, j])
            assert whole.error[i, j] == pytest.approx(one.error, rel=1e-14)
            assert whole.bias[i, j] == pytest.approx(one.bias, rel=1e-13)
            assert whole.variance[i, j] == pytest.approx(one.variance, rel=1e-13)
    soft = heskes(logits, np.eye(6)[labels])
    np.testing.assert_array_equal(whole.bias, soft.bias)
    shared = heskes(logits, softmax(np.arange(6.0)))
    assert shared.error.shape == (4, 3)


def test_blocks_do_not_show(monkeypatch):
    rng = np.random.default_rng(2)
    logits = rng.standard_normal((3, 50, 4))
    whole = heskes(logits, np.zeros(50, int)).variance
    monkeypatch.setattr("theory.labels.bias_variance.geometric._BLOCK", 7)
    np.testing.assert_allclose(heskes(logits, np.zeros(50, int)).variance, whole, rtol=1e-13)


def test_what_a_target_is_read_as():
    rng = np.random.default_rng(3)
    logits = rng.standard_normal((2, 3, 3))
    as_labels = heskes(logits, [0, 1, 0]).error  # integers, one a row
    by_hand = heskes(logits, np.eye(3)[[0, 1, 0]]).error
    np.testing.assert_array_equal(as_labels, by_hand)
    np.testing.assert_array_equal(heskes(logits, [[1, 0, 0], [0, 1, 0], [1, 0, 0]]).error, by_hand)
    one_for_all = heskes(logits, [0.0, 1.0, 0.0]).error  # real numbers that sum to 1
    np.testing.assert_array_equal(one_for_all, heskes(logits, [1, 1, 1]).error)
    assert heskes(logits[:, 0], 2).error.shape == ()


def test_impossible_classes():
    """A model that gives a class no probability: an infinite error where the target needs it."""
    logits = np.array([[0.0, 0.0, -np.inf], [1.0, 0.0, 0.0]])
    needed = heskes(logits, [0.0, 0.5, 0.5])
    assert needed.error == needed.bias == np.inf
    assert needed.geometric_mean[2] == 0
    spared = heskes(logits, 1)
    assert np.isfinite(spared.error)
    assert spared.error == pytest.approx(spared.bias + spared.variance, rel=1e-13)
    # -ln Z by hand, over the two classes that both models admit
    p, q = np.array([0.5, 0.5]), softmax([1.0, 0.0, 0.0])[:2]
    assert spared.variance == pytest.approx(-np.log(np.sqrt(p * q).sum()), rel=1e-13)
    parts = nested_variance(np.stack([logits, logits[::-1] + np.array([[0.0], [1.0]])]))
    assert parts.total == pytest.approx(parts.within + parts.between, rel=1e-13)
    ignored = heskes(np.vstack([logits, [[-np.inf, -np.inf, 0.0]]]), 1, [1.0, 1.0, 0.0])
    assert ignored.error == pytest.approx(spared.error)
    with pytest.raises(ValueError, match="none has in row 1"):
        heskes([[[0.0, 0.0], [0.0, -np.inf]], [[0.0, 0.0], [-np.inf, 0.0]]], [0, 0])


@pytest.mark.parametrize("size", [1e3, 1e6, 1e200])
def test_huge_logits(size):
    parts = heskes([[size, 0.0], [0.0, size]], 0)
    assert parts.error == pytest.approx(size / 2, rel=1e-12)
    assert parts.variance == pytest.approx(size / 2, rel=1e-2)
    assert parts.bias == pytest.approx(np.log(2))


@pytest.mark.slow
def test_interval_of_the_variance_covers_it():
    """Models drawn from a known law: 95 % of the corrected intervals hold the variance."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal((30, 5))
    many = base + 0.8 * rng.standard_normal((20_000, 30, 5))
    truth = float(heskes(many, np.zeros(30, int)).variance.mean())
    plain, hits = [], 0
    for _ in range(400):
        models = base + 0.8 * rng.standard_normal((8, 30, 5))
        found = variance_interval(models)
        hits += not found.excludes(truth)
        plain.append(heskes(models, np.zeros(30, int)).variance.mean())
    assert 0.90 <= hits / 400 <= 0.985  # standard error .011
    assert np.mean(plain) == pytest.approx(truth * 7 / 8, rel=0.02)  # plug-in: too low by 1/8


def test_interval_of_the_variance():
    rng = np.random.default_rng(4)
    models = rng.standard_normal((6, 10, 3))
    found = variance_interval(models)
    plug_in = heskes(models, np.zeros(10, int)).variance.mean()
    assert found.estimate > plug_in
    assert variance_interval(models, correct_bias=False).estimate == pytest.approx(plug_in)
    assert (found.method, found.n) == ("jackknife", 6)
    rest = [
        heskes(np.delete(models, m, axis=0), np.zeros(10, int)).variance.mean() for m in range(6)
    ]
    assert found.estimate == pytest.approx(6 * plug_in - 5 * np.mean(rest))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: heskes([1.0, 2.0], 0), "logits must have shape"),
        (lambda: heskes([[1.0], [2.0]], 0), "two classes"),
        (lambda: heskes(np.zeros((0, 3)), 0), "at least one model"),
        (lambda: heskes([[np.nan, 0.0]], 0), "not nan"),
        (lambda: heskes([[np.inf, 0.0]], 0), "logits must be -inf or at most"),
        (lambda: heskes([[0.0, 0.0]], 2), "target must be integers from 0 to 1"),
        (lambda: heskes(np.zeros((2, 3, 4)), [[0.5, 0.5, 0.5, 0.5]]), "sums to 1 \\+ 1"),
        (lambda: heskes(np.zeros((2, 3, 4)), [0, 1]), "one class or one distribution for each row"),
        (lambda: heskes(np.zeros((2, 3, 4)), [[0], [1], [2]]), "for each row"),
        (lambda: heskes(np.zeros((2, 4)), 0, [1.0]), "weights must be 2 weights"),
        (lambda: heskes(np.zeros((2, 4)), 0, [0.0, 0.0]), "not all 0"),
        (lambda: heskes(np.zeros((2, 4)), 0, [1.0, -1.0]), "weights must be >= 0"),
        (lambda: telescope(np.zeros((2, 4)), np.zeros((2, 3)), 0), "same samples and classes"),
        (lambda: nested_variance(np.zeros((2, 4))), "logits must have shape"),
        (lambda: nested_variance(np.zeros((2, 3, 4)), None, [1.0]), "teacher_weights must have"),
        (lambda: variance_interval(np.zeros((2, 4))), "at least 3 models"),
        (lambda: expected_divergence(np.zeros((2, 4)), [0.5, 0.5]), "reference must be"),
    ],
)
def test_bad_input_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()
