"""The experiment on risk bounds: what it draws, measures and says."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from sims import runner
from sims.context import Context
from sims.experiments import risk_bounds
from sims.experiments.risk_bounds import Config, Estimate, estimate, run
from sims.parts.risk_findings import findings
from sims.parts.risk_problems import PUBLISHED, SHARP, Pairs, tightness
from sims.parts.risk_targets import family, space
from theory.labels.risk import one_hot_risk_error, target_risk_error
from theory.labels.risk import risk_bounds as bounds_on


@pytest.fixture(scope="module")
def smoke():
    with Context.plain() as context:
        return run(Config.smoke(), context)


def test_results_hold_what_figures_draw_and_say_what_they_show(smoke):
    arrays = smoke.arrays
    targets, sizes = len(arrays["target"]), len(arrays["samples"])
    assert arrays["mse"].shape == (targets, sizes)
    assert arrays["measured_mse"].shape == (targets, sizes, 3)
    assert arrays["published_drawn"].shape == (targets, len(PUBLISHED))
    assert arrays["sharp_mean"].shape == (targets, len(SHARP))
    assert arrays["published_vacuous_share"].shape == (2, 2, len(PUBLISHED), 3)
    assert all(array.dtype.kind in "fiubU" for array in arrays.values())
    assert len(smoke.findings) == 6
    assert all(finding.holds is not False for finding in smoke.findings)
    assert " nan" not in " ".join(finding.text for finding in smoke.findings)


@pytest.mark.parametrize("where", ["toy", "dirichlet"])
@pytest.mark.parametrize("loss", ["brier", "zero_one", "cross_entropy"])
def test_spaces_and_targets_are_what_they_say(where, loss):
    setting = replace(Config.smoke(), space=where, loss=loss, classes=4).setting()
    found = space(setting)
    assert found.truth.shape == found.losses.shape == (12, 4)
    assert (found.losses >= 0).all()
    assert (found.losses <= found.bound).all()
    assert found.p.sum() == pytest.approx(1)
    for one in family(setting, (0.2,)):
        np.testing.assert_allclose(one.drawn.sum(axis=-1), 1.0)
        np.testing.assert_allclose(one.weights.sum(axis=-1), 1.0)
    first, second = family(setting, (0.2,)), family(setting, (0.2,))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.drawn, other.drawn)


def test_estimates_agree_with_the_closed_forms_of_the_theory():
    config = Config.smoke()
    setting = config.setting()
    found, targets = space(setting), family(setting, config.smoothing)
    labels = [one.label for one in targets]

    def of(label):
        return estimate(Estimate(setting, config.smoothing, labels.index(label), (7,), 50))

    one_hot = one_hot_risk_error(found.p, found.truth, found.losses, 7)
    got = of("one-hot labels")
    assert got["mse"][0] == pytest.approx(one_hot.mse)
    assert got["bias"][0] == pytest.approx(0, abs=1e-15)
    uniform = np.full_like(found.truth, 1 / 3)
    smoothed = of("smoothed by 1")
    exact = target_risk_error(found.p, uniform, found.truth, found.losses, 7)
    assert smoothed["mse"][0] == pytest.approx(exact.mse)
    bounds = bounds_on(found.p, uniform, found.truth, found.bound, "sharp")
    assert smoothed["sharp_mean"][SHARP.index("tv")] == pytest.approx(bounds.tv)
    posterior = of("the true posterior")
    assert posterior["bias"][0] == 0
    assert posterior["label_variance"][0] == pytest.approx(0, abs=1e-30)


def test_measured_errors_agree_with_the_formula():
    """All cases together at the level 1e-4: a false alarm once in 10,000 seeds, and it is fixed."""
    with Context.plain() as context:
        config = replace(Config.smoke(), datasets=4000, problems=2)
        arrays = run(config, context).arrays
    assert arrays["p_value"].min() > 1e-4 / arrays["p_value"].size


def test_tightness_agrees_with_the_specification():
    """The published Euclidean bound is vacuous for 55 % of Dirichlet(0.5) pairs of 3 classes."""
    found = tightness(Pairs(3, 0.5, 20_000, 1, 0))
    share = found["published_vacuous"][PUBLISHED.index("l2")] / 20_000
    assert share == pytest.approx(0.56, abs=0.015)
    assert found["published_violations"].sum() == 0
    assert found["sharp_violations"].sum() == 0
    np.testing.assert_allclose(found["sharp_tightness"][:, SHARP.index("tv")], 1.0, rtol=1e-9)
    np.testing.assert_allclose(found["published_tightness"][:, PUBLISHED.index("l1")], 4.0)
    assert (found["sharp_tightness"] >= 1 - 1e-9).all()
    assert found["sharp_vacuous"][SHARP.index("bretagnolle_huber_fwd")] == 0


def test_problems_do_not_depend_on_the_size_of_a_block(monkeypatch):
    whole = tightness(Pairs(2, 0.1, 50, 3, 1))
    assert np.isfinite(whole["sharp_tightness"][:, SHARP.index("tv")]).all()
    monkeypatch.setattr("sims.parts.risk_problems._BLOCK", 60)
    parts = tightness(Pairs(2, 0.1, 50, 3, 1))
    assert parts["published_violations"].sum() == whole["published_violations"].sum() == 0
    assert not np.isnan(parts["published_tightness"]).any()


def test_findings_say_so_when_something_is_wrong(smoke):
    """Doctored arrays: each claim can fail."""
    good = dict(smoke.arrays)
    assert [finding.holds for finding in findings(good)][:3] == [True, True, True]
    biased = good | {"measured_bias": good["measured_bias"] + 1.0}
    assert findings(biased)[0].holds is False
    off = good | {"p_value": np.where(np.arange(good["p_value"].size) == 3, 1e-9, 0.5).reshape(
        good["p_value"].shape)}  # fmt: skip
    assert findings(off)[1].holds is False
    assert "1 differ" in findings(off)[1].text
    broken = good | {"sharp_mean": 0 * good["sharp_mean"]}
    assert findings(broken)[2].holds is False
    more = good | {"published_violations": good["published_violations"] + 1}
    assert findings(more)[2].holds is False


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"space": "moon"}, "space must be one of toy, dirichlet, got 'moon'"),
        ({"loss": "hinge"}, "loss must be one of"),
        ({"classes": 1}, "classes must be at least 2"),
        ({"datasets": 1}, "datasets must be at least 50"),
        ({"smoothing": (0.1, 1.5)}, "smoothing must be one or more numbers from 0 to 1"),
        ({"samples": ()}, "samples must be one or more"),
        ({"concentrations": (0.0,)}, "concentrations must be one or more"),
    ],
)
def test_bad_configs_are_refused_by_name(change, says):
    with pytest.raises(ValueError, match=says):
        replace(Config(), **change)


def test_other_losses_and_spaces_run(tmp_path):
    config = replace(
        Config.smoke(), space="dirichlet", loss="zero_one", samples=(3,), problem_inputs=2
    )
    with Context(tmp_path, workers=1) as context:
        done = runner.finish("risk_bounds", config, context=context)
    assert done.result.config["loss"] == "zero_one"
    assert all(finding.holds is not False for finding in done.result.findings)
    assert asdict(config)["samples"] == (3,)
    assert risk_bounds.__doc__
