"""Which outputs of a network a kernel is of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from theory import checks

KINDS = ("full", "trace", "diagonal", "pseudo")


@dataclass(frozen=True, slots=True)
class OutputChoice:
    """Which outputs a kernel is of, and how their pairs are laid out."""

    kind: str
    """``"full"`` (also for listed outputs), ``"trace"``, ``"diagonal"`` or ``"pseudo"``."""
    indices: tuple[int, ...]
    """The outputs that take part."""
    total: int
    """Number K of outputs of the function."""

    @property
    def rows(self) -> int:
        """Rows of the Jacobian of one sample that are needed."""
        return 1 if self.kind == "pseudo" else len(self.indices)

    def cotangents(self, like: Tensor) -> Tensor:
        """What is pulled back, shape (rows, K)."""
        if self.kind == "pseudo":
            return torch.full(
                (1, self.total), self.total**-0.5, dtype=like.dtype, device=like.device
            )
        identity = torch.eye(self.total, dtype=like.dtype, device=like.device)
        every = self.indices == tuple(range(self.total))
        return identity if every else identity[list(self.indices)]

    def shape(self, rows: int, columns: int) -> tuple[int, ...]:
        """Shape of the kernel between so many samples."""
        k = len(self.indices)
        inner = {"full": (k, k), "diagonal": (k,)}
        return (rows, columns, *inner.get(self.kind, ()))


def output_choice(outputs: str | Sequence[int] | Tensor, total: int) -> OutputChoice:
    """``outputs`` of a kernel function read for a network of ``total`` outputs.

    Raises:
        ValueError: If it is no known word and no list of outputs from 0 to ``total - 1``.

    >>> output_choice([2, 0], 3).shape(5, 4)
    (5, 4, 2, 2)
    """
    if isinstance(outputs, str):
        return OutputChoice(checks.choice("outputs", outputs, KINDS), tuple(range(total)), total)
    raw: object = outputs.tolist() if isinstance(outputs, Tensor) else outputs
    listed = list(raw) if isinstance(raw, Iterable) else []
    whole = [checks.integer("outputs", index) for index in listed]
    if not whole or max(whole) >= total:
        msg = (
            f"outputs must be one of {', '.join(map(repr, KINDS))} or a list of outputs from 0 to "
            f"{total - 1}, got {outputs!r}"
        )
        raise ValueError(msg)
    return OutputChoice("full", tuple(whole), total)
