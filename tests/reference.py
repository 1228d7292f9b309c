"""Independent references: the definitions in mpmath, integrated flows, plain gradient descent.

Nothing here shares a formula's evaluation with the package: mpmath works from the definitions in
enough digits that cancellation does no harm, the integrators know only the loss.
"""

import mpmath as mp
import numpy as np


def relative_error(got, want):
    """|got - want| / |want| in extended precision; 0 where both are 0 or the same infinity."""
    got, want = mp.mpf(float(got)), mp.mpf(want)
    if got == want:
        return 0.0
    if want == 0 or not mp.isfinite(want) or not mp.isfinite(got):
        return float("inf")
    return float(abs(got - want) / abs(want))


def mp_phi(x):
    """1 - exp(-x)."""
    return -mp.expm1(-x)


def mp_weight_gain(s, t, samples=1):
    s, t = mp.mpf(s), mp.mpf(t)
    if s == 0 or t == 0:
        return mp.mpf(0)
    return 1 / s if t == mp.inf else mp_phi(s * s * t / samples) / s


def mp_matched_progress(a, b):
    """tau with phi(tau) = phi(a) phi(b)."""
    a, b = mp.mpf(a), mp.mpf(b)
    if a == mp.inf or b == mp.inf:
        return min(a, b)
    product = mp_phi(a) * mp_phi(b)
    if product < 0.5:
        return -mp.log1p(-product)
    return min(a, b) - mp.log1p(mp.exp(-abs(a - b)) * mp_phi(min(a, b)))


def mp_student_progress(x, b):
    """A with phi(A) = phi(x) / phi(b), for x < b."""
    x, b = mp.mpf(x), mp.mpf(b)
    return x if b == mp.inf else -mp.log(1 - mp_phi(x) / mp_phi(b))


def mp_component_ratio(kappa, a, b):
    kappa, a, b = mp.mpf(kappa), mp.mpf(a), mp.mpf(b)
    if kappa == 0:
        return mp.mpf(0)
    return mp_phi(kappa * a) * mp_phi(kappa * b) / mp_phi(kappa * mp_matched_progress(a, b))


def flow_by_ode(X, y, time, initial, samples=1):
    """Weights at ``time`` by integrating b' = -X^T (X b - y) / N, for one or more outputs."""
    from scipy.integrate import solve_ivp

    shape = initial.shape
    solution = solve_ivp(
        lambda _, b: (-X.T @ (X @ b.reshape(shape) - y) / samples).ravel(),
        (0.0, time),
        initial.ravel(),
        method="DOP853",
        rtol=1e-11,
        atol=1e-13,
    )
    assert solution.success, solution.message
    return solution.y[:, -1].reshape(shape)


def flow_by_expm(X, y, time, initial, samples=1):
    """The same by the matrix exponential of the flow with the label as a constant state."""
    from scipy.linalg import expm

    p, columns = X.shape[1], y.reshape(len(y), -1)
    generator = np.zeros((p + columns.shape[1],) * 2)
    generator[:p, :p] = -X.T @ X / samples
    generator[:p, p:] = X.T @ columns / samples
    state = np.vstack([initial.reshape(p, -1), np.eye(columns.shape[1])])
    return (expm(generator * time) @ state)[:p].reshape(initial.shape)


def gradient_descent(X, y, step_size, steps, initial, samples=1):
    """Weights after plain gradient steps."""
    weights = np.array(initial, dtype=np.float64)
    for _ in range(steps):
        weights = weights - step_size * (X.T @ (X @ weights - y)) / samples
    return weights


def heavy_ball(eigenvalues, target, step_size, momentum, steps):
    """One coordinate per eigenvalue: gradient descent with velocity on labels ``target``."""
    weights = np.zeros_like(target)
    velocity = np.zeros_like(target)
    path = [weights]
    for _ in range(steps):
        velocity = momentum * velocity - step_size * eigenvalues * (weights - target)
        weights = weights + velocity
        path.append(weights)
    return np.array(path)


def slope(x, y):
    """Least-squares slope of y on x."""
    return float(np.polyfit(x, y, 1)[0])
