"""Image sets by name: digits, which ships with scikit-learn, and MNIST and CIFAR from a folder."""

import hashlib
import os
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deep.data import parquet
from deep.data.images import Bytes, ImageSet, Labels

SPLITS = ("train", "test")
_END = 1 << 16


@dataclass(frozen=True, slots=True)
class _Files:
    """Where a Hub data set stands under the data root, and what its columns are called."""

    folder: str
    image: str
    label: str


_FILES = {
    "mnist": _Files("mnist/mnist", "image", "label"),
    "cifar10": _Files("cifar10/plain_text", "img", "label"),
    "cifar100": _Files("cifar100/cifar100", "img", "fine_label"),
}


def names() -> tuple[str, ...]:
    """Names of the image sets.

    >>> names()
    ('digits', 'cifar10', 'cifar100', 'mnist')
    """
    return ("digits", *sorted(_FILES))


def load(
    name: str,
    *,
    split: str,
    root: Path | str | None = None,
    rows: NDArray[np.int64] | None = None,
) -> ImageSet:
    """Images of one split, all of them or only those of ``rows`` in that order.

    Args:
        name: One of `names`.
        split: ``"train"`` or ``"test"``.
        root: Folder of the Parquet files in the layout of the Hub: ``mnist/mnist``,
            ``cifar10/plain_text``, ``cifar100/cifar100``. STILLROOM_DATA if None; digits need none.
        rows: Numbers of the images; of a big file only these are decoded.

    Raises:
        ValueError: If the name, the split, the root, a file or its schema is not as it must be.

    >>> load("digits", split="train", rows=np.array([3, 0])).labels
    array([3, 0])
    """
    if split not in SPLITS:
        msg = f"split must be one of {', '.join(map(repr, SPLITS))}, got {split!r}"
        raise ValueError(msg)
    if name == "digits":
        images = _digits(split)
        return images if rows is None else images.take(np.asarray(rows, dtype=np.int64))
    files, columns = _find(name, split, root)
    labels = parquet.read_labels(files, columns.label)
    pictures = parquet.read_images(files, columns.image, rows)
    classes = parquet.class_names(files, columns.label)
    if classes is None:
        classes = tuple(str(label) for label in range(int(labels.max()) + 1))
    chosen = labels if rows is None else labels[rows]
    return ImageSet(pictures, chosen, classes, name=name, split=split)


def load_labels(name: str, *, split: str, root: Path | str | None = None) -> Labels:
    """Classes of one split without its images, to choose rows by.

    >>> load_labels("digits", split="train").shape
    (1442,)
    """
    if name == "digits":
        return load(name, split=split).labels
    files, columns = _find(name, split, root)
    return parquet.read_labels(files, columns.label)


def fingerprint(name: str, *, root: Path | str | None = None) -> str:
    """What tells the files of an image set from others; empty for digits, always the same.

    It is a digest of the names and sizes of the files and of the first and last 64 KiB of each: a
    Parquet file ends with the places and statistics of all that it holds.

    Raises:
        ValueError: If the name is unknown, or the files are not all there.

    >>> fingerprint("digits")
    ''
    """
    if name == "digits":
        return ""
    digest = hashlib.sha256()
    for path in (path for split in SPLITS for path in _find(name, split, root)[0]):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_END))
            file.seek(max(size - _END, 0))
            digest.update(file.read(_END))
    return digest.hexdigest()


def _find(name: str, split: str, root: Path | str | None) -> tuple[tuple[Path, ...], _Files]:
    if name not in _FILES:
        msg = f"name of the image set must be one of {', '.join(map(repr, names()))}, got {name!r}"
        raise ValueError(msg)
    files = _FILES[name]
    given = root or os.environ.get("STILLROOM_DATA")
    if not given:
        msg = (
            f"{name} is read from a folder that holds {files.folder}/{split}-00000-of-*.parquet; "
            "give that folder by --data-root or STILLROOM_DATA (digits need none)"
        )
        raise ValueError(msg)
    return parquet.shards(Path(given) / files.folder, split), files


@cache
def _digits(split: str) -> ImageSet:
    """scikit-learn's 1,797 handwritten digits; of each class every fifth image is for testing."""
    images, labels = _digits_table()
    place = np.empty_like(labels)
    for label in range(10):
        place[labels == label] = np.arange((labels == label).sum())
    chosen = (place % 5 == 4) == (split == "test")
    classes = tuple(str(label) for label in range(10))
    return ImageSet(images[chosen], labels[chosen], classes, name="digits", split=split, white=16)


def _digits_table() -> tuple[Bytes, Labels]:
    """All digits, (1797, 8, 8, 1), and their labels.

    The file is read as ``load_digits`` of scikit-learn reads it, but without importing it, which
    takes longer than a small experiment; where the file is not at its place, that is asked.
    """
    package = find_spec("sklearn")
    path = Path((package and package.origin) or ".").parent / "datasets" / "data" / "digits.csv.gz"
    if path.is_file():
        table = np.loadtxt(path, delimiter=",")
        pixels, labels = table[:, :-1], table[:, -1]
    else:
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
    return pixels.astype(np.uint8).reshape(-1, 8, 8, 1), labels.astype(np.int64)
