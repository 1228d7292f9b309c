"""Random pairs of target and true posterior: how tight each bound is, and how often vacuous."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from theory.labels.risk import risk_bounds, target_risk_error

Array = NDArray[np.float64]

PUBLISHED = ("l2", "l1", "sqrt_kl_fwd", "kl_fwd", "sqrt_kl_rev", "kl_rev", "jeffreys")
SHARP = (
    "l2",
    "tv",
    "sqrt_kl_fwd",
    "kl_fwd",
    "sqrt_kl_rev",
    "kl_rev",
    "jeffreys",
    "bretagnolle_huber_fwd",
    "bretagnolle_huber_rev",
)
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Shares of the problems that the stored quantiles are of."""

_ROUND_OFF = 1e-15
_BLOCK = 2_000_000  # numbers of one block of problems


@dataclass(frozen=True, slots=True)
class Pairs:
    """Problems of one kind: a loss in [0, 1], target and truth of one Dirichlet distribution."""

    classes: int
    concentration: float
    problems: int
    inputs: int
    seed: int


def tightness(job: Pairs) -> dict[str, Array]:
    """Bounds over the largest squared bias that a loss can make, and over that of a random loss."""
    rng = np.random.default_rng([job.seed, job.classes, round(1000 * job.concentration)])
    block = max(1, _BLOCK // (job.inputs * job.classes))
    parts = [
        _ratios(rng, min(block, job.problems - start), job)
        for start in range(0, job.problems, block)
    ]
    found = {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
    out = {}
    for name in ("published", "sharp"):
        worst, chance, size = (found[f"{name}_{what}"] for what in ("worst", "chance", "size"))
        out[f"{name}_tightness"] = _quantiles(worst)
        out[f"{name}_by_chance"] = _quantiles(chance)
        # a loss in [0, 1] makes no larger bias than 1
        out[f"{name}_vacuous"] = (size > 1 + _ROUND_OFF).sum(axis=1).astype(np.float64)
        out[f"{name}_violations"] = found[f"{name}_broken"].sum(axis=1).astype(np.float64)
    return out


def _quantiles(ratio: Array) -> Array:
    """Shape (shares, bounds). Infinite ones are larger than all; nothing is interpolated."""
    return np.asarray(np.quantile(ratio, SHARES, axis=1, method="inverted_cdf"))


def _ratios(rng: np.random.Generator, problems: int, job: Pairs) -> dict[str, Array]:
    shape = (problems, job.inputs)
    p = rng.dirichlet(np.ones(job.inputs), problems)
    target, truth = (_rows(rng, shape, job) for _ in range(2))
    losses = rng.random((*shape, job.classes))
    chance = np.square(target_risk_error(p, target, truth, losses, 1).bias)
    worst = np.square(
        target_risk_error(p, target, truth, (target > truth).astype(np.float64), 1).bias
    )
    out = {}
    for name, kinds in (("published", PUBLISHED), ("sharp", SHARP)):
        bounds = asdict(risk_bounds(p, target, truth, 1.0, name))
        size = np.array([bounds[kind] for kind in kinds])
        out[f"{name}_size"] = size
        with np.errstate(over="ignore"):
            out[f"{name}_worst"] = size / np.maximum(worst, 1e-300)
            out[f"{name}_chance"] = size / np.maximum(chance, 1e-300)
        # rows sum to 1 to round-off only, which moves a bias by as much
        reach = np.sqrt(size) * (1 + 1e-12) + _ROUND_OFF
        out[f"{name}_broken"] = np.sqrt(np.maximum(worst, chance)) > reach
    return out


def _rows(rng: np.random.Generator, shape: tuple[int, int], job: Pairs) -> Array:
    """Dirichlet rows by gamma variables: small concentrations give exact zeros, never nan."""
    weights = rng.standard_gamma(job.concentration, (*shape, job.classes))
    weights[..., 0] += weights.sum(axis=-1) == 0
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))
