"""Decoded images on disk: what took seconds to decode is read in a fraction of one.

One entry of a `deep.records.store.Store` holds one split as it came from its files, uint8, under
``<cache>/images/<digest>``: written aside, flushed and renamed into place, checked by SHA-256 when
it is read, made once however many processes ask. A damaged entry is set aside and decoded again.
The digest names the content of the source files, not their place.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from deep.data.images import ImageSet, Labels
from deep.data.source import Rows, Source
from deep.records.store import Entry, Store, content_key

_FORMAT = 1
_WORTHWHILE = 0.1
"""Share of a split from which all of it is decoded and kept; fewer rows are decoded alone."""


@dataclass(frozen=True, slots=True)
class OpenSplit:
    """One split of a source, decoded already or not."""

    source: Source
    split: str
    labels: Labels
    """Classes of the whole split."""
    whole: ImageSet | None
    """All its images, where they are at hand."""
    keep: tuple[Store, str] | None
    """Where they are to be kept, and by which key."""

    def take(self, rows: Rows) -> ImageSet:
        """The images of ``rows``, in that order."""
        if self.whole is not None:
            return self.whole.take(rows)
        if self.keep is None or rows.size < _WORTHWHILE * len(self.labels):
            return self.source.load(self.split, rows)
        store, key = self.keep
        entry = store.get_or_make(key, lambda: _encoded(self.source.load(self.split, None)))
        return _named(_images(entry), self.source).take(rows)


def open_split(source: Source, split: str, cache: Path | None) -> OpenSplit:
    """One split of ``source``, from the folder ``cache`` if it is there.

    Raises:
        ValueError: If files of the source are missing or damaged.
        OSError: If the entry cannot be written, such as on a full disk; nothing of it is left.
    """
    if cache is None or not source.costly:
        return OpenSplit(source, split, source.labels(split), None, None)
    content = {"format": _FORMAT, "split": split, "files": source.fingerprint()}
    store, key = Store(Path(cache) / "images", check=_images), content_key(content)
    entry = store.get(key)
    if entry is None:
        return OpenSplit(source, split, source.labels(split), None, (store, key))
    images = _named(_images(entry), source)
    return OpenSplit(source, split, images.labels, images, None)


def _encoded(images: ImageSet) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    arrays: dict[str, NDArray[Any]] = {"images": images.images, "labels": images.labels}
    record: dict[str, Any] = {
        "name": images.name,
        "split": images.split,
        "white": images.white,
        "class_names": images.class_names,
    }
    return arrays, record


def _named(images: ImageSet, source: Source) -> ImageSet:
    """With the name that they have now: they may have been decoded at another place."""
    return replace(images, name=source.name)


def _images(entry: Entry) -> ImageSet:
    """The images of an entry; ValueError, TypeError or KeyError if it holds none."""
    record = entry.record
    return ImageSet(
        entry.arrays["images"],
        entry.arrays["labels"],
        tuple(record["class_names"]),
        name=record["name"],
        split=record["split"],
        white=int(record["white"]),
    )
