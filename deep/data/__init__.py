"""Labeled images as arrays: where they come from, subsets of them, and label noise."""

from deep.data.images import ImageSet
from deep.data.noise import choose_rows, flip_labels
from deep.data.sources import fingerprint, load, load_labels, names

__all__ = ["ImageSet", "choose_rows", "fingerprint", "flip_labels", "load", "load_labels", "names"]
