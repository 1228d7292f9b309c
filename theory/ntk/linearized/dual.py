r"""Gradient flow of the cross-entropy in a full kernel, one that couples outputs.

.. math::

    \dot A = -\frac{c_\tau}{\tau} \bigl(\sigma((Z_0 + \Theta A) / \tau) - Q\bigr), \qquad
    Z = Z_0 + \Theta A, \quad Z_* = Z_{0*} + K_* A

as in `theory.flow.logits`, with A read as one vector, output by output. The mean logit over classes
may move here: :math:`\Theta` need not act on each class alike.
"""

from dataclasses import dataclass

import numpy as np

from theory.checks import Array
from theory.flow.logits import LogitFlow
from theory.flow.logits.dual import _JACOBIAN_LIMIT, _curvature, _Dual, _rises
from theory.flow.logits.kernels import mean_loss


@dataclass(slots=True, eq=False)
class FullDual(_Dual):
    r"""The equation of b along the learned modes u of the whole kernel, without units.

    .. math:: db/ds = U^\top \mathrm{vec}\bigl(Q - \sigma(Z_0/\tau + \mathrm{mat}(U
              \,\mathrm{diag}(\kappa)\, b))\bigr)
    """

    @classmethod
    def of(cls, modes: Array, shares: Array, start: Array, rows: Array) -> "FullDual":
        """Modes of shape (K n, r), numbered output by output."""
        return cls(modes, shares, start, rows, np.ones((1, 1)))

    def moved(self, along: Array) -> Array:
        """What b, shape (..., r, 1), moves the logits by, shape (..., n, K)."""
        return self.unfolded((along[..., 0] * self.shares) @ self.modes.T)

    def unfolded(self, flat: Array) -> Array:
        """Vectors (..., K n) as (..., n, K), of the training set or another."""
        classes = self.rows.shape[1]
        samples = flat.shape[-1] // classes
        return np.swapaxes(flat.reshape(*flat.shape[:-1], classes, samples), -1, -2)

    def _along(self, logits: Array) -> Array:
        lead, size = logits.shape[:-2], logits.shape[-2] * logits.shape[-1]
        flat = np.swapaxes(logits, -1, -2).reshape(*lead, size)
        return np.asarray((flat @ self.modes)[..., None])

    def jacobian(self, _progress: float, flat: Array) -> Array:
        r""":math:`-U^\top H U \,\mathrm{diag}(\kappa)`, H with a block diag(p) - p p' a sample."""
        samples, classes = self.rows.shape
        blocks = self.modes.reshape(classes, samples, -1)
        bent = np.einsum("nkl,lnr->knr", _curvature(self._logits(flat)), blocks, optimize=True)
        return np.asarray(-self.modes.T @ bent.reshape(self.modes.shape) * self.shares)


def full_cross_entropy_flow(
    eigenvalues: Array,
    modes: Array,
    test_modes: Array | None,
    rows: Array,
    clock: Array,
    *,
    start: Array,
    test_start: Array | None,
    temperature: float,
    factor: float,
    method: str | None,
    rtol: float,
    atol: float,
    max_calls: int,
) -> LogitFlow:
    """The flow along the learned modes of a full kernel, all arguments checked.

    Args:
        eigenvalues: Those above zero, shape (r,).
        modes: Their vectors, shape (K n, r), output by output.
        test_modes: Test kernel times them, shape (K m, r).
        rows: Class probabilities, shape (n, K).
        clock: Times, in any order.
        start: Logits at time zero, shape (n, K).
        test_start: The same on the test set.
        temperature: Of both sides.
        factor: 1 or the temperature squared.
        method: Of ``scipy.integrate.solve_ivp``; None for LSODA up to 1500 modes, whose implicit
            steps need a matrix of that size, and DOP853 beyond.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
        max_calls: The solver gives up after so many evaluations.
    """
    chosen = method or ("LSODA" if len(eigenvalues) <= _JACOBIAN_LIMIT else "DOP853")
    top = float(eigenvalues.max(initial=0.0))
    tau = temperature
    problem = FullDual.of(modes, eigenvalues / (top or 1.0), start / tau, rows)
    distinct, back = np.unique(clock, return_inverse=True)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        progress = (top / tau) * (distinct / tau) * factor
        speed, message = problem.integrate(progress, chosen, rtol, atol, max_calls)
        outputs = start + tau * problem.moved(progress[:, None, None] * speed)[back]
        weights = ((factor / tau * distinct)[:, None] * speed[..., 0])[back]
    reached = np.isfinite(outputs).all(axis=(1, 2)) & np.isfinite(weights).all(axis=1)
    outputs[~reached] = weights[~reached] = np.nan
    loss = np.full(clock.shape, np.nan)
    loss[reached] = mean_loss(outputs[reached], rows, tau)
    if not message and not reached.all():
        message = "the dual left the range of floating point"
    if not message and _rises(loss[np.argsort(clock, kind="stable")]):
        message = "the training loss rose: tighten rtol and atol"
    test_outputs = None
    if test_modes is not None and test_start is not None:
        test_outputs = test_start + problem.unfolded(weights @ test_modes.T)
    return LogitFlow(
        times=clock,
        outputs=outputs,
        dual=problem.unfolded(weights @ modes.T),
        test_outputs=test_outputs,
        loss=loss,
        converged=not message,
        message=message or "reached the last time",
    )
