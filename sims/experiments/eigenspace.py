"""Do students lean harder on the top eigendirections of the data? Random features and an MLP.

Nagarajan 2023, appendix D, with the settings of its Table 7, and with the statistics, intervals
and controls that the paper's pictures lack. Teacher and student start from the same weights and
are trained by cross-entropy, the student on the teacher's outputs at temperature 4. Recorded is
how far the first trained layer has moved along each eigendirection of its inputs, at every update.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from deep.data import fingerprint, load, load_labels, names
from deep.training.streams import stream
from sims.parts.eigenspace_case import SPLITS, STUDENTS, Case, measure
from sims.parts.eigenspace_findings import findings, over_seeds
from sims.results import Result
from theory import checks
from theory.ntk.trajectories import STATISTICS, final_log_ratio, pair_mask

if TYPE_CHECKING:
    from sims.context import Context

CONTROLS = ("null", "soft", "labels_tau")
_LONGER = {"random_features": ("student", "soft"), "mlp": ("student", "null", "soft")}
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
    "records": 2,
    "pairs": 1,
}
_POSITIVE = ("temperature", "features_rate", "features_sgd_rate", "mlp_rate", "mlp_sgd_rate")


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults: laptop size, digits, Table 7 with a narrower MLP."""

    data: str = "digits"
    """Image set: digits (embedded), mnist, cifar10 or cifar100 (from the data root)."""
    models: tuple[Literal["random_features", "mlp"], ...] = ("random_features", "mlp")
    """Networks: a linear head on ReLU random features, with noisy labels; an MLP, without noise."""
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
    records: int = 100
    """Records along a path: every update up to so many, then evenly in their logarithm."""
    pairs: int = 8
    """Random pairs of eigendirections whose paths are kept for pictures."""

    def __post_init__(self) -> None:
        checks.choice("data", self.data, names())
        for name, minimum in _LEAST.items():
            checks.integer(name, getattr(self, name), minimum=minimum)
        for name in _POSITIVE:
            checks.positive(name, checks.scalar(name, getattr(self, name)))
        checks.fraction("noise", self.noise)
        checks.flag("noise_includes_same", self.noise_includes_same)
        for name in ("models", "lengths"):
            values = getattr(self, name)
            if not isinstance(values, tuple) or not values or len(set(values)) < len(values):
                msg = f"{name} must be a tuple, not empty and without repeats, got {values!r}"
                raise ValueError(msg)
        for model in self.models:
            checks.choice("models", model, tuple(_LONGER))
        for length in self.lengths:
            checks.integer("lengths", length, minimum=1)

    @classmethod
    def smoke(cls) -> "Config":
        """Under 2 s: tiny networks, two seeds."""
        return cls(
            seeds=2,
            samples=32,
            test_samples=50,
            features=60,
            width=16,
            features_epochs=10,
            mlp_epochs=5,
            lengths=(1,),
            sgd_length=1,
            records=20,
            pairs=3,
        )

    @classmethod
    def demo(cls) -> "Config":
        """About 15 s on two cores."""
        return cls(seeds=6, width=128, lengths=(1, 5), test_samples=355)

    @classmethod
    def paper(cls) -> "Config":
        """Table 7 on MNIST (Nagarajan 2023 shows one run; here ten seeds), and longer. Minutes."""
        return cls(data="mnist", seeds=10, width=1000)


def inputs(config: Config, context: "Context") -> str:
    """Digest of the files that hold the images.

    Raises:
        ValueError: If they are not there.
    """
    return fingerprint(config.data, root=context.data_root)


def run(config: Config, context: "Context") -> Result:
    """Train every setting on every seed, then compare students with their teachers and controls.

    Axes of the arrays: M settings, S seeds, the students `STUDENTS` (nan where a setting has none),
    the statistics of `theory.ntk.trajectories`, r directions and T records padded with nan.
    """
    _open(config, context)
    digest, root = inputs(config, context), context.data_root
    settings = [replace(case, inputs=digest, root=root) for case in _settings(config)]
    cases = [replace(case, seed=seed) for case in settings for seed in range(config.seeds)]
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
    arrays = _labels(settings) | _values(settings, measured) | _paths(config, settings, measured)
    for case, seeds in zip(settings, measured, strict=True):
        if case.optimizer == "adam" and case.students == STUDENTS:
            arrays |= _pictures(case.model, seeds)
    return Result("eigenspace", config, arrays, findings(config.data, arrays))  # type: ignore[arg-type]


def _open(config: Config, context: "Context") -> None:
    """Read one image of each split: what is missing is missed before any network is trained.

    Raises:
        ValueError: If the images are not there, or fewer than ``samples``.
    """
    for split in ("train", "test"):
        load(config.data, split=split, root=context.data_root, rows=np.array([0]))
    held = len(load_labels(config.data, split="train", root=context.data_root))
    if config.samples > held:
        msg = f"samples must be at most the {held} that {config.data} has, got {config.samples}"
        raise ValueError(msg)


def _settings(config: Config) -> list[Case]:
    """The case of seed 0 of every setting: network by network, Adam by length, then SGD."""
    cases = []
    for model in config.models:
        linear = model == "random_features"
        base = Case(
            data=config.data,
            samples=config.samples,
            test_samples=config.test_samples,
            noise=config.noise if linear else 0.0,
            noise_includes_same=config.noise_includes_same,
            model=model,
            size=config.features if linear else config.width,
            depth=config.depth,
            optimizer="adam",
            learning_rate=config.features_rate if linear else config.mlp_rate,
            batch=config.features_batch if linear else config.mlp_batch,
            epochs=_epochs(config, model),
            temperature=config.temperature,
            students=STUDENTS,
            records=config.records,
            seed=0,
        )
        for length in config.lengths:
            students = STUDENTS if length == config.lengths[0] else _LONGER[model]
            cases.append(replace(base, epochs=base.epochs * length, students=students))
        if config.sgd_length:
            cases.append(
                replace(
                    base,
                    optimizer="sgd",
                    learning_rate=config.features_sgd_rate if linear else config.mlp_sgd_rate,
                    epochs=base.epochs * config.sgd_length,
                    students=_LONGER[model],
                )
            )
    return cases


def _epochs(config: Config, model: str) -> int:
    return config.features_epochs if model == "random_features" else config.mlp_epochs


def _cost(case: Case) -> float:
    updates = case.epochs * -(-case.samples // case.batch)
    return updates * (1 + len(case.students)) * case.size


def _labels(settings: list[Case]) -> dict[str, NDArray[Any]]:
    """Names of all axes, and what each setting is."""
    updates = [case.epochs * -(-case.samples // case.batch) for case in settings]
    return {
        "model": np.array([case.model for case in settings]),
        "optimizer": np.array([case.optimizer for case in settings]),
        "epochs": np.array([case.epochs for case in settings]),
        "updates": np.array(updates),
        "one_batch": np.array([case.batch >= case.samples for case in settings]),
        "students": np.array(STUDENTS),
        "statistics": np.array(STATISTICS),
        "controls": np.array(CONTROLS),
        "splits": np.array(SPLITS),
    }


Measured = list[list[dict[str, NDArray[Any]]]]


def _values(settings: list[Case], measured: Measured) -> dict[str, NDArray[Any]]:
    """Statistics and accuracies with t intervals over seeds, and differences from the controls.

    ``values`` (M, S, students, statistics), ``values_interval`` (3, M, students, statistics) with
    mean, low, high first; ``difference`` (3, M, controls, statistics): student less control, paired
    by seed; ``raw_share`` (M, S, students): S1's share of the raw norms; ``accuracy`` (M, S, 1 +
    students, splits), the teacher first; ``null_share`` alike.
    """
    values, raw, accuracy, null_share = [], [], [], []
    for case, seeds in zip(settings, measured, strict=True):
        columns = [STUDENTS.index(name) for name in case.students]
        members = [0, *(1 + column for column in columns)]
        size = len(STUDENTS)
        values.append([_spread(each["statistics"], columns, size) for each in seeds])
        raw.append([_spread(each["raw_share"], columns, size) for each in seeds])
        accuracy.append([_spread(each["accuracy"], members, size + 1) for each in seeds])
        null_share.append([_spread(each["null_share"], members, size + 1) for each in seeds])
    table = np.array(values)
    student = table[:, :, :1]
    controls = table[:, :, [STUDENTS.index(name) for name in CONTROLS]]
    flow = np.array([[each["flow_statistics"] for each in seeds] for seeds in measured])
    exponent = np.array([[each["flow_exponent"] for each in seeds] for seeds in measured])
    slopes = np.array([[each["slope"] for each in seeds] for seeds in measured])
    return {
        "values": table,
        "values_interval": over_seeds(table),
        "difference": over_seeds(student - controls),
        "raw_share": np.array(raw),
        "raw_share_interval": over_seeds(raw),
        "node_share": np.array([[each["node_share"] for each in seeds] for seeds in measured]),
        "accuracy": np.array(accuracy),
        "null_share": np.array(null_share),
        "flow": flow,
        "flow_interval": over_seeds(flow),
        "flow_exponent": exponent,
        "slope": slopes,
        "slope_interval": over_seeds(slopes),
    }


def _spread(rows: NDArray[Any], places: list[int], size: int) -> NDArray[np.float64]:
    """Rows at their places among ``size``, nan elsewhere."""
    spread = np.full((size, *rows.shape[1:]), np.nan)
    spread[places] = rows
    return spread


def _paths(config: Config, settings: list[Case], measured: Measured) -> dict[str, NDArray[Any]]:
    """What S4 and the pictures of paths are made of, seed 0 for the paths.

    ``eigenvalues`` (M, S, r); ``final_log_ratio`` (M, S, r), nan below the rank; ``pair_index`` (M,
    P, 2); ``pair_teacher``, ``pair_student``, ``pair_null``: displacements along both directions
    (M, P, 2, T); ``pair_steps`` (M, T); ``pair_flow`` (M, 2, P, 2, T') of the exact flow.
    """
    directions = max(each["eigenvalues"].shape[-1] for seeds in measured for each in seeds)
    records = max(len(each["steps"]) for seeds in measured for each in seeds)
    parts: dict[str, list[Any]] = {
        name: []
        for name in (
            "eigenvalues",
            "final_log_ratio",
            "pair_index",
            "pair_steps",
            "pair_teacher",
            "pair_student",
            "pair_null",
            "pair_flow",
        )
    }
    for case, seeds in zip(settings, measured, strict=True):
        ratios = [_final(each) for each in seeds]
        parts["eigenvalues"].append([_pad(each["eigenvalues"], directions) for each in seeds])
        parts["final_log_ratio"].append([_pad(ratio, directions) for ratio in ratios])
        first = seeds[0]
        pairs = _draw_pairs(config.pairs, case.model, first)
        parts["pair_index"].append(pairs)
        parts["pair_steps"].append(_pad(first["steps"].astype(np.float64), records))
        null = case.students.index("null") + 1 if "null" in case.students else None
        for name, member in (("pair_teacher", 0), ("pair_student", 1), ("pair_null", null)):
            path = first["displacements"][member or 0]
            drawn = _pad(path.T[pairs], records)
            parts[name].append(drawn if member is not None else np.full_like(drawn, np.nan))
        parts["pair_flow"].append(np.stack([path.T[pairs] for path in first["flow_displacements"]]))
    return {name: np.array(rows) for name, rows in parts.items()}


def _final(measured: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    ratio = final_log_ratio(*measured["displacements"][:2])
    return np.where(measured["kept"], ratio, np.nan)


def _pad(values: NDArray[Any], size: int) -> NDArray[np.float64]:
    """Fill the last axis with nan up to ``size``."""
    widths = [(0, 0)] * (values.ndim - 1) + [(0, size - values.shape[-1])]
    return np.pad(values.astype(np.float64), widths, constant_values=np.nan)


def _draw_pairs(count: int, model: str, measured: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Random pairs of directions that can be told apart, shape (count, 2), the higher first."""
    allowed = np.argwhere(pair_mask(measured["eigenvalues"], measured["kept"]))
    if len(allowed) == 0:  # all kept eigenvalues are nearly equal: any pair will do
        allowed = np.argwhere(np.triu(np.outer(measured["kept"], measured["kept"]), 1))
    chosen = stream("pairs", model).choice(len(allowed), size=count, replace=len(allowed) < count)
    return np.asarray(allowed[chosen], dtype=np.int64)


def _pictures(model: str, seeds: list[dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Figures 17 and 18 of the paper for one network at the first length.

    ``scatter_train_<model>``, ``scatter_test_<model>`` (2, n): log-odds of the teacher's top class
    for teacher and student, seed 0; ``mislabeled_<model>`` (n,); ``confidence_gap_<model>`` (S, 2):
    mean of student less teacher over clean and mislabeled training samples, nan over none;
    ``kept_counts`` (G,) (the last, 0, is the whole head), ``kept_by_seed`` (S, 2, splits, G) for
    teacher and student, and ``kept_accuracy`` (3, 2, splits, G): its mean, low and high.
    """
    gaps = []
    for each in seeds:
        gap, wrong = np.diff(each["confidence_train"], axis=0)[0], each["mislabeled"]
        gaps.append([gap[part].mean() if part.any() else np.nan for part in (~wrong, wrong)])
    arrays = {
        f"scatter_train_{model}": seeds[0]["confidence_train"],
        f"scatter_test_{model}": seeds[0]["confidence_test"],
        f"mislabeled_{model}": seeds[0]["mislabeled"],
        f"confidence_gap_{model}": np.array(gaps),
    }
    if "kept_accuracy" in seeds[0]:
        by_seed = np.array([each["kept_accuracy"] for each in seeds])
        arrays["kept_counts"] = seeds[0]["kept_counts"]
        arrays["kept_by_seed"] = by_seed
        arrays["kept_accuracy"] = over_seeds(by_seed[None])[:, 0]
    return arrays
