"""One network and one seed: trained by every scheme, predicted in every kernel, compared."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deep.data.noise import choose_rows, flip_labels
from deep.training.streams import stream
from sims.inputs import digits
from sims.parts.prediction_kernel import (
    Decomposition,
    KernelLearner,
    network_kernel,
    network_kernels,
    predict,
    rbf,
)
from sims.parts.prediction_network import Networks, ScaledMlp, draw_weights
from sims.parts.prediction_schemes import Schemes
from sims.parts.prediction_scores import (
    Bins,
    Truth,
    agreement,
    quantities,
    relative_error,
    slopes,
)
from sims.parts.threads import one_thread
from sims.predictions import Lengths, names
from theory.flow.filters import GradientFlow

Array = NDArray[np.float64]
Pair = tuple[Tensor, Tensor]
CLASSES = 10
SIDE_BY_SIDE = 256
"""Networks up to this width are trained together; wider ones stay in the cache one by one."""
GENERIC = ("rbf", "wide_rbf", "linear")
"""Kernels that know nothing of the network, with a time that is fitted to it."""
PREDICTORS = ("full", "trace", *GENERIC)
WIDTHS = (0.5, 4.0)
"""Squared widths of the two Gaussian kernels, in mean squared distances of the inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that one seed of one network depends on."""

    seed: int
    width: int
    parametrization: str
    samples: int
    test_samples: int
    noise: float
    steps: int
    step: float
    """Step size times the largest eigenvalue of the kernel at initialization."""
    reads: tuple[int, ...]
    """Steps at which outputs are read."""
    kinds: tuple[str, ...]
    """Kernels of the network to predict with; progress is read in the eigenbasis of the first."""
    scales: tuple[float, ...]
    """Factors of the outputs; the first, 1, is the one with all comparisons."""
    cross_entropy: bool
    """Whether to train and predict by the cross-entropy, too."""
    edges: tuple[float, ...]
    """Edges of the groups of eigendirections, descending, in units of the largest eigenvalue."""


@dataclass(slots=True, eq=False)
class Bench:
    """The data of a case, its networks and its kernels."""

    case: Case
    inputs: Pair
    labels: Tensor
    truth: Truth
    weights: list[Tensor]
    lengths: Lengths
    kernels: dict[str, Pair] = field(default_factory=dict)
    step_size: float = 0.0

    @classmethod
    def of(cls, case: Case) -> "Bench":
        """Split, flips and weights of the seed; no kernel yet, and no step size."""
        data = digits()
        rng = stream("prediction split", case.seed)
        codes = np.asarray(data.y, dtype=np.int64)
        rows = choose_rows(codes, case.samples + case.test_samples, rng, how="random")
        clean, tests = codes[rows[: case.samples]], codes[rows[case.samples :]]
        noisy = flip_labels(clean, case.noise, CLASSES, rng)
        inputs = _centered(data.X[rows[: case.samples]], data.X[rows[case.samples :]])
        flipped = torch.from_numpy(np.flatnonzero(noisy != clean))
        truth = Truth(torch.from_numpy(clean), torch.from_numpy(tests), flipped)
        labels = torch.eye(CLASSES)[torch.from_numpy(noisy)]
        weights = draw_weights(stream("prediction weights", case.seed), sizes(case))
        return cls(case, inputs, labels, truth, weights, Lengths.of(case.steps))

    def open(self) -> dict[str, Decomposition]:
        """Kernels at initialization and their decompositions; the step size that they allow."""
        network = ScaledMlp(self.weights, self.case.parametrization)
        found = {}
        for kind in self.case.kinds:
            self.kernels[kind] = network_kernels(network, self.inputs, kind)
            found[kind] = Decomposition.of(*self.kernels[kind], CLASSES)
        top = max(float(one.eigenvalues[0]) for one in found.values())
        self.step_size = self.case.step / top
        return found

    def networks(self, members: int, *, scale: float = 1.0, other: bool = False) -> Networks:
        """Copies of the network, or of another initialization, at their start."""
        weights = self.weights
        if other:
            rng = stream("prediction weights", self.case.seed, "other")
            weights = draw_weights(rng, sizes(self.case))
        return Networks(
            weights,
            self.inputs,
            members=members,
            step_size=self.step_size / scale**2,
            parametrization=self.case.parametrization,
            scale=scale,
        )

    def trained(self, scale: float, *, cross_entropy: bool) -> tuple[Pair, list[list[Tensor]]]:
        """Outputs (methods, reads, samples, K) of all schemes; weights of plain labels."""
        first: list[Networks] = []

        def make(members: int) -> Networks:
            networks = self.networks(members, scale=scale)
            networks.keeps = not first
            first.append(networks)
            return networks

        schemes = Schemes(self.lengths, self.labels, cross_entropy)
        together = self.case.width <= SIDE_BY_SIDE
        found = schemes.carry_out(make, self.case.reads, together=together)
        return _stacked(found), first[0].kept

    def linearized(self, kind: str) -> Pair:
        """What the linearized network puts out under the cross-entropy, scheme by scheme."""

        def make(members: int) -> KernelLearner:
            return KernelLearner(
                *self.kernels[kind],
                members=members,
                step_size=self.step_size,
                shape=(len(self.labels), CLASSES),
            )

        schemes = Schemes(self.lengths, self.labels, cross_entropy=True)
        return _stacked(schemes.carry_out(make, self.case.reads, together=True))

    def scored(self, outputs: Pair, *, cross_entropy: bool) -> Array:
        """The `QUANTITIES` of training and test outputs."""
        return quantities(*outputs, self.truth, cross_entropy=cross_entropy)


def _centered(train: Array, test: Array) -> Pair:
    """Pixels less their means over the training samples, in units of their standard deviation.

    Without this the mean image is the top eigendirection by far, all others are slow beside it,
    and no training of this length comes to memorize a flipped label.
    """
    mean = train.mean(axis=0)
    spread = float(np.sqrt(np.square(train - mean).mean())) or 1.0
    return tuple(  # type: ignore[return-value]  # two of them
        torch.from_numpy(((each - mean) / spread).astype(np.float32)) for each in (train, test)
    )


def sizes(case: Case) -> tuple[int, ...]:
    """Units of all layers, inputs first."""
    return (64, case.width, case.width, CLASSES)


def _stacked(found: dict[str, Pair]) -> Pair:
    train = torch.stack([found[name][0] for name in names()])
    return train, torch.stack([found[name][1] for name in names()])


def measure(case: Case) -> dict[str, NDArray[Any]]:
    """Train and predict; axes: predictors P, methods S, reads R, groups B, output scales C.

    Under ``squared_`` and, where asked for, ``cross_entropy_``: ``network`` (S, R, 3), the
    `QUANTITIES`; ``predicted`` (P, S, R, 3); ``error`` (P, S, R, 2), of training and test outputs;
    ``agreement`` (P, S, R), of test decisions; ``movement`` (R, 3) of the trace kernel. For the
    squared loss also ``progress`` (2, S, R, B) of network and prediction, ``slope`` (2, S, R),
    ``eigenvalues`` (B,); ``other`` (R, 4); ``full_movement`` (3,); over scales ``scale_network``
    (C, S, R, 3), ``scale_error`` (C, S, R, 2) and ``scale_movement`` (C, 3).
    """
    with one_thread(), torch.no_grad():
        bench = Bench.of(case)
        kernels = bench.open()
        arrays = _squared(bench, kernels)
        if case.cross_entropy:
            arrays |= _cross_entropy(bench)
    return arrays


def _squared(bench: Bench, kernels: dict[str, Decomposition]) -> dict[str, NDArray[Any]]:
    case = bench.case
    outputs, weights = bench.trained(1.0, cross_entropy=False)
    predicted = {
        kind: predict(
            kernel,
            bench.labels,
            case.reads,
            lambda one, step: one.descent(bench.lengths, step, bench.step_size),
            bench.lengths,
        )
        for kind, kernel in kernels.items()
    }
    first = case.kinds[0]
    arrays = _compared(bench, outputs, predicted | _generic(bench, outputs[0]), "squared")
    arrays |= _directions(bench, kernels[first], outputs[0], predicted[first][0])
    arrays["squared_movement"] = _movements(bench, weights)
    arrays["full_movement"] = np.full(3, np.nan)
    if "full" in kernels:
        end = network_kernel(_network(bench, weights[-1]), bench.inputs[0], None, "full")
        arrays["full_movement"] = _movement(end, bench.kernels["full"][0])
        del end
    arrays["other"] = _other(bench, (outputs[0][0], outputs[1][0]))
    return arrays | _scales(bench, outputs, predicted[first], weights[-1])


def _compared(
    bench: Bench, outputs: Pair, predicted: dict[str, Pair], loss: str
) -> dict[str, NDArray[Any]]:
    """Network and predictions by number; nan for the predictors that there are not."""
    crossed = loss == "cross_entropy"
    network = bench.scored(outputs, cross_entropy=crossed)
    scores = np.full((len(PREDICTORS), *network.shape), np.nan)
    error = np.full((*scores.shape[:-1], 2), np.nan)
    agree = np.full(scores.shape[:-1], np.nan)
    for name, pair in predicted.items():
        place = PREDICTORS.index(name)
        scores[place] = bench.scored(pair, cross_entropy=crossed)
        for side in (0, 1):
            error[place, ..., side] = relative_error(pair[side], outputs[side])
        agree[place] = agreement(pair[1], outputs[1])
    return {
        f"{loss}_network": network,
        f"{loss}_predicted": scores,
        f"{loss}_error": error,
        f"{loss}_agreement": agree,
    }


def _cross_entropy(bench: Bench) -> dict[str, NDArray[Any]]:
    outputs, weights = bench.trained(1.0, cross_entropy=True)
    predicted = {kind: bench.linearized(kind) for kind in bench.case.kinds}
    arrays = _compared(bench, outputs, predicted, "cross_entropy")
    return arrays | {"cross_entropy_movement": _movements(bench, weights)}


def _generic(bench: Bench, outputs: Tensor) -> dict[str, Pair]:
    """Predictions in kernels of the inputs alone, their time fitted to the labels-only network.

    It is fitted at the step at which the teachers stop, to the training outputs.
    """
    case, (train, test) = bench.case, bench.inputs
    spread = float(torch.cdist(train, train).square().mean())
    kernels = {
        name: (rbf(train, train, spread * width), rbf(test, train, spread * width))
        for name, width in zip(GENERIC, WIDTHS, strict=False)
    }
    kernels["linear"] = (train @ train.T, test @ train.T)
    found = {}
    for name, pair in kernels.items():
        kernel = Decomposition.of(*pair, CLASSES)
        at = bench.lengths.teacher
        rate = _fitted_rate(kernel, bench.labels, outputs[0, case.reads.index(at)], at)
        scaled = Decomposition(kernel.eigenvalues * rate, kernel.vectors, pair[1] * rate, CLASSES)
        found[name] = predict(
            scaled,
            bench.labels,
            case.reads,
            lambda one, step: one.flow(bench.lengths, step),
            bench.lengths,
        )
    return found


def _fitted_rate(kernel: Decomposition, labels: Tensor, outputs: Tensor, steps: int) -> float:
    """Factor of the eigenvalues with which flow for so many steps comes nearest to the outputs."""
    from scipy.optimize import minimize_scalar

    wanted, given = (kernel.components(each).double().numpy() for each in (outputs, labels))

    def distance(log_rate: float) -> float:
        gain = GradientFlow(float(steps)).gain(kernel.eigenvalues * np.exp(log_rate))
        return float(np.square(gain[:, None] * given - wanted).sum())

    start = -np.log(kernel.eigenvalues[0])
    grid = start + np.linspace(-10.0, 6.0, 65)
    near = grid[int(np.argmin([distance(each) for each in grid]))]
    ends = (near - 0.25, near + 0.25)
    return float(np.exp(minimize_scalar(distance, bounds=ends, method="bounded").x))


def _directions(
    bench: Bench, kernel: Decomposition, outputs: Tensor, predicted: Tensor
) -> dict[str, NDArray[Any]]:
    bins = Bins.of(kernel, bench.labels, np.array(bench.case.edges))
    progress = np.stack([bins.progress(each) for each in (outputs, predicted)])
    eigenvalues = bins.eigenvalues
    return {
        "progress": progress,
        "eigenvalues": eigenvalues,
        "slope": slopes(progress[0], progress[1], eigenvalues),
    }


def _network(bench: Bench, weights: list[Tensor]) -> ScaledMlp:
    return ScaledMlp(weights, bench.case.parametrization)


def _movements(bench: Bench, weights: list[list[Tensor]]) -> Array:
    """Of the trace kernel along the labels-only training, shape (R, 3)."""
    kernels = [
        network_kernel(_network(bench, each), bench.inputs[0], None, "trace")
        for each in (bench.weights, *weights)
    ]
    return np.stack([_movement(each, kernels[0]) for each in kernels[1:]])


def _movement(end: Tensor, start: Tensor) -> Array:
    """Change over the start, 1 - cosine, and the growth along the start's direction.

    1 - cosine is |e - s|^2 / 2 of the normalized kernels, which does not cancel.
    """
    sizes = [float(torch.linalg.vector_norm(each, dtype=torch.float64)) for each in (start, end)]
    change = float(torch.linalg.vector_norm(end - start, dtype=torch.float64)) / sizes[0]
    turned = end / sizes[1] - start / sizes[0]
    turn = float(torch.linalg.vector_norm(turned, dtype=torch.float64)) ** 2 / 2
    return np.array([change, turn, sizes[1] / sizes[0]])


def _other(bench: Bench, outputs: Pair) -> Array:
    """The yardstick: the same network from another initialization on the same labels.

    Relative differences of training and test outputs, agreement of test decisions, and difference
    of the recovery, at every read; shape (R, 4).
    """
    networks = bench.networks(1, other=True)
    train, test = [], []
    for step in range(bench.case.steps + 1):
        now = networks.outputs()
        if step in bench.case.reads:
            train.append(now[0])
            test.append(networks.test_outputs()[0])
        networks.push(now - bench.labels)
    other = torch.stack(train), torch.stack(test)
    recovered = [bench.scored(each, cross_entropy=False)[:, 1] for each in (other, outputs)]
    parts = [relative_error(other[side], outputs[side]) for side in (0, 1)]
    parts += [agreement(other[1], outputs[1]), np.abs(recovered[0] - recovered[1])]
    return np.stack(parts, axis=-1)


def _scales(
    bench: Bench, outputs: Pair, predicted: Pair, end: list[Tensor]
) -> dict[str, NDArray[Any]]:
    """The same schemes with larger and smaller outputs, which move the kernel less and more."""
    parts: dict[str, list[Array]] = {"network": [], "error": [], "movement": []}
    for scale in bench.case.scales:
        if scale != 1.0:
            outputs, weights = bench.trained(scale, cross_entropy=False)
            end = weights[-1]
        parts["network"].append(bench.scored(outputs, cross_entropy=False))
        errors = [relative_error(predicted[side], outputs[side]) for side in (0, 1)]
        parts["error"].append(np.stack(errors, axis=-1))
        parts["movement"].append(_movements(bench, [end])[0])
    return {f"scale_{name}": np.stack(values) for name, values in parts.items()}
