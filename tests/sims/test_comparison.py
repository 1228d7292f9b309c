"""A student beside its teacher: every number against a plain one, and all that may be handed in."""

import csv
import io
import warnings

import numpy as np
import pytest
import torch

from figures import comparison
from figures.report.comparison import every_number, tables_of
from sims import results
from sims.comparison import Config, compare, finish
from sims.parts.comparison_inputs import networks
from sims.parts.comparison_slopes import FEW, hexagons
from theory.labels.confidence import confidence, exaggeration_slope, kl_divergence


def pair(samples=300, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    teacher = rng.standard_normal((samples, classes)) + 2 * np.eye(classes)[labels]
    student = 1.4 * teacher + 0.5 * rng.standard_normal((samples, classes))
    return teacher, student, labels


def control(teacher, seed=1):
    return teacher + 0.8 * np.random.default_rng(seed).standard_normal(teacher.shape)


def value(result, name):
    return result.array("pair_values")[list(result.array("pairs")).index(name)]


def measure(result, name, role):
    row = list(result.array("measures")).index(name)
    return result.array("measure_values")[row, list(result.array("roles")).index(role)]


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_every_number_is_the_plain_one():
    teacher, student, labels = pair()
    third = control(teacher)
    result = compare(teacher, student, labels, control=third)
    x, y, c = (confidence(z, teacher.argmax(axis=1)) for z in (teacher, student, third))
    slope = exaggeration_slope(x, y)
    found = value(result, "slope, teacher least sure")
    assert found[0] == slope.slope
    assert found[1] < found[0] < found[2]
    own = exaggeration_slope(x, c).slope
    assert value(result, "slope of the control, teacher least sure")[0] == own
    assert value(result, "slope less the control's, teacher least sure")[0] == pytest.approx(
        slope.slope - own
    )
    true = exaggeration_slope(confidence(teacher, labels), confidence(student, labels), side="top")
    assert value(result, "slope, teacher surest (true class)")[0] == true.slope
    unsure = np.argsort(x)[:75]
    below = value(result, "share less sure than the teacher, there")
    assert below[0] == pytest.approx((y < x)[unsure].mean())
    agree = (teacher.argmax(axis=1) == student.argmax(axis=1)).mean()
    assert value(result, "agreement on the class")[0] == pytest.approx(agree)
    kl = value(result, "KL(teacher, student) (nats)")
    assert kl[0] == pytest.approx(kl_divergence(teacher, student).mean())
    reverse = value(result, "KL(student, teacher) (nats)")
    assert reverse[0] == pytest.approx(kl_divergence(student, teacher).mean())
    for role, z in (("teacher", teacher), ("student", student), ("control", third)):
        p = softmax(z)
        own = p[np.arange(300), labels]
        assert measure(result, "accuracy", role)[0] == (z.argmax(axis=1) == labels).mean()
        assert measure(result, "NLL (nats)", role)[0] == pytest.approx(-np.log(own).mean())
        brier = ((p - np.eye(4)[labels]) ** 2).sum(axis=1).mean()
        assert measure(result, "Brier score", role)[0] == pytest.approx(brier)
        assert measure(result, "mean top probability", role)[0] == pytest.approx(p.max(1).mean())
        assert measure(result, "entropy (nats)", role)[0] == pytest.approx(
            -(p * np.log(p)).sum(axis=1).mean()
        )
        right, top = z.argmax(axis=1) == labels, p.max(axis=1)
        bins = np.minimum((top * 10).astype(int), 9)
        gap = [abs((right - top)[bins == b].sum()) for b in range(10)]
        assert measure(result, "ECE, 10 bins", role)[0] == pytest.approx(sum(gap) / 300)
    gap = measure(result, "accuracy", "difference")
    assert gap[0] == pytest.approx(
        measure(result, "accuracy", "student")[0] - measure(result, "accuracy", "teacher")[0]
    )


def test_the_parts_of_the_dissection_add_up():
    teacher, student, labels = pair()
    result = compare(teacher, student, labels)
    shares, samples = result.array("dissection"), result.array("dissection_samples")
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert list(samples[:2]) == [300, 75]
    accuracy = measure(result, "accuracy", "teacher")[0]
    assert shares[0, 0] + shares[0, 2] == pytest.approx(accuracy)
    table = result.array("reliability_student")
    assert table[:, 0].sum() == 300
    full = table[table[:, 0] > 0]
    assert (full[:, 3] <= full[:, 2]).all()
    assert (full[:, 2] <= full[:, 4]).all()


@pytest.mark.parametrize("samples", [4, 5, 8, FEW, FEW + 1])
def test_any_number_of_samples_gives_finite_or_absent_numbers(samples):
    result = compare(*pair(samples), control=control(pair(samples)[0]))
    estimates = result.array("pair_values")[:, 0]
    assert np.isfinite(estimates).all() or samples < 8
    for low, high in result.array("pair_values")[:, 1:]:
        assert np.isnan([low, high]).all() or low <= high
    assert ("points" in result.arrays) == (samples <= FEW)
    assert all(finding.text for finding in result.findings)
    assert "nan" not in " ".join(finding.text for finding in result.findings)
    for _, table in tables_of(result):
        assert "nan" not in table.text()


def test_of_few_points_no_interval_of_a_slope_is_claimed():
    result = compare(*pair(8))
    assert np.isnan(value(result, "slope, teacher least sure")[1:]).all()
    assert "no slope" in result.findings[0].text
    assert np.isnan(result.array("lines")).all()


def test_without_labels_and_control_it_says_what_is_missing():
    teacher, student, _ = pair()
    result = compare(teacher, student)
    assert "accuracy" not in result.array("measures")
    assert not {"dissection", "reliability_teacher", "cells_true"} & set(result.arrays)
    said = " ".join(finding.text for finding in result.findings)
    assert "No control was handed in" in said
    assert "right" not in said
    assert np.isnan(result.array("class_accuracy")).all()
    assert result.array("class_count").sum() == 300
    assert "No control" not in " ".join(
        finding.text for finding in compare(teacher, student, control=control(teacher)).findings
    )


def test_seeds_are_averaged_and_widen_the_intervals():
    teacher, student, labels = pair(200)
    rng = np.random.default_rng(2)
    factors = np.array([1.0, 1.4, 1.9])[:, None, None]
    students = factors * teacher + 0.2 * rng.standard_normal((3, *teacher.shape))
    result = compare(teacher, students, labels)
    slopes = [value(compare(teacher, one), "slope, teacher least sure") for one in students]
    found = value(result, "slope, teacher least sure")
    assert found[0] == pytest.approx(np.mean([one[0] for one in slopes]))
    assert found[2] - found[1] > 2 * (slopes[0][2] - slopes[0][1])
    assert "mean over 3 seeds" in result.findings[0].text
    assert result.config["seeds"] == 3
    assert result.array("class_count").sum() == 600
    single = compare(teacher[None], students[:1], labels)
    assert value(single, "slope, teacher least sure")[0] == slopes[0][0]
    assert compare(np.stack([teacher] * 3), student, np.stack([labels] * 3)).config["seeds"] == 3


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64])
def test_any_precision_is_taken(dtype):
    teacher, student, labels = pair()
    result = compare((8 * teacher).astype(dtype), (8 * student).astype(dtype), labels.astype(float))
    assert np.isfinite(value(result, "slope, teacher least sure")).all()


def test_tensors_are_taken():
    teacher, student, labels = pair()
    tensors = [torch.tensor(z, requires_grad=True) for z in (teacher, student)]
    got = compare(*tensors, torch.tensor(labels))
    want = compare(teacher, student, labels)
    np.testing.assert_array_equal(got.array("pair_values"), want.array("pair_values"))
    half = compare(*(tensor.bfloat16() for tensor in tensors), labels)
    assert value(half, "slope, teacher least sure")[0] == pytest.approx(1.4, abs=0.3)


def test_saturated_logits_stay_numbers():
    teacher, student, labels = pair()
    result = compare(1000 * teacher, 1000 * student, labels)
    assert np.isfinite(result.array("pair_values")).all()
    assert result.array("range")[1] > 1000


def test_networks_that_are_equal_differ_in_nothing():
    teacher, _, labels = pair()
    result = compare(teacher, teacher, labels)
    assert list(value(result, "slope, teacher least sure")) == [1, 1, 1]
    assert value(result, "agreement on the class")[0] == 1
    assert value(result, "total variation distance")[0] == 0
    assert result.array("dissection_samples")[-1] == 0
    assert "Of none of them" in " ".join(finding.text for finding in result.findings)
    assert np.isnan(result.array("dissection")[2]).all()


def test_constant_networks_have_no_slope():
    result = compare(np.tile([2.0, 0.0], (40, 1)), pair(40, 2)[1])
    assert np.isnan(value(result, "slope, teacher least sure")).all()
    assert result.findings[0].holds is None


def test_a_temperature_divides():
    teacher, student, labels = pair()
    got = compare(teacher, student, labels, temperature=2.0)
    want = compare(teacher / 2, student / 2, labels)
    np.testing.assert_array_equal(got.array("measure_values"), want.array("measure_values"))


def test_what_is_kept_does_not_grow_with_the_samples():
    sizes = []
    for samples in (2_000, 20_000):
        result = compare(*pair(samples), resamples=20)
        sizes.append(sum(array.nbytes for array in result.arrays.values()))
    assert sizes[1] < 1.5 * sizes[0] < 100_000


def test_blocks_change_nothing(monkeypatch):
    teacher, student, labels = pair()
    want = compare(teacher, student, labels, control=control(teacher))
    monkeypatch.setattr("sims.parts.comparison_inputs._BLOCK", 100)
    got = compare(teacher, student, labels, control=control(teacher))
    for name, array in want.arrays.items():
        np.testing.assert_array_equal(got.arrays[name], array)
    assert got.config == want.config


def test_hexagons_hold_every_point_once_and_the_nearest():
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 500))
    centers, counts = hexagons(x, y, 0.0, 1.0)
    assert counts.sum() == 500
    # the nearest of those found is its own: none is nearer than half a cell's largest width
    gaps = np.hypot(x[:, None] - centers[:, 0], y[:, None] - centers[:, 1]).min(axis=1)
    assert gaps.max() <= 1 / 44 / np.sqrt(3) * (1 + 1e-9)
    steps = np.hypot(*(centers[:, None] - centers).T)
    assert steps[steps > 1e-12].min() == pytest.approx(1 / 44)


def test_few_outliers_do_not_make_a_dot_of_the_rest():
    teacher, student, _ = pair(2_000)
    student[0] *= 1e4
    result = compare(teacher, student)
    low, high = result.array("range")
    assert high - low < 100
    assert result.array("outside") == 1
    assert result.array("counts").sum() == 1_999


def test_the_findings_hold_where_they_should():
    teacher, _, labels = pair(4_000)
    rng = np.random.default_rng(5)
    noise = 0.3 * rng.standard_normal((2, *teacher.shape))
    steep = compare(teacher, 2 * teacher + noise[0], labels, control=teacher + noise[1])
    assert steep.findings[0].holds is True
    assert steep.findings[4].holds is True
    flat = compare(teacher, 0.5 * teacher + noise[0], labels, control=teacher + noise[1])
    assert flat.findings[0].holds is False
    assert flat.findings[4].holds is False


def test_rows_in_another_order_are_suspected():
    teacher, student, labels = pair()
    order = np.random.default_rng(3).permutation(300)
    with pytest.warns(UserWarning, match="in the same order"):
        compare(teacher, student[order], labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare(teacher, student, labels)


def test_labels_in_another_order_are_suspected():
    teacher, student, labels = pair()
    with pytest.warns(UserWarning, match="are the labels in the same order as the rows"):
        compare(teacher, student, np.random.default_rng(3).permutation(labels))


def test_a_column_of_labels_is_taken():
    teacher, student, labels = pair()
    got, want = compare(teacher, student, labels[:, None]), compare(teacher, student, labels)
    np.testing.assert_array_equal(got.array("measure_values"), want.array("measure_values"))


def test_seeds_that_are_copies_say_no_more_than_one():
    """Their samples are the same: no interval is the narrower for it."""
    teacher, student, labels = pair()
    one = compare(teacher, student, labels)
    four = compare(np.stack([teacher] * 4), np.stack([student] * 4), labels)
    for name, columns in (
        ("reliability_student", slice(2, None)),
        ("dissection_outside", slice(None)),
        ("divergence_groups", slice(1, None)),
    ):
        a, b = one.array(name)[..., columns], four.array(name)[..., columns]
        np.testing.assert_allclose(a, b, rtol=0.03 if name == "divergence_groups" else 1e-12)
    outside = [finding for finding in four.findings if "mostly points" in finding.text]
    assert (outside[0].low, outside[0].high) == tuple(one.array("dissection_outside")[0, 1:])
    assert "of 4 seeds of which it is less sure" in outside[0].text


def test_a_level_is_said_as_it_was_asked_for():
    result = compare(*pair(), level=0.999, fraction=0.125)
    assert "99.9% interval" in result.findings[0].text
    assert "99.9% intervals" in tables_of(result)[0][0]
    assert "the 12.5% where it is surest" in comparison.CAPTION(result)


def test_every_number_comes_in_one_table_for_programs():
    teacher, student, labels = pair()
    result = compare(teacher, student, labels, class_names=["a", "b,c", "[d]", "e"])
    rows = list(csv.DictReader(io.StringIO(every_number(result).csv())))
    found = {(row["table"], row["what"], row["of"]): row for row in rows}
    assert len(found) == len(rows)
    slope = found["pair", "slope, teacher least sure", ""]
    np.testing.assert_allclose(
        [float(slope[key]) for key in ("value", "low", "high")],
        value(result, "slope, teacher least sure"),
        rtol=1e-9,
    )
    nll = float(found["network", "NLL (nats)", "student"]["value"])
    assert nll == pytest.approx(measure(result, "NLL (nats)", "student")[0], rel=1e-9)
    assert found["network", "ECE, 10 bins", "teacher"]["low"] == ""
    assert found["class", "b,c", "samples"]["value"] == str((labels == 1).sum())
    parts = [float(row["value"]) for row in rows if row["what"] == "all samples"]
    assert sum(parts) == pytest.approx(1)
    assert "class_gap" not in every_number(compare(teacher, student)).csv()


ROWS = np.zeros((8, 3)) + np.arange(3)


def altered(row, what):
    array = np.random.default_rng(0).standard_normal((8, 3))
    array[row] = what
    return array


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"teacher": np.zeros((8, 1))}, "teacher must have at least two classes"),
        ({"teacher": np.zeros(8)}, r"teacher must have shape .*np.stack"),
        ({"teacher": np.zeros((0, 3))}, "teacher must have shape"),
        ({"teacher": np.zeros((3, 3)), "student": np.zeros((3, 3))}, "at least 4 samples"),
        ({"teacher": np.zeros((9, 3))}, r"same shape, got teacher \(9, 3\), student \(8, 3\)"),
        ({"teacher": np.zeros((3, 8))}, "at least 4 samples"),
        ({"teacher": np.zeros((5, 8)), "student": np.zeros((8, 5))}, "transpose one of them"),
        ({"teacher": altered(3, np.nan)}, "teacher must hold finite logits .*; 1 row is not: 3"),
        ({"student": altered([1, 4], np.inf)}, "student .*; 2 rows are not: 1, 4"),
        ({"student": altered(slice(None), 1e200)}, r"8 rows are not: 0, 1, 2, 3, 4, …"),
        ({"teacher": softmax(ROWS)}, "teacher must hold logits, and every row sums to 1"),
        ({"student": np.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1]]}, "these are probabilities"),
        ({"teacher": np.full((8, 3), "a")}, "teacher must be an array of logits"),
        ({"teacher": [[1, 2], [3]]}, "teacher must be an array of numbers"),
        ({"teacher": np.zeros((2, 8, 3)), "student": np.zeros((3, 8, 3))}, "number of seeds"),
        ({"labels": np.arange(8)}, "labels must be from 0 to 2, got 0 to 7"),
        ({"labels": [1, 2, 3, 1, 2, 3, 1, 2]}, "got 1 to 3; hand in labels - 1"),
        ({"labels": [0, 1]}, r"labels must be one class a sample, shape \(8,\)"),
        ({"labels": np.eye(3)[[0] * 8]}, r"hand in labels.argmax\(axis=1\)"),
        ({"labels": [0.5] * 8}, "fractions, nan or inf"),
        ({"labels": [np.nan] * 8}, "fractions, nan or inf"),
        ({"labels": [np.inf] * 8}, "fractions, nan or inf"),
        ({"teacher": None}, "teacher must be an array of numbers, got None"),
        ({"teacher": "t.npy"}, "got 't.npy'; hand in np.load of it"),
        ({"teacher": np.ones((8, 3), np.uint16)}, r"dtype uint16; if .* save logits.float\(\)"),
        ({"teacher": np.ones((8, 3), np.int16)}, r"dtype int16; if .* save logits.float\(\)"),
        ({"teacher": np.ones((8, 3), "V2")}, r"save logits.float\(\)"),
        ({"student": np.ma.masked_greater(altered(0, 9.0), 8)}, "student must not be masked"),
        ({"teacher": altered(3, -np.inf)}, "1 row is not: 3; where a class is ruled out"),
        ({"teacher": altered(3, [-np.inf, np.nan, 1])}, "1 row is not: 3$"),
        ({"teacher": 100 * softmax(ROWS)}, "these are probabilities"),
        ({"teacher": torch.softmax(torch.tensor(ROWS), 1).bfloat16()}, "these are probabilities"),
        ({"labels": ["cat"] * 8}, "labels must be whole numbers"),
        ({"control": np.zeros((8, 4))}, "same shape"),
        ({"control": altered(0, np.nan)}, "control must hold finite logits"),
        ({"name": "a b"}, "name must be"),
        ({"name": "../up"}, "name must be"),
        ({"fraction": 0.6}, r"fraction must be in \(0, 0.5\]"),
        ({"level": 1.0}, "level must be in"),
        ({"bins": 1}, "bins must be an integer >= 2"),
        ({"temperature": 0.0}, "temperature must be > 0"),
        ({"temperature": 1e9}, "temperature must be from"),
        ({"class_names": ("a", "b")}, "class_names must be one for each of 3 classes, got 2"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, says):
    good = {"teacher": altered(0, 1.0), "student": altered(0, 2.0)}
    with pytest.raises(ValueError, match=says):
        compare(**(good | change))


def test_a_row_of_a_seed_is_named():
    logits = np.random.default_rng(0).standard_normal((2, 8, 3))
    logits[1, 5] = np.nan
    with pytest.raises(ValueError, match=r"1 row is not: \(1, 5\)"):
        compare(logits, logits)


@pytest.mark.parametrize(("shift", "change"), [(1, "- 1"), (-1, r"\+ 1")])
def test_labels_that_are_off_by_one_are_refused(shift, change):
    teacher, student, labels = pair(classes=6)
    there = (labels + shift >= 0) & (labels + shift < 6)
    with pytest.raises(ValueError, match=f"labels {change}; hand in those"):
        compare(teacher[there], student[there], labels[there] + shift)


def test_labels_of_another_kind_are_not_taken_for_shifted():
    """A poor teacher of two classes is right of few, and that is all there is to say."""
    teacher = np.tile([2.0, 0.0], (40, 1)) + 0.01 * pair(40, 2)[0]
    assert measure(compare(teacher, pair(40, 2)[1], np.ones(40)), "accuracy", "teacher")[0] == 0


def test_it_is_kept_by_content_and_fetched(tmp_path):
    teacher, student, labels = pair()
    config = Config(name="mine")
    first = finish(networks(teacher, student, labels), config, out=tmp_path)
    again = finish(networks(teacher.copy(), student, labels), config, out=tmp_path)
    assert (first.fetched, again.fetched) == (False, True)
    assert again.result.findings == first.result.findings
    for changed in (
        finish(networks(teacher + 1e-9, student, labels), config, out=tmp_path),
        finish(networks(teacher, student), config, out=tmp_path),
        finish(networks(teacher, student, labels), Config(name="yours"), out=tmp_path),
        finish(networks(teacher, student, labels), config, out=tmp_path, fresh=True),
    ):
        assert not changed.fetched
    assert sorted(results.latest(tmp_path)) == ["comparison-mine", "comparison-yours"]
    assert finish(networks(teacher, student), config).path is None


def test_python_stores_what_the_command_line_fetches(tmp_path):
    teacher, student, labels = pair()
    compare(teacher, student, labels, name="mine").save(tmp_path)
    assert finish(networks(teacher, student, labels), Config(name="mine"), out=tmp_path).fetched
    assert results.load(tmp_path, "comparison", label="mine").label == "mine"
    with pytest.raises(results.NoResult, match="run `stillroom compare TEACHER STUDENT`"):
        results.load(tmp_path, "comparison", label="")
