"""Name, shape and numbers of a table of teacher outputs."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from deep.records.encoding import content_key
from theory import checks
from theory.labels.gaps import divergence
from theory.labels.softmax import softmax

DTYPES = ("float32", "float16")


def table_key(
    *,
    weights: str,
    normalization: object,
    dtype: str = "float32",
    tf32: bool = False,
    images: str,
    views: object,
    network: object = None,
) -> str:
    """Name of a table: the SHA-256 of all that its numbers depend on.

    Args:
        weights: Digest of the teacher's weights and buffers.
        normalization: How its inputs are normalized: a name, or means and deviations.
        dtype: Numbers of the table, one of `DTYPES`.
        tf32: Whether products are rounded to TF32.
        images: Digest of the images, in their order.
        views: The augmentation, such as its kind and frame.
        network: What else the logits depend on, such as the ``ModelSpec``.

    >>> table_key(weights="ab", normalization="unit", images="cd", views=("none", 0))[:8]
    '3069ac25'
    """
    content = {
        "what": "logits of a teacher over views",
        "weights": weights,
        "normalization": normalization,
        "dtype": _dtype(dtype),
        "tf32": checks.flag("tf32", tf32),
        "images": images,
        "views": views,
        "network": network,
    }
    return content_key(content)


def expected_share(epochs: float, views: int) -> float:
    r"""Share of the cells that uniformly drawn views visit, :math:`1 - (1 - 1/V)^E`.

    >>> round(162 * expected_share(240, 162))  # passes of the teacher instead of 240
    125
    """
    count = checks.integer("views", views, minimum=1)
    passes = float(checks.nonnegative("epochs", checks.scalar("epochs", epochs)))
    if count == 1:
        return min(passes, 1.0)
    return -math.expm1(passes * math.log1p(-1 / count))


@dataclass(frozen=True, slots=True)
class StorageError:
    """What the rounding of stored logits does to probabilities."""

    largest: float
    """Largest change of a probability."""
    divergence: float
    """Mean divergence of the rounded prediction from the exact one, in nats."""


def storage_error(
    logits: ArrayLike, dtype: str = "float16", temperature: float = 1.0
) -> StorageError:
    """What is lost where logits are stored as ``dtype``.

    Args:
        logits: Shape (n, classes).
        dtype: ``"float16"``; or ``"bfloat16"``, which no table uses, to see why.
        temperature: Of the softmax.

    >>> from deep.training.streams import stream
    >>> z = stream("example").standard_normal((1000, 100)) * 6
    >>> error = storage_error(z, "float16")
    >>> error.largest < 3e-3, error.divergence < 3e-6
    (True, True)

    Raises:
        ValueError: For logits that are not finite, or a number format that is not known.
    """
    exact = checks.logits("logits", logits)
    checks.choice("dtype", dtype, (*DTYPES, "bfloat16"))
    rounded = torch.from_numpy(exact).to(getattr(torch, dtype)).to(torch.float64).numpy()
    gap = np.abs(softmax(exact, temperature) - softmax(rounded, temperature))
    return StorageError(float(gap.max()), float(np.mean(divergence(exact, rounded, temperature))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Shape of a table."""

    key: str
    samples: int
    views: int
    classes: int
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if not self.key or not set(self.key) <= set("0123456789abcdef"):
            msg = f"key must be lower-case hexadecimal, as `table_key` gives it, got {self.key!r}"
            raise ValueError(msg)
        for name in ("samples", "views", "classes"):
            checks.integer(name, getattr(self, name), minimum=1)
        _dtype(self.dtype)

    @property
    def cells(self) -> int:
        """Rows of the table."""
        return self.samples * self.views

    @property
    def row(self) -> int:
        """Bytes of a row."""
        return self.classes * np.dtype(self.dtype).itemsize

    @property
    def bytes(self) -> int:
        """Bytes of the full table, marks included.

        >>> Layout(key="0", samples=50_000, views=162, classes=100).bytes / 1e9
        3.2724
        """
        return self.cells * (self.row + 4)


def _dtype(dtype: str) -> str:
    if dtype == "bfloat16":
        msg = (
            "dtype must be 'float32' or 'float16', got 'bfloat16', which rounds logits 8 times as "
            "coarsely as float16 in the same space"
        )
        raise ValueError(msg)
    return checks.choice("dtype", dtype, DTYPES)
