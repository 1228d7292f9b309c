r"""How far is the risk under soft targets off, and what do the bounds say of it?

The risk of a fixed predictor is estimated on N samples with soft targets in place of the truth.
Its mean squared error is the variance of one term over N plus the squared bias (Ren et al. 2022,
Proposition 2, as an equality); seven distances between targets and true posterior are published
as bounds on the squared bias, and sharper ones are known. Here the error is measured on many data
sets drawn from a finite space, for labels, smoothed labels, functions of the input and random
teachers, beside the formula and all bounds. Random pairs of target and truth then say how tight
the bounds are and how often they exceed what any loss could do.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sims.context import Context
from sims.parts.limits import SEED, within
from sims.parts.risk_findings import findings
from sims.parts.risk_problems import PUBLISHED, SHARES, SHARP, Pairs, tightness
from sims.parts.risk_targets import LOSSES, SPACES, Array, Setting, Space, Targets, family, space
from sims.results import Result
from theory.labels.risk import random_target_bounds, random_target_risk_error
from theory.statistics import blocks, paired_p_value, proportion_interval, t_interval

_ROUND_OFF = 1e-12


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults: 20,000 data sets for each target, some 20 s on two cores."""

    space: str = "toy"
    """``"toy"``: inputs from the Gaussian classes of Ren et al. 2022 (30 dimensions, sigma 2);
    ``"dirichlet"``: posteriors drawn at random."""
    inputs: int = 300
    """Size of the space; every input is as likely as any other."""
    classes: int = 3
    """Number of classes of it."""
    loss: str = "brier"
    """``"brier"``, ``"zero_one"`` or ``"cross_entropy"`` (clipped at probability 0.01)."""
    smoothing: tuple[float, ...] = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
    """Masses moved from the label to all classes alike."""
    samples: tuple[int, ...] = (10, 100, 1000)
    """Sizes N of a data set."""
    datasets: int = 20_000
    """Data sets drawn for each target and size."""
    problem_classes: tuple[int, ...] = (2, 3, 5, 10, 30, 100)
    """Numbers of classes of the random pairs."""
    concentrations: tuple[float, ...] = (0.1, 0.5, 1.0, 5.0)
    """Concentrations of the Dirichlet distribution that target and truth are drawn from."""
    problem_inputs: int = 1
    """Inputs of each random problem."""
    problems: int = 20_000
    """Random pairs of each kind."""
    seed: int = 0
    """Draws everything."""

    def __post_init__(self) -> None:
        within(
            self,
            inputs=(1, 100_000),
            classes=(2, 1000),
            datasets=(50, 10**8),
            problem_inputs=(1, 1000),
            problems=(1, 10**7),
            seed=SEED,
        )
        for name, allowed in (("space", SPACES), ("loss", LOSSES)):
            if getattr(self, name) not in allowed:
                msg = f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}"
                raise ValueError(msg)
        for name, low, high in (
            ("smoothing", 0.0, 1.0),
            ("samples", 1, 10**6),
            ("problem_classes", 2, 1000),
            ("concentrations", 1e-2, 1e3),
        ):
            values = getattr(self, name)
            if not values or not all(low <= value <= high for value in values):
                msg = f"{name} must be one or more numbers from {low:g} to {high:g}, got {values}"
                raise ValueError(msg)

    @classmethod
    def demo(cls) -> "Config":
        """A few seconds."""
        return cls(datasets=2000, problems=1000)

    @classmethod
    def paper(cls) -> "Config":
        """More of both; the paper states the bounds and does not test them."""
        return cls(inputs=2000, datasets=200_000, problems=200_000)

    @classmethod
    def smoke(cls) -> "Config":
        """Under two seconds."""
        return cls(
            inputs=12,
            smoothing=(0.2, 1.0),
            samples=(5, 50),
            datasets=200,
            problem_classes=(2, 3),
            concentrations=(0.5, 1.0),
            problems=100,
        )

    def setting(self) -> Setting:
        """What the space is drawn from."""
        return Setting(self.space, self.inputs, self.classes, self.loss, self.seed)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The data sets of one target."""

    setting: Setting
    smoothing: tuple[float, ...]
    target: int
    samples: tuple[int, ...]
    datasets: int


def estimate(job: Estimate) -> dict[str, Array]:
    """Squared error of the estimated risk, drawn and by formula, and all bounds."""
    where = space(job.setting)
    targets = family(job.setting, job.smoothing)[job.target]
    problem = (where.p, targets.drawn, targets.weights, where.truth)
    exact = random_target_risk_error(*problem, where.losses, np.array(job.samples))
    terms = np.einsum("smk,sk->sm", targets.drawn, where.losses)
    rng = np.random.default_rng([job.setting.seed, 2, job.target])
    measured, errors, p_values = [], [], []
    for count, expected in zip(job.samples, exact.mse, strict=True):
        off = _errors(rng, where, targets, terms, count, job.datasets) - float(exact.risk)
        squares = t_interval(np.square(off))
        measured.append([squares.estimate, squares.low, squares.high])
        p_values.append(_p_value(np.square(off), expected))
        mean = t_interval(off)
        errors.append([mean.estimate, mean.low, mean.high])
    out = {
        "mse": exact.mse,
        "variance": np.atleast_1d(exact.variance),
        "label_variance": np.atleast_1d(exact.label_variance),
        "bias": np.atleast_1d(exact.bias),
        "measured_mse": np.array(measured),
        "measured_bias": np.array(errors),
        "p_value": np.array(p_values),
    }
    for name, constants, of, kinds in (
        ("published_mean", "published", "mean", PUBLISHED),
        ("published_drawn", "published", "targets", PUBLISHED),
        ("sharp_mean", "sharp", "mean", SHARP),
    ):
        bounds = asdict(random_target_bounds(*problem, where.bound, constants, of=of))
        out[name] = np.array([bounds[kind] for kind in kinds])
    return out


def _p_value(squares: Array, expected: float) -> float:
    """Of measurement and formula being the same; where no data set differs, round-off decides."""
    if np.ptp(squares) <= _ROUND_OFF * expected:
        return float(abs(squares[0] - expected) <= _ROUND_OFF * expected)
    return paired_p_value(squares, np.full(len(squares), expected))


def _errors(
    rng: np.random.Generator, where: Space, targets: Targets, terms: Array, count: int, sets: int
) -> Array:
    """The estimated risk on each data set."""
    chance = np.cumsum((where.p[:, None] * targets.weights).ravel())
    flat, parts = terms.ravel(), []
    for rows in blocks(sets, count):
        # rounding can leave the last sum a little below 1
        place = np.searchsorted(chance, rng.random((rows, count)), side="right")
        parts.append(flat[np.minimum(place, len(flat) - 1)].mean(axis=1))
    return np.concatenate(parts)


def run(config: Config, context: Context) -> Result:
    """Measure every target, then the random pairs."""
    setting = config.setting()
    targets = family(setting, config.smoothing)
    jobs = [
        Estimate(setting, config.smoothing, k, config.samples, config.datasets)
        for k in range(len(targets))
    ]
    found = context.map(estimate, jobs, description="error of the risk")
    pairs = [
        Pairs(classes, concentration, config.problems, config.problem_inputs, config.seed)
        for classes in config.problem_classes
        for concentration in config.concentrations
    ]
    tight = context.map(tightness, pairs, description="tightness of the bounds")
    arrays = {
        "target": np.array([one.label for one in targets]),
        "group": np.array([one.group for one in targets]),
        "strength": np.array([one.strength for one in targets]),
        "samples": np.array(config.samples),
        "published": np.array(PUBLISHED),
        "sharp": np.array(SHARP),
        "trivial": np.array([space(setting).bound ** 2]),
        "shares": np.array(SHARES),
        "problem_classes": np.array(config.problem_classes),
        "concentrations": np.array(config.concentrations),
        "problems": np.array([config.problems]),
    }
    arrays |= {name: np.stack([part[name] for part in found]) for name in found[0]}
    grid = (len(config.problem_classes), len(config.concentrations))
    for name in tight[0]:
        stacked = np.stack([part[name] for part in tight])
        arrays[name] = stacked.reshape(*grid, *stacked.shape[1:])
    arrays |= _shares(arrays, config.problems)
    return Result("risk_bounds", asdict(config), arrays, findings(arrays))


def _shares(arrays: dict[str, NDArray[Any]], problems: int) -> dict[str, NDArray[Any]]:
    """Counts of vacuous bounds as shares with intervals, last axis: share, low, high."""
    out = {}
    for name in ("published", "sharp"):
        counts = arrays[f"{name}_vacuous"]
        every = [proportion_interval(int(count), problems) for count in counts.ravel()]
        ends = np.array([[one.estimate, one.low, one.high] for one in every])
        out[f"{name}_vacuous_share"] = ends.reshape(*counts.shape, 3)
    return out
