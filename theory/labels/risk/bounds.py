r"""How far the risk under soft targets can be off: the published bounds and the sharp ones.

The bias of the risk under targets is :math:`B = E_x[\Delta^\top L]`, :math:`\Delta` being target
minus true posterior and L the loss of every class. All bounds are on its square.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory import checks
from theory.checks import Array
from theory.labels import divergences
from theory.labels.risk.problem import inputs, mean_over, pair, rows, same_classes
from theory.numerics import phi, progress
from theory.statements import states

_WIDTH = {"nonnegative": 1.0, "nonneg": 1.0, "signed": 2.0}


@dataclass(frozen=True, slots=True, eq=False)
class PublishedBounds:
    r"""The seven bounds on the squared bias as printed, for losses of size at most l.

    Ren et al. 2022, Proposition 2. E is the expectation over the inputs.
    """

    l2: Array
    r""":math:`l^2 K (E \|\Delta\|_2)^2`."""
    l1: Array
    r""":math:`l^2 (E \|\Delta\|_1)^2`."""
    sqrt_kl_fwd: Array
    r""":math:`2 l^2 (E \sqrt{KL(target, truth)})^2`."""
    kl_fwd: Array
    r""":math:`2 l^2 E\, KL(target, truth)`."""
    sqrt_kl_rev: Array
    r""":math:`2 l^2 (E \sqrt{KL(truth, target)})^2`."""
    kl_rev: Array
    r""":math:`2 l^2 E\, KL(truth, target)`."""
    jeffreys: Array
    r""":math:`l^2 E [KL(target, truth) + KL(truth, target)]`."""


@dataclass(frozen=True, slots=True, eq=False)
class SharpBounds:
    """Bounds on the squared bias with the best constants, for losses in a range of width w.

    The width is l for losses in [0, l], and 2 l for losses of either sign up to l in size.
    """

    l2: Array
    r""":math:`w^2 \lfloor K/2 \rfloor \lceil K/2 \rceil (E \|\Delta\|_2)^2 / K`."""
    tv: Array
    r""":math:`w^2 (E\, TV)^2`, the smallest of all."""
    sqrt_kl_fwd: Array
    r""":math:`(w^2/2) (E \sqrt{KL(target, truth)})^2`."""
    kl_fwd: Array
    r""":math:`(w^2/2) E\, KL(target, truth)`."""
    sqrt_kl_rev: Array
    r""":math:`(w^2/2) (E \sqrt{KL(truth, target)})^2`."""
    kl_rev: Array
    r""":math:`(w^2/2) E\, KL(truth, target)`."""
    jeffreys: Array
    r""":math:`(w^2/4) E [KL(target, truth) + KL(truth, target)]`."""
    bretagnolle_huber_fwd: Array
    r""":math:`w^2 (E \sqrt{1 - e^{-KL(target, truth)}})^2`, never above the trivial bound."""
    bretagnolle_huber_rev: Array
    """The same with KL(truth, target)."""
    trivial: Array
    """The square of the width: what is known without looking at the targets."""


# Each bound is constant x (width x mean)^2 or constant x width^2 x mean, of a distance per input.
Form = tuple[float, str, int]


def forms(constants: str, classes: int) -> dict[str, Form]:
    """Constant, distance and power of each bound."""
    half = classes // 2
    if constants == "published":
        return {
            "l2": (float(classes), "l2", 2),
            "l1": (4.0, "tv", 2),
            "sqrt_kl_fwd": (2.0, "root_fwd", 2),
            "kl_fwd": (2.0, "fwd", 1),
            "sqrt_kl_rev": (2.0, "root_rev", 2),
            "kl_rev": (2.0, "rev", 1),
            "jeffreys": (1.0, "both", 1),
        }
    return {
        "l2": (half * (classes - half) / classes, "l2", 2),
        "tv": (1.0, "tv", 2),
        "sqrt_kl_fwd": (0.5, "root_fwd", 2),
        "kl_fwd": (0.5, "fwd", 1),
        "sqrt_kl_rev": (0.5, "root_rev", 2),
        "kl_rev": (0.5, "rev", 1),
        "jeffreys": (0.25, "both", 1),
        "bretagnolle_huber_fwd": (1.0, "huber_fwd", 2),
        "bretagnolle_huber_rev": (1.0, "huber_rev", 2),
        "trivial": (1.0, "one", 1),
    }


def distances(target: Array, truth: Array) -> dict[str, Array]:
    """All that the bounds are made of, at each input: shape ``(..., S)``."""
    gap = target - truth
    largest = np.abs(gap).max(axis=-1, keepdims=True)
    fwd, rev = np.asarray(divergences.kl(target, truth)), np.asarray(divergences.kl(truth, target))
    with np.errstate(under="ignore"):
        # squares of a gap below 1e-154 leave the range; of one relative to the largest they do not
        relative = gap / np.where(largest > 0, largest, 1.0)
        return {
            "l2": largest[..., 0] * np.sqrt(np.square(relative).sum(axis=-1)),
            "tv": np.abs(gap).sum(axis=-1) / 2,
            "fwd": fwd,
            "rev": rev,
            "both": fwd + rev,
            "root_fwd": np.sqrt(fwd),
            "root_rev": np.sqrt(rev),
            "huber_fwd": np.sqrt(phi(fwd)),
            "huber_rev": np.sqrt(phi(rev)),
            "one": np.ones_like(fwd),
        }


@states(
    "labels:risk-bounds",
    "The squared bias of the risk under soft targets is at most each of seven distances between "
    "targets and true posterior, for losses of size at most l.",
    source="Ren 2022, Proposition 2 (after Menon 2021, Proposition 3)",
)
@states(
    "labels:risk-bounds-sharp",
    "For losses in a range of width w the constants are w^2 for total variation, "
    "w^2 floor(K/2) ceil(K/2) / K for the Euclidean distance and w^2 / 2 for either divergence, "
    "none of which can be smaller.",
    source="Ren 2022, Proposition 2, with the loss centered; Bretagnolle and Huber 1979",
)
def risk_bounds(
    input_probabilities: ArrayLike,
    target: ArrayLike,
    truth: ArrayLike,
    loss_bound: ArrayLike,
    constants: str = "published",
    *,
    loss_range: str = "nonnegative",
) -> PublishedBounds | SharpBounds:
    r"""Bounds on the squared bias :math:`(E_x[(target - truth)^\top L])^2` over all losses L.

    Since the gap of two distributions sums to 0, a constant can be taken from the loss of every
    class: what counts is the width w of the range that losses lie in. The published constants are
    those of w = 2 l. For a loss in [0, l] they are too large by 4 (for the Euclidean distance by
    :math:`4 K^2 / (K^2 - 1)` if K is odd); for one of either sign they are sharp, but for the
    Euclidean distance with odd K.

    For random targets (labels drawn from the posterior, a stochastic teacher) the target here is
    their mean given the input; see `random_target_bounds`.

    Args:
        input_probabilities: p(x), shape ``(..., S)``.
        target: One distribution an input, shape ``(..., S, K)``, fixed before the data is drawn.
        truth: The true posterior, same shape.
        loss_bound: l >= 0; one number, or one for each problem of the leading axes.
        constants: ``"published"`` or ``"sharp"``.
        loss_range: What l bounds: ``"nonnegative"`` (0 <= L <= l) or ``"signed"`` (|L| <= l). The
            published constants are valid for both and do not depend on it.

    Returns:
        `PublishedBounds` or `SharpBounds`, each field of the shape of the leading axes; inf where
        a divergence is: targets with mass where the truth has none (fwd), or without mass where
        the truth has some (rev: one-hot targets), at inputs of positive probability.

    Raises:
        ValueError: If rows are no distributions (which row, by how much), shapes do not agree, or
            the bound is negative.

    Example:
        >>> one_hot, posterior = [[1.0, 0.0], [0.0, 1.0]], [[0.8, 0.2], [0.4, 0.6]]
        >>> bounds = risk_bounds([0.5, 0.5], one_hot, posterior, 1.0)
        >>> print(f"{bounds.l2:.3f} {bounds.l1:.3f} {bounds.kl_rev}")
        0.360 0.360 inf
        >>> sharp = risk_bounds([0.5, 0.5], one_hot, posterior, 1.0, constants="sharp")
        >>> print(f"{sharp.l2:.3f} {sharp.tv:.3f} {sharp.kl_rev} {sharp.bretagnolle_huber_rev}")
        0.090 0.090 inf 1.0
    """
    p, first, second = pair(input_probabilities, target, truth)
    return _bounds(p, distances(first, second), loss_bound, constants, loss_range, first.shape[-1])


def random_target_bounds(
    input_probabilities: ArrayLike,
    targets: ArrayLike,
    weights: ArrayLike,
    truth: ArrayLike,
    loss_bound: ArrayLike,
    constants: str = "published",
    *,
    loss_range: str = "nonnegative",
    of: str = "mean",
) -> PublishedBounds | SharpBounds:
    """The same bounds where the target of an input is drawn from finitely many.

    The bias is that of the mean target, so the distance of that mean is what matters. Taken over
    the drawn targets themselves, as the distance between one-hot labels and posterior is when the
    bound is read off for one-hot training, all bounds stay valid (as those of a space whose inputs
    are pairs of input and target) but do not vanish where the bias is 0.

    Args:
        input_probabilities: p(x), shape ``(..., S)``.
        targets: The M distributions an input may get, shape ``(..., S, M, K)``.
        weights: Their probabilities, shape ``(..., S, M)``.
        truth: The true posterior, shape ``(..., S, K)``.
        loss_bound: As in `risk_bounds`.
        constants: As in `risk_bounds`.
        loss_range: As in `risk_bounds`.
        of: ``"mean"``, or ``"targets"`` for the expectation over inputs and drawn targets.

    Raises:
        ValueError: As `risk_bounds`.

    Example:
        >>> posterior = np.array([[0.8, 0.2], [0.4, 0.6]])
        >>> labels = np.broadcast_to(np.eye(2), (2, 2, 2))
        >>> for of in ("mean", "targets"):
        ...     bounds = random_target_bounds([0.5, 0.5], labels, posterior, posterior, 1.0, of=of)
        ...     print(f"{bounds.l1:.3f}")
        0.000
        0.640
    """
    checks.choice("of", of, ("mean", "targets"))
    p, drawn, share, second = drawn_targets(input_probabilities, targets, weights, truth)
    if of == "mean":
        return risk_bounds(
            p, mean_target(drawn, share), second, loss_bound, constants, loss_range=loss_range
        )
    apart = {
        # given the input first: of a tiny chance twice the product may vanish, and with it an inf
        name: np.asarray(mean_over(share, values))
        for name, values in distances(drawn, second[..., None, :]).items()
    }
    return _bounds(p, apart, loss_bound, constants, loss_range, drawn.shape[-1])


def drawn_targets(
    input_probabilities: ArrayLike, targets: ArrayLike, weights: ArrayLike, truth: ArrayLike
) -> tuple[Array, Array, Array, Array]:
    """Inputs, possible targets, their probabilities and the truth, checked."""
    p = inputs(input_probabilities)
    drawn = checks.distributions("targets", targets)
    share = checks.distributions("weights", weights, fewest=1)
    second = rows("truth", truth, p.shape[-1])
    if drawn.ndim < 3 or drawn.shape[-3] != p.shape[-1] or share.ndim < 2:
        msg = (
            f"targets must have shape (..., {p.shape[-1]}, M, K) and weights (..., "
            f"{p.shape[-1]}, M), got {drawn.shape} and {share.shape}"
        )
        raise ValueError(msg)
    if share.shape[-2:] != drawn.shape[-3:-1]:
        msg = (
            "weights must have one number for each of the targets, shape "
            f"(..., {drawn.shape[-3]}, {drawn.shape[-2]}), got {share.shape}"
        )
        raise ValueError(msg)
    same_classes(targets=drawn, truth=second[..., None, :])
    checks.broadcastable(weights=share, **{"targets over classes": drawn[..., 0]})
    return p, drawn, share, second


def mean_target(drawn: Array, share: Array) -> Array:
    """Mean of the targets given the input."""
    return np.asarray((share[..., None] * drawn).sum(axis=-2))


def _bounds(
    p: Array,
    apart: dict[str, Array],
    loss_bound: ArrayLike,
    constants: str,
    loss_range: str,
    classes: int,
) -> PublishedBounds | SharpBounds:
    """The bounds from the distances at each input."""
    checks.choice("constants", constants, ("published", "sharp"))
    reach = width(loss_bound, constants, loss_range)
    mean = {name: np.asarray(mean_over(p, values)) for name, values in apart.items()}
    checks.broadcastable(loss_bound=reach, problems=mean["tv"])
    values = {
        name: _value(reach, mean[what], constant, power)
        for name, (constant, what, power) in forms(constants, classes).items()
    }
    return made(constants, values)


def width(loss_bound: ArrayLike, constants: str, loss_range: str) -> Array:
    """What is squared in front: the bound itself as published, the range of the loss if sharp."""
    checks.choice("loss_range", loss_range, tuple(_WIDTH))
    bound = checks.nonnegative("loss_bound", loss_bound)
    with np.errstate(over="ignore"):
        return np.asarray(bound * (_WIDTH[loss_range] if constants == "sharp" else 1.0))


def made(constants: str, values: dict[str, Array]) -> PublishedBounds | SharpBounds:
    """Numbers by name as the dataclass that has them."""
    return PublishedBounds(**values) if constants == "published" else SharpBounds(**values)


def _value(reach: Array, mean: Array, constant: float, power: int) -> Array:
    """The bound. A large loss times a small distance does not overflow on the way."""
    root = mean if power == 2 else np.sqrt(mean)
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(constant * np.square(progress(reach, root)))[()]
