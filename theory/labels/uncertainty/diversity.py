r"""How unsure predictions are, and how much their sureness differs between samples.

Zhang and Sabuncu 2020, section 4: a teacher is worth more than smoothed labels if its predictions
are not only less sure (uncertainty) but unsure to different degrees (confidence diversity).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import checks
from theory.checks import Array
from theory.labels.confidence import confidence, entropy
from theory.labels.divergences import entropy as entropy_of_probabilities

TIES = ("-inf", "jitter", "logit")
BOUNDARIES = ("none", "clip")


def predictive_uncertainty(probabilities: ArrayLike) -> float:
    r"""Average predictive uncertainty, :math:`\frac1n \sum_i H(p_i)`, in nats.

    Args:
        probabilities: Distributions, shape ``(..., classes)``; the mean is over all rows.

    Raises:
        ValueError: If a row is no distribution, or there are none.

    References:
        Zhang and Sabuncu 2020, section 4.

    Example:
        >>> round(predictive_uncertainty([[0.5, 0.5], [1.0, 0.0]]), 6)
        0.346574
    """
    p = checks.distributions("probabilities", probabilities)
    checks.samples("probabilities", p)
    return float(np.mean(entropy_of_probabilities(p)))


def logit_uncertainty(logits: ArrayLike, temperature: float = 1.0) -> float:
    r"""`predictive_uncertainty` from logits, at a temperature of the softmax.

    It does not fall as the temperature rises: that holds for the entropy of every sample.

    Args:
        logits: z, shape ``(..., classes)``.
        temperature: T > 0.

    Raises:
        ValueError: For fewer than two classes, nan or inf, no samples, or a bad temperature.

    Example:
        >>> round(logit_uncertainty([[2.0, 0.0], [0.0, 0.0]], temperature=2.0), 6)
        0.637675
    """
    z = checks.samples("logits", checks.logits("logits", logits))
    tau = checks.temperature("temperature", temperature)
    return float(np.mean(entropy(_cooled(z, tau))))


def _cooled(z: Array, tau: float) -> Array:
    """Logits divided by a temperature, the largest of each row at 0, the others kept finite."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.maximum((z - z.max(axis=-1, keepdims=True)) / tau, -1e307))


def knn_entropy(
    values: ArrayLike,
    k: int = 3,
    boundary: str = "none",
    *,
    ties: str = "-inf",
    rng: np.random.Generator | None = None,
) -> float:
    r"""Differential entropy of a density on the line, by distances to k-th neighbors, in nats.

    .. math:: \hat h = \psi(n) - \psi(k) + \frac1n \sum_i \ln (2 r_i),

    with :math:`r_i` the distance from the i-th value to its k-th nearest other. At most 0 in the
    limit for a density on [0, 1].

    Args:
        values: One number a sample, shape ``(n,)``, n > k.
        k: Which neighbor, at least 1. The paper leaves it open; 3 is the usual choice.
        boundary: ``"none"``, or ``"clip"``: the length :math:`2 r_i` is that of the part of the
            interval around the value that lies in [0, 1], which has no bias for uniform values.
        ties: What to do where k others are equal to a value, so that its distance is 0:
            ``"-inf"`` gives -inf (what such a density has), ``"jitter"`` moves every value at
            random first, by at most 1e-10 of the range or 1e-12 of the largest value, and needs
            ``rng``, ``"logit"`` estimates on
            the scale of log-odds (values in (0, 1), ends excluded) and changes the variable back.
            For confidences of networks, whose ties come from rounding to 1, the remedy is
            `confidence_diversity`.
        rng: Source of the jitter.

    Returns:
        The estimate; -inf with ties, never nan.

    Raises:
        ValueError: For no more than k values, nan or inf, values outside [0, 1] with ``"clip"``,
            or ``"jitter"`` without ``rng``.

    References:
        Kozachenko and Leonenko 1987; Zhang and Sabuncu 2020, section 4.

    Example:
        >>> draws = np.random.default_rng(0).random(10_000)  # of density 1: entropy 0
        >>> abs(knn_entropy(draws, boundary="clip")) < 0.02
        True
        >>> knn_entropy([0.5, 0.5, 0.5, 0.5, 0.7])
        -inf
    """
    from scipy.special import digamma

    sample, k = _values(values, k)
    checks.choice("boundary", boundary, BOUNDARIES)
    if boundary == "clip":
        checks.unit_interval("values", sample)
    if checks.choice("ties", ties, TIES) == "logit":
        return _by_log_odds(_logit(sample, boundary), k)
    if ties == "jitter":
        sample = _jittered(sample, rng, inside=boundary == "clip")
    # a power of two keeps distances of very large numbers in range, and costs no digits
    power = int(np.frexp(np.abs(sample).max())[1]) if boundary == "none" else 0
    with np.errstate(under="ignore"):
        x = np.sort(np.ldexp(sample, -power))
    radius = _neighbor_distances(x, k)
    with np.errstate(divide="ignore"):
        if boundary == "clip":
            # each side is cut where the interval leaves [0, 1]
            log_length = np.log(np.minimum(radius, x) + np.minimum(radius, 1.0 - x))
        else:
            log_length = np.log(radius) + (1 + power) * np.log(2.0)
    return float(digamma(len(x)) - digamma(k) + log_length.mean())


def _values(values: ArrayLike, k: int) -> tuple[Array, int]:
    sample = checks.real_array("values", values)
    k = checks.integer("k", k, minimum=1)
    if sample.ndim != 1 or len(sample) <= k:
        msg = f"values must be one number a sample, more than k = {k} of them, got {sample.shape}"
        raise ValueError(msg)
    return sample, k


def _logit(sample: Array, boundary: str) -> Array:
    """Log-odds of probabilities that are neither 0 nor 1."""
    checks.unit_interval("values", sample)
    bad = (sample == 0) | (sample == 1)
    if boundary == "clip" or bad.any():
        what = "boundary='clip'" if boundary == "clip" else f"{int(bad.sum())} values of 0 or 1"
        msg = f"ties='logit' must have values in (0, 1) and boundary='none', got {what}"
        raise ValueError(msg)
    return np.asarray(np.log(sample) - np.log1p(-sample))


def _by_log_odds(phi: Array, k: int) -> float:
    """Entropy of the probabilities whose log-odds are phi."""
    with np.errstate(under="ignore"):
        # ln c + ln(1 - c) = -|phi| - 2 ln(1 + e^-|phi|)
        slope = -np.abs(phi) - 2.0 * np.log1p(np.exp(-np.abs(phi)))
    return knn_entropy(phi, k) + float(slope.mean())


def _jittered(sample: Array, rng: np.random.Generator | None, *, inside: bool) -> Array:
    if rng is None:
        msg = "rng must be given for ties='jitter', got None"
        raise ValueError(msg)
    top = float(np.abs(sample).max())
    with np.errstate(over="ignore"):
        spread = min(float(np.ptp(sample)), np.finfo(np.float64).max)
    size = max(1e-10 * spread, 1e-12 * top) or 1e-10
    moved = np.clip(sample, size - top, top - size) if top > 1e300 else sample
    moved = moved + rng.uniform(-size, size, len(sample))
    # reflected, not clipped: clipping would make ties at the ends
    return np.where(moved > 1.0, 2.0 - moved, np.abs(moved)) if inside else moved


def _neighbor_distances(x: Array, k: int) -> Array:
    """Distance of each of the sorted values to its k-th nearest other, all at once.

    The k nearest are neighbors in order: a window of k + 1 values that holds the value itself.
    The distance is the least, over the windows, of the larger reach.
    """
    n = len(x)
    best = np.full(n, np.inf)
    place = np.arange(n)
    for left in range(k + 1):
        low, high = place - left, place + (k - left)
        inside = (low >= 0) & (high < n)
        at = place[inside]
        reach = np.maximum(x[at] - x[at - left], x[at + (k - left)] - x[at])
        best[at] = np.minimum(best[at], reach)
    return best


def confidence_diversity(
    logits: ArrayLike, labels: ArrayLike, k: int = 3, *, temperature: float = 1.0
) -> float:
    r"""Confidence diversity: entropy of the density of the confidences in the true class, nats.

    The probabilities c of saturated networks are equal to the last digit of a float, which gives
    -inf by `knn_entropy`. Log-odds :math:`\varphi` are not, and :math:`dc = c (1 - c)\, d\varphi`:

    .. math:: \hat h(C) = \hat h(\Phi) + \frac1n \sum_i [\ln c_i + \ln (1 - c_i)]

    Args:
        logits: z, shape ``(n, classes)``, n > k.
        labels: Class of each sample, shape ``(n,)``.
        k: Which neighbor.
        temperature: T > 0 of the softmax.

    Returns:
        The estimate; -inf where more than k samples have the very same log-odds.

    Raises:
        ValueError: For bad logits, labels, k or temperature, or no more than k samples.

    References:
        Zhang and Sabuncu 2020, section 4.

    Example:
        >>> phi = np.random.default_rng(0).logistic(size=1000)  # confidences are uniform: entropy 0
        >>> z = np.stack([phi, np.zeros(1000)], axis=1)
        >>> abs(confidence_diversity(z, np.zeros(1000, dtype=int))) < 0.05
        True
    """
    return _by_log_odds(_log_odds(logits, labels, temperature), k)


def tie_share(values: ArrayLike) -> float:
    """Share of the values that are equal to another one.

    Example:
        >>> tie_share([1.0, 1.0, 0.5, 0.2])
        0.5
    """
    sample = checks.samples("values", checks.real_array("values", values))
    counts = np.unique(sample, return_counts=True)[1]
    return float(counts[counts > 1].sum() / sample.size)


def _log_odds(logits: ArrayLike, labels: ArrayLike, temperature: float) -> Array:
    z = checks.samples("logits", checks.logits("logits", logits))
    if z.ndim != 2:
        msg = f"logits must have shape (samples, classes), got {z.shape}"
        raise ValueError(msg)
    y: NDArray[np.intp] = checks.classes("labels", labels, z.shape[-1])
    if y.shape != z.shape[:1]:
        msg = f"labels must be one class a sample, shape {z.shape[:1]}, got {y.shape}"
        raise ValueError(msg)
    tau = checks.temperature("temperature", temperature)
    return np.atleast_1d(confidence(_cooled(z, tau), y))
