"""The figure of a comparison: legible whatever networks the user hands in."""

import numpy as np
import pytest

from figures import rendering
from figures.report.comparison import tables_of
from sims.comparison import compare
from tests.figures.conftest import two_networks
from tests.figures.test_figures import assert_text_stays_inside, visible_texts


def case(name):
    teacher, student, control, labels = two_networks(2_000)
    few = slice(0, 8)
    return {
        "eight samples": lambda: compare(teacher[few], student[few], labels[few]),
        "dots": lambda: compare(teacher[:400], student[:400], labels[:400]),
        "cells": lambda: compare(teacher, student, labels, control=control),
        "saturated": lambda: compare(1000 * teacher, 1000 * student, labels),
        "seeds": lambda: compare(teacher, np.stack([student, control]), labels),
        "no labels": lambda: compare(teacher, student, control=control),
        "equal": lambda: compare(teacher, teacher, labels),
        "constant": lambda: compare(0 * teacher, student, labels),
        "tiny": lambda: compare(1e-9 * teacher, 1e-9 * student, labels),
    }[name]()


CASES = (
    "eight samples", "dots", "cells", "saturated", "seeds", "no labels", "equal", "constant", "tiny"
)  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_is_legible(name):
    result = case(name)
    canvas = rendering.canvas("comparison", result)
    assert_text_stays_inside(canvas, name)
    renderer = canvas.canvas.get_renderer()
    boxes = [
        (text.get_text(), text.get_window_extent(renderer).shrunk(0.9, 0.75))
        for text in visible_texts(canvas)
        if not text.get_rotation() % 90
    ]
    for index, (first, one) in enumerate(boxes):
        for second, other in boxes[index + 1 :]:
            assert not one.overlaps(other), f"{name}: {first!r} lies on {second!r}"
    assert len(canvas.axes) >= (2 if name == "no labels" else 4)
    assert len(rendering.encode(canvas, "svg")) < 500_000


@pytest.mark.parametrize("name", ["dots", "cells", "no labels"])
def test_the_caption_says_what_is_drawn(name):
    from figures.comparison import CAPTION

    result = case(name)
    caption = CAPTION(result)
    assert 80 < len(caption) < 900
    assert ("Each mark is a sample" in caption) == (name == "dots")
    assert ("control" in caption) == (name != "dots")
    assert ("divergence" in caption) == (name == "no labels")


def test_the_file_has_the_name_of_the_comparison(tmp_path):
    teacher, student, _, labels = two_networks(50)
    result = compare(teacher, student, labels, name="mine")
    (path,) = rendering.render("comparison", result, tmp_path, formats=("svg",))
    assert path.name == "comparison-mine.svg"


@pytest.mark.parametrize("name", CASES)
def test_tables_have_a_number_in_every_cell_or_say_that_there_is_none(name):
    for title, table in tables_of(case(name)):
        assert title
        assert table.rows
        for row in table.rows:
            assert all(row)
            assert "nan" not in " ".join(row)


def test_a_table_of_a_smaller_share_keeps_its_digits():
    teacher, student, _, labels = two_networks(200)
    (_, networks), *_ = tables_of(compare(teacher, teacher + 1e-7 * student, labels))
    gap = networks.rows[1][-1]
    assert "e−" in gap
