"""What runs are called: by all that tells them apart, and with a mark at the headline."""

import copy
import json
import re

import pytest

from deep import methods, models
from deep.data.spec import DataSpec
from deep.records.encoding import plain
from deep.records.runs import Runs
from deep.training import recipes
from deep.training.arrange import arranged
from deep.training.config import ImportedTeacher
from stillroom.benching import differences

SMALL = models.named("mlp", width=8)
DIGITS = recipes.recipe("digits")


def config(method="kd", options=None, **arrangement):
    chosen = methods.spec(method, **(options or {}))
    arrangement.setdefault("recipe", DIGITS)
    return plain(arranged(method=chosen, model=SMALL, data=DataSpec(), **arrangement))


def paths(held, before=()):
    """Every number and word of a config."""
    for name, value in held.items():
        if isinstance(value, dict):
            yield from paths(value, (*before, name))
        else:
            yield (*before, name)


def changed(held, path):
    """The config with another value there."""
    found = copy.deepcopy(held)
    place = found
    for name in path[:-1]:
        place = place[name]
    before = place[path[-1]]
    other = {bool: lambda: not before, int: lambda: before + 1, float: lambda: before + 0.5}
    other |= {str: lambda: f"{before}2", list: lambda: [*before, ["more", 1]]}
    place[path[-1]] = other.get(type(before), lambda: 7)()
    return found


DEEP = config("born_again", {"generation": 2}, teacher_method=methods.spec("label_smoothing"))


PATHS = [path for path in paths(DEEP) if path[-1] != "teacher"]


@pytest.mark.parametrize("path", PATHS, ids=".".join)
def test_whatever_differs_two_runs_have_two_names(path):
    other = changed(DEEP, path)
    names = differences.called([DEEP, other])
    assert len(set(names)) == 2
    # a number says nothing; streams and data of a teacher follow from the rest, and only runs of
    # one network are compared
    follows = ("teacher" in path and ("stream" in path or "data" in path)) or path[0] == "model"
    if path != ("seed",) and not follows:
        assert not names[0].endswith(" (1)"), names


def test_only_what_differs_is_said():
    wang = config(teacher_recipe=recipes.recipe("wang"))
    assert differences.called([config(), wang]) == [
        "kd, teacher_recipe=digits",
        "kd, teacher_recipe=wang",
    ]
    assert differences.called([config(), config("lsr")]) == ["kd", "lsr"]
    assert differences.called([config(), config(options={"temperature": 2.0})]) == [
        "kd",
        "kd:temperature=2",
    ]
    # a table with another smoothing is kept by the teacher because the method asks for it
    filtered = config("filter_kd", {"smoothing": 0.5})
    assert differences.called([config("filter_kd"), filtered]) == [
        "filter_kd",
        "filter_kd:smoothing=0.5",
    ]


def test_teachers_of_several_kinds():
    wide = models.named("mlp", width=16)
    own = [ImportedTeacher(wide, digest * 32, "unit") for digest in ("ab", "cd")]
    runs = [
        config("one_hot"),
        *(config(teacher=teacher) for teacher in (SMALL, wide, *own)),
        config(teacher_scale=0.5),
        config(teacher_seed=3),
    ]
    by = "kd, by mlp:width="
    assert differences.called(runs) == [
        "one_hot",
        f"{by}8, teacher_scale=1, teacher_seed=0",
        f"{by}16, teacher_scale=1, teacher_seed=0",
        f"{by}16 (imported), teacher_weights={'ab' * 6}",
        f"{by}16 (imported), teacher_weights={'cd' * 6}",
        f"{by}8, teacher_scale=0.5, teacher_seed=0",
        f"{by}8, teacher_scale=1, teacher_seed=3",
    ]


RECIPE = ("--student", "mlp:width=8,depth=1", "--samples", "200", "--scale", "0.05")


def test_list_and_compare_tell_teachers_apart(bench, monkeypatch):
    for recipe in ((), ("--teacher-recipe", "wang")):
        assert bench("run", "kd", *RECIPE, "--teacher-scale", "0.01", *recipe)[0] == 0
    out = bench("compare", "kd")[1]
    assert re.search("^kd, teacher_recipe=digits +1 ", out, re.M)
    assert re.search("^kd, teacher_recipe=wang +1 ", out, re.M)
    out = bench("list")[1]
    assert re.search("^[0-9a-f]{8}  kd .* teacher_recipe=wang ", out, re.M)
    rows = json.loads(bench("list", "--method", "kd", "--format", "json")[1])
    assert {row["differs_by"] for row in rows} == {"teacher_recipe=wang", "teacher_recipe=digits"}
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    out = bench("list", "--method", "kd")[1]
    assert "differs by" not in out.splitlines()[0]
    assert re.search("^[0-9a-f]{8}: .*<-.*; teacher_recipe=wang$", out, re.M)
    assert max(map(len, out.splitlines())) <= 100


BEST = ("--student", "mlp:width=8,depth=1", "--samples", "200", "--recipe", "zhang_sabuncu",
        "--normalization", "unit", "--scale", "0.02")  # fmt: skip


@pytest.mark.parametrize("said", [True, False], ids=["said", "of the recipe"])
def test_the_headline_is_the_epoch_that_the_recipe_reports(bench, tmp_path, monkeypatch, said):
    if not said:
        from deep.training import finished

        whole = finished.contents

        def older(*arguments, **options):
            arrays, record, files = whole(*arguments, **options)
            record.pop("selected", None)
            return arrays, record, files

        monkeypatch.setattr("deep.training.runner.contents", older)
    status, out, err = bench("run", "one_hot", *BEST, "--batch", "32")
    assert status == 0, err
    assert "best: of the epoch that was best on held-out samples, in parentheses; the head" in out
    (key,) = Runs(tmp_path / "out").present()
    out = " ".join(bench("show", key)[1].split())
    assert "The headline is best, of the epoch that was best on held-out samples" in out
    assert "the headline is best," in bench("list")[1]
    out = bench("compare", "one_hot")[1]
    assert re.search("^method +n +best % +last % ", out, re.M)
    assert "held-out samples, the headline by this recipe" in " ".join(out.split())
    (row,) = json.loads(bench("list", "--format", "json")[1])
    assert (row["selected"], row["accuracy"]) == ("best", row["accuracy_best"])


def test_the_headline_of_most_recipes_is_the_last_epoch(bench):
    out = bench("run", "one_hot", *RECIPE)[1]
    assert "last: after the last step; the headline." in out
    assert "the headline is last, after the last step" in bench("list")[1]
    assert re.search("^method +n +last % +best % ", bench("compare", "one_hot")[1], re.M)
