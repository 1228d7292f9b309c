r"""How does one step of training on a sample move the prediction on another?

The first-order answer (Proposition 1 of Ren et al. 2022) is
:math:`dq(o) = \eta A(q(o)) K(o, u) (p(u) - q(u))`: how far from sure the prediction is, how similar
the two samples are to the network, and how wrong the network is on the other.

Single steps of a small network are predicted and taken, over learning rates. Along whole training
runs on Gaussian classes with a known posterior the pull of a sample's own label is set beside
that of all its neighbors, on samples with an unlucky label and on easy ones (figures 2-4 of the
paper). And for the wide network of its appendix G the trace of the kernel is set beside the
similarity of the inputs (figure 18).
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sims.context import Context
from sims.parts.eigenspace_findings import over_seeds
from sims.parts.learning_dynamics_cases import (
    Path,
    Similarity,
    Steps,
    Toy,
    Training,
    part_missed,
    path,
    similarity,
    steps,
    training,
)
from sims.parts.learning_dynamics_findings import findings
from sims.parts.learning_dynamics_network import ACTIVATIONS
from sims.parts.limits import SEED, within
from sims.results import Result
from theory.checks import Array
from theory.labels.dynamics import jacobian_eigenvalues, jacobian_trace
from theory.labels.paths import barycentric
from theory.statistics import rank_correlation

_ARROWS = 6  # moments at which the example shows its pulls
_REACH = 0.2  # length of the longer arrow, in sides of the triangle
_BESIDE = 0.03  # how far beside the path arrows lie: opposite ones on opposite sides
_POINTS = 600  # changes in the scatter of predicted and measured
_SCATTER = 0.02  # learning rate of that scatter
_TINY = np.finfo(float).tiny
_MOST = 1e6  # parts of a change that the first order may miss


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults: ten seeds, 400 samples, about 30 s on two cores."""

    seeds: int = 10
    """Draws of data and network; intervals are over them."""
    samples: int = 400
    """Training samples of the Gaussian classes."""
    dimensions: int = 30
    """Dimensions of the inputs."""
    sigma: float = 2.0
    """Standard deviation of the noise of the classes."""
    hidden: tuple[int, ...] = (128,)
    """Units of the hidden layers."""
    activation: str = "tanh"
    """Activation of the training runs: "tanh" or "relu", whose kinks spoil the sum of the pulls.
    Single steps, and sums over runs, are taken with both."""
    rate: float = 0.03
    """Learning rate of the training runs, without momentum."""
    batch: int = 32
    """Samples of a batch."""
    epochs: int = 150
    """Passes over the data: until the labels are memorized."""
    tracked: float = 0.05
    """Share of the samples that is followed, the hardest ones and as many of the easiest."""
    trained_on: int = 20
    """Samples that single steps are taken on."""
    observed: int = 40
    """Other samples, whose predictions are watched during single steps."""
    path_samples: int = 150
    """Training samples of the runs over which first-order changes are added up."""
    path_units: int = 32
    """Hidden units of those runs."""
    path_time: float = 30.0
    """Length of those runs: learning rate times steps."""
    path_rates: tuple[float, ...] = (0.2, 0.05, 0.0125)
    """Learning rates of those runs."""
    points: int = 64
    """Points in the plane of the wide network."""
    width: int = 2000
    """Hidden units of the wide network."""
    wide_rate: float = 1e-4
    """Learning rate of the wide network, whose batches are single points."""
    wide_epochs: int = 200
    """Passes of the wide network over the data."""
    seed: int = 0
    """The first of the seeds."""

    def __post_init__(self) -> None:
        within(
            self,
            seeds=(2, 1000),
            samples=(10, 100_000),
            dimensions=(1, 10_000),
            sigma=(1e-6, 1e6),
            rate=(1e-9, 100.0),
            batch=(1, 100_000),
            epochs=(2, 100_000),
            tracked=(1e-6, 0.5),
            trained_on=(1, 10_000),
            observed=(1, 10_000),
            path_samples=(2, 100_000),
            path_units=(1, 100_000),
            path_time=(1e-6, 1e6),
            points=(4, 2000),
            width=(1, 100_000),
            wide_rate=(1e-12, 1.0),
            wide_epochs=(1, 100_000),
            seed=SEED,
        )
        if not self.hidden or not all(1 <= width <= 100_000 for width in self.hidden):
            msg = f"hidden must be one or more widths from 1 to 100,000, got {self.hidden}"
            raise ValueError(msg)
        if self.activation not in ACTIVATIONS:
            msg = f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}"
            raise ValueError(msg)
        if not self.path_rates or not all(1e-6 <= rate <= 100 for rate in self.path_rates):
            msg = f"path_rates must be one or more numbers from 1e-6 to 100, got {self.path_rates}"
            raise ValueError(msg)
        if self.trained_on + self.observed > self.samples:
            msg = (
                f"trained_on + observed must be at most samples ({self.samples}), "
                f"got {self.trained_on + self.observed}"
            )
            raise ValueError(msg)

    @classmethod
    def demo(cls) -> "Config":
        """Some seconds."""
        return cls(
            seeds=5, samples=300, hidden=(64,), epochs=120, path_rates=(0.2, 0.05), wide_epochs=60,
        )  # fmt: skip

    @classmethod
    def paper(cls) -> "Config":
        """Data, network and passes of Ren et al. 2022; the rate is theirs over 1 - momentum."""
        return cls(
            samples=5000, hidden=(128, 128, 128), activation="relu", rate=5e-3, epochs=100,
            tracked=0.01, path_samples=1000, path_units=128,
        )  # fmt: skip

    @classmethod
    def smoke(cls) -> "Config":
        """Under two seconds."""
        return cls(
            seeds=2, samples=60, dimensions=6, hidden=(8,), epochs=6, trained_on=3, observed=5,
            path_samples=10, path_units=4, path_time=1.0, path_rates=(0.2, 0.05), points=12,
            width=40, wide_rate=5e-3, wide_epochs=4,
        )  # fmt: skip


def run(config: Config, context: Context) -> Result:
    """Single steps, training runs and wide networks, seed by seed."""
    toys = [
        Toy(
            config.seed + k, config.samples, config.dimensions, config.sigma, config.hidden,
            config.activation,
        )
        for k in range(config.seeds)
    ]  # fmt: skip
    runs = context.map(
        training,
        [Training(toy, config.rate, config.batch, config.epochs, config.tracked) for toy in toys],
        description="training, pulls after every pass",
    )
    warm = max(1, config.epochs // 15)
    taken = context.map(
        steps,
        [
            Steps(
                replace(toy, activation=activation), config.rate, config.batch, warm,
                config.trained_on, config.observed,
            )
            for activation in ACTIVATIONS
            for toy in toys
        ],
        description="single steps",
    )  # fmt: skip
    wide = context.map(
        similarity,
        [
            Similarity(toy.seed, config.points, config.width, config.wide_rate, config.wide_epochs)
            for toy in toys
        ],
        description="the wide network",
    )
    small = [
        replace(toy, samples=2 * config.path_samples, hidden=(config.path_units,)) for toy in toys
    ]
    watched = min(config.path_samples, 10)
    summed = context.map(
        path,
        [
            Path(replace(toy, activation=activation), rate, config.path_time, watched)
            for activation in ACTIVATIONS
            for rate in config.path_rates
            for toy in small
        ],
        description="first orders summed over runs",
    )
    arrays = _steps(taken, config.seeds) | _paths(summed, config) | _forces(runs)
    arrays |= _example(runs[0]) | _similarity(wide)
    return Result("learning_dynamics", asdict(config), arrays, findings(arrays))


def _steps(taken: list[dict[str, Array]], seeds: int) -> dict[str, NDArray[Any]]:
    """Sizes and slopes, (activations, seeds, ...), and one scatter."""
    every = {
        name: np.array([part[name] for part in taken]).reshape(
            len(ACTIVATIONS), seeds, *np.shape(taken[0][name])
        )
        for name in ("change", "remainder", "second_order", "slope")
    }
    rates = taken[0]["rates"]
    at = int(np.argmin(np.abs(np.log(rates / _SCATTER))))
    predicted, measured = rates[at] * taken[0]["first"], taken[0]["measured"][at]
    share = max(1, predicted.size // _POINTS)
    rms = {name: np.sqrt((every[name] ** 2).mean(axis=1)) for name in every if name != "slope"}
    return {
        "activation": np.array(ACTIVATIONS),
        "step_rates": rates,
        **{f"step_{name}": values for name, values in rms.items()},
        "step_slope": every["slope"],
        "step_slope_interval": over_seeds(every["slope"]),
        # a saturated network does not move, which the first order misses without bound
        "step_miss": np.minimum(every["remainder"] / np.maximum(every["change"], _TINY), _MOST),
        "step_scatter_rate": rates[at],
        "step_predicted": predicted.ravel()[::share],
        "step_measured": measured.ravel()[::share],
    }


def _paths(summed: list[dict[str, Array]], config: Config) -> dict[str, NDArray[Any]]:
    """Shape (activations, rates, seeds, groups): hard training samples, held-out ones."""
    lead = (len(ACTIVATIONS), len(config.path_rates), config.seeds, 2)
    missed = np.array([part["missed"] for part in summed]).reshape(lead)
    return {
        "path_rates": np.array(config.path_rates),
        "path_missed": missed,
        "path_missed_mean": np.exp(np.log(np.maximum(missed, _TINY)).mean(axis=2)),
        "path_crossings": np.array([part["crossings"] for part in summed]).reshape(lead),
    }


def _forces(runs: list[dict[str, Array]]) -> dict[str, NDArray[Any]]:
    """Means over the samples of each group, (groups, seeds, epochs), and over seeds."""
    measures = [_of_groups(part) for part in runs]
    arrays: dict[str, NDArray[Any]] = {
        "group": np.array(["hard", "easy"]),
        "epochs": np.arange(float(len(runs[0]["own"]))),
        "mean_distance": np.array([part["mean_distance"] for part in runs]),
        "difficulty": np.array([part["difficulty"].reshape(2, -1).mean(axis=1) for part in runs]).T,
        "mismatch": np.array([_mismatch(part) for part in runs]),
        "turned": np.array([_turned(part) for part in runs]),
    }
    for name in measures[0]:
        each = np.stack([part[name] for part in measures], axis=1)
        arrays[f"force_{name}"] = each
        arrays[f"force_{name}_interval"] = over_seeds(each)
    return arrays


def _of_groups(part: dict[str, Array]) -> dict[str, Array]:
    """What is measured of hard and easy samples: pulls of each pass, states before each."""
    path, own, neighbors = part["path"][:-1], part["own"], part["neighbors"]
    to_truth, to_label = part["truth"] - path, part["label"] - path
    sizes = {"own": _norm(own), "neighbors": _norm(neighbors)}
    each = sizes | {
        "to_truth": _cosine(neighbors, to_truth),
        "to_label": _cosine(neighbors, to_label),
        "distance": _norm(to_truth),
        "trace": np.asarray(jacobian_trace(path)),
        "top": jacobian_eigenvalues(path)[..., 0],
    }
    grouped = {name: _groups(values).mean(axis=-1) for name, values in each.items()}
    ratio = sizes["own"] / np.maximum(sizes["neighbors"], _TINY)
    return grouped | {"ratio": np.median(_groups(ratio), axis=-1)}


def _groups(values: Array) -> Array:
    """(epochs, samples), hard ones first, to (2, epochs, samples of a group)."""
    return np.stack(np.split(values, 2, axis=1))


def _norm(vectors: Array) -> Array:
    return np.asarray(np.linalg.norm(vectors, axis=-1))


def _cosine(first: Array, second: Array) -> Array:
    """Of the angle between vectors; 0 where one has no direction."""
    sizes = _norm(first) * _norm(second)
    dots = (first * second).sum(axis=-1)
    return np.asarray(np.divide(dots, sizes, out=np.zeros_like(dots), where=sizes > 0))


def _mismatch(part: dict[str, Array]) -> Array:
    """Way of the hard samples less what both pulls add up to, as a part of the way."""
    half = part["path"].shape[1] // 2
    total = (part["own"] + part["neighbors"])[:, :half].sum(axis=0)
    way = part["path"][-1, :half] - part["path"][0, :half]
    return np.asarray(part_missed(total, way))


def _turned(part: dict[str, Array]) -> Array:
    """Closest a hard sample comes to the truth, and where it starts and ends: means."""
    half = part["path"].shape[1] // 2
    distance = _norm(part["path"] - part["truth"])[:, :half]
    return np.array([distance[0].mean(), distance.min(axis=0).mean(), distance[-1].mean()])


def _example(part: dict[str, Array]) -> dict[str, NDArray[Any]]:
    """The hardest sample of the first seed on the triangle, with its pulls at some moments."""
    corners = barycentric(np.eye(3))
    path = part["path"][:, 0]
    way = np.append(0.0, np.cumsum(_norm(np.diff(path, axis=0))))[:-1]
    at = np.unique(np.searchsorted(way, np.linspace(0.0, way[-1], _ARROWS)))
    pulls = np.stack([part["own"][at, 0], part["neighbors"][at, 0]]) @ corners
    longest = _norm(pulls).max(axis=0)[:, None]
    along = pulls / np.maximum(_norm(pulls), _TINY)[..., None]
    start = path[at] @ corners + _BESIDE * np.stack([-along[..., 1], along[..., 0]], axis=-1)
    pulls = _REACH * np.divide(pulls, longest, out=np.zeros_like(pulls), where=longest > 0)
    return {
        "example_corners": corners,
        "example_path": path @ corners,
        "example_epochs": at,
        "example_own": np.stack([start[0], pulls[0]]),
        "example_neighbors": np.stack([start[1], pulls[1]]),
        "example_truth": part["truth"][0] @ corners,
        "example_label": part["label"][0] @ corners,
        "example_difficulty": part["difficulty"][0],
    }


def _similarity(wide: list[dict[str, Array]]) -> dict[str, NDArray[Any]]:
    """Rank correlations of every observed point, (seeds, points), and one point in full."""
    arrays: dict[str, NDArray[Any]] = {
        f"rank_{name}": np.array([_correlations(part, name) for part in wide])
        for name in ("inner", "cosine")
    }
    arrays |= {
        f"rank_{name}_interval": over_seeds(arrays[f"rank_{name}"].mean(axis=1)[None])[:, 0]
        for name in ("inner", "cosine")
    }
    drift = [
        np.linalg.norm(part["kernel_trace_end"] - part["kernel_trace"])
        / max(np.linalg.norm(part["kernel_trace"]), _TINY)
        for part in wide
    ]
    first = wide[0]
    middle = np.argsort(arrays["rank_cosine"][0], kind="stable")[len(first["labels"]) // 2]
    order = np.argsort(-first["cosine"][middle], kind="stable")
    return arrays | {
        "wide_trace": _thirds(wide),
        "wide_trace_interval": over_seeds(_thirds(wide)),
        "wide_epochs": np.arange(float(len(first["jacobian_trace"]))),
        "kernel_drift": np.array(drift),
        "point_trace": first["kernel_trace"][middle][order],
        "point_label": first["labels"][order],
        "point_rank": np.arange(1.0, len(order) + 1),
        "point_cosine": first["cosine"][middle][order],
        "point_correlation": arrays["rank_cosine"][0, middle],
        "point_own_label": first["labels"][middle],
    }


def _correlations(part: dict[str, Array], name: str) -> Array:
    pairs = zip(part[name], part["kernel_trace"], strict=True)
    found = [rank_correlation(one, trace).estimate for one, trace in pairs]
    # a point that no unit sees has a kernel of zero with all others: no order
    return np.nan_to_num(found)


def _thirds(wide: list[dict[str, Array]]) -> Array:
    """Trace of A of the points learned last and of those learned first, (2, seeds, epochs + 1)."""
    out = []
    for part in wide:
        order = np.argsort(part["integral"], kind="stable")
        third = max(1, len(order) // 3)
        traces = part["jacobian_trace"]
        out.append([traces[:, order[:third]].mean(axis=1), traces[:, order[-third:]].mean(axis=1)])
    return np.swapaxes(np.array(out), 0, 1)
