r"""Noise, bias and variance of networks that differ by their data, teacher or seed.

For models :math:`\hat y_m` of weights :math:`w_m` and their normalized geometric mean
:math:`\bar y = e^{E \ln \hat y} / Z`, for every target y [Heskes 1998; Zhou et al. 2021, eq. 2],

.. math:: E\, \mathrm{CE}(y, \hat y) = H(y) + \mathrm{KL}(y, \bar y) + V, \qquad
          V = E\, \mathrm{KL}(\bar y, \hat y) = -\ln Z \ge 0 .
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.bias_variance.geometric import Ensemble, shares, surprisal
from theory.labels.divergences import kl_of_cost
from theory.labels.losses.base import targets
from theory.numerics import progress
from theory.statements import states
from theory.statistics import Interval, jackknife_interval


@dataclass(frozen=True, slots=True, eq=False)
class Decomposition:
    """Error of an average model in nats, taken apart: error = noise + bias + variance."""

    geometric_mean: Array
    """The average of the models in the sense of the divergence, shape ``(..., classes)``."""
    error: Array
    """Mean cross-entropy of the target and a model, shape ``(...)``."""
    noise: Array
    """Entropy of the target."""
    bias: Array
    """Divergence of the geometric mean from the target."""
    variance: Array
    """Mean divergence of the models from their geometric mean; no target is in it."""


@states(
    "labels:heskes",
    "The mean cross-entropy of models is the target's entropy, plus the divergence of their "
    "geometric mean from the target, plus a variance -ln Z >= 0 in which no target appears.",
    source="Heskes 1998, eq. 4; Zhou et al. 2021, eq. 2, corrected",
)
def heskes(logits: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None) -> Decomposition:
    r"""Noise, bias and variance of models on samples.

    The variance is :math:`-\ln Z = E_m \ln(1 + E_{\bar y}[e^\delta - 1 - \delta])`, with
    :math:`\delta` a model's logits less the mean logits, centered under :math:`\bar y`: all terms
    are nonnegative, so that it keeps its digits where the models nearly agree.

    Args:
        logits: One set of logits a model, shape ``(models, ..., classes)``. -inf is a
            probability of 0.
        target: y: classes of shape ``(...)``, or distributions of shape ``(..., classes)``.
        weights: One weight a model, nonnegative, as shares of their sum; equal if absent.

    Returns:
        One number for each row. The error is infinite where a model gives no probability to what
        the target needs, and so is the bias.

    Raises:
        ValueError: For logits, targets or weights that are not as described, or where no class has
            a positive probability in every model: there is no geometric mean.

    References:
        Heskes 1998; Zhou et al. 2021, section 3 (with :math:`\ln \bar y - E \ln \hat y` constant
        over the classes, where a quotient is printed).

    Example:
        >>> models = np.log([[[0.8, 0.2]], [[0.5, 0.5]]])
        >>> parts = heskes(models, [0])
        >>> parts.error, parts.bias + parts.variance
        (array([0.45814537]), array([0.45814537]))
    """
    ensemble = Ensemble.of("logits", logits, weights)
    y = targets("target", target, ensemble.logits, batch=1)
    cost = ensemble.mean_cost()
    shape = np.broadcast_shapes(y.shape, cost.shape)
    y, cost = np.broadcast_to(y, shape), np.broadcast_to(cost, shape)
    mean_cost = np.broadcast_to(ensemble.geometric_cost(), shape)
    with np.errstate(under="ignore"):
        return Decomposition(
            geometric_mean=np.exp(-mean_cost),
            error=progress(y, cost).sum(axis=-1)[()],
            noise=_entropy(y)[()],
            bias=kl_of_cost(y, mean_cost)[()],
            variance=np.broadcast_to(ensemble.variance(), shape[:-1]).copy()[()],
        )


def expected_divergence(
    logits: ArrayLike, reference: ArrayLike, weights: ArrayLike | None = None
) -> Array:
    r"""Mean divergence of the models from any distribution r, :math:`E\, \mathrm{KL}(r, \hat y)`.

    It equals :math:`\mathrm{KL}(r, \bar y) - \ln Z`: bias and variance of `heskes` for the target
    r, of which the geometric mean is the r that makes it least.

    Args:
        logits: Shape ``(models, ..., classes)``.
        reference: r: distributions of shape ``(..., classes)``, or classes.
        weights: One weight a model; equal if absent.

    Raises:
        ValueError: As `heskes`.

    Example:
        >>> models = np.log([[[0.8, 0.2]], [[0.5, 0.5]]])
        >>> expected_divergence(models, [[0.8, 0.2]])
        array([0.09637237])
    """
    ensemble = Ensemble.of("logits", logits, weights)
    r = targets("reference", reference, ensemble.logits, batch=1)
    total = np.zeros(r.shape[:-1])
    for z, weight in zip(ensemble.logits, ensemble.weights, strict=True):
        total = total + progress(weight, kl_of_cost(*np.broadcast_arrays(r, surprisal(z))))
    return np.asarray(total)[()]


@dataclass(frozen=True, slots=True, eq=False)
class Telescoped:
    """Error of distilled students against the bias of direct ones: a sum of four."""

    error: Array
    """Mean cross-entropy of the target and a distilled student, shape ``(...)``."""
    noise: Array
    """Entropy of the target."""
    bias_direct: Array
    """Divergence of the direct students' geometric mean from the target."""
    cross: Array
    """What distillation adds to the bias; negative where it lowers it."""
    variance: Array
    """Of the distilled students, over data and teachers."""


@states(
    "labels:telescoping",
    "The mean cross-entropy of distilled students with a target is its entropy, plus the bias of "
    "the direct students, plus the difference of both biases, plus the distilled variance.",
    source="Zhou et al. 2021, eq. 3, read as what it decomposes",
)
def telescope(
    direct_logits: ArrayLike,
    distilled_logits: ArrayLike,
    target: ArrayLike,
    *,
    direct_weights: ArrayLike | None = None,
    distilled_weights: ArrayLike | None = None,
) -> Telescoped:
    r"""Error of distilled students through the bias of direct ones.

    .. math:: E\, \mathrm{CE}(y, \hat y_{kd}) = H(y) + \mathrm{KL}(y, \bar y_{ce})
              + \sum_k y_k \ln \frac{\bar y_{ce,k}}{\bar y_{kd,k}} - \ln Z_{kd}

    It decomposes the test error of a student trained by distillation, not the distillation loss;
    nothing makes the cross term positive.

    Args:
        direct_logits: Students trained on labels, shape ``(models, ..., classes)``.
        distilled_logits: Students trained by teachers, all pairs of data and teacher along the
            first axis.
        target: y: classes or distributions.
        direct_weights: One weight a direct student; equal if absent.
        distilled_weights: One weight a distilled student; equal if absent.

    Raises:
        ValueError: As `heskes`, or if the two sets of logits are of other samples or classes.

    References:
        Zhou et al. 2021, eq. 3.

    Example:
        >>> direct, distilled = np.log([[[0.9, 0.1]]]), np.log([[[0.8, 0.2]], [[0.5, 0.5]]])
        >>> found = telescope(direct, distilled, [0])
        >>> found.cross, found.bias_direct + found.cross + found.variance - found.error
        (array([0.30010459]), array([0.]))
    """
    one, other = checks.real_array("direct_logits", direct_logits, infinite=True), distilled_logits
    two = checks.real_array("distilled_logits", other, infinite=True)
    if one.shape[1:] != two.shape[1:]:
        msg = (
            "direct_logits and distilled_logits must be of the same samples and classes, got "
            f"shapes {one.shape} and {two.shape}"
        )
        raise ValueError(msg)
    direct = Ensemble.of("direct_logits", one, direct_weights)
    distilled = heskes(two, target, distilled_weights)
    y = targets("target", target, direct.logits, batch=1)
    before = direct.geometric_cost()
    after = Ensemble.of("distilled_logits", two, distilled_weights).geometric_cost()
    with np.errstate(invalid="ignore"):
        # a class that neither mean admits makes both biases infinite, and no difference of them
        gap = np.where(before == after, 0.0, after - before)
    return Telescoped(
        error=distilled.error,
        noise=distilled.noise,
        bias_direct=kl_of_cost(*np.broadcast_arrays(y, before))[()],
        cross=progress(y, gap).sum(axis=-1)[()],
        variance=distilled.variance,
    )


@dataclass(frozen=True, slots=True, eq=False)
class NestedVariance:
    """Variance over data and teachers in two parts: total = within + between."""

    total: Array
    """Over all pairs, shape ``(...)``."""
    within: Array
    """What the teacher makes, for the same data: mean over the data of the variance given it."""
    between: Array
    """What the data make: variance of the geometric means over teachers."""


@states(
    "labels:nested-variance",
    "The variance over data and teachers is the mean variance over teachers given the data, plus "
    "the variance over the data of the geometric means over teachers.",
    source="docs/labels.md",
)
def nested_variance(
    logits: ArrayLike,
    data_weights: ArrayLike | None = None,
    teacher_weights: ArrayLike | None = None,
) -> NestedVariance:
    r"""Variance of distilled students, split into what teachers and what data make.

    .. math:: V_{D,T} = E_D[-\ln Z_{T | D}] + E_D\, \mathrm{KL}(\bar y, \bar y_D)

    with :math:`\bar y_D` the geometric mean over the teachers given the data. Teachers may be
    drawn given the data: the identity asks no independence.

    Args:
        logits: Shape ``(data, teachers, ..., classes)``.
        data_weights: One weight a data draw; equal if absent.
        teacher_weights: One weight a teacher, shape ``(teachers,)`` or ``(data, teachers)``; equal
            if absent.

    Raises:
        ValueError: As `heskes`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> parts = nested_variance(rng.standard_normal((4, 3, 5, 10)))
        >>> bool(np.allclose(parts.total, parts.within + parts.between, rtol=1e-13))
        True
    """
    z = checks.real_array("logits", logits, infinite=True)
    if z.ndim < 3 or 0 in z.shape[:2]:
        msg = f"logits must have shape (data, teachers, ..., classes), got {z.shape}"
        raise ValueError(msg)
    over_data = shares("data_weights", data_weights, z.shape[0])
    given = _teacher_shares(teacher_weights, *z.shape[:2])
    pairs = (over_data[:, None] * given).ravel()
    every = Ensemble.of("logits", z.reshape(-1, *z.shape[2:]), pairs)
    within, between = every.split(z.shape[0])
    return NestedVariance(every.variance()[()], within[()], between[()])


def variance_interval(
    logits: ArrayLike, *, level: float = 0.95, correct_bias: bool = True
) -> Interval:
    """Mean variance over the samples, with the jackknife over models.

    The plug-in variance of R models is too low, by about the R-th part of it (a single model has
    none), which the jackknife takes off.

    Args:
        logits: Shape ``(models, ..., classes)``, at least three models that are drawn
            independently.
        level: Nominal coverage.
        correct_bias: Whether the estimate is corrected, or the plug-in variance.

    Raises:
        ValueError: As `heskes`, or for fewer than three models.

    Example:
        >>> models = np.random.default_rng(0).standard_normal((8, 200, 3))
        >>> found = variance_interval(models)
        >>> round(found.estimate, 3), found.n, found.low < found.estimate < found.high
        (0.293, 8, True)
    """
    ensemble = Ensemble.of("logits", logits, None)
    models = len(ensemble.logits)
    if models < 3:
        msg = f"logits must hold at least 3 models along their first axis, got {models}"
        raise ValueError(msg)
    rest = [float(ensemble.without(model).variance().mean()) for model in range(models)]
    estimate = float(ensemble.variance().mean())
    return jackknife_interval(rest, estimate, level=level, correct_bias=correct_bias)


def _teacher_shares(weights: ArrayLike | None, data: int, teachers: int) -> Array:
    """Shares of the teachers for each data draw, shape ``(data, teachers)``."""
    given = np.ones((data, teachers)) if weights is None else np.asarray(weights)
    if given.shape == (teachers,):
        given = np.tile(given, (data, 1))
    if given.shape != (data, teachers):
        msg = (
            f"teacher_weights must have shape ({teachers},) or ({data}, {teachers}), "
            f"got {given.shape}"
        )
        raise ValueError(msg)
    return np.stack([shares("teacher_weights", row, teachers) for row in given])


def _entropy(p: Array) -> Array:
    with np.errstate(divide="ignore", under="ignore"):
        cost = np.where(p > 0.5, -np.log1p(p - 1.0), -np.log(p))
        return np.asarray(np.maximum(progress(p, cost), 0.0).sum(axis=-1))
