"""What people say that the images of CIFAR show: CIFAR-10H, CIFAR-10N and CIFAR-100N.

| file under the root | holds | source |
|---|---|---|
| ``cifar10h/probs.npy`` or ``counts.npy`` | about 50 answers for each test image of CIFAR-10 | Peterson et al. 2019 |
| ``cifar10n/cifar10n.npz`` | three answers for each training image of CIFAR-10 | Wei et al. 2022 |
| ``cifar100n/cifar100n.npz`` | one answer for each training image of CIFAR-100 | Wei et al. 2022 |

Label sets, by the name that `deep.data.spec.DataSpec` gives them:

- ``cifar10n-random1`` to ``-random3``: the answer of one person an image;
- ``cifar10n-mean``: one of these three, drawn for each image;
- ``cifar10n-aggre``: the majority of the three; ``cifar10n-worse``: a wrong one if there is any;
- ``cifar100n-noisy``: the one answer there is.

The mean of the three answers is the law of the given label for ``-mean`` exactly, for
``-random1`` to ``-random3`` its estimate from three draws. Of the others no law is known.
"""  # noqa: E501

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deep.data.images import Labels

Array = NDArray[np.float64]

RANDOM = ("random1", "random2", "random3")
_SETS = {
    "cifar10": ("cifar10n", ("aggre", "worse", *RANDOM, "mean"), 10),
    "cifar100": ("cifar100n", ("noisy",), 100),
}
_AGREEMENT = 0.9
"""Least share of test images whose most frequent answer is their class; it is .992."""


@dataclass(frozen=True, slots=True)
class HumanLabels:
    """Labels that people gave to all images of a training split."""

    given: Labels
    """Shape (n,)."""
    posterior: Array | None
    """Law of the given label given the image, shape (n, classes), where it is known."""


def label_sets(name: str) -> tuple[str, ...]:
    """Names of the human labels that fit the image set ``name``.

    >>> label_sets("cifar100"), label_sets("digits")
    (('cifar100n-noisy',), ())
    """
    if name not in _SETS:
        return ()
    folder, kinds, _ = _SETS[name]
    return tuple(f"{folder}-{kind}" for kind in kinds)


def training_labels(
    labels: str, name: str, truth: Labels, *, root: Path | None, rng: np.random.Generator
) -> HumanLabels:
    """The human labels ``labels`` of the training images of ``name``.

    Args:
        labels: One of `label_sets`.
        name: The image set.
        truth: Classes of its training images, which ``clean`` of the file must equal.
        root: The data root.
        rng: Which of three answers is given, for ``cifar10n-mean``.

    Raises:
        ValueError: If the file is not there, is damaged, or belongs to other images.
    """
    folder, _, classes = _SETS[name]
    kind = labels.removeprefix(f"{folder}-")
    path = _path(root, folder)
    kinds = RANDOM if kind in (*RANDOM, "mean") else (kind,)
    arrays = _read(path, ("clean", *kinds))
    for array in arrays.values():
        _check_labels(path, array, classes, len(truth))
    if not np.array_equal(arrays["clean"], truth):
        differing = int((arrays["clean"] != truth).sum())
        msg = (
            f"clean labels of {path} must equal the classes of the training images of {name}, "
            f"but {differing} of {len(truth)} differ: the images stand in another order"
        )
        raise ValueError(msg)
    if len(kinds) == 1:
        return HumanLabels(arrays[kind], None)
    answers = np.stack([arrays[one] for one in RANDOM])
    posterior = np.stack([np.eye(classes)[answer] for answer in answers]).mean(axis=0)
    if kind == "mean":
        chosen = rng.integers(0, len(answers), len(truth))
        return HumanLabels(answers[chosen, np.arange(len(truth))], posterior)
    return HumanLabels(arrays[kind], posterior)


def files(name: str, labels: str, *, root: Path | None) -> tuple[tuple[str, Path], ...]:
    """Files that the labels ``labels`` of an image set and the answers to its test images are from.

    Args:
        name: The image set.
        labels: One of its `label_sets`, or another word for labels that people did not give.
        root: The data root.

    Returns:
        Each with its path under the root, in a fixed order.

    Raises:
        ValueError: If the labels are not there; the answers may be absent.
    """
    found = []
    if labels in label_sets(name):
        found.append(_path(root, _SETS[name][0]))
    answers = _answers(name, root)
    if answers is not None:
        found.append(answers)
    return tuple((f"{path.parent.name}/{path.name}", path) for path in found)


def testing_posterior(name: str, truth: Labels, *, root: Path | None) -> Array | None:
    """Distribution of human answers to each test image; None where there is none.

    Args:
        name: The image set; there are answers for ``"cifar10"``.
        truth: Classes of its test images.
        root: The data root.

    Raises:
        ValueError: If the file is there but damaged, or belongs to other images.
    """
    path = _answers(name, root)
    return None if path is None else _distributions(path, truth)


def _answers(name: str, root: Path | None) -> Path | None:
    """The file of human answers to the test images, where there is one."""
    if name != "cifar10" or root is None:
        return None
    places = (root / "cifar10h" / file for file in ("probs.npy", "counts.npy"))
    return next((path for path in places if path.is_file()), None)


def _distributions(path: Path, truth: Labels) -> Array:
    table = _load(path)
    if isinstance(table, dict):
        msg = f"{path} must be an npy file, got an npz file"
        raise ValueError(msg)  # noqa: TRY004  # bad input is a ValueError throughout
    if table.shape != (len(truth), 10) or table.dtype.kind not in "iuf":
        got = f"{table.dtype} {table.shape}"
        msg = f"{path} must hold numbers of shape ({len(truth)}, 10), got {got}"
        raise ValueError(msg)
    counts = table.astype(np.float64)
    sums = counts.sum(axis=1, keepdims=True)
    if not (np.isfinite(counts).all() and counts.min() >= 0 and sums.min() > 0):
        msg = f"{path} must hold counts or shares >= 0, and some in every row"
        raise ValueError(msg)
    agreement = float((counts.argmax(axis=1) == truth).mean())
    if agreement < _AGREEMENT:
        msg = (
            f"the most frequent answer of {path} must be the class of at least {_AGREEMENT:.0%} "
            f"of the test images, it is for {agreement:.1%}: the images stand in another order"
        )
        raise ValueError(msg)
    return np.asarray(counts / sums)


def _path(root: Path | None, folder: str) -> Path:
    file = f"{folder}.npz"
    if root is None or not (root / folder / file).is_file():
        where = "a folder of image sets" if root is None else str(root)
        msg = (
            f"human labels are read from {folder}/{file} in {where}, which is not there; give the "
            "folder that holds it by --data-root or STILLROOM_DATA"
        )
        raise ValueError(msg)
    return root / folder / file


def _read(path: Path, wanted: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    loaded = _load(path)
    if isinstance(loaded, np.ndarray):
        msg = f"{path} must be an npz file"
        raise ValueError(msg)  # noqa: TRY004  # bad input is a ValueError throughout
    missing = [name for name in wanted if name not in loaded]
    if missing:
        msg = f"{path} must hold {', '.join(wanted)}; it holds {', '.join(loaded)}"
        raise ValueError(msg)
    return {name: loaded[name] for name in wanted}


def _load(path: Path) -> NDArray[Any] | dict[str, NDArray[Any]]:
    """The array of an npy file, or those of an npz file by name; nothing is unpickled."""
    try:
        with path.open("rb") as file:  # numpy leaves a damaged file open that it opened itself
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            with loaded:
                return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        msg = f"{path} must be a whole file of NumPy arrays; it is damaged ({error})"
        raise ValueError(msg) from error


def _check_labels(path: Path, labels: NDArray[Any], classes: int, count: int) -> None:
    good = labels.dtype == np.int64 and labels.shape == (count,)
    if not good or labels.min() < 0 or labels.max() >= classes:
        msg = (
            f"labels of {path} must be int64 of shape ({count},) in 0 .. {classes - 1}, "
            f"got {labels.dtype} {labels.shape}"
        )
        raise ValueError(msg)
