r"""Do soft labels lower the variance? Networks over draws of data and teachers, taken apart.

Zhou et al. 2021 assume that a student of a teacher varies less, over training data and teachers,
than a student of the labels, and that its bias is larger; regularization samples, where the
teacher outweighs the label, are said to be how. Here small networks are trained on many draws of
the data, with several teachers each, at several temperatures, and their test error is taken apart
into noise, bias and variance, and the variance into what data and what teachers make of it. The
teachers are trained on labels as they are, on smoothed labels, or stopped early; the labels are
right or partly wrong; and the toy of Ren et al. 2022 has a known posterior, and so noise.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deep.data import fingerprint, load_labels, names
from sims.parts.bias_variance_case import COUNTS, QUANTITIES, TOY, Case, measure
from sims.parts.bias_variance_findings import findings
from sims.parts.limits import SEED, within
from sims.results import Result
from theory import checks
from theory.checks import Array
from theory.statistics import Interval, jackknife_interval, t_interval

if TYPE_CHECKING:
    from sims.context import Context

_INSIDE, _BETWEEN = QUANTITIES.index("within"), QUANTITIES.index("between")


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults: laptop size, digits and the toy, some 20 s on two cores."""

    data: str = "digits"
    """Image set: digits (embedded), mnist, cifar10 or cifar100 (from the data root)."""
    samples: int = 200
    """Training samples of each draw."""
    test_samples: int = 1000
    """Test samples at most."""
    draws: int = 16
    """Draws of the training data, the units of every interval."""
    teachers: int = 3
    """Teachers of each draw, which differ in initial weights and order of batches."""
    temperatures: tuple[float, ...] = (1.0, 2.0, 4.0)
    """Temperatures of student and teacher in the distillation loss."""
    noise: float = 0.2
    """Fraction of wrong training labels, in the settings that have any."""
    smoothing: float = 0.1
    """Weight of the uniform distribution in smoothed labels."""
    width: int = 32
    """Units in each of the two hidden layers of a student."""
    teacher_width: int = 64
    """Units in each of the two hidden layers of a teacher."""
    epochs: int = 60
    """Passes of students over the data; a teacher that is stopped early stops at a quarter."""
    learning_rate: float = 3e-3
    """Learning rate of Adam."""
    batch: int = 32
    """Samples a step."""
    records: int = 10
    """Moments of training at which students are looked at, at most."""
    seed: int = 0
    """Seed of the first draw; the others follow."""

    def __post_init__(self) -> None:
        checks.choice("data", self.data, names())
        within(
            self,
            samples=(20, 10**6),
            test_samples=(10, 10**6),
            draws=(3, 500),
            teachers=(2, 50),
            noise=(1e-3, 1.0),
            smoothing=(1e-3, 1.0),
            width=(1, 4096),
            teacher_width=(1, 4096),
            epochs=(4, 10**5),
            learning_rate=(1e-8, 1.0),
            batch=(1, 10**6),
            records=(3, 1000),
            seed=SEED,
        )
        given = self.temperatures
        if not given or len(set(given)) < len(given) or not all(0 < t <= 1e3 for t in given):
            msg = f"temperatures must be different numbers in (0, 1000], got {given}"
            raise ValueError(msg)

    @classmethod
    def smoke(cls) -> "Config":
        """Under 2 s: tiny networks, three draws."""
        return cls(
            samples=40,
            test_samples=50,
            draws=3,
            teachers=2,
            temperatures=(1.0, 4.0),
            width=8,
            teacher_width=12,
            epochs=8,
            records=4,
        )

    @classmethod
    def demo(cls) -> "Config":
        """Some eight seconds on two cores."""
        return cls(draws=10, teachers=2, epochs=40)

    @classmethod
    def paper(cls) -> "Config":
        """Many draws of more data, longer; no paper has this experiment. Minutes."""
        return cls(
            samples=500, draws=40, teachers=6, width=128, teacher_width=256, epochs=150, records=16
        )


def inputs(config: Config, context: "Context") -> str:
    """Digest of the files that hold the images.

    Raises:
        ValueError: If they are not there.
    """
    return fingerprint(config.data, root=context.data_root)


def settings(config: Config) -> dict[str, Case]:
    """Every setting by its name in figures and sentences."""
    clean = Case(
        data=config.data,
        samples=config.samples,
        test_samples=config.test_samples,
        noise=0.0,
        teacher_smoothing=0.0,
        smoothing=config.smoothing,
        draws=config.draws,
        teachers=config.teachers,
        temperatures=config.temperatures,
        width=config.width,
        teacher_width=config.teacher_width,
        epochs=config.epochs,
        teacher_epochs=config.epochs,
        learning_rate=config.learning_rate,
        batch=config.batch,
        records=config.records,
        seed=config.seed,
    )
    wrong = replace(clean, noise=config.noise)
    share = f"{100 * config.noise:g} % wrong labels"
    return {
        config.data: clean,
        f"{config.data}, smoothed teacher": replace(clean, teacher_smoothing=config.smoothing),
        f"{config.data}, {share}": wrong,
        f"{config.data}, {share}, smoothed teacher": replace(
            wrong, teacher_smoothing=config.smoothing
        ),
        f"{config.data}, {share}, teacher stopped early": replace(
            wrong, teacher_epochs=config.epochs // 4
        ),
        "Gaussian toy": replace(clean, data=TOY),
    }


def run(config: Config, context: "Context") -> Result:
    """Train every setting, then set students of teachers against students of labels.

    Axes of the arrays: S settings; C conditions (teachers, students of labels, of smoothed labels,
    and of teachers at each of R temperatures); Q quantities; the last axis of 3 is estimate, low
    and high end of the 95 % interval over draws of the data.
    """
    digest, root = inputs(config, context), context.data_root
    _enough(config, context)
    cases = {
        name: replace(case, inputs=digest, root=root) for name, case in settings(config).items()
    }
    measured = context.map(measure, list(cases.values()), description="training over draws")
    tables = [_corrected(each["table"], config.teachers) for each in measured]
    first = next(iter(cases.values()))
    arrays: dict[str, NDArray[Any]] = {
        "setting": np.array(list(cases)),
        "condition": np.array(first.conditions),
        "quantity": np.array(QUANTITIES),
        "temperature": np.array(config.temperatures),
        "count": np.array(COUNTS),
        "draws": np.array(config.draws),
        "teachers": np.array(config.teachers),
        "estimate": np.array([_intervals(table) for table in tables]),
        "difference": np.array([_intervals(_taught(table)) for table in tables]),
        "train_accuracy": np.array([each["train_accuracy"] for each in measured]),
        "epochs": measured[0]["epochs"],
        "path": np.array([each["path"] for each in measured]),
        "share": np.array([_over_draws(each["counts"]) for each in measured]),
        "share_by_draw": np.array([each["counts"] for each in measured]),
        "plane": np.array([each["plane"] for each in measured]),
        "plane_epochs": measured[0]["plane_epochs"],
    }
    return Result("bias_variance", config, arrays, findings(arrays))  # type: ignore[arg-type]


def _enough(config: Config, context: "Context") -> None:
    """Refuse more samples than there are before any network is trained.

    Raises:
        ValueError: If there are fewer than ``samples``.
    """
    held = len(load_labels(config.data, split="train", root=context.data_root))
    if config.samples > held:
        msg = f"samples must be at most the {held} that {config.data} has, got {config.samples}"
        raise ValueError(msg)


def _corrected(table: Array, teachers: int) -> Array:
    """Variance within and between as of endless teachers.

    Over few teachers the variance around their own mean is too small by one part in their number,
    and that part is counted between the draws. Conditions without teachers have nothing within.
    """
    fixed = table.copy()
    inside = table[..., _INSIDE]
    fixed[..., _INSIDE] += inside / (teachers - 1)
    fixed[..., _BETWEEN] -= inside / (teachers - 1)
    return fixed


def _taught(table: Array) -> Array:
    """Students of teachers less students of labels, draw by draw."""
    return np.asarray(table[3:] - table[1])


def _intervals(table: Array) -> Array:
    """Bias-corrected jackknife over draws: (conditions, 1 + draws, Q) to (conditions, Q, 3)."""
    return np.array(
        [
            [
                _ends(jackknife_interval(column[1:], float(column[0]), correct_bias=True))
                for column in condition.T
            ]
            for condition in table
        ]
    )


def _over_draws(counts: Array) -> Array:
    """Means over draws with t intervals: (R, E, draws, counts) to (R, E, counts, 3)."""
    flat = np.moveaxis(counts, 2, -1)
    rows = [_ends(t_interval(values)) for values in flat.reshape(-1, flat.shape[-1])]
    return np.reshape(rows, (*flat.shape[:-1], 3))


def _ends(interval: Interval) -> list[float]:
    return [interval.estimate, interval.low, interval.high]
