r"""Error and bounds of the risk by sampling, for inputs that cannot be listed.

What is sampled are triples: at an input drawn from p(x), the target (drawn, where it is random),
the true posterior, and the loss of every class.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.risk.bounds import (
    PublishedBounds,
    SharpBounds,
    distances,
    forms,
    made,
    risk_bounds,
    width,
)
from theory.labels.risk.problem import inner
from theory.statistics.interval import power_of_two

Triple = tuple[ArrayLike, ArrayLike, ArrayLike]
Sampler = Callable[[np.random.Generator, int], Triple]

_BLOCK = 10_000  # inputs drawn at a time


@dataclass(frozen=True, slots=True)
class SampledRiskError:
    """Error of the estimated risk, each number with its standard error."""

    mse: float
    """Unbiased estimate of ``variance / samples + bias**2``; may be below 0 by chance."""
    variance: float
    """Variance of one term of the estimate, over inputs and targets."""
    bias: float
    risk: float
    mse_error: float
    """Standard error of ``mse``; up to 1.4 times too large where the bias is 0."""
    variance_error: float
    bias_error: float
    risk_error: float
    draws: int
    """Inputs sampled."""


@dataclass(frozen=True, slots=True, eq=False)
class SampledBounds:
    """Bounds on the squared bias, and their standard errors."""

    bounds: PublishedBounds | SharpBounds
    errors: PublishedBounds | SharpBounds
    """inf where the bound is."""
    draws: int


def sampled_risk_error(
    source: Sampler | Triple,
    samples: int,
    *,
    draws: int = 10_000,
    rng: np.random.Generator | None = None,
) -> SampledRiskError:
    r"""Mean squared error of the risk under targets, from sampled inputs.

    With :math:`g = t^\top L` and :math:`d = (t - p^*)^\top L` at each input, the variance is that
    of g, the bias the mean of d, and the error :math:`s_g^2 / N + \bar d^2 - s_d^2 / n`, whose
    last term takes off what chance adds to the square. Random targets need nothing more: draw
    them.

    Args:
        source: A function of a generator and a count that returns targets, true posteriors and
            losses, each of shape ``(count, K)``; or these three, already drawn.
        samples: N, the number of inputs that the risk is estimated on.
        draws: n, how many inputs to sample from a function.
        rng: Generator for a function.

    Raises:
        ValueError: If rows are no distributions, shapes do not agree, fewer than two inputs are
            drawn, or a function comes without ``rng``.

    Example:
        >>> def source(rng, count):
        ...     x = rng.random(count)
        ...     truth = np.stack([x, 1 - x], axis=1)
        ...     return 0.8 * truth + 0.1, truth, np.stack([1 - x, x], axis=1)
        >>> found = sampled_risk_error(source, 50, draws=4000, rng=np.random.default_rng(0))
        >>> abs(found.bias - 1 / 30) < 4 * found.bias_error
        True
    """
    count = checks.count("samples", samples, minimum=1)
    parts = [
        np.stack([inner(t, loss), inner(t - truth, loss), inner(truth, loss)])
        for t, truth, loss in _triples(source, draws, rng)
    ]
    sampled = np.concatenate(parts, axis=1)
    unit = power_of_two(sampled)  # squares of large losses leave the range
    term, gap, risk = sampled / unit
    number = _enough(len(term))
    away, off = term - term.mean(), gap - gap.mean()
    variance, spread = float(away.var(ddof=1)), float(off.var(ddof=1))
    bias = float(gap.mean())
    # what one input adds to the error, to first order; that takes chance in the bias for bias, and
    # near a bias of 0, where the second order is all there is, it comes out too large
    pull = (np.square(away) - variance) / count + 2 * bias * off
    second = 2 * (spread / number) ** 2
    first = max(float(pull.var(ddof=1)) / number - second, second)
    return SampledRiskError(
        mse=(variance / count + bias**2 - spread / number) * unit * unit,
        variance=variance * unit * unit,
        bias=bias * unit,
        risk=float(risk.mean()) * unit,
        mse_error=float(np.sqrt(first)) * unit * unit,
        variance_error=float(np.sqrt(np.square(away).var(ddof=1) / number)) * unit * unit,
        bias_error=float(np.sqrt(spread / number)) * unit,
        risk_error=float(np.sqrt(risk.var(ddof=1) / number)) * unit,
        draws=number,
    )


def sampled_risk_bounds(
    source: Sampler | Triple,
    loss_bound: float,
    constants: str = "published",
    *,
    loss_range: str = "nonnegative",
    draws: int = 10_000,
    rng: np.random.Generator | None = None,
) -> SampledBounds:
    """The bounds of `risk_bounds` from sampled inputs, with standard errors.

    They are of the targets as drawn: where these are random given the input, pass their means. A
    mean divergence can be infinite without any sampled one being so; the sample does not show it.

    Args:
        source: As in `sampled_risk_error`; the losses are not looked at.
        loss_bound: l >= 0.
        constants: ``"published"`` or ``"sharp"``.
        loss_range: ``"nonnegative"`` or ``"signed"``.
        draws: As in `sampled_risk_error`.
        rng: As in `sampled_risk_error`.

    Raises:
        ValueError: As `sampled_risk_error`.

    Example:
        >>> truth = np.random.default_rng(0).dirichlet([1.0, 1.0, 1.0], 1000)
        >>> found = sampled_risk_bounds((0.9 * truth + 0.1 / 3, truth, 0 * truth), 1.0)
        >>> print(f"{found.bounds.l1:.4f} within {found.errors.l1:.4f}")
        0.0036 within 0.0001
    """
    checks.scalar("loss_bound", loss_bound)
    pairs = [(t, truth) for t, truth, _ in _triples(source, draws, rng)]
    targets, truths = (np.concatenate(part) for part in zip(*pairs, strict=True))
    number = _enough(len(targets))
    equal = np.full(number, 1.0 / number)
    bounds = risk_bounds(equal, targets, truths, loss_bound, constants, loss_range=loss_range)
    reach = width(loss_bound, constants, loss_range)
    apart = distances(targets, truths)
    errors = {
        name: _error(reach, apart[what], constant, power)
        for name, (constant, what, power) in forms(constants, targets.shape[-1]).items()
    }
    return SampledBounds(bounds, made(constants, errors), number)


def _error(reach: Array, values: Array, constant: float, power: int) -> Array:
    """Standard error of a bound: that of the mean distance, carried through the square."""
    if not np.isfinite(values).all():
        return np.asarray(np.inf)[()]
    error = values.std(ddof=1) / np.sqrt(len(values))
    slope = 2 * values.mean() if power == 2 else 1.0
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(constant * np.square(reach) * slope * error)[()]


def _enough(draws: int) -> int:
    if draws < 2:
        msg = f"source must give at least 2 inputs, got {draws}"
        raise ValueError(msg)
    return draws


def _triples(
    source: Sampler | Triple, draws: int, rng: np.random.Generator | None
) -> Iterator[tuple[Array, Array, Array]]:
    """Targets, true posteriors and losses, checked, block by block."""
    if not callable(source):
        yield _checked(source)
        return
    if rng is None:
        msg = "rng must be a numpy random generator for a source that is a function, got None"
        raise ValueError(msg)
    left = checks.count("draws", draws, minimum=2)
    while left:
        size = min(left, _BLOCK)
        triple = _checked(source(rng, size))
        if len(triple[0]) != size:
            msg = (
                f"source must return as many rows as it is asked for ({size}), got {len(triple[0])}"
            )
            raise ValueError(msg)
        yield triple
        left -= size


def _checked(triple: Triple) -> tuple[Array, Array, Array]:
    parts: Sequence[ArrayLike] = tuple(triple)
    if len(parts) != 3:
        msg = f"source must give targets, truths and losses, got {len(parts)} arrays"
        raise ValueError(msg)
    target = checks.distributions("targets", parts[0])
    truth = checks.distributions("truths", parts[1])
    losses = checks.real_array("losses", parts[2])
    checks.same_shape(targets=target, truths=truth, losses=losses)
    if target.ndim != 2:
        msg = f"targets must have a row for each sampled input, shape (n, K), got {target.shape}"
        raise ValueError(msg)
    return target, truth, losses
