r"""Distillation of relations between samples, with weights of samples [Zhou et al. 2021, A.3].

The loss is one number a batch, its gradient in the student's features.
"""

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels.losses.base import Loss


def relational_distillation(
    student_features: ArrayLike,
    teacher_features: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    distance: float = 25.0,
    angle: float = 50.0,
) -> Loss:
    r"""Distances and angles of the student's features drawn to the teacher's, weighted by sample.

    .. math:: \frac{\lambda_d}{n^2} \sum_{ij} \frac{w_i + w_j}{2}
                  h(\psi^s_{ij} - \psi^t_{ij})
              + \frac{\lambda_a}{n^3} \sum_{ijk} \frac{w_i + w_j + w_k}{3}
                  h(\cos^s_{ijk} - \cos^t_{ijk})

    with :math:`\psi_{ij} = \|f_i - f_j\|` over its mean over all pairs at a distance > 0, the
    cosine of the angle at sample i between j and k (0 where two of them coincide), and
    :math:`h(x) = x^2/2` up to 1, :math:`|x| - 1/2` beyond. Weights of 1 leave relational
    distillation as it was. Memory is :math:`n^3` numbers.

    Args:
        student_features: Shape ``(n, d)``, at least two samples.
        teacher_features: Shape ``(n, D)``.
        weights: One number >= 0 a sample, such as `soft_label_weights` gives; 1 if absent.
        distance: :math:`\lambda_d \ge 0`.
        angle: :math:`\lambda_a \ge 0`.

    Returns:
        `Loss` with one value, and the gradient in the student's features, shape ``(n, d)``. Where
        features coincide the distance has no gradient, and 0 is taken.

    Raises:
        ValueError: For features of unequal numbers of samples or that all coincide, or negative
            weights.

    References:
        Park et al. 2019; Zhou et al. 2021, appendix A.3 ("averaged weighting factors").

    Example:
        >>> student, teacher = [[0.0], [1.0], [3.0]], [[0.0], [1.0], [2.0]]
        >>> loss = relational_distillation(student, teacher)
        >>> print(round(float(loss.value), 6), loss.gradient.ravel().round(4))
        0.347222 [ 0.9259 -1.3889  0.463 ]
        >>> print(relational_distillation(student, teacher, [0.0, 0.0, 0.0]).value)
        0.0
    """
    student = _features("student_features", student_features)
    teacher = _features("teacher_features", teacher_features)
    count = len(student)
    if len(teacher) != count:
        msg = f"features must be of the same samples, got {count} and {len(teacher)} of them"
        raise ValueError(msg)
    w = np.ones(count) if weights is None else _one_a_sample(weights)
    if len(w) != count:
        msg = f"weights must be one number a sample, shape ({count},), got shape {w.shape}"
        raise ValueError(msg)
    lambdas = [
        float(checks.nonnegative(name, checks.scalar(name, value)))
        for name, value in (("distance", distance), ("angle", angle))
    ]
    (step, size, mean), (its_step, its_size, its_mean) = _geometry(student), _geometry(teacher)
    apart, pull = _smooth_l1(size / mean - its_size / its_mean, pair_weights(w) / count**2)
    # the mean of the distances depends on each of them
    moved = np.where(size > 0, (pull - (pull * size).sum() / mean / (size > 0).sum()) / mean, 0.0)
    unit, its_unit = _units(step, size), _units(its_step, its_size)
    bent, turn = _smooth_l1(_cosines(unit) - _cosines(its_unit), triple_weights(w) / count**3)
    turned = np.einsum("ijk,ikd->ijd", turn + np.swapaxes(turn, 1, 2), unit)
    turned = _units(turned - (turned * unit).sum(axis=-1, keepdims=True) * unit, size)
    by_step = lambdas[0] * moved[..., None] * unit + lambdas[1] * turned
    return Loss(
        np.asarray(lambdas[0] * apart + lambdas[1] * bent)[()],
        by_step.sum(axis=0) - by_step.sum(axis=1),
    )


def _features(name: str, value: ArrayLike) -> Array:
    features = checks.matrix(name, value)
    if len(features) < 2:
        msg = f"{name} must be of at least two samples, got {len(features)}"
        raise ValueError(msg)
    if not np.ptp(features, axis=0).any():
        msg = f"{name} must not all coincide: their distances have no scale"
        raise ValueError(msg)
    return features


def _geometry(features: Array) -> tuple[Array, Array, float]:
    """Steps from each sample to each other, their lengths, and the mean of those that are > 0."""
    step = features[None, :] - features[:, None]
    size = np.sqrt(np.square(step).sum(axis=-1))
    return step, size, float(size[size > 0].mean())


def _units(step: Array, size: Array) -> Array:
    return np.where(size[..., None] > 0, step / np.where(size > 0, size, 1.0)[..., None], 0.0)


def _cosines(unit: Array) -> Array:
    return np.asarray(np.einsum("ijd,ikd->ijk", unit, unit, optimize=True))


def _smooth_l1(gap: Array, weight: Array) -> tuple[float, Array]:
    """Weighted sum of the smooth absolute value, and its derivative in each gap."""
    slope = np.clip(gap, -1.0, 1.0)
    return float((weight * slope * (gap - slope / 2)).sum()), weight * slope


def pair_weights(weights: ArrayLike) -> Array:
    """Weight of each pair of samples in a relational loss: the mean of both.

    Args:
        weights: One a sample, shape ``(n,)``.

    Raises:
        ValueError: For weights that are no such array.

    References:
        Zhou et al. 2021, appendix A.3 ("averaged weighting factors").

    Example:
        >>> pair_weights([0.0, 1.0])
        array([[0. , 0.5],
               [0.5, 1. ]])
    """
    w = _one_a_sample(weights)
    return np.asarray((w[:, None] + w) / 2)


def triple_weights(weights: ArrayLike) -> Array:
    """Weight of each triple of samples: the mean of the three, shape ``(n, n, n)``.

    Raises:
        ValueError: As `pair_weights`.

    Example:
        >>> triple_weights([0.0, 3.0])[0, 1]
        array([1., 2.])
    """
    w = _one_a_sample(weights)
    return np.asarray((w[:, None, None] + w[:, None] + w) / 3)


def _one_a_sample(weights: ArrayLike) -> Array:
    w = checks.samples("weights", checks.nonnegative("weights", weights))
    if w.ndim != 1:
        msg = f"weights must be one number a sample, got shape {w.shape}"
        raise ValueError(msg)
    return w
