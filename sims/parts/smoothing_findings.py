"""What ``smoothing_map`` found, in plain sentences computed from its arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sims.results import Finding

AGREES = 1e-6
"""Difference of masses up to which a minimum found is the closed form."""

Arrays = Mapping[str, NDArray[Any]]


def findings(arrays: Arrays) -> tuple[Finding, ...]:
    """One sentence for each part of the map."""
    return (
        _translated(arrays),
        _checked(arrays),
        _same_number(arrays),
        _lsrkd(arrays),
        _beta(arrays),
        _weights(arrays),
    )


def _column(arrays: Arrays, name: str) -> int:
    return int(np.flatnonzero(arrays["method"] == name)[0])


def _setting(arrays: Arrays, name: str) -> int:
    return int(np.flatnonzero(arrays["published_method"] == name)[0])


def _translated(arrays: Arrays) -> Finding:
    row, setting = len(arrays["classes"]) - 1, _setting(arrays, "mix")
    rest = float(arrays["published_off"][row, setting])
    equal = dict(zip(arrays["method"], arrays["equal_strength"][row, setting], strict=True))
    text = (
        f"With {arrays['classes'][row]} classes, label smoothing with 0.1 mixed in leaves "
        f"{rest:.4f} off the label. The same end have {equal['true']:.4f} taken off the label, a "
        f"Dirichlet prior of β = {equal['prior']:.4f}, an entropy penalty of "
        f"β = {equal['entropy']:.4f}, and distillation from a uniform teacher at temperature 3 "
        f"with weight {equal['lsrkd']:.4f} (factor τ) or {equal['lsrkd_square']:.4f} (factor τ²)."
    )
    return Finding(text, value=float(equal["entropy"]))


def _checked(arrays: Arrays) -> Finding:
    gap = np.abs(arrays["descent_off"] - arrays["descent_closed"])
    error, spread = float(gap.max()), float(np.abs(arrays["descent_spread"]).max())
    text = (
        f"A minimizer that knows only the losses ends at the closed forms: over {gap.size} "
        f"combinations of method, strength and classes the label mass differs by at most "
        f"{error:.1e}, and the masses of the other classes among each other by at most "
        f"{spread:.1e} of what is off the label in all."
    )
    return Finding(text, holds=error < AGREES, value=error)


def _same_number(arrays: Arrays) -> Finding:
    row = 0
    place = int(np.argmin(np.abs(np.log(arrays["strength"] / 0.1))))
    strength = float(arrays["strength"][place])
    off = dict(zip(arrays["method"], arrays["off"][row, :, place], strict=True))
    ratio = float(off["prior"] / off["entropy"])
    text = (
        f"Claim (Zhang 2020, section 9.1): the optimum of the entropy penalty is identical to that "
        f"of label smoothing. It is of the same family, but at the same strength "
        f"β = {strength:.3g} and with {arrays['classes'][row]} classes the prior of label "
        f"smoothing leaves {1 - off['prior']:.4f} on the label and the entropy penalty "
        f"{1 - off['entropy']:.5f}: "
        f"what is off the label differs by a factor of {ratio:,.0f}."
    )
    return Finding(text, holds=abs(ratio - 1) < AGREES, value=ratio)


def _lsrkd(arrays: Arrays) -> Finding:
    row = len(arrays["classes"]) - 1
    plain = float(arrays["published_off"][row, _setting(arrays, "mix")])
    setting = _setting(arrays, "lsrkd")
    soft = float(arrays["published_off"][row, setting])
    corrected = float(arrays["published_off"][row, _setting(arrays, "lsrkd_tc")])
    equal = float(arrays["equal_strength"][row, setting, _column(arrays, "mix")])
    text = (
        f"Softer is weaker: at its published weight 0.1 and temperature 3, LsrKD with "
        f"{arrays['classes'][row]} classes ends with {1 - soft:.3f} on the label (LsrKD-TC with "
        f"{1 - corrected:.3f}) where label smoothing of the same weight ends with "
        f"{1 - plain:.3f}. It is label smoothing of {equal:.4f}, {0.1 / equal:.1f} times less."
    )
    return Finding(text, holds=soft < plain, value=equal)


def _beta(arrays: Arrays) -> Finding:
    wanted, matched = float(arrays["wanted_mass"][0]), float(arrays["matched_temperature"][0])
    distance = dict(zip(arrays["distance_name"], arrays["distance"], strict=True))
    estimate, low, high = distance["gain"]
    simulated = np.abs(arrays["batch_mean"] - arrays["batch_closed"]) / arrays["batch_error"]
    if low <= 0.0 <= high:
        word = "as far from the teacher's, within the interval, as one number for all"
    else:
        word = f"{'nearer to' if low > 0 else 'farther from'} the teacher's than one number for all"
    text = (
        f"On {arrays['data_name'][0]}, the teacher's mean label mass is {wanted:.3f} at "
        f"temperature {matched:.2f}. There its confidences in order lie on average "
        f"{distance['beta'][0]:.3f} from the targets of Beta smoothing with the same mean "
        f"(shape {arrays['beta_shape'][0]:.3g}) and {distance['flat'][0]:.3f} from a constant: "
        f"Beta targets are {word} (difference {estimate:+.3f}, 95 % interval "
        f"{low:+.3f} to {high:+.3f}). Simulated batches are at most {simulated.max():.1f} standard "
        f"errors from the closed form of the order statistics."
    )
    return Finding(text, holds=low > 0, value=estimate, low=low, high=high)


def _weights(arrays: Arrays) -> Finding:
    spread = dict(zip(arrays["writing"], arrays["weight_spread"], strict=True))
    listed = ", ".join(f"{value:.3g} ({how})" for how, value in spread.items())
    order = arrays["weight_order"]
    lowest = float(order.min())
    text = (
        f"Claim: what a teacher predicts fixes the weights of the samples when distillation is "
        f"read as maximum a posteriori. For logits that predict the same and differ by a constant "
        f"a sample, the 95th percentile of the weights is this many times the 5th: {listed}. The "
        f"ranks of the samples by weight correlate between two of these by {lowest:+.2f}."
    )
    return Finding(text, holds=lowest > 0.999, value=float(max(spread.values())))
