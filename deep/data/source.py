"""What every place that images come from offers, and what such places share."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from deep.data.images import ImageSet, Labels

SPLITS = ("train", "test")
Rows = NDArray[np.int64]


class Source(Protocol):
    """An image set with a training and a test split."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def costly(self) -> bool:
        """Whether its images must be decoded, so that keeping them decoded pays."""

    def labels(self, split: str) -> Labels:
        """Classes of one split without its images."""

    def load(self, split: str, rows: Rows | None) -> ImageSet:
        """Images of ``rows`` (None: all), in that order."""

    def fingerprint(self) -> str:
        """What tells its files from others; empty where the data are always the same."""


@dataclass(frozen=True, slots=True)
class InMemory:
    """Two splits that are at hand."""

    train: ImageSet
    test: ImageSet
    costly: bool = False

    @property
    def name(self) -> str:
        """As its images have it."""
        return self.train.name

    def labels(self, split: str) -> Labels:
        """Classes of one split."""
        return self._split(split).labels

    def load(self, split: str, rows: Rows | None) -> ImageSet:
        """Images of ``rows``."""
        images = self._split(split)
        return images if rows is None else images.take(np.asarray(rows, dtype=np.int64))

    def fingerprint(self) -> str:
        """Empty: always the same."""
        return ""

    def _split(self, split: str) -> ImageSet:
        return self.train if split == "train" else self.test


def every_fifth(labels: Labels) -> NDArray[np.bool_]:
    """Which samples are for testing where a set comes in one piece: every fifth of each class.

    >>> every_fifth(np.array([0, 0, 0, 1, 0, 0, 1]))
    array([False, False, False, False, False,  True, False])
    """
    place = np.empty_like(labels)
    for label in np.unique(labels):
        members = labels == label
        place[members] = np.arange(members.sum())
    return np.asarray(place % 5 == 4)
