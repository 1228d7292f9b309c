"""States of a training on disk, so that a killed run goes on where it was.

A checkpoint is one safetensors file, ``checkpoint-<number>-<SHA-256>.safetensors``, with the facts
as JSON in its metadata. Its name holds the digest of its bytes: name and content come into being by
one rename, so no crash can pair the content of one with the checksum of another. The two newest
stay; a damaged one is passed over.
"""

import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from deep.records.disk import flush_folder, locked, naming, write_whole
from deep.records.encoding import dumps, loads
from deep.records.store import Corrupt

__all__ = [
    "Checkpoint",
    "load",
    "read_facts",
    "read_state",
    "save",
    "weights_bytes",
    "weights_file",
]

KEPT = 2
_ASIDE = ".checkpoint-"
_NAME = re.compile(r"checkpoint-(\d{8,})-([0-9a-f]{64})\.safetensors")
_DTYPES = (
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
)


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A state as it was saved."""

    tensors: dict[str, Tensor]
    """Values by name, contiguous, none sharing memory with another."""
    facts: dict[str, Any]
    """All else; lists where tuples were given."""


def save(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Path:
    """Write a checkpoint, and remove all but the two newest once it is on the disk.

    Killed at any moment, or out of space, the checkpoints before are as they were. Of one folder
    one process saves at a time; any may read meanwhile.

    Args:
        folder: Where it lies; made if it is not there.
        tensors: Values by name, dense, on any device and in any memory layout. Each name gets its
            own copy of the values, also where tensors share memory.
        facts: What JSON can hold, with nan and infinity, as in `deep.records.encoding`.

    Returns:
        The file.

    Raises:
        ValueError: If a tensor or a fact cannot be stored; nothing is written then.
        OSError: If the disk is full or may not be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     path = save(Path(name), {"weight": torch.ones(2)}, {"step": 1})
        ...     load(Path(name)).tensors["weight"]
        tensor([1., 1.])
    """
    content = _encoded(tensors, facts)
    folder.mkdir(parents=True, exist_ok=True)
    _clear(folder)
    _prune(folder)  # where it was killed before it came to that
    number = 1 + max((number for number, _ in _found(folder)), default=0)
    digest = hashlib.sha256(content).hexdigest()
    path = folder / f"checkpoint-{number:08d}-{digest}.safetensors"
    # Its lock tells the remains of a dead process from what a living one writes; with the lock
    # goes the file, unless it has got its name by then.
    aside = folder / f"{_ASIDE}{token_hex(8)}"
    with naming(path), locked(aside):
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
        flush_folder(folder)
    _prune(folder)
    return path


def load(folder: Path, *, device: torch.device | str = "cpu") -> Checkpoint | None:
    """The newest checkpoint that is whole, or None if there is none.

    A damaged one is reported by a `Corrupt` warning, renamed to ``damaged-...`` and passed over.

    Args:
        folder: Where they lie; it may be missing.
        device: Where the tensors are wanted.

    Raises:
        PermissionError: If they may not be read.
    """
    if not folder.is_dir():
        return None
    _clear(folder)
    for _, path in _found(folder):
        try:
            return _decoded(path.read_bytes(), path, device)
        except FileNotFoundError:  # newer ones came meanwhile
            return load(folder, device=device)
        except PermissionError:
            raise
        except (OSError, ValueError) as damage:
            with suppress(OSError):
                path.rename(path.with_name(f"damaged-{path.name}"))
            text = f"checkpoint {path} is damaged: {damage}; the one before it is used, if any"
            warnings.warn(text, Corrupt, 2)
    return None


def weights_bytes(state: Mapping[str, Tensor]) -> bytes:
    """Weights as the content of a safetensors file; equal weights, equal bytes.

    Raises:
        ValueError: If a tensor cannot be stored.
    """
    return _encoded(state, {})


def weights_file(
    path: Path, state: Mapping[str, Tensor], *, facts: Mapping[str, Any] | None = None
) -> Path:
    """Write weights as safetensors, whole or not at all; equal weights and facts, equal bytes.

    Args:
        path: The file; its folder exists.
        state: Tensors by name, as ``state_dict()`` gives them.
        facts: What else to say of them, kept in the metadata.

    Raises:
        ValueError: If a tensor or a fact cannot be stored.
        OSError: If the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     path = weights_file(Path(name) / "weights", {"bias": torch.zeros(1)})
        ...     read_state(path)
        {'bias': tensor([0.])}
    """
    write_whole(path, _encoded(state, facts or {}))
    return path


def read_state(path: Path, *, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Tensors by name from a safetensors file, of `weights_file` or of anyone.

    Raises:
        ValueError: If it is no such file, or a truncated one.
        FileNotFoundError: If it is not there.
    """
    return _tensors(path.read_bytes(), path, device)


def read_facts(path: Path) -> dict[str, Any]:
    """What `weights_file` was told beside the weights; empty for a file of someone else.

    Raises:
        ValueError: If it is no safetensors file.
        FileNotFoundError: If it is not there.
    """
    with path.open("rb") as file:
        # the beginning suffices, however large the weights are
        head = file.read(8)
        return _facts(head + file.read(min(_header_length(head), path.stat().st_size)), path)


def _found(folder: Path) -> list[tuple[int, Path]]:
    """Checkpoints by number, the newest first."""
    names = [(match, path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return sorted(((int(match[1]), path) for match, path in names), reverse=True)


def _prune(folder: Path) -> None:
    """Remove all but the newest."""
    for _, path in _found(folder)[KEPT:]:
        with suppress(OSError):
            path.unlink()


def _clear(folder: Path) -> None:
    """Remove what killed processes left; a folder that may only be read stays as it is."""
    for path in folder.glob(f"{_ASIDE}*"):
        with suppress(OSError), locked(path, wait=False):
            pass  # whoever gets the lock removes the file when done


def _encoded(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bytes:
    # One entry of metadata: safetensors writes several in an order that changes.
    metadata = {"facts": dumps({"facts": dict(facts)})}
    return safetensors.torch.save(dict(_separate(tensors.items())), metadata)


def _separate(tensors: Iterable[tuple[object, object]]) -> Iterable[tuple[str, Tensor]]:
    """Each tensor contiguous in main memory, with memory of its own."""
    seen = set()
    for name, tensor in tensors:
        if not isinstance(name, str) or not name or name == "__metadata__":
            msg = f"the name of a tensor must be text other than '__metadata__', got {name!r}"
            raise ValueError(msg)
        _check(name, tensor)
        held = tensor.detach().cpu().contiguous()  # type: ignore[attr-defined]
        memory = held.untyped_storage().data_ptr()
        if memory and memory in seen:
            held = held.clone()
        seen.add(memory)
        yield name, held


def _check(name: str, tensor: object) -> None:
    if not isinstance(tensor, Tensor):
        msg = f"{name!r} of a checkpoint must be a tensor, got {type(tensor).__name__}"
        raise ValueError(msg)  # noqa: TRY004  # bad input is a ValueError throughout
    if tensor.layout != torch.strided or tensor.is_meta or tensor.dtype not in _DTYPES:
        msg = (
            f"{name!r} of a checkpoint must be a dense tensor of real numbers or booleans, got "
            f"{tensor.dtype} in layout {tensor.layout} on {tensor.device}"
        )
        raise ValueError(msg)


def _decoded(content: bytes, path: Path, device: torch.device | str) -> Checkpoint:
    """A checkpoint from the bytes of the file ``path``, or ValueError."""
    match = _NAME.fullmatch(path.name)
    if match is None or hashlib.sha256(content).hexdigest() != match[2]:
        msg = "its bytes are not those that its name tells"
        raise ValueError(msg)
    return Checkpoint(_tensors(content, path, device), _facts(content, path))


def _tensors(content: bytes, path: Path, device: torch.device | str) -> dict[str, Tensor]:
    try:
        held = safetensors.torch.load(content)
    except SafetensorError as error:
        msg = f"{path} must be a whole safetensors file, got one that cannot be read ({error})"
        raise ValueError(msg) from error
    return {name: tensor.to(device) for name, tensor in held.items()}


def _header_length(content: bytes) -> int:
    return int.from_bytes(content[:8], "little")


def _facts(content: bytes, path: Path) -> dict[str, Any]:
    """The facts in the header: its length in 8 bytes, then JSON (the format of safetensors)."""
    try:
        metadata = json.loads(content[8 : 8 + _header_length(content)]).get("__metadata__", {})
        return dict(loads(metadata["facts"])["facts"]) if "facts" in metadata else {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"{path} must be a safetensors file, got one whose header cannot be read"
        raise ValueError(msg) from error
