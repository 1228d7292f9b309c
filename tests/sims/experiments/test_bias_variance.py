"""The bias-variance experiment: what it measures, how it corrects, and what it says."""

from dataclasses import replace

import numpy as np
import pytest

from sims.context import Context
from sims.experiments import bias_variance
from sims.experiments.bias_variance import Config, run, settings
from sims.parts import bias_variance_case as parts
from sims.parts.bias_variance_case import COUNTS, QUANTITIES, TOY, measure
from sims.parts.bias_variance_findings import findings
from theory.labels import divergences
from theory.labels.bias_variance import (
    heskes,
    nested_variance,
    regularization_samples,
    same_sign_samples,
)

CASE = replace(
    settings(Config.smoke())["digits"], epochs=12, learning_rate=1e-2, noise=0.2, teacher_epochs=10
)
COLUMN = {name: k for k, name in enumerate(QUANTITIES)}


@pytest.fixture(scope="module")
def result():
    with Context.plain() as context:
        return run(Config.smoke(), context)


@pytest.fixture(scope="module")
def trained():
    """The networks of `CASE`, trained as `measure` trains them, by condition."""
    tasks, target = parts._tasks(CASE)
    teachers = parts._teachers(CASE, tasks)
    watch = parts._Watch(CASE, tasks, target, teachers)
    students = parts._students(CASE, tasks, teachers, watch)
    every = [*teachers, *students]
    tests = parts._by_condition(CASE, [each.test_logits for each in every])
    trains = parts._by_condition(CASE, [each.train_logits for each in every])
    return tasks, target, tests, trains, watch.arrays()


def test_smoke_is_deterministic_and_finite(result):
    with Context.plain() as context:
        again = run(Config.smoke(), context)
    for name, array in result.arrays.items():
        np.testing.assert_array_equal(array, again.arrays[name], err_msg=name)
        if array.dtype.kind == "f":
            assert np.isfinite(array).all(), name
    assert again.findings == result.findings
    rows, temperatures = 6, 2
    assert result.array("estimate").shape == (rows, 3 + temperatures, len(QUANTITIES), 3)
    assert result.array("difference").shape == (rows, temperatures, len(QUANTITIES), 3)
    assert result.array("share").shape == (rows, temperatures, 5, len(COUNTS), 3)
    assert result.array("plane").shape == (rows, temperatures, 2, 2, 40)


def test_tables_are_the_decompositions_of_the_networks(trained):
    _, target, tests, _, _ = trained
    table = measure(CASE)["table"]
    assert table.shape == (5, 1 + CASE.draws, len(QUANTITIES))
    for row, logits in zip(table, tests, strict=True):
        for place, kept in enumerate([[0, 1, 2], [1, 2], [0, 2], [0, 1]]):
            some = logits[kept]
            whole = heskes(some.reshape(-1, *some.shape[2:]), target)
            nested = nested_variance(some)
            want = {
                "error": whole.error,
                "noise": whole.noise,
                "bias": whole.bias,
                "variance": whole.variance,
                "within": nested.within,
                "between": nested.between,
                "accuracy": some.argmax(-1) == target.argmax(-1),
            }
            for name, value in want.items():
                assert row[place, COLUMN[name]] == pytest.approx(np.mean(value), rel=1e-9), name


def test_the_path_ends_at_the_trained_networks(trained):
    _, target, tests, _, seen = trained
    assert seen["epochs"][-1] == CASE.epochs
    for path, logits in zip(seen["path"], tests[1:], strict=True):
        # float32 products of stacked and of single networks round differently
        want = parts.over_training(logits, target)
        np.testing.assert_allclose(path[-1], want, rtol=1e-4)


def test_samples_are_counted_as_theory_counts_them(trained):
    tasks, _, _, trains, seen = trained
    labels = np.stack([task.train_labels for task in tasks])[:, None]
    teachers = trains[0]
    for k, tau in enumerate(CASE.temperatures):
        students = trains[3 + k]
        want = [
            regularization_samples(students, teachers, labels, tau, name) for name in COUNTS[:3]
        ]
        want.append(same_sign_samples(students, teachers, labels, tau))
        shares = np.stack([mask.mean(axis=(1, 2)) for mask in want], axis=-1)
        # a sample on the boundary may fall on either side of it by float32 rounding
        np.testing.assert_allclose(seen["counts"][k, -1], shares, atol=0.02)
    assert not seen["counts"][CASE.temperatures.index(1.0), ..., COUNTS.index("same sign")].any()
    a, b = seen["plane"][:, -1, 0], seen["plane"][:, -1, 1]
    first = trains[3:], trains[0][0, 0], tasks[0].train_labels
    for k, tau in enumerate(CASE.temperatures):
        outweighed = np.abs(b[k]) > np.abs(a[k])
        counted = regularization_samples(first[0][k][0, 0], *first[1:], tau)
        assert (outweighed == counted).mean() > 0.95


def test_students_of_a_draw_differ_by_their_targets_only():
    from deep.training.fixed_targets.config import Supervision

    taught = Supervision(kind="teacher", temperature=4.0)
    direct = parts._run(CASE, 1, Supervision())
    others = [parts._run(CASE, 1, taught, pair) for pair in (2, 3)]
    for student in others:
        assert student.init_key == direct.init_key
        assert student.order_key == direct.order_key
    seeds = {parts._teacher_run(CASE, draw, t).seed for draw in range(3) for t in range(2)}
    assert len(seeds) == 6
    assert parts._run(CASE, 0, Supervision()).init_key != direct.init_key


def test_draws_of_the_data_differ(trained):
    tasks = trained[0]
    assert len({task.digest() for task in tasks}) == CASE.draws
    for task in tasks:
        assert (task.train_labels != task.true_labels).sum() == 0.2 * CASE.samples
        np.testing.assert_array_equal(task.test_inputs, tasks[0].test_inputs)


def test_noise_of_the_toy_is_the_entropy_of_its_posterior():
    case = replace(CASE, data=TOY, noise=0.0)
    tasks, target = parts._tasks(case)
    table = measure(case)["table"]
    noise = divergences.entropy(target).mean()
    np.testing.assert_allclose(table[..., COLUMN["noise"]], noise, rtol=1e-12)
    assert noise > 0.1
    assert len({task.digest() for task in tasks}) == case.draws


def test_smoothed_and_early_stopped_teachers_are_other_teachers():
    plain = measure(CASE)["table"][0, 0]
    smoothed = measure(replace(CASE, teacher_smoothing=0.3))["table"][0, 0]
    stopped = measure(replace(CASE, teacher_epochs=2))["table"][0, 0]
    assert len({float(row[0]) for row in (plain, smoothed, stopped)}) == 3


def test_errors_are_sums_and_differences_add_up(result):
    for name in ("estimate", "difference"):
        parts_of = {key: result.array(name)[:, :, k, 0] for key, k in COLUMN.items()}
        np.testing.assert_allclose(
            parts_of["error"],
            parts_of["noise"] + parts_of["bias"] + parts_of["variance"],
            rtol=1e-9,
            atol=1e-12,
        )
        np.testing.assert_allclose(
            parts_of["variance"], parts_of["within"] + parts_of["between"], rtol=1e-9, atol=1e-12
        )
    low, middle, high = np.moveaxis(result.array("estimate"), -1, 0)[[1, 0, 2]]
    assert (low <= middle).all()
    assert (middle <= high).all()


def test_variances_are_corrected_for_few_teachers_and_draws():
    """Logits with known variance over data and over teachers: the mean estimate is right."""
    rng = np.random.default_rng(0)
    samples, classes, data, teacher = 20, 4, 0.3, 0.2
    base = rng.standard_normal((samples, classes))
    target = np.full((samples, classes), 1 / classes)

    def networks(draws, teachers):
        over_data = data * rng.standard_normal((draws, 1, samples, classes))
        return base + over_data + teacher * rng.standard_normal((draws, teachers, samples, classes))

    many = nested_variance(networks(200, 100))
    found = np.mean(
        [
            bias_variance._intervals(
                bias_variance._corrected(parts._table(networks(6, 2), target)[None], 2)
            )[0, :, 0]
            for _ in range(60)
        ],
        axis=0,
    )
    assert found[COLUMN["within"]] == pytest.approx(many.within.mean(), rel=0.05)
    assert found[COLUMN["between"]] == pytest.approx(many.between.mean(), rel=0.08)


def made_up(variance, bias=0.1, counts=(0.2, 0.4)):
    """Arrays whose differences are given, with intervals of half-width 0.05."""
    rows, temperatures, draws = 6, 2, 5
    difference = np.zeros((rows, temperatures, len(QUANTITIES), 3))
    for name, value in (("variance", variance), ("bias", bias), ("error", variance + bias)):
        difference[:, :, COLUMN[name]] = value + np.array([0.0, -0.05, 0.05])
    estimate = np.full((rows, 3 + temperatures, len(QUANTITIES), 3), 0.5)
    share = np.zeros((rows, temperatures, 3, len(COUNTS), 3))
    by_draw = np.full((rows, temperatures, 3, draws, len(COUNTS)), counts[0])
    by_draw[[1, 3]] = counts[1]
    by_draw += 1e-3 * np.random.default_rng(0).standard_normal(by_draw.shape)
    return {
        "setting": np.array([f"setting {k}" for k in range(rows)]),
        "temperature": np.array([1.0, 4.0]),
        "quantity": np.array(QUANTITIES),
        "draws": np.array(draws),
        "difference": difference,
        "estimate": estimate,
        "share": share,
        "share_by_draw": by_draw,
    }


@pytest.mark.parametrize(
    ("variance", "holds", "says"),
    [
        (-0.2, True, "lower in 12, higher in 0 and undecided in 0 of 12"),
        (0.2, False, "does not hold everywhere"),
        (-0.01, None, "is undecided: "),
    ],
)
def test_the_headline_follows_the_intervals(variance, holds, says):
    first = findings(made_up(variance))[0]
    assert first.holds is holds
    assert says in first.text
    assert first.value == pytest.approx(variance)
    assert "setting 0" in first.text


def test_other_sentences_follow_the_arrays():
    every = findings(made_up(-0.2, bias=-0.3))
    assert every[1].holds is False
    assert "lower in 12" in every[2].text
    assert every[5].holds is True
    assert "makes more in 4" in every[5].text
    assert "make 100 to 100 %" in every[3].text
    fewer = findings(made_up(0.2, counts=(0.4, 0.2)))
    assert fewer[1].holds is True
    assert "In no case" in fewer[2].text
    assert fewer[5].holds is False


def test_an_early_moment_is_looked_at_however_few_there_are():
    for epochs, records in ((300, 3), (4, 3), (5, 1000), (100, 4)):
        case = replace(CASE, epochs=epochs, records=records)
        watch = parts._Watch(case, *_some(case))
        early, last = watch.moments
        assert 0 < early < last == epochs
        assert early in watch.epochs


def _some(case):
    tasks, target = parts._tasks(case)
    return tasks, target, parts._teachers(replace(case, teacher_epochs=1), tasks)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"data": "imagenet"}, "name of the image set|data must be one of"),
        ({"draws": 2}, "draws must be at least 3"),
        ({"teachers": 1}, "teachers must be at least 2"),
        ({"noise": 0.0}, "noise must be at least 0.001"),
        ({"temperatures": ()}, "temperatures must be different numbers"),
        ({"temperatures": (1.0, 1.0)}, "temperatures must be different numbers"),
        ({"temperatures": (0.0,)}, "temperatures must be different numbers"),
        ({"epochs": 1}, "epochs must be at least 4"),
        ({"learning_rate": 2.0}, "learning_rate must be at most 1"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_bad_configs_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        replace(Config.smoke(), **change)


def test_more_samples_than_there_are_are_refused_at_once():
    with Context.plain() as context, pytest.raises(ValueError, match="at most the 1442 that"):
        run(replace(Config.smoke(), samples=2000), context)
