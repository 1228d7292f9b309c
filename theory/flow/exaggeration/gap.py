"""The complement of the ratio as a sum of terms of one sign."""

import numpy as np

from theory.checks import Array
from theory.flow.exaggeration.times import log_ratio, matched
from theory.numerics import h, phi, progress


def one_minus_ratio(delta: Array, first: Array, last: Array) -> Array:
    """1 - R for ``first`` <= ``last``; the equation is that of :func:`component_gap`."""
    kappa = 1.0 - delta
    tau = matched(np.ones(()), first, last)
    wait = np.where(first == last, 0.0, last - first)
    lead = np.log1p(np.exp(-wait) * phi(first))  # A - tau
    slack, above = np.abs(delta), delta < 0
    from_lead = _bend(slack * lead, np.where(above, kappa, 1.0) * lead) / h(lead)
    from_first = _bend(np.minimum(kappa, 1.0) * first, np.maximum(kappa, 1.0) * first) / h(first)
    from_wait = part_learned(slack, wait, last) * (h(kappa * first) / h(first))
    # a factor overflows only where its exponential is zero, and progress() lets zero win; tiny
    # progress is divided by tiny progress before delta, which may be tiny too, comes in
    bent = progress(_decay(last, delta, np.where(above, tau, first)), from_lead / phi(last))
    bent = bent + progress(_decay(last, delta, first), from_first / phi(last))
    share = np.where(above, slack / kappa, slack)
    total = share * bent + progress(_decay(last, delta, np.where(above, first, last)), from_wait)
    gap = np.copysign(total / stretch(kappa, first, last, tau), delta)
    gap = np.where(total == 0, 0.0, gap)
    gap = np.where(last == 0, delta, gap)
    gap = np.where((last == np.inf) | (delta == 0), 0.0, gap)
    return np.where(kappa == 0, 1.0, gap)


def part_learned(rate: Array, x: Array, whole: Array) -> Array:
    """phi(rate x) / phi(whole), also where rate and x are tiny and their product underflows."""
    slow = rate * (x / phi(whole)) * h(rate * x)
    return np.where(rate * x < 1, slow, phi(rate * x) / phi(whole))


def stretch(kappa: Array, first: Array, last: Array, tau: Array) -> Array:
    """phi(kappa tau) / (kappa phi(A) phi(B)): h(kappa tau) times tau / (phi(A) phi(B))."""
    product = phi(first) * phi(last)
    longer = np.where(product < 0.5, log_ratio(product), tau / product)
    return h(kappa * tau) * longer


def _decay(start: Array, slope: Array, x: Array) -> Array:
    """exp(-(start - slope x)), where the rounding of the exponent alone would cost its digits."""
    product = slope * x
    exponent = start - product
    # error of the product by splitting each factor in halves (Dekker), of the difference by
    # Knuth's two-sum; where the split overflows the exponential is 0 or the correction unknown
    high_slope, low_slope = _halves(slope)
    high_x, low_x = _halves(x)
    product_error = (
        (high_slope * high_x - product) + high_slope * low_x + low_slope * high_x
    ) + low_slope * low_x
    virtual = exponent - start
    difference_error = (start - (exponent - virtual)) - (product + virtual)
    correction = difference_error - product_error
    correction = np.where(np.isfinite(correction), correction, 0.0)
    return np.exp(-exponent) * (1.0 - correction)


def _halves(x: Array) -> tuple[Array, Array]:
    scaled = 134217729.0 * x  # 2^27 + 1
    high = scaled - (scaled - x)
    return high, x - high


def _bend(low: Array, high: Array) -> Array:
    r"""M (h(m) - h(M)) / (M - m) for 0 <= m <= M, positive, without cancellation.

    It is M times the second divided difference of exp(-x) at 0, m and M.
    """
    series = _bend_series(np.minimum(low, 1.0), np.minimum(high, 1.0))
    return np.where(high < 1, series, h(low) - np.exp(-low) * h(high - low))


def _bend_series(low: Array, high: Array) -> Array:
    """M sum (-1)^n H_n(m, M) / (n + 2)!, H_n the complete homogeneous polynomial."""
    power, homogeneous = np.ones_like(low), np.ones(np.broadcast(low, high).shape)
    total, factorial = 0.5 * homogeneous, 2.0
    for n in range(1, 19):
        power = power * low
        homogeneous = high * homogeneous + power
        factorial *= -(n + 2)
        total = total + homogeneous / factorial
    return high * total
