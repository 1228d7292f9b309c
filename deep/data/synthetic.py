r"""Gaussian classes as images, with the exact law of the class given the image.

Each class has a mean image whose cells are drawn from :math:`m + \delta\{-1, 0, 1\}`; an image of
class y is :math:`\mu_y + \sigma\varepsilon`, rounded to whole levels and clipped to 0 .. 255, each
cell then enlarged to a square of pixels. Classes are equally likely [Ren 2022, appendix C].

- ``gaussian``: the toy of that paper, 3 classes, 30 cells as 5 x 6 pixels, delta = 16 and sigma =
  32 levels (its 1 and 2); 10,000 samples for training and validation, 90,000 for testing.
- ``synthetic``: 10 classes, 4 x 4 cells of three channels, each 8 x 8 pixels wide: images of the
  size of CIFAR for tests, 1,000 and 500.

What is rounded is still Gaussian noise seen through a grid: a level has the probability of its bin,
and the posterior follows from Bayes' rule without approximation.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from deep.data.images import Bytes, ImageSet
from deep.data.source import InMemory
from deep.training.streams import stream

Array = NDArray[np.float64]
_MIDDLE = 128.0


@dataclass(frozen=True, slots=True)
class Gaussian:
    """The law of a synthetic set, in levels of 0 .. 255."""

    name: str
    classes: int
    cells: tuple[int, int, int]
    """Height and width in cells, and channels."""
    enlarged: int
    """Pixels of a cell along one axis."""
    train: int
    test: int
    delta: float
    sigma: float

    def signs(self) -> NDArray[np.int64]:
        """The means as -1, 0 or 1 for each class and cell, shape (classes, cells)."""
        rng = stream("synthetic means", self.name)
        return rng.integers(-1, 2, (self.classes, int(np.prod(self.cells))))


_SETS = {
    one.name: one
    for one in (
        Gaussian("gaussian", 3, (5, 6, 1), 1, 10_000, 90_000, delta=16.0, sigma=32.0),
        Gaussian("synthetic", 10, (4, 4, 3), 8, 1_000, 500, delta=16.0, sigma=32.0),
    )
}


def names() -> tuple[str, ...]:
    """Names of the synthetic sets.

    >>> names()
    ('gaussian', 'synthetic')
    """
    return tuple(_SETS)


@cache
def source(name: str) -> InMemory:
    """Both splits of the set ``name``: the same in every process."""
    return InMemory(_drawn(_SETS[name], "train"), _drawn(_SETS[name], "test"))


def posterior(name: str, images: Bytes) -> Array:
    r"""The law of the class given the image, shape (n, classes).

    .. math:: p(k \mid x) \propto \prod_j P\!\left(\mathrm{level}(\mu_{kj} + \sigma\varepsilon) =
        x_j\right)

    Args:
        name: A synthetic set.
        images: Images of its shape, as `source` gives them.

    Raises:
        ValueError: If the images are not of the shape of the set.

    >>> posterior("gaussian", source("gaussian").test.images[:2]).round(3)
    array([[0.009, 0.007, 0.985],
           [0.004, 0.015, 0.981]])
    """
    law = _SETS[name]
    height, width, channels = law.cells
    shape = (height * law.enlarged, width * law.enlarged, channels)
    if images.shape[1:] != shape:
        msg = f"images of {name!r} must have the shape {shape}, got {images.shape[1:]}"
        raise ValueError(msg)
    levels = images[:, :: law.enlarged, :: law.enlarged].reshape(len(images), -1)
    signs = law.signs()
    likelihood = np.zeros((len(levels), law.classes))
    for sign in (-1, 0, 1):
        log_mass = _log_masses(_MIDDLE + sign * law.delta, law.sigma)[levels]
        likelihood += log_mass @ (signs == sign).T.astype(np.float64)
    likelihood -= likelihood.max(axis=1, keepdims=True)
    with np.errstate(under="ignore"):
        weights = np.exp(likelihood)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _log_masses(mean: float, sigma: float) -> Array:
    """Logarithm of the probability of each level; 0 and 255 hold the tails."""
    from scipy.special import log_ndtr

    edges = (np.arange(1, 256) - 0.5 - mean) / sigma
    below = np.concatenate([[-np.inf], edges])
    above = np.concatenate([edges, [np.inf]])
    # the difference of two distribution functions, each taken from the tail in which it is small
    swapped = below > 0
    low, high = np.where(swapped, -above, below), np.where(swapped, -below, above)
    top, bottom = log_ndtr(high), log_ndtr(low)
    return np.asarray(top + np.log1p(-np.exp(bottom - top)))


def _drawn(law: Gaussian, split: str) -> ImageSet:
    size = law.train if split == "train" else law.test
    rng = stream("synthetic images", law.name, split)
    labels = rng.integers(0, law.classes, size)
    means = _MIDDLE + law.delta * law.signs()
    values = means[labels] + law.sigma * rng.standard_normal((size, means.shape[1]))
    levels = np.clip(np.rint(values), 0, 255).astype(np.uint8).reshape(size, *law.cells)
    images = levels.repeat(law.enlarged, axis=1).repeat(law.enlarged, axis=2)
    classes = tuple(str(label) for label in range(law.classes))
    return ImageSet(images, labels, classes, name=law.name, split=split)
