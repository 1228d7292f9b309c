"""What a training run is: everything that its numbers depend on, and nothing else."""

from dataclasses import dataclass, field
from typing import Literal

from deep.data.spec import DataSpec
from deep.models import ModelSpec
from deep.training.optimizers import Optimizer
from theory import checks

Stream = Literal["own", "teacher"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervision:
    r"""Targets q of the loss :math:`-c \sum_k q_k \ln \sigma(z / \tau)_k`.

    >>> distillation = Supervision(kind="teacher", temperature=4.0)
    >>> hard_labels_through_the_same_loss = Supervision(temperature=4.0)
    """

    kind: str = "labels"
    r"""``"labels"``; ``"smooth"``: labels mixed with the uniform distribution; ``"teacher"``: the
    teacher's :math:`\sigma(z_T / \tau)`; ``"teacher_confidence"``: the label carries the mean of
    the teacher's largest probability :math:`\sigma(z_T / \tau)`, the others share the rest."""
    temperature: float = 1.0
    r"""Temperature :math:`\tau` of the student's prediction, and of the teacher's."""
    factor: str = "tau2"
    """The factor c: ``"1"``, ``"tau"``, ``"tau2"`` or ``"2tau2"``."""
    smoothing: float = 0.0
    """Weight of the uniform distribution where ``kind`` is ``"smooth"``."""

    def __post_init__(self) -> None:
        kinds = ("labels", "smooth", "teacher", "teacher_confidence")
        checks.choice("kind of supervision", self.kind, kinds)
        _positive("temperature", self.temperature)
        checks.choice("factor", self.factor, ("1", "tau", "tau2", "2tau2"))
        checks.fraction("smoothing", self.smoothing)
        if self.smoothing and self.kind != "smooth":
            msg = f"smoothing must be 0 unless kind is 'smooth', got {self.smoothing}"
            raise ValueError(msg)

    @property
    def needs_teacher(self) -> bool:
        """Whether the targets depend on a teacher's outputs."""
        return self.kind.startswith("teacher")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """One training run. Equal configs give equal numbers on one machine.

    A run is one of several with the same ``seed``: the teacher, its students, the baselines. Its
    ``stream`` says which, and ``student_init`` and ``order`` whether it draws its initial weights
    and its batches from its own stream or from the teacher's.

    >>> from deep.models import spec
    >>> teacher = RunConfig(model=spec("mlp", width=8), epochs=2, stream="teacher")
    >>> student = RunConfig(
    ...     model=spec("mlp", width=8),
    ...     epochs=2,
    ...     teacher=teacher,
    ...     student_init="teacher",
    ...     supervision=Supervision(kind="teacher", temperature=4.0),
    ... )
    >>> student.init_key == teacher.init_key, student.order_key == teacher.order_key
    (True, False)
    """

    model: ModelSpec
    data: DataSpec = field(default_factory=DataSpec)
    supervision: Supervision = field(default_factory=Supervision)
    optimizer: Optimizer = field(default_factory=Optimizer)
    epochs: int = 1
    seed: int = 0
    stream: str = "student"
    """Name of this run among those of its seed; a teacher's is ``"teacher"``."""
    student_init: Stream = "own"
    order: Stream = "own"
    teacher: "RunConfig | None" = None
    precision: str = "float32"
    """``"float32"`` or ``"float64"``."""

    def __post_init__(self) -> None:
        for name, kind in _PARTS.items():
            if not isinstance(getattr(self, name), kind):
                msg = f"{name} must be of type {kind.__name__}, got {getattr(self, name)!r}"
                raise ValueError(msg)  # noqa: TRY004  # bad input is a ValueError throughout
        checks.integer("epochs", self.epochs)
        checks.integer("seed", self.seed)
        _name("stream", self.stream)
        checks.choice("student_init", self.student_init, ("own", "teacher"))
        checks.choice("order", self.order, ("own", "teacher"))
        checks.choice("precision", self.precision, ("float32", "float64"))
        if self.supervision.needs_teacher and self.teacher is None:
            msg = f"teacher must be given for supervision {self.supervision.kind!r}, got None"
            raise ValueError(msg)
        if self.teacher is not None:
            self._check_teacher(self.teacher)

    def _check_teacher(self, teacher: object) -> None:
        if not isinstance(teacher, RunConfig):
            msg = f"teacher must be a RunConfig or None, got {teacher!r}"
            raise ValueError(msg)  # noqa: TRY004  # bad input is a ValueError throughout
        if teacher.data != self.data:
            msg = "data of teacher and student must be the same samples with the same labels"
            raise ValueError(msg)
        if self.student_init == "teacher" and teacher.model != self.model:
            msg = (
                "student_init must be 'own' where the student is another network than its teacher, "
                f"got 'teacher' with {self.model} after {teacher.model}"
            )
            raise ValueError(msg)

    @property
    def init_key(self) -> tuple[str, int]:
        """Stream and seed of the initial weights."""
        if self.student_init == "own":
            return self.stream, self.seed
        return self.teacher.init_key if self.teacher else ("teacher", self.seed)

    @property
    def order_key(self) -> tuple[str, int]:
        """Stream and seed of the batch order."""
        if self.order == "own":
            return self.stream, self.seed
        return self.teacher.order_key if self.teacher else ("teacher", self.seed)


_PARTS = {
    "model": ModelSpec,
    "data": DataSpec,
    "supervision": Supervision,
    "optimizer": Optimizer,
}


def _positive(name: str, value: float) -> None:
    checks.positive(name, checks.scalar(name, value))


def _name(name: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        msg = f"{name} must be a name, got {value!r}"
        raise ValueError(msg)
