r"""The exact mean squared error of the risk estimated under soft targets.

The risk of a predictor is :math:`R = E_x[p^*(x)^\top L(x)]` with L the loss of every class. Under
targets t it is estimated by :math:`R_{tar} = \frac1N \sum_n t_n^\top L(x_n)` on N independent
inputs. The predictor and the map from inputs to targets (or to distributions of targets) are fixed
before the inputs are drawn: a teacher trained on the same inputs is not covered, one trained on
others is.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.risk.bounds import drawn_targets, mean_target
from theory.labels.risk.problem import (
    inner,
    inputs,
    losses_like,
    mean_over,
    pair,
    rows,
    same_classes,
)
from theory.statements import states
from theory.statistics.interval import power_of_two


@dataclass(frozen=True, slots=True, eq=False)
class RiskError:
    """How far the estimated risk is from the risk, in the units of the loss."""

    mse: Array
    r""":math:`E[(R_{tar} - R)^2]` = ``variance / samples + bias**2``."""
    variance: Array
    """Variance of one term of the estimate, over inputs and what is random in the target."""
    bias: Array
    r""":math:`E[R_{tar}] - R`, with its sign."""
    risk: Array
    """The risk R itself."""
    label_variance: Array
    """The part of the variance that is due to targets being random given the input; 0 if not."""


@states(
    "labels:risk-error",
    "The mean squared error of the risk under fixed targets is the variance of one term over the "
    "number of samples plus the squared bias.",
    source="Ren 2022, Proposition 2, proof, as an equality",
)
def target_risk_error(
    input_probabilities: ArrayLike,
    target: ArrayLike,
    truth: ArrayLike,
    losses: ArrayLike,
    samples: ArrayLike,
) -> RiskError:
    r"""Exact error of the risk under targets that are a function of the input.

    .. math:: E[(R_{tar} - R)^2] = \frac{\operatorname{Var}_x[t^\top L]}{N}
        + \left(E_x[(t - p^*)^\top L]\right)^2

    Args:
        input_probabilities: p(x), shape ``(..., S)``.
        target: t, one distribution an input, shape ``(..., S, K)``.
        truth: :math:`p^*`, same shape.
        losses: Loss of every class at every input, shape ``(..., S, K)``, finite.
        samples: N >= 1; an array gives one error for each of its numbers.

    Raises:
        ValueError: If rows are no distributions, shapes do not agree, losses are not finite, or N
            is no whole number from 1.

    Example:
        >>> posterior = np.array([[0.8, 0.2], [0.4, 0.6]])
        >>> losses = [[0.1, 0.9], [0.7, 0.3]]
        >>> smooth = 0.9 * posterior + 0.1 / 2
        >>> error = target_risk_error([0.5, 0.5], smooth, posterior, losses, 100)
        >>> print(f"{error.risk:.3f} {error.bias:.3f} {error.variance:.5f} {error.mse:.6f}")
        0.360 0.014 0.00810 0.000277
    """
    p, first, second = pair(input_probabilities, target, truth)
    loss = losses_like(losses, p, second)
    return _assemble(p, first, second, loss, samples, np.zeros(()))


@states(
    "labels:one-hot-unbiased",
    "Labels drawn from the true posterior leave the risk unbiased; their error exceeds that of the "
    "posterior as target by the mean variance of the loss given the input, over the samples.",
    source="Ren 2022, Proposition 2, applied to one-hot training; corrected",
)
def one_hot_risk_error(
    input_probabilities: ArrayLike, truth: ArrayLike, losses: ArrayLike, samples: ArrayLike
) -> RiskError:
    r"""Exact error of the empirical risk, whose targets are labels drawn from the posterior.

    .. math:: B = 0, \qquad V = \operatorname{Var}_x[p^{*\top} L]
        + E_x \operatorname{Var}[L_y \mid x]

    Returns:
        `RiskError`; ``label_variance`` is by how much the variance exceeds that of the true
        posterior as the target.

    Raises:
        ValueError: As `target_risk_error`.

    Example:
        >>> error = one_hot_risk_error(
        ...     [0.5, 0.5], [[0.8, 0.2], [0.4, 0.6]], [[0.1, 0.9], [0.7, 0.3]], 100
        ... )
        >>> print(f"{error.bias:.1f} {error.variance:.4f} {error.label_variance:.4f}")
        0.0 0.0804 0.0704
    """
    p = inputs(input_probabilities)
    second = rows("truth", truth, p.shape[-1])
    loss = losses_like(losses, p, second)
    with np.errstate(over="ignore", under="ignore"):
        away = loss - inner(second, loss)[..., None]
        noise = inner(second, np.square(away))
    return _assemble(p, second, second, loss, samples, noise)


@states(
    "labels:random-targets",
    "For targets that are random given the input only their conditional mean enters the bias, and "
    "their conditional variance adds to the variance.",
    source="Ren 2022, Proposition 2, extended to random targets",
)
def random_target_risk_error(
    input_probabilities: ArrayLike,
    targets: ArrayLike,
    weights: ArrayLike,
    truth: ArrayLike,
    losses: ArrayLike,
    samples: ArrayLike,
) -> RiskError:
    r"""Exact error of the risk under targets drawn from finitely many, anew for each sample.

    .. math:: E[(R_{tar} - R)^2] = \frac{\operatorname{Var}_x[m^\top L]
        + E_x \operatorname{Var}[t^\top L \mid x]}{N} + \left(E_x[(m - p^*)^\top L]\right)^2

    with m(x) the mean target: noisy labels, human votes, a teacher with dropout or of random seed.

    Args:
        input_probabilities: p(x), shape ``(..., S)``.
        targets: The M distributions an input may get, shape ``(..., S, M, K)``.
        weights: Their probabilities, shape ``(..., S, M)``.
        truth: The true posterior, shape ``(..., S, K)``.
        losses: Loss of every class at every input, shape ``(..., S, K)``.
        samples: N >= 1.

    Raises:
        ValueError: As `target_risk_error`.

    Example:
        >>> posterior = np.array([[0.8, 0.2], [0.4, 0.6]])
        >>> flipped = 0.8 * posterior + 0.1
        >>> labels = np.broadcast_to(np.eye(2), (2, 2, 2))
        >>> error = random_target_risk_error(
        ...     [0.5, 0.5], labels, flipped, posterior, [[0.1, 0.9], [0.7, 0.3]], 100
        ... )
        >>> print(f"{error.bias:.3f} {error.variance:.4f} {error.label_variance:.4f}")
        0.028 0.0875 0.0811
    """
    p, drawn, share, second = drawn_targets(input_probabilities, targets, weights, truth)
    loss = losses_like(losses, p, second)
    mean = mean_target(drawn, share)
    with np.errstate(over="ignore", under="ignore"):
        away = inner(drawn - mean[..., None, :], loss[..., None, :])
        noise = inner(share, np.square(away))
    return _assemble(p, mean, second, loss, samples, noise)


def moment_risk_error(
    input_probabilities: ArrayLike,
    mean: ArrayLike,
    second_moment: ArrayLike,
    truth: ArrayLike,
    losses: ArrayLike,
    samples: ArrayLike,
) -> RiskError:
    r"""The same from the first two moments of the targets given the input.

    .. math:: \operatorname{Var}[t^\top L \mid x] = \bar L^\top E[t t^\top \mid x]\, \bar L,
        \qquad \bar L = L - m^\top L

    Args:
        input_probabilities: p(x), shape ``(..., S)``.
        mean: m, shape ``(..., S, K)``.
        second_moment: :math:`E[t t^\top \mid x]`, shape ``(..., S, K, K)``; each row of it sums to
            that entry of the mean, since targets sum to 1.
        truth: The true posterior, shape ``(..., S, K)``.
        losses: Loss of every class at every input, shape ``(..., S, K)``.
        samples: N >= 1.

    Raises:
        ValueError: As `target_risk_error`, and if the second moment is not symmetric or does not
            fit the mean.

    Example:
        >>> posterior = np.array([[0.8, 0.2], [0.4, 0.6]])
        >>> of_labels = posterior[:, :, None] * np.eye(2)
        >>> losses = [[0.1, 0.9], [0.7, 0.3]]
        >>> error = moment_risk_error([0.5, 0.5], posterior, of_labels, posterior, losses, 100)
        >>> print(f"{error.variance:.4f} {error.label_variance:.4f}")
        0.0804 0.0704
    """
    p, first, second = pair(input_probabilities, mean, truth)
    loss = losses_like(losses, p, second)
    moment = _second_moment(second_moment, first)
    with np.errstate(over="ignore", under="ignore"):
        # of a size near 1: products of large losses would be inf - inf
        scale = power_of_two(loss)
        away = loss / scale - inner(first, loss / scale)[..., None]
        around = inner(away, (moment * away[..., None, :]).sum(axis=-1))
        around = np.maximum(around, 0.0) * scale * scale
    return _assemble(p, first, second, loss, samples, around)


def _second_moment(value: ArrayLike, mean: Array) -> Array:
    moment = checks.real_array("second_moment", value)
    classes = mean.shape[-1]
    if moment.ndim < 3 or moment.shape[-3:] != (mean.shape[-2], classes, classes):
        msg = (
            f"second_moment must have shape (..., {mean.shape[-2]}, {classes}, {classes}), "
            f"got {moment.shape}"
        )
        raise ValueError(msg)
    same_classes(mean=mean, second_moment=moment[..., 0, :])
    skew = float(np.abs(moment - np.swapaxes(moment, -1, -2)).max())
    off = float(np.abs(moment.sum(axis=-1) - mean).max())
    if skew > 1e-6 or off > 1e-6:
        wrong = (
            f"it differs from its transpose by {skew:g}"
            if skew > 1e-6
            else f"its rows sum to the mean only within {off:g}"
        )
        msg = f"second_moment must be symmetric with rows that sum to the mean, but {wrong}"
        raise ValueError(msg)
    return moment


def _assemble(
    p: Array, mean: Array, truth: Array, loss: Array, samples: ArrayLike, noise: Array
) -> RiskError:
    """The error from the mean target and the variance of ``t^T L`` given each input."""
    count = checks.positive("samples", samples)
    if (count != np.floor(count)).any():
        msg = f"samples must be whole numbers >= 1, got {samples!r}"
        raise ValueError(msg)
    same_classes(target=mean, truth=truth, losses=loss)
    with np.errstate(over="ignore", under="ignore"):
        term = inner(mean, loss)
        expected = mean_over(p, term)
        across = mean_over(p, np.square(term - np.asarray(expected)[..., None]))
        bias = mean_over(p, inner(mean - truth, loss))
        within = mean_over(p, noise) if noise.ndim else np.zeros_like(across)[()]
        variance = across + within
        checks.broadcastable(samples=count, problems=np.asarray(variance))
        mse = np.asarray(variance / count + np.square(bias))[()]
    return RiskError(mse, variance, bias, mean_over(p, inner(truth, loss)), within)
