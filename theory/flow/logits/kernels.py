"""Training and test outputs in a kernel; the cross-entropy and its residual."""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.flow.filters import Filter
from theory.flow.spectrum import EPS, Spectrum
from theory.labels.softmax import surprisal
from theory.numerics import progress

FACTORS = ("1", "tau2")


def as_spectrum(kernel: ArrayLike | Spectrum) -> Spectrum:
    """The spectrum of a kernel, or the one given."""
    spectrum = kernel if isinstance(kernel, Spectrum) else Spectrum.from_kernel(kernel)
    checks.nonnegative("eigenvalues of the kernel", spectrum.eigenvalues)
    return spectrum


def null_free_modes(spectrum: Spectrum, test_kernel: ArrayLike) -> Array:
    """K_* U, shape (m, r), with the null modes checked to be empty and set to zero."""
    test = checks.matrix("test_kernel", test_kernel)
    if test.shape[1] != len(spectrum.left):
        msg = (
            f"test_kernel must have one column for each of the {len(spectrum.left)} training "
            f"samples, got shape {test.shape}"
        )
        raise ValueError(msg)
    modes = test @ spectrum.left
    # |K_* u|^2 <= lambda k_**, and eigenvalues up to n eps lambda_1 count as zero
    slack = 10 * float(np.sqrt(max(test.shape[1], 10) * EPS)) * float(np.abs(modes).max())
    outside = test - modes @ spectrum.left.T
    null = np.where(spectrum.eigenvalues > 0, 0.0, modes)
    worst = max(float(np.abs(null).max()), float(np.abs(outside).max()))
    if worst > slack:
        msg = (
            "test_kernel must vanish on the null directions of the training kernel, as it does for "
            f"any positive semi-definite kernel on both sets; got {worst:.3g} where round-off "
            f"explains {slack:.1g}"
        )
        raise ValueError(msg)
    return np.where(spectrum.eigenvalues > 0, modes, 0.0)


def start_from(name: str, value: ArrayLike | None, shape: tuple[int, ...]) -> Array:
    """Outputs at time zero, of that shape; zero if none are given."""
    if value is None:
        return np.zeros(shape)
    array = checks.real_array(name, value)
    if array.shape != shape:
        msg = f"{name} must have shape {shape}, got {array.shape}"
        raise ValueError(msg)
    return array


def need_both(initial: ArrayLike | None, test_initial: ArrayLike | None) -> None:
    """Refuse a start on the training set without one on the test set."""
    if initial is not None and test_initial is None:
        msg = "test_initial must be given with test_kernel where initial is: the start at both sets"
        raise ValueError(msg)


def kernel_predictions(
    kernel: ArrayLike | Spectrum,
    filter: Filter,
    targets: ArrayLike,
    *,
    initial: ArrayLike | None = None,
    test_kernel: ArrayLike | None = None,
    test_initial: ArrayLike | None = None,
) -> tuple[Array, Array | None]:
    r"""Training and test outputs that a scheme reaches in a kernel, under squared loss.

    .. math::

        f = f_0 + U g(\Lambda) U^\top (Y - f_0), \qquad
        f_* = f_{0*} + K_* U \frac{g(\Lambda)}{\Lambda} U^\top (Y - f_0)

    For a linear model the kernels are :math:`X X^\top / N` and :math:`X_* X^\top / N`; the spectrum
    of X may stand for the first.

    Args:
        kernel: :math:`\Theta`, shape ``(n, n)``, or its spectrum.
        filter: Any filter of ``theory.flow.filters``.
        targets: Y, shape ``(n,)`` or ``(n, K)``.
        initial: :math:`f_0`, of the shape of Y; zero if absent.
        test_kernel: :math:`K_*`, shape ``(m, n)``.
        test_initial: :math:`f_{0*}`, shape ``(m,)`` or ``(m, K)``; needed with ``initial``.

    Returns:
        Training outputs, and test outputs or None without a test kernel.

    Raises:
        ValueError: On bad shapes, a kernel that is not symmetric and positive semi-definite, or a
            test kernel that does not vanish on its null directions.

    References:
        Jacot et al. 2018.

    Example:
        >>> from theory.flow.filters import GradientFlow
        >>> x = np.array([[1.0], [2.0]])
        >>> fit, test = kernel_predictions(
        ...     x @ x.T, GradientFlow(np.inf), [1.0, 2.0], test_kernel=[[3.0, 6.0]]
        ... )
        >>> fit.round(6), test.round(6)
        (array([1., 2.]), array([3.]))
    """
    is_filter = isinstance(filter, Filter)
    if not is_filter:
        msg = f"filter must be a filter of theory.flow.filters, got {type(filter).__name__}"
        raise ValueError(msg)
    spectrum = as_spectrum(kernel)
    labels = checks.columns("targets", targets, len(spectrum.left), of="sample of the kernel")
    start = start_from("initial", initial, labels.shape)
    share = spectrum.left.T @ (labels - start)
    gain = _along(filter.gain(spectrum.eigenvalues), share)
    outputs = start + spectrum.left @ (gain * share)
    if test_kernel is None:
        return outputs, None
    need_both(initial, test_initial)
    modes = null_free_modes(spectrum, test_kernel)
    test_start = start_from("test_initial", test_initial, (len(modes), *labels.shape[1:]))
    rate = _along(filter.gain_over_eigenvalue(spectrum.eigenvalues), share)
    return outputs, test_start + modes @ (rate * share)


def _along(modes: Array, share: Array) -> Array:
    return modes.reshape(-1, *(1,) * (share.ndim - 1))


def soft_targets(targets: ArrayLike, samples: int) -> Array:
    """Probabilities in rows: nonnegative, each row summing to one."""
    rows = checks.nonnegative("targets", targets)
    if rows.ndim != 2 or rows.shape[0] != samples or rows.shape[1] < 2:
        msg = (
            f"targets must have shape ({samples}, K), one row of K >= 2 class probabilities for "
            f"each sample of the kernel, got shape {rows.shape}"
        )
        raise ValueError(msg)
    total = rows.sum(axis=1, keepdims=True)
    if np.abs(total - 1).max() > 1e-6:
        msg = f"each row of targets must sum to 1, got sums from {total.min():g} to {total.max():g}"
        raise ValueError(msg)
    return np.asarray(rows / total)


def cross_entropy(outputs: ArrayLike, targets: ArrayLike, *, temperature: float = 1.0) -> Array:
    r"""Mean over samples of :math:`-\sum_k Q_k \ln \sigma_k(Z/\tau)`, in nats.

    A sum of nonnegative terms: it keeps its digits where the fit is all but perfect.

    Args:
        outputs: Logits, shape ``(..., n, K)``.
        targets: Class probabilities, shape ``(n, K)``.
        temperature: :math:`\tau > 0`.

    Example:
        >>> float(cross_entropy([[50.0, 0.0]], [[1.0, 0.0]]))
        1.9287498479639178e-22
    """
    logits = checks.real_array("outputs", outputs)
    if logits.ndim < 2 or logits.shape[-2] == 0:
        msg = f"outputs must have shape (..., n, K), a row for each sample, got {logits.shape}"
        raise ValueError(msg)
    rows = soft_targets(targets, logits.shape[-2])
    if logits.shape[-2:] != rows.shape:
        msg = (
            "outputs and targets must have the same rows and classes as their last two axes, got "
            f"{logits.shape} and {rows.shape}"
        )
        raise ValueError(msg)
    tau = checks.positive("temperature", checks.scalar("temperature", temperature))
    return mean_loss(logits, rows, float(tau))


def mean_loss(logits: Array, rows: Array, temperature: float) -> Array:
    """``cross_entropy`` of checked arguments."""
    # differences first: they are in range more often than the logits over the temperature
    with np.errstate(over="ignore"):
        below = (logits - logits.max(axis=-1, keepdims=True)) / temperature
    cost = surprisal(np.maximum(below, -np.finfo(np.float64).max))
    return np.asarray(progress(rows, cost).sum(axis=-1).mean(axis=-1))[()]


def residual(logits: Array, rows: Array, temperature: float = 1.0) -> Array:
    r""":math:`\sigma(Z/\tau) - Q`, each row summing to zero exactly as far as rounding goes.

    The largest probability is what the others leave: of it alone 1 - p has no digits.
    """
    first = np.argmax(logits, axis=-1)[..., None]
    with np.errstate(under="ignore"):
        scaled = np.exp((logits - np.take_along_axis(logits, first, axis=-1)) / temperature)
        difference = scaled / scaled.sum(axis=-1, keepdims=True) - rows
        np.put_along_axis(difference, first, 0.0, axis=-1)
        np.put_along_axis(difference, first, -difference.sum(axis=-1, keepdims=True), axis=-1)
    return np.asarray(difference)


def scales(temperature: float, factor: str) -> tuple[float, float]:
    r""":math:`\tau` and :math:`c_\tau`."""
    tau = float(checks.positive("temperature", checks.scalar("temperature", temperature)))
    checks.choice("factor", factor, FACTORS)
    if not 1e-150 < tau < 1e150:
        msg = f"temperature must be between 1e-150 and 1e150, so that it has a square, got {tau:g}"
        raise ValueError(msg)
    return tau, 1.0 if factor == "1" else tau * tau
