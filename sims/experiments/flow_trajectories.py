r"""A teacher and its student along the eigendirections of real digits.

Both are linear in features of the images: the pixels themselves, and ReLU random features
:math:`\max(0, X W)` with :math:`W_{ij} \sim N(0, 1/d)`. The teacher learns one-hot labels under
the squared loss and stops; the student starts from the same weights and learns the teacher's
predictions. Each is trained three times: by the closed form, by integrating the flow of its loss,
and by gradient descent with small steps. What is measured is how far the weights have moved along
the right singular vectors of the features, in units of how far the teacher moves in all.
(Nagarajan 2023, section 4.)

Times are given as progress: the eigenvalue of the top direction times the time of the flow.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sims.context import Context
from sims.inputs import dataset
from sims.parts.flow_models import (
    Array,
    Course,
    Pair,
    Task,
    by_descent,
    by_formula,
    by_integration,
    closed,
    descend,
)
from sims.parts.limits import SEED, within
from sims.results import Finding, Result
from theory.flow.exaggeration import (
    component_ratio,
    discrete_kappa,
    discrete_progress,
    ratio_bounds,
)
from theory.flow.spectrum import Spectrum
from theory.numerics import phi

Features = Literal["inputs", "random_features"]

_SLOW = 1e-4  # directions with a smaller part of the top singular value are too slow to measure
_FAINT = 1e-8  # and with a smaller part of the label there is too little to learn
_ROUNDING = 1e-12  # a smaller part of the labels is what centering leaves of constant ones
_LEAST = 1e-6  # progress that still shows in the weights
_FURTHEST = 12.0  # progress beyond which two saturated components can not be matched
_COARSEST = 0.1  # progress of the largest step in the order of convergence
_MOST_STEPS = 1_000_000  # of gradient descent, all together: hours


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults: 600 digits, about 10 s on two cores."""

    samples: int = 600
    """Number of samples, drawn at random from the data."""
    features: tuple[Features, ...] = ("inputs", "random_features")
    """What the models are linear in: the inputs as they are, ReLU random features, or both."""
    width: int = 1000
    """Number of random features."""
    teacher_progress: float = 3.0
    """When the teacher stops: top eigenvalue times its training time, at most 12."""
    student_progress: float = 3.0
    """When the student stops, in the same unit."""
    step: float = 0.01
    """Progress of one step of gradient descent: step size times top eigenvalue, below 1."""
    halvings: int = 4
    """Further step sizes, each half of the one before, for the order of convergence."""
    center: bool = True
    """Subtract the mean of each feature, as a model with an intercept does; the top direction is
    else that of the mean image."""
    other: int = 8
    """Which direction to draw against the top one, counted from 1; the last if there are fewer."""
    directions: int = 5
    """How many directions to follow over time: the first, second, fourth, eighth, …"""
    initial_scale: float = 0.0
    """Standard deviation of the weights that both start from; 0 starts from zero."""
    seed: int = 0
    """Draws the samples, the random features and the initial weights."""
    data: Path | None = None
    """Your own npz file with arrays X (n, p) and y; None for the embedded digits. Integer y (n,)
    are labels of classes, learned as a one-hot code; real y, (n,) or (n, K), is learned as it
    is."""

    def __post_init__(self) -> None:
        within(
            self,
            samples=(2, 10**9),
            width=(2, 50_000),
            halvings=(2, 20),
            other=(2, 10**9),
            directions=(2, 30),
            teacher_progress=(_LEAST, _FURTHEST),
            student_progress=(_LEAST, _FURTHEST),
            step=(_LEAST, 0.5),
            initial_scale=(0.0, 1e6),
            seed=SEED,
        )
        if not self.features or len(set(self.features)) != len(self.features):
            msg = f"features must name one or more feature maps, each once, got {self.features}"
            raise ValueError(msg)
        if (steps := self.all_steps) > _MOST_STEPS:
            msg = (
                "teacher_progress, student_progress, step and halvings must ask for at most "
                f"{_MOST_STEPS:,} steps of gradient descent, they ask for {steps:,}; a step is at "
                "most a quarter of the teacher's progress"
            )
            raise ValueError(msg)

    @property
    def steps(self) -> tuple[float, tuple[int, int]]:
        """Progress of a step of gradient descent, and how many the teacher and student take."""
        teacher = max(4, round(self.teacher_progress / self.step))
        size = self.teacher_progress / teacher
        return size, (teacher, max(4, round(self.student_progress / size)))

    @property
    def coarse_steps(self) -> tuple[int, int]:
        """Steps of teacher and student at the largest step in the order of convergence."""
        teacher, student = self.teacher_progress, self.student_progress
        return max(4, round(teacher / _COARSEST)), max(4, round(student / _COARSEST))

    @property
    def all_steps(self) -> int:
        """Steps of gradient descent on one feature map."""
        halved: int = 2 ** (self.halvings + 1) - 1
        return sum(self.steps[1]) + sum(self.coarse_steps) * halved

    @classmethod
    def demo(cls) -> "Config":
        """A few seconds."""
        return cls(samples=300, width=500, halvings=3)

    @classmethod
    def paper(cls) -> "Config":
        """All digits, and as many random features as Nagarajan 2023, appendix D."""
        return cls(samples=1797, width=5000, step=0.005)

    @classmethod
    def smoke(cls) -> "Config":
        """Under two seconds."""
        return cls(samples=40, width=60, step=0.05, halvings=3)


def run(config: Config, context: Context) -> Result:
    """Measure teacher and student on each feature map."""
    dataset(config.data)  # a bad file is refused before any process is started
    cases = [Case(features, config) for features in config.features]
    measured = context.map(measure, cases, description="teacher and student")
    titles = [
        _title(case, int(found["samples"])) for case, found in zip(cases, measured, strict=True)
    ]
    arrays = {"feature_maps": np.array(config.features), "titles": np.array(titles)}
    findings: list[Finding] = []
    for case, title, found in zip(cases, titles, measured, strict=True):
        arrays |= {f"{case.features}_{name}": array for name, array in found.items()}
        findings += _findings(title, found)
    return Result("flow_trajectories", asdict(config), arrays, tuple(findings))


@dataclass(frozen=True, slots=True)
class Case:
    """One feature map of one config."""

    features: Features
    config: Config


def _title(case: Case, samples: int) -> str:
    own = case.config.data
    of = f"{samples} digits" if own is None else f"{samples} samples of {own.stem}"
    if case.features == "random_features":
        return f"{case.config.width} ReLU random features of {of}"
    return f"the {'pixels' if own is None else 'inputs'} of {of}"


def _task(case: Case) -> Task:
    config = case.config
    rng = np.random.default_rng(config.seed)
    data = dataset(config.data).subset(config.samples, rng)
    targets = data.targets().reshape(len(data.X), -1)
    features, whole = data.X, float(np.linalg.norm(targets))
    if case.features == "random_features":
        projection = rng.standard_normal((data.X.shape[1], config.width))
        features = np.maximum(data.X @ projection / np.sqrt(data.X.shape[1]), 0.0)
    if config.center:
        features = features - features.mean(axis=0)
        targets = targets - targets.mean(axis=0)  # no feature sees it: it would only add rounding
    initial = config.initial_scale * rng.standard_normal((features.shape[1], targets.shape[1]))
    spectrum = Spectrum.from_data(features, normalize=True)
    _, singular = spectrum.weight_modes()
    missing = targets - features @ initial
    to_learn = np.linalg.norm(spectrum.left.T @ missing, axis=1)
    # compared with what it is computed from: where nothing is there, rounding is all of to_learn
    there = to_learn > max(_FAINT * np.linalg.norm(missing), _ROUNDING * whole)
    measured = np.flatnonzero((singular > _SLOW * singular[0]) & there)
    title = _title(case, len(features))
    if not there[0]:
        msg = (
            "y must have a component along the top direction of X, for progress along it is the "
            f"clock by which teacher and student are compared; it has none in {title}"
        )
        raise ValueError(msg)
    if len(measured) < 2:
        msg = (
            "X must vary along at least two directions in which there is something of y to learn, "
            f"got {len(measured)} in {title}"
        )
        raise ValueError(msg)
    return Task(features, targets, initial, spectrum, measured)


def measure(case: Case) -> dict[str, NDArray[Any]]:
    """Everything of one feature map."""
    task, config = _task(case), case.config
    stop, end = config.teacher_progress, config.student_progress
    flow, descent = by_integration(task, stop, end), by_descent(task, *config.steps)
    kappa = task.eigenvalues / task.eigenvalues[0]
    final = task.moved(closed(task, stop))
    followed = 2 ** np.arange(config.directions) - 1
    followed = followed[followed < len(kappa)]
    pair = np.array([0, min(config.other, len(kappa)) - 1])
    arrays = {
        "samples": np.array(len(task.X)),
        "eigenvalues": task.eigenvalues,
        "kappa": kappa,
        "followed": task.measured[followed] + 1,
        "followed_kappa": kappa[followed],
        "pair": task.measured[pair] + 1,
        "pair_kappa": kappa[pair],
        "pair_match_teacher": (flow.matched / final)[pair],
        "pair_match_student": (flow.student.moved[-1] / final)[pair],
    }
    drawn = {"closed": by_formula(task, stop, end), "ode": flow, "descent": descent}
    for way, models in drawn.items():
        for name, course in (("teacher", models.teacher), ("student", models.student)):
            arrays[f"{name}_{way}_progress"] = course.progress
            arrays[f"{name}_{way}"] = (course.moved / final)[:, followed]
            arrays[f"{name}_{way}_pair"] = (course.moved / final)[:, pair]
    arrays |= _errors(task, config, flow, descent)
    return arrays | _ratios(task, config, flow, descent) | _convergence(task, config)


def _errors(task: Task, config: Config, flow: Pair, descent: Pair) -> dict[str, Array]:
    """Largest distances from the closed form, in units of the teacher's whole way."""
    stop, (size, steps) = config.teacher_progress, config.steps
    rates = size * task.eigenvalues / task.eigenvalues[0]
    learned = phi(discrete_progress(1.0, rates, steps[0]))
    limit = task.moved(closed(task, np.inf))

    def finite(course: Course) -> Array:
        taken = np.round(course.progress / size)
        share: Array = limit * phi(discrete_progress(1.0, rates, taken[:, None]))
        return share

    final = task.moved(closed(task, stop))
    by_way = {
        "ode_error": (
            flow.teacher.moved - task.moved(closed(task, flow.teacher.progress)),
            flow.student.moved - task.moved(closed(task, stop, flow.student.progress)),
        ),
        "descent_error": (
            descent.teacher.moved - task.moved(closed(task, descent.teacher.progress)),
            descent.student.moved - task.moved(closed(task, stop, descent.student.progress)),
        ),
        "finite_step_error": (
            descent.teacher.moved - finite(descent.teacher),
            descent.student.moved - learned * finite(descent.student),
        ),
    }
    return {
        way: np.array(max(float(np.abs(far / final).max()) for far in both))
        for way, both in by_way.items()
    }


def _ratios(task: Task, config: Config, flow: Pair, descent: Pair) -> dict[str, Array]:
    """Student over teacher along every direction but the top one, at matched progress there."""
    kappa = (task.eigenvalues / task.eigenvalues[0])[1:]
    student, teacher = config.student_progress, config.teacher_progress
    lower, upper = ratio_bounds(kappa, student, teacher)
    size, steps = config.steps
    learned = [discrete_progress(size, 1.0, count) for count in steps]
    finite = component_ratio(discrete_kappa(size, kappa, 1.0), learned[1], learned[0])
    return {
        "ratio_kappa": kappa,
        "ratio_closed": component_ratio(kappa, student, teacher),
        "ratio_lower": lower,
        "ratio_upper": upper,
        "ratio_ode": flow.ratio[1:],
        "ratio_descent": descent.ratio[1:],
        "ratio_finite_step": finite,
    }


def _convergence(task: Task, config: Config) -> dict[str, Array]:
    """Error of the student's weights by gradient descent against the step size."""
    stop, end = config.teacher_progress, config.student_progress
    exact = closed(task, stop, end)
    whole = np.linalg.norm(exact - task.initial)
    sizes, errors = [], []
    for halving in range(config.halvings + 1):
        steps, follow = (count * 2**halving for count in config.coarse_steps)
        _, teacher = descend(task, task.y, stop / steps, steps, looks=1)
        _, weights = descend(task, task.X @ teacher, end / follow, follow, looks=1)
        sizes.append(stop / steps)
        errors.append(np.linalg.norm(weights - exact) / whole)
    slope, intercept = np.polyfit(np.log(sizes), np.log(errors), 1)
    return {
        "step_sizes": np.array(sizes),
        "step_errors": np.array(errors),
        "step_line": np.exp(intercept) * np.array(sizes) ** slope,
        "step_slope": np.array(slope),
    }


def _findings(title: str, found: Mapping[str, NDArray[Any]]) -> list[Finding]:
    """What one feature map shows, in words that follow the numbers."""
    return [_leans(title, found), _agrees(title, found), _meets(title, found), _order(title, found)]


def _leans(title: str, found: Mapping[str, NDArray[Any]]) -> Finding:
    ratio = found["ratio_ode"][found["ratio_kappa"] < 1 - 1e-6]
    behind, count = int((ratio < 1).sum()), len(ratio)
    harder = behind == count > 0
    text = (
        f"The student {'leans' if harder else 'does not lean'} harder on the top eigendirection "
        f"than its teacher, on {title}: having moved as far along it, it has moved less far along "
        f"{behind} of the {count} lower directions"
    )
    if count:
        middle = float(np.median(ratio))
        pair = found["pair_match_student"][1] / found["pair_match_teacher"][1]
        text += (
            f"; along direction {int(found['pair'][1])} {_percent(pair)} as far as the teacher, "
            f"in the median {_percent(middle)}"
        )
        return Finding(f"{text}.", holds=harder, value=middle)
    return Finding(f"{text}.")


def _agrees(title: str, found: Mapping[str, NDArray[Any]]) -> Finding:
    ode, close = float(found["ode_error"]), bool(found["ode_error"] < 1e-6)
    text = (
        f"The closed form {'agrees with' if close else 'differs from'} the integrated flow on "
        f"{title} to within {ode:.1e} of the teacher's way; gradient descent is "
        f"{found['descent_error']:.1e} away from it, and {found['finite_step_error']:.1e} from "
        "the same formula for finite steps."
    )
    return Finding(text, holds=close, value=ode)


def _meets(title: str, found: Mapping[str, NDArray[Any]]) -> Finding:
    far = float(np.abs(found["ratio_ode"] / found["ratio_closed"] - 1).max())
    inside = (found["ratio_lower"] * (1 - 1e-6) <= found["ratio_ode"]) & (
        found["ratio_ode"] <= found["ratio_upper"] * (1 + 1e-6)
    )
    text = (
        f"On {title} the measured ratio of student to teacher differs from that of the theorem by "
        f"at most {far:.1e} of it, and lies between its bounds in {int(inside.sum())} of "
        f"{len(inside)} directions."
    )
    return Finding(text, holds=bool(far < 1e-5 and inside.all()), value=far)


def _order(title: str, found: Mapping[str, NDArray[Any]]) -> Finding:
    slope = float(found["step_slope"])
    first = abs(slope - 1) < 0.05
    text = (
        f"On {title} the error of gradient descent goes with the step size to the power "
        f"{slope:.2f}{', as it must' if first else '; 1 is expected'}."
    )
    return Finding(text, holds=first, value=slope)


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %" if part >= 0.1 else f"{100 * part:.2g} %"
