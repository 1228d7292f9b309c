"""Which method makes the better student? All of them on digits with flipped labels.

Every training method of the benchmark (`deep.methods`), with its paper's values, and the variants
that its paper has beside it, trains the same small network on the same digits, of whose labels a
share is flipped. All methods that need a teacher share one: the same network, trained on the same
labels. A seed stands for the student's initialization and the order of its batches, and is shared
by all methods, so that they are compared seed by seed.

With few samples and many passes over them a network that learns labels alone learns the flipped
ones by heart in the end, and so it matters which epoch is reported: the last one, the one that is
best on held-out samples (whose labels are as noisy), or the one that is best on the test set, which
many tables report and which nobody has without the test labels.

Training goes through the store of `stillroom bench`: what is trained here is listed there, and the
other way round. The papers' own tables are of other networks and images: see `stillroom bench`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deep import methods
from deep.records.store import Store
from sims.context import Context
from sims.parts.benchmark_findings import findings
from sims.parts.benchmark_runs import Job, Setting, teaching, trained
from sims.parts.benchmark_statistics import differences, means
from sims.parts.limits import SEED, within
from sims.results import Result

if TYPE_CHECKING:
    from sims.parts.benchmark_rows import Row

Arrays = dict[str, NDArray[Any]]
_AVAILABLE = 1442  # training digits
_SHARED = ("flipped", "train_samples", "test_samples", "classes")


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults: ten seeds, about a minute on two cores."""

    methods: tuple[str, ...] = ()
    """Methods to train, each with its variants; all there are if none is named."""
    seeds: int = 10
    """Students of each method."""
    width: int = 128
    """Units of each hidden layer, of teacher and student."""
    depth: int = 2
    """Hidden layers."""
    samples: int | None = 600
    """Digits to train on, a tenth of them held out to choose an epoch by; none for all there
    are."""
    noise: float = 0.2
    """Share of the training labels that are flipped to another class."""
    scale: float = 2.0
    """Updates, as a multiple of those that the recipe ``digits`` has (30 epochs)."""
    together: bool = True
    """Train the seeds of a method at once, as one stack of networks: in half the time for three of
    them, and the same up to rounding."""
    seed: int = 0
    """The first seed, and that of the samples, the flips and the teacher."""

    def __post_init__(self) -> None:
        within(
            self,
            seeds=(2, 1000),
            width=(1, 100_000),
            depth=(1, 100),
            noise=(0.01, 0.9),
            scale=(0.1, 1000),
            seed=(SEED[0], SEED[1] - 1000),
        )
        if self.samples is not None:
            within(self, samples=(50, _AVAILABLE))
        for name in self.methods:
            if name not in methods.names():
                methods.get(name)  # says which there are
        if self.methods and "one_hot" not in self.methods:
            msg = f"methods must include 'one_hot', with which all are compared, got {self.methods}"
            raise ValueError(msg)

    @classmethod
    def demo(cls) -> "Config":
        """Three seeds, about half a minute."""
        return cls(seeds=3)

    @classmethod
    def paper(cls) -> "Config":
        """All digits, 300 epochs, 20 seeds: larger; no paper has this table.

        Those of the papers, on CIFAR, are the work of `stillroom bench`.
        """
        return cls(seeds=20, samples=None, scale=10.0, width=256)

    @classmethod
    def smoke(cls) -> "Config":
        """Under two seconds."""
        chosen = ("one_hot", "ground_truth", "kd", "mrkd")
        return cls(methods=chosen, seeds=2, width=16, samples=150, scale=0.2)


def run(config: Config, context: Context) -> Result:
    """Train every row, or fetch what is trained, and compare."""
    from sims.parts.benchmark_rows import rows

    table = rows(config.methods)
    with _folder(context) as out:
        students = [_job(config, row, out) for row in table]
        jobs = [teaching(students[0]), *students]
        teacher, *parts = context.map(trained, jobs, description="students of every method")
    arrays = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
    found = _named(table)
    found |= compared(found["method"], arrays)
    found |= {name: arrays.pop(name).flat[:1] for name in _SHARED}
    found |= {"seeds": np.arange(config.seeds) + config.seed, "noise": np.asarray([config.noise])}
    found |= arrays
    found |= {f"teacher_{name}": one[0] for name, one in teacher.items() if name not in _SHARED}
    return Result("digits_benchmark", asdict(config), found, findings(found))


def _job(config: Config, row: "Row", out: Path) -> Job:
    setting = Setting(
        width=config.width,
        depth=config.depth,
        samples=config.samples,
        noise=config.noise,
        scale=config.scale,
        seed=config.seed,
    )
    seeds = tuple(range(config.seed, config.seed + config.seeds))
    return Job(setting, row.method, seeds, config.together, out)


@contextmanager
def _folder(context: Context) -> Iterator[Path]:
    """Where the runs are stored: with the others, or in passing.

    What is to be computed anew is trained in passing and takes the place of what is stored.
    """
    if context.out is not None and not context.fresh:
        yield context.out
        return
    with TemporaryDirectory(prefix="stillroom-") as name:
        yield Path(name)
        if context.out is not None:
            made, kept = Store(Path(name) / "runs"), Store(context.out / "runs")
            for key in made.present():
                entry = made.get(key)
                if entry is not None:
                    kept.put(key, arrays=entry.arrays, record=entry.record, files=entry.files)


def _named(table: "list[Row]") -> Arrays:
    return {
        "method": np.array([row.method.name for row in table]),
        "label": np.array([row.label for row in table]),
        "source": np.array([row.source for row in table]),
        "kind": np.array([row.kind for row in table]),
        "needs": np.array([row.needs for row in table]),
        "reading": np.array([row.reading for row in table]),
    }


def compared(names: NDArray[Any], arrays: Arrays) -> Arrays:
    """Means and differences to the baseline with their intervals, for what tables show.

    Args:
        names: Method of each row.
        arrays: Measures by name, of shape (rows, seeds), and the number of classes.
    """
    from sims.parts.benchmark_rows import BASELINE

    baseline = names.tolist().index(BASELINE)
    chance = 1 / int(arrays["classes"].flat[0])
    found: Arrays = {
        "baseline": np.asarray([baseline]),
        "learns": arrays["test_accuracy"].mean(axis=1) > (1 + chance) / 2,
    }
    for name in ("test_accuracy", "best_accuracy", "best_test_accuracy"):
        found[f"{name}_mean"] = means(arrays[name])
        found[f"{name}_change"], found[f"{name}_p"] = differences(arrays[name], baseline)
    for name in ("test_nll", "test_ece_15", "train_memorized", "train_correction"):
        found[f"{name}_mean"] = means(arrays[name])
    return found
