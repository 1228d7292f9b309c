"""The user's own images: a folder of image files, or Parquet files in the schema of the Hub.

- ``folder:PATH``: ``PATH/train/<class>/<file>`` and ``PATH/test/<class>/<file>``, PNG, JPEG, WebP
  or BMP. The classes are the folders of ``train`` in the order of their names, the samples of a
  split stand in the order of their paths.
- ``parquet:PATH``: a folder of ``train*.parquet`` and ``test*.parquet``, or one file, of which
  every fifth sample of each class is for testing. A column holds images as ``struct<bytes, path>``,
  another classes as integers; where there are several of either, ``image`` or ``img`` and
  ``label`` or ``fine_label`` are meant.

All images of a set must have one shape. Where only some samples are asked for by their place, the
classes take turns (`deep.data.noise.in_turns`), for the files may stand class by class. Content
counts, and not the place: random streams are those of the digest of all files, so a copy of the
folder gives the same samples, flips and splits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from deep.data import digests, parquet
from deep.data.images import Bytes, ImageSet, Labels
from deep.data.source import SPLITS, Rows, every_fifth

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_IMAGES = ("image", "img")
_LABELS = ("label", "fine_label")


@dataclass(frozen=True)
class ImageFolder:
    """Image files in a folder for each split and class."""

    name: str
    path: Path
    costly: bool = True

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Folders of the training split."""
        return tuple(folder.name for folder in self._class_folders("train"))

    def labels(self, split: str) -> Labels:
        """Classes of one split."""
        return np.array([label for _, label in self._files(split)], dtype=np.int64)

    def load(self, split: str, rows: Rows | None) -> ImageSet:
        """Images of ``rows``, decoded."""
        files = self._files(split)
        chosen = np.arange(len(files)) if rows is None else np.asarray(rows, dtype=np.int64)
        parquet.check_rows(chosen, len(files))
        paths = [files[row][0] for row in chosen]
        encoded = ((_bytes(path), str(path)) for path in paths)
        images = parquet.decoded(encoded, len(paths), str(self.path / split))
        labels = np.array([files[row][1] for row in chosen], dtype=np.int64)
        return ImageSet(images, labels, self.class_names, name=self.name, split=split)

    def fingerprint(self) -> str:
        """Digest of the classes, and of the relative paths and contents of all files."""
        files = [path for split in SPLITS for path, _ in self._files(split)]
        named = ((path.relative_to(self.path).as_posix(), path) for path in files)
        return digests.of_files(named, about=repr(self.class_names))

    def _class_folders(self, split: str) -> list[Path]:
        folder = self.path / split
        found = sorted(path for path in _visible(folder) if path.is_dir())
        if not found:
            msg = f"{folder} must be a folder that holds a folder of images for each class"
            raise ValueError(msg)
        return found

    def _files(self, split: str) -> list[tuple[Path, int]]:
        held = []
        for folder in self._class_folders(split):
            if folder.name not in self.class_names:
                msg = (
                    f"classes of {self.path / split} must be among the {len(self.class_names)} of "
                    f"the training split, got {folder.name!r}"
                )
                raise ValueError(msg)
            label = self.class_names.index(folder.name)
            for path in sorted(_visible(folder)):
                if path.suffix.lower() not in ENDINGS:
                    msg = f"{path} must be an image file ({', '.join(ENDINGS)}) or be moved away"
                    raise ValueError(msg)
                held.append((path, label))
        if not held:
            msg = f"{self.path / split} must hold at least one image, got none"
            raise ValueError(msg)
        return held


@dataclass(frozen=True)
class ParquetFiles:
    """Images and classes in columns of the user's Parquet files."""

    name: str
    path: Path
    costly: bool = True

    def labels(self, split: str) -> Labels:
        """Classes of one split."""
        return self._labels[split]

    def load(self, split: str, rows: Rows | None) -> ImageSet:
        """Images of ``rows``, decoded."""
        labels = self.labels(split)
        chosen = np.arange(len(labels)) if rows is None else np.asarray(rows, dtype=np.int64)
        parquet.check_rows(chosen, len(labels))
        images = self._images(split, chosen)
        return ImageSet(images, labels[chosen], self.class_names, name=self.name, split=split)

    def fingerprint(self) -> str:
        """Digest of the contents of all files, and of their names where there are several."""
        if self.path.is_file():
            return digests.of_files([("", self.path)])
        return digests.of_files((path.name, path) for path in self._all_files)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """As the metadata of the file give them; else numbers up to the largest label."""
        named = parquet.class_names(self._all_files, self._columns[1])
        if named is not None:
            return named
        most = max(int(labels.max(initial=0)) for labels in self._labels.values())
        return tuple(str(label) for label in range(most + 1))

    @cached_property
    def _files(self) -> dict[str, tuple[Path, ...]]:
        """Files by split; one file alone counts for both."""
        if self.path.is_file():
            return dict.fromkeys(SPLITS, (self.path,))
        held = {split: tuple(sorted(self.path.glob(f"{split}*.parquet"))) for split in SPLITS}
        missing = [split for split, files in held.items() if not files]
        if missing:
            msg = (
                f"{self.path} must be a Parquet file, or a folder of train*.parquet and "
                f"test*.parquet; there is no {self.path}/{missing[0]}*.parquet"
            )
            raise ValueError(msg)
        return held

    @property
    def _all_files(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(path for split in SPLITS for path in self._files[split]))

    @cached_property
    def _columns(self) -> tuple[str, str]:
        kinds = parquet.columns(self._all_files[0])
        images = [name for name, kind in kinds.items() if kind == parquet.IMAGE]
        labels = [name for name, kind in kinds.items() if kind in parquet.INTEGERS]
        where = f"{self._all_files[0]} must hold a column of"
        return (
            _only(images, _IMAGES, f"{where} images ({parquet.IMAGE})", kinds),
            _only(labels, _LABELS, f"{where} classes (integers)", kinds),
        )

    @cached_property
    def _labels(self) -> dict[str, Labels]:
        held = {
            split: parquet.read_labels(files, self._columns[1])
            for split, files in self._files.items()
        }
        if self.path.is_file():
            testing = every_fifth(held["train"])
            held = {"train": held["train"][~testing], "test": held["test"][testing]}
        for split, labels in held.items():
            if not len(labels):
                msg = (
                    f"{self.path} must hold samples for {split}, got none; give more of each class"
                )
                raise ValueError(msg)
        return held

    def _images(self, split: str, rows: Rows) -> Bytes:
        if self.path.is_file():
            whole = parquet.read_labels(self._files[split], self._columns[1])
            rows = np.flatnonzero(every_fifth(whole) == (split == "test"))[rows]
        return parquet.read_images(self._files[split], self._columns[0], rows)


def _only(found: Sequence[str], usual: Sequence[str], what: str, kinds: dict[str, str]) -> str:
    """The one column found, or of several the one with a usual name."""
    if len(found) == 1:
        return found[0]
    for name in usual:
        if name in found:
            return name
    listed = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
    hint = f"; call the one that is meant {usual[0]!r}" if found else ""
    msg = f"{what}, got {listed}{hint}"
    raise ValueError(msg)


def _visible(folder: Path) -> list[Path]:
    if not folder.is_dir():
        msg = (
            f"there must be a folder {folder}; the images stand in train/<class>/ and test/<class>/"
        )
        raise ValueError(msg)
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise digests.unreadable(path, error) from error
