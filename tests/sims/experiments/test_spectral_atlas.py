"""The atlas of schemes: patterns as the table says, on any spectrum."""

import numpy as np
import pytest

from sims.context import Context
from sims.experiments import spectral_atlas
from sims.experiments.spectral_atlas import ENTRIES, GROUPS, Config, pattern, run
from theory.flow import filters as f
from theory.flow.exaggeration import effective_time_trend

SPECTRUM = np.geomspace(1e-3, 30.0, 200)


@pytest.fixture(scope="module")
def result():
    return run(Config.smoke(), Context.plain())


def test_every_scheme_goes_as_the_table_says(result):
    assert result.arrays["pattern"].tolist() == [entry.expected for entry in ENTRIES]
    assert all(finding.holds is not False for finding in result.findings)


def test_curves_are_those_of_the_filters(result):
    arrays = result.arrays
    for entry, gain, times in zip(ENTRIES, arrays["gain"], arrays["effective_time"], strict=True):
        scheme = entry.build(30.0)
        np.testing.assert_array_equal(gain, scheme.gain(30.0 * arrays["grid"]))
        np.testing.assert_array_equal(times, scheme.effective_time(30.0 * arrays["grid"]))
    defined = arrays["pattern"] != "undefined"
    t_eff, grid = arrays["effective_time"][defined], 30.0 * arrays["grid"]
    np.testing.assert_allclose(arrays["gain"][defined], -np.expm1(-t_eff * grid), rtol=1e-12)


def test_peaks_stand_where_the_effective_time_is_largest(result):
    arrays = result.arrays
    turning = arrays["pattern"] == "rises, then falls"
    assert turning.sum() == 4
    assert np.isnan(arrays["peak"][~turning]).all()
    for peak, times in zip(arrays["peak"][turning], arrays["effective_time"][turning], strict=True):
        assert times[np.searchsorted(arrays["grid"], peak)] == times.max()
        assert arrays["grid"][0] < peak < arrays["grid"][-1]


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [
        (f.GradientFlow(2.0), "constant"),
        (f.Generations((1.0, 2.0)), "rises"),
        (f.Ridge(1.0), "falls"),
        (f.FilterKD(1.0, 2.0, 1.0), "rises, then falls"),
        (f.GradientDescent(0.06, 3), "undefined"),
    ],
    ids=lambda one: one if isinstance(one, str) else type(one).__name__,
)
def test_pattern_of_a_known_filter(scheme, expected):
    assert pattern(effective_time_trend(scheme, SPECTRUM)) == expected


@pytest.mark.parametrize(
    ("times", "expected"),
    [([2.0, 1.0, 3.0], "falls, then rises"), ([1.0, 2.0, 1.0, 2.0], "mixed")],
)
def test_pattern_of_any_curve(times, expected):
    class Curve:
        def effective_time(self, eigenvalues):
            return np.array(times)

    assert pattern(effective_time_trend(Curve(), np.arange(1.0, len(times) + 1))) == expected
    assert expected in GROUPS


def test_a_pattern_that_contradicts_the_table_is_reported(monkeypatch):
    wrong = spectral_atlas.Entry("ridge", "rises", lambda _: f.Ridge(1.0))
    kept = tuple(wrong if entry.label == "ridge" else entry for entry in ENTRIES)
    monkeypatch.setattr(spectral_atlas, "ENTRIES", kept)
    first = run(Config.smoke(), Context.plain()).findings[0]
    assert first.holds is False
    assert "ridge (falls, not rises)" in first.text


def test_spectrum_of_digits_and_of_ones_own_data(tmp_path):
    digits = run(Config(spectrum="digits", points=20), Context.plain())
    assert "digits" in str(digits.arrays["title"])
    assert digits.arrays["eigenvalues"][0] == 1.0
    path = tmp_path / "mine.npz"
    rng = np.random.default_rng(0)
    np.savez(path, X=rng.standard_normal((30, 4)) * [1.0, 2.0, 3.0, 10.0], y=np.zeros(30))
    mine = run(Config(data=path, points=20), Context.plain())
    assert len(mine.arrays["eigenvalues"]) == 4
    assert mine.findings[0].holds


@pytest.mark.parametrize(
    "bad",
    [
        {"modes": 1},
        {"modes": 10**20},
        {"points": 3},
        {"points": 10**20},
        {"decay": 0.0},
        {"decay": 1e12},
        {"progress": np.inf},
        {"progress": -1.0},
    ],
    ids=str,
)
def test_bad_config_is_refused(bad):
    name = next(iter(bad))
    with pytest.raises(ValueError, match=f"{name} must be"):
        Config(**bad)


def test_data_with_a_single_direction_is_refused(tmp_path):
    path = tmp_path / "flat.npz"
    np.savez(path, X=np.outer(np.arange(5.0), np.ones(3)), y=np.zeros(5))
    with pytest.raises(ValueError, match="two or more different positive eigenvalues"):
        run(Config(data=path), Context.plain())
