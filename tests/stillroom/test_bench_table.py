"""``stillroom bench table``: what it says of a teacher's table, and what it does with it."""

import json
import re

import numpy as np
import pytest

from deep.records.runs import Runs

SMALL = ("--student", "mlp:width=8,depth=1", "--samples", "60", "--scale", "0.05")
VIEWS = (*SMALL, "--recipe", "wang", "--normalization", "unit", "--batch", "20", "--epochs", "20")
CELLS = 60 * 162


@pytest.fixture
def keys(bench, tmp_path):
    """Keys of a student taught by crops and flips, and of its teacher."""
    assert bench("run", "kd", *VIEWS)[0] == 0
    found = {one.config["stream"]: one.key for one in Runs(tmp_path / "out").summaries()}
    return found["student"], found["teacher"]


def filled(out):
    return int(re.search("^([0-9,]+) of 9,720 cells are filled", out, re.M)[1].replace(",", ""))


def test_a_table_is_looked_at_filled_and_verified(bench, keys):
    status, out, err = bench("table", keys[0][:8])
    assert (status, err) == (0, "")
    assert "60 images, 162 views, 10 classes, float32; 428 kB when full" in " ".join(out.split())
    assert 0 < filled(out) <= 60  # one epoch of the student
    assert filled(bench("table", keys[0])[1]) == filled(out)
    before = filled(out)
    out = bench("table", keys[1][:8], "--sweep")[1]  # by the teacher's key
    assert f"computed {CELLS - before:,} cells in " in out
    assert filled(out) == CELLS
    assert "(100.0 %)" in out
    out = bench("table", keys[0], "--verify")[1]
    (worst,) = re.findall("verified 1,000 random cells: the largest difference is (.*)", out)
    assert float(worst) < 1e-5
    assert "verified 7 random cells" in bench("table", keys[0], "--verify", "7")[1]


@pytest.mark.filterwarnings("always::deep.records.store.Corrupt")
def test_a_table_of_another_teacher_is_set_aside(bench, keys, tmp_path):
    bench("table", keys[0], "--sweep")
    (rows,) = (tmp_path / "out").glob("cache/teacher_views/*/logits.bin")
    (marks,) = (tmp_path / "out").glob("cache/teacher_views/*/marks.bin")
    from deep.training.teacher_views.layout import Layout
    from deep.training.teacher_views.shelves import Shelf

    # most rows stay as they are, so that the few that are tried on opening are right
    held = np.fromfile(rows, np.float32).reshape(CELLS, 10)
    held[:10] += 1
    held.tofile(rows)
    layout = Layout(key=rows.parent.name, samples=60, views=162, classes=10)
    Shelf(layout).checksum(np.arange(CELLS), held).tofile(marks)
    status, out, err = bench("table", keys[0], "--verify", CELLS)
    assert status == 1
    assert "the largest difference is 1; it is another teacher's: it is set aside" in out
    assert re.search("warning: table of a teacher .* is set aside", err)


def test_what_float16_would_cost(bench, keys):
    out = " ".join(bench("table", keys[0], "--error", "50")[1].split())
    assert "float16 would take half the space; over 50 random cells" in out
    changes = re.findall(
        "at temperature ([0-9]), a probability would change by at most ([^,]+),", out
    )
    assert [temperature for temperature, _ in changes] == ["1", "4"]
    assert all(0 < float(change) < 1e-3 for _, change in changes)


def test_a_table_in_float16_is_another(bench, keys):
    bench("run", "kd", *VIEWS, "--teacher-dtype", "float16")
    (halved,) = {one["key"] for one in json.loads(bench("list", "--format", "json")[1])} - {*keys}
    out = bench("table", halved, "--verify")[1]
    assert filled(out) > 0
    (worst,) = re.findall("the largest difference is (.*)", out)
    assert 0 < float(worst) < 1e-2


def test_runs_without_a_table(bench, keys, tmp_path):
    assert bench("run", "one_hot", *SMALL)[0] == 0
    (alone,) = [
        one.key
        for one in Runs(tmp_path / "out").summaries()
        if one.config["stream"] == "student" and one.config["teacher"] is None
    ]
    status, _, err = bench("table", alone)
    assert status == 2
    assert "must have a teacher or be one, got one_hot, which teaches no stored run" in err
    assert bench("run", "filter_kd", *SMALL)[0] == 0
    (rows,) = [
        one.key
        for one in Runs(tmp_path / "out").summaries()
        if one.config["method"]["name"] == "filter_kd"
    ]
    assert "got filter_kd, which is taught by a row for each image" in bench("table", rows)[2]
    assert "--verify must be at least 1 cell, got 0" in bench("table", keys[0], "--verify", "0")[2]
    assert "key must begin that of a run" in bench("table", "zzzz")[2]


def test_nothing_is_trained_for_a_table(bench, keys, tmp_path):
    import shutil

    shutil.rmtree(tmp_path / "out" / "runs" / keys[1])
    status, _, err = bench("table", keys[0])
    assert status == 2
    assert "teacher mlp:depth=1,width=8 must be finished" in err
    assert keys[1] not in Runs(tmp_path / "out").present()
