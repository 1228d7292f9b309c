r"""Beta smoothing: label masses drawn from Beta(a, 1), the surest sample given the largest.

Zhang and Sabuncu 2020, section 6. The density is :math:`a b^{a-1}`, the mean a/(a + 1); a draw is
a uniform number to the power 1/a.
"""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.confidence import confidence
from theory.labels.smoothing.rows import Labels, class_count, labels_of, two_levels
from theory.numerics import exp_beyond_linear
from theory.statements import states

_SHIFT = 16  # where Stirling's series below has all digits
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)


def soft_mass(target_mass: ArrayLike, label_weight: ArrayLike) -> Array:
    r"""Mass mu the soft part must put on the label, :math:`w + (1 - w) \mu = m`.

    Args:
        target_mass: m in (0, 1), the label mass of the whole target.
        label_weight: w in [0, m), the weight of the one-hot part.

    Raises:
        ValueError: For numbers out of range; in particular label_weight >= target_mass, where the
            one-hot part alone has too much.

    References:
        Zhang and Sabuncu 2020, section 7, with 1 - epsilon for the misprinted epsilon.

    Example:
        >>> print(soft_mass(0.85, 0.6).round(6))  # what the temperature of a teacher is set to
        0.625
    """
    m, w = _mix(target_mass, label_weight)
    return np.asarray((m - w) / (1.0 - w))[()]


def _mix(target_mass: ArrayLike, label_weight: ArrayLike) -> tuple[Array, Array]:
    m = checks.unit_interval("target_mass", target_mass)
    w = checks.unit_interval("label_weight", label_weight)
    checks.broadcastable(target_mass=m, label_weight=w)
    bad = ~((w < m) & (m < 1.0))
    if bad.any():
        found = [float(np.broadcast_to(v, bad.shape)[bad][0]) for v in (w, m)]
        msg = (
            "label_weight must be less than target_mass, and target_mass less than 1, got "
            f"label_weight {found[0]:g} and target_mass {found[1]:g}"
        )
        raise ValueError(msg)
    return m, w


def beta_shape_for_mean(target_mass: ArrayLike, label_weight: ArrayLike) -> Array:
    r"""Shape of the Beta distribution whose targets have a given label mass on average.

    .. math:: a = \frac{\mu}{1 - \mu} = \frac{m - w}{1 - m}

    Args:
        target_mass: m in (0, 1): :math:`w + (1 - w) E[b] = m`.
        label_weight: w in [0, m), the weight of the one-hot part.

    Raises:
        ValueError: For numbers out of range.

    References:
        Zhang and Sabuncu 2020, section 7: 0.85 and 0.6 in the text, 0.85 and 0.4 in the code.

    Example:
        >>> beta_shape_for_mean(0.85, [0.6, 0.4]).round(6)
        array([1.666667, 3.      ])
    """
    m, w = _mix(target_mass, label_weight)
    return np.asarray((m - w) / (1.0 - m))[()]


def beta_shape_from_mean(mean: ArrayLike) -> Array:
    r"""Shape a of the Beta(a, 1) of a given mean, :math:`a = \mu / (1 - \mu)`.

    Raises:
        ValueError: For a mean outside (0, 1).

    Example:
        >>> print(beta_shape_from_mean(0.75))
        3.0
    """
    mu = checks.positive("mean", mean)
    if (mu >= 1.0).any():
        msg = f"mean must be less than 1, got {float(mu.max()):g}"
        raise ValueError(msg)
    return np.asarray(mu / (1.0 - mu))[()]


def beta_mean(shape: ArrayLike) -> Array:
    r"""Mean of Beta(a, 1), :math:`a / (a + 1)`.

    Raises:
        ValueError: For a shape that is not > 0.

    Example:
        >>> print(beta_mean(3.0))
        0.75
    """
    a = checks.positive("shape", shape)
    with np.errstate(over="ignore"):
        return np.asarray(np.where(a <= 1.0, a / (1.0 + a), 1.0 / (1.0 + 1.0 / a)))[()]


def beta_entropy(shape: ArrayLike) -> Array:
    r"""Differential entropy of Beta(a, 1) in nats, :math:`1 - 1/a - \ln a`, at most 0.

    It measures the diversity of confidences that Beta smoothing asks for; smoothing with one
    strength for all has -inf.

    Raises:
        ValueError: For a shape that is not > 0.

    Example:
        >>> beta_entropy([1.0, 5 / 3, 3.0]).round(4)
        array([ 0.    , -0.1108, -0.4319])
    """
    a = checks.positive("shape", shape)
    # e^u - 1 - u with u = -ln a: next to a = 1 the three terms cancel
    return np.asarray(0.0 - exp_beyond_linear(-np.log(a)))[()]


@states(
    "labels:beta-order-mean",
    "The i-th smallest of m draws from Beta(a, 1) has the mean "
    "Gamma(m+1) Gamma(i+1/a) / (Gamma(i) Gamma(m+1+1/a)); these increase in i and average to "
    "a/(a+1).",
    source="Zhang and Sabuncu 2020, section 6, made explicit",
)
def beta_order_mean(rank: ArrayLike, samples: ArrayLike, shape: ArrayLike) -> Array:
    r"""Mean label mass that Beta smoothing gives the sample of a rank.

    .. math:: E\, b_{(i)} = \frac{\Gamma(m + 1)\, \Gamma(i + 1/a)}{\Gamma(i)\, \Gamma(m + 1 + 1/a)}
                          = \prod_{j=i}^{m} \frac{j}{j + 1/a}

    Evaluated without gamma functions, whose logarithms cancel for large m: the first factors one
    by one, the others by the difference of two Stirling series, so that any number of samples
    costs the same and keeps its digits.

    Args:
        rank: i from 1 (least sure) to m.
        samples: m, number of samples of the batch.
        shape: a > 0. All three broadcast.

    Raises:
        ValueError: For a rank outside 1..m, or a shape that is not > 0.

    Example:
        >>> beta_order_mean([1, 2, 3], 3, 1.0)
        array([0.25, 0.5 , 0.75])
        >>> print(beta_order_mean(1, 10**15, 5 / 3).round(12))
        9e-10
    """
    i, m = checks.positive("rank", rank), checks.positive("samples", samples)
    a = checks.positive("shape", shape)
    checks.broadcastable(rank=i, samples=m, shape=a)
    if (m != np.floor(m)).any() or (i != np.floor(i)).any() or (i > m).any():
        msg = "rank must be integers from 1 to samples, got " + (
            f"{float(i.max()):g} of {float(m.min()):g}" if i.size and m.size else "none"
        )
        raise ValueError(msg)
    i, m, a = np.broadcast_arrays(i, m, a)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        s = 1.0 / a
        first, total = np.array(i), np.zeros_like(a)
        for _ in range(_SHIFT):
            step = (first < _SHIFT) & (first <= m)
            total = total - np.where(step, np.log1p(s / first), 0.0)
            first = first + step
        total = total + _log_ratio(first, m + 1.0, s)
        # 1/a may be too large a number: then no draw of so few is above 0
        return np.asarray(np.where(np.isinf(s), 0.0, np.exp(total)))[()]


def _log_ratio(x: Array, y: Array, s: Array) -> Array:
    r""":math:`\ln [\Gamma(x+s) \Gamma(y) / (\Gamma(x) \Gamma(y+s))]` for 16 <= x <= y, s > 0.

    The large terms of Stirling's series are combined so that each stays of the size of the result.
    """
    gap = y - x
    # of a wide gap the ratio has the digits, of a narrow one the difference
    wide = np.log((x + s) / (y + s))
    narrow = np.log1p(-np.minimum(gap / (y + s), 0.5))
    total = s * np.where(2 * gap > y + s, wide, narrow) - gap * np.log1p(s / y)
    total = total + (x - 0.5) * np.log1p(gap / x * (s / (y + s)))
    return total + (_stirling(x + s) - _stirling(x)) - (_stirling(y + s) - _stirling(y))


def _stirling(x: Array) -> Array:
    square = 1.0 / (x * x)
    series = np.zeros_like(x)
    for term in reversed(_STIRLING):
        series = term + series * square
    return series / x


def beta_draws(rng: np.random.Generator, samples: int, shape: float) -> Array:
    """Independent draws from Beta(a, 1): uniform numbers to the power 1/a.

    Args:
        rng: Source of the draws.
        samples: How many, at least 1.
        shape: a > 0.

    Raises:
        ValueError: For no samples, or a shape that is not > 0.

    Example:
        >>> beta_draws(np.random.default_rng(0), 3, 5 / 3).round(3)
        array([0.763, 0.456, 0.147])
    """
    a = checks.scalar("shape", checks.positive("shape", shape))
    count = checks.integer("samples", samples, minimum=1)
    with np.errstate(divide="ignore", under="ignore", over="ignore"):
        return np.asarray(np.exp(np.log(rng.random(count)) / a))


def ranking_scores(
    logits: ArrayLike, labels: ArrayLike | None = None, rank_by: str = "max"
) -> Array:
    r"""How sure a network is of each sample: what Beta smoothing ranks by.

    Log-odds, which order as the probabilities do and still tell samples apart whose probability
    rounds to 1.

    Args:
        logits: Of the averaged network, shape ``(..., classes)``.
        labels: Classes; needed for ``"true"``.
        rank_by: ``"max"``: the largest entry of the softmax (the paper); ``"true"``: the entry of
            the label (the released code). The two rank a batch differently.

    Raises:
        ValueError: For bad logits or labels, or ``"true"`` without labels.

    References:
        Zhang and Sabuncu 2020, section 6.

    Example:
        >>> ranking_scores([[2.0, 0.0], [0.0, 3.0]]), ranking_scores([[2.0, 0.0]], [1], "true")
        (array([2., 3.]), array([-2.]))
    """
    z = checks.logits("logits", logits)
    if checks.choice("rank_by", rank_by, ("max", "true")) == "max":
        return confidence(z, np.argmax(z, axis=-1))
    if labels is None:
        msg = "labels must be given to rank by the true class, got None"
        raise ValueError(msg)
    return confidence(z, labels)


def beta_targets(draws: ArrayLike, scores: ArrayLike, labels: ArrayLike, classes: int) -> Array:
    r"""Targets of Beta smoothing: the i-th smallest draw goes to the sample of the i-th score.

    The sample has b on its label and (1 - b)/(K - 1) on every other class. Among equal scores the
    lower index takes the smaller draw.

    Args:
        draws: Label masses in [0, 1], shape ``(..., samples)``.
        scores: How sure the network is of each sample, same shape (see `ranking_scores`).
        labels: Classes, same shape.
        classes: K, at least 2.

    Returns:
        Distributions, shape ``(..., samples, classes)``.

    Raises:
        ValueError: On unequal shapes, no samples, draws outside [0, 1], a label out of range.

    References:
        Zhang and Sabuncu 2020, section 6.

    Example:
        >>> beta_targets([0.9, 0.5, 0.7], [3.0, 1.0, 1.0], [0, 1, 1], 2)
        array([[0.9, 0.1],
               [0.5, 0.5],
               [0.3, 0.7]])
    """
    b, y, count = _batch(draws, labels, classes)
    score = checks.real_array("scores", scores, infinite=True)
    checks.same_shape(draws=b, scores=score)
    order = np.argsort(score, axis=-1, kind="stable")
    given = np.empty_like(b)
    np.put_along_axis(given, order, np.sort(b, axis=-1), axis=-1)
    return two_levels(y, count, given, (1.0 - given) / (count - 1))


def random_beta_targets(
    draws: ArrayLike, labels: ArrayLike, classes: int, *, rng: np.random.Generator
) -> Array:
    """The control of Beta smoothing: the same draws, given to the samples at random.

    Args:
        draws: Label masses in [0, 1], shape ``(..., samples)``.
        labels: Classes, same shape.
        classes: K, at least 2.
        rng: Source of the permutation.

    Raises:
        ValueError: As `beta_targets`.

    References:
        Zhang and Sabuncu 2020, section 9.5.

    Example:
        >>> random_beta_targets([0.9, 0.5], [0, 1], 2, rng=np.random.default_rng(1))
        array([[0.9, 0.1],
               [0.5, 0.5]])
    """
    b, y, count = _batch(draws, labels, classes)
    given = rng.permuted(b, axis=-1)
    return two_levels(y, count, given, (1.0 - given) / (count - 1))


def _batch(draws: ArrayLike, labels: ArrayLike, classes: int) -> tuple[Array, Labels, int]:
    b = checks.unit_interval("draws", draws)
    count = class_count(classes)
    y = labels_of(labels, count)
    if b.ndim == 0:
        msg = "draws must hold one number a sample, got a single number"
        raise ValueError(msg)
    checks.same_shape(draws=b, labels=y.astype(np.float64))
    return b, y, count
