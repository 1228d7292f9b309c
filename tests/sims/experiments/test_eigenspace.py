import io
from dataclasses import asdict, replace

import numpy as np
import pyarrow as pa
import pytest
from matplotlib.text import Text
from PIL import Image
from pyarrow import parquet as pq
from threadpoolctl import threadpool_limits

import figures
from figures import rendering
from sims import runner
from sims.context import Context
from sims.experiments import eigenspace
from sims.experiments.eigenspace import Config, run
from sims.parts.eigenspace_case import STUDENTS, Case, measure, record_steps, runs_of
from sims.parts.eigenspace_findings import findings, over_seeds
from theory.ntk.trajectories import STATISTICS, bias_statistics

FEATURES = Case(
    data="digits",
    samples=40,
    test_samples=60,
    noise=0.25,
    noise_includes_same=False,
    model="random_features",
    size=80,
    depth=2,
    optimizer="adam",
    learning_rate=1e-2,
    batch=40,
    epochs=15,
    temperature=4.0,
    students=STUDENTS,
    records=100,
    seed=0,
)
MLP = replace(FEATURES, model="mlp", size=12, batch=16, noise=0.0, learning_rate=1e-3)


@pytest.fixture(scope="module")
def result():
    with Context.plain() as context:
        return run(Config.smoke(), context)


@pytest.fixture(scope="module")
def features():
    return measure(FEATURES)


def share(measured, name, statistic="s1_share"):
    return measured["statistics"][STUDENTS.index(name), STATISTICS.index(statistic)]


def test_smoke_is_deterministic(result):
    with Context.plain() as context:
        again = run(Config.smoke(), context)
    assert again.findings == result.findings
    assert again.arrays.keys() == result.arrays.keys()
    for name, array in result.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)


def test_smoke_is_complete(result):
    arrays = result.arrays
    assert set(arrays["model"]) == {"random_features", "mlp"}
    assert set(arrays["optimizer"]) == {"adam", "sgd"}
    settings, seeds = arrays["values"].shape[:2]
    assert (settings, seeds) == (4, 2)
    student = arrays["students"].tolist().index("student")
    for name in ("values", "values_interval"):
        assert np.isfinite(arrays[name][..., student, :]).all()
    assert np.isfinite(arrays["final_log_ratio"]).any(axis=-1).all()
    assert arrays["pair_teacher"].shape[:3] == (4, 3, 2)
    assert (arrays["pair_index"][..., 0] < arrays["pair_index"][..., 1]).all()
    assert 5 <= len(result.findings) <= 12


def test_positive_control_finds_the_theorem(result):
    s1, s6 = STATISTICS.index("s1_share"), STATISTICS.index("s6_share")
    assert (result.arrays["flow"][..., s1] > 0.98).all()
    np.testing.assert_allclose(result.arrays["flow"][..., s6], 0.5, atol=0.01)
    assert (result.arrays["flow"][..., STATISTICS.index("s4_slope")] > 0).all()
    assert (result.arrays["flow_exponent"][..., 0] == 0).all()
    assert (result.arrays["flow_exponent"][..., 1] > 0).all()
    assert result.findings[0].holds is True


def test_with_one_batch_a_second_network_is_the_teacher(features):
    """The null is exact there: order changes roundings only."""
    assert share(features, "null") == pytest.approx(0.5, abs=0.01)
    assert share(features, "null", "s4_slope") == pytest.approx(0, abs=1e-3)
    for statistic in ("s1_median", "s4_slope"):
        one, other = (share(features, n, statistic) for n in ("student", "same_order"))
        assert one == pytest.approx(other, abs=1e-3)


def test_raw_norms_are_displacements_where_the_layer_starts_at_zero(features):
    np.testing.assert_array_equal(features["norms"], features["displacements"])
    np.testing.assert_array_equal(features["raw_share"], features["statistics"][:, 0])
    measured = measure(MLP)
    assert (measured["norms"][:, 0] > 0).all()
    assert measured["raw_share"][0] != measured["statistics"][0, 0]


def test_with_minibatches_the_null_differs():
    measured = measure(MLP)
    assert abs(share(measured, "null", "s1_median")) > 1e-4
    assert share(measured, "student") != share(measured, "same_order")


def test_students_share_what_they_should():
    teacher, runs = runs_of(MLP)
    by_name = dict(zip(STUDENTS, runs, strict=True))
    assert {run.init_key for run in runs} == {teacher.init_key}
    assert by_name["same_order"].order_key == teacher.order_key
    others = {run.order_key for name, run in by_name.items() if name != "same_order"}
    assert len(others) == 1
    assert teacher.order_key not in others
    temperatures = {name: run.supervision.temperature for name, run in by_name.items()}
    assert temperatures == dict.fromkeys(STUDENTS, 4.0) | {"tau1": 1.0, "null": 1.0}


def test_all_start_together_and_gradient_descent_stays_in_the_row_space(features):
    paths = features["displacements"]
    assert paths.shape == (1 + len(STUDENTS), 16, 40)
    assert (paths[:, 0] == 0).all()
    assert (features["null_share"] > 0.01).all()
    sgd = measure(replace(FEATURES, optimizer="sgd", learning_rate=1e-2, students=("student",)))
    assert (sgd["null_share"] < 1e-5).all()


def test_statistics_are_those_of_the_paths(features):
    want = bias_statistics(
        features["displacements"][0],
        features["displacements"][2],
        features["eigenvalues"],
        features["kept"],
        tie=1e-4,
    )
    np.testing.assert_array_equal(features["statistics"][1], [want[name] for name in STATISTICS])
    estimate, low, high = features["node_share"]
    assert low <= estimate <= high
    assert estimate == pytest.approx(features["statistics"][0, 0], abs=0.02)


def test_all_directions_and_the_null_space_are_the_whole_head(features):
    """Figure 17 ends at the network itself; training samples do not see the null space."""
    whole = features["kept_accuracy"][..., -1]
    np.testing.assert_array_equal(whole, features["accuracy"][:2])
    np.testing.assert_allclose(features["kept_accuracy"][:, :3, -2], whole[:, :3], atol=0.026)


def test_top_directions_fit_clean_samples_before_mislabeled_ones():
    """Figure 17: a fifth of the directions suffices for clean samples, not for the noise."""
    case = replace(FEATURES, samples=100, batch=100, size=500, epochs=60, students=("student",))
    measured = measure(case)
    clean, wrong = measured["kept_accuracy"][0, :2]
    fifth = int(np.argmin(np.abs(measured["kept_counts"] - 20)))
    assert clean[fifth] > 0.85 * clean[-1]
    assert wrong[fifth] < 0.5 * wrong[-1]


def test_measurements_stay_in_their_setting_and_seed():
    """They are made in another order, the longest first."""
    config = replace(Config.smoke(), models=("mlp", "random_features"))
    with Context.plain() as context:
        arrays = run(config, context).arrays
    for number, setting in enumerate(eigenspace._settings(config)):
        alone = measure(replace(setting, seed=1))
        columns = [STUDENTS.index(name) for name in setting.students]
        np.testing.assert_array_equal(arrays["values"][number, 1, columns], alone["statistics"])


def test_differences_are_student_less_control(result):
    values, difference = result.arrays["values"], result.arrays["difference"]
    students = result.arrays["students"].tolist()
    for number, name in enumerate(result.arrays["controls"].tolist()):
        gap = values[:, :, students.index("student")] - values[:, :, students.index(name)]
        np.testing.assert_allclose(difference[0, :, number], gap.mean(axis=1), atol=1e-12)


def test_random_features_with_sgd_show_the_effect_and_the_controls_do_not():
    """The claim where it is strong: SGD, random features, any seed (pilot: share .9)."""
    case = replace(
        FEATURES, optimizer="sgd", learning_rate=0.05, epochs=60, students=("student", "soft")
    )
    measured = measure(case)
    slope = STATISTICS.index("s4_slope")
    student, soft = measured["statistics"]
    assert student[STATISTICS.index("s1_share")] > 0.75
    assert student[slope] > soft[slope] + 0.05


def test_records_are_all_updates_or_evenly_spaced_in_the_logarithm():
    np.testing.assert_array_equal(record_steps(7, 7), np.arange(8))
    steps = record_steps(2000, 50)
    assert steps[[0, 1, -1]].tolist() == [0, 1, 2000]
    assert (np.diff(steps) > 0).all()
    assert len(steps) <= 51


def test_recording_less_often_changes_no_end():
    often, rarely = measure(FEATURES), measure(replace(FEATURES, records=5))
    np.testing.assert_array_equal(often["displacements"][:, -1], rarely["displacements"][:, -1])


def test_over_seeds_is_the_t_interval_and_knows_what_it_does_not():
    table = np.array([[[1.0, np.nan], [2.0, 1.0], [3.0, 1.0]]])
    got = over_seeds(table)
    np.testing.assert_allclose(got[:, 0, 0], [2, 2 - 2.4841, 2 + 2.4841], atol=1e-3)
    assert np.isnan(got[:, 0, 1]).all()
    assert np.isnan(over_seeds(table[:, :1])).all()


def altered(result, value, half, *, against=None):
    """The arrays with the student's share and its difference from the null as told."""
    arrays = {name: array.copy() for name, array in result.arrays.items()}
    spread = np.array([0, -half, half])[:, None]
    arrays["values_interval"][:, :, 0, 0] = value + spread
    arrays["difference"][:, :, 0, 0] = (value - 0.5 if against is None else against) + spread
    return arrays


@pytest.mark.parametrize(
    ("value", "half", "holds", "words"),
    [
        (0.95, 0.02, True, "is more than"),
        (0.55, 0.10, None, "is not told apart from"),
        (0.52, 0.04, False, "is not told apart from"),
        (0.30, 0.05, False, "is less than"),
    ],
)
def test_the_sentence_follows_the_numbers(result, value, half, holds, words):
    told = findings("digits", altered(result, value, half))
    claims = [f for f in told if " seeds)" in f.text]
    assert claims
    for claim in claims:
        assert claim.holds is holds
        assert words in claim.text
        assert f"{value:.0%} of the pairs" in claim.text
        assert ("far from" in claim.text) == (value < 0.9)


def test_without_a_control_nothing_is_claimed(result):
    arrays = altered(result, 0.9, 0.01, against=np.nan)
    claims = [f for f in findings("digits", arrays) if " seeds)" in f.text]
    assert claims
    assert all(claim.holds is None for claim in claims)
    assert all("no null control" in claim.text for claim in claims)


def test_paper_size_is_table_7():
    config = Config.paper()
    assert (config.samples, config.temperature, config.seeds >= 10) == (128, 4.0, True)
    assert (config.features, config.features_batch, config.features_epochs) == (5000, 128, 40)
    assert (config.features_rate, config.noise) == (1e-3, 0.25)
    assert (config.width, config.depth, config.mlp_batch, config.mlp_epochs) == (1000, 2, 32, 20)
    assert config.mlp_rate == 1e-4
    updates = {(c.model, c.epochs * -(-c.samples // c.batch)) for c in eigenspace._settings(config)}
    assert {("random_features", 40), ("mlp", 80)} <= updates


def test_the_config_is_plain_data():
    assert asdict(Config.demo())["lengths"] == (1, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": 1}, "seeds must be an integer >= 2"),
        ({"lengths": ()}, "lengths must be a tuple, not empty and without repeats, got"),
        ({"lengths": (5, 1, 5)}, "lengths must be a tuple, not empty and without repeats"),
        ({"models": ()}, "models must be a tuple, not empty and without repeats"),
        ({"models": ("mlp", "mlp")}, "models must be a tuple, not empty and without repeats"),
        ({"models": "mlp"}, "models must be a tuple"),
        ({"models": ("vit",)}, "models must be one of 'random_features', 'mlp', .*got 'vit'"),
        ({"data": "svhn"}, "data must be one of 'digits', .*got 'svhn'"),
        ({"samples": 1}, "samples must be an integer >= 2, got 1"),
        ({"samples": 32.0}, "samples must be an integer >= 2, got 32.0"),
        ({"test_samples": 0}, "test_samples must be an integer >= 1"),
        ({"noise": -0.1}, r"noise must be in \[0, 1\]"),
        ({"noise": np.nan}, "noise must be finite"),
        ({"noise_includes_same": 1}, "noise_includes_same must be True or False"),
        ({"temperature": 0.0}, "temperature must be > 0"),
        ({"features": 1}, "features must be an integer >= 2"),
        ({"features_epochs": 0}, "features_epochs must be an integer >= 1"),
        ({"features_batch": 0}, "features_batch must be an integer >= 1"),
        ({"features_rate": 0.0}, "features_rate must be > 0"),
        ({"features_sgd_rate": np.inf}, "features_sgd_rate must be finite"),
        ({"width": 0}, "width must be an integer >= 1"),
        ({"depth": -1}, "depth must be an integer >= 0"),
        ({"mlp_epochs": 0}, "mlp_epochs must be an integer >= 1"),
        ({"mlp_batch": -3}, "mlp_batch must be an integer >= 1"),
        ({"mlp_rate": -1e-4}, "mlp_rate must be > 0"),
        ({"mlp_sgd_rate": 0.0}, "mlp_sgd_rate must be > 0"),
        ({"sgd_length": -1}, "sgd_length must be an integer >= 0"),
        ({"pairs": 0}, "pairs must be an integer >= 1"),
        ({"lengths": (0,)}, "lengths must be an integer >= 1"),
        ({"cnn_lengths": (1, 0)}, "cnn_lengths must be an integer >= 1"),
        ({"cnn_lengths": ()}, "cnn_lengths must be a tuple, not empty"),
        ({"cnn_data": "svhn"}, "cnn_data must be one of 'digits', .*got 'svhn'"),
        ({"cnn_samples": 1}, "cnn_samples must be an integer >= 2"),
        ({"channels": 0}, "channels must be an integer >= 1"),
        ({"cnn_depth": 0}, "cnn_depth must be an integer >= 1"),
        ({"kernel": 0}, "kernel must be an integer >= 1"),
        ({"cnn_rate": -1.0}, "cnn_rate must be > 0"),
        ({"patches": 1}, "patches must be an integer >= 2"),
        ({"device": "tpu"}, "device must be one of 'auto', 'cpu', 'cuda', got 'tpu'"),
        ({"records": 1}, "records must be an integer >= 2"),
    ],
)
def test_bad_config(change, message):
    with pytest.raises(ValueError, match=message):
        Config(**change)


def test_every_field_is_checked():
    for name in asdict(Config()):
        with pytest.raises(ValueError, match=rf"^{name} must "):
            Config(**{name: None})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "mnist"}, "give a folder that holds mnist/mnist.* --data-root or STILLROOM_DATA"),
        ({"samples": 1443}, "samples must be at most the 1442 that digits has, got 1443"),
        (
            {"models": ("cnn",), "cnn_samples": 1443},
            "cnn_samples must be at most the 1442 that digits has, got 1443",
        ),
        (
            {"models": ("cnn",), "cnn_data": "cifar10"},
            "give a folder that holds cifar10/plain_text",
        ),
    ],
)
def test_data_are_opened_before_any_network_is_trained(change, message, monkeypatch):
    monkeypatch.delenv("STILLROOM_DATA", raising=False)
    with Context.plain() as context:
        monkeypatch.setattr(context, "map", lambda *args, **more: pytest.fail("trained"))
        with pytest.raises(ValueError, match=message):
            run(replace(Config.smoke(), **change), context)


def test_numbers_do_not_depend_on_the_threads_of_linear_algebra():
    case = replace(FEATURES, samples=128, batch=128, size=600, epochs=2, students=("student",))
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            found.append(measure(case))
    for name, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][name])


def some_images(root, seed):
    """A little MNIST of noise in the layout of the Hub."""
    rng = np.random.default_rng(seed)
    folder = root / "mnist" / "mnist"
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        rows = []
        for image in rng.integers(0, 256, (60, 5, 5), dtype=np.uint8):
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, format="PNG")
            rows.append({"bytes": buffer.getvalue(), "path": None})
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        labels = pa.array(np.arange(60) % 10, type=pa.int64())
        table = pa.table({"image": pa.array(rows, type=kind), "label": labels})
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    return root


def test_images_are_those_of_the_root_and_results_are_kept_by_what_lies_there(
    tmp_path, monkeypatch
):
    monkeypatch.delenv("STILLROOM_DATA", raising=False)
    config = replace(
        Config.smoke(), data="mnist", samples=20, test_samples=10, models=("mlp",), sgd_length=0
    )
    roots = [some_images(tmp_path / name, seed) for name, seed in (("a", 0), ("b", 1), ("c", 0))]
    done = []
    for root in roots:
        with Context(tmp_path / "out", workers=1, data_root=root) as context:
            done.append(runner.finish("eigenspace", config, context=context))
    first, other, moved = done
    assert (first.fetched, other.fetched, moved.fetched) == (False, False, True)
    assert moved.path == first.path != other.path
    assert not np.array_equal(
        first.result.array("eigenvalues"), other.result.array("eigenvalues"), equal_nan=True
    )
    assert first.result.provenance["inputs"] != other.result.provenance["inputs"]
    assert other.result.save(tmp_path / "out") == other.path
    cached = list(
        (tmp_path / "out" / "cache" / "sims.parts.eigenspace_case.measure").glob("[0-9a-f]*")
    )
    assert len({path.name for path in cached if path.is_dir()}) == 2 * config.seeds


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_real_images(data_root, name):
    config = replace(Config.smoke(), data=name, models=("random_features",), lengths=(1,))
    with Context.plain() as context:
        result = run(config, context)
    assert name in result.findings[1].text


@pytest.mark.parametrize(
    "change",
    [
        {"lengths": (5,)},
        {"lengths": (2, 1), "models": ("mlp",)},
        {"noise": 0.0},
        {"noise": 0.01},
        {"noise": 1.0},
        {"samples": 2},
        {"samples": 3},
        {"samples": 5, "features": 4},
        {"models": ("cnn",), "cnn_samples": 2, "channels": 1, "cnn_depth": 1},
        {"models": ("cnn", "mlp"), "depth": 0, "cnn_lengths": (2, 1), "cnn_sgd_length": 1},
    ],
    ids=str,
)
def test_small_and_odd_configs_are_told_and_drawn_without_nan(change):
    """No samples of a kind: no sentence about them and no panel."""
    config = replace(Config.smoke(), **change)
    with Context.plain() as context:
        result = run(config, context)
    for finding in result.findings:
        assert "nan" not in finding.text
    for model in config.models:
        assert f"confidence_gap_{model}" in result.arrays
    for name in figures.names():
        if figures.get(name).result == "eigenspace":
            drawn = rendering.canvas(name, result)
            rendering.encode(drawn, "png")
            assert not [text for text in drawn.findobj(Text) if "nan" in text.get_text()]


def test_heads_are_cut_at_the_same_counts_whatever_the_rank():
    """Of digits, all 1442 random features do not have the same rank in all seeds."""
    small = replace(FEATURES, samples=70, batch=70, size=70, epochs=1, students=("student",))
    found = [measure(replace(small, seed=seed)) for seed in range(4)]
    assert len({int(each["kept"].sum()) for each in found}) > 1
    for each in found:
        np.testing.assert_array_equal(each["kept_counts"], found[0]["kept_counts"])
        assert each["kept_counts"][-2] == 70


def kept(result, loss, spread):
    """Arrays in which the cut loses nothing of clean samples and ``loss`` of wrong labels."""
    arrays = {name: array.copy() for name, array in result.arrays.items()}
    by_seed = np.ones_like(arrays["kept_by_seed"])
    by_seed[:, :, 1, :-1] -= loss + spread * np.array([-1, 1])[:, None, None]
    arrays["kept_by_seed"] = by_seed
    arrays["kept_accuracy"] = over_seeds(by_seed[None])[:, 0]
    return arrays


@pytest.mark.parametrize(
    ("loss", "spread", "holds", "words"),
    [
        (0.4, 0.01, True, "they fit the noise"),
        (0.1, 0.05, False, "not told apart"),
        (-0.4, 0.01, False, "hold more of the clean samples"),
    ],
)
def test_low_directions_fit_the_noise_only_beyond_the_interval(result, loss, spread, holds, words):
    told = [f for f in findings("digits", kept(result, loss, spread)) if "head" in f.text]
    assert len(told) == 1
    assert told[0].holds is holds
    assert words in told[0].text
    assert told[0].value == pytest.approx(loss)
    assert told[0].low < told[0].value < told[0].high


@pytest.mark.parametrize(
    ("gaps", "holds", "words"),
    [
        ((-1.0, -1.1), True, "student is less sure than its teacher"),
        ((-1.0, 0.9), False, "student is not told apart from its teacher"),
        ((1.0, 1.1), False, "student is surer than its teacher"),
    ],
)
def test_the_mark_on_confidence_is_that_of_the_words(result, gaps, holds, words):
    arrays = dict(result.arrays)
    arrays["confidence_gap_random_features"] = np.array([[0.5, gap] for gap in gaps])
    told = [f for f in findings("digits", arrays) if "on mislabeled training samples" in f.text]
    assert len(told) == 1
    assert told[0].holds is holds
    assert words in told[0].text


def test_too_few_features_are_refused_by_name():
    """Of two random features one can be zero on all samples."""
    with pytest.raises(ValueError, match="features must be enough for two eigendirections"):
        measure(replace(FEATURES, samples=5, size=1))
