r"""Losses of students taught by a teacher [Zhou et al. 2021; Zhang and Sabuncu 2020].

.. math:: L_{kd} = -\tau^2 \sum_k t_\tau(k) \ln s_\tau(k), \qquad
          \frac{\partial L_{kd}}{\partial z} = \tau (s_\tau - t_\tau)
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import checks
from theory.checks import Array
from theory.labels.bias_variance.gradients import regularization_samples
from theory.labels.bias_variance.weights import FORMS, log_loss, loss_ratio, weight_of_ratio
from theory.labels.confidence import confidence
from theory.labels.gaps import divergence, log_others, network_pair, softmax_gap
from theory.labels.losses.base import (
    Loss,
    one_hot,
    slope_factor,
    temperature_factor,
    tempered_cross_entropy,
)
from theory.labels.softmax import log_softmax, softmax, surprisal
from theory.numerics import progress

MASKS = ("detach", "printed", "renormalized")
"""Readings of the distillation loss without the label's logit: see `masked_distillation`."""


def distillation(
    student_logits: ArrayLike,
    teacher_logits: ArrayLike,
    temperature: float = 4.0,
    factor: str = "tau2",
    value: str = "ce",
) -> Loss:
    r"""Tempered distillation, both networks at the same temperature.

    .. math:: -c \sum_k t_\tau(k) \ln s_\tau(k), \qquad
              \text{gradient} \quad \frac{c}{\tau} (s_\tau - t_\tau)

    The gradient is formed from differences of logits: it keeps its digits where the student
    nearly agrees with the teacher, and is 0 where the logits differ by a constant.

    Args:
        student_logits: z, shape ``(..., classes)``.
        teacher_logits: Of a shape that broadcasts against it.
        temperature: tau > 0.
        factor: c: ``"1"``, ``"tau"``, ``"tau2"`` or ``"2tau2"`` (the code of Ren et al. 2022).
        value: ``"ce"``, or ``"kl"``: less c times the entropy of the teacher. The gradient is the
            same.

    Raises:
        ValueError: For logits, a temperature or options that are not as described.

    References:
        Hinton, Vinyals and Dean 2015; Zhou et al. 2021, section 3. Its baseline is
        ``0.1 * one_hot(...) + 0.9 * distillation(..., value="kl")``.

    Example:
        >>> distillation([[1.0, 0.0]], [[1.0, 1e-9]], temperature=1.0, value="kl").value
        array([9.83e-20])
        >>> distillation([[1.0, 0.0]], [[3.0, 0.0]]).gradient
        array([[-0.46800879,  0.46800879]])
    """
    scale = temperature_factor(factor, temperature)
    checks.choice("value", value, ("ce", "kl"))
    z, v, _ = network_pair(student_logits, teacher_logits)
    if value == "kl":
        lost = divergence(v, z, temperature)
    else:
        lost = progress(softmax(v, temperature), surprisal(z, temperature)).sum(axis=-1)
    slope = slope_factor(factor, temperature) * softmax_gap(z, v, temperature)
    return Loss(progress(lost, scale)[()], slope)


def teacher_tempered(
    student_logits: ArrayLike,
    teacher_logits: ArrayLike,
    temperature: float = 4.0,
    value: str = "ce",
) -> Loss:
    r"""Only the teacher is tempered: :math:`-\sum_k t_T(k) \ln s_1(k)`; gradient s_1 - t_T.

    With the label, a * ``one_hot(...)`` + (1 - a) * this is self-distillation of Zhang and
    Sabuncu; with `distillation` in its place, both networks are scaled.

    Args:
        student_logits: z, shape ``(..., classes)``.
        teacher_logits: Of a shape that broadcasts against it.
        temperature: T > 0 of the teacher.
        value: ``"ce"`` or ``"kl"``.

    Raises:
        ValueError: For logits, a temperature or a value that are not as described.

    References:
        Zhang and Sabuncu 2020, section 5.2.

    Example:
        >>> teacher_tempered([[0.0, 0.0]], [[4.0, 0.0]]).gradient
        array([[-0.23105858,  0.23105858]])
    """
    z, v, _ = network_pair(student_logits, teacher_logits)
    return tempered_cross_entropy(z, softmax(v, temperature), value=value)


def self_distillation(
    student_logits: ArrayLike,
    teacher_logits: ArrayLike,
    labels: ArrayLike,
    label_weight: float = 0.6,
    temperature: float = 1.0,
    *,
    scale: str = "teacher",
    factor: str = "tau2",
    value: str = "ce",
) -> Loss:
    r"""Labels beside a teacher, in one of two ways of using the temperature.

    .. math:: a\, CE(e_y, s_1) + (1 - a)\, CE(t_T, s_1) \quad \text{(teacher)}, \qquad
              a\, CE(e_y, s_1) + (1 - a)\, c\, CE(t_T, s_T) \quad \text{(both)}

    Without labels the first is least for the teacher's logits over T, a flatter prediction, the
    second for the teacher's logits themselves.

    Args:
        student_logits: z, shape ``(..., classes)``.
        teacher_logits: Of a shape that broadcasts against it.
        labels: y, integers of the leading shape.
        label_weight: a in [0, 1]; 0 with T = 1 is the loss of born-again networks.
        temperature: T > 0; `theory.labels.smoothing.temperature_for_mass` finds the one that
            leaves a given mass on the label.
        scale: ``"teacher"`` (`teacher_tempered`) or ``"both"`` (`distillation`).
        factor: c of ``"both"``: ``"1"``, ``"tau"``, ``"tau2"`` or ``"2tau2"``.
        value: ``"ce"`` or ``"kl"`` of the soft part.

    Raises:
        ValueError: For logits, labels, a weight or options that are not as described.

    References:
        Zhang and Sabuncu 2020, eq. 3. With ``label_weight=0.1, temperature=4, scale="both",
        value="kl"`` it is the baseline of Zhou et al. 2021.

    Example:
        >>> z, v = [[0.0, 0.0]], [[4.0, 0.0]]
        >>> self_distillation(z, v, [0], 0.6, 2.0).gradient
        array([[-0.45231884,  0.45231884]])
        >>> self_distillation(z, v, [0], 0.6, 2.0, scale="both").gradient
        array([[-0.60463766,  0.60463766]])
    """
    share = checks.fraction("label_weight", label_weight)
    checks.choice("scale", scale, ("teacher", "both"))
    if scale == "teacher":
        temperature_factor(factor, temperature)
        soft = teacher_tempered(student_logits, teacher_logits, temperature, value)
    else:
        soft = distillation(student_logits, teacher_logits, temperature, factor, value)
    return share * one_hot(student_logits, labels) + (1.0 - share) * soft


def masked_distillation(
    student_logits: ArrayLike,
    teacher_logits: ArrayLike,
    labels: ArrayLike,
    temperature: float = 4.0,
    variant: str = "detach",
) -> Loss:
    r"""Distillation loss that leaves the label's logit alone, in three readings.

    Args:
        student_logits: z, shape ``(..., classes)``.
        teacher_logits: Of a shape that broadcasts against it.
        labels: y, integers of the leading shape.
        temperature: tau > 0.
        variant: ``"detach"``: the whole loss with the label's logit held fixed; its gradient is
            :math:`\tau (s_\tau - t_\tau)` on the others, 0 on the label, and sums to no 0.
            ``"printed"``: :math:`-\tau^2 \sum_{k \ne y} t_\tau \ln s_\tau` (the paper's lacks
            the sign and the factor); its gradient on the label is :math:`\tau (1 - t_y) s_y`, not
            0, and :math:`\tau ((1 - t_y) s_j - t_j)` on the others. ``"renormalized"``: both
            softmaxes over the other classes alone; 0 on the label, sums to 0.

    Returns:
        Loss without the label's own part; the label's loss is to be added.

    Raises:
        ValueError: For logits, labels, a temperature or a variant that are not as described.

    References:
        Zhou et al. 2021, section 3.3 and Table 2.

    Example:
        >>> z, v = [[2.0, 1.0, 0.0]], [[3.0, 0.0, 0.0]]
        >>> masked_distillation(z, v, [0], 1.0).gradient
        array([[0.        , 0.19944997, 0.04475207]])
        >>> masked_distillation(z, v, [0], 1.0, variant="renormalized").gradient
        array([[ 0.        ,  0.23105858, -0.23105858]])
    """
    checks.choice("variant", variant, MASKS)
    z, v, y = network_pair(student_logits, teacher_logits, labels)
    own = np.arange(z.shape[-1]) == y[..., None]
    if variant == "detach":
        whole = distillation(z, v, temperature)
        return Loss(whole.value, np.where(own, 0.0, whole.gradient))
    if variant == "printed":
        return _printed(z, v, y, own, temperature)
    return _renormalized(z, v, own, temperature)


def filtered_distillation(
    student_logits: ArrayLike,
    teacher_logits: ArrayLike,
    labels: ArrayLike,
    keep: str | ArrayLike = "exclude",
    temperature: float = 4.0,
    criterion: str = "abs",
) -> Loss:
    r"""Label loss of every sample and distillation loss of some, :math:`L_{ce} + m L_{kd}`.

    Args:
        student_logits: z, shape ``(..., classes)``.
        teacher_logits: Of a shape that broadcasts against it.
        labels: y, integers of the leading shape.
        keep: Where m = 1: ``"exclude"``, all but the regularization samples; ``"only"``, these
            alone; or a mask, such as `kept_at_random` draws.
        temperature: tau > 0.
        criterion: Of the regularization samples; a mask has no use for it.

    Raises:
        ValueError: For logits, labels or options that are not as described, or a mask of another
            shape or with other values than True and False.

    References:
        Zhou et al. 2021, section 3.3, Table 2 and appendix A.2.

    Example:
        >>> z, v = [[3.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [3.0, 0.0]]
        >>> filtered_distillation(z, v, [0, 0], temperature=1.0).value - one_hot(z, [0, 0]).value
        array([0.        , 0.36068756])
    """
    z, v, y = network_pair(student_logits, teacher_logits, labels)
    if isinstance(keep, str):
        checks.choice("keep", keep, ("exclude", "only"))
        chosen = regularization_samples(z, v, y, temperature, criterion)
        mask = chosen if keep == "only" else ~chosen
    else:
        mask = _mask(keep, y.shape)
    return one_hot(z, y) + mask.astype(np.float64) * distillation(z, v, temperature)


def kept_at_random(
    regularization: ArrayLike,
    rng: np.random.Generator,
    *,
    excluded: float = 0.0,
    added: float = 1.0,
) -> NDArray[np.bool_]:
    """Mask that drops some regularization samples, or adds only some of the others.

    Every sample is drawn by itself, and anew in every step.

    Args:
        regularization: Which samples are regularization samples, a mask.
        rng: Source of the draws.
        excluded: Probability that a regularization sample is dropped.
        added: Probability that another sample is kept.

    Raises:
        ValueError: For no mask, or probabilities outside [0, 1].

    References:
        Zhou et al. 2021, appendix A.2 and Table 7; its rows are ``excluded`` 1, .75, .5, .25 with
        ``added=1``, and ``added`` 0, .25, .5, .75 with ``excluded=0``.

    Example:
        >>> kept_at_random([True, False], np.random.default_rng(0), excluded=1.0)
        array([False,  True])
    """
    chosen = _mask(regularization, np.shape(regularization), name="regularization")
    drop, add = checks.fraction("excluded", excluded), checks.fraction("added", added)
    return np.asarray(rng.random(chosen.shape) < np.where(chosen, 1.0 - drop, add))


def weighted_distillation(
    student_logits: ArrayLike,
    teacher_logits: ArrayLike,
    labels: ArrayLike,
    temperature: float = 4.0,
    alpha: float = 2.25,
    form: str = "exponential",
    eps: float | None = None,
    value: str = "ce",
    *,
    detached: bool = True,
) -> Loss:
    r"""Weighted soft labels, :math:`L_{ce} + \alpha w L_{kd}`.

    .. math:: \text{gradient} \quad (s_1 - e_y) + \alpha \tau w (s_\tau - t_\tau)
              \quad \Bigl[ {} + \alpha L_{kd} \frac{\partial w}{\partial z} \Bigr]

    Args:
        student_logits: z, shape ``(..., classes)``.
        teacher_logits: Of a shape that broadcasts against it.
        labels: y, integers of the leading shape.
        temperature: tau > 0: 4 for CIFAR-100, 2 for ImageNet.
        alpha: Weight of the soft part: 2.25 for CIFAR-100, 2.5 for ImageNet.
        form: Of the weight, as in ``soft_label_weights``.
        eps: As in ``soft_label_weights``.
        value: ``"ce"`` or ``"kl"``; with a detached weight the gradients are the same.
        detached: Whether the weight is held fixed when the gradient is taken, as the authors' code
            does; otherwise the bracket is added.

    Raises:
        ValueError: For logits, labels or options that are not as described.

    References:
        Zhou et al. 2021, eq. 5 and 6.

    Example:
        >>> loss = weighted_distillation([[0.0, 0.0]], [[2.0, 0.0]], [0], 1.0, alpha=1.0)
        >>> loss.value, loss.gradient
        (array([1.38334881]), array([[-0.87917887,  0.87917887]]))
    """
    checks.choice("form", form, FORMS)
    checks.flag("detached", detached)
    weight = float(checks.nonnegative("alpha", checks.scalar("alpha", alpha)))
    z, v, y = network_pair(student_logits, teacher_logits, labels)
    sure = confidence(z, y)
    ratio = loss_ratio(sure, confidence(v, y), eps)
    soft = distillation(z, v, temperature, value=value)
    total = one_hot(z, y) + (weight * weight_of_ratio(ratio, form)) * soft
    if detached:
        return total
    # dw/dz = w'(r) r (dL/dz) / L with L the student's loss: each factor stays in range
    with np.errstate(over="ignore", under="ignore"):
        steep = np.exp(-ratio) if form == "exponential" else 0.5 / np.cosh(ratio / 2) ** 2
        turn = progress(steep, ratio)[..., None] * _relative_slope(z, y, sure)
    return Loss(total.value, total.gradient + weight * progress(soft.value[..., None], turn))


def _printed(
    z: Array, v: Array, y: NDArray[np.intp], own: NDArray[np.bool_], temperature: float
) -> Loss:
    tau = checks.temperature("temperature", temperature)
    log_t = log_softmax(v, tau)
    with np.errstate(under="ignore"):
        t, s = np.exp(log_t), softmax(z, tau)
        rest = np.exp(log_others(log_t, y))[..., None]
        lost = progress(np.where(own, 0.0, t), surprisal(z, tau)).sum(axis=-1)
        slope = rest * s - np.where(own, 0.0, t)
    return Loss(progress(lost, temperature_factor("tau2", tau))[()], tau * slope)


def _renormalized(z: Array, v: Array, own: NDArray[np.bool_], temperature: float) -> Loss:
    """Distillation over the other classes; with two classes there is nothing to learn."""
    classes = z.shape[-1]
    if classes == 2:
        return Loss(np.zeros(z.shape[:-1])[()], np.zeros(z.shape))
    shape = (*z.shape[:-1], classes - 1)
    others = distillation(z[~own].reshape(shape), v[~own].reshape(shape), temperature)
    gradient = np.zeros(z.shape)
    gradient[~own] = others.gradient.ravel()
    return Loss(others.value, gradient)


def _relative_slope(z: Array, y: NDArray[np.intp], sure: Array) -> Array:
    r"""Gradient of the label loss over the loss itself, :math:`(s_1 - e_y) / L`."""
    log_s = log_softmax(z)
    log_lost = log_loss(sure)
    with np.errstate(under="ignore"):
        others = np.exp(log_s - log_lost[..., None])
        label = -np.exp(log_others(log_s, y) - log_lost)
    return np.where(np.arange(z.shape[-1]) == y[..., None], label[..., None], others)


def _mask(value: ArrayLike, shape: tuple[int, ...], name: str = "keep") -> NDArray[np.bool_]:
    array = checks.real_array(name, value)
    if array.shape != shape or not np.isin(array, (0.0, 1.0)).all():
        msg = f"{name} must be True or False for each sample, shape {shape}, got {array.shape}"
        raise ValueError(msg)
    return array.astype(np.bool_)
