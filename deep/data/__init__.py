"""Labeled images: where they come from, subsets of them, label noise, views, and what people say.

Everything here is arrays; `deep.data.prepared` and `deep.data.augment` make tensors of them and are
imported by their own names, so that torch is only loaded where it is used.
"""

from deep.data.identity import fingerprint_of
from deep.data.images import ImageSet
from deep.data.noise import choose_rows, flip_labels
from deep.data.normalization import Normalization
from deep.data.sources import fingerprint, load, load_labels, names
from deep.data.spec import DataSpec

__all__ = [
    "DataSpec",
    "ImageSet",
    "Normalization",
    "choose_rows",
    "fingerprint",
    "fingerprint_of",
    "flip_labels",
    "load",
    "load_labels",
    "names",
]
