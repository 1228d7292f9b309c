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
_LEAST = 1e-9  # of ratios whose logarithm is taken: saturated networks make any


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
    text = f"{interval.estimate:{form}} [{interval.low:{form}}, {interval.high:{form}}]"
    return text.replace("-", "−")


def _within_one(interval: Interval) -> str:
    """Of a mean of cosines or correlations, which lies from -1 to 1."""
    low, high = np.clip([interval.low, interval.high], -1.0, 1.0)
    return f"{interval.estimate:.2f} [{low:.2f}, {high:.2f}]".replace("-", "−")


def _name(activation: str) -> str:
    return "ReLU" if activation == "relu" else activation


def _step(arrays: Arrays) -> Finding:
    slopes = [t_interval(row) for row in arrays["step_slope"]]
    each = " and ".join(
        f"{_shown(slope, '.3f')} ({_name(name)})"
        for slope, name in zip(slopes, arrays["activation"], strict=True)
    )
    miss = np.sqrt((arrays["step_miss"] ** 2).mean(axis=(0, 1)))
    rates = arrays["step_rates"]
    good = rates[miss <= _SMALL_MISS]
    reach = (
        f"It misses less than {_SMALL_MISS:.0%} of the change up to a learning rate of "
        f"{good.max():.2g} and {miss[-1]:.0%} at {rates[-1]:g}"
        if len(good)
        else f"It misses {miss.min():.0%} of the change or more at all learning rates tried"
    )
    text = (
        "A step on one sample moves the predictions on others by what the first-order formula "
        f"says, up to a rest that falls with the learning rate to the power {each}; theory says 2 "
        f"where the network is smooth. {reach}."
    )
    first = slopes[0]
    holds = all(abs(slope.estimate - 2) <= _SLOPE for slope in slopes)
    return Finding(text, holds, first.estimate, first.low, first.high)


def _kinks(arrays: Arrays) -> Finding:
    """Held-out samples against hard training samples, at the longest and the shortest steps."""
    rates = arrays["path_rates"]
    longest, shortest = int(np.argmax(rates)), int(np.argmin(rates))
    at = list(dict.fromkeys((longest, shortest)))
    parts = []
    for name, mean in zip(arrays["activation"], arrays["path_missed_mean"], strict=True):
        held, hard = (" and ".join(f"{mean[k, group]:.1%}" for k in at) for group in (1, 0))
        parts.append(f"{_name(name)}: {held} on held-out samples, {hard} on hard training samples")
    missed = np.log(np.maximum(arrays["path_missed"], _LEAST))  # activations, rates, seeds, groups
    relu = list(arrays["activation"]).index("relu")
    often = arrays["path_crossings"][relu, shortest].mean(axis=0)
    excess = paired_difference(missed[relu, shortest, :, 0], missed[relu, shortest, :, 1])
    text = (
        "Added up over a whole run, first-order changes must come to the way that a prediction "
        f"went, as steps shrink. At learning rate {' and '.join(f'{rates[k]:g}' for k in at)} "
        f"they miss, of the way: {'; '.join(parts)}. ReLU units of hard training samples "
        f"{'stick' if excess.low > 0 else 'do not visibly stick'} at their kinks: at the shortest "
        f"steps these samples cross {often[0]:.2g} kinks a step (held-out ones {often[1]:.2g}) and "
        f"the sum misses {np.exp(excess.estimate):.3g} [{np.exp(excess.low):.3g}, "
        f"{np.exp(excess.high):.3g}] times as much on them."
    )
    return Finding(text, None, np.exp(excess.estimate), np.exp(excess.low), np.exp(excess.high))


def _late(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over the last tenth of the epochs, one number a seed."""
    return np.asarray(values[..., -max(1, values.shape[-1] // 10) :].mean(axis=-1))


def _ratio(arrays: Arrays) -> Finding:
    ratio = np.log(np.clip(arrays["force_ratio"][0], _LEAST, 1 / _LEAST))
    first, last = ratio[:, 0], _late(ratio)
    start, end, growth = t_interval(first), t_interval(last), paired_difference(last, first)
    mismatch = arrays["mismatch"]
    text = (
        "On samples with an unlucky label the pull of the own label is "
        f"{np.exp(start.estimate):.3g} times that of all neighbors together in the first epoch and "
        f"{np.exp(end.estimate):.3g} [{np.exp(end.low):.3g}, {np.exp(end.high):.3g}] times in the "
        f"last tenth of the epochs: a factor of {np.exp(growth.estimate):.3g} "
        f"[{np.exp(growth.low):.3g}, {np.exp(growth.high):.3g}]. Both pulls, added up step by "
        f"step, miss {mismatch.mean():.0%} of the way that the predictions go (at worst "
        f"{mismatch.max():.0%})."
    )
    return Finding(
        text, growth.low > 0, np.exp(growth.estimate), np.exp(growth.low), np.exp(growth.high)
    )


def _toward(arrays: Arrays) -> Finding:
    truth = t_interval(arrays["force_to_truth"][0].mean(axis=-1))
    against = t_interval(_late(arrays["force_to_label"][0]))
    late_words = (
        "against the label"
        if against.high < 0
        else "along with the label"
        if against.low > 0
        else "neither with the label nor against it, for certain"
    )
    start, closest, end = arrays["turned"].T
    gap = paired_difference(end, closest)
    text = (
        f"Predictions on samples with an unlucky label start {start.mean():.2f} from the true "
        f"posterior, come as near as {closest.mean():.2f} and end at {end.mean():.2f}, "
        f"{_shown(gap)} further off than at their nearest. Their neighbors pull towards the "
        f"posterior where the cosine of the angle is above 0: over the training it is "
        f"{_within_one(truth)}. At the end neighbors pull {late_words} (cosine "
        f"{_within_one(against)})."
    )
    return Finding(text, truth.low > 0 and gap.low > 0, truth.estimate, truth.low, truth.high)


def _flat(arrays: Arrays) -> Finding:
    trace, top = arrays["force_trace"], arrays["force_top"]
    easy = paired_difference(trace[1, :, -1], trace[1, :, 0])
    peak = top[0].max(axis=-1)
    rise = paired_difference(peak, top[0, :, 0])
    higher = (trace[0].max(axis=-1) - trace[0, :, 0]).max()
    text = (
        "The more certain a prediction, the less it can be moved, by the trace of A, the "
        f"derivative of the softmax: on easy samples it goes from {trace[1, :, 0].mean():.2f} to "
        f"{trace[1, :, -1].mean():.2g} in training (change {_shown(easy)}). But the flat "
        "prediction, of the largest trace, is not the one that can change most: the largest "
        "eigenvalue of A is 1/3 there and 1/2 between two classes. On hard samples it is "
        f"{top[0, :, 0].mean():.2f} at the start and {peak.mean():.2f} at its highest (rise "
        f"{_shown(rise, '.3f')}), where the trace never rises by more than {max(higher, 0):.2g}."
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
        f"correlation {_within_one(by_inner)} by inner product, {_within_one(by_cosine)} by "
        f"cosine, positive for {np.mean(every > 0):.0%} of the points; {print_says}. Over the "
        f"training the traces move by {100 * arrays['kernel_drift'].mean():.2g} %."
    )
    return Finding(text, low > 0, by_cosine.estimate, by_cosine.low, by_cosine.high)
