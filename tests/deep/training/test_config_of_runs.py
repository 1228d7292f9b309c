"""What a run is, and which teacher it asks for."""

from dataclasses import replace

import numpy as np
import pytest

from deep import methods, models
from deep.method import FilterTable, WeightAverage
from deep.training.arrange import KEEPS
from deep.training.config import ImportedTeacher, Keeps, RunConfig
from deep.training.recipes import recipe
from tests.deep.training.small_runs import small

IMPORTED = ImportedTeacher(models.named("mlp", width=16), "ab" * 32, "unit")


def chain(config):
    """A run, its teacher, and that one's teacher."""
    found = []
    while isinstance(config, RunConfig):
        found.append(config)
        config = config.teacher
    return found


def test_all_methods_share_one_teacher():
    names = ("kd", "wsl", "early_stopped_kd", "filter_kd", "parameter_average", "self_distillation")
    teachers = {small(name, teacher=models.named("mlp", width=32)).teacher for name in names}
    (teacher,) = teachers
    assert (teacher.method.name, teacher.stream, teacher.seed) == ("one_hot", "teacher", 0)
    assert teacher.keeps == KEEPS == Keeps(table=FilterTable(), average=WeightAverage(decay=0.95))
    assert dict(teacher.model.options)["width"] == 32


def test_students_of_all_seeds_have_one_teacher_of_its_own_seed():
    assert small("kd", seed=5).teacher == small("kd", seed=6).teacher
    assert small("kd", seed=5, teacher_seed=2).teacher.seed == 2


def test_a_teacher_keeps_what_its_student_asks_for():
    table = small("filter_kd", options={"smoothing": 0.5, "init": "first"}).teacher.keeps
    assert table == replace(KEEPS, table=FilterTable(smoothing=0.5, init="first"))
    average = small("parameter_average", options={"decay": 0.5}).teacher.keeps
    assert average == replace(KEEPS, average=WeightAverage(decay=0.5))


def test_generations_are_students_of_each_other():
    deep = models.named("mlp", width=24)
    student = small(
        "born_again",
        options={"generation": 3, "temperature": 2.0},
        teacher=deep,
        teacher_method=methods.spec("label_smoothing"),
        teacher_scale=0.5,
        teacher_seed=4,
        seed=9,
    )
    runs = chain(student)
    assert [one.method.name for one in runs] == [*["born_again"] * 3, "label_smoothing"]
    options = [dict(one.method.options) for one in runs[:3]]
    assert [one["generation"] for one in options] == [3, 2, 1]
    assert {one["temperature"] for one in options} == {2.0}
    assert [one.model for one in runs] == [*[student.model] * 3, deep]
    assert [one.seed for one in runs] == [9, 4, 4, 4]
    assert [one.scale for one in runs] == [1.0, 0.5, 0.5, 0.5]
    assert len({one.stream for one in runs}) == 4
    assert len({one.init_key for one in runs}) == len({one.order_key for one in runs}) == 4
    # the last is the teacher that other methods have
    other = small(
        "early_stopped_kd",
        teacher=deep,
        teacher_method=runs[-1].method,
        teacher_seed=4,
        teacher_scale=0.5,
    )
    assert other.teacher == runs[-1]


def test_a_teacher_may_be_a_student_itself():
    taught = small("kd", teacher_method=methods.spec("kd"), teacher=models.named("mlp", width=24))
    runs = chain(taught)
    assert [one.method.name for one in runs] == ["kd", "kd", "one_hot"]
    assert [one.stream for one in runs] == ["student", "teacher of teacher", "teacher"]


def test_an_imported_teacher_is_the_first_of_the_generations():
    student = small("born_again", options={"generation": 2, "taught_by": "final"}, teacher=IMPORTED)
    runs = chain(student)
    assert [dict(one.method.options)["generation"] for one in runs] == [2, 1]
    assert runs[-1].teacher == IMPORTED


def test_the_streams_of_a_teacher_can_be_taken():
    own = small("kd", seed=3, teacher_seed=1)
    assert (own.init_key, own.order_key) == (("student", 3), ("student", 3))
    init = small("kd", seed=3, teacher_seed=1, student_init="teacher")
    assert (init.init_key, init.order_key) == (("teacher", 1), ("student", 3))
    order = small("kd", seed=3, teacher_seed=1, order="teacher")
    assert (order.init_key, order.order_key) == (("student", 3), ("teacher", 1))


def test_methods_without_a_teacher_begin_where_those_with_one_begin():
    same = {"seed": 3, "teacher_seed": 1, "student_init": "teacher"}
    plain, taught = small("one_hot", **same), small("kd", **same)
    assert plain.init_key == taught.init_key == ("teacher", 1)
    assert plain.teacher == taught.teacher
    assert small("one_hot", seed=3).teacher is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(small(), scale=0.0), "scale must be > 0"),
        (lambda: replace(small(), scale=np.inf), "scale must be finite"),
        (lambda: replace(small(), seed=-1), "seed must be"),
        (lambda: replace(small(), seed=0.5), "seed must be"),
        (lambda: replace(small(), precision="fp16"), "precision must be one of 'float32'"),
        (lambda: replace(small("kd"), teacher=None), "teacher must be given for method 'kd'"),
        (lambda: replace(small(), order="mine"), "order must be one of 'own', 'teacher'"),
        (lambda: replace(small("kd"), teacher_view="raw"), "teacher_view must be one of"),
        (lambda: replace(small("kd"), teacher_statistics="eval"), "teacher_statistics must be"),
        (lambda: replace(small(), student_init="teacher"), "where there is no teacher"),
        (
            lambda: small("kd", teacher=IMPORTED, student_init="teacher"),
            "student_init must be 'own' where the teacher was imported",
        ),
        (
            lambda: small("kd", teacher=IMPORTED, order="teacher"),
            "order must be 'own' where the teacher was imported",
        ),
        (
            lambda: small("kd", teacher=models.named("mlp", width=9), student_init="teacher"),
            "student_init must be 'own' where the student is another network",
        ),
        (lambda: small("filter_kd", teacher=IMPORTED), "must be trained here: .* the table is not"),
        (lambda: small("early_stopped_kd", teacher=IMPORTED), "the best is not known$"),
        (
            lambda: small("born_again", options={"generation": 2}, teacher=IMPORTED),
            "the best is not known, or choose taught_by='final'",
        ),
        (
            lambda: replace(small("kd"), data=replace(small().data, seed=1)),
            "data and validation share of teacher and student must be the same",
        ),
        (
            lambda: replace(small("filter_kd"), teacher=small()),
            "teacher must keep FilterTable.*, got None",
        ),
        (
            lambda: replace(small("parameter_average"), teacher=small()),
            "teacher must keep WeightAverage.*, got None",
        ),
        (
            lambda: replace(small("born_again", options={"generation": 2}), teacher=small()),
            "teacher of 'born_again' must be trained by MethodSpec.*generation.*arranged",
        ),
    ],
)
def test_what_no_run_can_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("method", ["early_stopped_kd", "filter_kd", "born_again"])
def test_the_best_epoch_needs_held_out_samples(method):
    with pytest.raises(ValueError, match=f"validation must be > 0 for '{method}'"):
        small(method, recipe_options={"validation": 0.0})


@pytest.mark.parametrize("method", ["filter_kd", "born_again"])
def test_the_last_epoch_needs_none(method):
    last = {"filter_kd": {"stop": "last"}, "born_again": {"taught_by": "final"}}[method]
    student = small(method, options=last, recipe_options={"validation": 0.0})
    assert student.teacher.recipe.validation == 0


def test_the_teachers_recipe_holds_out_what_the_students_does():
    slow = replace(recipe("digits"), epochs=7.0, validation=0.3)
    student = small("kd", teacher_recipe=slow)
    assert student.teacher.recipe == replace(slow, validation=student.recipe.validation)
