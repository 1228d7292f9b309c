r"""How one step of training on some samples changes the prediction on another.

A step moves the weights by dw, the logits of a sample o by :math:`dz = J(o) \, dw` to first order,
with J(o) the derivative of its logits in the weights (K x d), and its prediction by A(q) dz. For
gradient descent on a sample u with residual :math:`r = -\partial \ell / \partial z` this is

.. math:: dq(o) = \eta \, A(q(o)) \, K(o, u) \, r(u), \qquad K(o, u) = J(o) J(u)^\top

Shapes are those of one sample: distributions and residuals ``(K,)``, kernels ``(K, K)``. Leading
axes broadcast, sample against sample. A kernel with *one axis more* than that of the prediction
holds a batch, over which the loss is a mean: prediction ``(..., K)``, kernel ``(..., U, K, K)`` and
residual ``(..., U, K)`` or ``(U, K)`` give a change ``(..., K)``. A change of a tempered prediction
:math:`q^\tau` takes :math:`q^\tau` itself and the temperature.
"""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.dynamics import shapes
from theory.labels.dynamics.jacobian import apply
from theory.statements import states


def tangent_kernel(observed: ArrayLike, trained: ArrayLike | None = None) -> Array:
    r"""Kernel of two samples, :math:`K(o, u) = J(o) J(u)^\top`, from their Jacobians.

    Args:
        observed: J(o), the derivative of the logits of the sample looked at in the weights, shape
            ``(..., K, d)``.
        trained: J(u), the same of the sample trained on, whose leading axes broadcast: ``(U, K,
            d)`` beside ``(K, d)`` gives the kernels of a batch. Absent, it is o itself, and the
            kernel positive semi-definite.

    Returns:
        K(o, u), shape ``(..., K, K)``; K(u, o) is its transpose.

    Raises:
        ValueError: For nan or inf, fewer than two classes, weights that disagree, shapes that do
            not broadcast, or a kernel that is too large for a float.

    References:
        Ren et al. 2022, Proposition 1.

    Example:
        >>> tangent_kernel([[1, 0, 2], [0, 1, 0]], [[1, 0, 0], [0, 3, 0]])
        array([[1., 0.],
               [0., 3.]])
    """
    one = checks.real_array("observed", observed)
    two = one if trained is None else checks.real_array("trained", trained)
    for name, jacobian in (("observed", one), ("trained", two)):
        if jacobian.ndim < 2 or jacobian.shape[-2] < 2 or jacobian.shape[-1] == 0:
            msg = f"{name} must have shape (..., K, d), K >= 2 classes, got {jacobian.shape}"
            raise ValueError(msg)
    if one.shape[-2:] != two.shape[-2:]:
        msg = f"observed and trained must agree in (K, d), got shapes {one.shape} and {two.shape}"
        raise ValueError(msg)
    checks.broadcastable(observed=one, trained=two)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return shapes.in_range("the kernel", one @ np.swapaxes(two, -1, -2))


def prediction_change(
    probabilities: ArrayLike, logit_change: ArrayLike, *, temperature: float = 1.0
) -> Array:
    r"""Change of a prediction with its logits to first order, :math:`A(q^\tau) \, dz / \tau`.

    Args:
        probabilities: :math:`q^\tau`, shape ``(..., K)``.
        logit_change: dz, shape broadcasting against it.
        temperature: tau > 0.

    Returns:
        dq, shape ``(..., K)``; rows sum to zero.

    Raises:
        ValueError: If a row is no distribution, for nan or inf, shapes that do not broadcast, a
            temperature that is not > 0, or a change that is too large for a float.

    Example:
        >>> prediction_change([0.5, 0.5], [0.1, 0.0])
        array([ 0.025, -0.025])
    """
    q = checks.distributions("probabilities", probabilities)
    dz = checks.real_array("logit_change", logit_change)
    tau = checks.temperature("temperature", temperature)
    checks.same_classes(probabilities=q, logit_change=dz)
    return change(q, dz, 1.0, tau)


@states(
    "labels:one-step",
    "One step of gradient descent on a sample u changes the prediction on o by eta A(q(o)) K(o, u) "
    "r(u) up to an error of second order in the learning rate.",
    source="Ren 2022, Proposition 1, with the sign of appendix G corrected",
)
def first_order_change(
    probabilities: ArrayLike,
    kernel: ArrayLike,
    residual: ArrayLike,
    learning_rate: float,
    *,
    temperature: float = 1.0,
) -> Array:
    r"""Change of a prediction by one SGD step on another sample, or on the mean over a batch.

    .. math:: dq^\tau(o) = \frac{\eta}{\tau} A(q^\tau(o)) \, \frac1U \sum_u K(o, u) \, r(u)

    Args:
        probabilities: :math:`q^\tau(o)` before the step, shape ``(..., K)``.
        kernel: K(o, u), shape ``(..., K, K)``, or ``(..., U, K, K)`` with one axis more for the
            mean over a batch; one number stands for that multiple of the identity.
        residual: r(u), shape ``(..., K)`` or ``(..., U, K)``, as `residual` gives it.
        learning_rate: eta >= 0.
        temperature: tau of the prediction whose change is asked for; that of the loss is in the
            residual.

    Returns:
        dq, shape ``(..., K)``; rows sum to zero. The error is that of `second_order_change` and
        of third order.

    Raises:
        ValueError: If a row is no distribution, for nan or inf, a kernel that is not K x K, shapes
            that do not broadcast, an empty batch, a negative learning rate, a temperature that
            is not > 0, or a change that is too large for a float.

    References:
        Ren et al. 2022, Proposition 1; its proof prints the step of the weights with the wrong
        sign.

    Example:
        >>> first_order_change([0.5, 0.5], np.eye(2), [0.5, -0.5], 0.1)
        array([ 0.025, -0.025])

        Two samples that pull in opposite directions, one of them less similar:

        >>> kernel = np.stack([np.eye(2), 0.2 * np.eye(2)])
        >>> first_order_change([0.5, 0.5], kernel, [[0.5, -0.5], [-0.5, 0.5]], 0.1)
        array([ 0.01, -0.01])
    """
    q = checks.distributions("probabilities", probabilities)
    eta = shapes.learning_rate(learning_rate)
    pushed, batch = shapes.pushed(q, kernel, residual)
    tau = checks.temperature("temperature", temperature)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        total = pushed.mean(axis=-2) if batch else pushed
    return change(q, total, eta, tau)


def change(q: Array, moved: Array, scale: float, tau: float) -> Array:
    """A(q) times what moves the logits, times a scale over tau.

    Raises:
        ValueError: If a number leaves the range of floats.
    """
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        found = apply(q, moved) * scale / tau
    return shapes.in_range("the change of the prediction", found)


def momentum_change(
    probabilities: ArrayLike,
    velocity: ArrayLike,
    learning_rate: float,
    *,
    jacobian: ArrayLike | None = None,
    temperature: float = 1.0,
) -> Array:
    r"""Change of a prediction by a step along a velocity, :math:`w' = w - \eta v`.

    .. math:: dq^\tau(o) = -\frac{\eta}{\tau} A(q^\tau(o)) \, J(o) \, v

    With momentum :math:`\mu` the velocity is :math:`v \leftarrow \mu v + g`: what earlier samples
    left behind moves the prediction too. With v the gradient it is `first_order_change`.

    Args:
        probabilities: :math:`q^\tau(o)`, shape ``(..., K)``.
        velocity: v, shape ``(..., d)``, with a Jacobian; without one J(o) v, shape ``(..., K)``.
        learning_rate: eta >= 0.
        jacobian: J(o), shape ``(..., K, d)``.
        temperature: tau > 0.

    Raises:
        ValueError: As `first_order_change`.

    Example:
        >>> momentum_change([0.5, 0.5], [1.0, 0.0, 2.0], 0.1, jacobian=[[1, 0, 0], [0, 1, 1]])
        array([ 0.025, -0.025])
        >>> momentum_change([0.5, 0.5], [1.0, 2.0], 0.1)
        array([ 0.025, -0.025])
    """
    q = checks.distributions("probabilities", probabilities)
    eta = shapes.learning_rate(learning_rate)
    tau = checks.temperature("temperature", temperature)
    moved = shapes.through("velocity", velocity, jacobian)
    checks.same_classes(probabilities=q, velocity=moved)
    return change(q, moved, -eta, tau)


def weight_decay_change(
    probabilities: ArrayLike,
    weights: ArrayLike,
    learning_rate: float,
    decay: float,
    *,
    jacobian: ArrayLike | None = None,
    temperature: float = 1.0,
) -> Array:
    r"""What weight decay adds to the change of a prediction in one step.

    .. math:: dq^\tau(o) = -\frac{\eta \lambda}{\tau} A(q^\tau(o)) \, J(o) \, w

    For a network without biases that is homogeneous of degree L in its weights, J(o) w = L z(o):
    weight decay shrinks the logits.

    Args:
        probabilities: :math:`q^\tau(o)`, shape ``(..., K)``.
        weights: w, shape ``(..., d)``, with a Jacobian; without one J(o) w, shape ``(..., K)``.
        learning_rate: eta >= 0.
        decay: lambda >= 0, of a penalty :math:`\lambda \|w\|^2 / 2`.
        jacobian: J(o), shape ``(..., K, d)``.
        temperature: tau > 0.

    Raises:
        ValueError: As `first_order_change`, or for a negative decay.

    Example:
        >>> weight_decay_change([0.5, 0.5], [2.0, 0.0], 0.1, 0.5)
        array([-0.025,  0.025])
    """
    q = checks.distributions("probabilities", probabilities)
    eta, rate = shapes.learning_rate(learning_rate), checks.scalar("decay", decay)
    checks.nonnegative("decay", rate)
    tau = checks.temperature("temperature", temperature)
    moved = shapes.through("weights", weights, jacobian)
    checks.same_classes(probabilities=q, weights=moved)
    return change(q, moved, -(eta * rate), tau)


@states(
    "labels:loss-change",
    "One step on a sample changes its own loss by -eta r^T K(u, u) r <= 0 to first order, for any "
    "loss and any network; its prediction need not come nearer to the target.",
    source="Ren 2022, section 3.3, for u = o",
)
def loss_change(
    kernel: ArrayLike,
    residual: ArrayLike,
    learning_rate: float,
    *,
    observed: ArrayLike | None = None,
) -> Array:
    r"""Change of the loss of a sample by one SGD step, :math:`-\eta \, r(o)^\top K(o, u) \, r(u)`.

    For o = u it is never positive, since K(u, u) is positive semi-definite. The prediction itself
    can still move away from the target in the sense :math:`(p - q)^\top dq < 0`, as A and K need
    not commute.

    Args:
        kernel: K(o, u), shape ``(..., K, K)``, or one number for that multiple of the identity.
        residual: r(u), shape ``(..., K)``.
        learning_rate: eta >= 0.
        observed: r(o), shape ``(..., K)``; that of the sample trained on if absent.

    Returns:
        One number for each sample.

    Raises:
        ValueError: For nan or inf, a kernel that is not K x K, shapes that do not broadcast, a
            negative learning rate, or a change that is too large for a float.

    Example:
        >>> print(loss_change(np.eye(2), [0.5, -0.5], 0.1))
        -0.05
    """
    r = shapes.vectors("residual", residual)
    seen = r if observed is None else shapes.vectors("observed", observed)
    eta = shapes.learning_rate(learning_rate)
    k = shapes.blocks(kernel, r.shape[-1])
    checks.same_classes(residual=r, observed=seen)
    shapes.broadcast_lead(kernel=k, residual=r[..., None], observed=seen[..., None])
    moved = shapes.times(k, r)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        found = -eta * (seen * moved).sum(axis=-1)
    return shapes.in_range("the change of the loss", found)[()]


@states(
    "labels:second-order",
    "The part of the change of a prediction that is of second order in the learning rate is half "
    "the second derivative of the softmax along J(o) g plus A(q) times half that of the logits.",
    source="Ren 2022, Proposition 1, the remainder made explicit",
)
def second_order_change(
    probabilities: ArrayLike,
    tangent: ArrayLike,
    learning_rate: float,
    *,
    curvature: ArrayLike | None = None,
    temperature: float = 1.0,
) -> Array:
    r"""The remainder of `first_order_change` to leading order, :math:`\eta^2 R_2`.

    .. math::

        R_2 = \tfrac12 g^\top \nabla_w^2 q \, g
            = \frac{1}{2 \tau^2} \, q \odot \big[(v - \bar v)^2 - \mathrm{Var}_q v\big]
            + \frac{1}{2 \tau} A(q) \, c, \qquad \bar v = \textstyle\sum_k q_k v_k

    with g the gradient of the loss trained on, v = J(o) g and c the second derivative of the
    logits along g, :math:`c_k = g^\top \nabla_w^2 z_k(o) \, g`: two nested Jacobian-vector
    products. The bound that Ren et al. print, :math:`\eta^2 \|J(u)\|^2`, is one of the square of
    the step; the constant in front of it holds the second derivatives.

    Args:
        probabilities: :math:`q^\tau(o)` before the step, shape ``(..., K)``.
        tangent: v = J(o) g, shape ``(..., K)``; for gradient descent on u, -K(o, u) r(u).
        learning_rate: eta >= 0.
        curvature: c, shape ``(..., K)``; zero if absent, as for models linear in their weights.
        temperature: tau > 0.

    Returns:
        The change of second order, shape ``(..., K)``; rows sum to zero.

    Raises:
        ValueError: As `prediction_change`, or for a negative learning rate.

    Example:
        >>> second_order_change([0.75, 0.25], [1.0, -1.0], 0.1)
        array([-0.001875,  0.001875])
    """
    q = checks.distributions("probabilities", probabilities)
    v, eta = shapes.vectors("tangent", tangent), shapes.learning_rate(learning_rate)
    tau = checks.temperature("temperature", temperature)
    checks.same_classes(probabilities=q, tangent=v)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        centered = (v - (q * v).sum(axis=-1, keepdims=True)) * (eta / tau)
        # the derivative of A(q) along dz = v, applied to v
        bend = q * (centered**2 - (q * centered**2).sum(axis=-1, keepdims=True))
        if curvature is not None:
            c = checks.real_array("curvature", curvature)
            checks.same_classes(probabilities=q, tangent=v, curvature=c)
            bend = bend + eta * change(q, c, eta, tau)
    return shapes.in_range("the change of the prediction", 0.5 * bend)
