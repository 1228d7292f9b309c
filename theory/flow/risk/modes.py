r"""Risk of a filter as a sum over eigendirections (in-sample denoising).

Labels are :math:`y = y^* + \varepsilon` with noise of variance :math:`\sigma^2`, the signal has
energy :math:`c_i^2 = (u_i^\top y^*)^2` in direction i, and a filter keeps the share
:math:`g_i` of the label there.
"""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array


def agree(**arrays: np.ndarray) -> tuple[Array, ...]:
    """The arrays, broadcast against each other; modes run along the last axis."""
    checks.broadcastable(**arrays)
    return tuple(np.broadcast_arrays(*arrays.values()))


def agree_in_modes(**arrays: np.ndarray) -> tuple[Array, ...]:
    """The arrays, broadcast against each other, with a last axis of at least one mode."""
    spread = agree(**{name: np.atleast_1d(array) for name, array in arrays.items()})
    if spread[0].shape[-1] == 0:
        msg = f"there must be at least one mode, got {', '.join(arrays)} of no modes"
        raise ValueError(msg)
    return tuple(spread)


def _shortfall(gain: Array, shortfall: ArrayLike | None) -> Array:
    return 1.0 - gain if shortfall is None else checks.real_array("shortfall", shortfall)


def denoising_risk(
    gain: ArrayLike,
    signal_energy: ArrayLike,
    noise_variance: ArrayLike,
    *,
    samples: int | None = None,
    off_span: ArrayLike = 0.0,
    shortfall: ArrayLike | None = None,
) -> Array:
    r"""Expected squared error of the predictions on the training inputs, against the clean target.

    .. math:: R(g) = \frac1n \Bigl[\sum_i (1 - g_i)^2 c_i^2 + \sigma^2 g_i^2
              + \lVert (I - U U^\top) y^* \rVert^2 \Bigr]

    All arguments broadcast, modes along the last axis: leading axes of ``gain`` are filters (or
    times), leading axes of the others are problems. For K outputs give the energies summed over
    outputs and :math:`K \sigma^2`.

    Args:
        gain: Filter values, shape ``(..., modes)``. Any real number: a scheme may overshoot.
        signal_energy: :math:`c_i^2`, shape ``(..., modes)``.
        noise_variance: :math:`\sigma^2`; a number, or one that broadcasts against the modes.
        samples: n of the mean; the number of modes where it is not given.
        off_span: Energy of the clean target outside the span of the modes, which no filter learns.
        shortfall: 1 - gain where it is known without cancellation.

    Returns:
        The risk, of the broadcast shape without the last axis.

    Raises:
        ValueError: If shapes do not broadcast, or an energy or variance is negative or not finite.

    References:
        Wasserman, All of Nonparametric Statistics, ch. 7.

    Example:
        >>> denoising_risk([[0.5, 0.0], [1.0, 1.0]], [4.0, 1.0], 1.0)
        array([1.125, 1.   ])
    """
    gain = checks.real_array("gain", gain)
    energy = checks.nonnegative("signal_energy", signal_energy)
    noise = checks.nonnegative("noise_variance", noise_variance)
    short = _shortfall(gain, shortfall)
    gain, short, energy, noise = agree_in_modes(
        gain=gain, shortfall=short, signal_energy=energy, noise_variance=noise
    )
    with np.errstate(over="ignore", under="ignore"):
        total = (short**2 * energy + noise * gain**2).sum(axis=-1)
        total, outside = agree(risks=total, off_span=checks.nonnegative("off_span", off_span))
        return np.asarray((total + outside) / _samples(samples, gain.shape[-1]))[()]


def _samples(samples: int | None, modes: int) -> int:
    return modes if samples is None else checks.count("samples", samples, minimum=1)


def training_error(
    gain: ArrayLike,
    signal_energy: ArrayLike,
    noise_variance: ArrayLike,
    *,
    samples: int | None = None,
    off_span: ArrayLike = 0.0,
    shortfall: ArrayLike | None = None,
) -> Array:
    r"""Expected squared error on the noisy training labels themselves.

    .. math:: \frac1n \Bigl[\sum_i (1 - g_i)^2 (c_i^2 + \sigma^2)
              + \lVert (I - U U^\top) y^* \rVert^2 + (n - r) \sigma^2 \Bigr]

    Noise outside the span of the r modes is never fitted: it stays in the error, so ``samples``
    can not be less than the number of modes.

    Args:
        gain: Filter values, shape ``(..., modes)``.
        signal_energy: :math:`c_i^2`, shape ``(..., modes)``.
        noise_variance: :math:`\sigma^2`, with a last axis of length 1 if it is an array.
        samples: n; the number of modes where it is not given.
        off_span: Energy of the clean target outside the span of the modes.
        shortfall: 1 - gain where it is known without cancellation.

    Returns:
        The error, of the broadcast shape without the last axis.

    Raises:
        ValueError: On bad shapes or signs, or fewer samples than modes.

    Example:
        >>> float(training_error([0.5, 0.0], [4.0, 1.0], 1.0, samples=3))
        1.4166666666666667
    """
    gain = checks.real_array("gain", gain)
    energy = checks.nonnegative("signal_energy", signal_energy)
    noise = np.atleast_1d(checks.nonnegative("noise_variance", noise_variance))
    short = _shortfall(gain, shortfall)
    short, energy, spread = agree_in_modes(
        shortfall=short, signal_energy=energy, noise_variance=noise
    )
    modes = short.shape[-1]
    count = _samples(samples, modes)
    if count < modes or noise.shape[-1] != 1:
        msg = (
            f"samples must be at least the number of modes ({modes}) and noise_variance the same "
            f"in all of them, got samples={count}, noise_variance of shape {noise.shape}"
        )
        raise ValueError(msg)
    with np.errstate(over="ignore", under="ignore"):
        error = (short**2 * (energy + spread)).sum(axis=-1) + (count - modes) * noise[..., 0]
        error, outside = agree(errors=error, off_span=checks.nonnegative("off_span", off_span))
        return np.asarray((error + outside) / count)[()]


def wiener_gain(signal_energy: ArrayLike, noise_variance: ArrayLike) -> Array:
    r"""The best gain of every direction, :math:`w_i = c_i^2 / (c_i^2 + \sigma^2)`.

    No filter has a smaller denoising risk. A direction without signal has w = 0, also where there
    is no noise either.

    Example:
        >>> wiener_gain([4.0, 0.0, 1e308], 1.0)
        array([0.8, 0. , 1. ])
    """
    energy = checks.nonnegative("signal_energy", signal_energy)
    noise = checks.nonnegative("noise_variance", noise_variance)
    energy, noise = agree(signal_energy=energy, noise_variance=noise)
    # the quotient of the smaller by the larger neither overflows nor loses a small gain
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        low = energy / noise
        gain = np.where(energy <= noise, low / (1.0 + low), 1.0 / (1.0 + noise / energy))
    return np.where(energy == 0, 0.0, gain)[()]


def wiener_excess(
    gain: ArrayLike,
    signal_energy: ArrayLike,
    noise_variance: ArrayLike,
    *,
    samples: int | None = None,
) -> Array:
    r"""How much a filter's risk exceeds the Wiener filter's, without cancellation.

    .. math:: R(g) - R(w) = \frac1n \sum_i (c_i^2 + \sigma^2) (g_i - w_i)^2

    Example:
        >>> float(wiener_excess([1.0, 0.0], [4.0, 1.0], 1.0))
        0.35
    """
    gain = checks.real_array("gain", gain)
    energy = checks.nonnegative("signal_energy", signal_energy)
    noise = checks.nonnegative("noise_variance", noise_variance)
    gain, energy, noise = agree_in_modes(gain=gain, signal_energy=energy, noise_variance=noise)
    gap = gain - wiener_gain(energy, noise)
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(
            ((energy + noise) * gap**2).sum(axis=-1) / _samples(samples, gap.shape[-1])
        )[()]


def log_noise_ratio(signal_energy: Array, noise_variance: Array) -> Array:
    r""":math:`\ln(1 + c^2 / \sigma^2)`: the progress at which a direction should be stopped.

    0 without signal (also without noise), inf with signal and no noise.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        ratio = signal_energy / noise_variance
        # a ratio beyond the largest float still has a logarithm
        far = np.log(signal_energy) - np.log(noise_variance)
        progress = np.where(np.isinf(ratio), far, np.log1p(ratio))
    return np.where(signal_energy == 0, 0.0, progress)


def mode_stopping_time(
    eigenvalues: ArrayLike, signal_energy: ArrayLike, noise_variance: ArrayLike
) -> Array:
    r"""When to stop if a direction stood alone.

    .. math:: t_i^* = \ln(1 + c_i^2/\sigma^2) / \lambda_i

    It solves :math:`\phi(\lambda_i t) = w_i`. Without signal it is 0, with signal but without noise
    inf. A direction of eigenvalue 0 never moves: the value there is the limit from above, inf with
    signal and 0 without. Arguments broadcast.

    Example:
        >>> mode_stopping_time([1.0, 0.1, 0.0], [4.0, 0.0, 1.0], 1.0)
        array([1.60943791, 0.        , inf])
    """
    rate = checks.nonnegative("eigenvalues", eigenvalues)
    energy = checks.nonnegative("signal_energy", signal_energy)
    noise = checks.nonnegative("noise_variance", noise_variance)
    rate, energy, noise = agree(eigenvalues=rate, signal_energy=energy, noise_variance=noise)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        stop = log_noise_ratio(energy, noise) / rate
        # ln(1 + r) = r to the last digit, but r = c^2 / sigma^2 itself may underflow
        stop = np.where(energy / noise < 1e-17, _quotient(energy, noise, rate), stop)
    return np.where(energy == 0, 0.0, stop)[()]


def _quotient(top: Array, *bottoms: Array) -> Array:
    """``top / prod(bottoms)`` without over- or underflow on the way."""
    mantissa, exponent = np.frexp(top)
    for bottom in bottoms:
        part, power = np.frexp(bottom)
        mantissa, exponent = mantissa / part, exponent - power
    return np.asarray(np.ldexp(mantissa, exponent))
