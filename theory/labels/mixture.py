r"""Gaussian classes with a known posterior: the toy data of Ren et al. 2022, appendix C.

Each of K classes has a mean whose coordinates are drawn from :math:`\{-\delta, 0, \delta\}`; a
sample of class y is :math:`x = \mu_y + \sigma \varepsilon` with standard normal noise, and every
class is as likely as any other. The noise is given as its standard deviation ``sigma`` (2, as the
paper says) or as its ``variance`` (6 and 4 in the authors' notebooks, where the same constant is a
variance).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import checks
from theory.checks import Array
from theory.labels.cells import bounded_means, cell_masses
from theory.numerics import progress
from theory.statements import states


class Sample(NamedTuple):
    """Points of the toy, with what drew them; unpacks as ``x, labels, means``."""

    x: Array
    """Inputs, shape (samples, dimensions)."""
    labels: NDArray[np.intp]
    """The class that drew each input, shape (samples,)."""
    means: Array
    """Class means, shape (classes, dimensions)."""


def draw_means(
    rng: np.random.Generator, classes: int = 3, dimensions: int = 30, delta_mu: float = 1.0
) -> Array:
    r"""Class means, every coordinate uniform on :math:`\{-\delta, 0, \delta\}`.

    Means may coincide, the more often the fewer dimensions there are.

    Args:
        rng: Where the draw comes from.
        classes: K >= 2.
        dimensions: D >= 1.
        delta_mu: Size delta > 0 of a coordinate that is not 0.

    Returns:
        Shape (classes, dimensions).

    Raises:
        ValueError: For fewer than two classes, no dimension, or delta_mu <= 0.

    References:
        Ren et al. 2022, appendix C.

    Example:
        >>> means = draw_means(np.random.default_rng(0), 3, 5, delta_mu=2.0)
        >>> means.shape, np.unique(means)
        ((3, 5), array([-2., 0., 2.]))
    """
    classes = checks.integer("classes", classes, minimum=2)
    dimensions = checks.integer("dimensions", dimensions, minimum=1)
    delta = float(checks.positive("delta_mu", checks.scalar("delta_mu", delta_mu)))
    return delta * rng.integers(-1, 2, (classes, dimensions)).astype(np.float64)


def sample(
    rng: np.random.Generator,
    samples: int = 100_000,
    classes: int = 3,
    dimensions: int = 30,
    delta_mu: float = 1.0,
    sigma: float | None = None,
    *,
    variance: float | None = None,
    means: ArrayLike | None = None,
) -> Sample:
    r"""Draw the toy: means (unless given), then labels, then inputs.

    Args:
        rng: Where all draws come from.
        samples: N >= 1. The paper's 100,000 are split into 5 % for training, 5 % for validation
            and 90 % for the test.
        classes: K >= 2; with ``means`` their number of rows.
        dimensions: D >= 1; with ``means`` their number of columns.
        delta_mu: Size of the coordinates of the means.
        sigma: Standard deviation of the noise in each coordinate, 2 unless given.
        variance: The noise as a variance instead.
        means: Class means to use instead of drawing them, shape (classes, dimensions).

    Returns:
        Inputs, labels and means.

    Raises:
        ValueError: For sizes out of range, noise that is not > 0, or both sigma and variance.

    References:
        Ren et al. 2022, appendix C.

    Example:
        >>> x, labels, means = sample(np.random.default_rng(0), 4, classes=2, dimensions=3)
        >>> x.shape, labels.shape, means.shape
        ((4, 3), (4,), (2, 3))
    """
    samples = checks.integer("samples", samples, minimum=1)
    scale = _deviation(sigma, variance)
    mu = draw_means(rng, classes, dimensions, delta_mu) if means is None else _means(means)
    labels = rng.integers(0, len(mu), samples)
    x = mu[labels] + scale * rng.standard_normal((samples, mu.shape[1]))
    return Sample(x, labels.astype(np.intp), mu)


def posterior(
    x: ArrayLike, means: ArrayLike, sigma: float | None = None, *, variance: float | None = None
) -> Array:
    r"""Probability of each class given the input.

    .. math::

        p^*(k \mid x) = \mathrm{softmax}_k\!\left(-\frac{\|x - \mu_k\|^2}{2\sigma^2}\right)
        = \mathrm{softmax}_k\!\left(\frac{x^\top \mu_k - \|\mu_k\|^2 / 2}{\sigma^2}\right)

    The normalizer runs over **all** classes; in print it leaves out one.

    Args:
        x: Inputs, shape ``(..., D)``.
        means: Class means, shape (K, D), K >= 2. Coincident means share their mass equally.
        sigma: Standard deviation of the noise, 2 unless given.
        variance: The noise as a variance instead.

    Returns:
        Distributions, shape ``(..., K)``.

    Raises:
        ValueError: If the dimensions of ``x`` and ``means`` differ, for a single class, for noise
            that is not > 0, or for both sigma and variance.

    References:
        Ren et al. 2022, appendix C, corrected.

    Example:
        >>> posterior([[0.0], [2.0]], means=[[-1.0], [1.0]], sigma=1.0)
        array([[0.5       , 0.5       ],
               [0.01798621, 0.98201379]])
    """
    with np.errstate(under="ignore"):
        return np.asarray(np.exp(log_posterior(x, means, sigma, variance=variance)))


def log_posterior(
    x: ArrayLike, means: ArrayLike, sigma: float | None = None, *, variance: float | None = None
) -> Array:
    r"""Logarithm of the `posterior`, accurate also where it underflows or rounds to 1.

    Raises:
        ValueError: As `posterior`.

    Example:
        >>> log_posterior([100.0], means=[[-1.0], [1.0]], sigma=0.5)
        array([-800.,    0.])
    """
    mu = _means(means)
    points = checks.real_array("x", x)
    if points.ndim == 0 or points.shape[-1] != mu.shape[1]:
        msg = (
            f"x must have the {mu.shape[1]} dimensions of the means along its last axis, "
            f"got shape {points.shape}"
        )
        raise ValueError(msg)
    below = _deficits(points, mu, _deviation(sigma, variance))
    first = np.argmin(below, axis=-1)[..., None]
    with np.errstate(under="ignore"):
        others = np.where(np.arange(len(mu)) == first, 0.0, np.exp(-below))
    return np.asarray(0.0 - (below + np.log1p(others.sum(axis=-1, keepdims=True))))


@states(
    "labels:bayes-accuracy",
    "With equally likely Gaussian classes of one isotropic noise the most likely class is right "
    "with the probability that the noise stays, for each class, inside the cell of inputs that are "
    "nearest to its mean; it equals the mean of the largest posterior.",
    source="Ren 2022, appendix C (the toy); the accuracy is elementary",
)
def bayes_accuracy(
    means: ArrayLike, sigma: float | None = None, *, variance: float | None = None
) -> float:
    r"""Accuracy of the best classifier, :math:`E \max_k p^*(k \mid x)`.

    .. math::

        \frac1K \sum_k P\!\left(d_{kj}^\top \varepsilon \le \frac{\|d_{kj}\|^2}{2\sigma}
        \;\forall j \ne k\right), \qquad d_{kj} = \mu_j - \mu_k,

    a normal distribution function in K - 1 variables. Coincident means are one cell, in which
    one of the classes is guessed: they count once in the sum, and K stays.

    See `theory.labels.cells.cell_masses` for how exact it is: to rounding for two and three
    distinct means and for means on a line, to about 1e-6 for ten and 5e-5 for a hundred.

    Args:
        means: Class means, shape (K, D), K >= 2.
        sigma: Standard deviation of the noise, 2 unless given.
        variance: The noise as a variance instead.

    Raises:
        ValueError: For a single class, noise that is not > 0, or both sigma and variance.

    References:
        Ren et al. 2022, appendix C.

    Example:
        >>> round(bayes_accuracy([[0.0], [2.0]], sigma=1.0), 6)  # Phi(1)
        0.841345
        >>> round(bayes_accuracy([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]), 6)
        0.779024
    """
    mu = _means(means)
    scale = _deviation(sigma, variance)
    distinct = np.unique(mu + 0.0, axis=0)  # + 0.0: -0.0 and 0.0 are one number
    if len(distinct) == 1:
        return 1.0 / len(mu)
    masses = cell_masses(distinct, scale)
    return float(np.clip(masses.sum(), 1, len(distinct)) / len(mu))


def _means(means: ArrayLike) -> Array:
    mu = bounded_means("means", means)
    if len(mu) < 2:
        msg = f"means must hold at least two classes, one a row, got shape {mu.shape}"
        raise ValueError(msg)
    return mu


def _deviation(sigma: float | None, variance: float | None) -> float:
    """The standard deviation of the noise, however it was given."""
    if variance is not None:
        if sigma is not None:
            msg = f"give sigma or variance, not both, got sigma={sigma!r}, variance={variance!r}"
            raise ValueError(msg)
        return float(np.sqrt(checks.positive("variance", checks.scalar("variance", variance))))
    return float(checks.positive("sigma", checks.scalar("sigma", 2.0 if sigma is None else sigma)))


def _deficits(x: Array, mu: Array, scale: float) -> Array:
    """By how much each log-probability lies below the largest of its row: numbers >= 0, or inf.

    Inputs and means are centered and measured in a power of two of their size, so that neither a
    common shift nor very large or small numbers cost digits. The middle of the range is a short
    number where the means are: ties stay ties.
    """
    middle = (mu.min(axis=0) + mu.max(axis=0)) / 2
    with np.errstate(under="ignore", over="ignore"):
        point, center = x - middle, mu - middle
        unit = _power_below(np.abs(center).max())
        size = np.maximum(_power_below(np.abs(point).max(axis=-1, keepdims=True)), unit)
        center = center / unit
        share = unit / size
        score = ((point / size) @ center.T - share * (center**2).sum(axis=1) / 2) * share
        below = score.max(axis=-1, keepdims=True) - score
        ratio = size / scale
    return progress(progress(below, ratio), ratio)


def _power_below(value: ArrayLike) -> Array:
    """The power of two that measures a size: the value lies between it and its double."""
    return np.asarray(np.ldexp(1.0, np.maximum(np.frexp(value)[1] - 1, -1000)))
