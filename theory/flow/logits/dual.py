r"""Gradient flow of the cross-entropy in a kernel.

.. math::

    \dot Z = -\frac{c_\tau}{\tau} \Theta \bigl(\sigma(Z/\tau) - Q\bigr), \qquad
    c_\tau \in \{1, \tau^2\}

has no closed form. It is solved in the dual, :math:`Z = Z_0 + \Theta A`, which carries it to test
inputs by :math:`Z_* = Z_{0*} + K_* A` and keeps two invariants: the rows of A sum to zero, so that
the mean logit over classes never moves. The theorem on matched times is not proved for it.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.flow.logits.kernels import (
    as_spectrum,
    mean_loss,
    need_both,
    null_free_modes,
    residual,
    scales,
    soft_targets,
    start_from,
)
from theory.flow.spectrum import Spectrum

_JACOBIAN_LIMIT = 1500  # unknowns up to which the Jacobian is formed
_LOSS_SLACK = 1e-7
METHODS = ("RK45", "RK23", "DOP853", "Radau", "BDF", "LSODA")


@dataclass(frozen=True, slots=True, eq=False)
class LogitFlow:
    """Logits along a cross-entropy flow. Where the solver gave up, later times hold nan."""

    times: Array
    """Shape (T,), as asked."""
    outputs: Array
    """Training logits Z, shape (T, n, K)."""
    dual: Array
    """A, shape (T, n, K): every row sums to zero."""
    test_outputs: Array | None
    """Test logits, shape (T, m, K); None without a test kernel."""
    loss: Array
    r"""Mean cross-entropy :math:`H(Q, \\sigma(Z/\\tau))` over samples, in nats, shape (T,)."""
    converged: bool
    """The solver reached the last time, within its tolerances, and the loss never rose."""
    message: str


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
) -> LogitFlow:
    r"""Gradient flow of the cross-entropy in a kernel, by its dual.

    .. math:: \dot A = -\frac{c_\tau}{\tau} \bigl(\sigma((Z_0 + \Theta A)/\tau) - Q\bigr),
              \quad A(0) = 0

    It is stiff at first and then slow: logits grow like ln t, and a solver that changes between
    explicit and implicit steps goes through 1e6 units of time in some hundred steps.

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
        atol: Absolute tolerance, in units of A.

    Raises:
        ValueError: On bad input. A solver that fails does not raise: ``converged`` is False.

    References:
        The dual of gradient flow under cross-entropy; checked against the primal.

    Example:
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
    spectrum = as_spectrum(kernel)
    rows = soft_targets(targets, len(spectrum.left))
    clock = checks.nonnegative("times", times)
    if clock.ndim != 1 or clock.size == 0:
        msg = f"times must be a non-empty list of times, got shape {clock.shape}"
        raise ValueError(msg)
    start = start_from("initial", initial, rows.shape)
    problem = _Dual(spectrum, start, rows, *scales(temperature, factor))
    test = None if test_kernel is None else null_free_modes(spectrum, test_kernel)
    if test is not None:
        need_both(initial, test_initial)
        test_start = start_from("test_initial", test_initial, (len(test), rows.shape[1]))

    distinct, back = np.unique(clock, return_inverse=True)
    dual, message = problem.integrate(distinct, method, rtol, atol)
    dual = dual[back]
    outputs = problem.outputs(dual)
    loss = np.full(clock.shape, np.nan)
    reached = np.isfinite(outputs).all(axis=(1, 2))
    loss[reached] = mean_loss(outputs[reached], rows, problem.temperature)
    if not message and _rises(loss[np.argsort(clock, kind="stable")]):
        message = "the training loss rose: tighten rtol and atol"
    test_outputs = None
    if test is not None:
        test_outputs = test_start + np.einsum(
            "mr,nr,tnk->tmk", test, spectrum.left, dual, optimize=True
        )
    return LogitFlow(
        clock, outputs, dual, test_outputs, loss, not message, message or "reached the last time"
    )


def _rises(loss: Array) -> bool:
    return bool((loss[1:] > loss[:-1] * (1 + _LOSS_SLACK) + _LOSS_SLACK * 1e-3).any())


@dataclass(frozen=True, slots=True, eq=False)
class _Dual:
    """The differential equation of A."""

    spectrum: Spectrum
    start: Array
    rows: Array
    temperature: float
    factor: float

    def outputs(self, dual: Array) -> Array:
        """Z_0 + Theta A, along the modes: null directions of A can not leak by round-off."""
        modes = self.spectrum.left
        moved: Array = self.spectrum.eigenvalues[:, None] * (modes.T @ dual)
        return np.asarray(self.start + modes @ moved)

    def velocity(self, _time: float, flat: Array) -> Array:
        logits = self.outputs(flat.reshape(self.rows.shape))
        speed = self.factor / self.temperature
        return np.asarray(-speed * residual(logits, self.rows, self.temperature).ravel())

    def jacobian(self, _time: float, flat: Array) -> Array:
        r""":math:`-c_\tau/\tau^2 \, H_i[k, l] \, \Theta_{im}`, with H = diag(p) - p p'."""
        logits = self.outputs(flat.reshape(self.rows.shape))
        p = residual(logits, self.rows, self.temperature) + self.rows
        curvature = p[:, :, None] * (np.eye(p.shape[1]) - p[:, None, :])
        modes = self.spectrum.left
        theta = modes * self.spectrum.eigenvalues @ modes.T
        scale = -self.factor / self.temperature**2
        blocks = scale * np.einsum("ikl,im->ikml", curvature, theta)
        return np.asarray(blocks.reshape(flat.size, flat.size))

    def integrate(self, times: Array, method: str, rtol: float, atol: float) -> tuple[Array, str]:
        """A at ascending times, and why it stopped early ("" if it did not)."""
        from scipy.integrate import solve_ivp

        shape = self.rows.shape
        dual = np.full((len(times), *shape), np.nan)
        dual[times == 0] = 0.0
        if times[-1] == 0:
            return dual, ""
        options = {}
        if method in {"LSODA", "Radau", "BDF"} and self.rows.size <= _JACOBIAN_LIMIT:
            options["jac"] = self.jacobian
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            # LSODA reports its failures as warnings; they come back in the message
            warnings.simplefilter("ignore")
            try:
                solution = solve_ivp(
                    self.velocity,
                    (0.0, float(times[-1])),
                    np.zeros(self.rows.size),
                    method=method,
                    t_eval=times,
                    rtol=rtol,
                    atol=atol,
                    **options,
                )
            except (ValueError, np.linalg.LinAlgError) as error:  # overflow inside an implicit step
                return dual, f"the solver failed: {error}"
        count = len(solution.t)
        found = np.transpose(solution.y).reshape(count, *shape) if count else dual[:0]
        dual[:count] = found - found.mean(axis=2, keepdims=True)
        if not solution.success or count < len(times):
            return dual, f"the solver stopped early: {solution.message}"
        if not np.isfinite(dual).all():
            return dual, "the solver returned values that are not finite"
        return dual, ""
