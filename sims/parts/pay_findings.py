"""What ``does_it_pay`` found, in plain sentences computed from its arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sims.parts.schemes import Array
from sims.results import Finding

PAYS = 0.1
"""Percent of the risk from which a gain counts on the maps."""

_ROUNDOFF = 1e-6  # percent

Arrays = Mapping[str, NDArray[Any]]


def percent_above(risk: Array, reference: Array) -> Array:
    """Risk above the reference in percent; nan where the reference has none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(reference > 0, 100.0 * (risk / reference - 1.0), np.nan))


def findings(arrays: Arrays) -> tuple[Finding, ...]:
    """One sentence a panel, and one for the theorem."""
    return (
        _signals(arrays),
        _theorem(arrays),
        _map(arrays),
        _shift(arrays),
        _data(arrays),
    )


def _against(percent: float) -> str:
    """A risk against another, in words."""
    if abs(percent) < 0.005:
        return "as much as"
    return f"{abs(percent):.3g} % {'less' if percent < 0 else 'more'} than"


def _share(where: NDArray[np.bool_]) -> str:
    return f"{100 * float(where.mean()):.0f} %"


def _column(arrays: Arrays, name: str) -> int:
    return int(np.flatnonzero(arrays["scheme"] == name)[0])


def _signals(arrays: Arrays) -> Finding:
    percent, signal = arrays["decay_percent"], arrays["signal"]
    student, ridge = percent[:, _column(arrays, "student")], percent[:, _column(arrays, "ridge")]
    parts = []
    for k in (int(np.argmin(student)), int(np.argmax(student))):
        parts.append(
            f"for the signal {signal[k]} the best student risks {_against(student[k])} the best "
            f"early stopping and ridge {_against(ridge[k])} it"
        )
    text = f"Where distillation does best and where it does worst: {'; '.join(parts)}."
    return Finding(text, value=float(student.min()))


def _theorem(arrays: Arrays) -> Finding:
    forbidden, percent = arrays["decay_ruled_out"], arrays["decay_percent"]
    if not forbidden.any():
        return Finding("The dominance theorem rules out no scheme on any of these signals.")
    best = float(percent[forbidden].min())
    text = (
        f"The dominance theorem rules out a gain in {int(forbidden.sum())} of {forbidden.size} "
        f"pairs of signal and scheme; the best of these risks {_against(best)} early stopping."
    )
    return Finding(text, holds=best > -_ROUNDOFF, value=best)


def _map(arrays: Arrays) -> Finding:
    gain, ridge = arrays["map_distillation_percent"], arrays["map_ridge_percent"]
    out = arrays["map_distillation_ruled_out"]
    broken = int((gain[out] < -_ROUNDOFF).sum())
    text = (
        f"Of {gain.size} signals of different decay and noise, distillation gains more than "
        f"{PAYS:g} % over early stopping on {_share(gain < -PAYS)} (at most "
        f"{max(-gain.min(), 0.0):.3g} %), ridge on {_share(ridge < -PAYS)} (at most "
        f"{max(-ridge.min(), 0.0):.3g} %); the theorem rules distillation out on {_share(out)}, "
        f"and it gains on {broken or 'none'} of those."
    )
    return Finding(text, holds=broken == 0, value=float((gain < -PAYS).mean()))


def _shift(arrays: Arrays) -> Finding:
    student = float(arrays["shift_example_student_risk"][0])
    plain = float(arrays["shift_example_early_stopping_risk"][0])
    correlation = float(arrays["shift_example_correlation"][0])
    percent = 100 * (student / plain - 1)
    text = (
        "Under covariate shift the theorem does not hold: where both directions are correlated at "
        f"{correlation:g} in the test inputs, the best student has test error {student:.5f}, "
        f"{_against(percent)} the {plain:.5f} of the best early stopping, though on the training "
        f"inputs it can not win. It gains more than {PAYS:g} % on "
        f"{_share(arrays['shift_student_percent'] < -PAYS)} of the shifts tried."
    )
    return Finding(text, holds=percent < 0, value=percent)


def _data(arrays: Arrays) -> Finding:
    name, how = arrays["data_name"][0], arrays["data_noise_source"][0]
    noise, percent = float(arrays["data_noise_variance"][0]), arrays["data_percent"][0]
    start = f"On {name}, with a noise variance of {noise:.3g} ({how}), "
    if np.isnan(percent).all():
        return Finding(f"{start}early stopping makes no error that another scheme could lower.")
    best = int(np.nanargmin(percent))
    student = float(percent[_column(arrays, "student")])
    text = (
        f"{start}the best of all schemes is {arrays['scheme_label'][best]}: it risks "
        f"{_against(percent[best])} the best early stopping. The best student risks "
        f"{_against(student)} it, and the theorem "
        f"{'rules' if arrays['data_ruled_out'][0][_column(arrays, 'student')] else 'does not rule'}"
        " a gain of distillation out."
    )
    return Finding(text, value=student)
