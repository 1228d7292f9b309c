r"""Targets beside a known posterior: smoothed, noisy and corrupted ones, and how far they are.

What Ren et al. 2022 vary on the toy of `theory.labels.mixture`, where the posterior is known.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.smoothing.rows import Labels, beside_labels, is_label, per_row
from theory.statements import states

MODES = ("additive", "combine")


@dataclass(frozen=True, slots=True)
class SmoothingParabola:
    r"""Mean squared distance of smoothed labels from the posterior, by their smoothing.

    .. math:: D(\epsilon) = c - 2 g \epsilon + \left(1 - \tfrac1K\right) \epsilon^2
    """

    constant: float
    """Distance c of the labels themselves: the mean of the squared `base_difficulty`."""
    gain: float
    """g = 1 - E p*_y, half of what a little smoothing gains."""
    curvature: float
    """Squared distance of a label from the uniform distribution, 1 - 1/K."""

    @property
    def optimum(self) -> float:
        r"""The best smoothing, :math:`\epsilon^* = \frac{K}{K - 1} (1 - E p^*_y)`.

        It is above 1 where the labels have less mass than a uniform distribution gives them.
        """
        return self.gain / self.curvature

    @property
    def least(self) -> float:
        """Mean squared distance at the optimum."""
        return max(self.constant - self.gain * self.optimum, 0.0)

    def distance(self, epsilon: ArrayLike) -> Array:
        """Mean squared distance of ``(1 - epsilon) e_y + epsilon / K``, one for each epsilon."""
        shift = checks.real_array("epsilon", epsilon) - self.optimum
        with np.errstate(over="ignore", under="ignore"):
            return np.asarray(self.least + self.curvature * shift**2)[()]


@states(
    "labels:smoothing-parabola",
    "The mean squared distance of smoothed labels from the posterior is a parabola in the "
    "smoothing, least at K/(K-1) (1 - E p*_y).",
    source="Ren 2022, appendix F (its V shape, there observed)",
)
def smoothing_distance(truth: ArrayLike, labels: ArrayLike) -> SmoothingParabola:
    r"""How far smoothed labels are from the posterior, for every smoothing at once.

    .. math:: \frac1n \sum_i \|(1 - \epsilon) e_{y_i} + \epsilon u - p^*(x_i)\|^2, \qquad u = 1/K

    (smoothing in the mixing convention, by which the label keeps
    :math:`1 - \epsilon + \epsilon / K`).

    Args:
        truth: Posteriors, shape ``(..., K)``.
        labels: One class a row; broadcasts against the leading axes of ``truth``.

    Raises:
        ValueError: For rows that are no distributions, labels out of range, or no samples.

    References:
        Ren et al. 2022, appendix F.

    Example:
        >>> parabola = smoothing_distance([[0.75, 0.25], [0.25, 0.75]], [0, 1])
        >>> print(parabola.optimum, parabola.least, parabola.distance(0.0))
        0.5 0.0 0.125
    """
    p, y = beside_labels("truth", checks.distributions("truth", truth), labels)
    missing = _missing(p, y)
    others = np.where(is_label(y, p.shape[-1]), 0.0, p)
    with np.errstate(under="ignore"):
        constant = missing**2 + (others**2).sum(axis=-1)
    return SmoothingParabola(float(constant.mean()), float(missing.mean()), 1.0 - 1.0 / p.shape[-1])


def noisy_targets(
    truth: ArrayLike,
    level: ArrayLike,
    *,
    mode: str = "additive",
    rng: np.random.Generator | None = None,
    labels: ArrayLike | None = None,
    floor: float = 1e-6,
) -> Array:
    r"""The posterior, made worse on purpose: what figure 1 of the paper varies.

    ``"additive"`` (the text of the paper): add :math:`N(0, v)` to every entry, clip below
    ``floor``, normalize. It is one fixed draw; large noise changes which class is largest. A fresh
    draw in every batch would teach the mean of the noisy targets, which is less wrong.

    ``"combine"`` (the authors' notebook): :math:`\eta e_y + (1 - \eta) p^*`, whose distance from
    the posterior is exactly :math:`\eta` times that of the one-hot label.

    Args:
        truth: Posteriors, shape ``(..., K)``.
        level: The variance v >= 0 of the noise, or the share :math:`\eta` in [0, 1] of the label;
            one number, or one a row.
        mode: ``"additive"`` or ``"combine"``.
        rng: Where the noise comes from: required by ``"additive"``.
        labels: One class a row: required by ``"combine"``.
        floor: Least entry before normalizing, in (0, 1].

    Returns:
        Distributions of the shape of ``truth``.

    Raises:
        ValueError: For rows that are no distributions, a level out of range, an unknown mode, or
            one without what it requires.

    References:
        Ren et al. 2022, section 2, footnote 3, figures 1, 9 and 10.

    Example:
        >>> noisy_targets([0.5, 0.5], 0.25, mode="combine", labels=0)
        array([0.625, 0.375])
        >>> rows = noisy_targets([[0.5, 0.5]], 0.1, rng=np.random.default_rng(0))
        >>> rows.round(4)
        array([[0.5408, 0.4592]])
    """
    p = checks.distributions("truth", truth)
    checks.choice("mode", mode, MODES)
    if mode == "combine":
        if labels is None:
            msg = "labels are required with mode='combine'"
            raise ValueError(msg)
        p, y = beside_labels("truth", p, labels)
        share = per_row("level", checks.unit_interval("level", level), p.shape[:-1])
        return np.asarray(share * is_label(y, p.shape[-1]) + (1.0 - share) * p)
    if rng is None:
        msg = "rng is required with mode='additive'"
        raise ValueError(msg)
    deviation = np.sqrt(per_row("level", checks.nonnegative("level", level), p.shape[:-1]))
    least = checks.positive("floor", checks.fraction("floor", floor))
    rows = np.maximum(p + deviation * rng.standard_normal(p.shape), least)
    return np.asarray(rows / rows.sum(axis=-1, keepdims=True))


def corruption(noise: ArrayLike, classes: int, *, exclude_true: bool = True) -> Array:
    r"""Share of labels that label noise really changes.

    A share ``noise`` of the labels is drawn again: from the other classes (the paper), so that
    every one changes, or from all K (the authors' code), so that
    :math:`\sigma (K - 1) / K` change.

    Args:
        noise: Share sigma in [0, 1] of the labels.
        classes: K >= 2.
        exclude_true: Whether the new label is another class.

    Raises:
        ValueError: For a share outside [0, 1] or fewer than two classes.

    References:
        Ren et al. 2022, section 5, figure 7.

    Example:
        >>> print(corruption(0.5, 10), corruption(0.5, 10, exclude_true=False))
        0.5 0.45
    """
    share = checks.unit_interval("noise", noise)
    count = checks.count("classes", classes, minimum=2)
    exclude = checks.flag("exclude_true", exclude_true)
    return np.asarray(share if exclude else share * (count - 1) / count)[()]


def noise_matrix(noise: float, classes: int, *, exclude_true: bool = True) -> Array:
    r"""Probability that label noise turns class i (row) into class j (column).

    :math:`1 - c` on the diagonal and :math:`c / (K - 1)` off it, c the `corruption`.

    Raises:
        ValueError: As `corruption`.

    Example:
        >>> noise_matrix(0.3, 3)
        array([[0.7 , 0.15, 0.15],
               [0.15, 0.7 , 0.15],
               [0.15, 0.15, 0.7 ]])
    """
    changed = float(corruption(checks.fraction("noise", noise), classes, exclude_true=exclude_true))
    count = checks.count("classes", classes, minimum=2)
    return np.where(np.eye(count, dtype=np.bool_), 1.0 - changed, changed / (count - 1))


def corrupted(truth: ArrayLike, noise: float, *, exclude_true: bool = True) -> Array:
    r"""Posterior of the noisy label: what labels with noise are drawn from given the input.

    .. math:: \tilde p_j = (1 - c)\, p_j + \frac{c}{K - 1} (1 - p_j)

    Args:
        truth: Posteriors, shape ``(..., K)``.
        noise: Share in [0, 1] of the labels that are drawn again.
        exclude_true: As `corruption`.

    Raises:
        ValueError: For rows that are no distributions, or as `corruption`.

    Example:
        >>> corrupted([1.0, 0.0, 0.0], 0.3)
        array([0.7 , 0.15, 0.15])
    """
    p = checks.distributions("truth", truth)
    changed = float(
        corruption(checks.fraction("noise", noise), p.shape[-1], exclude_true=exclude_true)
    )
    return np.asarray((1.0 - changed) * p + changed / (p.shape[-1] - 1) * (1.0 - p))


def mean_distance(targets: ArrayLike, truth: ArrayLike) -> float:
    r"""Mean distance of two tables, :math:`\frac1n \sum_i \|t_i - p_i\|_2`.

    The distance of hypothesis 1 in the paper.

    Args:
        targets: Distributions, shape ``(..., K)``.
        truth: Distributions that broadcast against them.

    Raises:
        ValueError: For rows that are no distributions, shapes that disagree, or no rows.

    References:
        Ren et al. 2022, hypothesis 1.

    Example:
        >>> print(round(mean_distance([[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]), 6))
        0.707107
    """
    return float(np.sqrt((_difference(targets, truth) ** 2).sum(axis=-1)).mean())


def frobenius_distance(targets: ArrayLike, truth: ArrayLike) -> float:
    r"""Distance of two tables as vectors, :math:`\sqrt{\sum_i \|t_i - p_i\|_2^2}`.

    The horizontal axis of the figures. It grows with the number of rows: divided by
    :math:`\sqrt n` it is the root mean square distance of a row, which is at least `mean_distance`.

    Raises:
        ValueError: As `mean_distance`.

    References:
        Ren et al. 2022, figures 1, 9 and 10 (the authors' notebook).

    Example:
        >>> print(round(frobenius_distance([[1.0, 0.0], [1.0, 0.0]], [0.0, 1.0]), 6))
        2.0
    """
    return float(np.sqrt((_difference(targets, truth) ** 2).sum()))


def _missing(p: Array, y: Labels) -> Array:
    """1 - p of the label, from the others where the label's is large."""
    own = np.take_along_axis(p, y[..., None], axis=-1)[..., 0]
    others = np.where(is_label(y, p.shape[-1]), 0.0, p).sum(axis=-1)
    return np.where(own > 0.5, others, 1.0 - own)


def _difference(targets: ArrayLike, truth: ArrayLike) -> Array:
    t, p = checks.distributions("targets", targets), checks.distributions("truth", truth)
    checks.samples("targets", t)
    checks.same_classes(targets=t, truth=p)
    return t - p
