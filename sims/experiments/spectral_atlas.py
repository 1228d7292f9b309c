r"""Every training scheme over a spectrum: what it learns, and for how long it seems trained.

Each scheme is a spectral filter with a gain :math:`g(\lambda)`, the share of the labels it has
learned along a direction of eigenvalue :math:`\lambda`, and an effective stopping time
:math:`-\ln(1 - g) / \lambda`, the time after which plain training on the labels would have
learned as much. A scheme whose effective time rises with the eigenvalue exaggerates the bias of
gradient flow to top directions, as a student does; one whose effective time falls brakes it, as
ridge regression does. (Nagarajan 2023, section 4, for the student.)

Eigenvalues are given in units of the largest one, times in units of the training time.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sims.context import Context
from sims.inputs import dataset
from sims.parts.limits import within
from sims.results import Finding, Result
from theory.flow import filters as f
from theory.flow.exaggeration import Trend, classify, effective_time_trend
from theory.flow.spectrum import Spectrum

Array = NDArray[np.float64]
Source = Literal["power_law", "digits"]

_WIDEST = 1e-8  # eigenvalues with a smaller part of the largest are not drawn


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults: 200 directions with eigenvalues that fall like a power; a second."""

    spectrum: Source = "power_law"
    """Eigenvalues: a power law, or those of the embedded digits."""
    modes: int = 200
    """Number of directions of the power law."""
    decay: float = 1.5
    """Its exponent: eigenvalue i is proportional to i to the power -decay."""
    progress: float = 30.0
    """Training time of every scheme, times the largest eigenvalue."""
    points: int = 400
    """Points of each curve."""
    data: Path | None = None
    """Your own npz file with an array X (n, p), and any y; its spectrum instead of the above.
    Of y, labels as integers or targets as real numbers, nothing is used."""

    def __post_init__(self) -> None:
        within(
            self,
            modes=(2, 100_000),
            points=(10, 100_000),
            decay=(1e-3, np.log2(1 / _WIDEST)),  # the second eigenvalue is still drawn
            progress=(1e-3, 1e5),
        )

    @classmethod
    def demo(cls) -> "Config":
        """The same as the default."""
        return cls()

    @classmethod
    def paper(cls) -> "Config":
        """More directions and finer curves."""
        return cls(modes=2000, points=2000)

    @classmethod
    def smoke(cls) -> "Config":
        """Few points."""
        return cls(modes=20, points=40)


@dataclass(frozen=True, slots=True)
class Entry:
    """A scheme of the atlas, trained for time 1 where the top eigenvalue is ``progress``."""

    label: str
    """For a reader of a figure."""
    expected: str
    """Pattern that theory gives its effective time: see ``pattern``."""
    build: Callable[[float], f.Filter]
    """The filter, from the largest eigenvalue in units of one over the training time."""


def _odd(number: float) -> int:
    return 2 * max(round((number - 1) / 2), 0) + 1


ENTRIES = (
    Entry("labels", "constant", lambda _: f.GradientFlow(1.0)),
    Entry("student", "rises", lambda _: f.Generations((1.0, 1.0))),
    Entry("five generations", "rises", lambda _: f.Generations((1.0,) * 5)),
    Entry("labels and teacher", "rises", lambda _: f.Mixed(1.0, 1.0, 0.5)),
    Entry("mixed generations, for ever", "rises", lambda _: f.MixedFixedPoint(1.0, 0.5)),
    Entry("teacher, then labels", "rises", lambda _: f.DistillThenLabels(0.5, 1.0, 1.0)),
    Entry("labels, then later teacher", "rises", lambda _: f.LabelsThenDistill(0.5, 1.0, 1.0)),
    Entry("gradient descent", "rises", lambda top: f.GradientDescent(0.9 / top, _odd(top / 0.9))),
    Entry("ridge", "falls", lambda _: f.Ridge(1.0)),
    Entry("labels and early teacher", "falls", lambda _: f.Mixed(1.0, 0.1, 0.5)),
    Entry("labels, then earlier teacher", "falls", lambda _: f.LabelsThenDistill(0.5, 1.0, 0.25)),
    Entry("averaged labels", "falls", lambda _: f.TrajectoryAverage(2.0, 1.0)),
    Entry("memory replay", "falls", lambda _: f.MemoryReplay(0.2, 1.0, 0.5)),
    Entry("memory replay, 3 copies", "falls", lambda _: f.MemoryReplay(0.1, 1.0, 0.5, 3)),
    Entry("mean teacher", "falls", lambda _: f.MeanTeacher(2.0, 1.0, 0.5)),
    Entry("pull to zero", "falls", lambda _: f.Shrinkage(1.0, 0.25, 1.0)),
    Entry("two ridge rounds", "rises, then falls", lambda _: f.RidgeRounds((1.0, 1.0))),
    Entry("Filter-KD", "rises, then falls", lambda _: f.FilterKD(1.0, 2.0, 1.0)),
    Entry("labels and earlier teacher", "rises, then falls", lambda _: f.Mixed(1.0, 0.5, 0.5)),
    Entry(
        "early teacher, slowly to labels",
        "rises, then falls",
        lambda _: f.DistillThenLabels(0.25, 1.0, 0.25, 0.5),
    ),
    Entry(
        "labels, then the teacher of then", "constant", lambda _: f.LabelsThenDistill(0.5, 1.0, 0.5)
    ),
    Entry(
        "descent in long steps",
        "undefined",
        lambda top: f.GradientDescent(1.9 / top, _odd(top / 1.9)),
    ),
    Entry(
        "descent, heavy ball",
        "undefined",
        lambda top: f.GradientDescent(0.2 / top, max(round(0.5 * top), 12), momentum=0.9),
    ),
    Entry(
        "descent, Nesterov",
        "undefined",
        lambda top: f.GradientDescent(
            0.2 / top, max(round(0.5 * top), 12), momentum=0.9, nesterov=True
        ),
    ),
)
GROUPS = {
    "constant": "plain early stopping",
    "rises": "exaggerates",
    "falls": "brakes",
    "rises, then falls": "exaggerates, then brakes",
    "falls, then rises": "brakes, then exaggerates",
    "mixed": "no single trend",
    "undefined": "overshoots the labels",
}


def run(config: Config, context: Context) -> Result:
    """Evaluate every scheme on the spectrum."""
    title, eigenvalues = _spectrum(config)
    grid = np.geomspace(eigenvalues[-1], eigenvalues[0], config.points)
    gains, times, patterns, verdicts, peaks = [], [], [], [], []
    with context.progress("schemes", total=len(ENTRIES)) as advance:
        for entry in ENTRIES:
            scheme = entry.build(config.progress)
            scaled = config.progress * grid
            gains.append(scheme.gain(scaled))
            times.append(scheme.effective_time(scaled))
            trend = effective_time_trend(scheme, scaled)
            patterns.append(pattern(trend))
            verdicts.append(classify(scheme, config.progress * eigenvalues))
            peaks.append(_peak(patterns[-1], grid, times[-1]))
            advance()
    arrays = {
        "grid": grid,
        "eigenvalues": eigenvalues,
        "title": np.array(title),
        "labels": np.array([entry.label for entry in ENTRIES]),
        "schemes": np.array([_described(entry.build(config.progress)) for entry in ENTRIES]),
        "expected": np.array([entry.expected for entry in ENTRIES]),
        "pattern": np.array(patterns),
        "group": np.array([GROUPS[one] for one in patterns]),
        "verdict": np.array(verdicts),
        "gain": np.array(gains),
        "label_gain": f.GradientFlow(1.0).gain(config.progress * grid),
        "effective_time": np.array(times),
        "peak": np.array(peaks),
    }
    return Result("spectral_atlas", asdict(config), arrays, _findings(arrays))


def pattern(trend: Trend) -> str:
    """How an effective time goes as the eigenvalue grows, in words.

    >>> from theory.flow.filters import Ridge
    >>> pattern(effective_time_trend(Ridge(1.0), [0.1, 1.0, 2.0]))
    'falls'
    """
    if not trend.defined:
        return "undefined"
    if trend.constant:
        return "constant"
    if trend.verdict != "neither":
        return "rises" if trend.verdict == "exaggerates" else "falls"
    times = trend.effective_times[::-1]  # from the smallest eigenvalue on
    top, bottom = int(times.argmax()), int(times.argmin())
    slack = 1e-12 * times.max()
    if _rises(times[: top + 1], slack) and _rises(-times[top:], slack):
        return "rises, then falls"
    if _rises(-times[: bottom + 1], slack) and _rises(times[bottom:], slack):
        return "falls, then rises"
    return "mixed"


def _rises(values: Array, slack: float) -> bool:
    return bool((np.diff(values) >= -slack).all())


def _peak(kind: str, grid: Array, times: Array) -> float:
    """Where a rise turns into a fall; nan where it does not."""
    return float(grid[times.argmax()]) if kind == "rises, then falls" else np.nan


def _described(scheme: f.Filter) -> str:
    """The filter as one would write it, long sequences cut short.

    >>> _described(f.Generations((1.0,) * 5))
    'Generations(times=(1, 1, …), label_weights=None)'
    """
    fields = [f"{name}={_shown(value)}" for name, value in vars(scheme).items()]
    return f"{type(scheme).__name__}({', '.join(fields)})"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        parts = ", ".join(_shown(one) for one in value[:2])
        return f"({parts}, …)" if len(value) > 2 else f"({parts})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _spectrum(config: Config) -> tuple[str, Array]:
    """A title and the positive eigenvalues over the largest, descending."""
    if config.data is None and config.spectrum == "power_law":
        title = f"{config.modes} eigenvalues proportional to i^-{config.decay:g}"
        values = np.arange(1.0, config.modes + 1) ** -config.decay
    else:
        data = dataset(config.data)
        title = f"eigenvalues of {data.name}"
        values = Spectrum.from_data(data.X - data.X.mean(axis=0), normalize=True).eigenvalues
    kept = values[values > _WIDEST * values[0]] / values[0] if values[0] > 0 else values[:0]
    if len(np.unique(kept)) < 2:
        msg = (
            "data must have two or more different positive eigenvalues after centering, "
            f"got {len(np.unique(kept))} from X with {len(values)} directions"
        )
        raise ValueError(msg)
    return title, kept


def _findings(arrays: dict[str, NDArray[np.generic]]) -> tuple[Finding, ...]:
    labels, patterns = arrays["labels"].tolist(), arrays["pattern"].tolist()
    expected, times = arrays["expected"].tolist(), np.asarray(arrays["effective_time"], float)
    agree = sum(_agrees(*pair) for pair in zip(expected, patterns, strict=True))
    others = [
        f"{label} ({found}, not {wanted})"
        for label, found, wanted in zip(labels, patterns, expected, strict=True)
        if not _agrees(wanted, found)
    ]
    counted = {kind: patterns.count(kind) for kind in GROUPS}
    student = times[labels.index("student")]
    ridge = times[labels.index("ridge")]
    noop = times[labels.index("labels, then the teacher of then")]
    deviation = float(np.abs(noop / 0.5 - 1.0).max())
    average = times[labels.index("Filter-KD")]
    turn = float(np.asarray(arrays["peak"], float)[labels.index("Filter-KD")])
    where = (
        f"up to eigenvalue {turn:.2g} of the largest, and brakes beyond"
        if np.isfinite(turn)
        else f"nowhere or everywhere: its effective time {patterns[labels.index('Filter-KD')]}"
    )
    return (
        Finding(
            f"Of {len(labels)} schemes, {counted['rises']} exaggerate the lean on top directions, "
            f"{counted['falls']} brake it, {counted['rises, then falls']} do first one and then "
            f"the other as the eigenvalue grows, {counted['constant']} are plain early stopping, "
            f"and {counted['undefined']} overshoot the labels in some direction. "
            + (
                "All go as the table of schemes says."
                if not others
                else f"Not as the table says: {'; '.join(others)}."
            ),
            holds=not others,
            value=float(agree),
        ),
        Finding(
            f"A student who trains as long as its teacher seems, along the slowest direction, to "
            f"have trained for {student[0]:.2%} of the time, and along the top one for "
            f"{student[-1]:.0%}; ridge regression goes from {ridge[0]:.0%} down to "
            f"{ridge[-1]:.0%}.",
            holds=bool(student[0] < student[-1] and ridge[0] > ridge[-1]),
            value=float(student[0]),
        ),
        Finding(
            f"Filter-KD exaggerates {where} (effective time {average[0]:.2g}, "
            f"{average.max():.2g} and {average[-1]:.2g} at the lowest, the best and the highest "
            "eigenvalue).",
            holds=None,
            value=turn if np.isfinite(turn) else None,
        ),
        Finding(
            "Labels first, then a teacher stopped at the switch: the student stays where it was, "
            f"to within {deviation:.0e} of its effective time.",
            holds=deviation < 1e-12,
            value=deviation,
        ),
    )


def _agrees(expected: str, found: str) -> bool:
    """Whether a pattern is the expected one, or the part of it that a narrow spectrum shows."""
    if expected == "rises, then falls":
        return found in {expected, "rises", "falls"}
    return found == expected or (expected == "undefined" and found != "constant")
