"""What ``stillroom bench run`` is asked for: its options, and the runs they stand for.

Loads torch: the options of a method are those of its own dataclass.
"""

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import tyro

from deep import methods, models
from deep.data.spec import DataSpec
from deep.method import MethodSpec
from deep.models import ModelSpec
from deep.training import recipes
from deep.training.arrange import arranged
from deep.training.config import ImportedTeacher, RunConfig
from deep.training.recipes import Recipe
from stillroom import request
from stillroom.benching import catalog, defaults, documented, stored
from stillroom.errors import UserError
from stillroom.options import Parser

Name = tyro.conf.arg(metavar="NAME")
Number = tyro.conf.arg(metavar="N")
Share = tyro.conf.arg(metavar="SHARE")
Factor = tyro.conf.arg(metavar="X")
Folder = tyro.conf.arg(metavar="FOLDER")


@dataclass(frozen=True, slots=True)
class Samples:
    """What is learned. Teacher and student have the same samples."""

    data: Annotated[str, tyro.conf.arg(metavar="SET")] = "digits"
    """digits (ships with the package), mnist, cifar10, cifar100, or a path of your own: a folder
    with train/CLASS/FILE and test/CLASS/FILE, or Parquet files as on the Hub."""
    samples: Annotated[int | None, Number] = None
    """Training samples; all unless given."""
    test_samples: Annotated[int | None, Number] = None
    """Test samples, the first of the split; all unless given."""
    noise: Annotated[float, Share] = 0.0
    """Share of the training labels that are flipped."""
    noise_includes_same: bool = False
    """Let a flipped label be the same class again."""
    labels: Annotated[str, Name] = "given"
    """Labels that people gave: cifar10n-aggre, -worse, -random1 to -random3, -mean, or
    cifar100n-noisy."""
    data_seed: Annotated[int, Number] = 0
    """Of the choice of samples and of the flips, which all seeds of a student share."""


@dataclass(frozen=True, slots=True)
class Student:
    """How the student is trained."""

    student: Annotated[str | None, tyro.conf.arg(metavar="NETWORK")] = None
    """Its network (`stillroom bench networks`), perhaps with options: mlp:width=100,depth=1. mlp
    for digits and mnist, else resnet20, unless given."""
    recipe: Annotated[str | None, Name] = None
    """Whose epochs, batches, learning rates and views (`stillroom bench recipes`): digits for
    digits and mnist, else crd, unless given."""
    scale: Annotated[float, Factor] = 1.0
    """Factor on the number of steps, with all milestones: 0.01 for a first try."""
    epochs: Annotated[float | None, Factor] = None
    """In place of the recipe's; milestones stay where they are."""
    batch: Annotated[int | None, Number] = None
    """Samples a step, in place of the recipe's."""
    learning_rate: Annotated[float | None, Factor] = None
    """In place of the recipe's."""
    normalization: Annotated[str | None, Name] = None
    """Of pixels: cifar100, cifar10, overhaul, mnist or unit; as fits recipe and images unless
    given."""
    validation: Annotated[float | None, Share] = None
    """Share of the training samples held out to choose the best epoch; the recipe's unless
    given."""
    seed: Annotated[int, Number] = 0
    """Of initial weights, batches and views."""
    seeds: Annotated[int | None, tyro.conf.arg(metavar="K")] = None
    """Train K students, of the seeds 0 to K - 1."""
    student_init: Literal["own", "teacher"] = "own"
    """Whose initial weights."""
    order: Literal["own", "teacher"] = "own"
    """Whose batches and views."""
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    """The latter two need a GPU, and change numbers."""


@dataclass(frozen=True, slots=True)
class Teaching:
    """The teacher, for methods that have one. All students of its seed share it."""

    teacher: Annotated[str | None, tyro.conf.arg(metavar="NETWORK")] = None
    """Its network, or the name or key of one that `stillroom bench import` stored; the student's
    own network unless given."""
    teacher_method: Annotated[str, Name] = "one_hot"
    """How it is trained, perhaps with options: label_smoothing:epsilon=0.2."""
    teacher_recipe: Annotated[str | None, Name] = None
    """The student's unless given."""
    teacher_scale: Annotated[float | None, Factor] = None
    """The student's unless given."""
    teacher_seed: Annotated[int, Number] = 0
    """Of its initial weights, batches and views."""
    teacher_statistics: Literal["stored", "batch"] = "stored"
    """What its batch normalization works with while it teaches."""
    teacher_view: Literal["augmented", "plain"] = "augmented"
    """Whether it sees the student's view of an image, or the image."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it is computed and kept. None of these makes it another run; a GPU rounds otherwise."""

    device: Annotated[str, Name] = "cpu"
    """cpu or cuda, perhaps with a number: cuda:1."""
    data_root: Annotated[Path | None, Folder] = None
    """Folder of image sets; STILLROOM_DATA unless given."""
    out: Annotated[Path | None, Folder] = None
    """Where everything made lies; STILLROOM_OUT, else out."""
    view_table: bool = True
    """Keep what the teacher says of every view, so that it is computed once for all students."""
    checkpoint_seconds: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = 60.0
    """Time between checkpoints."""
    tensorboard: bool = False
    """Write the course of every epoch for TensorBoard, under out/tensorboard."""


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
    own = None if teaching.teacher_recipe is None else _named_recipe(teaching.teacher_recipe)
    return [
        arranged(
            method=asked.method,
            model=model,
            recipe=recipe,
            data=data,
            teacher=teacher_spec(teaching.teacher, asked.machine.out),
            teacher_method=method_spec("teacher_method", teaching.teacher_method, data.name),
            teacher_recipe=own and _normalized(own, student.normalization, data.name),
            teacher_scale=teaching.teacher_scale,
            teacher_seed=teaching.teacher_seed,
            scale=student.scale,
            seed=seed,
            student_init=student.student_init,
            order=student.order,
            teacher_statistics=teaching.teacher_statistics,
            teacher_view=teaching.teacher_view,
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


def _early(name: str, arguments: Sequence[str]) -> str:
    """The image set, on which the defaults of hyper-parameters depend."""
    parser = Parser(f"bench run {name}", "")
    parser.add_argument("--data", default="digits")
    rest = [one for one in arguments if one not in ("-h", "--help")]
    given: str = parser.parse_known_args(rest)[0].data
    return given


def _prefixed(name: str, arguments: Sequence[str], hyper: type[Any]) -> list[str]:
    """``arguments`` with ``hyper.`` before the hyper-parameters that are written without.

    A name that is an option of the run as well, such as ``teacher``, stays that.

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
    from deep.data import names as known
    from deep.data.sources import check_name

    path = Path(given).expanduser()
    if given not in known() and path.exists():
        kind = "parquet" if path.is_file() or any(path.glob("*.parquet")) else "folder"
        return f"{kind}:{path.resolve()}"
    return check_name(given)


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


def _normalized(recipe: Recipe, given: str | None, data: str) -> Recipe:
    """The recipe with a normalization that is asked for, or that fits the images."""
    from deep.data import normalization

    if given is not None:
        catalog.require("normalization", given, normalization.names())
    return replace(
        recipe, normalization=given or defaults.normalization_of(data, recipe.normalization)
    )


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
