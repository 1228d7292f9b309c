"""What ``risk_bounds`` found, in plain sentences computed from its arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sims.results import Finding
from theory.statistics import holm, rank_correlation

Arrays = Mapping[str, NDArray[Any]]

_LEVEL = 0.01  # of all comparisons of measurement and formula together
_ROUND_OFF = 1e-9


def findings(arrays: Arrays) -> tuple[Finding, ...]:
    """What one-hot labels are off by; formula, bounds, ranking, tightness."""
    return (
        _one_hot(arrays),
        _formula(arrays),
        _valid(arrays),
        _ranking(arrays),
        _tight(arrays),
        _vacuous(arrays),
    )


def _number(value: float) -> str:
    """Three digits, powers of ten in plain text."""
    return f"{value:.3g}".replace("-", "−") if np.isfinite(value) else "infinity"


def _column(arrays: Arrays, kind: str, name: str) -> int:
    return int(np.flatnonzero(arrays[kind] == name)[0])


def _one_hot(arrays: Arrays) -> Finding:
    """The headline: at the middle size, one-hot labels."""
    size = len(arrays["samples"]) // 2
    count = int(arrays["samples"][size])
    measured, low, high = arrays["measured_mse"][0, size]
    bias = arrays["measured_bias"][0, size]
    reads = float(arrays["published_drawn"][0, _column(arrays, "published", "l2")])
    share = 100 * float(arrays["label_variance"][0, 0] / arrays["variance"][0, 0])
    # twice the half-width is four standard errors: chance alone goes beyond once in 16,000
    inside = bool(abs(bias[0]) <= bias[2] - bias[1])
    text = (
        f"With one-hot labels the risk on {count} samples is off by {_number(bias[0])} on average "
        f"(95 % interval {_number(bias[1])} to {_number(bias[2])}; 0 by theory). The mean squared "
        f"error is {_number(measured)} ({_number(low)} to {_number(high)}): by theory all "
        f"variance, {share:.0f} % of it from the draw of the label. The published Euclidean bound, "
        f"read as the distance of labels from the posterior, allows a squared bias of "
        f"{_number(reads)}."
    )
    return Finding(text, holds=inside, value=bias[0], low=bias[1], high=bias[2])


def _formula(arrays: Arrays) -> Finding:
    adjusted = holm(arrays["p_value"])
    rejected = int((adjusted <= _LEVEL).sum())
    exact, floor = arrays["mse"], _ROUND_OFF * arrays["mse"]
    low, high = arrays["measured_mse"][..., 1] - floor, arrays["measured_mse"][..., 2] + floor
    covered = (low <= exact) & (exact <= high)
    text = (
        f"Variance over N plus squared bias is the measured error: the exact value lies in the "
        f"95 % interval in {int(covered.sum())} of {covered.size} cases of target and size, and "
        f"{rejected} differ at the level {_LEVEL:g} for all cases together (Holm)."
    )
    return Finding(text, holds=rejected == 0, value=float(adjusted.min()))


def _valid(arrays: Arrays) -> Finding:
    squared = np.square(arrays["bias"])
    broken = sum(
        int((arrays[kind] * (1 + _ROUND_OFF) + 1e-18 < squared).sum())
        for kind in ("published_mean", "published_drawn", "sharp_mean")
    )
    broken += sum(int(arrays[f"{kind}_violations"].sum()) for kind in ("published", "sharp"))
    pairs = int(arrays["problems"][0]) * arrays["published_vacuous"][..., 0].size
    text = (
        f"The squared bias exceeds a bound in {broken} cases: all published and sharp bounds over "
        f"{len(squared)} kinds of targets and {pairs:,} random pairs of target and posterior, each "
        f"with a random loss and with the worst one."
    )
    return Finding(text, holds=broken == 0, value=float(broken))


def _ranking(arrays: Arrays) -> Finding:
    """Does the distance rank the targets by their error?"""
    column = _column(arrays, "published", "l2")
    sizes, parts = arrays["samples"], []
    for name, of in (("drawn", "targets as drawn"), ("mean", "their mean given the input")):
        found = []
        for size in dict.fromkeys((0, len(sizes) - 1)):
            distance = arrays[f"published_{name}"][:, column]
            rank = rank_correlation(distance, arrays["mse"][:, size])
            found.append(
                f"{_number(rank.estimate)} ({_number(rank.low)} to {_number(rank.high)}) at "
                f"N = {int(sizes[size])}"
            )
        parts.append(f"by the distance of {of} {' and '.join(found)}")
    text = (
        "Do targets nearer to the posterior have the smaller error (Hypothesis 1 of Ren et al. "
        f"2022)? Rank correlation of mean Euclidean distance and error over "
        f"{len(arrays['target'])} kinds of targets: {'; '.join(parts)} (intervals as if the kinds "
        "were drawn at random)."
    )
    return Finding(text)


def _chosen(arrays: Arrays) -> tuple[int, int, str]:
    """The problems to speak of: concentration next to 0.5, ten classes or the most there are."""
    classes, concentrations = arrays["problem_classes"], arrays["concentrations"]
    row = int(np.argmin(np.abs(classes - 10)))
    column = int(np.argmin(np.abs(concentrations - 0.5)))
    return row, column, f"{classes[row]} classes (Dirichlet {concentrations[column]:g})"


def _tight(arrays: Arrays) -> Finding:
    row, column, which = _chosen(arrays)
    median = int(np.flatnonzero(arrays["shares"] == 0.5)[0])
    published, sharp = (
        arrays[f"{name}_tightness"][row, column, median] for name in ("published", "sharp")
    )
    parts = [
        f"{_number(published[_column(arrays, 'published', name)])} times it as published and "
        f"{_number(sharp[_column(arrays, 'sharp', name)])} times with the sharp constant"
        for name in ("l2", "kl_fwd")
    ]
    total = _number(sharp[_column(arrays, "sharp", "tv")])
    text = (
        f"How loose are the bounds? Over random pairs of {which}, against the largest squared bias "
        f"that a loss from 0 to l makes, the Euclidean bound is {parts[0]}, that by forward "
        f"divergence {parts[1]}, the sharp one by total variation {total} times it (medians)."
    )
    return Finding(text, value=float(published[_column(arrays, "published", "l2")]))


def _vacuous(arrays: Arrays) -> Finding:
    classes, concentrations = arrays["problem_classes"], arrays["concentrations"]
    row = int(np.argmin(np.abs(classes - 3)))
    column = int(np.argmin(np.abs(concentrations - 0.5)))
    held = arrays["published_vacuous_share"][row, column]
    share, low, high = held[_column(arrays, "published", "l2")]
    divergence = held[_column(arrays, "published", "kl_rev")][0]
    text = (
        f"The published Euclidean bound says nothing, being above what any loss can do, in "
        f"{100 * share:.0f} % of random pairs of {classes[row]} classes (Dirichlet "
        f"{concentrations[column]:g}; 95 % interval {100 * low:.1f} to {100 * high:.1f} %), that "
        f"by reverse divergence in {100 * divergence:.0f} %."
    )
    return Finding(text, value=share, low=low, high=high)
