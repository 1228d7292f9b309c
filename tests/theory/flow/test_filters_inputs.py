"""What filters take and refuse, and in which shapes they answer."""

import warnings

import numpy as np
import pytest

from tests.theory.flow import filter_cases as cases
from theory.flow.filters import (
    AffineTargets,
    DiscreteTrajectoryAverage,
    DistillThenLabels,
    Filter,
    FilterKD,
    Generations,
    GradientDescent,
    GradientFlow,
    InSteps,
    LabelsThenDistill,
    MeanTeacher,
    MemoryReplay,
    Mixed,
    MixedFixedPoint,
    Mixture,
    Parallel,
    Product,
    Ridge,
    RidgeRounds,
    Shrinkage,
    TrajectoryAverage,
)

EACH = [
    GradientFlow(2.0),
    Ridge(0.5),
    RidgeRounds((0.5, 2.0)),
    Generations((1.0, 2.0)),
    Generations((1.0, 2.0), 0.5),
    Mixed(1.0, 2.0, 0.5),
    MixedFixedPoint(1.0, 0.5),
    Shrinkage(1.0, 0.5, 2.0),
    TrajectoryAverage(1.0, 2.0),
    FilterKD(1.0, 2.0, 3.0),
    MeanTeacher(1.0, 2.0, 0.5),
    MemoryReplay(1.0, 3.5, 0.5),
    MemoryReplay(1.0, 3.5, 0.5, 3),
    MemoryReplay(0.01, 3.5, 0.5, 3),
    DistillThenLabels(1.0, 2.0, 3.0),
    DistillThenLabels(1.0, 2.0, 3.0, 0.5),
    LabelsThenDistill(1.0, 2.0, 3.0),
    LabelsThenDistill(1.0, 2.0, 0.3),
    LabelsThenDistill(1.0, 2.0, 3.0, 0.5),
    GradientDescent(0.1, 5),
    InSteps(GradientFlow(5.0), 0.01),
    GradientDescent(0.1, 5, 0.1),
    GradientDescent(0.02, 100, 0.1, nesterov=True),
    DiscreteTrajectoryAverage(0.1, 0.5, 5),
    GradientFlow(1.0) * Ridge(1.0),
    Parallel(GradientFlow(1.0), Ridge(1.0)),
    Mixture((GradientFlow(1.0), Ridge(1.0)), (0.5, 0.25)),
]


@pytest.mark.parametrize("filter", EACH, ids=str)
def test_every_view_keeps_the_shape_and_leaves_its_input_alone(filter):
    square = np.array([[0.0, 0.5, 1.0], [2.0, 3.0, 4.0]])
    kept = square.copy()
    for name in cases.VIEWS:
        view = getattr(filter, name)
        whole = view(square)
        assert whole.shape == (2, 3)
        assert whole.dtype == np.float64
        assert np.isfinite(whole).all()
        assert view([]).shape == (0,)
        assert view(np.ones((2, 0))).shape == (2, 0)
        for index, lam in np.ndenumerate(square):
            assert np.ndim(view(lam)) == 0
            np.testing.assert_allclose(view(lam), whole[index], rtol=1e-15)
        assert np.array_equal(view(square.T), whole.T)
        assert np.array_equal(view(square[:, ::-2]), whole[:, ::-2])
        assert np.array_equal(view([2, 3, 4]), whole[1])
        assert np.array_equal(view(square.astype(np.float32)), whole)
    assert np.array_equal(square, kept)


@pytest.mark.parametrize("filter", EACH, ids=str)
def test_long_spectra_are_worked_off_in_blocks(filter):
    lam = np.linspace(0.0, 4.0, 40_001)
    for name in cases.VIEWS:
        whole = getattr(filter, name)(lam)
        assert np.array_equal(whole[-7:], getattr(filter, name)(lam[-7:]))


@pytest.mark.parametrize("filter", EACH, ids=str)
def test_no_warning_escapes_at_any_magnitude(filter):
    lam = np.array([0.0, 5e-324, 1e-310, 1e-200, 1e-8, 1.0])
    if not isinstance(filter, (GradientDescent, DiscreteTrajectoryAverage, InSteps)):
        lam = np.append(lam, [1e8, 1e200, 1.7e308])
    with warnings.catch_warnings(), np.errstate(all="warn"):
        warnings.simplefilter("error")
        for name in cases.VIEWS:
            assert not np.isnan(getattr(filter, name)(lam)).any()


@pytest.mark.parametrize("filter", EACH, ids=str)
@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ([1.0, np.nan], "must be finite"),
        ([1.0, np.inf], "must be finite"),
        ([1.0, -1e-9], r"must be >= 0, got -1e-09"),
        (["one"], "must be an array of real numbers"),
        ([1j], "must be an array of real numbers"),
    ],
)
def test_bad_eigenvalues_are_refused(filter, bad, says):
    for name in cases.VIEWS:
        with pytest.raises(ValueError, match=f"^eigenvalues {says}"):
            getattr(filter, name)(bad)


TIME = [np.nan, -1.0, "soon", [1.0, 2.0], None]
WEIGHT = [np.nan, -0.1, 1.1, np.inf, "half", [0.5, 0.5]]
COUNT = [0.5, -1, np.nan, np.inf, "many", [1, 2]]
RATE = [np.nan, -1.0, "fast", [1.0]]
FINITE = [np.nan, -1.0, np.inf, "long"]

FIELDS = [
    (GradientFlow, {"time": 1.0}, {"time": TIME}),
    (Ridge, {"penalty": 1.0}, {"penalty": RATE}),
    (RidgeRounds, {"penalties": (1.0,)}, {"penalties": [[], [1.0, -1.0], [np.nan], [[1.0]], "x"]}),
    (
        Generations,
        {"times": (1.0, 2.0)},
        {
            "times": [[], [1.0, -1.0], [np.nan], [[1.0, 2.0]], "x"],
            "label_weights": [[0.1, 0.2, 0.3], [0.5, 1.5], [0.5, np.nan], -0.1, []],
        },
    ),
    (
        Mixed,
        {"student_time": 1.0, "teacher_time": 1.0, "label_weight": 0.5},
        {"student_time": TIME, "teacher_time": TIME, "label_weight": WEIGHT},
    ),
    (
        MixedFixedPoint,
        {"time": 1.0, "label_weight": 0.5},
        {"time": TIME, "label_weight": WEIGHT},
    ),
    (
        Shrinkage,
        {"label_weight": 1.0, "zero_weight": 1.0, "time": 1.0},
        {"label_weight": FINITE, "zero_weight": FINITE, "time": TIME},
    ),
    (TrajectoryAverage, {"rate": 1.0, "time": 1.0}, {"rate": RATE, "time": TIME}),
    (
        FilterKD,
        {"student_time": 1.0, "rate": 1.0, "teacher_time": 1.0},
        {"student_time": TIME, "rate": RATE, "teacher_time": TIME},
    ),
    (
        MeanTeacher,
        {"rate": 1.0, "time": 1.0, "label_weight": 0.5},
        {"rate": RATE, "time": TIME, "label_weight": WEIGHT},
    ),
    (
        MemoryReplay,
        {"interval": 1.0, "time": 1.0, "copy_weight": 0.5},
        {"interval": [*RATE, 0.0], "time": TIME, "copy_weight": WEIGHT, "copies": [0, *COUNT]},
    ),
    *(
        (
            kind,
            {"switch_time": 1.0, "time": 2.0, "teacher_time": 1.0},
            {"switch_time": TIME, "time": TIME, "teacher_time": TIME, "window": FINITE},
        )
        for kind in (DistillThenLabels, LabelsThenDistill)
    ),
    (
        GradientDescent,
        {"step_size": 0.1, "steps": 3},
        {
            "step_size": FINITE,
            "steps": COUNT,
            "momentum": [*WEIGHT, 1.0],
            "start": ["", "Torch", None, 1],
        },
    ),
    (
        DiscreteTrajectoryAverage,
        {"step_size": 0.1, "smoothing": 0.5, "epochs": 3},
        {"step_size": FINITE, "smoothing": WEIGHT, "epochs": COUNT},
    ),
    (AffineTargets, {"scale": 1.0, "shift": 0.0}, {"scale": [np.nan, np.inf], "shift": [np.nan]}),
]
BAD = [
    pytest.param(kind, {**good, name: value}, name, id=f"{kind.__name__}-{name}-{value}")
    for kind, good, fields in FIELDS
    for name, values in fields.items()
    for value in values
]


@pytest.mark.parametrize(("kind", "arguments", "name"), BAD)
def test_bad_arguments_are_refused_by_name(kind, arguments, name):
    with pytest.raises(ValueError, match=rf"^{name} must "):
        kind(**arguments)


def test_every_filter_is_covered_by_these_tests():
    public = {
        kind
        for kind in vars(__import__("theory.flow.filters", fromlist=["x"])).values()
        if isinstance(kind, type) and issubclass(kind, Filter)
    }
    named = {kind.__name__ for kind in public}
    covered = {type(filter).__name__ for filter in EACH}
    assert named - covered == {"Filter", "Learned"}


@pytest.mark.parametrize(
    ("kind", "arguments", "says"),
    [
        (Product, ((),), "^filters must "),
        (Product, ((GradientFlow(1.0), 2.0),), "^filters must "),
        (Parallel, (GradientFlow(1.0), None), "^first and second must "),
        (Mixture, ((), ()), "^filters must "),
        (Mixture, ((GradientFlow(1.0),), (0.5, 0.5)), "^weights must be one for each of 1"),
        (Mixture, ((GradientFlow(1.0), Ridge(1.0)), (0.6, 0.6)), "sum of at most 1"),
        (Mixture, ((GradientFlow(1.0),), (-0.5,)), r"^weights must be in \[0, 1\]"),
        (AffineTargets.smoothing, (1.5, 10), "^epsilon must be in"),
        (AffineTargets.smoothing, (0.1, 1), "^classes must be an integer >= 2"),
        (AffineTargets.corrected, (0.1, 2.5), "^classes must be an integer >= 2"),
        (AffineTargets.corrected, (1.1, 3), "^mass must be in"),
        (AffineTargets.corrected, (0.9, 3, -1.0), "^weight must be in"),
    ],
)
def test_bad_combinations_are_refused(kind, arguments, says):
    with pytest.raises(ValueError, match=says):
        kind(*arguments)


def test_multiplying_by_something_else_is_a_type_error():
    with pytest.raises(TypeError, match="unsupported operand"):
        GradientFlow(1.0) * 2.0


@pytest.mark.parametrize(
    ("filter", "bound"),
    [
        (GradientDescent(0.5, 3), 4.0),
        (GradientDescent(0.5, 3, 0.5), 6.0),
        (GradientDescent(0.5, 3, 0.5, nesterov=True), 3.0),
        (GradientDescent(0.5, 3, 0.5, nesterov=True, start="textbook"), 3.0),
        (DiscreteTrajectoryAverage(0.5, 0.5, 3), 4.0),
    ],
    ids=str,
)
def test_divergence_is_refused_with_the_largest_step(filter, bound):
    filter.gain([0.0, 0.999 * bound])
    with pytest.raises(ValueError, match=r"^step_size must stay below .* diverges$") as refused:
        filter.gain([0.1, bound])
    assert f"{0.5:.6g} for the largest eigenvalue {bound:.6g}" in str(refused.value)
    for part in (filter * Ridge(1.0), Parallel(Ridge(1.0), filter), Mixture((filter,), (0.5,))):
        for name in cases.VIEWS:
            with pytest.raises(ValueError, match="diverges"):
                getattr(part, name)(1.1 * bound)


@pytest.mark.parametrize("mu", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
def test_the_largest_step_is_where_the_iteration_begins_to_diverge(mu, nesterov):
    bound = GradientDescent(1.0, 1, mu, nesterov).largest_step
    inside, outside = bound * 0.999, bound * 1.001

    def error(x):
        before, now = 1.0, 1 - (1 + mu) * x if nesterov else 1 - x
        for _ in range(20_000):
            after = (
                (1 - x) * ((1 + mu) * now - mu * before)
                if nesterov
                else ((1 + mu - x) * now - mu * before)
            )
            before, now = now, after
        return abs(now)

    assert error(inside) < 1e-3
    assert not error(outside) < 1e3


def test_whole_floats_count_and_integers_are_times():
    assert GradientDescent(0.1, 3.0).steps == 3
    assert GradientFlow(2).time == 2.0
    assert Generations(3.0).times == (3.0,)
    assert Generations(np.array([1, 2]), 0.5).label_weights == (0.5, 0.5)


def test_filters_are_values():
    assert GradientFlow(1.0) == GradientFlow(1)
    assert len({Mixed(1.0, 2.0, 0.5), Mixed(1.0, 2.0, 0.5)}) == 1
    assert (Ridge(1.0) * Ridge(2.0)).filters == (Ridge(1.0), Ridge(2.0))
