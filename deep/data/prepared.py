"""The tensors that a run trains and is judged on."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deep.data import human, sources, synthetic
from deep.data.cache import OpenSplit, open_split
from deep.data.images import ImageSet, Labels
from deep.data.noise import choose_rows, flip_labels, in_turns
from deep.data.spec import DataSpec
from deep.training.streams import stream
from theory import checks
from theory.labels.targets import corrupted


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Images of one split on a device, with their labels."""

    images: Tensor
    """uint8, shape (n, height, width, channels)."""
    labels: Tensor
    """The given labels, noise and human error included: int64, shape (n,)."""
    truth: Tensor
    """The classes of the image set: int64, shape (n,)."""
    posterior: Tensor | None
    """Law of the given label given the image, noise and human error included, where it is known:
    float32 of shape (n, classes)."""
    truth_law: Tensor | None = None
    """Law of the true label given the image, of the same shape, where it is known: of synthetic
    images, and of the test images of CIFAR-10 by what people answer (`deep.data.human`)."""

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """All that a `DataSpec` and a validation share stand for."""

    train: Split
    validation: Split | None
    """Held-out samples with the same label noise, or None."""
    test: Split
    """Never noisy, so that both laws are one: known for synthetic sets, and for CIFAR-10 the
    distribution of human answers, where the data root has CIFAR-10H."""
    class_names: tuple[str, ...]
    white: int
    """The value of full intensity of a pixel."""
    rows: NDArray[np.int64]
    """Numbers of the training samples in the original training split."""
    fingerprint: str
    """Digest of the images and labels of all splits, in their order, and of the laws of the
    training labels. Numbers of two runs can only agree where it does."""

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels


@dataclass(frozen=True, slots=True)
class _Arrays:
    """A split before it becomes tensors."""

    images: ImageSet
    given: Labels
    posterior: NDArray[np.float32] | None
    truth_law: NDArray[np.float32] | None

    def take(self, chosen: NDArray[np.bool_]) -> "_Arrays":
        rows = np.flatnonzero(chosen)
        law = None if self.posterior is None else self.posterior[rows]
        truth_law = law
        if self.truth_law is not self.posterior:
            truth_law = None if self.truth_law is None else self.truth_law[rows]
        return _Arrays(self.images.take(rows), self.given[rows], law, truth_law)

    def split(self, device: torch.device) -> Split:
        def there(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        law = None if self.posterior is None else there(self.posterior)
        truth_law = law
        if self.truth_law is not self.posterior:
            truth_law = None if self.truth_law is None else there(self.truth_law)
        images, truth = self.images.images, self.images.labels
        return Split(there(images), there(self.given), there(truth), law, truth_law)


def prepare(
    spec: DataSpec,
    *,
    validation: float = 0.0,
    root: Path | str | None = None,
    cache: Path | None = None,
    device: str | torch.device = "cpu",
) -> Prepared:
    """Read, choose, label and split as ``spec`` says; equal specs give equal tensors.

    So do copies of the user's own files at other places.

    Labels are flipped before samples are held out, so that those for validation are as noisy as
    the others [Ren 2022, released code].

    Args:
        spec: Which samples and labels.
        validation: Share in [0, 1) of the chosen training samples to hold out, stratified.
        root: Folder of image sets; STILLROOM_DATA, or else the Hub, if None.
        cache: Folder under which decoded images are kept, in ``images/``; None to keep none.
        device: Where the tensors are to be.

    Raises:
        ValueError: If a file is missing, damaged or of another kind, there are too few samples, or
            the device is not there.
        OSError: If the cache cannot be written.

    >>> data = prepare(DataSpec(samples=40, noise=0.25), validation=0.25)
    >>> len(data.train), len(data.validation), data.classes, data.white
    (30, 10, 10, 16)
    """
    place = _device(device)
    if not 0 <= checks.scalar("validation", validation) < 1:
        msg = f"validation must be a share in [0, 1), got {validation}"
        raise ValueError(msg)
    source, found = sources.source(spec.name, root=root), sources.data_root(root)
    name = sources.content_name(spec.name, root=root)
    training = open_split(source, "train", cache)
    rows = _rows(spec, name, training.labels)
    held = _held_out(spec, name, training.labels[rows], validation)
    train = _training(spec, name, training, rows, found)
    test = _testing(spec, open_split(source, "test", cache), found)
    _check_same_kind(train.images, test.images)
    parts = [train] if held is None else [train.take(~held), train.take(held)]
    kept = rows if held is None else rows[~held]
    return Prepared(
        train=parts[0].split(place),
        validation=None if held is None else parts[1].split(place),
        test=test.split(place),
        class_names=train.images.class_names,
        white=train.images.white,
        rows=kept,
        fingerprint=_fingerprint(parts, test),
    )


def _rows(spec: DataSpec, name: str, labels: Labels) -> NDArray[np.int64]:
    size = len(labels) if spec.samples is None else spec.samples
    if size > len(labels):
        msg = f"samples must be at most the {len(labels)} that {spec.name} has, got {size}"
        raise ValueError(msg)
    rng = stream("samples", name, spec.seed)
    rows = choose_rows(labels, size, rng, how=spec.choice)
    # the user's files may stand class by class: the first of them would be of one class
    return in_turns(labels)[rows] if spec.choice == "first" and sources.is_own(spec.name) else rows


def _held_out(spec: DataSpec, name: str, labels: Labels, share: float) -> NDArray[np.bool_] | None:
    """Which of the chosen samples are for validation; at least one, and not all."""
    if not share:
        return None
    size = max(1, round(share * len(labels)))
    if size >= len(labels):
        msg = f"validation must leave samples to train on, got {share} of {len(labels)} samples"
        raise ValueError(msg)
    rng = stream("validation", name, spec.seed)
    held = np.zeros(len(labels), dtype=np.bool_)
    held[choose_rows(labels, size, rng)] = True
    return held


def _training(
    spec: DataSpec, name: str, split: OpenSplit, rows: NDArray[np.int64], root: Path | None
) -> _Arrays:
    """The chosen training samples with their given labels, and the laws of these and of the true.

    ``name`` is what the image set is called wherever its files are.
    """
    if spec.labels == "given":
        given, law = split.labels[rows], None
    else:
        rng = stream("human labels", spec.labels, spec.seed)
        people = human.training_labels(spec.labels, spec.name, split.labels, root=root, rng=rng)
        given = people.given[rows]
        law = None if people.posterior is None else people.posterior[rows]
    images = split.take(rows)
    truth_law = None
    if spec.labels == "given" and spec.name in synthetic.names():
        law = synthetic.posterior(spec.name, images.images)
        truth_law = _single(law)
    if not spec.noise:
        posterior = _single(law) if truth_law is None else truth_law
        return _Arrays(images, given, posterior, truth_law)
    noisy = flip_labels(
        given,
        spec.noise,
        images.classes,
        stream("flips", name, spec.seed),
        include_same=spec.noise_includes_same,
    )
    if law is None and spec.labels == "given":
        law = np.eye(images.classes)[given]
    if law is not None:
        law = corrupted(law, spec.noise, exclude_true=not spec.noise_includes_same)
    return _Arrays(images, noisy, _single(law), truth_law)


def _testing(spec: DataSpec, split: OpenSplit, root: Path | None) -> _Arrays:
    count = len(split.labels)
    kept = count if spec.test_samples is None else min(spec.test_samples, count)
    own = sources.is_own(spec.name)
    rows = np.sort(in_turns(split.labels)[:kept]) if own else np.arange(kept)
    images = split.take(rows)
    if spec.name in synthetic.names():
        law: NDArray[np.float64] | None = synthetic.posterior(spec.name, images.images)
    else:
        law = human.testing_posterior(spec.name, split.labels, root=root)
    single = _single(None if law is None else law[rows])
    return _Arrays(images, images.labels, single, single)


def _single(law: NDArray[np.float64] | None) -> NDArray[np.float32] | None:
    return None if law is None else law.astype(np.float32)


def _check_same_kind(train: ImageSet, test: ImageSet) -> None:
    if train.class_names != test.class_names:
        msg = (
            f"train and test of {train.name} must have the same classes, "
            f"got {train.classes} and {test.classes}"
        )
        raise ValueError(msg)
    if train.images.shape[1:] != test.images.shape[1:]:
        msg = (
            f"images of train and test of {train.name} must have one shape, "
            f"got {train.images.shape[1:]} and {test.images.shape[1:]}"
        )
        raise ValueError(msg)


def _device(device: str | torch.device) -> torch.device:
    try:
        place = torch.device(device)
    except RuntimeError as error:
        msg = f"device must be one that torch knows, such as 'cpu' or 'cuda', got {device!r}"
        raise ValueError(msg) from error
    if place.type == "cuda" and not torch.cuda.is_available():
        msg = f"device must be there: torch sees no GPU, got {device!r}; choose 'cpu'"
        raise ValueError(msg)
    return place


def _fingerprint(training: Iterable[_Arrays], test: _Arrays) -> str:
    digest = hashlib.sha256()
    for part in (*training, test):
        images = part.images
        digest.update(repr((images.images.shape, images.white, images.class_names)).encode())
        for array in (images.images, part.given, images.labels):
            digest.update(np.ascontiguousarray(array).data)
        if part.posterior is not None and part is not test:
            digest.update(np.ascontiguousarray(part.posterior).data)
    return digest.hexdigest()
