"""Figures and tables of predicted networks: nothing twice, nothing hidden, words by the numbers."""

from dataclasses import replace

import numpy as np
import pytest

import figures
from figures import _predictions, prediction_differences, prediction_motion, rendering, style
from figures.report import predictions
from sims.parts.prediction_statistics import STATISTICS

NAME = "prediction_meets_network"


@pytest.fixture(scope="module")
def smoke(stored):
    return stored[NAME]


@pytest.fixture
def told_apart(smoke):
    """The same result with pairs of methods tested, as with many seeds."""
    column = STATISTICS.index("concordance")
    changed = dict(smoke.arrays)
    for name in ("table", "scale_table"):
        changed[name] = changed[name].copy()
        changed[name][..., column, 0] = 0.875
    return replace(smoke, arrays=changed)


def legend(canvas):
    return [text.get_text() for text in canvas.legends[0].get_texts()]


def markers(panel, role):
    """Points of the markers of a role."""
    lines = [
        line
        for line in panel.lines
        if line.get_marker() == role.marker and line.get_markeredgecolor() == role.color
    ]
    return np.concatenate([np.stack(line.get_data(), axis=1) for line in lines])


def test_the_main_picture_says_what_lines_and_markers_are(drawn):
    found = legend(drawn[NAME])
    assert {"line: closed form", "marker: network"} <= set(found)
    assert "teacher, then labels" in found


def test_methods_are_named_as_the_result_names_them(smoke):
    labels = np.array([f"method {k}" for k in range(10)])
    changed = replace(smoke, arrays=dict(smoke.arrays) | {"method_labels": labels})
    assert _predictions.roles(changed)["labels"].label == "method 0"
    assert "method 7" in prediction_differences.CAPTION(changed)


def test_measurements_stand_at_their_steps(smoke, drawn):
    for panel in drawn[NAME].axes[1:]:
        x = markers(panel, _predictions.roles(smoke)["student"])[:, 0]
        np.testing.assert_array_equal(x, smoke.array("reads"))


def test_no_difference_is_drawn_twice(smoke, drawn):
    accuracy, _, risk = drawn["prediction_differences"].axes
    counted = smoke.array("counted")
    apart = list(smoke.array("methods")).index("memory_replay")
    for role in (prediction_differences.OWN, prediction_differences.TRACE):
        assert len(markers(accuracy, role)) == counted[1:].sum()
        points = markers(risk, role)
        assert len(points) == counted[1:].sum() - counted[apart].sum()
        left_out = smoke.array("difference")[0, apart, -1, 2, 0]
        assert not np.isclose(points[:, 1], left_out).any()


def test_captions_promise_no_interval_that_is_not_there(smoke):
    every = figures.of(NAME)
    assert not any("95 %" in figure.caption(smoke) for figure in every)
    changed = dict(smoke.arrays)
    for name in ("difference", "level", "scale_error"):
        changed[name] = np.nan_to_num(changed[name], nan=0.5)
    said = [
        figure.name for figure in every if "95 %" in figure.caption(replace(smoke, arrays=changed))
    ]
    assert said == [NAME, "prediction_differences", "prediction_limits"]


def test_the_order_is_drawn_where_pairs_are_tested(smoke, told_apart):
    assert prediction_motion.PANELS(smoke) == (1, 2)
    assert "ordered right" not in prediction_motion.CAPTION(smoke).replace("orders", "ordered")
    canvas = rendering.canvas("prediction_motion", told_apart)
    *_, panel = canvas.axes
    assert len(canvas.axes) == 3
    assert "the share that the prediction orders right" in prediction_motion.CAPTION(told_apart)
    # a squared and a cross-entropy network filled, one other scale open, for two quantities
    filled = [line for line in panel.lines if line.get_markerfacecolor() != "white"]
    hollow = [line for line in panel.lines if line.get_markerfacecolor() == "white"]
    assert [len(line.get_xdata()) for line in filled] == [2, 2]
    assert [len(line.get_xdata()) for line in hollow] == [1, 1]
    assert hollow[0].get_xdata()[0] == smoke.array("scale_movement")[1, 1]


def test_slopes_are_drawn_against_their_prediction(smoke, drawn):
    panel = drawn["prediction_motion"].axes[0]
    mask = smoke.array("counted").copy()
    mask[0] = False
    measured, said = (smoke.array("slope")[0, side][mask][:, 0] for side in (0, 1))
    points = next(line for line in panel.lines if line.get_marker() == "o")
    np.testing.assert_array_equal(points.get_xdata(), said)
    np.testing.assert_array_equal(points.get_ydata(), measured)


def test_the_yardstick_is_seen_and_like_the_bars(smoke, drawn):
    panel = drawn["prediction_limits"].axes[2]
    line = next(line for line in panel.lines if line.get_linestyle() == "--")
    assert line.get_xdata()[0] == smoke.array("yardstick")[0, 0, 0]
    assert line.get_zorder() > max(patch.get_zorder() for patch in panel.patches)
    assert line.get_color() == style.INK


def test_scale_labels_stay_in_their_panel(drawn):
    canvas = drawn["prediction_limits"]
    panel, renderer = canvas.axes[1], canvas.canvas.get_renderer()
    box = panel.get_window_extent(renderer)
    for text in panel.texts:
        own = text.get_window_extent(renderer)
        assert box.x0 <= own.x0
        assert own.x1 <= box.x1
        assert own.y1 <= box.y1
    assert panel.get_ylabel()


@pytest.mark.parametrize(("value", "shown"), [(-0.284, "−0.28"), (-0.001, "0.00"), (1.5, "1.50")])
def test_numbers(value, shown):
    assert _predictions.number(value) == shown


def test_ticks_in_percent(drawn):
    panel = drawn["prediction_differences"].axes[0]
    shown = panel.yaxis.get_major_formatter()
    assert [shown(value, 0) for value in (-0.02, -1e-17, 0.025)] == ["−2%", "0%", "2.5%"]


def test_the_report_tells_the_closed_forms(smoke, stored):
    (title, table), (_, symbols) = predictions.tables_of(smoke)
    assert "full kernel" in title
    assert [row[0] for row in table.rows] == list(smoke.array("method_labels"))
    assert [row[1] for row in table.rows] == list(smoke.array("sources"))
    assert [row[2] for row in table.rows] == list(smoke.array("formulas"))
    error = smoke.array("error_path")[0, 0, 1][smoke.array("late"), 0]
    assert table.rows[1][3] == f"{100 * np.median(error):.1f} %"
    assert ("T", "steps of the teacher: 8") in symbols.rows
    assert predictions.tables_of(stored["eigenspace"]) == ()
