"""What ``stillroom bench run`` is asked for: its options, and the runs they stand for.

Loads torch: the options of a method are those of its own dataclass.
"""

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import numpy as np
import tyro

from deep import methods, models
from deep.data import normalization, sources
from deep.data.spec import DataSpec
from deep.method import MethodSpec
from deep.models import ModelSpec
from deep.training import recipes
from deep.training.arrange import arranged
from deep.training.config import ImportedTeacher, RunConfig
from deep.training.recipes import Recipe
from stillroom import request
from stillroom.benching import catalog, defaults, documented, stored
from stillroom.benching.given import Machine, Samples, Student, Teaching
from stillroom.errors import UserError
from stillroom.options import Parser

_TAUGHT_BY = {
    "best": "the epoch that was best on held-out samples",
    "average": "an average of the weights along the training",
    "table": "a table that is kept along the training",
}
"""Parts of a run that weights alone do not have."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Everything that the options say."""

    method: MethodSpec
    samples: Samples = field(default_factory=Samples)
    student: Student = field(default_factory=Student)
    teaching: Teaching = field(default_factory=Teaching)
    machine: Machine = field(default_factory=Machine)


def parsed(name: str, arguments: Sequence[str]) -> Asked:
    """The options in ``arguments`` after the method ``name``; prints the help if asked.

    Raises:
        ValueError: If there is no such method.
        UserError: If an option is wrong.
    """
    method = methods.get(name)
    data = data_name(_early(name, arguments))
    start = methods.hyper(methods.spec(name, data=data))
    kinds = {"samples": Samples, "student": Student, "teacher": Teaching, "machine": Machine}
    shown = {group: documented.like(kind, kind()) for group, kind in kinds.items()}
    groups: list[tuple[str, Any]] = [
        (group, Annotated[kind, tyro.conf.OmitArgPrefixes]) for group, kind in shown.items()
    ]
    shown["hyper"] = documented.like(method.Hyper, start)
    options = make_dataclass("Options", [*groups, ("hyper", shown["hyper"])], frozen=True)
    default = options(**{group: kind() for group, kind in shown.items()})
    about = f"{method.title}.\n\nHyper-parameters may be written without hyper."
    given = request.parsed(
        options, f"bench run {name}", about, _prefixed(name, arguments, method.Hyper), default
    )
    spec = methods.spec(name, data=data, **asdict(given.hyper))
    made = {group: kind(**vars(getattr(given, group))) for group, kind in kinds.items()}
    return Asked(spec, made["samples"], made["student"], made["teacher"], made["machine"])


def configs(asked: Asked) -> list[RunConfig]:
    """The runs that are asked for, one a seed.

    Raises:
        ValueError: If a name is unknown, or parts do not fit each other.
        UserError: The same.
    """
    student, teaching = asked.student, asked.teaching
    data = _data(asked.samples)
    recipe = _recipe(student, data.name)
    model = network_spec("student", student.student or defaults.network_of(data.name))
    teacher = teacher_spec(teaching.teacher, asked.machine.out)
    if isinstance(teacher, ImportedTeacher):
        _require_taught(asked.method, teaching.teacher or "")
    return [
        arranged(
            method=asked.method,
            model=model,
            recipe=recipe,
            data=data,
            teacher=teacher,
            teacher_method=method_spec("teacher_method", teaching.teacher_method, data.name),
            teacher_recipe=_teacher_recipe(asked, recipe, data.name),
            teacher_scale=teaching.teacher_scale,
            teacher_seed=teaching.teacher_seed,
            scale=student.scale,
            seed=seed,
            student_init=student.student_init,
            order=student.order,
            teacher_statistics=teaching.teacher_statistics,
            teacher_view=teaching.teacher_view,
            teacher_dtype=teaching.teacher_dtype,
            precision=student.precision,
        )
        for seed in _seeds(student)
    ]


def network_spec(option: str, given: str) -> ModelSpec:
    """The network that is written ``NAME`` or ``NAME:option=value,...``.

    >>> network_spec("student", "mlp:width=8").options[-1]
    ('width', 8)
    """
    name, options = _split(option, given)
    return models.named(name, **options)


def method_spec(option: str, given: str, data: str) -> MethodSpec:
    """The method that is written ``NAME`` or ``NAME:option=value,...``."""
    name, options = _split(option, given)
    return methods.spec(name, data=data, **options)


def teacher_spec(given: str | None, out: Path | None) -> ModelSpec | ImportedTeacher | None:
    """A network to train as teacher, or one that was imported, by its name or key.

    Raises:
        UserError: If it is neither.
    """
    if given is None:
        return None
    found = stored.imported(out, given)
    if found is not None:
        model = found.config["model"]
        spec = ModelSpec(model["name"], tuple((key, value) for key, value in model["options"]))
        return ImportedTeacher(spec, found.config["weights"], found.config["normalization"])
    try:
        return network_spec("teacher", given)
    except ValueError as error:
        known = ", ".join(stored.imported_names(out)) or "none"
        msg = f"{error}; imported under {defaults.out(out)}: {known}"
        raise UserError(msg) from None


def _require_taught(method: MethodSpec, name: str) -> None:
    """Check that weights from elsewhere can teach a method.

    Raises:
        UserError: If it needs more than weights; it says what to do.
    """
    needs = methods.get(method.name).needs(methods.hyper(method))
    if needs.teacher in (None, "final"):
        return
    options = dict(method.options)
    instead = "give --taught-by final" if "taught_by" in options else "run kd"
    msg = (
        f"teacher of {method.name} must be trained here, got the imported {name!r}: it is taught "
        f"by {_TAUGHT_BY[needs.teacher]}, and of an imported network only the last weights are "
        f"known; {instead}, or name a network to train by --teacher NETWORK"
    )
    raise UserError(msg)


def _early(name: str, arguments: Sequence[str]) -> str:
    """The image set, on which the defaults of hyper-parameters depend."""
    parser = Parser(f"bench run {name}", "")
    parser.add_argument("--data", default="digits")
    rest = [one for one in arguments if one not in ("-h", "--help")]
    given: str = parser.parse_known_args(rest)[0].data
    return given


def _prefixed(name: str, arguments: Sequence[str], hyper: type[Any]) -> list[str]:
    """``arguments`` with ``hyper.`` before the hyper-parameters that are written without.

    A name that is an option of the run as well stays that.

    Raises:
        UserError: If an option is unknown.
    """
    taken = {one for kind in (Samples, Student, Teaching, Machine) for one in kind.__annotations__}
    every = set(hyper.__dataclass_fields__)
    found = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        plain = option.removeprefix("--").replace("-", "_")
        said = {plain, plain.removeprefix("no_")}
        if not option.startswith("--") or said & (taken | {"help"}):
            found.append(argument)
        elif {one.removeprefix("hyper.").removeprefix("no_") for one in said} & every:
            found.append(
                f"--hyper.{option.removeprefix('--').removeprefix('hyper.')}{equals}{value}"
            )
        else:
            _refuse(name, option, taken | every)
    return found


def _refuse(name: str, option: str, known: set[str]) -> NoReturn:
    """Raise UserError for an unknown option, with the nearest."""
    asked = option.removeprefix("--").removeprefix("hyper.").replace("-", "_")
    close = difflib.get_close_matches(asked, sorted(known), n=1)
    hint = f"did you mean --{close[0].replace('_', '-')}? " if close else ""
    msg = f"unknown option {option} of {name}; {hint}see `stillroom bench run {name} --help`"
    raise UserError(msg)


def _seeds(student: Student) -> range:
    if student.seeds is None:
        return range(student.seed, student.seed + 1)
    if student.seeds < 1:
        msg = f"--seeds must be at least 1, got {student.seeds}"
        raise UserError(msg)
    if student.seed:
        msg = "--seed and --seeds must not both be given: --seeds K trains the seeds 0 to K - 1"
        raise UserError(msg)
    return range(student.seeds)


def _data(samples: Samples) -> DataSpec:
    return DataSpec(
        name=data_name(samples.data),
        samples=samples.samples,
        test_samples=samples.test_samples,
        noise=samples.noise,
        noise_includes_same=samples.noise_includes_same,
        labels=samples.labels,
        seed=samples.data_seed,
    )


def data_name(given: str) -> str:
    """The image set; a path alone is that of a folder of images or of Parquet files."""
    path = Path(given).expanduser()
    if given not in sources.names() and path.exists():
        kind = "parquet" if path.is_file() or any(path.glob("*.parquet")) else "folder"
        return f"{kind}:{path.resolve()}"
    return sources.check_name(given)


def _recipe(student: Student, data: str) -> Recipe:
    """The recipe with what the options put in the place of its numbers."""
    recipe = _named_recipe(student.recipe or defaults.recipe_of(data))
    changed: dict[str, Any] = {"batch": student.batch, "learning_rate": student.learning_rate}
    optimizer = replace(recipe.optimizer, **{k: v for k, v in changed.items() if v is not None})
    if student.epochs is not None:
        recipe = replace(recipe, epochs=student.epochs)
    if student.validation is not None:
        # without held-out samples there is no best epoch to report
        select = recipe.select if student.validation else "last"
        recipe = replace(recipe, validation=student.validation, select=select)
    return _normalized(replace(recipe, optimizer=optimizer), student.normalization, data)


def _teacher_recipe(asked: Asked, recipe: Recipe, data: str) -> Recipe | None:
    """The teacher's recipe where it is another than the student's ``recipe``."""
    teaching, found = asked.teaching, None
    if teaching.teacher_recipe is not None:
        named = _named_recipe(teaching.teacher_recipe)
        found = _normalized(named, asked.student.normalization, data)
    if teaching.teacher_epochs is not None:
        found = replace(found or recipe, epochs=teaching.teacher_epochs)
    return found


def _normalized(recipe: Recipe, given: str | None, data: str) -> Recipe:
    """The recipe with a normalization that is asked for, or that fits the images."""
    chosen = normalization_for(data, recipe.normalization) if given is None else given
    catalog.require("normalization", chosen, normalization.names())
    return replace(recipe, normalization=chosen)


def normalization_for(data: str, recipe: str) -> str:
    """The normalization that fits images, where a recipe has one of this name.

    Raises:
        ValueError: If the images are one's own and cannot be read.
    """
    found = defaults.normalization_of(data, recipe)
    needed = len(normalization.normalization(found).mean)
    if needed and ":" in data:
        first = sources.load(data, split="train", rows=np.zeros(1, dtype=np.int64))
        return found if first.images.shape[-1] == needed else "unit"
    return found


def _named_recipe(name: str) -> Recipe:
    catalog.require("recipe", name, recipes.names())
    return recipes.recipe(name)


def _split(option: str, given: str) -> tuple[str, dict[str, Any]]:
    """A name and its options.

    >>> _split("student", "mlp:width=8,init=he")
    ('mlp', {'width': 8, 'init': 'he'})
    """
    name, _, rest = given.partition(":")
    options = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not key:
            flag = option.replace("_", "-")
            msg = f"--{flag} must be NAME or NAME:option=value,..., got {given!r}"
            raise UserError(msg)
        options[key.strip().replace("-", "_")] = _read(value.strip())
    return name, options


def _read(text: str) -> bool | int | float | str | None:
    """A value as written: a number, yes or no, none, or text."""
    words: dict[str, bool | None] = {
        **dict.fromkeys(("yes", "true"), True),
        **dict.fromkeys(("no", "false"), False),
        "none": None,
    }
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
