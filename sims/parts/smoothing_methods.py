"""The ways of softening a label on one scale: the mass each leaves off the label, per strength."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theory.labels import losses, smoothing
from theory.labels.losses.base import Loss
from theory.labels.softmax import softmax

Array = NDArray[np.float64]

TEMPERATURE = 3.0
"""Of LsrKD in Wang et al. 2020."""
CORRECTED = {10: 0.25, 100: 0.025}
"""Label mass of the corrected teacher there, by number of classes."""


@dataclass(frozen=True, slots=True)
class Method:
    """One way of softening a label."""

    name: str
    label: str
    """What to call it in a legend."""
    most: float
    """Largest strength."""
    off: Callable[[Array, int], Array]
    """Mass off the label at the minimum, from strengths and classes."""
    loss: Callable[[Array, float, int], Loss]
    """The loss of logits with label 0, to find the minimum by descent."""
    strength: Callable[[float, int], float]
    """Strength that leaves a given mass off the label; nan where there is none."""


def teacher_mass(classes: int) -> float:
    """Label mass of the corrected teacher: the paper's, or two and a half times the uniform one.

    With few classes that is too much, and half way from uniform to sure takes its place.
    """
    return CORRECTED.get(classes, min(2.5 / classes, 0.5 + 0.5 / classes))


def _lsrkd(name: str, label: str, *, factor: str, corrected: bool = False) -> Method:
    def mass(classes: int) -> float:
        return teacher_mass(classes) if corrected else 1.0 / classes

    def off(strength: Array, classes: int) -> Array:
        return smoothing.lsrkd_optimum(
            strength, classes, TEMPERATURE, factor=factor, teacher_mass=mass(classes),
            complement=True,
        )  # fmt: skip

    def loss(z: Array, strength: float, classes: int) -> Loss:
        return losses.lsrkd_tc(z, 0, mass(classes), strength, TEMPERATURE, factor=factor)

    def needed(rest: float, classes: int) -> float:
        try:
            return float(
                smoothing.lsrkd_weight_for_mass(
                    rest, classes, TEMPERATURE, factor=factor, teacher_mass=mass(classes),
                    complement=True,
                )
            )  # fmt: skip
        except ValueError:  # the corrected teacher alone leaves less
            return np.nan

    return Method(name, label, 1.0, off, loss, needed)


METHODS = (
    Method(
        "mix", "label smoothing, ε mixed in", 1.0,
        smoothing.convert_smoothing,
        lambda z, x, _: losses.label_smoothing(z, 0, x),
        lambda rest, k: float(smoothing.smoothing_from_mass(rest, k, complement=True)),
    ),
    Method(
        "true", "label smoothing, ε off the label", 1.0,
        lambda x, k: np.where(x <= 1 - 1 / k, x, np.nan),
        lambda z, x, _: losses.label_smoothing(z, 0, x, convention="true"),
        lambda rest, _: float(rest),
    ),
    Method(
        "prior", "Dirichlet prior β", np.inf,
        lambda x, k: smoothing.mass_from_beta(x, k, complement=True),
        lambda z, x, k: losses.dirichlet_map_loss(
            z, np.eye(k)[0], smoothing.smoothing_concentration(x, k)
        ),
        lambda rest, k: float(smoothing.beta_from_mass(rest, k, complement=True)),
    ),
    Method(
        "entropy", "entropy penalty β", np.inf,
        lambda x, k: smoothing.entropy_penalty_optimum(x, k, complement=True),
        lambda z, x, _: losses.entropy_penalty(z, 0, x),
        lambda rest, k: float(smoothing.entropy_penalty_for_mass(rest, k, complement=True)),
    ),
    _lsrkd("lsrkd", "LsrKD, τ = 3, factor τ", factor="tau"),
    _lsrkd("lsrkd_square", "LsrKD, τ = 3, factor τ²", factor="tau2"),
    _lsrkd("lsrkd_tc", "LsrKD-TC, τ = 3, factor τ", factor="tau", corrected=True),
)  # fmt: skip
"""In the order of the legend."""

PUBLISHED = (
    ("Szegedy 2016, Wang 2020: 0.1", "mix", 0.1),
    ("Zhang 2020: 0.15", "true", 0.15),
    ("Wang 2020, LsrKD: 0.1", "lsrkd", 0.1),
    ("Wang 2020, LsrKD-TC: 0.1", "lsrkd_tc", 0.1),
)
"""Settings of the papers: label, method, strength."""


def method(name: str) -> Method:
    """A method by name."""
    return next(one for one in METHODS if one.name == name)


@dataclass(frozen=True, slots=True)
class Descent:
    """Minimize the loss of one method from a random start, for several strengths."""

    name: str
    classes: int
    strengths: tuple[float, ...]
    seed: int


def descend(job: Descent) -> dict[str, Array]:
    """Mass off the label where a general minimizer ends, and what the other classes differ by.

    The minimizer (BFGS) is given the loss and its gradient and nothing of the closed form.
    """
    from scipy.optimize import minimize

    what, rng = method(job.name), np.random.default_rng(job.seed)
    found, spread = [], []
    for strength in job.strengths:

        def objective(z: Array, strength: float = strength) -> tuple[float, Array]:
            at = what.loss(z, strength, job.classes)
            return float(at.value), at.gradient

        start = rng.standard_normal(job.classes)
        best = minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-10})
        q = softmax(best.x)
        found.append(q[1:].sum())
        spread.append(np.ptp(q[1:]) * (job.classes - 1))
    return {"found": np.array(found), "spread": np.array(spread)}
