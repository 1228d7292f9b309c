r"""Does distillation pay? Every scheme at its best against the best early stopping.

Labels are a signal plus noise. Each training scheme keeps a share of the label in every
eigendirection; its parameters are set to what minimizes the expected error against the clean
signal. Plain training on the labels, stopped at its best time, is what it has to beat.
(Nagarajan 2023 raises the question for linear models; the answer is the dominance theorem of
``theory.flow.risk``.)

Four panels: signals of energy :math:`c_i^2 \propto \lambda_i i^{-b}` for several decays b; a map
over decay and noise; the test error under covariate shift, where the theorem does not hold; and
real data, with signal and noise estimated from it.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sims.context import Context
from sims.inputs import dataset
from sims.parts.limits import SEED, within
from sims.parts.pay_findings import findings, percent_above
from sims.parts.pay_problems import Measured, Shift, Signals, measure
from sims.parts.scheme_search import Best, best_parameters
from sims.parts.schemes import EARLY_STOPPING, SCHEMES, Array, Scheme, ruled_out, scheme
from sims.results import Result
from theory.flow.filters import GradientFlow
from theory.flow.risk import mode_stopping_time, student_certainly_gains

_GENERATIONS = ("generations_2", "generations_3", "generations_5", "generations_10")
_MOST = 3  # parameters of any scheme


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults: maps of 25 x 25 signals, about 10 s on two cores."""

    modes: int = 200
    """Number of eigendirections of the synthetic spectrum."""
    eigenvalue_decay: float = 1.5
    """Exponent a of the eigenvalues i^-a."""
    decays: tuple[float, ...] = (-1.0, 0.0, 0.5, 1.0, 2.0, 4.0)
    """Exponents b of the signals: squared coefficients of the target fall as i^-b."""
    noise: float = 0.5
    """Noise variance of these signals, whose mean energy is 1 in every direction."""
    spikes: int = 10
    """Directions of the spiked signal: energy 20 in the top so many, none elsewhere, noise 1."""
    map_points: int = 25
    """Decays, and noises, of the map."""
    shift_points: int = 25
    """Correlations, and variance ratios, of the map of covariate shift."""
    starts: int = 4
    """Points of the grid of parameters from which the search descends: more is surer."""
    samples: int = 5000
    """Number of samples of the data at most, drawn at random."""
    seed: int = 0
    """Draws them."""
    data: Path | None = None
    """Your own npz file with arrays X (n, p) and y; None for the embedded digits. Integer y (n,)
    are labels of classes, learned as a one-hot code; real y, (n,) or (n, K), is learned as it
    is."""
    noise_variance: float | None = None
    """Noise variance of each label of the data; None estimates it from what X can not explain."""

    def __post_init__(self) -> None:
        within(
            self,
            modes=(2, 10_000),
            spikes=(1, 10_000),
            map_points=(2, 500),
            shift_points=(2, 500),
            starts=(1, 100),
            samples=(2, 10**9),
            noise=(1e-9, 1e9),
            eigenvalue_decay=(1e-3, 20.0),
            seed=SEED,
        )
        if self.spikes > self.modes:
            msg = f"spikes must be at most the number of modes ({self.modes}), got {self.spikes}"
            raise ValueError(msg)
        if self.noise_variance is not None and not 0 <= self.noise_variance < np.inf:
            msg = f"noise_variance must be finite and >= 0, got {self.noise_variance}"
            raise ValueError(msg)
        if not self.decays or not all(-20 <= decay <= 20 for decay in self.decays):
            msg = f"decays must be one or more numbers from -20 to 20, got {self.decays}"
            raise ValueError(msg)

    @classmethod
    def demo(cls) -> "Config":
        """Some seconds."""
        return cls(map_points=17, shift_points=17)

    @classmethod
    def paper(cls) -> "Config":
        """Fine maps; no paper has this experiment."""
        return cls(map_points=61, shift_points=61, modes=400)

    @classmethod
    def smoke(cls) -> "Config":
        """Under two seconds."""
        return cls(
            modes=12,
            decays=(-1.0, 2.0),
            spikes=2,
            map_points=3,
            shift_points=3,
            starts=1,
            samples=200,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """One scheme on many problems."""

    scheme: str
    signals: Signals
    starts: int = 4


def search(job: Search) -> dict[str, Array]:
    """Best parameters of a scheme and their risks, and when it then stops each direction."""
    what, signals = scheme(job.scheme), job.signals
    best = best_parameters(what, signals.eigenvalues, signals.risks(), starts=job.starts)
    return {"risk": best.risk, "parameters": _natural(what, best), "points": best.points}


def _natural(what: Scheme, best: Best) -> Array:
    """The filter's parameters, shape (problems, 3); nan where a scheme has fewer."""
    values = np.full((len(best.points), _MOST), np.nan)
    for row, point in zip(values, best.points, strict=True):
        natural = what.values(point)
        row[: len(natural)] = natural
    return values


def shifted(job: Shift) -> dict[str, Array]:
    """Test risk of early stopping, student and ridge over a map of covariate shifts."""
    correlation = np.linspace(-0.98, 0.98, job.points)
    ratio = np.geomspace(0.1, 10.0, job.points)
    rho, var = (part.ravel() for part in np.meshgrid(correlation, ratio))
    eigenvalues = np.array(job.eigenvalues)
    every = job.risks(job.covariances(rho, var))
    one = job.risks(job.covariances(np.array([job.correlation]), np.ones(1)))
    shape = (job.points, job.points)
    out = {"correlation": correlation, "variance_ratio": ratio}
    for what in (EARLY_STOPPING, scheme("student"), scheme("ridge")):
        out[f"{what.name}_risk"] = best_parameters(what, eigenvalues, every).risk.reshape(shape)
        example = best_parameters(what, eigenvalues, one)
        out[f"example_{what.name}_risk"] = example.risk
        out[f"example_{what.name}_time"] = np.array(what.values(example.points[0]))
    times = np.geomspace(0.1, 100.0, 241)
    flow = np.stack([GradientFlow(float(t)).gain(eigenvalues) for t in times])
    stop = mode_stopping_time(eigenvalues, eigenvalues * np.square(job.coefficients), job.noise)
    for name in ("student", "ridge"):
        out[f"{name}_percent"] = percent_above(out[f"{name}_risk"], out["early_stopping_risk"])
    return out | {
        "example_correlation": np.array([job.correlation]),
        "example_times": times,
        "example_early_stopping": one.of(flow)[:, 0],
        "example_student": one.of(flow**2)[:, 0],
        "example_mode_times": np.atleast_1d(stop),
    }


def run(config: Config, context: Context) -> Result:
    """Search all schemes on all problems."""
    decays = _decays(config)
    grid = _grid(config)
    rng = np.random.default_rng(config.seed)
    measured = measure(dataset(config.data).subset(config.samples, rng), config.noise_variance)
    real = measured.signals
    names = [what.name for what in SCHEMES]
    mapped = ("student", *_GENERATIONS, "ridge")
    jobs = [Search(name, what, config.starts) for what in (decays, real) for name in names]
    jobs += [Search(name, grid, config.starts) for name in mapped]
    found = context.map(search, jobs, description="best parameters")
    (shift,) = context.map(shifted, [Shift(config.shift_points)], description="covariate shift")
    panels = {
        "decay": _panel(decays, found[: len(names)]),
        "data": _panel(real, found[len(names) : 2 * len(names)]) | _described(config, measured),
        "map": _map(config, grid, found[2 * len(names) :]),
        "shift": shift,
    }

    arrays: dict[str, NDArray[Any]] = {
        "scheme": np.array(names),
        "scheme_label": np.array([what.label for what in SCHEMES]),
        "family": np.array([what.family for what in SCHEMES]),
        "parameter": np.array([_padded(what) for what in SCHEMES]),
        "exponent": np.array([*config.decays, np.nan]),
        "signal": np.array([*(f"b = {b:g}" for b in config.decays), "spiked"]),
    }
    for panel, held in panels.items():
        arrays |= {f"{panel}_{name}": array for name, array in held.items()}
    return Result("does_it_pay", asdict(config), arrays, findings(arrays))


def _described(config: Config, measured: Measured) -> dict[str, NDArray[Any]]:
    return {
        "name": np.array(["digits" if config.data is None else config.data.stem]),
        "label_energy": measured.label_energy,
        "noise_variance": np.array([measured.noise]),
        "noise_source": np.array([measured.source]),
    }


def _padded(what: Scheme) -> list[str]:
    return [*what.parameters, *[""] * (_MOST - len(what.parameters))]


def _eigenvalues(config: Config) -> Array:
    rate: Array = np.arange(1.0, config.modes + 1) ** -config.eigenvalue_decay
    return rate


def _power_signals(config: Config, decays: Array) -> Array:
    """Energies of mean 1 that fall as eigenvalue x i^-b, a row for each b."""
    index = np.arange(1.0, config.modes + 1)
    energy = _eigenvalues(config) * index ** -decays[:, None]
    scaled: Array = energy / energy.mean(axis=1, keepdims=True)
    return scaled


def _decays(config: Config) -> Signals:
    energy = _power_signals(config, np.array(config.decays))
    spiked = np.where(np.arange(config.modes) < config.spikes, 20.0, 0.0)
    noise = np.append(np.full(len(energy), config.noise), 1.0)
    return Signals(_eigenvalues(config), np.vstack([energy, spiked]), noise, config.modes)


def _axes(config: Config) -> tuple[Array, Array]:
    """Decays and noises of the map."""
    return np.linspace(-1.0, 4.0, config.map_points), np.geomspace(0.01, 10.0, config.map_points)


def _grid(config: Config) -> Signals:
    decay, noise = _axes(config)
    energy = np.tile(_power_signals(config, decay), (len(noise), 1))
    return Signals(_eigenvalues(config), energy, np.repeat(noise, len(decay)), config.modes)


def _panel(signals: Signals, found: list[dict[str, Array]]) -> dict[str, NDArray[Any]]:
    """What a figure of some signals draws: rows are signals, columns schemes."""
    time, reference = signals.early_stopping()
    risk = np.stack([part["risk"] for part in found], axis=1)
    patterns = signals.patterns()
    forbidden = [[ruled_out(pattern, what.family) for what in SCHEMES] for pattern in patterns]
    effective = [
        [
            what.filter(point).effective_time(signals.eigenvalues)
            for what, point in zip(SCHEMES, points, strict=True)
        ]
        for points in zip(*(part["points"] for part in found), strict=True)
    ]
    return {
        "eigenvalues": signals.eigenvalues,
        "energy": signals.energy,
        "noise": signals.noise,
        "mode_times": mode_stopping_time(
            signals.eigenvalues, signals.energy, signals.noise[:, None]
        ),
        "early_stopping_time": time,
        "early_stopping_risk": reference,
        "risk": risk,
        "percent": percent_above(risk, reference[:, None]),
        "wiener_percent": percent_above(signals.risks().floor, reference),
        "parameters": np.stack([part["parameters"] for part in found], axis=1),
        "effective_times": np.array(effective),
        "pattern": np.array(patterns),
        "ruled_out": np.array(forbidden),
    }


def _map(
    config: Config, signals: Signals, found: list[dict[str, Array]]
) -> dict[str, NDArray[Any]]:
    """The map: rows are noises, columns decays."""
    decay, noise = _axes(config)
    shape = (len(noise), len(decay))
    _, reference = signals.early_stopping()
    student, *generations, ridge = (percent_above(part["risk"], reference) for part in found)
    patterns = np.array(signals.patterns())
    certain = [
        student_certainly_gains(signals.eigenvalues, c, s)
        for c, s in zip(signals.energy, signals.noise, strict=True)
    ]
    flat = {
        "student_percent": student,
        "distillation_percent": np.min([student, *generations], axis=0),
        "ridge_percent": ridge,
        "wiener_percent": percent_above(signals.risks().floor, reference),
        "distillation_ruled_out": np.isin(patterns, ["nonincreasing", "constant"]),
        "ridge_ruled_out": np.isin(patterns, ["nondecreasing", "constant"]),
        "student_certain": np.array(certain),
    }
    return {"decay": decay, "noise": noise} | {k: v.reshape(shape) for k, v in flat.items()}
