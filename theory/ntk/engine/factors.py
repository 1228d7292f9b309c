r"""What one layer contributes to the kernel, for one batch: the factors of its per-sample Jacobian.

With :math:`a_n` what a layer sees of sample n and :math:`g_{in} = \partial f_i(x_n) / \partial y`
the cotangent at its output, the Jacobian of output i by the layer's weights is the outer product
:math:`g_{in} a_n^\top`, summed over positions where the layer is applied at several. Its inner
products need no Jacobian:

.. math:: \Theta_{ij}(n, m) = (a_n^\top a_m + 1)\, g_{in}^\top g_{jm}
          \qquad\text{(dense, with bias)}

[Novak 2022, section 3, structured derivatives]. Cotangents of `Outer` and `Rows` come as (K, N, …),
those of `Patched` sample first.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from theory.ntk.engine.storage import Space, room

Meeting = Callable[[int, int], Tensor]


@dataclass(slots=True)
class Outer:
    """A layer at one position: outer products of inputs and cotangents."""

    inputs: Tensor
    """Shape (N, D); or rows of an embedding, integers of shape (N,), -1 for one without weights."""
    cotangents: Tensor
    """Shape (K, N, C); (K, 1, C) where they are the same for all samples, at the last layer."""
    bias: bool = False
    """Whether there is a bias, and asked for."""

    @property
    def constant(self) -> bool:
        """Whether the cotangents are the same for all samples."""
        return self.cotangents.shape[1] != len(self.inputs)

    def scale(self, other: "Outer") -> Tensor:
        """Inner products of the inputs, + 1 with a bias, shape (N, M)."""
        if self.inputs.ndim == 1:
            same = (self.inputs[:, None] == other.inputs) & (self.inputs >= 0)[:, None]
            return same.to(self.cotangents.dtype)
        products = self.inputs @ other.inputs.mT
        return products.add_(1) if self.bias else products

    def squares(self) -> Tensor:
        """Squared norms of the rows of the Jacobian, shape (K, N)."""
        if self.inputs.ndim == 1:
            seen = (self.inputs >= 0).to(self.cotangents.dtype)
        else:
            seen = self.inputs.square().sum(-1) + float(self.bias)
        return self.cotangents.square().sum(-1) * seen


@dataclass(slots=True)
class Rows:
    """The Jacobian itself, of few parameters: scales and biases."""

    jacobian: Tensor
    """Shape (K, N, P)."""

    def squares(self) -> Tensor:
        """Squared norms of the rows, shape (K, N)."""
        return self.jacobian.square().sum(-1)


class Patched(ABC):
    """A layer applied at many positions: sums of outer products over them."""

    spatial = True
    """Whether Gram matrices of positions can be had."""

    def __init__(
        self, like: Tensor, *, samples: int, outputs: int, channels: int, width: int, positions: int
    ) -> None:
        self.like = like
        """Any tensor of the type and on the device of the result."""
        self.samples = samples
        """N."""
        self.outputs = outputs
        """K, of the network."""
        self.channels = channels
        """C, along which Jacobians are cut into pieces."""
        self.width = width
        """D: parameters of one channel."""
        self.positions = positions
        """S."""
        self.meets = width
        """Multiplications in the inner product of what two positions see."""

    @abstractmethod
    def write_jacobian(self, samples: slice, channels: slice, out: Tensor) -> None:
        """Write rows of the Jacobian of these samples to ``out``, contiguous, (n, K, c, D)."""

    def meeting(self, other: "Patched", others: slice) -> Meeting:
        """Inner products of what positions see, of one sample and m others.

        Returns:
            A function of the number of the sample, and of how many of the others to skip, with
            values of shape (m, S', S).
        """
        raise NotImplementedError

    def cotangents(self, samples: slice) -> Tensor:
        """Shape (n, K, S, C)."""
        raise NotImplementedError

    def pieces(self, memory: int, *, samples: int) -> list[slice]:
        """Channels cut so that Jacobians of so many samples take at most ``memory`` bytes."""
        each = samples * self.outputs * self.width * self.like.element_size()
        step = max(1, min(self.channels, memory // max(1, each)))
        starts = range(0, self.channels, step)
        return [slice(start, min(start + step, self.channels)) for start in starts]

    def squares(self, memory: int) -> Tensor:
        """Squared norms of the rows of the Jacobian, shape (K, N)."""
        found = torch.zeros(
            self.samples, self.outputs, dtype=self.like.dtype, device=self.like.device
        )
        space = Space(self.like)
        for number in range(self.samples):
            one = slice(number, number + 1)
            for channels in self.pieces(memory, samples=1):
                rows = space.take(1, self.outputs, channels.stop - channels.start, self.width)
                self.write_jacobian(one, channels, rows)
                found[one] += rows.square_().sum((-2, -1))
        return found.mT


class Joined(Patched):
    """Several uses of the same weights: their Jacobians add up."""

    spatial = False

    def __init__(self, parts: Sequence[Patched]) -> None:
        first = parts[0]
        super().__init__(
            first.like,
            samples=first.samples,
            outputs=first.outputs,
            channels=first.channels,
            width=first.width,
            positions=sum(part.positions for part in parts),
        )
        self.parts = parts

    def write_jacobian(self, samples: slice, channels: slice, out: Tensor) -> None:
        """The sum over uses, shape (n, K, c, D)."""
        self.parts[0].write_jacobian(samples, channels, out)
        other = room(out, *out.shape)
        for part in self.parts[1:]:
            part.write_jacobian(samples, channels, other)
            out += other


Factor = Outer | Rows | Patched


def joined(uses: Sequence[Sequence[Factor]]) -> list[Factor]:
    """Factors of a module from those of its calls, which must not be `Outer`."""
    found: list[Factor] = []
    for same in zip(*uses, strict=True):
        if isinstance(same[0], Rows):
            rows = [use.jacobian for use in same if isinstance(use, Rows)]
            found.append(Rows(torch.stack(rows).sum(0)))
        else:
            found.append(Joined([use for use in same if isinstance(use, Patched)]))
    return found
