"""What the eigenspace experiment found, in sentences computed from its arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sims.results import Finding
from theory.statistics import t_interval

Arrays = Mapping[str, NDArray[Any]]
_SMALL = 0.1
"""A share of the pairs above one half, or above chance, that counts as none."""
_NAMES = {"random_features": "Random features", "mlp": "The MLP", "cnn": "The CNN"}


def over_seeds(values: ArrayLike) -> NDArray[np.float64]:
    """Mean, low and high (95 %, t) over axis 1, (3, M, ...) of values (M, S, ...).

    >>> over_seeds(np.array([[1.0, 2.0, 3.0]])).round(3)[:, 0]
    array([ 2.   , -0.484,  4.484])
    """
    table = np.moveaxis(np.asarray(values, dtype=np.float64), 1, -1)
    out = np.full((3, *table.shape[:-1]), np.nan)
    for place in np.ndindex(*table.shape[:-1]):
        column = table[place]
        if len(column) > 1 and np.isfinite(column).all():
            interval = t_interval(column)
            out[(slice(None), *place)] = interval.estimate, interval.low, interval.high
    return out


def findings(data: str, arrays: Arrays) -> tuple[Finding, ...]:
    """The sentences: the control that must work, each network, length, optimizer, figures.

    A sentence is left out where there are no samples or no directions to say it of.
    """
    found = [_flow(arrays)]
    for model in dict.fromkeys(arrays["model"].tolist()):
        adam = np.flatnonzero((arrays["model"] == model) & (arrays["optimizer"] == "adam"))
        sgd = np.flatnonzero((arrays["model"] == model) & (arrays["optimizer"] == "sgd"))
        found.append(_claim(data, model, int(adam[0]), arrays))
        found.append(_softness(model, int(adam[0]), arrays))
        found.append(_length(model, [*adam.tolist(), *sgd.tolist()], arrays))
        if "kept_accuracy" in arrays and model == "random_features":
            found.append(_kept(arrays))
        found.append(_confidence(model, int(adam[0]), arrays))
        found.extend(_layers(model, int(adam[0]), arrays))
    return tuple(finding for finding in found if finding is not None)


def _flow(arrays: Arrays) -> Finding | None:
    """The positive control: the statistic finds the theorem where the theorem holds."""
    share, low, high = _interval(arrays["flow_interval"][:, 0], arrays, "s1_share")
    own = float(arrays["flow_interval"][0, 0, _statistic(arrays, "s6_share")])
    exponent = float(arrays["flow_exponent"][0, :, 1].mean())
    if not np.isfinite([share, own, exponent]).all():
        return None
    text = (
        "Exact flow of the squared loss on the same inputs: at equal progress along one direction "
        f"the student lags along the lower one in {share:.1%} of the pairs, as the theorem says; "
        f"divided by its own final value it lags in {own:.0%}, a coin flip, so that only the "
        f"teacher's final value shows the effect; its effective time grows with the eigenvalue "
        f"to the power {exponent:.2f}."
    )
    return Finding(text, holds=share > 0.95, value=share, low=low, high=high)


def _claim(data: str, model: str, setting: int, arrays: Arrays) -> Finding | None:
    """Appendix D's claim at the table's length, by the difference from a second one-hot network."""
    share, low, high = _student(arrays, setting, "s1_share")
    if not np.isfinite(share):
        return None
    slope = _student(arrays, setting, "s4_slope")
    null = _difference(arrays, setting, "null", "s1_share")
    _, holds = _verdict(low, high, null)
    compared = _against_null(arrays, setting, null)
    raw = _raw(arrays, setting, share)
    nearly = "" if share >= 0.9 else ", far from the nearly all pairs of the paper's pictures"
    images = arrays["data"][setting] if "data" in arrays else data
    text = (
        f"{_NAMES[model]} on {images}, Adam, {arrays['updates'][setting]} updates "
        f"({arrays['values'].shape[1]} seeds){_fits(arrays, setting)}: "
        f"the student lags along the lower direction in {share:.0%} of the pairs "
        f"(95 % interval {low:.0%} to {high:.0%}){nearly}{raw}; "
        f"{compared}.{_in_the_end(slope)}"
    )
    return Finding(text, holds=holds, value=share, low=low, high=high)


def _raw(arrays: Arrays, setting: int, share: float) -> str:
    """The share by the paper's raw norms, where the layer does not start at zero."""
    drawn = np.clip(arrays["raw_share_interval"][:, setting, 0], 0.0, 1.0)
    if abs(drawn[0] - share) <= 1e-6:
        return ""
    return (
        f", by raw norms as the paper plots them {drawn[0]:.0%} ({drawn[1]:.0%} to {drawn[2]:.0%})"
    )


def _layers(model: str, setting: int, arrays: Arrays) -> list[Finding]:
    """The claim for every layer after the first, at the first length."""
    if "layer_setting" not in arrays:
        return []
    own = arrays["layer_setting"]
    # the rows of later layers, read as if each were a setting
    of = {
        name: arrays[f"layer_{name}"]
        for name in ("values_interval", "difference", "raw_share_interval", "flow_interval")
    }
    of |= {name: arrays[name] for name in ("students", "statistics", "controls")}
    of["one_batch"] = arrays["one_batch"][own]
    found = []
    for row in np.flatnonzero(own == setting):
        same = (arrays["model"][own] == model) & (arrays["layer_name"] == arrays["layer_name"][row])
        others = [int(each) for each in np.flatnonzero(same) if each != row]
        name = f"{_NAMES[model]}, {arrays['layer_title'][row]}"
        found.append(_layer(name, int(row), others, of))
    return [finding for finding in found if finding is not None]


def _layer(name: str, row: int, others: list[int], of: Arrays) -> Finding | None:
    """Does the claim show in a layer, along the directions of what the final teacher's sees?"""
    share, low, high = _student(of, row, "s1_share")
    if not np.isfinite(share):
        return None
    null = _difference(of, row, "null", "s1_share")
    soft = _difference(of, row, "soft", "s4_slope")
    flow = float(of["flow_interval"][0, row, _statistic(of, "s1_share")])
    verdict, holds = _verdict(low, high, null)
    parts = [
        f"{name}, along the directions of what it sees in the final teacher: the student lags "
        f"along the lower direction in {share:.0%} of the pairs (95 % interval {low:.0%} to "
        f"{high:.0%}; exact flow on the same inputs {flow:.0%}){_raw(of, row, share)}; "
        f"{_against_null(of, row, null)}: {verdict}."
        f"{_in_the_end(_student(of, row, 's4_slope'))}"
    ]
    if np.isfinite(soft).all():
        parts.append(
            "Against labels merely smoothed the slope differs by "
            f"{soft[0]:+.3f} ({soft[1]:+.3f} to {soft[2]:+.3f})."
        )
    if others:
        parts.append(_elsewhere(others, of))
    return Finding(" ".join(parts), holds=holds, value=share, low=low, high=high)


def _verdict(low: float, high: float, null: NDArray[np.float64]) -> tuple[str, bool | None]:
    """Does the claim show: a lag in more than half of the pairs, and in more than by chance?"""
    if not np.isfinite(null).all():
        return "without it nothing is claimed", None
    if low > 0.5 and null[1] > 0:
        return "the paper's claim shows here", True
    if high < 0.5 and null[2] < 0:
        return "the opposite of the paper's claim shows here", False
    if high <= 0.5 + _SMALL or null[2] <= _SMALL:
        return "the paper's claim does not show here", False
    return "whether the paper's claim shows here cannot be told", None


def _elsewhere(others: list[int], of: Arrays) -> str:
    """In how many of the layer's other trainings the student differs from the null."""
    gaps = np.array([_difference(of, each, "null", "s1_share") for each in others])
    above, below = int((gaps[:, 1] > 0).sum()), int((gaps[:, 2] < 0).sum())
    count = len(others)
    trainings = "the other training" if count == 1 else f"the {count} other trainings"
    return f"In {trainings} the share is above the control's in {above} and below it in {below}."


def _fits(arrays: Arrays, setting: int) -> str:
    """Mean training accuracy of the teachers on samples whose label is right, if there are any."""
    clean = arrays["splits"].tolist().index("clean")
    fits = float(np.mean(arrays["accuracy"][setting, :, 0, clean]))
    known = np.isfinite(fits)
    return f", whose teacher fits {fits:.0%} of the clean training samples" if known else ""


def _in_the_end(slope: tuple[float, float, float]) -> str:
    """The statistic without pairs, in words."""
    mean, low, high = slope
    if not np.isfinite(mean):
        return ""
    if low > 0:
        verdict = "In the end it has moved relatively farther along higher directions"
    elif high < 0:
        verdict = "In the end it has moved relatively less far along higher directions"
    else:
        verdict = "In the end it has moved relatively as far along high as along low directions"
    return f" {verdict} (slope {mean:+.3f}, {low:+.3f} to {high:+.3f})."


def _against_null(arrays: Arrays, setting: int, null: NDArray[np.float64]) -> str:
    """The difference from the null control, in words."""
    if arrays["one_batch"][setting]:
        basis = "half, for with all samples in one batch a second one-hot network is the teacher"
    else:
        basis = "that of a second one-hot network with other batches"
    if not np.isfinite(null).all():
        return "there is no null control"
    if null[1] > 0:
        verdict = "more than"
    elif null[2] < 0:
        verdict = "less than"
    else:
        verdict = "not told apart from"
    return f"that share is {verdict} {basis} (difference {null[1]:+.0%} to {null[2]:+.0%})"


def _softness(model: str, setting: int, arrays: Arrays) -> Finding | None:
    """Is it the teacher, or merely soft labels?"""
    student = _student(arrays, setting, "s4_slope")
    control = _student(arrays, setting, "s4_slope", name="soft")
    mean, low, high = _difference(arrays, setting, "soft", "s4_slope")
    if not np.isfinite(mean):
        return None
    if low > 0:
        verdict = "the teacher's outputs lean more to high directions than softness does"
    elif high < 0:
        verdict = "softness leans more to high directions than the teacher's outputs do"
    else:
        verdict = "the two are not told apart"
    text = (
        f"{_NAMES[model]}: labels smoothed uniformly to the teacher's mean confidence give a slope "
        f"of {control[0]:+.3f}, the teacher's outputs {student[0]:+.3f} (difference {low:+.3f} to "
        f"{high:+.3f}): {verdict}."
    )
    return Finding(text, holds=None, value=float(mean), low=float(low), high=float(high))


def _length(model: str, settings: list[int], arrays: Arrays) -> Finding | None:
    """How the share of pairs depends on the length of training and on the optimizer."""
    settings = [each for each in settings if np.isfinite(_student(arrays, each, "s1_share")[0])]
    if len(settings) < 2:
        return None
    parts = []
    for setting in settings:
        share, low, high = _student(arrays, setting, "s1_share")
        name = {"adam": "Adam", "sgd": "SGD"}[str(arrays["optimizer"][setting])]
        parts.append(
            f"{share:.0%} ({low:.0%} to {high:.0%}) after {arrays['updates'][setting]} updates "
            f"of {name}"
        )
    text = (
        f"{_NAMES[model]}: the share of pairs in which the student lags along the lower direction "
        f"depends on training: {', '.join(parts)}."
    )
    spread = [_student(arrays, setting, "s1_share") for setting in settings]
    if max(each[1] for each in spread) <= min(each[2] for each in spread):
        text = text.replace("depends on training", "is not told apart between trainings")
    return Finding(text)


def _kept(arrays: Arrays) -> Finding | None:
    """Figure 17: which directions carry the mislabeled samples."""
    counts, accuracy = arrays["kept_counts"][:-1], arrays["kept_accuracy"][0, 0]
    places = [arrays["splits"].tolist().index(name) for name in ("clean", "mislabeled, as given")]
    clean, wrong = accuracy[places]
    if not np.isfinite([clean, wrong]).all():
        return None
    enough = np.flatnonzero(clean[:-1] >= 0.9 * clean[-1])
    place = int(enough[0]) if len(enough) else len(counts) - 1
    by_seed = arrays["kept_by_seed"][:, 0, places]
    lost = by_seed[..., -1] - by_seed[..., place]  # seeds, (clean, wrong)
    mean, low, high = over_seeds((lost[:, 1] - lost[:, 0])[None])[:, 0]
    interval = f"(difference {mean:+.0%}, {low:+.0%} to {high:+.0%})"
    if low > 0:
        verdict = f"the others hold more of the wrong labels {interval}: they fit the noise"
    elif high < 0:
        verdict = f"the others hold more of the clean samples {interval}"
    else:
        verdict = f"what the others hold of the two is not told apart {interval}"
    text = (
        f"Of the teacher's random-feature head, the top {counts[place]} of {counts[-1]} directions "
        f"keep an accuracy of {clean[place]:.0%} on clean training samples (the whole head: "
        f"{clean[-1]:.0%}) and of {wrong[place]:.0%} on the wrong labels of mislabeled ones (the "
        f"whole head: {wrong[-1]:.0%}); {verdict}."
    )
    return Finding(text, holds=bool(low > 0), value=mean, low=low, high=high)


def _confidence(model: str, setting: int, arrays: Arrays) -> Finding | None:
    """Figure 18: is the student less sure where the teacher is unsure?"""
    train, test = (arrays["slope_interval"][:, setting, side] for side in (0, 1))
    clean, wrong = over_seeds(arrays[f"confidence_gap_{model}"][None])[:, 0].T
    parts = []
    if np.isfinite([train, test]).all():
        parts.append(
            "over the quarter of samples where the teacher is least sure, the student's confidence "
            f"rises by {train[0]:.2f} ({train[1]:.2f} to {train[2]:.2f}) per unit of the teacher's "
            f"in training and by {test[0]:.2f} ({test[1]:.2f} to {test[2]:.2f}) in testing, "
            "1 being a copy"
        )
    judged = bool(np.isfinite(wrong).all())
    if judged:
        parts.append(_on_mislabeled(clean, wrong))
    if not parts:
        return None
    mean, low, high = wrong if judged else train
    text = f"{_NAMES[model]}: {'; '.join(parts)}."
    return Finding(text, holds=bool(high < 0) if judged else None, value=mean, low=low, high=high)


def _on_mislabeled(clean: NDArray[Any], wrong: NDArray[Any]) -> str:
    """The student's confidence less the teacher's on mislabeled samples, in words."""
    if wrong[2] < 0:
        verdict = "less sure than its teacher"
    elif wrong[1] > 0:
        verdict = "surer than its teacher"
    else:
        verdict = "not told apart from its teacher"
    text = (
        f"on mislabeled training samples the student is {verdict} ({wrong[0]:+.2f} nats, "
        f"{wrong[1]:+.2f} to {wrong[2]:+.2f})"
    )
    if np.isfinite(clean).all():
        text += (
            f", on clean ones its confidence differs by {clean[0]:+.2f} "
            f"({clean[1]:+.2f} to {clean[2]:+.2f})"
        )
    return text


def _statistic(arrays: Arrays, name: str) -> int:
    return int(arrays["statistics"].tolist().index(name))


def _interval(table: NDArray[Any], arrays: Arrays, name: str) -> tuple[float, float, float]:
    """Mean, low and high; a share's interval ends at 0 and 1."""
    ends = table[:, _statistic(arrays, name)]
    mean, low, high = np.clip(ends, 0.0, 1.0) if name.endswith("share") else ends
    return float(mean), float(low), float(high)


def _student(
    arrays: Arrays, setting: int, statistic: str, *, name: str = "student"
) -> tuple[float, float, float]:
    column = arrays["students"].tolist().index(name)
    return _interval(arrays["values_interval"][:, setting, column], arrays, statistic)


def _difference(arrays: Arrays, setting: int, control: str, statistic: str) -> NDArray[np.float64]:
    column = arrays["controls"].tolist().index(control)
    row = arrays["difference"][:, setting, column, _statistic(arrays, statistic)]
    return np.asarray(row, dtype=np.float64)
