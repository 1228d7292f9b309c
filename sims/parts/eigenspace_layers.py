"""Layers of a network along the eigendirections of what they see (Nagarajan 2023, app. D.3, D.7).

A first layer sees the images, or patches of them. What a later layer sees changes while the network
trains; the representation of the teacher at the end of its training stands for it throughout, for
the teacher's own path and for its students', which begin at the same weights.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deep.training.streams import stream
from theory.checks import Array
from theory.flow.weights import weight_gain
from theory.ntk.trajectories import (
    STATISTICS,
    bias_statistics,
    final_log_ratio,
    log_slope,
    matched_progress,
    pair_mask,
    share_below,
)
from theory.numerics import phi

if TYPE_CHECKING:
    from torch import Tensor

    from deep.models.network import Network
    from deep.training.fixed_targets.task import Task
    from theory.ntk.projections import Eigendirections, Projections

FLOW_TIMES = 600
TIE = 1e-4
"""Differences in the logarithm of a ratio that the rounding of float32 networks explains."""
EVALUATED = 1024
"""Images evaluated at a time."""


def trained_layers(network: "Network") -> tuple[str, ...]:
    """Names of the dense and convolutional layers, in the order of computation.

    >>> from deep import models
    >>> network = models.build(
    ...     models.spec("mlp", width=4), inputs=3, classes=2, rng=np.random.default_rng(0)
    ... )
    >>> trained_layers(network)
    ('layers.0', 'layers.1', 'layers.2')
    """
    from torch import nn

    kinds = (nn.Linear, nn.Conv2d)
    return tuple(name for name, module in network.named_modules() if isinstance(module, kinds))


def layer_inputs(
    network: "Network", layer: str, task: "Task", *, patches: int, seed: int
) -> tuple[Array, NDArray[np.int64]]:
    """What ``layer`` of ``network`` sees of the training samples, and the sample of each row."""
    import torch

    from theory.ntk.projections import representations

    images = torch.from_numpy(task.train_inputs).to(next(network.parameters()))
    seen = representations(
        network,
        images,
        layer,
        count=max(patches, 1),
        seed=stream("patches", layer, seed),
        batch=EVALUATED,
    )
    samples = np.arange(len(seen)) * len(images) // len(seen)
    return seen.double().cpu().numpy(), samples


class LayerPaths:
    """A recorder of training: projects layers at chosen updates."""

    def __init__(self, eigen: "Mapping[str, Eigendirections]", steps: Collection[int]) -> None:
        from theory.ntk.projections import Projector

        self._steps = steps
        self._projectors: dict[str, Projector] = {
            layer: Projector(own, layer=layer, stacked=1) for layer, own in eigen.items()
        }

    def __call__(self, step: int, weights: "Mapping[str, Tensor]") -> None:
        """Record if this update is one of the chosen."""
        if step in self._steps:
            for projector in self._projectors.values():
                projector.record(weights, step)

    def results(self) -> "dict[str, Projections]":
        """The paths of each layer."""
        return {layer: projector.result() for layer, projector in self._projectors.items()}


class Snapshots:
    """A recorder that keeps weights of layers, to project them when the directions are known."""

    def __init__(self, layers: Sequence[str], steps: Collection[int]) -> None:
        self._layers, self._steps = layers, steps
        self._kept: list[tuple[int, dict[str, Tensor]]] = []

    def __call__(self, step: int, weights: "Mapping[str, Tensor]") -> None:
        """Copy the weights if this update is one of the chosen."""
        if step in self._steps:
            names = [f"{layer}.weight" for layer in self._layers]
            self._kept.append((step, {name: weights[name].detach().clone() for name in names}))

    def results(self, eigen: "Mapping[str, Eigendirections]") -> "dict[str, Projections]":
        """The paths of each layer along its directions."""
        paths = LayerPaths(eigen, self._steps)
        for step, weights in self._kept:
            paths(step, weights)
        return paths.results()


def compared(paths: Array, norms: Array, eigen: "Eigendirections") -> dict[str, NDArray[Any]]:
    """All statistics of the students (members 1 and on) beside their teacher (member 0).

    Displacements and norms have shape (members, T, r). ``statistics`` (students, statistics);
    ``raw_share`` (students,): S1's share of the raw norms, as the paper plots them.
    """
    found = [
        bias_statistics(paths[0], path, eigen.eigenvalues, eigen.kept, tie=TIE)
        for path in paths[1:]
    ]
    judged = pair_mask(eigen.eigenvalues, eigen.kept)
    raw = [matched_progress(norms[0], norm).log_ratio[judged] for norm in norms[1:]]
    return {
        "statistics": np.array([[each[name] for name in STATISTICS] for each in found]),
        "raw_share": np.array([share_below(ratios, tie=TIE) for ratios in raw]),
    }


def members_first(teacher: Array, students: Array) -> Array:
    """Records (T, members, r) of teacher and students as (members, T, r)."""
    return np.moveaxis(np.concatenate([teacher, students], axis=1), 1, 0)


def later_layers(
    eigen: "Mapping[str, Eigendirections]",
    inputs: Mapping[str, tuple[Array, NDArray[np.int64]]],
    teacher: "Mapping[str, Projections]",
    students: "Mapping[str, Projections]",
    task: "Task",
    *,
    pairs: int,
    model: str,
) -> dict[str, NDArray[Any]]:
    """What is kept of J later layers: statistics, controls, final ratios and the paths of pairs.

    ``later_names`` (J,), ``later_statistics`` (J, students, statistics), ``later_raw_share`` (J,
    students), ``later_null_share`` (J, members), ``later_flow`` (J, statistics),
    ``later_eigenvalues`` and ``later_final_log_ratio`` (J, r), nan below the rank and where a layer
    has fewer directions; ``later_pair_index`` (J, P, 2) and ``later_pairs`` (J, members, P, 2, T),
    nan where a layer has no two directions. Nothing of a network of one layer.
    """
    rows: dict[str, list[NDArray[Any]]] = {}
    for layer, own in eigen.items():
        first, others = teacher[layer], students[layer]
        paths = members_first(first.displacements, others.displacements)
        norms = members_first(first.norms, others.norms)
        chosen = draw_pairs(pairs, stream("pairs", model, layer), own.eigenvalues, own.kept)
        drawn = np.moveaxis(paths[:, :, chosen], 1, -1)  # (members, P, 2, T)
        ratio = np.where(own.kept, final_log_ratio(paths[0], paths[1]), np.nan)
        seen, samples = inputs[layer]
        row = compared(paths, norms, own) | {
            "null_share": np.append(first.null_share[-1], others.null_share[-1]),
            "flow": flow_control(seen, samples, own, task)["flow_statistics"],
            "eigenvalues": own.eigenvalues,
            "final_log_ratio": ratio,
            "pair_index": chosen,
            "pairs": drawn if own.kept.sum() > 1 else np.full_like(drawn, np.nan),
        }
        for name, value in row.items():
            rows.setdefault(name, []).append(value)
    if not rows:
        return {}
    directions = max(len(values) for values in rows["eigenvalues"])
    for name in ("eigenvalues", "final_log_ratio"):
        rows[name] = [pad(values, directions) for values in rows[name]]
    arrays = {f"later_{name}": np.stack(values) for name, values in rows.items()}
    return arrays | {"later_names": np.array(list(eigen))}


def pad(values: NDArray[Any], size: int) -> NDArray[np.float64]:
    """Fill the last axis with nan up to ``size``.

    >>> pad(np.array([1, 2]), 3)
    array([ 1.,  2., nan])
    """
    widths = [(0, 0)] * (values.ndim - 1) + [(0, size - values.shape[-1])]
    return np.pad(values.astype(np.float64), widths, constant_values=np.nan)


def draw_pairs(
    count: int, rng: np.random.Generator, eigenvalues: Array, kept: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Random pairs of directions that can be told apart, shape (count, 2), the higher first.

    >>> draw_pairs(2, np.random.default_rng(0), np.array([2.0, 1.0]), np.array([True, True]))
    array([[0, 1],
           [0, 1]])
    """
    allowed = np.argwhere(pair_mask(eigenvalues, kept))
    if len(allowed) == 0:  # all kept eigenvalues are nearly equal: any pair will do
        allowed = np.argwhere(np.triu(np.outer(kept, kept), 1))
    if len(allowed) == 0:  # no two directions at all
        return np.zeros((count, 2), dtype=np.int64)
    chosen = rng.choice(len(allowed), size=count, replace=len(allowed) < count)
    return np.asarray(allowed[chosen], dtype=np.int64)


def flow_control(
    inputs: Array, samples: NDArray[np.int64], eigen: "Eigendirections", task: "Task"
) -> dict[str, NDArray[Any]]:
    r"""Exact flow of the squared loss on a layer's inputs and their labels: the positive control.

    Teacher and student both stop where the middle direction is learned to 1 - 1/e. Rows of the
    inputs have the labels of their ``samples``. ``flow_displacements`` (2, T, r);
    ``flow_statistics``; ``flow_exponent`` (2,): S5, the slope of the logarithm of the effective
    time on that of the eigenvalue.
    """
    labels = np.eye(task.classes)[task.train_labels[samples]]
    singular = np.where(eigen.kept, np.sqrt(eigen.eigenvalues * len(inputs)), 0.0)
    outputs = inputs @ eigen.directions  # columns s_k u_k
    left = np.divide(outputs, singular, out=np.zeros_like(outputs), where=singular > 0)
    components = np.linalg.norm(left.T @ labels, axis=1)
    rates = singular**2
    horizon = 1.0 / (rates[np.count_nonzero(rates) // 2] or 1.0)
    times = np.append(0.0, np.geomspace(1e-7, 1.0, FLOW_TIMES)) * horizon
    teacher = weight_gain(singular, times[:, None]) * components
    learned = phi(rates * horizon)
    # 1 - phi^2 = e^-x (1 + phi), without the cancellation
    with np.errstate(divide="ignore", invalid="ignore"):
        student_time = 1 - np.log1p(learned) / (rates * horizon)
    paths = np.stack([teacher, teacher * learned])
    found = bias_statistics(paths[0], paths[1], eigen.eigenvalues, eigen.kept, tie=1e-12)
    exponents = [log_slope(np.log(time), rates) for time in (np.ones_like(rates), student_time)]
    return {
        "flow_displacements": paths,
        "flow_statistics": np.array([found[name] for name in STATISTICS]),
        "flow_exponent": np.array(exponents),
    }
