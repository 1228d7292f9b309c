"""Scores of the networks of a comparison, each with an interval: rows of its tables."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sims.parts.comparison_samples import Network, Samples
from sims.parts.comparison_slopes import SIDES, View
from theory.labels import uncertainty
from theory.labels.confidence import cross_entropy, over_seeds_interval
from theory.statistics import Interval, proportion_interval, rank_correlation, t_interval

Floats = NDArray[np.float64]
Row = tuple[float, float, float]

_MOST = {
    "accuracy": 1.0,
    "mean top probability": 1.0,
    "Brier score": 2.0,
    "Jensen-Shannon divergence (nats)": float(np.log(2.0)),
    "total variation distance": 1.0,
}
UNKNOWN: Row = (np.nan, np.nan, np.nan)


def row(found: Interval | None) -> Row:
    """Estimate and ends; nan where there is none."""
    return UNKNOWN if found is None else (found.estimate, found.low, found.high)


def share(hits: NDArray[np.bool_], level: float) -> Interval:
    """Share of samples, over seeds where there are several; ends within [0, 1]."""
    if len(hits) == 1:
        return proportion_interval(int(hits.sum()), hits.size, level)
    return within(over_seeds_interval(hits.astype(np.float64), level), 1.0)


def within(found: Interval, most: float) -> Interval:
    """The interval of what lies between 0 and ``most``."""
    return replace(found, low=max(found.low, 0.0), high=min(found.high, most))


def of_networks(samples: Samples, level: float) -> dict[str, dict[str, Interval]]:
    """Means by what is measured and by role, and ``difference``, student less teacher."""
    found: dict[str, dict[str, Interval]] = {}
    for name, values in _by_role(samples).items():
        bounded = values["teacher"].dtype == np.bool_
        mean = share if bounded else over_seeds_interval
        found[name] = {
            role: within(mean(value, level), _MOST.get(name, np.inf))
            for role, value in values.items()
        }
        gap = values["student"].astype(np.float64) - values["teacher"]
        found[name]["difference"] = over_seeds_interval(gap, level)
    return found


def _by_role(samples: Samples) -> dict[str, dict[str, NDArray[Any]]]:
    networks = samples.networks
    rows: dict[str, dict[str, NDArray[Any]]] = {}
    if samples.labels is not None:
        rows["accuracy"] = {role: samples.right(role) for role in networks}
        rows["NLL (nats)"] = {
            role: cross_entropy(network.confidence_true) for role, network in networks.items()
        }
        rows["Brier score"] = {role: network.brier for role, network in networks.items()}
    rows["mean top probability"] = {role: network.top for role, network in networks.items()}
    rows["entropy (nats)"] = {role: network.entropy for role, network in networks.items()}
    return rows


def of_pair(samples: Samples, views: dict[str, View], level: float) -> dict[str, Interval]:
    """What is measured of teacher and student together, by its name."""
    found: dict[str, Interval] = {}
    for words, view in views.items():
        for side, where in zip(SIDES, ("least sure", "surest"), strict=True):
            one = view.found[side]
            found[f"slope, teacher {where}{words}"] = one.slope
            if one.control is not None and one.excess is not None:
                found[f"slope of the control, teacher {where}{words}"] = one.control
                found[f"slope less the control's, teacher {where}{words}"] = one.excess
            if not words and side == "bottom":
                found["share less sure than the teacher, there"] = one.below
                found["mean change of log-odds, there"] = one.gap
    first = views[""]
    found["rank correlation of confidence"] = _ranks(first.teacher, first.student, level)
    teacher, student = (samples.networks[role] for role in ("teacher", "student"))
    found["agreement on the class"] = share(teacher.prediction == student.prediction, level)
    apart = samples.divergences
    for name, values in (
        ("KL(teacher, student) (nats)", apart.kl),
        ("KL(student, teacher) (nats)", apart.reverse_kl),
        ("KL of the teacher's class alone (nats)", apart.binary_kl),
        ("Jeffreys divergence (nats)", apart.kl + apart.reverse_kl),
        ("Jensen-Shannon divergence (nats)", apart.jensen_shannon),
        ("total variation distance", apart.total_variation),
    ):
        found[name] = within(over_seeds_interval(values, level), _MOST.get(name, np.inf))
    return found


def _ranks(x: Floats, y: Floats, level: float) -> Interval:
    each = [rank_correlation(a, b, level=level) for a, b in zip(x, y, strict=True)]
    if len(each) == 1:
        return each[0]
    values = [one.estimate for one in each]
    if np.isnan(values).any():
        return replace(each[0], estimate=np.nan, low=np.nan, high=np.nan)
    found = t_interval(values, level)
    return replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0))


def divergence_by_confidence(samples: Samples, level: float) -> Floats:
    """Mean divergence over groups of like confidence: X, estimate, low, high; (groups, 4)."""
    x, kl = samples.networks["teacher"].confidence, samples.divergences.kl
    seeds, count = x.shape
    groups = int(np.clip(count // 20, 2, 10))
    parts = np.array_split(np.argsort(x.ravel(), kind="stable"), groups)
    x, kl = x.ravel(), kl.ravel()
    return np.array(
        [[x[part].mean(), *row(pooled(t_interval(kl[part], level), seeds))] for part in parts]
    )


def pooled(found: Interval, seeds: int) -> Interval:
    """An interval of points of all seeds, as wide as if the seeds were copies of each other.

    They share their samples: taken for independent, S seeds would count each sample S times.
    """
    wider = np.sqrt(seeds)
    low, high = (found.estimate + wider * (end - found.estimate) for end in (found.low, found.high))
    return replace(found, low=low, high=high)


def pooled_share(found: Interval | None, seeds: int) -> Interval | None:
    """The same of a share: Wilson's interval of a ``seeds``-th of the points."""
    if found is None or seeds == 1:
        return found
    total = max(1, round(found.n / seeds))
    one = proportion_interval(round(found.estimate * total), total, found.level)
    ends = min(one.low, found.estimate), max(one.high, found.estimate)
    return replace(found, low=ends[0], high=ends[1])


def by_class(samples: Samples, classes: int) -> dict[str, NDArray[Any]]:
    """Of every class: samples, mean gap of confidence, and accuracies (nan without labels)."""
    teacher, student = (samples.networks[role] for role in ("teacher", "student"))
    of = (teacher.prediction if samples.labels is None else samples.labels).ravel()
    counts = np.bincount(of, minlength=classes)

    def mean(values: NDArray[Any]) -> Floats:
        total = np.bincount(of, weights=values.ravel().astype(np.float64), minlength=classes)
        with np.errstate(invalid="ignore"):
            return np.asarray(total / counts)

    def right(role: str) -> Floats:
        return np.full(classes, np.nan) if samples.labels is None else mean(samples.right(role))

    return {
        "class_count": counts,
        "class_gap": mean(student.confidence - teacher.confidence),
        "class_accuracy": np.stack([right("teacher"), right("student")]),
    }


def reliability(network: Network, right: NDArray[np.bool_], bins: int, level: float) -> Floats:
    """Bins of equal width: samples, mean top probability, accuracy, its ends; (bins, 5).

    Empty bins have nan.
    """
    found = uncertainty.reliability(network.top.ravel(), right.ravel(), bins)
    ends = [
        row(pooled_share(proportion_interval(round(count * share), int(count), level), len(right)))
        if count
        else UNKNOWN
        for count, share in zip(found.count, found.accuracy, strict=True)
    ]
    return np.column_stack([found.count, found.confidence, np.array(ends)])


def calibration(samples: Samples, bins: int) -> dict[str, dict[str, float]]:
    """Expected calibration errors by name and role: the mean over seeds."""
    even, equal = uncertainty.expected_calibration_error, uncertainty.adaptive_calibration_error
    kinds = {
        "ECE, 10 bins": (even, 10),
        f"ECE, {bins} bins": (even, bins),
        f"ECE, {bins} equal-count bins": (equal, bins),
    }
    found: dict[str, dict[str, float]] = {}
    for name, (error, count) in kinds.items():
        found[name] = {}
        for role, network in samples.networks.items():
            pairs = zip(network.top, samples.right(role), strict=True)
            found[name][role] = float(np.mean([error(top, right, count) for top, right in pairs]))
    return found
