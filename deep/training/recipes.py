r"""The papers' recipes as data: how long, how fast, on which views, and which epoch counts.

| recipe | epochs | batch | learning rate | decay | views | source |
|---|---|---|---|---|---|---|
| ``crd`` | 240 | 64 | .05, /10 after 150, 180, 210 | 5e-4 | crop 4, flip | Zhou 2021; Nagarajan 2023 (v2); Tian et al. 2020 |
| ``overhaul`` | 200 | 128 | .1 Nesterov, /10 after 100, 150 | 5e-4 | reflecting crop 4, flip | Zhou 2021, code |
| ``ren`` | 200 | 256 | .1, cosine to 1e-5 | 5e-4 | crop 4, flip | Ren 2022 |
| ``ren_noisy`` | 100 | 128 | .1, cosine to 1e-5 | 5e-4 | crop 4, flip | Ren 2022, noisy labels |
| ``zhang_sabuncu`` | 150 | 128 | .1, /10 after 50, 100 | 1e-4 | crop 4, flip | Zhang 2020 |
| ``wang`` | 200 | 128 | .1, cosine to 1e-4 | 5e-4 | crop 4, flip | Wang 2020 |
| ``nagarajan_v1`` | 450 | 1024 | 1 Nesterov, 15 epochs of warm-up, /10 after 200, 300, 400 | 5e-4 | crop 4, flip | Nagarajan 2023 |
| ``nagarajan_v2`` | 240 | 64 | .05 Nesterov, 1 epoch of warm-up, /10 after 150, 180, 210 | 5e-4 | crop 4, flip | Nagarajan 2023 |
| ``ren_toy`` | 100 | 32 | 5e-4 | 0 | none | Ren 2022, appendix C and code |
| ``nagarajan_features`` | 40 | 128 | Adam, 1e-3 | 0 | none | Nagarajan 2023, Table 7: random features |
| ``nagarajan_mlp`` | 20 | 32 | Adam, 1e-4 | 0 | none | Nagarajan 2023, Table 7: dense network |
| ``nagarajan_cnn`` | 40 | 128 | Adam, 1e-4 | 0 | none | Nagarajan 2023, Table 7: small CNN |
| ``digits`` | 30 | 64 | .05, cosine to 0 | 1e-4 | none | chosen here, for small images |

Rates without a schedule are constant; SGD has a momentum of .9.
"""  # noqa: E501

import math
from dataclasses import dataclass, field

from deep.training.optimizers import Optimizer
from theory import checks

SCHEDULES = ("steps", "cosine", "constant")
VIEWS = ("none", "crop_flip", "reflect_crop_flip")
SELECTIONS = ("last", "best")
TIES = ("earlier", "later")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The learning rate over training, as a factor on the optimizer's.

    >>> drop = Schedule(milestones=(2.0,))
    >>> [drop.factor(step, per_epoch=10.0, epochs=4) for step in (0, 19, 20)]
    [1.0, 1.0, 0.1]
    """

    kind: str = "steps"
    """``"steps"``: times ``decay`` at each milestone; ``"cosine"``: by epoch, to ``floor``;
    ``"constant"``."""
    milestones: tuple[float, ...] = ()
    """In epochs that are done: a milestone of 150 changes the 151st."""
    decay: float = 0.1
    floor: float = 0.0
    """Of a cosine: the last factor, a share of the optimizer's learning rate."""
    warmup: float = 0.0
    """Epochs over which the factor grows linearly, step by step, from its first share to 1."""

    def __post_init__(self) -> None:
        checks.choice("schedule", self.kind, SCHEDULES)
        for name in ("decay", "floor"):
            checks.fraction(name, getattr(self, name))
        checks.nonnegative("warmup", checks.scalar("warmup", self.warmup))
        for milestone in self.milestones:
            checks.positive("milestones", checks.scalar("milestones", milestone))

    def factor(self, step: int, *, per_epoch: float, epochs: float) -> float:
        """The factor for the update after ``step`` others.

        Args:
            step: Updates done, from 0.
            per_epoch: Updates in an epoch of the recipe, after scaling; may be fractional.
            epochs: Epochs of the recipe.
        """
        rising = min(1.0, (step + 1) / (self.warmup * per_epoch)) if self.warmup else 1.0
        if self.kind == "constant":
            return rising
        if self.kind == "cosine":
            done = math.floor(step / per_epoch + 1e-9) / epochs
            return rising * (self.floor + (1 - self.floor) * (1 + math.cos(math.pi * done)) / 2)
        # the first update has passed none, however few there are
        places = (max(1, round(milestone * per_epoch)) for milestone in self.milestones)
        passed = sum(step >= place for place in places)
        return float(rising * self.decay**passed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained, apart from what its loss is."""

    name: str
    epochs: float
    optimizer: Optimizer
    schedule: Schedule = field(default_factory=Schedule)
    views: str = "crop_flip"
    """``"none"``; ``"crop_flip"``: a window of the image in a frame of ``pad`` black pixels, one of
    (2 pad + 1)^2, mirrored or not: 162 views for 4; ``"reflect_crop_flip"``: the frame mirrors the
    image."""
    pad: int = 4
    normalization: str = "cifar100"
    """Channel means and deviations, by their name in `deep.data.normalization`."""
    validation: float = 0.0
    """Share of the training samples held out, stratified, to choose an epoch by."""
    select: str = "last"
    """Which epoch the recipe's authors report: ``"last"``, or ``"best"`` on validation."""
    ties: str = "earlier"
    """Which of the epochs that are equally good on validation is the best: the ``"earlier"``
    (Ren 2022, code) or the ``"later"`` (Zhang 2020, code)."""
    drop_last: bool = False
    """Whether the last, smaller batch of an epoch is left out."""

    def __post_init__(self) -> None:
        checks.positive("epochs", checks.scalar("epochs", self.epochs))
        # "gd" has no batches, and no order
        checks.choice("optimizer of a recipe", self.optimizer.name, ("sgd", "adam"))
        checks.choice("views", self.views, VIEWS)
        checks.integer("pad", self.pad)
        checks.choice("select", self.select, SELECTIONS)
        checks.choice("ties", self.ties, TIES)
        checks.flag("drop_last", self.drop_last)
        if not 0 <= checks.scalar("validation", self.validation) < 1:
            msg = f"validation must be a share in [0, 1), got {self.validation}"
            raise ValueError(msg)
        if self.select == "best" and not self.validation:
            msg = "validation must be > 0 where the best epoch is reported: no test set selects"
            raise ValueError(msg)

    def steps_per_epoch(self, samples: int) -> int:
        """Updates in one pass over ``samples``.

        Raises:
            ValueError: If ``drop_last`` leaves none.
        """
        if self.drop_last:
            whole = samples // self.optimizer.batch
            if not whole:
                msg = (
                    f"batch must be at most the {samples} samples there are where the last batch "
                    f"is dropped, got {self.optimizer.batch}"
                )
                raise ValueError(msg)
            return whole
        return self.optimizer.steps_per_epoch(samples)

    def steps(self, samples: int, scale: float = 1.0) -> int:
        """Updates of a run at ``scale``, at least one."""
        return max(1, round(scale * self.epochs * self.steps_per_epoch(samples)))

    def learning_rate(self, step: int, samples: int, scale: float = 1.0) -> float:
        """The learning rate of the update after ``step`` others, at ``scale``."""
        per_epoch = scale * self.steps_per_epoch(samples)
        factor = self.schedule.factor(step, per_epoch=per_epoch, epochs=self.epochs)
        return self.optimizer.learning_rate * factor


def _sgd(rate: float, batch: int, decay: float = 5e-4, *, nesterov: bool = False) -> Optimizer:
    return Optimizer(
        name="sgd",
        learning_rate=rate,
        batch=batch,
        momentum=0.9,
        nesterov=nesterov,
        weight_decay=decay,
    )


def _adam(name: str, epochs: int, *, rate: float, batch: int) -> Recipe:
    """One of the checks of theory of Nagarajan 2023, appendix D, on images as they are."""
    return Recipe(
        name=name,
        epochs=epochs,
        optimizer=Optimizer(name="adam", learning_rate=rate, batch=batch),
        schedule=Schedule(kind="constant"),
        views="none",
        normalization="unit",
    )


_TIAN = (150.0, 180.0, 210.0)
_RECIPES = (
    Recipe(
        name="crd",
        epochs=240,
        optimizer=_sgd(0.05, 64),
        schedule=Schedule(milestones=_TIAN),
    ),
    Recipe(
        name="overhaul",
        epochs=200,
        optimizer=_sgd(0.1, 128, nesterov=True),
        schedule=Schedule(milestones=(100.0, 150.0)),
        views="reflect_crop_flip",
        normalization="overhaul",
    ),
    Recipe(
        name="ren",
        epochs=200,
        optimizer=_sgd(0.1, 256),
        schedule=Schedule(kind="cosine", floor=1e-4),
        normalization="cifar10",
        validation=0.05,
    ),
    Recipe(
        name="ren_noisy",
        epochs=100,
        optimizer=_sgd(0.1, 128),
        schedule=Schedule(kind="cosine", floor=1e-4),
        normalization="cifar10",
        validation=0.1,
    ),
    Recipe(
        name="zhang_sabuncu",
        epochs=150,
        optimizer=_sgd(0.1, 128, 1e-4),
        schedule=Schedule(milestones=(50.0, 100.0)),
        validation=0.1,
        select="best",
        ties="later",
    ),
    Recipe(
        name="wang",
        epochs=200,
        optimizer=_sgd(0.1, 128),
        schedule=Schedule(kind="cosine", floor=1e-3),
    ),
    Recipe(
        name="nagarajan_v1",
        epochs=450,
        optimizer=_sgd(1.0, 1024, nesterov=True),
        # the paper says "steps" and not which: chosen here
        schedule=Schedule(milestones=(200.0, 300.0, 400.0), warmup=15),
    ),
    Recipe(
        name="nagarajan_v2",
        epochs=240,
        optimizer=_sgd(0.05, 64, nesterov=True),
        schedule=Schedule(milestones=_TIAN, warmup=1),
    ),
    Recipe(
        name="ren_toy",
        epochs=100,
        optimizer=_sgd(5e-4, 32, 0.0),
        schedule=Schedule(kind="constant"),
        views="none",
        normalization="gaussian",
        # 5, 5 and 90 % of 100,000 samples: half of what is not for testing
        validation=0.5,
        select="best",
    ),
    _adam("nagarajan_features", 40, rate=1e-3, batch=128),
    _adam("nagarajan_mlp", 20, rate=1e-4, batch=32),
    _adam("nagarajan_cnn", 40, rate=1e-4, batch=128),
    Recipe(
        name="digits",
        epochs=30,
        optimizer=_sgd(0.05, 64, 1e-4),
        schedule=Schedule(kind="cosine"),
        views="none",
        normalization="unit",
        validation=0.1,
    ),
)


def names() -> tuple[str, ...]:
    """Names of the recipes."""
    return tuple(recipe.name for recipe in _RECIPES)


def recipe(name: str) -> Recipe:
    """The recipe ``name``.

    >>> recipe("crd").steps(50_000), recipe("crd").steps(50_000, scale=1e-9)
    (187680, 1)

    Raises:
        ValueError: If there is none.
    """
    checks.choice("recipe", name, names())
    return next(one for one in _RECIPES if one.name == name)
