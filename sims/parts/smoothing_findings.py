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
        f"Five ways, one label: with {arrays['classes'][row]} classes, label smoothing with 0.1 "
        f"mixed in moves {rest:.4f} off the label, and so do a Dirichlet prior of "
        f"β = {equal['prior']:.4f}, an entropy penalty of β = {equal['entropy']:.4f}, and "
        f"distillation from a uniform teacher at temperature 3 with weight "
        f"{equal['lsrkd']:.4f} (factor τ) or {equal['lsrkd_square']:.4f} (factor τ²)."
    )
    return Finding(text, value=float(equal["entropy"]))


def _checked(arrays: Arrays) -> Finding:
    legal = np.isfinite(arrays["descent_closed"])  # no more than all mass can be off the label
    gap = np.abs(arrays["descent_off"] - arrays["descent_closed"])[legal]
    error, spread = float(gap.max()), float(np.abs(arrays["descent_spread"][legal]).max())
    text = (
        f"A minimizer that knows only the losses ends at the closed forms: over {gap.size} "
        f"combinations of method, strength and classes the label mass differs by at most "
        f"{error:.1e}, and the masses of the other classes among each other by at most "
        f"{spread:.1e} of what is off the label in all."
    )
    return Finding(text, holds=error < AGREES, value=error)


def _same_number(arrays: Arrays) -> Finding:
    row = 0
    strength = float(arrays["same_strength"][0])
    off = dict(zip(arrays["method"], arrays["same_off"][row], strict=True))
    ratio = float(off["prior"] / off["entropy"])
    text = (
        f"Is the optimum of the entropy penalty that of label smoothing (Zhang and Sabuncu 2020, "
        f"section 9.1)? It is of the same family, but at the same strength β = {strength:.3g} and "
        f"with {arrays['classes'][row]} classes the prior of label smoothing leaves "
        f"{1 - off['prior']:.4f} on the label and the entropy penalty {1 - off['entropy']:.5f}: "
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
    signed = [f"{value:+.3f}".replace("-", "−") for value in distance["gain"]]
    simulated = np.abs(arrays["batch_mean"] - arrays["batch_closed"]) / arrays["batch_error"]
    if low <= 0.0 <= high:
        word = "about as far from a teacher's confidences as one number for all"
    else:
        side = "nearer to" if low > 0 else "farther from"
        word = f"{side} a teacher's confidences than one number for all"
    text = (
        f"The targets of Beta smoothing are {word}: on {arrays['data_name'][0]}, at the "
        f"temperature {matched:.2f} where its mean label mass is {wanted:.3f}, the teacher's "
        f"confidences in order lie on average {distance['beta'][0]:.3f} from them and "
        f"{distance['flat'][0]:.3f} from the constant (difference {signed[0]}, 95 % interval "
        f"{signed[1]} to {signed[2]}). Simulated batches are at most {simulated.max():.1f} "
        f"standard errors from the closed form of the order statistics."
    )
    return Finding(text, holds=low > 0, value=estimate, low=low, high=high)


def _weights(arrays: Arrays) -> Finding:
    spread = dict(zip(arrays["writing"], arrays["weight_spread"], strict=True))
    listed = ", ".join(f"{value:.3g} ({how})" for how, value in spread.items())
    order = arrays["weight_order"]
    lowest = float(order.min())
    rank = f"{lowest:+.2f}".replace("-", "−")
    text = (
        f"Does what a teacher predicts fix the weights of the samples, where distillation is read "
        f"as maximum a posteriori? For logits that predict the same and differ by a constant a "
        f"sample, the 95th percentile of the weights is this many times the 5th: {listed}. Between "
        f"two of these the ranks of the samples by weight correlate by as little as {rank}."
    )
    return Finding(text, holds=lowest > 0.999, value=float(max(spread.values())))
