"""Figures and table of the benchmark: every row in its place, nothing hidden, nothing made up."""

from dataclasses import replace

import numpy as np
import pytest

import figures
from figures import _benchmark, benchmark_accuracy, benchmark_course, rendering, style
from figures.report import benchmark, page
from tests import made_benchmark as made

NAMES = ("benchmark_accuracy", "benchmark_course")


@pytest.fixture(scope="module")
def result():
    return made.result()


@pytest.fixture(scope="module")
def accuracy(result):
    return rendering.canvas("benchmark_accuracy", result)


@pytest.fixture(scope="module")
def course(result):
    return rendering.canvas("benchmark_course", result)


def rows_of(panel):
    """Labels of the rows from top to bottom."""
    pairs = zip(panel.get_yticks(), panel.get_yticklabels(), strict=True)
    return [text.get_text() for _, text in sorted(pairs, key=lambda pair: -pair[0])]


def test_rows_go_from_the_most_accurate_down(result, accuracy):
    labels = rows_of(accuracy.axes[0])
    assert labels[0] == "true law of the label"
    assert labels[-2:] == ["one-hot labels", "masked KD, detached"]
    level = dict(zip(result.array("label"), result.array("test_accuracy_mean")[:, 0], strict=True))
    assert sorted(labels, key=lambda label: -level[label]) == labels


def test_dots_are_the_means_of_their_rows(result, accuracy):
    names = ("test_accuracy", "train_memorized", "test_ece_15")
    order = _benchmark.order(result)
    places = {int(row): len(order) - 1 - place for place, row in enumerate(order)}
    for panel, name in zip(accuracy.axes, names, strict=True):
        for row, mean in enumerate(result.array(f"{name}_mean")[:, 0]):
            role = _benchmark.role(result, row)
            dots = [
                line
                for line in panel.lines
                if line.get_marker() == role.marker
                and line.get_markerfacecolor() == role.color
                and list(line.get_ydata()) == [places[row]]
            ]
            assert len(dots) == (row != made.LOST)
            for dot in dots:
                assert dot.get_xdata()[0] == mean


def test_what_does_not_learn_is_told_at_the_side(accuracy):
    panel = accuracy.axes[0]
    assert [text.get_text() for text in panel.texts] == ["◂ 10%"]
    assert panel.get_xlim()[0] > 0.8


def test_labels_alone_and_the_teacher_are_lines(result, accuracy):
    panel = accuracy.axes[0]
    own = result.array("test_accuracy_mean")[made.BASELINE, 0]
    lines = [line for line in panel.lines if len(line.get_xdata()) == 2]
    upright = {
        line.get_xdata()[0]: line.get_linestyle()
        for line in lines
        if line.get_xdata()[0] == line.get_xdata()[1]
    }
    assert set(upright) == {own, 0.925}
    assert len(set(upright.values())) == 2
    bold = [text.get_text() for text in panel.get_yticklabels() if text.get_fontweight() == "bold"]
    assert bold == ["one-hot labels"]


def test_the_height_goes_with_the_rows(result):
    short = replace(result, arrays=dict(result.arrays) | {"label": result.array("label")[:4]})
    assert benchmark_accuracy.SIZE(short)[1] < benchmark_accuracy.SIZE(result)[1]


def test_the_course_shows_chosen_methods_and_others_in_place_of_missing_ones(result, course):
    shown = {str(result.array("label")[row]) for row in benchmark_course.shown(result)}
    assert {"one-hot labels", "true law of the label", "KD", "Filter-KD"} < shown
    assert len(shown) == 6
    said = {text.get_text() for text in course.legends[0].get_texts()}
    assert said == shown | {"teacher"}
    lines = [line for line in course.axes[1].lines if len(line.get_xdata()) == made.EPOCHS]
    assert len(lines) == 6
    assert len({(line.get_color(), str(line._dash_pattern)) for line in lines}) == 6


def test_regularization_samples_are_of_methods_with_a_teacher(result, course):
    panel = course.axes[2]
    assert len(panel.lines) == 2  # KD and Filter-KD
    assert panel.lines[0].get_ydata()[-1] == pytest.approx(200 / 540)
    alone = dict(result.arrays)
    alone["course_regularization_samples"] = np.full((8, 5, made.EPOCHS), np.nan)
    canvas = rendering.canvas("benchmark_course", replace(result, arrays=alone))
    assert [text.get_text() for text in canvas.axes[2].texts] == ["no method here has a teacher"]


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("spread", [0.0, 0.05])
def test_few_seeds_are_drawn(seeds, spread):
    result = made.result(seeds, spread=spread)
    for name in NAMES:
        assert rendering.canvas(name, result).axes
        assert figures.get(name).caption(result)


def test_the_table_has_every_row_and_the_teacher(result):
    (title, table), (_, further), (_, meanings) = benchmark.tables_of(result)
    assert title == "Every method on 540 digits, 100 flipped labels, 5 seeds"
    assert len(table.rows) == len(made.ROWS) + 1
    assert [row[0] for row in table.rows][-1] == "the teacher itself"
    column = table.columns.index
    best = table.rows[0]
    mean, low, high = 100 * result.array("test_accuracy_mean")[1]
    assert best[column("last %")] == f"{mean:.1f} ± {(high - low) / 2:.1f}"
    assert best[column("change")].startswith("+8.")
    own = next(row for row in table.rows if row[0] == "one-hot labels")
    assert own[column("change")] == own[column("Holm p")] == ""
    teacher = [table.rows[-1][column(name)] for name in ("last %", "best %", "best on test %")]
    assert teacher == ["92.5", "90.0", "93.0"]
    columns = {*table.columns, *further.columns}
    told = {word for row in meanings.rows for word in row[0].split(", ")}
    assert columns - told == {"method", "paper"}
    assert told | set(benchmark.LEAST) <= columns


def test_the_other_table_has_the_teacher_where_there_is_one(result):
    _, (_, table), _ = benchmark.tables_of(result)
    assert [row[0] for row in table.rows] == [
        row[0] for row in benchmark.tables_of(result)[0][1].rows
    ]
    by_label = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert by_label["KD"]["agreement %"] == "97.0"
    assert by_label["KD"]["slope"] == "−0.40"
    assert by_label["LSR"]["agreement %"] == by_label["LSR"]["slope"] == ""
    assert by_label["the teacher itself"]["flips by heart %"] == "30"
    assert by_label["the teacher itself"]["flips put right %"] == "65"
    ece = result.array("test_ece_15")[1].mean()
    assert by_label["true law of the label"]["ECE"] == f"{ece:.3f}"


def test_where_all_seeds_agree_the_table_shows_no_interval():
    (_, table), *_ = benchmark.tables_of(made.result(spread=0.0))
    column = table.columns.index
    first = table.rows[0]
    assert "±" not in first[column("last %")]
    assert first[column("Holm p")] == "–"


def test_a_loss_has_a_true_minus(result):
    (_, table), *_ = benchmark.tables_of(result)
    lost = next(row for row in table.rows if row[0] == "masked KD, detached")
    assert lost[table.columns.index("change")].startswith("−77.")
    assert lost[table.columns.index("Holm p")] == "< 0.001"
    assert "-77." in table.csv()
    assert "nan" not in table.text()


def test_other_experiments_have_no_such_table(make_result):
    assert benchmark.tables_of(make_result("anything")) == ()


def test_the_report_has_findings_table_and_figures(result):
    text = page.page({"digits_benchmark": result}, {})
    assert "Which method makes the better student?" in text
    assert "Every method on 540 digits" in text
    assert text.count("<tr><td>") > len(made.ROWS)
    for name in NAMES:
        assert f'id="{name}"' in text
    assert "could not be drawn" not in text


def test_kinds_are_told_apart_by_color_and_marker():
    roles = _benchmark.KINDS.values()
    assert len({role.color for role in roles}) == len({role.marker for role in roles}) == 4
    assert style.BLUE in {role.color for role in roles}
