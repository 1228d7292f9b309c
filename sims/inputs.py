"""Data of an experiment: the embedded digits, or the user's own file."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from theory import checks

_SMALLEST, _LARGEST = 1e-70, 1e70  # norms of X and y whose quotients can still be squared


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Samples and what is to be learned of them."""

    name: str
    """What to call it in a caption."""
    X: NDArray[np.float64]
    """Features, shape (n, p)."""
    y: NDArray[np.float64] | NDArray[np.int64]
    """Class labels (n,) as integers, or real targets (n,) or (n, K)."""

    @property
    def classes(self) -> int | None:
        """Number of classes where ``y`` holds labels; None where it holds real targets."""
        return len(np.unique(self.y)) if self.y.dtype.kind == "i" else None

    def targets(self) -> NDArray[np.float64]:
        """What regression learns: real targets as they are, labels as rows of a one-hot code.

        Example:
            >>> Dataset("two", np.eye(2), np.array([0, 1])).targets()
            array([[1., 0.],
                   [0., 1.]])
        """
        if self.y.dtype.kind != "i":
            return self.y.astype(np.float64, copy=False)
        codes = np.unique(self.y, return_inverse=True)[1]
        return np.eye(codes.max() + 1)[codes]

    def subset(self, samples: int, rng: np.random.Generator) -> "Dataset":
        """``samples`` of the samples, drawn without replacement (all, if there are no more)."""
        if samples >= len(self.X):
            return self
        chosen = np.sort(rng.choice(len(self.X), size=samples, replace=False))
        return Dataset(self.name, self.X[chosen], self.y[chosen])


def dataset(data: Path | None = None) -> Dataset:
    """The user's file where one is named, else the embedded digits."""
    return digits() if data is None else read(data)


def digits() -> Dataset:
    """Scikit-learn's 1797 real handwritten digits, 8 x 8 pixels in [0, 1], labels 0 to 9.

    In the order of ``deep.data``: the images for training, then those for testing.

    Example:
        >>> digits().X.shape, digits().classes
        ((1797, 64), 10)
    """
    from deep.data import sources

    splits = [sources.load("digits", split=split) for split in ("train", "test")]
    pixels = np.concatenate([split.pixels() for split in splits])
    return Dataset("digits", pixels, np.concatenate([split.labels for split in splits]))


def read(path: Path) -> Dataset:
    """Arrays ``X`` (n, p) and ``y`` of an npz file; nothing in it is unpickled.

    Integer ``y`` of shape (n,) are class labels; real ``y`` of shape (n,) or (n, K) are targets.

    Raises:
        ValueError: If there is no such file, or it does not hold what is required; the message
            names the file, what was required and what came.
    """
    path = Path(path)
    arrays, names = _arrays(path)
    missing = [name for name in ("X", "y") if name not in arrays]
    if missing:
        held = ", ".join(sorted(names)) or "nothing"
        msg = f"{path} must hold arrays X and y, {' and '.join(missing)} not found; it holds {held}"
        raise ValueError(msg)
    features = checks.matrix(f"X of {path}", arrays["X"])
    if features.shape[0] < 2:
        msg = f"X of {path} must have at least two rows (samples), got shape {features.shape}"
        raise ValueError(msg)
    _square(f"X of {path}", features)
    found = arrays["y"]
    targets = checks.columns(f"y of {path}", found, features.shape[0], of="row of X")
    if found.dtype.kind in "iub" and found.ndim == 1:
        return Dataset(path.stem, features, found.astype(np.int64))
    _square(f"y of {path}", targets)
    return Dataset(path.stem, features, targets)


def _square(name: str, values: NDArray[np.float64]) -> None:
    """Refuse what cannot be squared: eigenvalues and energies are squares.

    Raises:
        ValueError: If the norm of ``values`` is not 0 and its square is too large or too small.
    """
    largest = float(np.abs(values).max())
    if largest == 0.0:
        return
    norm = largest * float(np.linalg.norm(values / largest))
    if not _SMALLEST <= norm <= _LARGEST:
        msg = (
            f"{name} must have a norm between {_SMALLEST:g} and {_LARGEST:g}, for squares "
            f"must be floats, got {norm:g}; scale it"
        )
        raise ValueError(msg)


def _arrays(path: Path) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Those of the arrays ``X`` and ``y`` that an npz file holds, and the names of all."""
    if not path.is_file():
        msg = f"data must be an npz file with arrays X and y, got {path}, which is " + (
            "a folder" if path.is_dir() else "not there"
        )
        raise ValueError(msg)
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
        with np.load(path, allow_pickle=False) as held:
            arrays: dict[str, NDArray[Any]] = {n: held[n] for n in names if n in ("X", "y")}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, KeyError) as error:
        why = "holds Python objects" if "allow_pickle" in str(error) else "cannot be read"
        msg = f"{path} must be an npz file of numeric arrays X and y, but it {why} ({error})"
        raise ValueError(msg) from error
    return arrays, names
