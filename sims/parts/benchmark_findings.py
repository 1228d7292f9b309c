"""What ``digits_benchmark`` found, in plain sentences computed from its arrays."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sims.parts.benchmark_statistics import LEVEL, means
from sims.results import Finding
from theory.statistics import Interval, rank_correlation

Arrays = Mapping[str, NDArray[Any]]
FEWEST_SEEDS = 5
"""Seeds from which a test over seeds counts: before, it rests on how near they happen to be."""
FEWEST = 6
"""Rows from which a correlation over rows is told."""


def findings(arrays: Arrays) -> tuple[Finding, ...]:
    """The sentences: who wins, who learns, which epoch is reported, what is memorized."""
    found = [
        _winner(arrays),
        _learning(arrays),
        _best_on_test(arrays),
        _stopping(arrays),
        _order(arrays),
        _memorized(arrays),
        _over_the_teacher(arrays),
        _calibration(arrays),
        _twins(arrays),
        _seeds(arrays),
    ]
    return tuple(one for one in found if one is not None)


def points(value: float, digits: int = 1) -> str:
    """A difference of accuracies in points, with its sign and a true minus.

    >>> points(0.0312), points(-0.004), points(-0.00001)
    ('+3.1', '−0.4', '+0.0')
    """
    return f"{100 * value:+z.{digits}f}".replace("-", "−")


def _ends(three: Sequence[float]) -> str:
    """The interval of a difference in brackets, if there is one."""
    known = np.isfinite(three[1:]).all()
    return f" (95 % interval {points(three[1])} to {points(three[2])})" if known else ""


def _rows(arrays: Arrays) -> NDArray[np.bool_]:
    """Rows that statistics are over: those that learn, or all where labels alone do not."""
    learns = arrays["learns"]
    return learns if learns[_baseline(arrays)] else np.ones_like(learns)


def _label(arrays: Arrays, row: int | np.integer[Any]) -> str:
    return str(arrays["label"][row])


def _listed(words: Sequence[str]) -> str:
    return ", ".join([*words[:-2], " and ".join(words[-2:])])


def _baseline(arrays: Arrays) -> int:
    return int(arrays["baseline"][0])


def _setting(arrays: Arrays) -> str:
    return (
        f"{arrays['train_samples'][0]:,} digits, {arrays['flipped'][0]:,} of them with a flipped "
        "label"
    )


def _winner(arrays: Arrays) -> Finding | None:
    """The headline: which row gains most over labels alone, and how many differ from it."""
    change, p_values = arrays["test_accuracy_change"], arrays["test_accuracy_p"]
    others = np.arange(len(change)) != _baseline(arrays)
    others &= arrays["learns"] | ~arrays["reading"]
    honest = np.flatnonzero(others & (arrays["kind"] != "truth"))
    if not len(honest):
        return None
    best, seeds = int(honest[np.argmax(change[honest, 0])]), len(arrays["seeds"])
    with np.errstate(invalid="ignore"):
        apart = p_values < LEVEL
    better, worse = (int((apart & side)[honest].sum()) for side in _sides(change[:, 0]))
    own = arrays["test_accuracy_mean"][_baseline(arrays), 0]
    text = (
        f"Labels alone reach {own:.1%} on the test set after the last epoch ({_setting(arrays)}). "
        f"Of {len(honest)} other ways to train, {_label(arrays, best)} comes out best: "
        f"{points(change[best, 0])} points{_ends(change[best])}. {better} better and "
        f"{worse} worse than labels alone by t tests over {seeds} seeds, at the 5 % level for all "
        f"of them together"
    )
    text += "." if seeds >= FEWEST_SEEDS else "; so few seeds say little of how far they vary."
    truth = np.flatnonzero(arrays["kind"] == "truth")
    if len(truth):
        row = int(truth[np.argmax(change[truth, 0])])
        text += (
            f" The true law of the labels, which nobody has, gives {points(change[row, 0])}"
            f"{_ends(change[row])}."
        )
    known = seeds >= FEWEST_SEEDS and bool(apart[best]) and change[best, 0] > 0
    return Finding(text, True if known else None, *_numbers(change[best]))


def _sides(change: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    return change > 0, change < 0


def _numbers(three: NDArray[Any]) -> tuple[float | None, float | None, float | None]:
    """A mean and its interval, as a finding takes them."""
    mean, low, high = (float(x) if np.isfinite(x) else None for x in three)
    return mean, low, high


def _learning(arrays: Arrays) -> Finding:
    """Every method beats chance by far; other readings of a formula are told apart."""
    accuracy, learns = arrays["test_accuracy_mean"][:, 0], arrays["learns"]
    chance = 1 / int(arrays["classes"][0])
    own = np.flatnonzero(~arrays["reading"])
    low = own[int(np.argmin(accuracy[own]))]
    methods = len(set(arrays["method"][own].tolist()))
    text = (
        f"The least accurate of {methods} methods and their variants, {_label(arrays, low)}, "
        f"reaches {accuracy[low]:.1%} after the last epoch; chance is {chance:.0%}."
    )
    lost = np.flatnonzero(arrays["reading"] & ~learns)
    if len(lost):
        told = _listed([f"{_label(arrays, row)} ({accuracy[row]:.1%})" for row in lost])
        text += f" Not counted, as another reading of a printed formula, and not learning: {told}."
    return Finding(text, holds=bool(learns[own].all()), value=float(accuracy[low]))


def _best_on_test(arrays: Arrays) -> Finding:
    """What it adds to report the best epoch of the test curve."""
    rows = _rows(arrays)
    gain = (arrays["best_test_accuracy"] - arrays["test_accuracy"])[rows]
    three = means(gain.mean(axis=0)[None])[0]
    labels = arrays["label"][rows]
    most, least = int(gain.mean(axis=1).argmax()), int(gain.mean(axis=1).argmin())
    text = (
        f"To report the best epoch on the test set in place of the last one adds "
        f"{points(three[0])} points on average over all rows{_ends(three)}, from "
        f"{points(gain[least].mean())} ({labels[least]}) to {points(gain[most].mean())} "
        f"({labels[most]}). That epoch is chosen by the test labels, and the accuracy is too high."
    )
    return Finding(text, None, *_numbers(three))


def _stopping(arrays: Arrays) -> Finding:
    """What it adds to stop by held-out samples whose labels are as noisy."""
    rows = _rows(arrays)
    gain = (arrays["best_accuracy"] - arrays["test_accuracy"])[rows]
    three, own = means(gain.mean(axis=0)[None])[0], means(gain)
    base = int(np.flatnonzero(rows).tolist().index(_baseline(arrays)))
    text = (
        "To report the epoch that is best on held-out samples, whose labels are as noisy, changes "
        f"the test accuracy by {points(three[0])} points on average over all rows{_ends(three)}, "
        f"and by {points(own[base, 0])}{_ends(own[base])} for labels alone."
    )
    return Finding(text, _beyond(three), *_numbers(three))


def _beyond(three: NDArray[Any]) -> bool | None:
    """Whether something is more than 0: None where its interval does not say."""
    if three[1] > 0:
        return True
    return False if three[2] < 0 else None


def _order(arrays: Arrays) -> Finding | None:
    """Whether the epoch that is reported changes the order of the methods."""
    found = _correlation(arrays, "test_accuracy", "best_test_accuracy")
    if found is None:
        return None
    rows, base = _rows(arrays), _baseline(arrays)
    places = [
        1 + int((arrays[name][rows, 0] > arrays[name][base, 0]).sum())
        for name in ("test_accuracy_mean", "best_test_accuracy_mean")
    ]
    text = (
        "Does the order of the methods hang on the epoch that is reported? By the last one, labels "
        f"alone are number {places[0]} of {rows.sum()} rows, by the best one on the test set "
        f"number {places[1]}; the two orders have a rank correlation of "
        f"{_signed(found.estimate)} ({_signed(found.low)} to {_signed(found.high)})."
    )
    return Finding(text, value=found.estimate, low=found.low, high=found.high)


def _correlation(arrays: Arrays, first: str, second: str) -> Interval | None:
    """Rank correlation of two numbers over rows that learn; None for too few, or without order."""
    rows = _rows(arrays)
    x, y = (arrays[name][rows].mean(axis=1) for name in (first, second))
    if len(x) < FEWEST or not np.isfinite([x, y]).all():
        return None
    found = rank_correlation(x, y)
    return found if np.isfinite(found.estimate) else None


def _signed(value: float) -> str:
    return f"{value:+z.2f}".replace("-", "−")


def _memorized(arrays: Arrays) -> Finding | None:
    """Do those who learn fewer flips by heart do better?"""
    found = _correlation(arrays, "train_memorized", "test_accuracy")
    if found is None:
        return None
    share = arrays["train_memorized"].mean(axis=1)
    rows = np.flatnonzero(_rows(arrays))
    most, least = (int(rows[pick(share[rows])]) for pick in (np.argmax, np.argmin))
    text = (
        "Does what is learned by heart cost accuracy? The share of the flipped labels that a "
        f"network ends with predicting, from {share[least]:.0%} ({_label(arrays, least)}) to "
        f"{share[most]:.0%} ({_label(arrays, most)}) and {share[_baseline(arrays)]:.0%} with "
        f"labels alone, and the test accuracy have a rank correlation of "
        f"{_signed(found.estimate)} over rows ({_signed(found.low)} to {_signed(found.high)})."
    )
    holds = True if found.high < 0 else False if found.low > 0 else None
    return Finding(text, holds=holds, value=found.estimate, low=found.low, high=found.high)


def _over_the_teacher(arrays: Arrays) -> Finding | None:
    """How many students of the teacher end above it."""
    taught = np.flatnonzero((arrays["kind"] == "teacher") & arrays["learns"])
    if not len(taught):
        return None
    teacher = float(arrays["teacher_test_accuracy"])
    accuracy = arrays["test_accuracy"][taught]
    lower = means(accuracy)[:, 1]
    above = accuracy.mean(axis=1) > teacher
    with np.errstate(invalid="ignore"):
        surely = int((lower > teacher).sum())
    best = int(taught[np.argmax(accuracy.mean(axis=1))])
    own = arrays["test_accuracy_mean"][_baseline(arrays), 0]
    text = (
        f"The teacher, the same network trained by labels alone from another seed, has "
        f"{teacher:.1%} (such students: {own:.1%}). Of {len(taught)} rows that it teaches "
        f"{int(above.sum())} end above it on average, {surely} by more than their 95 % interval; "
        f"the best of them is {_label(arrays, best)} with "
        f"{arrays['test_accuracy_mean'][best, 0]:.1%}."
    )
    return Finding(text, value=float(above.mean()))


def _calibration(arrays: Arrays) -> Finding | None:
    """Calibration on clean labels does not reward what learns the law of noisy ones."""
    found = _correlation(arrays, "test_ece_15", "test_accuracy")
    if found is None:
        return None
    error = arrays["test_ece_15"].mean(axis=1)
    rows = np.flatnonzero(_rows(arrays))
    least = int(rows[np.argmin(error[rows])])
    text = (
        f"Is a small calibration error a merit here? A network that knows how often labels are "
        f"flipped is less sure than it is right. The smallest has {_label(arrays, least)} "
        f"({error[least]:.3f}, with {arrays['train_memorized'][least].mean():.0%} of the flips "
        f"learned by heart), and calibration error and accuracy have a rank correlation of "
        f"{_signed(found.estimate)} over rows ({_signed(found.low)} to {_signed(found.high)})."
    )
    return Finding(text, value=found.estimate, low=found.low, high=found.high)


def _twins(arrays: Arrays) -> Finding | None:
    """Rows that are one training under two names."""
    course, nll = arrays["course_test_accuracy"], arrays["test_nll"]
    little = 0.25 / int(arrays["test_samples"][0])  # round-off turns an image now and then
    pairs = [
        (a, b)
        for a, b in combinations(range(len(course)), 2)
        if arrays["method"][a] != arrays["method"][b]
        and np.abs(course[a] - course[b]).mean() < little
        and np.allclose(nll[a], nll[b], rtol=2e-3)
    ]
    if not pairs:
        return None
    told = _listed([f"{_label(arrays, a)} = {_label(arrays, b)}" for a, b in pairs])
    text = (
        "With the values that their papers have, some rows are one training under two names, epoch "
        f"by epoch up to round-off: {told}."
    )
    return Finding(text, value=float(len(pairs)))


def _seeds(arrays: Arrays) -> Finding:
    """What so few seeds cannot tell."""
    _, low, high = arrays["test_accuracy_change"][_rows(arrays)].T
    half = (high - low)[np.isfinite(high - low)] / 2
    count, images = len(arrays["seeds"]), int(arrays["test_samples"][0])
    reach = (
        f" The 95 % interval of a difference to labels alone reaches {100 * np.median(half):.1f} "
        f"points to each side in the median, {np.median(half) * images:.0f} images:"
        " smaller differences are not told apart."
        if len(half)
        else ""
    )
    text = (
        f"{count} seeds vary the student's initialization and the order of its batches, and "
        f"nothing else: samples, flips, the one teacher and the {images} test images are the same."
        f"{reach}"
    )
    return Finding(text, value=float(np.median(half)) if len(half) else None)
