"""Layers after the first, and the CNN, in the eigenspace experiment."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deep.training.fixed_targets.loop import initial_network, train
from deep.training.fixed_targets.task import make_task
from deep.training.streams import stream
from sims.context import Context
from sims.experiments import eigenspace
from sims.experiments.eigenspace import Config, run
from sims.parts import eigenspace_time
from sims.parts.eigenspace_case import STUDENTS, Case, measure, runs_of
from sims.parts.eigenspace_findings import findings
from sims.parts.eigenspace_layers import layer_inputs
from sims.parts.eigenspace_time import device_of, seconds_of_an_update
from theory.ntk.projections import patches
from theory.ntk.trajectories import STATISTICS

MLP = Case(
    data="digits",
    samples=40,
    test_samples=60,
    noise=0.0,
    noise_includes_same=False,
    model="mlp",
    size=12,
    depth=2,
    optimizer="adam",
    learning_rate=1e-3,
    batch=16,
    epochs=15,
    temperature=4.0,
    students=STUDENTS,
    records=100,
    seed=0,
)
CNN = replace(
    MLP,
    model="cnn",
    size=5,
    kernel=2,
    samples=24,
    batch=12,
    epochs=6,
    learning_rate=5e-3,
    patches=80,
)
IMAGES = SimpleNamespace(train_inputs=np.zeros((1, 3072)), classes=10)


def trained_by_hand(case, name):
    """Weights of teacher and of one student at every update, by the plain loop."""
    teacher_run, runs = runs_of(case)
    student_run = dict(zip(case.students, runs, strict=True))[name]
    weights = ([], [])

    def keep(place):
        return lambda _, now: weights[place].append(
            {name: value.detach().clone() for name, value in now.items()}
        )

    teacher = train(teacher_run, recorders=[keep(0)])
    train(student_run, recorders=[keep(1)])
    return weights, teacher.weights


@pytest.mark.parametrize("case", [MLP, CNN], ids=["mlp", "cnn"])
def test_later_layers_move_along_what_they_see_in_the_final_teacher(case):
    """From the plain loop: activations of the last weights, an SVD, and norms of differences."""
    case = replace(case, students=("student", "null"), pairs=3)
    measured = measure(case)
    (teacher, student), final = trained_by_hand(case, "student")
    teacher_run, _ = runs_of(case)
    task = make_task(teacher_run.data)
    network = initial_network(teacher_run, task)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in final.items()})
    x = network.frozen(torch.from_numpy(task.train_inputs).float())
    *hidden, _ = (tap.detach() for tap in network.features(x))
    names = measured["later_names"].tolist()
    if case.model == "mlp":
        assert names == ["layers.1", "layers.2"]
        seen = hidden
    else:
        assert names == ["convolutions.1", "head"]
        around = torch.nn.functional.pad(hidden[0], (0, 1, 0, 1))
        places = stream("patches", "convolutions.1", case.seed)
        cut = patches(around, network.convolutions[1], case.patches, seed=places)
        seen = [cut, hidden[1].flatten(1)]
    for place, (name, rows) in enumerate(zip(names, seen, strict=True)):
        _, singular, right = np.linalg.svd(rows.double().numpy(), full_matrices=False)
        size = len(singular)
        got = measured["later_eigenvalues"][place]
        np.testing.assert_allclose(got[:size], singular**2 / len(rows), rtol=1e-5, atol=1e-9)
        assert np.isnan(got[size:]).all()
        higher, lower = measured["later_pair_index"][place].T
        assert (higher < lower).all()
        for member, path in enumerate((teacher, student)):
            weights = torch.stack([each[f"{name}.weight"] for each in path]).flatten(2)
            moved = (weights - weights[0]).double().numpy() @ right.T  # (T, h, r)
            want = np.linalg.norm(moved, axis=1)
            drawn = measured["later_pairs"][place, member]
            scale = want.max()
            np.testing.assert_allclose(drawn[:, 0].T, want[:, higher], atol=2e-3 * scale)
            np.testing.assert_allclose(drawn[:, 1].T, want[:, lower], atol=2e-3 * scale)


def test_later_layers_have_their_statistics_controls_and_flow():
    measured = measure(replace(CNN, depth=3))
    assert measured["later_names"].tolist() == ["convolutions.1", "convolutions.2", "head"]
    assert measured["later_statistics"].shape == (3, len(STUDENTS), len(STATISTICS))
    assert np.isfinite(measured["later_statistics"]).all()
    s1 = STATISTICS.index("s1_share")
    assert (measured["later_flow"][:, s1] > 0.95).all()
    assert ((measured["later_raw_share"] >= 0) & (measured["later_raw_share"] <= 1)).all()
    assert measured["later_null_share"].shape == (3, 1 + len(STUDENTS))


def test_random_features_have_no_later_layer():
    features = measure(replace(MLP, model="random_features", size=60, students=("student",)))
    assert not [name for name in features if name.startswith("later")]


def test_a_layer_with_one_direction_says_nothing():
    """One unit before it: no pair, no statistic, and no failure."""
    measured = measure(replace(MLP, size=1, students=("student", "null")))
    assert np.isnan(measured["later_statistics"][..., STATISTICS.index("s1_share")]).all()
    assert np.isnan(measured["later_pairs"]).all()
    config = replace(Config.smoke(), models=("mlp",), width=1, sgd_length=0)
    with Context.plain() as context:
        result = run(config, context)
    assert not [f for f in result.findings if "layer" in f.text]
    assert all("nan" not in f.text for f in result.findings)


def test_patches_are_those_of_the_convolution_with_labels_of_their_images():
    """The flow's control of a convolution: every patch has the label of its image."""
    teacher_run, _ = runs_of(CNN)
    task = make_task(teacher_run.data)
    network = initial_network(teacher_run, task)
    seen, samples = layer_inputs(network, "convolutions.0", task, patches=100, seed=0)
    assert seen.shape == (100, 4)
    images = task.train_inputs.reshape(-1, 8, 8)
    for row, sample in zip(seen, samples, strict=True):
        whole = np.pad(images[sample], ((0, 1), (0, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(whole, (2, 2)).reshape(-1, 4)
        assert np.abs(windows - row).max(axis=1).min() < 1e-6


@pytest.fixture(scope="module")
def networks():
    """A result with the MLP and the CNN."""
    with Context.plain() as context:
        return run(replace(Config.smoke(), models=("mlp", "cnn")), context)


def test_the_tables_of_layers_are_those_of_their_cases(networks):
    arrays = networks.arrays
    config = replace(Config.smoke(), models=("mlp", "cnn"))
    settings = eigenspace._settings(config)
    assert [case.model for case in settings] == ["mlp", "mlp", "cnn"]
    assert arrays["layer_setting"].tolist() == [0, 0, 1, 1, 2, 2]
    assert arrays["layer_title"].tolist() == [
        "hidden layer 2", "last layer", "hidden layer 2", "last layer",
        "convolution 2", "last layer",
    ]  # fmt: skip
    for row, setting in enumerate(arrays["layer_setting"]):
        case = settings[setting]
        alone = measure(replace(case, seed=1))
        columns = [STUDENTS.index(name) for name in case.students]
        place = row % 2
        got = arrays["layer_values"][row, 1, columns]
        np.testing.assert_array_equal(got, alone["later_statistics"][place])
        np.testing.assert_array_equal(arrays["layer_flow"][row, 1], alone["later_flow"][place])
        student = arrays["layer_values"][row, :, 0]
        null = arrays["layer_values"][row, :, STUDENTS.index("null")]
        np.testing.assert_allclose(
            arrays["layer_difference"][0, row, 0], (student - null).mean(axis=0), atol=1e-12
        )
    assert arrays["layer_pairs"].shape[:4] == (6, 1 + len(STUDENTS), config.pairs, 2)


def told_of_layers(networks, value, half, against):
    arrays = dict(networks.arrays)
    spread = np.array([0, -half, half])[:, None]
    for name, middle in (("values_interval", value), ("difference", against)):
        table = arrays[f"layer_{name}"].copy()
        table[:, :, 0, 0] = middle + spread
        arrays[f"layer_{name}"] = table
    return [f for f in findings("digits", arrays) if "final teacher" in f.text]


@pytest.mark.parametrize(
    ("value", "half", "against", "holds", "words"),
    [
        (0.90, 0.02, 0.4, True, "the paper's claim shows here"),
        (0.52, 0.05, 0.3, False, "is more than .*the paper's claim does not show here"),
        (0.70, 0.05, 0.01, False, "is not told apart .*the paper's claim does not show here"),
        (0.60, 0.14, 0.1, None, "whether the paper's claim shows here cannot be told"),
        (0.30, 0.05, -0.2, False, "the opposite of the paper's claim shows here"),
        (0.90, 0.02, np.nan, None, "no null control: without it nothing is claimed"),
    ],
)
def test_the_claim_for_a_layer_needs_more_than_half_and_more_than_chance(
    networks, value, half, against, holds, words
):
    told = told_of_layers(networks, value, half, against)
    assert len(told) == 4
    for finding in told:
        assert finding.holds is holds
        assert re.search(words, finding.text)
        assert f"in {value:.0%} of the pairs" in finding.text
    elsewhere = [f for f in told if "In the other training the share is above" in f.text]
    assert len(elsewhere) == 2  # the MLP's layers, with SGD


def test_findings_name_the_images_of_each_network(networks):
    told = [f.text for f in networks.findings if " seeds)" in f.text]
    assert [text.split(",")[0] for text in told] == ["The MLP on digits", "The CNN on digits"]


def test_long_trainings_are_announced_beforehand(monkeypatch):
    said = []
    monkeypatch.setattr(eigenspace_time, "seconds_of_an_update", lambda case: 0.5)
    config = replace(Config.paper(), device="cpu")
    cases = [
        replace(case, seed=seed)
        for case in eigenspace._settings(config)
        for seed in range(config.seeds)
    ]
    with Context(workers=2) as context:
        monkeypatch.setattr(context, "say", said.append)
        eigenspace_time.announce(cases, context)
        updates = 2560 * 7 * 10
        assert said == [
            f"Training the CNN takes about {updates / 4 / 3600:.0f} h on 2 processors: "
            f"70 networks, {updates:,} updates of 0.5 s (measured now). "
            "What is stored is not trained again."
        ]
        eigenspace_time.announce([case for case in cases if case.model != "cnn"], context)
        eigenspace_time.announce(
            [replace(case, epochs=1, samples=128) for case in cases[-1:]], context
        )
        assert len(said) == 1
        eigenspace_time.announce([replace(case, device="cuda") for case in cases], context)
        assert "on the GPU" in said[1]


def test_an_update_is_timed_as_it_will_run():
    slow = replace(CNN, size=64, kernel=3, batch=24)
    fast, slow = (min(seconds_of_an_update(case) for _ in range(3)) for case in (CNN, slow))
    assert 1e-5 < fast < slow < 1


def test_a_gpu_is_used_only_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [device_of(name) for name in ("cpu", "auto")] == ["cpu", "cpu"]
    with pytest.raises(ValueError, match="device must be 'cpu' or 'auto' on a machine without"):
        device_of("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [device_of(name) for name in ("cpu", "auto", "cuda")] == ["cpu", "cuda", "cuda"]


def test_the_cnn_of_the_paper():
    config = Config.paper()
    assert (config.cnn_data, config.cnn_samples, config.cnn_batch) == ("cifar10", 8192, 128)
    assert (config.channels, config.kernel, config.cnn_depth) == (100, 6, 3)
    assert (config.cnn_epochs, config.cnn_rate, config.device) == (40, 1e-4, "auto")
    (case,) = [case for case in eigenspace._settings(config) if case.model == "cnn"]
    teacher, _ = runs_of(case)
    network = initial_network(replace(teacher, data=replace(teacher.data, name="digits")), IMAGES)
    assert sum(w.numel() for w in network.parameters()) == 100 * 108 + 2 * 360_100 + 16_010


@pytest.mark.gpu
def test_on_a_gpu():
    here = measure(replace(CNN, students=("student",)))
    there = measure(replace(CNN, students=("student",), device="cuda"))
    for name in ("displacements", "later_eigenvalues", "later_pairs"):
        np.testing.assert_allclose(there[name], here[name], rtol=0.02, atol=1e-3)
