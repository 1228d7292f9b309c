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
    """A difference at the highest temperature: the first setting's, the least and the most."""
    rows = arrays["difference"][:, _last(arrays), _column(arrays, name)]
    low, high = int(np.argmin(rows[:, 0])), int(np.argmax(rows[:, 0]))
    return (
        f"At {_hottest(arrays)} the difference in nats is {_shown(rows[0])} in "
        f"“{arrays['setting'][0]}”, at least {_shown(rows[low])} (“{arrays['setting'][low]}”) and "
        f"at most {_shown(rows[high])} (“{arrays['setting'][high]}”)"
    )


def _hottest(arrays: Arrays) -> str:
    return f"T = {arrays['temperature'][_last(arrays)]:g}"


def _claim(below: int, above: int, every: int, *, wanted: str) -> bool | None:
    """Whether all intervals lie on the wanted side, or any on the other."""
    good, bad = (below, above) if wanted == "below" else (above, below)
    if bad:
        return False
    return True if good == every else None


def _verdict(holds: bool | None) -> str:  # noqa: FBT001  # the field of a finding
    """In the words of a headline."""
    return {True: "holds everywhere", False: "does not hold everywhere", None: "is undecided"}[
        holds
    ]


def _assumption(arrays: Arrays) -> Finding:
    rows = arrays["difference"][:, :, _column(arrays, "variance")]
    below, above, across = _verdicts(rows)
    every = below + above + across
    holds = _claim(below, above, every, wanted="below")
    text = (
        "Assumption 1 of Zhou et al. 2021, that distillation lowers the variance over data and "
        f"teachers, {_verdict(holds)}: beside that of students of labels the variance is lower in "
        f"{below}, higher in {above} and undecided in {across} of {every} cases of setting and "
        f"temperature (95 % jackknife intervals over {int(arrays['draws'])} draws of the data). "
        f"{_extremes(arrays, 'variance')}."
    )
    value, low, high = rows[0, _last(arrays)]
    return Finding(text, holds=holds, value=value, low=low, high=high)


def _bias(arrays: Arrays) -> Finding:
    rows = arrays["difference"][:, :, _column(arrays, "bias")]
    below, above, across = _verdicts(rows)
    every = below + above + across
    holds = _claim(below, above, every, wanted="above")
    text = (
        "That distillation raises the bias (the cross term of equation 3 of Zhou et al. 2021) "
        f"{_verdict(holds)}: the bias is higher in {above}, lower in {below} and undecided in "
        f"{across} of {every} cases. {_extremes(arrays, 'bias')}."
    )
    value, low, high = rows[0, _last(arrays)]
    return Finding(text, holds=holds, value=value, low=low, high=high)


def _error(arrays: Arrays) -> Finding:
    variance = arrays["difference"][:, :, _column(arrays, "variance")]
    error = arrays["difference"][:, :, _column(arrays, "error")]
    accuracy = 100 * arrays["difference"][:, :, _column(arrays, "accuracy"), 0]
    lower = variance[..., 2] < 0
    if not lower.any():
        return Finding("In no case is the variance of students of teachers lower for certain.")
    below, above, across = _verdicts(error[lower])
    text = (
        f"Less variance need not be less error: where the variance is lower for certain "
        f"({int(lower.sum())} of {lower.size} cases), the test cross-entropy is lower in {below}, "
        f"higher in {above} and undecided in {across}; accuracy differs by between "
        f"{_signed(accuracy[lower].min())} and {_signed(accuracy[lower].max())} points."
    )
    return Finding(text)


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _teachers(arrays: Arrays) -> Finding:
    inside = arrays["estimate"][:, _TAUGHT:, _column(arrays, "within")]
    total = arrays["estimate"][:, _TAUGHT:, _column(arrays, "variance"), 0]
    # what draws of the data make is an estimate, and may come out below nothing
    share = 100 * np.clip(inside[..., 0] / np.maximum(total, np.finfo(float).tiny), 0.0, 1.0)
    row, column = np.unravel_index(int(np.argmax(share)), share.shape)
    _, low, high = np.maximum(inside[row, column], 0.0)
    text = (
        f"Teachers of the same data make {share.min():.0f} to {share.max():.0f} % of the variance "
        f"of their students, the data make the rest. The most is {inside[row, column, 0]:.2g} "
        f"({low:.2g} to {high:.2g}) of {total[row, column]:.2g} nats, in "
        f"“{arrays['setting'][row]}” at T = {arrays['temperature'][column]:g}."
    )
    return Finding(text, value=share[row, column])


def _samples(arrays: Arrays) -> Finding:
    last = 100 * arrays["share"][0, :, -1, :, 0]
    every, ahead, _, same = last.T
    parts = [
        f"{every[k]:.0f} % at T = {temperature:g} ({ahead[k]:.0f} % held back)"
        for k, temperature in enumerate(arrays["temperature"])
    ]
    signs = " and ".join(
        f"{same[k]:.0f} % at T = {temperature:g}"
        for k, temperature in enumerate(arrays["temperature"])
    )
    text = (
        "A regularization sample is held back by its teacher, or pulled up by it harder than by "
        f"the label. At the end of training they are, of the samples of "
        f"“{arrays['setting'][0]}”: {'; '.join(parts)}. Label and teacher move the label's logit "
        f"the same way on {signs}."
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
    holds = _claim(below, above, len(rows), wanted="above")
    text = (
        "That a teacher of smoothed labels makes more regularization samples (Table 1 of Zhou et "
        f"al. 2021) {_verdict(holds)}: it makes more in {above}, fewer in {below}, and {across} of "
        f"{len(rows)} cases are undecided. In “{arrays['setting'][0]}” at {_hottest(arrays)} the "
        f"difference is {_shown(differences[place], 1)} points."
    )
    value, low, high = differences[place]
    return Finding(text, holds=holds, value=value, low=low, high=high)
