"""What a training method is: its hyper-parameters, what it needs of the runner, and a pure loss.

A method is one module of `deep.methods`. First comes a plain public function on logits and labels,
which anyone can call in a loop of their own; then what the runner asks for:

- ``Hyper``: a frozen dataclass; its defaults are those of the paper. ``PAPER``, a dictionary, has
  the paper's values for the data sets where they differ from the defaults.
- ``needs(hyper)``: a `Needs`; what the runner must provide follows from it, and what a checkpoint
  must hold.
- ``loss(hyper, student, teacher, batch, state)`` wraps that function: terms by name, each with one
  value a sample, shape ``(..., batch)``; their sum is minimized, in the mean over the batch.
  Axes before the batch are members of an ensemble, which know nothing of each other.
- ``fit(hyper, teacher_logits, labels)``, where a method has one: the hyper-parameters with those
  filled in that are solved for on the training set before training starts.
- ``check(hyper, classes)``, where a method has one: raises ValueError for hyper-parameters that
  cannot work with so many classes. It is called before anything is trained, a teacher included.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

from theory import checks

if TYPE_CHECKING:
    from torch import Tensor

Option = bool | int | float | str | None

TEACHERS = ("final", "best", "average", "table")
"""What of a finished run can teach: the network after the last step, the network of its best
validation epoch, the moving average of its weights, the filtered table of its own predictions."""
STOPS = ("best", "last")
TABLE_STARTS = ("pass", "first", "debias")
AVERAGE_STARTS = ("copy", "own")
STATISTICS = ("stored", "batch")
"""How batch normalization of a network that is not trained works: with the statistics stored in it,
or with those of the batch at hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterTable:
    r"""A table of a run's own predictions, one row a sample, filtered over epochs.

    .. math:: q_n \leftarrow (1 - a) q_n + a \, \sigma(z(x_n) / \tau)

    once an epoch, with the prediction of the training step that visits the sample (its augmented
    view, the batch's statistics) [Ren 2022, Algorithm 1 and released code].
    """

    smoothing: float = 0.05
    """a in (0, 1]."""
    init: str = "pass"
    """``"pass"``: what the untrained network predicts (Algorithm 1), computed when a sample is
    first visited, from the view and with the statistics of that step; ``"first"``: the first
    prediction (released code); ``"debias"``: zeros, divided by 1 - (1 - a)^m at the end."""
    temperature: float = 1.0
    """tau of the predictions that enter."""

    def __post_init__(self) -> None:
        if not 0 < checks.scalar("smoothing", self.smoothing) <= 1:
            msg = f"smoothing must be in (0, 1], got {self.smoothing}"
            raise ValueError(msg)
        checks.choice("init", self.init, TABLE_STARTS)
        checks.temperature("temperature", self.temperature)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightAverage:
    r"""A moving average of weights, :math:`\bar w \leftarrow d \bar w + (1 - d) w` after each step.

    With ``warmup``, d is the smaller of ``decay`` and 1 - 1/(step + 1), step counted from 1.
    Buffers are not averaged but copied.
    """

    decay: float = 0.999
    warmup: bool = False
    start: str = "copy"
    """``"copy"`` of the network at its start, or its ``"own"`` random initialization."""
    statistics: str = "stored"
    """Of batch normalization when the average predicts: ``"stored"`` or ``"batch"``."""

    def __post_init__(self) -> None:
        checks.fraction("decay", self.decay)
        checks.flag("warmup", self.warmup)
        checks.choice("start", self.start, AVERAGE_STARTS)
        checks.choice("statistics", self.statistics, STATISTICS)


@dataclass(frozen=True, slots=True, kw_only=True)
class PastCopies:
    """Copies of the network's own past weights, passed on every ``interval`` epochs.

    Before step t = 1, 2, ... with t a multiple of the interval in steps, copy i takes the weights
    of copy i - 1, last copy first, and copy 1 those of the network [Wang 2020, section 3.3].
    All copies begin as the initial network.
    """

    copies: int = 1
    interval: float = 25.0
    """In epochs; fractions are allowed, less than a step is one step."""
    statistics: str = "stored"
    """Of batch normalization when a copy predicts: ``"stored"`` with it, or ``"batch"``."""

    def __post_init__(self) -> None:
        checks.integer("copies", self.copies, minimum=1)
        checks.positive("interval", checks.scalar("interval", self.interval))
        checks.choice("statistics", self.statistics, STATISTICS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a loss must be given, and what a first stage must have kept."""

    teacher: str | None = None
    """None, or which part of a finished run teaches: one of `TEACHERS`."""
    stop: str = "best"
    """Which filtered table teaches: of the ``"best"`` validation epoch, or the ``"last"``."""
    taught_by: "MethodSpec | None" = None
    """The method that trains the teacher, where it must be a certain one; one-hot labels else."""
    table: FilterTable | None = None
    """The table that the teacher keeps while it trains."""
    kept_average: WeightAverage | None = None
    """The average of its weights that the teacher keeps while it trains."""
    average: WeightAverage | None = None
    """The student's own average, whose logits the loss is given."""
    past: PastCopies | None = None
    """The student's own past copies, whose logits the loss is given."""
    posterior: bool = False
    """The law of the label given the image."""
    draws: int = 0
    """Uniform random numbers in (0, 1) for each sample and step."""
    batch: bool = False
    """Whether the loss of a sample depends on the others in its batch."""

    def __post_init__(self) -> None:
        if self.teacher is not None:
            checks.choice("teacher", self.teacher, TEACHERS)
        checks.choice("stop", self.stop, STOPS)


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a network says of a batch."""

    logits: "Tensor"
    """Shape (..., batch, classes). Of a filtered table: logarithms of its rows, -inf for 0."""
    taps: "Mapping[str, Tensor]" = field(default_factory=dict)
    """Representations by the name of their tap, where a method asks for some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What else a loss may depend on."""

    labels: "Tensor"
    """Given labels, int64 of shape (..., batch)."""
    step: int = 0
    """Updates made before this one."""
    steps: int = 1
    """Updates of the whole run."""
    draws: "Tensor | None" = None
    """Shape (..., batch, ``Needs.draws``), in (0, 1)."""

    @property
    def progress(self) -> float:
        """Share of the training that is done, in [0, 1)."""
        return self.step / self.steps


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the runner keeps for a method, as far as it needs it. No gradient flows through it."""

    past: "Tensor | None" = None
    """Logits of the past copies, the youngest first: (copies, ..., batch, classes)."""
    trained: int = 0
    """How many of them hold weights after at least one update; the others are the initial net."""
    average: "Tensor | None" = None
    """Logits of the average of the student's weights: (..., batch, classes)."""
    posterior: "Tensor | None" = None
    """Law of the label given the image: (..., batch, classes)."""


@dataclass(frozen=True, slots=True)
class MethodSpec:
    """A method with all its hyper-parameters; made by `deep.methods.spec`."""

    name: str
    options: tuple[tuple[str, Option], ...] = ()
    """Hyper-parameters by name, defaults filled in."""


@dataclass(frozen=True, slots=True)
class Method:
    """A module of `deep.methods`, as the runner sees it."""

    name: str
    title: str
    """First line of its documentation, without the full stop."""
    Hyper: type[Any]
    needs: Callable[[Any], Needs]
    loss: "Callable[[Any, Outputs, Outputs | None, Batch, State], dict[str, Tensor]]"
    fit: Callable[..., Any] | None
    check: Callable[[Any, int], None] | None
    paper: Mapping[str, Any]
    """Hyper-parameters for the data sets where they differ from the defaults."""

    @classmethod
    def of(cls, module: ModuleType) -> "Method":
        """The method that a module of this name defines.

        Raises:
            ValueError: If the module lacks something that a method must have.
        """
        missing = [name for name in ("Hyper", "needs", "loss") if not hasattr(module, name)]
        title = (module.__doc__ or "").strip().partition("\n")[0].removesuffix(".")
        if not title:
            missing.insert(0, "a documentation whose first line is its title")
        if missing:
            msg = f"{module.__name__} must have Hyper, needs, loss and a title to be a method, but "
            msg += f"lacks {', '.join(missing)}"
            raise ValueError(msg)
        return cls(
            module.__name__.rpartition(".")[2],
            title,
            module.Hyper,
            module.needs,
            module.loss,
            getattr(module, "fit", None),
            getattr(module, "check", None),
            getattr(module, "PAPER", {}),
        )
