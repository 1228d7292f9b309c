"""What ``prediction_meets_network`` found, in plain sentences computed from its arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sims.parts.prediction_statistics import FEWEST
from sims.results import Finding

Arrays = Mapping[str, NDArray[Any]]
ERROR = {True: 0.10, False: 0.25}
"""Median relative error of outputs that is promised from 256 units on, and below."""
ACCURACY, RECOVERY, ORDER = 0.01, 0.03, 0.9
PROMISED = 500
"""Training samples from which the goals count: with fewer a sample is a larger share."""
STILL = 1e-3
"""Share of their norm that outputs may move by where theory says 0: round-off is far below."""
EASY = 0.8
"""Rank correlation from which the order of the conditions counts as reached."""
_NTK = {"ntk": "NTK parametrization", "standard": "standard parametrization"}
_GENERIC = ("rbf", "wide_rbf", "linear")
_GENERIC_NAMES = {
    "rbf": "a Gaussian kernel",
    "wide_rbf": "a wide Gaussian kernel",
    "linear": "the linear kernel",
}


def findings(arrays: Arrays) -> tuple[Finding, ...]:
    """The sentences: networks in order of their settings, then kernel, scales and controls."""
    squared = np.flatnonzero(arrays["setting_loss"] == "squared")
    crossed = np.flatnonzero(arrays["setting_loss"] == "cross_entropy")
    found: list[Finding | None] = []
    for setting in squared:
        found += [_outputs(arrays, int(setting)), _order(arrays, int(setting))]
    kinds, network = arrays["network_parametrization"], arrays["setting_network"]
    first = [int(setting) for setting in squared if kinds[network[setting]] == kinds[0]]
    found += [_bias_of_the_trace(arrays, setting) for setting in first]
    found += [_slopes(arrays, int(setting)) for setting in squared]
    found += [_cross_entropy(arrays, int(setting)) for setting in crossed]
    found += [_where_it_stops(arrays), _generic(arrays, first[-1]), _smoothing(arrays)]
    found.append(_still(arrays))
    return tuple(one for one in found if one is not None)


def best(arrays: Arrays, setting: int) -> int:
    """The full kernel where there is one, else the trace kernel."""
    full = _predictor(arrays, "full")
    there = np.isfinite(arrays["error"][setting, full, 0, 0])
    return full if there else _predictor(arrays, "trace")


def network_name(arrays: Arrays, setting: int, *, long: bool = True) -> str:
    """Width, and parametrization where several were trained.

    >>> network = {"network_width": np.array([8]), "network_parametrization": np.array(["ntk"])}
    >>> network_name(network | {"setting_network": np.array([0])}, 0)
    'W = 8'
    """
    number = int(arrays["setting_network"][setting])
    width, kind = arrays["network_width"][number], str(arrays["network_parametrization"][number])
    several = len(set(arrays["network_parametrization"].tolist())) > 1
    return f"W = {width}" + (f", {_NTK[kind]}" if several and long else "")


def _predictor(arrays: Arrays, name: str) -> int:
    return int(arrays["predictors"].tolist().index(name))


def _said(arrays: Arrays, setting: int, quantity: str, statistic: str, predictor: int) -> Any:  # noqa: ANN401
    row = arrays["quantities"].tolist().index(quantity)
    column = arrays["statistics"].tolist().index(statistic)
    return arrays["table"][setting, predictor, row, column]


def _seeds(arrays: Arrays, setting: int) -> str:
    count = int(arrays["setting_seeds"][setting])
    return f"{count} seed" + ("s" if count > 1 else "")


def _number(value: float, form: str) -> str:
    """A number with a true minus sign, and none before a zero.

    >>> _number(-0.284, ".2f"), _number(-0.001, ".0%"), _number(0.1, "+.1f")
    ('−0.28', '0%', '+0.1')
    """
    sign, digits = ("+", form[1:]) if form[0] == "+" else ("", form)
    return f"{value:{sign}z{digits}}".replace("-", "−")


def _ends(low: float, high: float, form: str) -> str:
    """The interval in brackets, if there is one."""
    known = np.isfinite([low, high]).all()
    return f" ({_number(low, form)} to {_number(high, form)})" if known else ""


def _beyond_zero(arrays: Arrays, setting: int, low: float, high: float) -> bool | None:
    """Whether a difference is above zero: None where the interval, or the seeds, do not say."""
    if int(arrays["setting_seeds"][setting]) < FEWEST or not (low > 0 or high < 0):
        return None
    return bool(low > 0)


def _kernel(arrays: Arrays, setting: int) -> str:
    full = best(arrays, setting) == _predictor(arrays, "full")
    return "full kernel" if full else "trace kernel, the mean over outputs"


def _outputs(arrays: Arrays, setting: int) -> Finding:
    """The headline: outputs, and the levels of accuracy and recovery."""
    by = best(arrays, setting)
    train, test = arrays["error"][setting, by]
    single, means = (
        [float(_said(arrays, setting, q, statistic, by)[0]) for q in ("accuracy", "recovery")]
        for statistic in ("level", "level_of_means")
    )
    width = int(arrays["network_width"][int(arrays["setting_network"][setting])])
    limit = ERROR[width >= 256]
    agreed = arrays["agreement"][setting, by, 0]
    several = int(arrays["setting_seeds"][setting]) > 1
    one = f", in a single seed by {single[0]:.3f} and {single[1]:.3f}" if several else ""
    met = bool(train[0] <= limit and means[0] <= ACCURACY and means[1] <= RECOVERY)
    promised = _promised(arrays, setting)
    goals = f" (goals: {limit:.0%}, {ACCURACY:g} and {RECOVERY:g})" if promised else ""
    methods, samples = len(arrays["methods"]), int(arrays["training_samples"])
    text = (
        f"{network_name(arrays, setting)} ({_seeds(arrays, setting)}, {samples} digits, "
        f"{float(arrays['noise']):.0%} flipped labels): the closed form in the kernel at "
        f"initialization ({_kernel(arrays, setting)}) predicts {methods} methods without a fitted "
        f"number. Its training outputs are off by a median of {train[0]:.1%} of their norm"
        f"{_ends(train[1], train[2], '.1%')}, test outputs by {test[0]:.1%}; "
        f"{'means over seeds of ' if several else ''}the accuracy "
        f"{'are' if several else 'is'} off by {means[0]:.3f}, "
        f"{'of ' if several else ''}the share of flipped samples that get their right class by "
        f"{means[1]:.3f}{goals}{one}; {agreed:.1%} of the test decisions are the same."
    )
    holds = met if promised else None
    return Finding(text, holds=holds, value=train[0], low=_end(train[1]), high=_end(train[2]))


def _promised(arrays: Arrays, setting: int) -> bool:
    """Whether the goals count: enough samples and seeds, and the full kernel."""
    full = best(arrays, setting) == _predictor(arrays, "full")
    enough = int(arrays["setting_seeds"][setting]) >= FEWEST
    return full and enough and int(arrays["training_samples"]) >= PROMISED


def _end(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _order(arrays: Arrays, setting: int) -> Finding | None:
    """Resolved pairs ordered right, and differences from plain labels."""
    by = best(arrays, setting)
    parts, shares = [], []
    for quantity in arrays["quantities"].tolist():
        share = float(_said(arrays, setting, quantity, "concordance", by)[0])
        count, pairs, _ = _said(arrays, setting, quantity, "resolved", by)
        r2, slope = (
            float(_said(arrays, setting, quantity, name, by)[0]) for name in ("r2", "slope")
        )
        if not np.isfinite(count) or count == 0:
            continue
        shares.append(share)
        parts.append(
            f"{quantity} {share:.0%} of {count:.0f} (of {pairs:.0f}; R² {_number(r2, '.2f')}, "
            f"slope {_number(slope, '.2f')})"
        )
    if not parts:
        return None
    ranks = ", ".join(
        f"{q} {_number(float(_said(arrays, setting, q, 'spearman', by)[0]), '.2f')}"
        f"{_ceiling(arrays, setting, q)}"
        for q in arrays["quantities"].tolist()
    )
    text = (
        f"{network_name(arrays, setting)}: of the pairs of methods at the same step that the "
        "networks tell apart (paired by seed, Student's t, Holm), the prediction orders rightly: "
        f"{'; '.join(parts)}. R² and slope are those of the differences from plain labels; rank "
        f"correlations of all conditions: {ranks}."
    )
    lowest = min(shares)
    holds = lowest >= ORDER if _promised(arrays, setting) else None
    return Finding(text, holds=holds, value=lowest)


def _ceiling(arrays: Arrays, setting: int, quantity: str) -> str:
    ceiling = float(_said(arrays, setting, quantity, "ceiling", best(arrays, setting))[0])
    return f" (halves of the seeds: {_number(ceiling, '.2f')})" if np.isfinite(ceiling) else ""


def _bias_of_the_trace(arrays: Arrays, setting: int) -> Finding | None:
    """What the mean over outputs leaves out."""
    full, trace = (_predictor(arrays, name) for name in ("full", "trace"))
    if not np.isfinite(arrays["error"][setting, full, 0, 0]):
        return None
    errors = [float(arrays["error"][setting, each, 0, 0]) for each in (full, trace)]
    slopes = [float(_said(arrays, setting, "recovery", "slope", each)[0]) for each in (full, trace)]
    moved = float(arrays["full_movement"][int(arrays["setting_network"][setting]), 0])
    gap, low, high = arrays["error_gap"][setting, trace]
    why = ""
    if errors[1] > errors[0]:
        part = "most" if errors[1] > 2 * errors[0] else "a part"
        why = f", and {part} of what the cheap kernel misses is the structure between outputs"
    text = (
        f"{network_name(arrays, setting)}: with the trace kernel instead of the full one the error "
        f"of training outputs is {errors[1]:.1%} instead of {errors[0]:.1%}, a difference of "
        f"{_number(gap, '+.1%')}{_ends(low, high, '+.1%')}, and one unit of predicted difference "
        f"in recovery is {_number(slopes[1], '.2f')} instead of {_number(slopes[0], '.2f')} units "
        f"in the network. The full kernel moves by {moved:.1%} in training, which both miss{why}."
    )
    holds = _beyond_zero(arrays, setting, low, high)
    return Finding(text, holds=holds, value=gap, low=_end(low), high=_end(high))


def _slopes(arrays: Arrays, setting: int) -> Finding | None:
    """Exaggeration in networks: effective-time slopes, less those of plain labels."""
    number = int(arrays["setting_network"][setting])
    reads = arrays["reads"].tolist()
    places = [reads.index(int(arrays["teacher_step"])), len(reads) - 1]
    net, said = (arrays["slope"][number, side][1:, places] for side in (0, 1))
    known = np.isfinite(net[..., 0]) & np.isfinite(said[..., 0]) & arrays["counted"][1:, places]
    clear = known & (np.abs(said[..., 0]) > 0.05)
    if clear.sum() < 4:
        return None
    right = np.sign(net[..., 0]) == np.sign(said[..., 0])
    ratio = float((net[..., 0] * said[..., 0])[clear].sum() / np.square(said[..., 0])[clear].sum())
    student = arrays["methods"].tolist().index("student")
    mean, low, high = arrays["slope"][number, 0, student, places[0]]
    theory = float(arrays["slope"][number, 1, student, places[0], 0])
    if not np.isfinite([mean, theory]).all():
        return None
    own = float(arrays["label_slope"][number, 0, places[1], 0])
    text = (
        f"{network_name(arrays, setting)}: how do effective training times change with the "
        "eigenvalue? Less the slope of plain labels (which itself reads "
        f"{_number(own, '+.2f')} at the last step, where theory says 0: below it where small "
        "directions run ahead), the slope "
        f"has the predicted sign in {int(right[clear].sum())} of {int(clear.sum())} cases of a "
        f"method at a step, and {_number(ratio, '.2f')} times the predicted size; for the student "
        f"after {reads[places[0]]} steps it is {_number(mean, '+.2f')}{_ends(low, high, '+.2f')}, "
        f"predicted {_number(theory, '+.2f')}."
    )
    holds = bool(right[clear].mean() >= ORDER) if _promised(arrays, setting) else None
    return Finding(text, holds=holds, value=ratio)


def _cross_entropy(arrays: Arrays, setting: int) -> Finding:
    by = best(arrays, setting)
    train = arrays["error"][setting, by, 0]
    accuracy, recovery = (
        float(_said(arrays, setting, name, "level", by)[0]) for name in ("accuracy", "recovery")
    )
    change, turn, growth = arrays["movement"][setting, -1]
    share = float(_said(arrays, setting, "recovery", "concordance", by)[0])
    count = float(_said(arrays, setting, "recovery", "resolved", by)[0])
    ordered = f" {share:.0%} of {count:.0f} resolved pairs are ordered right;" if count else ""
    ordered = ordered if np.isfinite(share) else ""
    text = (
        f"{network_name(arrays, setting)}, cross-entropy ({_seeds(arrays, setting)}): the dual "
        f"flow in the {_kernel(arrays, setting)} misses the logits by a median of {train[0]:.1%} "
        f"of their norm, accuracy by {accuracy:.3f} and recovery by {recovery:.3f} on average;"
        f"{ordered} here the kernel grows {growth:.2f}-fold (change {change:.2f}) and turns by a "
        f"1 − cosine of {turn:.4f}."
    )
    return Finding(text, value=train[0], low=_end(train[1]), high=_end(train[2]))


def _where_it_stops(arrays: Arrays) -> Finding | None:
    scales = arrays["scales"]
    if len(scales) < 2:
        return None
    rows = []
    for place in np.argsort(-scales):
        error, turn = arrays["scale_error"][place, 0, 0], arrays["scale_movement"][place, 1]
        rows.append(f"{scales[place]:g}: 1 − cosine {_number(turn, '.2g')}, error {error:.1%}")
    lowest = int(np.argmin(scales))
    share = _scale_order(arrays, lowest)
    ordered = "" if share is None else f" At the smallest {share}."
    text = (
        f"{network_name(arrays, 0)}, outputs scaled by a factor (smaller ones move the kernel "
        f"more): {'; '.join(rows)}.{ordered}"
    )
    return Finding(text, value=float(arrays["scale_error"][lowest, 0, 0]))


def _scale_order(arrays: Arrays, place: int) -> str | None:
    """Order of resolved pairs at one scale, in words."""
    column = arrays["statistics"].tolist().index("concordance")
    shares = [
        f"{quantity} {float(row[column, 0]):.0%}"
        for quantity, row in zip(
            arrays["quantities"].tolist(), arrays["scale_table"][place], strict=True
        )
        if np.isfinite(row[column, 0])
    ]
    return f"the resolved pairs ordered right are: {', '.join(shares)}" if shares else None


def _generic(arrays: Arrays, setting: int) -> Finding:
    """What only the network's own kernel gets."""
    by = best(arrays, setting)
    own = float(arrays["error"][setting, by, 0, 0])
    others = {name: _predictor(arrays, name) for name in _GENERIC}
    errors = {name: float(arrays["error"][setting, at, 0, 0]) for name, at in others.items()}
    nearest = min(errors, key=lambda name: errors[name])
    at = others[nearest]
    ranks = [float(_said(arrays, setting, "recovery", "spearman", each)[0]) for each in (at, by)]
    levels = [
        [float(_said(arrays, setting, name, "level", each)[0]) for name in ("accuracy", "recovery")]
        for each in (at, by)
    ]
    number = int(arrays["setting_network"][setting])
    yardstick, least, most = arrays["yardstick"][number, 0]
    gap, low, high = arrays["error_gap"][setting, at]
    if ranks[0] >= EASY:
        opening = "Ranks are easy"
    elif ranks[1] >= EASY:
        opening = "Here not even the order is reached without the network's own kernel"
    else:
        opening = "Here the order is reached neither in the network's own kernel nor in another"
    text = (
        f"{opening}: {_GENERIC_NAMES[nearest]} of the inputs, its time fitted to the network "
        f"({network_name(arrays, setting)}), ranks the conditions by recovery with a correlation "
        f"of {_number(ranks[0], '.2f')} (the network's own kernel, nothing fitted: "
        f"{_number(ranks[1], '.2f')}). It misses training outputs by {errors[nearest]:.1%} (own: "
        f"{own:.1%}), a difference of {_number(gap, '+.1%')}{_ends(low, high, '+.1%')}, accuracy "
        f"by {levels[0][0]:.3f} ({levels[1][0]:.3f}) and recovery by {levels[0][1]:.3f} "
        f"({levels[1][1]:.3f}). Another initialization of the same network, trained on the labels, "
        f"differs by {yardstick:.1%}{_ends(least, most, '.1%')} in training outputs, the median "
        "over the same steps."
    )
    holds = _beyond_zero(arrays, setting, low, high)
    return Finding(text, holds=holds, value=gap, low=_end(low), high=_end(high))


def _smoothing(arrays: Arrays) -> Finding | None:
    """The null: under the squared loss label smoothing changes no decision of a linear model."""
    row = arrays["methods"].tolist().index("smoothing")
    column = arrays["quantities"].tolist().index("accuracy")
    parts: list[str] = []
    verdicts: list[bool | None] = []
    for setting in np.flatnonzero(arrays["setting_loss"] == "squared").tolist():
        mean, low, high = arrays["difference"][setting, row, -1, column]
        if not np.isfinite([low, high]).all():
            continue
        by = best(arrays, setting)
        said = float(arrays["predicted_difference"][setting, by, row, -1, column])
        verdicts.append(_nothing(arrays, setting, low, high))
        parts.append(
            f"{network_name(arrays, setting)} {_number(mean, '+.4f')}{_ends(low, high, '+.4f')}, "
            f"predicted {_number(said, '+.4f')}"
        )
    if not parts:
        return None
    text = (
        "A scheme that should do next to nothing: under the squared loss label smoothing scales "
        "all margins of a linear model by one factor, if its kernel is the same for all outputs "
        "and couples none. Change of the accuracy at the last step: "
        f"{'; '.join(parts)}. Up to {ACCURACY:g} counts as nothing."
    )
    return Finding(text, holds=False if False in verdicts else None if None in verdicts else True)


def _nothing(arrays: Arrays, setting: int, low: float, high: float) -> bool | None:
    """Whether a change of the accuracy is next to nothing: None where the interval is too wide."""
    if int(arrays["setting_seeds"][setting]) < FEWEST:
        return None
    if max(abs(low), abs(high)) <= ACCURACY:
        return True
    return False if low > ACCURACY or high < -ACCURACY else None


def _still(arrays: Arrays) -> Finding:
    """The control: what theory says stays where it is, does."""
    settings = np.flatnonzero(arrays["setting_loss"] == "squared").tolist()
    moved = arrays["no_op"].max(axis=1)
    parts = "; ".join(
        f"{moved[int(arrays['setting_network'][setting])]:.1g} ({network_name(arrays, setting)})"
        for setting in settings
    )
    said = float(arrays["no_op_predicted"].max())
    text = (
        "A scheme that must do nothing, in networks as in theory: labels until step "
        f"{int(arrays['switch_step'])}, then the outputs that another run of the same network has "
        "reached by then. Largest move of the outputs after it, over their norm there (one seed): "
        f"{parts}; of the gain in the closed form {_number(said, '.1g')}. Up to {STILL:g} counts "
        "as round-off."
    )
    return Finding(text, holds=bool(moved.max() <= STILL), value=float(moved.max()))
