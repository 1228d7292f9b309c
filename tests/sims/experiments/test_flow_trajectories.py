"""Teacher and student on real digits: three trainings agree, and the student leans on the top."""

from dataclasses import replace

import numpy as np
import pytest

from sims.context import Context
from sims.experiments import flow_trajectories
from sims.experiments.flow_trajectories import Case, Config, measure, run
from sims.parts import flow_models
from tests import strategies

MAPS = ("inputs", "random_features")


@pytest.fixture(scope="module")
def result():
    return run(Config.smoke(), Context.plain())


def _of(result, features):
    prefix = f"{features}_"
    return {
        name.removeprefix(prefix): array
        for name, array in result.arrays.items()
        if name.startswith(prefix)
    }


def test_all_findings_hold(result):
    assert len(result.findings) == 8
    for finding in result.findings:
        assert finding.holds, finding.text
        assert finding.text.endswith(".")
    assert "leans harder on the top eigendirection" in result.findings[0].text
    assert "the pixels of 40 digits" in result.findings[0].text


@pytest.mark.parametrize("features", MAPS)
def test_arrays_are_finite_and_fit_together(result, features):
    found = _of(result, features)
    for name, array in found.items():
        assert np.isfinite(array).all(), name
    for model in ("teacher", "student"):
        for way in ("closed", "ode", "descent"):
            moments = len(found[f"{model}_{way}_progress"])
            assert found[f"{model}_{way}"].shape == (moments, len(found["followed"]))
            assert found[f"{model}_{way}_pair"].shape == (moments, 2)
    np.testing.assert_array_equal(found["followed"], [1, 2, 4, 8, 16])
    np.testing.assert_array_equal(found["pair"], [1, 8])
    assert (np.diff(found["kappa"]) <= 0).all()
    assert found["kappa"][0] == 1


@pytest.mark.parametrize("features", MAPS)
def test_measured_curves_lie_on_the_closed_form(result, features):
    found = _of(result, features)
    assert found["ode_error"] < 1e-10
    assert found["finite_step_error"] < 1e-12
    assert found["descent_error"] < 0.05  # first order in a step of 0.05
    for model in ("teacher", "student"):
        closed, ode = found[f"{model}_closed"], found[f"{model}_ode"]
        np.testing.assert_allclose(closed[::10], ode, rtol=0, atol=1e-10)
        np.testing.assert_allclose(found[f"{model}_closed_pair"][:, 0], closed[:, 0])
    np.testing.assert_allclose(found["teacher_closed"][-1], 1.0, rtol=1e-12)


@pytest.mark.parametrize("features", MAPS)
def test_the_student_is_behind_by_the_ratio_of_the_theorem(result, features):
    found = _of(result, features)
    np.testing.assert_allclose(found["ratio_ode"], found["ratio_closed"], rtol=1e-9)
    np.testing.assert_allclose(found["ratio_descent"], found["ratio_finite_step"], rtol=1e-6)
    assert (found["ratio_kappa"] < found["ratio_lower"]).all()
    assert (found["ratio_lower"] < found["ratio_closed"]).all()
    assert (found["ratio_closed"] < found["ratio_upper"]).all()
    teacher, student = found["pair_match_teacher"], found["pair_match_student"]
    assert teacher[0] == pytest.approx(student[0], rel=1e-12)
    assert student[1] / teacher[1] == pytest.approx(found["ratio_closed"][6], rel=1e-9)


@pytest.mark.parametrize("features", MAPS)
def test_descent_converges_at_first_order(result, features):
    found = _of(result, features)
    assert abs(found["step_slope"] - 1) < 0.05
    np.testing.assert_allclose(found["step_line"], found["step_errors"], rtol=0.1)


def test_the_same_config_gives_the_same_numbers(result):
    again = run(Config.smoke(), Context.plain())
    for name, array in result.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array, err_msg=name)
    other = run(replace(Config.smoke(), seed=1), Context.plain())
    assert other.arrays["inputs_kappa"][1] != result.arrays["inputs_kappa"][1]


@pytest.mark.parametrize(
    "change",
    [
        {"teacher_progress": 12.0, "student_progress": 12.0},
        {"teacher_progress": 0.01, "student_progress": 5.0},
        {"teacher_progress": 5.0, "student_progress": 0.01},
        {"initial_scale": 0.3},
        {"center": False, "other": 2},
    ],
    ids=str,
)
def test_findings_hold_also_elsewhere(change):
    config = replace(Config.smoke(), features=("inputs",), **change)
    for finding in run(config, Context.plain()).findings:
        assert finding.holds, finding.text


def _saved(tmp_path, **arrays):
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)
    return replace(Config.smoke(), data=path, width=12)


@pytest.mark.parametrize("kind", ["labels", "one real target", "three real targets"])
def test_data_of_ones_own(tmp_path, kind):
    rng = np.random.default_rng(0)
    X = strategies.from_spectrum(rng, np.array([5.0, 2.0, 1.0, 0.1]), 30, 4)
    y = {
        "labels": rng.integers(0, 3, 30),
        "one real target": rng.standard_normal(30),
        "three real targets": rng.standard_normal((30, 3)),
    }[kind]
    found = run(_saved(tmp_path, X=1e6 * X, y=y), Context.plain())  # any scale
    assert all(finding.holds for finding in found.findings), found.findings
    assert "the inputs of 30 samples of mine" in found.findings[0].text
    np.testing.assert_array_equal(found.arrays["inputs_pair"], [1, 4])  # there are only four


def test_repeated_top_eigenvalues_claim_nothing(tmp_path):
    X = np.vstack([np.eye(2), -np.eye(2)])
    config = replace(_saved(tmp_path, X=X, y=[1.0, 2.0, 3.0, 5.0]), features=("inputs",))
    finding = run(config, Context.plain()).findings[0]
    assert finding.holds is None
    assert "0 of the 0 lower directions" in finding.text


BAD_DATA = {
    "constant X": ({"X": np.ones((5, 3)), "y": np.arange(5.0)}, "^X must vary|^y must have"),
    "one direction": ({"X": np.outer(np.arange(5.0), [1, 2]), "y": np.arange(5.0)}, "^X must vary"),
    "zero y": ({"X": np.eye(5), "y": np.zeros(5)}, "^y must have a component"),
    "nothing of y on top": (
        {"X": np.diag([9.0, 1.0, 1.0, 1.0]), "y": [0.0, 1.0, -1.0, 0.0]},
        "^y must have a component along the top direction",
    ),
    "no y": ({"X": np.eye(5)}, "must hold arrays X and y"),
    "nan": ({"X": np.full((3, 3), np.nan), "y": np.ones(3)}, "finite"),
}


@pytest.mark.parametrize(("arrays", "message"), BAD_DATA.values(), ids=BAD_DATA)
def test_bad_data_are_refused(tmp_path, arrays, message):
    config = replace(_saved(tmp_path, **arrays), center=False)
    with pytest.raises(ValueError, match=message):
        measure(Case("inputs", config))


@pytest.mark.parametrize("y", [np.zeros(9), np.full(9, 0.1), np.full(9, 1e14), np.zeros(9, int)])
def test_targets_without_a_signal_are_refused_and_not_followed_for_ever(tmp_path, y):
    X = np.random.default_rng(0).standard_normal((9, 3))
    with pytest.raises(ValueError, match=r"^y must have a component along"):
        measure(Case("inputs", _saved(tmp_path, X=X, y=y)))


@pytest.mark.parametrize(
    "change",
    [
        {"samples": 1},
        {"width": 0},
        {"teacher_progress": 0.0},
        {"teacher_progress": 13.0},
        {"student_progress": float("nan")},
        {"step": 1.0},
        {"step": -0.1},
        {"halvings": 1},
        {"other": 1},
        {"directions": 0},
        {"features": ()},
        {"features": ("inputs", "inputs")},
        {"initial_scale": -1.0},
        {"seed": -1},
        {"directions": 70},
        {"width": 10**20},
        {"halvings": 10**20},
        {"teacher_progress": 1e-6},
        {"teacher_progress": 12.0, "step": 1e-6},
    ],
    ids=str,
)
def test_bad_configs_are_refused_by_name(change):
    with pytest.raises(ValueError, match=f"^{next(iter(change))}.* must"):
        Config(**change)


@pytest.mark.parametrize("change", [{"directions": 30}, {"other": 10**9, "samples": 10**9}])
def test_the_greatest_values_are_no_trouble(change):
    found = measure(Case("inputs", replace(Config.smoke(), **change)))
    np.testing.assert_array_less(found["followed"], 65)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize(("x", "y"), [(1e67, 1.0), (1e-67, 1e67), (1e67, 1e-67)])
def test_data_of_any_scale_that_can_be_squared(tmp_path, center, x, y):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20, 4))
    config = replace(_saved(tmp_path, X=x * X, y=y * X.sum(axis=1)), center=center)
    assert all(finding.holds for finding in run(config, Context.plain()).findings)


def test_targets_far_from_zero_are_no_trouble(tmp_path):
    X = np.random.default_rng(0).standard_normal((20, 4))
    config = _saved(tmp_path, X=X, y=1e9 + X.sum(axis=1))
    assert all(finding.holds for finding in run(config, Context.plain()).findings)


def test_a_flow_that_can_not_be_integrated_ends(monkeypatch):
    monkeypatch.setattr(flow_models, "MOST", 50)
    with pytest.raises(ValueError, match="could not be integrated to eleven digits in 50"):
        measure(Case("inputs", Config.smoke()))


def test_a_bad_file_is_refused_before_any_work(tmp_path, monkeypatch):
    context = Context.plain()
    monkeypatch.setattr(context, "map", None)
    with pytest.raises(ValueError, match="which is not there"):
        run(Config(data=tmp_path / "none.npz"), context)


def test_findings_say_the_opposite_where_it_is_so(result):
    found = _of(result, "inputs")
    found["ratio_ode"] = found["ratio_ode"] * 0 + 1.5
    found["ode_error"] = np.array(0.1)
    found["step_slope"] = np.array(1.8)
    leans, agrees, meets, order = flow_trajectories._findings("the pixels", found)
    assert "does not lean harder" in leans.text
    assert "0 of the 38" in leans.text
    assert "differs from the integrated flow" in agrees.text
    assert "in 0 of 38 directions" in meets.text
    assert "power 1.80; 1 is expected" in order.text
    assert not any(finding.holds for finding in (leans, agrees, meets, order))
