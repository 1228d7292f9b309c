"""What ``bias_variance`` found, in plain sentences computed from its arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sims.results import Finding
from theory.checks import Array
from theory.statistics import paired_difference

Arrays = Mapping[str, NDArray[Any]]

_TAUGHT = 3  # conditions before the students of teachers


def findings(arrays: Arrays) -> tuple[Finding, ...]:
    """The assumption, the bias, the teacher's part, the error, and regularization samples."""
    return (
        _assumption(arrays),
        _bias(arrays),
        _error(arrays),
        _teachers(arrays),
        _samples(arrays),
        _smoothed_teachers(arrays),
    )


def _verdicts(differences: Array) -> tuple[int, int, int]:
    """How many intervals (..., 3) lie below 0, above it, and across."""
    below, above = differences[..., 2] < 0, differences[..., 1] > 0
    return int(below.sum()), int(above.sum()), int((~below & ~above).sum())


def _column(arrays: Arrays, name: str) -> int:
    return [str(each) for each in arrays["quantity"]].index(name)


def _shown(triple: Array, digits: int = 3) -> str:
    """A difference with its interval, the minus as long as the plus."""
    value, low, high = (f"{number:+.{digits}f}".replace("-", "−") for number in triple)
    return f"{value} ({low} to {high})"


def _last(arrays: Arrays) -> int:
    """Place of the highest temperature."""
    return int(np.argmax(arrays["temperature"]))


def _extremes(arrays: Arrays, name: str) -> str:
    """Where a difference at the highest temperature is least and where it is most."""
    rows = arrays["difference"][:, _last(arrays), _column(arrays, name)]
    low, high = int(np.argmin(rows[:, 0])), int(np.argmax(rows[:, 0]))
    return (
        f"At {_hottest(arrays)} the difference in nats goes from {_shown(rows[low])} on "
        f"{arrays['setting'][low]} to {_shown(rows[high])} on {arrays['setting'][high]}"
    )


def _hottest(arrays: Arrays) -> str:
    return f"T = {arrays['temperature'][_last(arrays)]:g}"


def _claim(below: int, above: int, every: int, *, wanted: str) -> bool | None:
    """Whether all intervals lie on the wanted side, or any on the other."""
    good, bad = (below, above) if wanted == "below" else (above, below)
    if bad:
        return False
    return True if good == every else None


def _assumption(arrays: Arrays) -> Finding:
    rows = arrays["difference"][:, :, _column(arrays, "variance")]
    below, above, across = _verdicts(rows)
    every = below + above + across
    text = (
        "That distillation lowers the variance over data and teachers (Assumption 1 of Zhou et "
        f"al. 2021): of {every} settings and temperatures it is lower than that of students of "
        f"the labels in {below}, higher in {above} and undecided in {across} (95 % jackknife "
        f"intervals over {int(arrays['draws'])} draws of the data). "
        f"{_extremes(arrays, 'variance')}."
    )
    value, low, high = rows[0, _last(arrays)]
    holds = _claim(below, above, every, wanted="below")
    return Finding(text, holds=holds, value=value, low=low, high=high)


def _bias(arrays: Arrays) -> Finding:
    rows = arrays["difference"][:, :, _column(arrays, "bias")]
    below, above, across = _verdicts(rows)
    every = below + above + across
    text = (
        "That distillation raises the bias (the cross term of equation 3 of Zhou et al. 2021): of "
        f"{every} settings and temperatures it does in {above}, it lowers it in {below}, and the "
        f"rest ({across}) is undecided. {_extremes(arrays, 'bias')}."
    )
    value, low, high = rows[0, _last(arrays)]
    holds = _claim(below, above, every, wanted="above")
    return Finding(text, holds=holds, value=value, low=low, high=high)


def _error(arrays: Arrays) -> Finding:
    variance = arrays["difference"][:, :, _column(arrays, "variance")]
    error = arrays["difference"][:, :, _column(arrays, "error")]
    accuracy = 100 * arrays["difference"][:, :, _column(arrays, "accuracy"), 0]
    lower = variance[..., 2] < 0
    if not lower.any():
        return Finding("Nowhere is the variance of students of teachers lower for certain.")
    below, above, across = _verdicts(error[lower])
    text = (
        f"Less variance need not be less error: where the variance is lower for certain "
        f"({int(lower.sum())} times), the test cross-entropy is lower in {below}, higher in "
        f"{above} and undecided in {across}, and the accuracy differs by "
        f"{_signed(accuracy[lower].min())} to {_signed(accuracy[lower].max())} points."
    )
    return Finding(text)


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _teachers(arrays: Arrays) -> Finding:
    inside = arrays["estimate"][:, _TAUGHT:, _column(arrays, "within")]
    total = arrays["estimate"][:, _TAUGHT:, _column(arrays, "variance"), 0]
    share = 100 * inside[..., 0] / total
    row, column = np.unravel_index(int(np.argmax(share)), share.shape)
    _, low, high = inside[row, column]
    text = (
        f"Teachers of the same data make {share.min():.0f} to {share.max():.0f} % of the variance "
        f"of their students; the data make the rest. The most is {inside[row, column, 0]:.3f} "
        f"({low:.3f} to {high:.3f}) of {total[row, column]:.3f} nats, "
        f"on {arrays['setting'][row]} at T = {arrays['temperature'][column]:g}."
    )
    return Finding(text, value=share[row, column])


def _samples(arrays: Arrays) -> Finding:
    last = 100 * arrays["share"][0, :, -1, :, 0]
    every, ahead, _, same = last.T
    parts = [
        f"at T = {temperature:g} {every[k]:.0f} % (teacher holds the student back in "
        f"{ahead[k]:.0f} %), with gradients of one sign in {same[k]:.0f} %"
        for k, temperature in enumerate(arrays["temperature"])
    ]
    text = (
        f"Regularization samples at the end of training on {arrays['setting'][0]}: "
        f"{'; '.join(parts)}. Those in which the teacher does not hold the student back are "
        "counted because it pulls up harder than the label does."
    )
    return Finding(text)


def _smoothed_teachers(arrays: Arrays) -> Finding:
    """Table 1 of the paper: more regularization samples with a teacher of smoothed labels."""
    rows = []
    for plain, smoothed in ((0, 1), (2, 3)):
        ends = arrays["share_by_draw"][[plain, smoothed], :, -1, :, 0]
        for before, after in zip(*ends, strict=True):
            gap = paired_difference(100 * after, 100 * before)
            rows.append([gap.estimate, gap.low, gap.high])
    differences = np.array(rows)
    below, above, across = _verdicts(differences)
    place = _last(arrays)
    text = (
        "That a teacher of smoothed labels makes more regularization samples (Table 1 of Zhou et "
        f"al. 2021): of {len(rows)} settings and temperatures it does in {above}, it makes fewer "
        f"in {below}, and the rest ({across}) is undecided; on {arrays['setting'][0]} at "
        f"{_hottest(arrays)} the difference is {_shown(differences[place], 1)} points."
    )
    value, low, high = differences[place]
    holds = _claim(below, above, len(rows), wanted="above")
    return Finding(text, holds=holds, value=value, low=low, high=high)
