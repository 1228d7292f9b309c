"""Images and labels from Parquet files in the schema of their Hub data sets.

A column holds one encoded image a row as ``struct<bytes, path>``, another its class. Of a big file
only the rows asked for are decoded, and only the row groups that hold them are read.
"""

import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deep.data.images import Bytes, Labels

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.parquet$")


def shards(folder: Path, split: str) -> tuple[Path, ...]:
    """Files of ``split`` in ``folder``, in the order of their names, none missing.

    Raises:
        ValueError: If there is none, or one is missing; it names the folder, the file names looked
            for and how the root of the data is given.
    """
    found = tuple(sorted(folder.glob(f"{split}-*.parquet")))
    pattern = f"{folder}/{split}-00000-of-*.parquet"
    if not found:
        msg = f"no file {pattern}; give the folder of image sets by --data-root or STILLROOM_DATA"
        raise ValueError(msg)
    numbers = [_SHARD.search(path.name) for path in found]
    if not all(numbers):
        odd = next(path.name for path, number in zip(found, numbers, strict=True) if not number)
        msg = f"file names in {folder} must end in -NNNNN-of-NNNNN.parquet, got {odd}"
        raise ValueError(msg)
    held = [int(number[1]) for number in numbers if number]
    totals = {int(number[2]) for number in numbers if number}
    if len(totals) != 1 or held != list(range(totals.pop())):
        msg = f"files of {pattern} must be complete, got {', '.join(path.name for path in found)}"
        raise ValueError(msg)
    return found


def read_labels(files: Sequence[Path], column: str) -> Labels:
    """All classes in ``column`` of ``files``, shape (n,)."""
    parts = [_open(path, {column: "int64"}).read(columns=[column])[column] for path in files]
    missing = sum(part.null_count for part in parts)
    if missing:
        where = f"column {column!r} of {files[0].parent}"
        msg = f"{where} must hold a class in every row, {missing} do not"
        raise ValueError(msg)
    return np.concatenate([part.to_numpy() for part in parts]).astype(np.int64, copy=False)


def read_images(files: Sequence[Path], column: str, rows: NDArray[np.int64] | None) -> Bytes:
    """Decoded images of ``rows`` (None: all), in that order: (n, height, width, channels)."""
    opened = [_open(path, {column: "struct<bytes: binary, path: string>"}) for path in files]
    total = sum(file.metadata.num_rows for file in opened)
    wanted = np.arange(total) if rows is None else np.asarray(rows, dtype=np.int64)
    if wanted.size == 0 or wanted.min() < 0 or wanted.max() >= total:
        msg = f"rows must be at least one number in 0 .. {total - 1}, got {_span(wanted)}"
        raise ValueError(msg)
    distinct, back = np.unique(wanted, return_inverse=True)
    images = [
        _decode(encoded, where) for encoded, where in _encoded(opened, files, column, distinct)
    ]
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        msg = f"images of {files[0].parent} must have one shape, got {sorted(shapes)}"
        raise ValueError(msg)
    return np.stack(images)[back]


def class_names(files: Sequence[Path], column: str) -> tuple[str, ...] | None:
    """Names of the classes as the file's Hub metadata give them, or None."""
    described = _open(files[0], {column: "int64"}).schema_arrow.metadata or {}
    try:
        features = json.loads(described[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[column]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def _open(path: Path, needed: dict[str, str]) -> Any:  # noqa: ANN401 - pyarrow has no types
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(path)
    except (ArrowException, OSError) as error:
        msg = f"{path} must be a whole Parquet file; it is truncated or damaged ({error})"
        raise ValueError(msg) from error
    schema = file.schema_arrow
    have = {name: str(schema.field(name).type) for name in schema.names}
    for column, kind in needed.items():
        if have.get(column) != kind:
            listed = ", ".join(f"{name} {type_}" for name, type_ in have.items())
            msg = f"{path} must hold a column {column!r} of type {kind}, got {listed}"
            raise ValueError(msg)
    return file


def _encoded(
    opened: Sequence[Any], files: Sequence[Path], column: str, rows: NDArray[np.int64]
) -> Iterator[tuple[bytes | None, str]]:
    """Encoded images of ``rows`` (ascending), with where each stands."""
    from pyarrow import ArrowException

    start = 0
    for file, path in zip(opened, files, strict=True):
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            inside = rows[(rows >= start) & (rows < start + count)] - start
            if inside.size:
                try:
                    table = file.read_row_group(group, columns=[f"{column}.bytes"])
                except (ArrowException, OSError) as error:
                    msg = f"{path} must be a whole Parquet file; it is damaged ({error})"
                    raise ValueError(msg) from error
                taken = table.column(column).combine_chunks().field("bytes").take(inside)
                for row, encoded in zip(inside, taken.to_pylist(), strict=True):
                    yield encoded, f"row {start + row} of {path.parent}"
            start += count


def _decode(encoded: bytes | None, where: str) -> Bytes:
    from PIL import Image, UnidentifiedImageError

    if not encoded:
        msg = f"{where} must hold an encoded image, got none"
        raise ValueError(msg)
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            pixels = np.asarray(image, dtype=np.uint8)
    except (UnidentifiedImageError, OSError) as error:
        msg = f"{where} must hold a PNG, WebP or JPEG image, got {len(encoded)} other bytes"
        raise ValueError(msg) from error
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _span(rows: NDArray[np.int64]) -> str:
    return "none" if rows.size == 0 else f"{rows.min()} .. {rows.max()}"
