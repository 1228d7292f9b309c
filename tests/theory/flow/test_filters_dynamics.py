"""Filters against what they stand for: integrated flows, loops of steps, torch's optimizer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import reference
from theory.flow.filters import (
    DiscreteTrajectoryAverage,
    DistillThenLabels,
    FilterKD,
    Generations,
    GradientDescent,
    GradientFlow,
    LabelsThenDistill,
    MeanTeacher,
    MemoryReplay,
    Mixed,
    MixedFixedPoint,
    Ridge,
    Shrinkage,
    TrajectoryAverage,
)

LAM = np.array([0.0, 0.02, 0.3, 0.31, 1.0, 4.0])
NOTHING, LABEL = np.zeros_like(LAM), np.ones_like(LAM)


def integrate(slope, state, begin, end):
    """The state at ``end`` of a flow on a few values per mode, stacked in rows."""
    from scipy.integrate import solve_ivp

    if end <= begin:
        return state
    solution = solve_ivp(
        lambda u, flat: np.ravel(slope(u, flat.reshape(state.shape))),
        (begin, end),
        np.ravel(state),
        method="DOP853",
        rtol=1e-11,
        atol=1e-13,
    )
    assert solution.success
    return solution.y[:, -1].reshape(state.shape)


def follow(target, time, start=NOTHING):
    """Outputs after training on a fixed target."""
    return integrate(lambda _, z: LAM * (target - z), start, 0.0, time)


def average_of(rate, time):
    """The average of the outputs along training on the labels."""
    state = np.array([NOTHING, NOTHING])
    return integrate(
        lambda _, s: np.array([LAM * (1 - s[0]), rate * (s[0] - s[1])]), state, 0.0, time
    )[1]


def generations(times, weights=None):
    outputs = LABEL
    for time, weight in zip(times, weights or (0.0,) * len(times), strict=True):
        outputs = mixed(weight, outputs, time)
    return outputs


def switched(f, first, second):
    """From one target to another, at once or by a linear change."""

    def ramp(u, z):
        mix = (u - f.switch_time) / f.window
        return LAM * ((1 - mix) * first + mix * second - z)

    begin, end = min(f.switch_time, f.time), min(f.switch_time + f.window, f.time)
    outputs = integrate(ramp, follow(first, begin), begin, end)
    return follow(second, f.time - end, outputs)


def replayed(f):
    outputs, copies, now = NOTHING, [NOTHING] * f.copies, 0.0
    while now < f.time:
        stop = min(now + f.interval, f.time)
        target = (1 - f.copy_weight) + f.copy_weight * np.mean(copies, axis=0)
        outputs = follow(target, stop - now, outputs)
        copies, now = [outputs, *copies[:-1]], stop
    return outputs


def mean_teacher(f):
    def slope(_, s):
        target = f.label_weight + (1 - f.label_weight) * s[1]
        return np.array([LAM * (target - s[0]), f.rate * (s[0] - s[1])])

    return integrate(slope, np.array([NOTHING, NOTHING]), 0.0, f.time)[0]


def shrunk(f):
    return integrate(
        lambda _, z: LAM * (f.label_weight * (1 - z) - f.zero_weight * z), NOTHING, 0.0, f.time
    )


def settled(f):
    outputs = LABEL
    for _ in range(40):  # (1 - alpha)^40 is 1e-12
        outputs = mixed(f.label_weight, outputs, f.time)
    return outputs


def mixed(weight, teacher, time):
    return follow(weight + (1 - weight) * teacher, time)


INTEGRATED = {
    GradientFlow: lambda f: follow(LABEL, f.time),
    Generations: lambda f: generations(f.times, f.label_weights),
    Mixed: lambda f: mixed(f.label_weight, follow(LABEL, f.teacher_time), f.student_time),
    MixedFixedPoint: settled,
    TrajectoryAverage: lambda f: average_of(f.rate, f.time),
    FilterKD: lambda f: follow(average_of(f.rate, f.teacher_time), f.student_time),
    DistillThenLabels: lambda f: switched(f, follow(LABEL, f.teacher_time), LABEL),
    LabelsThenDistill: lambda f: switched(f, LABEL, follow(LABEL, f.teacher_time)),
    MemoryReplay: replayed,
    MeanTeacher: mean_teacher,
    Shrinkage: shrunk,
}
FLOWS = [
    GradientFlow(2.5),
    Generations((1.0, 3.0, 0.5)),
    Generations((1.0, 3.0, 0.5), (0.9, 0.25, 0.5)),
    Generations((2.0,) * 6, 0.3),
    Mixed(2.0, 3.0, 0.3),
    MixedFixedPoint(2.0, 0.5),
    TrajectoryAverage(0.3, 4.0),
    TrajectoryAverage(2.0, 4.0),
    FilterKD(2.0, 0.7, 3.0),
    DistillThenLabels(1.0, 3.0, 2.0),
    DistillThenLabels(1.0, 3.0, 2.0, 0.5),
    DistillThenLabels(1.0, 3.0, 2.0, 5.0),
    LabelsThenDistill(1.0, 3.0, 2.0),
    LabelsThenDistill(2.0, 3.0, 0.5),
    LabelsThenDistill(1.0, 3.0, 2.0, 0.5),
    LabelsThenDistill(1.0, 3.0, 2.0, 5.0),
    MemoryReplay(0.7, 3.0, 0.6),
    MemoryReplay(0.7, 3.0, 0.6, 3),
    MemoryReplay(5.0, 3.0, 0.6, 2),
    MeanTeacher(0.3, 4.0, 0.4),
    MeanTeacher(2.0, 4.0, 0.4),
    Shrinkage(0.8, 0.3, 2.0),
]


@pytest.mark.parametrize("filter", FLOWS, ids=str)
def test_filters_are_what_the_flow_has_learned(filter):
    np.testing.assert_allclose(
        filter.gain(LAM), INTEGRATED[type(filter)](filter), rtol=0, atol=1e-9
    )


def test_switches_from_other_initial_outputs_learn_the_displacement():
    """With initial outputs f0, outputs are f0 + g (label - f0): here of a student and teacher."""
    start, label = 0.4, 1.0
    teacher = follow(np.full_like(LAM, label), 2.0, np.full_like(LAM, start))
    student = follow(teacher, 1.5, np.full_like(LAM, start))
    gain = (GradientFlow(1.5) * GradientFlow(2.0)).gain(LAM)
    np.testing.assert_allclose(student, start + gain * (label - start), rtol=0, atol=1e-9)


def test_ridge_minimizes_its_loss_and_mixes_flows():
    from scipy.integrate import quad

    penalty = 0.7
    for lam in (0.05, 1.0, 8.0):
        gain = float(Ridge(penalty).gain(lam))
        assert abs(lam * (gain - 1) + penalty * gain) < 1e-14
        mixed, _ = quad(
            lambda s, lam=lam: penalty * np.exp(-penalty * s) * -np.expm1(-lam * s), 0, np.inf
        )
        assert abs(gain - mixed) < 1e-9


def modes():
    return st.lists(st.floats(0.01, 1.0), min_size=1, max_size=4).map(np.array)


@given(lam=modes(), step=st.floats(0.01, 1.9), steps=st.integers(0, 200))
def test_gradient_descent_is_a_loop(lam, step, steps):
    outputs = reference.gradient_descent(
        np.diag(np.sqrt(lam)), np.ones_like(lam), step, steps, np.zeros_like(lam)
    )
    learned = np.sqrt(lam) * outputs  # predictions of labels 1
    np.testing.assert_allclose(GradientDescent(step, steps).gain(lam), learned, atol=1e-13)


@given(
    lam=modes(), step=st.floats(0.01, 1.0), steps=st.integers(0, 200), momentum=st.floats(0.0, 0.95)
)
def test_p52_heavy_ball_is_a_loop_and_without_momentum_plain_descent(lam, step, steps, momentum):
    path = reference.heavy_ball(lam, np.ones_like(lam), step, momentum, steps)
    got = GradientDescent(step, steps, momentum).gain(lam)
    np.testing.assert_allclose(got, path[-1], atol=1e-12)
    tiny = GradientDescent(step, steps, 1e-200).gain(lam)
    np.testing.assert_allclose(tiny, GradientDescent(step, steps).gain(lam), atol=1e-13)


@given(lam=modes(), step=st.floats(0.01, 1.0), steps=st.integers(1, 60), mu=st.floats(0.0, 0.95))
def test_nesterov_from_the_textbook_is_a_loop(lam, step, steps, mu):
    outputs = before = np.zeros_like(lam)
    for _ in range(steps):
        ahead = outputs + mu * (outputs - before)
        before, outputs = outputs, ahead - step * lam * (ahead - 1)
    got = GradientDescent(step, steps, mu, nesterov=True, start="textbook").gain(lam)
    np.testing.assert_allclose(got, outputs, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}])
@pytest.mark.parametrize("steps", [1, 2, 3, 40, 100])
def test_torch_takes_the_same_steps(options, steps):
    torch = pytest.importorskip("torch")
    lam = torch.tensor([0.01, 0.1, 0.5, 1.0], dtype=torch.float64)
    outputs = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([outputs], lr=0.7, **options)
    for _ in range(steps):
        optimizer.zero_grad()
        (lam * (outputs - 1) ** 2 / 2).sum().backward()
        optimizer.step()
    got = GradientDescent(0.7, steps, **options).gain(lam.numpy())
    np.testing.assert_allclose(got, outputs.detach().numpy(), rtol=0, atol=1e-13)


def test_the_two_starts_of_nesterov():
    for start, gain in (("torch", 0.672679), ("textbook", 0.4824)):
        got = GradientDescent(0.1, 3, 0.9, nesterov=True, start=start).gain(1.0)
        assert abs(got - gain) < 5e-5


@given(lam=modes(), step=st.floats(0.01, 1.9), a=st.floats(0, 1), epochs=st.integers(0, 60))
def test_discrete_average_is_algorithm_1(lam, step, a, epochs):
    outputs, average = np.zeros_like(lam), np.zeros_like(lam)
    for _ in range(epochs):
        average = (1 - a) * average + a * outputs  # the prediction before the update
        outputs = outputs - step * lam * (outputs - 1)
    got = DiscreteTrajectoryAverage(step, a, epochs)
    np.testing.assert_allclose(got.gain(lam), average, atol=1e-13)
    np.testing.assert_allclose(got.shortfall(lam), 1 - average, atol=1e-13)


def steps_towards(target, outputs, step, count):
    for _ in range(count):
        outputs = outputs + step * LAM * (target - outputs)
    return outputs


def descend_filter_kd(f, step):
    outputs = average = NOTHING
    for _ in range(round(f.teacher_time / step)):
        average = average + step * f.rate * (outputs - average)
        outputs = outputs + step * LAM * (1 - outputs)
    return steps_towards(average, NOTHING, step, round(f.student_time / step))


def descend_replay(f, step):
    outputs, copies = NOTHING, [NOTHING] * f.copies
    every, total = round(f.interval / step), round(f.time / step)
    for done in range(0, total, every):
        target = (1 - f.copy_weight) + f.copy_weight * np.mean(copies, axis=0)
        outputs = steps_towards(target, outputs, step, min(every, total - done))
        copies = [outputs, *copies[:-1]]
    return outputs


def descend_switch(f, step):
    teacher = steps_towards(LABEL, NOTHING, step, round(f.teacher_time / step))
    outputs = steps_towards(teacher, NOTHING, step, round(f.switch_time / step))
    return steps_towards(LABEL, outputs, step, round((f.time - f.switch_time) / step))


@pytest.mark.parametrize(
    ("filter", "descend"),
    [
        (FilterKD(2.0, 0.5, 3.0), descend_filter_kd),
        (MemoryReplay(0.5, 2.25, 0.6, 3), descend_replay),
        (DistillThenLabels(1.0, 2.0, 1.5), descend_switch),
    ],
)
def test_small_steps_converge_to_the_flow_at_first_order(filter, descend):
    sizes = 0.25 / np.array([32, 64, 128, 256])
    errors = [np.abs(descend(filter, step) - filter.gain(LAM)).max() for step in sizes]
    assert errors[-1] < 1e-3
    assert abs(reference.slope(np.log(sizes), np.log(errors)) - 1) < 0.05


def test_discrete_average_of_small_steps_is_that_of_the_flow():
    sizes = 1.0 / np.array([50, 100, 200, 400])
    errors = []
    for step in sizes:
        got = DiscreteTrajectoryAverage(step, 0.6 * step, round(3 / step)).gain(LAM)
        errors.append(np.abs(got - TrajectoryAverage(0.6, 3.0).gain(LAM)).max())
    assert abs(reference.slope(np.log(sizes), np.log(errors)) - 1) < 0.05
