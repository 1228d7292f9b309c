r"""Does the closed form say what trained networks do? Ten methods, predicted and trained.

Networks with two hidden layers learn digits of which a quarter is mislabeled, by ten methods: plain
labels, students of two teachers, generations, Filter-KD, both switches between teacher and labels,
memory replay, label smoothing, and labels and teacher together. Each is predicted before any
training, by the spectral filter of the method (`sims.predictions`) on the network's neural tangent
kernel at initialization (Jacot et al. 2018): the full kernel between all outputs of all samples,
and the trace kernel, their mean over outputs. Training by the cross-entropy is predicted by the
dual flow, in the network's own steps.

Compared are training and test outputs, accuracy, recovery of flipped labels and risk; progress
along every eigendirection; the order of the methods. Beside the predictions stand the same network
from another initialization, kernels that know only the inputs, with a time fitted to the network,
and a scheme that must do nothing (`sims.parts.prediction_control`). Where outputs are scaled down
the kernel moves, and the prediction stops (Chizat et al. 2019).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sims.context import Context
from sims.parts.limits import SEED, within
from sims.parts.prediction_case import CLASSES, PREDICTORS, Case, measure
from sims.parts.prediction_control import no_op
from sims.parts.prediction_findings import findings
from sims.parts.prediction_network import PARAMETRIZATIONS
from sims.parts.prediction_schemes import conditions
from sims.parts.prediction_scores import QUANTITIES
from sims.parts.prediction_statistics import STATISTICS, compared, interval
from sims.predictions import METHODS, Lengths, names
from sims.results import Result

Arrays = dict[str, NDArray[Any]]
EDGES = tuple((10.0 ** -np.linspace(0, 4, 17)).tolist())
LINE = 97
LATE = 1 / 16
"""Steps from this share of the training on count in the statistics: earlier nothing is learned."""
MOST = 8000  # samples times classes of a full kernel: 256 MB in single precision
_AVAILABLE = 1797
_ALONE: dict[str, Any] = {"scales": (1.0,), "cross_entropy": False}
"""What the control leaves out of a case: its item does not depend on them."""


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults: laptop size, under three minutes on two cores."""

    widths: tuple[int, ...] = (64, 512)
    """Units of both hidden layers."""
    seeds: tuple[int, ...] = (2, 1)
    """Repetitions of each width, with their own split, flips and initialization."""
    full: tuple[int, ...] = (64,)
    """Widths that are predicted with the full kernel, too, and not with the trace kernel only."""
    parametrizations: tuple[str, ...] = ("ntk",)
    """Of the networks: "ntk", "standard" or both."""
    cross_entropy: tuple[int, ...] = (64,)
    """Widths that are trained by the cross-entropy, too, in the first parametrization."""
    scales: tuple[float, ...] = (8.0, 0.4, 0.2)
    """Factors of the outputs, beside 1, of the first network."""
    samples: int = 500
    """Training samples."""
    test_samples: int = 1000
    """Test samples."""
    noise: float = 0.25
    """Share of the training labels that is flipped to another class."""
    steps: int = 800
    """Full-batch steps of gradient descent, a multiple of 16; the phases of methods go with it."""
    step: float = 0.5
    """Step size times the largest eigenvalue of the kernel at initialization."""
    seed: int = 0
    """The first of the seeds."""

    def __post_init__(self) -> None:
        within(
            self,
            samples=(20, 5000),
            test_samples=(10, 5000),
            noise=(0.02, 0.9),
            steps=(16, 100_000),
            step=(1e-3, 0.95),
            seed=SEED,
        )
        Lengths.of(self.steps)
        self._check_lists()
        if round(self.noise * self.samples) < 1:
            msg = (
                "noise times samples must be at least 1, so that a label is flipped, got "
                f"{self.noise:g} times {self.samples}"
            )
            raise ValueError(msg)
        if self.samples + self.test_samples > _AVAILABLE:
            msg = (
                f"samples + test_samples must be at most the {_AVAILABLE} digits there are, got "
                f"{self.samples + self.test_samples}"
            )
            raise ValueError(msg)
        if self.full and self.samples * CLASSES > MOST:
            msg = (
                f"samples must be at most {MOST // CLASSES} for a full kernel, got {self.samples}; "
                "give --full without values for trace kernels only"
            )
            raise ValueError(msg)

    def _check_lists(self) -> None:
        if not self.widths or len(self.seeds) != len(self.widths):
            msg = (
                "seeds must be one number for each of the widths, and there must be a width, got "
                f"{len(self.seeds)} for {len(self.widths)}"
            )
            raise ValueError(msg)
        for name, least, most in (
            ("widths", 2, 10_000),
            ("seeds", 1, 1000),
            ("scales", 1e-3, 1000),
        ):
            if not all(least <= one <= most for one in getattr(self, name)):
                msg = f"{name} must be from {least:g} to {most:,}, got {_told(getattr(self, name))}"
                raise ValueError(msg)
        for name in ("widths", "full", "parametrizations", "cross_entropy", "scales"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                msg = f"{name} must not repeat, got {_told(getattr(self, name))}"
                raise ValueError(msg)
        for name, known in (
            ("full", self.widths),
            ("cross_entropy", self.widths),
            ("parametrizations", PARAMETRIZATIONS),
        ):
            unknown = [one for one in getattr(self, name) if one not in known]
            if unknown:
                msg = f"{name} must be among {', '.join(map(str, known))}, got {unknown[0]}"
                raise ValueError(msg)
        if not self.parametrizations:
            msg = f"parametrizations must name one of {', '.join(PARAMETRIZATIONS)}, got none"
            raise ValueError(msg)

    @classmethod
    def demo(cls) -> "Config":
        """About 15 s on two cores."""
        return cls(
            widths=(64,), seeds=(2,), samples=150, test_samples=500, scales=(0.2,),
        )  # fmt: skip

    @classmethod
    def paper(cls) -> "Config":
        """Ten seeds of everything, about 40 minutes on two cores. No paper has this experiment."""
        return cls(
            seeds=(10, 10), full=(64, 512), parametrizations=PARAMETRIZATIONS,
            cross_entropy=(64, 512), scales=(8.0, 0.4, 0.2, 0.1),
        )  # fmt: skip

    @classmethod
    def smoke(cls) -> "Config":
        """Under two seconds."""
        return cls(
            widths=(16,), seeds=(2,), full=(16,), cross_entropy=(16,), scales=(0.2,), samples=40,
            test_samples=50, steps=64,
        )  # fmt: skip

    @property
    def reads(self) -> tuple[int, ...]:
        """Steps at which outputs are read: powers of two of the whole, back to its 128th part."""
        shares = (self.steps >> halvings for halvings in range(8))
        return tuple(sorted({step for step in shares if step > 0}))


def run(config: Config, context: Context) -> Result:
    """Train and predict every network and seed, then compare over seeds.

    Axes of the arrays: N networks (parametrization and width), G settings (network and loss), P
    predictors, S methods, R reads, C output scales, B groups of eigendirections.
    """
    networks = [(kind, width) for kind in config.parametrizations for width in config.widths]
    seeds = dict(zip(config.widths, config.seeds, strict=True))
    cases = [
        _case(config, kind, width, config.seed + k)
        for kind, width in networks
        for k in range(seeds[width])
    ]
    order = sorted(range(len(cases)), key=lambda number: -_cost(cases[number]))
    done = context.map(
        measure, [cases[number] for number in order], description="networks and predictions"
    )
    by_case = {cases[number]: found for number, found in zip(order, done, strict=True)}
    measured = [
        [by_case[_case(config, kind, width, config.seed + k)] for k in range(seeds[width])]
        for kind, width in networks
    ]
    arrays = _names(config, networks)
    settings = [
        (number, loss)
        for loss in ("squared", "cross_entropy")
        for number in range(len(networks))
        if f"{loss}_network" in measured[number][0]
    ]
    arrays |= _settings(config, settings, measured)
    arrays |= _directions(config, measured)
    arrays |= _scales(config, measured[0])
    still = context.map(
        no_op,
        [replace(_case(config, kind, width, config.seed), **_ALONE) for kind, width in networks],
        description="a scheme that must do nothing",
    )
    arrays["no_op"] = np.array([each["moved"] for each in still])
    arrays["no_op_predicted"] = np.array([each["predicted"][0] for each in still])
    return Result("prediction_meets_network", config, arrays, findings(arrays))  # type: ignore[arg-type]


def _case(config: Config, kind: str, width: int, seed: int) -> Case:
    first = (kind, width) == (config.parametrizations[0], config.widths[0])
    kinds = ("full", "trace") if width in config.full else ("trace",)
    crossed = width in config.cross_entropy and kind == config.parametrizations[0]
    return Case(
        seed=seed,
        width=width,
        parametrization=kind,
        samples=config.samples,
        test_samples=config.test_samples,
        noise=config.noise,
        steps=config.steps,
        step=config.step,
        reads=config.reads,
        kinds=kinds,
        scales=(1.0, *(scale for scale in config.scales if scale != 1.0)) if first else (1.0,),
        cross_entropy=crossed,
        edges=EDGES,
    )


def _cost(case: Case) -> float:
    """Multiplications, roughly."""
    runs = len(case.scales) + case.cross_entropy
    training = 10 * runs * case.steps * case.samples * 3 * case.width * (case.width + 74)
    return training + 20 * (case.samples * CLASSES) ** 3 * ("full" in case.kinds)


def _names(config: Config, networks: Sequence[tuple[str, int]]) -> Arrays:
    lengths = Lengths.of(config.steps)
    return {
        "network_width": np.array([width for _, width in networks]),
        "network_parametrization": np.array([kind for kind, _ in networks]),
        "methods": np.array(names()),
        "method_labels": np.array([one.label for one in METHODS]),
        "formulas": np.array([one.formula for one in METHODS]),
        "sources": np.array([one.source for one in METHODS]),
        "reads": np.array(config.reads),
        "late": np.array([step >= LATE * config.steps for step in config.reads]),
        "quantities": np.array(QUANTITIES),
        "predictors": np.array(PREDICTORS),
        "statistics": np.array(STATISTICS),
        "teacher_step": np.array(lengths.teacher),
        "switch_step": np.array(lengths.switch),
        "training_samples": np.array(config.samples),
        "noise": np.array(config.noise),
        "counted": _counted(config),
    }


def _counted(config: Config) -> NDArray[np.bool_]:
    """The conditions of the statistics (S, R): late ones, and none twice under two names."""
    mask = np.zeros((len(METHODS), len(config.reads)), dtype=bool)
    for method, read in conditions(Lengths.of(config.steps), config.reads):
        mask[method, read] = config.reads[read] >= LATE * config.steps
    return mask


def _told(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))


Measured = list[list[dict[str, NDArray[Any]]]]


def _settings(
    config: Config,
    settings: Sequence[tuple[int, str]],
    measured: Measured,
) -> Arrays:
    """Levels, errors and statistics of every network and loss.

    ``level`` (G, S, R, 3, 3): of the networks, over seeds with intervals (mean, low, high last);
    ``predicted_level`` (G, P, S, R, 3): means; ``difference`` (G, S, R, 3, 3) and
    ``predicted_difference`` (G, P, S, R, 3): from plain labels, paired by seed; ``error`` (G, P, 2,
    3): median over methods and late reads of the relative error of training and test outputs, with
    interval over seeds; ``error_gap`` (G, P, 3): the same of training outputs, less that in the
    best kernel there is, full or trace, paired by seed; ``error_path`` (G, P, S, R, 2): means over
    seeds; ``method_error`` (G, P, S, 3): over late reads the median of those of training outputs,
    and means of what accuracy and recovery are off by in a seed; ``agreement`` (G, P, 3);
    ``table`` (G, P, quantities, statistics, 3); ``movement`` (G, R, 3), ``full_movement`` (N, 3),
    ``other`` (N, R, 4): means over seeds; ``yardstick`` (N, 4, 3): of ``other`` the median over
    late reads, with interval over seeds.
    """
    late = [k for k, step in enumerate(config.reads) if step >= LATE * config.steps]
    used = [(int(method), int(read)) for method, read in np.argwhere(_counted(config))]
    parts: dict[str, list[Any]] = {}

    def put(name: str, value: object) -> None:
        parts.setdefault(name, []).append(value)

    for number, loss in settings:
        seeds = measured[number]
        net, said, error, agree, moved = (
            np.stack([each[f"{loss}_{name}"] for each in seeds])
            for name in ("network", "predicted", "error", "agreement", "movement")
        )
        put("setting_network", number)
        put("setting_loss", loss)
        put("setting_seeds", len(seeds))
        put("level", _intervals(net))
        put("predicted_level", said.mean(axis=0))
        put("difference", _intervals(net - net[:, :1]))
        put("predicted_difference", (said - said[:, :, :1]).mean(axis=0))
        middle = np.median(error[:, :, :, late], axis=(2, 3))  # seeds, P, sides
        put("error", _intervals(middle))
        full = PREDICTORS.index("full")
        own = full if np.isfinite(middle[0, full, 0]) else PREDICTORS.index("trace")
        put("error_gap", _intervals(middle[..., 0] - middle[:, [own], 0]))
        put("error_path", error.mean(axis=0))
        off = np.abs(said - net[:, None])[:, :, :, late, :2].mean(axis=(0, 3))
        typical = np.median(error.mean(axis=0)[:, :, late, :1], axis=2)
        put("method_error", np.concatenate([typical, off], axis=-1))
        put("agreement", _intervals(agree[:, :, :, late].mean(axis=(2, 3))))
        put("movement", moved.mean(axis=0))
        put(
            "table",
            [
                [compared(net[..., q], said[:, p, :, :, q], used) for q in range(len(QUANTITIES))]
                for p in range(len(PREDICTORS))
            ],
        )
    for seeds in measured:
        for name in ("full_movement", "other"):
            put(name, np.mean([each[name] for each in seeds], axis=0))
        put("yardstick", _intervals(np.median([each["other"][late] for each in seeds], axis=1)))
    return {name: np.array(values) for name, values in parts.items()}


def _intervals(values: NDArray[Any]) -> NDArray[np.float64]:
    """Mean, low and high over axis 0, as the last axis."""
    out = np.empty((*values.shape[1:], 3))
    for place in np.ndindex(values.shape[1:]):
        out[place] = interval(values[(slice(None), *place)])
    return out


def _directions(config: Config, measured: Measured) -> Arrays:
    """Progress by eigenvalue, and what effective times do with it.

    ``progress`` (N, 2, S, R, B): of networks and predictions, means over seeds;
    ``progress_spread`` (N, S, R, B): of the networks, standard deviation over seeds;
    ``eigenvalues`` (N, B); ``line_eigenvalues`` and ``line`` (S, R, points): gains, eigenvalues in
    units of the largest; ``slope`` (N, 2, S, R, 3): of the logarithm of the effective time on that
    of the eigenvalue, less that of plain labels, with interval; ``label_slope`` (N, 2, R, 3).
    """
    parts: dict[str, list[Any]] = {}
    for seeds in measured:
        progress = np.stack([each["progress"] for each in seeds])
        slope = np.stack([each["slope"] for each in seeds])
        found = {
            "progress": progress.mean(axis=0),
            "progress_spread": progress[:, 0].std(axis=0, ddof=1)
            if len(seeds) > 1
            else np.full(progress.shape[2:], np.nan),
            "eigenvalues": np.mean([each["eigenvalues"] for each in seeds], axis=0),
            "slope": _intervals(slope - slope[:, :, :1]),
            "label_slope": _intervals(slope[:, :, 0]),
        }
        for name, value in found.items():
            parts.setdefault(name, []).append(value)
    relative = np.geomspace(EDGES[-1], 1.0, LINE)
    lengths = Lengths.of(config.steps)
    lines = [
        [one.descent(lengths, step, config.step).gain(relative) for step in config.reads]
        for one in METHODS
    ]
    arrays = {name: np.array(values) for name, values in parts.items()}
    return arrays | {"line_eigenvalues": relative, "line": np.array(lines)}


def _scales(config: Config, seeds: Sequence[dict[str, NDArray[Any]]]) -> Arrays:
    """The first network with scaled outputs, predicted alike.

    ``scales`` (C,); ``scale_movement`` (C, 3); ``scale_error`` (C, 2, 3) as ``error``;
    ``scale_table`` (C, quantities, statistics, 3).
    """
    late = [k for k, step in enumerate(config.reads) if step >= LATE * config.steps]
    used = [(int(method), int(read)) for method, read in np.argwhere(_counted(config))]
    net, error, moved = (
        np.stack([each[f"scale_{name}"] for each in seeds])
        for name in ("network", "error", "movement")
    )
    first = PREDICTORS.index("full" if config.widths[0] in config.full else "trace")
    said = np.stack([each["squared_predicted"][first] for each in seeds])
    table = [
        [compared(net[:, c, ..., q], said[..., q], used) for q in range(len(QUANTITIES))]
        for c in range(net.shape[1])
    ]
    return {
        "scales": np.array([1.0, *(scale for scale in config.scales if scale != 1.0)]),
        "scale_movement": moved.mean(axis=0),
        "scale_error": _intervals(np.median(error[:, :, :, late], axis=(2, 3))),
        "scale_table": np.array(table),
    }
