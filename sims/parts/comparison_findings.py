"""What a comparison says, in plain sentences that are true whatever came out."""

from dataclasses import dataclass

from sims.results import Finding
from theory.labels.confidence import Exaggeration, UnderfitDissection
from theory.statistics import Interval

ADVICE = (
    "No control was handed in, and a slope has to be read against one: two networks of one kind "
    "that were trained independently tend to have a slope below 1, by chance alone, and a student "
    "whose logits are larger throughout tends to have one above 1. Hand in a network of the "
    "student's kind that was trained on the labels alone as the control."
)


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """All that the sentences are made of."""

    level: float
    """Nominal coverage of the intervals."""
    bins: int
    """Of the calibration error."""
    samples: int
    """For each seed."""
    seeds: int
    """Training seeds."""
    bottom: Exaggeration
    """Where the teacher is least sure."""
    top: Exaggeration
    """Where it is surest."""
    underfit: UnderfitDissection | None
    """Who is right there; None without labels."""
    accuracy: dict[str, Interval] | None
    """By role, and the difference; None without labels."""
    calibration: dict[str, float] | None
    """By role; None without labels."""
    agreement: Interval
    """Share of samples where both prefer the same class."""
    kl: Interval
    """Mean divergence of the student from the teacher, in nats."""


def findings(said: Said) -> tuple[Finding, ...]:
    """The sentences, the slope first."""
    every = [_slope(said), _gap(said), _outside(said), _surest(said), _control(said)]
    every += [_accuracy(said), _calibration(said), _agreement(said)]
    return tuple(one for one in every if one is not None)


def _ends(found: Interval, form: str = ".2f", more: str = "") -> str:
    """The interval in brackets, if there is one."""
    if not found.low <= found.high:
        return ""
    low, high = (f"{end:{form}}".replace("-", "−") for end in (found.low, found.high))
    return f" ({100 * found.level:g}% interval {low} to {high}{more})"


def _number(value: float, form: str = ".2f") -> str:
    return f"{value:{form}}".replace("-", "−")


def _above(found: Interval, value: float) -> bool | None:
    """Whether it lies above; None where the interval does not tell."""
    return bool(found.low > value) if found.excludes(value) else None


def _finding(text: str, found: Interval, *, holds: bool | None = None) -> Finding:
    return Finding(text, holds=holds, value=found.estimate, low=found.low, high=found.high)


def _slope(said: Said) -> Finding:
    found, count = said.bottom.slope, said.bottom.count
    where = f"the {count:,} of {said.samples:,} samples where the teacher is least sure"
    over = f", mean over {said.seeds} seeds" if said.seeds > 1 else ""
    if not found.low <= found.high:
        return Finding(
            f"Over {where} no slope of the student's confidence can be told: they are too few, or "
            "the teacher is equally sure of all."
        )
    holds = _above(found, 1.0)
    says = {
        True: "it exaggerates how unsure the teacher is",
        False: "it does not exaggerate by this measure",
        None: "which of the two is larger cannot be told",
    }[holds]
    text = (
        f"Over {where}, the student's log-odds of the class that the teacher prefers change by "
        f"{_number(found.estimate)}{_ends(found, more=over)} for 1 of the teacher's: {says}."
    )
    return _finding(text, found, holds=holds)


def _control(said: Said) -> Finding | None:
    control, excess = said.bottom.control, said.bottom.excess
    if control is None or excess is None:
        return Finding(ADVICE)
    if not excess.low <= excess.high:
        return None
    holds = _above(excess, 0.0)
    says = {
        True: "steeper than without the teacher",
        False: "less steep than without the teacher",
        None: "no different from it as far as these samples tell",
    }[holds]
    text = (
        f"Where the teacher is least sure the control has slope {_number(control.estimate)}"
        f"{_ends(control)}; the student's less that is {_number(excess.estimate)}{_ends(excess)}: "
        f"{says}."
    )
    return _finding(text, excess, holds=holds)


def _gap(said: Said) -> Finding:
    below, gap = said.bottom.below, said.bottom.gap
    change = "lower" if gap.estimate < 0 else "higher"
    holds = _above(below, 0.5)
    most = {True: "most of them", False: "a minority", None: "whether most, cannot be told"}[holds]
    text = (
        f"Of these the student is less sure than its teacher of {below.estimate:.0%}"
        f"{_ends(below, '.0%')}: {most}. Its log-odds are {change} by {abs(gap.estimate):.2f} on "
        "average."
    )
    return _finding(text, below, holds=holds)


def _surest(said: Said) -> Finding | None:
    found = said.top.slope
    if not found.low <= found.high:
        return None
    text = (
        f"Over the {said.top.count:,} samples where the teacher is surest the slope is "
        f"{_number(found.estimate)}{_ends(found)}, and the student is less sure than its "
        f"teacher of {said.top.below.estimate:.0%} of them."
    )
    return _finding(text, found)


def _outside(said: Said) -> Finding | None:
    if said.underfit is None:
        return None
    outside, rest = said.underfit.outside, said.underfit.outside_rest
    if outside is None:
        return Finding("Of none of them the student is less sure than its teacher.")
    beside = (
        f", against {rest.estimate:.0%}{_ends(rest, '.0%')} of the other samples where the "
        "teacher is as unsure"
        if rest is not None
        else ""
    )
    verb = "are" if (holds := _above(outside, 0.5)) else "are not"
    if holds is None:
        verb = "may or may not be"
    over = f" of {said.seeds} seeds" if said.seeds > 1 else ""
    text = (
        f"The {said.underfit.count:,} points{over} of which it is less sure {verb} mostly points "
        f"that teacher or student gets wrong: {outside.estimate:.0%} of them"
        f"{_ends(outside, '.0%')}{beside}."
    )
    return _finding(text, outside, holds=holds)


def _accuracy(said: Said) -> Finding | None:
    if said.accuracy is None:
        return None
    teacher, student, gap = (said.accuracy[key] for key in ("teacher", "student", "difference"))
    points = gap.times(100.0)
    text = (
        f"The teacher is right on {teacher.estimate:.2%} of the samples and the student on "
        f"{student.estimate:.2%}: a difference of {_number(points.estimate)} points"
        f"{_ends(points)}."
    )
    return _finding(text, gap)


def _calibration(said: Said) -> Finding | None:
    if said.calibration is None:
        return None
    teacher, student = said.calibration["teacher"], said.calibration["student"]
    return Finding(
        f"The expected calibration error is {teacher:.3f} for the teacher and {student:.3f} for "
        f"the student ({said.bins} bins).",
        value=student - teacher,
    )


def _agreement(said: Said) -> Finding:
    text = (
        f"Student and teacher prefer the same class for {said.agreement.estimate:.2%} of the "
        f"samples{_ends(said.agreement, '.2%')}; the mean of KL(teacher, student) is "
        f"{said.kl.estimate:.3g} nats{_ends(said.kl, '.3g')}."
    )
    return _finding(text, said.agreement)
