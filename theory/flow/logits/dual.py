r"""Gradient flow of the cross-entropy in a kernel.

.. math::

    \dot Z = -\frac{c_\tau}{\tau} \Theta \bigl(\sigma(Z/\tau) - Q\bigr), \qquad
    c_\tau \in \{1, \tau^2\}

has no closed form. It is solved in the dual, :math:`Z = Z_0 + \Theta A`, which carries it to test
inputs by :math:`Z_* = Z_{0*} + K_* A` and keeps two invariants: the rows of A sum to zero, so that
the mean logit over classes never moves. The theorem on matched times is not proved for it.
"""

from numpy.typing import ArrayLike

from theory import checks
from theory.flow.logits.equation import METHODS, Dual, LogitFlow, follow
from theory.flow.logits.kernels import (
    as_spectrum,
    need_both,
    null_free_modes,
    scales,
    soft_targets,
    start_from,
)
from theory.flow.spectrum import Spectrum


def cross_entropy_flow(
    kernel: ArrayLike | Spectrum,
    targets: ArrayLike,
    times: ArrayLike,
    *,
    initial: ArrayLike | None = None,
    temperature: float = 1.0,
    factor: str = "1",
    test_kernel: ArrayLike | None = None,
    test_initial: ArrayLike | None = None,
    method: str = "LSODA",
    rtol: float = 1e-9,
    atol: float = 1e-12,
    max_calls: int = 50_000,
) -> LogitFlow:
    r"""Gradient flow of the cross-entropy in a kernel, by its dual.

    .. math:: \dot A = -\frac{c_\tau}{\tau} \bigl(\sigma((Z_0 + \Theta A)/\tau) - Q\bigr),
              \quad A(0) = 0

    It is stiff at first and then slow: logits grow like ln t, and a solver that changes between
    explicit and implicit steps goes through 1e6 units of time in some hundred steps. Only
    :math:`c_\tau \lambda_1 t / \tau^2` and the shape of the kernel count, and only these are given
    to the solver; where that product is below 1e-5 the first two terms in it are the solution.

    Args:
        kernel: :math:`\Theta`, shape ``(n, n)``, or its spectrum.
        targets: Q, class probabilities in rows, shape ``(n, K)``, K >= 2.
        times: Finite times >= 0, shape ``(T,)``, in any order.
        initial: :math:`Z_0`, shape ``(n, K)``; zero if absent.
        temperature: :math:`\tau`, of both sides.
        factor: :math:`c_\tau`: ``"1"`` or ``"tau2"``.
        test_kernel: :math:`K_*`, shape ``(m, n)``.
        test_initial: :math:`Z_{0*}`, shape ``(m, K)``; needed where ``initial`` is given.
        method: A method of ``scipy.integrate.solve_ivp``.
        rtol: Relative tolerance of the solver.
        atol: Absolute tolerance, in units of the logits over the temperature.
        max_calls: The solver gives up after so many evaluations of the right-hand side.

    Raises:
        ValueError: On bad input. A solver that fails does not raise: ``converged`` is False.

    References:
        The dual of gradient flow under cross-entropy; checked against the primal.

    Example:
        >>> import numpy as np
        >>> flow = cross_entropy_flow(np.eye(2), [[1.0, 0.0], [0.0, 1.0]], [0.0, 1.0, 1e6])
        >>> flow.converged, flow.outputs[:, 0].round(3)
        (True, array([[ 0.   ,  0.   ],
               [ 0.396, -0.396],
               [ 7.254, -7.254]]))
    """
    checks.choice("method", method, METHODS)
    rtol, atol = (
        float(checks.positive(name, checks.scalar(name, value)))
        for name, value in (("rtol", rtol), ("atol", atol))
    )
    limit = checks.count("max_calls", max_calls, minimum=1)
    spectrum = as_spectrum(kernel)
    rows = soft_targets(targets, len(spectrum.left))
    clock = checks.nonnegative("times", times)
    if clock.ndim != 1 or clock.size == 0:
        msg = f"times must be a non-empty list of times, got shape {clock.shape}"
        raise ValueError(msg)
    start = start_from("initial", initial, rows.shape)
    tau, scale = scales(temperature, factor)
    test = None if test_kernel is None else null_free_modes(spectrum, test_kernel)
    if test is not None:
        need_both(initial, test_initial)
        test_start = start_from("test_initial", test_initial, (len(test), rows.shape[1]))

    learned = spectrum.eigenvalues > 0
    modes, rate = spectrum.left[:, learned], spectrum.eigenvalues[learned]
    return follow(
        Dual.of(modes, rate, start / tau, rows),
        clock,
        start=start,
        test=None if test is None else (test[:, learned], test_start),
        temperature=tau,
        factor=scale,
        method=method,
        rtol=rtol,
        atol=atol,
        max_calls=limit,
    )
