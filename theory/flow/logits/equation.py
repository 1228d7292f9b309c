r"""The dual equation of a cross-entropy flow, and its solution over any range of times."""

import warnings
from dataclasses import dataclass
from typing import Self

import numpy as np

from theory.checks import Array
from theory.flow.logits.kernels import mean_loss, residual
from theory.labels.softmax import surprisal

JACOBIAN_LIMIT = 1500
"""Unknowns up to which the Jacobian is formed."""
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


def follow(
    problem: "Dual",
    clock: Array,
    *,
    start: Array,
    test: tuple[Array, Array] | None,
    temperature: float,
    factor: float,
    method: str,
    rtol: float,
    atol: float,
    max_calls: int,
) -> LogitFlow:
    """Logits along the solution of the equation, all arguments checked.

    Args:
        problem: The equation.
        clock: Times, in any order.
        start: Logits at time zero, shape (n, K).
        test: Of the test set, the test kernel times the modes and the logits at time zero.
        temperature: Of both sides.
        factor: 1 or the temperature squared.
        method: A method of ``scipy.integrate.solve_ivp``.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
        max_calls: The solver gives up after so many evaluations of the right-hand side.
    """
    tau = temperature
    distinct, back = np.unique(clock, return_inverse=True)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        progress = (problem.top / tau) * (distinct / tau) * factor
        speed, message = problem.integrate(progress, method, rtol, atol, max_calls)
        outputs = start + tau * problem.moved(progress[:, None, None] * speed)[back]
        weights = ((factor / tau * distinct)[:, None, None] * speed)[back]
        dual = problem.spread(weights, problem.modes)
    reached = np.isfinite(outputs).all(axis=(1, 2)) & np.isfinite(dual).all(axis=(1, 2))
    for array in (outputs, dual, weights):
        array[~reached] = np.nan
    loss = np.full(clock.shape, np.nan)
    loss[reached] = mean_loss(outputs[reached], problem.rows, tau)
    if not message and not reached.all():
        message = "the dual left the range of floating point"
    if not message and _rises(loss[np.argsort(clock, kind="stable")]):
        message = "the training loss rose: tighten rtol and atol"
    test_outputs = None if test is None else test[1] + problem.spread(weights, test[0])
    return LogitFlow(
        clock, outputs, dual, test_outputs, loss, not message, message or "reached the last time"
    )


def _rises(loss: Array) -> bool:
    return bool((loss[1:] > loss[:-1] * (1 + _LOSS_SLACK) + _LOSS_SLACK * 1e-3).any())


class _OutOfCallsError(Exception):
    """The right-hand side was asked for too often."""


@dataclass(slots=True, eq=False)
class Dual:
    r"""The differential equation of B, along learned modes and contrasts of classes, without units.

    .. math:: dB/ds = U^\top \bigl(Q - \sigma(Z_0/\tau + U \,\mathrm{diag}(\kappa)\, B W^\top)
              \bigr) W, \qquad \kappa = \lambda/\lambda_1, \quad s = c_\tau \lambda_1 t / \tau^2

    with an orthonormal basis W of what sums to zero over classes. Nothing holds back the
    round-off in other directions, and over long times it would swamp the solution.
    """

    modes: Array
    top: float
    """The largest eigenvalue."""
    shares: Array
    """Eigenvalues relative to the top one."""
    start: Array
    rows: Array
    contrasts: Array
    calls_left: int = 0

    @classmethod
    def of(cls, modes: Array, eigenvalues: Array, start: Array, rows: Array) -> Self:
        """The equation of a kernel.

        Args:
            modes: Vectors of the directions that are learned, in columns.
            eigenvalues: Theirs, all > 0.
            start: Logits at time zero over the temperature, shape (n, K).
            rows: Class probabilities, shape (n, K).
        """
        top = float(eigenvalues.max(initial=0.0))
        return cls(modes, top, eigenvalues / (top or 1.0), start, rows, cls._basis(rows.shape[1]))

    @classmethod
    def _basis(cls, classes: int) -> Array:
        return _contrasts(classes)

    def spread(self, along: Array, modes: Array) -> Array:
        """B, shape (..., r, K - 1), as a matrix of classes for the rows of some modes."""
        return np.asarray(modes @ along @ self.contrasts.T)

    def moved(self, along: Array) -> Array:
        """What B moves the logits by."""
        return self.spread(self.shares[:, None] * along, self.modes)

    def logits(self, flat: Array) -> Array:
        """Logits over the temperature, shape (n, K)."""
        return self.start + self.moved(flat.reshape(len(self.shares), -1))

    def velocity(self, _progress: float, flat: Array) -> Array:
        """The right-hand side; raises when it was asked for too often."""
        self.calls_left -= 1
        if self.calls_left < 0:
            raise _OutOfCallsError
        return -self.along(residual(self.logits(flat), self.rows)).ravel()

    def along(self, logits: Array) -> Array:
        """Logits along the modes and contrasts."""
        return np.asarray(self.modes.T @ logits @ self.contrasts)

    def jacobian(self, _progress: float, flat: Array) -> Array:
        r""":math:`-\sum_i U_{im} H_i[k, l] U_{ij} \kappa_j`, with H = W'(diag(p) - p p')W."""
        bent = self.contrasts.T @ curvature(self.logits(flat)) @ self.contrasts
        blocks = -np.einsum(
            "im,ikl,ij->mkjl", self.modes, bent, self.modes * self.shares, optimize=True
        )
        return np.asarray(blocks.reshape(flat.size, flat.size))

    def series(self, progress: Array) -> Array:
        r"""B / s to first order in s, :math:`U'(-r + (s/2) H K r)` with r the first residual."""
        first = residual(self.start, self.rows)
        pulled = self.moved(self.along(first))
        second = np.einsum("ikl,il->ik", curvature(self.start), pulled)
        return np.asarray(self.along(progress[:, None, None] * (0.5 * second) - first))

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
        if method in {"LSODA", "Radau", "BDF"} and shape[0] * shape[1] <= JACOBIAN_LIMIT:
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


def curvature(logits: Array) -> Array:
    """diag(p) - p p' of each row, every row of it summing to zero."""
    p = np.exp(-surprisal(logits))
    found = -p[:, :, None] * p[:, None, :]
    index = np.arange(p.shape[1])
    found[:, index, index] = 0.0
    # p (1 - p) as a sum keeps its digits where p rounds to 1
    found[:, index, index] = -found.sum(axis=2)
    return found
