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
from theory.flow.logits.equation import JACOBIAN_LIMIT, Dual, curvature, follow


@dataclass(slots=True, eq=False)
class FullDual(Dual):
    r"""The equation of b along the learned modes u of the whole kernel, without units.

    .. math:: db/ds = U^\top \mathrm{vec}\bigl(Q - \sigma(Z_0/\tau + \mathrm{mat}(U
              \,\mathrm{diag}(\kappa)\, b))\bigr)

    Modes have shape (K n, r), numbered output by output.
    """

    @classmethod
    def _basis(cls, classes: int) -> Array:
        """Classes do not come apart: b is one column."""
        del classes
        return np.ones((1, 1))

    def spread(self, along: Array, modes: Array) -> Array:
        """b, shape (..., r, 1), as (..., n, K) for modes (K n, r) of these or other samples."""
        flat = along[..., 0] @ modes.T
        classes = self.rows.shape[1]
        samples = flat.shape[-1] // classes
        return np.swapaxes(flat.reshape(*flat.shape[:-1], classes, samples), -1, -2)

    def along(self, logits: Array) -> Array:
        """Logits along the modes."""
        lead, size = logits.shape[:-2], logits.shape[-2] * logits.shape[-1]
        flat = np.swapaxes(logits, -1, -2).reshape(*lead, size)
        return np.asarray((flat @ self.modes)[..., None])

    def jacobian(self, _progress: float, flat: Array) -> Array:
        r""":math:`-U^\top H U \,\mathrm{diag}(\kappa)`, H with a block diag(p) - p p' a sample."""
        samples, classes = self.rows.shape
        blocks = self.modes.reshape(classes, samples, -1)
        bent = np.einsum("nkl,lnr->knr", curvature(self.logits(flat)), blocks, optimize=True)
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
    return follow(
        FullDual.of(modes, eigenvalues, start / temperature, rows),
        clock,
        start=start,
        test=None if test_modes is None or test_start is None else (test_modes, test_start),
        temperature=temperature,
        factor=factor,
        method=method or ("LSODA" if len(eigenvalues) <= JACOBIAN_LIMIT else "DOP853"),
        rtol=rtol,
        atol=atol,
        max_calls=max_calls,
    )
