r"""What a network is worth: measures of its logits, cheap ones every epoch, all of them at the end.

`measure` works in float64 from logits, with the functions of `theory.labels`. A training run does
not die of a statistic: what the data do not define is nan, never an error. So are all measures of
a network with nan or +inf among its logits, which has diverged. Logits of -inf are probabilities of
0, with costs of inf where they are needed; what is made of log-odds (slopes, gap, diversity,
regularization samples) is nan beside them.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from deep.losses import regularization_mask
from theory import checks
from theory.checks import Array
from theory.labels.bias_variance import regularization_samples, same_sign_samples
from theory.labels.confidence import (
    confidence_pair,
    entropy,
    exaggeration_slope,
    kl_divergence,
)
from theory.labels.softmax import softmax, surprisal
from theory.labels.uncertainty import (
    brier_scores,
    confidence_diversity,
    expected_calibration_error,
    predictions,
)

BINS = (10, 15, 20)
"""Bins of the calibration errors: Ren 2022, Guo et al. 2017, code of Zhang 2020."""
QUARTER = 0.25
"""Share of the samples where the teacher is least or most sure [Nagarajan 2023, section 3]."""
_LOW = -1e5  # below the largest logit of a row: a probability of 0 in float64, and finite
_ROWS = 500  # of one block, which stays in the cache
Rows = dict[str, Array]


def measure(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    teacher_logits: ArrayLike | None = None,
    true_labels: ArrayLike | None = None,
    truth: ArrayLike | None = None,
    given_law: ArrayLike | None = None,
    temperature: float = 1.0,
) -> dict[str, float]:
    r"""All measures of a network on some samples.

    ``accuracy``, ``top5`` (of more than 5 classes), where of equal logits the lowest class is
    first; ``nll`` and ``predictive_uncertainty`` in nats; ``brier`` in [0, 2]; ``ece_10``,
    ``ece_15``, ``ece_20``; ``confidence_diversity`` in nats (k = 3: nan for fewer than 4 samples,
    -inf where more than 3 have the very same confidence).

    With a teacher: ``agreement`` of the predicted classes; ``kl_teacher``, the mean of
    :math:`KL(p^{te}, p^{st})`; with X and Y the log-odds of teacher and student in the class that
    the teacher predicts, ``slope_bottom`` and ``slope_top`` of Y on X where X is in its lowest and
    highest quarter, and in the lowest ``below_bottom``, the share of Y < X, and ``gap_bottom``, the
    mean of Y - X [Nagarajan 2023, section 3]. The slopes are nan for fewer than 2 points, or where
    X is constant. Of the regularization samples [Zhou 2021, section 3.2] numbers and shares,
    ``regularization_abs``, ``regularization_abs_share``, ``regularization_signed``,
    ``regularization_signed_share``, and ``same_sign_share``, where label and teacher push the
    label's logit the same way.

    With true labels: ``accuracy_true``, ``flipped`` (how many given labels are not the true ones),
    and of these ``correction``, the share predicted as the true class, and ``memorized``, that
    predicted as the given one; nan where none is flipped. With the law :math:`p^*` of the true
    label: ``truth_distance``, the mean of :math:`\| p - p^* \|_2`; with that of the given label,
    noise included: ``given_law_distance`` alike.

    Args:
        logits: z, shape (n, classes).
        labels: Given classes, shape (n,).
        teacher_logits: Of the same samples and shape.
        true_labels: Classes before labels were flipped, shape (n,).
        truth: Distributions of the true label, shape (n, classes).
        given_law: Distributions of the given label, of the same shape.
        temperature: Of the distillation loss whose regularization samples are counted; all else
            is at 1.

    Returns:
        Measures by name; nan for no samples, but for ``flipped``.

    Raises:
        ValueError: For shapes that do not fit each other, labels out of range, laws that are no
            distributions, or a temperature that is not > 0.

    >>> found = measure([[2.0, 0.0], [0.0, 1.0]], [0, 0])
    >>> found["accuracy"], found["nll"], found["ece_10"]
    (0.5, 0.7201, 0.4252)
    """
    z = _logits("logits", logits)
    y = _labels("labels", labels, z)
    checks.temperature("temperature", temperature)
    v = None if teacher_logits is None else _logits("teacher_logits", teacher_logits)
    if v is not None:
        checks.same_shape(logits=z, teacher_logits=v)
    laws = {"truth": truth, "given_law": given_law}
    known = {name: checks.distributions(name, law) for name, law in laws.items() if law is not None}
    checks.same_shape(logits=z, **known)
    clean = None if true_labels is None else _labels("true_labels", true_labels, z)
    with np.errstate(under="ignore"):
        found = _alone(z, y)
        if v is not None:
            found |= _beside(z, v, y, temperature)
        if clean is not None:
            found |= _after_flips(z, y, clean)
        found |= {f"{name}_distance": _distance(z, law) for name, law in known.items()}
    return found


@torch.no_grad()
def quick(
    logits: Tensor,
    labels: Tensor,
    *,
    teacher_logits: Tensor | None = None,
    temperature: float = 1.0,
) -> dict[str, Tensor]:
    """The measures of every epoch, on the device; nothing is waited for.

    Args:
        logits: Shape (..., n, classes).
        labels: Shape (..., n); leading axes broadcast.
        teacher_logits: Of a shape that broadcasts against ``logits``.
        temperature: Of the distillation loss.

    Returns:
        ``accuracy`` and ``nll``, and with a teacher ``agreement``, ``regularization_abs`` and
        ``regularization_signed`` (numbers of samples), each of shape (...), float64. A sample with
        nan among its logits is predicted wrongly.

    >>> quick(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
    {'accuracy': tensor(0.5000, dtype=torch.float64), 'nll': tensor(0.7201, dtype=torch.float64)}
    """
    y = labels.expand(logits.shape[:-1])
    own = logits.gather(-1, y.unsqueeze(-1)).squeeze(-1)
    cost = torch.logsumexp(logits, dim=-1) - own
    predicted = logits.argmax(dim=-1)
    right = (predicted == y) & ~cost.isnan()
    found = {"accuracy": right.double().mean(-1), "nll": cost.double().mean(-1)}
    if teacher_logits is not None:
        taught = teacher_logits.expand_as(logits)
        found["agreement"] = (predicted == taught.argmax(dim=-1)).double().mean(-1)
        for criterion in ("abs", "signed"):
            mask = regularization_mask(
                logits, taught, y, temperature=temperature, criterion=criterion
            )
            found[f"regularization_{criterion}"] = mask.sum(-1).double()
    return found


@torch.no_grad()
def logits_of(
    network: nn.Module,
    inputs_at: Callable[[Tensor], Tensor],
    samples: int,
    *,
    batch: int = 512,
) -> Tensor:
    """Logits of samples in evaluation mode, shape (..., samples, classes); nothing else changes.

    Args:
        network: Every part of it is in the mode afterwards that it was in before.
        inputs_at: Inputs of samples, from their numbers (int64, on the CPU): shape (..., k, d).
        samples: How many there are.
        batch: How many at a time.

    Raises:
        ValueError: For no samples.

    >>> logits_of(nn.Identity(), lambda index: index[:, None] * torch.ones(2), 3)
    tensor([[0., 0.], [1., 1.], [2., 2.]])
    """
    checks.integer("samples", samples, minimum=1)
    checks.integer("batch", batch, minimum=1)
    modes = [(part, part.training) for part in network.modules()]
    network.eval()
    try:
        parts = torch.split(torch.arange(samples), batch)
        return torch.cat([network(inputs_at(part)) for part in parts], dim=-2)
    finally:
        for part, mode in modes:
            part.training = mode


def _logits(name: str, value: ArrayLike) -> Array:
    """Logits as float64 of shape (n, classes)."""
    raw = np.asarray(value)
    if raw.ndim != 2 or raw.shape[1] < 2 or raw.dtype.kind not in "biuf":
        msg = (
            f"{name} must be numbers of shape (samples, classes), at least two classes, got "
            f"{raw.dtype} of shape {raw.shape}"
        )
        raise ValueError(msg)
    return raw.astype(np.float64, copy=False)


def _labels(name: str, value: ArrayLike, z: Array) -> NDArray[np.intp]:
    y = checks.classes(name, value, z.shape[1])
    if y.shape != z.shape[:1]:
        msg = f"{name} must be one class a sample, shape {z.shape[:1]}, got {y.shape}"
        raise ValueError(msg)
    return y


def _diverged(z: Array) -> bool:
    """Whether there is no telling what the network says: nan, +inf, or a row of -inf."""
    top = z.max(axis=1, initial=-np.inf)
    return not len(z) or not bool(np.isfinite(top).all())


def _finite(z: Array) -> tuple[Array, bool]:
    """Logits with -inf far below the others of its row, and whether there was any."""
    low = z == -np.inf
    if not low.any():
        return z, False
    return np.where(low, z.max(axis=1, keepdims=True) + _LOW, z), True


def _in_blocks(rows: Callable[[slice], Rows], samples: int) -> Rows:
    """Numbers of all samples by name, some samples at a time: in little memory, and faster."""
    parts = [rows(slice(start, start + _ROWS)) for start in range(0, samples, _ROWS)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else float("nan")


def _alone(z: Array, y: NDArray[np.intp]) -> dict[str, float]:
    """What needs no other network."""
    top = z.shape[1] > 5
    names = ["accuracy", *(["top5"] if top else []), "nll", "brier"]
    names += [f"ece_{bins}" for bins in BINS]
    names += ["predictive_uncertainty", "confidence_diversity"]
    if _diverged(z):
        return dict.fromkeys(names, float("nan"))
    finite, ruled_out = _finite(z)

    def rows(at: slice) -> Rows:
        block, own = finite[at], y[at, None]
        sure, right = predictions(block, y[at])
        cost = np.take_along_axis(surprisal(block), own, axis=1)[:, 0]
        impossible = np.take_along_axis(z[at], own, axis=1)[:, 0] == -np.inf
        return {
            "accuracy": right,
            "nll": np.where(impossible, np.inf, cost),
            "brier": brier_scores(block, y[at]),
            "sure": sure,
            "predictive_uncertainty": entropy(block),
            **({"top5": _places_before(z[at], own) < 5} if top else {}),
        }

    each = _in_blocks(rows, len(z))
    found = {name: _mean(each[name]) for name in names if name in each}
    for bins in BINS:
        found[f"ece_{bins}"] = expected_calibration_error(each["sure"], each["accuracy"], bins)
    enough = len(z) > 3 and not ruled_out
    found["confidence_diversity"] = confidence_diversity(z, y) if enough else float("nan")
    return {name: found[name] for name in names}


def _places_before(z: Array, own: NDArray[np.intp]) -> Array:
    """How many classes come before the label's, of equal logits the lower ones."""
    mine = np.take_along_axis(z, own, axis=1)
    return np.asarray(((z > mine) | ((z == mine) & (np.arange(z.shape[1]) < own))).sum(axis=1))


def _beside(z: Array, v: Array, y: NDArray[np.intp], temperature: float) -> dict[str, float]:
    """What compares with the teacher."""
    lost = _diverged(z) or _diverged(v)
    if lost:
        found = dict.fromkeys(("agreement", "kl_teacher"), float("nan"))
    else:
        found = {
            "agreement": float(np.mean(z.argmax(axis=1) == v.argmax(axis=1))),
            "kl_teacher": _divergence(z, v),
        }
    known = not lost and bool(np.isfinite(z).all() and np.isfinite(v).all())
    return found | _slopes(z, v, known=known) | _regularization(z, v, y, temperature, known=known)


def _divergence(z: Array, v: Array) -> float:
    """Mean divergence of the student from the teacher; inf where it rules out what that allows."""
    (student, ruled_out), (teacher, _) = _finite(z), _finite(v)
    if ruled_out and ((z == -np.inf) & (softmax(teacher) > 0)).any():
        return float("inf")
    # their sum may be beyond all numbers where each of them is not
    with np.errstate(over="ignore"):
        return _mean(kl_divergence(teacher, student))


def _slopes(z: Array, v: Array, *, known: bool) -> dict[str, float]:
    """How the student's confidence goes with the teacher's, where that is least and most sure."""
    names = ("slope_bottom", "slope_top", "below_bottom", "gap_bottom")
    if not known:
        return dict.fromkeys(names, float("nan"))

    def rows(at: slice) -> Rows:
        pair = confidence_pair(v[at], z[at])
        return {"x": np.atleast_1d(pair.teacher), "y": np.atleast_1d(pair.student)}

    each = _in_blocks(rows, len(z))
    bottom = exaggeration_slope(each["x"], each["y"], QUARTER, "bottom")
    top = exaggeration_slope(each["x"], each["y"], QUARTER, "top")
    unsure = np.argsort(each["x"], kind="stable")[: bottom.count]
    gap = each["y"][unsure] - each["x"][unsure]
    values = (bottom.slope, top.slope, float(np.mean(gap < 0)), float(gap.mean()))
    return dict(zip(names, values, strict=True))


def _regularization(
    z: Array, v: Array, y: NDArray[np.intp], temperature: float, *, known: bool
) -> dict[str, float]:
    """Where label and teacher disagree about the label's logit."""
    if not known:
        names = ("abs", "abs_share", "signed", "signed_share")
        keys = (*(f"regularization_{name}" for name in names), "same_sign_share")
        return dict.fromkeys(keys, float("nan"))
    found: dict[str, float] = {}
    for criterion in ("abs", "signed"):
        mask = regularization_samples(z, v, y, temperature, criterion)
        found[f"regularization_{criterion}"] = float(np.count_nonzero(mask))
        found[f"regularization_{criterion}_share"] = float(np.mean(mask))
    return {
        **found,
        "same_sign_share": float(np.mean(same_sign_samples(z, v, y, temperature))),
    }


def _after_flips(z: Array, given: NDArray[np.intp], clean: NDArray[np.intp]) -> dict[str, float]:
    """What the network makes of labels that were flipped."""
    flipped = given != clean
    found = {"flipped": float(np.count_nonzero(flipped))}
    if _diverged(z):
        return {
            "accuracy_true": float("nan"),
            **found,
            **dict.fromkeys(("correction", "memorized"), float("nan")),
        }
    predicted = z.argmax(axis=1)
    return {
        "accuracy_true": _mean(predicted == clean),
        **found,
        "correction": _mean((predicted == clean)[flipped]),
        "memorized": _mean((predicted == given)[flipped]),
    }


def _distance(z: Array, truth: Array) -> float:
    """Mean Euclidean distance of predictions from the law of the label."""
    if _diverged(z):
        return float("nan")
    gap = softmax(_finite(z)[0]) - truth
    return float(np.sqrt((gap**2).sum(axis=1)).mean())
