r"""Which strength of one way to soften labels is which strength of another?

Label smoothing in two conventions, a Dirichlet prior, a penalty on low entropy and distillation
from a uniform teacher all end at a smoothed label, and each says by another number how strong it
is. Here they are put on one scale, the mass left off the label, with the papers' settings
(Zhang and Sabuncu 2020; Wang et al. 2020); a general minimizer that knows only the losses checks
every closed form.

A teacher of real digits then shows what a label that is the same for all samples leaves out: at
which temperature its mean label mass is that of label smoothing, how its confidences compare with
the targets that Beta smoothing ranks, and that the weight a sample gets when distillation is read
as maximum a posteriori hangs on how the teacher's predictions are written down.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sims.context import Context
from sims.inputs import Dataset, dataset
from sims.parts import smoothing_teacher as teachers
from sims.parts.limits import SEED, within
from sims.parts.smoothing_findings import findings
from sims.parts.smoothing_methods import METHODS, PUBLISHED, TEMPERATURE, Descent, descend, method
from sims.results import Result
from theory.labels import smoothing
from theory.labels.confidence import confidence
from theory.statistics import bootstrap_interval

Array = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
_SAME = 0.1  # strength at which methods are set side by side


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults: all digits, some seconds on two cores."""

    classes: tuple[int, ...] = (10, 100)
    """Numbers of classes of the map."""
    points: int = 241
    """Strengths along each line of it."""
    descents: int = 12
    """Strengths at which every closed form is checked by minimizing the loss."""
    target_mass: float = 0.85
    """Label mass of the whole soft target, on average (Zhang and Sabuncu: 0.85)."""
    label_weight: float = 0.6
    """Weight of the one-hot part of it (theirs: 0.6 in the text, 0.4 in the code)."""
    batch: int = 128
    """Size of a batch in which Beta smoothing ranks."""
    batches: int = 2000
    """Simulated batches."""
    ridge: float = 1e-4
    """Penalty on the weights of the teacher, a logistic regression."""
    samples: int = 100_000
    """Number of samples of the data at most; half of them train the teacher."""
    resamples: int = 2000
    """Resamples of the bootstrap."""
    seed: int = 0
    """Draws everything."""
    data: Path | None = None
    """Your own npz file with arrays X (n, p) and integer labels y (n,); None for the digits."""

    def __post_init__(self) -> None:
        within(
            self,
            points=(2, 100_000),
            descents=(1, 1000),
            batch=(2, 10_000),
            batches=(2, 100_000),
            ridge=(1e-12, 1e3),
            samples=(20, 10**9),
            resamples=(10, 100_000),
            target_mass=(0.01, 0.9999),
            label_weight=(0.0, 0.9999),
            seed=SEED,
        )
        if len(self.classes) != 2 or not all(2 <= k <= 1000 for k in self.classes):
            msg = f"classes must be two numbers from 2 to 1000, got {self.classes}"
            raise ValueError(msg)
        if self.label_weight >= self.target_mass:
            msg = (
                f"label_weight must be less than target_mass ({self.target_mass:g}), "
                f"got {self.label_weight:g}"
            )
            raise ValueError(msg)

    @classmethod
    def demo(cls) -> "Config":
        """About two seconds."""
        return cls(descents=4, batches=500, resamples=500)

    @classmethod
    def paper(cls) -> "Config":
        """Finer; no paper has this experiment."""
        return cls(points=1001, descents=40, batches=20_000, resamples=10_000)

    @classmethod
    def smoke(cls) -> "Config":
        """Under two seconds."""
        return cls(
            classes=(3, 10), points=9, descents=1, batch=8, batches=10, samples=400, resamples=20
        )


def run(config: Config, context: Context) -> Result:
    """Draw the map, check it by descent, and set a teacher of real data beside it."""
    rng = np.random.default_rng(config.seed)
    task = _task(config, rng)
    arrays = _map(config) | _descents(config, context) | _temperatures(config)
    (logits,) = context.map(teachers.train, [task], description="teacher")
    arrays |= _teacher(config, task, logits)
    temperature = float(arrays["matched_temperature"][0])
    arrays |= _beta(config, logits["train"] / temperature, task.y, rng)
    arrays |= _weights(config, logits["train"], temperature)
    return Result("smoothing_map", asdict(config), arrays, findings(arrays))


def _map(config: Config) -> Arrays:
    """Mass off the label per strength: (classes, methods, points); and the papers' settings.

    It is nan beyond a method's largest strength.
    """
    strength = np.geomspace(1e-3, 10.0, config.points)
    off = np.full((len(config.classes), len(METHODS), config.points), np.nan)
    for row, k in enumerate(config.classes):
        for column, what in enumerate(METHODS):
            legal = strength <= what.most
            off[row, column, legal] = what.off(strength[legal], k)
    published = [
        [float(method(name).off(np.array([x]), k)[0]) for _, name, x in PUBLISHED]
        for k in config.classes
    ]
    # the strength of every method that leaves what a published setting leaves
    equal = [
        [[what.strength(rest, k) for what in METHODS] for rest in row]
        for row, k in zip(published, config.classes, strict=True)
    ]
    same = np.array([_SAME])
    return {
        "same_strength": same,
        "same_off": np.array([[what.off(same, k)[0] for what in METHODS] for k in config.classes]),
        "classes": np.array(config.classes),
        "method": np.array([what.name for what in METHODS]),
        "method_label": np.array([what.label for what in METHODS]),
        "strength": strength,
        "off": off,
        "published_label": np.array([label for label, _, _ in PUBLISHED]),
        "published_method": np.array([name for _, name, _ in PUBLISHED]),
        "published_strength": np.array([x for _, _, x in PUBLISHED]),
        "published_off": np.array(published),
        "equal_strength": np.array(equal),
    }


def _descents(config: Config, context: Context) -> Arrays:
    """Closed forms beside minima found: (classes, methods, strengths)."""
    strengths = np.geomspace(0.02, 0.8, config.descents)
    jobs = [
        Descent(what.name, k, tuple(strengths.tolist()), config.seed)
        for k in config.classes
        for what in METHODS
    ]
    parts = context.map(descend, jobs, description="minimizing the losses")
    shape = (len(config.classes), len(METHODS), config.descents)
    closed = [[what.off(strengths, k) for what in METHODS] for k in config.classes]
    return {
        "descent_strength": strengths,
        "descent_off": np.array([part["found"] for part in parts]).reshape(shape),
        "descent_spread": np.array([part["spread"] for part in parts]).reshape(shape),
        "descent_closed": np.array(closed),
    }


def _temperatures(config: Config) -> Arrays:
    """Mass off the label of LsrKD at weight 0.1 over temperatures: (classes, factors, points)."""
    tau = np.geomspace(1.0, 30.0, config.points)
    off = [
        [
            smoothing.lsrkd_optimum(0.1, k, tau, factor=factor, complement=True)
            for factor in ("tau", "tau2")
        ]
        for k in config.classes
    ]
    return {
        "tau": tau,
        "tau_off": np.array(off),
        "tau_published": np.array([TEMPERATURE]),
        "tau_smoothing": 0.1 * (1 - 1 / np.array(config.classes)),
    }


def _task(config: Config, rng: np.random.Generator) -> teachers.Task:
    """Half of the data to train on, half held out.

    Raises:
        ValueError: If the data has no class labels, or too few samples of them.
    """
    data: Dataset = dataset(config.data)
    if data.classes is None:
        msg = "data must have integer labels y of shape (n,), got real targets"
        raise ValueError(msg)
    chosen = rng.permutation(len(data.X))[: config.samples]
    y = np.unique(data.y, return_inverse=True)[1].astype(np.int64)
    count = data.classes
    half = len(chosen) // 2
    if count < 2 or half < 2:
        msg = f"data must hold two classes and four samples, got {count} and {len(chosen)}"
        raise ValueError(msg)
    train, held = chosen[:half], chosen[half:]
    return teachers.Task(data.X[train], y[train], data.X[held], y[held], count, config.ridge)


def _teacher(config: Config, task: teachers.Task, logits: Arrays) -> Arrays:
    """Mean label mass over temperatures, and the temperature that matches."""
    wanted = float(smoothing.soft_mass(config.target_mass, config.label_weight))
    if not 1 / task.classes < wanted:
        msg = (
            f"target_mass and label_weight must leave more than 1/classes = {1 / task.classes:.3g} "
            f"for the soft part of the target, got {wanted:.3g}"
        )
        raise ValueError(msg)
    scale = float(np.std(logits["train"]))
    grid = np.geomspace(scale / 100, scale * 10, max(config.points // 3, 5))
    out: Arrays = {
        "teacher_temperature": grid,
        "wanted_mass": np.array([wanted]),
        "teacher_classes": np.array([task.classes]),
        "data_name": np.array(["digits" if config.data is None else config.data.stem]),
    }
    for part, y in (("train", task.y), ("held", task.held_y)):
        mass = [smoothing.mean_label_mass(logits[part], y, float(t)) for t in grid]
        out[f"{part}_mass"] = np.array(mass)
        out[f"{part}_accuracy"] = np.array([(logits[part].argmax(axis=1) == y).mean()])
    matched = smoothing.temperature_for_mass(logits["train"], task.y, wanted)
    return out | {"matched_temperature": np.array([matched])}


def _beta(
    config: Config, logits: Array, labels: NDArray[np.int64], rng: np.random.Generator
) -> Arrays:
    """A teacher's confidences in order beside the mean targets of Beta smoothing in order."""
    shape = float(smoothing.beta_shape_for_mean(config.target_mass, config.label_weight))
    own = np.sort(1.0 / (1.0 + np.exp(-confidence(logits, labels))))
    count = len(own)
    target = smoothing.beta_order_mean(np.arange(1, count + 1), count, shape)
    mean = float(smoothing.beta_mean(shape))
    distance = {
        "beta": lambda sample: np.abs(np.sort(sample, axis=1) - target).mean(axis=1),
        "flat": lambda sample: np.abs(sample - mean).mean(axis=1),
        "gain": lambda sample: (
            np.abs(sample - mean).mean(axis=1)
            - np.abs(np.sort(sample, axis=1) - target).mean(axis=1)
        ),
    }
    intervals = {
        name: bootstrap_interval(own, statistic, rng=rng, resamples=config.resamples)
        for name, statistic in distance.items()
    }
    drawn = np.sort(
        smoothing.beta_draws(rng, config.batch * config.batches, shape).reshape(
            config.batches, config.batch
        ),
        axis=1,
    )
    ranks = np.arange(1, config.batch + 1)
    shown = np.unique(np.linspace(0, count - 1, min(count, 400)).round().astype(int))
    return {
        "rank": (shown + 0.5) / count,
        "teacher_confidence": own[shown],
        "beta_target": target[shown],
        "beta_shape": np.array([shape]),
        "beta_entropy": np.array([float(smoothing.beta_entropy(shape))]),
        "batch_rank": (ranks - 0.5) / config.batch,
        "batch_mean": drawn.mean(axis=0),
        "batch_error": drawn.std(axis=0, ddof=1) / np.sqrt(config.batches),
        "batch_low": np.quantile(drawn, 0.05, axis=0),
        "batch_high": np.quantile(drawn, 0.95, axis=0),
        "batch_closed": smoothing.beta_order_mean(ranks, config.batch, shape),
        "distance_name": np.array(list(intervals)),
        "distance": np.array([[i.estimate, i.low, i.high] for i in intervals.values()]),
    }


def _weights(config: Config, logits: Array, matched: float) -> Arrays:
    """Weights of samples under the posterior, in every writing of the same predictions.

    The strength is set in each so that samples keep the label weight on average.
    """
    ratio = np.geomspace(0.5, 4.0, max(config.points // 12, 3))
    share = min(max(config.label_weight, 0.05), 0.95)
    sorted_weights, label_share, spreads, ranks, strengths = [], [], [], [], []
    for how in teachers.WRITINGS:
        f = teachers.written(logits, how)
        log_beta, found = teachers.prior(f, matched, share)
        relative = found.weight / found.weight.mean()
        strengths.append(log_beta)
        sorted_weights.append(np.sort(relative))
        label_share.append(np.sort(found.label_share))
        ranks.append(np.argsort(np.argsort(relative, kind="stable"), kind="stable"))
        spreads.append(
            [teachers.spread(teachers.prior(f, matched * r, share)[1].weight) for r in ratio]
        )
    order = np.atleast_2d(np.corrcoef(np.array(ranks, dtype=np.float64)))
    count = len(logits)
    shown = np.unique(np.linspace(0, count - 1, min(count, 400)).round().astype(int))
    weights = np.array(sorted_weights)
    return {
        "writing": np.array(teachers.WRITINGS),
        "weight_rank": (shown + 0.5) / count,
        "weight": weights[:, shown],
        "weight_spread": np.array([teachers.spread(row) for row in weights]),
        "label_share": np.array(label_share)[:, shown],
        "share_wanted": np.array([share]),
        "prior_log_beta": np.array(strengths),
        "spread_temperature": ratio * matched,
        "spread": np.array(spreads),
        "weight_order": order,
    }
