r"""What a layer sees: the inputs on whose eigendirections its weights are read.

A dense layer sees the rows of its input. A convolution sees one window after another, so that its
weights, flattened to :math:`W \in \mathbb{R}^{p \times h}`, act on patches with
:math:`p = C k_1 k_2` entries; some of them, cut at random places, stand for all [Nagarajan 2023,
App. D.3]. A hidden layer of a network that changes sees inputs that change; the representation of
one fixed network, the teacher at the end of its training, is taken for all of them [there].
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from math import prod

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from theory import checks
from theory.ntk.projections.weights import CONVOLUTIONS
from theory.ntk.windows import padded

PATCHES = 4096
"""Patches that stand for all that a convolution sees, unless told otherwise."""


@torch.no_grad()
def representations(
    model: nn.Module,
    inputs: Tensor,
    layer: str,
    *,
    count: int = PATCHES,
    seed: int | np.random.Generator = 0,
    batch: int | None = None,
) -> Tensor:
    """What a dense or convolutional layer sees while the model evaluates ``inputs``.

    The model is evaluated as in testing (dropout and batch statistics off), without gradients, and
    left as it was: the modes of all its modules, its buffers and its hooks.

    Args:
        model: The network, such as the teacher at the end of its training.
        inputs: What the model is called with, shape (n, ...).
        layer: Name of the layer, as ``model.named_modules()`` tells it.
        count: Patches to cut from what a convolution sees; a dense layer gives all rows.
        seed: Of the places of the patches; see `patches`.
        batch: Samples to evaluate at a time, where all at once need too much memory. It changes
            nothing else.

    Returns:
        For a dense layer, its inputs with all leading axes flattened, shape (rows, p); for a
        convolution, patches (count, p), or (groups, count, p) where it has groups. A layer that is
        called several times has the inputs of all calls, call by call.

    Raises:
        ValueError: If there is no such layer, it is neither dense nor a convolution, or the model
            does not call it; or if ``batch`` is given to a model whose layer sees another number of
            samples than the model is given.

    >>> teacher = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    >>> x = torch.eye(3)
    >>> bool((representations(teacher, x, "2") == teacher[0](x).relu()).all())
    True
    """
    found = _layer(model, layer)
    count = checks.count("count", count, minimum=1)
    size = len(inputs) if batch is None else checks.count("batch", batch, minimum=1)
    rng, cutters = np.random.default_rng(seed), list[_Cutter]()
    pieces: list[list[Tensor]] = []
    for start in range(0, max(len(inputs), 1), max(size, 1)):
        part = inputs[start : start + size]
        seen = _seen(model, part, found)
        if not seen:
            msg = f"layer must be one that the model calls, got {layer!r}, which it does not"
            raise ValueError(msg)
        _require_whole(layer, seen, part, inputs)
        if isinstance(found, nn.Linear):
            rows = [each.reshape(-1, each.shape[-1]) for each in seen]
        else:
            if not cutters:
                shares = np.diff(np.arange(len(seen) + 1) * count // len(seen))
                whole = len(seen[0]) if size >= len(inputs) else len(inputs)
                cutters = [
                    _Cutter(each, found, whole, share, rng)
                    for each, share in zip(seen, shares, strict=True)
                ]
            rows = [cutter.cut(each, start) for cutter, each in zip(cutters, seen, strict=True)]
        pieces.append(rows)
    calls = [torch.cat(own, dim=-2) for own in zip(*pieces, strict=True)]
    return torch.cat(calls, dim=-2)


def _seen(model: nn.Module, inputs: Tensor, layer: nn.Module) -> list[Tensor]:
    """What ``layer`` is called with, call by call."""
    seen: list[Tensor] = []

    def keep(_: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        # cloned: what follows may change it in place
        seen.append((args[0] if args else kwargs["input"]).clone())

    handle = layer.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        with evaluating(model):
            model(inputs)
    finally:
        handle.remove()
    return seen


def _require_whole(layer: str, seen: list[Tensor], part: Tensor, inputs: Tensor) -> None:
    """Raise ValueError where the inputs come in parts, and the layer's samples are not theirs."""
    if len(part) < len(inputs) and any(len(each) != len(part) for each in seen):
        msg = (
            f"batch must be None where {layer} sees other samples than the model is given, got "
            f"{len(seen[0])} for {len(part)}"
        )
        raise ValueError(msg)


def patches(
    images: "ArrayLike | Tensor",
    window: nn.Module | int | Sequence[int],
    count: int = PATCHES,
    *,
    seed: int | np.random.Generator = 0,
) -> Tensor:
    """Random patches of images, flattened like the weights of the convolution that sees them.

    Row i is cut from image ``i * n // count``, so that all images give equally many and labels can
    be repeated alongside; its place is uniform among the windows that the convolution visits, drawn
    with replacement.

    Args:
        images: Shape (n, channels, *sizes), channels first.
        window: The convolution (``nn.Conv1d``, ``2d`` or ``3d``), whose stride, padding (zeros or
            another mode), dilation and groups are followed; or the size of a window, one integer
            for all axes or one each, with stride 1 and no padding: the paper's patches.
        count: Number of patches.
        seed: Of the places, or a generator to draw them from.

    Returns:
        Shape (count, p) with p = channels x window, ordered (channels, rows, columns); where a
        convolution has groups (groups, count, p), p counting the channels of one group: `Projector`
        then gives each group the eigendirections of its own channels. On the device and of the
        type of the images.

    Raises:
        ValueError: If the images are not of such a shape, empty, or smaller than the window.

    >>> images = torch.arange(9.0).reshape(1, 1, 3, 3)
    >>> patches(images, 2, 3, seed=1)
    tensor([[0., 1., 3., 4.],
            [3., 4., 6., 7.],
            [0., 1., 3., 4.]])
    """
    images = images.detach() if isinstance(images, Tensor) else torch.as_tensor(np.asarray(images))
    count = checks.count("count", count, minimum=1)
    rng = np.random.default_rng(seed)
    return _Cutter(images, window, len(images) if images.ndim else 0, count, rng).cut(images)


class _Cutter:
    """Where to cut ``count`` patches from ``whole`` images that may come in parts."""

    def __init__(
        self,
        images: Tensor,
        window: nn.Module | int | Sequence[int],
        whole: int,
        count: int,
        rng: np.random.Generator,
    ) -> None:
        self.kernel, stride, self.dilation, self.groups = _window(window, images.ndim - 2)
        if images.ndim < 3 or images.numel() == 0 or len(self.kernel) != images.ndim - 2:
            axes = (
                len(self.kernel)
                if len(self.kernel) != images.ndim - 2 and self.kernel
                else "1 to 3"
            )
            msg = (
                f"images must have shape (n, channels, sizes) with {axes} axes of sizes, none "
                f"empty, got {tuple(images.shape)}"
            )
            raise ValueError(msg)
        self.layer = window if isinstance(window, CONVOLUTIONS) else None
        sizes = self._padded(images[:1]).shape[2:]
        reach = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True)]
        room = [size - wide for size, wide in zip(sizes, reach, strict=True)]
        if min(room) < 0:
            msg = (
                f"images must be at least as large as the window, {tuple(reach)} with its "
                f"dilation, got {tuple(sizes)} with padding"
            )
            raise ValueError(msg)
        visited = [1 + free // step for free, step in zip(room, stride, strict=True)]
        self.starts = rng.integers(0, visited, (count, len(visited))) * np.array(stride)
        self.numbers = np.arange(count) * whole // count

    def cut(self, images: Tensor, first: int = 0) -> Tensor:
        """The patches of these images, the first of which has the number ``first``."""
        images = self._padded(images)
        rows = slice(*np.searchsorted(self.numbers, [first, first + len(images)]))
        starts, kernel = self.starts[rows], self.kernel
        offsets = np.array(list(product(*map(range, kernel)))).reshape(prod(kernel), len(kernel))
        places = starts[:, None, :] + offsets * np.array(self.dilation)
        flat = np.ravel_multi_index(tuple(np.moveaxis(places, -1, 0)), tuple(images.shape[2:]))
        numbers = torch.from_numpy(self.numbers[rows] - first).to(images.device)
        pixels = torch.from_numpy(flat).to(images.device)
        channels = torch.arange(images.shape[1], device=images.device)
        cut = images.flatten(2)[numbers[:, None, None], channels[:, None], pixels[:, None, :]]
        if self.groups == 1:
            return cut.flatten(1)
        size = images.shape[1] // self.groups * prod(kernel)
        return cut.reshape(len(starts), self.groups, size).transpose(0, 1).contiguous()

    def _padded(self, images: Tensor) -> Tensor:
        return images if self.layer is None else _padded(images, self.layer)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a block; then every module's own mode again.

    >>> model = nn.Sequential(nn.Dropout(), nn.Linear(2, 1)).train()
    >>> with evaluating(model):
    ...     model.training, model[0].training
    (False, False)
    >>> model.training, model[0].training
    (True, True)
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _layer(model: nn.Module, name: str) -> nn.Module:
    """The layer of that name, if its inputs are rows or windows."""
    known: dict[str, nn.Module] = dict(model.named_modules())
    kinds = (nn.Linear, *CONVOLUTIONS)
    if not isinstance(known.get(name), kinds):
        usable = ", ".join(n for n, module in known.items() if isinstance(module, kinds))
        what = f"a {type(known[name]).__name__}" if name in known else "not there"
        msg = (
            "layer must be a dense layer or a convolution of the model "
            f"({usable or 'it has none'}), got {name!r}, which is {what}"
        )
        raise ValueError(msg)  # noqa: TRY004  # bad input is a ValueError throughout
    return known[name]


Sizes = tuple[int, ...]


def _window(window: nn.Module | int | Sequence[int], axes: int) -> tuple[Sizes, Sizes, Sizes, int]:
    """Kernel, stride, dilation and groups of a convolution, or of a plain window."""
    if isinstance(window, nn.Module):
        if not isinstance(window, CONVOLUTIONS):
            kinds = ", ".join(kind.__name__ for kind in CONVOLUTIONS)
            msg = f"window must be a {kinds} or a size, got a {type(window).__name__}"
            raise ValueError(msg)  # noqa: TRY004  # bad input is a ValueError throughout
        return window.kernel_size, window.stride, window.dilation, window.groups
    sizes = tuple(window) if isinstance(window, Sequence) else (window,) * max(axes, 0)
    kernel = tuple(checks.integer("window", size, minimum=1) for size in sizes)
    return kernel, (1,) * len(kernel), (1,) * len(kernel), 1


def _padded(images: Tensor, layer: nn.Conv1d | nn.Conv2d | nn.Conv3d) -> Tensor:
    """Images with the margin that the convolution gives them."""
    if images.shape[1] != layer.in_channels:
        msg = f"images must have {layer.in_channels} channels for this layer, got {images.shape[1]}"
        raise ValueError(msg)
    return padded(images, layer)
