r"""Models of one set of samples, their normalized geometric mean, and how far they are from it.

With logits z of the models and their mean :math:`\bar z`, the geometric mean is the softmax of
:math:`\bar z`, and

.. math:: -\ln Z = E_m \ln \sum_k \bar y_k e^{u_{mk}}
                 = E_m \ln \Bigl( 1 + \sum_k \bar y_k (e^{\delta_{mk}} - 1 - \delta_{mk}) \Bigr),

where :math:`u_m = z_m - \bar z`, whose mean over the models is 0, and :math:`\delta_m` is
:math:`u_m` less its mean under :math:`\bar y`. No term is negative, so that nothing cancels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import checks
from theory.checks import Array
from theory.labels.gaps import exact_difference, log_mean_exp

_BLOCK = 100_000  # numbers of one block of rows: arrays that stay in the cache
_LARGEST = 1e300

Index = NDArray[np.intp]


def shares(name: str, weights: ArrayLike | None, count: int) -> Array:
    """Nonnegative weights as shares of their sum, shape ``(count,)``; equal ones for None.

    Raises:
        ValueError: For another number of them, negative ones, or only zeros.
    """
    if weights is None:
        return np.full(count, 1.0 / count)
    array = checks.nonnegative(name, weights)
    if array.shape != (count,) or not array.any():
        msg = f"{name} must be {count} weights that are not all 0, got shape {array.shape}"
        raise ValueError(msg)
    array = array / array.max()
    return np.asarray(array / array.sum())


@dataclass(frozen=True, slots=True, eq=False)
class Ensemble:
    """Logits of models, and the share of each."""

    logits: Array
    """Shape ``(models, ..., classes)``; -inf is a probability of 0."""
    weights: Array
    """Shape ``(models,)``, sum 1."""

    @classmethod
    def of(cls, name: str, logits: ArrayLike, weights: ArrayLike | None) -> "Ensemble":
        """Checked logits and weights; a model of weight 0 may have any logits.

        Raises:
            ValueError: For logits without models or with fewer than two classes, nan, +inf or
                numbers beyond 1e300; weights of another shape, negative or all 0; or rows where no
                class has a probability > 0 in every model.
        """
        z = checks.real_array(name, logits, infinite=True)
        if z.ndim < 2 or z.shape[-1] < 2 or z.size == 0:
            msg = (
                f"{name} must have shape (models, ..., classes) with at least one model, one "
                f"sample and two classes, got {z.shape}"
            )
            raise ValueError(msg)
        share = shares("weights", weights, len(z))
        if not share.all():  # what counts nothing must not decide what is possible
            z = z.copy()
            z[share == 0] = z[np.argmax(share > 0)]
        impossible = z == -np.inf
        if (np.abs(np.where(impossible, 0.0, z)) > _LARGEST).any():
            msg = f"{name} must be -inf or at most {_LARGEST:g} in size, got {np.abs(z).max():g}"
            raise ValueError(msg)
        none = np.argwhere(impossible.any(axis=0).all(axis=-1))
        if len(none):
            where = tuple(int(place) for place in none[0])
            row = f" in row {where[0] if len(where) == 1 else where}" if where else ""
            msg = f"{name} must give some class a probability > 0 in every model, but none has{row}"
            raise ValueError(msg)
        return cls(z, share)

    def without(self, model: int) -> "Ensemble":
        """All models but one."""
        kept = np.arange(len(self.weights)) != model
        return Ensemble(self.logits[kept], self.weights[kept] / self.weights[kept].sum())

    def mean_cost(self) -> Array:
        """Mean surprisal over the models, shape ``(..., classes)``; inf where one has p = 0."""
        return self._mean_of(surprisal)

    def geometric_cost(self) -> Array:
        """Surprisal of the geometric mean, shape ``(..., classes)``."""
        return surprisal(self._mean_of(lambda z: z - z.max(axis=-1, keepdims=True)))

    def _mean_of(self, f: Callable[[Array], Array]) -> Array:
        """Mean of a function of the logits over the models that count, some at a time."""
        used = self.weights > 0
        models, shares_used = self.logits[used], self.weights[used]
        step = max(1, _BLOCK // models[0].size)
        total = np.zeros(models.shape[1:])
        for start in range(0, len(models), step):
            some = slice(start, start + step)
            total += np.tensordot(shares_used[some], f(models[some]), axes=1)
        return total

    def variance(self) -> Array:
        """-ln Z >= 0, one number a row."""
        return self.split(1)[0]

    def split(self, groups: int) -> tuple[Array, Array]:
        """Mean variance within groups of models, and variance of the groups' geometric means.

        Args:
            groups: Number of equal groups that follow each other along the models.
        """
        rows = self.logits.shape[1:-1]
        flat = self.logits.reshape(len(self.logits), -1, self.logits.shape[-1])
        step = max(1, _BLOCK // (flat.shape[0] * flat.shape[2]))
        with np.errstate(under="ignore", over="ignore", invalid="ignore", divide="ignore"):
            parts = [
                _split(flat[:, start : start + step], self.weights, groups)
                for start in range(0, flat.shape[1], step)
            ]
        within, between = (np.concatenate(part).reshape(rows) for part in zip(*parts, strict=True))
        return within, between


def surprisal(z: Array) -> Array:
    """As `theory.labels.softmax.surprisal`, of logits that may be -inf but for one a row."""
    first = np.argmax(z, axis=-1)[..., None]
    below = np.take_along_axis(z, first, axis=-1) - z
    with np.errstate(under="ignore"):
        others = np.where(np.arange(z.shape[-1]) == first, 0.0, np.exp(-below))
        return np.asarray(below + np.log1p(others.sum(axis=-1, keepdims=True)))


def _split(z: Array, weights: Array, groups: int) -> tuple[Array, Array]:
    """Variance within and between groups of models; logits of shape (models, rows, classes)."""
    # differences from one model, without rounding: where models nearly agree they are all there is
    base = np.where(np.isfinite(z[0]), z[0], np.maximum(z.max(axis=0), -_LARGEST))
    high, low = exact_difference(z, base)
    low = np.where(np.isfinite(high), low, 0.0)
    share = weights.reshape(groups, -1)
    within = np.zeros(z.shape[1])
    for g, rows in enumerate(np.split(np.arange(len(z)), groups)):
        total = share[g].sum()
        if total > 0:
            own = share[g] / total
            first = _largest(base + _mean(own, high[rows]))
            within += total * _jensen(base, _relative(high[rows], low[rows], first), own, first)
    if groups == 1:
        return within, np.zeros_like(within)
    first = _largest(base + _mean(weights, high))
    x = _relative(high, low, first)
    totals = share.sum(axis=1)
    inside = share / np.where(totals > 0, totals, 1.0)[:, None]
    means = np.stack([_mean(w, part) for w, part in zip(inside, np.split(x, groups), strict=True)])
    return within, _jensen(base, means, totals, first)


def _mean(weights: Array, values: Array) -> Array:
    """Weighted mean along the first axis; what has weight 0 counts nothing, infinite or not."""
    used = weights > 0
    return np.asarray(np.tensordot(weights[used], values[used], axes=1))


def _largest(values: Array) -> Index:
    """Index of the largest class of each row, shape (rows, 1)."""
    return np.asarray(np.argmax(values, axis=-1)[:, None])


def _relative(high: Array, low: Array, first: Index) -> Array:
    """``high + low`` less its value at a class of each row."""
    index = first[None]
    return np.asarray(
        (high - np.take_along_axis(high, index, axis=-1))
        + (low - np.take_along_axis(low, index, axis=-1))
    )


def _jensen(base: Array, x: Array, weights: Array, first: Index) -> Array:
    """-ln Z of the models of logits ``base + x``, where x is 0 at the class ``first`` of each row.

    Args:
        base: Shape (rows, classes), finite.
        x: Shape (models, rows, classes), -inf where a model has p = 0.
        weights: Shares of the models.
        first: A class that is likely under the geometric mean, shape (rows, 1).
    """
    x, weights = x[weights > 0], weights[weights > 0]
    center = _mean(weights, x)
    log_p = -surprisal(base - np.take_along_axis(base, first, axis=-1) + center)
    p = np.exp(log_p)
    u = np.where(np.isfinite(center), x - center, 0.0)
    # u is 0 at a likely class, so that its mean is a sum over the others: nothing of it is lost
    # where that class is all but certain
    delta = u - (p * u).sum(axis=-1, keepdims=True)
    gaps = log_mean_exp(p, np.broadcast_to(log_p, delta.shape), delta) + _outside(base + x, center)
    return np.asarray(weights @ gaps)


def _outside(z: Array, center: Array) -> Array:
    """-ln of the probability that a model gives to what the geometric mean admits."""
    admitted = np.isfinite(center)
    if admitted.all():
        return np.zeros(z.shape[:-1])
    inside = np.logaddexp.reduce(np.where(admitted, z, -np.inf), axis=-1)
    beyond = np.logaddexp.reduce(np.where(admitted, -np.inf, z), axis=-1)
    return np.asarray(np.logaddexp(0.0, beyond - inside))
