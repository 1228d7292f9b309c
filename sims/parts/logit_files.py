"""Logits and labels from the user's own files: npy, or npz; nothing is unpickled."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SAVE = 'np.save("logits.npy", logits)'
_TORCH = "save it from PyTorch by np.save(FILE, logits.detach().float().cpu().numpy())"
_MAGIC = b"\x93NUMPY"
_LOGITS, _LABELS = "logits", "labels"


@dataclass(frozen=True, slots=True, eq=False)
class LogitFile:
    """What a file holds."""

    logits: NDArray[Any]
    """As it lies there; of an npy file a memory map."""
    labels: NDArray[Any] | None
    """The array ``labels`` of an npz file, if there is one."""


def read_logits(path: Path, *, what: str = "teacher") -> LogitFile:
    """The logits of one network.

    Args:
        path: An npy file, or an npz file with one array of any name, or with ``logits`` among
            others. An array ``labels`` beside it is taken for the true classes.
        what: Whose logits they are, for error messages.

    Raises:
        ValueError: If there is no such file, or it holds something else; the message names the
            file, what was required and what came.
    """
    held = _arrays(Path(path), what)
    labels = held.pop(_LABELS, None) if len(held) > 1 else None
    if len(held) > 1 and _LOGITS not in held:
        msg = (
            f"{what} {path} must hold one array, or one called {_LOGITS!r}; it holds "
            f"{', '.join(sorted(held))}"
        )
        raise ValueError(msg)
    return LogitFile(held[_LOGITS] if _LOGITS in held else next(iter(held.values())), labels)


def read_labels(path: Path) -> NDArray[Any]:
    """The true classes of the samples: an npy file, or one array of an npz file.

    Raises:
        ValueError: As `read_logits`.
    """
    held = _arrays(Path(path), _LABELS)
    if len(held) > 1 and _LABELS not in held:
        msg = (
            f"{_LABELS} {path} must hold one array, or one called {_LABELS!r}; it holds "
            f"{', '.join(sorted(held))}"
        )
        raise ValueError(msg)
    return held[_LABELS] if _LABELS in held else next(iter(held.values()))


def _arrays(path: Path, what: str) -> dict[str, NDArray[Any]]:
    """The arrays of a file by name; that of an npy file has the name ``logits``."""
    if not path.is_file():
        why = "is a folder" if path.is_dir() else "is not there"
        msg = f"{what} must be an npy or npz file, but {path} {why}"
        raise ValueError(msg)
    with path.open("rb") as file:
        numpys = file.read(len(_MAGIC)) == _MAGIC
    zipped = zipfile.is_zipfile(path)
    if not numpys and not zipped:
        hint = _TORCH if path.suffix in (".pt", ".pth", ".bin") else f"write it by {_SAVE}"
        msg = f"{what} must be an npy or npz file, but {path} is none; {hint}"
        raise ValueError(msg)
    try:
        if zipped:
            return _members(path)
        return {_LOGITS: np.load(path, mmap_mode="r", allow_pickle=False)}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, KeyError) as error:
        if isinstance(error, _NoArray):
            msg = f"{what} {path} {error}"
        elif "allow_pickle" in str(error) or "Python objects" in str(error):
            msg = (
                f"{what} must be an npy or npz file, but {path} holds Python objects, which are "
                f"not unpickled; save a plain array by {_SAVE}"
            )
        else:
            msg = f"{what} must be an npy or npz file, but {path} cannot be read ({error})"
        raise ValueError(msg) from error


class _NoArray(ValueError):
    """An archive without arrays."""


def _members(path: Path) -> dict[str, NDArray[Any]]:
    """Those of the arrays of an npz file that may be wanted."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    arrays = [name.removesuffix(".npy") for name in names if name.endswith(".npy")]
    if not arrays:
        hint = f"; {_TORCH}" if any(name.endswith("data.pkl") for name in names) else ""
        msg = f"must hold an array, but there is none in it{hint}"
        raise _NoArray(msg)
    wanted = {name for name in arrays if name in (_LOGITS, _LABELS)}
    if len(arrays) == 1 or (_LOGITS not in wanted and len(set(arrays) - wanted) == 1):
        wanted = set(arrays)
    with np.load(path, allow_pickle=False) as held:
        # of what is not wanted the name alone, for the message
        return {name: held[name] if name in wanted else np.empty(0) for name in arrays}
