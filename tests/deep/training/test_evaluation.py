import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from deep.records.encoding import dumps, loads
from deep.training.evaluation import logits_of, measure, quick
from deep.training.streams import stream
from theory.labels import confidence, uncertainty
from theory.labels.bias_variance import label_gradients

ALONE = {
    *("accuracy", "top5", "nll", "brier", "ece_10", "ece_15", "ece_20"),
    *("predictive_uncertainty", "confidence_diversity"),
}
TAUGHT = {
    *("agreement", "kl_teacher", "slope_bottom", "slope_top", "below_bottom", "gap_bottom"),
    *("regularization_abs", "regularization_abs_share"),
    *("regularization_signed", "regularization_signed_share", "same_sign_share"),
}
FLIPS = {"accuracy_true", "flipped", "correction", "memorized"}
LOG_ODDS = {"slope_bottom", "slope_top", "below_bottom", "gap_bottom", "same_sign_share"}
NAN = math.nan


def case(seed, samples=1203, classes=8):
    rng = stream("test_evaluation", seed)
    v = rng.standard_normal((samples, classes)) * 3
    z = 1.3 * v + rng.standard_normal((samples, classes))
    y, clean = rng.integers(classes, size=(2, samples))
    return z, v, y, np.where(rng.random(samples) < 0.6, y, clean)


def everything(z, v, y, clean, truth=None, temperature=4.0):
    return measure(z, y, teacher_logits=v, true_labels=clean, truth=truth, temperature=temperature)


@pytest.mark.parametrize("seed", range(3))
def test_measures_are_those_of_theory(seed):
    z, v, y, clean = case(seed)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    q = np.exp(v) / np.exp(v).sum(1, keepdims=True)
    found, n = everything(z, v, y, clean, truth=q), np.arange(len(y))
    predicted = z.argmax(1)
    a, b = label_gradients(z, v, y, 4.0)
    one_hot = np.eye(8)[y]
    pair = confidence.confidence_pair(v, z)
    bottom = np.argsort(pair.teacher)[:301]
    line = np.polyfit(pair.teacher[bottom], pair.student[bottom], 1)
    top = np.argsort(-pair.teacher)[:301]
    soft_s, soft_t = (np.exp(x / 4) / np.exp(x / 4).sum(1, keepdims=True) for x in (z, v))
    flipped = y != clean
    want = {
        "accuracy": np.mean(predicted == y),
        "top5": np.mean(
            [label in row for label, row in zip(y, np.argsort(-z)[:, :5], strict=True)]
        ),
        "nll": np.mean(-np.log(p[n, y])),
        "brier": np.mean(((p - one_hot) ** 2).sum(1)),
        "ece_10": uncertainty.expected_calibration_error(p.max(1), predicted == y, 10),
        "ece_15": uncertainty.expected_calibration_error(p.max(1), predicted == y, 15),
        "ece_20": uncertainty.expected_calibration_error(p.max(1), predicted == y, 20),
        "predictive_uncertainty": uncertainty.predictive_uncertainty(p),
        "confidence_diversity": uncertainty.confidence_diversity(z, y),
        "agreement": np.mean(predicted == v.argmax(1)),
        "kl_teacher": np.mean((q * np.log(q / p)).sum(1)),
        "slope_bottom": line[0],
        "slope_top": np.polyfit(pair.teacher[top], pair.student[top], 1)[0],
        "below_bottom": np.mean(pair.student[bottom] < pair.teacher[bottom]),
        "gap_bottom": np.mean(pair.student[bottom] - pair.teacher[bottom]),
        "regularization_abs": np.sum(np.abs(b) > np.abs(a)),
        "regularization_abs_share": np.mean(np.abs(b) > np.abs(a)),
        "regularization_signed": np.sum(soft_s[n, y] > soft_t[n, y]),
        "regularization_signed_share": np.mean(soft_s[n, y] > soft_t[n, y]),
        "same_sign_share": np.mean(a * b > 0),
        "accuracy_true": np.mean(predicted == clean),
        "flipped": flipped.sum(),
        "correction": np.mean(predicted[flipped] == clean[flipped]),
        "memorized": np.mean(predicted[flipped] == y[flipped]),
        "truth_distance": np.mean(np.linalg.norm(p - q, axis=1)),
    }
    assert set(found) == set(want)
    assert found == pytest.approx(want, rel=1e-9)
    assert all(type(value) is float for value in found.values())


def test_what_is_asked_for_is_what_comes():
    z, v, y, clean = case(0, samples=50)
    assert set(measure(z, y)) == ALONE
    assert set(measure(z[:, :5], np.minimum(y, 4))) == ALONE - {"top5"}
    assert set(measure(z, y, teacher_logits=v)) == ALONE | TAUGHT
    assert set(measure(z, y, true_labels=clean)) == ALONE | FLIPS


def test_a_case_by_hand():
    ln2 = math.log(2)
    z = np.array([[ln2, 0, 0], [0, 0, ln2], [0, 0, 0], [0, ln2, 0]])  # p = 1/2, 1/4, 1/4
    found = measure(
        z,
        [0, 0, 0, 1],
        teacher_logits=2 * z,
        true_labels=[0, 2, 1, 1],
        truth=np.array([[0.5, 0.25, 0.25], [0, 0, 1], [1 / 3, 1 / 3, 1 / 3], [0.25, 0.5, 0.25]]),
    )
    assert found["accuracy"] == 0.75  # the third is a tie, which the lowest class wins
    assert found["nll"] == pytest.approx((ln2 + 2 * ln2 + math.log(3) + ln2) / 4)
    sure = 1 / 4 + 1 / 16 + 1 / 16
    wrong = 9 / 16 + 1 / 16 + 1 / 4
    assert found["brier"] == pytest.approx((2 * sure + wrong + 2 / 3) / 4)
    # three of confidence 1/2, of which two are right; one of 1/3, right
    assert found["ece_10"] == pytest.approx(0.75 * (2 / 3 - 1 / 2) + 0.25 * (1 - 1 / 3))
    assert found["predictive_uncertainty"] == pytest.approx((3 * 1.5 * ln2 + math.log(3)) / 4)
    assert found["agreement"] == 1.0
    # X: ln (4 / 2) where p = 2/3, 1/6, 1/6, and ln 1/2 for the tie, which is the bottom quarter
    assert math.isnan(found["slope_bottom"])
    assert found["gap_bottom"] == found["below_bottom"] == 0
    assert found["flipped"] == 2
    assert found["correction"] == found["memorized"] == 0.5
    assert found["accuracy_true"] == 0.75
    assert found["truth_distance"] == pytest.approx(math.sqrt(1 / 4 + 1 / 16 + 1 / 16) / 4)


@pytest.mark.parametrize(("label", "inside"), [(0, 1), (4, 1), (5, 0), (6, 0)])
def test_top_5_of_equal_logits_are_the_lowest_classes(label, inside):
    assert measure(np.zeros((1, 7)), [label])["top5"] == inside
    assert measure(np.eye(7)[label][None], [label])["top5"] == 1


def test_blocks_do_not_matter(monkeypatch):
    z, v, y, clean = case(1, samples=101)
    whole = everything(z, v, y, clean, truth=np.full_like(z, 1 / 8))
    monkeypatch.setattr("deep.training.evaluation._ROWS", 7)
    assert everything(z, v, y, clean, truth=np.full_like(z, 1 / 8)) == pytest.approx(
        whole, rel=1e-13
    )


def test_single_precision_and_constants_added_to_rows_change_nothing():
    z, v, y, clean = (x.astype(np.float32) if x.dtype == float else x for x in case(2))
    want = everything(z.astype(float), v.astype(float), y, clean)
    assert everything(z, v, y, clean) == want
    moved = everything(z.astype(float) + 100, v.astype(float) - 50, y, clean)
    assert moved == pytest.approx(want, rel=1e-9)


def test_a_student_that_is_its_teacher():
    z, _, y, clean = case(3)
    found = everything(z, z, y, clean)
    assert found["kl_teacher"] == 0
    assert math.copysign(1, found["kl_teacher"]) == 1  # not -0
    assert found["agreement"] == 1
    assert found["slope_bottom"] == pytest.approx(1, abs=1e-12)
    assert found["slope_top"] == pytest.approx(1, abs=1e-12)
    assert found["below_bottom"] == found["gap_bottom"] == 0
    assert found["regularization_abs"] == found["regularization_signed"] == 0


def test_confident_networks_keep_their_digits():
    z = np.zeros((400, 10))
    z[:, 0] = np.linspace(40, 80, 400)
    found = measure(z, np.zeros(400, int), teacher_logits=2 * z)
    assert 0 < found["nll"] < 1e-17
    assert found["brier"] > 0
    assert found["kl_teacher"] > 0
    assert found["slope_bottom"] == pytest.approx(0.5)
    assert math.isfinite(found["confidence_diversity"])


def undefined(found):
    return {name for name, value in found.items() if math.isnan(value)}


def test_constant_logits():
    z, y = np.zeros((20, 6)), np.arange(20) % 6
    found = everything(z, z, y, y)
    assert undefined(found) == {"slope_bottom", "slope_top", "correction", "memorized"}
    assert found["confidence_diversity"] == -math.inf
    assert found["nll"] == pytest.approx(math.log(6))
    assert found["accuracy"] == found["accuracy_true"] == 4 / 20
    assert found["flipped"] == 0


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_few_samples(samples):
    z, v, y, clean = case(4, samples=samples)
    found = everything(z, v, y, clean, truth=np.full_like(z, 1 / 8))
    slopes = {"slope_bottom", "slope_top"}  # of one point each
    flips = set() if (y != clean).any() else {"correction", "memorized"}
    assert undefined(found) == {"confidence_diversity"} | slopes | flips


def test_no_samples():
    none, zero = np.empty((0, 6)), np.empty(0, int)
    found = everything(none, none, zero, zero, truth=none)
    assert undefined(found) == set(found) - {"flipped"}


def test_all_right_and_all_wrong():
    z = 30 * np.eye(6)[np.arange(12) % 6]
    right = measure(z, np.arange(12) % 6)
    wrong = measure(z, (np.arange(12) + 1) % 6)
    assert (right["accuracy"], wrong["accuracy"]) == (1, 0)
    assert wrong["nll"] == pytest.approx(30)
    assert wrong["ece_15"] == pytest.approx(1)


def test_classes_that_are_ruled_out():
    z, v, y, clean = case(5, samples=40)
    barred = z.copy()
    barred[0, (y[0] + 1) % 8] = -np.inf
    far = np.where(barred == -np.inf, -1e4, barred)
    found, near = measure(barred, y), measure(far, y)
    assert undefined(found) == {"confidence_diversity"}
    near["confidence_diversity"] = NAN
    assert found == pytest.approx(near, rel=1e-12, nan_ok=True)

    barred[3, y[3]] = -np.inf
    assert measure(barred, y)["nll"] == math.inf
    assert measure(barred, y)["brier"] < 2
    pair = everything(barred, v, y, clean)
    assert pair["kl_teacher"] == math.inf
    assert undefined(pair) >= LOG_ODDS
    # what the teacher rules out costs the student nothing
    other = everything(v, barred, y, clean)
    q = np.exp(barred) / np.exp(barred).sum(1, keepdims=True)
    logs = v - np.log(np.exp(v).sum(1, keepdims=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        want = np.where(q > 0, q * (np.log(q) - logs), 0).sum(1).mean()
    assert other["kl_teacher"] == pytest.approx(want)
    assert undefined(other) >= LOG_ODDS


@pytest.mark.parametrize("bad", [NAN, math.inf])
def test_a_network_that_has_diverged(bad):
    z, v, y, clean = case(6, samples=30)
    z[7, 2] = bad
    found = everything(z, v, y, clean, truth=np.full_like(z, 1 / 8))
    assert undefined(found) == set(found) - {"flipped"}
    taught = everything(v, z, y, clean)
    assert undefined(taught) == TAUGHT
    z[7] = -math.inf
    assert undefined(measure(z, y)) == ALONE


def test_measures_are_stored_as_they_are():
    z, v, y, clean = case(7, samples=3)
    found = everything(z, v, y, clean)
    back = loads(dumps(found))
    assert back == pytest.approx(found, rel=0, abs=0, nan_ok=True)
    json.loads(dumps(found))


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(2, 9), st.floats(0.1, 1e3))
def test_measures_stay_in_their_range(seed, samples, classes, scale):
    rng = np.random.default_rng(seed)
    z, v = rng.standard_normal((2, samples, classes)) * scale
    y, clean = rng.integers(classes, size=(2, samples))
    found = everything(z, v, y, clean)
    shares = {"accuracy", "top5", "ece_10", "ece_15", "ece_20", "agreement", "below_bottom"}
    shares |= {"regularization_abs_share", "regularization_signed_share", "same_sign_share"}
    for name in shares & set(found):
        assert 0 <= found[name] <= 1 + 1e-12, name
    assert 0 <= found["brier"] <= 2
    assert found["nll"] >= 0
    assert found["kl_teacher"] >= 0
    assert 0 <= found["predictive_uncertainty"] <= math.log(classes) + 1e-12
    assert found["regularization_signed"] <= found["regularization_abs"]
    fast = quick(
        *map(torch.from_numpy, (z, y)), teacher_logits=torch.from_numpy(v), temperature=4.0
    )
    assert float(fast["accuracy"]) == pytest.approx(found["accuracy"], rel=1e-6)
    assert float(fast["nll"]) == pytest.approx(found["nll"], rel=1e-6)


def test_quick_measures_are_the_full_ones():
    z, v, y, _ = case(8)
    found = measure(z, y, teacher_logits=v, temperature=4.0)
    fast = quick(
        torch.from_numpy(z).float(),
        torch.from_numpy(y),
        teacher_logits=torch.from_numpy(v).float(),
        temperature=4.0,
    )
    assert set(fast) == {
        "accuracy",
        "nll",
        "agreement",
        "regularization_abs",
        "regularization_signed",
    }
    for name, value in fast.items():
        assert value.shape == ()
        assert value.dtype == torch.float64
        assert float(value) == pytest.approx(found[name], rel=1e-6)


def test_quick_measures_of_members():
    z, v, y, _ = (torch.from_numpy(x) for x in case(9, samples=60))
    members = torch.stack([z, 2 * z, -z]).float()
    both = quick(members, y, teacher_logits=v.float())
    for k in range(3):
        one = quick(members[k], y, teacher_logits=v.float())
        for name, value in one.items():
            torch.testing.assert_close(both[name][k], value)


def test_quick_measures_of_a_diverged_network():
    z = torch.tensor([[NAN, 0.0], [math.inf, 0.0], [1.0, 0.0], [1.0, -math.inf]])
    found = quick(z, torch.tensor([0, 0, 0, 0]))
    assert found["accuracy"] == 0.5
    assert found["nll"].isnan()
    assert quick(z[3:], torch.tensor([1]))["nll"] == math.inf


class Spy(nn.Module):
    """Has parts in different modes, and statistics that training would move."""

    def __init__(self):
        super().__init__()
        torch.nn.Module.train(self)
        self.body = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5))
        self.still = nn.BatchNorm1d(3).eval()
        self.sizes = []

    def forward(self, x):
        assert not torch.is_grad_enabled()
        assert not any(part.training for part in self.modules())
        self.sizes.append(x.shape[-2])
        return self.still(self.body(x.reshape(-1, 3))).reshape(x.shape)


def rows_of(inputs):
    return lambda index: inputs[..., index, :]


def test_logits_of_a_network_leave_it_as_it_was():
    inputs, spy = torch.from_numpy(stream("test_spy").standard_normal((70, 3))).float(), Spy()
    before = {name: value.clone() for name, value in spy.state_dict().items()}
    found = logits_of(spy, rows_of(inputs), 70, batch=32)
    assert found.shape == (70, 3)
    assert not found.requires_grad
    assert spy.sizes == [32, 32, 6]
    torch.testing.assert_close(found, inputs, rtol=1e-4, atol=1e-4)  # untrained statistics
    assert all(torch.equal(value, before[name]) for name, value in spy.state_dict().items())
    assert [part.training for part in spy.modules()] == [True, True, True, True, False]


def test_logits_of_members():
    inputs = torch.arange(24.0).view(2, 4, 3)
    assert torch.equal(logits_of(nn.Identity(), rows_of(inputs), 4, batch=3), inputs)


def test_modes_are_restored_after_an_error():
    spy = Spy()
    with pytest.raises(IndexError):
        logits_of(spy, rows_of(torch.zeros(2, 3)), 5)
    assert spy.training
    assert spy.body.training
    assert not spy.still.training
    with pytest.raises(ValueError, match="samples must be an integer >= 1, got 0"):
        logits_of(spy, rows_of(torch.zeros(2, 3)), 0)


GOOD = {"logits": np.zeros((3, 4)), "labels": [0, 1, 2]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": np.zeros(4)}, r"logits must be numbers of shape \(samples, classes\)"),
        ({"logits": np.zeros((3, 1))}, "at least two classes"),
        ({"logits": np.array([["a", "b"]] * 3)}, "logits must be numbers"),
        ({"labels": [0, 1]}, r"labels must be one class a sample, shape \(3,\), got \(2,\)"),
        ({"labels": [0, 1, 4]}, "labels must be integers from 0 to 3, got 4"),
        ({"true_labels": [0, 1, -1]}, "true_labels must be integers from 0 to 3, got -1"),
        ({"teacher_logits": np.zeros((3, 5))}, "shapes must agree, got logits"),
        ({"truth": np.zeros((3, 4))}, "truth must be distributions"),
        ({"truth": np.full((2, 4), 0.25)}, "shapes must agree"),
        ({"temperature": 0.0}, "temperature must be > 0"),
    ],
)
def test_bad_input_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        measure(**{**GOOD, **change})
