"""Do students lean harder on the top eigendirections of data? Random features, an MLP and a CNN.

Nagarajan 2023, appendix D, with the settings of its Table 7, and with the statistics, intervals
and controls that the paper's pictures lack. Teacher and student start from the same weights and
are trained by cross-entropy, the student on the teacher's outputs at temperature 4. Recorded is
how far the layers have moved along each eigendirection of their inputs, at every update: of the
images, or patches of them, for the first; of the final teacher's representation for the others.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from deep.data import fingerprint, load, load_labels, names
from sims.parts.eigenspace_case import SPLITS, STUDENTS, Case, measure
from sims.parts.eigenspace_findings import findings
from sims.parts.eigenspace_tables import CONTROLS, later, paths, pictures, values
from sims.parts.eigenspace_time import announce, device_of, networks, updates
from sims.results import Result
from theory import checks
from theory.ntk.trajectories import STATISTICS

if TYPE_CHECKING:
    from sims.context import Context

_LONGER = {
    "random_features": ("student", "soft"),
    "mlp": ("student", "null", "soft"),
    "cnn": ("student", "null", "soft"),
}
_LEAST = {
    "seeds": 2,
    "samples": 2,
    "test_samples": 1,
    "features": 2,
    "features_epochs": 1,
    "features_batch": 1,
    "width": 1,
    "depth": 0,
    "mlp_epochs": 1,
    "mlp_batch": 1,
    "sgd_length": 0,
    "cnn_samples": 2,
    "channels": 1,
    "cnn_depth": 1,
    "kernel": 1,
    "cnn_epochs": 1,
    "cnn_batch": 1,
    "cnn_sgd_length": 0,
    "patches": 2,
    "records": 2,
    "pairs": 1,
}
_POSITIVE = (
    "temperature",
    "features_rate",
    "features_sgd_rate",
    "mlp_rate",
    "mlp_sgd_rate",
    "cnn_rate",
    "cnn_sgd_rate",
)


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults: laptop size, digits, Table 7 with a narrower MLP and a small CNN."""

    data: str = "digits"
    """Image set: digits (embedded), mnist, cifar10 or cifar100 (from the data root)."""
    models: tuple[Literal["random_features", "mlp", "cnn"], ...] = (
        "random_features",
        "mlp",
        "cnn",
    )
    """Networks: a linear head on ReLU random features, with noisy labels; an MLP and a CNN,
    without noise."""
    seeds: int = 8
    """Repetitions, each with its own samples, initial weights and batch order."""
    samples: int = 128
    """Training samples."""
    test_samples: int = 1000
    """Test samples at most."""
    noise: float = 0.25
    """Fraction of flipped labels for random features."""
    noise_includes_same: bool = False
    """Whether a flipped label may be its own class again."""
    temperature: float = 4.0
    """Of teacher and student in the distillation loss."""
    features: int = 5000
    """Random features."""
    features_epochs: int = 40
    """Epochs of random features."""
    features_batch: int = 128
    """Batch of random features."""
    features_rate: float = 1e-3
    """Learning rate of Adam for random features."""
    features_sgd_rate: float = 5e-3
    """Learning rate of SGD for random features."""
    width: int = 256
    """Units in each hidden layer of the MLP."""
    depth: int = 2
    """Hidden layers of the MLP."""
    mlp_epochs: int = 20
    """Epochs of the MLP."""
    mlp_batch: int = 32
    """Batch of the MLP."""
    mlp_rate: float = 1e-4
    """Learning rate of Adam for the MLP."""
    mlp_sgd_rate: float = 0.1
    """Learning rate of SGD for the MLP."""
    lengths: tuple[int, ...] = (1, 5, 25)
    """Multiples of the epochs to train with Adam; the first has all students."""
    sgd_length: int = 5
    """Multiple of the epochs to train with SGD; 0 for none."""
    cnn_data: str = "digits"
    """Image set of the CNN."""
    cnn_samples: int = 256
    """Training samples of the CNN."""
    channels: int = 32
    """Channels of each convolution."""
    cnn_depth: int = 3
    """Convolutions, each followed by max-pooling by 2."""
    kernel: int = 3
    """Height and width of their kernels."""
    cnn_epochs: int = 40
    """Epochs of the CNN."""
    cnn_batch: int = 64
    """Batch of the CNN."""
    cnn_rate: float = 3e-3
    """Learning rate of Adam for the CNN."""
    cnn_sgd_rate: float = 0.1
    """Learning rate of SGD for the CNN."""
    cnn_lengths: tuple[int, ...] = (1,)
    """Multiples of the CNN's epochs to train with Adam; the first has all students."""
    cnn_sgd_length: int = 0
    """Multiple of the CNN's epochs to train with SGD; 0 for none."""
    patches: int = 2048
    """Random patches that stand for what a convolution sees."""
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    """Where the CNN trains; auto is a GPU if there is one. The others are too small for one."""
    records: int = 100
    """Records along a path: every update up to so many, then evenly in their logarithm."""
    pairs: int = 8
    """Random pairs of eigendirections whose paths are kept for pictures."""

    def __post_init__(self) -> None:
        for name in ("data", "cnn_data"):
            checks.choice(name, getattr(self, name), names())
        checks.choice("device", self.device, ("auto", "cpu", "cuda"))
        for name, minimum in _LEAST.items():
            checks.integer(name, getattr(self, name), minimum=minimum)
        for name in _POSITIVE:
            checks.positive(name, checks.scalar(name, getattr(self, name)))
        checks.fraction("noise", self.noise)
        checks.flag("noise_includes_same", self.noise_includes_same)
        for name in ("models", "lengths", "cnn_lengths"):
            given = getattr(self, name)
            if not isinstance(given, tuple) or not given or len(set(given)) < len(given):
                msg = f"{name} must be a tuple, not empty and without repeats, got {given!r}"
                raise ValueError(msg)
        for model in self.models:
            checks.choice("models", model, tuple(_LONGER))
        for name in ("lengths", "cnn_lengths"):
            for length in getattr(self, name):
                checks.integer(name, length, minimum=1)

    @classmethod
    def smoke(cls) -> "Config":
        """Under 2 s: tiny networks, two seeds, no CNN (a tiny one if ``models`` names it)."""
        return cls(
            models=("random_features", "mlp"),
            seeds=2,
            samples=32,
            test_samples=50,
            features=60,
            width=16,
            features_epochs=10,
            mlp_epochs=5,
            lengths=(1,),
            sgd_length=1,
            cnn_samples=32,
            channels=6,
            cnn_depth=2,
            cnn_epochs=5,
            cnn_batch=16,
            patches=200,
            records=20,
            pairs=3,
        )

    @classmethod
    def demo(cls) -> "Config":
        """About 15 s on two cores, with a tiny CNN."""
        return cls(
            seeds=6,
            width=128,
            lengths=(1, 5),
            test_samples=355,
            cnn_samples=128,
            channels=16,
            cnn_depth=2,
            cnn_epochs=30,
            cnn_batch=32,
        )

    @classmethod
    def paper(cls) -> "Config":
        """Table 7 on MNIST and CIFAR-10 (Nagarajan 2023 shows one run; here ten seeds), and longer.

        Minutes for random features and the MLP; the CNN is for a GPU, and a run says beforehand how
        long it takes on this machine.
        """
        return cls(
            data="mnist",
            seeds=10,
            width=1000,
            cnn_data="cifar10",
            cnn_samples=8192,
            channels=100,
            kernel=6,
            cnn_batch=128,
            cnn_rate=1e-4,
            patches=8192,
            device="auto",
        )


def inputs(config: Config, context: "Context") -> str:
    """Digest of the files that hold the images.

    Raises:
        ValueError: If they are not there.
    """
    digests = [fingerprint(name, root=context.data_root) for name in _image_sets(config)]
    return " ".join(digests)


def run(config: Config, context: "Context") -> Result:
    """Train every setting on every seed, then compare students with their teachers and controls.

    Axes of the arrays: M settings, S seeds, the students `STUDENTS` (nan where a setting has none),
    the statistics of `theory.ntk.trajectories`, r directions and T records padded with nan. What is
    said of M settings is said of the first trained layer; arrays ``layer_...`` are of the others.
    """
    _open(config, context)
    root = context.data_root
    device = device_of(config.device) if "cnn" in config.models else "cpu"
    digests = {name: fingerprint(name, root=root) for name in _image_sets(config)}
    settings = [
        replace(
            case,
            inputs=digests[case.data],
            root=root,
            device=device if case.model == "cnn" else "cpu",
        )
        for case in _settings(config)
    ]
    cases = [replace(case, seed=seed) for case in settings for seed in range(config.seeds)]
    announce(cases, context)
    # the longest first, so that no process is left with a long one at the end
    order = sorted(range(len(cases)), key=lambda number: -_cost(cases[number]))
    done = context.map(
        measure, [cases[number] for number in order], description="training along eigendirections"
    )
    by_case = dict(zip(order, done, strict=True))
    measured = [
        [by_case[number * config.seeds + seed] for seed in range(config.seeds)]
        for number in range(len(settings))
    ]
    arrays = _labels(settings) | values(settings, measured) | later(settings, measured)
    arrays |= paths(config.pairs, settings, measured)
    for case, seeds in zip(settings, measured, strict=True):
        if case.optimizer == "adam" and case.students == STUDENTS:
            arrays |= pictures(case.model, seeds)
    found = findings(config.data, arrays)
    return Result("eigenspace", config, arrays, found, {"device": device})  # type: ignore[arg-type]


def _image_sets(config: Config) -> list[str]:
    """Image sets that the networks are trained on."""
    sets = [config.cnn_data if model == "cnn" else config.data for model in config.models]
    return list(dict.fromkeys(sets))


def _open(config: Config, context: "Context") -> None:
    """Read one image of each split: what is missing is missed before any network is trained.

    Raises:
        ValueError: If the images are not there, or fewer than ``samples``.
    """
    for name in _image_sets(config):
        for split in ("train", "test"):
            load(name, split=split, root=context.data_root, rows=np.array([0]))
    for model in config.models:
        name, field = ("cnn_data", "cnn_samples") if model == "cnn" else ("data", "samples")
        data, wanted = getattr(config, name), getattr(config, field)
        held = len(load_labels(data, split="train", root=context.data_root))
        if wanted > held:
            msg = f"{field} must be at most the {held} that {data} has, got {wanted}"
            raise ValueError(msg)


def _settings(config: Config) -> list[Case]:
    """The case of seed 0 of every setting: network by network, Adam by length, then SGD."""
    cases = []
    for model in config.models:
        base, sgd_rate = _base(config, model)
        lengths = config.cnn_lengths if model == "cnn" else config.lengths
        sgd_length = config.cnn_sgd_length if model == "cnn" else config.sgd_length
        for length in lengths:
            students = STUDENTS if length == lengths[0] else _LONGER[model]
            cases.append(replace(base, epochs=base.epochs * length, students=students))
        if sgd_length:
            cases.append(
                replace(
                    base,
                    optimizer="sgd",
                    learning_rate=sgd_rate,
                    epochs=base.epochs * sgd_length,
                    students=_LONGER[model],
                )
            )
    return cases


def _base(config: Config, model: str) -> tuple[Case, float]:
    """A network trained once with Adam, and its learning rate of SGD."""
    common = Case(
        data=config.data,
        samples=config.samples,
        test_samples=config.test_samples,
        noise=0.0,
        noise_includes_same=config.noise_includes_same,
        model=model,
        size=config.width,
        depth=config.depth,
        optimizer="adam",
        learning_rate=config.mlp_rate,
        batch=config.mlp_batch,
        epochs=config.mlp_epochs,
        temperature=config.temperature,
        students=STUDENTS,
        records=config.records,
        patches=config.patches,
        pairs=config.pairs,
        seed=0,
    )
    if model == "random_features":
        case = replace(
            common,
            noise=config.noise,
            size=config.features,
            learning_rate=config.features_rate,
            batch=config.features_batch,
            epochs=config.features_epochs,
        )
        return case, config.features_sgd_rate
    if model == "cnn":
        case = replace(
            common,
            data=config.cnn_data,
            samples=config.cnn_samples,
            size=config.channels,
            depth=config.cnn_depth,
            kernel=config.kernel,
            learning_rate=config.cnn_rate,
            batch=config.cnn_batch,
            epochs=config.cnn_epochs,
        )
        return case, config.cnn_sgd_rate
    return common, config.mlp_sgd_rate


def _cost(case: Case) -> float:
    """Roughly how long a case takes, to order them."""
    size = case.size * case.kernel**2 * case.batch if case.model == "cnn" else case.size
    return updates(case) * networks(case) * size


def _labels(settings: list[Case]) -> dict[str, NDArray[Any]]:
    """Names of all axes, and what each setting is."""
    return {
        "model": np.array([case.model for case in settings]),
        "data": np.array([case.data for case in settings]),
        "optimizer": np.array([case.optimizer for case in settings]),
        "epochs": np.array([case.epochs for case in settings]),
        "updates": np.array([updates(case) for case in settings]),
        "one_batch": np.array([case.batch >= case.samples for case in settings]),
        "students": np.array(STUDENTS),
        "statistics": np.array(STATISTICS),
        "controls": np.array(CONTROLS),
        "splits": np.array(SPLITS),
    }
