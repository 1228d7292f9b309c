"""What ``learning_dynamics`` found, in sentences computed from its arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sims.results import Finding
from theory.statistics import Interval, paired_difference, t_interval

Arrays = Mapping[str, NDArray[Any]]
_SMALL_MISS = 0.05  # share of the change that first order may miss and still predict it
_SLOPE = 0.1  # how far from 2 the slope may lie


def findings(arrays: Arrays) -> tuple[Finding, ...]:
    """One sentence for each panel of the figures."""
    return (
        _step(arrays),
        _kinks(arrays),
        _toward(arrays),
        _ratio(arrays),
        _flat(arrays),
        _similar(arrays),
    )


def _shown(interval: Interval, form: str = ".2f") -> str:
    return f"{interval.estimate:{form}} [{interval.low:{form}}, {interval.high:{form}}]"


def _step(arrays: Arrays) -> Finding:
    slopes = [t_interval(row) for row in arrays["step_slope"]]
    each = " and ".join(
        f"{_shown(slope, '.3f')} ({name})"
        for slope, name in zip(slopes, arrays["activation"], strict=True)
    )
    miss = np.sqrt((arrays["step_miss"] ** 2).mean(axis=(0, 1)))
    rates = arrays["step_rates"]
    good = rates[miss <= _SMALL_MISS]
    reach = (
        f"it misses less than {_SMALL_MISS:.0%} of the change up to a learning rate of "
        f"{good.max():.2g} and {miss[-1]:.0%} at {rates[-1]:g}"
        if len(good)
        else f"it misses {miss.min():.0%} of the change or more at all learning rates tried"
    )
    text = (
        "The first-order formula predicts how a step on one sample moves the predictions on "
        f"others: what it misses falls with the learning rate to the power {each}, where theory "
        f"says 2 where the network is smooth, and {reach}."
    )
    first = slopes[0]
    holds = all(abs(slope.estimate - 2) <= _SLOPE for slope in slopes)
    return Finding(text, holds, first.estimate, first.low, first.high)


def _kinks(arrays: Arrays) -> Finding:
    """Held-out samples against hard training samples, at the longest and the shortest steps."""
    rates = arrays["path_rates"]
    longest, shortest = int(np.argmax(rates)), int(np.argmin(rates))
    parts = []
    for name, mean in zip(arrays["activation"], arrays["path_missed_mean"], strict=True):
        parts.append(
            f"{name}: {mean[longest, 1]:.1%} and {mean[shortest, 1]:.1%} on held-out samples, "
            f"{mean[longest, 0]:.1%} and {mean[shortest, 0]:.1%} on hard training samples"
        )
    missed = np.log(arrays["path_missed"])  # activations, rates, seeds, groups
    relu = list(arrays["activation"]).index("relu")
    often = arrays["path_crossings"][relu, shortest].mean(axis=0)
    excess = paired_difference(missed[relu, shortest, :, 0], missed[relu, shortest, :, 1])
    text = (
        "Summed over a whole run the first order must come to the way that a prediction went, as "
        f"steps shrink. With learning rates {rates[longest]:g} and {rates[shortest]:g} it misses "
        f"({'; '.join(parts)}). ReLU units of training samples "
        f"{'stick' if excess.low > 0 else 'do not visibly stick'} at their kinks: at the shorter "
        f"steps the hard ones cross {often[0]:.2g} kinks a step, held-out samples {often[1]:.2g}, "
        f"and the sum misses {np.exp(excess.estimate):.3g} [{np.exp(excess.low):.3g}, "
        f"{np.exp(excess.high):.3g}] times as much on them."
    )
    return Finding(text, None, np.exp(excess.estimate), np.exp(excess.low), np.exp(excess.high))


def _late(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over the last tenth of the epochs, one number a seed."""
    return np.asarray(values[..., -max(1, values.shape[-1] // 10) :].mean(axis=-1))


def _ratio(arrays: Arrays) -> Finding:
    ratio = np.log(np.maximum(arrays["force_ratio"][0], np.finfo(float).tiny))
    first, last = ratio[:, 0], _late(ratio)
    start, end, growth = t_interval(first), t_interval(last), paired_difference(last, first)
    mismatch = arrays["mismatch"]
    text = (
        f"On these samples the pull of the own label is {np.exp(start.estimate):.2f} times that of "
        "all neighbors together in the first epoch and "
        f"{np.exp(end.estimate):.2f} [{np.exp(end.low):.2f}, {np.exp(end.high):.2f}] times in the "
        f"last tenth of them: a factor of {np.exp(growth.estimate):.3g} "
        f"[{np.exp(growth.low):.3g}, {np.exp(growth.high):.3g}]. Both pulls, summed step by step, "
        f"give the way that the predictions go within {mismatch.mean():.0%} (at worst "
        f"{mismatch.max():.0%})."
    )
    return Finding(
        text, growth.low > 0, np.exp(growth.estimate), np.exp(growth.low), np.exp(growth.high)
    )


def _toward(arrays: Arrays) -> Finding:
    truth = t_interval(arrays["force_to_truth"][0].mean(axis=-1))
    against = t_interval(_late(arrays["force_to_label"][0]))
    late_words = (
        "they still pull against the label"
        if against.high < 0
        else "they pull along with the label"
        if against.low > 0
        else "they pull neither along with the label nor against it"
    )
    start, closest, end = arrays["turned"].T
    gap = paired_difference(end, closest)
    text = (
        f"Predictions on samples with an unlucky label start {start.mean():.2f} from the true "
        f"posterior, come as near as {closest.mean():.2f} and end at {end.mean():.2f} "
        f"({_shown(gap)} further off than at their nearest). Their neighbors pull towards the "
        f"posterior if the cosine of the angle is positive: it is {_shown(truth)} over the whole "
        f"training. At the end {late_words} (cosine with the direction of the label "
        f"{_shown(against)})."
    )
    return Finding(text, truth.low > 0 and gap.low > 0, truth.estimate, truth.low, truth.high)


def _flat(arrays: Arrays) -> Finding:
    trace, top = arrays["force_trace"], arrays["force_top"]
    easy = paired_difference(trace[1, :, -1], trace[1, :, 0])
    peak = top[0].max(axis=-1)
    rise = paired_difference(peak, top[0, :, 0])
    higher = (trace[0].max(axis=-1) - trace[0, :, 0]).max()
    text = (
        "The trace of A on easy samples goes from "
        f"{trace[1, :, 0].mean():.2f} at the start to {trace[1, :, -1].mean():.2g} "
        f"(change {_shown(easy)}). A flat prediction is not the one that can change most: on hard "
        f"samples the largest eigenvalue of A is {top[0, :, 0].mean():.2f} at the start and "
        f"{peak.mean():.2f} at its highest (rise {_shown(rise, '.3f')}), where the trace never "
        f"rises by more than {max(higher, 0):.2g}."
    )
    return Finding(text, easy.high < 0, easy.estimate, easy.low, easy.high)


def _similar(arrays: Arrays) -> Finding:
    inner, cosine = arrays["rank_inner"].mean(axis=1), arrays["rank_cosine"].mean(axis=1)
    by_inner, by_cosine = t_interval(inner), t_interval(cosine)
    every = np.concatenate([arrays["rank_inner"].ravel(), arrays["rank_cosine"].ravel()])
    low, high = min(by_inner.low, by_cosine.low), max(by_inner.high, by_cosine.high)
    trend = "rises" if low > 0 else "falls" if high < 0 else "neither rises nor falls clearly"
    print_says = (
        "the text of the paper says the reverse (smaller similarity, larger trace)"
        if low > 0
        else "the text of the paper says that smaller similarity gives the larger trace"
    )
    text = (
        f"The trace of the wide network's kernel {trend} with the similarity of the inputs: rank "
        f"correlation {_shown(by_inner)} by inner product, {_shown(by_cosine)} by cosine, positive "
        f"for {np.mean(every > 0):.0%} of the points; {print_says}. Over the training the traces "
        f"move by {100 * arrays['kernel_drift'].mean():.2g} %."
    )
    return Finding(text, low > 0, by_cosine.estimate, by_cosine.low, by_cosine.high)
