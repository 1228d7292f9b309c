"""The map of softenings: known numbers, strengths that translate, a teacher of real data."""

from dataclasses import replace

import numpy as np
import pytest

from sims import results
from sims.context import Context
from sims.experiments.smoothing_map import Config, run
from sims.parts import smoothing_teacher as teachers
from sims.parts.smoothing_findings import findings
from sims.parts.smoothing_methods import METHODS, Descent, descend, method
from theory.labels.softmax import softmax


@pytest.fixture(scope="module")
def smoke():
    with Context.plain() as context:
        return run(Config.smoke(), context)


@pytest.mark.parametrize(
    ("name", "classes", "mass"),
    [
        ("mix", 10, 0.91),
        ("mix", 100, 0.901),
        ("true", 10, 0.9),
        ("prior", 10, 0.91818),
        ("prior", 100, 0.91),
        ("entropy", 10, 0.99959),
        ("lsrkd", 100, 0.98385),
        ("lsrkd_square", 100, 0.96284),
    ],
)
def test_what_a_strength_of_a_tenth_leaves_on_the_label(name, classes, mass):
    assert 1 - method(name).off(np.array([0.1]), classes)[0] == pytest.approx(mass, abs=6e-6)


@pytest.mark.parametrize("what", METHODS, ids=lambda what: what.name)
@pytest.mark.parametrize("classes", [2, 7, 100])
def test_strengths_translate_into_each_other(what, classes):
    for other in METHODS:
        for x in (0.03, 0.1, 0.4):
            rest = float(other.off(np.array([x]), classes)[0])
            strength = what.strength(rest, classes)
            if np.isnan(strength):
                assert what.name == "lsrkd_tc"
                assert rest > what.off(np.array([1.0]), classes)[0] * (1 - 1e-12)
                continue
            assert strength > 0
            again = float(what.off(np.array([strength]), classes)[0])
            assert again == pytest.approx(rest, rel=1e-9), (what.name, other.name)


@pytest.mark.parametrize("what", METHODS, ids=lambda what: what.name)
def test_a_minimizer_finds_the_closed_form(what):
    strengths = (0.1, 0.5)
    found = descend(Descent(what.name, 6, strengths, 3))
    np.testing.assert_allclose(found["found"], what.off(np.array(strengths), 6), atol=1e-7)
    assert (found["spread"] < 1e-4).all()


def test_results_hold_what_figures_draw_and_say_what_they_show(smoke):
    arrays = smoke.arrays
    assert arrays["off"].shape == (2, len(METHODS), 9)
    assert arrays["equal_strength"].shape == (2, 4, len(METHODS))
    assert arrays["descent_off"].shape == arrays["descent_closed"].shape == (2, len(METHODS), 1)
    assert arrays["weight"].shape[0] == len(teachers.WRITINGS)
    assert all(array.dtype.kind in "fiubU" for array in arrays.values())
    assert np.nanmax(arrays["off"]) < 1
    beyond = arrays["strength"] > 1
    for name in ("mix", "lsrkd"):
        row = arrays["method"].tolist().index(name)
        np.testing.assert_array_equal(np.isnan(arrays["off"][:, row]), [beyond, beyond])
    assert len(smoke.findings) == 6
    text = " ".join(finding.text for finding in smoke.findings)
    assert "nan" not in text.replace("Zhang 2020", "")
    assert smoke.findings[1].holds is True
    assert findings(arrays) == smoke.findings


def test_the_printed_equality_of_optima_fails_and_is_a_headline(smoke):
    failed = [finding for finding in smoke.headlines if finding.holds is False]
    assert any("section 9.1" in finding.text for finding in failed)


def test_the_known_translation_of_a_tenth():
    with Context.plain() as context:
        result = run(Config(points=3, descents=1, batches=10, samples=200, resamples=10), context)
    text = result.findings[0].text
    for number in ("0.0990", "0.1111", "0.1631", "0.5565", "0.2949"):
        assert number in text
    assert "0.9182 on the label" in result.findings[2].text
    assert "0.99959" in result.findings[2].text


def test_odd_options_leave_no_nan_in_the_sentences():
    """Few points, strengths beyond what a method can do, a teacher that hardly learns."""
    odd = Config(
        classes=(2, 3), points=2, descents=3, batches=2, batch=2, samples=60, resamples=10,
        ridge=1e3, target_mass=0.7, label_weight=0.0,
    )  # fmt: skip
    with Context.plain() as context:
        result = run(odd, context)
        assert np.isnan(result.array("descent_closed")).any()
        for finding in result.findings:
            assert " nan" not in finding.text
            assert " inf" not in finding.text
        assert result.findings[1].holds is True
        assert "β = 0.1 " in result.findings[2].text
        with pytest.raises(ValueError, match="target_mass and label_weight must leave more than"):
            run(replace(Config.smoke(), target_mass=0.1, label_weight=0.05), context)


def test_the_temperature_matches_the_mean_mass(smoke):
    arrays = smoke.arrays
    assert arrays["wanted_mass"][0] == pytest.approx(0.625)
    at = np.interp(
        np.log(arrays["matched_temperature"][0]),
        np.log(arrays["teacher_temperature"]),
        arrays["train_mass"],
    )
    assert at == pytest.approx(0.625, abs=0.2)  # five points of a curve
    assert (np.diff(arrays["teacher_confidence"]) >= 0).all()
    assert (np.diff(arrays["beta_target"]) > 0).all()
    assert arrays["beta_shape"][0] == pytest.approx(5 / 3)


def test_writings_predict_the_same_and_weigh_differently():
    rng = np.random.default_rng(0)
    logits = 3 * rng.standard_normal((200, 5))
    for how in teachers.WRITINGS:
        other = teachers.written(logits, how)
        np.testing.assert_allclose(softmax(other), softmax(logits), rtol=1e-10)
        _, found = teachers.prior(other, 2.0, 0.6)
        assert found.label_share.mean() == pytest.approx(0.6, abs=1e-10)
    # log-probabilities at temperature 1 sum to 1: there every sample weighs the same
    _, even = teachers.prior(teachers.written(logits, "log-probabilities"), 1.0, 0.6)
    np.testing.assert_allclose(even.weight, even.weight[0], rtol=1e-12)
    assert teachers.spread(even.weight) == pytest.approx(1.0)
    # a constant for all samples is taken up by the strength
    log_beta, found = teachers.prior(logits, 2.0, 0.6)
    shifted, same = teachers.prior(logits + 1000.0, 2.0, 0.6)
    np.testing.assert_allclose(same.weight, found.weight, rtol=1e-9)
    assert log_beta - shifted == pytest.approx(500.0, rel=1e-9)
    # a temperature at which beta = exp(10,000) or so
    _, cold = teachers.prior(teachers.written(logits, "log-probabilities") - 10.0, 1e-3, 0.6)
    assert cold.label_share.mean() == pytest.approx(0.6, abs=1e-8)


def test_the_teacher_is_the_minimum_of_its_loss():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((80, 3))
    y = (X @ rng.standard_normal((3, 3))).argmax(axis=1)
    task = teachers.Task(X, y, X[:10], y[:10], 3, 1e-2)
    logits = teachers.train(task)
    assert (logits["train"].argmax(axis=1) == y).mean() > 0.9
    np.testing.assert_allclose(logits["held"], logits["train"][:10])
    # the penalty leaves no constant: rows are centered, and the normal equations hold
    np.testing.assert_allclose(logits["train"].mean(axis=1), 0.0, atol=1e-6)
    features = np.column_stack([(X - X.mean(axis=0)) / X.std(), np.ones(80)])
    weights = np.linalg.lstsq(features, logits["train"], rcond=None)[0]
    slope = features.T @ (softmax(logits["train"]) - np.eye(3)[y]) / 80 + 1e-2 * weights
    assert np.abs(slope).max() < 1e-4


def test_own_data(tmp_path):
    rng = np.random.default_rng(2)
    X = rng.standard_normal((60, 4))
    np.savez(tmp_path / "mine.npz", X=X, y=(X[:, 0] > 0).astype(int))
    small = {"points": 5, "descents": 1, "batches": 10, "resamples": 10}
    with Context.plain() as context:
        result = run(Config(data=tmp_path / "mine.npz", **small), context)
        assert result.array("data_name")[0] == "mine"
        assert "on mine" in result.findings[4].text
        np.savez(tmp_path / "real.npz", X=X, y=X[:, 0])
        with pytest.raises(ValueError, match="data must have integer labels"):
            run(Config(data=tmp_path / "real.npz", **small), context)
        np.savez(tmp_path / "one.npz", X=X, y=np.zeros(60, int))
        with pytest.raises(ValueError, match="data must hold two classes"):
            run(Config(data=tmp_path / "one.npz", **small), context)


def test_the_result_is_stored_and_read_back(tmp_path, smoke):
    with Context(tmp_path, workers=1) as context:
        first = run(Config.smoke(), context)
    first.save(tmp_path)
    kept = results.load(tmp_path, "smoothing_map")
    for name, array in smoke.arrays.items():
        np.testing.assert_array_equal(array, first.arrays[name])
        np.testing.assert_array_equal(array, kept.arrays[name])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"classes": (10,)}, "classes must be two numbers from 2 to 1000"),
        ({"classes": (1, 10)}, "classes must be two numbers"),
        ({"points": 1}, "points must be at least 2"),
        ({"label_weight": 0.9}, "label_weight must be less than target_mass"),
        ({"target_mass": 1.0}, "target_mass must be at most"),
        ({"ridge": 0.0}, "ridge must be at least"),
        ({"batch": 1}, "batch must be at least 2"),
        ({"samples": 3}, "samples must be at least 20"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"target_mass": float("nan")}, "target_mass must be at least"),
    ],
)
def test_bad_configs_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        Config(**change)
