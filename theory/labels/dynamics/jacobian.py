r"""The derivative of the softmax, :math:`A(q) = \mathrm{diag}(q) - q q^\top`.

It is the Laplacian of the complete graph with weights :math:`q_i q_j`: its diagonal is computed as
:math:`q_i \sum_{j \ne i} q_j`, which keeps all digits where q is nearly one-hot and
:math:`q_i - q_i^2` has none, and rows sum to zero also where q, rounded, does not sum to 1.
"""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.statements import states

_BLOCK = 4_000_000  # numbers of one block of the secular equation
_LIFT = 500  # a power of two that makes subnormal probabilities normal numbers


def others(q: Array) -> Array:
    r""":math:`\sum_{j \ne i} q_j` for every class, a sum of nonnegative terms.

    Example:
        >>> others(np.array([1.0, 1e-20, 0.0]))
        array([1.e-20, 1.e+00, 1.e+00])
    """
    before, after = np.zeros_like(q), np.zeros_like(q)
    np.cumsum(q[..., :-1], axis=-1, out=before[..., 1:])
    after[..., :-1] = np.cumsum(q[..., :0:-1], axis=-1)[..., ::-1]
    return before + after


def apply(q: Array, vector: Array) -> Array:
    """A(q) times vectors, without cancellation where q is nearly one-hot; shapes broadcast."""
    q, vector = np.broadcast_arrays(q, vector)
    top = np.argmax(q, axis=-1)[..., None]
    # A maps constants to zero: seen from the likeliest class, what is left is small
    lifted = vector - np.take_along_axis(vector, top, axis=-1)
    with np.errstate(under="ignore"):
        mean = (q * lifted).sum(axis=-1, keepdims=True)
        return np.asarray(q * (q.sum(axis=-1, keepdims=True) * lifted - mean))


@states(
    "labels:softmax-jacobian",
    "The derivative of the softmax in its logits is diag(q) - q q^T: symmetric, positive "
    "semi-definite, and it maps constants to zero.",
    source="Ren 2022, eq. 10",
)
def softmax_jacobian(q: ArrayLike) -> Array:
    r"""The derivative of the softmax in its logits, :math:`A(q) = \mathrm{diag}(q) - q q^\top`.

    .. math:: A_{ii} = q_i \sum_{j \ne i} q_j, \qquad A_{ij} = -q_i q_j

    It is the covariance of a one-hot draw from q: positive semi-definite, with A 1 = 0.

    Args:
        q: Probabilities, shape ``(..., K)``, K >= 2.

    Returns:
        A, shape ``(..., K, K)``.

    Raises:
        ValueError: If a row is no distribution, or for fewer than two classes.

    References:
        Ren et al. 2022, Proposition 1 and eq. 10.

    Example:
        >>> softmax_jacobian([0.5, 0.25, 0.25])
        array([[ 0.25  , -0.125 , -0.125 ],
               [-0.125 ,  0.1875, -0.0625],
               [-0.125 , -0.0625,  0.1875]])
    """
    q = checks.distributions("q", q)
    with np.errstate(under="ignore"):
        jacobian = -q[..., :, None] * q[..., None, :]
        np.einsum("...ii->...i", jacobian)[...] = q * others(q)
    return jacobian + 0.0  # no negative zeros


def jacobian_trace(q: ArrayLike) -> Array:
    r"""Trace of A(q): :math:`1 - \|q\|^2 = \sum_i q_i \sum_{j \ne i} q_j`, in [0, 1 - 1/K].

    Args:
        q: Probabilities, shape ``(..., K)``.

    Returns:
        One number a row. It is the probability that two draws from q differ.

    Raises:
        ValueError: If a row is no distribution, or for fewer than two classes.

    References:
        Ren et al. 2022, appendix G and fig. 18.

    Example:
        >>> jacobian_trace([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [1.0, 1e-20, 0.0]])
        array([5.e-01, 0.e+00, 2.e-20])
    """
    q = checks.distributions("q", q)
    with np.errstate(under="ignore"):
        return np.asarray((q * others(q)).sum(axis=-1))[()]


def jacobian_norm(q: ArrayLike) -> Array:
    r"""Frobenius norm of A(q).

    .. math:: \|A\|_F^2 = \sum_i q_i^2 - 2 \sum_i q_i^3 + \Big(\sum_i q_i^2\Big)^2
              = \sum_i q_i^2 \Big[\Big(\sum_{j \ne i} q_j\Big)^2 + \sum_{j \ne i} q_j^2\Big]

    The second form has no differences. It is between the operator norm and the trace.

    Args:
        q: Probabilities, shape ``(..., K)``.

    Returns:
        One number a row.

    Raises:
        ValueError: If a row is no distribution, or for fewer than two classes.

    Example:
        >>> jacobian_norm([[0.5, 0.5], [1.0, 1e-200]])
        array([5.e-001, 2.e-200])
    """
    ordered = np.sort(checks.distributions("q", q), axis=-1)[..., ::-1]
    top, rest = ordered[..., :1], ordered[..., 1:]
    # in units of the second largest probability nothing that matters leaves the range
    unit = np.where(rest[..., :1] > 0, rest[..., :1], 1.0)
    with np.errstate(under="ignore"):
        near = rest / unit
        first = top**2 * (near.sum(axis=-1, keepdims=True) ** 2 + _squares(near))
        far = others(ordered)[..., 1:] ** 2 + others(ordered**2)[..., 1:]
        total = first[..., 0] + (near**2 * far).sum(axis=-1)
        return np.asarray(unit[..., 0] * np.sqrt(total))[()]


def _squares(rows: Array) -> Array:
    return np.asarray((rows**2).sum(axis=-1, keepdims=True))


@states(
    "labels:jacobian-spectrum",
    "The eigenvalues of A(q) are 0, the roots of sum_i q_i / (q_i - x) = 0, one strictly between "
    "any two neighboring different probabilities, and each probability that is tied m times with "
    "multiplicity m - 1.",
    source="Golub 1973, SIAM Review 15, for the matrix of Ren 2022, eq. 10",
)
def jacobian_eigenvalues(q: ArrayLike) -> Array:
    r"""Eigenvalues of A(q), descending, each to a few ulp however small it is.

    With :math:`q_{(1)} \le \dots \le q_{(K)}` the lowest eigenvalue is 0 and
    :math:`q_{(i-1)} \le \lambda_i \le q_{(i)}`. Those that are no probability solve the secular
    equation, from which the root 0 is divided out:

    .. math:: \sum_i \frac{q_i^2}{q_i - \lambda} = 1 \quad\Longleftrightarrow\quad
              \lambda \sum_i \frac{q_i}{q_i - \lambda} = 0

    Each is searched as its distance from the nearer end of its interval. A general eigenvalue
    routine is accurate to an ulp of the largest eigenvalue only.

    Args:
        q: Probabilities, shape ``(..., K)``; zeros and ties are welcome.

    Returns:
        Shape ``(..., K)``, the last one 0. A row that sums to S instead of 1 has the eigenvalues
        of `softmax_jacobian` of that row, which are those above times S.

    Raises:
        ValueError: If a row is no distribution, or for fewer than two classes.

    Example:
        >>> jacobian_eigenvalues([[0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3], [1.0, 1e-9, 1e-30]])
        array([[5.00000000e-01, 0.00000000e+00, 0.00000000e+00],
               [3.33333333e-01, 3.33333333e-01, 0.00000000e+00],
               [2.00000000e-09, 1.50000000e-30, 0.00000000e+00]])
    """
    q = checks.distributions("q", q)
    classes = q.shape[-1]
    rows = np.ldexp(np.sort(q.reshape(-1, classes), axis=-1), _LIFT)
    found = np.zeros_like(rows)
    size = max(1, _BLOCK // classes**2)
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        found[part, 1:] = _secular_roots(rows[part])
    total = q.sum(axis=-1, keepdims=True).reshape(-1, 1)
    with np.errstate(under="ignore"):
        roots = np.ldexp(found, -_LIFT) * total
    return np.asarray(roots[:, ::-1].reshape(q.shape))


def _secular_roots(poles: Array) -> Array:
    """Roots of sum_i q_i / (q_i - x) between neighboring poles: (rows, K) to (rows, K - 1).

    The sum rises from -inf to inf between two poles, so that its sign at the middle says which of
    them is the nearer. Distances from that pole are searched by Newton's method on the sum times
    the distances to both ends, which has no poles there, inside a bracket that is halved whenever
    a step leaves it.
    """
    low, high = poles[:, :-1], poles[:, 1:]
    gap = high - low
    live = (gap > 0) & (low > 0)
    roots = low.copy()
    row, column = np.nonzero(live)
    low, high, gap = low[live], high[live], gap[live]
    above = poles.shape[1] - 1 - column
    right = _secular(poles[row], low, gap / 2)[0] < 0
    origin, side = np.where(right, high, low), np.where(right, -1.0, 1.0)
    inner = np.zeros_like(low)
    # the poles above contribute at least one each, those below at most low / (x - low) each
    outer = np.where(right, gap / 2, np.minimum(gap / 2, low * ((column + 1) / above) * 1.01))
    step, active = outer / 2, np.arange(len(low))
    for _ in range(200):
        if not len(active):
            break
        now, end, start, sign = step[active], outer[active], inner[active], side[active]
        value, slope = _secular(poles[row[active]], origin[active], sign * now)
        value = sign * value
        start, end = np.where(value < 0, now, start), np.where(value < 0, end, now)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
            newton = now - 1.0 / (slope / value + 1.0 / now - 1.0 / (gap[active] - now))
        inside = (newton > start) & (newton < end)
        following = np.where(inside, newton, (start + end) / 2)
        following = np.where(value == 0, now, following)
        inner[active], outer[active], step[active] = start, end, following
        active = active[np.abs(following - now) > np.spacing(origin[active]) / 2]
    roots[live] = origin + side * step
    return roots


def _secular(poles: Array, origin: Array, step: Array) -> tuple[Array, Array]:
    """sum_i q_i / (q_i - x) and its derivative in x, at x = origin + step; one row each."""
    distance = (poles - origin[:, None]) - step[:, None]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        terms = poles / distance
        return terms.sum(axis=-1), (terms / distance).sum(axis=-1)


@states(
    "labels:jacobian-top",
    "The largest eigenvalue of A(q) is at most 1/2, max q and 2 max q (1 - q), and it is 1/2 for "
    "q = (1/2, 1/2, 0, ...): a flat q has the largest trace and not the largest eigenvalue.",
    source="Ren 2022, appendix G, corrected",
)
def top_eigenvalue_bounds(q: ArrayLike) -> tuple[Array, Array]:
    r"""Bounds of the largest eigenvalue of A(q) that need no eigenvalues.

    .. math::

        \max\Big(q_{(K-1)},\; \max_i q_i (1 - q_i),\; \frac{1 - \|q\|^2}{K - 1}\Big)
        \le \lambda_{\max} \le \min\Big(\tfrac12,\; \max_i q_i,\; 2 \max_i q_i (1 - q_i)\Big)

    with :math:`q_{(K-1)}` the second largest probability. Both are attained: at
    :math:`(1/2, 1/2, 0, \dots)`, where it is 1/2, the largest it can be, and at the uniform q,
    where it is 1/K, with multiplicity K - 1. The trace is largest at the uniform q: by how much a
    step can change a prediction, flat is not the most.

    Args:
        q: Probabilities, shape ``(..., K)``.

    Returns:
        The lower and the upper bound, one number a row each.

    Raises:
        ValueError: If a row is no distribution, or for fewer than two classes.

    References:
        Ren et al. 2022, appendix G, reads the trace as the size of the change; interlacing,
        Gershgorin's circles and the mean eigenvalue give the bounds.

    Example:
        >>> low, high = top_eigenvalue_bounds([[0.5, 0.5, 0.0], [0.25, 0.5, 0.25]])
        >>> print(low, high)
        [0.5    0.3125] [0.5 0.5]
    """
    q = checks.distributions("q", q)
    with np.errstate(under="ignore"):
        spread = (q * others(q)).max(axis=-1)
    ordered = np.sort(q, axis=-1)
    mean = np.asarray(jacobian_trace(q)) / (q.shape[-1] - 1)
    low = np.maximum(np.maximum(ordered[..., -2], spread), mean)
    high = np.minimum(np.minimum(0.5, ordered[..., -1]), 2 * spread)
    return np.asarray(np.minimum(low, high))[()], np.asarray(high)[()]
