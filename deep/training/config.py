"""What a benchmark run is: everything that its numbers depend on, and nothing else."""

from dataclasses import dataclass, field
from typing import Literal

from deep import methods
from deep.data.spec import DataSpec
from deep.method import STATISTICS, FilterTable, MethodSpec, Needs, WeightAverage
from deep.models import ModelSpec
from deep.training.recipes import Recipe
from theory import checks

PRECISIONS = ("float32", "tf32", "bf16")
Stream = Literal["own", "teacher"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeps:
    """What a run keeps for its students while it trains, beside its weights."""

    table: FilterTable | None = None
    average: WeightAverage | None = None


@dataclass(frozen=True, slots=True)
class ImportedTeacher:
    """A network that was trained elsewhere and imported, by the digest of its weights."""

    model: ModelSpec
    weights: str
    """SHA-256 over names, shapes and bytes of its weights, which names it in the store."""
    normalization: str
    """How its inputs are normalized, by the name in `deep.data.normalization`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """One training run. Equal configs give equal numbers on one kind of device.

    They are equal to the last bit where a CPU trains the run alone, interrupted or not, and up to
    rounding where it trains together with others (``trained_with`` in the record) or elsewhere.

    A run is one of several with the same ``seed``, which share initialization, batch order,
    augmentation and flipped labels (a paired design). A teacher's ``stream`` is another, and so are
    its draws; ``student_init`` and ``order`` say otherwise.
    """

    model: ModelSpec
    recipe: Recipe
    data: DataSpec = field(default_factory=DataSpec)
    method: MethodSpec = field(default_factory=lambda: methods.spec("one_hot"))
    teacher: "RunConfig | ImportedTeacher | None" = None
    scale: float = 1.0
    """Factor on the number of updates, with milestones and intervals; never on the data."""
    seed: int = 0
    stream: str = "student"
    """Name of this run among those of its seed; a teacher's is ``"teacher"``."""
    student_init: Stream = "own"
    """Whose initial weights: its own stream's, or ``"teacher"``'s (Nagarajan 2023, appendix D)."""
    order: Stream = "own"
    """Whose batches and views."""
    teacher_statistics: str = "stored"
    """Batch normalization of the teacher: ``"stored"`` statistics (evaluation mode, the papers), or
    the ``"batch"``'s (training mode, the released code of Zhou 2021)."""
    teacher_view: str = "augmented"
    """What the teacher sees: the student's ``"augmented"`` view, or always the ``"plain"`` image,
    one row of outputs a sample, as a table has (Ren 2022 compares with such a table)."""
    teacher_dtype: str = "float32"
    """In which numbers what the teacher says is kept: ``"float32"``, or ``"float16"``, half the
    space of a table of views, rounded (`deep.training.teacher_views.storage_error`)."""
    keeps: Keeps = field(default_factory=Keeps)
    precision: str = "float32"
    """``"float32"``; ``"tf32"``: its products with 10 bits of mantissa; ``"bf16"``: mixed. The
    latter two change numbers and need a GPU."""

    def __post_init__(self) -> None:
        checks.positive("scale", checks.scalar("scale", self.scale))
        checks.integer("seed", self.seed)
        checks.choice("student_init", self.student_init, ("own", "teacher"))
        checks.choice("order", self.order, ("own", "teacher"))
        checks.choice("teacher_statistics", self.teacher_statistics, STATISTICS)
        checks.choice("teacher_view", self.teacher_view, ("augmented", "plain"))
        checks.choice("teacher_dtype", self.teacher_dtype, ("float32", "float16"))
        checks.choice("precision", self.precision, PRECISIONS)
        needs = self.needs()
        if needs.teacher and self.teacher is None:
            msg = f"teacher must be given for method {self.method.name!r}, got None"
            raise ValueError(msg)
        if self.teacher is not None:
            self._check_teacher(needs)
        self._check_shared()

    def _check_teacher(self, needs: Needs) -> None:
        teacher = self.teacher
        if isinstance(teacher, ImportedTeacher):
            if needs.teacher not in (None, "final"):
                may = "taught_by" in dict(self.method.options)
                hint = ", or choose taught_by='final'" if may else ""
                msg = (
                    f"teacher of {self.method.name!r} must be trained here: of an imported network "
                    f"the {needs.teacher} is not known{hint}"
                )
                raise ValueError(msg)
        elif isinstance(teacher, RunConfig):
            self._check_trained(teacher, needs)

    def _check_shared(self) -> None:
        """Whether what is to be shared with the teacher is known."""
        for name in ("student_init", "order"):
            if getattr(self, name) == "teacher" and not isinstance(self.teacher, RunConfig):
                why = "there is no teacher" if self.teacher is None else "the teacher was imported"
                msg = f"{name} must be 'own' where {why}: its streams are not known, got 'teacher'"
                raise ValueError(msg)
        alike = self.teacher is not None and self.teacher.model == self.model
        if self.student_init == "teacher" and not alike:
            msg = "student_init must be 'own' where the student is another network than its teacher"
            raise ValueError(msg)

    def _check_trained(self, teacher: "RunConfig", needs: Needs) -> None:
        if teacher.data != self.data or teacher.recipe.validation != self.recipe.validation:
            msg = "data and validation share of teacher and student must be the same"
            raise ValueError(msg)
        if needs.taught_by is not None and teacher.method != needs.taught_by:
            msg = (
                f"teacher of {self.method.name!r} must be trained by {needs.taught_by}, got "
                f"{teacher.method}; `deep.training.arrange.arranged` makes such a teacher"
            )
            raise ValueError(msg)
        if needs.teacher == "best" and not teacher.recipe.validation:
            msg = (
                f"validation must be > 0 for {self.method.name!r}, which is taught by the epoch "
                "that was best on held-out samples; choose a recipe that holds some out, or say "
                "how many"
            )
            raise ValueError(msg)
        if needs.teacher == "table" and needs.stop == "best" and not teacher.recipe.validation:
            msg = (
                f"validation must be > 0 for {self.method.name!r}, which is taught by the table of "
                "the epoch that was best on held-out samples; hold some out, or choose stop='last'"
            )
            raise ValueError(msg)
        if needs.table is not None and teacher.keeps.table != needs.table:
            msg = f"teacher must keep {needs.table}, got {teacher.keeps.table}"
            raise ValueError(msg)
        if needs.kept_average is not None and teacher.keeps.average != needs.kept_average:
            msg = f"teacher must keep {needs.kept_average}, got {teacher.keeps.average}"
            raise ValueError(msg)

    def needs(self) -> Needs:
        """What the method of this run must be given."""
        return methods.get(self.method.name).needs(methods.hyper(self.method))

    @property
    def init_key(self) -> tuple[str, int]:
        """Stream and seed of the initial weights."""
        return self._key("init_key", self.student_init)

    @property
    def order_key(self) -> tuple[str, int]:
        """Stream and seed of batches and views."""
        return self._key("order_key", self.order)

    def _key(self, name: str, whose: Stream) -> tuple[str, int]:
        if whose == "own" or not isinstance(self.teacher, RunConfig):
            return self.stream, self.seed
        key: tuple[str, int] = getattr(self.teacher, name)
        return key
