"""Labeled images as arrays, as they stand in the files."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Images of one split with one class each.

    >>> images = np.zeros((2, 1, 2, 1), dtype=np.uint8)
    >>> pair = ImageSet(images, np.array([0, 1]), ("no", "yes"), name="toy", split="train")
    >>> len(pair), pair.classes, pair.pixels().shape
    (2, 2, (2, 2))
    """

    images: Bytes
    """Shape (n, height, width, channels): channels last, as image files hold them."""
    labels: Labels
    """Class of each image, shape (n,), in 0 .. classes - 1."""
    class_names: tuple[str, ...]
    name: str
    """Name of the source, such as ``"digits"``."""
    split: str
    """``"train"`` or ``"test"``."""
    white: int = 255
    """The value that stands for full intensity; 16 in scikit-learn's digits."""

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype != np.uint8 or images.ndim != 4:
            msg = (
                "images must be uint8 of shape (n, height, width, channels), "
                f"got {images.dtype} {images.shape}"
            )
            raise ValueError(msg)
        if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
            msg = (
                f"labels must be int64 of shape ({len(images)},), got {labels.dtype} {labels.shape}"
            )
            raise ValueError(msg)
        if labels.size and not (labels.min() >= 0 and labels.max() < self.classes):
            msg = (
                f"labels must lie in 0 .. {self.classes - 1}, "
                f"got {labels.min()} .. {labels.max()} in {self.name} {self.split}"
            )
            raise ValueError(msg)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def pixels(self) -> NDArray[np.float64]:
        """Intensities in [0, 1], a flattened image a row: (n, height * width * channels)."""
        return self.images.reshape(len(self), -1) / float(self.white)

    def take(self, rows: NDArray[np.int64]) -> "ImageSet":
        """The images of ``rows``, in that order."""
        if rows.size == 0 or rows.min() < 0 or rows.max() >= len(self):
            got = f"{rows.min()} .. {rows.max()}" if rows.size else "none"
            msg = f"rows must be at least one number in 0 .. {len(self) - 1}, got {got}"
            raise ValueError(msg)
        return replace(self, images=self.images[rows], labels=self.labels[rows])
