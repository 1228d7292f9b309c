r"""Calibration: whether a confidence is the share of right predictions.

Bins are half-open from the left, :math:`((m - 1)/M, m/M]`, as in Guo et al. 2017; a confidence of
exactly 0 belongs to the first. Empty bins count nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import checks
from theory.checks import Array
from theory.labels.confidence import confidence as log_odds
from theory.labels.softmax import softmax, surprisal


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Predictions by how confident they are: the numbers of a reliability diagram.

    Example:
        >>> table = reliability([0.9, 0.8, 0.3], [1, 0, 0], bins=2)
        >>> table.count, table.accuracy, table.confidence
        (array([1, 2]), array([0. , 0.5]), array([0.3 , 0.85]))
    """

    edges: Array
    """Borders of the bins, one more than bins."""
    count: NDArray[np.intp]
    """Samples in each bin."""
    accuracy: Array
    """Share of right predictions in each bin; nan where it is empty."""
    confidence: Array
    """Mean confidence in each bin; nan where it is empty."""

    @property
    def error(self) -> float:
        """Mean over samples of the gap of their bin: the expected calibration error."""
        full = self.count > 0
        gap = np.abs(self.accuracy[full] - self.confidence[full])
        return float((self.count[full] * gap).sum() / self.count.sum())

    @property
    def largest_error(self) -> float:
        """The largest gap of a bin: the maximum calibration error."""
        full = self.count > 0
        return float(np.abs(self.accuracy[full] - self.confidence[full]).max())


def reliability(confidence: ArrayLike, correct: ArrayLike, bins: int = 10) -> Reliability:
    """Accuracy and mean confidence in bins of equal width.

    Args:
        confidence: In [0, 1], shape ``(n,)``.
        correct: Whether each prediction is right, or a number in [0, 1] for the chance that it is.
        bins: M, at least 1.

    Raises:
        ValueError: For numbers out of range, unequal shapes, no samples, or no bins.

    References:
        Guo et al. 2017, section 2.
    """
    sure, right = _predictions(confidence, correct)
    edges = np.linspace(0.0, 1.0, checks.integer("bins", bins, minimum=1) + 1)
    return _table(sure, right, _even_bins(sure, edges), edges)


def _even_bins(sure: Array, edges: Array) -> NDArray[np.intp]:
    """The bin of each value: a product finds it to one bin, the edges themselves decide.

    Twice as fast as a binary search.
    """
    bins = len(edges) - 1
    place = np.minimum((sure * bins).astype(np.intp), bins - 1)
    place -= sure <= edges[place]
    place += sure > edges[place + 1]
    return np.maximum(place, 0)


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 10) -> float:
    r"""Expected calibration error in bins of equal width.

    .. math:: \sum_m \frac{|B_m|}{n} \left| \mathrm{acc}(B_m) - \mathrm{conf}(B_m) \right|

    At least the gap between mean accuracy and mean confidence, which is its value for one bin.

    Args:
        confidence: In [0, 1], shape ``(n,)``.
        correct: Whether each prediction is right, shape ``(n,)``.
        bins: M: 10 in Ren et al., 20 in the code of Zhang and Sabuncu.

    Raises:
        ValueError: For numbers out of range, unequal shapes, no samples, or no bins.

    References:
        Ren et al. 2022, eq. 5.

    Example:
        >>> round(expected_calibration_error([0.95, 0.95, 0.6, 0.6], [1, 1, 1, 0]), 6)
        0.075
    """
    return reliability(confidence, correct, bins).error


def adaptive_reliability(confidence: ArrayLike, correct: ArrayLike, bins: int = 10) -> Reliability:
    """Accuracy and mean confidence in bins of nearly equal numbers of samples.

    Borders are quantiles; equal confidences stay in one bin, so that the order of the samples does
    not matter: with many ties there are fewer, larger bins.

    Raises:
        ValueError: As `reliability`.

    References:
        Nguyen and O'Connor 2015; Nixon et al. 2019.

    Example:
        >>> adaptive_reliability([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], bins=2).count
        array([2, 2])
    """
    sure, right = _predictions(confidence, correct)
    bins = checks.integer("bins", bins, minimum=1)
    ordered = np.sort(sure)
    # the last sample of each part of equal size: what is equal to it belongs with it
    last = np.ceil(np.arange(1, bins + 1) * len(sure) / bins).astype(np.intp) - 1
    edges = np.unique(ordered[last])
    place = np.searchsorted(edges, sure, side="left")
    return _table(sure, right, place, np.concatenate([[0.0], edges]))


def adaptive_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error in bins of nearly equal numbers of samples.

    Raises:
        ValueError: As `reliability`.

    Example:
        >>> round(adaptive_calibration_error([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], bins=2), 6)
        0.15
    """
    return adaptive_reliability(confidence, correct, bins).error


def _predictions(confidence: ArrayLike, correct: ArrayLike) -> tuple[Array, Array]:
    sure = checks.unit_interval("confidence", confidence)
    right = checks.unit_interval("correct", correct)
    checks.same_shape(confidence=sure, correct=right)
    checks.samples("confidence", sure)
    return sure.ravel(), right.ravel()


def _table(sure: Array, right: Array, place: NDArray[np.intp], edges: Array) -> Reliability:
    bins = len(edges) - 1
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        accuracy = np.bincount(place, weights=right, minlength=bins) / count
        mean = np.bincount(place, weights=sure, minlength=bins) / count
    return Reliability(edges, count, accuracy, mean)


def predictions(logits: ArrayLike, labels: ArrayLike) -> tuple[Array, NDArray[np.bool_]]:
    """Largest probability of each row, and whether its class (the lowest, for ties) is the label.

    Args:
        logits: z, shape ``(..., classes)``.
        labels: Classes, shape ``(...)``.

    Raises:
        ValueError: For bad logits or labels, or no samples.

    Example:
        >>> sure, right = predictions([[0.0, 0.0], [0.0, 5.0]], [0, 0])
        >>> print(sure.round(4), right)
        [0.5    0.9933] [ True False]
    """
    z, y = _rows(logits, labels)
    first = np.argmax(z, axis=-1)
    phi = log_odds(z, first)
    with np.errstate(under="ignore", over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(-phi))), np.asarray(first == y)


def negative_log_likelihood(logits: ArrayLike, labels: ArrayLike) -> float:
    r"""Mean negative log-likelihood of the labels, :math:`-\frac1n \sum_i \ln p_i(y_i)`, in nats.

    Args:
        logits: z, shape ``(..., classes)``.
        labels: Classes, shape ``(...)``.

    Raises:
        ValueError: For bad logits or labels, or no samples.

    Example:
        >>> print(f"{negative_log_likelihood([[50.0, 0.0]], [0]):.4g}")
        1.929e-22
    """
    z, y = _rows(logits, labels)
    cost = np.take_along_axis(surprisal(z), y[..., None], axis=-1)
    with np.errstate(over="ignore", under="ignore"):
        mean = cost.mean()
        return float(mean if np.isfinite(mean) else (cost / cost.size).sum())


def brier_scores(logits: ArrayLike, labels: ArrayLike) -> Array:
    r"""Brier score of every sample, :math:`\| p_i - e_{y_i} \|^2`, in [0, 2].

    The sum over all classes, as Brier defined it; some take the half, or the mean over classes.

    Args:
        logits: z, shape ``(..., classes)``.
        labels: Classes, shape ``(...)``.

    Raises:
        ValueError: For bad logits or labels, or no samples.

    References:
        Brier 1950.

    Example:
        >>> brier_scores([[0.0, 0.0], [0.0, 1000.0]], [0, 0])
        array([0.5, 2. ])
    """
    z, y = _rows(logits, labels)
    rest = np.where(np.arange(z.shape[-1]) == y[..., None], 0.0, softmax(z))
    with np.errstate(under="ignore"):
        # 1 - p_y as the sum of the others, which keeps its digits
        return np.asarray((rest**2).sum(axis=-1) + rest.sum(axis=-1) ** 2)


def brier_score(logits: ArrayLike, labels: ArrayLike) -> float:
    r"""Mean of the `brier_scores`.

    Raises:
        ValueError: For bad logits or labels, or no samples.

    Example:
        >>> brier_score([[0.0, 0.0], [0.0, 1000.0]], [0, 0])
        1.25
    """
    with np.errstate(under="ignore"):
        return float(brier_scores(logits, labels).mean())


def _rows(logits: ArrayLike, labels: ArrayLike) -> tuple[Array, NDArray[np.intp]]:
    z = checks.samples("logits", checks.logits("logits", logits))
    y = checks.classes("labels", labels, z.shape[-1])
    if y.shape != z.shape[:-1]:
        msg = f"labels must be one class a row, shape {z.shape[:-1]}, got {y.shape}"
        raise ValueError(msg)
    return z, y
