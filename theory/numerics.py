r"""Scalar functions of spectral filters, accurate to a few ulp everywhere.

.. math::

    \phi(x) = 1 - e^{-x}, \qquad h(x) = \phi(x) / x, \qquad w(x) = x / (e^x - 1)

A rate times a time is zero as soon as one of the two is zero, also when the other is infinite:
a direction of eigenvalue zero is never learned, and nothing is learned in no time.
"""

from math import factorial

import numpy as np
from numpy.typing import ArrayLike

from theory.checks import Array

LN2 = float(np.log(2.0))
_BLOCK = 8192
_BEYOND_LINEAR = tuple(1.0 / factorial(order) for order in range(17, 1, -1))


def progress(rate: ArrayLike, time: ArrayLike) -> Array:
    """Elementwise ``rate * time`` with 0 * inf = 0; overflow gives inf without a warning.

    >>> progress([0.0, 2.0, 1e200], [np.inf, 3.0, 1e200])
    array([ 0.,  6., inf])
    """
    rate, time = np.asarray(rate, dtype=np.float64), np.asarray(time, dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        product = np.asarray(rate * time)
    # only 0 * inf is undefined; one look at the extremes spares the copy where there is none
    if product.size and np.isnan(product.max()):
        product = np.where((rate == 0) | (time == 0), 0.0, product)
    return product


def phi(x: ArrayLike) -> Array:
    r"""Learned fraction :math:`\phi(x) = 1 - e^{-x}` of a direction after progress x.

    >>> phi([0.0, 1e-300, np.inf])
    array([0.e+000, 1.e-300, 1.e+000])
    """
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(-np.expm1(-np.asarray(x, dtype=np.float64)))


def h(x: ArrayLike) -> Array:
    r"""Mean of :math:`e^{-u}` over [0, x]: :math:`h(x) = \phi(x) / x`; x may be negative.

    h(0) = 1, h(inf) = 0.

    >>> h([0.0, 1.0, np.inf])
    array([1.   , 0.632, 0.   ])
    """
    x = np.asarray(x, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        ratio = phi(x) / x
    ratio = np.where(x == 0, 1.0, ratio)
    return np.asarray(np.where(x == -np.inf, np.inf, ratio))


def w(x: ArrayLike) -> Array:
    r"""Elasticity of :math:`\phi`: :math:`w(x) = d \ln \phi / d \ln x = x / (e^x - 1)`.

    w(0) = 1, w(inf) = 0.

    >>> w([0.0, 1.0, np.inf])
    array([1.   , 0.582, 0.   ])
    """
    x = np.asarray(x, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        ratio = x / np.expm1(x)
    ratio = np.where(x == 0, 1.0, ratio)
    return np.asarray(np.where(x == np.inf, 0.0, ratio))


def log_phi(x: ArrayLike) -> Array:
    r"""Logarithm of the learned fraction, :math:`\ln \phi(x) = \ln(1 - e^{-x})`, for x >= 0.

    It is -inf at 0 and 0 at inf.

    Below ln 2 the argument of the logarithm is computed by ``expm1``, above it the logarithm by
    ``log1p``: either form alone loses all digits on the other side.

    >>> log_phi([1e-300, 50.0])
    array([-6.90775528e+002, -1.92874985e-022])
    """
    x = np.asarray(x, dtype=np.float64)
    with np.errstate(divide="ignore", under="ignore"):
        # the clamp keeps each branch inside its own domain
        near = np.log(-np.expm1(-np.minimum(x, LN2)))
        far = np.log1p(-np.exp(-np.maximum(x, LN2)))
    return np.asarray(np.where(x < LN2, near, far))


def exp_beyond_linear(x: ArrayLike) -> Array:
    r""":math:`e^x - 1 - x`, nonnegative, without cancellation near 0; inf at both infinities.

    >>> exp_beyond_linear([0.0, 1e-9, 1.0])
    array([0.00000000e+00, 5.00000000e-19, 7.18281828e-01])
    """
    x = np.asarray(x, dtype=np.float64)
    flat, out = x.ravel(), np.empty(x.size)
    for start in range(0, x.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        out[block] = _beyond_linear(flat[block])
    return out.reshape(x.shape)


def _beyond_linear(x: Array) -> Array:
    """The same for numbers that fit into the cache together, as the series goes over them often."""
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):
        small = np.clip(x, -0.5, 0.5)
        series = np.full_like(small, _BEYOND_LINEAR[0])
        for coefficient in _BEYOND_LINEAR[1:]:
            series *= small
            series += coefficient
        series *= small
        series *= small
        far = np.where(x == np.inf, np.inf, np.expm1(x) - x)
    return np.where(np.abs(x) <= 0.5, series, far)
