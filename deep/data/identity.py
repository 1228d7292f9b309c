"""What tells the samples and labels of one `DataSpec` from those of others with equal fields."""

from pathlib import Path

from deep.data import digests, human, sources
from deep.data.spec import DataSpec


def fingerprint_of(spec: DataSpec, *, root: Path | str | None = None) -> str:
    """Digest of all files that the samples of ``spec`` and what is known of them come from.

    Those are the images (`deep.data.sources.fingerprint`), the file of the labels if people gave
    them, and for CIFAR-10 that of the human answers to the test images, where the root has one.
    Empty where there are no files. Contents count, and not the place.

    Raises:
        ValueError: If a file is missing or cannot be read.

    >>> fingerprint_of(DataSpec(name="digits"))
    ''
    """
    images = sources.fingerprint(spec.name, root=root)
    said = human.files(spec.name, spec.labels, root=sources.data_root(root))
    return digests.of_files(said, about=images) if said else images
