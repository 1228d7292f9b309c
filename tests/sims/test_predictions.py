"""Closed forms of methods: against each method carried out step by step on one direction."""

from dataclasses import replace

import numpy as np
import pytest

from sims import predictions
from sims.predictions import METHODS, Lengths, method

LENGTHS = Lengths.of(64)
RATES = np.array([1e-9, 1e-3, 0.1, 0.5, 0.9])


def carried_out(name, x, steps, long=LENGTHS):
    """What a method has learned of a label 1 after steps of size times eigenvalue x, in a loop."""

    def toward(targets, start=0.0):
        path = [start]
        for target in targets:
            path.append(path[-1] + x * (target - path[-1]))
        return path

    labels = toward([1.0] * long.steps)
    teacher, late = labels[long.teacher], labels[long.late]
    if name == "memory_replay":
        now = copy = 0.0
        for step in range(steps):
            copy = now if step % long.interval == 0 else copy
            now += x * ((1 - long.copy_weight) + long.copy_weight * copy - now)
        return now
    average = 0.0
    for output in labels[:-1]:
        average = (1 - long.smoothing) * average + long.smoothing * output
    switches = {"distill_then_labels": (teacher, 1.0), "labels_then_distill": (1.0, teacher)}
    target = {
        "labels": 1.0,
        "smoothing": 1.0,
        "student": teacher,
        "late_student": late,
        "generations": toward([teacher] * long.teacher)[-1],
        "filter_kd": average,
        "mixed": long.label_weight + (1 - long.label_weight) * teacher,
    }
    first, then = switches[name] if name in switches else (target[name],) * 2
    return toward([first if step < long.switch else then for step in range(steps)])[steps]


@pytest.mark.parametrize("name", predictions.names())
@pytest.mark.parametrize("steps", [0, 1, 3, 4, 5, 15, 16, 17, 40, 64])
def test_closed_form_is_the_method_carried_out(name, steps):
    one = method(name)
    for size in (1.0, 0.3):
        found = one.descent(LENGTHS, steps, size).gain(RATES / size)
        want = [carried_out(name, x, steps) for x in RATES]
        np.testing.assert_allclose(found, want, rtol=3e-13, atol=1e-300)


@pytest.mark.parametrize("name", predictions.names())
def test_small_steps_tend_to_the_flow(name):
    """A first-order scheme: the difference from the flow falls with the step."""
    one, lam = method(name), np.array([0.01, 0.05, 0.2])
    apart = []
    for finer in (1, 4):
        long = Lengths.of(64 * finer)
        descent = one.descent(long, 48 * finer, 1 / finer).gain(lam)
        flow = one.flow(long, 48 * finer).gain(lam / finer)
        apart.append(np.abs(descent - flow).max())
    assert apart[1] < 0.3 * apart[0]
    assert apart[1] < 0.02


def test_only_smoothing_changes_the_targets():
    labels = np.eye(4)[[0, 2]]
    for one in METHODS:
        changed = one.targets(labels, LENGTHS)
        if one.name == "smoothing":
            np.testing.assert_allclose(changed, 0.8 * labels + 0.05)
        else:
            assert changed is labels


def test_before_it_switches_a_method_is_another():
    for switching, other in (("distill_then_labels", "student"), ("labels_then_distill", "labels")):
        for steps in (3, LENGTHS.switch):
            gains = [
                method(name).descent(LENGTHS, steps, 0.5).gain([1.0]) for name in (switching, other)
            ]
            assert gains[0] == pytest.approx(gains[1], rel=1e-14)


def test_every_method_says_where_it_comes_from():
    known = ("Ren 2022", "Zhou 2021", "Zhang 2020", "Wang 2020", "Nagarajan 2023")
    for one in METHODS:
        assert any(paper in one.source for paper in known), one.name


def test_labels_then_ones_own_outputs_is_labels_until_the_switch():
    """The teacher stops at the switch: what is learned by then stays."""
    long = replace(LENGTHS, teacher=LENGTHS.switch)
    want = method("labels").descent(long, long.switch, 0.5).gain(RATES)
    for steps in (long.switch, 40, 64):
        found = method("labels_then_distill").descent(long, steps, 0.5).gain(RATES)
        np.testing.assert_allclose(found, want, rtol=1e-13)


def test_bad_input_is_refused_by_name():
    with pytest.raises(ValueError, match=r"no closed form .* 'beta'; .* labels, student"):
        method("beta")
    with pytest.raises(ValueError, match="multiple of 16, got 17"):
        Lengths.of(17)
