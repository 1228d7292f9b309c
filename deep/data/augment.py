r"""Random crops and mirrored images, in batches on the device of the images.

The augmentation of the papers is finite: an image in a frame of ``pad`` pixels has
:math:`(2\,\mathrm{pad} + 1)^2` windows of its own size, each mirrored or not: 162 views for a
frame of 4. A view is a number, so that what a teacher says of each can be kept in a table
(``deep.training.teacher_views``), and a random view is a random number.

A pixel, all its channels, is kept as one machine word beside one black pixel; a view is then a
fixed list of pixel numbers, and a batch of views two gathers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deep.data.normalization import Normalization
from theory import checks

KINDS = ("none", "crop_flip", "reflect_crop_flip")
_WIDEST_PAD = 63  # the most for which the number of a view fits int16
_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True, slots=True)
class Views:
    """What an image can look like: the finite set of its augmentations, numbered from 0.

    The view with window offset (dy, dx) in the frame has the number
    ((2 pad + 1) dy + dx) 2 + flip.

    >>> views = Views("crop_flip")
    >>> views.count, views.plain, views.geometry(views.plain)
    (162, 80, (4, 4, False))
    """

    kind: str
    """``"none"``: the image itself; ``"crop_flip"``: a window of the image in a black frame,
    mirrored or not; ``"reflect_crop_flip"``: the frame mirrors the image, its edge not repeated."""
    pad: int = 4
    """Width of the frame in pixels; without meaning for ``"none"``."""

    def __post_init__(self) -> None:
        checks.choice("views", self.kind, KINDS)
        if checks.integer("pad", self.pad) > _WIDEST_PAD:
            msg = f"pad must be at most {_WIDEST_PAD}, got {self.pad}"
            raise ValueError(msg)

    @property
    def offsets(self) -> int:
        """Offsets of the window along one axis."""
        return 1 if self.kind == "none" else 2 * self.pad + 1

    @property
    def count(self) -> int:
        """Number of views."""
        return 1 if self.kind == "none" else 2 * self.offsets**2

    @property
    def plain(self) -> int:
        """The view that shows the image unaltered."""
        return 0 if self.kind == "none" else 2 * (self.offsets + 1) * self.pad

    def geometry(self, view: int) -> tuple[int, int, bool]:
        """Offset of the window from the top and the left of the frame, and whether it is mirrored.

        Raises:
            ValueError: If there is no such view.
        """
        if not 0 <= view < self.count:
            msg = f"view must be in 0 .. {self.count - 1}, got {view}"
            raise ValueError(msg)
        if self.kind == "none":
            return 0, 0, False
        offset, flip = divmod(int(view), 2)
        return *divmod(offset, self.offsets), bool(flip)

    def draw(self, rng: np.random.Generator, shape: int | Sequence[int]) -> NDArray[np.int16]:
        """Random views: every offset equally likely, mirrored with probability 1/2, independently.

        This is the law of a random crop followed by a random horizontal flip.

        >>> Views("none").draw(np.random.default_rng(0), (2, 3))
        array([[0, 0, 0], [0, 0, 0]], dtype=int16)
        """
        return rng.integers(0, self.count, shape, dtype=np.int16)

    def pixel_table(self, height: int, width: int) -> NDArray[np.int64]:
        """Which pixel of the image stands where in each view, shape (count, height * width).

        Pixels are numbered along the rows; height * width is the black one.

        Raises:
            ValueError: If the image is too small for its mirror image to fill the frame.
        """
        pad = 0 if self.kind == "none" else self.pad
        if self.kind == "reflect_crop_flip" and pad >= min(height, width):
            msg = (
                f"pad must be less than the {height} x {width} pixels of an image whose mirror "
                f"image fills the frame, got {pad}"
            )
            raise ValueError(msg)
        inside = np.arange(height * width).reshape(height, width)
        if self.kind == "reflect_crop_flip":
            frame = np.pad(inside, pad, mode="reflect")
        else:
            frame = np.pad(inside, pad, constant_values=height * width)
        windows = np.lib.stride_tricks.sliding_window_view(frame, (height, width))
        if self.kind == "none":
            return windows.reshape(1, -1)
        both = np.stack([windows, windows[..., ::-1]], axis=2)
        return both.reshape(self.count, -1)


class Viewer:
    """Views of a set of images, made where the images are.

    Beside the images it holds one word a pixel (4 bytes for three channels) and 8 bytes a pixel
    and view of one image: 205 MB and 1.3 MB for the 50,000 images of CIFAR.

    Args:
        images: uint8 of shape (n, height, width, channels), at most 8 channels.
        views: What they can look like.

    >>> images = torch.arange(4, dtype=torch.uint8).reshape(1, 1, 4, 1)
    >>> viewer = Viewer(images, Views("crop_flip", pad=1))
    >>> viewer(torch.tensor([0, 0]), torch.tensor([8, 11])).flatten(1)
    tensor([[0, 1, 2, 3], [0, 3, 2, 1]], dtype=torch.uint8)
    """

    def __init__(self, images: Tensor, views: Views) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4 or not images.numel():
            msg = (
                "images must be uint8 of shape (n, height, width, channels), none of them 0, "
                f"got {images.dtype} {tuple(images.shape)}"
            )
            raise ValueError(msg)
        self.views = views
        self.shape = (images.shape[1], images.shape[2], images.shape[3])
        """Height, width and channels."""
        if views.kind == "none":
            self._pixels = images.reshape(len(images), -1)
            return
        self._pixels = _words(images)
        table = views.pixel_table(*self.shape[:2])
        self._table = torch.from_numpy(table).to(images.device)

    def __call__(self, index: Tensor, view: Tensor) -> Tensor:
        """The images ``index`` in the views ``view``.

        Nothing is checked and nothing waits for the device: a number out of range raises
        IndexError on the CPU and fails on the device elsewhere.

        Args:
            index: Numbers of images, int64, any shape.
            view: Numbers of views, any integers, of the same shape.

        Returns:
            uint8 of shape (*index.shape, height, width, channels), channels last. Its memory has
            gaps where a word holds more than the channels.
        """
        height, width, channels = self.shape
        rows = self._pixels.index_select(0, index.reshape(-1))
        if self.views.kind == "none":
            return rows.reshape(*index.shape, height, width, channels)
        places = self._table.index_select(0, view.reshape(-1).long())
        seen = rows.gather(1, places).view(torch.uint8)
        return seen.view(*index.shape, height, width, -1)[..., :channels]


def normalize(
    pixels: Tensor,
    normalization: Normalization,
    *,
    white: int = 255,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    r"""Inputs of a network, :math:`(x / \mathrm{white} - m_c) / d_c`, flattened channels last.

    Computed as :math:`(x - \mathrm{white}\, m_c) / (\mathrm{white}\, d_c)` in float32 (in float64
    where that is asked for), which differs from the formula by rounding only. A network that
    reshapes a row to (height, width, channels) and permutes it has the channels-last layout of
    convolutions without copying.

    Args:
        pixels: uint8 of shape (..., height, width, channels).
        normalization: As `deep.data.normalization` gives it.
        white: The value of full intensity.
        dtype: Of the result.

    Returns:
        Shape (..., height * width * channels).

    Raises:
        ValueError: If the normalization has another number of channels.

    >>> from deep.data.normalization import normalization
    >>> normalize(torch.tensor([[[[0], [4]]]], dtype=torch.uint8), normalization("unit"), white=16)
    tensor([[0.0000, 0.2500]])
    """
    area, channels = prod(pixels.shape[-3:-1]), pixels.shape[-1]
    normalization.check_channels(channels)
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    flat = pixels.reshape(*pixels.shape[:-3], area * channels)
    shift, unit = _constants(normalization, white, area, exact, pixels.device)
    # of bytes and floats torch makes floats as it subtracts: one pass less than converting first
    values = torch.div(flat, unit) if shift is None else torch.sub(flat, shift).div_(unit)
    return values.to(dtype)


@lru_cache(maxsize=64)
def _constants(
    normalization: Normalization, white: int, area: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor | None, Tensor]:
    """What is subtracted and divided by, on the device: sent there once, not in every step."""
    if not normalization.mean:
        return None, torch.tensor([float(white)], dtype=dtype, device=device)
    scaled = np.array([normalization.mean, normalization.deviation]) * white
    shift, unit = torch.tensor(np.tile(scaled, area), dtype=dtype, device=device)
    return shift, unit


def _words(images: Tensor) -> Tensor:
    """One word a pixel, and a black pixel at the end: (n, height * width + 1)."""
    count, height, width, channels = images.shape
    size = next((size for size in _WORDS if size >= channels), None)
    if size is None:
        msg = f"images must have at most 8 channels to be augmented, got {channels}"
        raise ValueError(msg)
    area = height * width
    words = torch.zeros(count, area + 1, size, dtype=torch.uint8, device=images.device)
    words[:, :area, :channels] = images.reshape(count, area, channels)
    return words.view(_WORDS[size]).squeeze(-1)
