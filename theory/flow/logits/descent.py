"""Minimizing the cross-entropy in a kernel by steps that can not raise it."""

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


@dataclass(frozen=True, slots=True, eq=False)
class LogitFit:
    """Logits at the end of a minimization of the cross-entropy."""

    outputs: Array
    dual: Array
    test_outputs: Array | None
    loss: Array
    """After every step, the start first, shape (steps + 1,): it never rises."""
    converged: bool
    """The gradient fell below the tolerance. Without soft targets no minimum exists."""
    message: str


def descent_step(
    kernel: ArrayLike | Spectrum,
    outputs: ArrayLike,
    targets: ArrayLike,
    step: float,
    *,
    temperature: float = 1.0,
    factor: str = "1",
) -> Array:
    r"""A step of the cross-entropy flow that lowers the loss whatever its length.

    .. math::

        \Delta Z = -U \,\mathrm{diag}(b) \, U^\top \frac{\sigma(Z/\tau) - Q}{\tau}, \qquad
        b = \frac{\delta \lambda}{1 + \delta \lambda / (2 \tau^2)}, \quad \delta = c_\tau \, dt

    The Hessian in Z of the summed loss is at most :math:`1/(2\tau^2)`, and b is at most
    :math:`2 \tau^2`: the loss falls by at least
    :math:`\sum (b - b^2 / (4 \tau^2)) g^2 \ge \sum (b/2) g^2`. It is the flow to first order in dt,
    with a large constant: for minimizing, not for trajectories.

    Args:
        kernel: :math:`\Theta`, shape ``(n, n)``, or its spectrum (which saves its decomposition).
        outputs: Z, shape ``(n, K)``.
        targets: Q, class probabilities in rows, shape ``(n, K)``.
        step: dt >= 0; inf gives the longest step, :math:`b = 2\tau^2` in every learned direction.
        temperature: :math:`\tau`.
        factor: :math:`c_\tau`: ``"1"`` or ``"tau2"``.

    Returns:
        The new logits, shape ``(n, K)``.

    References:
        The dual of gradient flow under cross-entropy; checked against the primal.

    Example:
        >>> descent_step([[1.0]], [[0.0, 0.0]], [[1.0, 0.0]], np.inf)
        array([[ 1., -1.]])
    """
    spectrum = as_spectrum(kernel)
    rows = soft_targets(targets, len(spectrum.left))
    logits = start_from("outputs", outputs, rows.shape)
    tau, scale = scales(temperature, factor)
    bracket = _bracket(spectrum.eigenvalues, checks.time("step", step), tau, scale)
    modes = spectrum.left
    change = modes @ (bracket[:, None] * (modes.T @ residual(logits, rows, tau)))
    return np.asarray(logits - change / tau)


def _bracket(eigenvalues: Array, step: float, temperature: float, factor: float) -> Array:
    limit = 2 * temperature**2
    with np.errstate(over="ignore", invalid="ignore"):
        x = np.where(eigenvalues > 0, eigenvalues, 0.0) * (factor * step / limit)
        x = np.where(eigenvalues > 0, x, 0.0)
        return np.asarray(limit * np.where(np.isinf(x), 1.0, x / (1 + x)))


def minimize_cross_entropy(
    kernel: ArrayLike | Spectrum,
    targets: ArrayLike,
    *,
    initial: ArrayLike | None = None,
    temperature: float = 1.0,
    step: float = np.inf,
    tolerance: float = 1e-8,
    max_steps: int = 10_000,
    test_kernel: ArrayLike | None = None,
    test_initial: ArrayLike | None = None,
) -> LogitFit:
    """Lower the cross-entropy by ``descent_step`` until its gradient is small.

    Args:
        kernel: Shape ``(n, n)``, or its spectrum.
        targets: Class probabilities in rows, shape ``(n, K)``.
        initial: Logits at the start, shape ``(n, K)``; zero if absent.
        temperature: Of both sides.
        step: As in ``descent_step``.
        tolerance: Largest entry of (softmax - targets), within the learned directions, that passes.
        max_steps: At most so many steps.
        test_kernel: Shape ``(m, n)``.
        test_initial: Shape ``(m, K)``; needed where ``initial`` is given.

    Raises:
        ValueError: On bad input. Running out of steps does not raise: ``converged`` is False, as it
            must be for one-hot targets that can be fitted, where the logits grow for ever.

    Example:
        >>> fit = minimize_cross_entropy(np.eye(1), [[0.8, 0.2]])
        >>> fit.converged, fit.outputs.round(6)
        (True, array([[ 0.693147, -0.693147]]))
    """
    spectrum = as_spectrum(kernel)
    rows = soft_targets(targets, len(spectrum.left))
    start = start_from("initial", initial, rows.shape)
    tau, _ = scales(temperature, "1")
    limit = checks.count("max_steps", max_steps)
    small = float(checks.positive("tolerance", checks.scalar("tolerance", tolerance)))
    test = None if test_kernel is None else null_free_modes(spectrum, test_kernel)
    if test is not None:
        need_both(initial, test_initial)
        test_start = start_from("test_initial", test_initial, (len(test), rows.shape[1]))
    learned = spectrum.eigenvalues > 0
    modes, rate = spectrum.left[:, learned], spectrum.eigenvalues[learned]
    bracket = _bracket(rate, checks.time("step", step), tau, 1.0)[:, None] / tau

    share = np.zeros((len(rate), rows.shape[1]))  # Z = Z_0 + U share
    losses: list[float] = []
    while True:
        logits = start + modes @ share
        losses.append(float(mean_loss(logits, rows, tau)))
        pull = modes.T @ residual(logits, rows, tau)
        worst = float(np.abs(modes @ pull).max())
        if worst <= small or len(losses) > limit:
            break
        share = share - bracket * pull
    weights = share / rate[:, None]
    done = worst <= small
    message = f"largest gradient entry {worst:.2g} after {len(losses) - 1} steps"
    return LogitFit(
        logits,
        modes @ weights,
        None if test is None else test_start + test[:, learned] @ weights,
        np.array(losses),
        done,
        message,
    )
