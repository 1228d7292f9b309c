"""A student together with all that must come before it: its teacher, and that one's teacher."""

from dataclasses import replace

from deep import methods
from deep.data.spec import DataSpec
from deep.method import FilterTable, MethodSpec, Needs, WeightAverage
from deep.models import ModelSpec
from deep.training.config import ImportedTeacher, Keeps, RunConfig, Stream
from deep.training.recipes import Recipe

KEEPS = Keeps(table=FilterTable(), average=WeightAverage(decay=0.95))
"""What every teacher keeps, so that all methods with their papers' values share one teacher."""


def arranged(
    *,
    method: MethodSpec,
    model: ModelSpec,
    recipe: Recipe,
    data: DataSpec | None = None,
    teacher: ModelSpec | ImportedTeacher | None = None,
    teacher_method: MethodSpec | None = None,
    teacher_recipe: Recipe | None = None,
    teacher_scale: float | None = None,
    teacher_seed: int = 0,
    scale: float = 1.0,
    seed: int = 0,
    student_init: Stream = "own",
    order: Stream = "own",
    teacher_statistics: str = "stored",
    teacher_view: str = "augmented",
    teacher_dtype: str = "float32",
    precision: str = "float32",
) -> RunConfig:
    """The config of a student, with its teacher's and that one's teacher's in it.

    Args:
        method: How the student is trained.
        model: The student's network.
        recipe: The student's recipe.
        data: The samples of both.
        teacher: The teacher's network, or one that was imported; the student's own network if a
            method needs a teacher and none is given (self-distillation).
        teacher_method: How the teacher is trained; by one-hot labels, or as the method demands.
        teacher_recipe: The teacher's recipe; the student's if not given.
        teacher_scale: Of the teacher's training; the student's if not given.
        teacher_seed: Of the teacher, which all students share.
        scale: Factor on the number of the student's updates.
        seed: Of the student.
        student_init: Whose initial weights; with ``"teacher"`` a method that needs no teacher has
            one too, and begins where the others begin.
        order: Whose batches and views; likewise.
        teacher_statistics: Batch normalization of the teacher.
        teacher_view: What the teacher sees.
        teacher_dtype: In which numbers what it says is kept.
        precision: Of the student's and the teacher's training.

    >>> from deep.models import spec
    >>> from deep.training.recipes import recipe
    >>> method = methods.spec("born_again", generation=2)
    >>> student = arranged(method=method, model=spec("mlp", width=8), recipe=recipe("digits"))
    >>> student.teacher.method.name, student.teacher.teacher.method.name
    ('born_again', 'one_hot')

    Raises:
        ValueError: If the parts do not fit each other.
    """
    data = DataSpec() if data is None else data
    needs = methods.get(method.name).needs(methods.hyper(method))
    taught_by: RunConfig | ImportedTeacher | None = None
    if isinstance(teacher, ImportedTeacher) and needs.taught_by is None:
        taught_by = teacher if needs.teacher else None
    elif needs.teacher or "teacher" in (student_init, order):
        taught_by = arranged(
            method=needs.taught_by or teacher_method or methods.spec("one_hot"),
            # every generation but the first is the student's own network
            model=model if needs.taught_by or not isinstance(teacher, ModelSpec) else teacher,
            teacher=teacher,
            # of the first of the generations; what trains the teacher has a plain teacher itself
            teacher_method=teacher_method if needs.taught_by else None,
            recipe=_holding_out(teacher_recipe or recipe, recipe.validation),
            data=data,
            scale=scale if teacher_scale is None else teacher_scale,
            seed=teacher_seed,
            teacher_seed=teacher_seed,
            precision=precision,
        )
        taught_by = replace(taught_by, stream=_stream(taught_by), keeps=_keeps(needs))
    return RunConfig(
        method=method,
        model=model,
        recipe=recipe,
        data=data,
        teacher=taught_by,
        scale=scale,
        seed=seed,
        student_init=student_init,
        order=order,
        teacher_statistics=teacher_statistics,
        teacher_view=teacher_view,
        teacher_dtype=teacher_dtype,
        precision=precision,
    )


def _holding_out(recipe: Recipe, validation: float) -> Recipe:
    """``recipe`` with the student's share of held-out samples: without any, the last epoch counts.

    What of the teacher's run teaches is said by the student's method, not by its recipe.
    """
    select = recipe.select if validation else "last"
    return replace(recipe, validation=validation, select=select)


def _stream(teacher: RunConfig) -> str:
    """A teacher draws from its own stream, and so does the teacher of a teacher."""
    below = teacher.teacher
    return f"{below.stream} of teacher" if isinstance(below, RunConfig) else "teacher"


def _keeps(needs: Needs) -> Keeps:
    """What is always kept, but as the student's method asks for it."""
    return Keeps(table=needs.table or KEEPS.table, average=needs.kept_average or KEEPS.average)
