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
from theory.labels.softmax import surprisal

_JACOBIAN_LIMIT = 1500  # unknowns up to which the Jacobian is formed
_LOSS_SLACK = 1e-7
_LATEST = 1e307
_EARLY = 1e-5  # progress up to which two terms of the series are right to 1e-10
METHODS = ("RK45", "RK23", "DOP853", "Radau", "BDF", "LSODA")


@dataclass(frozen=True, slots=True, eq=False)
class LogitFlow:
    """Logits along a cross-entropy flow. Where the solver gave up, later times hold nan."""

    times: Array
    """Shape (T,), as asked."""
    outputs: Array
    """Training logits Z, shape (T, n, K)."""
    dual: Array
    """A along the directions that the kernel learns, shape (T, n, K): every row sums to zero."""
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
    top = float(rate.max(initial=0.0))
    problem = _Dual.of(modes, rate / (top or 1.0), start / tau, rows)
    distinct, back = np.unique(clock, return_inverse=True)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        progress = (top / tau) * (distinct / tau) * scale
        speed, message = problem.integrate(progress, method, rtol, atol, limit)
        outputs = start + tau * problem.moved(progress[:, None, None] * speed)[back]
        weights = ((scale / tau * distinct)[:, None, None] * speed)[back] @ problem.contrasts.T
    dual = modes @ weights
    reached = np.isfinite(outputs).all(axis=(1, 2)) & np.isfinite(dual).all(axis=(1, 2))
    for array in (outputs, dual, weights):
        array[~reached] = np.nan
    loss = np.full(clock.shape, np.nan)
    loss[reached] = mean_loss(outputs[reached], rows, tau)
    if not message and not reached.all():
        message = "the dual left the range of floating point"
    if not message and _rises(loss[np.argsort(clock, kind="stable")]):
        message = "the training loss rose: tighten rtol and atol"
    test_outputs = None
    if test is not None:
        test_outputs = test_start + test[:, learned] @ weights
    return LogitFlow(
        clock, outputs, dual, test_outputs, loss, not message, message or "reached the last time"
    )


def _rises(loss: Array) -> bool:
    return bool((loss[1:] > loss[:-1] * (1 + _LOSS_SLACK) + _LOSS_SLACK * 1e-3).any())


class _OutOfCallsError(Exception):
    """The right-hand side was asked for too often."""


@dataclass(slots=True, eq=False)
class _Dual:
    r"""The differential equation of B, along learned modes and contrasts of classes, without units.

    .. math:: dB/ds = U^\top \bigl(Q - \sigma(Z_0/\tau + U \,\mathrm{diag}(\kappa)\, B W^\top)
              \bigr) W, \qquad \kappa = \lambda/\lambda_1, \quad s = c_\tau \lambda_1 t / \tau^2

    with an orthonormal basis W of what sums to zero over classes. Nothing holds back the
    round-off in other directions, and over long times it would swamp the solution.
    """

    modes: Array
    shares: Array
    """Eigenvalues relative to the top one."""
    start: Array
    rows: Array
    contrasts: Array
    calls_left: int = 0

    @classmethod
    def of(cls, modes: Array, shares: Array, start: Array, rows: Array) -> "_Dual":
        return cls(modes, shares, start, rows, _contrasts(rows.shape[1]))

    def moved(self, along: Array) -> Array:
        """What B moves the logits by."""
        return np.asarray(self.modes @ (self.shares[:, None] * along) @ self.contrasts.T)

    def _logits(self, flat: Array) -> Array:
        return self.start + self.moved(flat.reshape(len(self.shares), -1))

    def velocity(self, _progress: float, flat: Array) -> Array:
        self.calls_left -= 1
        if self.calls_left < 0:
            raise _OutOfCallsError
        return -self._along(residual(self._logits(flat), self.rows)).ravel()

    def _along(self, logits: Array) -> Array:
        return np.asarray(self.modes.T @ logits @ self.contrasts)

    def jacobian(self, _progress: float, flat: Array) -> Array:
        r""":math:`-\sum_i U_{im} H_i[k, l] U_{ij} \kappa_j`, with H = W'(diag(p) - p p')W."""
        curvature = self.contrasts.T @ _curvature(self._logits(flat)) @ self.contrasts
        blocks = -np.einsum(
            "im,ikl,ij->mkjl", self.modes, curvature, self.modes * self.shares, optimize=True
        )
        return np.asarray(blocks.reshape(flat.size, flat.size))

    def series(self, progress: Array) -> Array:
        r"""B / s to first order in s, :math:`U'(-r + (s/2) H K r)` with r the first residual."""
        first = residual(self.start, self.rows)
        pulled = self.moved(self._along(first))
        second = np.einsum("ikl,il->ik", _curvature(self.start), pulled)
        return np.asarray(self._along(progress[:, None, None] * (0.5 * second) - first))

    def integrate(
        self, progress: Array, method: str, rtol: float, atol: float, limit: int
    ) -> tuple[Array, str]:
        """B / s at ascending s, and why it stopped early ("" if it did not)."""
        shape = len(self.shares), self.contrasts.shape[1]
        speed = np.full((len(progress), *shape), np.nan)
        early = progress <= _EARLY
        speed[early] = self.series(progress[early])
        done, within = int(early.sum()), progress[progress <= _LATEST]
        if done < len(within):
            message = self._advance(speed, within, done, method, limit, rtol=rtol, atol=atol)
            if message:
                return speed, message
        if len(within) < len(progress):
            return speed, f"eigenvalue x time must stay below {_LATEST:g}, got {progress[-1]:g}"
        return speed, ""

    def _advance(
        self, speed: Array, progress: Array, done: int, method: str, limit: int, **tolerances: float
    ) -> str:
        """Fill in ``speed`` from index ``done`` on."""
        import scipy.integrate

        shape, last = speed.shape[1:], float(progress[-1])
        self.calls_left = limit
        options = {}
        if method in {"LSODA", "Radau", "BDF"} and shape[0] * shape[1] <= _JACOBIAN_LIMIT:
            options["jac"] = self.jacobian
        make = getattr(scipy.integrate, method)
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            # LSODA reports its failures as warnings; they come back in the message
            warnings.simplefilter("ignore")
            try:
                solver = make(
                    self.velocity, 0.0, np.zeros(shape).ravel(), last, **tolerances, **options
                )
                while solver.status == "running":
                    said = solver.step()
                    if solver.status == "failed":
                        return f"the solver stopped early: {said}"
                    upto = int(np.searchsorted(progress, solver.t, side="right"))
                    if upto > done:
                        at = progress[done:upto]
                        found = np.transpose(solver.dense_output()(at) / at)
                        speed[done:upto] = found.reshape(-1, *shape)
                        done = upto
            except _OutOfCallsError:
                return (
                    f"gave up at {solver.t / last:.2g} of the way after {limit} evaluations: "
                    "loosen rtol or raise max_calls"
                )
            except (ValueError, np.linalg.LinAlgError) as error:  # overflow in an implicit step
                return f"the solver failed: {error}"
        return ""


def _contrasts(classes: int) -> Array:
    """Orthonormal columns that sum to zero, shape (classes, classes - 1)."""
    step = np.arange(1, classes)
    lower = np.arange(classes)[:, None]
    raw = np.where(lower < step, 1.0, np.where(lower == step, -step, 0.0))
    return np.asarray(raw / np.sqrt(step * (step + 1.0)))


def _curvature(logits: Array) -> Array:
    """diag(p) - p p' of each row, every row of it summing to zero."""
    p = np.exp(-surprisal(logits))
    curvature = -p[:, :, None] * p[:, None, :]
    index = np.arange(p.shape[1])
    curvature[:, index, index] = 0.0
    # p (1 - p) as a sum keeps its digits where p rounds to 1
    curvature[:, index, index] = -curvature.sum(axis=2)
    return curvature
