"""Image sets by name: what ships with the package, MNIST and CIFAR, and the user's own."""

import difflib
import hashlib
import os
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deep.data import folders, hub, parquet, synthetic
from deep.data.images import Bytes, ImageSet, Labels
from deep.data.source import SPLITS, InMemory, Source, every_fifth

_END = 1 << 16
_OWN = ("folder", "parquet")


class _Files(NamedTuple):
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

    Beside them, ``folder:PATH`` and ``parquet:PATH`` are the user's own (`deep.data.folders`).

    >>> names()
    ('digits', 'cifar10', 'cifar100', 'mnist', 'gaussian', 'synthetic')
    """
    return ("digits", *sorted(_FILES), *synthetic.names())


def is_own(name: str) -> bool:
    """Whether an image set is the user's own: files at a place.

    >>> is_own("folder:~/pictures"), is_own("cifar10")
    (True, False)
    """
    return name not in names()


def content_name(name: str, *, root: Path | str | None = None) -> str:
    """What an image set is called wherever its files are: the user's own by their digest.

    Random streams that belong to an image set are keyed by it.

    >>> content_name("digits")
    'digits'

    Raises:
        ValueError: If the name is unknown, or the files of the user's are not all there.
    """
    if not is_own(check_name(name)):
        return name
    return f"{kind(name)}:{fingerprint(name, root=root)}"


def kind(name: str) -> str:
    """``"folder"`` or ``"parquet"`` for the user's own, or else the name itself.

    >>> kind("folder:~/pictures"), kind("cifar10")
    ('folder', 'cifar10')
    """
    return name.partition(":")[0] if is_own(name) else name


def check_name(name: str) -> str:
    """``name`` if it is one of `names`, or names a place of the user's.

    Raises:
        ValueError: If it does neither; the message lists what exists, and the nearest.

    >>> check_name("folder:~/pictures")
    'folder:~/pictures'
    """
    prefix, separator, path = str(name).partition(":")
    if name in names() or (separator and prefix in _OWN and path):
        return name
    if os.path.exists(name):
        guess = "folder" if os.path.isdir(name) else "parquet"
        hint = f"; did you mean '{guess}:{name}'?"
    else:
        close = difflib.get_close_matches(str(name), names(), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
    msg = (
        f"name of the image set must be one of {', '.join(map(repr, names()))}, or 'folder:PATH' "
        f"or 'parquet:PATH' of your own, got {name!r}{hint}"
    )
    raise ValueError(msg)


def load(
    name: str,
    *,
    split: str,
    root: Path | str | None = None,
    rows: NDArray[np.int64] | None = None,
) -> ImageSet:
    """Images of one split, all of them or only those of ``rows`` in that order.

    Args:
        name: One of `names`, or ``folder:PATH`` or ``parquet:PATH``.
        split: ``"train"`` or ``"test"``.
        root: Folder of the Parquet files in the layout of the Hub: ``mnist/mnist``,
            ``cifar10/plain_text``, ``cifar100/cifar100``. STILLROOM_DATA if None; where that is not
            set either, the files are fetched from the Hub. Other sets need none.
        rows: Numbers of the images; of a big file only these are decoded.

    Raises:
        ValueError: If the name, the split, the root, a file or its schema is not as it must be.

    >>> load("digits", split="train", rows=np.array([3, 0])).labels
    array([3, 0])
    """
    _check_split(split)
    return source(name, root=root).load(split, rows)


def load_labels(name: str, *, split: str, root: Path | str | None = None) -> Labels:
    """Classes of one split without its images, to choose rows by.

    >>> load_labels("digits", split="train").shape
    (1442,)
    """
    _check_split(split)
    return source(name, root=root).labels(split)


def fingerprint(name: str, *, root: Path | str | None = None) -> str:
    """What tells the files of an image set from others; empty where it is always the same.

    Of MNIST and CIFAR it is a digest of the names and sizes of the files and of the first and last
    64 KiB of each: a Parquet file ends with the places and statistics of all that it holds. Of the
    user's own files it is a digest of all their bytes.

    Raises:
        ValueError: If the name is unknown, or the files are not all there.

    >>> fingerprint("digits")
    ''
    """
    return source(name, root=root).fingerprint()


def source(name: str, *, root: Path | str | None = None) -> Source:
    """The place that the image set ``name`` comes from.

    Raises:
        ValueError: If the name is unknown, or the files cannot be found.
    """
    check_name(name)
    if name == "digits":
        return _digits()
    if name in synthetic.names():
        return synthetic.source(name)
    if name in _FILES:
        return _Hub(name, _folder(name, root))
    path = Path(name.partition(":")[2]).expanduser()
    if kind(name) == "folder":
        return folders.ImageFolder(name, path)
    return folders.ParquetFiles(name, path)


def data_root(root: Path | str | None) -> Path | None:
    """The folder of image sets: ``root``, or STILLROOM_DATA, or None."""
    given = root or os.environ.get("STILLROOM_DATA")
    return Path(given) if given else None


@dataclass(frozen=True, slots=True)
class _Hub:
    """Parquet files with the names and columns of a data set of the Hub."""

    name: str
    folder: Path
    costly: bool = True

    def labels(self, split: str) -> Labels:
        return parquet.read_labels(parquet.shards(self.folder, split), _FILES[self.name].label)

    def load(self, split: str, rows: NDArray[np.int64] | None) -> ImageSet:
        files, columns = parquet.shards(self.folder, split), _FILES[self.name]
        labels = parquet.read_labels(files, columns.label)
        pictures = parquet.read_images(files, columns.image, rows)
        classes = parquet.class_names(files, columns.label)
        if classes is None:
            classes = tuple(str(label) for label in range(int(labels.max()) + 1))
        chosen = labels if rows is None else labels[rows]
        return ImageSet(pictures, chosen, classes, name=self.name, split=split)

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for path in (path for split in SPLITS for path in parquet.shards(self.folder, split)):
            size = path.stat().st_size
            digest.update(f"{path.name} {size}\n".encode())
            with path.open("rb") as file:
                digest.update(file.read(_END))
                file.seek(max(size - _END, 0))
                digest.update(file.read(_END))
        return digest.hexdigest()


def _folder(name: str, root: Path | str | None) -> Path:
    """The folder of the Parquet files of ``name``: under the root, or the Hub's cache."""
    folder = _FILES[name].folder
    local = data_root(root)
    if local is not None:
        return local / folder
    return hub.download(name, folder.rpartition("/")[2], root_folder=folder)


def _check_split(split: str) -> None:
    if split not in SPLITS:
        msg = f"split must be one of {', '.join(map(repr, SPLITS))}, got {split!r}"
        raise ValueError(msg)


@cache
def _digits() -> InMemory:
    """scikit-learn's 1,797 handwritten digits; of each class every fifth image is for testing."""
    images, labels = _digits_table()
    testing = every_fifth(labels)
    classes = tuple(str(label) for label in range(10))
    train, test = (
        ImageSet(images[chosen], labels[chosen], classes, name="digits", split=split, white=16)
        for split, chosen in (("train", ~testing), ("test", testing))
    )
    return InMemory(train, test)


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
