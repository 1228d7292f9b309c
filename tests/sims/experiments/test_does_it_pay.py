"""Does it pay: the figures of the specification, the theorem on the maps, the user's own data."""

import numpy as np
import pytest

from sims import results
from sims.context import Context
from sims.experiments import does_it_pay
from sims.experiments.does_it_pay import Config, Search, run, search
from sims.parts.pay_problems import Signals, measure
from sims.parts.scheme_search import Risks, best_parameters
from sims.parts.schemes import SCHEMES, scheme


@pytest.fixture(scope="module")
def smoke():
    with Context.plain() as context:
        return run(Config.smoke(), context)


# per cent against the best early stopping, at n = 200, eigenvalues i^-1.5, noise 0.5, for
# b = -1, 0, 0.5, 1, 2, 4 and spiked, found by an independent search
SPECIFIED = {
    "student": [0.00, 0.00, -0.09, -1.11, -5.44, -13.5, -15.0],
    "generations_2": [5.3, 5.6, None, None, None, None, None],
    "generations_3": [None, None, None, None, -5.2, -16.2, -19.6],
    "generations_5": [None, None, None, None, None, -17.6, None],
    "generations_10": [None, None, None, None, None, None, -26.7],
    "ridge": [-7.3, -2.73, 1.7, 9.1, 33.8, 95, None],
    "trajectory_average": [-11.5, -1.4, None, None, None, 0.0, None],
    "filter_kd": [None, None, -0.64, -1.40, -5.56, None, None],
    "mixed": [-12.5, None, None, None, None, None, None],
}
WIENER = [-13.1, -2.73, -0.98, -1.53, -5.9, -17.9, -40.1]


def digits(value):
    """Half a unit in the last digit that the specification gives."""
    text = f"{value}"
    return 0.5 * 10.0 ** -(len(text.partition(".")[2]) if "." in text else 0) + 1e-9


@pytest.fixture(scope="module")
def decays():
    return does_it_pay._decays(Config())


@pytest.mark.parametrize("name", SPECIFIED)
def test_best_schemes_reproduce_the_figures_of_the_specification(name, decays):
    _, reference = decays.early_stopping()
    got = 100 * (search(Search(name, decays))["risk"] / reference - 1)
    for value, want in zip(got, SPECIFIED[name], strict=True):
        if want is not None:
            assert abs(value - want) <= digits(want), (name, got)


def test_the_wiener_filter_bounds_all(decays):
    _, reference = decays.early_stopping()
    got = 100 * (decays.risks().floor / reference - 1)
    for value, want in zip(got, WIENER, strict=True):
        assert abs(value - want) <= digits(want)
    for what in ("student", "ridge"):
        best = search(Search(what, decays))["risk"]
        assert (best >= decays.risks().floor * (1 - 1e-12)).all()


def test_two_modes_of_the_specification():
    energy = np.array([[4.0, 0.0], [4.0, 1.0]])
    signals = Signals(np.array([1.0, 0.1]), energy, np.ones(2), 2)
    time, reference = signals.early_stopping()
    assert time == pytest.approx([1.5529, 6.694], abs=5e-4)
    assert reference == pytest.approx([0.410682, 0.748910], abs=5e-7)
    found = {name: search(Search(name, signals)) for name in ("student", "generations_5", "ridge")}
    assert found["student"]["risk"] == pytest.approx([0.400817, 0.748910], abs=5e-7)
    np.testing.assert_allclose(found["student"]["parameters"][0, :2], 2.2412, atol=2e-3)
    assert found["generations_5"]["risk"][0] == pytest.approx(0.400001, abs=5e-7)
    assert found["ridge"]["risk"][1] == pytest.approx(0.671837, abs=5e-7)
    for name in ("trajectory_average", "mixed"):
        assert search(Search(name, signals))["risk"][1] == pytest.approx(0.65, abs=1e-9)


def test_results_hold_what_figures_draw_and_say_what_they_show(smoke):
    arrays = smoke.arrays
    signals, schemes = len(arrays["signal"]), len(arrays["scheme"])
    assert arrays["decay_percent"].shape == (signals, schemes)
    assert arrays["decay_effective_times"].shape == (signals, schemes, 12)
    assert arrays["map_student_percent"].shape == (3, 3)
    assert arrays["shift_student_percent"].shape == (3, 3)
    assert arrays["data_percent"].shape == (1, schemes)
    assert all(array.dtype.kind in "fiubU" for array in arrays.values())
    assert len(smoke.findings) == 5
    assert all(finding.holds is not False for finding in smoke.findings)
    text = " ".join(finding.text for finding in smoke.findings)
    assert " nan" not in text
    assert "2.5436" in text or "2.54359" in text


def test_the_best_gains_are_those_of_the_filters_with_the_stored_parameters(smoke):
    arrays = smoke.arrays
    rate, energy, noise = (arrays[f"decay_{k}"] for k in ("eigenvalues", "energy", "noise"))
    for column, what in enumerate(SCHEMES):
        for row in range(len(energy)):
            values = arrays["decay_parameters"][row, column]
            gain = what.build(*values[~np.isnan(values)]).gain(rate)
            risk = ((1 - gain) ** 2 * energy[row] + noise[row] * gain**2).mean()
            assert risk == pytest.approx(arrays["decay_risk"][row, column], rel=1e-9)


def test_nothing_that_the_theorem_rules_out_gains(smoke):
    arrays = smoke.arrays
    for panel in ("decay", "data"):
        out = arrays[f"{panel}_ruled_out"]
        assert (arrays[f"{panel}_percent"][out] > -1e-6).all()
    assert (arrays["map_distillation_percent"][arrays["map_distillation_ruled_out"]] > -1e-6).all()
    assert (arrays["map_ridge_percent"][arrays["map_ridge_ruled_out"]] > -1e-6).all()
    # D4 promises a gain, but not its size
    assert (arrays["map_student_percent"][arrays["map_student_certain"]] < 1e-9).all()
    assert (arrays["map_student_percent"] < 1e-6).all()
    for name in ("student", "distillation", "ridge"):
        assert (arrays[f"map_{name}_percent"] >= arrays["map_wiener_percent"] - 1e-9).all()


def test_under_covariate_shift_a_student_wins_what_the_theorem_forbids_in_sample(smoke):
    arrays = smoke.arrays
    assert arrays["shift_example_early_stopping_risk"][0] == pytest.approx(2.54359, abs=1e-5)
    assert arrays["shift_example_student_risk"][0] <= 2.39875 + 5e-6
    assert (np.diff(arrays["shift_example_mode_times"]) > 0).all()
    assert arrays["shift_example_early_stopping"].min() >= 2.54359 - 1e-5
    # without correlation the risk is a sum over directions and the theorem holds
    middle = np.flatnonzero(np.abs(arrays["shift_correlation"]) < 1e-12)
    assert (arrays["shift_student_percent"][:, middle] > -1e-6).all()


def test_the_result_is_stored_and_read_back(tmp_path):
    config = Config.smoke()
    with Context(tmp_path, workers=1) as context:
        first = run(config, context)
        again = run(config, context)
    first.save(tmp_path)
    kept = results.load(tmp_path, "does_it_pay")
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(array, again.arrays[name])
        np.testing.assert_array_equal(array, kept.arrays[name])


def small(**changes):
    return Config(
        **(
            {
                "modes": 8,
                "decays": (1.0,),
                "spikes": 1,
                "map_points": 2,
                "shift_points": 2,
                "starts": 1,
            }
            | changes
        )
    )


@pytest.mark.parametrize(
    ("shape", "source"),
    [
        ((40, 5), "what X can not explain"),
        ((6, 20), "weakest quarter"),
        ((6, 6), "weakest quarter"),
    ],
)
def test_own_data_of_any_shape(tmp_path, shape, source):
    rng = np.random.default_rng(0)
    data = rng.standard_normal(shape) * np.linspace(1, 0.2, shape[1])
    truth = rng.standard_normal(shape[1])
    np.savez(tmp_path / "mine.npz", X=data, y=data @ truth + 0.1 * rng.standard_normal(shape[0]))
    with Context.plain() as context:
        result = run(small(data=tmp_path / "mine.npz"), context)
    assert result.array("data_name")[0] == "mine"
    assert source in str(result.array("data_noise_source")[0])
    assert "On mine" in result.findings[-1].text
    assert np.isfinite(result.array("data_percent")).all()


def test_given_noise_and_its_limits(tmp_path):
    rng = np.random.default_rng(1)
    data = rng.standard_normal((30, 4))
    np.savez(tmp_path / "mine.npz", X=data, y=data @ np.ones(4))
    with Context.plain() as context:
        given = run(small(data=tmp_path / "mine.npz", noise_variance=0.25), context)
        assert given.array("data_noise_variance")[0] == 0.25
        clean = run(small(data=tmp_path / "mine.npz", noise_variance=0.0), context)
        assert clean.array("data_early_stopping_time")[0] == np.inf
        assert "no error" in clean.findings[-1].text
        with pytest.raises(ValueError, match="no signal is left"):
            run(small(data=tmp_path / "mine.npz", noise_variance=1e9), context)
        np.savez(tmp_path / "zero.npz", X=np.zeros((5, 2)), y=np.ones(5))
        with pytest.raises(ValueError, match="direction to learn"):
            run(small(data=tmp_path / "zero.npz"), context)


def test_noise_and_signal_of_known_data_are_recovered():
    from sims.inputs import Dataset

    rng = np.random.default_rng(2)
    data = rng.standard_normal((2000, 5))
    labels = data @ rng.standard_normal((5, 3)) + 0.5 * rng.standard_normal((2000, 3))
    found = measure(Dataset("made", data, labels), None)
    assert found.noise == pytest.approx(0.25, rel=0.1)
    assert found.signals.noise[0] == pytest.approx(3 * found.noise)
    total = found.signals.energy.sum() + 5 * 3 * found.noise
    assert total == pytest.approx(found.label_energy.sum())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"modes": 1}, "modes must be at least 2"),
        ({"spikes": 500}, "spikes must be at most"),
        ({"noise": 0.0}, "noise must be at least 1e-09"),
        ({"eigenvalue_decay": np.nan}, "eigenvalue_decay must be at least"),
        ({"noise_variance": -1.0}, "noise_variance must be finite"),
        ({"decays": ()}, "decays must be one or more"),
        ({"decays": (np.inf,)}, "decays must be one or more"),
        ({"decays": (-1e12,)}, "decays must be one or more"),
        ({"starts": 0}, "starts must be at least 1"),
        ({"modes": 10**20}, "modes must be at most 10,000"),
        ({"map_points": 10**20}, "map_points must be at most 500"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"eigenvalue_decay": 1e12}, "eigenvalue_decay must be at most 20"),
    ],
)
def test_bad_configs_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        Config(**change)


@pytest.mark.parametrize("what", SCHEMES, ids=lambda what: what.name)
def test_gains_at_many_points_are_the_filters_gains(what):
    rng = np.random.default_rng(3)
    shapes = [rng.choice(axis.grid(), 6) for axis in what.shapes]
    points = np.column_stack([rng.uniform(-3, 3, 6), *shapes])
    rate = np.array([2.0, 0.3, 1e-3, 0.0])
    got = what.gains(points, rate)
    for row, point in zip(got, points, strict=True):
        np.testing.assert_allclose(row, what.filter(point).gain(rate), rtol=1e-11, atol=1e-300)


def test_unknown_schemes_are_refused_by_name():
    with pytest.raises(ValueError, match="unknown scheme 'teacher'; known: student"):
        scheme("teacher")


def test_shifted_risks_are_the_excess_risk():
    from theory.flow.filters import GradientFlow
    from theory.flow.risk import excess_risk
    from theory.flow.spectrum import Spectrum

    rng = np.random.default_rng(4)
    rate, truth = np.array([1.5, 0.4, 0.1]), rng.standard_normal(3)
    root = rng.standard_normal((2, 3, 3))
    covariances = root @ np.swapaxes(root, 1, 2)
    risks = Risks.shifted(rate, truth, 0.3, covariances)
    gain = GradientFlow(2.0).gain(rate)
    spectrum = Spectrum.from_data(np.diag(np.sqrt(rate)))
    for k in range(2):
        want = excess_risk(spectrum, GradientFlow(2.0), truth, 0.3, covariance=covariances[k])
        assert risks.of(gain[None])[0, k] == pytest.approx(want, rel=1e-12)
        left = risks.residual(gain[None], np.array([k]))
        assert (left**2).sum() + risks.floor[k] == pytest.approx(want, rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", [what.name for what in SCHEMES if what.shapes])
def test_the_search_is_not_beaten_by_differential_evolution(name, decays):
    from scipy.optimize import differential_evolution

    what = scheme(name)
    bounds = [(-6.0, 16.0), *((axis.low, axis.high) for axis in what.shapes)]
    best = best_parameters(what, decays.eigenvalues, decays.risks())
    for row in (0, 2, 4):
        one = Risks.denoising(decays.energy[row], decays.noise[row])

        def cost(point, one=one):
            return one.of(what.gains(point[None], decays.eigenvalues))[0, 0]

        found = differential_evolution(cost, bounds, seed=0, maxiter=60, popsize=12, tol=1e-10)
        assert best.risk[row] <= found.fun * (1 + 1e-7)
