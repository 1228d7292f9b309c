"""Label noise: a fraction of the samples gets another class, drawn uniformly."""

import numpy as np
from numpy.typing import NDArray

from deep.data.images import Labels
from theory import checks

CHOICES = ("stratified", "random", "first")
"""How `choose_rows` can choose."""


def flip_labels(
    labels: Labels,
    fraction: float,
    classes: int,
    rng: np.random.Generator,
    *,
    include_same: bool = False,
) -> Labels:
    """Labels after ``round(fraction * n)`` of them, chosen at random, were drawn anew.

    A chosen label becomes another class uniformly [Nagarajan 2023, C.1]. With ``include_same``
    it becomes any class uniformly, so that one in ``classes`` of the chosen keeps its label and the
    noise is smaller than ``fraction`` says [Nagarajan 2023, Table 7, read literally].

    >>> clean = np.zeros(8, dtype=np.int64)
    >>> noisy = flip_labels(clean, 0.25, 10, np.random.default_rng(0))
    >>> int((noisy != clean).sum())
    2

    Raises:
        ValueError: If ``fraction`` is not in [0, 1] or there are fewer than 2 classes.
    """
    fraction = checks.fraction("fraction", fraction)
    classes = checks.count("classes", classes, minimum=2)
    chosen = rng.permutation(len(labels))[: round(fraction * len(labels))]
    noisy = labels.copy()
    if include_same:
        noisy[chosen] = rng.integers(0, classes, len(chosen))
    else:
        noisy[chosen] = (labels[chosen] + rng.integers(1, classes, len(chosen))) % classes
    return noisy


def choose_rows(
    labels: Labels, size: int, rng: np.random.Generator, *, how: str = "stratified"
) -> NDArray[np.int64]:
    """Numbers of ``size`` samples.

    ``"stratified"`` keeps the shares of the classes to about one sample, ``"random"`` draws without
    replacement, ``"first"`` takes the first. The order is random but for ``"first"``.

    >>> labels = np.array([0, 0, 1, 1, 2, 2])
    >>> sorted(labels[choose_rows(labels, 3, np.random.default_rng(0))].tolist())
    [0, 1, 2]

    Raises:
        ValueError: If there are fewer than ``size`` samples, or ``how`` is unknown.
    """
    checks.choice("how", how, CHOICES)
    size = checks.count("size", size, minimum=1)
    if size > len(labels):
        msg = f"size must be at most the {len(labels)} samples there are, got {size}"
        raise ValueError(msg)
    if how == "first":
        return np.arange(size)
    order = rng.permutation(len(labels))
    if how == "random":
        return order[:size]
    return rng.permutation(order[in_turns(labels[order])[:size]])


def in_turns(labels: Labels) -> NDArray[np.int64]:
    """Numbers of all samples, the classes by turns: the first so many hold each in proportion.

    They stand by their place in their class, as a share of the class, of equal ones the first.

    >>> in_turns(np.array([0, 0, 0, 0, 1, 1]))
    array([0, 4, 1, 2, 5, 3])
    """
    share = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        share[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.argsort(share, kind="stable")
