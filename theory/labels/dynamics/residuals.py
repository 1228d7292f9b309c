r"""What a loss pushes the logits towards: its residual :math:`r = -\partial \ell / \partial z`."""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.dynamics.jacobian import apply, others
from theory.labels.dynamics.shapes import in_range
from theory.labels.losses.base import FACTORS, targets
from theory.labels.softmax import softmax

LOSSES = ("cross_entropy", "tempered_cross_entropy", "kl", "brier", "squared")
"""Losses of `residual`; the first three have the same residual."""


def residual(
    loss: str,
    logits: ArrayLike | None,
    target: ArrayLike,
    *,
    temperature: float = 1.0,
    factor: str | float = "1",
    prediction: ArrayLike | None = None,
) -> Array:
    r"""Minus the derivative of a loss in the logits of the sample that is trained on.

    With :math:`q = \mathrm{softmax}(z / \tau)` and c the factor:

    ==================================================  ==========================================
    ``"cross_entropy"``, ``"tempered_cross_entropy"``   :math:`-c \sum_k p_k \ln q_k`:
    or ``"kl"``                                         :math:`r = (c / \tau) (p - q)`
    ``"brier"``                                         :math:`c \|q - p\|^2` or
                                                        :math:`c \sum_k p_k \|e_k - q\|^2`:
                                                        :math:`r = (2 c / \tau) A(q) (p - q)`
    ``"squared"``                                       :math:`(c / 2) \|z - t\|^2`:
                                                        :math:`r = c (t - z)`
    ==================================================  ==========================================

    Args:
        loss: One of ``LOSSES``.
        logits: z, shape ``(..., K)``, undivided by the temperature; None if ``prediction`` is
            given.
        target: The target as it stands in the loss, broadcasting against ``logits``: the
            distribution p, shape ``(..., K)`` (tempered already, where the loss tempers it: see
            `theory.labels.softmax.temper`), or classes, integers of shape ``(...)``; for
            ``"squared"`` the logits t.
        temperature: tau > 0; ``"squared"`` has none.
        factor: c >= 0: ``"1"``, ``"tau"``, ``"tau2"``, ``"2tau2"`` or a number. ``"1"`` is what
            eq. 8 of Ren 2022 needs, ``"tau2"`` is Hinton's, ``"2tau2"`` that of the released code
            of Ren 2022: at tau = 1 it doubles the step.
        prediction: q as it stands in the loss, in place of logits. Logits keep more digits where
            the network is nearly sure.

    Returns:
        r, one row for each sample. Rows sum to zero but for ``"squared"``.

    Raises:
        ValueError: For an unknown loss or factor, a row that is no distribution, a class out of
            range, shapes that do not broadcast, logits beside a prediction or neither, a
            temperature other than 1 for ``"squared"``, or a residual too large for a float.

    References:
        Ren et al. 2022, Proposition 1 (p - q) and eq. 7-8 (tempered).

    Example:
        >>> residual("cross_entropy", [0.0, 0.0], [1.0, 0.0])
        array([ 0.5, -0.5])
        >>> residual("tempered_cross_entropy", [0.0, 0.0], [1.0, 0.0], temperature=4, factor="tau2")
        array([ 2., -2.])
        >>> residual("brier", None, [1.0, 0.0], prediction=[0.5, 0.5])
        array([ 0.5, -0.5])
        >>> residual("squared", [1.0, 2.0], [3.0, 2.0])
        array([2., 0.])
    """
    checks.choice("loss", loss, LOSSES)
    tau = checks.temperature("temperature", temperature)
    if loss == "squared":
        return _squared(logits, target, tau, factor, prediction)
    q, gap = _gap(logits, target, tau, prediction)
    return _scaled(factor, tau, 2.0 * apply(q, gap) if loss == "brier" else gap)


def _scaled(factor: str | float, tau: float, gap: Array) -> Array:
    """The gap times the factor over the temperature, without a square that could overflow."""
    if isinstance(factor, str):
        checks.choice("factor", factor, FACTORS)
        number = 2.0 if factor == "2tau2" else 1.0
    else:
        number = checks.scalar("factor", factor)
        checks.nonnegative("factor", number)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        if factor in ("tau2", "2tau2"):
            gap = gap * tau
        elif factor != "tau":
            gap = gap / tau
        return in_range("the residual", number * gap)


def _gap(
    logits: ArrayLike | None, target: ArrayLike, tau: float, prediction: ArrayLike | None
) -> tuple[Array, Array]:
    """The prediction and p - q."""
    if (logits is None) == (prediction is None):
        msg = "exactly one of logits and prediction must be given, got " + (
            "neither" if logits is None else "both"
        )
        raise ValueError(msg)
    if prediction is not None:
        q = checks.distributions("prediction", prediction)
        return q, targets("target", target, q) - q
    q = softmax(logits, tau)  # type: ignore[arg-type]  # not None here
    p = targets("target", target, q)
    # where both are near 1, their difference is that of what they leave to the other classes
    with np.errstate(under="ignore"):
        return q, np.where(np.minimum(p, q) > 0.5, others(q) - (1.0 - p), p - q)


def _squared(
    logits: ArrayLike | None,
    target: ArrayLike,
    tau: float,
    factor: str | float,
    prediction: ArrayLike | None,
) -> Array:
    if logits is None or prediction is not None:
        msg = "the squared loss compares logits: give logits, and no prediction"
        raise ValueError(msg)
    if tau != 1.0:
        msg = f"the squared loss has no temperature: temperature must be 1, got {tau:g}"
        raise ValueError(msg)
    z, t = checks.logits("logits", logits), checks.logits("target", target)
    checks.same_classes(target=t, logits=z)
    with np.errstate(over="ignore"):
        gap = t - z
    return _scaled(factor, 1.0, gap)
