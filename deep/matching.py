r"""The temperature at which a teacher leaves a label its share, solved before a student trains.

.. math:: w + (1 - w) \, \tfrac1n \sum_i \sigma(f_i / T)_{y_i} = m

so that label smoothing, Beta smoothing and distillation are compared at one label mass m
[Zhang 2020, section 7, with 1 - epsilon for the misprinted epsilon].
"""

import logging

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.labels.smoothing import mean_label_mass, soft_mass, temperature_for_mass

LOG = logging.getLogger(__name__)


def check_label_mass(label_mass: float, label_weight: float, classes: int | None = None) -> None:
    """Raise ValueError unless a teacher's part can leave the label this mass.

    Args:
        label_mass: m.
        label_weight: w.
        classes: K, where it is known: every temperature leaves more than w + (1 - w) / K.

    >>> check_label_mass(0.85, 0.6, 10)
    """
    if not 0 < checks.scalar("label_mass", label_mass) < 1:
        msg = f"label_mass must be in (0, 1), got {label_mass}"
        raise ValueError(msg)
    if checks.fraction("label_weight", label_weight) >= label_mass:
        msg = (
            f"label_mass must exceed label_weight, which the label has in any case, got "
            f"{label_mass:g} and {label_weight:g}; or give a temperature"
        )
        raise ValueError(msg)
    if classes is not None and soft_mass(label_mass, label_weight) <= 1.0 / classes:
        msg = (
            f"label_mass must exceed {label_weight + (1 - label_weight) / classes:.4g}, what a "
            f"uniform teacher of {classes} classes leaves at label_weight {label_weight:g}, got "
            f"{label_mass:g}; raise it, or give a temperature"
        )
        raise ValueError(msg)


def matched_temperature(
    teacher_logits: ArrayLike, labels: ArrayLike, *, label_mass: float, label_weight: float
) -> float:
    """T of the equation above, the largest root.

    Where the teacher gives the labels less at every temperature, as one does that has hardly been
    trained or is wrong too often, it is the temperature, 1 or above, that leaves them most (the
    highest that does, to 3 digits), and the log says so: a lower one would make it surer of its
    errors. The student then trains with more of its labels smoothed away than was asked for.

    Args:
        teacher_logits: f of the training samples, (samples, classes).
        labels: y, (samples,).
        label_mass: m.
        label_weight: w.

    Raises:
        ValueError: For a mass that leaves the teacher's part at most 1/classes on the label (every
            temperature gives more), or logits and labels that are none.

    >>> T = matched_temperature([[np.log(9.0), 0.0]], [0], label_mass=0.9, label_weight=0.6)
    >>> print(round(T, 6))  # 9^(1/2) = 3 to 1
    2.0
    """
    check_label_mass(label_mass, label_weight)
    f = checks.logits("teacher_logits", teacher_logits)
    check_label_mass(label_mass, label_weight, f.shape[-1])
    own = mean_label_mass(f, labels, 1.0)
    wanted = float(soft_mass(label_mass, label_weight))
    try:
        return temperature_for_mass(f, labels, wanted)
    except ValueError:
        best = _fullest(f, labels)
    LOG.warning(
        "no temperature gives the labels a mean mass of %.3g from this teacher, which leaves them "
        "%.3g as it is; it teaches at temperature %.3g, which leaves %.3g",
        *(wanted, own, best, mean_label_mass(f, labels, best)),
    )
    return best


def _fullest(f: checks.Array, labels: ArrayLike) -> float:
    """The temperature of at least 1 with the largest mean label mass; of several, the highest."""
    spread = float((f.max(axis=-1) - f.min(axis=-1)).mean())
    grid = np.geomspace(max(10.0 * spread, 1.0), 1.0, 65)
    mass = [mean_label_mass(f, labels, float(temperature)) for temperature in grid]
    return float(grid[int(np.argmax(np.asarray(mass).round(3)))])


def solved(name: str, value: float | None) -> float:
    """An option that must have been solved for, under its name.

    Raises:
        ValueError: If it is still None.

    >>> solved("temperature", 2.0)
    2.0
    """
    if value is None:
        msg = (
            f"{name} must be a number by the time of the loss, got None: the method's `fit` solves "
            "for it, given the teacher's logits on the training set"
        )
        raise ValueError(msg)
    return value
