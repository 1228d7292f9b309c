"""Images and labels from Parquet files in the schema of their Hub data sets.

A column holds one encoded image a row as ``struct<bytes, path>``, another its class. Of a big file
only the rows asked for are decoded, and only the row groups that hold them are read.
"""

import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deep.data.images import Bytes, Labels

IMAGE = "struct<bytes: binary, path: string>"
"""Type of a column of encoded images."""
INTEGERS = ("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8")
"""Types of a column of classes."""

_MODES = {"L": "L", "1": "L", "RGB": "RGB", "P": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}
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


def columns(path: Path) -> dict[str, str]:
    """Types of the columns of a file by their names."""
    schema = _open(path, {}).schema_arrow
    return {name: str(schema.field(name).type) for name in schema.names}


def read_labels(files: Sequence[Path], column: str) -> Labels:
    """All classes in ``column`` of ``files``, shape (n,)."""
    parts = [_read_column(path, column) for path in files]
    missing = sum(part.null_count for part in parts)
    if missing:
        where = f"column {column!r} of {files[0].parent}"
        msg = f"{where} must hold a class in every row, {missing} do not"
        raise ValueError(msg)
    return np.concatenate([part.to_numpy() for part in parts]).astype(np.int64, copy=False)


def read_images(files: Sequence[Path], column: str, rows: NDArray[np.int64] | None) -> Bytes:
    """Decoded images of ``rows`` (None: all), in that order: (n, height, width, channels)."""
    opened = [_open(path, {column: (IMAGE,)}) for path in files]
    total = sum(file.metadata.num_rows for file in opened)
    wanted = np.arange(total) if rows is None else np.asarray(rows, dtype=np.int64)
    check_rows(wanted, total)
    distinct, back = np.unique(wanted, return_inverse=True)
    encoded = _encoded(opened, files, column, distinct)
    images = decoded(encoded, len(distinct), str(files[0].parent))
    return images if np.array_equal(distinct, wanted) else images[back]


def check_rows(rows: NDArray[np.int64], total: int) -> None:
    """Raise ValueError unless ``rows`` are numbers of some of ``total`` samples."""
    if rows.size == 0 or rows.min() < 0 or rows.max() >= total:
        msg = f"rows must be at least one number in 0 .. {total - 1}, got {_span(rows)}"
        raise ValueError(msg)


def decoded(encoded: Iterable[tuple[bytes | None, str]], count: int, where: str) -> Bytes:
    """``count`` images from their encoded bytes, each with where it stands; all of one shape."""
    images: Bytes | None = None
    for place, (content, here) in enumerate(encoded):
        image = _decode(content, here)
        if images is None:
            images = np.empty((count, *image.shape), dtype=np.uint8)
        if image.shape != images.shape[1:]:
            shapes = sorted({image.shape, images.shape[1:]})
            msg = f"images of {where} must have one shape, got {shapes} ({here})"
            raise ValueError(msg)
        images[place] = image
    if images is None:  # pragma: no cover - the rows are checked before
        msg = f"there must be at least one image in {where}"
        raise ValueError(msg)
    return images


def class_names(files: Sequence[Path], column: str) -> tuple[str, ...] | None:
    """Names of the classes as the file's Hub metadata give them, or None."""
    described = _open(files[0], {column: INTEGERS}).schema_arrow.metadata or {}
    try:
        features = json.loads(described[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[column]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def _read_column(path: Path, column: str) -> Any:  # noqa: ANN401 - pyarrow has no types
    from pyarrow import ArrowException

    try:
        return _open(path, {column: INTEGERS}).read(columns=[column])[column]
    except (ArrowException, OSError) as error:
        msg = f"{path} must be a whole Parquet file; it is damaged ({error})"
        raise ValueError(msg) from error


def _open(path: Path, needed: dict[str, tuple[str, ...]]) -> Any:  # noqa: ANN401 - pyarrow has no types
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(path)
    except (ArrowException, OSError) as error:
        msg = f"{path} must be a whole Parquet file; it is truncated or damaged ({error})"
        raise ValueError(msg) from error
    schema = file.schema_arrow
    have = {name: str(schema.field(name).type) for name in schema.names}
    for column, kinds in needed.items():
        if have.get(column) not in kinds:
            listed = ", ".join(f"{name} {type_}" for name, type_ in have.items())
            msg = f"{path} must hold a column {column!r} of type {kinds[0]}, got {listed}"
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
            pixels = _gray_or_color(image, where)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        msg = f"{where} must hold a PNG, WebP or JPEG image, got {len(encoded)} other bytes"
        raise ValueError(msg) from error
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _gray_or_color(image: Any, where: str) -> Bytes:  # noqa: ANN401 - a PIL image
    """Pixels of an image: gray (h, w), or red, green and blue (h, w, 3)."""
    mode = _MODES.get(image.mode)
    if mode is None:
        msg = f"{where} must be gray or red, green and blue without transparency, got {image.mode}"
        raise ValueError(msg)
    return np.asarray(image if mode == image.mode else image.convert(mode), dtype=np.uint8)


def _span(rows: NDArray[np.int64]) -> str:
    return "none" if rows.size == 0 else f"{rows.min()} .. {rows.max()}"
